package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"nsqraft/internal/drill/history"
)

// sec is a duration in seconds, to the microsecond.
func sec(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e6 }

// dur is the duration of that many seconds.
func dur(seconds float64) time.Duration {
	return time.Duration(math.Round(seconds*1e6)) * time.Microsecond
}

// document returns report.json.
func (r *Report) document() *JSON {
	if r.doc != nil {
		return r.doc
	}
	run := r.Run
	down := newOutages(run)
	stretches := stretchesOf(run, down)
	j := &JSON{
		Schema: schema, Run: conditions(&run.Header), Claims: r.Claims,
		Episodes: []Episode{}, Faults: []Fault{},
		Leaders: reignsOf(stretches), Calls: callsOf(run, down),
	}
	c := &costs{run: run, none: leaderless(run, stretches), samples: run.Samples}
	c.lacking, j.Missing = missing(run, down)
	for _, fig := range history.Figures(run) {
		j.Episodes = append(j.Episodes, c.episode(fig))
	}
	c.lack(j.Episodes)
	for _, f := range run.Faults {
		j.Faults = append(j.Faults, Fault{ID: f.ID, Drill: f.Drill, Kind: f.Kind, Target: f.Target, Detail: f.Detail,
			Begin: sec(f.Begin), Began: sec(f.Began), End: sec(f.End), Healed: sec(f.Healed), Verified: f.Verified, Note: f.Note})
	}
	j.Drills = drillsOf(j.Episodes)
	j.Verdict = Verdict{ExitCode: r.ExitCode(), Outcome: outcome(r.ExitCode()), Broken: r.Broken}
	j.Verdict.Sentence = sentence(r, j)
	if r.Baseline != nil {
		j.Baseline = r.Baseline.document()
	}
	if r.Previous != nil {
		j.Changes = changes(r.Previous, j)
	}
	r.doc = j
	return j
}

func outcome(exit int) string {
	return [...]string{exitHolds: "holds", exitViolated: "violated", exitMissed: "missed", exitInconclusive: "inconclusive"}[exit]
}

func conditions(h *history.Header) Conditions {
	return Conditions{
		ID: h.ID, Started: h.Started, Length: sec(h.Length), Quiet: sec(h.Quiet), Seed: h.Seed, Profile: h.Profile, Command: h.Command,
		Against: h.Against, Env: h.Env, Nodes: h.Nodes, NSQDs: h.NSQDs, Versions: h.Versions, Machine: h.Machine, Skipped: h.Skipped,
		TimeScale: h.TimeScale, Grace: sec(h.Grace), Inactive: sec(h.Inactive), Tombstone: sec(h.Tombstone), Dropped: h.Dropped,
	}
}

// changes compares two runs: claims that came out differently, and drills whose longest
// write gap is longer or shorter by more than a fifth and 50 ms, which is more than a
// repeat differs by.
func changes(before, after *JSON) []Change {
	was := make(map[string]history.Status)
	for _, c := range before.Claims {
		was[c.ID] = c.Status
	}
	var all []Change
	for _, c := range after.Claims {
		if old, ok := was[c.ID]; ok && old != c.Status && !strings.HasPrefix(c.ID, "drill/") {
			all = append(all, Change{Subject: c.ID, Before: oneLine(string(old)), After: oneLine(string(c.Status)), Worse: gravity(c.Status) > gravity(old)})
		}
	}
	gaps := make(map[string]Drill)
	for _, d := range before.Drills {
		gaps[d.Name] = d
	}
	for _, d := range after.Drills {
		old, ok := gaps[d.Name]
		a, b := old.WriteGap.Max, d.WriteGap.Max
		if ok && math.Abs(a-b) > 0.05 && math.Abs(a-b) > max(a, b)/5 {
			all = append(all, Change{Subject: d.Name, Worse: b > a,
				Before: fmt.Sprintf("%s without a write", short(a)), After: fmt.Sprintf("%s without a write", short(b))})
		}
	}
	return all
}

// gravity orders statuses by how bad they are.
func gravity(s history.Status) int {
	switch s {
	case history.Violated:
		return 4
	case history.Missed:
		return 3
	case history.Inconclusive:
		return 2
	case history.NotTested:
		return 1
	}
	return 0
}
