package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// tolerance is how much less than the truth a node may say. None is needed for
	// the clocks: an age is held against one clock, and X-Nsq-Stale-Ms is rounded up.
	tolerance = time.Millisecond

	// contact is how recently a node has to have heard the leader for its copy to
	// be no older than replication. One that was just hit may hear it already and
	// have much to catch up; and of a leader whose packets are lost heartbeats come
	// through while an entry waits for TCP to send it again, which takes 200 ms at
	// least each time. Then X-Nsq-Stale-Ms alone counts.
	contact     = 500 * time.Millisecond
	replication = 250 * time.Millisecond
)

// checkReads checks lookups in the default mode.
func checkReads(e *evidence) []*finding {
	honest := newFinding("reads/honest-age", true, "A default lookup is never older than X-Nsq-Stale-Ms says.")
	fresh := newFinding("reads/bounded-age", false, "While its node hears the leader and nothing is done to it or to what the leader sends, a default lookup lacks nothing acknowledged 250 ms before.")
	fresh.Bound = seconds(replication)
	monotonic := newFinding("reads/monotonic", true, "No node's answers go back in time, restarts included.")
	equal := newFinding("reads/equal-index", true, "Answers of the same index are the same.")
	all := []*finding{honest, fresh, monotonic, equal}
	if !e.ours {
		for _, f := range all {
			f.untested = "stock's answers have neither age nor index"
		}
		return all
	}
	var oldest spread
	reads := 0
	for _, t := range e.topics {
		reads += len(t.local)
		present := t.present
		for producer, ps := range present {
			for _, p := range ps {
				if p.from < never {
					e.age(t, producer, p, honest, fresh, &oldest)
				}
			}
		}
		for _, l := range t.local {
			outlived(t, l, present, honest)
		}
		sameIndex(t, equal)
	}
	honest.saw("%d default lookups", reads)
	fresh.saw("%d default lookups", reads)
	fresh.Observed = "too old by: " + oldest.String()
	if len(oldest.values) == 0 {
		fresh.Observed = "none is too old"
	}
	e.monotonic(monotonic)
	return all
}

// age has every default lookup in p's time show its producer, if it is as young as
// its node says.
func (e *evidence) age(t *topic, producer string, p *presence, honest, fresh *finding, oldest *spread) {
	for _, l := range after(t.local, p.from) {
		if l.Call >= p.until {
			break
		}
		if l.Return >= p.until {
			continue
		}
		shown := l.Answer.shows(producer)
		since := l.Call - p.from
		stale := time.Duration(l.Answer.StaleMS) * time.Millisecond
		if stale >= 0 && since > stale+tolerance {
			honest.seen++
			if !shown {
				honest.violate("dishonest: %s says %v at %s and lacks %s of %s, acknowledged %s before", l.Node, stale, seconds(l.Call), producer, t.name, seconds(since))
			}
		}
		heard := time.Duration(l.Answer.ContactMS) * time.Millisecond
		if heard >= 0 && heard <= contact && l.Answer.KnownLeader && since > replication+tolerance && !e.hit[l.Node].overlap(l.Call-2*aftermath, l.Return) && !e.loses.overlap(l.Call-2*aftermath, l.Return) {
			fresh.seen++
			if !shown {
				oldest.add(since)
				fresh.violate("old: %s heard the leader %v before, and lacks %s of %s at %s, acknowledged %s before", l.Node, heard, producer, t.name, seconds(l.Call), seconds(since))
			}
		}
	}
}

// outlived looks for what l should not show, as old as it may be.
func outlived(t *topic, l *Op, present map[string]presences, honest *finding) {
	oldest := time.Duration(0)
	if l.Answer.StaleMS >= 0 {
		oldest = max(0, l.Call-time.Duration(l.Answer.StaleMS)*time.Millisecond-tolerance)
	}
	for _, producer := range l.Answer.Producers {
		honest.seen++
		if ps := present[producer]; !ps.allowed(oldest, l.Return) {
			honest.violate("dishonest: it says %d ms, and %s", l.Answer.StaleMS, showsWrongly(t, l, producer, ps))
		}
	}
}

// sameIndex has answers of the same index be the same. Tombstones end without a
// change of the index: topics that had any are left out.
func sameIndex(t *topic, equal *finding) {
	if t.tombstoned {
		return
	}
	first := make(map[uint64]*Op)
	for _, lookups := range [][]*Op{t.consistent, t.local} {
		for _, l := range lookups {
			if l.Answer.Index == 0 {
				continue
			}
			other := first[l.Answer.Index]
			if other == nil {
				first[l.Answer.Index] = l
				continue
			}
			equal.seen++
			if !l.Answer.same(other.Answer) {
				equal.violate("diverged: %s and %s differ in %s at index %d", other, l, t.name, l.Answer.Index)
			}
		}
	}
	equal.saw("%d pairs of answers", equal.seen)
}

func (a *Answer) same(b *Answer) bool {
	return a.Known == b.Known && slices.Equal(a.Channels, b.Channels) && slices.Equal(a.Producers, b.Producers)
}

// monotonic checks that no answer is as of an earlier index than one of the same
// node that was over before it was asked for.
func (e *evidence) monotonic(f *finding) {
	byNode := make(map[string][]*Op)
	for i := range e.run.Ops {
		if op := &e.run.Ops[i]; op.Kind == Lookup && op.Answer != nil { // index 0 is as of nothing at all
			byNode[op.Node] = append(byNode[op.Node], op)
		}
	}
	total := 0
	for _, node := range e.run.Header.Nodes {
		calls := byNode[node]
		returns := slices.Clone(calls)
		slices.SortStableFunc(returns, func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
		var newest *Op
		over := 0
		for _, l := range calls {
			for ; returns[over].Return < l.Call; over++ {
				if newest == nil || returns[over].Answer.Index > newest.Answer.Index {
					newest = returns[over]
				}
			}
			f.seen++
			if newest != nil && l.Answer.Index < newest.Answer.Index {
				f.violate("back in time: %s answers as of index %d at %s after %d at %s", node, l.Answer.Index, seconds(l.Call), newest.Answer.Index, seconds(newest.Call))
			}
		}
		total += len(calls)
	}
	f.saw("%s", fmt.Sprintf("%d answers of %d nodes", total, len(byNode)))
}
