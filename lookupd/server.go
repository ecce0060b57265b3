package lookupd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/httpapi"
	"nsqraft/internal/wire"
)

const (
	// leaveTimeout bounds what a graceful stop waits for the cluster to take
	// over; after it the node just goes, which costs the others a lease.
	leaveTimeout = 2 * time.Second
	// httpDrain bounds what requests in flight may take at a stop.
	httpDrain = 2 * time.Second
	// aloneWait bounds what a node without others takes to elect itself.
	aloneWait = 5 * time.Second
	// maxHTTPConns bounds the HTTP connections at one time, blocking queries
	// included; more wait in accept.
	maxHTTPConns = 32768
	// admitPoll is how often a herd that waits in accept is looked at again.
	admitPoll = 10 * time.Millisecond
)

// A Server is one nsqlookupd: a TCP and an HTTP listener over a Raft member's
// copy of the registry.
type Server struct {
	// Read-only after New.
	opts *Options
	log  hclog.Logger

	// Set by Open.
	tcpListener  net.Listener
	httpListener net.Listener
	sessions     *sessions
	node         *node
	tls          *certificates
	tcp          *wire.Server
	http         *http.Server
	requests     context.CancelFunc // ends blocking queries

	failed chan error // buffered; the first thing that ended the server
	wg     sync.WaitGroup
	close  sync.Once
	err    error // of Close
}

// New returns a Server for opts, which must have passed Validate. It does no
// I/O.
func New(opts *Options, log hclog.Logger) *Server {
	return &Server{opts: opts, log: log, failed: make(chan error, 1)}
}

// Open takes the ports, restores what --data-path holds and begins to serve.
// It does not wait for the cluster. On error nothing is left open.
func (s *Server) Open() (err error) {
	var undo []func() error
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	if s.tcpListener, err = net.Listen("tcp", s.opts.TCPAddress); err != nil {
		return fmt.Errorf("listen for nsqds: %w", err)
	}
	undo = append(undo, s.tcpListener.Close)
	if s.httpListener, err = net.Listen("tcp", s.opts.HTTPAddress); err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	undo = append(undo, s.httpListener.Close)
	env, err := s.environment()
	if err != nil {
		return err
	}
	undo = append(undo, env.close)
	s.sessions = new(sessions)
	if s.node, err = openNode(s.opts, env, s.sessions, s.log); err != nil {
		return err
	}
	undo = append(undo, s.node.Close)
	if !s.opts.clustered() {
		// Stock answers from the moment it listens; what connects until then
		// waits in the backlog.
		s.node.awaitReady(aloneWait)
	}
	env.metrics.watch(s.node, s.sessions, s.node.raftStats)
	return s.serve(env.metrics)
}

// environment is the real world: this node's data folder and raft port.
func (s *Server) environment() (env environment, err error) {
	env.fatal, env.metrics = s.fail, newMetrics()
	env.http = net.JoinHostPort(s.opts.BroadcastAddress, strconv.Itoa(portOf(s.httpListener.Addr())))
	env.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	if !s.opts.clustered() {
		env.store = memoryStorage(s.opts.NodeID)
		return env, nil
	}
	if s.opts.TLSCert != "" {
		if s.tls, err = loadCertificates(s.opts.TLSCert, s.opts.TLSKey, s.opts.TLSCA); err != nil {
			return env, err
		}
		env.tls = s.tls.configs
	}
	onFailure := func(err error) {
		s.fail(fmt.Errorf("the raft log can no longer be written, nothing more is acknowledged on it: %w", err))
	}
	if env.store, err = openStorage(s.opts.DataPath, s.opts.NodeID, onFailure, env.metrics.raftFsync, s.log); err != nil {
		return env, err
	}
	if env.listener, err = net.Listen("tcp", s.opts.RaftAddress); err != nil {
		env.store.close()
		return env, fmt.Errorf("listen for other nodes: %w", err)
	}
	return env, nil
}

// serve begins to answer nsqds and HTTP clients.
func (s *Server) serve(m *metrics) error {
	tcpPort, httpPort := portOf(s.tcpListener.Addr()), portOf(s.httpListener.Addr())
	welcome, err := encodeWelcome(s.opts.BroadcastAddress, tcpPort, httpPort)
	if err != nil {
		return fmt.Errorf("answer to IDENTIFY: %w", err)
	}
	v1 := newV1(s.node, s.sessions, m, s.log, welcome, s.opts.InactiveProducerTimeout)
	s.tcp = wire.NewServer(wire.ServerOptions{Handler: v1.Handle, Logger: s.log, MaxConns: s.opts.MaxConnections, Admit: s.admit})
	ctx, cancel := context.WithCancel(context.Background())
	s.requests = cancel
	api := newHTTPAPI(ctx, s.node, s.node, s.sessions, m, s.log, s.opts.TombstoneLifetime)
	s.http = httpapi.NewServer(api.routes(s.node.clusterRoutes), s.log, httpapi.ServerOptions{})
	s.log.Info("TCP: listening on " + s.tcpListener.Addr().String())
	s.log.Info("HTTP: listening on " + s.httpListener.Addr().String())
	s.wg.Go(func() {
		if err := s.tcp.Serve(s.tcpListener); err != nil {
			s.fail(fmt.Errorf("serve nsqds: %w", err))
		}
	})
	s.wg.Go(func() {
		if err := s.http.Serve(httpapi.Listener(s.httpListener, maxHTTPConns)); !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serve HTTP: %w", err))
		}
	})
	return nil
}

// admit holds a herd in accept while the writer has more than half of what it
// can queue: commands that wait there would time out.
func (s *Server) admit(ctx context.Context) error {
	for s.node.writer.depth() > maxQueued/2 {
		sleep(ctx, admitPoll)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// Failed delivers the error that ended the server from within: it can no
// longer keep its promises, and the process should end.
func (s *Server) Failed() <-chan error { return s.failed }

func (s *Server) fail(err error) {
	s.log.Error("this node cannot go on", "err", err)
	select {
	case s.failed <- err:
	default:
	}
}

// TCPAddr and HTTPAddr return what the server listens on, after Open.
func (s *Server) TCPAddr() net.Addr  { return s.tcpListener.Addr() }
func (s *Server) HTTPAddr() net.Addr { return s.httpListener.Addr() }

// Reload reads the certificates anew. On error the old ones stay.
func (s *Server) Reload() error {
	if s.tls == nil {
		return nil
	}
	return s.tls.reload()
}

// Close stops gracefully, within a few seconds: leadership is handed on, what
// is in flight is committed, and the producers registered here stay listed
// until they have come back or the grace is over. It may be called twice.
func (s *Server) Close() error {
	s.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		s.node.handOver(ctx)
		s.tcp.StopAccepting()
		s.sessions.Leave()
		s.node.Leave(ctx)
		s.log.Info("TCP: closing")
		errTCP := s.tcp.Close()
		s.log.Info("HTTP: closing")
		s.requests()
		drain, stop := context.WithTimeout(context.Background(), httpDrain)
		defer stop()
		if s.http.Shutdown(drain) != nil {
			s.http.Close()
		}
		s.wg.Wait()
		s.err = errors.Join(errTCP, s.node.Close())
	})
	return s.err
}

func portOf(addr net.Addr) int {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}
