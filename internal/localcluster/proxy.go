package localcluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	maxConns    = 512             // between nodes, through one proxy; more wait to be accepted
	maxClients  = 16 << 10        // through one proxy, as maxConns
	maxHello    = 4 << 10         // as nodes have it
	helloWithin = 5 * time.Second // a caller says who it is
	dialWithin  = 5 * time.Second // the node is on this machine
)

// Clients is how a Link calls all who are no nodes.
const Clients = "clients"

// A proxy stands in front of one node's internal port: the other nodes call it, and it
// calls the node. Of each caller it reads who it is, and then lets pass what the
// network lets pass. Or it stands in front of a port for clients, all of which are
// Clients to it.
type proxy struct {
	name   string // of the node
	addr   string // where it is called
	target string // where the node listens
	net    *network
	from   string // who calls; "": callers say it themselves
	chunk  int    // bytes of a pipe's buffer

	stop  chan struct{} // closed by close
	slots chan struct{} // one for each connection that is open
	wg    sync.WaitGroup

	mu    sync.Mutex
	ln    net.Listener // nil: callers are refused
	conns map[net.Conn]struct{}
	done  bool
}

func newProxy(name, addr, target string, n *network) *proxy {
	return &proxy{name: name, addr: addr, target: target, net: n, chunk: chunkSize, stop: make(chan struct{}), slots: make(chan struct{}, maxConns), conns: make(map[net.Conn]struct{})}
}

func newClientProxy(name, addr, target string, n *network) *proxy {
	p := newProxy(name, addr, target, n)
	p.from, p.chunk, p.slots = Clients, clientChunk, make(chan struct{}, maxClients)
	return p
}

// listen takes calls from here on.
func (p *proxy) listen() error {
	ln, err := listen(p.addr, time.Now().Add(patience))
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done || p.ln != nil {
		ln.Close()
		return fmt.Errorf("the proxy of %s is closed, or open already", p.name)
	}
	p.ln = ln
	p.wg.Go(func() { p.accept(ln) })
	return nil
}

// refuse refuses calls, as the system does for a process that is gone, until listen.
// Connections end when the node's side of them does.
func (p *proxy) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ln != nil {
		p.ln.Close()
		p.ln = nil
	}
}

// close ends everything and waits for it.
func (p *proxy) close() {
	p.refuse()
	p.mu.Lock()
	if !p.done {
		p.done = true
		close(p.stop)
	}
	for conn := range p.conns {
		conn.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *proxy) accept(ln net.Listener) {
	for {
		select {
		case p.slots <- struct{}{}:
		case <-p.stop:
			return
		}
		conn, err := ln.Accept()
		if err != nil {
			<-p.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(50 * time.Millisecond) // no file left, say
			continue
		}
		p.wg.Go(func() {
			defer func() { <-p.slots }()
			p.serve(conn)
		})
	}
}

// serve connects one caller with the node.
func (p *proxy) serve(caller net.Conn) {
	if !p.track(caller) {
		return
	}
	defer p.untrack(caller)
	from, hello := p.from, []byte(nil)
	if from == "" {
		var err error
		caller.SetReadDeadline(time.Now().Add(helloWithin))
		if from, hello, err = readHello(caller); err != nil {
			return
		}
		caller.SetReadDeadline(time.Time{})
	}
	there, back := Link{from, p.name}, Link{p.name, from}

	out := newPipe(caller, p.net, there, p.chunk, p.stop)
	if len(hello) > 0 {
		out.push(hello)
	}
	p.wg.Go(out.read)
	defer out.drain() // so that read comes to its end
	defer caller.Close()

	// What a caller gives up while it is cut off, the node never hears of.
	if !p.net.await(out.over, there, back) {
		return
	}
	node, err := net.DialTimeout("tcp", p.target, dialWithin)
	if err != nil {
		reset(caller)
		return
	}
	if !p.track(node) {
		return
	}
	defer p.untrack(node)
	in := newPipe(node, p.net, back, p.chunk, p.stop)
	p.wg.Go(in.read)
	defer in.drain()
	defer node.Close()

	// Each side hears of the other's end when that could reach it.
	written := make(chan struct{})
	go func() {
		defer close(written)
		in.write(caller)
		caller.Close()
		p.net.await(p.stop, there)
		node.Close()
	}()
	out.write(node)
	node.Close()
	p.net.await(p.stop, back)
	caller.Close()
	<-written
}

// track keeps conn among those that close ends; false if it is closed already.
func (p *proxy) track(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		conn.Close()
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *proxy) untrack(conn net.Conn) {
	conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// reset ends conn as the system does if nobody listens.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// readHello reads what opens a connection between nodes, lookupd/peer.proto's Hello
// after a byte and a length, and returns the name of the node that calls and all
// bytes read.
func readHello(r io.Reader) (from string, all []byte, err error) {
	head := make([]byte, 3)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", nil, err
	}
	size := binary.BigEndian.Uint16(head[1:])
	if size > maxHello {
		return "", nil, fmt.Errorf("a greeting of %d bytes", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return "", nil, err
	}
	server, err := helloFrom(body)
	if err != nil {
		return "", nil, err
	}
	from, _, _ = strings.Cut(server, "/") // of a server id, node/instance
	return from, append(head, body...), nil
}

// helloFrom returns the field from of a Hello.
func helloFrom(body []byte) (string, error) {
	const fieldFrom = 2
	for len(body) > 0 {
		field, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return "", protowire.ParseError(n)
		}
		body = body[n:]
		if field == fieldFrom && kind == protowire.BytesType {
			from, n := protowire.ConsumeString(body)
			return from, protowire.ParseError(min(n, 0))
		}
		if n = protowire.ConsumeFieldValue(field, kind, body); n < 0 {
			return "", protowire.ParseError(n)
		}
		body = body[n:]
	}
	return "", errors.New("a greeting without a name")
}
