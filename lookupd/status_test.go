package lookupd

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestSnapshotOnRequest(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		n := c.followers()[0]
		create := func(topic string) {
			c.must(n.do(t.Context(), createTopic(topic)))
			// A snapshot is of this node's copy.
			c.eventually(time.Second, "%s has topic %s", func() bool { return n.View().Topic(topic) != nil }, n.id, topic)
		}
		create("orders")
		api := c.api(n)
		snapshot := func() (index uint64) {
			w := ask(api, "POST /cluster/snapshot")
			var got struct {
				Index uint64 `json:"snapshot_index"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); w.Code != 200 || err != nil || got.Index == 0 {
				t.Fatalf("snapshot: %d %s", w.Code, w.Body)
			}
			return got.Index
		}
		first := snapshot()
		if held, err := n.store.snapshots.List(); err != nil || len(held) == 0 || held[0].Index != first {
			t.Errorf("snapshots %v, %v; want one at %d", held, err, first)
		}
		if again := snapshot(); again < first {
			t.Errorf("with nothing new: index %d, want at least %d", again, first)
		}
		create("more")
		if next := snapshot(); next <= first {
			t.Errorf("after a change: index %d, want more than %d", next, first)
		}
		for _, m := range c.leader().clusterStatus(t.Context()).Members {
			if (m.ID == n.id) != (m.SnapshotIndex > 0) {
				t.Errorf("%s tells snapshot index %d; only %s has one", m.ID, m.SnapshotIndex, n.id)
			}
		}
	})
}

func TestOneSnapshotAtATime(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		n := c.followers()[0]
		c.must(n.do(t.Context(), createTopic("orders")))
		n.snapshotting.Store(true)
		if w := ask(c.api(n), "POST /cluster/snapshot"); w.Code != 409 || w.Body.String() != message("SNAPSHOT_IN_PROGRESS") {
			t.Errorf("during another: %d %s, want 409", w.Code, w.Body)
		}
	})
}

func TestClusterTellsWhatAWatcherAsks(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		c.register(c.connect(leader, "nsqd"), "orders", "billing")
		c.seen(time.Second, "orders", "nsqd")
		time.Sleep(10 * time.Second)
		for _, id := range c.ids {
			st := c.nodes[id].clusterStatus(t.Context())
			for _, m := range st.Members {
				if m.UptimeSeconds < 10 || m.Registrations != 2 || m.Topics != 1 || m.Producers != 1 || m.ClockSkewMS != 0 {
					t.Errorf("%s says of %s: %+v", id, m.ID, m)
				}
				leads := m.ID == leader.id
				if leads != (m.LeaderSinceMS > 0) || leads != (m.CommitP99MS > 0) {
					t.Errorf("%s says of %s, which leads: %v: since %d, commits in %v ms", id, m.ID, leads, m.LeaderSinceMS, m.CommitP99MS)
				}
			}
		}
		before := leader.status().LeaderSince
		if age := time.Since(time.UnixMilli(before)); age < 10*time.Second || age > time.Minute {
			t.Errorf("leads for %v by its own word", age)
		}
		if err := leader.transfer(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		c.eventually(5*time.Second, "the old leader says that it leads no more", func() bool { return leader.status().LeaderSince == 0 })
	})
}

func TestClusterTellsOfDiskAndFsync(t *testing.T) {
	c := newTestCluster(t, 1)
	m := newMetrics()
	s, err := openStorage(t.TempDir(), "n1", func(err error) { t.Error(err) }, m.raftFsync, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	used, err := s.usage()
	if err != nil || used.data < 1 || used.free < 1 {
		t.Errorf("an empty folder: %+v, %v", used, err)
	}
	n, err := openNode(c.options("n1"), environment{store: s, metrics: m, fatal: func(err error) { t.Error(err) }}, new(heldSessions), testLogger("n1"))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.awaitReady(20 * time.Second)
	if _, err := n.snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.measureDisk()
	members := n.clusterStatus(t.Context()).Members
	if len(members) != 1 {
		t.Fatalf("members %+v", members)
	}
	if got := members[0]; got.DataBytes <= 0 || got.DiskFreeBytes <= 0 || got.FsyncP99MS <= 0 || got.CommitP99MS <= 0 || got.SnapshotIndex == 0 {
		t.Errorf("got %+v", got)
	}
}

func TestContactIsNotThatOfAnEarlierTerm(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		first := c.leader()
		second := c.followers()[0]
		contact := func(id string) int64 {
			for _, m := range first.clusterStatus(t.Context()).Members {
				if m.ID == id {
					return m.LastContactMS
				}
			}
			t.Fatalf("%s is no member", id)
			return 0
		}
		time.Sleep(time.Second)
		if got := contact(second.id); got < 0 || got > 500 {
			t.Errorf("the leader heard %s %d ms ago", second.id, got)
		}
		if err := first.transfer(t.Context(), second.id); err != nil {
			t.Fatal(err)
		}
		c.eventually(5*time.Second, "%s leads", func() bool { return c.leader() == second }, second.id)
		time.Sleep(time.Minute)
		c.kill(second.id)
		c.eventually(5*time.Second, "%s leads again", func() bool {
			if l := c.leader(); l != first {
				l.transfer(t.Context(), first.id)
			}
			return c.leader() == first
		}, first.id)
		time.Sleep(time.Second)
		if got := contact(second.id); got != -1 {
			t.Errorf("%s, which died as leader, was heard %d ms ago; want unknown", second.id, got)
		}
	})
}
