package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Figure is what an episode cost those who use the surviving nodes: those that none of
// its faults has hit, or all if all were. An episode is the faults of one drill that
// overlap: a drill that isolates every node, or one that cuts a link again and again, is
// several faults to the environment and one to its clients.
type Figure struct {
	Fault         int           `json:"fault"`  // ID of the first
	Faults        []int         `json:"faults"` // all IDs
	Drill         string        `json:"drill"`
	Writes        int           `json:"writes"`         // tried on surviving nodes
	WriteGap      time.Duration `json:"write_gap"`      // longest time that somebody tried and no write was acknowledged, without what the machine stood still
	NewLeader     time.Duration `json:"new_leader"`     // from the beginning until another node led; 0: none did
	LeaderChanges int           `json:"leader_changes"` // new terms with a leader
	Freezes       int           `json:"freezes"`        // of those, how many came just after the machine had stood still
	Recovery      time.Duration `json:"recovery"`       // from the end, or from when there could be a quorum, until the first acknowledged write; 0: writes had not stopped
	Lookups       int           `json:"lookups"`        // default ones on surviving nodes
	LookupsFailed int           `json:"lookups_failed"`
	LookupGap     time.Duration `json:"lookup_gap"`    // longest time that a surviving node's default lookups failed
	SessionsLost  int           `json:"sessions_lost"` // on surviving nodes while there was a quorum, as deadline/sessions counts them
}

// Figures returns those of each episode, in the order of their beginnings.
func Figures(run *Run) []Figure {
	e := readRun(run)
	return e.figures(e.episodes())
}

// An episode is faults of one drill that overlap.
type episode struct {
	faults    []*Fault
	begin     time.Duration
	end       time.Duration // when there could be a quorum again, or the last fault was ended; 0: never
	healed    time.Duration // never if it was not
	over      time.Duration // of its aftermath, or when next is
	next      time.Duration // when the next one began, whose cost is its own; never: there was none
	oldLeader string
	verified  bool // of all faults
}

// episodes returns them by their beginnings.
func (e *evidence) episodes() []*episode {
	var all []*episode
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		var ep *episode
		for _, other := range slices.Backward(all) {
			if other.faults[0].Drill == f.Drill && f.Begin <= other.healed {
				ep = other
				break
			}
		}
		if ep == nil {
			ep = &episode{begin: f.Begin, verified: true}
			all = append(all, ep)
		}
		ep.faults = append(ep.faults, f)
		ep.healed = max(ep.healed, f.lasted().to)
		ep.verified = ep.verified && f.Verified
		if ep.oldLeader == "" {
			ep.oldLeader = f.OldLeader
		}
	}
	for i, ep := range all {
		ep.end, ep.over = e.over(ep), ep.healed
		if ep.over < never {
			ep.over += aftermath
		}
		if ep.next = never; i+1 < len(all) {
			ep.next = all[i+1].begin
		}
		ep.over = min(ep.over, ep.next)
	}
	return all
}

// over returns when there could be a quorum again, if there was none, or else when the
// last fault was ended; 0: never.
func (e *evidence) over(ep *episode) time.Duration {
	out := make(map[string][]interval)
	last := time.Duration(0)
	for _, f := range ep.faults {
		if f.End == 0 {
			return 0
		}
		last = max(last, f.End)
		if f.stopsPart() {
			for _, node := range e.cutOff(f) {
				out[node] = append(out[node], interval{f.Begin, f.End})
			}
		}
	}
	if none := e.tooFew(out); len(none) > 0 {
		return none[len(none)-1].to
	}
	return last
}

// String names the episode.
func (ep *episode) String() string {
	f := ep.faults[0]
	s := fmt.Sprintf("fault %d, %s of %s at %s", f.ID, f.Kind, f.Target, seconds(f.Begin))
	if n := len(ep.faults); n > 1 {
		s += fmt.Sprintf(", and %d more", n-1)
	}
	return s
}

// aftermath is for how long after an episode its cost is still counted: a session may
// be found lost, or a leader seen, only then.
const aftermath = time.Second

// calls of a run, each list by Call.
type calls struct{ writes, lookups, lost []*Op }

func (e *evidence) figures(episodes []*episode) []Figure {
	run := e.run
	var c calls
	for i := range run.Ops {
		op := &run.Ops[i]
		switch {
		case op.writes():
			if slices.Contains(run.Header.Nodes, op.Node) {
				c.writes = append(c.writes, op)
			}
		case op.Kind == Lookup:
			if !op.Consistent {
				c.lookups = append(c.lookups, op)
			}
		case op.Kind == Lost:
			c.lost = append(c.lost, op)
		}
	}
	figures := make([]Figure, len(episodes))
	for i, ep := range episodes {
		figures[i] = c.figure(e, ep)
	}
	return figures
}

