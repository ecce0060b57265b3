package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nsqraft/internal/logline"
	"nsqraft/internal/nsqtest/lookupdtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	notADir := write(t, "", dir, "file")
	ok := []string{"--topic=a", "--nsqd-tcp-address=127.0.0.1:1", "--output-dir=" + filepath.Join(dir, "made", "here")}
	tests := []struct {
		args []string
		code int
		say  string // in the last line on stderr, or what is on stdout
	}{
		{[]string{"--version"}, 0, "nsq_to_file v"},
		{[]string{"--colour"}, 2, ""},
		{[]string{"--rotate-interval=often"}, 2, ""},
		{append(ok, "word"), 1, `unknown arguments: ["word"]`},
		{append(ok, "--log-level=loud"), 1, "loud"},
		{append(ok, "--channel="), 1, "--channel is required"},
		{append(ok, "--channel=a/b"), 1, `--channel: "a/b"`},
		{append(ok, "--http-client-connect-timeout=0"), 1, "--http-client-connect-timeout should be positive"},
		{append(ok, "--http-client-request-timeout=-1s"), 1, "--http-client-request-timeout should be positive"},
		{append(ok, "--gzip-level=10"), 1, "should be 1-9"},
		{append(ok, "--sync-interval=0"), 1, "--sync-interval"},
		{append(ok, "--topic-refresh=0"), 1, "--topic-refresh"},
		{append(ok, "--max-in-flight=0"), 1, "--max-in-flight"},
		{append(ok, "--lookupd-http-address=127.0.0.1:2"), 1, "not both"},
		{[]string{"--topic=a"}, 1, "--nsqd-tcp-address or --lookupd-http-address required"},
		{[]string{"--nsqd-tcp-address=127.0.0.1:1"}, 1, "--topic or --topic-pattern required"},
		{[]string{"--nsqd-tcp-address=127.0.0.1:1", "--topic-pattern=a"}, 1, "--lookupd-http-address must be specified"},
		{append(ok, "--topic=a/b"), 1, `--topic: "a/b"`},
		{append(ok, "--topic-pattern=("), 1, "--topic-pattern"},
		{append(ok, "--topic-pattern=^b"), 1, "matches none"},
		{append(ok, "--gzip", "--filename-format=<TOPIC>.log"), 1, "<REV>"},
		{append(ok, "--topic=b", "--filename-format=all.log"), 1, "must contain <TOPIC>"},
		{append(ok, "--topic=b", "--rotate-size=1", "--filename-format=all<REV>.log"), 1, "must contain <TOPIC>"},
		{[]string{"--lookupd-http-address=127.0.0.1:1", "--topic-pattern=.", "--output-dir=" + dir, "--filename-format=all"}, 1, "must contain <TOPIC>"},
		{append(ok, "--output-dir="+notADir), 1, "--output-dir cannot be written to"},
		{append(ok, "--output-dir="+notADir+"/below"), 1, "--output-dir cannot be made"},
		{append(ok, "--work-dir="+notADir), 1, "--work-dir cannot be written to"},
		{append(ok, "--filename-format=../a"), 1, "leads out of --output-dir"},
		{append(ok, "--topic=..", "--topic=z", "--filename-format=<TOPIC>/a"), 1, `topic ".."`},
		{ok, 1, "none of the nsqds can be connected to"},
	}
	for _, tt := range tests {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), slices.Clone(tt.args), nil, &stdout, &stderr)
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if said := stdout.String() + lines[len(lines)-1]; code != tt.code || !strings.Contains(said, tt.say) {
			t.Errorf("%q ends with %d and %q, want %d and %q", tt.args, code, said, tt.code, tt.say)
		}
		if tt.code == 1 && stdout.Len() > 0 {
			t.Errorf("%q writes %q to stdout", tt.args, stdout.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "made", "here")); err != nil {
		t.Errorf("--output-dir was not made: %v", err)
	}
}

// What can be refused without a word from an nsqd or nsqlookupd leaves nothing behind.
func TestFoldersAreTried(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		dir = "/proc" // root may write everywhere but there
		if _, err := os.Stat(dir); err != nil {
			t.Skipf("for root no folder is closed, and there is no /proc: %v", err)
		}
	}
	o := defaultOptions(t)
	o.outputDir = dir
	if err := o.prepareFolders(); err == nil || !strings.Contains(err.Error(), "--output-dir cannot be written to") {
		t.Errorf("a folder without write permission: %v", err)
	}
}

