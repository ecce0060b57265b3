package interop

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// seenTimeout is how soon what one node was told has to be on all of them.
// nsqd registers after it has acknowledged, so its own delay is in it too.
const seenTimeout = 3 * time.Second

// TestOneNodeToldAllKnow registers a stock nsqd with each node in turn, and with
// that node only.
func TestOneNodeToldAllKnow(t *testing.T) {
	c := startCluster(t)
	all := httpAddrs(c.nodes)
	for _, n := range c.nodes {
		d := startNSQD(t, n.tcp)
		topic := "told-" + n.id
		d.createTopic(topic)
		d.createChannel(topic, "archive")
		d.createChannel(topic, "metrics")

		eventually(t, seenTimeout, "told "+n.id, listed(all, topic, d.http))
		eventually(t, seenTimeout, "channels", named(all, "/channels?topic="+topic, "archive", "metrics"))
		eventually(t, seenTimeout, "/nodes", func() error {
			return inNodes(all, d.http, topic, false)
		})

		// What goes, goes everywhere: an nsqd says so when a topic is deleted,
		// and its connection says so when it stops.
		mustSend(t, "POST", d.http, "/channel/delete?topic="+topic+"&channel=metrics", "")
		d.createTopic("brief")
		eventually(t, seenTimeout, "second topic", listed(all, "brief", d.http))
		mustSend(t, "POST", d.http, "/topic/delete?topic=brief", "")
		eventually(t, seenTimeout, "second topic deleted", listed(all, "brief"))
		d.stop()
		eventually(t, seenTimeout, "nsqd stopped", listed(all, topic))
		eventually(t, seenTimeout, "/nodes without it", func() error {
			for _, addr := range all {
				nodes, err := nodesOf(addr)
				if err != nil {
					return err
				}
				if _, still := nodes[d.http]; still {
					return fmt.Errorf("%s: /nodes still lists %s", addr, d.http)
				}
			}
			return nil
		})
	}
	// The names stay, as they do in stock.
	if err := named(all, "/topics", "brief", "told-n1", "told-n2", "told-n3")(); err != nil {
		t.Error(err)
	}
}

// TestThreeNodesToldListedOnce registers a stock nsqd with all three nodes, as
// operators do. Each node has to list it once: nsqadmin counts the rows.
func TestThreeNodesToldListedOnce(t *testing.T) {
	c := startCluster(t)
	all := httpAddrs(c.nodes)
	d := startNSQD(t, tcpAddrs(c.nodes)...)
	e := startNSQD(t, tcpAddrs(c.nodes)...)
	d.createTopic("orders")
	e.createTopic("orders")
	d.createChannel("orders", "archive")
	eventually(t, seenTimeout, "both nsqds", listed(all, "orders", d.http, e.http))
	eventually(t, seenTimeout, "/nodes", func() error {
		return errors.Join(inNodes(all, d.http, "orders", false), inNodes(all, e.http, "orders", false))
	})

	// One of two connections lost is not a producer lost.
	d.useLookupds(c.nodes[0].tcp, c.nodes[1].tcp)
	w := startWatch(t, c.nodes, "/lookup?topic=orders", false, alwaysLists(d.http, e.http))
	d.useLookupds(c.nodes[1].tcp)
	d.createTopic("after")
	eventually(t, seenTimeout, "topic after", listed(all, "after", d.http))
	w.stop(1)

	d.kill()
	eventually(t, seenTimeout, "one nsqd killed", listed(all, "orders", e.http))
}

