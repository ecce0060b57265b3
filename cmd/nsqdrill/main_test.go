package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// programs is a folder with this module's daemons, built for these tests.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "nsqdrill-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", "build", "-o", dir, "../nsqlookupd", "../nsqd")
		if text, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, text)
			return 1
		}
		programs = dir
		return m.Run()
	}())
}

func call(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestWrongUsage(t *testing.T) {
	tests := []struct {
		args string
		want string
	}{
		{"run leader-kil", `there is no drill "leader-kil"`},
		{"run --profile=smok", `there is no profile "smok"`},
		{"run --against=nobody", "it is ours, stock or both"},
		{"run --against=stock", "--stock-bin-dir"},
		{"run --env=moon", "it is auto, processes or netns"},
		{"run --lookupd-http-address=127.0.0.1:1 --against=stock", "needs a cluster of its own"},
		{"run --lookupd-http-address=127.0.0.1:1 --exec-begin=kill", "a kind of fault, = and a command"},
		{"explain moon-landing", `there is no drill "moon-landing"`},
		{"check /nowhere", "/nowhere"},
		{"break-everything", "break-everything"},
		{"run --nope", "nope"},
		{"run --times=0", "once at least"},
		{"run --profile=long --duration=-5s", "more than nothing"},
		{"run --sessions=-1", "not negative"},
		{"run --time-scale=0.5", "it is 1 to 10"},
		{"run --time-scale=NaN", "it is 1 to 10"},
	}
	for _, tt := range tests {
		args := strings.Fields(tt.args)
		if args[0] == "run" && tt.args != "run --nope" {
			args = append(args, "--out="+t.TempDir(), "--bin-dir="+programs)
			if !strings.Contains(tt.args, "--env") {
				args = append(args, "--env=processes")
			}
		}
		code, stdout, stderr := call(t.Context(), args...)
		if code != exitSetUp || !strings.Contains(stderr, tt.want) || stdout != "" {
			t.Errorf("%s: exit code %d, %q on stderr, %q on stdout; want %d and %q", tt.args, code, stderr, stdout, exitSetUp, tt.want)
		}
	}
}

func TestExplain(t *testing.T) {
	code, stdout, _ := call(t.Context(), "explain", "leader-kill")
	if code != 0 || !strings.Contains(stdout, "kill -9 the leader") || !strings.Contains(stdout, "without an acknowledged write") {
		t.Errorf("exit code %d, %q", code, stdout)
	}
}

// A whole run on real processes, and its history checked again.
func TestRunAndCheck(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	code, stdout, stderr := call(ctx, "run", "leader-kill", "--env=processes", "--no-disks", "--seed=3", "--bin-dir="+programs, "--out="+dir)
	// How long anything takes is not judged here: the machine may be slow.
	if code != 0 && code != 2 {
		t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	for _, want := range []string{"leader-kill: kill -9 the leader", "leads instead of"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("the progress lacks %q:\n%s", want, stderr)
		}
	}
	if !strings.Contains(stdout, "--seed=3") {
		t.Errorf("the verdict does not say how to do it again:\n%s", stdout)
	}
	for _, name := range []string{"report.html", "report.json", "report.md", "junit.xml", "history.jsonl.gz"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("no %s: %v", name, err)
		}
	}
	if again, text, errs := call(ctx, "check", dir); again != code {
		t.Errorf("checked once more the exit code is %d, not %d:\n%s\n%s", again, code, text, errs)
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report map[string]any
	if err := json.Unmarshal(text, &report); err != nil {
		t.Errorf("report.json: %v", err)
	}
}

// An interrupted run leaves the report of what was seen until then.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir()
	seen := &interrupter{at: "kill n", interrupt: cancel}
	var out bytes.Buffer
	args := []string{"run", "leader-kill", "--times=100", "--env=processes", "--no-disks", "--bin-dir=" + programs, "--out=" + dir}
	code := run(ctx, args, strings.NewReader(""), &out, seen)
	if code != exitInterrupted || !strings.Contains(seen.text.String(), "undone") {
		t.Errorf("exit code %d, want %d\n%s", code, exitInterrupted, seen.text.String())
	}
	if !strings.Contains(out.String(), "it was interrupted after") {
		t.Errorf("the verdict does not say that the run was interrupted:\n%s", out.String())
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil || !strings.Contains(string(text), "it was interrupted after") {
		t.Errorf("the report does not say that the run was interrupted: %v", err)
	}
	if code, stdout, stderr := call(t.Context(), "check", dir); code != exitInterrupted || !strings.Contains(stdout, "it was interrupted after") {
		t.Errorf("checked once more the exit code is %d, want %d:\n%s\n%s", code, exitInterrupted, stdout, stderr)
	}
}

// Before anything was broken there is nothing to report.
func TestInterruptedAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, stdout, stderr := call(ctx, "run", "leader-kill", "--env=processes", "--no-disks", "--bin-dir="+programs, "--out="+t.TempDir())
	if code != exitInterrupted || stdout != "" || !strings.Contains(stderr, "interrupted") {
		t.Errorf("exit code %d, want %d; %q on stdout\n%s", code, exitInterrupted, stdout, stderr)
	}
}

// An interrupter is a screen that interrupts the run once it shows something.
type interrupter struct {
	at        string
	interrupt func()

	mu   sync.Mutex
	text strings.Builder
}

func (i *interrupter) Write(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.text.Write(p)
	if strings.Contains(i.text.String(), i.at) {
		i.interrupt()
	}
	return len(p), nil
}
