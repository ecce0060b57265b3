package raftguard_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"nsqraft/internal/nsqtest"
	"nsqraft/lookupd/raftguard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream is the raft.StreamLayer of one host on a Network.
type stream struct {
	net.Listener
	network *nsqtest.Network
	host    string
}

func (s stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, target := raftguard.SplitAddress(address)
	return s.network.Dial(ctx, s.host, target)
}

func address(id raft.ServerID) raft.ServerAddress { return raft.ServerAddress(id) + ":4162" }

func listen(t *testing.T, network *nsqtest.Network, id raft.ServerID) stream {
	t.Helper()
	l, err := network.Listen(string(address(id)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Kill(string(id)) }) // inbound connections, too
	return stream{Listener: l, network: network, host: string(id)}
}

func newTransport(t *testing.T, network *nsqtest.Network, id raft.ServerID) *raftguard.Transport {
	t.Helper()
	trans := raftguard.NewTransport(id, listen(t, network, id), nil, hclog.NewNullLogger())
	t.Cleanup(func() { trans.Close() })
	return trans
}

// node is one server of a cluster on a Network, with its log in memory.
type node struct {
	id    raft.ServerID
	raft  *raft.Raft
	trans *raftguard.Transport
	fsm   *raft.MockFSM
}

var servers = []raft.ServerID{"n1", "n2", "n3"}

func configuration() raft.Configuration {
	var c raft.Configuration
	for _, id := range servers {
		c.Servers = append(c.Servers, raft.Server{ID: id, Address: address(id)})
	}
	return c
}

func raftConfig(id raft.ServerID) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = id
	c.HeartbeatTimeout = 150 * time.Millisecond
	c.ElectionTimeout = 150 * time.Millisecond
	c.LeaderLeaseTimeout = 100 * time.Millisecond
	c.CommitTimeout = 5 * time.Millisecond
	c.Logger = hclog.NewNullLogger()
	return c
}

// newStore returns a Store that fails the test if it fails.
func newStore(t *testing.T, backend raftguard.Backend) *raftguard.Store {
	return raftguard.NewStore(backend, t.Name(), func(err error) { t.Errorf("store failed: %v", err) })
}

// startNode starts a member of the cluster of all servers, over an empty log.
func startNode(t *testing.T, conf *raft.Config, trans raft.Transport, store raftguard.Backend) *node {
	t.Helper()
	logs, err := raft.NewLogCache(64, store)
	if err != nil {
		t.Fatal(err)
	}
	snaps := raft.NewInmemSnapshotStore()
	if err := raft.BootstrapCluster(conf, logs, store, snaps, trans, configuration()); err != nil {
		t.Fatal(err)
	}
	n := &node{id: conf.LocalID, fsm: new(raft.MockFSM)}
	n.trans, _ = trans.(*raftguard.Transport)
	n.raft, err = raft.NewRaft(conf, n.fsm, logs, store, snaps, trans)
	if err != nil {
		t.Fatal(err)
	}
	if n.trans != nil {
		n.trans.Attach(n.raft)
	}
	t.Cleanup(func() { n.shutdown(t) })
	return n
}

func (n *node) shutdown(t *testing.T) {
	done := make(chan error, 1)
	go func() { done <- n.raft.Shutdown().Error() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("shut %s down: %v", n.id, err)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("%s does not shut down", n.id)
	}
}

// eventually waits, for at most a minute of the bubble's time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 60_000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("a minute later it still is not true that %s", what)
}

// leaderOf returns the one among nodes that is the leader of the highest term and
// has committed an entry of it.
func leaderOf(t *testing.T, nodes []*node) *node {
	t.Helper()
	var leader *node
	eventually(t, "there is a leader", func() bool {
		for _, n := range nodes {
			if n.raft.State() == raft.Leader && n.raft.Barrier(time.Second).Error() == nil {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

func apply(t *testing.T, leader *node, count int) {
	t.Helper()
	for i := range count {
		if err := leader.raft.Apply(fmt.Append(nil, "entry ", i), time.Second).Error(); err != nil {
			t.Fatalf("apply %d of %d: %v", i, count, err)
		}
	}
}
