//go:build unix

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"nsqraft/internal/nsqtest"
	"nsqraft/internal/nsqtest/lookupdtest"
)

// The life of an nsqadmin, as far as signals tell it.
func TestLifeOfAnNsqadmin(t *testing.T) {
	dir := t.TempDir()
	config, users := filepath.Join(dir, "nsqadmin.cfg"), filepath.Join(dir, "users.toml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(config, "nsqlookupd_http_addresses = [\""+lookupdtest.Start(t).HTTP+"\"]\nauth_file = \""+users+"\"\n")
	write(users, "")
	out := new(nsqtest.Output)
	code := make(chan int, 1)
	go func() { code <- run([]string{"--config=" + config, "--http-address=127.0.0.1:0"}, noEnv, out, out) }()
	out.Await(t, `INFO: nsqadmin v1\.3\.0\S* \(built w/go\S+\)\n`)
	url := "http://" + out.Await(t, `HTTP: listening on (\S+)`)
	status := func() int {
		t.Helper()
		resp, err := http.Get(url + "/api/topics")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := run([]string{"--check-health=" + url + "/livez"}, noEnv, out, out); got != 0 {
		t.Errorf("health check exits with %d", got)
	}
	if got := status(); got != http.StatusUnauthorized {
		t.Errorf("%d for nobody, want 401", got)
	}
	write(users, "anonymous = \"viewer\"\n")
	write(config, "nsqlookupd_http_addresses = [\"127.0.0.1:1\"]\nlog_level = \"debug\"\n")
	send(t, syscall.SIGHUP)
	out.Await(t, `reloaded log_level=debug`)
	if got := status(); got != http.StatusOK {
		t.Errorf("%d for nobody after the file lets them, want 200", got)
	}
	write(users, "anonymous = \"god\"\n")
	send(t, syscall.SIGHUP)
	out.Await(t, `ERROR: reload failed, nothing was changed.*god`)
	send(t, syscall.SIGTERM)
	select {
	case got := <-code:
		if got != 0 {
			t.Errorf("exit code %d:\n%s", got, out)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("does not end:\n%s", out)
	}
	http.DefaultClient.CloseIdleConnections()
}

func send(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}
