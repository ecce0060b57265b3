package config

import (
	"errors"
	"reflect"
	"slices"
)

// A Source is where the value of an option is from.
type Source string

const (
	FromDefault     Source = "default"
	FromFile        Source = "file"
	FromEnvironment Source = "environment"
)

// A Setting is one option with its value, as Load would leave it.
type Setting struct {
	Flag   string `json:"flag"`
	Key    string `json:"key"` // of the file; empty: there is none
	Env    string `json:"env"`
	Value  string `json:"value"` // as a user would write it; a list with commas
	Source Source `json:"source"`
	Usage  string `json:"usage"`
}

// Describe fills the struct that opts points to as Load does for the program called
// app without flags but --config=file, and tells the options in their order. Warnings
// and errors are Load's; there is an error for each value that is wrong, in one that
// joins them, and settings without those.
func Describe(app string, opts any, file string, env func(string) (string, bool)) (settings []Setting, warnings []string, err error) {
	options := optionsOf(app, reflect.ValueOf(opts).Elem())
	sources := make([]Source, len(options))
	for i := range sources {
		sources[i] = FromDefault
	}
	keys, err := readFile(file)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for i, o := range options {
		if value, ok := keys[o.key]; ok && o.key != "-" {
			if err := setTOML(o.field, value); err != nil {
				errs = append(errs, keyError(o.key, file, err))
			} else {
				sources[i] = FromFile
			}
		}
		if text, ok := env(o.env); ok && text != "" {
			if err := overlay([]*option{o}, env); err != nil {
				errs = append(errs, err)
			} else {
				sources[i] = FromEnvironment
			}
		}
	}
	for i, o := range options {
		s := Setting{Flag: o.flag, Key: o.key, Env: o.env, Value: o.String(), Source: sources[i], Usage: o.usage}
		if s.Key == "-" {
			s.Key = ""
		}
		settings = append(settings, s)
	}
	return settings, unknownKeys(keys, file, options), errors.Join(errs...)
}

// Keys returns the keys that a file may have for the struct that opts points to, in
// its order.
func Keys(opts any) []string {
	var keys []string
	for _, o := range optionsOf("", reflect.ValueOf(opts).Elem()) {
		if o.key != "-" {
			keys = append(keys, o.key)
		}
	}
	return slices.Clip(keys)
}
