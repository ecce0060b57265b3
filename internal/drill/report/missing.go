package report

import (
	"slices"
	"time"

	"nsqraft/internal/drill/history"
)

// settled is how long an nsqd has been registered before a lookup is expected to list it.
const settled = time.Second

// A spot is where an nsqd wants to be found.
type spot struct{ topic, producer, node string }

// presence collects when simulated nsqds wanted to be found: from an acknowledged
// registration until they took it back or left. An nsqd whose session is lost wants to be
// found all the same if it is heard of again; if not, until it noticed. One that was
// tombstoned is not expected again: registering does not end a tombstone.
type presence struct {
	open      map[spot]time.Duration
	lost      map[spot]time.Duration // of those that are open: when it was noticed
	closed    map[spot][]window
	bySession map[int64][]spot
	byHost    map[[2]string][]spot // producer, node
	tombs     map[[2]string]bool   // topic, producer
}

func presences(run *history.Run) *presence {
	p := &presence{open: make(map[spot]time.Duration), lost: make(map[spot]time.Duration), closed: make(map[spot][]window),
		bySession: make(map[int64][]spot), byHost: make(map[[2]string][]spot), tombs: make(map[[2]string]bool)}
	for i := range run.Ops {
		p.take(&run.Ops[i])
	}
	for s := range p.open {
		until, lost := p.lost[s]
		if !lost {
			until = run.Header.Length
		}
		p.close(s, until)
	}
	return p
}

func (p *presence) take(op *history.Op) {
	switch op.Kind {
	case history.Connect:
		for _, s := range p.byHost[[2]string{op.Producer, op.Node}] {
			delete(p.lost, s)
		}
	case history.Register:
		if op.Outcome != history.Done || p.tombs[[2]string{op.Topic, op.Producer}] {
			return
		}
		s := spot{op.Topic, op.Producer, op.Node}
		if _, ok := p.open[s]; !ok {
			p.open[s] = op.Return
		}
		p.bySession[op.Session] = append(p.bySession[op.Session], s)
		host := [2]string{op.Producer, op.Node}
		if !slices.Contains(p.byHost[host], s) {
			p.byHost[host] = append(p.byHost[host], s)
		}
	case history.Unregister:
		if op.Channel == "" {
			p.close(spot{op.Topic, op.Producer, op.Node}, op.Call)
		}
	case history.Disconnect, history.Vanish:
		for _, s := range p.bySession[op.Session] {
			p.close(s, op.Call)
		}
	case history.Lost:
		for _, s := range p.bySession[op.Session] {
			p.lost[s] = op.Return
		}
	case history.DeleteTopic, history.Tombstone:
		if op.Kind == history.Tombstone {
			p.tombs[[2]string{op.Topic, op.Producer}] = true
		}
		for s := range p.open {
			if s.topic == op.Topic && (op.Kind == history.DeleteTopic || s.producer == op.Producer) {
				p.close(s, op.Call)
			}
		}
	}
}

func (p *presence) close(s spot, until time.Duration) {
	from, ok := p.open[s]
	if !ok {
		return
	}
	if until > from {
		p.closed[s] = append(p.closed[s], window{from, until})
	}
	delete(p.open, s)
	delete(p.lost, s)
}

// missing finds the default lookups, at nodes that were up, that lacked an nsqd that
// wanted to be found, and did not say that they were old. lacking has an entry for each
// op: for how long all lookups of its topic at its node had lacked one then, 0 if it did
// not. Of stock a node is expected to list only those that have registered with it.
func missing(run *history.Run, down outages) (lacking []time.Duration, m Missing) {
	type place struct{ topic, node string }
	wanted := make(map[place]map[string][]window) // by producer
	want := func(at place, producer string, windows []window) {
		if wanted[at] == nil {
			wanted[at] = make(map[string][]window)
		}
		wanted[at][producer] = append(wanted[at][producer], windows...)
	}
	for s, windows := range presences(run).closed {
		nodes := run.Header.Nodes
		if run.Header.Against == "stock" {
			nodes = []string{s.node}
		}
		for _, node := range nodes {
			want(place{s.topic, node}, s.producer, windows)
		}
	}
	for _, producers := range wanted {
		for producer, windows := range producers {
			producers[producer] = joined(windows)
		}
	}
	lacking = make([]time.Duration, len(run.Ops))
	since := make(map[place]time.Duration)
	for i := range run.Ops {
		op := &run.Ops[i]
		if op.Kind != history.Lookup || op.Consistent || op.Outcome != history.Done || op.Answer == nil || isStale(op) || down.during(op) {
			continue
		}
		at := place{op.Topic, op.Node}
		if !lacks(op, wanted[at]) {
			delete(since, at)
			continue
		}
		m.Lookups++
		if len(op.Answer.Producers) == 0 {
			m.Empty++
		}
		// A node that has been down since lacks it anew.
		if begun, ok := since[at]; !ok || down.overlap(op.Node, begun, op.Call) {
			since[at] = op.Call
		}
		lacking[i] = max(op.Return-since[at], 1)
		m.Longest = max(m.Longest, sec(lacking[i]))
	}
	return lacking, m
}

// lacks says whether the answer to op leaves out one that it should list.
func lacks(op *history.Op, wanted map[string][]window) bool {
	for producer, windows := range wanted {
		if _, listed := slices.BinarySearch(op.Answer.Producers, producer); listed {
			continue
		}
		for _, w := range windows {
			if w.from+settled <= op.Call && op.Return < w.to {
				return true
			}
		}
	}
	return false
}
