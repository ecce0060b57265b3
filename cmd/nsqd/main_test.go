package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/logline"
	"nsqraft/nsqd"
)

func noEnv(string) (string, bool) { return "", false }

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	config := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "--config=" + path
	}
	tests := []struct {
		args []string
		code int
		out  string // part of what is written
	}{
		{[]string{"--version"}, 0, "nsqd v" + nsqd.Version + " (built w/go"},
		{[]string{"-version"}, 0, "nsqd v1.3.0"},
		{[]string{"-h"}, 0, "--mem-queue-size"},
		{[]string{"--no-such-flag"}, 2, "no-such-flag"},
		{[]string{"--log-level=zz"}, 2, "zz"},
		{[]string{"--mem-queue-size=many"}, 2, "mem-queue-size"},
		{[]string{"--tls-required=perhaps"}, 2, "tcp-https"},
		{[]string{config("level", `log_level = "zz"`)}, 1, "zz"},
		{[]string{config("strict", `no_such_key = 1`), "--strict-config"}, 1, "no_such_key"},
		{[]string{config("tls", `tls_required = true`)}, 1, "cannot require TLS client connections without TLS key and cert"},
		{[]string{"--config=/does/not/exist"}, 1, "/does/not/exist"},
		{[]string{"--log-format=xml"}, 1, "xml"},
		{[]string{"--node-id=1024"}, 1, "FATAL: failed to instantiate nsqd - --node-id must be [0,1024)"},
		{[]string{"--tls-required"}, 1, "cannot require TLS client connections without TLS key and cert"},
		{[]string{"--mem-queue-size=-1"}, 1, "--mem-queue-size"},
		{[]string{"--output-buffer-timeout=0"}, 1, "--output-buffer-timeout"},
		{[]string{"--statsd-interval=0"}, 1, "--statsd-interval"},
		{[]string{"--data-path=" + filepath.Join(dir, "missing")}, 1, "failed to lock data-path: "},
		{[]string{"--data-path=" + dir, "--tcp-address=256.0.0.1:1"}, 1, "failed to instantiate nsqd - listen (256.0.0.1:1) failed - "},
		{[]string{"--check-health=http://127.0.0.1:1/"}, 1, "127.0.0.1:1"},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		if code := run(tt.args, noEnv, &out, &out); code != tt.code || !strings.Contains(out.String(), tt.out) {
			t.Errorf("%v: exit code %d, want %d, with %q in:\n%s", tt.args, code, tt.code, tt.out, out.String())
		}
	}
}

// Every flag of stock v1.3.0 and its key in the configuration file is known.
func TestFlagsAndKeysOfStock(t *testing.T) {
	flags := map[string]string{ // of flag: a value; those with a key of another name are below
		"auth-http-request-method": "post", "broadcast-address": "a", "broadcast-tcp-port": "1", "broadcast-http-port": "2",
		"data-path": "d", "deflate": "false", "e2e-processing-latency-window-time": "1m", "http-address": "127.0.0.1:0",
		"http-client-connect-timeout": "1s", "http-client-request-timeout": "1s", "https-address": "127.0.0.1:0", "log-level": "warn",
		"log-prefix": "x", "max-body-size": "10", "max-bytes-per-file": "10", "max-channel-consumers": "1", "max-deflate-level": "5",
		"max-heartbeat-interval": "10s", "max-msg-size": "10", "max-msg-timeout": "1m", "max-output-buffer-size": "100",
		"max-output-buffer-timeout": "1s", "max-rdy-count": "1", "max-req-timeout": "1m", "mem-queue-size": "1",
		"min-output-buffer-timeout": "1ms", "msg-timeout": "1s", "output-buffer-timeout": "1ms", "queue-scan-selection-count": "1",
		"queue-scan-worker-pool-max": "1", "snappy": "false", "statsd-address": "a:1", "statsd-exclude-ephemeral": "true",
		"statsd-interval": "1s", "statsd-mem-stats": "false", "statsd-prefix": "p", "statsd-udp-packet-size": "100", "sync-every": "1",
		"sync-timeout": "1s", "tcp-address": "127.0.0.1:0", "tls-cert": "c", "tls-client-auth-policy": "require", "tls-key": "k",
		"tls-min-version": "tls1.3", "tls-required": "tcp-https", "tls-root-ca-file": "r", "verbose": "true", "worker-id": "true",
	}
	names := map[string][2]string{ // of flag: key, value
		"node-id": {"id", "7"}, "lookupd-tcp-address": {"nsqlookupd_tcp_addresses", "a:1"}, "auth-http-address": {"auth_http_addresses", "a:1"},
		"e2e-processing-latency-percentile": {"e2e_processing_latency_percentiles", "0.9,0.5"}, "enable-experiment": {"enable_experiment", "topology-aware-consumption"},
	}
	for flag, value := range flags {
		names[flag] = [2]string{strings.ReplaceAll(flag, "-", "_"), value}
	}
	var args []string
	var file strings.Builder
	for flag, name := range names {
		args = append(args, "--"+flag+"="+name[1])
		file.WriteString(name[0] + " = \"" + name[1] + "\"\n")
	}
	path := filepath.Join(t.TempDir(), "nsqd.cfg")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{args, {"--config=" + path, "--strict-config"}} {
		opts, warnings, err := load(args, noEnv, os.Stderr)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%v: %v, %v", args, warnings, err)
		}
		if err := opts.Validate(); err != nil {
			t.Error(err)
		}
		if opts.NodeID != 7 || len(opts.E2EPercentiles) != 2 || len(opts.LookupdTCPAddresses) != 1 || opts.TLSMinVersion.String() != "tls1.3" {
			t.Errorf("got %+v", opts)
		}
	}
}

