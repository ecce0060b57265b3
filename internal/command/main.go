package command

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Run is a whole utility. It returns the exit code.
type Run func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int

// Main runs a utility with the process's arguments and streams, and exits with its
// code. SIGINT, SIGTERM and the signals of also end its context; a second one ends the
// process at once.
//
// A pipe that nobody reads any more is an error of the write, EPIPE, not a signal.
func Main(run Run, also ...os.Signal) {
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), append(also, syscall.SIGINT, syscall.SIGTERM)...)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
