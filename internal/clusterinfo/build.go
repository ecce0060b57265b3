package clusterinfo

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// A listed is an nsqd as all nsqlookupds together list it.
type listed struct {
	producer *Producer
	lookupds []string
}

// A membership is which nsqds nsqlookupds list.
type membership struct {
	heard []said[[]*Producer] // what it was made of
	nodes map[string]*listed  // by HTTP address
}

// made says whether m was made of heard: of the very same lists.
func (m *membership) made(heard []said[[]*Producer]) bool {
	return slices.EqualFunc(m.heard, heard, func(a, b said[[]*Producer]) bool {
		return a.address == b.address && len(a.value) == len(b.value) && (len(a.value) == 0 || &a.value[0] == &b.value[0])
	})
}

func newMembership(heard []said[[]*Producer]) membership {
	m := membership{heard, make(map[string]*listed)}
	for _, p := range mergeProducers(heard) {
		if address := p.HTTPAddress(); p.HTTPPort != 0 && m.nodes[address] == nil {
			m.nodes[address] = &listed{producer: p}
		}
	}
	for _, h := range heard {
		for _, p := range h.value {
			if n := m.nodes[p.HTTPAddress()]; n != nil && !slices.Contains(n.lookupds, h.address) {
				n.lookupds = append(n.lookupds, h.address)
			}
		}
	}
	return m
}

// reconcile begins to ask the nsqds that are listed, and ends to ask those that have
// been gone for long. Only Run calls it.
func (p *Poller) reconcile(now time.Time) {
	p.mu.Lock()
	var heard []said[[]*Producer]
	for _, l := range p.lookupds {
		if l.state != Down && !l.answeredAt.IsZero() {
			heard = append(heard, said[[]*Producer]{l.address, l.answer.producers})
		}
	}
	p.mu.Unlock()
	// While none answers, what the last ones said holds.
	if len(heard) > 0 && !p.members.made(heard) {
		p.members = newMembership(heard) // without mu: a registry may be large
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	for address, l := range p.members.nodes {
		n := p.nodes[address]
		if n == nil {
			if len(p.nodes) >= maxNodes {
				continue
			}
			n = &nodePoll{subject: newSubject(address), diskFree: -1}
			p.nodes[address] = n
			p.startNode(n)
		}
		n.listed, n.goneSince = l, time.Time{}
	}
	for address, n := range p.nodes {
		if n.static || p.members.nodes[address] != nil {
			continue
		}
		if n.goneSince.IsZero() {
			n.goneSince = now
		}
		alive := n.state == Up || n.state == Draining
		if !alive && now.Sub(n.goneSince) >= goneFor && now.Sub(n.answeredAt) >= goneFor {
			p.dropLocked(&n.subject)
			delete(p.nodes, address)
		}
	}
}

// A snapshot is what a View is made of: all but its topics.
type snapshot struct {
	at         time.Time
	generation uint64
	lookupds   []*Lookupd
	nodes      []*Node // sorted by address
}

func (p *Poller) snapshot(now time.Time) *snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &snapshot{at: now, generation: p.refreshedLocked()}
	for _, l := range p.lookupds {
		s.lookupds = append(s.lookupds, l.lookupd())
	}
	for _, address := range slices.Sorted(maps.Keys(p.nodes)) {
		n := p.nodes[address].node()
		n.Late = !n.Stale() && now.Sub(n.StatsAt) > lateAfter*max(p.opts.Interval, time.Second)
		s.nodes = append(s.nodes, n)
	}
	return s
}

func (l *lookupdPoll) lookupd() *Lookupd {
	return &Lookupd{
		Address:    l.address,
		State:      l.state,
		Err:        l.err,
		AnsweredAt: l.answeredAt,
		RoundTrip:  l.roundTrip,
		Version:    l.answer.version,
		StaleMS:    l.answer.staleMS,
		Index:      l.answer.index,
		Cluster:    l.answer.cluster,
		Producers:  l.answer.producers,
		Topics:     l.answer.topics,
		Channels:   l.answer.channels,
	}
}

