package lookupd

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// A leader whose process has died is succeeded in about 10 ms, rather than
// after the heartbeat time-outs of all followers. Its kernel tells: it ends the
// connections, and refuses new ones. A host that has died or is cut off tells
// nothing, a process that is stopped or starved still has a kernel that accepts,
// and one lost connection means nothing: then it is for the time-outs.

const (
	// A dying process may accept a moment longer than its first connection lives.
	// So the leader's port is tried for about 90 ms, and must refuse twice running.
	crashProbes   = 30
	crashRefusals = 2
	probePause    = 3 * time.Millisecond

	// rankPause parts the followers that have seen the same crash: the most
	// advanced stands first, the next only if nothing came of it.
	rankPause = 30 * time.Millisecond
	// rankTimeout bounds the question how far the others are.
	rankTimeout = 20 * time.Millisecond
	// campaignTimeout bounds how long Raft may be busy otherwise: what was true
	// of the leader may have changed after it.
	campaignTimeout = 20 * time.Millisecond
)

// leadership is one server's leading of one term.
type leadership struct {
	id   raft.ServerID
	addr raft.ServerAddress
	term uint64
}

// following returns whom this node follows. ok is false if it follows nobody, or
// could not succeed anybody.
func (n *node) following() (l leadership, ok bool) {
	l.term = n.raft.CurrentTerm()
	l.addr, l.id = n.raft.LeaderWithID()
	votes := slices.Contains(n.voterIDs(), n.self)
	// Raft forgets the leader before it moves to another term: if the term is
	// the same afterwards, the leader was of that term.
	ok = l.id != "" && l.id != n.self && n.raft.CurrentTerm() == l.term &&
		n.raft.State() == raft.Follower && votes && !n.stopping.Load()
	return l, ok
}

// succeed makes this node stand for election when the leader's process has
// died, once for each leader and term.
//
// That the end of a connection was the leader's is only its own word. A lie
// costs a few dials: it is the refusal that decides.
func (n *node) succeed(ctx context.Context) {
	var stoodAgainst leadership
	for {
		select {
		case id := <-n.port.lost:
			l, ok := n.following()
			if !ok || string(l.id) != id || l == stoodAgainst {
				continue
			}
			for len(n.port.lost) > 0 {
				<-n.port.lost // what is found out now answers for these as well
			}
			if !n.crashed(ctx, l.addr) {
				continue
			}
			sleep(ctx, time.Duration(n.rank(ctx, l.id))*rankPause)
			if now, ok := n.following(); !ok || now != l || ctx.Err() != nil {
				continue
			}
			stoodAgainst = l
			n.log.Warn("the leader's process is gone; standing for election", "leader", nodeOf(l.id), "term", l.term)
			campaign, cancel := context.WithTimeout(ctx, campaignTimeout)
			if err := n.transport.Campaign(campaign); err != nil {
				n.log.Debug("not standing for election", "err", err)
			}
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

// crashed reports whether nobody listens at addr any more, by the word of the
// kernel there. It does not wait longer than it takes to miss the heartbeats.
func (n *node) crashed(ctx context.Context, addr raft.ServerAddress) bool {
	ctx, cancel := context.WithTimeout(ctx, n.opts.HeartbeatTimeout)
	defer cancel()
	refusals := 0
	for range crashProbes {
		conn, err := n.port.dial(ctx, string(addr))
		switch {
		case ctx.Err() != nil:
			return false // also if one of several addresses has refused
		case errors.Is(err, syscall.ECONNREFUSED):
			refusals++
		default:
			refusals = 0
		}
		if conn != nil {
			conn.Close()
		}
		if refusals == crashRefusals {
			return true
		}
		sleep(ctx, probePause)
	}
	return false
}

// rank returns how many voters, but for the leader that is gone, should stand for
// election before this one: those with more of the log, and of equals those
// with the lesser id. Who does not answer is taken for an equal.
func (n *node) rank(ctx context.Context, gone raft.ServerID) int {
	ctx, cancel := context.WithTimeout(ctx, rankTimeout)
	defer cancel()
	before := make(chan bool)
	asked, own := 0, n.raft.LastIndex()
	for _, s := range n.servers() {
		if s.Suffrage != raft.Voter || s.ID == n.self || s.ID == gone {
			continue
		}
		asked++
		go func() {
			last := own
			if st, err := n.askStatus(ctx, string(s.Address)); err == nil {
				last = st.LastLogIndex
			}
			before <- last > own || last == own && s.ID < n.self
		}()
	}
	rank := 0
	for range asked {
		if <-before {
			rank++
		}
	}
	return rank
}
