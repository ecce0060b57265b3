package consume

import (
	"context"
	"errors"
	"log"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/clusterinfo"
)

// steady is how long a connection must have stood for its loss not to make the pauses
// before the next ones longer.
const steady = 10 * time.Second

// watch follows the producers of the topic until ctx ends.
func (c *Consumer) watch(ctx context.Context) {
	changed := func(producers []*clusterinfo.Producer) {
		addrs := make([]string, len(producers))
		for i, p := range producers {
			addrs[i] = p.TCPAddress()
		}
		c.list(ctx, addrs)
	}
	failed := func(err error) { c.opts.log.Printf("ERROR: topic %s: nsqlookupd: %v", c.topic, err) }
	c.opts.Client().WatchProducers(ctx, c.opts.Lookupds, c.topic, c.opts.Config.LookupdPollInterval, changed, failed)
}

// list makes addrs the nsqds that are kept connected. Of those that were before, the
// connections stay while they last.
func (c *Consumer) list(ctx context.Context, addrs []string) {
	now := make(map[string]bool, len(addrs))
	for _, addr := range addrs {
		now[addr] = true
		if c.listed[addr] == nil {
			kept, cancel := context.WithCancel(ctx)
			c.listed[addr] = cancel
			c.keeping.Go(func() { c.keep(kept, addr) })
		}
	}
	for addr, cancel := range c.listed {
		if !now[addr] {
			cancel()
			delete(c.listed, addr)
		}
	}
}

// keep holds a connection to the nsqd at addr until ctx ends.
func (c *Consumer) keep(ctx context.Context, addr string) {
	var since time.Time // that the connection stands
	pause := c.pause
	for ctx.Err() == nil {
		lost := c.losses.next()
		err := c.nsq.ConnectToNSQD(addr)
		connected := err == nil || errors.Is(err, nsq.ErrAlreadyConnected)
		if err == nil {
			c.shareOut()
			if time.Since(since) > steady+pause {
				pause = c.pause
			}
			since = time.Now()
		}
		if !connected {
			c.opts.log.Printf("ERROR: topic %s: connect to nsqd %s: %v; again in %v", c.topic, addr, err, pause)
		} else if !wait(ctx, lost) {
			return
		}
		if !wait(ctx, time.After(pause)) {
			return
		}
		if !errors.Is(err, nsq.ErrAlreadyConnected) {
			pause = min(2*pause, max(c.pause, c.opts.Config.LookupdPollInterval))
		}
	}
}

// shareOut gives each nsqd its share of max-in-flight after one more was connected.
// go-nsq has lowered the shares of the others by then, but if it came to the new one
// first there was nothing left for it, and it would get its share five seconds later.
// With fewer messages than nsqds, go-nsq passes them round.
func (c *Consumer) shareOut() {
	c.sharing.Lock()
	defer c.sharing.Unlock()
	if connected := c.nsq.Stats().Connections; connected > 1 && c.maxInFlight >= connected {
		// Anything but the same number makes go-nsq look at all of them again.
		c.nsq.ChangeMaxInFlight(c.maxInFlight - 1)
		c.nsq.ChangeMaxInFlight(c.maxInFlight)
	}
}

// wait returns false if ctx ends before something is received.
func wait[T any](ctx context.Context, received <-chan T) bool {
	select {
	case <-received:
		return true
	case <-ctx.Done():
		return false
	}
}

// lossAddress stands for an nsqlookupd that does not exist.
const lossAddress = "connection-lost:1"

// losses tells of lost connections. go-nsq has no callback for them; but as soon as it
// has lost one, it asks an nsqlookupd. What it asks is this, which lists nothing.
type losses struct {
	mu   sync.Mutex
	lost chan struct{} // closed at the next loss
}

func (l *losses) init() { l.lost = make(chan struct{}) }

// next returns a channel that is closed when a connection is lost after the call.
func (l *losses) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// RoundTrip implements http.RoundTripper.
func (l *losses) RoundTrip(req *http.Request) (*http.Response, error) {
	l.mu.Lock()
	close(l.lost)
	l.lost = make(chan struct{})
	l.mu.Unlock()
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  http.Header{"X-Nsq-Content-Type": {"nsq; version=1.0"}},
		Body:    http.NoBody,
		Request: req,
	}, nil
}

// logger is go-nsq's log, without what it says of the nsqlookupd that does not exist.
type logger struct{ *log.Logger }

func (l logger) Output(depth int, line string) error {
	if strings.Contains(line, lossAddress) {
		return nil
	}
	return l.Logger.Output(depth+1, line)
}
