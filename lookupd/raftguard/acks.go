package raftguard

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// ackClock knows, for each peer, which of the requests that were sent to it as
// leader it has answered. Raft's VerifyLeader does not do: an answer to a
// heartbeat sent before the call satisfies it.
type ackClock struct {
	mu    sync.Mutex // a leaf
	peers map[raft.ServerID]*peer
	moved chan struct{} // closed at the next answer; nil while nobody waits
}

// peer is guarded by its clock's mu.
type peer struct {
	// The newest term in which the peer has accepted this leader, and when the
	// newest request was sent that it accepted in that term.
	term  uint64
	acked time.Time

	sent    time.Time // when the request was sent whose answer said contact.LastLog
	contact Contact

	answered chan struct{} // closed at the next answer; nil while nobody waits
}

// Contact is what a leader has last heard from a peer.
type Contact struct {
	At      time.Time // when the newest answer came
	LastLog uint64    // the peer's last log index just before it handled that request
}

func (c *ackClock) record(id raft.ServerID, term uint64, sent time.Time, resp *raft.AppendEntriesResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peerLocked(id)
	if p.answered != nil {
		close(p.answered)
		p.answered = nil
	}

	// Heartbeats and replication run side by side, and those of the last
	// leadership may still be coming to an end: answers come in any order.
	p.contact.At = time.Now()
	if !sent.Before(p.sent) {
		p.sent, p.contact.LastLog = sent, resp.LastLog
	}
	if !resp.Success || resp.Term != term || term < p.term {
		return
	}
	if term > p.term || sent.After(p.acked) {
		p.term, p.acked = term, sent
	}
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

func (c *ackClock) peerLocked(id raft.ServerID) *peer {
	p := c.peers[id]
	if p == nil {
		p = new(peer)
		c.peers[id] = p
	}
	return p
}

// nextAnswer returns a channel that the next answer of the peer id closes.
func (c *ackClock) nextAnswer(id raft.ServerID) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peerLocked(id)
	if p.answered == nil {
		p.answered = make(chan struct{})
	}
	return p.answered
}

func (c *ackClock) ackedLocked(term uint64, id raft.ServerID) time.Time {
	if p := c.peers[id]; p != nil && p.term == term {
		return p.acked
	}
	return time.Time{}
}

// majorityLocked counts self's answer as given now.
func (c *ackClock) majorityLocked(term uint64, voters []raft.ServerID, self raft.ServerID) time.Time {
	acked := make([]time.Time, 0, len(voters))
	for _, id := range voters {
		if id == self {
			acked = append(acked, time.Now())
		} else {
			acked = append(acked, c.ackedLocked(term, id))
		}
	}
	if len(acked) == 0 {
		return time.Time{}
	}
	slices.SortFunc(acked, func(a, b time.Time) int { return b.Compare(a) })
	return acked[len(acked)/2]
}

// Contact returns what was last heard from the peer id in answer to an
// AppendEntries of any term, successful or not; ok is false if nothing ever was.
func (t *Transport) Contact(id raft.ServerID) (contact Contact, ok bool) {
	t.acks.mu.Lock()
	defer t.acks.mu.Unlock()
	p := t.acks.peers[id]
	if p == nil || p.contact.At.IsZero() {
		return Contact{}, false
	}
	return p.contact, true
}

// Acked returns when the newest request was sent that the peer id has accepted
// from this server as the leader of term; zero if it has accepted none, or has
// accepted one of a later term since. At that time or after, the peer had
// not yet heard of a later term.
func (t *Transport) Acked(term uint64, id raft.ServerID) time.Time {
	t.acks.mu.Lock()
	defer t.acks.mu.Unlock()
	return t.acks.ackedLocked(term, id)
}

// MajorityAcked returns the newest time such that a majority of voters has
// accepted, from this server as the leader of term, something sent at that time
// or after; zero if no majority has. This server, if among voters, counts as
// having answered just now.
//
// No leader of a later term had been elected by that time.
func (t *Transport) MajorityAcked(term uint64, voters []raft.ServerID) time.Time {
	t.acks.mu.Lock()
	defer t.acks.mu.Unlock()
	return t.acks.majorityLocked(term, voters, t.self)
}

// WaitAcked waits until MajorityAcked is not before since, a time.Now of this
// process. If ctx ends first its cause is in the error. It sends nothing: the
// next heartbeats do, and raft.VerifyLeader makes them come at once.
func (t *Transport) WaitAcked(ctx context.Context, term uint64, since time.Time, voters []raft.ServerID) error {
	c := &t.acks
	for {
		c.mu.Lock()
		at := c.majorityLocked(term, voters, t.self)
		if !at.IsZero() && !at.Before(since) {
			c.mu.Unlock()
			return nil
		}
		if c.moved == nil {
			c.moved = make(chan struct{})
		}
		moved := c.moved
		c.mu.Unlock()

		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for a majority to acknowledge the leader of term %d: %w", term, context.Cause(ctx))
		}
	}
}