func (n *nodePoll) node() *Node {
	node := &Node{
		Address:       n.address,
		State:         n.state,
		Err:           n.err,
		StatsAt:       n.answeredAt,
		Stats:         n.stats,
		RoundTrip:     n.roundTrip,
		GoneSince:     n.goneSince,
		Depth:         n.sums.depth,
		InFlight:      n.sums.inFlight,
		Clients:       n.sums.clients,
		Messages:      n.sums.messages,
		Finished:      n.sums.finished,
		DiskFreeBytes: n.diskFree,
	}
	switch {
	case n.listed != nil:
		node.Producer = *n.listed.producer
		if n.goneSince.IsZero() {
			node.Lookupds = n.listed.lookupds
		}
	case n.self != nil:
		node.Producer = *n.self
		node.Topics = n.topics
	default:
		// It was given, and has not said yet who it is.
		if base, err := parseAddress(n.address); err == nil {
			node.BroadcastAddress = base.Hostname()
			node.HTTPPort = portOf(base)
		}
	}
	if n.stats != nil && n.stats.Version != "" {
		node.Version = n.stats.Version
	}
	return node
}

// sums are those over all topics and channels of an nsqd.
type sums struct {
	depth, inFlight, clients, messages, finished int64
}

func sumsOf(s *NodeStats) (sum sums) {
	for _, t := range s.Topics {
		sum.depth += t.Depth
		sum.messages += t.MessageCount
		for _, c := range t.Channels {
			sum.depth += c.Depth
			sum.inFlight += c.InFlightCount
			sum.clients += c.ClientCount
			sum.finished += c.finished()
		}
	}
	return sum
}

// finished returns how many messages have left the channel: see Channel.Finished.
func (c *ChannelStats) finished() int64 {
	return max(0, c.MessageCount-c.Depth-c.InFlightCount-c.DeferredCount)
}

// view returns the View of s.
func (s *snapshot) view() *View {
	on := make([][]*TopicStats, len(s.nodes)) // the topics of each node
	all := 0
	for i, n := range s.nodes {
		on[i] = topicsOn(n)
		all += len(on[i])
	}
	b := &builder{index: make(map[string]*entry), order: make([]*entry, 0, all)}
	for _, topics := range on {
		b.count(topics)
	}
	for i, n := range s.nodes {
		b.addNode(n, on[i])
	}
	for _, l := range s.lookupds {
		b.addLookupd(l)
	}
	slices.SortFunc(b.topics, func(a, b *Topic) int { return strings.Compare(a.Name, b.Name) })
	return &View{At: s.at, Lookupds: s.lookupds, Nodes: s.nodes, Topics: b.topics}
}

// A builder sums up topics. All lists of a million small things are parts of a few
// large ones: for the garbage collector it is their number that counts.
type builder struct {
	index  map[string]*entry
	topics []*Topic

	onNode    slab[TopicOnNode]
	channelOn slab[ChannelOnNode]
	order     []*entry // of count, for addNode to look no name up again
	next      int      // of order
}

// An entry is a topic and how many nodes have it.
type entry struct {
	topic *Topic
	nodes int
}

// entry returns that of the topic called name, made if there is none.
func (b *builder) entry(name string) *entry {
	e := b.index[name]
	if e == nil {
		e = &entry{topic: &Topic{Name: name}}
		b.index[name] = e
		b.topics = append(b.topics, e.topic)
	}
	return e
}

// topicsOn returns the topics of n: those of its stats, or if it has never answered
// those it is listed with.
func topicsOn(n *Node) []*TopicStats {
	if n.Stats != nil {
		return n.Stats.Topics
	}
	topics := make([]*TopicStats, len(n.Topics))
	for i, t := range n.Topics {
		topics[i] = &TopicStats{Name: t.Topic}
	}
	return topics
}

// count makes the topics of one node and counts it as theirs.
func (b *builder) count(topics []*TopicStats) {
	for _, stats := range topics {
		e := b.entry(stats.Name)
		e.nodes++
		b.order = append(b.order, e)
	}
}

// addNode adds what n says of topics; nodes come in the order of count.
func (b *builder) addNode(n *Node, topics []*TopicStats) {
	tombstoned := make(map[string]bool)
	for _, t := range n.Topics {
		if t.Tombstoned {
			tombstoned[t.Topic] = true
		}
	}
	for _, stats := range topics {
		e := b.order[b.next]
		b.next++
		t := e.topic
		if t.Nodes == nil {
			t.Nodes = make([]*TopicOnNode, 0, e.nodes)
		}
		on := b.onNode.new()
		*on = TopicOnNode{Node: n, Stats: stats, Tombstoned: len(tombstoned) > 0 && tombstoned[stats.Name]}
		t.Nodes = append(t.Nodes, on)
		t.add(n, stats)
		b.addChannels(t, n, stats.Channels)
	}
}

