package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// DefaultMaxConns is the number of connections a Server holds unless told
// otherwise.
const DefaultMaxConns = 65536

// A failing Accept (out of descriptors, most often) is tried again after
// minBackoff, doubled up to maxBackoff while it goes on failing.
const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// acceptedAtOnce bounds the connections that are accepted, and begin, before what else the
// process does has had its turn.
const acceptedAtOnce = 32

// ServerOptions say what a Server does with its connections.
type ServerOptions struct {
	// Handler serves one connection on a goroutine of its own. The Server closes
	// the connection when Handler returns, and closes it under Handler when
	// Close is called. A panic in Handler is logged and ends that connection only.
	Handler func(net.Conn)

	Logger hclog.Logger

	// MaxConns bounds the connections held at once; 0 is DefaultMaxConns.
	// Those beyond it wait in the listener's backlog.
	MaxConns int

	// Admit, if not nil, is called before each Accept and returns when one more
	// connection is welcome, so that a herd waits in the backlog rather than
	// time out in mid protocol. It returns an error only if ctx has ended, which
	// it does when the Server stops accepting.
	Admit func(ctx context.Context) error
}

// A Server accepts connections and runs a function for each.
type Server struct {
	// Read-only after NewServer.
	opts  ServerOptions
	slots chan struct{} // one element for each connection held or being accepted
	ctx   context.Context
	stop  context.CancelFunc // ends accepting

	handlers sync.WaitGroup // Add only under mu while !closed

	mu        sync.Mutex
	closed    bool // no further connection is taken
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]struct{}
}

// NewServer returns a Server that holds no resources until Serve is called.
func NewServer(opts ServerOptions) *Server {
	if opts.MaxConns <= 0 {
		opts.MaxConns = DefaultMaxConns
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Server{
		opts:      opts,
		slots:     make(chan struct{}, opts.MaxConns),
		ctx:       ctx,
		stop:      stop,
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[net.Conn]struct{}),
	}
}

// Serve accepts connections from ln, which it takes over, until StopAccepting or
// Close is called; it then returns nil. It may be called for several listeners
// at once; MaxConns counts the connections of all of them. Any error other than
// a passing failure of Accept is returned, with ln closed.
func (s *Server) Serve(ln net.Listener) error {
	defer ln.Close()
	if !s.trackListener(ln) {
		return nil
	}
	defer s.untrackListener(ln)

	backoff := minBackoff
	for accepted := 1; ; accepted++ {
		if accepted%acceptedAtOnce == 0 {
			runtime.Gosched() // a storm of clients must not keep all else waiting
		}
		if !s.admit() {
			return nil
		}
		conn, err := ln.Accept()
		if err == nil {
			backoff = minBackoff
			s.start(conn)
			continue
		}
		<-s.slots
		if s.ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		s.opts.Logger.Warn("accept failed, trying again", "address", ln.Addr(), "after", backoff, "err", err)
		select {
		case <-time.After(backoff):
		case <-s.ctx.Done():
			return nil
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// admit takes a slot for one more connection. It returns false if the Server
// stopped accepting first.
func (s *Server) admit() bool {
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return false
	}
	if s.opts.Admit != nil && s.opts.Admit(s.ctx) != nil || s.ctx.Err() != nil {
		<-s.slots
		return false
	}
	return true
}

// start runs the handler for conn, whose slot is taken.
func (s *Server) start(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		<-s.slots
		return
	}
	s.conns[conn] = struct{}{}
	s.handlers.Go(func() {
		defer s.finish(conn)
		s.opts.Handler(conn)
	})
}

// finish is deferred by the goroutine of conn.
func (s *Server) finish(conn net.Conn) {
	if v := recover(); v != nil {
		s.opts.Logger.Error("panic in connection", "remote", conn.RemoteAddr(), "panic", v, "stack", string(debug.Stack()))
	}
	conn.Close()
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
	<-s.slots
}

func (s *Server) trackListener(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.listeners[ln] = struct{}{}
	return true
}

func (s *Server) untrackListener(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
}

// StopAccepting closes the listeners for good; live connections go on. It may be
// called more than once and returns the first error of closing a listener.
func (s *Server) StopAccepting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopLocked()
}

func (s *Server) stopLocked() error {
	s.stop()
	var first error
	for ln := range s.listeners {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) && first == nil {
			first = fmt.Errorf("close listener %s: %w", ln.Addr(), err)
		}
	}
	clear(s.listeners)
	return first
}

// Close stops accepting, closes every connection and waits until every Handler
// has returned, so it must not be called from one. It may be called more than
// once and returns StopAccepting's error.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	err := s.stopLocked()
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, conn := range conns {
		// Closing a TLS connection writes to it, which a peer that does not read
		// would hold up for seconds.
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		conn.Close()
	}
	s.handlers.Wait()
	return err
}
