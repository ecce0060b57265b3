package logline

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueueKeepsOrder(t *testing.T) {
	var out bytes.Buffer
	q := NewQueue(&out)
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		q.Write([]byte(line))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != want.String() {
		t.Errorf("%d bytes are written, want %d in their order", len(got), want.Len())
	}
	q.Write([]byte("late\n"))
	if err := q.Close(); err != nil || out.Len() != want.Len() {
		t.Errorf("after Close: %v, %d bytes, want %d", err, out.Len(), want.Len())
	}
}

func TestQueueTakesLinesOneByOne(t *testing.T) {
	r, w := io.Pipe()
	q := NewQueue(w)
	for _, line := range []string{"one\n", "two\n"} {
		q.Write([]byte(line))
		got := make([]byte, len(line))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != line {
			t.Fatalf("read %q, %v, want %q", got, err, line)
		}
	}
	q.Close()
}

// stuck is a writer that takes nothing until it is released.
type stuck struct {
	release chan struct{}
	mu      sync.Mutex
	out     bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

// A writer that hangs keeps nobody waiting; the lines that were lost are counted.
func TestQueueBeforeAWriterThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{release: make(chan struct{})}
		q := NewQueue(s)
		line := []byte(strings.Repeat("x", 99) + "\n")
		const lines = 3 * maxQueue / 100
		for range lines {
			q.Write(line)
		}
		begun := time.Now()
		if err := q.Close(); err == nil || time.Since(begun) != closeTimeout {
			t.Errorf("Close returns %v after %v, want an error after %v", err, time.Since(begun), closeTimeout)
		}
		close(s.release)
		<-q.ended
		// The queue is full once or, if its goroutine is late to take the first lines,
		// twice; each time it says what was lost.
		var written, lost int
		last := ""
		for last = range strings.Lines(s.out.String()) {
			var n int
			if _, err := fmt.Sscanf(last, "%d log lines were lost", &n); err == nil {
				lost += n
			} else {
				written++
			}
		}
		if !strings.Contains(last, "log lines were lost") {
			t.Errorf("the last line is %q", last)
		}
		if written+lost != lines || lost == 0 || written < maxQueue/100 {
			t.Errorf("%d lines are written and %d lost, of %d", written, lost, lines)
		}
	})
}
