package lookupd

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/defect"
)

const (
	// leaseTTL is how long a node may be silent before the leader calls its
	// sessions orphaned. Nothing disappears by it; see --session-grace.
	leaseTTL = 3 * time.Second
	// dutyTick is how often the leader looks at leases, tombstones and members.
	dutyTick = 500 * time.Millisecond
	// lateTick: a tick that comes this late means that this process was stopped
	// or starved. The others may have renewed in vain, so all leases start anew.
	lateTick = 2 * dutyTick
	// endChunk bounds the sessions that one log entry ends, and so what Apply
	// takes for it.
	endChunk = 256
	// dutyTimeout bounds one decision on its way to the log.
	dutyTimeout = 2 * time.Second
	// maxClears bounds the tombstones taken off in one tick.
	maxClears = 1024
)

// duties are what one node does while it leads one term: it decides which
// nodes are gone and whose time is over. Only the decisions are replicated;
// the clocks they are made by are the leader's own and start anew with it, but
// for what the grace of orphaned sessions has lasted already: see waits.
type duties struct {
	node  *node
	term  uint64
	since time.Time

	mu        sync.Mutex
	leases    map[life]*lease
	logWrites map[string]time.Duration // of other nodes, as they said last
}

// lease is what this leader knows of one life of a node. Neither time is from
// before this leader's term.
type lease struct {
	heard    time.Time // last renewed
	orphaned time.Time // first seen orphaned; zero: is not
	ending   bool      // its grace is over, and it was said
	decided  verdict   // and not yet seen to be committed
}

// A verdict is a decision that operators hear of once it is committed: a leader
// whose log hangs decides the same again and again, and it comes to nothing.
type verdict int

const (
	undecided verdict = iota
	isSilent
	isBack
)

// life is one epoch of one node's process.
type life struct {
	node  string
	epoch uint64
}

// lead does the duties of term until ctx ends, which is when leadership does.
func (n *node) lead(ctx context.Context, term uint64) {
	if err := n.beginTerm(ctx, term); err != nil {
		n.log.Debug("term ended before it began", "term", term, "err", err)
		return
	}
	d := &duties{node: n, term: term, since: time.Now(), leases: make(map[life]*lease), logWrites: make(map[string]time.Duration)}
	n.waits.count(d.since)
	defer n.waits.stop()
	n.duties.Store(d)
	defer n.duties.CompareAndSwap(d, nil)
	n.readTerm.Store(term)
	defer func() {
		// What a leader knew of its copy stays true when it leads no more.
		n.fresh.answered(n.transport.MajorityAcked(term, n.voterIDs()), 0, n.View().Index())
		n.readTerm.CompareAndSwap(term, 0)
	}()
	n.leading.notify()

	tick := time.NewTicker(dutyTick)
	defer tick.Stop()
	slow := time.NewTicker(yieldTick)
	defer slow.Stop()
	last := time.Now()
	for {
		select {
		case <-tick.C:
		case <-slow.C:
			d.yield(ctx)
			continue
		case <-ctx.Done():
			return
		}
		now := time.Now()
		late := now.Sub(last) > lateTick
		last = now
		if late {
			d.restart(now)
			continue
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = d.run(ctx); err != nil && ctx.Err() == nil {
				n.log.Debug("leader's duties", "term", term, "err", err)
			}
		}
		last = time.Now()
	}
}

// beginTerm has an entry of the new term applied: everything acknowledged by
// earlier leaders comes before it.
func (n *node) beginTerm(ctx context.Context, term uint64) error {
	for {
		err := n.applyNothing(ctx)
		if err == nil || ctx.Err() != nil || n.raft.CurrentTerm() != term {
			return err
		}
		sleep(ctx, retryPause)
	}
}

// applyNothing has an entry applied that changes nothing.
func (n *node) applyNothing(ctx context.Context) error {
	data, err := fsm.Encode(&fsmpb.Batch{Time: n.Now().UnixNano()})
	if err != nil {
		return err
	}
	_, err = n.applyLocally(ctx, data)
	return err
}

// renewed notes that a node lives.
func (d *duties) renewed(l life) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.leaseLocked(l, now).heard = now
}

// noteLogWrite notes how long writes to a node's log take lately.
func (d *duties) noteLogWrite(node string, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logWrites[node] = took
}

