package history

import (
	"fmt"
	"slices"
	"time"
)

// fewestWrites is how many writes on surviving nodes have to be tried during a fault
// for its write gap to mean anything.
const fewestWrites = 5

// checkBounds checks what each episode cost against what its drill may cost.
func checkBounds(e *evidence) []*finding {
	episodes := e.episodes()
	figures := e.figures(episodes)
	var drills []string
	byDrill := make(map[string][]int)
	for i, fig := range figures {
		if byDrill[fig.Drill] == nil {
			drills = append(drills, fig.Drill)
		}
		byDrill[fig.Drill] = append(byDrill[fig.Drill], i)
	}
	slices.Sort(drills)
	var all []*finding
	for _, drill := range drills {
		all = append(all, e.drill(drill, byDrill[drill], episodes, figures)...)
	}
	return all
}

// drill makes the claims of one drill, of which times are the episodes by place.
func (e *evidence) drill(name string, times []int, episodes []*episode, figures []Figure) []*finding {
	b, promised := BoundOf(name)
	gap := newFinding("drill/"+name+"/writes", false, "Writes on surviving nodes go on.")
	recovery := newFinding("drill/"+name+"/recovery", false, "Writes are back after the end.")
	changes := newFinding("drill/"+name+"/leaders", false, "Leadership changes no more often than it has to.")
	lookups := newFinding("drill/"+name+"/lookups", false, "Lookups on surviving nodes do not notice.")
	var gaps, leaders, recoveries spread
	mostChanges, failed, made := 0, 0, 0
	for _, i := range times {
		what, fig := episodes[i], &figures[i]
		if !what.verified {
			for _, claim := range []*finding{gap, recovery, changes, lookups} {
				claim.doubtful("%s was not seen to have an effect", what)
			}
			continue
		}
		gap.seen++
		gaps.add(fig.WriteGap)
		if fig.Writes < fewestWrites {
			gap.doubtful("%s: %d writes were tried on surviving nodes", what, fig.Writes)
		}
		if b.WriteGap > 0 && fig.WriteGap > b.WriteGap {
			gap.violate("slow: %s: no write for %s", what, seconds(fig.WriteGap))
		}
		recovery.seen++
		if fig.Writes < fewestWrites {
			recovery.doubtful("%s: %d writes were tried on surviving nodes", what, fig.Writes)
		}
		if fig.Recovery > 0 {
			recoveries.add(fig.Recovery)
		}
		if b.Recovery > 0 && fig.Recovery > b.Recovery {
			recovery.violate("slow: %s: no write until %s after its end", what, seconds(fig.Recovery))
		}
		changes.seen++
		if !e.sampled(what) {
			changes.doubtful("%s: no node said meanwhile who leads", what)
		}
		mostChanges = max(mostChanges, fig.LeaderChanges)
		if fig.NewLeader > 0 {
			leaders.add(fig.NewLeader)
		}
		if promised && b.LeaderChanges >= 0 && fig.LeaderChanges > b.LeaderChanges+fig.Freezes {
			changes.violate("unstable: %s: %s", what, numbered(fig.LeaderChanges, "new leader"))
		}
		made += fig.Lookups
		failed += fig.LookupsFailed
		if fig.LookupsFailed > 0 {
			lookups.violate("failed: %s: %d of %d lookups, for up to %s", what, fig.LookupsFailed, fig.Lookups, seconds(fig.LookupGap))
		}
	}
	if len(recoveries.values) == 0 {
		recovery.doubtful("writes never stopped for so long before the end that their coming back could be told")
	}
	lookups.seen = made
	gap.Observed, recovery.Observed = gaps.String(), recoveries.String()
	changes.Observed = fmt.Sprintf("at most %d; time to a new leader: %s", mostChanges, &leaders)
	lookups.Observed = fmt.Sprintf("%d of %d failed", failed, made)
	for _, claim := range []*finding{gap, recovery, changes, lookups} {
		claim.saw("made %s%s", numbered(len(times), "time"), e.froze())
	}
	e.promise(gap, b.WriteGap > 0, bound(b.WriteGap))
	e.promise(recovery, b.Recovery > 0, bound(b.Recovery))
	e.promise(changes, promised && b.LeaderChanges >= 0, fmt.Sprintf("≤ %d", b.LeaderChanges))
	e.promise(lookups, true, "0 failures")
	all := []*finding{gap, recovery, changes, lookups}
	if b.Registered > 0 {
		all = append(all, e.registered(name, b.Registered, times, episodes))
	}
	return all
}

// registered makes the claim of a storm that all who come are let in: of them only so many
// are on their way at a time, so that one is not late because of slow nodes, but all are.
func (e *evidence) registered(name string, within time.Duration, times []int, episodes []*episode) *finding {
	in := newFinding("drill/"+name+"/registered", false, "All nsqds that come are registered in time.")
	var took spread
	for _, i := range times {
		what := episodes[i]
		if !what.verified {
			in.doubtful("%s: not all were registered", what)
			continue
		}
		in.seen++
		d := e.counted(what.faults[0].Begin, what.faults[0].End)
		took.add(d)
		if d > within {
			in.violate("slow: %s: not all were registered for %s", what, seconds(d))
		}
	}
	in.Observed = took.String()
	in.saw("made %s%s", numbered(len(times), "time"), e.froze())
	e.promise(in, true, bound(within))
	return in
}

// sampled reports whether any node said during ep what it is.
func (e *evidence) sampled(ep *episode) bool {
	return slices.ContainsFunc(e.run.Samples, func(s Sample) bool { return s.Answered && ep.begin <= s.At && s.At <= ep.over })
}

// numbered writes "1 time", "2 times".
func numbered(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func bound(d time.Duration) string { return "≤ " + seconds(d) }

// promise says what is promised of a claim, or that nothing is: not tested then, but
// with the figures.
func (e *evidence) promise(f *finding, promised bool, bound string) {
	switch {
	case !e.ours:
		f.untested, f.violations, f.Violations = "nothing is promised of stock; the figures are for comparison", 0, nil
	case !promised:
		f.untested = "nothing is promised of this"
	default:
		f.Bound = bound
	}
}
