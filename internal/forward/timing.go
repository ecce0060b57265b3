package forward

import (
	"fmt"
	"log"
	"slices"
	"sync"
	"time"
)

// A timing gathers the durations of requests and logs a line about every so many.
type timing struct {
	prefix string
	every  int // 0: never
	log    *log.Logger

	mu     sync.Mutex
	took   []time.Duration // fewer than every
	failed int             // of them
}

func newTiming(prefix string, every int, log *log.Logger) *timing {
	return &timing{prefix: prefix, every: every, log: log}
}

// add counts one request.
func (t *timing) add(took time.Duration, err error) {
	if t.every == 0 {
		return
	}
	t.mu.Lock()
	t.took = append(t.took, took)
	if err != nil {
		t.failed++
	}
	line := ""
	if len(t.took) == t.every {
		line = t.summaryLocked()
		t.took, t.failed = t.took[:0], 0
	}
	t.mu.Unlock()
	if line != "" {
		t.log.Print(line)
	}
}

// summaryLocked returns the line, which is stock's unless requests failed.
func (t *timing) summaryLocked() string {
	slices.Sort(t.took)
	var sum time.Duration
	for _, d := range t.took {
		sum += d
	}
	line := fmt.Sprintf("%s finished %d - 99th: %.02fms - 95th: %.02fms - avg: %.02fms",
		t.prefix, len(t.took), ms(t.rankLocked(99)), ms(t.rankLocked(95)), ms(sum/time.Duration(len(t.took))))
	if t.failed > 0 {
		line += fmt.Sprintf(" - failed: %d", t.failed)
	}
	return line
}

// rankLocked returns the smallest duration that percent of all do not exceed.
func (t *timing) rankLocked(percent int) time.Duration {
	return t.took[(len(t.took)*percent+99)/100-1]
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