// fakeServer notes what was done with it.
type fakeServer struct {
	drained  chan struct{}
	failed   chan error
	draining bool
	quiet    bool // a drain is over at once
	closed   bool
	closeErr error
}

func newFakeServer() *fakeServer {
	return &fakeServer{drained: make(chan struct{}), failed: make(chan error, 1)}
}

func (s *fakeServer) Close() error             { s.closed = true; return s.closeErr }
func (s *fakeServer) Failed() <-chan error     { return s.failed }
func (s *fakeServer) Draining() bool           { return s.draining }
func (s *fakeServer) Drained() <-chan struct{} { return s.drained }

func (s *fakeServer) Drain() {
	s.draining = true
	if s.quiet {
		close(s.drained)
	}
}

func TestSignals(t *testing.T) {
	const hup, intr, term = syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM
	tests := []struct {
		name    string
		signals []os.Signal
		drain   bool
		prepare func(*fakeServer)
		code    int
		drained bool
		reloads int
	}{
		{"SIGINT", []os.Signal{intr}, false, nil, 0, false, 0},
		{"SIGTERM", []os.Signal{term}, false, nil, 0, false, 0},
		{"SIGHUP kills nothing", []os.Signal{hup, hup, term}, false, nil, 0, false, 2},
		{"drain, and a second signal", []os.Signal{term, hup, term}, true, nil, 0, true, 1},
		{"drain, and SIGINT", []os.Signal{term, intr}, true, nil, 0, true, 0},
		{"drain to its end", []os.Signal{term}, true, func(s *fakeServer) { s.quiet = true }, 0, true, 0},
		{"SIGINT does not drain", []os.Signal{intr}, true, nil, 0, false, 0},
		{"drain from outside", nil, false, func(s *fakeServer) { close(s.drained) }, 0, false, 0},
		{"failed", nil, false, func(s *fakeServer) { s.failed <- errors.New("x") }, 1, false, 0},
		{"not kept", []os.Signal{term}, false, func(s *fakeServer) { s.closeErr = errors.New("disk full") }, 1, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newFakeServer()
			signals := make(chan os.Signal, len(tt.signals))
			for _, sig := range tt.signals {
				signals <- sig
			}
			if tt.prepare != nil {
				tt.prepare(s)
			}
			reloads := 0
			code := serve(s, signals, tt.drain, hclog.NewNullLogger(), func() error { reloads++; return errors.New("bad file") })
			if code != tt.code || !s.closed || reloads != tt.reloads {
				t.Errorf("exit code %d, closed %v, %d reloads, want %d, true, %d", code, s.closed, reloads, tt.code, tt.reloads)
			}
			if s.draining != tt.drained {
				t.Errorf("drained %v, want %v", s.draining, tt.drained)
			}
		})
	}
}

func TestReload(t *testing.T) {
	log, err := logline.New(logline.Options{Output: new(bytes.Buffer)})
	if err != nil {
		t.Fatal(err)
	}
	bad := errors.New("bad certificate")
	for _, tt := range []struct {
		args []string
		err  error // of the certificates
		want hclog.Level
	}{
		{[]string{"--log-level=debug"}, nil, hclog.Debug},
		{[]string{"--log-level=error"}, bad, hclog.Debug},
		{[]string{"--config=/does/not/exist"}, nil, hclog.Debug},
		{nil, nil, hclog.Info},
	} {
		reload(tt.args, noEnv, os.Stderr, reloaded{tt.err}, log)
		if got := log.GetLevel(); got != tt.want {
			t.Errorf("%v: level %v, want %v", tt.args, got, tt.want)
		}
	}
}

// reloaded answers what it holds.
type reloaded struct{ err error }

func (r reloaded) Reload() error { return r.err }
