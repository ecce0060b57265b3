package lookupd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"nsqraft/lookupd/peerpb"
)

// joining makes the nodes after the first three enter by --join.
func (c *testCluster) joining(via string) {
	c.tweak = func(o *Options) {
		if o.NodeID > "n3" {
			o.InitialCluster, o.Join, o.RaftAdvertise = nil, via+":4162", o.NodeID+":4162"
		} else {
			o.InitialCluster = []string{"n1=n1:4162,n2=n2:4162,n3=n3:4162"}
		}
	}
}

func TestNewNodeJoinsCatchesUpAndVotes(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		s := c.connect(c.leader(), "nsqd")
		c.register(s, "orders", "")
		c.joining(c.followers()[0].id) // not the leader: it says who leads
		n4 := c.start("n4")
		c.ids = append(c.ids, "n4")
		c.eventually(20*time.Second, "n4 votes and is ready", func() bool {
			_, ok := c.leader().voter("n4")
			return ok && n4.ready.Load()
		})
		c.seen(time.Second, "orders", "nsqd")
		if n4.cluster() != c.leader().cluster() {
			t.Errorf("n4 says it is of cluster %q, the leader %q", n4.cluster(), c.leader().cluster())
		}
		c.register(c.connect(n4, "other"), "orders", "")
		c.seen(time.Second, "orders", "nsqd other")
	})
}

// The leader replicates to a new member before the new member has the answer
// to its Join.
func TestJoinerThatMissedTheAnswerAsksAgain(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.joining("n1")
		store := memoryStorage("n4")
		save, full := store.saveIdentity, time.Now().Add(2*time.Second)
		store.saveIdentity = func(id identity) error {
			if time.Now().Before(full) {
				return errors.New("no space left")
			}
			return save(id)
		}
		c.nodes["n4"] = &testNode{id: "n4", store: store}
		n4 := c.start("n4")
		c.eventually(20*time.Second, "n4 is ready and knows its cluster", func() bool {
			return n4.ready.Load() && n4.cluster() == c.nodes["n1"].cluster()
		})
		c.register(c.connect(n4, "nsqd"), "orders", "")
	})
}

func TestJoinerKilledBeforeItHadTheAnswerAsksAgain(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.joining("n1")
		store := memoryStorage("n4")
		save := store.saveIdentity
		store.saveIdentity = func(identity) error { return errors.New("killed first") }
		c.nodes["n4"] = &testNode{id: "n4", store: store}
		n4 := c.start("n4")
		c.eventually(5*time.Second, "n4 hears of its cluster", n4.hasConfiguration)
		c.kill("n4")
		store.saveIdentity = save
		c.start("n4")
		c.eventually(20*time.Second, "n4 is ready and knows its cluster", func() bool {
			return n4.ready.Load() && n4.cluster() == c.nodes["n1"].cluster()
		})
	})
}

func TestJoinUnderALiveNodesNameOrAddressIsRefused(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		for name, req := range map[string]*peerpb.JoinRequest{
			"a live node's id":     {Node: c.followers()[0].id, Instance: "0123456789abcdef", Address: "x:4162"},
			"a member's address":   {Node: "n9", Instance: "0123456789abcdef", Address: leader.address()},
			"no dialable address":  {Node: "n9", Instance: "0123456789abcdef", Address: "0.0.0.0:4162"},
			"no id":                {Node: "", Instance: "0123456789abcdef", Address: "x:4162"},
			"an id with a slash":   {Node: "n/9", Instance: "0123456789abcdef", Address: "x:4162"},
			"no instance to speak": {Node: "n9", Instance: "1", Address: "x:4162"},
		} {
			if err := leader.acceptJoin(t.Context(), req); !errors.Is(err, errRejected) {
				t.Errorf("%s: got %v, want errRejected", name, err)
			}
		}
		if err := c.followers()[0].acceptJoin(t.Context(), &peerpb.JoinRequest{Node: "n9", Instance: "0123456789abcdef", Address: "x:4162"}); !errors.Is(err, errNotLeader) {
			t.Errorf("a follower answers a join with %v, want errNotLeader", err)
		}
		if got := len(leader.servers()); got != 3 {
			t.Errorf("%d members after refused joins, want 3", got)
		}
	})
}

func TestJoinDoesNotReplaceAMemberThatTheLeaderHears(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader, other := c.leader(), c.followers()[0]
		// Nobody can connect to them any more, as when a name in DNS has moved;
		// the connections there are go on.
		leader.port.ln.Close()
		other.port.ln.Close()
		time.Sleep(time.Second)
		for _, id := range []string{leader.id, other.id} {
			req := &peerpb.JoinRequest{Node: id, Instance: "0123456789abcdef", Address: id + ":4162"}
			if err := leader.acceptJoin(t.Context(), req); !errors.Is(err, errRejected) {
				t.Errorf("join as %s: got %v, want errRejected", id, err)
			}
		}
		if got := len(leader.servers()); got != 3 {
			t.Errorf("%d members after refused joins, want 3", got)
		}
	})
}

