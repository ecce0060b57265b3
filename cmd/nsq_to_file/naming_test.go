package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestStrftime(t *testing.T) {
	at := time.Date(2026, time.March, 4, 15, 6, 7, 0, time.FixedZone("XYZ", -5*3600))
	tests := []struct{ format, want string }{
		{"%Y-%m-%d_%H", "2026-03-04_15"},
		{"%Y/%m/%d/%H%M%S", "2026/03/04/150607"},
		{"%y%b%B %a%A %I%p %z %Z", "26MarMarch WedWednesday 03PM -0500 XYZ"},
		{"100%%", "100%"},
		{"%Q %", "%Q %"}, // as stock: what it does not know stays
		{"", ""},
		// These are layouts to package time, which stock hands the whole text to.
		{"log1-Jan-2006-%d", "log1-Jan-2006-04"},
		{"%%Y", "%Y"},
	}
	for _, tt := range tests {
		if got := strftime(tt.format, at); got != tt.want {
			t.Errorf("strftime(%q) = %q, want %q", tt.format, got, tt.want)
		}
	}
}

func TestNaming(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	short, _, _ := strings.Cut(host, ".")
	pid := strconv.Itoa(os.Getpid())
	at := time.Date(2026, time.March, 4, 15, 6, 7, 0, time.Local)
	tests := []struct {
		set   func(*options)
		topic string
		want  string // of revision 7
		err   string // in the error
	}{
		{nil, "orders", "orders." + short + ".2026-03-04_15.log", ""},
		{func(o *options) { o.gzip = true }, "orders", "orders." + short + "-000007.2026-03-04_15.log.gz", ""},
		{func(o *options) { o.rotateSize = 1 }, "orders", "orders." + short + "-000007.2026-03-04_15.log", ""},
		{func(o *options) { o.workDir = "elsewhere" }, "orders", "orders." + short + "-000007.2026-03-04_15.log", ""},
		{func(o *options) { o.hostIdentifier = "<HOSTNAME>_<SHORT_HOST>_x" }, "a", "a." + host + "_" + short + "_x.2026-03-04_15.log", ""},
		{func(o *options) { o.filenameFormat = "/<TOPIC>//<DATETIME>/./<PID>.log"; o.datetimeFormat = "%Y/%m" }, "a#ephemeral", "a#ephemeral/2026/03/" + pid + ".log", ""},
		{func(o *options) { o.filenameFormat = "<TOPIC><REV>.gz"; o.gzip = true }, "a", "a-000007.gz", ""},

		{func(o *options) { o.filenameFormat = "<TOPIC>.log"; o.gzip = true }, "a", "", "<REV>"},
		{func(o *options) { o.filenameFormat = "<TOPIC>.log"; o.rotateSize = 1 }, "a", "", "<REV>"},
		{func(o *options) { o.filenameFormat = "<TOPIC>.log"; o.rotateInterval = 1 }, "a", "", "<REV>"},
		{func(o *options) { o.filenameFormat = "<TOPIC>.log"; o.workDir = "elsewhere" }, "a", "", "<REV>"},
		{func(o *options) { o.filenameFormat = "../<TOPIC>.log" }, "a", "", "leads out of --output-dir"},
		{func(o *options) { o.filenameFormat = "<TOPIC>/a.log" }, "..", "", "another folder"},
		{func(o *options) { o.filenameFormat = "x/<TOPIC>/a.log" }, "..", "", "another folder"},
		{func(o *options) { o.filenameFormat = "x/<TOPIC>/a.log" }, ".", "", "another folder"},
		{func(o *options) { o.filenameFormat = "<TOPIC>.log" }, "..", "...log", ""},
	}
	for _, tt := range tests {
		o := defaultOptions(t)
		o.workDir = o.outputDir
		if tt.set != nil {
			tt.set(o)
		}
		n, err := newNaming(o, tt.topic)
		if err != nil || tt.err != "" {
			if err == nil || tt.err == "" || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s of %s: error %v, want one with %q", o.filenameFormat, tt.topic, err, tt.err)
			}
			continue
		}
		got := withRev(n.at(at), 7)
		if got != tt.want {
			t.Errorf("%s of %s: %q, want %q", o.filenameFormat, tt.topic, got, tt.want)
		}
		if any := n.ofAnyTime(); !any.MatchString(got) {
			t.Errorf("%q is not matched by %v", got, any)
		}
	}
}

func TestNamesOfAnyTime(t *testing.T) {
	o := defaultOptions(t)
	o.workDir = o.outputDir
	o.gzip = true
	o.hostIdentifier = "h.1"
	o.filenameFormat = "<DATETIME>/<TOPIC>.<HOST>.<PID><REV>"
	n, err := newNaming(o, "a.b")
	if err != nil {
		t.Fatal(err)
	}
	any := n.ofAnyTime()
	for name, want := range map[string]bool{
		"2020-01-02_03/a.b.h.1.1-000000.gz":       true,
		"2020-01-02_03/a.b.h.1.23-1234567.gz":     true,
		"2020-01-02_03/axb.h.1.1-000000.gz":       false,
		"2020-01-02_03/a.b.h.1.1-000000.gz.gz":    false,
		"2020-01-02_xx/a.b.h.1.1-000000.gz":       false,
		"x/2020-01-02_03/a.b.h.1.1-000000.gz":     false,
		"2020-01-02_03/other.a.b.h.1.1-000000.gz": false,
	} {
		if got := any.MatchString(name); got != want {
			t.Errorf("%s matches %v: %v, want %v", name, any, got, want)
		}
	}
	o.datetimeFormat = "%b.%Z"
	if n, err = newNaming(o, "a"); err != nil {
		t.Fatal(err)
	}
	if name := withRev(n.at(time.Now()), 1); !regexp.MustCompile(n.ofAnyTime().String()).MatchString(name) {
		t.Errorf("%s is not matched by %v", name, n.ofAnyTime())
	}
}
