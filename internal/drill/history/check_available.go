package history

import (
	"fmt"
	"time"
)

// reachable reports whether node could be expected to answer a call made from a to b.
func (e *evidence) reachable(node string, a, b time.Duration) bool {
	return !e.down[node].overlap(a, b)
}

// checkAvailable checks that the nodes that nothing takes down answer default lookups,
// whatever befalls the others, and show every nsqd that is alive.
func checkAvailable(e *evidence) []*finding {
	answered := newFinding("available/lookups", false, "Lookups on surviving, reachable nodes never fail.")
	answered.Bound = "0 failures"
	serves := newFinding("available/serves", true, "No surviving, reachable node fails all lookups for more than 1 s.")
	serves.Bound = "≤ " + seconds(outage)
	var longest failures
	failed := 0
	for i := range e.run.Ops {
		op := &e.run.Ops[i]
		if op.Kind != Lookup || op.Consistent || !e.reachable(op.Node, op.Call, op.Return) {
			continue
		}
		answered.seen++
		serves.seen++
		if op.Outcome == Done {
			longest.over(op)
			continue
		}
		failed++
		if since, out := longest.on(op); out {
			serves.violate("out: all lookups at %s failed from %s on, for more than %s: %s%s", op.Node, seconds(since), seconds(outage), op.Error, during(e.run, since, op.Return))
		}
		answered.violate("failed: a lookup of %s at %s, begun at %s, returned at %s: %s%s", op.Topic, op.Node, seconds(op.Call), seconds(op.Return), op.Error, during(e.run, op.Call, op.Return))
	}
	answered.saw("%d default lookups on nodes that were up", answered.seen)
	answered.Observed = fmt.Sprintf("%d failures", failed)
	if failed > 0 {
		answered.Observed += fmt.Sprintf(", longest gap %s at %s", seconds(longest.gap), longest.node)
	}
	serves.saw("%d default lookups on nodes that were up", serves.seen)
	serves.Observed = answered.Observed
	return []*finding{answered, serves, e.neverLoses()}
}

// outage is for how long a node's lookups may fail before that is no mere slowness. A busy
// machine lets one time out, or some that are under way at once; those that are begun
// later than that, with none answered in between, it does not explain.
const outage = time.Second

// failures finds the longest time in which a node's lookups failed.
type failures struct {
	since map[string]time.Duration // call of the first that failed since the last that did not
	told  map[string]bool          // nodes whose failures have lasted for an outage, since then
	gap   time.Duration
	node  string
}

// on is when a lookup of the node failed. It returns since when all have, and whether
// that is an outage, the first time that it is.
func (f *failures) on(op *Op) (since time.Duration, out bool) {
	if f.since == nil {
		f.since, f.told = make(map[string]time.Duration), make(map[string]bool)
	}
	since, ok := f.since[op.Node]
	if !ok {
		since = op.Call
		f.since[op.Node] = since
	}
	if gap := op.Return - since; gap > f.gap {
		f.gap, f.node = gap, op.Node
	}
	out = op.Call-since > outage && !f.told[op.Node]
	f.told[op.Node] = f.told[op.Node] || out
	return since, out
}

// over is when a lookup of the node was answered.
func (f *failures) over(op *Op) {
	if since, ok := f.since[op.Node]; ok && op.Call >= since {
		if gap := op.Return - since; gap > f.gap {
			f.gap, f.node = gap, op.Node
		}
		delete(f.since, op.Node)
		delete(f.told, op.Node)
	}
}

// during names the faults that lasted from a to b.
func during(run *Run, a, b time.Duration) string {
	s := ""
	for i := range run.Faults {
		f := &run.Faults[i]
		if l := f.lasted(); l.from <= b && a <= l.to {
			s += fmt.Sprintf(", during fault %d (%s of %s)", f.ID, f.Kind, f.Target)
		}
	}
	return s
}

// neverLoses checks that a node that has shown an nsqd shows it for as long as that
// lives. Stock's nodes each know their own sessions only, and forget them when they stop:
// of them it is counted, for comparison.
func (e *evidence) neverLoses() *finding {
	kept := newFinding("available/never-loses-live-nsqd", true, "No lookup on a surviving, reachable node loses an nsqd that it has shown and whose session lasts.")
	for _, t := range e.topics {
		present := t.present
		byNode := make(map[string][]*Op)
		for _, l := range t.local {
			byNode[l.Node] = append(byNode[l.Node], l)
		}
		for producer, ps := range present {
			for _, p := range ps {
				if p.from == never {
					continue
				}
				for node, lookups := range byNode {
					if !e.ours && node != p.session.node {
						continue
					}
					e.keeps(t, producer, p, p == ps[0], node, lookups, kept)
				}
			}
		}
	}
	kept.Observed = fmt.Sprintf("%d lookups lost one", kept.violations)
	kept.saw("%d lookups of nsqds that were alive and had been shown", kept.seen)
	if !e.ours {
		kept.Observed = fmt.Sprintf("%d of %d lookups of nsqds that were alive and had been shown lacked them", kept.violations, kept.seen)
		e.promise(kept, true, "")
	}
	return kept
}

// keeps has every lookup of one node show p's producer once one has. If it was there
// before p, first being false, an answer may show it that is of then.
func (e *evidence) keeps(t *topic, producer string, p *presence, first bool, node string, lookups []*Op, kept *finding) {
	shownBy := never // when the first that showed it was over
	for _, l := range after(lookups, p.from) {
		if l.Call >= p.until {
			return
		}
		if l.Return >= p.until {
			continue
		}
		switch {
		case l.Answer.shows(producer):
			stale := time.Duration(l.Answer.StaleMS) * time.Millisecond
			if !e.ours || first || stale >= 0 && l.Call-stale > p.from {
				shownBy = min(shownBy, l.Return)
			}
			kept.seen++
		case shownBy < l.Call && e.reachable(node, l.Call, l.Return):
			kept.seen++
			kept.violate("lost alive: %s lacks %s of %s at %s and had it at %s%s", node, producer, t.name, seconds(l.Call), seconds(shownBy), during(e.run, l.Call, l.Return))
		}
	}
}
