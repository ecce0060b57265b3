package lookupd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/defect"
	"nsqraft/lookupd/peerpb"
	"nsqraft/lookupd/raftguard"
)

const (
	// snapshotBytes of log since the last snapshot make the next one due. A
	// restart applies what comes after it, some 170,000 registrations, in about
	// a second; a snapshot of a million takes a tenth of that to write, and to
	// read back.
	snapshotBytes = 8 << 20
	// trailingLogs are kept behind a snapshot, so that a node that was away
	// for a while catches up from the log.
	trailingLogs = 10240
	// logCache entries are kept decoded, for replication.
	logCache = 512
	// shutdownWait bounds what a stopping node waits for Raft's goroutines.
	shutdownWait = 2 * time.Second
)

// serverID is a node's name within Raft: another instance of the same node
// (one that lost its disk) is another server.
func serverID(node, instance string) raft.ServerID { return raft.ServerID(node + "/" + instance) }

// nodeOf and instanceOf take a server id apart.
func nodeOf(id raft.ServerID) string {
	node, _, _ := strings.Cut(string(id), "/")
	return node
}

func instanceOf(id raft.ServerID) string {
	_, instance, _ := strings.Cut(string(id), "/")
	return instance
}

// node is the server's Raft member and the only code that calls hashicorp/raft.
type node struct {
	// Read-only after openNode.
	opts      *Options
	log       hclog.Logger
	store     *storage
	identity  identity // as it was at the start: for what may be set later see saved
	port      *port
	machine   *fsm.Machine
	registry  *fsm.Registry
	transport *raftguard.Transport
	raft      *raft.Raft
	writer    *writer
	peers     *peers
	self      raft.ServerID
	http      string // what Status says of this node's HTTP address
	started   time.Time
	replayed  int64             // bytes of log that restore applied
	members   map[string]string // of --initial-cluster
	fatal     func(error)
	metrics   *metrics
	// sessions the node holds; set by the server before open returns.
	sessions sessionTable

	applied broadcast // the view moved on
	leading broadcast // the known leader, or the own state, changed

	appliesMu sync.Mutex // none is begun after ctx has ended: both hold it
	applies   sync.WaitGroup

	identityMu sync.Mutex
	saved      identity // as it is on disk; see saveIdentity

	ready     atomic.Bool
	readTerm  atomic.Uint64 // term whose first entry the leader has applied; 0: does not lead
	duties    atomic.Pointer[duties]
	waits     waits
	yielded   time.Time // when it last did; of the goroutine in lead
	fresh     freshnessClock
	reads     readRounds
	hashes    hashHistory
	transfers *transferWatch

	lastLeader    atomic.Pointer[raft.ServerID]
	leaderChanges atomic.Uint64
	toldLive      atomic.Uint32 // live voters as the leader last counted them
	stopping      atomic.Bool
	snapshotting  atomic.Bool               // on request
	used          atomic.Pointer[diskUsage] // of the data path; nil: not measured
	serial        atomic.Uint64

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	grpc   []*grpc.Server
}

// sessionTable is what the node must know of the connections it serves.
type sessionTable interface {
	Has(fsm.SessionID) bool
	CloseAll()
}

// environment is the world a node lives in: the real one, or a test's.
type environment struct {
	listener net.Listener // of the internal port; nil: the node is alone
	dial     dialer
	tls      func() (server, client *tls.Config) // nil: plain
	store    *storage
	fatal    func(error)
	http     string // HTTP address that others are told
	metrics  *metrics
}

func (e environment) close() error {
	if e.listener != nil {
		e.listener.Close()
	}
	return e.store.close()
}

