package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ageKnown is by when a node has to know how old its copy is while nothing is broken, and
// how old that may be then.
const ageKnown = 3 * time.Second

// looksAgain is within what time answers are of one row. If nobody looks for longer the
// whole machine may have stood still.
const looksAgain = time.Second

// checkAge checks that a node cannot have its answers held to no age, by never saying one.
func checkAge(e *evidence) []*finding {
	known := newFinding("reads/age-known", false, "While nothing is broken, no node says for more than 3 s that it does not know how old it is, that it hears no leader, or that it is older than 3 s.")
	known.Bound = seconds(ageKnown)
	if !e.ours {
		known.untested = "stock's answers have no age"
		return []*finding{known}
	}
	calm := e.calm()
	byNode := make(map[string][]*Op)
	for i := range e.run.Ops {
		if op := &e.run.Ops[i]; op.Kind == Lookup && !op.Consistent && op.Outcome == Done && op.Answer != nil {
			byNode[op.Node] = append(byNode[op.Node], op)
		}
	}
	var counts []string
	longest := time.Duration(0)
	for _, node := range e.run.Header.Nodes {
		seen, most := ageless(node, byNode[node], calm, known)
		longest = max(longest, most)
		counts = append(counts, fmt.Sprintf("%d of %s", seen, node))
		if known.seen += seen; seen == 0 {
			known.doubtful("no lookup at %s came 3 s after the last fault or later", node)
		}
	}
	known.saw("default lookups 3 s after the last fault or later: %s", strings.Join(counts, ", "))
	known.Observed = "at most " + seconds(longest) + " without one"
	return []*finding{known}
}

// calm returns when nothing was broken, and no storm was on.
func (e *evidence) calm() intervals {
	var broken []interval
	for i := range e.run.Faults {
		broken = append(broken, e.run.Faults[i].lasted())
	}
	var calm intervals
	from := time.Duration(0)
	for _, b := range merge(broken) {
		if from < b.from {
			calm = append(calm, interval{from, b.from})
		}
		from = b.to
	}
	if from < never {
		calm = append(calm, interval{from, never})
	}
	return calm
}

// ageless looks for the rows of one node's answers that have no age, from the beginning of
// a calm on. seen are those late enough in one to end a row that is too long; most is how
// long the longest was.
func ageless(node string, lookups []*Op, calm intervals, f *finding) (seen int, most time.Duration) {
	lookups = slices.SortedStableFunc(slices.Values(lookups), func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
	var row interval // calls whose answers had no age; to is 0 if the last had one
	told := false    // of this row
	for _, l := range lookups {
		now, ok := calm.first(l.Call, l.Call)
		if !ok || l.Return > now.to {
			row = interval{}
			continue
		}
		late := l.Call-now.from > ageKnown
		if late {
			seen++
		}
		if l.Answer.hasAge() {
			row, told = interval{}, false
			continue
		}
		if row.to == 0 || row.from < now.from || l.Call-row.to > looksAgain {
			row, told = interval{from: l.Call}, false
		}
		row.to = l.Call
		most = max(most, l.Call-row.from)
		if l.Call-row.from > ageKnown && !told {
			f.violate("no age: %s has not known since %s how old it is: at %s it says an age of %d ms, and that it heard a leader %d ms before", node, seconds(row.from), seconds(l.Call), l.Answer.StaleMS, l.Answer.ContactMS)
			told = true
		}
	}
	return seen, most
}

// hasAge says whether the answer says how old it is, and that this is not much.
func (a *Answer) hasAge() bool {
	young := func(ms int64) bool { return ms >= 0 && time.Duration(ms)*time.Millisecond <= ageKnown }
	return a.KnownLeader && young(a.StaleMS) && young(a.ContactMS)
}
