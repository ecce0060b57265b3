package history

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// hard is a history that takes porcupine far longer than a second: many registrations
// of unknown outcome that toggle, and a last lookup that none explains.
func hard() *Run {
	s := quietRun()
	for i := range 40 {
		id := int64(i%20 + 1)
		s.op(10+i, 11+i, Op{Kind: []Kind{Register, Unregister}[i/20], Node: "n1", Topic: "t", Session: id, Producer: fmt.Sprintf("p%d:1", id), Outcome: Unknown})
		s.op(10+i, 11+i, Op{Kind: CreateChannel, Node: "n1", Topic: "t", Channel: fmt.Sprint("c", i%6), Outcome: Unknown})
	}
	s.op(100, 110, Op{Kind: Lookup, Node: "n1", Topic: "t", Consistent: true, Answer: &Answer{Known: true, Channels: []string{"x"}}})
	return s.done()
}

// A search that ends for want of time or memory has shown nothing.
func TestSearchOutOfBounds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits Limits
		want   string
	}{
		{"time", Limits{Time: 50 * time.Millisecond, Memory: 1 << 40}, "were too many for 50ms"},
		{"memory", Limits{Time: time.Minute, Memory: 2 << 20}, "were too many for 2 MB of memory"},
		{"all time", Limits{Total: time.Nanosecond}, "all the time for searches was used up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, c := range Check(hard(), tt.limits) {
				if c.ID == "linear/topic" && (c.Status != Inconclusive || !strings.Contains(c.Evidence, tt.want)) {
					t.Errorf("%s: %s: %s, want it inconclusive with %q", c.ID, c.Status, c.Evidence, tt.want)
				}
			}
		})
	}
}

// A topic with more sessions than the specification holds is no violation, and no pass.
func TestTopicTooWide(t *testing.T) {
	s := quietRun()
	for i := range maxSessions + 1 {
		s.session(Register, int64(i+1), 10+i, 11+i, Done)
	}
	s.see("n1", true, 5, 6).Ops[maxSessions+1].Answer.Known = false
	for _, c := range Check(s.done(), Limits{}) {
		if c.ID == "linear/topic" && (c.Status != Inconclusive || !strings.Contains(c.Evidence, "257 sessions")) {
			t.Errorf("%s: %s", c.Status, c.Evidence)
		}
	}
}

// One that the searches of single producers do not take either is not said to be left to
// them; and if there are more than registrations in it, that is a doubt.
func TestTopicTooWideForAny(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(*script) *script
		want Status // of the claim of single producers
	}{
		{"registrations alone", func(s *script) *script { return s }, NotTested},
		{"a channel is made in it", func(s *script) *script {
			return s.op(500, 501, Op{Kind: CreateChannel, Node: "n1", Topic: "t", Channel: "c"})
		}, Inconclusive},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Another topic is searched, so that there is something to look at.
			s := quietRun().op(1, 2, Op{Kind: CreateTopic, Node: "n1", Topic: "u"}).op(3, 4, Op{Kind: Lookup, Node: "n1", Topic: "u", Consistent: true, Answer: &Answer{Known: true}}).
				op(5, 6, Op{Kind: Lookup, Node: "n1", Topic: "t", Consistent: true, Answer: &Answer{}})
			for i := range maxSessions + 1 {
				s.session(Register, int64(i+1), 10+i, 11+i, Done)
			}
			all := claims(tt.run(s).done())
			whole, each := all["linear/topic"], all["linear/producer"]
			if each.Status != tt.want {
				t.Errorf("linear/producer: %s, want %s: %s", each.Status, tt.want, each.Evidence)
			}
			want, telling := Holds, "1 topics were not searched at all, as: t has 257 sessions"
			if tt.want == Inconclusive {
				want = Inconclusive
			}
			if whole.Status != want || !strings.Contains(whole.Evidence, telling) {
				t.Errorf("linear/topic: %s, want %s with %q: %s", whole.Status, want, telling, whole.Evidence)
			}
		})
	}
}

// A topic that is a set of producers is left to the checks of single producers when the
// search for it runs out; one with channels is not.
func TestSearchOfASet(t *testing.T) {
	for _, tt := range []struct {
		name    string
		channel string
		want    string
	}{
		{"a set", "", "1 topics were left to the checks of single producers"},
		{"with a channel", "x", "were too many for"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := quietRun()
			for i := range 40 {
				s.session(Register, int64(i+1), 10, 90, Done)
			}
			if tt.channel != "" {
				s.op(10, 90, Op{Kind: CreateChannel, Node: "n1", Topic: "t", Channel: tt.channel})
			}
			s.see("n1", true, 50, 60)
			for _, c := range Check(s.done(), Limits{Memory: 1}) {
				if c.ID == "linear/topic" && (c.Status != Inconclusive || !strings.Contains(c.Evidence, tt.want)) {
					t.Errorf("%s: %s, want it inconclusive, for nothing was searched, with %q", c.Status, c.Evidence, tt.want)
				}
			}
		})
	}
}

