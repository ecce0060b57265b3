package lookupd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
)

// rejoin is how long a follower that was cut off may take to be up to date again:
// without help Raft tries it only every ten seconds or so.
const rejoin = 15 * time.Second

// life returns what the node's copy says of the newest life of another.
func (n *testNode) life(id string) (newest fsm.Life) {
	for _, l := range n.View().Lives() {
		if l.Node == id {
			newest = l
		}
	}
	return newest
}

// same waits until all live nodes hold the same registry at the same index.
func (c *testCluster) same(limit time.Duration) {
	c.t.Helper()
	c.eventually(limit, "equal registries", func() bool {
		want := c.leader().View()
		for _, id := range c.ids {
			if n := c.nodes[id]; n.up && (n.View().Index() != want.Index() || n.View().Hash() != want.Hash()) {
				return false
			}
		}
		return true
	})
}

func TestPartitionShorterThanTheGraceEndsNothing(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		owner, leader := c.followers()[0], c.leader()
		s := c.connect(owner, "nsqd")
		c.register(s, "orders", "")
		c.seen(time.Second, "orders", "nsqd")
		c.net.Isolate(owner.id)
		c.eventually(5*time.Second, "%s is orphaned", func() bool { return leader.life(owner.id).Orphaned }, owner.id)
		for begun := time.Now(); time.Since(begun) < 35*time.Second; time.Sleep(100 * time.Millisecond) {
			c.seen(0, "orders", "nsqd")
		}
		c.net.Heal()
		c.eventually(5*time.Second, "%s is reclaimed", func() bool { return !leader.life(owner.id).Orphaned }, owner.id)
		c.register(s, "more", "") // on the connection that was there all the time
		c.seen(rejoin, "more", "nsqd")
		for begun := time.Now(); time.Since(begun) < 2*time.Minute; time.Sleep(time.Second) {
			c.seen(time.Second, "orders", "nsqd")
			c.seen(time.Second, "more", "nsqd")
		}
	})
}

func TestPartitionLongerThanTheGraceEndsTheSessions(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		owner, leader := c.followers()[0], c.leader()
		s := c.connect(owner, "nsqd")
		c.register(s, "orders", "")
		c.seen(time.Second, "orders", "nsqd")
		c.net.Isolate(owner.id)
		c.eventually(55*time.Second, "the leader lists nobody", func() bool { return leader.producers("orders") == "" })
		if got := owner.producers("orders"); got != "nsqd" {
			t.Errorf("%s, cut off, lists %q for orders, want its last copy", owner.id, got)
		}
		c.net.Heal()
		c.seen(rejoin, "orders", "")
		// The connection is told so by its next command, and its nsqd comes back.
		if r, err := owner.do(t.Context(), register(s.id.Serial, "orders", "")); r != fsm.ResultNoSession || err != nil {
			t.Errorf("a command of the ended session: %v, %v, want no-session", r, err)
		}
		c.register(c.connect(owner, "nsqd"), "orders", "")
		for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(time.Second) {
			c.seen(time.Second, "orders", "nsqd")
		}
	})
}

