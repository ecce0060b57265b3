package lookupd

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// Health implements health: what must hold before a load balancer sends
// requests here. Lookups are answered under weaker conditions, see becomeReady.
func (n *node) Health() []check {
	failing := func(bad bool, text string) error {
		if bad {
			return errors.New(text)
		}
		return nil
	}
	known, _ := n.knownLeader()
	return []check{
		{"running", failing(n.stopping.Load(), "this node is stopping")},
		{"member", failing(!n.isMember(), "this node is not part of a cluster")},
		{"leader", failing(!known, "no leader is known")},
		{"caught-up", failing(!n.ready.Load(), "the registry is not as far as the leader's")},
	}
}

// raftStats is what /metrics tells of Raft.
func (n *node) raftStats() raftStats {
	f := n.Freshness()
	st := raftStats{
		HasLeader: f.LeaderKnown, IsLeader: n.raft.State() == raft.Leader,
		Term: n.raft.CurrentTerm(), CommitIndex: n.raft.CommitIndex(), AppliedIndex: n.View().Index(), LastLogIndex: n.raft.LastIndex(),
		LastContact: f.LastContact, LeaderChanges: n.leaderChanges.Load(),
		FollowerLag: make(map[string]uint64),
	}
	live := 0
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter {
			st.Voters++
		}
		contact, ok := n.transport.Contact(s.ID)
		switch {
		case s.ID == n.self:
			live++
		case st.IsLeader && ok:
			if s.Suffrage == raft.Voter && time.Since(contact.At) < recentContact {
				live++
			}
			st.FollowerLag[nodeOf(s.ID)] = st.LastLogIndex - min(st.LastLogIndex, contact.LastLog)
		}
	}
	if !st.IsLeader && f.LeaderKnown {
		// A follower hears of nobody but the leader, which leads only with a
		// majority: that much is certain.
		live = max(live, st.Voters/2+1)
	}
	st.FailureTolerance = max(-1, live-(st.Voters/2+1))
	return st
}
