package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nsqraft/nsqadmin"
)

func noEnv(string) (string, bool) { return "", false }

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const lookupd = "--lookupd-http-address=127.0.0.1:1"
	tests := []struct {
		args []string
		code int
		out  string // part of what is written
	}{
		{[]string{"--version"}, 0, "nsqadmin v" + nsqadmin.Version + " (built w/go"},
		{[]string{"-h"}, 0, "--acl-trusted-proxy-cidr"},
		{[]string{"--no-such-flag"}, 2, "no-such-flag"},
		{[]string{"--log-level=zz", lookupd}, 2, "zz"},
		{[]string{"--config=" + file("level", `log_level = "zz"`), lookupd}, 1, "zz"},
		{[]string{"--config=/does/not/exist", lookupd}, 1, "/does/not/exist"},
		{[]string{"--strict-config", "--config=" + file("key", `admin_user = ["a"]`), lookupd}, 1, "admin_user"},
		{[]string{"--log-format=xml", lookupd}, 1, "xml"},
		{nil, 1, "failed to instantiate nsqadmin - --nsqd-http-address or --lookupd-http-address required"},
		{[]string{lookupd, "--nsqd-http-address=127.0.0.1:1"}, 1, "use --nsqd-http-address or --lookupd-http-address not both"},
		{[]string{lookupd, "--auth-file=/does/not/exist"}, 1, "--auth-file"},
		{[]string{lookupd, "--auth-file=" + file("users", "[users.a]\nrole = \"god\"")}, 1, "god"},
		{[]string{lookupd, "--tls-cert=/does/not/exist", "--tls-key=/does/not/exist"}, 1, "--tls-cert"},
		{[]string{lookupd, "--trusted-origin=example.com"}, 1, "--trusted-origin"},
		{[]string{lookupd, "--http-address=256.0.0.1:1"}, 1, "listen (256.0.0.1:1) failed"},
		{[]string{"--check-health=http://127.0.0.1:1/livez"}, 1, "127.0.0.1:1"},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		if code := run(tt.args, noEnv, &out, &out); code != tt.code || !strings.Contains(out.String(), tt.out) {
			t.Errorf("%v: exit code %d, want %d, with %q in:\n%s", tt.args, code, tt.code, tt.out, out.String())
		}
	}
}
