package workload

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nsqraft/internal/drill/history"
)

// ProgressSpan is what a Progress is about.
const ProgressSpan = progressSpan * time.Second

const (
	progressSpan = 5 // seconds that the figures are about
	maxLatencies = 1000
)

// Progress is what a person wants to see now. Rates are those of the last 5 s.
type Progress struct {
	LookupsPerSecond, RegistersPerSecond float64
	MessagesPerSecond                    float64 // received, in both channels

	LookupsFailed int           // of both kinds and at nodes that are down too, in the last 5 s
	RegisterP99   time.Duration // of the last 5 s; 0: none was acknowledged
	Sessions      int           // of simulated nsqds that stand
}

// progress counts by the second.
type progress struct {
	sessions atomic.Int64

	mu      sync.Mutex
	seconds [progressSpan + 1]second // a ring; the present one is not full yet
}

type second struct {
	number                       int64 // since the beginning
	lookups, registers, messages int
	failed                       int             // lookups
	took                         []time.Duration // of registers, the first maxLatencies
}

func (p *progress) see(op *history.Op) {
	if op.Outcome != history.Done {
		if op.Kind == history.Lookup {
			p.mu.Lock()
			p.at(op.Return).failed++
			p.mu.Unlock()
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.at(op.Return)
	switch op.Kind {
	case history.Lookup:
		s.lookups++
	case history.Receive:
		s.messages++
	case history.Register:
		if s.registers++; len(s.took) < maxLatencies {
			s.took = append(s.took, op.Return-op.Call)
		}
	}
}

// at returns the second of a time that is not long ago.
func (p *progress) at(t time.Duration) *second {
	number := int64(t / time.Second)
	s := &p.seconds[number%int64(len(p.seconds))]
	if s.number != number {
		*s = second{number: number, took: s.took[:0]}
	}
	return s
}

// Progress may be called at any time.
func (w *Workload) Progress() Progress {
	now := int64(w.rec.Now() / time.Second)
	p := &w.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Progress{Sessions: int(p.sessions.Load())}
	span := float64(min(max(now, 1), progressSpan))
	var took []time.Duration
	for _, s := range p.seconds {
		if s.number >= now || s.number < now-progressSpan {
			continue
		}
		r.LookupsPerSecond += float64(s.lookups) / span
		r.RegistersPerSecond += float64(s.registers) / span
		r.MessagesPerSecond += float64(s.messages) / span
		r.LookupsFailed += s.failed
		took = append(took, s.took...)
	}
	if slices.Sort(took); len(took) > 0 {
		r.RegisterP99 = took[(len(took)*99-1)/100]
	}
	return r
}
