package lookupd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"nsqraft/fsm"
	"nsqraft/internal/defect"
	"nsqraft/lookupd/peerpb"
)

const (
	// ownWritesWait bounds how long a read waits for this node's copy to show
	// what this node has acknowledged. A healthy copy is there in 10 ms; one
	// that is cut off must go on answering.
	ownWritesWait = 250 * time.Millisecond
	// consistentWait bounds a linearizable read: 503 within 1 s.
	consistentWait = 800 * time.Millisecond
)

// Readable implements registry.
func (n *node) Readable(ctx context.Context) (*fsm.View, error) {
	if !n.ready.Load() && !(defect.Seeded && defect.On(defect.ServeUnready)) {
		return nil, errNotReady
	}
	acked := n.writer.acked.Load()
	if v := n.View(); v.Index() >= acked {
		return v, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ownWritesWait)
	defer cancel()
	n.awaitIndex(ctx, acked)
	return n.View(), nil
}

// awaitIndex waits until the copy has reached index.
func (n *node) awaitIndex(ctx context.Context, index uint64) error {
	for {
		moved := n.applied.wait()
		if n.View().Index() >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Changed implements registry.
func (n *node) Changed(v *fsm.View) <-chan struct{} {
	moved := n.applied.wait()
	if n.View() != v {
		return closedChannel
	}
	return moved
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Consistent implements registry.
func (n *node) Consistent(ctx context.Context) (*fsm.View, error) {
	if defect.Seeded && defect.On(defect.ReadOwnCopy) {
		return n.View(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, consistentWait)
	defer cancel()
	index, err := n.readIndex(ctx)
	if err == nil {
		err = n.awaitIndex(ctx, index)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: consistent read: %w", errUnavailable, err)
	}
	return n.View(), nil
}

// readIndex asks whoever leads, until ctx ends, for an index that covers all
// that was acknowledged before the call.
func (n *node) readIndex(ctx context.Context) (uint64, error) {
	for {
		known, changed := n.knownLeader()
		if known {
			index, err := n.readIndexOnce(ctx)
			if err == nil {
				return index, nil
			}
			if ctx.Err() != nil {
				return 0, err
			}
			sleep(ctx, retryPause)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (n *node) readIndexOnce(ctx context.Context) (uint64, error) {
	if n.raft.State() == raft.Leader {
		return n.reads.do(ctx, n.confirmRead)
	}
	addr, id := n.raft.LeaderWithID()
	if id == "" || id == n.self {
		return 0, errNotLeader
	}
	ctx, cancel := context.WithTimeout(ctx, consistentWait/2)
	defer cancel()
	client, err := n.peers.client(id, addr)
	if err != nil {
		return 0, err
	}
	resp, err := client.ReadIndex(ctx, &peerpb.ReadIndexRequest{})
	if err != nil {
		return 0, err
	}
	return resp.Index, nil
}

// confirmRead is the leader's half of a linearizable read. What was
// acknowledged before the call is at or below its commit index, provided that
//   - an entry of its own term has been applied: a new leader's commit index
//     may still lag behind what its predecessor acknowledged;
//   - it was still the leader after the index was read: a majority must have
//     answered something that was sent later. raft.VerifyLeader alone is content
//     with the answer to an earlier heartbeat; here it only makes the next one
//     come at once.
func (n *node) confirmRead(ctx context.Context) (uint64, error) {
	if defect.Seeded && defect.On(defect.ReadUnverified) {
		return n.raft.CommitIndex(), nil
	}
	term := n.raft.CurrentTerm()
	if n.readTerm.Load() != term {
		return 0, fmt.Errorf("%w: no entry of term %d applied yet", errNotLeader, term)
	}
	index, since := n.raft.CommitIndex(), time.Now()
	if err := n.confirmLeadership(ctx, term, since); err != nil {
		return 0, err
	}
	return index, nil
}

// confirmLeadership returns nil if this node led term at some time after since.
func (n *node) confirmLeadership(ctx context.Context, term uint64, since time.Time) error {
	n.raft.VerifyLeader()
	if err := n.transport.WaitAcked(ctx, term, since, n.voterIDs()); err != nil {
		return err
	}
	if n.raft.CurrentTerm() != term || n.raft.State() != raft.Leader {
		return errNotLeader
	}
	return nil
}

// readRounds lets one round of confirmation serve all reads that were waiting
// when it began.
type readRounds struct {
	mu      sync.Mutex
	running *readRound // its index may have been read already: too early to join
	next    *readRound // begins when running ends
}

type readRound struct {
	done  chan struct{}
	index uint64
	err   error
}

// do returns what a call of confirm gives that began after do was called.
func (r *readRounds) do(ctx context.Context, confirm func(context.Context) (uint64, error)) (uint64, error) {
	r.mu.Lock()
	round := r.next
	if round == nil {
		round = &readRound{done: make(chan struct{})}
		r.next = round
		if r.running == nil {
			r.startLocked(confirm)
		}
	}
	r.mu.Unlock()
	select {
	case <-round.done:
		return round.index, round.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// startLocked makes next the running round. The goroutine ends by itself
// within consistentWait/2, and starts the one after it.
func (r *readRounds) startLocked(confirm func(context.Context) (uint64, error)) {
	round := r.next
	r.running, r.next = round, nil
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), consistentWait/2)
		defer cancel()
		round.index, round.err = confirm(ctx)
		close(round.done)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.running = nil
		if r.next != nil {
			r.startLocked(confirm)
		}
	}()
}

// freshnessClock knows up to when the local copy shows everything. A member
// asks the leader "how far are you?" at a time t of its own clock; once its
// copy has applied that far it is as fresh as t, less the time for which the
// leader itself was not sure of leading. No clocks are compared, no delay of
// the network is guessed, and the answer errs only to the safe side. Raft's
// LastContact would not do: heartbeats carry no commit index.
type freshnessClock struct {
	mu        sync.Mutex
	confirmed time.Time    // the copy shows all up to here
	probes    []freshProbe // answered, copy not there yet; oldest first
}

type freshProbe struct {
	at    time.Time
	index uint64
}

// maxProbes bounds what is remembered while the copy lags; the oldest are the
// ones that it will reach.
const maxProbes = 64

// answered notes a probe of a copy that is at index have now.
func (c *freshnessClock) answered(at time.Time, index, have uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked(have) // nobody may be reading
	if len(c.probes) < maxProbes {
		c.probes = append(c.probes, freshProbe{at, index})
	}
}

// upTo returns the time up to which a copy at index shows everything; zero if
// that is not known.
func (c *freshnessClock) upTo(index uint64) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked(index)
	return c.confirmed
}

// settleLocked takes the probes off that a copy at index has reached.
func (c *freshnessClock) settleLocked(index uint64) {
	reached := 0
	for _, p := range c.probes {
		if p.index > index {
			break
		}
		if p.at.After(c.confirmed) {
			c.confirmed = p.at
		}
		reached++
	}
	c.probes = append(c.probes[:0], c.probes[reached:]...)
}

// Freshness implements registry.
func (n *node) Freshness() freshness {
	now := time.Now()
	if n.raft.State() == raft.Leader {
		if age, ok := n.leadershipAge(now); ok {
			// Without a majority for so long a leader steps down, unless it hangs
			// in its disk; then the others may have elected another by now.
			return freshness{LeaderKnown: age <= n.opts.HeartbeatTimeout, Stale: age}
		}
	}
	f := freshness{LastContact: -1, Stale: -1}
	_, leader := n.raft.LeaderWithID()
	f.LeaderKnown = leader != "" && leader != n.self
	if at := n.raft.LastContact(); !at.IsZero() {
		f.LastContact = now.Sub(at)
	}
	if upTo := n.fresh.upTo(n.View().Index()); !upTo.IsZero() {
		f.Stale = now.Sub(upTo)
	}
	return f
}

// leadershipAge returns how long ago this node last certainly led; ok is false
// if it does not lead or has not applied anything of its term yet.
func (n *node) leadershipAge(now time.Time) (age time.Duration, ok bool) {
	term := n.raft.CurrentTerm()
	if n.readTerm.Load() != term {
		return 0, false
	}
	at := n.transport.MajorityAcked(term, n.voterIDs())
	if at.IsZero() || n.raft.CurrentTerm() != term || n.raft.State() != raft.Leader {
		return 0, false
	}
	return max(0, now.Sub(at)), true
}