func TestUnknownOutcomeOverTwoLeaderChangesIsCommittedOnce(t *testing.T) {
	inCluster(t, 5, func(t *testing.T, c *testCluster) {
		first := c.leader()
		writer := c.followers()[0]
		s := c.connect(writer, "nsqd")
		before := c.leader().life(writer.id).Sequence
		if writer.writer.sequence != before {
			t.Fatalf("the writer is at sequence %d, the registry at %d", writer.writer.sequence, before)
		}
		// The entry reaches the first leader, which cannot commit it any more: nobody
		// but the writer still hears it.
		for _, id := range c.ids {
			if id != first.id && id != writer.id {
				c.net.Cut(first.id, id)
			}
		}
		p := writer.Submit(t.Context(), register(s.id.Serial, "orders", "billing"))
		time.Sleep(10 * time.Millisecond)
		if settled(p) {
			t.Fatal("committed by two of five")
		}
		c.net.Isolate(first.id)
		var second *testNode
		c.eventually(5*time.Second, "a second leader", func() bool {
			for _, id := range c.ids {
				if n := c.nodes[id]; n != first && n != writer && n.raft.State() == raft.Leader {
					second = n
				}
			}
			return second != nil || writer.raft.State() == raft.Leader
		})
		if second != nil {
			c.net.Isolate(second.id)
		}
		c.must(p.Wait())
		// What was acknowledged and then taken back must not come back with the
		// entries that the old leaders still have.
		c.must(writer.do(t.Context(), deleteTopic("orders")))
		c.net.Heal()
		c.same(10 * time.Second)
		time.Sleep(5 * time.Second)
		for _, id := range c.ids {
			if got := c.nodes[id].producers("orders"); got != "-" {
				t.Errorf("%s lists %q for orders, which was deleted", id, got)
			}
		}
		if got := c.leader().life(writer.id).Sequence; got != before+2 {
			t.Errorf("%s's sequence went from %d to %d by two batches", writer.id, before, got)
		}
	})
}

func TestOrphansOfALargeNodeArePruned(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		owner, leader := c.followers()[0], c.leader()
		const many = 3*endChunk + 7
		var opened []*proposal
		for i := range many {
			id := owner.NewSession()
			owner.sessions.hold(id, true)
			opened = append(opened,
				owner.Submit(t.Context(), openSession(id.Serial, nsqdNamed(fmt.Sprint("nsqd", i)))),
				owner.Submit(t.Context(), register(id.Serial, "orders", "")))
		}
		for _, p := range opened {
			c.must(p.Wait())
		}
		c.eventually(time.Second, "all are listed", func() bool { return len(leader.View().Topic("orders").Producers()) == many })
		c.kill(owner.id)
		time.Sleep(44 * time.Second)
		if got := len(leader.View().Topic("orders").Producers()); got != many {
			t.Errorf("%d producers are left within the grace, want %d", got, many)
		}
		c.eventually(10*time.Second, "all are gone", func() bool { return leader.View().Counts().Sessions == 0 })
		c.start(owner.id)
		c.eventually(5*time.Second, "%s is ready", func() bool { return owner.ready.Load() }, owner.id)
		c.eventually(5*time.Second, "its lost life is forgotten", func() bool {
			lives := 0
			for _, l := range leader.View().Lives() {
				if l.Node == owner.id {
					lives++
				}
			}
			return lives == 1
		})
		c.same(5 * time.Second)
	})
}

func TestRestartFromSnapshotAndLog(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		s := c.connect(c.followers()[0], "nsqd")
		for i := range 50 {
			c.register(s, fmt.Sprint("before", i), "ch")
		}
		c.same(time.Second)
		for _, id := range c.ids {
			if err := c.nodes[id].raft.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 50 {
			c.register(s, fmt.Sprint("after", i), "ch")
		}
		c.must(s.n.do(t.Context(), deleteTopic("before7")))
		c.same(time.Second)
		want := c.leader().View()
		for _, id := range c.ids {
			c.kill(id)
		}
		for _, id := range c.ids {
			n := c.start(id)
			// Raft hands over again what the node has applied; nothing may come twice.
			if v := n.View(); v.Index() < want.Index() || v.Counts() != want.Counts() {
				t.Errorf("%s restored %+v at index %d, want %+v at %d", id, v.Counts(), v.Index(), want.Counts(), want.Index())
			}
		}
		c.seen(10*time.Second, "before7", "-")
		c.seen(time.Second, "after49", "nsqd")
		c.same(5 * time.Second)
	})
}

