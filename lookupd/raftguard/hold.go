package raftguard

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// holdSlice is how often a held request looks whether it still has a purpose,
// and so about what it adds to the time that Raft takes to shut down.
const holdSlice = 50 * time.Millisecond

// hold waits, when a request of the leader of term got no answer from the peer
// id, until the peer answers one again: heartbeats go on beside it, and Raft
// never waits longer than half a heartbeat time-out between two of those.
//
// Were the error returned at once, Raft would double its pause before the next
// request each time, up to 10 s, and a follower that comes back would stay
// without entries for as long, though its heartbeats are green. Returned when
// the peer is back, it costs the first pause, 10 ms, and the request is made
// anew from what the log is by then.
//
// It gives up when the transport is closed, when the term or the leadership is
// over, and when id has left the configuration: only then does Raft want its
// goroutine back. (A transfer of leadership also waits for that goroutine. So
// leadership must not be transferred to a peer that does not answer.)
func (t *Transport) hold(id raft.ServerID, term uint64) {
	answered := t.acks.nextAnswer(id)
	tick := time.NewTicker(holdSlice)
	defer tick.Stop()
	for t.replicates(id, term) {
		select {
		case <-answered:
			return
		case <-t.done:
			return
		case <-tick.C:
		}
	}
}

// replicates reports whether Raft leads term and wants the peer id to have its
// log.
func (t *Transport) replicates(id raft.ServerID, term uint64) bool {
	r := t.raft.Load()
	return r != nil && r.State() == raft.Leader && r.CurrentTerm() == term &&
		slices.ContainsFunc(r.GetConfiguration().Configuration().Servers, func(s raft.Server) bool { return s.ID == id })
}
