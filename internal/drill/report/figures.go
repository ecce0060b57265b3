package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/drill/history"
)

// aftermath is for how long after an episode its cost is still counted, as in package
// history.
const aftermath = time.Second

// A costs finds out what episodes cost, beyond what package history says.
type costs struct {
	run     *history.Run
	none    []window // without a leader
	samples []history.Sample
	lacking []time.Duration
}

// episode adds to a Figure what it was the cost of.
func (c *costs) episode(fig history.Figure) Episode {
	ep := Episode{
		Fault: fig.Fault, Faults: fig.Faults, Drill: fig.Drill, Verified: true,
		NewLeader: sec(fig.NewLeader), LeaderChanges: fig.LeaderChanges,
		Writes: fig.Writes, WriteGap: sec(fig.WriteGap), Recovery: sec(fig.Recovery),
		Lookups: fig.Lookups, LookupsFailed: fig.LookupsFailed, LookupGap: sec(fig.LookupGap), SessionsLost: fig.SessionsLost,
	}
	var targets []string
	lasted := window{from: -1}
	ended, healed := time.Duration(0), true
	for i := range c.run.Faults {
		f := &c.run.Faults[i]
		if !slices.Contains(fig.Faults, f.ID) {
			continue
		}
		for _, node := range f.Targets() {
			if !slices.Contains(targets, node) {
				targets = append(targets, node)
			}
		}
		if lasted.from < 0 {
			lasted.from, ep.Kind, ep.OldLeader = f.Begin, f.Kind, f.OldLeader
		}
		ep.Verified = ep.Verified && f.Verified
		ep.Note = cmp.Or(ep.Note, f.Note)
		ep.NewLeaderName = cmp.Or(f.NewLeader, ep.NewLeaderName)
		ended, lasted.to = max(ended, f.End), max(lasted.to, f.Healed)
		healed = healed && f.Healed > 0
	}
	slices.Sort(targets)
	ep.Target, ep.Begin, ep.End = strings.Join(targets, ","), sec(lasted.from), sec(ended)
	if healed {
		ep.Healed = sec(lasted.to)
		lasted.to += aftermath
	} else {
		lasted.to = c.run.Header.Length
	}
	hit := func(node string) bool { return slices.Contains(targets, node) }
	someLeft := slices.ContainsFunc(c.run.Header.Nodes, func(node string) bool { return !hit(node) })
	survives := func(node string) bool { return !someLeft || !hit(node) }
	ep.NoLeader = sec(longestWithin(c.none, lasted))
	ep.Detected = sec(c.detected(ep.OldLeader, lasted, survives))
	c.count(&ep, lasted, survives)
	return ep
}

// lack counts the lookups that lacked an nsqd that was alive from the beginning of each
// episode to that of the next: what a node has forgotten it may lack for long after it is
// well otherwise.
func (c *costs) lack(episodes []Episode) {
	next := 0
	for i, d := range c.lacking {
		for next < len(episodes) && dur(episodes[next].Begin) <= c.run.Ops[i].Call {
			next++
		}
		if d == 0 || next == 0 {
			continue
		}
		ep := &episodes[next-1]
		ep.LookupsLacking++
		if len(c.run.Ops[i].Answer.Producers) == 0 {
			ep.LookupsEmpty++
		}
		ep.LackingFor = max(ep.LackingFor, sec(d))
	}
}

// detected returns how long it took until a surviving node said of another than old, or
// of nobody, that it leads; 0: it never did.
func (c *costs) detected(old string, lasted window, survives func(string) bool) time.Duration {
	if old == "" {
		return 0
	}
	i, _ := slices.BinarySearchFunc(c.samples, lasted.from, func(s history.Sample, t time.Duration) int { return cmp.Compare(s.At, t) })
	for _, s := range c.samples[i:] {
		if s.At > lasted.to {
			return 0
		}
		if s.Answered && s.Node != old && survives(s.Node) && s.Leader != old {
			return s.At - lasted.from
		}
	}
	return 0
}

// count counts, on surviving nodes, the writes that failed and the lookups that were
// stale.
func (c *costs) count(ep *Episode, lasted window, survives func(string) bool) {
	i, _ := slices.BinarySearchFunc(c.run.Ops, lasted.from, byCall)
	for ; i < len(c.run.Ops) && c.run.Ops[i].Call <= lasted.to; i++ {
		op := &c.run.Ops[i]
		if !survives(op.Node) || !slices.Contains(c.run.Header.Nodes, op.Node) {
			continue
		}
		switch {
		case op.Outcome != history.Done && isWrite(op):
			ep.WritesFailed++
		case op.Kind == history.Lookup && !op.Consistent && op.Outcome == history.Done && isStale(op):
			ep.StaleLookups++
		}
	}
}

func byCall(op history.Op, t time.Duration) int { return cmp.Compare(op.Call, t) }

// drillsOf sums up the episodes of each drill.
func drillsOf(episodes []Episode) []Drill {
	byName := make(map[string][]Episode)
	for _, ep := range episodes {
		byName[ep.Drill] = append(byName[ep.Drill], ep)
	}
	drills := []Drill{}
	for name, all := range byName {
		d := Drill{Name: name, Times: len(all)}
		var gaps, none, leaders, recoveries, healing []time.Duration
		for _, ep := range all {
			gaps = append(gaps, dur(ep.WriteGap))
			none = addKnown(none, ep.NoLeader)
			leaders = addKnown(leaders, ep.NewLeader)
			recoveries = addKnown(recoveries, ep.Recovery)
			if ep.Healed > 0 && ep.End > 0 {
				healing = append(healing, max(0, dur(ep.Healed-ep.End)))
			}
			d.LeaderChanges = max(d.LeaderChanges, ep.LeaderChanges)
			d.LookupGap = max(d.LookupGap, ep.LookupGap)
			d.Writes += ep.Writes
			d.WritesFailed += ep.WritesFailed
			d.Lookups += ep.Lookups
			d.LookupsFailed += ep.LookupsFailed
			d.StaleLookups += ep.StaleLookups
			d.LookupsLacking += ep.LookupsLacking
			d.LookupsEmpty += ep.LookupsEmpty
			d.LackingFor = max(d.LackingFor, ep.LackingFor)
			d.SessionsLost += ep.SessionsLost
		}
		d.WriteGap, d.NoLeader, d.NewLeader = spread(gaps), spread(none), spread(leaders)
		d.Recovery, d.Healing = spread(recoveries), spread(healing)
		drills = append(drills, d)
	}
	slices.SortFunc(drills, func(a, b Drill) int { return strings.Compare(a.Name, b.Name) })
	return drills
}

func addKnown(all []time.Duration, seconds float64) []time.Duration {
	if seconds > 0 {
		all = append(all, dur(seconds))
	}
	return all
}
