package lookupd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"nsqraft/fsm"
	"nsqraft/lookupd/peerpb"
)

// maxMessage bounds one gRPC message: a batch and its envelope with room.
const maxMessage = 1 << 20

func grpcOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(1024),
		grpc.ConnectionTimeout(helloTimeout),
	}
}

// peers holds one gRPC connection to each other member, dialled through the
// internal port and so only to the very instance that is a member.
type peers struct {
	port *port

	mu     sync.Mutex
	conns  map[raft.ServerID]*peerConn
	closed bool
}

type peerConn struct {
	addr raft.ServerAddress
	conn *grpc.ClientConn
}

func newPeers(p *port) *peers {
	return &peers{port: p, conns: make(map[raft.ServerID]*peerConn)}
}

// client returns the Peer service of the member id at addr, without dialling
// yet.
func (p *peers) client(id raft.ServerID, addr raft.ServerAddress) (peerpb.PeerClient, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, net.ErrClosed
	}
	if c, ok := p.conns[id]; ok {
		if c.addr == addr {
			return peerpb.NewPeerClient(c.conn), nil
		}
		c.conn.Close()
		delete(p.conns, id)
	}
	conn, err := p.connection(kindPeer, string(addr), string(id))
	if err != nil {
		return nil, err
	}
	p.conns[id] = &peerConn{addr, conn}
	return peerpb.NewPeerClient(conn), nil
}

// reset gives up the connection to id: it went silent, and the next one may
// find another way.
func (p *peers) reset(id raft.ServerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.conns[id]; ok {
		c.conn.Close()
		delete(p.conns, id)
	}
}

// introduce calls f with the Introduction service of whoever answers at addr.
func (p *peers) introduce(addr string, f func(peerpb.IntroductionClient) error) error {
	conn, err := p.connection(kindStranger, addr, "")
	if err != nil {
		return err
	}
	defer conn.Close()
	return f(peerpb.NewIntroductionClient(conn))
}

func (p *peers) connection(kind byte, addr, to string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the port has its own TLS
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			conn, _, err := p.port.connect(ctx, kind, addr, to)
			return conn, err
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 250 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
	)
}

func (p *peers) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for id, c := range p.conns {
		c.conn.Close()
		delete(p.conns, id)
	}
}

// toStatus turns the errors that a caller on another node branches on into
// codes; fromStatus turns the codes back.
func toStatus(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNotLeader):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, errRejected):
		return status.Error(codes.InvalidArgument, err.Error())
	default:
		return status.Error(codes.Aborted, err.Error())
	}
}

func fromStatus(err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.FailedPrecondition:
		return fmt.Errorf("%w: %s", errNotLeader, status.Convert(err).Message())
	case codes.InvalidArgument, codes.Unimplemented: // by an older version
		return fmt.Errorf("%w: %s", errRejected, status.Convert(err).Message())
	default:
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
}

// commit is the writer's committer: the leader's log, wherever the leader is.
func (n *node) commit(ctx context.Context, batch []byte) (fsm.Outcome, error) {
	addr, id := n.raft.LeaderWithID()
	if n.raft.State() == raft.Leader {
		return n.applyLocally(ctx, batch)
	}
	if id == "" || id == n.self {
		return fsm.Outcome{}, errNotLeader
	}
	client, err := n.peers.client(id, addr)
	if err != nil {
		return fsm.Outcome{}, err
	}
	resp, err := client.Propose(ctx, &peerpb.ProposeRequest{Batch: batch})
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			n.peers.reset(id)
		}
		return fsm.Outcome{}, fromStatus(err)
	}
	results := make([]fsm.Result, len(resp.Results))
	for i, r := range resp.Results {
		results[i] = fsm.Result(r)
	}
	return fsm.Outcome{Status: fsm.Status(resp.Status), Index: resp.Index, Results: results, Epoch: resp.Epoch, Sequence: resp.Sequence}, nil
}

// applyLocally commits a batch on this node's own log, if it leads.
func (n *node) applyLocally(ctx context.Context, batch []byte) (fsm.Outcome, error) {
	begun := time.Now()
	enqueue := attemptTimeout
	if deadline, ok := ctx.Deadline(); ok {
		enqueue = max(time.Millisecond, time.Until(deadline))
	}
	if !n.beginApply() {
		return fsm.Outcome{}, fmt.Errorf("%w: it is stopping", errNotLeader)
	}
	term := n.raft.CurrentTerm()
	future := n.raft.Apply(batch, enqueue)
	err := await(ctx, endingFuture{future, n.applies.Done})
	if ctx.Err() == nil && n.transfers.note(err, term, time.Now()) {
		n.fatal(fmt.Errorf("a leadership transfer does not come to an end, and until it does this leader would refuse every write (hashicorp/raft#696); start this node again: %w", err))
	}
	if err != nil {
		return fsm.Outcome{}, raftError(err)
	}
	n.metrics.raftApply.Observe(time.Since(begun).Seconds())
	return future.Response().(fsm.Outcome), nil
}

