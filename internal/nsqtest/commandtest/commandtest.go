// Package commandtest runs utilities within a test, as a process runs them.
package commandtest

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/command"
	"nsqraft/internal/nsqtest"
)

// patience is how long a utility may take to end.
const patience = time.Minute

// A Command is a utility that runs.
type Command struct {
	Stdout, Stderr nsqtest.Output

	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	code   int // once ended is closed
}

// Start runs a utility without input until it ends or the test does. What it wrote to
// stderr is shown if the test fails.
func Start(t testing.TB, run command.Run, args ...string) *Command {
	t.Helper()
	return StartWith(t, run, strings.NewReader(""), nil, args...)
}

// StartWith is Start with an input and, unless it is nil, an output.
func StartWith(t testing.TB, run command.Run, stdin io.Reader, stdout io.Writer, args ...string) *Command {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &Command{t: t, cancel: cancel, ended: make(chan struct{})}
	c.Stderr.ShowIfFailed(t)
	if stdout == nil {
		stdout = &c.Stdout
	}
	go func() {
		defer close(c.ended)
		c.code = run(ctx, args, stdin, stdout, &c.Stderr)
	}()
	t.Cleanup(func() { c.Stop() })
	return c
}

// Stop does what SIGTERM does to the process, and returns the exit code.
func (c *Command) Stop() int {
	c.t.Helper()
	c.cancel()
	return c.Wait()
}

// Wait waits until the utility ends by itself, and returns the exit code.
func (c *Command) Wait() int {
	c.t.Helper()
	select {
	case <-c.ended:
		return c.code
	case <-time.After(patience):
		c.t.Fatalf("does not end after %v", patience)
		return -1
	}
}

// A WrongFlags is one line of a table of arguments that a utility does not take.
type WrongFlags = struct {
	Args string // separated by spaces
	Code int
	Says string // part of what it writes to stderr
}

// Refuse runs the utility with each of the arguments, which have to end it before it
// does anything: with the code, and a sentence of one line if that is 1.
func Refuse(t *testing.T, run command.Run, table []WrongFlags) {
	t.Helper()
	for _, w := range table {
		var stdout, stderr nsqtest.Output
		// The context has ended: what does not refuse its flags ends at once.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		code := run(ctx, strings.Fields(w.Args), strings.NewReader(""), &stdout, &stderr)
		said := stderr.String()
		if code != w.Code || !strings.Contains(said, w.Says) || code == 1 && strings.Count(said, "\n") != 1 || stdout.String() != "" {
			t.Errorf("%s: code %d, want %d with %q; stdout %q, stderr:\n%s", w.Args, code, w.Code, w.Says, stdout.String(), said)
		}
	}
}
