package httpapi

import (
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
)

// writeTimeout bounds each write of an answer, to within a tenth. net/http's own
// bound would run from the arrival of the request, and a blocking query may take
// minutes.
const writeTimeout = 30 * time.Second

// Listener returns ln with bounds for an http.Server: at most maxConns
// connections at one time, more wait in the backlog; and a connection whose
// client does not read fails its next write after some 30 s, and so is closed.
func Listener(ln net.Listener, maxConns int) net.Listener {
	return netutil.LimitListener(timedListener{ln}, maxConns)
}

type timedListener struct{ net.Listener }

func (l timedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &timedConn{Conn: conn, begun: time.Now()}, nil
}

type timedConn struct {
	net.Conn
	begun time.Time
	set   atomic.Int64 // when the deadline was set last, since begun; 0: never
}

// Write moves the deadline on once in a while: to set one costs as much as the rest
// of what this program adds to a small answer.
func (c *timedConn) Write(p []byte) (int, error) {
	now := time.Now()
	since := now.Sub(c.begun)
	if last := c.set.Load(); last == 0 || since-time.Duration(last) > writeTimeout/10 {
		if err := c.Conn.SetWriteDeadline(now.Add(writeTimeout)); err != nil {
			return 0, err
		}
		c.set.Store(int64(since))
	}
	return c.Conn.Write(p)
}
