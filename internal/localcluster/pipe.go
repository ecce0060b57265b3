package localcluster

import (
	"net"
	"time"
)

const (
	chunkSize   = 16 << 10 // between nodes
	clientChunk = 4 << 10  // there may be thousands of clients
	maxChunks   = 16       // under way; a sender that has more waits, as for a full window
)

// A pipe is one direction of a connection: read takes from one end what the other
// end's write gives out when its time has come and the link passes.
type pipe struct {
	src    net.Conn
	net    *network
	link   Link
	stop   <-chan struct{} // ends all waiting
	size   int             // of a chunk, in bytes
	chunks chan chunk
	over   chan struct{} // closed when src has ended
}

type chunk struct {
	bytes []byte
	late  bool
	due   time.Time
}

func newPipe(src net.Conn, n *network, l Link, size int, stop <-chan struct{}) *pipe {
	return &pipe{src: src, net: n, link: l, size: size, stop: stop, chunks: make(chan chunk, maxChunks), over: make(chan struct{})}
}

func (p *pipe) push(b []byte) {
	late := p.net.latency(p.link)
	select {
	case p.chunks <- chunk{b, late > 0, time.Now().Add(late)}:
	case <-p.stop:
	}
}

// read takes what src sends until it ends.
func (p *pipe) read() {
	defer close(p.chunks)
	defer close(p.over)
	buf := make([]byte, p.size)
	for {
		n, err := p.src.Read(buf)
		if n > 0 {
			p.push(append([]byte(nil), buf[:n]...))
		}
		if err != nil {
			return
		}
	}
}

// drain takes what nobody will be given any more, until read has ended.
func (p *pipe) drain() {
	for range p.chunks {
	}
}

// write gives dst all that src sends, and returns when src has ended, which dst hears
// of no sooner than of what came before; or when dst has, or stop is closed.
func (p *pipe) write(dst net.Conn) {
	for c := range p.chunks {
		if !wait(time.Until(c.due), p.stop) || !p.net.await(p.stop, p.link) {
			return
		}
		p.net.passed(p.link, c.late)
		if _, err := dst.Write(c.bytes); err != nil {
			return
		}
	}
	// The end is under way like everything else.
	if wait(p.net.latency(p.link), p.stop) {
		p.net.await(p.stop, p.link)
	}
}

// wait returns true after d, and false when stop is closed before.
func wait(d time.Duration, stop <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
		return false
	}
}
