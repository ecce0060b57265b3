package lookupd

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// testDisk keeps a node's log in memory, and can hang or be slow.
type testDisk struct {
	*raft.InmemStore
	slow atomic.Int64                  // what each StoreLogs takes
	hung atomic.Pointer[chan struct{}] // closed when the disk goes on
}

// hang makes each StoreLogs wait until the returned function is called.
func (d *testDisk) hang() (resume func()) {
	hung := make(chan struct{})
	d.hung.Store(&hung)
	return func() { d.hung.Store(nil); close(hung) }
}

func (d *testDisk) StoreLogs(logs []*raft.Log) error {
	if hung := d.hung.Load(); hung != nil {
		<-*hung
	}
	time.Sleep(time.Duration(d.slow.Load()))
	return d.InmemStore.StoreLogs(logs)
}

func (d *testDisk) StoreLog(log *raft.Log) error { return d.StoreLogs([]*raft.Log{log}) }

// writable returns how long it takes until n gets a mutation committed.
func (c *testCluster) writable(n *testNode) time.Duration {
	c.t.Helper()
	begun := time.Now()
	c.eventually(time.Minute, "a mutation through %s is committed", func() bool {
		n.serial++
		_, err := n.do(c.t.Context(), createTopic(fmt.Sprintf("writable-%s-%d", n.id, n.serial)))
		return err == nil
	}, n.id)
	return time.Since(begun)
}

func TestLeaderWhoseDiskHangsIsSucceeded(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		old, follower := c.leader(), c.followers()[0]
		term := old.raft.CurrentTerm()
		hung := time.Now()
		resume := sync.OnceFunc(old.disk.hang())
		defer resume()
		took := c.writable(follower)
		t.Logf("committed again %v after the disk hung", took)
		if took > 1600*time.Millisecond {
			t.Errorf("committed again %v after the disk hung, want at most 1.6s", took)
		}

		// The old leader cannot know that it leads no more, but must not pretend.
		for time.Since(hung) < 10*time.Second {
			if old.raft.State() != raft.Leader || old.raft.CurrentTerm() != term {
				t.Fatal("the test is void: the old leader has noticed")
			}
			if f := old.Freshness(); f.LeaderKnown || f.Stale < time.Since(hung)-took {
				t.Fatalf("%v after its disk hung the old leader says %+v", time.Since(hung), f)
			}
			if _, err := old.Consistent(t.Context()); !errors.Is(err, errUnavailable) {
				t.Fatalf("the old leader answers a consistent read: %v", err)
			}
			if old.healthy() {
				t.Fatal("the old leader calls itself ready")
			}
		}
		resume()
		c.eventually(time.Second, "the old leader follows", func() bool {
			_, leader := old.raft.LeaderWithID()
			return old.raft.State() == raft.Follower && leader != "" && leader != old.self
		})
		c.must(old.do(t.Context(), createTopic("follows")))
		c.seen(time.Second, "follows", "")
	})
}

// A disk that hangs will do so again, and not wait for a minute.
func TestDiskThatHangsAgainMovesLeadershipAgain(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		old := c.leader()
		lead := func() {
			c.eventually(5*time.Second, "%s leads again", func() bool {
				c.leader().transfer(t.Context(), old.id)
				return c.leader() == old
			}, old.id)
		}
		for i, tt := range []struct{ pause, limit time.Duration }{
			{0, 1600 * time.Millisecond},
			{10 * time.Second, 2500 * time.Millisecond},
			{2 * time.Minute, 1600 * time.Millisecond},
		} {
			time.Sleep(tt.pause)
			lead()
			resume := sync.OnceFunc(old.disk.hang())
			took := c.writable(c.followersOf(old)[0])
			if took > tt.limit {
				t.Errorf("hang %d, %v after the one before: committed again after %v, want at most %v", i+1, tt.pause, took, tt.limit)
			}
			resume()
		}
	})
}