func TestFollowerCatchesUpBySnapshot(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader, away := c.leader(), c.followers()[0]
		s := c.connect(leader, "nsqd")
		c.register(s, "orders", "")
		c.same(time.Second)
		index := away.View().Index()
		c.kill(away.id)
		for i := range 100 {
			c.register(s, fmt.Sprint("topic", i), "ch")
		}
		c.must(leader.do(t.Context(), tombstone("topic3", "nsqd:4151")))
		c.must(leader.do(t.Context(), deleteTopic("topic4")))
		for _, id := range c.ids {
			if n := c.nodes[id]; n.up {
				// As after a day's worth of entries: what it lacks is no longer in the log.
				if err := n.raft.ReloadConfig(raft.ReloadableConfig{TrailingLogs: 1, SnapshotInterval: 30 * time.Second, SnapshotThreshold: 8192, HeartbeatTimeout: n.opts.HeartbeatTimeout, ElectionTimeout: n.opts.ElectionTimeout}); err != nil {
					t.Fatal(err)
				}
				if err := n.raft.Snapshot().Error(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if first, err := leader.store.log.FirstIndex(); err != nil || first <= index+1 {
			t.Fatalf("the leader's log begins at %d, %v: the test tests nothing", first, err)
		}
		c.start(away.id)
		c.eventually(10*time.Second, "%s is ready", func() bool { return away.ready.Load() }, away.id)
		c.same(5 * time.Second)
		if snapshots, err := away.store.snapshots.List(); err != nil || len(snapshots) == 0 {
			t.Errorf("%s was not sent a snapshot: %v", away.id, err)
		}
		c.register(c.connect(away, "other"), "orders", "")
		c.seen(time.Second, "orders", "nsqd other")
		// And again from what it has now.
		c.kill(away.id)
		c.register(s, "later", "")
		c.start(away.id)
		c.seen(10*time.Second, "later", "nsqd")
		c.same(5 * time.Second)
	})
}

// A node comes up with the disk it had in another cluster whose members have the
// same names and addresses: a backup put back in the wrong place.
func TestDiskOfAnotherClusterIsNoMember(t *testing.T) {
	var foreign *storage
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.must(c.leader().do(t.Context(), createTopic("foreign")))
		c.same(time.Second)
		foreign = c.nodes["n3"].store
	})
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		s := c.connect(c.nodes["n1"], "nsqd")
		c.register(s, "orders", "")
		c.kill("n3")
		c.nodes["n3"].store = foreign
		n3 := c.start("n3")
		for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(100 * time.Millisecond) {
			if f := n3.Freshness(); f.LeaderKnown || f.Stale >= 0 || n3.raft.State() == raft.Leader {
				t.Fatalf("n3 takes part: %+v, %v", f, n3.raft.State())
			}
		}
		if _, err := n3.do(t.Context(), createTopic("lost")); err == nil {
			t.Error("n3 acknowledges")
		}
		if _, err := n3.Consistent(t.Context()); err == nil {
			t.Error("n3 answers a consistent read")
		}
		for _, id := range []string{"n1", "n2"} {
			if got := c.nodes[id].producers("foreign"); got != "-" {
				t.Errorf("%s knows the topic of another cluster", id)
			}
		}
		c.register(s, "more", "")
		select {
		case err := <-n3.failed: // its process would have ended by now
			if !strings.Contains(err.Error(), "belongs to cluster") {
				t.Errorf("n3 gave up with %v", err)
			}
		default:
			t.Error("n3 goes on with the data of another cluster")
		}
	})
}

// A stalled read must not be the price of a dead leader: a bounded context is kept.
func TestReadsKeepTheirTimeWithoutLeader(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		n := c.followers()[0]
		c.net.Isolate(n.id)
		time.Sleep(2 * time.Second)
		for _, limit := range []time.Duration{50 * time.Millisecond, time.Minute} {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			begun := time.Now()
			if _, err := n.Consistent(ctx); err == nil {
				t.Error("a consistent read without a quorum was answered")
			}
			if took := time.Since(begun); took > min(limit, time.Second) {
				t.Errorf("with %v to spare it took %v", limit, took)
			}
			cancel()
		}
		if _, err := n.do(t.Context(), &fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateTopic{CreateTopic: &fsmpb.CreateTopic{Topic: "x"}}}); err == nil {
			t.Error("a write without a quorum was acknowledged")
		}
	})
}

