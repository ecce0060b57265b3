package nsqadmin

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"nsqraft/internal/clusterinfo"
)

func TestActivityIsBoundedAndOrdered(t *testing.T) {
	a := newActivity(time.UnixMilli(1000))
	before := a.last()
	events, more := a.after(before)
	if len(events) != 0 {
		t.Fatalf("%d events at the start", len(events))
	}
	for i := range maxEvents + 10 {
		a.add(&event{Text: fmt.Sprint(i), Kind: []string{"nsqd", "action"}[i%2]})
	}
	select {
	case <-more:
	default:
		t.Error("who waits for an event is not told")
	}
	if events, _ = a.after(before); len(events) != maxEvents || events[0].Text != "10" {
		t.Errorf("%d events from %q, want %d from 10", len(events), events[0].Text, maxEvents)
	}
	if events, _ = a.after(a.last() - 2); len(events) != 2 || events[0].ID != events[1].ID-1 {
		t.Errorf("after the last but two: %d events", len(events))
	}
	newest := a.newest(3, func(e *event) bool { return e.Kind == "action" })
	if len(newest) != 3 || newest[0].Text != fmt.Sprint(maxEvents+9) || newest[1].Text != fmt.Sprint(maxEvents+7) {
		t.Errorf("newest of a kind: %+v", newest)
	}
	if later := newActivity(time.UnixMilli(10_000_000)); later.last() <= a.last() {
		t.Error("a process that starts later has ids that are not greater")
	}
}

func TestWhatTheWatchmanSees(t *testing.T) {
	const up, suspect, down, draining = clusterinfo.Up, clusterinfo.Suspect, clusterinfo.Down, clusterinfo.Draining
	node := func(address string, state clusterinfo.State) *clusterinfo.Node {
		n := &clusterinfo.Node{Address: address, State: state}
		if state == down {
			n.Err = errors.New("connection refused")
		}
		return n
	}
	lookupd := func(id, hash string, applied uint64, state clusterinfo.State) *clusterinfo.Lookupd {
		return &clusterinfo.Lookupd{Address: id, State: state, Cluster: &clusterinfo.Cluster{NodeID: id, RegistryHash: hash, AppliedIndex: applied}}
	}
	tests := []struct {
		name  string
		views []*clusterinfo.View
		want  []string
	}{
		{"nothing", []*clusterinfo.View{{Nodes: []*clusterinfo.Node{node("a", up)}}, {Nodes: []*clusterinfo.Node{node("a", up)}}}, nil},
		{"slow once", []*clusterinfo.View{{Nodes: []*clusterinfo.Node{node("a", up)}}, {Nodes: []*clusterinfo.Node{node("a", suspect)}}, {Nodes: []*clusterinfo.Node{node("a", up)}}}, nil},
		{"down and up", []*clusterinfo.View{{Nodes: []*clusterinfo.Node{node("a", up)}}, {Nodes: []*clusterinfo.Node{node("a", suspect)}}, {Nodes: []*clusterinfo.Node{node("a", down)}}, {Nodes: []*clusterinfo.Node{node("a", up)}}},
			[]string{"nsqd a does not answer: connection refused", "nsqd a answers again"}},
		{"one more", []*clusterinfo.View{{Nodes: []*clusterinfo.Node{node("a", up)}}, {Nodes: []*clusterinfo.Node{node("a", up), node("b", clusterinfo.Unknown)}}, {Nodes: []*clusterinfo.Node{node("a", up), node("b", up)}}},
			[]string{"nsqd b appeared"}},
		{"one less", []*clusterinfo.View{{Nodes: []*clusterinfo.Node{node("a", up), node("b", up)}}, {Nodes: []*clusterinfo.Node{node("a", up)}}},
			[]string{"nsqd b is gone: no nsqlookupd lists it, and it does not answer"}},
		{"a drain", []*clusterinfo.View{{Nodes: []*clusterinfo.Node{node("a", up)}}, {Nodes: []*clusterinfo.Node{node("a", draining)}}, {Nodes: []*clusterinfo.Node{node("a", draining)}}},
			[]string{"nsqd a drains: it takes nothing new"}},
		{"registries that differ", []*clusterinfo.View{
			{Lookupds: []*clusterinfo.Lookupd{lookupd("n1", "x", 7, up), lookupd("n2", "x", 7, up)}},
			{Lookupds: []*clusterinfo.Lookupd{lookupd("n1", "y", 8, up), lookupd("n2", "x", 7, up)}}, // behind
			{Lookupds: []*clusterinfo.Lookupd{lookupd("n1", "y", 8, up), lookupd("n2", "z", 8, up)}},
			{Lookupds: []*clusterinfo.Lookupd{lookupd("n1", "y", 8, up), lookupd("n2", "z", 8, up)}},
			{Lookupds: []*clusterinfo.Lookupd{lookupd("n1", "y", 8, up), lookupd("n2", "z", 8, up)}},
		}, []string{"n1 and n2 hold different registries at index 8"}},
		{"once is no proof", []*clusterinfo.View{
			{Lookupds: []*clusterinfo.Lookupd{lookupd("n1", "y", 8, up), lookupd("n2", "z", 8, up)}},
			{Lookupds: []*clusterinfo.Lookupd{lookupd("n1", "y", 8, up), lookupd("n2", "y", 8, up)}},
			{Lookupds: []*clusterinfo.Lookupd{lookupd("n1", "y", 9, up), lookupd("n2", "z", 9, up)}},
		}, nil},
	}
	for _, tt := range tests {
		a := newActivity(time.Now())
		w := newWatchman(a)
		for i, v := range tt.views {
			w.observe(v, time.Unix(int64(i), 0))
		}
		var got []string
		for _, e := range a.newest(100, nil) {
			got = append(got, e.Text)
		}
		slices.Reverse(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
