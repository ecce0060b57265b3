package history

import (
	"cmp"
	"slices"
	"time"
)

const (
	// getsIn is for how long those that come to a node may be turned away in a row.
	getsIn = 5 * time.Second
	// fewestTries is how often one nsqd has tried that says by itself that it does not
	// get in: two tries may both have met an election.
	fewestTries = 3
	// triesAgain is within what time failures at a node are of one row.
	triesAgain = 2 * time.Second
)

// mild are the faults in spite of which a node has to let nsqds in: they slow it down at
// most.
var mild = map[string]bool{"clock_jump": true, "delay": true, "lag": true, "duplicate": true, "reorder": true}

// checkRegistrations checks that an nsqd gets in: that it is not turned away for long, by
// a node of which nothing takes the part in the cluster, under one leader.
func checkRegistrations(e *evidence) []*finding {
	in := newFinding("available/registrations", true, "An nsqd that connects or registers at a node that is up and not cut off gets in while there is a quorum, storms aside.")
	in.Bound = seconds(getsIn) + " of failures in a row"
	e.admits(in, e.closedDoors())
	return []*finding{in}
}

// closedDoors returns, of each node, when it may turn nsqds away for however long.
func (e *evidence) closedDoors() map[string]intervals {
	all := make(map[string][]interval)
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		if mild[f.Kind] {
			continue
		}
		if f.Kind == storm { // how long it takes for all to get in is what its drill finds out
			for _, node := range f.Targets() {
				all[node] = append(all[node], interval{f.Begin, cmp.Or(f.End, never)})
			}
			continue
		}
		for _, node := range slices.Concat(f.Targets(), e.cutOff(f)) {
			all[node] = append(all[node], f.lasted())
		}
	}
	closed := make(map[string]intervals)
	for _, node := range e.run.Header.Nodes {
		if e.ours { // stock's nodes need nobody
			all[node] = slices.Concat(all[node], e.noQuorum, e.loses)
		}
		closed[node] = merge(all[node])
	}
	return closed
}

// A refusal is a row of failures.
type refusal struct {
	first, last *Op
	tries       int
}

// goesOn reports whether a failure op is of the same row as those before it: under one
// leader, and with nothing between that is an excuse. Of all who come to a node there is
// always one that tries soon; if not, the whole machine may have stood still.
func (r *refusal) goesOn(e *evidence, op *Op, closed intervals, all bool) bool {
	from := r.first.Call
	return !closed.overlap(from, op.Return) && !e.changedLeader(from, op.Return) && (!all || op.Call-r.last.Return <= triesAgain)
}

// admits looks for rows of failures, of all who come to a node and of each nsqd.
func (e *evidence) admits(f *finding, closed map[string]intervals) {
	var tries []*Op
	for i := range e.run.Ops {
		if op := &e.run.Ops[i]; op.Kind == Connect || op.Kind == Register {
			tries = append(tries, op)
		}
	}
	slices.SortStableFunc(tries, func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
	rows := make(map[[2]string]*refusal) // by node and producer; "": all of them
	failed, longest := 0, time.Duration(0)
	for _, op := range tries {
		if closed[op.Node].overlap(op.Call, op.Return) {
			continue
		}
		f.seen++
		if op.Outcome != Done {
			failed++
		}
		for _, who := range []string{"", op.Producer} {
			key := [2]string{op.Node, who}
			row := rows[key]
			switch {
			case op.Outcome == Done && op.Kind == Connect && who != "":
				continue // it is connected, and has yet to register
			case op.Outcome == Done:
				delete(rows, key)
				continue
			case row == nil || !row.goesOn(e, op, closed[op.Node], who == ""):
				rows[key] = &refusal{first: op, last: op, tries: 1}
				continue
			}
			row.last = op
			row.tries++
			lasted := op.Return - row.first.Call
			longest = max(longest, lasted)
			if lasted <= getsIn || row.tries < fewestTries {
				continue
			}
			f.violate("turned away: %s lets %s in no more, %d tries from %s to %s, at last %s: %s%s", op.Node, cmp.Or(who, "nobody"), row.tries, seconds(row.first.Call), seconds(op.Return), op, op.Error, during(e.run, row.first.Call, op.Return))
			delete(rows, key) // a row that goes on is told again
		}
	}
	f.saw("%d connections and registrations, of which %d failed", f.seen, failed)
	f.Observed = "at most " + seconds(longest) + " of failures in a row"
}

// changedLeader reports whether another node, or another term, led at b than at a.
func (e *evidence) changedLeader(a, b time.Duration) bool {
	return slices.ContainsFunc(e.leaders, func(c leaderChange) bool { return a < c.at && c.at <= b })
}
