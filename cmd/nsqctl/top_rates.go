package main

import (
	"time"

	"nsqraft/internal/clusterinfo"
)

// rates are messages a second of topics and channels, from the numbers of two answers
// of the same nsqd. Owned by one goroutine.
type rates struct {
	seen map[place]*sample
}

// A place is a topic, or a channel, on one nsqd.
type place struct{ node, topic, channel string }

// A sample is what an nsqd said last of a place, and the rates since it said so before.
type sample struct {
	at      time.Time // of the answer
	in, out int64     // messages published, and finished, until then
	inRate  float64   // messages a second
	outRate float64
	known   bool  // there are rates
	kept    bool  // the place is in the newest View
	start   int64 // of the nsqd
}

// observe takes in a View. It may be the same as the last, or have new answers of some
// nsqds only.
func (r *rates) observe(v *clusterinfo.View) {
	if r.seen == nil {
		r.seen = make(map[place]*sample)
	}
	for _, s := range r.seen {
		s.kept = false
	}
	for _, t := range v.Topics {
		for _, n := range t.Nodes {
			if n.Node.Stats != nil {
				r.add(place{n.Node.Address, t.Name, ""}, n.Node, n.Stats.MessageCount, 0)
			}
		}
		for _, c := range t.Channels {
			for _, n := range c.Nodes {
				s := n.Stats
				r.add(place{n.Node.Address, t.Name, c.Name}, n.Node, s.MessageCount, s.MessageCount-s.Depth-s.InFlightCount-s.DeferredCount)
			}
		}
	}
	for p, s := range r.seen {
		if !s.kept {
			delete(r.seen, p)
		}
	}
}

func (r *rates) add(p place, node *clusterinfo.Node, in, out int64) {
	s := r.seen[p]
	if s == nil {
		r.seen[p] = &sample{at: node.StatsAt, in: in, out: out, kept: true, start: node.Stats.StartTime}
		return
	}
	s.kept = true
	switch elapsed := node.StatsAt.Sub(s.at).Seconds(); {
	case node.Stale():
		s.known = false // nobody knows
	case elapsed <= 0:
		return // the same answer
	case node.Stats.StartTime != s.start || in < s.in:
		s.known = false // its counters began anew
	default:
		s.known = true
		s.inRate = float64(in-s.in) / elapsed
		s.outRate = max(0, float64(out-s.out)/elapsed)
	}
	s.at, s.in, s.out, s.start = node.StatsAt, in, out, node.Stats.StartTime
}

// A flow is the sum of the rates of some places.
type flow struct {
	in, out float64
	known   bool // of one place at least
}

func (f *flow) add(r *rates, p place) {
	if s := r.seen[p]; s != nil && s.known {
		f.in += s.inRate
		f.out += s.outRate
		f.known = true
	}
}