// within returns those of ops, by Call, that began from a to b.
func within(ops []*Op, a, b time.Duration) []*Op {
	find := func(t time.Duration) int {
		i, _ := slices.BinarySearchFunc(ops, t, func(op *Op, t time.Duration) int { return cmp.Compare(op.Call, t) })
		return i
	}
	from := find(a)
	if b == never {
		return ops[from:]
	}
	return ops[from:max(from, find(b+1))]
}

func (c *calls) figure(e *evidence, ep *episode) Figure {
	fig := Figure{Fault: ep.faults[0].ID, Drill: ep.faults[0].Drill}
	for _, f := range ep.faults {
		fig.Faults = append(fig.Faults, f.ID)
	}
	over := ep.over
	survives := e.survivors(ep)
	for _, l := range e.leaders {
		if l.at < ep.begin || l.at > over {
			continue
		}
		fig.LeaderChanges++
		if e.elections(l.at-electedWithin, l.at) > 0 {
			fig.Freezes++
		}
		if fig.NewLeader == 0 && l.node != ep.oldLeader {
			fig.NewLeader = l.at - ep.begin
		}
	}
	var failing failures
	for _, op := range within(c.lookups, ep.begin, over) {
		if !survives[op.Node] || !e.reachable(op.Node, op.Call, op.Return) {
			continue
		}
		fig.Lookups++
		if op.Outcome == Done {
			failing.over(op)
		} else {
			fig.LookupsFailed++
			failing.on(op)
		}
	}
	fig.LookupGap = failing.gap
	for _, op := range c.lost {
		if survives[op.Node] && ep.begin <= op.Return && op.Return <= over && !e.excuses(e.sessions[op.Session], op.Return) {
			fig.SessionsLost++
		}
	}
	c.writeGap(e, &fig, ep, survives)
	return fig
}

// survivors are the nodes that no fault of ep hits, or all if all are hit.
func (e *evidence) survivors(ep *episode) map[string]bool {
	left, all := make(map[string]bool), make(map[string]bool)
	for _, node := range e.run.Header.Nodes {
		all[node] = true
		if !slices.ContainsFunc(ep.faults, func(f *Fault) bool { return f.hits(node) }) {
			left[node] = true
		}
	}
	if len(left) == 0 {
		return all
	}
	return left
}

// longestCall is more than any call of a client takes.
const longestCall = 15 * time.Second

// writeGap finds the longest time in which somebody tried to write on a surviving node
// and nobody was told that it was done, and how long after the end that lasted.
func (c *calls) writeGap(e *evidence, fig *Figure, ep *episode, survives map[string]bool) {
	over := ep.over
	later := over
	if later < never {
		later += time.Minute // for the write that ends the gap
	}
	var tried, done []*Op
	for _, op := range within(c.writes, max(0, ep.begin-longestCall), later) {
		if !survives[op.Node] {
			continue
		}
		tried = append(tried, op)
		if op.Call >= ep.begin && op.Call <= over {
			fig.Writes++
		}
		if op.Outcome == Done {
			done = append(done, op)
		}
	}
	slices.SortStableFunc(done, func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
	last := time.Duration(0) // when a write was last acknowledged
	for i := 0; i <= len(done); i++ {
		next := never
		if i < len(done) {
			next = done[i].Return
		}
		if since := tryingSince(tried, last, next); since < never && next >= ep.begin && max(last, since) <= over {
			until := next
			if until == never {
				until = tried[len(tried)-1].Return // nobody has seen more
			}
			fig.WriteGap = max(fig.WriteGap, e.counted(max(since, ep.begin), min(until, ep.next)))
			if ep.end > 0 && since < ep.end && until > ep.end && ep.end-since > time.Second {
				fig.Recovery = e.counted(ep.end, until)
			}
		}
		last = next
	}
}

// tryingSince returns from when on, between two acknowledgements, a write was under
// way; never if none was.
func tryingSince(tried []*Op, from, to time.Duration) time.Duration {
	i, _ := slices.BinarySearchFunc(tried, from-longestCall, func(op *Op, t time.Duration) int { return cmp.Compare(op.Call, t) })
	since := never
	for _, op := range tried[i:] {
		switch {
		case op.Call >= to || since < never && op.Call > since:
			return since
		case op.Return > from:
			since = min(since, max(op.Call, from))
		}
	}
	return since
}
