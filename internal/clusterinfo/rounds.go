package clusterinfo

import (
	"bufio"
	"context"
	"errors"
	"hash/maphash"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// recheck is how often a daemon is asked what changes only with its process.
	recheck = time.Minute

	// channelsEvery is how old the channels of a topic that nobody produces may
	// become, and channelsAtOnce how many topics are asked about in one round.
	channelsEvery  = 10 * time.Second
	channelsAtOnce = 200

	// diskEvery is how often /metrics is asked for: it costs an nsqd more than /stats.
	diskEvery = 10 * time.Second
)

func refusesConnections(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// forPolling returns a Client that is c but for the time of a request, and that long
// answers are read one after the other: so what one costs can be told.
func (c *Client) forPolling(timeout time.Duration) *Client {
	opts := c.opts
	opts.RequestTimeout = timeout
	return &Client{http: c.http, opts: opts, turns: make(chan struct{}, 1), secure: make(map[string]*url.URL)}
}

// A lookupdPoll is an nsqlookupd that a Poller asks.
type lookupdPoll struct {
	subject

	// Owned by the goroutine that asks.
	nodes     sameAnswer[[]*Producer]
	topics    sameAnswer[[]string]
	inactive  []string // of topics, those without a producer in nodes
	channels  map[string]channelsAnswer
	versionAt time.Time // zero: to be asked
	stockAt   time.Time // when /cluster was not there; zero: it is, or was not asked for

	// Guarded by Poller.mu.
	answer lookupdAnswer
}

// A lookupdAnswer is what an nsqlookupd said in one round. Nothing in it changes.
type lookupdAnswer struct {
	version   string
	staleMS   int64
	index     uint64
	cluster   *Cluster
	producers []*Producer // the same slice as in the round before if nothing changed
	topics    []string
	channels  map[string][]string
}

type channelsAnswer struct {
	names []string
	at    time.Time
}

func newLookupdPoll(address string) *lookupdPoll {
	return &lookupdPoll{subject: newSubject(address), answer: lookupdAnswer{staleMS: -1}}
}

// startLookupd begins to ask l. With p.mu held.
func (p *Poller) startLookupd(l *lookupdPoll) {
	p.start(&l.subject, func(ctx context.Context) (func(), time.Duration, error) {
		var cost time.Duration
		answer, roundTrip, err := p.askLookupd(ctx, l, &cost)
		if err != nil {
			l.versionAt, l.stockAt = time.Time{}, time.Time{} // it may come back as another
		}
		return func() { l.answer, l.roundTrip = answer, roundTrip }, cost, err
	})
}

// A sameAnswer remembers an answer, for one that is the same as the last not to be
// decoded again: a registry of a million rows rarely changes.
type sameAnswer[T any] struct {
	seed  maphash.Seed
	sum   uint64
	size  int
	value T
	valid bool
}

// read returns what decode makes of body; changed is false if that is the last value.
func (s *sameAnswer[T]) read(body io.Reader, decode func(text []byte) (T, error)) (changed bool, err error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return false, err
	}
	if !s.valid {
		s.seed = maphash.MakeSeed()
	}
	sum := maphash.Bytes(s.seed, text)
	if s.valid && sum == s.sum && len(text) == s.size {
		return false, nil
	}
	if s.value, err = decode(text); err != nil {
		s.valid = false
		return false, err
	}
	s.sum, s.size, s.valid = sum, len(text), true
	return true, nil
}

// askLookupd asks an nsqlookupd all that a View needs.
func (p *Poller) askLookupd(ctx context.Context, l *lookupdPoll, cost *time.Duration) (a lookupdAnswer, roundTrip time.Duration, err error) {
	start := time.Now()
	newTopics, _, err := askSame(ctx, p.client, l.address, "/topics", &l.topics, cost, func(text []byte, h http.Header) ([]string, error) {
		var answer topicsAnswer
		err := decodeText(text, h, &answer)
		topics := slices.DeleteFunc(answer.Topics, invalidName)
		slices.Sort(topics)
		return slices.Compact(topics), err
	})
	if err != nil {
		return a, 0, err
	}
	roundTrip = time.Since(start)
	newNodes, header, err := askSame(ctx, p.client, l.address, "/nodes", &l.nodes, cost, func(text []byte, h http.Header) ([]*Producer, error) {
		var answer producersAnswer
		err := decodeText(text, h, &answer)
		return producersOf(l.address, answer.Producers), err
	})
	if err != nil {
		return a, 0, err
	}
	if newTopics || newNodes {
		start := time.Now()
		l.inactive = inactiveTopics(l.topics.value, l.nodes.value)
		*cost += time.Since(start)
	}
	a = lookupdAnswer{producers: l.nodes.value, topics: l.topics.value, index: indexOf(header), staleMS: -1}
	if stale, err := strconv.ParseInt(header.Get("X-Nsq-Stale-Ms"), 10, 64); err == nil {
		a.staleMS = stale
	}
	if a.cluster, err = p.askCluster(ctx, l); err != nil {
		return a, 0, err
	}
	if a.version, err = p.askVersion(ctx, l); err != nil {
		return a, 0, err
	}
	a.channels, err = p.askChannels(ctx, l)
	return a, roundTrip, err
}