// await returns the error of future, or ctx's if that ends first. The future of
// a leader whose disk hangs resolves when the disk comes back or Raft shuts
// down: that, at the latest, ends the goroutine. (Only a transfer that Raft had
// not begun when it shut down is never answered; the process ends then.)
func await(ctx context.Context, future raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- future.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beginApply counts one more entry on its way, unless the node is being closed.
func (n *node) beginApply() bool {
	n.appliesMu.Lock()
	defer n.appliesMu.Unlock()
	if n.ctx.Err() != nil {
		return false
	}
	n.applies.Add(1)
	return true
}

// endingFuture calls ended when Error returns, however long nobody waits for it
// any more.
type endingFuture struct {
	raft.Future
	ended func()
}

func (f endingFuture) Error() error {
	defer f.ended()
	return f.Future.Error()
}

// awaitApplies waits, for at most limit, until what is on its way to the log has
// got there or certainly will not; none begins any more. Raft forgets to
// answer for entries that are committed, but not yet applied, when it shuts down
// (hashicorp/raft#498).
func (n *node) awaitApplies(limit time.Duration) {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		n.applies.Wait()
	}()
	select {
	case <-answered:
	case <-time.After(limit):
	}
}

// raftError says what an error of raft.Apply means for the entry: certainly
// not committed, or nobody knows.
func raftError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", errNotLeader, err)
	default:
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
}

// peerService answers the other members.
type peerService struct {
	peerpb.UnimplementedPeerServer
	node *node
}

func (s *peerService) Propose(ctx context.Context, req *peerpb.ProposeRequest) (*peerpb.ProposeResponse, error) {
	// A bad batch must die here: once in the log it would stop every replica.
	if _, err := fsm.Decode(req.Batch); err != nil {
		return nil, toStatus(fmt.Errorf("%w: %w", errRejected, err))
	}
	outcome, err := s.node.applyLocally(ctx, req.Batch)
	if err != nil {
		return nil, toStatus(err)
	}
	results := make([]byte, len(outcome.Results))
	for i, r := range outcome.Results {
		results[i] = byte(r)
	}
	return &peerpb.ProposeResponse{Status: uint32(outcome.Status), Index: outcome.Index, Results: results, Epoch: outcome.Epoch, Sequence: outcome.Sequence}, nil
}

func (s *peerService) ReadIndex(ctx context.Context, _ *peerpb.ReadIndexRequest) (*peerpb.ReadIndexResponse, error) {
	index, err := s.node.reads.do(ctx, s.node.confirmRead)
	if err != nil {
		return nil, toStatus(err)
	}
	return &peerpb.ReadIndexResponse{Index: index}, nil
}

func (s *peerService) Renew(_ context.Context, req *peerpb.RenewRequest) (*peerpb.RenewResponse, error) {
	n := s.node
	d := n.duties.Load()
	now := time.Now()
	age, leads := n.leadershipAge(now)
	if d == nil || !leads {
		return nil, toStatus(errNotLeader)
	}
	d.renewed(life{req.Node, req.Epoch})
	d.noteLogWrite(req.Node, time.Duration(req.LogWrite))
	n.compareHash(req.Node, req.Applied, req.Hash)
	n.waits.hear(req.Waits, now)
	return &peerpb.RenewResponse{Applied: n.View().Index(), Age: int64(age), Live: uint32(n.liveVoters()), Waits: n.waits.tell(now)}, nil
}

func (s *peerService) Transfer(ctx context.Context, req *peerpb.TransferRequest) (*peerpb.TransferResponse, error) {
	if err := s.node.transferLocally(ctx, req.Node); err != nil {
		return nil, toStatus(err)
	}
	return &peerpb.TransferResponse{}, nil
}

func (s *peerService) Remove(ctx context.Context, req *peerpb.RemoveRequest) (*peerpb.RemoveResponse, error) {
	if err := s.node.removeLocally(ctx, req.Node); err != nil {
		return nil, toStatus(err)
	}
	return &peerpb.RemoveResponse{}, nil
}

func (s *peerService) Add(ctx context.Context, req *peerpb.AddRequest) (*peerpb.AddResponse, error) {
	// The next leader would do as well, but whoever asked this one goes by its word.
	if s.node.raft.State() != raft.Leader {
		return nil, toStatus(errNotLeader)
	}
	id, refusal, err := s.node.addLocally(ctx, req.Address)
	if err != nil {
		return nil, toStatus(err)
	}
	return &peerpb.AddResponse{Node: id, Refusal: refusal}, nil
}

func (s *peerService) Status(context.Context, *peerpb.StatusRequest) (*peerpb.StatusResponse, error) {
	return s.node.status(), nil
}

// introductionService answers nodes that are no members yet, and anyone who
// asks how this one is.
type introductionService struct {
	peerpb.UnimplementedIntroductionServer
	node *node
}

func (s *introductionService) Status(context.Context, *peerpb.StatusRequest) (*peerpb.StatusResponse, error) {
	return s.node.status(), nil
}

func (s *introductionService) Form(_ context.Context, req *peerpb.FormRequest) (*peerpb.FormResponse, error) {
	if err := s.node.acceptForm(req); err != nil {
		return nil, toStatus(err)
	}
	return &peerpb.FormResponse{}, nil
}

func (s *introductionService) Join(ctx context.Context, req *peerpb.JoinRequest) (*peerpb.JoinResponse, error) {
	if err := s.node.acceptJoin(ctx, req); err != nil {
		return nil, toStatus(err)
	}
	return &peerpb.JoinResponse{Cluster: s.node.cluster()}, nil
}

func (s *introductionService) Invite(ctx context.Context, req *peerpb.InviteRequest) (*peerpb.InviteResponse, error) {
	if err := s.node.acceptInvite(ctx, req); err != nil {
		return nil, toStatus(err)
	}
	return &peerpb.InviteResponse{}, nil
}
