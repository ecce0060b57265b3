package interop

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// readyTimeout bounds the start of a cluster and the return of a member. It is
// generous because the machine may be busy; how fast it is, is measured elsewhere.
const readyTimeout = 20 * time.Second

// A node is one nsqlookupd of a cluster.
type node struct {
	*process
	id   string
	tcp  string // where nsqd registers
	http string // where lookups are asked
	raft string // where its peers reach it
	data string // its data path
}

// A cluster is three of our nsqlookupds. With -against=stock it is three stock
// ones, which are ready when they answer and have no leader.
type cluster struct {
	t     testing.TB
	nodes []*node
}

// startCluster starts three nodes, each with the given flags besides its own, and
// returns when all are ready.
func startCluster(t testing.TB, flags ...string) *cluster {
	t.Helper()
	c := newCluster(t, func(id string) string { return filepath.Join(t.TempDir(), id) }, flags...)
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady(c.nodes...)
	return c
}

// newCluster prepares three nodes, without starting them; dataPath names the data
// path of each.
func newCluster(t testing.TB, dataPath func(id string) string, flags ...string) *cluster {
	t.Helper()
	c := &cluster{t: t}
	var members []string
	for i := range 3 {
		n := &node{id: fmt.Sprintf("n%d", i+1), tcp: freeAddr(t), http: freeAddr(t), raft: freeAddr(t)}
		c.nodes = append(c.nodes, n)
		members = append(members, n.id+"="+n.raft)
	}
	for _, n := range c.nodes {
		bin := stockBin("nsqlookupd")
		args := []string{"--tcp-address=" + n.tcp, "--http-address=" + n.http, "--broadcast-address=127.0.0.1"}
		if *against == "ours" {
			bin = ourBin("nsqlookupd")
			n.data = dataPath(n.id)
			args = append(args,
				"--data-path="+n.data,
				"--node-id="+n.id,
				"--raft-address="+n.raft,
				"--initial-cluster="+strings.Join(members, ","))
			args = append(args, flags...)
		}
		n.process = newProcess(t, n.id, bin, args...)
	}
	return c
}

// waitReady waits until each of nodes is a member that has caught up.
func (c *cluster) waitReady(nodes ...*node) {
	c.t.Helper()
	for _, n := range nodes {
		eventually(c.t, readyTimeout, n.id+" ready", n.ready)
	}
}

// ready reports an error unless the node answers that it is ready.
func (n *node) ready() error {
	if err := n.running(); err != nil {
		return err
	}
	target := "/readyz"
	if *against == "stock" {
		target = "/ping"
	}
	a, err := request("GET", n.http, target, "")
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %s", target, a.status, a.body)
	}
	return err
}

// A membership is what /cluster answers, as far as the tests look.
type membership struct {
	NodeID           string `json:"node_id"`
	Leader           string `json:"leader"` // a node id, or nothing
	Role             string `json:"role"`
	Term             uint64 `json:"term"`
	AppliedIndex     uint64 `json:"applied_index"`
	RegistryHash     string `json:"registry_hash"`
	FailureTolerance int    `json:"failure_tolerance"`
	Members          []struct {
		ID      string `json:"id"`
		Voter   bool   `json:"voter"`
		Healthy bool   `json:"healthy"`
	} `json:"members"`
}

// membership asks one node for its view of the cluster.
func (n *node) membership() (membership, error) {
	var m membership
	err := get(n.http, "/cluster", &m)
	return m, err
}

// leader waits until all running nodes name the same running node as leader.
func (c *cluster) leader() *node {
	c.t.Helper()
	return c.leaderOf(c.running()...)
}

// leaderOf waits until each of nodes names the same one of them as leader.
func (c *cluster) leaderOf(nodes ...*node) *node {
	c.t.Helper()
	if *against == "stock" {
		c.t.Fatal("stock nsqlookupds have no leader")
	}
	var leader *node
	eventually(c.t, readyTimeout, "one leader", func() error {
		leader = nil
		for _, n := range nodes {
			m, err := n.membership()
			if err != nil {
				return err
			}
			switch l := c.node(m.Leader); {
			case !slices.Contains(nodes, l):
				return fmt.Errorf("%s names %q as leader", n.id, m.Leader)
			case leader != nil && leader != l:
				return fmt.Errorf("%s and %s are both named leader", leader.id, l.id)
			default:
				leader = l
			}
		}
		if leader == nil {
			return errors.New("no node is running")
		}
		return nil
	})
	return leader
}

// agree reports an error unless all running nodes name the same leader, have applied
// the same entries and hold the same registry.
func (c *cluster) agree() error {
	var first membership
	for i, n := range c.running() {
		m, err := n.membership()
		if err != nil {
			return err
		}
		if i == 0 {
			first = m
		}
		if m.Leader != first.Leader || m.AppliedIndex != first.AppliedIndex || m.RegistryHash != first.RegistryHash || m.RegistryHash == "" {
			return fmt.Errorf("%s is at %d with hash %q under %q, %s at %d with %q under %q",
				n.id, m.AppliedIndex, m.RegistryHash, m.Leader, first.NodeID, first.AppliedIndex, first.RegistryHash, first.Leader)
		}
	}
	return nil
}

// node returns the node with the given id, or nil.
func (c *cluster) node(id string) *node {
	for _, n := range c.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// running returns the nodes that the test has started and not ended.
func (c *cluster) running() []*node {
	return c.without(nil)
}

// without returns the running nodes but for one.
func (c *cluster) without(not *node) []*node {
	var nodes []*node
	for _, n := range c.nodes {
		if n.cmd != nil && n != not {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// tcpAddrs returns where nsqd registers with each of nodes.
func tcpAddrs(nodes []*node) []string {
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.tcp)
	}
	return addrs
}

// httpAddrs returns where each of nodes answers lookups.
func httpAddrs(nodes []*node) []string {
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.http)
	}
	return addrs
}
