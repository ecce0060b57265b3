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

	"nsqraft/internal/suggest"
)

// loadFile sets the options that the TOML file called name has keys for, and
// warns of keys that no option has.
func loadFile(name string, options []*option) (warnings []string, err error) {
	keys, err := readFile(name)
	if err != nil {
		return nil, err
	}
	byKey := make(map[string]*option)
	for _, o := range options {
		if o.key != "-" {
			byKey[o.key] = o
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if o, ok := byKey[key]; ok {
			if err := setTOML(o.field, keys[key]); err != nil {
				return nil, keyError(key, name, err)
			}
		}
	}
	return unknownKeys(keys, name, options), nil
}

func readFile(name string) (keys map[string]any, err error) {
	if _, err := toml.DecodeFile(name, &keys); err != nil {
		// The text of stock NSQ, for those who look for it.
		return nil, fmt.Errorf("failed to load config file %s - %w", name, err)
	}
	return keys, nil
}

func keyError(key, file string, err error) error {
	return fmt.Errorf("key %s in %s: %w", key, file, err)
}

// unknownKeys warns of each key of the file called name that no option has.
func unknownKeys(keys map[string]any, name string, options []*option) (warnings []string) {
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if key == "-" || !slices.ContainsFunc(options, func(o *option) bool { return o.key == key }) {
			warnings = append(warnings, fmt.Sprintf("unknown key %q in %s%s", key, name, suggestion(key, options)))
		}
	}
	return warnings
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
	meant := make(map[string]string) // a name to the key
	var names []string
	for _, o := range options {
		if o.key == "-" {
			continue
		}
		for _, name := range []string{o.key, o.flag} {
			names = append(names, underscored(name))
			meant[underscored(name)] = o.key
		}
	}
	if near := suggest.Nearest(underscored(key), names); near != "" {
		return fmt.Sprintf("; did you mean %s?", meant[near])
	}
	return ""
}
