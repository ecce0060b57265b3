package lookupd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/nsqtest"
	"nsqraft/lookupd/peerpb"
	"nsqraft/lookupd/raftguard"
)

// testCluster is a cluster of nodes on an in-memory network, with disks in
// memory that outlive a kill, inside a synctest bubble: hours pass in
// milliseconds.
type testCluster struct {
	t     *testing.T
	net   *nsqtest.Network
	ids   []string
	nodes map[string]*testNode
	tweak func(*Options)
	disk  func(id string) *storage // a new node's; nil: memoryStorage
	heard heardLines               // what all nodes log
}

type testNode struct {
	*node
	id       string
	store    *storage
	disk     *testDisk
	sessions *heldSessions
	serial   uint64
	failed   chan error // the first that it could not go on with
	up       bool
}

// heldSessions stands for the connections that a node's sessions belong to.
type heldSessions struct{ live sync.Map } // by fsm.SessionID

func (h *heldSessions) Has(id fsm.SessionID) bool { _, ok := h.live.Load(id); return ok }
func (h *heldSessions) CloseAll()                 { h.live.Clear() }

func (h *heldSessions) hold(id fsm.SessionID, held bool) {
	if held {
		h.live.Store(id, true)
	} else {
		h.live.Delete(id)
	}
}

// inCluster runs story in a bubble, on a cluster of n nodes that has formed.
func inCluster(t *testing.T, n int, story func(t *testing.T, c *testCluster)) {
	t.Helper()
	c := newTestCluster(t, n)
	c.inBubble(func() {
		for _, id := range c.ids {
			c.start(id)
		}
		for _, id := range c.ids {
			c.eventually(10*time.Second, "%s is ready", func() bool { return c.nodes[id].ready.Load() }, id)
		}
		story(c.t, c)
	})
}

// inBubble runs story in a bubble, and ends all nodes after it.
func (c *testCluster) inBubble(story func()) {
	c.t.Helper()
	synctest.Test(c.t, func(t *testing.T) {
		c.t, c.net = t, nsqtest.NewNetwork()
		defer c.closeAll()
		story()
	})
}

func newTestCluster(t *testing.T, n int) *testCluster {
	c := &testCluster{t: t, nodes: make(map[string]*testNode)}
	for i := range n {
		c.ids = append(c.ids, fmt.Sprintf("n%d", i+1))
	}
	return c
}

func (c *testCluster) options(id string) *Options {
	o := DefaultOptions()
	o.NodeID = id
	o.DataPath = "in memory"
	for _, other := range c.ids {
		o.InitialCluster = append(o.InitialCluster, other+"="+other+":4162")
	}
	if c.tweak != nil {
		c.tweak(o)
	}
	if err := o.Validate(); err != nil {
		c.t.Fatalf("options of %s: %v", id, err)
	}
	return o
}

func testLogger(id string, heard ...io.Writer) hclog.Logger {
	out := io.MultiWriter(heard...)
	if os.Getenv("NSQRAFT_TEST_LOG") != "" {
		out = io.MultiWriter(out, os.Stderr)
	}
	return hclog.New(&hclog.LoggerOptions{Name: id, Output: out, Level: hclog.Debug})
}

// start begins a node's process, with the disk it left behind, if any.
func (c *testCluster) start(id string) *testNode {
	c.t.Helper()
	n := c.nodes[id]
	if n == nil {
		n = &testNode{id: id}
		c.nodes[id] = n
	}
	if n.store == nil && c.disk != nil {
		n.store = c.disk(id)
	} else if n.store == nil {
		n.store = memoryStorage(id)
		n.disk = &testDisk{InmemStore: raft.NewInmemStore()}
		n.store.log = raftguard.NewStore(n.disk, "disk of "+id, func(error) {})
	}
	n.sessions = new(heldSessions)
	failed := make(chan error, 1)
	n.failed = failed
	ln, err := c.net.Listen(id + ":4162")
	if err != nil {
		c.t.Fatalf("start %s: %v", id, err)
	}
	env := environment{
		listener: ln,
		dial:     func(ctx context.Context, addr string) (net.Conn, error) { return c.net.Dial(ctx, id, addr) },
		store:    n.store,
		fatal: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
		http:    id + ":4161",
		metrics: newMetrics(),
	}
	if n.node, err = openNode(c.options(id), env, n.sessions, testLogger(id, &c.heard)); err != nil {
		c.t.Fatalf("start %s: %v", id, err)
	}
	n.up = true
	return n
}

