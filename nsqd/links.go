package nsqd

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// A registration is what nsqlookupd is told that this nsqd has: a channel, or a
// topic if channel is empty.
type registration struct{ topic, channel string }

// identity is what this nsqd tells nsqlookupd of itself: the JSON of IDENTIFY.
type identity struct {
	Version          string `json:"version"`
	TCPPort          int    `json:"tcp_port"`
	HTTPPort         int    `json:"http_port"` // 0 without an HTTP port
	BroadcastAddress string `json:"broadcast_address"`
	Hostname         string `json:"hostname"`
	TopologyZone     string `json:"topology_zone,omitempty"`
	TopologyRegion   string `json:"topology_region,omitempty"`
}

// links keep this nsqd registered with every nsqlookupd. Each has a link with a
// goroutine of its own, so that none waits for another, and nobody here for any.
type links struct {
	// Read-only after newLinks.
	initial []string
	self    func() identity
	current func() []registration
	log     hclog.Logger
	dial    func(ctx context.Context, addr string) (net.Conn, error)
	client  *http.Client
	ctx     context.Context // ends with close
	cancel  context.CancelFunc

	mu     sync.Mutex
	all    []*link        // in the order of set
	closed bool           // no link is added
	wg     sync.WaitGroup // of links and their queries; Add only under mu while !closed
}

// newLinks returns links to the nsqlookupds of o, which open connects. self is asked
// with each connection. current returns what is to be registered now, in any order;
// a topic with channels need not be listed itself. Both are called from the
// goroutines of links, which hold no lock then.
func newLinks(o *Options, self func() identity, current func() []registration, log hclog.Logger) *links {
	ctx, cancel := context.WithCancel(context.Background())
	return &links{
		initial: o.LookupdTCPAddresses,
		self:    self,
		current: current,
		log:     log,
		dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr) // asks DNS every time
		},
		client: newQueryClient(o),
		ctx:    ctx,
		cancel: cancel,
	}
}

// open begins to connect. It waits for nothing.
func (l *links) open() {
	if self := l.self(); len(l.initial) > 0 && (self.HTTPPort == 0 || self.TCPPort == 0) {
		l.log.Warn("stock nsqlookupds refuse an nsqd without a TCP and an HTTP port; --broadcast-tcp-port and --broadcast-http-port can name others",
			"tcp_port", self.TCPPort, "http_port", self.HTTPPort)
	}
	l.set(l.initial)
}

// set replaces the nsqlookupds to be registered with. Those that stay keep their
// connection; from the others this nsqd vanishes at once. One that is given twice
// counts once. It does nothing after close.
func (l *links) set(addrs []string) {
	added, removed := l.replace(addrs)
	for _, addr := range added {
		l.log.Info("LOOKUP(" + addr + "): adding peer")
	}
	for _, addr := range removed {
		l.log.Info("LOOKUP(" + addr + "): removing peer")
	}
}

func (l *links) replace(addrs []string) (added, removed []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil
	}
	old := l.all
	l.all = nil
	for _, addr := range addrs {
		if find(l.all, addr) != nil {
			continue
		}
		k := find(old, addr)
		if k == nil {
			k = newLink(l, addr)
			l.wg.Go(k.run)
			added = append(added, addr)
		}
		l.all = append(l.all, k)
	}
	for _, k := range old {
		if find(l.all, k.addr) == nil {
			k.cancel()
			removed = append(removed, k.addr)
		}
	}
	return added, removed
}

// find returns the link to addr, nil if there is none.
func find(all []*link, addr string) *link {
	if i := slices.IndexFunc(all, func(k *link) bool { return k.addr == addr }); i >= 0 {
		return all[i]
	}
	return nil
}

// addresses returns the nsqlookupds in the order of set.
func (l *links) addresses() []string {
	addrs := []string{}
	for _, k := range l.list() {
		addrs = append(addrs, k.addr)
	}
	return addrs
}

func (l *links) list() []*link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// notify tells every nsqlookupd that the channel of topic, or topic itself if
// channel is empty, exists now or does not any more. It never blocks. Each is told
// in the order of the calls; one that is too far behind is told, instead, how what
// is there differs from what it knows. The change must be visible to current before
// the call.
func (l *links) notify(topic, channel string, exists bool) {
	for _, k := range l.list() {
		k.notify(notice{registration{topic, channel}, exists})
	}
}

// close ends all connections at once, by which every nsqlookupd forgets this nsqd,
// and waits for the goroutines. It may be called twice.
func (l *links) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
	l.client.CloseIdleConnections()
}

// start runs f on a goroutine that close waits for. It returns false, and does
// nothing, after close.
func (l *links) start(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Go(f)
	return true
}
