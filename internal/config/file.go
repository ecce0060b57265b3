package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// loadFile sets the options that the TOML file called name has keys for, and
// warns of keys that no option has.
func loadFile(name string, options []*option) (warnings []string, err error) {
	var file map[string]any
	if _, err := toml.DecodeFile(name, &file); err != nil {
		// The text of stock NSQ, for those who look for it.
		return nil, fmt.Errorf("failed to load config file %s - %w", name, err)
	}
	byKey := make(map[string]*option)
	for _, o := range options {
		if o.key != "-" {
			byKey[o.key] = o
		}
	}
	for _, key := range slices.Sorted(maps.Keys(file)) {
		o, ok := byKey[key]
		if !ok {
			warnings = append(warnings, fmt.Sprintf("unknown key %q in %s%s", key, name, suggestion(key, options)))
			continue
		}
		if err := setTOML(o.field, file[key]); err != nil {
			return nil, fmt.Errorf("key %s in %s: %w", key, name, err)
		}
	}
	return warnings, nil
}

// setTOML sets v, the field of an option, to a value of a TOML file. A string
// will do for any type, as in stock NSQ.
func setTOML(v reflect.Value, value any) error {
	switch value := value.(type) {
	case string:
		return setText(v, value)
	case bool:
		if boolean(v) {
			return setText(v, strconv.FormatBool(value))
		}
	case int64:
		if isText(v.Type()) || v.Type() != durationType && (v.CanInt() || v.CanUint() || v.CanFloat()) {
			return setText(v, fmt.Sprint(value))
		}
	case float64:
		if isText(v.Type()) || v.CanFloat() {
			return setText(v, fmt.Sprint(value))
		}
	case []any:
		if isText(v.Type()) {
			elements := make([]string, len(value))
			for i, element := range value {
				elements[i] = fmt.Sprint(element)
			}
			return setText(v, strings.Join(elements, ","))
		}
		if v.Type() == listType {
			list := make([]string, len(value))
			for i, element := range value {
				s, ok := element.(string)
				if !ok {
					return fmt.Errorf("%v in the list is not a string", element)
				}
				list[i] = s
			}
			v.Set(reflect.ValueOf(list))
			return nil
		}
	}
	return errors.New("want " + wanted(v.Type()) + ", have " + found(value))
}

// wanted says what a TOML file should hold for an option of type t.
func wanted(t reflect.Type) string {
	switch {
	case isText(t), t.Kind() == reflect.String:
		return "a string"
	case t == durationType:
		return `a duration such as "60s"`
	case t == listType:
		return "a list of strings"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Float64:
		return "a number"
	default:
		return "an integer"
	}
}

// found says what a TOML file does hold.
func found(value any) string {
	switch value.(type) {
	case bool, int64, float64:
		return fmt.Sprint(value)
	case []any:
		return "a list"
	case map[string]any, []map[string]any:
		return "a table"
	default:
		return "a date or time"
	}
}

// suggestion asks whether the user meant another key, "" if none is like key.
// The name of the flag is as good as the key: stock's differ in places.
func suggestion(key string, options []*option) string {
	underscored := func(s string) string { return strings.ReplaceAll(s, "-", "_") }
	best, distance := "", 1+len(key)/4
	for _, o := range options {
		if o.key == "-" {
			continue
		}
		for _, name := range []string{o.key, o.flag} {
			d := editDistance(underscored(key), underscored(name))
			if d < distance {
				best, distance = o.key, d
			}
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// editDistance is the number of letters to insert, delete or change that make b
// of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1) // distances of the prefix of a to all prefixes of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