// openNode restores what the storage holds, starts Raft and the node's own
// goroutines, and returns without waiting for a leader.
func openNode(opts *Options, env environment, sessions sessionTable, log hclog.Logger) (_ *node, err error) {
	members, err := parseMembers(opts.InitialCluster)
	if err != nil {
		return nil, err
	}
	n := &node{
		opts: opts, log: log, store: env.store, identity: env.store.identity, saved: env.store.identity,
		self: serverID(env.store.identity.Node, env.store.identity.Instance),
		http: env.http, started: time.Now(), members: members, fatal: env.fatal, metrics: env.metrics, sessions: sessions,
		transfers: newTransferWatch(opts.ElectionTimeout),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.registry = fsm.New()
	n.machine = fsm.NewMachine(n.registry, fsm.Hooks{Verify: raftguard.Verify, Fatal: env.fatal, Applied: n.noteApplied})
	if err := n.restore(); err != nil {
		return nil, err
	}
	n.openPort(env)
	defer func() {
		if err != nil {
			n.cancel()
			n.port.Close()
		}
	}()
	if err := n.openRaft(); err != nil {
		return nil, err
	}
	n.writer = newWriter(n.identity.Node, uint64(n.started.UnixNano()), n.commit, log.Named("writer"))
	n.writer.now, n.writer.leader, n.writer.onFenced = n.Now, n.knownLeader, sessions.CloseAll
	n.peers = newPeers(n.port)
	n.measureDisk()
	n.start()
	return n, nil
}

// restore brings the registry to where this node had applied it before: the
// newest snapshot, then the log up to the commit mark. Raft will hand over the
// same entries again once it learns that they are committed; the machine skips
// what it has.
func (n *node) restore() error {
	if defect.Seeded && defect.On(defect.ServeUnready) {
		return nil
	}
	snapshots, err := n.store.snapshots.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	if len(snapshots) > 0 {
		meta, rd, err := n.store.snapshots.Open(snapshots[0].ID)
		if err == nil {
			err = errors.Join(n.registry.Restore(rd), rd.Close())
		}
		if err != nil {
			return fmt.Errorf("snapshot %s is damaged (%w); %s", snapshots[0].ID, err, startEmpty)
		}
		n.log.Info("restored snapshot", "id", meta.ID, "index", meta.Index)
	}
	mark, err := n.store.mark.Load()
	if err != nil {
		return err
	}
	last, err := n.store.log.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log's end: %w", err)
	}
	if err := n.checkWhole(snapshots, mark, last); err != nil {
		return err
	}
	for index := n.registry.View().Index() + 1; index <= min(mark, last); index++ {
		var entry raft.Log
		if err := n.store.log.GetLog(index, &entry); err != nil {
			return fmt.Errorf("replay log entry %d: %w; %s", index, err, startEmpty)
		}
		n.replayed += int64(len(entry.Data))
		switch entry.Type { // as Raft hands entries to its state machine
		case raft.LogCommand:
			n.machine.Apply(&entry)
		case raft.LogConfiguration:
			n.machine.StoreConfiguration(entry.Index, raft.Configuration{})
		}
	}
	return nil
}

// checkWhole returns an error if snapshot and log together lack anything that
// this node has had. Its vote would then count for what it does not know any more.
func (n *node) checkWhole(snapshots []*raft.SnapshotMeta, mark, last uint64) error {
	var snapshot uint64 // up to where it holds everything, as Raft will see it
	if len(snapshots) > 0 {
		snapshot = snapshots[0].Index
	}
	if n.store.wholeFrom > snapshot+1 {
		return fmt.Errorf("the log in %s begins at entry %d and there is no snapshot of what came before; %s", n.opts.DataPath, n.store.wholeFrom, startEmpty)
	}
	if mark > max(snapshot, last) {
		return fmt.Errorf("the log in %s ends at entry %d, but this node has applied entry %d; %s", n.opts.DataPath, max(snapshot, last), mark, startEmpty)
	}
	return nil
}

func (n *node) openPort(env environment) {
	ln := env.listener
	if ln == nil {
		ln = newDeafListener()
	}
	n.port = newPort(ln, n.address(), env.dial, n.log.Named("port"))
	n.port.self = func() (string, string) { return n.cluster(), string(n.self) }
	n.port.admit, n.port.tls = n.admit, env.tls
}

func (n *node) address() string {
	if n.opts.RaftAdvertise == "" {
		return "localhost:0" // alone: nobody dials it
	}
	return n.opts.RaftAdvertise
}

