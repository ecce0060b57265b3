package nsqd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// listen listens on <host>:<port>, or on the path of a unix socket if address has
// no port, as stock tells them apart. The umask gives the socket its mode, and it is
// removed when the listener is closed. One that a dead process has left behind is
// replaced; any other file, and a socket that somebody answers on, is an error.
func listen(address string) (net.Listener, error) {
	network := "tcp"
	if _, _, err := net.SplitHostPort(address); err != nil {
		network = "unix"
	}
	ln, err := net.Listen(network, address)
	if err != nil && network == "unix" && errors.Is(err, syscall.EADDRINUSE) && abandoned(address) {
		if err := os.Remove(address); err != nil {
			return nil, fmt.Errorf("remove the socket of a process that is gone: %w", err)
		}
		ln, err = net.Listen(network, address)
	}
	return ln, err
}

// abandoned says whether path is a unix socket on which nobody listens.
func abandoned(path string) bool {
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// portOf returns the port of a TCP address, -1 if it has none: stock's word for a
// unix socket in /info.
func portOf(addr net.Addr) int {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return -1
}
