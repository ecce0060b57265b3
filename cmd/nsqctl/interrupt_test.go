//go:build unix

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newPipe returns a pipe to read from that has somebody to write to it.
func newPipe(t *testing.T) (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		r.Close()
	})
	return r, w
}

// A signal at the question is a no, at once.
func TestConfirmEndsWithASignal(t *testing.T) {
	r, _ := newPipe(t)
	ctx, end := context.WithCancel(t.Context())
	said := make(chan bool)
	go func() { said <- saysYes(ctx, r) }()
	end()
	select {
	case yes := <-said:
		if yes {
			t.Error("a signal is a yes")
		}
	case <-time.After(patience):
		t.Fatal("the question is still asked")
	}
}

// A signal ends pub while it waits for a line, and nothing is in doubt.
func TestPubEndsWithASignal(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skipf("no named pipes here: %v", err)
	}
	stdin, _ := newPipe(t)
	tests := []struct {
		name string
		file []string
		want string
	}{
		{"stdin", nil, "published 0 messages to orders in "},
		{"a named pipe that nobody writes to", []string{fifo}, "nsqctl pub: interrupted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			defer end()
			var stdout, stderr bytes.Buffer
			code := make(chan int)
			go func() {
				args := append([]string{"pub", "orders", "--nsqd-http-address", "127.0.0.1:1"}, tt.file...)
				code <- run(ctx, args, stdin, &stdout, &stderr, noEnvironment)
			}()
			end()
			select {
			case got := <-code:
				if got != exitFailed {
					t.Errorf("code %d, want %d", got, exitFailed)
				}
			case <-time.After(patience):
				t.Fatal("it waits on")
			}
			if text := stderr.String(); !strings.Contains(text, tt.want) || !strings.Contains(text, "interrupted") || strings.Contains(text, "not known") {
				t.Errorf("it says %s", text)
			}
		})
	}
	if t.Failed() {
		return
	}
	// Lets go of who still waits to open it.
	if w, err := os.OpenFile(fifo, os.O_WRONLY, 0); err == nil {
		w.Close()
	}
}

// A message that was read when the signal came is not sent, and not in doubt.
func TestPubKnowsWhatItHasNotSent(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	end()
	var stderr bytes.Buffer
	code := run(ctx, []string{"pub", "orders", "-m", "x", "--nsqd-http-address", "127.0.0.1:1"}, strings.NewReader(""), io.Discard, &stderr, noEnvironment)
	if code != exitFailed || !strings.Contains(stderr.String(), "pub: interrupted\n") {
		t.Errorf("code %d: %s", code, stderr.String())
	}
}

// A configuration is a file: a pipe may have nobody who writes to it.
func TestConfigWantsAFile(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "nsqd.cfg")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skipf("no named pipes here: %v", err)
	}
	for _, what := range []string{"check", "show"} {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"config", what, fifo}, strings.NewReader(""), io.Discard, &stderr, noEnvironment)
		if code != exitUsage || !strings.Contains(stderr.String(), "nsqd.cfg is no regular file") {
			t.Errorf("code %d: %s", code, stderr.String())
		}
	}
}