// kill ends a node's process as SIGKILL does: without a word to anyone.
func (c *testCluster) kill(id string) {
	c.t.Helper()
	c.crash(id)()
}

// crash is kill, but it does not wait for the node's goroutines, as nobody waits
// for those of a process that is gone. The caller does when it calls ended.
func (c *testCluster) crash(id string) (ended func()) {
	n := c.nodes[id]
	n.up = false
	c.net.Kill(id)
	closed := make(chan error, 1)
	go func() { closed <- n.Close() }()
	return func() {
		c.t.Helper()
		if err := <-closed; err != nil {
			c.t.Fatalf("kill %s: %v", id, err)
		}
	}
}

// stop ends a node's process gracefully.
func (c *testCluster) stop(id string) {
	c.t.Helper()
	n := c.nodes[id]
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	n.Leave(ctx)
	c.kill(id)
}

// wipe loses a dead node's disk.
func (c *testCluster) wipe(id string) { c.nodes[id].store = nil }

func (c *testCluster) closeAll() {
	c.net.Heal()
	for _, n := range c.nodes {
		if n.up {
			c.kill(n.id)
		}
		select {
		case err := <-n.failed:
			c.t.Errorf("%s gave up: %v", n.id, err)
		default:
		}
	}
}

// eventually waits until ok, on the bubble's clock.
func (c *testCluster) eventually(limit time.Duration, what string, ok func() bool, args ...any) {
	c.t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within %v: "+what, append([]any{limit}, args...)...)
		}
	}
}

// leader waits until all live nodes agree on a live leader and returns it.
func (c *testCluster) leader() *testNode {
	c.t.Helper()
	var leader *testNode
	c.eventually(10*time.Second, "a leader that leads", func() bool {
		for _, n := range c.nodes {
			leads := func() bool { return n.raft.State() == raft.Leader && n.readTerm.Load() == n.raft.CurrentTerm() }
			if n.up && leads() {
				// A leader that has been succeeded asks its successor.
				if _, err := n.Consistent(c.t.Context()); err == nil && leads() {
					leader = n
					return true
				}
			}
		}
		return false
	})
	return leader
}

// followers returns the live nodes that are not the leader, by id.
func (c *testCluster) followers() []*testNode {
	c.t.Helper()
	return c.followersOf(c.leader())
}

// followersOf returns the live nodes other than leader, by id.
func (c *testCluster) followersOf(leader *testNode) []*testNode {
	var others []*testNode
	for _, id := range c.ids {
		if n := c.nodes[id]; n.up && n != leader {
			others = append(others, n)
		}
	}
	return others
}

// do proposes m on this node and returns what came of it within 800 ms.
func (n *testNode) do(ctx context.Context, m *fsmpb.Mutation) (fsm.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 800*time.Millisecond)
	defer cancel()
	return n.Submit(ctx, m).Wait()
}

// nsqd is a simulated nsqd's session with one node.
type testSession struct {
	n  *testNode
	id fsm.SessionID
}

// connect opens a session of the producer name with this node.
func (c *testCluster) connect(n *testNode, name string) testSession {
	c.t.Helper()
	s := testSession{n, n.NewSession()}
	n.sessions.hold(s.id, true)
	c.must(n.do(c.t.Context(), openSession(s.id.Serial, nsqdNamed(name))))
	return s
}

func (c *testCluster) register(s testSession, topic, channel string) {
	c.t.Helper()
	c.must(s.n.do(c.t.Context(), register(s.id.Serial, topic, channel)))
}

func (c *testCluster) must(r fsm.Result, err error) {
	c.t.Helper()
	if r != fsm.ResultOK || err != nil {
		c.t.Fatalf("got %v, %v, want ok", r, err)
	}
}

// nsqdNamed is a producer that differs from others by its broadcast address.
func nsqdNamed(name string) *fsmpb.Producer {
	return &fsmpb.Producer{BroadcastAddress: name, TcpPort: 4150, HttpPort: 4151, Hostname: name, Version: "1.3.0", RemoteAddress: name + ":5000"}
}