// TestAdministrationIsReplicated does with one node what stock does not share at
// all: names made and removed over HTTP, and tombstones.
func TestAdministrationIsReplicated(t *testing.T) {
	c := startCluster(t)
	all := httpAddrs(c.nodes)
	d := startNSQD(t, c.nodes[0].tcp)
	d.createTopic("orders")
	d.createTopic("other")
	eventually(t, seenTimeout, "nsqd", listed(all, "orders", d.http))
	eventually(t, seenTimeout, "nsqd", listed(all, "other", d.http))

	for i, n := range c.nodes {
		topic := "made-" + n.id
		mustSend(t, "POST", n.http, "/topic/create?topic="+topic, "")
		mustSend(t, "POST", n.http, "/channel/create?topic="+topic+"&channel=archive", "")
		eventually(t, seenTimeout, "made on "+n.id, named(all, "/channels?topic="+topic, "archive"))
		other := c.nodes[(i+1)%3]
		mustSend(t, "POST", other.http, "/channel/delete?topic="+topic+"&channel=archive", "")
		eventually(t, seenTimeout, "channel deleted on "+other.id, named(all, "/channels?topic="+topic))
		mustSend(t, "POST", other.http, "/topic/delete?topic="+topic, "")
		eventually(t, seenTimeout, "topic deleted on "+other.id, named(all, "/topics", "orders", "other"))
	}

	mustSend(t, "POST", c.nodes[1].http, "/topic/tombstone?topic=orders&node="+d.http, "")
	eventually(t, seenTimeout, "tombstoned", listed(all, "orders"))
	if err := listed(all, "other", d.http)(); err != nil {
		t.Errorf("a tombstone hides one topic only: %v", err)
	}
	if err := inNodes(all, d.http, "orders", true); err != nil {
		t.Error(err)
	}
}

// TestClusterView asks each node how the cluster is, and hands the leadership on while
// lookups go on.
func TestClusterView(t *testing.T) {
	c := startCluster(t)
	d := startNSQD(t, tcpAddrs(c.nodes)...)
	d.createTopic("orders")
	eventually(t, seenTimeout, "nsqd", listed(httpAddrs(c.nodes), "orders", d.http))

	leader := c.leader()
	eventually(t, seenTimeout, "one view, one registry", func() error {
		for _, n := range c.nodes {
			m, err := n.membership()
			if err != nil {
				return err
			}
			if m.NodeID != n.id || m.FailureTolerance != 1 || len(m.Members) != 3 {
				return fmt.Errorf("%s: %+v", n.id, m)
			}
			if (m.Role == "leader") != (n == leader) {
				return fmt.Errorf("%s has the role %q, and %s leads", n.id, m.Role, leader.id)
			}
			for _, member := range m.Members {
				if c.node(member.ID) == nil || !member.Voter || !member.Healthy {
					return fmt.Errorf("%s sees %+v", n.id, member)
				}
			}
		}
		return c.agree()
	})

	w := startWatch(t, c.nodes, "/lookup?topic=orders", false, alwaysLists(d.http))
	next := c.without(leader)[0]
	mustSend(t, "POST", leader.http, "/cluster/transfer?to="+next.id, "")
	eventually(t, seenTimeout, "leadership transferred", func() error {
		if l := c.leader(); l != next {
			return fmt.Errorf("%s leads, want %s", l.id, next.id)
		}
		return nil
	})
	// Asked of any node, and to nobody in particular.
	mustSend(t, "POST", leader.http, "/cluster/transfer", "")
	eventually(t, seenTimeout, "leadership transferred away", func() error {
		if l := c.leader(); l == next {
			return fmt.Errorf("%s still leads", l.id)
		}
		return nil
	})
	w.stop(1)
}

// named returns a check that each of addrs answers target with exactly want.
func named(addrs []string, target string, want ...string) func() error {
	return func() error {
		for _, addr := range addrs {
			got, err := names(addr, target)
			if err != nil {
				return err
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("%s%s: %v, want %v", addr, target, got, want)
			}
		}
		return nil
	}
}

// inNodes reports an error unless /nodes on each of addrs lists the nsqd once, with
// topic, tombstoned for it or not.
func inNodes(addrs []string, nsqd, topic string, tombstoned bool) error {
	for _, addr := range addrs {
		nodes, err := nodesOf(addr)
		if err != nil {
			return err
		}
		p, ok := nodes[nsqd]
		if !ok {
			return fmt.Errorf("%s: /nodes does not list %s", addr, nsqd)
		}
		i := slices.Index(p.Topics, topic)
		if i < 0 {
			return fmt.Errorf("%s: /nodes: %s has topics %v, want %s", addr, nsqd, p.Topics, topic)
		}
		if p.Tombstones[i] != tombstoned {
			return fmt.Errorf("%s: /nodes: %s tombstoned for %s: %t, want %t", addr, nsqd, topic, p.Tombstones[i], tombstoned)
		}
	}
	return nil
}