// leaseLocked returns what is known of l; a life that is new to this leader
// was heard of at now.
func (d *duties) leaseLocked(l life, now time.Time) *lease {
	known, ok := d.leases[l]
	if !ok {
		known = &lease{heard: now}
		d.leases[l] = known
	}
	return known
}

// restart makes all leases as good as just renewed, and counts nobody's wait
// since they were looked at last.
func (d *duties) restart(now time.Time) {
	d.node.waits.count(now)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.leases {
		l.heard = now
		if !l.orphaned.IsZero() {
			l.orphaned = now
		}
	}
}

// look returns for how long l has been silent, and whether it has been heard
// of since it was orphaned. No verdict on it is left.
func (d *duties) look(l life, orphaned bool, now time.Time) (silent time.Duration, back bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.leaseLocked(l, now)
	known.decided = undecided
	switch {
	case !orphaned:
		known.orphaned = time.Time{}
	case known.orphaned.IsZero():
		known.orphaned = now
	}
	return now.Sub(known.heard), orphaned && known.heard.After(known.orphaned)
}

// judge notes the verdict on l.
func (d *duties) judge(l life, v verdict) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaseLocked(l, time.Now()).decided = v
}

// announce tells operators which verdicts are committed since it was called last.
func (d *duties) announce(now time.Time) {
	for _, l := range d.node.View().Lives() {
		verdict, silent := d.committed(life{l.Node, l.Epoch}, l.Orphaned, now)
		switch verdict {
		case isSilent:
			d.node.log.Warn("node is silent; its sessions are orphaned", "node", l.Node, "silent", silent.Round(time.Millisecond), "sessions", l.Sessions, "grace", d.node.opts.SessionGrace)
		case isBack:
			d.node.log.Info("node is back", "node", l.Node, "sessions", l.Sessions)
		}
	}
}

// committed returns, once, the verdict on l that its state shows to be committed.
func (d *duties) committed(l life, orphaned bool, now time.Time) (v verdict, silent time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.leaseLocked(l, now)
	if known.decided == isSilent && orphaned || known.decided == isBack && !orphaned {
		v, known.decided = known.decided, undecided
	}
	return v, now.Sub(known.heard)
}

// beginEnding reports, once, that the sessions of l end now.
func (d *duties) beginEnding(l life) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, ok := d.leases[l]
	if !ok || known.ending {
		return false
	}
	known.ending = true
	return true
}

// forget drops the leases of lives that the registry no longer has.
func (d *duties) forget(known map[life]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range d.leases {
		if !known[l] {
			delete(d.leases, l)
		}
	}
}

// run decides what time has decided, and has it committed.
func (d *duties) run(ctx context.Context) (more bool, err error) {
	if d.node.transfers.refusing() {
		// If nobody writes, nobody would notice when that is over, or that it is not.
		ctx, cancel := context.WithTimeout(ctx, dutyTimeout)
		defer cancel()
		return false, d.node.applyNothing(ctx)
	}
	d.announce(time.Now()) // what was committed after its proposal was given up
	decisions, more := d.decide(time.Now())
	d.node.promote(ctx)
	if len(decisions) == 0 {
		return false, nil
	}
	// The clock was read before this: whoever led at that time or later may
	// decide by it. And the decision says its term: should it be committed in
	// another one, it changes nothing.
	confirm, cancel := context.WithTimeout(ctx, dutyTimeout)
	err = d.node.confirmLeadership(confirm, d.term, time.Now())
	cancel()
	if err != nil {
		return false, err
	}
	ctx, cancel = context.WithTimeout(ctx, dutyTimeout)
	defer cancel()
	proposals := make([]*proposal, len(decisions))
	for i, m := range decisions {
		proposals[i] = d.node.Submit(ctx, m)
	}
	for _, p := range proposals {
		if _, err := p.Wait(); err != nil {
			return false, err
		}
	}
	d.announce(time.Now())
	return more, nil
}