// producers returns what the node's copy lists for topic, "-" if unknown.
func (n *testNode) producers(topic string) string {
	t := n.View().Topic(topic)
	if t == nil {
		return "-"
	}
	var names []string
	for _, p := range t.Producers() {
		names = append(names, p.Info.BroadcastAddress)
	}
	return strings.Join(names, " ")
}

// seen waits until each live node lists want for topic.
func (c *testCluster) seen(limit time.Duration, topic, want string) {
	c.t.Helper()
	for _, id := range c.ids {
		if n := c.nodes[id]; n.up {
			c.eventually(limit, "%s lists %q for %s (lists %q)", func() bool { return n.producers(topic) == want }, id, want, topic, n.producers(topic))
		}
	}
}

func TestClusterFormsOnceAndRegistersThroughAnyNode(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		for i, id := range c.ids {
			s := c.connect(c.nodes[id], "nsqd-"+id)
			c.register(s, fmt.Sprintf("topic%d", i), "ch")
			c.seen(time.Second, fmt.Sprintf("topic%d", i), "nsqd-"+id)
		}
		hash := c.leader().View()
		for _, n := range c.followers() {
			c.eventually(time.Second, "equal indexes", func() bool { return n.View().Index() == hash.Index() })
			if got := n.View().Hash(); got != hash.Hash() {
				t.Errorf("%s has hash %x at index %d, the leader %x", n.id, got, hash.Index(), hash.Hash())
			}
		}
	})
}

func TestOneProducerWithThreeSessionsIsListedOnce(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		var sessions []testSession
		for _, id := range c.ids {
			s := c.connect(c.nodes[id], "nsqd")
			c.register(s, "orders", "billing")
			sessions = append(sessions, s)
		}
		c.seen(time.Second, "orders", "nsqd")
		c.kill(sessions[0].n.id)
		c.seen(time.Second, "orders", "nsqd")
	})
}

func TestLeaderKilledRegistrationsGoOn(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		follower := c.followers()[0]
		s := c.connect(follower, "nsqd")
		c.register(s, "before", "")
		c.kill(c.leader().id)
		c.register(s, "after", "")
		c.seen(time.Second, "before", "nsqd")
		c.seen(time.Second, "after", "nsqd")
	})
}

func TestNoQuorumLookupsGoOnAndWritesAreRefused(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		s := c.connect(leader, "nsqd")
		c.register(s, "orders", "")
		c.seen(time.Second, "orders", "nsqd")
		for _, id := range c.ids {
			c.net.Isolate(id)
		}
		time.Sleep(2 * time.Second)
		for _, id := range c.ids {
			n := c.nodes[id]
			if v, err := n.Readable(t.Context()); err != nil || v.Topic("orders") == nil {
				t.Errorf("%s without quorum: %v", id, err)
			}
			if f := n.Freshness(); f.LeaderKnown || f.Stale < 1500*time.Millisecond {
				t.Errorf("%s cut off for 2s says %+v", id, f)
			}
			if _, err := n.Consistent(t.Context()); !errors.Is(err, errUnavailable) {
				t.Errorf("%s answers a consistent read without quorum: %v", id, err)
			}
		}
		if _, err := c.nodes["n1"].do(t.Context(), createTopic("lost")); !errors.Is(err, errUnavailable) {
			t.Errorf("a write without leader gave %v, want errUnavailable", err)
		}
		c.net.Heal()
		c.leader()
		c.register(s, "again", "")
		c.seen(time.Second, "again", "nsqd")
		if c.nodes["n2"].producers("lost") != "-" {
			t.Error("a refused write was committed after all")
		}
	})
}

func TestUnknownOutcomeIsSettledByTheNextLeader(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader, follower := c.leader(), c.followers()[0]
		s := c.connect(follower, "nsqd")
		c.net.Isolate(leader.id) // with a proposal on its way
		c.register(s, "orders", "billing")
		c.net.Heal()
		c.seen(5*time.Second, "orders", "nsqd")
	})
}

func TestProducersOfADeadNodeStayForTheGraceAndNoLonger(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		owner := c.followers()[0]
		s := c.connect(owner, "nsqd")
		c.register(s, "orders", "")
		c.seen(time.Second, "orders", "nsqd")
		c.kill(owner.id)
		for begun := time.Now(); time.Since(begun) < 44*time.Second; time.Sleep(500 * time.Millisecond) {
			for _, id := range c.ids {
				if n := c.nodes[id]; n.up && n.producers("orders") != "nsqd" {
					t.Fatalf("%s lists %q after %v", id, n.producers("orders"), time.Since(begun))
				}
			}
		}
		c.seen(4*time.Second, "orders", "")
	})
}