// askSame asks for path, and changes last if the answer is another than the last.
func askSame[T any](ctx context.Context, c *Client, address, path string, last *sameAnswer[T], cost *time.Duration, decode func([]byte, http.Header) (T, error)) (changed bool, header http.Header, err error) {
	err = c.do(ctx, address, &question{path: path, limit: listLimit, cost: cost, read: func(body io.Reader, h http.Header) (err error) {
		header = h
		changed, err = last.read(body, func(text []byte) (T, error) { return decode(text, h) })
		return err
	}})
	return changed, header, err
}

// inactiveTopics returns those of topics that none of producers has.
func inactiveTopics(topics []string, producers []*Producer) []string {
	produced := make(map[string]bool, len(topics))
	for _, p := range producers {
		for _, t := range p.Topics {
			produced[t.Topic] = true
		}
	}
	var inactive []string
	for _, t := range topics {
		if !produced[t] {
			inactive = append(inactive, t)
		}
	}
	return inactive
}

func (p *Poller) askCluster(ctx context.Context, l *lookupdPoll) (*Cluster, error) {
	if time.Since(l.stockAt) < recheck {
		return nil, nil
	}
	cluster, err := p.client.Cluster(ctx, l.address)
	if e, ok := errors.AsType[*StatusError](err); ok && e.Status < 500 || errors.Is(err, ErrNotClustered) {
		l.stockAt = time.Now()
		return nil, nil
	}
	if err != nil {
		return nil, errors.Unwrap(err) // whose address is said already
	}
	return cluster, nil
}

func (p *Poller) askVersion(ctx context.Context, l *lookupdPoll) (string, error) {
	if time.Since(l.versionAt) < recheck {
		return l.answer.version, nil // written by this goroutine alone
	}
	version, err := p.client.Version(ctx, l.address)
	if err == nil {
		l.versionAt = time.Now()
	}
	return version, err
}

// askChannels returns the channels of the topics that nobody produces. NSQ has no
// question about more than one: those not asked about yet come first, then those
// whose answer is oldest, and it asks on in the next round.
func (p *Poller) askChannels(ctx context.Context, l *lookupdPoll) (map[string][]string, error) {
	if len(l.inactive) == 0 {
		l.channels = nil
		return nil, nil
	}
	now := time.Now()
	changed := p.changedTopics(now)
	known := make(map[string]channelsAnswer, len(l.inactive))
	var due []string
	for _, topic := range l.inactive {
		known[topic] = l.channels[topic]
		if !changed[topic].Before(known[topic].at) {
			known[topic] = channelsAnswer{names: known[topic].names}
		}
		if now.Sub(known[topic].at) >= channelsEvery {
			due = append(due, topic)
		}
	}
	slices.SortStableFunc(due, func(a, b string) int { return known[a].at.Compare(known[b].at) })
	for _, topic := range due[:min(len(due), channelsAtOnce)] {
		names, err := p.client.channelsOf(ctx, l.address, topic)
		if err != nil {
			return nil, err
		}
		slices.Sort(names)
		known[topic] = channelsAnswer{slices.Compact(names), now}
		if time.Since(now) > p.opts.Interval/2 {
			break
		}
	}
	l.channels = known
	channels := make(map[string][]string, len(known))
	for topic, answer := range maps.All(known) {
		channels[topic] = answer.names
	}
	return channels, nil
}

// changedTopics returns the topics that Refresh was told of, and forgets those that
// everybody has asked about since.
func (p *Poller) changedTopics(now time.Time) map[string]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.changed, func(_ string, at time.Time) bool { return now.Sub(at) > channelsEvery })
	return maps.Clone(p.changed)
}

