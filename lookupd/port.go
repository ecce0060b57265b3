package lookupd

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"nsqraft/lookupd/peerpb"
)

// The first byte of a connection to the internal port says what it carries.
const (
	kindRaft     byte = 1 // hashicorp/raft's transport
	kindPeer     byte = 2 // gRPC between members
	kindStranger byte = 3 // gRPC with a node that is no member yet
)

const (
	helloTimeout = 5 * time.Second // for TLS, kind and hello together
	maxHello     = 4 << 10
	maxAccepted  = 256 // connections accepted and not yet taken, of each kind
)

// A dialer opens a connection to host:port within ctx.
type dialer func(ctx context.Context, addr string) (net.Conn, error)

// errRefused is what dialling a node gives that does not want to talk to us:
// another cluster's, another instance's, or one that does not know us.
var errRefused = errors.New("refused")

// port is the internal port: it greets each accepted connection and hands it
// to Raft or to gRPC by its first byte, and dials both on other nodes.
type port struct {
	// Read-only after newPort.
	ln        net.Listener
	advertise string
	dial      dialer
	tls       func() (server, client *tls.Config) // nil: plain
	log       hclog.Logger
	self      func() (cluster, server string)
	// admit says why a member connection is refused; "" admits it.
	admit func(to, cluster string) string
	// open ends with Close, and dials with it: one to a host that is gone would
	// hold up a stop for as long as it may take.
	open context.Context
	shut context.CancelFunc

	raft     *subListener
	peer     *subListener
	stranger *subListener

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // accepted or dialled, not yet closed
	closed bool
	wg     sync.WaitGroup
}

func newPort(ln net.Listener, advertise string, dial dialer, log hclog.Logger) *port {
	p := &port{ln: ln, advertise: advertise, dial: dial, log: log, conns: make(map[net.Conn]struct{})}
	p.open, p.shut = context.WithCancel(context.Background())
	p.raft, p.peer, p.stranger = newSubListener(p), newSubListener(p), newSubListener(p)
	return p
}

// serve accepts until Close. Greetings happen in a goroutine each, so that a
// silent stranger holds up nobody.
func (p *port) serve() {
	defer p.wg.Done()
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			if p.isClosed() {
				return
			}
			p.log.Warn("accept on the raft port", "err", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		tracked, ok := p.track(conn)
		if !ok {
			conn.Close()
			return
		}
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			if err := p.greet(tracked); err != nil {
				p.log.Debug("connection to the raft port", "remote", conn.RemoteAddr(), "err", err)
				tracked.Close()
			}
		}()
	}
}

// greet answers one hello and hands the connection on.
func (p *port) greet(conn *portConn) error {
	conn.SetDeadline(time.Now().Add(helloTimeout))
	if p.tls != nil {
		server, _ := p.tls()
		conn.Conn = tls.Server(conn.Conn, server)
	}
	var kind [1]byte
	if _, err := io.ReadFull(conn, kind[:]); err != nil {
		return fmt.Errorf("read kind: %w", err)
	}
	hello := &peerpb.Hello{}
	if err := readMessage(conn, hello); err != nil {
		return fmt.Errorf("read hello: %w", err)
	}
	reply := &peerpb.HelloReply{}
	reply.Cluster, reply.Server = p.self()
	target := map[byte]*subListener{kindRaft: p.raft, kindPeer: p.peer, kindStranger: p.stranger}[kind[0]]
	if target == nil {
		return fmt.Errorf("kind byte %#x", kind[0])
	}
	if kind[0] != kindStranger {
		reply.Refusal = p.admit(hello.To, hello.Cluster)
	}
	if err := writeMessage(conn, reply); err != nil {
		return fmt.Errorf("write hello: %w", err)
	}
	if reply.Refusal != "" {
		return fmt.Errorf("%w %s: %s", errRefused, hello.From, reply.Refusal)
	}
	conn.SetDeadline(time.Time{})
	return target.deliver(conn)
}

// connect dials addr, greets, and returns the connection with what the other
// side said of itself. to may be empty for kindStranger.
func (p *port) connect(ctx context.Context, kind byte, addr, to string) (net.Conn, *peerpb.HelloReply, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	defer context.AfterFunc(p.open, cancel)()
	raw, err := p.dial(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	conn, ok := p.track(raw)
	if !ok {
		raw.Close()
		return nil, nil, net.ErrClosed
	}
	reply, err := p.introduce(ctx, conn, kind, addr, to)
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("greet %s: %w", addr, err)
	}
	return conn, reply, nil
}