func TestProducerThatMovedToAnotherNodeNeverVanishes(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		owner, other := c.followers()[0], c.leader()
		s := c.connect(owner, "nsqd")
		c.register(s, "orders", "")
		c.register(s, "dropped", "")
		c.seen(time.Second, "orders", "nsqd")
		c.kill(owner.id)
		time.Sleep(5 * time.Second) // its lease runs out
		moved := c.connect(other, "nsqd")
		c.register(moved, "orders", "")
		c.must(other.do(t.Context(), &fsmpb.Mutation{Kind: &fsmpb.Mutation_FinishReplay{FinishReplay: &fsmpb.FinishReplay{Session: moved.id.Serial}}}))
		c.seen(time.Second, "dropped", "") // what the replay did not bring back is gone at once
		for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(time.Second) {
			c.seen(0, "orders", "nsqd")
		}
	})
}

func TestAllNodesKilledAtOnceComeBackWithEverything(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		s := c.connect(c.leader(), "nsqd")
		c.register(s, "orders", "billing")
		c.seen(time.Second, "orders", "nsqd")
		for _, id := range c.ids {
			c.kill(id)
		}
		for _, id := range c.ids {
			n := c.start(id)
			if n.ready.Load() {
				t.Errorf("%s answers before it has caught up", id)
			}
			if got := n.producers("orders"); got != "nsqd" {
				t.Errorf("%s restored %q for orders", id, got)
			}
		}
		for _, id := range c.ids {
			c.eventually(5*time.Second, "%s is ready", func() bool { return c.nodes[id].ready.Load() }, id)
		}
		c.seen(time.Second, "orders", "nsqd")
	})
}

func TestAloneAfterARestartServesItsDiskMarkedStale(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		s := c.connect(c.leader(), "nsqd")
		c.register(s, "orders", "")
		c.seen(time.Second, "orders", "nsqd")
		for _, id := range c.ids {
			c.kill(id)
		}
		n := c.start("n1")
		time.Sleep(9 * time.Second)
		if _, err := n.Readable(t.Context()); !errors.Is(err, errNotReady) {
			t.Errorf("after 9s without a leader: %v, want errNotReady", err)
		}
		time.Sleep(2 * time.Second)
		v, err := n.Readable(t.Context())
		if err != nil || v.Topic("orders") == nil {
			t.Errorf("after 11s without a leader: %v", err)
		}
		if f := n.Freshness(); f.LeaderKnown || f.Stale >= 0 {
			t.Errorf("says %+v of what it has from disk", f)
		}
	})
}

// An empty disk that was being filled when the leader was lost holds a part of the registry.
func TestAloneBeforeItWasEverReadyServesNothing(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		s := c.connect(c.leader(), "nsqd")
		c.register(s, "orders", "")
		c.seen(time.Second, "orders", "nsqd")
		for _, id := range c.ids {
			c.eventually(5*time.Second, "%s is ready", func() bool { return c.nodes[id].ready.Load() }, id)
		}
		store := c.nodes["n1"].store
		if !store.identity.WasReady {
			t.Error("n1 was ready, and has not noted it")
		}
		for _, id := range c.ids {
			c.kill(id)
		}
		store.identity.WasReady = false
		n := c.start("n1")
		time.Sleep(time.Minute)
		if _, err := n.Readable(t.Context()); !errors.Is(err, errNotReady) {
			t.Errorf("a minute without a leader: %v, want errNotReady", err)
		}
		c.start("n2")
		c.eventually(5*time.Second, "n1 is ready", func() bool { return n.ready.Load() })
	})
}

// tallMark is a commitMark that remembers the greatest step it was taken back.
type tallMark struct {
	commitMark
	back uint64
}

func (m *tallMark) Store(index uint64) error {
	if was, _ := m.Load(); index < was {
		m.back = max(m.back, was-index)
	}
	return m.commitMark.Store(index)
}