// registering has an nsqd on each node register something new every 50 ms for a time,
// and returns what the slowest of those took that began after settled.
func (c *testCluster) registering(lasts, settled time.Duration) (slowest time.Duration) {
	c.t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	begun := time.Now()
	for _, id := range c.ids {
		wg.Go(func() {
			n := c.nodes[id]
			for ; time.Since(begun) < lasts; time.Sleep(50 * time.Millisecond) {
				mu.Lock()
				n.serial++
				topic := fmt.Sprintf("topic-%s-%d", id, n.serial)
				mu.Unlock()
				call := time.Now()
				n.do(c.t.Context(), createTopic(topic))
				mu.Lock()
				if call.Sub(begun) > settled {
					slowest = max(slowest, time.Since(call))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return slowest
}

func TestLeaderWithASlowDiskLeavesLeadershipToAFasterOne(t *testing.T) {
	const handed = "handing leadership to a faster one"
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		old := c.leader()
		old.disk.slow.Store(int64(200 * time.Millisecond))
		if took := c.registering(20*time.Second, 2*time.Second); took > 250*time.Millisecond {
			t.Errorf("with a fast leader to be had, after 2s a command took %v, want at most 250ms", took)
		}
		next := c.leader()
		if next == old {
			t.Fatal("the leader with the slow disk still leads")
		}
		// If the disks of all are, nobody is better off.
		for _, n := range c.nodes {
			n.disk.slow.Store(int64(200 * time.Millisecond))
		}
		time.Sleep(yieldPause)
		c.registering(2*time.Minute, 0)
		if got := c.heard.count(handed); got != 1 {
			t.Errorf("leadership was handed on for a slow disk %d times, want once", got)
		}
	})
}

// A crash is noticed by the fast path; what looks like one to all but the
// kernel is left to the heartbeat time-outs.
func TestLeaderGone(t *testing.T) {
	tests := []struct {
		name string
		gone func(c *testCluster, leader *testNode) (ended func())
		fast bool
	}{
		{"its process is killed", func(c *testCluster, leader *testNode) func() { return c.crash(leader.id) }, true},
		{"its host is cut off", func(c *testCluster, leader *testNode) func() {
			c.net.Isolate(leader.id)
			return func() {}
		}, false},
		{"its process is killed and its host drops packets", func(c *testCluster, leader *testNode) func() {
			ended := c.crash(leader.id)
			c.net.Isolate(leader.id)
			return ended
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inCluster(t, 3, func(t *testing.T, c *testCluster) {
				leader := c.leader()
				term := leader.raft.CurrentTerm()
				ended := tt.gone(c, leader)
				took := c.writable(c.followersOf(leader)[0])
				ended()
				t.Logf("committed again after %v", took)
				switch {
				case tt.fast && took > 50*time.Millisecond:
					t.Errorf("committed again after %v, want at most 50ms", took)
				case !tt.fast && took < 150*time.Millisecond:
					t.Errorf("committed again after %v, before anybody can have missed a heartbeat", took)
				}
				c.net.Heal()
				if next := c.leader().raft.CurrentTerm(); tt.fast && next != term+1 {
					t.Errorf("the next leader is of term %d, want %d: one election", next, term+1)
				}
			})
		})
	}
}

// Both followers see the crash at once, and neither the first nor the second may
// get in the other's way, whoever has more of the log.
func TestFollowersDoNotFightForSuccession(t *testing.T) {
	for round := range 20 {
		inCluster(t, 3, func(t *testing.T, c *testCluster) {
			leader := c.leader()
			term := leader.raft.CurrentTerm()
			behind := c.followersOf(leader)[round%2]
			if round >= 10 {
				c.net.Cut(leader.id, behind.id)
				c.must(leader.do(t.Context(), createTopic("ahead")))
			}
			ended := c.crash(leader.id)
			c.net.Heal()
			took := c.writable(behind)
			ended()
			if took > 100*time.Millisecond {
				t.Errorf("round %d: committed again after %v, want at most 100ms", round, took)
			}
			if next := c.leader().raft.CurrentTerm(); next != term+1 {
				t.Errorf("round %d: the next leader is of term %d, want %d: one election", round, next, term+1)
			}
		})
	}
}

func TestLeaderThatRestartsQuicklyIsSucceededOnce(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		term := leader.raft.CurrentTerm()
		c.kill(leader.id)
		c.start(leader.id)
		c.eventually(5*time.Second, "%s is ready", func() bool { return leader.ready.Load() }, leader.id)
		time.Sleep(5 * time.Second)
		if next := c.leader().raft.CurrentTerm(); next != term+1 {
			t.Errorf("5s after the restart the term is %d, want %d: one election", next, term+1)
		}
	})
}

func TestLostConnectionsAloneElectNobody(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		term := leader.raft.CurrentTerm()
		for range 20 {
			for _, n := range c.followersOf(leader) {
				n.peers.reset(leader.self)
				n.port.lost <- string(leader.self)
			}
			leader.transport.CloseStreams() // the followers see Raft's connections end
			time.Sleep(100 * time.Millisecond)
		}
		if c.leader() != leader || leader.raft.CurrentTerm() != term {
			t.Errorf("%s leads term %d, want %s to lead term %d still", c.leader().id, c.leader().raft.CurrentTerm(), leader.id, term)
		}
	})
}

func TestLagOfAFollowerIsTold(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		away := c.followersOf(leader)[0]
		lag := func() uint64 { return leader.raftStats().FollowerLag[away.id] }
		time.Sleep(time.Second) // what forming the cluster wrote has arrived
		c.net.Isolate(away.id)
		for i := range 20 {
			c.must(leader.do(t.Context(), createTopic(fmt.Sprintf("topic%d", i))))
		}
		if got := lag(); got != 20 {
			t.Errorf("20 entries behind, the leader tells a lag of %d", got)
		}
		c.net.Heal()
		c.eventually(time.Second, "no lag", func() bool { return lag() == 0 })
	})
}
