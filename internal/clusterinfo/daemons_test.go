package clusterinfo

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/diskspace"
	"nsqraft/internal/nsqtest/lookupdtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

// await returns the first View, from now on, that is as is wants.
func await(t *testing.T, p *Poller, what string, is func(*View) bool) *View {
	t.Helper()
	timeout := time.After(patience)
	for {
		changed := p.Changed()
		if v := p.View(); is(v) {
			return v
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%s: not in the View after %v", what, patience)
		}
	}
}

// The story of a small cluster of our daemons, by what its View shows.
func TestOurDaemons(t *testing.T) {
	l := lookupdtest.Start(t)
	one, two := nsqdtest.Start(t, l.TCP), nsqdtest.Start(t, l.TCP)
	c := newClient()
	p := NewPoller(c, PollerOptions{Lookupds: []string{l.HTTP}, Interval: 20 * time.Millisecond, Timeout: patience}, hclog.NewNullLogger())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()

	v := await(t, p, "two nsqds", func(v *View) bool {
		return len(v.Nodes) == 2 && v.Nodes[0].State == Up && v.Nodes[1].State == Up
	})
	if cluster, from := v.Cluster(); cluster == nil || from.Version == "" || from.Index == 0 || from.StaleMS < 0 {
		t.Errorf("lookupd: %+v, %+v", cluster, from)
	}
	if n := v.Node(one.HTTP); n.TCPAddress() != one.TCP || n.Stats.Health != "OK" || n.Stats.Memory == nil {
		t.Errorf("nsqd: %+v", n)
	}
	if _, err := diskspace.Free(t.TempDir()); err == nil {
		await(t, p, "the free space", func(v *View) bool { return v.Nodes[0].DiskFreeBytes > 0 })
	}

	both := Targets{[]string{l.HTTP}, []string{one.HTTP, two.HTTP}}
	must := func(results []Result) {
		t.Helper()
		if failed := failures(results); failed != nil {
			t.Fatal(failed)
		}
	}
	must(c.CreateChannel(t.Context(), both, "t", "c"))
	must(c.CreateTopic(t.Context(), Targets{Lookupds: both.Lookupds}, "nobodys"))
	for range 3 {
		if err := c.Publish(t.Context(), one.HTTP, "t", []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Publish(t.Context(), two.HTTP, "t", []byte("later"), time.Hour); err != nil {
		t.Fatal(err)
	}
	must(c.Pause(t.Context(), Targets{NSQDs: []string{two.HTTP}}, "t", "c", true))
	await(t, p, "what was published", func(v *View) bool {
		topic := v.Topic("t")
		return topic != nil && topic.Registered && len(topic.Nodes) == 2 && topic.Channel("c") != nil &&
			topic.Channel("c").Depth == 3 && topic.Channel("c").Deferred == 1 && topic.Channel("c").PausedOn == 1
	})
	await(t, p, "the inactive topic", func(v *View) bool {
		topic := v.Topic("nobodys")
		return topic != nil && topic.Inactive() && topic.Registered
	})

	// Channels that are only registered are seen at once by who was told of them.
	for _, change := range []struct {
		act      func(context.Context, Targets, string, string) []Result
		channels int
	}{{c.CreateChannel, 1}, {c.DeleteChannel, 0}} {
		must(change.act(t.Context(), Targets{Lookupds: both.Lookupds}, "nobodys", "c"))
		if err := p.Refresh(t.Context(), "nobodys"); err != nil {
			t.Fatal(err)
		}
		if got := p.View().Topic("nobodys").Channels; len(got) != change.channels {
			t.Errorf("%d channels of the inactive topic, want %d", len(got), change.channels)
		}
	}

	must(c.Empty(t.Context(), both, "t", "c"))
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ch := p.View().Topic("t").Channel("c"); ch.Depth != 0 || ch.Deferred != 0 {
		t.Errorf("emptied: %+v", ch)
	}

	must(c.Tombstone(t.Context(), both.Lookupds, two.HTTP, "t"))
	must(c.DeleteTopic(t.Context(), both, "t")) // on two it is gone already
	must(c.DeleteTopic(t.Context(), both, "t"))
	await(t, p, "no t", func(v *View) bool { return v.Topic("t") == nil })

	if err := c.Drain(t.Context(), one.HTTP); err != nil {
		t.Fatal(err)
	}
	await(t, p, "the drain", func(v *View) bool { return v.Node(one.HTTP).State == Draining })
	two.Close()
	await(t, p, "the end of two", func(v *View) bool {
		n := v.Node(two.HTTP)
		return n.State == Down && !n.GoneSince.IsZero()
	})
	if err := c.SnapshotMember(t.Context(), two.HTTP); err == nil || errors.Is(err, ErrNotClustered) {
		t.Errorf("a snapshot of nobody: %v", err)
	}
}