func (n *node) openRaft() error {
	stream := &raftStream{n.port.raft}
	n.transport = raftguard.NewTransport(n.self, stream, n.store.log, newCalmLogger(n.log.Named("raft-net")))
	cfg := n.raftConfig()
	if len(n.members) <= 1 && n.opts.Join == "" { // nobody else belongs to it
		if err := n.bootstrap(cfg, n.ownCluster(), []raft.Server{{ID: n.self, Address: raft.ServerAddress(n.address())}}); err != nil {
			return err
		}
	}
	logs, err := raft.NewLogCache(logCache, n.store.log)
	if err != nil {
		return err
	}
	r, err := raft.NewRaft(cfg, n.markedMachine(), logs, n.store.log, n.store.snapshots, n.transport)
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	n.raft = r
	n.transport.Attach(r)
	if err := n.checkAddress(); err != nil {
		return errors.Join(err, r.Shutdown().Error())
	}
	return nil
}

// checkAddress returns an error if the cluster knows this node by another address
// than it has: the others would not find it. Most likely the folder is one of
// another cluster, or was moved from another machine.
func (n *node) checkAddress() error {
	servers := n.servers()
	for _, s := range servers {
		if s.ID == n.self && string(s.Address) != n.address() && len(servers) > 1 {
			return fmt.Errorf("by %s this is node %s of cluster %s, whose members know it at %s, not at %s; start it with that address, or with its own --data-path",
				n.opts.DataPath, n.identity.Node, n.cluster(), s.Address, n.address())
		}
	}
	return nil
}

func (n *node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = n.self
	c.HeartbeatTimeout = n.opts.HeartbeatTimeout
	c.ElectionTimeout = n.opts.ElectionTimeout
	c.LeaderLeaseTimeout = n.opts.LeaderLeaseTimeout
	if !n.opts.clustered() {
		// Nobody to wait for: lead at once, as stock serves at once.
		t := timings[alone]
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = t[0], t[1], t[2]
	}
	c.CommitTimeout = 5 * time.Millisecond // what a follower lags behind when idle
	c.MaxAppendEntries = 64                // an entry is a batch of up to 64 KiB
	// What came after the last snapshot is what a restart reads twice more, and applies.
	c.SnapshotInterval = 10 * time.Second
	c.SnapshotThreshold = 2048
	c.TrailingLogs = trailingLogs
	if !n.opts.clustered() {
		c.TrailingLogs = 1 // nobody catches up from a log in memory
	}
	c.ShutdownOnRemove = false // a removed node goes on answering lookups, marked stale
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	c.Logger = newCalmLogger(n.log.Named("raft"))
	return c
}

