// Package lookupdtest starts this module's own nsqlookupd for the tests of those
// that register with one. It is not part of nsqtest, which lookupd's own tests
// import.
package lookupdtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/nsqtest"
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
	return startWith(t, func(*lookupd.Options) {})
}

// StartAt is Start on given addresses, such as those of one that was closed.
func StartAt(t testing.TB, tcp, http string) *Lookupd {
	t.Helper()
	return startWith(t, func(o *lookupd.Options) { o.TCPAddress, o.HTTPAddress = tcp, http })
}

// startWith starts one on addresses that stay free when it is closed, or on those that
// change says.
func startWith(t testing.TB, change func(*lookupd.Options)) *Lookupd {
	t.Helper()
	o := lookupd.DefaultOptions()
	o.TCPAddress, o.HTTPAddress, o.BroadcastAddress = nsqtest.FreeAddress(t), nsqtest.FreeAddress(t), "127.0.0.1"
	change(o)
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

// AwaitProducers waits until it lists n producers of topic, and fails the test if that
// takes half a minute.
func (l *Lookupd) AwaitProducers(topic string, n int) {
	l.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); l.producers(topic) != n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("%d producers of topic %s, want %d", l.producers(topic), topic, n)
		}
	}
}

func (l *Lookupd) producers(topic string) int {
	l.t.Helper()
	resp, err := http.Get("http://" + l.HTTP + "/lookup?topic=" + url.QueryEscape(topic))
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Producers []json.RawMessage `json:"producers"`
	}
	if resp.StatusCode == http.StatusNotFound {
		return 0
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		l.t.Fatal(err)
	}
	return len(answer.Producers)
}
