// Package lookupdtest starts this module's own nsqlookupd for the tests of those
// that register with one. It is not part of nsqtest, which lookupd's own tests
// import.
package lookupdtest

import (
	"testing"

	"github.com/hashicorp/go-hclog"

	"nsqraft/lookupd"
)

// A Lookupd is one nsqlookupd in memory, on real sockets.
type Lookupd struct {
	TCP, HTTP string // addresses
	server    *lookupd.Server
	t         testing.TB
}

// Start returns an nsqlookupd that ends with the test, if not before.
func Start(t testing.TB) *Lookupd {
	t.Helper()
	return StartAt(t, "127.0.0.1:0", "127.0.0.1:0")
}

// StartAt is Start on given addresses, such as those of one that was closed.
func StartAt(t testing.TB, tcp, http string) *Lookupd {
	t.Helper()
	o := lookupd.DefaultOptions()
	o.TCPAddress, o.HTTPAddress, o.BroadcastAddress = tcp, http, "127.0.0.1"
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	l := &Lookupd{t: t, server: lookupd.New(o, hclog.NewNullLogger())}
	if err := l.server.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	l.TCP, l.HTTP = l.server.TCPAddr().String(), l.server.HTTPAddr().String()
	return l
}

// Close stops it, with everything it knows. It may be called twice.
func (l *Lookupd) Close() {
	if err := l.server.Close(); err != nil {
		l.t.Error(err)
	}
}
