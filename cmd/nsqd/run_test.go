//go:build unix

package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nsqraft/internal/nsqtest/lookupdtest"
)

// output is what a program writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await waits until the output matches pattern, and returns what the first group
// matches.
func (o *output) await(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if m := re.FindStringSubmatch(o.String()); m != nil {
			return m[len(m)-1]
		}
		<-tick.C
	}
	t.Fatalf("nothing matches %q in:\n%s", pattern, o)
	return ""
}

// The life of an nsqd, as far as signals tell it, with an nsqlookupd.
func TestLifeOfAnNsqd(t *testing.T) {
	for _, tt := range []struct {
		mode string
		says string // at the end
	}{
		{"shutdown", "NSQ: bye"},
		{"drain", "drained"},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			lookupd := lookupdtest.Start(t)
			dir := t.TempDir()
			config := filepath.Join(dir, "nsqd.cfg")
			write := func(text string) {
				if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("log_level = \"info\"\n")
			args := []string{"--config=" + config, "--data-path=" + dir, "--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0",
				"--broadcast-address=127.0.0.1", "--lookupd-tcp-address=" + lookupd.TCP, "--node-id=7", "--sigterm-mode=" + tt.mode}
			out := new(output)
			code := make(chan int, 1)
			go func() { code <- run(args, noEnv, out, out) }()
			addr := out.await(t, `HTTP: listening on (\S+)`)
			out.await(t, `INFO: nsqd v1\.3\.0\S* \(built w/go\S+\)\n`)
			out.await(t, `INFO: ID: 7\n`)
			post := func(path string) {
				t.Helper()
				resp, err := http.Post("http://"+addr+path, "", nil)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("%s answers %s", path, resp.Status)
				}
			}
			post("/topic/create?topic=t")
			post("/channel/create?topic=t&channel=c")
			out.await(t, `LOOKUPD\(\S+\): channel REGISTER t c\n`)
			if got := run([]string{"--check-health=http://" + addr + "/ping"}, noEnv, out, out); got != 0 {
				t.Errorf("health check exits with %d", got)
			}

			write("log_level = \"debug\"\n")
			send(t, syscall.SIGHUP)
			out.await(t, `reloaded log_level=debug`)
			send(t, syscall.SIGTERM)
			select {
			case got := <-code:
				if got != 0 {
					t.Errorf("exit code %d:\n%s", got, out)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("does not end:\n%s", out)
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("no %q in:\n%s", tt.says, out)
			}
			metadata, err := os.ReadFile(filepath.Join(dir, "nsqd.dat"))
			if err != nil || !strings.Contains(string(metadata), `"c"`) {
				t.Errorf("nsqd.dat: %s, %v", metadata, err)
			}
			awaitNoProducers(t, lookupd.HTTP)
			http.DefaultClient.CloseIdleConnections()
		})
	}
}

// awaitNoProducers waits until the nsqlookupd, which notices the end of a connection
// somewhat after the nsqd, lists none.
func awaitNoProducers(t *testing.T, lookupd string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var nodes []byte
	for range 2000 {
		resp, err := http.Get("http://" + lookupd + "/nodes")
		if err != nil {
			t.Fatal(err)
		}
		nodes, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(nodes, []byte(`"producers":[]`)) {
			return
		}
		<-tick.C
	}
	t.Errorf("still at the nsqlookupd: %s", nodes)
}

func send(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}
