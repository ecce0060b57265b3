package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"nsqraft/internal/command"
)

// A filter chooses messages that are JSON objects, and fields of them. With no field
// named it passes everything as it is.
type filter struct {
	field string          // --require-json-field; "": any object
	value string          // --require-json-value; "": any
	keep  command.Strings // --whitelist-json-field; empty: all

	// Set by compile: value as a number, if it is one.
	number   float64
	isNumber bool
}

// compile returns the filter ready for use.
func (f filter) compile() *filter {
	number, err := strconv.ParseFloat(f.value, 64)
	f.number, f.isNumber = number, err == nil
	return &f
}

// Why a message is not passed.
var (
	errNotWanted    = errors.New("the required field is missing or has another value") // it is dropped
	errNoObject     = errors.New("not a JSON object")                                  // it is dropped, and that is logged
	errFieldMissing = errors.New("the field whose value is required is missing")       // it comes again
)

// apply returns what is left of a message.
func (f *filter) apply(body []byte) (left []byte, err error) {
	if f.field == "" && len(f.keep) == 0 {
		return body, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoObject, err)
	}
	if f.field != "" {
		value, ok := object[f.field]
		if !ok && f.value != "" {
			return nil, errFieldMissing
		}
		if !ok || f.value != "" && !f.matches(value) {
			return nil, errNotWanted
		}
	}
	if len(f.keep) == 0 {
		return body, nil
	}
	kept := make(map[string]json.RawMessage, len(f.keep))
	for _, field := range f.keep {
		if value, ok := object[field]; ok {
			kept[field] = value
		}
	}
	return json.Marshal(kept)
}

// matches compares a JSON value with the required one: a string with its text, a
// number with its value. Others never match.
func (f *filter) matches(value json.RawMessage) bool {
	var decoded any
	if json.Unmarshal(value, &decoded) != nil {
		return false
	}
	switch v := decoded.(type) {
	case string:
		return v == f.value
	case float64:
		return f.isNumber && v == f.number
	}
	return false
}
