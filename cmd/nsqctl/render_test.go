package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
)

type fruit struct {
	Name   string   `json:"name"`
	Weight int64    `json:"weight_g"`
	Ripe   bool     `json:"ripe"`
	Share  float64  `json:"share"`
	Tags   []string `json:"tags"`
	Parts  []fruit  `json:"parts"`
	Hidden string   `json:"-"`
}

var fruits = []fruit{
	{Name: "apple", Weight: 182, Ripe: true, Share: 0.25, Tags: []string{"red", "round"}, Parts: []fruit{{Name: "core"}}},
	{Name: "a,\"b\"\n\x1b[31m#: yes", Weight: 1234567, Tags: []string{}},
}

var fruitColumns = []column[fruit]{
	{name: "FRUIT", cell: func(f fruit) cell { return cell{text: f.Name} }},
	{name: "GRAMS", right: true, cell: number(func(f fruit) int64 { return f.Weight })},
	{name: "SHARE", wide: true, cell: func(fruit) cell { return cell{text: "x"} }},
	{name: "RIPE", cell: func(f fruit) cell {
		if f.Ripe {
			return cell{"yes", good}
		}
		return cell{}
	}},
}

func table(wide, coloured bool) string {
	var b bytes.Buffer
	writeTable(&text{w: &b, wide: wide, coloured: coloured}, fruitColumns, fruits)
	return b.String()
}

func TestTable(t *testing.T) {
	want := strings.Join([]string{
		`FRUIT                      GRAMS  RIPE`,
		`apple                        182  yes`,
		`a,"b"\n\x1b[31m#: yes  1,234,567`,
		``}, "\n")
	if got := table(false, false); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	want = strings.Join([]string{
		`FRUIT                      GRAMS  SHARE  RIPE`,
		`apple                        182  x      yes`,
		`a,"b"\n\x1b[31m#: yes  1,234,567  x`,
		``}, "\n")
	if got := table(true, false); got != want {
		t.Errorf("wide: got\n%s\nwant\n%s", got, want)
	}
}

// Colours take no room, and there are none but ours.
func TestColours(t *testing.T) {
	got := table(false, true)
	if !strings.Contains(got, "\x1b[32myes\x1b[m") {
		t.Errorf("no green yes in %q", got)
	}
	escapes := regexp.MustCompile("\x1b\\[[0-9;]*m")
	bare := regexp.MustCompile(` +\n`).ReplaceAllString(escapes.ReplaceAllString(got, ""), "\n")
	if want := table(false, false); bare != want {
		t.Errorf("without escapes\n%s\nwant\n%s", bare, want)
	}
}

func TestForms(t *testing.T) {
	p := &program{}
	tests := []struct{ output, want string }{
		{"csv", "name,weight_g,ripe,share,tags\n" +
			"apple,182,true,0.25,red round\n" +
			"\"a,\"\"b\"\"\n\x1b[31m#: yes\",1234567,false,0,\n"},
		{"yaml", "- name: apple\n  weight_g: 182\n  ripe: true\n  share: 0.25\n  tags:\n    - red\n    - round\n  parts:\n" +
			"    - name: core\n      weight_g: 0\n      ripe: false\n      share: 0\n      tags: null\n      parts: null\n" +
			"- name: \"a,\\\"b\\\"\\n\\e[31m#: yes\"\n  weight_g: 1234567\n  ripe: false\n  share: 0\n  tags: []\n  parts: null\n"},
	}
	for _, tt := range tests {
		var b bytes.Buffer
		p.output, p.stdout = tt.output, &b
		if err := p.write(&page{value: fruits}); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.output, got, tt.want)
		}
	}
}

// Names that YAML would take for something else stay names.
func TestYAMLStrings(t *testing.T) {
	var b bytes.Buffer
	if err := writeYAML(&b, []string{"yes", "null", "1.5", "0x10", "2020-01-01", "a: b", "- c", ""}); err != nil {
		t.Fatal(err)
	}
	want := "- \"yes\"\n- \"null\"\n- \"1.5\"\n- \"0x10\"\n- \"2020-01-01\"\n- 'a: b'\n- '- c'\n- \"\"\n"
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCSVOfWhatIsNoList(t *testing.T) {
	var b bytes.Buffer
	p := &program{output: "csv", stdout: &b}
	if err := p.write(&page{value: fruits[0]}); err == nil {
		t.Errorf("no error, but %q", b.String())
	}
}

func TestVisible(t *testing.T) {
	tests := []struct{ s, want string }{
		{"orders", "orders"},
		{"größe 数", "größe 数"},
		{"\x1b]0;title\a", `\x1b]0;title\a`},
		{"a\tb\nc\r", `a\tb\nc\r`},
		{"\u202eevil", `\u202eevil`},
		{"\xff", "\ufffd"},
	}
	for _, tt := range tests {
		if got := visible(tt.s); got != tt.want {
			t.Errorf("visible(%q) = %q, want %q", tt.s, got, tt.want)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0ms"}, {0, "0ms"}, {34 * time.Millisecond, "34ms"}, {41 * time.Second, "41s"}, {time.Minute, "1m"},
		{14*time.Minute + 3*time.Second, "14m3s"}, {2*time.Hour + 14*time.Minute + 59*time.Second, "2h14m"},
		{3*24*time.Hour + 2*time.Hour, "3d2h"}, {3*24*time.Hour + 5*time.Minute, "3d"},
	} {
		if got := span(tt.d); got != tt.want {
			t.Errorf("span(%v) = %s, want %s", tt.d, got, tt.want)
		}
	}
	for _, tt := range []struct{ got, want string }{
		{millis(0), "-"}, {millis(0.42), "0.4ms"}, {millis(34.4), "34ms"}, {millis(60333), "1m"},
		{size(0), "-"}, {size(-1), "-"}, {size(1 << 20), "1.0MiB"}, {size(512), "512B"},
		{plural(1, "topic"), "1 topic"}, {plural(0, "topic"), "0 topics"}, {plural(1234, "topic"), "1,234 topics"},
		{seconds(0), "-"}, {seconds(90), "1m30s"}, {count(-1234), "-1,234"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}

func TestMask(t *testing.T) {
	tests := []struct{ s, want string }{
		{"http://127.0.0.1:4161/path?x=1", "http://127.0.0.1:4161/path?x=1"},
		{`["http://bob:secret@auth:1/","b"]`, `["http://***@auth:1/","b"]`},
		{"http://tokenonly@auth", "http://***@auth"},
		{"http://a/?access_token=abc&y=2", "http://a/?access_token=***&y=2"},
		{"http://a/?y=2&api_key=abc#z", "http://a/?y=2&api_key=***"},
		{"Authorization: Bearer abcdefgh.ijkl-mn", "Authorization: Bearer ***"},
		{"user@example.com", "user@example.com"},
	}
	for _, tt := range tests {
		if got := mask(tt.s); got != tt.want {
			t.Errorf("mask(%q) = %q, want %q", tt.s, got, tt.want)
		}
	}
	for _, tt := range []struct{ name, value, want string }{
		{"auth_secret", "abc", "***"}, {"--password", "x", "***"}, {"auth-secret", "", ""}, {"data_path", "/var", "/var"},
		{"auth_http_addresses", "http://u:p@h", "http://***@h"},
	} {
		if got := maskOption(tt.name, tt.value); got != tt.want {
			t.Errorf("maskOption(%q, %q) = %q, want %q", tt.name, tt.value, got, tt.want)
		}
	}
}
