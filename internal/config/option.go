package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// An option is one field of the struct. It implements flag.Value.
type option struct {
	flag  string
	env   string
	key   string // in the file; "-" for none
	usage string
	field reflect.Value

	// What the flags say; invalid if they do not mention the option.
	flagged reflect.Value
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	listType     = reflect.TypeFor[[]string]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// optionsOf returns the options of the struct v, in its order.
func optionsOf(app string, v reflect.Value) []*option {
	var options []*option
	for i := range v.NumField() {
		sf, field := v.Type().Field(i), v.Field(i)
		name, ok := sf.Tag.Lookup("flag")
		if !ok {
			if sf.Anonymous && field.Kind() == reflect.Struct {
				options = append(options, optionsOf(app, field)...)
			}
			continue
		}
		if !supported(field.Type()) {
			panic(fmt.Sprintf("config: option %s cannot be of type %s", name, field.Type()))
		}
		key := sf.Tag.Get("cfg")
		if key == "" {
			key = strings.ReplaceAll(name, "-", "_")
		}
		options = append(options, &option{
			flag:  name,
			env:   strings.ToUpper(strings.ReplaceAll(app+"_"+name, "-", "_")),
			key:   key,
			usage: sf.Tag.Get("usage"),
			field: field,
		})
	}
	return options
}

func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

func supported(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return isText(t) || t == listType
}

// String returns the current value as a user would write it.
func (o *option) String() string {
	if o.field.Type() == listType {
		return strings.Join(o.field.Interface().([]string), ",")
	}
	if s, ok := o.field.Addr().Interface().(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprint(o.field.Interface())
}

// Set notes a value given by a flag; a list grows with each.
func (o *option) Set(text string) error {
	v := reflect.New(o.field.Type()).Elem()
	if v.Type() == listType {
		v = reflect.Append(v, reflect.ValueOf(text)) // commas are part of it
	} else if err := setText(v, text); err != nil {
		return err
	}
	if v.Kind() == reflect.Slice && o.flagged.IsValid() {
		v = reflect.AppendSlice(o.flagged, v)
	}
	o.flagged = v
	return nil
}

// IsBoolFlag tells the flag package that the option may stand without a value.
func (o *option) IsBoolFlag() bool { return boolean(o.field) }

// boolean says whether v, the field of an option, takes a plain true or false,
// besides the texts of its type if that is not bool.
func boolean(v reflect.Value) bool {
	if isText(v.Type()) {
		b, ok := v.Addr().Interface().(interface{ IsBoolFlag() bool })
		return ok && b.IsBoolFlag()
	}
	return v.Kind() == reflect.Bool
}

// quoted says whether the usage shows the default in quotes.
func (o *option) quoted() bool {
	return o.field.Kind() == reflect.String || o.field.Type() == listType
}

// valueName is what the usage calls the value.
func (o *option) valueName() string {
	switch t := o.field.Type(); {
	case isText(t):
		return "value"
	case t == durationType:
		return "duration"
	case t == listType:
		return "string (may be given several times)"
	case t.Kind() == reflect.String:
		return "string"
	case t.Kind() == reflect.Float64:
		return "float"
	default:
		return "int"
	}
}

// setText sets v, the field of an option, to what text says.
func setText(v reflect.Value, text string) error {
	if isText(v.Type()) {
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	}
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 60s", text)
		}
		v.SetInt(int64(d))
	case v.Type() == listType:
		list := strings.Split(text, ",")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		v.Set(reflect.ValueOf(list))
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		v.SetBool(b)
	case v.Kind() == reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return numberError(text, "a number", err)
		}
		v.SetFloat(f)
	case v.CanInt():
		n, err := strconv.ParseInt(text, 0, v.Type().Bits())
		if err != nil {
			return numberError(text, "an integer", err)
		}
		v.SetInt(n)
	default:
		n, err := strconv.ParseUint(text, 0, v.Type().Bits())
		if err != nil {
			return numberError(text, "a positive integer", err)
		}
		v.SetUint(n)
	}
	return nil
}

func numberError(text, want string, err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%s is out of range", text)
	}
	return fmt.Errorf("%q is not %s", text, want)
}
