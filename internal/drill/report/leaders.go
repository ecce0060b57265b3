package report

import (
	"cmp"
	"slices"
	"time"

	"nsqraft/internal/drill/history"
)

// A stretch is a time in which a node said the same of itself.
type stretch struct {
	window
	state string // leader, follower, candidate; "" if it did not answer
	term  uint64 // of a leader
}

// stretchesOf returns, for each node, what it said of itself, in order and without
// holes from its first sample on. What it said lasts until it says otherwise, or until
// a fault takes it down.
func stretchesOf(run *history.Run, down outages) map[string][]stretch {
	all := make(map[string][]stretch)
	for i := range run.Samples {
		s := &run.Samples[i]
		now := stretch{window: window{s.At, run.Header.Length}}
		if s.Answered {
			now.state = s.Role
			if s.Role == "leader" {
				now.term = s.Term
			}
		}
		list := all[s.Node]
		n := len(list)
		if n > 0 && list[n-1].state == now.state && list[n-1].term == now.term {
			continue
		}
		if n > 0 {
			list[n-1].to = s.At
			if now.state == "" && list[n-1].state != "" {
				begin := firstIn(down[s.Node], list[n-1].window)
				list[n-1].to, now.from = begin, begin
			}
		}
		all[s.Node] = append(list, now)
	}
	return all
}

// firstIn returns when the last of windows began within w, else its end: a node is down
// before a sample can show it.
func firstIn(windows []window, w window) time.Duration {
	for _, out := range slices.Backward(windows) {
		if out.from >= w.from && out.from <= w.to {
			return out.from
		}
	}
	return w.to
}

// reignsOf returns when who led.
func reignsOf(stretches map[string][]stretch) []Reign {
	reigns := []Reign{}
	for node, list := range stretches {
		for _, s := range list {
			if s.state == "leader" {
				reigns = append(reigns, Reign{Node: node, Term: s.term, From: sec(s.from), To: sec(s.to)})
			}
		}
	}
	slices.SortFunc(reigns, func(a, b Reign) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Node, b.Node)) })
	return reigns
}

// leaderless returns when no node said that it leads, between the first sample and the
// end of the run. Of stock, which has no leader, it is nothing.
func leaderless(run *history.Run, stretches map[string][]stretch) []window {
	var led []window
	for _, list := range stretches {
		for _, s := range list {
			if s.state == "leader" {
				led = append(led, s.window)
			}
		}
	}
	if len(led) == 0 || len(run.Samples) == 0 {
		return nil
	}
	var none []window
	at := run.Samples[0].At
	for _, w := range joined(led) {
		if w.from > at {
			none = append(none, window{at, w.from})
		}
		at = max(at, w.to)
	}
	if at < run.Header.Length {
		none = append(none, window{at, run.Header.Length})
	}
	return none
}

// longestWithin returns the length of the longest part of windows within w.
func longestWithin(windows []window, w window) time.Duration {
	longest := time.Duration(0)
	for _, x := range windows {
		longest = max(longest, min(x.to, w.to)-max(x.from, w.from))
	}
	return longest
}