func (t *Topic) add(n *Node, s *TopicStats) {
	t.Depth += s.Depth
	t.BackendDepth += s.BackendDepth
	t.MemoryDepth += s.Depth - s.BackendDepth
	t.MessageCount += s.MessageCount
	t.MessageBytes += s.MessageBytes
	if s.Paused {
		t.Paused = true
		t.PausedOn++
	}
	if n.Stale() {
		t.StaleNodes++
	}
	t.E2ELatency = greatest(t.E2ELatency, s.E2ELatency)
}

// addChannels adds the channels, sorted by name, that t has on n.
func (b *builder) addChannels(t *Topic, n *Node, channels []*ChannelStats) {
	at := 0 // in t.Channels, where the next one is if all nodes have the same
	for _, s := range channels {
		if at >= len(t.Channels) || t.Channels[at].Name != s.Name {
			at = t.channel(s.Name)
		}
		c := t.Channels[at]
		at++
		if c.Nodes == nil {
			c.Nodes = make([]*ChannelOnNode, 0, cap(t.Nodes))
		}
		on := b.channelOn.new()
		*on = ChannelOnNode{n, s}
		c.Nodes = append(c.Nodes, on)
		c.add(n, s)
		t.Clients += s.ClientCount
		t.InFlight += s.InFlightCount
		t.Deferred += s.DeferredCount
		t.Requeued += s.RequeueCount
		t.TimedOut += s.TimeoutCount
		t.Finished += s.finished()
	}
}

// channel returns where in t.Channels the channel called name is, made if there is none.
func (t *Topic) channel(name string) int {
	i, ok := slices.BinarySearchFunc(t.Channels, name, func(c *Channel, name string) int { return strings.Compare(c.Name, name) })
	if !ok {
		t.Channels = slices.Insert(t.Channels, i, &Channel{Name: name, Topic: t.Name})
	}
	return i
}

func (c *Channel) add(n *Node, s *ChannelStats) {
	c.Depth += s.Depth
	c.BackendDepth += s.BackendDepth
	c.MemoryDepth += s.Depth - s.BackendDepth
	c.InFlight += s.InFlightCount
	c.Deferred += s.DeferredCount
	c.MessageCount += s.MessageCount
	c.Requeued += s.RequeueCount
	c.TimedOut += s.TimeoutCount
	c.Clients += s.ClientCount
	c.Finished += s.finished()
	c.ZoneLocal += s.ZoneLocalCount
	c.RegionLocal += s.RegionLocalCount
	c.Global += s.GlobalCount
	if s.Paused {
		c.Paused = true
		c.PausedOn++
	}
	if n.Stale() {
		c.StaleNodes++
	}
	c.E2ELatency = greatest(c.E2ELatency, s.E2ELatency)
}

// addLookupd adds what is registered.
func (b *builder) addLookupd(l *Lookupd) {
	for _, name := range l.Topics {
		b.entry(name).topic.Registered = true
	}
	for name, channels := range l.Channels {
		t := b.entry(name).topic
		for _, channel := range channels {
			t.channel(channel)
		}
	}
}

// greatest returns the greatest value of a and b for each percentile; a may be changed.
// Percentiles of a sum cannot be had from those of its parts: this is a bound.
func greatest(a, b *LatencyStats) *LatencyStats {
	if b == nil {
		return a
	}
	if a == nil {
		a = new(LatencyStats)
	}
	a.Count += b.Count
	for _, p := range b.Percentiles {
		quantile, ok := p["quantile"]
		if !ok {
			continue
		}
		i := slices.IndexFunc(a.Percentiles, func(q map[string]float64) bool { return q["quantile"] == quantile })
		if i < 0 {
			a.Percentiles = append(a.Percentiles, map[string]float64{"quantile": quantile, "value": math.Inf(-1)})
			i = len(a.Percentiles) - 1
		}
		a.Percentiles[i]["value"] = max(a.Percentiles[i]["value"], p["value"])
	}
	return a
}

// A slab makes many of a kind at a time.
type slab[T any] struct{ free []T }

func (s *slab[T]) new() *T {
	if len(s.free) == 0 {
		s.free = make([]T, 1024)
	}
	first := &s.free[0]
	s.free = s.free[1:]
	return first
}
