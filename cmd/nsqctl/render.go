package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
	"go.yaml.in/yaml/v3"
)

// A page is what a command has to show: one value for programs, and its text for people.
type page struct {
	value any         // as JSON and YAML
	rows  any         // as CSV: a slice of structs; nil: value is one
	text  func(*text) // as table and wide
	err   error       // what the command ends with after the page was shown
}

// show writes the pages of next: one, or with --watch one after the other until ctx
// ends. One that fails is told and does not end a watch.
func (p *program) show(ctx context.Context, next func(context.Context) (*page, error)) error {
	for {
		pg, err := next(ctx)
		if err == nil {
			if p.watch > 0 && isTerminal(p.stdout) {
				io.WriteString(p.stdout, "\x1b[H\x1b[2J")
			}
			if err := p.write(pg); err != nil {
				return err
			}
			err = pg.err
		}
		if p.watch == 0 || ctx.Err() != nil {
			return err
		}
		if err != nil {
			p.tell(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(p.watch):
		}
	}
}

// write writes one page to stdout in the form that was asked for.
func (p *program) write(pg *page) error {
	var out bytes.Buffer
	var err error
	switch p.output {
	case "json":
		err = writeJSON(&out, pg.value)
	case "yaml":
		err = writeYAML(&out, pg.value)
	case "csv":
		rows := pg.rows
		if rows == nil {
			rows = pg.value
		}
		err = writeCSV(&out, rows)
	default:
		pg.text(&text{w: &out, wide: p.output == "wide", coloured: p.coloured()})
	}
	if err == nil {
		_, err = p.stdout.Write(out.Bytes())
	}
	return err
}

func writeJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

// writeYAML goes by way of JSON, which YAML includes: names and order are the same.
func writeYAML(w io.Writer, value any) error {
	var b bytes.Buffer
	if err := writeJSON(&b, value); err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(b.Bytes(), &node); err != nil {
		return err
	}
	block(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	return enc.Close()
}

// oldBool are the words that YAML 1.1 takes for true or false, and 1.2 does not.
var oldBool = regexp.MustCompile(`^(?i:y|n|yes|no|on|off)$`)

// block takes JSON's form from a node and all below it: what is left is quoted where
// YAML needs it.
func block(n *yaml.Node) {
	n.Style = 0
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str" && oldBool.MatchString(n.Value):
		n.Style = yaml.DoubleQuotedStyle
	case n.Kind != yaml.ScalarNode && len(n.Content) == 0:
		n.Style = yaml.FlowStyle
	}
	for _, c := range n.Content {
		block(c)
	}
}

// writeCSV writes the fields of rows that fit in a cell, under their JSON names.
func writeCSV(w io.Writer, rows any) error {
	v := reflect.ValueOf(rows)
	if v.Kind() != reflect.Slice {
		return usageError("use -o json", "there is no CSV of this")
	}
	fields := csvFields(v.Type().Elem())
	out := csv.NewWriter(w)
	record := make([]string, len(fields))
	for i, f := range fields {
		record[i], _, _ = strings.Cut(f.Tag.Get("json"), ",")
	}
	out.Write(record)
	for i := range v.Len() {
		row := reflect.Indirect(v.Index(i))
		for j, f := range fields {
			record[j] = csvCell(row.FieldByIndex(f.Index))
		}
		out.Write(record)
	}
	out.Flush()
	return out.Error()
}

func csvFields(t reflect.Type) []reflect.StructField {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var fields []reflect.StructField
	for _, f := range reflect.VisibleFields(t) {
		switch f.Type.Kind() {
		case reflect.String, reflect.Bool, reflect.Float64, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint64:
		case reflect.Slice:
			if f.Type.Elem().Kind() != reflect.String {
				continue
			}
		default:
			continue
		}
		if tag := f.Tag.Get("json"); tag != "" && tag != "-" {
			fields = append(fields, f)
		}
	}
	return fields
}

func csvCell(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Slice:
		return strings.Join(v.Interface().([]string), " ")
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}

// A tone is what a word means to who reads it.
type tone int

const (
	plain tone = iota
	good
	warning
	bad
	faint
	head
)

var tones = [...]lipgloss.Style{
	plain:   lipgloss.NewStyle(),
	good:    lipgloss.NewStyle().Foreground(lipgloss.Green),
	warning: lipgloss.NewStyle().Foreground(lipgloss.Yellow),
	bad:     lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
	faint:   lipgloss.NewStyle().Faint(true),
	head:    lipgloss.NewStyle().Bold(true),
}

// A cell is a word or a number of a table.
type cell struct {
	text string
	tone tone
}

// A column is one of a table whose rows are Ts.
type column[T any] struct {
	name  string
	right bool // aligned so: for numbers that are compared
	wide  bool // for -o wide only
	cell  func(T) cell
	order func(a, b T) int // of rows by it; nil: they are not sorted by it
}

// text is what people read.
type text struct {
	w              io.Writer
	wide, coloured bool
}

func (t *text) paint(tone tone, s string) string {
	if !t.coloured || tone == plain {
		return s
	}
	return tones[tone].Render(s)
}

// line writes one line; control characters of its arguments have been made visible.
func (t *text) line(tone tone, format string, args ...any) {
	fmt.Fprintln(t.w, t.paint(tone, visible(fmt.Sprintf(format, args...))))
}

func (t *text) blank() { fmt.Fprintln(t.w) }

// writeTable writes rows below the names of the columns.
func writeTable[T any](t *text, columns []column[T], rows []T) {
	lines := [][]cell{nil}
	var shown []column[T]
	for _, c := range columns {
		if c.wide && !t.wide {
			continue
		}
		shown = append(shown, c)
		lines[0] = append(lines[0], cell{c.name, head})
	}
	for _, row := range rows {
		line := make([]cell, len(shown))
		for i, c := range shown {
			line[i] = c.cell(row)
			line[i].text = visible(line[i].text)
		}
		lines = append(lines, line)
	}
	widths := make([]int, len(shown))
	for _, line := range lines {
		for i, c := range line {
			widths[i] = max(widths[i], lipgloss.Width(c.text))
		}
	}
	for _, line := range lines {
		var b strings.Builder
		for i, c := range line {
			space := strings.Repeat(" ", widths[i]-lipgloss.Width(c.text))
			word := t.paint(c.tone, c.text)
			switch {
			case shown[i].right:
				b.WriteString(space + word)
			case i == len(line)-1:
				b.WriteString(word)
			default:
				b.WriteString(word + space)
			}
			if i < len(line)-1 {
				b.WriteString("  ")
			}
		}
		fmt.Fprintln(t.w, strings.TrimRight(b.String(), " "))
	}
}

// visible returns s with characters that a terminal would obey, or that would break a
// table, as escapes: what daemons and clients call themselves is not to be trusted.
func visible(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	harmless := func(r rune) bool { return unicode.IsPrint(r) }
	if strings.IndexFunc(s, func(r rune) bool { return !harmless(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if harmless(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}