// A nodePoll is an nsqd that a Poller asks.
type nodePoll struct {
	subject
	static bool // it was given, not found

	// Owned by the goroutine that asks.
	stockAt time.Time // when it said that it is not ours; zero: it is, or was not asked
	infoAt  time.Time // zero: to be asked; of a static one
	diskAt  time.Time

	// Guarded by Poller.mu.
	self      *Producer       // as it describes itself; of a static one
	topics    []ProducerTopic // of a static one
	stats     *NodeStats
	sums      sums
	diskFree  int64
	goneSince time.Time
	listed    *listed // nil: by no nsqlookupd, ever
}

// A nodeAnswer is what an nsqd said in one round.
type nodeAnswer struct {
	self      *Producer // nil: was not asked
	topics    []ProducerTopic
	stats     *NodeStats
	sums      sums
	roundTrip time.Duration
	draining  bool
	diskFree  int64 // -2: was not asked
}

// startNode begins to ask n. With p.mu held.
func (p *Poller) startNode(n *nodePoll) {
	p.start(&n.subject, func(ctx context.Context) (func(), time.Duration, error) {
		var cost time.Duration
		a, err := p.askNode(ctx, n, &cost)
		if err != nil {
			n.stockAt, n.infoAt, n.diskAt = time.Time{}, time.Time{}, time.Time{}
		}
		return func() { n.apply(a) }, cost, err
	})
}

// apply takes in an answer. With Poller.mu held.
func (n *nodePoll) apply(a nodeAnswer) {
	n.stats, n.sums, n.topics, n.roundTrip = a.stats, a.sums, a.topics, a.roundTrip
	if a.self != nil {
		n.self = a.self
	}
	if a.diskFree != notAsked {
		n.diskFree = a.diskFree
	}
	if a.draining {
		n.state = Draining
	}
}

const notAsked = -2

// askNode asks an nsqd all that a View needs.
func (p *Poller) askNode(ctx context.Context, n *nodePoll, cost *time.Duration) (a nodeAnswer, err error) {
	a.diskFree = notAsked
	start := time.Now()
	if a.stats, err = p.client.statsOf(ctx, n.address, StatsFilter{Memory: true}, cost); err != nil {
		return a, err
	}
	a.roundTrip = time.Since(start)
	start = time.Now()
	a.sums = sumsOf(a.stats)
	if n.static {
		a.topics = a.stats.producerTopics()
	}
	*cost += time.Since(start)
	if n.static && time.Since(n.infoAt) >= recheck {
		if a.self, err = p.client.infoOf(ctx, n.address); err != nil {
			return a, err
		}
		n.infoAt = time.Now()
	}
	if time.Since(n.stockAt) < recheck {
		return a, nil
	}
	draining, ours, err := p.client.draining(ctx, n.address)
	if err != nil {
		return a, err
	}
	a.draining = draining
	if !ours {
		n.stockAt = time.Now()
		a.diskFree = -1
		return a, nil
	}
	if time.Since(n.diskAt) >= diskEvery {
		n.diskAt = time.Now()
		a.diskFree = p.client.diskFree(ctx, n.address)
	}
	return a, nil
}

// draining asks an nsqd whether it lets consumers finish and takes nothing new. One
// that does not know what that is is not ours.
func (c *Client) draining(ctx context.Context, nsqd string) (yes, ours bool, err error) {
	err = c.do(ctx, nsqd, &question{path: "/config/drain", read: func(body io.Reader, _ http.Header) error {
		text, err := io.ReadAll(body)
		yes = string(text) == "true"
		return err
	}})
	if _, ok := errors.AsType[*StatusError](err); ok {
		return false, false, nil
	}
	return yes, err == nil, err
}

// metricsLimit bounds /metrics: 5,000 topics and channels with nine series each.
const metricsLimit = 32 << 20

// diskFree returns the free bytes of the file system of the data path of one of our
// nsqds, -1 if it does not say.
func (c *Client) diskFree(ctx context.Context, nsqd string) int64 {
	const name = "nsqd_disk_free_bytes"
	free := int64(-1)
	c.do(ctx, nsqd, &question{path: "/metrics", query: url.Values{"name[]": {name}}, limit: metricsLimit, read: func(body io.Reader, _ http.Header) error {
		lines := bufio.NewScanner(body)
		for lines.Scan() {
			value, found := strings.CutPrefix(lines.Text(), name+" ")
			if !found {
				continue
			}
			if f, err := strconv.ParseFloat(value, 64); err == nil && f >= 0 && f < 1<<62 {
				free = int64(f)
			}
		}
		return lines.Err()
	}})
	return free
}
