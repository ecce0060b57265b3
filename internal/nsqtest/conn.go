package nsqtest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how many unread bytes one direction of a connection holds before
// its writer has to wait.
const window = 256 << 10

// conn is one end of a connection. What it has yet to read is kept here, at
// the receiving end, in two parts: a link that is cut holds back what was sent
// since, not what had arrived before.
type conn struct {
	// Read-only after connectLocked.
	net           *Network
	local, remote addr
	peer          *conn

	// Guarded by net.mu.
	changed *sync.Cond // something below, or the peer's room to write, has changed
	arrived inbox      // what a reader sees
	transit inbox      // what the cut link holds back
	writing bool       // a Write is under way; a second one waits, lest the two mix
	closed  bool
	readBy  deadline
	writeBy deadline
}

// inbox is what the peer has sent: bytes, then perhaps an end.
type inbox struct {
	bytes []byte
	eof   bool // the peer has closed
	reset bool // either side was killed; bytes are lost
}

func (c *conn) Read(b []byte) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.opError("read", net.ErrClosed)
		case c.arrived.reset:
			return 0, c.opError("read", os.NewSyscallError("read", syscall.ECONNRESET))
		case c.readBy.passed():
			return 0, c.opError("read", os.ErrDeadlineExceeded)
		case len(b) == 0:
			return 0, nil
		case len(c.arrived.bytes) > 0:
			n := copy(b, c.arrived.bytes)
			c.arrived.bytes = c.arrived.bytes[n:]
			c.peer.changed.Broadcast()
			return n, nil
		case c.arrived.eof:
			return 0, io.EOF
		}
		c.changed.Wait()
	}
}

func (c *conn) Write(b []byte) (n int, err error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	mine := false // c.writing was set by this call
	defer func() {
		if mine {
			c.writing = false
			c.changed.Broadcast()
		}
	}()
	for {
		switch {
		case c.closed:
			return n, c.opError("write", net.ErrClosed)
		case c.arrived.reset:
			return n, c.opError("write", os.NewSyscallError("write", syscall.ECONNRESET))
		case c.writeBy.passed():
			return n, c.opError("write", os.ErrDeadlineExceeded)
		case c.arrived.eof: // the peer has closed, and conns are never half closed
			return n, c.opError("write", os.NewSyscallError("write", syscall.EPIPE))
		}
		if !c.writing {
			c.writing, mine = true, true
		}
		if mine {
			if n == len(b) {
				return n, nil
			}
			room := window - len(c.peer.arrived.bytes) - len(c.peer.transit.bytes)
			if m := min(room, len(b)-n); m > 0 {
				c.peer.transit.bytes = append(c.peer.transit.bytes, b[n:n+m]...)
				c.peer.arriveLocked()
				n += m
				continue
			}
		}
		c.changed.Wait()
	}
}

// arriveLocked hands over what the link holds back, if the link is up.
func (c *conn) arriveLocked() {
	if !c.net.linkedLocked(hostOf(string(c.local)), hostOf(string(c.remote))) {
		return
	}
	c.arrived.bytes = append(c.arrived.bytes, c.transit.bytes...)
	c.arrived.eof = c.arrived.eof || c.transit.eof
	c.arrived.reset = c.arrived.reset || c.transit.reset
	c.transit = inbox{}
	c.changed.Broadcast()
}

func (c *conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	c.closed = true
	c.readBy.stop()
	c.writeBy.stop()
	delete(c.net.conns, c)
	c.changed.Broadcast()
	c.peer.transit.eof = true
	c.peer.arriveLocked()
	return nil
}

// resetLocked ends c at once, and the far end as soon as the link allows.
func (c *conn) resetLocked() {
	c.arrived.reset = true
	c.changed.Broadcast()
	c.peer.transit.reset = true
	c.peer.arriveLocked()
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(t, &c.readBy, &c.writeBy)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	return c.setDeadlines(t, &c.readBy)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadlines(t, &c.writeBy)
}

func (c *conn) setDeadlines(t time.Time, ds ...*deadline) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	for _, d := range ds {
		d.stop()
		d.at = t
		if !t.IsZero() {
			d.timer = time.AfterFunc(time.Until(t), c.wake)
		}
	}
	c.changed.Broadcast()
	return nil
}

// wake lets blocked calls notice that their deadline has passed.
func (c *conn) wake() {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.changed.Broadcast()
}

func (c *conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// deadline is a time until which calls may block; zero is for ever.
type deadline struct {
	at    time.Time
	timer *time.Timer // wakes the blocked at that time; nil if there never was one
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
