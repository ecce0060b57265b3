package lookupd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"nsqraft/fsm/fsmpb"
	"nsqraft/lookupd/peerpb"
)

const (
	// renewEvery is how often a node renews its lease, and so how fresh it can
	// say that its copy is.
	renewEvery   = 100 * time.Millisecond
	renewTimeout = 500 * time.Millisecond

	houseTick = time.Second
	// maxStrays bounds the sessions that one tick ends.
	maxStrays = 1024
	// strayTimeout bounds one attempt to end them.
	strayTimeout = 5 * time.Second
	// snapshotTimeout bounds what who asks for a snapshot waits for it.
	snapshotTimeout = 10 * time.Second
)

// renew keeps this node's lease with whoever leads, and learns by the same
// question how fresh its own copy is.
func (n *node) renew(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.leading.wait():
		case <-ctx.Done():
			return
		}
		if addr, id := n.raft.LeaderWithID(); id != "" && id != n.self && !n.stopping.Load() {
			n.renewWith(ctx, id, addr)
		}
	}
}

func (n *node) renewWith(ctx context.Context, id raft.ServerID, addr raft.ServerAddress) {
	client, err := n.peers.client(id, addr)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	v, asked := n.View(), time.Now()
	_, write := n.store.log.Took()
	resp, err := client.Renew(ctx, &peerpb.RenewRequest{
		Node: n.identity.Node, Epoch: n.writer.epoch.Load(), Applied: v.Index(), Hash: v.Hash(), Waits: n.waits.tell(asked), LogWrite: int64(write),
	})
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			n.peers.reset(id)
		}
		return
	}
	n.toldLive.Store(resp.Live)
	n.waits.replace(resp.Waits, time.Now())
	n.fresh.answered(asked.Add(-time.Duration(resp.Age)), resp.Applied, n.View().Index())
}

// becomeReady opens this node to readers once its copy shows all that the
// cluster had acknowledged when the node came up; or, if there is nobody to
// ask, what it showed before it stopped, after --serve-stale-after without a
// leader. A node that began with an empty disk has shown nothing before it is
// ready for the first time: what it has got of the others' copy until then may
// be any part of it.
func (n *node) becomeReady(ctx context.Context) {
	patience := time.NewTimer(n.opts.ServeStaleAfter)
	defer patience.Stop()
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		applied, leading := n.applied.wait(), n.leading.wait()
		if f := n.Freshness(); f.LeaderKnown {
			if f.Stale >= 0 && n.isMember() {
				if err := n.saveIdentity(func(id *identity) { id.WasReady = true }); err != nil {
					n.log.Error("note that this node was ready", "err", err)
				}
				n.log.Info("ready", "index", n.View().Index(), "after", time.Since(n.started).Round(time.Millisecond))
				n.ready.Store(true)
				return
			}
			patience.Reset(n.opts.ServeStaleAfter)
		}
		select {
		case <-applied:
		case <-leading:
		case <-tick.C:
		case <-patience.C:
			switch {
			case !n.hasConfiguration(): // another duty says what it waits for
			case !n.wasReady():
				n.log.Warn("no leader yet; this node has never been ready, and answers no lookups")
			default:
				n.log.Warn("no leader yet; serving what this node's disk holds, marked stale", "index", n.View().Index())
				n.ready.Store(true)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// awaitReady waits until this node is ready, for at most limit.
func (n *node) awaitReady(limit time.Duration) {
	ctx, cancel := context.WithTimeout(n.ctx, limit)
	defer cancel()
	for !n.ready.Load() && ctx.Err() == nil {
		sleep(ctx, time.Millisecond)
	}
}

// housekeep does once a second what no event asks for.
func (n *node) housekeep(ctx context.Context) {
	replayed := n.replayed // log that an earlier process left without a snapshot
	tick := time.NewTicker(houseTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		n.endStrays(ctx)
		if err := n.store.mark.Sync(); err != nil {
			n.log.Error("sync commit mark", "err", err)
		}
		n.measureDisk()
		if replayed+n.store.log.LogBytes() > snapshotBytes {
			replayed = 0
			n.store.log.ResetLogBytes()
			if err := n.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
				n.log.Warn("snapshot", "err", err)
			}
		}
	}
}

// errSnapshotting: another snapshot was asked for and is not written yet.
var errSnapshotting = errors.New("a snapshot is being written")

// snapshot writes a snapshot now and returns the index of the newest, which is an
// older one if nothing has come since. errUnknown: it takes longer than
// snapshotTimeout, and goes on.
func (n *node) snapshot(ctx context.Context) (uint64, error) {
	if !n.snapshotting.CompareAndSwap(false, true) {
		return 0, errSnapshotting
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	err := await(ctx, endingFuture{n.raft.Snapshot(), func() { n.snapshotting.Store(false) }})
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("%w: %w", errUnknown, ctx.Err())
	case err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot):
		return 0, err
	}
	return n.snapshotIndex(), nil
}

// endStrays ends what the registry credits to this node though it holds no
// such connection: a session whose end could not be proposed when it came. A
// node that stops has closed them itself and leaves them to the cluster; it is
// said to stop before it closes the first, so that is asked last.
func (n *node) endStrays(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, strayTimeout)
	defer cancel()
	if known, _ := n.knownLeader(); !known {
		return
	}
	var strays []*proposal
	for s := range n.View().Sessions(n.identity.Node, n.writer.epoch.Load()) {
		if len(strays) == maxStrays {
			break
		}
		if !n.sessions.Has(s.ID) && !n.stopping.Load() {
			strays = append(strays, n.Submit(ctx, &fsmpb.Mutation{Kind: &fsmpb.Mutation_EndSession{EndSession: &fsmpb.EndSession{Session: s.ID.Serial}}}))
		}
	}
	for _, p := range strays {
		if _, err := p.Wait(); err != nil {
			return
		}
	}
}

// hashHistory remembers the registry's hash at recent indexes, so that copies
// which are a few entries apart can be compared at an index both have had.
type hashHistory struct {
	mu     sync.Mutex
	recent [4096]struct{ index, hash uint64 }
	differ map[string]bool // nodes whose copy was last seen to differ
}

func (h *hashHistory) note(index, hash uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recent[index%uint64(len(h.recent))] = struct{ index, hash uint64 }{index, hash}
}

// compare returns whether node's copy differs at index, and whether that is
// news. A copy that cannot be compared is what it was.
func (h *hashHistory) compare(node string, index, hash uint64) (differs, news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := h.recent[index%uint64(len(h.recent))]
	if own.index != index || index == 0 {
		return h.differ[node], false
	}
	was := h.differ[node]
	if h.differ == nil {
		h.differ = make(map[string]bool)
	}
	h.differ[node] = own.hash != hash
	return h.differ[node], was != h.differ[node]
}

// compareHash says loudly when another node's copy differs from this one's.
func (n *node) compareHash(other string, index, hash uint64) {
	if differs, news := n.hashes.compare(other, index, hash); differs && news {
		n.log.Error("this node and another have different registries at the same index; stop one, move its data path away and start it empty",
			"node", other, "index", index)
	}
}