// decide returns the decisions that are due; more: and again at once, because
// one entry ends only so many sessions.
func (d *duties) decide(now time.Time) (decisions []*fsmpb.Mutation, more bool) {
	n := d.node
	view := n.View()
	known, waiting := make(map[life]bool), make(map[life]bool)
	n.waits.pass(now)
	lives := view.Lives()
	grace := n.opts.SessionGrace
	if defect.Seeded && defect.On(defect.NoGrace) {
		grace = 0
	}
	if !n.stopping.Load() {
		d.renewed(life{n.identity.Node, n.writer.epoch.Load()})
	}
	for i, l := range lives {
		id := life{l.Node, l.Epoch}
		known[id] = true
		silent, back := d.look(id, l.Orphaned, now)
		newest := lastLife(lives, i)
		var waited time.Duration
		if l.Orphaned && l.Sessions > 0 {
			waiting[id] = true
			waited = n.waits.waited(l, silent)
		}
		switch {
		case !l.Orphaned && silent > leaseTTL:
			d.judge(id, isSilent)
			decisions = append(decisions, &fsmpb.Mutation{Kind: &fsmpb.Mutation_OrphanNode{OrphanNode: &fsmpb.OrphanNode{Node: l.Node, Epoch: l.Epoch, Term: d.term}}})
		case back && silent <= leaseTTL && newest:
			d.judge(id, isBack)
			decisions = append(decisions, &fsmpb.Mutation{Kind: &fsmpb.Mutation_ReclaimNode{ReclaimNode: &fsmpb.ReclaimNode{Node: l.Node, Epoch: l.Epoch, Term: d.term}}})
		// A process that may be back has been given the time to say so to this leader.
		case waited > grace && (silent > leaseTTL || !newest):
			if d.beginEnding(id) {
				n.log.Warn("session grace is over", "node", l.Node, "sessions", l.Sessions)
			}
			more = more || l.Sessions > endChunk
			decisions = append(decisions, &fsmpb.Mutation{Kind: &fsmpb.Mutation_EndNode{EndNode: &fsmpb.EndNode{Node: l.Node, Epoch: l.Epoch, Term: d.term, Limit: endChunk}}})
		}
	}
	d.forget(known)
	n.waits.keep(waiting)
	wall := n.Now()
	for t := range view.Tombstones() {
		if len(decisions) >= maxClears {
			break
		}
		if wall.Sub(t.Time) > n.opts.TombstoneLifetime {
			decisions = append(decisions, &fsmpb.Mutation{Kind: &fsmpb.Mutation_ClearTombstone{ClearTombstone: &fsmpb.ClearTombstone{Topic: t.Topic, Producer: t.Producer, Time: t.Time.UnixNano()}}})
		}
	}
	return decisions, more
}

// lastLife reports whether lives[i] is its node's newest: lives are sorted by
// node, then epoch.
func lastLife(lives []fsm.Life, i int) bool {
	return i == len(lives)-1 || lives[i+1].Node != lives[i].Node
}

// watch follows Raft's leadership: it runs lead while this node leads, and
// wakes all who wait for a leader.
func (n *node) watch(ctx context.Context) {
	events := make(chan raft.Observation, 64)
	observer := raft.NewObserver(events, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	n.raft.RegisterObserver(observer)
	defer n.raft.DeregisterObserver(observer)

	stop := func() {}
	defer func() { stop() }()
	var term uint64
	poll := time.NewTicker(100 * time.Millisecond) // an observation may be dropped, or come before the observer
	defer poll.Stop()
	for {
		if now := n.raft.CurrentTerm(); n.raft.State() != raft.Leader {
			if term != 0 {
				n.holdBack(term) // first of all: its election time-out runs
			}
			stop()
			stop, term = func() {}, 0
		} else if now != term {
			stop()
			stop, term = n.startLeading(ctx, now), now
		}
		select {
		case <-events:
			n.noteLeader()
		case <-poll.C:
			// Only if it did: a notification cuts attempts in flight short.
			_, leader := n.raft.LeaderWithID()
			if noted := n.lastLeader.Load(); noted == nil && leader != "" || noted != nil && *noted != leader {
				n.noteLeader()
			}
		case <-ctx.Done():
			return
		}
	}
}

// startLeading runs lead; the returned function ends it and waits.
func (n *node) startLeading(ctx context.Context, term uint64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.lead(ctx, term)
	}()
	return func() { cancel(); <-done }
}

// noteLeader tells operators who leads when that changes, ends what holdBack has
// begun, and wakes all who wait for it.
func (n *node) noteLeader() {
	_, leader := n.raft.LeaderWithID()
	previous := n.lastLeader.Swap(&leader)
	if previous == nil && leader != "" || previous != nil && *previous != leader {
		if leader == "" {
			n.log.Warn("no leader", "term", n.raft.CurrentTerm())
		} else {
			n.leaderChanges.Add(1)
			n.transport.HoldBack(0) // what it was for has come about
			n.log.Info("leader", "node", nodeOf(leader), "term", n.raft.CurrentTerm())
		}
	}
	n.leading.notify()
}