func TestFormIsRefusedByWhoBelongsToACluster(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		n := c.followers()[0]
		before := n.cluster()
		for _, initial := range []string{n.initialKey(), "n1=elsewhere:4162", ""} {
			if err := n.acceptForm(&peerpb.FormRequest{Cluster: "another", Initial: initial}); !errors.Is(err, errRejected) {
				t.Errorf("initial %q: got %v, want errRejected", initial, err)
			}
		}
		if n.cluster() != before {
			t.Errorf("cluster is %q now, was %q", n.cluster(), before)
		}
	})
}

func TestTransferThroughAFollower(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		target := c.followers()[0]
		asked := c.followers()[1]
		if err := asked.transfer(t.Context(), target.id); err != nil {
			t.Fatal(err)
		}
		c.eventually(5*time.Second, "%s leads", func() bool { return target.raft.State() == raft.Leader }, target.id)
		c.eventually(time.Second, "%s refuses to transfer to nobody", func() bool {
			return errors.Is(asked.transfer(t.Context(), "nobody"), errRejected)
		}, asked.id)
	})
}

func TestNodesThatDisagreeOnTheClusterDoNotFormOne(t *testing.T) {
	c := newTestCluster(t, 3)
	c.tweak = func(o *Options) {
		if o.NodeID == "n2" {
			o.InitialCluster = []string{"n1=n1:4162,n2=n2:4162"}
		}
	}
	c.inBubble(func() {
		for _, id := range c.ids {
			c.start(id)
		}
		time.Sleep(10 * time.Second)
		for _, id := range c.ids {
			if n := c.nodes[id]; n.hasConfiguration() || n.ready.Load() {
				t.Errorf("%s takes part in a cluster that its members do not agree on", id)
			}
		}
	})
}

func TestHalfAClusterDoesNotFormOne(t *testing.T) {
	c := newTestCluster(t, 3)
	c.inBubble(func() {
		c.start("n1")
		c.start("n2")
		time.Sleep(10 * time.Second)
		if c.nodes["n1"].hasConfiguration() {
			t.Error("n1 formed a cluster without n3")
		}
		c.start("n3")
		for _, id := range c.ids {
			c.eventually(10*time.Second, "%s is ready", func() bool { return c.nodes[id].ready.Load() }, id)
		}
	})
}

func TestRemovedMemberIsOutForGood(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		gone, asked := c.followers()[0], c.followers()[1]
		c.kill(gone.id)
		if err := asked.remove(t.Context(), gone.id); err != nil {
			t.Fatal(err)
		}
		if _, ok := c.leader().voter(gone.id); ok {
			t.Errorf("%s still votes", gone.id)
		}
		if err := asked.remove(t.Context(), "nobody"); !errors.Is(err, errRejected) {
			t.Errorf("remove nobody: got %v, want errRejected", err)
		}
		c.register(c.connect(asked, "nsqd"), "orders", "")
		c.seen(time.Second, "orders", "nsqd")
	})
}

func TestStrangerDoesNotEnterByInitialCluster(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.tweak = func(o *Options) {
			if o.NodeID == "a0" {
				o.InitialCluster = []string{"a0=a0:4162,n1=n1:4162"}
			}
		}
		c.start("a0")
		time.Sleep(10 * time.Second)
		if got := len(c.leader().servers()); got != 3 || c.nodes["a0"].ready.Load() {
			t.Errorf("%d members after a stranger came, want 3", got)
		}
	})
}

func TestDataOfAnotherClusterEndsTheNode(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.joining("n1")
		joining := c.tweak
		c.tweak = func(o *Options) {
			joining(o)
			if o.NodeID == "n9" {
				o.Join = ""
			}
		}
		n9 := c.start("n9") // a cluster of its own
		c.eventually(5*time.Second, "n9 is ready", func() bool { return n9.ready.Load() })
		c.kill("n9")
		c.tweak = joining
		n9 = c.start("n9")
		select {
		case err := <-n9.failed:
			if !strings.Contains(err.Error(), "belongs to cluster") {
				t.Errorf("n9 gave up with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("n9 goes on in its old cluster")
		}
	})
}

func TestStrangerAmongTheNamedEndsNobodyElse(t *testing.T) {
	var foreign *storage
	inCluster(t, 3, func(t *testing.T, c *testCluster) { foreign = c.nodes["n2"].store })
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.must(c.leader().do(t.Context(), createTopic("orders")))
		c.seen(time.Second, "orders", "")
		for _, id := range c.ids {
			c.kill(id)
		}
		c.nodes["n2"].store = foreign
		n2 := c.start("n2")
		c.start("n1") // asks the stranger while there is no leader yet
		time.Sleep(8 * time.Second)
		c.start("n3")
		c.eventually(10*time.Second, "n1 and n3 go on", func() bool { return c.nodes["n1"].ready.Load() && c.nodes["n3"].ready.Load() })
		time.Sleep(20 * time.Second)
		for _, id := range []string{"n1", "n3"} {
			select {
			case err := <-c.nodes[id].failed:
				t.Errorf("%s was ended by a stranger: %v", id, err)
			default:
			}
		}
		select {
		case <-n2.failed:
		case <-time.After(20 * time.Second):
			t.Error("the stranger goes on")
		}
	})
}