func TestWhatANodeAnswersNeverGoesBackOverARestart(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		s := c.connect(c.leader(), "nsqd")
		for i := range 20 {
			c.register(s, fmt.Sprintf("topic%d", i), "")
		}
		// The last entry that all apply is not a command.
		if err := c.leader().acceptJoin(t.Context(), &peerpb.JoinRequest{Node: "n9", Instance: "0123456789abcdef", Address: "n9:4162"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		marks := make(map[string]*tallMark)
		before := make(map[string]uint64)
		for _, id := range c.ids {
			n := c.nodes[id]
			before[id] = n.View().Index()
			c.kill(id)
			marks[id] = &tallMark{commitMark: n.store.mark}
			n.store.mark = marks[id]
		}
		for _, id := range c.ids {
			n := c.start(id)
			if got := n.View().Index(); got < before[id] {
				t.Errorf("%s is at index %d after a restart, was at %d", id, got, before[id])
			}
		}
		for _, id := range c.ids {
			c.eventually(5*time.Second, "%s is ready", func() bool { return c.nodes[id].ready.Load() }, id)
			if marks[id].back > 0 {
				t.Errorf("%s took its mark back by %d while Raft replayed the log: another kill would have shown", id, marks[id].back)
			}
		}
	})
}

// slowMark is a commitMark on a disk that hangs until a time.
type slowMark struct {
	commitMark
	until time.Time
}

func (m *slowMark) Store(index uint64) error {
	time.Sleep(time.Until(m.until))
	return m.commitMark.Store(index)
}

func TestNodeThatIsSlowToCatchUpDoesNotAnswerMeanwhile(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		n := c.followers()[0]
		c.kill(n.id)
		c.must(c.leader().do(t.Context(), createTopic("orders")))
		n.store.mark = &slowMark{n.store.mark, time.Now().Add(30 * time.Second)}
		c.start(n.id)
		for begun := time.Now(); time.Since(begun) < 29*time.Second; time.Sleep(time.Second) {
			if v, err := n.Readable(t.Context()); err == nil {
				t.Fatalf("%v after its start, with a leader known, it answers from index %d; the leader is at %d", time.Since(begun), v.Index(), c.leader().View().Index())
			}
		}
		c.eventually(3*time.Second, "it is ready", n.ready.Load)
		c.seen(time.Second, "orders", "")
	})
}

func TestWipedNodeComesBackAsAnotherInstance(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		victim := c.followers()[0]
		old := victim.self
		s := c.connect(c.leader(), "nsqd")
		c.register(s, "orders", "")
		c.kill(victim.id)
		c.wipe(victim.id)
		c.start(victim.id)
		c.eventually(20*time.Second, "%s votes again", func() bool {
			_, ok := c.leader().voter(victim.id)
			return ok && victim.ready.Load()
		}, victim.id)
		if victim.self == old {
			t.Error("a wiped node kept its instance")
		}
		for _, s := range c.leader().servers() {
			if s.ID == old {
				t.Errorf("the lost instance %s is still a member", old)
			}
		}
		c.seen(time.Second, "orders", "nsqd")
	})
}

func TestWipedNodeDoesNotVoteWhileAnotherIsBehind(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		behind, victim := c.followers()[0], c.followers()[1]
		s := c.connect(leader, "nsqd")
		c.net.Isolate(behind.id)
		for i := range 50 {
			c.register(s, fmt.Sprintf("topic%d", i), "")
		}
		c.kill(leader.id)
		c.kill(victim.id)
		c.wipe(victim.id)
		c.net.Heal()
		c.start(victim.id)
		// Only the one that is behind and the one that forgot: no leader may come
		// of it, for it would lose what was acknowledged.
		time.Sleep(20 * time.Second)
		for _, n := range []*testNode{behind, victim} {
			if n.raft.State() == raft.Leader {
				t.Fatalf("%s leads without the 50 acknowledged topics", n.id)
			}
		}
		c.start(leader.id)
		c.eventually(30*time.Second, "all are back", func() bool { return victim.producers("topic49") == "nsqd" && behind.producers("topic49") == "nsqd" })
	})
}