// A violation is shown with as few calls as there have to be, in words and as a page.
func TestPictures(t *testing.T) {
	dir := t.TempDir()
	s := registered().session(Unregister, 1, 50, 60, Done).see("n1", true, 70, 80, "p1:1")
	for i := range 50 {
		s.op(1_000+i, 1_001+i, Op{Kind: CreateChannel, Node: "n1", Topic: "t", Channel: "c"})
	}
	s.op(10, 11, Op{Kind: CreateTopic, Node: "n1", Topic: "../../good"}).
		op(20, 21, Op{Kind: Lookup, Node: "n1", Topic: "../../good", Consistent: true, Answer: &Answer{Known: true}})
	for _, c := range Check(s.done(), Limits{Dir: dir}) {
		if c.ID != "linear/topic" {
			continue
		}
		if len(c.Violations) != 1 || !strings.Contains(c.Violations[0], "3 of 4 calls in order") {
			t.Errorf("violations %q, want one of 4 calls", c.Violations)
		}
		page, err := os.ReadFile(filepath.Join(dir, c.Picture))
		if err != nil || !strings.Contains(string(page), "unregister at n1") {
			t.Errorf("picture %s: %d bytes, %v", c.Picture, len(page), err)
		}
	}

	right := quietRun().op(10, 11, Op{Kind: CreateTopic, Node: "n1", Topic: "../../good"}).
		op(20, 21, Op{Kind: Lookup, Node: "n1", Topic: "../../good", Consistent: true, Answer: &Answer{Known: true}})
	for _, c := range Check(right.done(), Limits{Dir: dir}) {
		if c.ID == "linear/topic" && c.Picture != "porcupine-topic-.._.._good.html" {
			t.Errorf("picture %q", c.Picture)
		}
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "*")); len(found) != 2 {
		t.Errorf("pictures %q", found)
	}
}

func TestTombstonesInOneOrder(t *testing.T) {
	tomb := Op{Kind: Tombstone, Node: "n1", Topic: "t", Producer: "p1:1", Status: 200}
	tests := []struct {
		name string
		run  *script
		want Status
	}{
		{"hidden, and back at its end", quietRun().session(Register, 1, 10, 20, Done).op(30, 31, tomb).see("n1", true, 40, 41).see("n1", true, 46_100, 46_101, "p1:1"), Holds},
		{"hidden for too long", quietRun().session(Register, 1, 10, 20, Done).op(30, 31, tomb).see("n1", true, 46_100, 46_101), Violated},
		{"back too early", quietRun().session(Register, 1, 10, 20, Done).op(30, 31, tomb).see("n1", true, 40, 41).see("n1", true, 43_000, 43_001, "p1:1"), Violated},
		{"registered once more, and hidden still", quietRun().session(Register, 1, 10, 20, Done).op(30, 31, tomb).session(Register, 1, 40, 41, Done).see("n1", true, 50, 51), Holds},
		{"registered anew, and there", quietRun().session(Register, 1, 10, 20, Done).op(30, 31, tomb).session(Unregister, 1, 35, 36, Done).session(Register, 1, 40, 41, Done).see("n1", true, 50, 51, "p1:1"), Holds},
		{"registered anew, and hidden", quietRun().session(Register, 1, 10, 20, Done).op(30, 31, tomb).session(Unregister, 1, 35, 36, Done).session(Register, 1, 40, 41, Done).see("n1", true, 50, 51), Violated},
		{"of what is not there", quietRun().op(5, 6, tomb).session(Register, 1, 10, 20, Done).see("n1", true, 50, 51, "p1:1"), Holds},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := claims(tt.run.done())["linear/topic"]
			if c.Status != tt.want {
				t.Errorf("%s, want %s: %v", c.Status, tt.want, c.Violations)
			}
		})
	}
}

// Of many lookups only those next to a change matter, and those all do.
func TestThinKeepsWhatSaysSomething(t *testing.T) {
	s := quietRun().session(Register, 1, 10, 20, Done)
	for i := range 100 {
		s.see("n1", true, 30+2*i, 31+2*i, "p1:1")
	}
	s.session(Unregister, 1, 300, 310, Done).session(Register, 1, 320, 330, Done)
	s.see("n1", true, 312, 313)
	for i := range 100 {
		at := 400 + 2*i
		if i == 50 {
			s.see("n1", true, at, at+1) // wrong
			continue
		}
		s.see("n1", true, at, at+1, "p1:1")
	}
	e := newEvidence(s.done(), Limits{})
	h := e.linearHistory(e.topics[0])
	if calls := h.of(0); len(calls) > 20 || len(calls) < 10 {
		t.Errorf("%d calls are left of %d", len(calls), len(h.calls))
	}
	if c := claims(s.done())["linear/producer"]; c.Status != Violated {
		t.Errorf("%s, want it violated", c.Status)
	}
}

func TestAtOnce(t *testing.T) {
	call := func(from, to int64) porcupine.Operation { return porcupine.Operation{Call: from, Return: to} }
	for _, tt := range []struct {
		want  int
		calls []porcupine.Operation
	}{
		{0, nil},
		{1, []porcupine.Operation{call(1, 2), call(3, 4)}},
		{2, []porcupine.Operation{call(1, 3), call(3, 4)}},
		{3, []porcupine.Operation{call(5, 6), call(1, int64(never)), call(2, int64(never)), call(3, 4)}},
	} {
		if got := atOnce(tt.calls); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.calls, got, tt.want)
		}
	}
}
