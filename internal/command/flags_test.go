package command

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"nsqraft/internal/version"
)

func TestParse(t *testing.T) {
	tests := []struct {
		args        []string
		code        int
		done        bool
		out, errout string // all of stdout; part of stderr
	}{
		{args: []string{"--word=a", "-word", "b"}},
		{args: []string{"--version"}, done: true, out: "tool v" + version.Version + "\n"},
		{args: []string{"-version", "--word=a"}, done: true, out: "tool v" + version.Version + "\n"},
		{args: []string{"-help"}, done: true, errout: "-word"},
		{args: []string{"--wrd=a"}, code: 2, done: true, errout: "not defined: -wrd"},
		{args: []string{"--word=a", "more", "--word=b"}, errout: `ignored: ["more" "--word=b"]`},
	}
	for _, tt := range tests {
		var stdout, stderr bytes.Buffer
		f := NewFlags("tool", &stderr)
		var words Strings
		f.Var(&words, "word", "a word")
		code, done := f.Parse(tt.args, &stdout)
		if code != tt.code || done != tt.done || stdout.String() != tt.out || !strings.Contains(stderr.String(), tt.errout) {
			t.Errorf("%q: code %d, done %v, stdout %q, stderr %q; want %d, %v, %q, %q",
				tt.args, code, done, stdout.String(), stderr.String(), tt.code, tt.done, tt.out, tt.errout)
		}
		if !done && !slices.Equal(words, Strings{"a", "b"}) && len(tt.args) == 2 {
			t.Errorf("%q: words %v", tt.args, words)
		}
	}
}
