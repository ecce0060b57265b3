package history

import (
	"fmt"
	"slices"
	"time"
)

const (
	// shortestFreeze is for how long nothing that anybody asked is answered when the
	// machine stands still. Hundreds of calls a second are, as a rule.
	shortestFreeze = 100 * time.Millisecond
	// aliveWithin is the time before and after a freeze from which it is told how many
	// calls nsqds, which have no part in a cluster of nsqlookupds, should have answered
	// while it lasted. If those are less than fewestDue it may be by chance that there
	// were none.
	aliveWithin = time.Second
	fewestDue   = 10
	// electionBy is how long a freeze is that may cost a leader its lease, and
	// electedWithin by when there is another then.
	electionBy    = 150 * time.Millisecond
	electedWithin = 2 * time.Second
)

// freezes returns when the machine stood still, or nsqdrill did: no call of anybody came
// to an end, those to real nsqds neither, to which many did just before and just after.
// What takes longer because of that, and who loses the lead, is no matter of the cluster's.
func freezes(run *Run) intervals {
	var all, nsqds []time.Duration // ends of calls
	for i := range run.Ops {
		op := &run.Ops[i]
		all = append(all, op.Return)
		if slices.Contains(run.Header.NSQDs, op.Node) {
			nsqds = append(nsqds, op.Return)
		}
	}
	for i := range run.Samples {
		all = append(all, run.Samples[i].At)
	}
	slices.Sort(all)
	slices.Sort(nsqds)
	due := func(d, from, to time.Duration) bool {
		first, _ := slices.BinarySearch(nsqds, from)
		last, _ := slices.BinarySearch(nsqds, to+1)
		return float64(last-first)*d.Seconds() >= fewestDue*aliveWithin.Seconds()
	}
	var found intervals
	for i := 1; i < len(all); i++ {
		from, to := all[i-1], all[i]
		d := to - from
		if d >= shortestFreeze && due(d, from-aliveWithin, from) && due(d, to, to+aliveWithin) {
			found = append(found, interval{from, to})
		}
	}
	return found
}

// during returns those of s that have a moment in [from, to], cut to it.
func (s intervals) during(from, to time.Duration) intervals {
	var within intervals
	for _, i := range s {
		if i.from <= to && from <= i.to {
			within = append(within, interval{max(i.from, from), min(i.to, to)})
		}
	}
	return within
}

// sum returns how long all of s lasted.
func (s intervals) sum() (d time.Duration) {
	for _, i := range s {
		d += i.to - i.from
	}
	return d
}

// counted returns how long it was from a to b, without what the machine stood still.
func (e *evidence) counted(a, b time.Duration) time.Duration {
	return b - a - e.frozen.during(a, b).sum()
}

// elections returns how many leaders may have lost the lead because the machine stood
// still from a to b.
func (e *evidence) elections(a, b time.Duration) (n int) {
	for _, i := range e.frozen {
		if i.from <= b && a <= i.to && i.to-i.from >= electionBy {
			n++
		}
	}
	return n
}

// froze says that the machine stood still, "" if it did not.
func (e *evidence) froze() string {
	if len(e.frozen) == 0 {
		return ""
	}
	longest := time.Duration(0)
	for _, i := range e.frozen {
		longest = max(longest, i.to-i.from)
	}
	return fmt.Sprintf("; not counted is that the machine stood still, %s of up to %s", numbered(len(e.frozen), "time"), seconds(longest))
}
