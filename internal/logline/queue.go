package logline

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// maxQueue bounds the bytes that wait to be written. What comes when they do is
	// lost, and counted.
	maxQueue = 1 << 20
	// closeTimeout bounds what Close waits for a writer that does not take them.
	closeTimeout = time.Second
)

// A Queue writes lines on a goroutine of its own, many at a time when many come.
// So a pipe that nobody reads, or a disk that hangs, costs lines and not the
// daemon: Write never waits for the writer behind it.
type Queue struct {
	out   io.Writer // used by run only
	wake  chan struct{}
	ended chan struct{} // closed when run has returned

	mu      sync.Mutex
	waiting []byte
	lost    int // lines, since the last one that was queued
	closed  bool
}

// NewQueue returns a Queue in front of out. Its owner calls Close.
func NewQueue(out io.Writer) *Queue {
	q := &Queue{out: out, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go q.run()
	return q
}

// Write queues one line, newline included. It returns no error: if there is no
// room the line is lost, and the next one that finds room comes behind a line that
// says how many were. After Close all are lost.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return len(line), nil
	case len(q.waiting)+len(line) > maxQueue:
		q.lost++
		return len(line), nil
	}
	q.reportLost()
	q.waiting = append(q.waiting, line...)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return len(line), nil
}

// reportLost queues the line about those that were lost. q.mu is held.
func (q *Queue) reportLost() {
	if q.lost > 0 {
		q.waiting = fmt.Appendf(q.waiting, "%d log lines were lost: they could not be written as fast as they came\n", q.lost)
		q.lost = 0
	}
}

// run writes what waits, until Close.
func (q *Queue) run() {
	defer close(q.ended)
	var spare []byte
	for {
		_, open := <-q.wake
		q.mu.Lock()
		if !open {
			q.reportLost()
		}
		lines := q.waiting
		q.waiting = spare[:0]
		q.mu.Unlock()
		q.out.Write(lines) // there is nowhere to report that they are lost
		if !open {
			return
		}
		spare = lines
	}
}

// Close writes what waits, for at most a second. It may be called more than once.
func (q *Queue) Close() error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.wake)
	}
	q.mu.Unlock()
	select {
	case <-q.ended:
		return nil
	case <-time.After(closeTimeout):
		return fmt.Errorf("write the last log lines: not within %v", closeTimeout)
	}
}
