package report

import (
	"fmt"
	"slices"
	"strings"
)

// A comparison sets what a drill cost clients of ours beside what it cost those of stock.
type comparison struct {
	Drill       string
	Targets     string // whom it hit: the same in both, or each
	Ours, Stock compared
}

// compared is one side: what clients could see.
type compared struct {
	Lacking, LackingFor, Empty string
	Lookups, Writes            string
	Bad                        bool // answers lacked an nsqd that was alive
}

// comparisons are of the drills that both runs made, by name. j must have a baseline.
func comparisons(j *JSON) []comparison {
	stock := make(map[string]Drill)
	for _, d := range j.Baseline.Drills {
		stock[d.Name] = d
	}
	hit, stockHit := targetsOf(j), targetsOf(j.Baseline)
	var all []comparison
	for _, d := range j.Drills {
		s, ok := stock[d.Name]
		if !ok {
			continue
		}
		c := comparison{Drill: oneLine(d.Name), Targets: oneLine(hit[d.Name]), Ours: side(d), Stock: side(s)}
		if hit[d.Name] != stockHit[d.Name] {
			c.Targets += "; of stock " + oneLine(stockHit[d.Name])
		}
		all = append(all, c)
	}
	return all
}

func side(d Drill) compared {
	return compared{
		Lacking: count(d.LookupsLacking), LackingFor: known(d.LackingFor), Empty: count(d.LookupsEmpty),
		Lookups: fmt.Sprintf("%s of %s", count(d.LookupsFailed), count(d.Lookups)),
		Writes:  short(d.WriteGap.Max), Bad: d.LookupsLacking > 0,
	}
}

// targetsOf returns whom each drill hit, by its name.
func targetsOf(j *JSON) map[string]string {
	seen := make(map[string][]string)
	for _, ep := range j.Episodes {
		if !slices.Contains(seen[ep.Drill], ep.Target) {
			seen[ep.Drill] = append(seen[ep.Drill], ep.Target)
		}
	}
	out := make(map[string]string)
	for drill, targets := range seen {
		out[drill] = listed(targets)
	}
	return out
}

// caveats are what the comparison cannot say. j must have a baseline.
func caveats(j *JSON) []string {
	all := []string{
		"Both clusters had the same number of nodes and nsqds, the same load, and the same drills with the same victims: where a drill of ours hit the leader, that of stock, which has none, hit the node of the same name.",
		"A write that is acknowledged is known to a majority of ours, but to one node of stock’s: that stock’s go on says only that some node was up.",
		"A node of stock’s is expected to list only the nsqds that are connected to it; one of ours all of them.",
		"After each drill stock is given up to a minute until its nsqds have come back, so that no drill is charged with what another cost. Ours is given none: what it lacks after it is well counts.",
		"Stock’s answers have no index and no age, and it has no consistent lookups: what follows from them was not tested. What it never promised is counted here, and is no violation of it.",
	}
	if n := len(j.Baseline.Run.Skipped); n > 0 {
		names := make([]string, 0, n)
		for _, p := range pairs(j.Baseline.Run.Skipped) {
			names = append(names, p.Name)
		}
		all = append(all, fmt.Sprintf("Not made against stock, whose nodes do not talk to each other and keep nothing: %s.", strings.Join(names, ", ")))
	}
	return all
}
