package nsqtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
)

// backlog is how many connections a listener holds that nobody has accepted
// yet. Dials beyond it wait, as they do for a kernel that drops SYNs.
const backlog = 128

// Network is an in-memory network of hosts. An address is "host:port"; the
// faults are those of hosts and of the links between them, so where a host is
// asked for, an address of it will do. A fault acts on everything a host has:
// its listeners and both ends of its connections.
//
// Without faults a byte arrives the moment it is written. A host always
// reaches itself.
type Network struct {
	mu        sync.Mutex // a leaf; guards everything here and in every conn
	listeners map[addr]*listener
	conns     map[*conn]struct{} // ends that are open
	cut       map[link]bool
	isolated  map[string]bool // by host
	lastPort  int
	changed   chan struct{} // closed and replaced when a waiting dial should look again
}

// link is two hosts, the lesser name first.
type link struct{ a, b string }

func linkOf(a, b string) link {
	if b < a {
		a, b = b, a
	}
	return link{a, b}
}

// NewNetwork returns a network on which every host reaches every other.
func NewNetwork() *Network {
	return &Network{
		listeners: make(map[addr]*listener),
		conns:     make(map[*conn]struct{}),
		cut:       make(map[link]bool),
		isolated:  make(map[string]bool),
		lastPort:  49151, // the first dial comes from 49152, the first ephemeral port
		changed:   make(chan struct{}),
	}
}

// Listen opens address until it is closed or its host is killed; afterwards it
// can be opened again.
func (n *Network) Listen(address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := addr(address)
	if n.listeners[a] != nil {
		return nil, &net.OpError{Op: "listen", Net: a.Network(), Addr: a, Err: syscall.EADDRINUSE}
	}
	l := &listener{net: n, addr: a, arrived: sync.NewCond(&n.mu)}
	n.listeners[a] = l
	return l, nil
}

// Dial connects the host from to the listener at the address to. If nobody
// listens there the error wraps syscall.ECONNREFUSED. While the two hosts are
// cut apart, Dial waits for the link to heal, until ctx ends.
func (n *Network) Dial(ctx context.Context, from, to string) (net.Conn, error) {
	fail := func(err error) error {
		return &net.OpError{Op: "dial", Net: addr(to).Network(), Addr: addr(to), Err: err}
	}
	for {
		if ctx.Err() != nil {
			return nil, fail(ctx.Err())
		}
		n.mu.Lock()
		if n.linkedLocked(hostOf(from), hostOf(to)) {
			l := n.listeners[addr(to)]
			if l == nil {
				n.mu.Unlock()
				return nil, fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
			}
			if len(l.backlog) < backlog {
				c := n.connectLocked(hostOf(from), l)
				n.mu.Unlock()
				return c, nil
			}
		}
		changed := n.changed
		n.mu.Unlock()

		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (n *Network) connectLocked(from string, l *listener) net.Conn {
	n.lastPort++
	client := &conn{net: n, changed: sync.NewCond(&n.mu), remote: l.addr}
	client.local = addr(net.JoinHostPort(from, fmt.Sprint(n.lastPort)))
	server := &conn{net: n, changed: sync.NewCond(&n.mu), local: l.addr, remote: client.local}
	client.peer, server.peer = server, client
	n.conns[client], n.conns[server] = struct{}{}, struct{}{}
	l.backlog = append(l.backlog, server)
	l.arrived.Signal()
	return client
}

// Cut parts two hosts: what either sends is held back, nothing is reset, and
// dials hang. As TCP would send it again, it arrives when the link heals.
func (n *Network) Cut(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[linkOf(hostOf(a), hostOf(b))] = true
}

// Isolate cuts host off from every other, those yet to come included.
func (n *Network) Isolate(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isolated[hostOf(host)] = true
}

// Heal ends every Cut and Isolate.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	clear(n.isolated)
	for c := range n.conns {
		c.arriveLocked()
	}
	n.notifyLocked()
}

// Kill does to a host what SIGKILL does to its one process: its listeners close
// and refuse, and its connections are reset at both ends (at the far end when
// the link heals, if it is cut).
func (n *Network) Kill(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	host = hostOf(host)
	for a, l := range n.listeners {
		if hostOf(string(a)) == host {
			l.closeLocked()
		}
	}
	for c := range n.conns {
		if hostOf(string(c.local)) == host {
			c.resetLocked()
		}
	}
	n.notifyLocked()
}

// notifyLocked lets waiting dials look again.
func (n *Network) notifyLocked() {
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *Network) linkedLocked(a, b string) bool {
	return a == b || !n.isolated[a] && !n.isolated[b] && !n.cut[linkOf(a, b)]
}

// addr is "host:port" on a Network.
type addr string

func (addr) Network() string  { return "mem" }
func (a addr) String() string { return string(a) }

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

type listener struct {
	net  *Network
	addr addr

	// Guarded by net.mu.
	backlog []*conn
	closed  bool
	arrived *sync.Cond
}

func (l *listener) Accept() (net.Conn, error) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	for len(l.backlog) == 0 && !l.closed {
		l.arrived.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
	}
	c := l.backlog[0]
	l.backlog = l.backlog[1:]
	l.net.notifyLocked()
	return c, nil
}

// Close refuses further dials and resets what was never accepted.
func (l *listener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.closeLocked()
	l.net.notifyLocked()
	return nil
}

func (l *listener) closeLocked() {
	if l.closed {
		return
	}
	l.closed = true
	delete(l.net.listeners, l.addr)
	for _, c := range l.backlog {
		c.resetLocked()
	}
	l.backlog = nil
	l.arrived.Broadcast()
}

func (l *listener) Addr() net.Addr { return l.addr }
