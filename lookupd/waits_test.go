package lookupd

import (
	"testing"
	"time"

	"nsqraft/fsm"
)

// orphan has owner's nsqd registered and then its sessions orphaned, by a new
// process of it that knows nothing of the nsqd.
func (c *testCluster) orphan(owner *testNode) (since time.Time) {
	c.t.Helper()
	c.register(c.connect(owner, "nsqd"), "orders", "")
	c.seen(time.Second, "orders", "nsqd")
	since = time.Now()
	c.restart(owner.id)
	return since
}

// restart kills a node and starts it again.
func (c *testCluster) restart(id string) {
	c.t.Helper()
	c.kill(id)
	c.start(id)
	c.eventually(10*time.Second, "%s is ready again", func() bool { return c.nodes[id].ready.Load() }, id)
}

// staysListed waits until a time, and has every live node list the nsqd meanwhile.
func (c *testCluster) staysListed(until time.Time) {
	c.t.Helper()
	for begun := time.Now(); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		for _, id := range c.ids {
			if n := c.nodes[id]; n.up && n.ready.Load() && n.producers("orders") != "nsqd" {
				c.t.Fatalf("%s lists %q %v before its time", id, n.producers("orders"), until.Sub(begun))
			}
		}
	}
}

func TestGraceGoesOnUnderTheNextLeader(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(c *testCluster, leader *testNode)
	}{
		{"transferred", func(c *testCluster, leader *testNode) {
			if err := leader.transferLocally(c.t.Context(), ""); err != nil {
				c.t.Fatal(err)
			}
		}},
		{"killed", func(c *testCluster, leader *testNode) { c.restart(leader.id) }},
		{"cut off", func(c *testCluster, leader *testNode) {
			c.net.Isolate(leader.id)
			time.Sleep(2 * time.Second)
			c.net.Heal()
		}},
		{"two of three killed", func(c *testCluster, leader *testNode) {
			other := c.followersOf(leader)[0]
			c.kill(other.id)
			c.kill(leader.id)
			c.start(other.id)
			c.restart(leader.id)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inCluster(t, 3, func(t *testing.T, c *testCluster) {
				owner := c.followers()[0]
				since := c.orphan(owner)
				changes := 0
				for ; time.Since(since) < 40*time.Second; changes++ {
					c.staysListed(time.Now().Add(8 * time.Second))
					tt.change(c, c.leader())
				}
				c.staysListed(since.Add(44 * time.Second))
				// Without a leader no time passes.
				c.seen(time.Until(since.Add(47*time.Second))+time.Duration(changes)*time.Second, "orders", "")
			})
		})
	}
}

func TestGraceDoesNotPassWithoutALeader(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		since := c.orphan(c.followers()[0])
		c.staysListed(since.Add(30 * time.Second))
		for _, id := range c.ids {
			c.net.Isolate(id)
		}
		c.staysListed(time.Now().Add(10 * time.Minute))
		c.net.Heal()
		c.leader()
		since = time.Now()
		c.staysListed(since.Add(14 * time.Second))
		c.seen(time.Until(since.Add(19*time.Second)), "orders", "")
	})
}

func TestLifeOrphanedAgainHasAllOfItsGrace(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		owner := c.followers()[0]
		c.register(c.connect(owner, "nsqd"), "orders", "")
		c.seen(time.Second, "orders", "nsqd")
		orphaned := func() bool { return c.leader().life(owner.id).Orphaned }
		cutOff := func() time.Time {
			c.net.Isolate(owner.id)
			since := time.Now()
			c.eventually(5*time.Second, "orphaned", orphaned)
			time.Sleep(time.Second) // the others hear of it
			if err := c.leader().transferLocally(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			return since
		}
		c.staysListed(cutOff().Add(40 * time.Second))
		c.net.Heal()
		c.eventually(rejoin, "reclaimed", func() bool { return !orphaned() })
		since := cutOff()
		for time.Since(since) < 44*time.Second {
			if got := c.leader().producers("orders"); got != "nsqd" {
				t.Fatalf("%q listed %v after it was cut off again", got, time.Since(since))
			}
			time.Sleep(100 * time.Millisecond)
		}
		c.eventually(time.Until(since.Add(48*time.Second)), "gone", func() bool { return c.leader().producers("orders") == "" })
	})
}

func TestNodeThatOnlyTheNextLeaderHearsIsReclaimed(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader, owner := c.leader(), c.followers()[0]
		c.register(c.connect(owner, "nsqd"), "orders", "")
		c.seen(time.Second, "orders", "nsqd")
		c.net.Cut(leader.id, owner.id)
		c.staysListed(time.Now().Add(44 * time.Second))
		c.net.Isolate(leader.id)
		c.eventually(5*time.Second, "another leader has reclaimed it", func() bool {
			next := c.leader()
			return next != leader && !next.life(owner.id).Orphaned
		})
		c.staysListed(time.Now().Add(2 * time.Minute))
	})
}

func TestWaitsOfTheSameOrphaningOnlyGrow(t *testing.T) {
	orphan := func(at uint64) fsm.Life { return fsm.Life{Node: "n3", Epoch: 1, Orphaned: true, OrphanedAt: at} }
	var leader, follower waits
	now := time.Now()
	leader.count(now)
	leader.waited(orphan(10), 3*time.Second)
	now = now.Add(500 * time.Millisecond)
	leader.pass(now)
	now = now.Add(300 * time.Millisecond)
	follower.replace(leader.tell(now), now)
	if got, want := follower.waited(orphan(10), 0), 3800*time.Millisecond; got != want {
		t.Errorf("the next leader goes on from %v, want %v", got, want)
	}
	leader.hear(follower.tell(now), now)
	now = now.Add(200 * time.Millisecond)
	leader.pass(now)
	if got, want := leader.waited(orphan(10), 0), 4*time.Second; got != want {
		t.Errorf("a leader that hears its own word goes on from %v, want %v", got, want)
	}
	var forgetful waits // a node that has just started
	forgetful.waited(orphan(10), time.Second)
	forgetful.hear(follower.tell(now), now)
	if got, want := forgetful.waited(orphan(10), 0), 3800*time.Millisecond; got != want {
		t.Errorf("a leader that has just started is told %v, want %v", got, want)
	}
	if got, want := forgetful.waited(orphan(20), time.Second), time.Second; got != want {
		t.Errorf("orphaned again: %v, want %v", got, want)
	}
	forgetful.hear(follower.tell(now), now)
	if got, want := forgetful.waited(orphan(20), 0), time.Second; got != want {
		t.Errorf("who remembers an earlier orphaning changes that to %v, want %v", got, want)
	}
	leader.count(now.Add(time.Minute)) // it was stopped for so long
	leader.pass(now.Add(time.Minute + time.Second))
	if got, want := leader.waited(orphan(10), 0), 5*time.Second; got != want {
		t.Errorf("after a minute that nobody counted: %v, want %v", got, want)
	}
}
