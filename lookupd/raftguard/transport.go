package raftguard

import (
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// rpcTimeout bounds one RPC, its dial included. A black-holed RPC pins the
	// peer's heartbeats for as long, so it also bounds how soon a healed link is
	// used again. Raft stretches it by a snapshot's size.
	rpcTimeout = time.Second

	// maxPool is how many idle connections are kept to one peer.
	maxPool = 4
)

var (
	_ raft.Transport   = (*Transport)(nil)
	_ raft.WithPreVote = (*Transport)(nil)
	_ raft.WithClose   = (*Transport)(nil)
)

// Transport is a raft.NetworkTransport that hands heartbeats to Raft in the
// order of everything else, never pipelines, remembers which peers answered what
// a leader sent, and when it was sent, waits for peers that are away, falls
// silent while this server's disk hangs, and can make Raft stand for election, or
// hold back from it.
//
// It stands in for the NetworkTransport it embeds wherever Raft asks for more
// than a raft.Transport (pre-votes, Close).
type Transport struct {
	*raft.NetworkTransport
	self raft.ServerID // read-only after NewTransport
	acks ackClock
	gate stallGate
	raft atomic.Pointer[raft.Raft] // nil until Attach

	holdBackUntil atomic.Pointer[time.Time] // nil: never has

	requests chan raft.RPC // to Raft
	done     chan struct{} // closed by Close
	pumped   chan struct{} // closed when pump has returned
	once     sync.Once
}

// NewTransport returns the transport of the server self, which accepts and
// dials on stream. While a StoreLogs of store hangs it sends nothing to followers;
// store may be nil. It begins to accept at once; Close closes stream.
func NewTransport(self raft.ServerID, stream raft.StreamLayer, store *Store, logger hclog.Logger) *Transport {
	t := &Transport{
		self: self,
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:  stream,
			Logger:  logger,
			Timeout: rpcTimeout,
			MaxPool: maxPool,
			// More than one, and raft replicates through a pipeline that deadlocks
			// when a follower answers Success=false to a request while another is in
			// flight: the follower gets no entry again, though heartbeats go on, and
			// the leader cannot shut down (#612). Without the pipeline every
			// request also passes through AppendEntries below.
			MaxRPCsInFlight: 1,
		}),
		acks: ackClock{peers: make(map[raft.ServerID]*peer)},
		gate: stallGate{store: store, log: logger},

		requests: make(chan raft.RPC), // unbuffered, as Campaign promises
		done:     make(chan struct{}),
		pumped:   make(chan struct{}),
	}
	go t.pump()
	return t
}

// Attach tells the transport which Raft it serves. Until then no request is
// held for a peer that is away: see hold.
func (t *Transport) Attach(r *raft.Raft) { t.raft.Store(r) }

// SetHeartbeatHandler ignores the handler, so that heartbeats reach Raft through
// Consumer and are handled on its main goroutine like every other request.
//
// The handler would be called on the connection's goroutine and change term,
// state and leader while the main goroutine is in the middle of another request.
// A follower could then promise a new term in a heartbeat and afterwards
// acknowledge an entry of the old one: replicas diverge for good (#695).
//
// The price is that a follower busy with its disk answers heartbeats late. It
// starts no election meanwhile, as its election timer is on the same goroutine.
func (t *Transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntries sends one request, heartbeat or not, and notes the answer. If
// there is none to a request that is no heartbeat, it returns only when the
// peer answers again; see hold.
func (t *Transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	// Raft's loops decode every answer into the same struct. No field of an
	// earlier one may count as this one's.
	*resp = raft.AppendEntriesResponse{}
	err := t.gate.check()
	if err == nil {
		sent := time.Now()
		if err = t.NetworkTransport.AppendEntries(id, addressOf(id, target), req, resp); err == nil {
			t.acks.record(id, req.Term, sent, resp)
			return nil
		}
	}
	if !isHeartbeat(req) {
		t.hold(id, req.Term)
	}
	return err
}

// InstallSnapshot sends a snapshot. It refuses and holds as AppendEntries does.
func (t *Transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	err := t.gate.check()
	if err == nil {
		if err = t.NetworkTransport.InstallSnapshot(id, addressOf(id, target), req, resp, data); err == nil {
			return nil
		}
	}
	t.hold(id, req.Term)
	return err
}

// RequestVote and TimeoutNow only say whom they mean.

func (t *Transport) RequestVote(id raft.ServerID, target raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.NetworkTransport.RequestVote(id, addressOf(id, target), req, resp)
}

func (t *Transport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.NetworkTransport.TimeoutNow(id, addressOf(id, target), req, resp)
}

// addressOf is the address that NetworkTransport dials, and keeps idle
// connections by: it names the server too. A server that another has replaced
// at the same address would otherwise be sent, over a connection that is left
// from its time, what is meant for the other, and its answers would count as
// the other's.
func addressOf(id raft.ServerID, target raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "@" + string(target))
}

// SplitAddress takes apart what a StreamLayer is asked to dial: which server is
// meant, and the address that the configuration has of it.
func SplitAddress(address raft.ServerAddress) (id raft.ServerID, target string) {
	server, target, _ := strings.Cut(string(address), "@")
	return raft.ServerID(server), target
}

// isHeartbeat tells heartbeats from replication just as NetworkTransport does
// when it receives them.
func isHeartbeat(req *raft.AppendEntriesRequest) bool {
	return req.Term != 0 && len(req.RPCHeader.Addr) > 0 &&
		req.PrevLogEntry == 0 && req.PrevLogTerm == 0 &&
		len(req.Entries) == 0 && req.LeaderCommitIndex == 0
}

// Close stops accepting, closes the stream layer and the idle connections to
// peers, which NetworkTransport alone would leave open. Connections that peers
// opened are the stream layer's to close.
func (t *Transport) Close() error {
	t.once.Do(func() { close(t.done) })
	<-t.pumped
	err := t.NetworkTransport.Close()
	t.CloseStreams()
	return err
}
