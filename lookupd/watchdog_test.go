package lookupd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// gaveUp waits until n says that it cannot go on, and why.
func (c *testCluster) gaveUp(n *testNode, limit time.Duration, want string) {
	c.t.Helper()
	select {
	case err := <-n.failed:
		if !strings.Contains(err.Error(), want) {
			c.t.Errorf("%s gave up: %v; want %q in it", n.id, err, want)
		}
	case <-time.After(limit):
		c.t.Errorf("%s has not given up within %v", n.id, limit)
	}
}

// hashicorp/raft#696, by the way that is open to an operator of Raft alone:
// transfers, again and again, to a server that is away.
func TestStuckTransferEndsTheProcess(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		others := c.followersOf(leader)
		away, follower := others[0], others[1]
		c.net.Isolate(away.id)
		c.must(follower.do(t.Context(), createTopic("ahead")))

		// This node does not take that way.
		time.Sleep(time.Second)
		if err := leader.transferLocally(t.Context(), away.id); err == nil || !strings.Contains(err.Error(), "answers") {
			t.Errorf("transfer to a server that is away: %v, want it refused", err)
		}
		c.must(follower.do(t.Context(), createTopic("writable")))

		for range 3 { // one is taken, one waits, one finds no room
			if err := leader.raft.LeadershipTransferToServer(away.self, raft.ServerAddress(away.address())).Error(); err == nil {
				t.Fatal("transferred leadership to a server that is away")
			}
			time.Sleep(10 * time.Millisecond) // Raft answers before it has tidied up
		}
		if _, err := follower.do(t.Context(), createTopic("refused")); err == nil {
			t.Fatal("the test is void: writes go on")
		}
		c.gaveUp(leader, 10*time.Second, "#696")
		if leader.raft.State() != raft.Leader {
			t.Error("the test is void: the leader has stepped down")
		}
		c.net.Heal() // or Raft's goroutines would stay for ever
		c.writable(leader)
		select {
		case <-leader.failed: // it has said so more than once
		default:
		}
	})
}

// A transfer that takes long but comes to an end is none of that.
func TestSlowTransferIsBorne(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		away := c.followersOf(leader)[0]
		c.net.Isolate(away.id)
		begun := time.Now()
		if err := leader.raft.LeadershipTransferToServer(away.self, raft.ServerAddress(away.address())).Error(); err == nil {
			t.Fatal("transferred leadership to a server that is away")
		}
		if _, err := leader.do(t.Context(), createTopic("too early")); err == nil {
			t.Fatal("the test is void: writes go on during the transfer")
		}
		c.writable(leader)
		t.Logf("writes went on %v after the transfer began", time.Since(begun))
		c.net.Heal()
	})
}

func TestTransferWatch(t *testing.T) {
	const limit = 3*150*time.Millisecond + 2*time.Second
	refused := fmt.Errorf("apply: %w", raft.ErrLeadershipTransferInProgress)
	type outcome struct {
		after time.Duration
		term  uint64
		err   error
	}
	tests := []struct {
		name     string
		outcomes []outcome
		want     bool
	}{
		{"one refusal", []outcome{{0, 1, refused}}, false},
		{"within the limit", []outcome{{0, 1, refused}, {limit, 1, refused}}, false},
		{"beyond the limit", []outcome{{0, 1, refused}, {limit + 1, 1, refused}}, true},
		{"a write between", []outcome{{0, 1, refused}, {limit / 2, 1, nil}, {limit, 1, refused}}, false},
		{"another error between", []outcome{{0, 1, refused}, {limit / 2, 1, raft.ErrNotLeader}, {limit, 1, refused}}, false},
		{"another term", []outcome{{0, 1, refused}, {time.Hour, 2, refused}}, false},
		{"another term, stuck", []outcome{{0, 1, refused}, {time.Hour, 2, refused}, {limit + 1, 2, refused}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newTransferWatch(150 * time.Millisecond)
			now := time.Now()
			got := false
			for _, o := range tt.outcomes {
				now = now.Add(o.after)
				got = w.note(o.err, o.term, now)
			}
			if got != tt.want {
				t.Errorf("stuck: %t, want %t", got, tt.want)
			}
		})
	}
}

// hashicorp/raft#697: a former leader whose log has a tail that nobody else has,
// and whose successor no longer has the entries to mend it with.
func TestEndlessSnapshotsEndTheProcess(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		old := c.leader()
		for i := range 3 {
			c.must(old.do(t.Context(), createTopic(fmt.Sprintf("before%d", i))))
		}
		c.net.Isolate(old.id)
		for range 50 { // the tail; it never is committed, so need not be decoded
			old.raft.Apply([]byte("lost"), time.Second)
		}
		c.kill(old.id)
		c.net.Heal()
		follower := c.followersOf(old)[0]
		for range 10 {
			c.writable(follower)
		}
		leader := c.leader()
		conf := raft.ReloadableConfig{SnapshotInterval: time.Hour, SnapshotThreshold: 1 << 20, HeartbeatTimeout: leader.opts.HeartbeatTimeout, ElectionTimeout: leader.opts.ElectionTimeout}
		if err := leader.raft.ReloadConfig(conf); err != nil {
			t.Fatal(err)
		}
		if err := leader.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		c.start(old.id)
		c.gaveUp(old, 10*time.Second, "#697")
		c.kill(old.id)

		// And what it says helps.
		c.wipe(old.id)
		c.start(old.id)
		c.eventually(20*time.Second, "%s is back", func() bool { return old.ready.Load() && old.View().Index() >= leader.View().Index() }, old.id)
	})
}

func TestInstallWatch(t *testing.T) {
	const applied = -1
	tests := []struct {
		name   string
		events []time.Duration // since the one before: an install, or applied
		want   bool
	}{
		{"three", []time.Duration{0, 1, 1}, false},
		{"four", []time.Duration{0, 1, 1, 1}, true},
		{"four in more than a minute", []time.Duration{0, 20 * time.Second, 20 * time.Second, 20*time.Second + 1}, false},
		{"four with an entry between", []time.Duration{0, 1, applied, 1, 1}, false},
		{"four after an entry", []time.Duration{0, applied, 1, 1, 1, 1}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w installWatch
			now := time.Now()
			got := false
			for _, e := range tt.events {
				if e == applied {
					w.applied()
					continue
				}
				now = now.Add(e)
				got = w.installing(now)
			}
			if got != tt.want {
				t.Errorf("looping: %t, want %t", got, tt.want)
			}
		})
	}
}
