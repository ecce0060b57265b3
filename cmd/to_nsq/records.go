package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"time"
)

const (
	// maxRecord bounds a record in bytes. nsqd takes less, 1 MiB unless told
	// otherwise; this is for input whose delimiter never comes.
	maxRecord = 128 << 20

	// stopPatience is how long a record that is being published may take after a
	// signal.
	stopPatience = 5 * time.Second
)

// A publisher publishes records one by one.
type publisher interface {
	// publish returns once body is confirmed, or an error.
	publish(ctx context.Context, body []byte) error
	// stop ends it; a publish that hangs returns. It may be called twice, and while
	// publish runs.
	stop()
}

// publishAll publishes records until stdin or ctx ends. When ctx does, the record
// under way is completed first, and the goroutine that reads stdin is left behind, for
// a read cannot be interrupted.
func (o *options) publishAll(ctx context.Context, stdin io.Reader, log *log.Logger) error {
	p, err := o.publisher(log)
	if err != nil {
		return err
	}
	defer p.stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopPatience, p.stop) })()

	if o.rate > 0 {
		log.Printf("publishing at most %d messages a second", o.rate)
	}
	pace := pace{rate: o.rate}
	records, failed := o.read(ctx, stdin)
	for {
		select {
		case <-ctx.Done():
			return nil
		case r, ok := <-records:
			if !ok {
				return <-failed
			}
			if !pace.wait(ctx) {
				return nil
			}
			if err := p.publish(ctx, r.body); err != nil {
				return fmt.Errorf("record %d: %w", r.number, err)
			}
		}
	}
}

// A record is one of the input, counted from 1 with those that are empty.
type record struct {
	number int
	body   []byte
}

// read returns the records of stdin that are not empty, and after the last one the
// error that reading ended with, nil at its end.
func (o *options) read(ctx context.Context, stdin io.Reader) (<-chan record, <-chan error) {
	records, failed := make(chan record), make(chan error, 1)
	go func() {
		defer close(records)
		s := bufio.NewScanner(stdin)
		s.Buffer(nil, maxRecord+1) // with the delimiter
		s.Split(splitAt(o.delimiter[0]))
		for n := 1; ; n++ {
			if !s.Scan() {
				failed <- o.readError(n, s.Err())
				return
			}
			if len(s.Bytes()) == 0 {
				continue
			}
			select {
			case records <- record{n, bytes.Clone(s.Bytes())}:
			case <-ctx.Done():
				failed <- nil
				return
			}
		}
	}()
	return records, failed
}

// readError is what ended reading at record n.
func (o *options) readError(n int, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("record %d of the input is longer than %d MiB: is the delimiter %q right?", n, maxRecord>>20, o.delimiter)
	default:
		return fmt.Errorf("read record %d: %w", n, err)
	}
}

// splitAt returns a bufio.SplitFunc for records that end with delimiter or the input.
func splitAt(delimiter byte) bufio.SplitFunc {
	return func(data []byte, atEOF bool) (advance int, token []byte, err error) {
		if i := bytes.IndexByte(data, delimiter); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	}
}

// A pace holds back messages beyond a rate. After a pause it lets through what could
// have come in one second, as stock does.
type pace struct {
	rate int64 // a second; 0: any number
	next time.Time
}

// wait returns when the next message may go, or false if ctx ends before.
func (p *pace) wait(ctx context.Context) bool {
	if p.rate == 0 {
		return true
	}
	now := time.Now()
	switch {
	case p.next.IsZero():
		p.next = now
	case p.next.Before(now.Add(-time.Second)):
		p.next = now.Add(-time.Second)
	}
	early := p.next.Sub(now)
	p.next = p.next.Add(time.Second / time.Duration(p.rate))
	if early <= 0 {
		return true
	}
	select {
	case <-time.After(early):
		return true
	case <-ctx.Done():
		return false
	}
}
