package lookupd

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

const heldBack = "leaving the election to the others"

// losesLease cuts the leader off until it has given up, and no longer.
func (c *testCluster) losesLease(leader *testNode) {
	c.t.Helper()
	c.net.Isolate(leader.id)
	c.eventually(time.Second, "%s gives up", func() bool { return leader.raft.State() != raft.Leader }, leader.id)
	c.net.Heal()
}

// A link that loses packets does this every few seconds, and to nobody else.
func TestLeaderThatLostItsLeaseIsFollowedByAnother(t *testing.T) {
	for _, timing := range []string{"lan", "wan"} {
		t.Run(timing, func(t *testing.T) {
			c := newTestCluster(t, 3)
			c.tweak = func(o *Options) { o.RaftTiming = timing }
			c.inBubble(func() {
				for _, id := range c.ids {
					c.start(id)
				}
				for round := 1; round <= 8; round++ {
					c.leaseRound(round)
				}
			})
		})
	}
}

func (c *testCluster) leaseRound(round int) {
	c.t.Helper()
	old, said := c.leader(), c.heard.count(heldBack)
	time.Sleep(5 * time.Second)
	c.losesLease(old)
	begun := time.Now()
	next := c.leader()
	took := time.Since(begun)
	c.t.Logf("round %d: %s after %s, in %v", round, next.id, old.id, took)
	if next == old {
		c.t.Errorf("round %d: %s leads again", round, old.id)
	}
	if limit := 2 * old.holdBackPause(); took > limit {
		c.t.Errorf("round %d: a new leader took %v, want at most %v", round, took, limit)
	}
	if got := c.heard.count(heldBack); got != said+1 {
		c.t.Errorf("round %d: %d times it was said that a node holds back, want 1", round, got-said)
	}
	// Should the next one die now, it may be needed.
	c.eventually(100*time.Millisecond, "%s, which has a leader, holds back no more", func() bool { return !old.holdsBack() }, old.id)
}

// holdsBack reports whether the node would not even ask a server that is not there.
func (n *testNode) holdsBack() bool {
	return n.transport.RequestPreVote("nobody", "nobody:4162", &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{}) == nil
}

func TestLeaderThatIsNeededStandsAgain(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.kill(c.followers()[0].id)
		again := 0
		for round := 1; round <= 8; round++ {
			old := c.leader()
			time.Sleep(5 * time.Second) // until a moment ago the dead one was heard
			c.losesLease(old)
			begun := time.Now()
			if c.leader() == old {
				again++
			}
			// Or the other has, which may notice first.
			if took, limit := time.Since(begun), 2*old.holdBackPause(); took > limit {
				t.Errorf("round %d: no leader for %v, want at most %v", round, took, limit)
			}
		}
		if again == 0 {
			t.Error("in no round was the old leader elected again")
		}
		if got := c.heard.count(heldBack); got > 0 {
			t.Errorf("held back %d times with one node of three dead", got)
		}
	})
}

func TestLeadershipThatEndsOtherwiseHoldsNobodyBack(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		for range 5 {
			leader := c.leader()
			time.Sleep(time.Second)
			if err := leader.transfer(t.Context(), c.followersOf(leader)[0].id); err != nil {
				t.Fatal(err)
			}
			c.eventually(time.Second, "%s follows", func() bool { return leader.raft.State() == raft.Follower }, leader.id)
		}
		c.stop(c.leader().id)
		leader := c.leader()
		time.Sleep(time.Second)
		leader.holdBack(leader.raft.CurrentTerm()) // as after a write that failed
		if got := c.heard.count(heldBack); got > 0 {
			t.Errorf("held back %d times after transfers, a stop and a failed write", got)
		}
	})
}

func TestLeaderOfATermThatIsOverDoesNotHoldBack(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		old := c.leader()
		time.Sleep(time.Second)
		term := old.raft.CurrentTerm()
		if err := old.transfer(t.Context(), c.followersOf(old)[0].id); err != nil {
			t.Fatal(err)
		}
		c.leader()
		time.Sleep(time.Second)
		old.holdBack(term) // as if it had slept through its succession
		if got := c.heard.count(heldBack); got > 0 || old.holdsBack() {
			t.Errorf("held back %d times, and holds back: %t", got, old.holdsBack())
		}
	})
}