// bootstrap begins the log with a configuration, unless there is one already.
func (n *node) bootstrap(cfg *raft.Config, cluster string, servers []raft.Server) error {
	if exists, err := raft.HasExistingState(n.store.log, n.store.log, n.store.snapshots); exists || err != nil {
		return err
	}
	if err := n.setCluster(cluster); err != nil {
		return err
	}
	err := raft.BootstrapCluster(cfg, n.store.log, n.store.log, n.store.snapshots, n.transport, raft.Configuration{Servers: servers})
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// start begins the node's goroutines; Close ends them and waits.
func (n *node) start() {
	n.port.wg.Add(1)
	go n.port.serve()
	peerServer, introServer := grpc.NewServer(grpcOptions()...), grpc.NewServer(grpcOptions()...)
	peerpb.RegisterPeerServer(peerServer, &peerService{node: n})
	peerpb.RegisterIntroductionServer(introServer, &introductionService{node: n})
	n.grpc = []*grpc.Server{peerServer, introServer}
	n.wg.Go(func() { peerServer.Serve(n.port.peer) })
	n.wg.Go(func() { introServer.Serve(n.port.stranger) })
	n.wg.Go(func() { n.watch(n.ctx) })
	n.wg.Go(func() { n.succeed(n.ctx) })
	n.wg.Go(func() { n.writer.run(n.ctx) })
	n.wg.Go(func() { n.renew(n.ctx) })
	n.wg.Go(func() { n.housekeep(n.ctx) })
	n.wg.Go(func() { n.becomeReady(n.ctx) })
	if n.entered() {
		n.wg.Go(func() { n.checkCluster(n.ctx) })
	} else {
		n.wg.Go(func() { n.enter(n.ctx) })
	}
}

// Close ends Raft membership without a word to the others; Leave comes first
// when there is time for manners. It waits for all goroutines, but for at most
// shutdownWait: one of Raft's may hang in a dead disk.
func (n *node) Close() error {
	n.stopping.Store(true)
	n.appliesMu.Lock()
	n.cancel()
	n.appliesMu.Unlock()
	stopped := make(chan error, 1)
	go func() {
		n.awaitApplies(shutdownWait / 2)
		future := n.raft.Shutdown()
		for _, s := range n.grpc {
			s.Stop()
		}
		n.peers.Close()
		n.transport.Close() // before what it accepts from, which it would report as a fault
		n.port.Close()      // ends the reads that Raft's goroutines wait in
		err := future.Error()
		n.wg.Wait()
		stopped <- errors.Join(err, n.store.close())
	}()
	select {
	case err := <-stopped:
		return err
	case <-time.After(shutdownWait):
		return fmt.Errorf("raft did not stop within %v", shutdownWait)
	}
}

// Leave hands leadership on, lets what is in flight be committed, and leaves
// this node's sessions to the cluster, which keeps their producers listed
// until they have reconnected or the grace is over.
func (n *node) Leave(ctx context.Context) {
	n.handOver(ctx)
	if !n.opts.clustered() {
		return
	}
	p := n.Submit(ctx, &fsmpb.Mutation{Kind: &fsmpb.Mutation_OrphanNode{OrphanNode: &fsmpb.OrphanNode{Node: n.identity.Node, Epoch: n.writer.epoch.Load()}}})
	if _, err := p.Wait(); err != nil {
		n.log.Warn("could not tell the cluster that this node leaves; its lease will run out instead", "err", err)
	}
}

// handOver transfers leadership if this node has it. Writes that race with a
// transfer can make it fail, so it is tried again.
func (n *node) handOver(ctx context.Context) {
	n.stopping.Store(true)
	for try := 0; try < 3 && ctx.Err() == nil && n.raft.State() == raft.Leader && len(n.voterIDs()) > 1; try++ {
		if err := n.transferLocally(ctx, ""); err != nil {
			n.log.Warn("leadership transfer", "err", err)
			sleep(ctx, 20*time.Millisecond)
			continue
		}
		for n.raft.State() == raft.Leader && ctx.Err() == nil {
			sleep(ctx, time.Millisecond)
		}
	}
}

// noteApplied is called after each entry, on Raft's goroutine.
func (n *node) noteApplied(index uint64) {
	n.hashes.note(index, n.View().Hash())
	n.applied.notify()
}

// Now implements registry.
func (n *node) Now() time.Time {
	// started has a monotonic reading, and so has the difference; a jump of
	// the wall clock shows in neither.
	return n.started.Round(0).Add(time.Since(n.started))
}

// View implements registry.
func (n *node) View() *fsm.View { return n.registry.View() }

// Submit implements registry.
func (n *node) Submit(ctx context.Context, m *fsmpb.Mutation) *proposal {
	p := newProposal(ctx, m)
	n.writer.submit(p)
	return p
}

// NewSession implements registry.
func (n *node) NewSession() fsm.SessionID {
	return fsm.SessionID{Node: n.identity.Node, Epoch: n.writer.epoch.Load(), Serial: n.serial.Add(1)}
}

// cluster returns the cluster's id, empty while the node belongs to none.
func (n *node) cluster() string {
	n.identityMu.Lock()
	defer n.identityMu.Unlock()
	return n.saved.Cluster
}

// ownCluster returns the cluster's id, or a new one.
func (n *node) ownCluster() string {
	if id := n.cluster(); id != "" {
		return id
	}
	return randomID(16)
}

// setCluster makes the node part of cluster, on its disk first.
func (n *node) setCluster(cluster string) error {
	return n.saveIdentity(func(id *identity) { id.Cluster = cluster })
}

// wasReady reports whether this node has been ready, now or before a restart.
func (n *node) wasReady() bool {
	n.identityMu.Lock()
	defer n.identityMu.Unlock()
	return n.saved.WasReady
}

// saveIdentity changes what may change of the identity. The disk is waited for under the
// lock: two answers to who the node belongs to would be worse.
func (n *node) saveIdentity(change func(*identity)) error {
	n.identityMu.Lock()
	defer n.identityMu.Unlock()
	id := n.saved
	if change(&id); id == n.saved {
		return nil
	}
	if err := n.store.saveIdentity(id); err != nil {
		return err
	}
	n.saved = id
	return nil
}

// markedMachine notes each entry as applied before it is visible, so that a
// read never shows what a restart could forget.
type markedMachine struct {
	*fsm.Machine
	mark     commitMark
	log      *raftguard.Store // on whose disk the mark is
	marked   uint64           // highest index noted
	fatal    func(error)
	took     prometheus.Observer // seconds to write one snapshot
	installs installWatch
}

// markedMachine returns the machine as Raft gets it, after restore.
func (n *node) markedMachine() *markedMachine {
	return &markedMachine{Machine: n.machine, mark: n.store.mark, log: n.store.log, marked: n.View().Index(), fatal: n.fatal, took: n.metrics.raftSnapshot}
}

func (m *markedMachine) Apply(entry *raft.Log) any {
	m.note(entry.Index)
	if defect.Seeded && defect.OneIn(200, defect.SkipEntries) {
		m.Machine.StoreConfiguration(entry.Index, raft.Configuration{})
		return fsm.Outcome{}
	}
	return m.Machine.Apply(entry)
}

func (m *markedMachine) StoreConfiguration(index uint64, c raft.Configuration) {
	m.note(index)
	m.Machine.StoreConfiguration(index, c)
}

func (m *markedMachine) Restore(snapshot io.ReadCloser) error {
	if m.installs.installing(time.Now()) {
		snapshot.Close()
		err := fmt.Errorf("the leader has sent %d snapshots within %v and this node could apply no log entry after any: its log conflicts with them (hashicorp/raft#697); "+
			"move the data path away and start this node with an empty one: the others will bring it up to date", maxInstalls+1, installWindow)
		m.fatal(err)
		return err
	}
	return m.Machine.Restore(snapshot)
}

// note moves the mark on. What Raft replays after a start is below it.
func (m *markedMachine) note(index uint64) {
	m.installs.applied()
	if index <= m.marked {
		return
	}
	// A disk may hang in this write first, and Raft ask for the next only when a
	// command has been given up and is tried again: a second later.
	if err := m.log.Watch(func() error { return m.mark.Store(index) }); err != nil {
		m.fatal(err)
	}
	m.marked = index
}

func (m *markedMachine) Snapshot() (raft.FSMSnapshot, error) {
	snapshot, err := m.Machine.Snapshot()
	return timedSnapshot{snapshot, m.took}, err
}

type timedSnapshot struct {
	raft.FSMSnapshot
	took prometheus.Observer
}

func (s timedSnapshot) Persist(sink raft.SnapshotSink) error {
	begun := time.Now()
	defer func() { s.took.Observe(time.Since(begun).Seconds()) }()
	return s.FSMSnapshot.Persist(sink)
}

// A broadcast wakes all who wait for something to change.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that the next notify closes.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// deafListener is the internal port of a node that is alone.
type deafListener struct{ done chan struct{} }

func newDeafListener() *deafListener { return &deafListener{done: make(chan struct{})} }

func (l *deafListener) Accept() (net.Conn, error) { <-l.done; return nil, net.ErrClosed }
func (l *deafListener) Close() error              { close(l.done); return nil }
func (l *deafListener) Addr() net.Addr            { return portAddr("localhost:0") }