func (p *port) introduce(ctx context.Context, conn *portConn, kind byte, addr, to string) (*peerpb.HelloReply, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if p.tls != nil {
		_, client := p.tls()
		client = client.Clone()
		client.ServerName, _, _ = net.SplitHostPort(addr)
		conn.Conn = tls.Client(conn.Conn, client)
	}
	hello := &peerpb.Hello{To: to}
	hello.Cluster, hello.From = p.self()
	if _, err := conn.Write([]byte{kind}); err != nil {
		return nil, err
	}
	if err := writeMessage(conn, hello); err != nil {
		return nil, err
	}
	reply := &peerpb.HelloReply{}
	if err := readMessage(conn, reply); err != nil {
		return nil, err
	}
	if reply.Refusal != "" {
		return nil, fmt.Errorf("%w: %s", errRefused, reply.Refusal)
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return reply, nil
}

// Close ends the listener and every live connection: Raft's transport and
// gRPC wait for their reads, which have no deadline of their own.
func (p *port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	conns := make([]net.Conn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	p.shut()
	err := p.ln.Close()
	p.raft.Close()
	p.peer.Close()
	p.stranger.Close()
	for _, c := range conns {
		c.Close()
	}
	p.wg.Wait()
	return err
}

func (p *port) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (p *port) track(conn net.Conn) (*portConn, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false
	}
	p.conns[conn] = struct{}{}
	return &portConn{Conn: conn, raw: conn, port: p}, true
}

// portConn is a live connection of the internal port.
type portConn struct {
	net.Conn // TLS once greeted with it
	raw      net.Conn
	port     *port
}

func (c *portConn) Close() error {
	c.port.mu.Lock()
	delete(c.port.conns, c.raw)
	c.port.mu.Unlock()
	return c.Conn.Close()
}

// subListener is the part of the internal port that carries one kind.
type subListener struct {
	port  *port
	conns chan *portConn
	done  chan struct{}
	once  sync.Once
}

func newSubListener(p *port) *subListener {
	return &subListener{port: p, conns: make(chan *portConn, maxAccepted), done: make(chan struct{})}
}

// deliver refuses what nobody accepts in time, rather than hold it open.
func (l *subListener) deliver(conn *portConn) error {
	select {
	case l.conns <- conn:
		return nil
	case <-l.done:
		return net.ErrClosed
	default:
		return errors.New("too many connections wait to be accepted")
	}
}

func (l *subListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *subListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *subListener) Addr() net.Addr { return portAddr(l.port.advertise) }

// portAddr is an address as the configuration names it: a DNS name stays one
// and is resolved on every dial.
type portAddr string

func (portAddr) Network() string  { return "tcp" }
func (a portAddr) String() string { return string(a) }

// raftStream is the internal port as hashicorp/raft sees it.
type raftStream struct {
	*subListener
	serverAt func(addr string) (server string, ok bool)
}

// Dial greets the member that the configuration has at address, and nobody
// else who may answer there: a wiped node at the same address is another
// instance, and its vote would count double.
func (s *raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	server, ok := s.serverAt(string(address))
	if !ok {
		return nil, fmt.Errorf("dial %s: no member of the cluster has this address", address)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, _, err := s.port.connect(ctx, kindRaft, string(address), server)
	return conn, err
}

// readMessage reads a message of at most maxHello bytes after its length in
// two bytes, and nothing beyond it.
func readMessage(r io.Reader, m proto.Message) error {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxHello {
		return fmt.Errorf("message of %d bytes", n)
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(r, buf); err != nil {
		return err
	}
	return proto.Unmarshal(buf, m)
}

func writeMessage(w io.Writer, m proto.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	if len(body) > maxHello {
		return fmt.Errorf("message of %d bytes", len(body))
	}
	bw := bufio.NewWriterSize(w, len(body)+2)
	binary.Write(bw, binary.BigEndian, uint16(len(body)))
	bw.Write(body)
	return bw.Flush()
}
