package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	tokenTopic    = "<TOPIC>"
	tokenHost     = "<HOST>"
	tokenPID      = "<PID>"
	tokenRev      = "<REV>"
	tokenDatetime = "<DATETIME>"
)

// A naming makes the names of one topic's files, relative to --output-dir and --work-dir.
// They may have folders in them.
type naming struct {
	format   string // cleaned; of the tokens, <PID>, <DATETIME> and <REV> are left
	datetime string // --datetime-format
}

// newNaming returns the naming of topic, and says in one sentence why there is none.
func newNaming(o *options, topic string) (naming, error) {
	host, err := os.Hostname()
	if err != nil {
		return naming{}, fmt.Errorf("name of this host: %w", err)
	}
	format := strings.ReplaceAll(o.filenameFormat, tokenHost, o.host(host))
	if o.exclusive() || o.rotateSize > 0 {
		if !strings.Contains(format, tokenRev) {
			return naming{}, errors.New("--filename-format must contain <REV> with --gzip, --rotate-size, --rotate-interval or --work-dir: there may be several files for one time")
		}
	} else {
		format = strings.ReplaceAll(format, tokenRev, "") // all goes to one file
	}
	if o.gzip && !strings.HasSuffix(format, ".gz") {
		format += ".gz"
	}
	// What the format says of folders is the operator's, and cleaned like any path. What
	// a topic makes of it is not: "." and ".." are names of topics.
	format = filepath.Clean(strings.TrimLeft(format, "/"))
	if !filepath.IsLocal(format) {
		return naming{}, fmt.Errorf("--filename-format leads out of --output-dir: %q", o.filenameFormat)
	}
	n := naming{strings.ReplaceAll(format, tokenTopic, topic), o.datetimeFormat}
	name := withRev(n.at(time.Now()), 0)
	if !filepath.IsLocal(name) || filepath.Clean(name) != name {
		return naming{}, fmt.Errorf("no file can be named for topic %q: %q leads to another folder", topic, name)
	}
	return n, nil
}

// at returns the name of a file opened at t, in which <REV> is left.
func (n naming) at(t time.Time) string {
	name := strings.ReplaceAll(n.format, tokenPID, strconv.Itoa(os.Getpid()))
	return strings.ReplaceAll(name, tokenDatetime, strftime(n.datetime, t))
}

// withRev puts a revision into what at returned.
func withRev(name string, rev int) string {
	return strings.ReplaceAll(name, tokenRev, fmt.Sprintf("-%06d", rev))
}

// ofAnyTime matches the names that at and withRev return for any time, process and
// revision; its groups are the revisions.
func (n naming) ofAnyTime() *regexp.Regexp {
	datetime := expand(n.datetime, regexp.QuoteMeta, func(layout string) string {
		if strings.Trim(layout, "0123456789") == "" {
			return `\d+`
		}
		return `[^/]+`
	})
	pattern := strings.NewReplacer(tokenPID, `\d+`, tokenRev, `(-\d{6,})`, tokenDatetime, datetime).Replace(regexp.QuoteMeta(n.format))
	return regexp.MustCompile("^" + pattern + "$")
}

// layouts are the directives of strftime that stock knows, as layouts of package time.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'H': "15", 'I': "03", 'm': "01",
	'M': "04", 'p': "PM", 'S': "05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST", '%': "%",
}

// strftime returns t as format asks for. What is no directive stays as it is.
func strftime(format string, t time.Time) string {
	return expand(format, func(text string) string { return text }, t.Format)
}

// expand returns format with directives, given as layouts, and the texts between them
// replaced.
func expand(format string, text, directive func(string) string) string {
	var b strings.Builder
	from := 0 // of the text
	for i := 0; i+1 < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		if layout, ok := layouts[format[i+1]]; ok {
			b.WriteString(text(format[from:i]))
			b.WriteString(directive(layout))
			i++
			from = i + 1
		}
	}
	b.WriteString(text(format[from:]))
	return b.String()
}
