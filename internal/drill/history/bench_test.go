package history

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// repeated is a long run: one simulated one again and again, with other names, under
// a fault every ten seconds.
func repeated(ops int) *Run {
	part := simulate(1, 6000, "")
	all := &Run{Header: part.Header}
	shift, index := time.Duration(0), uint64(0)
	for n := 0; len(all.Ops) < ops; n++ {
		last := uint64(0)
		for _, op := range part.Ops {
			if op.Answer != nil {
				last = max(last, op.Answer.Index)
				a := *op.Answer
				a.Index += index
				op.Answer = &a
			}
			if op.Kind == CreateChannel && op.Topic == "m" && n > 0 {
				continue
			}
			if op.Topic != "m" && op.Topic != "" {
				op.Topic = fmt.Sprintf("%d-%s", n, op.Topic)
			}
			if op.Session != 0 {
				op.Session += int64(n) << 20
			}
			if op.Message != "" {
				op.Message = fmt.Sprintf("%d%s", n, op.Message)
			}
			op.Call, op.Return = op.Call+shift, op.Return+shift
			all.Ops = append(all.Ops, op)
		}
		for _, x := range part.Samples {
			x.At, x.Applied, x.Committed, x.Term = x.At+shift, x.Applied+index, x.Committed+index, x.Term+uint64(n)*1000
			x.Hash = fmt.Sprint(x.Applied)
			all.Samples = append(all.Samples, x)
		}
		all.Faults = append(all.Faults, Fault{ID: n, Drill: "follower-isolated", Kind: "isolate", Target: "n2",
			Begin: shift + time.Second, End: shift + 3*time.Second, Healed: shift + 4*time.Second, Verified: true})
		shift += part.Header.Length
		index += last
	}
	all.Header.Quiet, all.Header.Length = shift-5*time.Second, shift
	all.Sort()
	return all
}

func BenchmarkCheckMillion(b *testing.B) {
	run := repeated(1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		for _, c := range Check(run, Limits{}) {
			if c.Status == Violated {
				b.Fatalf("%s: %v", c.ID, c.Violations)
			}
		}
	}
	b.ReportMetric(float64(len(run.Ops))*float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// A storm: 5,000 nsqds register one topic, which is looked at while they come.
func BenchmarkCheckStorm(b *testing.B) {
	run := &Run{Header: Header{Against: "ours", Nodes: []string{"n1", "n2", "n3"}, Grace: 45 * time.Second}}
	var there []string
	for i := range 5000 {
		at := time.Duration(i) * ms
		name := fmt.Sprintf("p%05d:1", i)
		run.Ops = append(run.Ops, Op{Kind: Register, Node: "n1", Topic: "t", Session: int64(i + 1), Producer: name, Call: at, Return: at + 100*time.Microsecond, Outcome: Done})
		there = append(there, name)
		for n := range 2 {
			run.Ops = append(run.Ops, Op{Kind: Lookup, Node: "n2", Topic: "t", Consistent: n == 0, Call: at + 200*time.Microsecond, Return: at + 300*time.Microsecond, Outcome: Done,
				Answer: &Answer{Known: true, Producers: there[:len(there):len(there)], Index: uint64(i + 1), KnownLeader: true}})
		}
	}
	for b.Loop() {
		for _, c := range Check(run, Limits{}) {
			if c.Status == Violated {
				b.Fatalf("%s: %v", c.ID, c.Violations)
			}
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	r, err := NewRecorder(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	r.most = 1 << 40
	a := &Answer{Known: true, Producers: []string{"a:1", "b:1", "c:1"}, Index: 1}
	for b.Loop() {
		r.Op(Op{Kind: Lookup, Client: 1, Node: "n1", Topic: "t", Call: r.Now(), Return: r.Now(), Outcome: Done, Answer: a})
	}
	if _, err := r.Close(Header{}); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkReadMillion(b *testing.B) {
	run := repeated(1_000_000)
	dir := b.TempDir()
	r, err := NewRecorder(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, op := range run.Ops {
		r.Op(op)
	}
	if _, err := r.Close(run.Header); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		again, err := Read(filepath.Join(dir, fileName))
		if err != nil || len(again.Ops) != len(run.Ops) {
			b.Fatalf("%d ops, %v", len(again.Ops), err)
		}
	}
}
