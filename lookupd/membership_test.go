package lookupd

import (
	"errors"
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
		c.eventually(5*time.Second, "%s follows it", func() bool { _, id := asked.raft.LeaderWithID(); return id == target.self }, asked.id)
		c.leader() // and it has begun its term
		if err := asked.transfer(t.Context(), "nobody"); !errors.Is(err, errRejected) {
			t.Errorf("transfer to nobody: got %v, want errRejected", err)
		}
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
