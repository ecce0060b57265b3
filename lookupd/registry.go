package lookupd

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
)

// What can become of a proposal besides its result.
var (
	// errUnavailable: it was certainly not committed and never will be; there
	// was no leader, no quorum or no room in time. Worth a retry later.
	errUnavailable = errors.New("no leader to commit it")
	// errUnknown: it may or may not have been, or yet be, committed.
	errUnknown = errors.New("outcome unknown")
	// errNotReady: this node has not caught up with the cluster since its start.
	errNotReady = errors.New("not ready")
)

// registry is what connections and HTTP handlers need of the node: its local
// copy of the replicated registry, and the way to change it.
type registry interface {
	// View returns the local copy as it is. It never waits.
	View() *fsm.View

	// Readable waits, briefly and within ctx, until the local copy shows all
	// that this node has acknowledged, and returns View. errNotReady: the node
	// may not answer yet.
	Readable(ctx context.Context) (*fsm.View, error)

	// Consistent returns a view that shows everything acknowledged anywhere
	// before the call: a linearizable read. errUnavailable without a quorum.
	Consistent(ctx context.Context) (*fsm.View, error)

	// Changed returns a channel that is closed at the first view newer than v.
	Changed(v *fsm.View) <-chan struct{}

	// Freshness says how View relates to the cluster's truth now.
	Freshness() freshness

	// Now is the time as tombstones are stamped and judged with: the wall
	// clock as it was at the process's start, moved on by the monotonic clock,
	// so that a jump of the wall clock hides and shows nothing.
	Now() time.Time

	// Submit queues m for the next batch and returns at once, also when there
	// is no leader. The proposal fails when ctx ends; a mutation whose ctx
	// ended before it was sent is never sent.
	Submit(ctx context.Context, m *fsmpb.Mutation) *proposal

	// NewSession returns the id of a new session of this node.
	NewSession() fsm.SessionID
}

// freshness says how old what a node serves may be.
type freshness struct {
	LeaderKnown bool
	// LastContact: since the leader was heard; 0 on the leader; negative: never.
	LastContact time.Duration
	// Stale: everything acknowledged before now minus Stale is in the view.
	// Never less than the truth; negative: unbounded (no leader since start).
	Stale time.Duration
}

// A proposal is a mutation on its way through the log.
type proposal struct {
	// Read-only after newProposal.
	mutation *fsmpb.Mutation
	ctx      context.Context

	state atomic.Int32 // proposalQueued, Sent or Abandoned

	done   chan struct{} // closed once result and err are set
	result fsm.Result
	err    error
}

func newProposal(ctx context.Context, m *fsmpb.Mutation) *proposal {
	return &proposal{mutation: m, ctx: ctx, done: make(chan struct{})}
}

// resolve is called once, by whoever took the proposal from the queue.
func (p *proposal) resolve(result fsm.Result, err error) {
	p.result, p.err = result, err
	close(p.done)
}

// Wait returns the outcome. If the proposal's context ends first, the error is
// errUnavailable when no leader has seen it, and none will; else errUnknown.
func (p *proposal) Wait() (fsm.Result, error) {
	select {
	case <-p.done:
		return p.result, p.err
	case <-p.ctx.Done():
	}
	select {
	case <-p.done:
		return p.result, p.err
	default:
	}
	if p.state.CompareAndSwap(proposalQueued, proposalAbandoned) {
		return 0, errUnavailable
	}
	if p.state.Load() == proposalAbandoned {
		return 0, errUnavailable
	}
	return 0, errUnknown
}