// A program is run, in this process.
type program struct {
	t      *testing.T
	stop   context.CancelFunc
	ended  chan int
	stderr bytes.Buffer // to be read after stop
}

func start(t *testing.T, args ...string) *program {
	ctx, stop := context.WithCancel(t.Context())
	p := &program{t: t, stop: stop, ended: make(chan int, 1)}
	go func() { p.ended <- run(ctx, args, nil, nil, &p.stderr) }()
	t.Cleanup(stop)
	return p
}

// wantEnd stops the program, which has to end with code.
func (p *program) wantEnd(code int) {
	p.t.Helper()
	p.stop()
	if got := <-p.ended; got != code {
		p.t.Errorf("ended with %d, want %d:\n%s", got, code, &p.stderr)
	}
}

// awaitFiles waits until the files have what is wanted in them, as wantFiles.
func awaitFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	eventually(t, func() error {
		for name, content := range want {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if got := strings.ReplaceAll(string(b), "\n", ","); err != nil || got != content {
				return fmt.Errorf("%s: %q, %v, want %q", name, got, err, content)
			}
		}
		return nil
	})
}

// The whole program, with one of our nsqds.
func TestRecordsTopics(t *testing.T) {
	d := nsqdtest.Start(t)
	d.Publish("a", "a1", "a2")
	d.Publish("b", "b1")
	dir := t.TempDir()
	p := start(t, "--nsqd-tcp-address="+d.TCP, "--topic=a", "--topic=b", "--topic=none", "--topic-pattern=^.$",
		"--output-dir="+dir, "--host-identifier=h", "--datetime-format=x", "--sync-interval=20ms", "--skip-empty-files")
	awaitFiles(t, dir, map[string]string{"a.h.x.log": "a1,a2,", "b.h.x.log": "b1,"})
	d.Publish("a", "a3") // perhaps it comes too late, and stays in nsqd
	p.wantEnd(0)
	if _, err := os.Stat(filepath.Join(dir, "none.h.x.log")); err == nil {
		t.Error("a topic that does not match was recorded")
	}
}

// Topics that come to be are found by our nsqlookupd's word, while another is down.
func TestFindsTopics(t *testing.T) {
	l, down := lookupdtest.Start(t), lookupdtest.Start(t)
	down.Close()
	d := nsqdtest.Start(t, l.TCP)
	d.Publish("logs.1", "a")
	dir := t.TempDir()
	p := start(t, "--lookupd-http-address="+down.HTTP, "--lookupd-http-address="+l.HTTP, "--topic-pattern=logs|^[.]", "--topic-refresh=1h",
		"--output-dir="+dir, "--filename-format=<TOPIC>/<DATETIME>", "--datetime-format=x", "--sync-interval=20ms", "--skip-empty-files")
	awaitFiles(t, dir, map[string]string{"logs.1/x": "a,"})
	d.Publish("..", "leads out")
	d.Publish("other", "is not wanted")
	d.Publish("logs.2", "b")
	awaitFiles(t, dir, map[string]string{"logs.1/x": "a,", "logs.2/x": "b,"})
	p.wantEnd(0)
	wantFiles(t, dir, map[string]string{"logs.1/x": "a,", "logs.2/x": "b,"})
	if log := p.stderr.String(); strings.Count(log, "cannot record a topic") != 1 {
		t.Errorf("the log says something else than once that a topic cannot be recorded:\n%s", log)
	}
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestClientLog(t *testing.T) {
	var out bytes.Buffer
	log, err := logline.New(logline.Options{Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	c := &clientLog{log}
	for _, line := range []string{"INF    1 [a/b] (x) connecting\n", "WRN    1 y\n", "ERR  z\n", "ERROR: topic a: no\n", "DBG  hidden\n", "plain text\n"} {
		c.Write([]byte(line))
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.SplitN(strings.TrimSpace(line), " ", 3)[2])
	}
	want := []string{"INFO: 1 [a/b] (x) connecting", "WARNING: 1 y", "ERROR: z", "ERROR: topic a: no", "INFO: plain text"}
	if !slices.Equal(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}
