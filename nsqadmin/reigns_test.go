package nsqadmin

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"nsqraft/internal/clusterinfo"
)

func TestReigns(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(second int) time.Time { return start.Add(time.Duration(second) * time.Second) }
	led := func(node string, term uint64, since int) *clusterinfo.Cluster {
		c := &clusterinfo.Cluster{Leader: node, Term: term}
		if node != "" && since != 0 {
			c.Members = []*clusterinfo.Member{{ID: node, LeaderSinceMS: at(since).UnixMilli()}}
		}
		return c
	}
	tests := []struct {
		name  string
		seen  []*clusterinfo.Cluster // one a second; nil: nobody says anything
		want  []string               // node term from-to
		begun []string               // the reigns that are news
	}{
		{"one leader who says nothing", []*clusterinfo.Cluster{led("a", 1, 0), led("a", 1, 0)}, []string{"a 1 0-"}, nil},
		{"who led before we came", []*clusterinfo.Cluster{led("a", 1, -100)}, []string{"a 1 -100-"}, nil},
		{"a change within a second", []*clusterinfo.Cluster{led("a", 1, 0), led("b", 2, 0)},
			[]string{"a 1 0-0", " 2 0-1", "b 2 1-"}, []string{"b 2"}},
		{"no leader for a while", []*clusterinfo.Cluster{led("a", 1, 0), led("", 1, 0), led("", 3, 0), led("c", 4, 3)},
			[]string{"a 1 0-1", " 3 1-3", "c 4 3-"}, []string{" 1", "c 4"}},
		{"the same one in another term", []*clusterinfo.Cluster{led("a", 1, 0), led("", 1, 0), led("a", 3, 0)},
			[]string{"a 1 0-1", " 1 1-2", "a 3 2-"}, []string{" 1", "a 3"}},
		{"nobody says", []*clusterinfo.Cluster{led("a", 1, 0), nil, nil, led("a", 1, 0)}, []string{"a 1 0-"}, nil},
		{"nobody says, and then it is another", []*clusterinfo.Cluster{led("a", 1, 0), nil, nil, led("b", 2, 0)},
			[]string{"a 1 0-0", "b 2 3-"}, []string{"b 2"}},
		{"not replicated", []*clusterinfo.Cluster{nil, nil}, nil, nil},
		{"a clock that is ahead", []*clusterinfo.Cluster{led("a", 1, 0), led("", 1, 0), led("b", 2, 900)},
			[]string{"a 1 0-1", " 1 1-2", "b 2 2-"}, []string{" 1", "b 2"}},
	}
	for _, tt := range tests {
		var l leadership
		var begun []string
		for i, c := range tt.seen {
			if r := l.observe(c, at(i)); r != nil {
				begun = append(begun, fmt.Sprintf("%s %d", r.node, r.term))
			}
		}
		var got []string
		for _, r := range l.within(time.Hour, at(len(tt.seen))) {
			text := fmt.Sprintf("%s %d %d-", r.node, r.term, int(r.from.Sub(start).Seconds()))
			if !r.to.IsZero() {
				text += fmt.Sprint(int(r.to.Sub(start).Seconds()))
			}
			got = append(got, text)
		}
		if !slices.Equal(got, tt.want) || !slices.Equal(begun, tt.begun) {
			t.Errorf("%s: reigns %q, of which are news %q, want %q and %q", tt.name, got, begun, tt.want, tt.begun)
		}
	}
}

// A leader that says since when it leads makes the time without one exact.
func TestReignsAreAsExactAsTheLeaderIs(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	var l leadership
	l.observe(&clusterinfo.Cluster{Leader: "a", Term: 1}, start)
	l.observe(&clusterinfo.Cluster{Leader: "b", Term: 2, Members: []*clusterinfo.Member{
		{ID: "b", LeaderSinceMS: start.Add(400 * time.Millisecond).UnixMilli()},
	}}, start.Add(time.Second))
	reigns := l.within(time.Hour, start.Add(time.Second))
	if len(reigns) != 3 || reigns[2].from.Sub(start) != 400*time.Millisecond || reigns[1].node != "" {
		t.Errorf("reigns %+v, want b to lead from 400 ms on, and nobody before", reigns)
	}
}

func TestReignsAreBounded(t *testing.T) {
	var l leadership
	start := time.Unix(1_700_000_000, 0)
	for i := range 2 * maxReigns {
		l.observe(&clusterinfo.Cluster{Leader: fmt.Sprint(i), Term: uint64(i)}, start.Add(time.Duration(i)*time.Second))
	}
	if len(l.reigns) != maxReigns {
		t.Errorf("%d reigns are kept, want %d", len(l.reigns), maxReigns)
	}
	if got := len(l.within(10*time.Second, start.Add(2*maxReigns*time.Second))); got > 20 {
		t.Errorf("%d reigns within ten seconds", got)
	}
}
