package lookupd

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
)

const (
	// A batch is one log entry: small enough that 64 of them fit one
	// AppendEntries comfortably, large enough that a storm of registrations
	// is bound by neither disk nor network round trips.
	maxBatchMutations = 1024
	maxBatchBytes     = 64 << 10

	// maxQueued bounds the mutations that wait for a batch. A full queue
	// refuses at once: the session closes and its nsqd comes back later.
	maxQueued = 1 << 15

	// attemptTimeout bounds one try to have a batch committed. A leader that
	// stays silent for longer has most likely been succeeded.
	attemptTimeout = time.Second
	// resolvedAtOnce bounds how many sessions become ready to go on at one time.
	resolvedAtOnce = 64
	// retryPause is waited between attempts that failed at once.
	retryPause = 5 * time.Millisecond
)

var (
	// errNotLeader: certainly not committed; another node leads, or none.
	errNotLeader = errors.New("not the leader")
	// errRejected: what was asked for is at fault itself and will never be done.
	errRejected = errors.New("refused")
)

// States of a proposal, which move once from queued to one of the others and
// back to queued only while it is certain that no leader has it.
const (
	proposalQueued    int32 = iota
	proposalSent            // part of a batch that a leader may have
	proposalAbandoned       // its context ended first; it is never sent
)

// A committer has one encoded batch committed and returns what became of it.
// errNotLeader: certainly nothing. errRejected: never will. Any other error:
// unknown, the same batch is to be sent again.
type committer func(ctx context.Context, batch []byte) (fsm.Outcome, error)

// A writer gathers the mutations of one node into batches and has them
// committed, one batch at a time and in order. A batch whose outcome is
// unknown is sent again, unchanged, until it is known; the registry applies it
// once because batches are numbered within the writer's epoch.
type writer struct {
	// Read-only after newWriter.
	node     string
	commit   committer
	now      func() time.Time
	leader   func() (known bool, changed <-chan struct{})
	onFenced func() // another life of this node exists: its sessions are not ours
	log      hclog.Logger
	queue    chan *proposal

	epoch atomic.Uint64 // 0 until the registry has accepted this life
	acked atomic.Uint64 // highest index at which a batch of ours was applied

	settled chan settlement // to who resolves; closed when run has nothing more for it

	// Owned by run.
	sequence uint64
	held     []*proposal // taken from the queue, known to no leader
}

func newWriter(node string, firstEpoch uint64, commit committer, log hclog.Logger) *writer {
	w := &writer{node: node, commit: commit, log: log, queue: make(chan *proposal, maxQueued), settled: make(chan settlement, 1)}
	w.epoch.Store(firstEpoch)
	return w
}

// submit queues p, or resolves it with errUnavailable if there is no room.
func (w *writer) submit(p *proposal) {
	select {
	case w.queue <- p:
	default:
		p.resolve(0, fmt.Errorf("%w: %d mutations wait already", errUnavailable, maxQueued))
	}
}

// depth is the number of mutations that wait for a batch.
func (w *writer) depth() int { return len(w.queue) }

// A settlement is what became of proposals: their results in the same order, or an error
// for all.
type settlement struct {
	proposals []*proposal
	results   []fsm.Result // nil if err is not
	err       error
}

// resolve tells them, some at a time. All at once a thousand sessions would be ready to
// write their answers, and what Raft gets from other nodes, its heartbeats too, would
// wait behind them.
func (s settlement) resolve() {
	for i, p := range s.proposals {
		if s.err != nil {
			p.resolve(0, s.err)
		} else {
			p.resolve(s.results[i], nil)
		}
		if i%resolvedAtOnce == resolvedAtOnce-1 {
			runtime.Gosched()
		}
	}
}

// run commits batches until ctx ends, and resolves what is left then.
func (w *writer) run(ctx context.Context) {
	var resolving sync.WaitGroup
	resolving.Go(func() {
		for s := range w.settled {
			s.resolve()
		}
	})
	defer resolving.Wait()
	defer close(w.settled)
	defer w.drain()
	if w.begin(ctx) != nil {
		return
	}
	for {
		if len(w.held) == 0 {
			select {
			case p := <-w.queue:
				w.held = append(w.held, p)
			case <-ctx.Done():
				return
			}
		}
		if w.awaitLeader(ctx) != nil {
			return
		}
		batch := w.gather()
		if len(batch.Mutations) == 0 {
			continue
		}
		outcome, err := w.deliver(ctx, batch)
		switch {
		case err == nil:
			w.settle(ctx, outcome)
		case errors.Is(err, errNotLeader):
			w.takeBack()
		case errors.Is(err, errRejected):
			w.log.Error("a batch was refused", "err", err)
			w.sequence--
			w.resolveHeld(fmt.Errorf("%w: %w", errUnavailable, err))
		default: // ctx has ended
			w.resolveHeld(errUnknown)
			return
		}
	}
}

// begin announces this life of the node with an empty batch, so that the
// sessions of earlier lives are orphaned before the first new one opens. A
// registry that knows a later epoch, left by a clock that was ahead, makes
// ours follow it.
func (w *writer) begin(ctx context.Context) error {
	for {
		if err := w.awaitLeader(ctx); err != nil {
			return err
		}
		w.sequence = 1
		outcome, err := w.deliver(ctx, w.newBatch())
		switch {
		case errors.Is(err, errNotLeader):
			continue
		case err != nil:
			return err
		case outcome.Status == fsm.StatusApplied:
			w.acknowledge(outcome.Index)
			return nil
		}
		w.log.Warn("this node has lived before with a later epoch; following it", "ours", w.epoch.Load(), "known", outcome.Epoch)
		w.epoch.Store(outcome.Epoch + 1)
		w.onFenced() // what connected meanwhile has ids of the epoch that was refused
	}
}

