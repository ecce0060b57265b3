package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/logline"
	"nsqraft/lookupd"
)

func noEnv(string) (string, bool) { return "", false }

func TestExitCodes(t *testing.T) {
	config := filepath.Join(t.TempDir(), "bad.cfg")
	if err := os.WriteFile(config, []byte(`log_level = "zz"`), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		code int
		out  string // part of what is written
	}{
		{[]string{"--version"}, 0, "nsqlookupd v" + lookupd.Version + " (built w/go"},
		{[]string{"-version"}, 0, "nsqlookupd v"},
		{[]string{"-h"}, 0, "--initial-cluster"},
		{[]string{"--no-such-flag"}, 2, "no-such-flag"},
		{[]string{"--log-level=zz"}, 2, "zz"},
		{[]string{"--config=" + config}, 1, "zz"},
		{[]string{"--config=/does/not/exist"}, 1, "/does/not/exist"},
		{[]string{"--log-format=xml"}, 1, "xml"},
		{[]string{"--session-grace=1s"}, 1, "--session-grace"},
		{[]string{"--join=a:1"}, 1, "--data-path"},
		{[]string{"--tcp-address=256.0.0.1:1"}, 1, "failed to instantiate nsqlookupd"},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		if code := run(tt.args, noEnv, &out, &out); code != tt.code || !strings.Contains(out.String(), tt.out) {
			t.Errorf("%v: exit code %d, want %d, with %q in:\n%s", tt.args, code, tt.code, tt.out, out.String())
		}
	}
}

func TestReloadedLevelIsTheDefaultUnlessToldOtherwise(t *testing.T) {
	opts, _, err := load(nil, noEnv, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log, err := logline.New(logline.Options{Level: opts.LogLevel, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	if err := reload(nil, noEnv, os.Stderr, lookupd.New(&opts.Options, log), log); err != nil {
		t.Fatal(err)
	}
	if log.GetLevel() != hclog.Info {
		t.Errorf("level %v after a reload without --log-level, want info", log.GetLevel())
	}
	if err := reload([]string{"--log-level=debug"}, noEnv, os.Stderr, lookupd.New(&opts.Options, log), log); err != nil {
		t.Fatal(err)
	}
	if log.GetLevel() != hclog.Debug {
		t.Errorf("level %v after a reload with --log-level=debug", log.GetLevel())
	}
}

func TestCheckHealth(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/livez" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	for url, want := range map[string]int{srv.URL + "/livez": 0, srv.URL + "/readyz": 1, "http://127.0.0.1:1/": 1, "::": 1} {
		var out bytes.Buffer
		if got := run([]string{"--check-health=" + url}, noEnv, &out, &out); got != want {
			t.Errorf("%s: exit code %d, want %d: %s", url, got, want, out.String())
		}
	}
}
