package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
)

// A node is one nsqlookupd, ours or stock.
type node struct {
	*process
	id   string
	tcp  string // where nsqds register
	http string // where lookups are asked
	data string // folder; empty: in memory
}

// A cluster is three nsqlookupds of ours that are one, or three of stock's that
// know nothing of each other.
type cluster []*node

func (c cluster) tcpAddrs() []string {
	var addrs []string
	for _, n := range c {
		addrs = append(addrs, n.tcp)
	}
	return addrs
}

// startCluster starts three nodes of ours, each with the given flags besides its
// own, and returns when all are ready and agree on their leader.
func (b *bench) startCluster(flags ...string) (cluster, error) {
	return b.startClusterIn([]string{b.temp, b.temp, b.temp}, flags...)
}

// startClusterIn is startCluster with the data of each node in one of dirs.
func (b *bench) startClusterIn(dirs []string, flags ...string) (cluster, error) {
	var c cluster
	var members, rafts []string
	for i := range 3 {
		addrs, err := freeAddrs(3)
		if err != nil {
			return nil, err
		}
		n := &node{id: fmt.Sprintf("n%d", i+1), tcp: addrs[0], http: addrs[1]}
		n.data = filepath.Join(dirs[i], filepath.Base(b.path(n.id)))
		c = append(c, n)
		rafts = append(rafts, addrs[2])
		members = append(members, n.id+"="+addrs[2])
	}
	for i, n := range c {
		n.process = b.newProcess(n.id, b.binary, append([]string{
			"--tcp-address=" + n.tcp, "--http-address=" + n.http, "--broadcast-address=127.0.0.1",
			"--data-path=" + n.data, "--node-id=" + n.id, "--raft-address=" + rafts[i],
			"--initial-cluster=" + strings.Join(members, ","),
		}, flags...)...)
		if err := n.start(); err != nil {
			return nil, err
		}
	}
	_, err := c.leader()
	return c, err
}

// startStock starts n stock nsqlookupds.
func (b *bench) startStock(n int, flags ...string) (cluster, error) {
	var c cluster
	for i := range n {
		addrs, err := freeAddrs(2)
		if err != nil {
			return nil, err
		}
		s := &node{id: fmt.Sprintf("stock%d", i+1), tcp: addrs[0], http: addrs[1]}
		s.process = b.newProcess(s.id, b.stock, append([]string{
			"--tcp-address=" + s.tcp, "--http-address=" + s.http, "--broadcast-address=127.0.0.1",
		}, flags...)...)
		if err := s.start(); err != nil {
			return nil, err
		}
		c = append(c, s)
	}
	for _, s := range c {
		err := eventually(s.id+" answers", func() error {
			if err := s.alive(); err != nil {
				return err
			}
			return wantOK(get(s.http, "/ping"))
		})
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// leader waits until all nodes are ready, name the same leader and count all
// three as voters in good health, and returns the leader.
func (c cluster) leader() (leader *node, err error) {
	err = eventually("three nodes that agree on a leader", func() error {
		leader = nil
		for _, n := range c {
			if err := n.alive(); err != nil {
				return err
			}
			if err := wantOK(get(n.http, "/readyz")); err != nil {
				return err
			}
			var view struct {
				Leader           string `json:"leader"`
				FailureTolerance int    `json:"failure_tolerance"`
			}
			a, err := get(n.http, "/cluster")
			if err := wantOK(a, err); err != nil {
				return err
			}
			if err := json.Unmarshal(a.body, &view); err != nil {
				return fmt.Errorf("/cluster of %s: %w", n.id, err)
			}
			named := c.node(view.Leader)
			if named == nil || leader != nil && leader != named || view.FailureTolerance != 1 {
				return fmt.Errorf("%s names %q as leader and tolerates %d failures", n.id, view.Leader, view.FailureTolerance)
			}
			leader = named
		}
		return nil
	})
	return leader, err
}

// node returns the node of that id, or nil.
func (c cluster) node(id string) *node {
	for _, n := range c {
		if n.id == id {
			return n
		}
	}
	return nil
}

// without returns the nodes but for one.
func (c cluster) without(not *node) cluster {
	var rest cluster
	for _, n := range c {
		if n != not {
			rest = append(rest, n)
		}
	}
	return rest
}

// wantOK turns any answer but 200 into an error.
func wantOK(a answer, err error) error {
	if err == nil && a.status != http.StatusOK {
		err = errors.New(http.StatusText(a.status) + ": " + string(a.body[:min(len(a.body), 200)]))
	}
	return err
}
