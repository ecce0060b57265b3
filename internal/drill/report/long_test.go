package report

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nsqraft/internal/drill/history"
)

// hour returns a run of an hour with 1,000 faults, of 20 drills, and about so many calls.
func hour(ops int) *history.Run {
	const faults, nodes = 1000, 3
	run := &history.Run{Header: history.Header{Schema: 1, ID: "long", Started: time.Unix(1_700_000_000, 0), Length: time.Hour, Quiet: time.Hour - 10*time.Second,
		Seed: 1, Profile: "long", Command: "nsqdrill run --profile=long --seed=1", Against: "ours", Nodes: []string{"n1", "n2", "n3"}, NSQDs: []string{"nsqd1"}}}
	every := time.Hour / faults
	for i := range faults {
		t := time.Duration(i) * every
		run.Faults = append(run.Faults, history.Fault{ID: i + 1, Drill: fmt.Sprintf("drill-%d", i%20), Kind: "isolate", Target: fmt.Sprintf("n%d", i%nodes+1),
			Begin: t + every/4, Began: t + every/4, End: t + every/2, Healed: t + every*3/4, Verified: true})
		for n := range nodes {
			role := map[bool]string{true: "leader", false: "follower"}[n == (i+1)%nodes]
			run.Samples = append(run.Samples, history.Sample{At: t + every/3, Node: fmt.Sprintf("n%d", n+1), Answered: true, Role: role, Term: uint64(i + 1), Ready: true})
		}
	}
	producers := []string{"p1:4150", "p2:4150"}
	for i := range ops {
		t := time.Duration(float64(time.Hour-time.Minute) * float64(i) / float64(ops))
		op := history.Op{Kind: history.Lookup, Client: i % 100, Node: fmt.Sprintf("n%d", i%nodes+1), Call: t, Return: t + time.Duration(i%7+1)*ms, Outcome: history.Done,
			Topic: fmt.Sprintf("t%d", i/1000), Answer: &history.Answer{Known: true, Producers: producers, Index: uint64(i)}}
		switch i % 10 {
		case 0, 1:
			op.Kind, op.Answer, op.Session, op.Producer = history.Register, nil, int64(i), producers[i%2]
		case 2:
			op.Outcome, op.Answer = history.Unknown, nil
		case 3, 4:
			op.Kind, op.Answer, op.Node, op.Message = history.Publish, nil, "nsqd1", fmt.Sprintf("m-%d", i)
		}
		run.Ops = append(run.Ops, op)
	}
	return run
}

// A report of an hour is small enough to be opened and mailed.
func TestLongRun(t *testing.T) {
	for name, content := range written(t, longReport(100_000)) {
		if limit := map[string]int{"report.html": 2_000_000}[name]; limit > 0 && len(content) > limit {
			t.Errorf("%s has %d bytes, more than %d", name, len(content), limit)
		}
	}
}

// longReport is of an hour in which what can be violated is.
func longReport(ops int) *Report {
	r := &Report{Run: hour(ops)}
	for i := range 40 {
		c := history.Claim{ID: fmt.Sprintf("available/%d", i), Title: "It holds.", Status: history.Missed, Evidence: "100000 calls"}
		for k := range 20 {
			c.Violations = append(c.Violations, fmt.Sprintf("late: n1 lacks p1:4150 of t%d at %d.000s, during fault %d", 3*i+k, 60*i+k, 20*i+k+1))
		}
		r.Claims = append(r.Claims, c)
	}
	return r
}

func BenchmarkLongReport(b *testing.B) {
	r := longReport(1_000_000)
	dir := b.TempDir()
	for b.Loop() {
		r.doc = nil
		if err := r.Write(dir); err != nil {
			b.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "report.html"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size()), "bytes")
}
