package nsqd

import (
	"time"

	"github.com/beorn7/perks/quantile"
)

// A latency estimates percentiles of times over a sliding window: of two halves, one
// is filled and the other, complete, still counts. A nil latency keeps nothing. It
// is guarded by the mutex of its channel.
type latency struct {
	opts   *Options
	begun  time.Time // of the newer half
	halves [2]*quantile.Stream
}

// newLatency returns nil if no percentiles are to be kept.
func newLatency(o *Options) *latency {
	if len(o.E2EPercentiles) == 0 {
		return nil
	}
	return &latency{opts: o, begun: time.Now(), halves: [2]*quantile.Stream{newStream(o), newStream(o)}}
}

// newStream returns an estimator for the percentiles of the option.
func newStream(o *Options) *quantile.Stream {
	targets := make(map[float64]float64)
	for _, p := range o.E2EPercentiles {
		targets[p] = min((1-p)/10+0.0001, 0.01)
	}
	return quantile.NewTargeted(targets)
}

// add adds one time, in ns.
func (l *latency) add(ns int64) {
	l.turn()
	l.halves[0].Insert(float64(ns))
}

// turn begins a new half when it is time.
func (l *latency) turn() {
	half := l.opts.E2EWindow / 2
	for range 2 {
		if time.Since(l.begun) < half {
			return
		}
		l.halves[1], l.halves[0] = l.halves[0], newStream(l.opts)
		l.begun = l.begun.Add(half)
	}
	l.begun = time.Now() // it has been silent for longer than the window
}

// mergeInto adds what l holds to the stream.
func (l *latency) mergeInto(s *quantile.Stream) {
	if l == nil {
		return
	}
	l.turn()
	for _, half := range l.halves {
		s.Merge(half.Samples())
	}
}

// latencyStats reads the percentiles of the option from what streams hold.
func latencyStats(o *Options, s *quantile.Stream) LatencyStats {
	if len(o.E2EPercentiles) == 0 {
		return LatencyStats{}
	}
	stats := LatencyStats{Count: s.Count(), Percentiles: []map[string]float64{}}
	for _, p := range o.E2EPercentiles {
		stats.Percentiles = append(stats.Percentiles, map[string]float64{"quantile": p, "value": s.Query(p)})
	}
	return stats
}
