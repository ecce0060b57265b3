package history

import (
	"cmp"
	"slices"
	"time"
)

// shortestStall is how long a write has to be under way, and none to be acknowledged,
// for the cluster to have stood still.
const shortestStall = 250 * time.Millisecond

// stalls returns when no node acknowledged a write though somebody tried: there was no
// leader, or the machine had no time for it. What is promised for "soon" does not come
// true then; that writes stop is a matter of other claims.
func stalls(run *Run) intervals {
	var tried, done []*Op
	for i := range run.Ops {
		op := &run.Ops[i]
		if !op.writes() || !slices.Contains(run.Header.Nodes, op.Node) {
			continue
		}
		tried = append(tried, op)
		if op.Outcome == Done {
			done = append(done, op)
		}
	}
	slices.SortStableFunc(done, func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
	var all []interval
	last := time.Duration(0)
	for _, op := range done {
		if since := tryingSince(tried, last, op.Return); since < never && op.Return-since > shortestStall {
			all = append(all, interval{since, op.Return})
		}
		last = op.Return
	}
	return merge(all)
}

// writes says whether op asks a cluster to change something.
func (op *Op) writes() bool {
	switch op.Kind {
	case Register, Unregister, CreateTopic, CreateChannel, DeleteTopic, DeleteChannel, Tombstone:
		return true
	}
	return false
}

// afterStalls returns when d has passed since from, without the time in which the cluster
// stood still or there was no quorum. Writes that were
// held up by one follow it all at once: each costs promptly more.
func (e *evidence) afterStalls(from, d time.Duration) time.Duration {
	if from == never {
		return never
	}
	by := from + d
	for _, s := range e.standstill {
		if s.from >= by {
			break
		}
		if s.to == never {
			return never
		}
		if s.to > from {
			by += s.to - max(s.from, from)
		}
	}
	return by
}
