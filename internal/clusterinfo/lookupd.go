package clusterinfo

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"nsqraft/internal/wire"
)

// A Producer is an nsqd as nsqlookupds list it.
type Producer struct {
	RemoteAddresses  []string        `json:"remote_addresses"` // "lookupd address/remote address", one for each nsqlookupd that lists it, sorted
	Hostname         string          `json:"hostname"`
	BroadcastAddress string          `json:"broadcast_address"`
	TCPPort          int             `json:"tcp_port"`
	HTTPPort         int             `json:"http_port"`
	Version          string          `json:"version"`
	TopologyZone     string          `json:"topology_zone"`
	TopologyRegion   string          `json:"topology_region"`
	Topics           []ProducerTopic `json:"topics"` // sorted by name; nil in answers to /lookup
}

// A ProducerTopic is a topic of a Producer.
type ProducerTopic struct {
	Topic      string `json:"topic"`
	Tombstoned bool   `json:"tombstoned"`
}

// HTTPAddress and TCPAddress are broadcast address and port; an IPv6 address is in brackets.
func (p *Producer) HTTPAddress() string { return joinPort(p.BroadcastAddress, p.HTTPPort) }
func (p *Producer) TCPAddress() string  { return joinPort(p.BroadcastAddress, p.TCPPort) }

func joinPort(host string, port int) string {
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
}

// Topics returns the names of all topics that any of lookupds knows, sorted.
func (c *Client) Topics(ctx context.Context, lookupds []string) ([]string, error) {
	answers, err := askAll(lookupds, func(address string) ([]string, error) {
		names, _, err := c.topicsOf(ctx, address, wait{})
		return names, err
	})
	return union(answers), err
}

// Channels returns the names of all channels of topic that any of lookupds knows, sorted.
func (c *Client) Channels(ctx context.Context, lookupds []string, topic string) ([]string, error) {
	answers, err := askAll(lookupds, func(address string) ([]string, error) {
		return c.channelsOf(ctx, address, topic)
	})
	return union(answers), err
}

