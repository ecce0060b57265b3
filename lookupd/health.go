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
	fresh := n.Freshness()
	known, behind := fresh.LeaderKnown, fresh.Stale
	return []check{
		{"running", failing(n.stopping.Load(), "this node is stopping")},
		{"member", failing(!n.isMember(), "this node is not part of a cluster")},
		{"leader", failing(!known, "no leader is known")},
		{"caught-up", failing(!n.ready.Load() || behind < 0 || behind > readyStale, "the registry is not as far as the leader's")},
	}
}

// readyStale is how stale a copy may be before others are preferred to it.
const readyStale = 5 * time.Second

// healthy reports whether all that Health checks holds.
func (n *node) healthy() bool {
	for _, c := range n.Health() {
		if c.err != nil {
			return false
		}
	}
	return true
}

// liveVoters returns how many voters, this leader included, it has just heard.
func (n *node) liveVoters() int {
	live := 0
	for _, s := range n.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		contact, ok := n.transport.Contact(s.ID)
		if s.ID == n.self || ok && time.Since(contact.At) < recentContact {
			live++
		}
	}
	return live
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
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter {
			st.Voters++
		}
		if contact, ok := n.transport.Contact(s.ID); ok && st.IsLeader {
			st.FollowerLag[nodeOf(s.ID)] = st.LastLogIndex - min(st.LastLogIndex, contact.LastLog)
		}
	}
	live := 0 // as the leader counts them; a follower hears of nobody else
	switch {
	case st.IsLeader:
		live = n.liveVoters()
	case f.LeaderKnown:
		live = int(n.toldLive.Load())
	}
	st.FailureTolerance = max(-1, live-(st.Voters/2+1))
	return st
}
