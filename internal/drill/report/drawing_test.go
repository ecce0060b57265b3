package report

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/drill/history"
)

var update = flag.Bool("update", false, "write testdata anew")

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if it is meant to: go test -update\n%s", file, got)
	}
}

func TestStrips(t *testing.T) {
	got := strips([]state{fine, fine, silent, failing, fine, offline, offline, aged}, 10, 5, 80, 12)
	want := map[state]string{
		fine:    "M10 11h20v6h-20zM50 11h10v6h-10z",
		failing: "M40 5h10v12h-10z",
		offline: "M60 5h20v2h-20zM60 15h20v2h-20z",
		aged:    "M80 8h10v9h-10z",
	}
	for s, shape := range want {
		if got[s] != shape {
			t.Errorf("state %d: %s, want %s", s, got[s], shape)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d shapes, want %d", len(got), len(want))
	}
}

// What failed once in a long run is wide enough to be seen, and stays inside.
func TestStripsAreSeen(t *testing.T) {
	all := slices.Repeat([]state{fine}, 1000)
	all[999] = failing
	if got, want := strips(all, 0, 0, 100, 4)[failing], "M98.4 0h1.6v4h-1.6z"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCurve(t *testing.T) {
	got := curve([]float64{1, 2, 0, 4, 0, 4, 4}, 0, 0, 70, 40, linear(4))
	if want := "M5 30L15 20M35 0h5M55 0L65 0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLogarithmic(t *testing.T) {
	for seconds, want := range map[float64]float64{0.00001: 0, 0.0001: 0, 0.01: 0.4, 1: 0.8, 10: 1, 60: 1} {
		if got := logarithmic(seconds); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("logarithmic(%v) = %v, want %v", seconds, got, want)
		}
	}
}

// small is a run of two seconds in which n1 is killed while it leads.
func small() *history.Run {
	run := &history.Run{
		Header: history.Header{Length: 2 * time.Second, Nodes: []string{"n1", hostile}},
		Faults: []history.Fault{{ID: 1, Drill: hostile, Kind: "kill", Target: "n1", Begin: 500 * ms, End: 1500 * ms, Healed: 1800 * ms, Verified: true, OldLeader: "n1", NewLeader: hostile}},
	}
	for at := time.Duration(0); at < 2*time.Second; at += 100 * ms {
		down := at >= 500*ms && at < 1500*ms
		one := history.Sample{At: at, Node: "n1", Answered: !down, Role: "follower", Leader: hostile, Term: 2}
		other := history.Sample{At: at, Node: hostile, Answered: true, Role: "leader", Leader: hostile, Term: 2}
		if at < 500*ms {
			one.Role, one.Term, other.Role, other.Term, other.Leader = "leader", 1, "follower", 1, "n1"
		} else if at < 900*ms {
			other.Role, other.Leader = "candidate", ""
		}
		run.Samples = append(run.Samples, one, other)
		op := history.Op{Kind: history.Lookup, Client: 1, Node: "n1", Call: at, Return: at + ms, Outcome: history.Done, Topic: hostile, Answer: &history.Answer{Known: true, Producers: []string{hostile}, Index: 7}}
		if down {
			op.Outcome, op.Answer, op.Error = history.Refused, nil, hostile
		}
		write := history.Op{Kind: history.Register, Client: 2, Node: hostile, Call: at, Return: at + 4*ms, Outcome: history.Done, Topic: hostile, Session: 1, Producer: hostile}
		if other.Role == "candidate" {
			write.Outcome, write.Error = history.Unknown, hostile
		}
		publish := history.Op{Kind: history.Publish, Client: 3, Node: "nsqd1", Call: at, Return: at + 2*ms, Outcome: history.Done, Topic: hostile, Message: "a-1"}
		run.Ops = append(run.Ops, op, write, publish)
	}
	return run
}

// drawn returns the picture of a run with each element on a line of its own.
func drawn(run *history.Run, w window) string {
	j := (&Report{Run: run}).document()
	return strings.ReplaceAll(string(newScene(run, j.Episodes).timeline(w)), "><", ">\n<") + "\n"
}

func TestTimeline(t *testing.T) {
	picture := drawn(small(), window{0, 2 * time.Second})
	golden(t, "timeline.svg", picture)
	if strings.Contains(picture, "<script") {
		t.Error("a name is an element")
	}
	d := xml.NewDecoder(strings.NewReader(picture))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is not well-formed: %v", err)
		}
	}
}

// Of stock nothing is drawn that it does not have.
func TestTimelineOfStock(t *testing.T) {
	run := small()
	run.Samples = nil
	picture := drawn(run, window{0, 2 * time.Second})
	for _, word := range []string{"no leader", ">leads<", "reign"} {
		if strings.Contains(picture, word) {
			t.Errorf("it shows %q", word)
		}
	}
}

func TestColumns(t *testing.T) {
	run := small()
	c := newScene(run, nil).columns(window{0, 2 * time.Second})
	n1, other := c.nodes["n1"], c.nodes[hostile]
	if len(n1.lookups) != 20 {
		t.Fatalf("%d columns, want 20", len(n1.lookups))
	}
	for i, s := range n1.lookups {
		want := fine
		if i >= 5 && i < 15 {
			want = offline
		}
		if i >= 15 && i < 18 {
			want = fine // it answers before all is well
		}
		if s != want {
			t.Errorf("lookups at n1, column %d: %d, want %d", i, s, want)
		}
	}
	for i, s := range other.writes {
		want := fine
		if i >= 5 && i < 9 {
			want = failing
		}
		if s != want {
			t.Errorf("writes, column %d: %d, want %d", i, s, want)
		}
	}
	if other.write[0] != 0.004 || other.write[6] != 0 || c.published[3] != 10 {
		t.Errorf("curves: %v, %v", other.write, c.published)
	}
}

// A call that is not answered is a failure for as long as its client waited; one that
// is, is an answer only when it comes.
func TestColumnsOfLongCalls(t *testing.T) {
	run := &history.Run{Header: history.Header{Length: time.Second, Nodes: []string{"n1"}}, Ops: []history.Op{
		{Kind: history.Lookup, Node: "n1", Call: 100 * ms, Return: 350 * ms, Outcome: history.Unknown},
		{Kind: history.Lookup, Node: "n1", Call: 500 * ms, Return: 850 * ms, Outcome: history.Done},
	}}
	got := newScene(run, nil).columns(window{0, time.Second}).nodes["n1"].lookups
	want := []state{silent, failing, failing, failing, silent, waiting, waiting, waiting, fine, silent}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLeaderless(t *testing.T) {
	run := small()
	stretches := stretchesOf(run, newOutages(run))
	none := leaderless(run, stretches)
	if len(none) != 1 || none[0] != (window{500 * ms, 900 * ms}) {
		t.Errorf("without a leader: %v", none)
	}
	reigns := reignsOf(stretches)
	if want := []Reign{{"n1", 1, 0, 0.5}, {hostile, 2, 0.9, 2}}; !slices.Equal(reigns, want) {
		t.Errorf("reigns %v, want %v", reigns, want)
	}
}
