package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"nsqraft/internal/nsqtest/lookupdtest"
)

// Each command says in a line what it does, and refuses what it cannot take.
func TestEveryCommandIsDescribed(t *testing.T) {
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.Short == "" || !unicode.IsUpper(rune(cmd.Short[0])) || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s is described by %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.Runnable() && cmd.Args == nil && !strings.Contains(cmd.Use, "...") && cmd.Name() != "help" {
			t.Errorf("%s does not look at its arguments", cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			look(c)
		}
	}
	look(newRootCommand(&program{}))
}

func TestConfirm(t *testing.T) {
	tests := []struct {
		typed string
		ok    bool
	}{
		{"yes\n", true}, {" yes \r\n", true}, {"yes", true}, {"y\n", false}, {"no\n", false}, {"\n", false}, {"", false}, {"yes please\n", false},
	}
	for _, tt := range tests {
		if got := saysYes(t.Context(), strings.NewReader(tt.typed)); got != tt.ok {
			t.Errorf("%q means yes: %v, want %v", tt.typed, got, tt.ok)
		}
	}
	p := &program{stdin: strings.NewReader("yes\n"), stderr: io.Discard}
	var f *failure
	if err := p.confirm(t.Context(), false, "Really?"); !errors.As(err, &f) || f.code != exitUsage {
		t.Errorf("without a terminal: %v, want a refusal with code %d", err, exitUsage)
	}
	if err := p.confirm(t.Context(), true, "Really?"); err != nil {
		t.Errorf("with --yes: %v", err)
	}
}

func TestPattern(t *testing.T) {
	tests := []struct {
		source, name string
		ok           bool
	}{
		{"orders", "orders", true}, {"orders", "reorders", false}, {"a|b", "a", true}, {"a|b", "ab", false}, {"test.*", "test-1", true}, {"", "x", false},
	}
	for _, tt := range tests {
		var m pattern
		if err := m.Set(tt.source); err != nil {
			t.Fatal(err)
		}
		if got := m.ok(tt.name); got != tt.ok {
			t.Errorf("%q matches %q: %v, want %v", tt.source, tt.name, got, tt.ok)
		}
	}
	if m := (pattern{}); m.given() || !m.ok("x") {
		t.Error("no pattern does not match all")
	}
}

func TestConsequences(t *testing.T) {
	objects := []object{
		{Topic: "orders", Messages: 10206, Clients: 2, Nodes: []string{"a", "b"}},
		{Topic: "audit", Channel: "eyes", Nodes: []string{"b"}},
	}
	want := "Delete orders, audit/eyes? This drops 10,206 messages on 2 nsqds and disconnects 2 consumers."
	if got := consequences(deleteAction, objects); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	many := make([]object, 7)
	for i := range many {
		many[i] = object{Topic: string(rune('a' + i)), Nodes: []string{"a"}}
	}
	want = "Empty a, b, c, d, e and 2 more? This drops 0 messages on 1 nsqd."
	if got := consequences(emptyAction, many); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A bundle goes to a pipe as well, and no file of it is more than it may be.
func TestBundleToStdout(t *testing.T) {
	l := lookupdtest.Start(t)
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"debug", "bundle", "-f", "-", "--lookupd-http-address", l.HTTP}, strings.NewReader(""), &stdout, &stderr, func(string) (string, bool) { return "", false })
	if code != exitOK {
		t.Fatalf("code %d: %s", code, stderr.String())
	}
	gz, err := gzip.NewReader(&stdout)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for r := tar.NewReader(gz); ; files++ {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Size > bundleFile || h.Mode != 0o600 || !strings.HasPrefix(h.Name, "nsqctl-bundle-") || strings.Contains(h.Name, "..") {
			t.Errorf("a file %s of %d bytes, mode %o", h.Name, h.Size, h.Mode)
		}
	}
	if files < 10 {
		t.Errorf("%d files", files)
	}
}

// The bound of all files holds, and what is left out is named.
func TestBundleIsBounded(t *testing.T) {
	var out bytes.Buffer
	b := newBundle(&program{}, &out, "folder", time.Unix(0, 0))
	b.written = bundleTotal - 10
	b.add("fits", make([]byte, 10), nil)
	b.add("does not", make([]byte, 1), nil)
	b.add("cut", nil, errCut)
	b.add("failed", nil, errors.New("http://u:p@h says no"))
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	got := b.manifest.Files
	if got[0] != (manifestFile{Name: "cut", Cut: true}) || got[1].Error != "the bundle has its 512MiB" || got[2].Error != "http://***@h says no" || got[3] != (manifestFile{Name: "fits", Bytes: 10}) {
		t.Errorf("%+v", got)
	}
	if b.failures() != 2 {
		t.Errorf("%d failures, want 2", b.failures())
	}
}

// A turner counts the pages that are written to it and ends the watch after some.
type turner struct {
	pages, most int
	end         func()
}

func (w *turner) Write(b []byte) (int, error) {
	if w.pages++; w.pages == w.most {
		w.end()
	}
	return len(b), nil
}

func TestWatch(t *testing.T) {
	l := lookupdtest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &turner{most: 3, end: cancel}
	var stderr bytes.Buffer
	code := run(ctx, []string{"status", "--watch=100ms", "--lookupd-http-address", l.HTTP}, strings.NewReader(""), out, &stderr, func(string) (string, bool) { return "", false })
	if code != exitOK || out.pages != 3 || stderr.Len() > 0 {
		t.Errorf("code %d after %d pages, stderr %q; want 0 after 3", code, out.pages, stderr.String())
	}
}