// The index that a node has shown must not go back either when the last entry
// before the restart changed the members and nothing else.
func TestIndexDoesNotGoBackOverAChangeOfMembers(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.must(c.leader().do(t.Context(), createTopic("orders")))
		c.same(time.Second)
		leader := c.leader()
		if err := leader.raft.AddNonvoter("n9/0123456789abcdef", "n9:4162", 0, time.Second).Error(); err != nil {
			t.Fatal(err)
		}
		c.same(time.Second)
		n := c.nodes["n2"]
		shown := n.View().Index()
		for _, id := range c.ids {
			c.kill(id)
		}
		n = c.start("n2")
		c.eventually(15*time.Second, "n2 serves its disk", func() bool { return n.ready.Load() })
		if got := n.View().Index(); got < shown {
			t.Errorf("answers as of index %d after a restart, of %d before", got, shown)
		}
	})
}

// risingMark is a commit mark in memory that keeps what was stored out of order.
type risingMark struct {
	memoryMark
	fell atomic.Uint64
}

func (m *risingMark) Store(index uint64) error {
	if before, _ := m.Load(); index < before {
		m.fell.Store(index)
	}
	return m.memoryMark.Store(index)
}

// After a restart Raft hands over again what the node has applied already. Were
// that noted as the newest, a second restart would forget what was served before.
func TestCommitMarkDoesNotFallOverARestart(t *testing.T) {
	c := newTestCluster(t, 3)
	c.disk = func(id string) *storage {
		s := memoryStorage(id)
		s.mark = new(risingMark)
		return s
	}
	c.inBubble(func() {
		for _, id := range c.ids {
			c.start(id)
		}
		for i := range 20 {
			c.must(c.leader().do(c.t.Context(), createTopic(fmt.Sprint("topic", i))))
		}
		c.same(time.Second)
		for _, id := range c.ids {
			c.kill(id)
		}
		for _, id := range c.ids {
			c.start(id)
		}
		c.must(c.leader().do(c.t.Context(), createTopic("later")))
		c.same(5 * time.Second)
		for _, id := range c.ids {
			if fell := c.nodes[id].store.mark.(*risingMark).fell.Load(); fell > 0 {
				c.t.Errorf("the mark of %s went back to %d", id, fell)
			}
		}
	})
}

func TestLeaderStopsAtOnceBesideAPeerThatIsGone(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader, gone := c.leader(), c.followers()[0]
		s := c.connect(leader, "nsqd")
		c.net.Isolate(gone.id)
		for i := range 20 { // so that Raft has something to send to it
			c.register(s, fmt.Sprint("topic", i), "")
			time.Sleep(100 * time.Millisecond)
		}
		begun := time.Now()
		c.kill(leader.id) // fails the test if the node does not come to an end
		if took := time.Since(begun); took > 500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// unhurriedMark makes every entry take a while to be applied.
type unhurriedMark struct{ memoryMark }

func (m *unhurriedMark) Store(index uint64) error {
	time.Sleep(20 * time.Millisecond)
	return m.memoryMark.Store(index)
}

// Raft does not answer for entries that are committed and wait to be applied when
// it shuts down; left alone, those who wait for them wait for ever, and the bubble
// finds them.
func TestEveryEntryIsAnsweredAtAStop(t *testing.T) {
	c := newTestCluster(t, 3)
	c.disk = func(id string) *storage {
		s := memoryStorage(id)
		s.mark = new(unhurriedMark)
		return s
	}
	c.inBubble(func() {
		for _, id := range c.ids {
			c.start(id)
		}
		leader := c.leader()
		data, err := fsm.Encode(&fsmpb.Batch{Mutations: []*fsmpb.Mutation{createTopic("orders")}})
		if err != nil {
			c.t.Fatal(err)
		}
		var waiting sync.WaitGroup
		for range 10 {
			waiting.Go(func() { leader.applyLocally(c.t.Context(), data) })
			time.Sleep(5 * time.Millisecond) // or Raft makes one of them all
		}
		// All are committed, two or three applied.
		c.kill(leader.id)
		waiting.Wait()
	})
}
