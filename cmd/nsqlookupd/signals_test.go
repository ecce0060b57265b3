//go:build unix

package main

import (
	"bytes"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A trigger keeps what a program writes, and does something once text is among it.
type trigger struct {
	text string
	do   func()

	mu   sync.Mutex
	buf  bytes.Buffer
	done bool
}

func (t *trigger) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if !t.done && strings.Contains(t.buf.String(), t.text) {
		t.done = true
		t.do()
	}
	return len(p), nil
}

// From before it listens a signal ends it in good order: who has connected meanwhile is
// not left without a word.
func TestSignalWhileItStarts(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			out := &trigger{text: "raft: initial configuration", do: func() {
				if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
					t.Error(err)
				}
			}}
			args := []string{"--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0", "--broadcast-address=127.0.0.1"}
			code := make(chan int, 1)
			go func() { code <- run(args, noEnv, out, out) }()
			select {
			case got := <-code:
				if got != 0 || !strings.Contains(out.buf.String(), "TCP: closing") {
					t.Errorf("exit code %d:\n%s", got, out.buf.String())
				}
			case <-time.After(30 * time.Second):
				t.Fatal("it does not end")
			}
		})
	}
}
