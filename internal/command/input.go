package command

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/muesli/cancelreader"
)

// An Input is read until its end or that of its context.
type Input struct {
	ctx  context.Context
	in   io.Reader
	file cancelreader.CancelReader // nil: reading never waits, or cannot be interrupted
	stop func() bool
	done chan struct{} // closed when ctx's end has been dealt with
}

// NewInput returns in so that a Read, also one that waits, returns ctx's error when ctx
// ends. What is no file, as in tests, is only asked for between two reads. Close it when
// nothing is read any more; that leaves in itself open.
func NewInput(ctx context.Context, in io.Reader) *Input {
	i := &Input{ctx: ctx, in: in, done: make(chan struct{})}
	// A file of a disk cannot be waited for, and need not be: reading it never waits.
	if r, err := cancelreader.NewReader(in); err == nil {
		i.in, i.file = r, r
	}
	i.stop = context.AfterFunc(ctx, func() {
		defer close(i.done)
		if i.file != nil {
			i.file.Cancel()
		}
	})
	return i
}

// Read is that of an io.Reader.
func (i *Input) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := i.in.Read(p)
	if errors.Is(err, cancelreader.ErrCanceled) {
		err = i.ctx.Err()
	}
	return n, err
}

// Close lets go of what NewInput took; in stays open.
func (i *Input) Close() error {
	if !i.stop() {
		<-i.done
	}
	if i.file == nil {
		return nil
	}
	return i.file.Close()
}

// Open opens a file to read. Opening a named pipe waits for who writes to it: then it
// returns ctx's error when ctx ends, and leaves the goroutine behind that waits, for that
// cannot be interrupted.
func Open(ctx context.Context, name string) (*os.File, error) {
	type opened struct {
		file *os.File
		err  error
	}
	c := make(chan opened, 1)
	go func() {
		f, err := os.Open(name)
		c <- opened{f, err}
	}()
	select {
	case o := <-c:
		return o.file, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
