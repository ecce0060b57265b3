package localcluster

import (
	"maps"
	"math/rand/v2"
	"sync"
	"time"
)

// A Link is one direction between two nodes, or between a node and Clients, by their
// names.
type Link struct{ From, To string }

// A Shape is what becomes of what is sent over a Link.
type Shape struct {
	Cut    bool          // it is held back, as Cut does
	Delay  time.Duration // it is under way for so long
	Jitter time.Duration // and up to so much longer or shorter; nothing is overtaken
}

// Traffic is what was seen of a Link since the cluster was opened, in pieces of what
// was sent.
type Traffic struct {
	Passed  uint64
	Late    uint64 // passed, after a delay
	Stopped uint64 // was held back at first, or is still
}

// A network says what passes between nodes. It passes everything at once until it is
// told otherwise.
type network struct {
	mu       sync.Mutex
	cut      map[Link]bool
	delay    map[Link]time.Duration
	isolated map[string]bool
	shaped   map[Link]Shape
	traffic  map[Link]*Traffic
	changed  chan struct{} // closed and replaced at each change
}

func newNetwork() *network {
	return &network{cut: make(map[Link]bool), delay: make(map[Link]time.Duration), isolated: make(map[string]bool), traffic: make(map[Link]*Traffic), changed: make(chan struct{})}
}

// change makes a change and lets those look again who wait for one.
func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// passes reports whether all of links pass; if not, changed is closed when that may
// be different.
func (n *network) passes(links ...Link) (ok bool, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range links {
		if n.cut[l] || n.isolated[l.From] || n.isolated[l.To] || n.shaped[l].Cut {
			return false, n.changed
		}
	}
	return true, nil
}

// await returns true once all of links pass, and false when stop is closed before.
func (n *network) await(stop <-chan struct{}, links ...Link) bool {
	for first := true; ; first = false {
		ok, changed := n.passes(links...)
		if ok {
			return true
		}
		if first {
			n.stopped(links)
		}
		select {
		case <-changed:
		case <-stop:
			return false
		}
	}
}

// latency is how long what is sent over l is under way.
func (n *network) latency(l Link) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	d, s := n.delay[l], n.shaped[l]
	if s.Jitter > 0 {
		d += rand.N(2*s.Jitter) - s.Jitter
	}
	return max(0, d+s.Delay)
}

// of returns the traffic of l, for who holds the lock.
func (n *network) of(l Link) *Traffic {
	t := n.traffic[l]
	if t == nil {
		t = new(Traffic)
		n.traffic[l] = t
	}
	return t
}

func (n *network) passed(l Link, late bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.of(l)
	t.Passed++
	if late {
		t.Late++
	}
}

func (n *network) stopped(links []Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range links {
		n.of(l).Stopped++
	}
}

// Shape says what becomes of everything that is sent from here on, in place of what it
// was told before; what it is not told passes at once. It leaves alone what Cut,
// Isolate and Delay have done.
func (c *Cluster) Shape(links map[Link]Shape) {
	c.net.change(func() { c.net.shaped = maps.Clone(links) })
}

// Traffic returns what was seen of a link, which may be one that Shape is not told of.
func (c *Cluster) Traffic(l Link) Traffic {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return *c.net.of(l)
}

// Cut parts two nodes in one direction: nothing that from sends reaches to any more. It
// is held back, not lost, as TCP would send it again; neither can open a connection to
// the other, for that takes both directions.
func (c *Cluster) Cut(from, to *Process) {
	c.net.change(func() { c.net.cut[Link{from.Name, to.Name}] = true })
}

// Isolate parts a node from all others in both directions.
func (c *Cluster) Isolate(p *Process) {
	c.net.change(func() { c.net.isolated[p.Name] = true })
}

// Isolated reports whether Isolate has parted p from the others.
func (c *Cluster) Isolated(p *Process) bool {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.net.isolated[p.Name]
}

// Delay keeps all that from sends to to under way for d.
func (c *Cluster) Delay(from, to *Process, d time.Duration) {
	c.net.change(func() { c.net.delay[Link{from.Name, to.Name}] = d })
}

// Heal ends every Cut, Isolate, Delay and Shape. What was held back arrives.
func (c *Cluster) Heal() {
	c.net.change(func() {
		clear(c.net.cut)
		clear(c.net.isolated)
		clear(c.net.delay)
		c.net.shaped = nil
	})
}