func TestGracefulStopHandsOverAndOrphans(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		s := c.connect(leader, "nsqd")
		c.register(s, "orders", "")
		other := c.followers()[0]
		c.stop(leader.id)
		begun := time.Now()
		if _, err := other.do(t.Context(), createTopic("next")); err != nil {
			t.Fatalf("the first write after a graceful stop: %v", err)
		}
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("writes stalled for %v", took)
		}
		c.seen(time.Second, "orders", "nsqd")
		c.start(leader.id)
		c.eventually(5*time.Second, "%s is ready", func() bool { return leader.ready.Load() }, leader.id)
		back := c.connect(leader, "nsqd")
		c.register(back, "orders", "")
		c.must(leader.do(t.Context(), &fsmpb.Mutation{Kind: &fsmpb.Mutation_FinishReplay{FinishReplay: &fsmpb.FinishReplay{Session: back.id.Serial}}}))
		time.Sleep(time.Minute)
		c.seen(0, "orders", "nsqd")
	})
}

func TestGracefulStopEndsNoSessionWhileItDrains(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		n := c.followers()[0]
		s := c.connect(n, "nsqd")
		c.register(s, "orders", "")
		n.Leave(t.Context())
		n.sessions.hold(s.id, false) // the connections are closed, then HTTP requests are waited for
		time.Sleep(httpDrain)
		c.kill(n.id)
		c.seen(time.Second, "orders", "nsqd")
	})
}

// hangingDisk is a log in memory whose writes hang while it is told to.
type hangingDisk struct {
	raftguard.Backend
	hang chan struct{} // full: the next write hangs until it is emptied
}

func (d *hangingDisk) StoreLogs(logs []*raft.Log) error {
	d.hang <- struct{}{}
	<-d.hang
	return d.Backend.StoreLogs(logs)
}

func TestGracefulStopOfALeaderWhoseDiskHangsIsBounded(t *testing.T) {
	c := newTestCluster(t, 3)
	c.inBubble(func() {
		disks := make(map[string]*hangingDisk)
		for _, id := range c.ids {
			store := memoryStorage(id)
			disks[id] = &hangingDisk{raft.NewInmemStore(), make(chan struct{}, 1)}
			store.log = raftguard.NewStore(disks[id], id, func(error) {})
			c.nodes[id] = &testNode{id: id, store: store}
			c.start(id)
		}
		leader := c.leader()
		disk := disks[leader.id]
		disk.hang <- struct{}{}
		leader.do(c.t.Context(), createTopic("orders"))

		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		begun, left := time.Now(), make(chan struct{})
		go func() { defer close(left); leader.Leave(ctx) }()
		select {
		case <-left:
			c.t.Logf("left after %v", time.Since(begun))
		case <-time.After(leaveTimeout + time.Second):
			c.t.Errorf("still not left %v after it was told to", time.Since(begun))
		}
		<-disk.hang // for the node to be closed
		<-left
		time.Sleep(time.Second)
	})
}

func TestMissedObservationOfALeaderIsMadeUpFor(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		n := c.followers()[0]
		changed := n.leading.wait()
		// As if the leader had been heard before anyone observed Raft, or the
		// observation had been dropped: whoever waits for a leader still waits.
		n.lastLeader.Store(new(raft.ServerID))
		select {
		case <-changed:
		case <-time.After(time.Second):
			t.Error("who waits for a leader is not woken though one is known")
		}
	})
}

func TestPausedClusterEndsNothing(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		s := c.connect(c.followers()[0], "nsqd")
		c.register(s, "orders", "")
		for _, id := range c.ids {
			c.net.Isolate(id)
		}
		time.Sleep(10 * time.Minute) // nobody hears of anybody
		c.net.Heal()
		c.leader()
		time.Sleep(10 * time.Second)
		c.seen(0, "orders", "nsqd")
	})
}

func TestNodeCutOffForLongerThanTheGraceStartsOver(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		n := c.followers()[0]
		s := c.connect(n, "nsqd")
		c.register(s, "orders", "")
		c.net.Isolate(n.id)
		time.Sleep(time.Minute)
		if got := c.leader().producers("orders"); got != "" {
			t.Errorf("the others list %q a minute after the node was cut off", got)
		}
		c.net.Heal()
		c.leader()
		c.seen(15*time.Second, "orders", "") // Raft backs off for up to 10s
		if r, err := n.do(t.Context(), register(s.id.Serial, "orders", "")); r != fsm.ResultNoSession {
			t.Errorf("a session that was ended meanwhile registers with %v, %v", r, err)
		}
		c.register(c.connect(n, "nsqd"), "orders", "")
		for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(5 * time.Second) {
			c.seen(time.Second, "orders", "nsqd")
		}
		for _, l := range n.View().Lives() {
			if l.Orphaned {
				t.Errorf("%s is orphaned though it is back", l.Node)
			}
		}
	})
}