// union returns all names that any answer has, sorted.
func union(answers []said[[]string]) []string {
	var all []string
	for _, a := range answers {
		all = append(all, a.value...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Producers returns all nsqds that any of lookupds lists, sorted by HTTP address, each once.
func (c *Client) Producers(ctx context.Context, lookupds []string) ([]*Producer, error) {
	answers, err := askAll(lookupds, func(address string) ([]*Producer, error) {
		producers, _, err := c.nodesOf(ctx, address)
		return producers, err
	})
	return mergeProducers(answers), err
}

// TopicProducers returns the nsqds that produce topic, sorted as by Producers. A topic
// that no nsqlookupd knows, and one without producers, are no error: none are returned.
func (c *Client) TopicProducers(ctx context.Context, lookupds []string, topic string) ([]*Producer, error) {
	answers, err := askAll(lookupds, func(address string) ([]*Producer, error) {
		producers, _, err := c.producersOf(ctx, address, topic, wait{})
		return producers, err
	})
	return mergeProducers(answers), err
}

// A wait makes a question a blocking query: it is answered once there is something
// newer than index, or after wait. The zero value asks for an answer at once.
type wait struct {
	index uint64
	wait  time.Duration
}

// slack is what an answer may take when the wait of a blocking query is over.
const slack = 5 * time.Second

// apply makes q wait.
func (w wait) apply(q *question) {
	if w.wait == 0 {
		return
	}
	if q.query == nil {
		q.query = make(url.Values)
	}
	q.query.Set("index", strconv.FormatUint(w.index, 10))
	q.query.Set("wait", w.wait.String())
	q.timeout = w.wait + slack
}

// indexOf returns the index of an answer, 0 if there is none: stock's.
func indexOf(h http.Header) uint64 {
	index, _ := strconv.ParseUint(h.Get("X-Nsq-Index"), 10, 64)
	return index
}

// What lookupds answer: to /topics, and to /nodes and /lookup.
type (
	topicsAnswer struct {
		Topics []string `json:"topics"`
	}
	producersAnswer struct {
		Producers []listing `json:"producers"`
	}
)

// topicsOf returns the names of topics that one lookupd knows.
func (c *Client) topicsOf(ctx context.Context, address string, w wait) ([]string, http.Header, error) {
	var answer topicsAnswer
	var header http.Header
	q := &question{path: "/topics", limit: listLimit, read: func(body io.Reader, h http.Header) error {
		header = h
		return decodeJSON(body, h, &answer)
	}}
	w.apply(q)
	if err := c.do(ctx, address, q); err != nil {
		return nil, nil, err
	}
	return slices.DeleteFunc(answer.Topics, invalidName), header, nil
}

func invalidName(name string) bool { return !wire.ValidTopic(name) } // the rule for channels too

func (c *Client) channelsOf(ctx context.Context, address, topic string) ([]string, error) {
	var answer struct {
		Channels []string `json:"channels"`
	}
	_, err := c.getJSON(ctx, address, "/channels", url.Values{"topic": {topic}}, listLimit, &answer)
	return slices.DeleteFunc(answer.Channels, invalidName), err
}

// A listing is an nsqd as one lookupd lists it.
type listing struct {
	RemoteAddress    string   `json:"remote_address"`
	Hostname         string   `json:"hostname"`
	BroadcastAddress string   `json:"broadcast_address"`
	TCPPort          int      `json:"tcp_port"`
	HTTPPort         int      `json:"http_port"`
	Version          string   `json:"version"`
	TopologyZone     string   `json:"topology_zone"`
	TopologyRegion   string   `json:"topology_region"`
	Topics           []string `json:"topics"`
	Tombstones       []bool   `json:"tombstones"` // of Topics, or fewer
}

// producer returns l as lookupd listed it, nil if nobody can reach such an nsqd.
func (l *listing) producer(lookupd string) *Producer {
	valid := func(port int) bool { return 0 <= port && port <= 65535 }
	if l.BroadcastAddress == "" || !valid(l.TCPPort) || !valid(l.HTTPPort) || l.TCPPort+l.HTTPPort == 0 {
		return nil
	}
	p := &Producer{
		RemoteAddresses:  []string{lookupd + "/" + l.RemoteAddress},
		Hostname:         l.Hostname,
		BroadcastAddress: l.BroadcastAddress,
		TCPPort:          l.TCPPort,
		HTTPPort:         l.HTTPPort,
		Version:          l.Version,
		TopologyZone:     l.TopologyZone,
		TopologyRegion:   l.TopologyRegion,
	}
	for i, topic := range l.Topics {
		if !invalidName(topic) {
			p.Topics = append(p.Topics, ProducerTopic{topic, i < len(l.Tombstones) && l.Tombstones[i]})
		}
	}
	slices.SortFunc(p.Topics, func(a, b ProducerTopic) int { return strings.Compare(a.Topic, b.Topic) })
	return p
}

func producersOf(lookupd string, listings []listing) []*Producer {
	producers := make([]*Producer, 0, len(listings))
	for i := range listings {
		if p := listings[i].producer(lookupd); p != nil {
			producers = append(producers, p)
		}
	}
	return producers
}

// nodesOf returns the nsqds that one lookupd lists.
func (c *Client) nodesOf(ctx context.Context, address string) ([]*Producer, http.Header, error) {
	var answer producersAnswer
	header, err := c.getJSON(ctx, address, "/nodes", nil, listLimit, &answer)
	if err != nil {
		return nil, nil, err
	}
	return producersOf(address, answer.Producers), header, nil
}

// producersOf returns the nsqds that produce topic, none if the lookupd at address
// does not know it.
func (c *Client) producersOf(ctx context.Context, address, topic string, w wait) ([]*Producer, http.Header, error) {
	var answer producersAnswer
	var header http.Header
	q := &question{path: "/lookup", query: url.Values{"topic": {topic}}, limit: listLimit}
	q.read = func(body io.Reader, h http.Header) error {
		header = h
		return decodeJSON(body, h, &answer)
	}
	w.apply(q)
	err := c.do(ctx, address, q)
	if e, ok := errors.AsType[*StatusError](err); ok && e.is(http.StatusNotFound, "TOPIC_NOT_FOUND") {
		return nil, e.header, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return producersOf(address, answer.Producers), header, nil
}

// mergeProducers returns the producers of all answers, each once. Where they differ
// the first answer counts, but a topic is there if any lists it, and tombstoned if it
// is for any.
func mergeProducers(answers []said[[]*Producer]) []*Producer {
	var merged []*Producer
	known := make(map[string]*Producer)
	for _, answer := range answers {
		for _, p := range answer.value {
			key := p.HTTPAddress()
			if p.HTTPPort == 0 {
				key = "tcp " + p.TCPAddress()
			}
			first := known[key]
			if first == nil {
				first = new(Producer)
				*first = *p // the answers stay as they are
				known[key] = first
				merged = append(merged, first)
				continue
			}
			first.RemoteAddresses = slices.Concat(first.RemoteAddresses, p.RemoteAddresses)
			first.Topics = mergeTopics(first.Topics, p.Topics)
		}
	}
	for _, p := range merged {
		slices.Sort(p.RemoteAddresses)
		p.RemoteAddresses = slices.Compact(p.RemoteAddresses)
	}
	slices.SortFunc(merged, func(a, b *Producer) int {
		return cmp.Or(strings.Compare(a.HTTPAddress(), b.HTTPAddress()), cmp.Compare(a.TCPPort, b.TCPPort))
	})
	return merged
}

// mergeTopics returns the topics of two sorted lists, sorted, each once.
func mergeTopics(a, b []ProducerTopic) []ProducerTopic {
	if slices.Equal(a, b) {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(a, b ProducerTopic) int { return strings.Compare(a.Topic, b.Topic) })
	merged := all[:0]
	for _, t := range all {
		if last := len(merged) - 1; last >= 0 && merged[last].Topic == t.Topic {
			merged[last].Tombstoned = merged[last].Tombstoned || t.Tombstoned
			continue
		}
		merged = append(merged, t)
	}
	return merged
}

// Version returns what one daemon says of its version, as "1.3.0".
func (c *Client) Version(ctx context.Context, address string) (string, error) {
	var i info
	_, err := c.getJSON(ctx, address, "/info", nil, 0, &i)
	return i.Version, err
}

// A Cluster is what one of our nsqlookupds says of its cluster: GET /cluster. Fields
// are those of lookupd's answer; what an older one does not say is zero.
type Cluster struct {
	ClusterID        string    `json:"cluster_id"`
	NodeID           string    `json:"node_id"`
	Instance         string    `json:"instance"`
	Role             string    `json:"role"`   // leader, follower, candidate, nonvoter; "alone" without a cluster
	Leader           string    `json:"leader"` // node id; empty: none known
	Term             uint64    `json:"term"`
	Ready            bool      `json:"ready"`
	CommitIndex      uint64    `json:"commit_index"`
	AppliedIndex     uint64    `json:"applied_index"`
	LastLogIndex     uint64    `json:"last_log_index"`
	RegistryHash     string    `json:"registry_hash"`
	Voters           int       `json:"voters"`
	FailureTolerance int       `json:"failure_tolerance"` // -1: the quorum is lost
	Members          []*Member `json:"members"`           // sorted by id
}

// A Member is one member of a Cluster. Of one that gave no answer only the identity is known.
type Member struct {
	ID            string `json:"id"`
	Instance      string `json:"instance"`
	Address       string `json:"address"` // of the internal port
	HTTPAddress   string `json:"http_address"`
	Role          string `json:"role"` // leader, follower, candidate, nonvoter, unreachable
	Voter         bool   `json:"voter"`
	Healthy       bool   `json:"healthy"`
	Ready         bool   `json:"ready"`
	Term          uint64 `json:"term"`
	AppliedIndex  uint64 `json:"applied_index"`
	LastLogIndex  uint64 `json:"last_log_index"`
	Lag           uint64 `json:"lag"`
	LastContactMS int64  `json:"last_contact_ms"` // -1: unknown
	RegistryHash  string `json:"registry_hash"`
	Version       string `json:"version"`

	// Zero from a lookupd that does not say.
	UptimeSeconds int64   `json:"uptime_seconds"`
	SnapshotIndex uint64  `json:"snapshot_index"`
	DataBytes     int64   `json:"data_bytes"`      // log and snapshots on disk
	DiskFreeBytes int64   `json:"disk_free_bytes"` // of the file system of the data path
	FsyncP99MS    float64 `json:"fsync_p99_ms"`    // of the last minutes
	CommitP99MS   float64 `json:"commit_p99_ms"`   // on the leader
	RoundTripMS   float64 `json:"round_trip_ms"`   // of the question that was just answered
	ClockSkewMS   int64   `json:"clock_skew_ms"`   // its clock minus that of the node asked
	LeaderSinceMS int64   `json:"leader_since_ms"` // unix ms; 0: does not lead
	Registrations int64   `json:"registrations"`
	Topics        int64   `json:"topics"`
	Producers     int64   `json:"producers"`
}

// Cluster asks one nsqlookupd. ErrNotClustered if it is stock's, or answers something
// that is not about a cluster: without its own id, or without a list of members, which
// is empty only for a node that waits to be taken in.
func (c *Client) Cluster(ctx context.Context, lookupd string) (*Cluster, error) {
	answer := new(Cluster)
	_, err := c.getJSON(ctx, lookupd, "/cluster", nil, 0, answer)
	if e, ok := errors.AsType[*StatusError](err); ok && e.Status == http.StatusNotFound {
		return nil, of(lookupd, ErrNotClustered)
	}
	if err != nil {
		return nil, of(lookupd, err)
	}
	if answer.NodeID == "" || answer.Members == nil {
		return nil, of(lookupd, ErrNotClustered)
	}
	answer.Members = slices.DeleteFunc(answer.Members, func(m *Member) bool { return m == nil })
	slices.SortFunc(answer.Members, func(a, b *Member) int { return strings.Compare(a.ID, b.ID) })
	return answer, nil
}