func (w *writer) newBatch() *fsmpb.Batch {
	return &fsmpb.Batch{Writer: w.node, Epoch: w.epoch.Load(), Sequence: w.sequence, Time: w.now().UnixNano()}
}

// awaitLeader returns once a leader is known.
func (w *writer) awaitLeader(ctx context.Context) error {
	for {
		known, changed := w.leader()
		if known {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gather fills w.held from the queue, as far as one batch goes, and returns
// the batch; what was abandoned meanwhile is left out.
func (w *writer) gather() *fsmpb.Batch {
	waiting := w.held
	w.held = nil
	batch := w.newBatch()
	size := 0
	take := func(p *proposal) {
		if p.ctx.Err() != nil {
			p.state.CompareAndSwap(proposalQueued, proposalAbandoned)
		}
		if p.state.CompareAndSwap(proposalQueued, proposalSent) {
			w.held = append(w.held, p)
			batch.Mutations = append(batch.Mutations, p.mutation)
			size += mutationSize(p.mutation)
			return
		}
		p.resolve(0, errUnavailable)
	}
	for _, p := range waiting {
		take(p)
	}
	for len(batch.Mutations) < maxBatchMutations && size < maxBatchBytes {
		select {
		case p := <-w.queue:
			take(p)
		default:
			w.nextSequence(batch)
			return batch
		}
	}
	w.nextSequence(batch)
	return batch
}

// nextSequence numbers the batch if there is anything in it.
func (w *writer) nextSequence(batch *fsmpb.Batch) {
	if len(batch.Mutations) > 0 {
		w.sequence++
		batch.Sequence = w.sequence
	}
}

// deliver sends batch until its outcome is known or ctx ends. errNotLeader and
// errRejected are returned only if no attempt can have reached a log.
func (w *writer) deliver(ctx context.Context, batch *fsmpb.Batch) (fsm.Outcome, error) {
	data, err := fsm.Encode(batch)
	if err == nil {
		_, err = fsm.Decode(data)
	}
	if err != nil {
		return fsm.Outcome{}, fmt.Errorf("%w: %w", errRejected, err)
	}
	sent := false
	for {
		outcome, err := w.attempt(ctx, data)
		switch {
		case err == nil:
			return outcome, nil
		case errors.Is(err, errRejected) && sent:
			// One leader may have it, the next, of an older version, never will.
			// Whether another batch may follow it cannot be known: start over.
			return fsm.Outcome{Status: fsm.StatusGap, Epoch: batch.Epoch, Sequence: batch.Sequence}, nil
		case errors.Is(err, errRejected):
			return fsm.Outcome{}, err
		case ctx.Err() != nil:
			return fsm.Outcome{}, ctx.Err()
		case errors.Is(err, errNotLeader) && !sent:
			sleep(ctx, retryPause)
			return fsm.Outcome{}, err
		case !errors.Is(err, errNotLeader):
			sent = true
			w.log.Debug("outcome of a batch unknown, sending it again", "sequence", batch.Sequence, "err", err)
		}
		sleep(ctx, retryPause)
		if err := w.awaitLeader(ctx); err != nil {
			return fsm.Outcome{}, err
		}
	}
}

// attempt is one try, given up when leadership moves.
func (w *writer) attempt(ctx context.Context, data []byte) (fsm.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	_, changed := w.leader()
	moved := make(chan struct{})
	go func() {
		defer close(moved)
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	outcome, err := w.commit(ctx, data)
	cancel()
	<-moved
	return outcome, err
}

// settle tells the proposals of the delivered batch what became of them.
func (w *writer) settle(ctx context.Context, outcome fsm.Outcome) {
	if outcome.Status == fsm.StatusApplied && len(outcome.Results) == len(w.held) {
		w.acknowledge(outcome.Index)
		w.settled <- settlement{proposals: w.held, results: outcome.Results}
		w.held = nil
		return
	}
	// The registry knows another life of this node, or has lost what it knew
	// of this one. Either way the sessions held here are not in it.
	w.log.Error("the cluster does not know this life of the node; its sessions start over",
		"epoch", w.epoch.Load(), "sequence", w.sequence, "known_epoch", outcome.Epoch, "known_sequence", outcome.Sequence)
	w.resolveHeld(errUnknown)
	w.epoch.Store(max(outcome.Epoch, w.epoch.Load()) + 1)
	w.onFenced()
	w.begin(ctx)
}

// acknowledge notes that a batch of ours was applied at index: reads on this
// node wait for it.
func (w *writer) acknowledge(index uint64) {
	if index > w.acked.Load() {
		w.acked.Store(index)
	}
}

// takeBack returns the proposals of a batch that no leader has to the queue's
// head.
func (w *writer) takeBack() {
	w.sequence--
	for _, p := range w.held {
		p.state.Store(proposalQueued)
	}
}

func (w *writer) resolveHeld(err error) {
	w.settled <- settlement{proposals: w.held, err: err}
	w.held = nil
}

func (w *writer) drain() {
	w.resolveHeld(errUnknown)
	for {
		select {
		case p := <-w.queue:
			p.resolve(0, errUnavailable)
		default:
			return
		}
	}
}

// mutationSize is about what m takes in an encoded batch.
func mutationSize(m *fsmpb.Mutation) int {
	const overhead = 16
	switch k := m.Kind.(type) {
	case *fsmpb.Mutation_Register:
		return overhead + len(k.Register.Topic) + len(k.Register.Channel)
	case *fsmpb.Mutation_Unregister:
		return overhead + len(k.Unregister.Topic) + len(k.Unregister.Channel)
	case *fsmpb.Mutation_OpenSession:
		return 1 << 10
	default:
		return 256
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