func TestStrayOfANodeIsEnded(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		n := c.followers()[0]
		s := c.connect(n, "nsqd")
		c.register(s, "orders", "")
		n.sessions.hold(s.id, false) // its end was lost on the way
		c.seen(3*time.Second, "orders", "")
	})
}

func TestConsistentReadSeesWhatAnotherNodeAcknowledged(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		nodes := append(c.followers(), c.leader())
		for i := range 30 {
			topic := fmt.Sprintf("topic%d", i)
			writer, reader := nodes[i%3], nodes[(i+1)%3]
			c.must(writer.do(t.Context(), createTopic(topic)))
			v, err := reader.Consistent(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if v.Topic(topic) == nil {
				t.Fatalf("%s does not show %s, which %s has acknowledged", reader.id, topic, writer.id)
			}
			own, err := writer.Readable(t.Context())
			if err != nil || own.Topic(topic) == nil {
				t.Fatalf("%s does not show its own write: %v", writer.id, err)
			}
		}
	})
}

func TestStaleNeverSaysLessThanTheTruth(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader, cut := c.leader(), c.followers()[0]
		c.net.Isolate(cut.id)
		since := time.Now()
		for i := range 40 {
			c.must(leader.do(t.Context(), createTopic(fmt.Sprintf("topic%d", i))))
			time.Sleep(50 * time.Millisecond)
			if f := cut.Freshness(); f.Stale >= 0 && f.Stale < time.Since(since) {
				t.Fatalf("cut off for %v, says it is %v stale", time.Since(since), f.Stale)
			}
		}
	})
}

func TestCopyThatNobodyReadsStaysFresh(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		n := c.followers()[0]
		time.Sleep(30 * time.Second)
		if f := n.Freshness(); !f.LeaderKnown || f.Stale < 0 || f.Stale > time.Second {
			t.Errorf("after a quiet while a healthy follower says %+v", f)
		}
	})
}

func TestNewLeaderDoesNotTakeADeadNodeForOneThatIsBack(t *testing.T) {
	d := &duties{leases: make(map[life]*lease)}
	dead := life{"n3", 1}
	now := time.Now()
	time.Sleep(time.Millisecond) // what decide does between its clock and the lease
	if _, back := d.look(dead, true, now); back {
		t.Error("a life that this leader never heard of is back")
	}
	d.renewed(dead)
	if _, back := d.look(dead, true, time.Now()); !back {
		t.Error("a life that renewed its lease is not back")
	}
}

func TestNodeThatLagsIsNotReadyForTheLoadBalancer(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		cut, leader := c.followers()[0], c.leader()
		// A follower learns with its lease how many live.
		c.eventually(3*time.Second, "%s and its leader are healthy, and may lose one", func() bool {
			return cut.healthy() && cut.raftStats().FailureTolerance == 1 && leader.raftStats().FailureTolerance == 1
		}, cut.id)
		c.net.Isolate(cut.id)
		time.Sleep(readyStale + time.Second)
		if cut.healthy() {
			t.Errorf("cut off for %v: %v", readyStale+time.Second, cut.Health())
		}
		if _, err := cut.Readable(t.Context()); err != nil {
			t.Errorf("a lookup on it: %v", err)
		}
		if got := leader.clusterStatus(t.Context()).FailureTolerance; got != 0 {
			t.Errorf("tolerance %d without one of three, want 0", got)
		}
		c.net.Heal()
		c.eventually(5*time.Second, "%s is healthy again", cut.healthy, cut.id)
	})
}

func TestSessionsOfADeadNodeEndTogether(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		owner := c.followers()[0]
		const nsqds = 4*endChunk + 1
		for i := range nsqds {
			c.register(c.connect(owner, fmt.Sprintf("nsqd%d", i)), "orders", "")
		}
		c.kill(owner.id)
		leader := c.leader()
		listed := func() int { return len(leader.View().Topic("orders").Producers()) }
		time.Sleep(44 * time.Second)
		if got := listed(); got != nsqds {
			t.Fatalf("%d listed within the grace, want %d", got, nsqds)
		}
		c.eventually(3*time.Second, "all have gone", func() bool { return listed() == 0 })
	})
}
