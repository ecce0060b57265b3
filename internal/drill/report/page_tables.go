package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"nsqraft/internal/drill/history"
)

// A drillRow is a drill over its repeats: what was seen, what is promised of it, and how
// the claim came out.
type drillRow struct {
	Name                                       string
	Times                                      int
	Writes, Recovery, Leaders, Lookups         cell
	NoLeader, Healing                          Spread
	StaleLookups, LookupsLacking, SessionsLost string
}

// A cell is a figure with its claim.
type cell struct {
	mark
	Value string
	More  string // p99 and count, or the rest of it
	Bound string
}

// drillRows returns a row for each drill.
func drillRows(j *JSON) []drillRow {
	status := make(map[string]history.Claim)
	for _, c := range j.Claims {
		status[c.ID] = c
	}
	var rows []drillRow
	for _, d := range j.Drills {
		of := func(claim string) (mark, string) {
			c, ok := status["drill/"+d.Name+"/"+claim]
			if !ok {
				return statusMark(history.NotTested), ""
			}
			return statusMark(c.Status), measured(c.Bound)
		}
		row := drillRow{Name: oneLine(d.Name), Times: d.Times, NoLeader: d.NoLeader, Healing: d.Healing, StaleLookups: count(d.StaleLookups), LookupsLacking: count(d.LookupsLacking), SessionsLost: count(d.SessionsLost)}
		row.Writes = durations(d.WriteGap)
		row.Writes.mark, row.Writes.Bound = of("writes")
		row.Recovery = durations(d.Recovery)
		row.Recovery.mark, row.Recovery.Bound = of("recovery")
		row.Leaders = cell{Value: count(d.LeaderChanges)}
		row.Leaders.mark, row.Leaders.Bound = of("leaders")
		row.Lookups = cell{Value: count(d.LookupsFailed), More: "of " + count(d.Lookups)}
		row.Lookups.mark, _ = of("lookups")
		rows = append(rows, row)
	}
	return rows
}

// durations writes the median and the greatest.
func durations(s Spread) cell {
	switch s.Count {
	case 0:
		return cell{Value: nothing}
	case 1:
		return cell{Value: short(s.Max)}
	}
	more := "max " + short(s.Max)
	if s.P99 < s.Max {
		more = "p99 " + short(s.P99) + ", " + more
	}
	return cell{Value: short(s.P50), More: more}
}

// Text writes a spread in a word or three.
func (s Spread) Text() string {
	c := durations(s)
	if c.More != "" {
		return c.Value + ", " + c.More
	}
	return c.Value
}

// A group is claims about one thing.
type group struct {
	Name string
	Rows []claimRow
}

type claimRow struct {
	mark
	ID, Title, Bound, Observed, Evidence, Picture string
	Safety                                        bool
	Stock                                         *mark  // of the baseline
	StockNote                                     string // what was observed of it
}

// groupNames are those of the first part of a claim's ID.
var groupNames = map[string]string{
	"record": "The drill itself", "faults": "The drill itself",
	"registry": "Registrations", "linear": "One order of all calls", "reads": "Default lookups",
	"available": "Availability", "deadline": "Deadlines of a stock nsqd", "cluster": "The cluster", "messages": "Messages",
}

// groups returns all claims but those of a drill's figures, which are in its row.
func groups(j *JSON) []group {
	stock := make(map[string]history.Claim)
	if j.Baseline != nil {
		for _, c := range j.Baseline.Claims {
			stock[c.ID] = c
		}
	}
	var all []group
	for _, c := range j.Claims {
		first, _, _ := strings.Cut(c.ID, "/")
		if first == "drill" {
			continue
		}
		name := cmp.Or(groupNames[first], oneLine(first))
		i := slices.IndexFunc(all, func(g group) bool { return g.Name == name })
		if i < 0 {
			i = len(all)
			all = append(all, group{Name: name})
		}
		row := claimRow{mark: statusMark(c.Status), ID: oneLine(c.ID), Title: oneLine(c.Title), Bound: measured(c.Bound),
			Observed: measured(c.Observed), Evidence: counted(c.Evidence), Picture: c.Picture, Safety: c.Safety}
		if s, ok := stock[c.ID]; ok {
			m := statusMark(s.Status)
			row.Stock, row.StockNote = &m, measured(s.Observed)
			if n := len(s.Violations); n > 0 && s.Observed == "" {
				row.StockNote = plural(n, "violation is told", "violations are told")
			}
		}
		all[i].Rows = append(all[i].Rows, row)
	}
	return all
}

// An episodeRow is an episode in words.
type episodeRow struct {
	Fault                                                  int
	Drill, What, Begin, Lasted, Detected, NoLeader         string
	NewLeader, WriteGap, Writes, Lookups, Recovery, Healed string
	Stale, Lacking, Sessions                               int
	Verified                                               bool
	Note                                                   string
}

// episodeRows returns rows in order, and how many are left out: those that cost least.
func episodeRows(all []Episode) (rows []episodeRow, leftOut int) {
	if len(all) > mostEpisodes {
		leftOut = len(all) - mostEpisodes
		all = slices.Clone(all)
		slices.SortStableFunc(all, func(a, b Episode) int { return cmp.Compare(cost(b), cost(a)) })
		all = all[:mostEpisodes]
		slices.SortStableFunc(all, func(a, b Episode) int { return cmp.Compare(a.Begin, b.Begin) })
	}
	for _, ep := range all {
		row := episodeRow{
			Fault: ep.Fault, Drill: oneLine(ep.Drill), What: oneLine(ep.Kind + " " + ep.Target), Begin: at(ep.Begin), Lasted: "to the end",
			Detected: known(ep.Detected), NoLeader: known(ep.NoLeader), NewLeader: known(ep.NewLeader), WriteGap: short(ep.WriteGap),
			Writes:   fmt.Sprintf("%s of %s", count(ep.WritesFailed), count(ep.Writes)),
			Lookups:  fmt.Sprintf("%s of %s", count(ep.LookupsFailed), count(ep.Lookups)),
			Recovery: known(ep.Recovery), Healed: "not well again",
			Stale: ep.StaleLookups, Lacking: ep.LookupsLacking, Sessions: ep.SessionsLost, Verified: ep.Verified, Note: oneLine(ep.Note),
		}
		if n := len(ep.Faults); n > 1 {
			row.What = fmt.Sprintf("%s, %d times", row.What, n)
		}
		if ep.NewLeaderName != "" && ep.NewLeader > 0 {
			row.NewLeader = fmt.Sprintf("%s, %s", oneLine(ep.NewLeaderName), row.NewLeader)
		}
		if ep.End > 0 {
			row.Lasted = short(ep.End - ep.Begin)
		}
		if ep.Healed > 0 {
			row.Healed = short(max(0, ep.Healed-ep.End))
		}
		rows = append(rows, row)
	}
	return rows, leftOut
}

// A callRow is calls of one class at one node.
type callRow struct {
	Node, Class, Count, OK, Refused, Unknown, Failed, P50, P99, Max string
}

func callRows(j *JSON) []callRow {
	var rows []callRow
	for _, c := range j.Calls {
		rows = append(rows, callRow{
			Node: oneLine(c.Node), Class: oneLine(c.Class), Count: count(c.Count), OK: count(c.OK), Refused: count(c.Refused), Unknown: count(c.Unknown),
			Failed: count(c.Reachable), P50: known(c.Took.P50), P99: known(c.Took.P99), Max: known(c.Took.Max),
		})
	}
	return rows
}
