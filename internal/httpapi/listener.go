package httpapi

import (
	"net"
	"time"

	"golang.org/x/net/netutil"
)

// writeTimeout bounds each write of an answer. net/http's own bound would run
// from the arrival of the request, and a blocking query may take minutes.
const writeTimeout = 30 * time.Second

// Listener returns ln with bounds for an http.Server: at most maxConns
// connections at one time, more wait in the backlog; and a connection whose
// client does not read fails its next write after 30 s, and so is closed.
func Listener(ln net.Listener, maxConns int) net.Listener {
	return netutil.LimitListener(timedListener{ln}, maxConns)
}

type timedListener struct{ net.Listener }

func (l timedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return timedConn{conn}, nil
}

type timedConn struct{ net.Conn }

func (c timedConn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
