package clusterinfo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unique"
)

// NodeStats are what an nsqd says in /stats?format=json. Field names are stock's.
type NodeStats struct {
	Version   string         `json:"version"`
	Health    string         `json:"health"`
	StartTime int64          `json:"start_time"`
	Topics    []*TopicStats  `json:"topics"`
	Memory    *MemoryStats   `json:"memory,omitempty"`
	Producers []*ClientStats `json:"producers,omitempty"`
}

// TopicStats are those of one topic on one nsqd.
type TopicStats struct {
	Name         string          `json:"topic_name"`
	Channels     []*ChannelStats `json:"channels"`
	Depth        int64           `json:"depth"`
	BackendDepth int64           `json:"backend_depth"`
	MessageCount int64           `json:"message_count"`
	MessageBytes int64           `json:"message_bytes"`
	Paused       bool            `json:"paused"`
	E2ELatency   *LatencyStats   `json:"e2e_processing_latency"`
}

// ChannelStats are those of one channel on one nsqd.
type ChannelStats struct {
	Name          string         `json:"channel_name"`
	Depth         int64          `json:"depth"`
	BackendDepth  int64          `json:"backend_depth"`
	InFlightCount int64          `json:"in_flight_count"`
	DeferredCount int64          `json:"deferred_count"`
	MessageCount  int64          `json:"message_count"`
	RequeueCount  int64          `json:"requeue_count"`
	TimeoutCount  int64          `json:"timeout_count"`
	ClientCount   int64          `json:"client_count"`
	Clients       []*ClientStats `json:"clients"` // nil unless asked for
	Paused        bool           `json:"paused"`
	E2ELatency    *LatencyStats  `json:"e2e_processing_latency"`

	ZoneLocalCount   int64 `json:"zone_local_msg_count,omitempty"`
	RegionLocalCount int64 `json:"region_local_msg_count,omitempty"`
	GlobalCount      int64 `json:"global_msg_count,omitempty"`
}

// ClientStats are those of one consumer or producer.
type ClientStats struct {
	ClientID        string `json:"client_id"`
	Hostname        string `json:"hostname"`
	Version         string `json:"version"`
	RemoteAddress   string `json:"remote_address"`
	State           int32  `json:"state"`
	ReadyCount      int64  `json:"ready_count"`
	InFlightCount   int64  `json:"in_flight_count"`
	MessageCount    int64  `json:"message_count"`
	FinishCount     int64  `json:"finish_count"`
	RequeueCount    int64  `json:"requeue_count"`
	ConnectTime     int64  `json:"connect_ts"` // unix seconds
	SampleRate      int32  `json:"sample_rate"`
	Deflate         bool   `json:"deflate"`
	Snappy          bool   `json:"snappy"`
	UserAgent       string `json:"user_agent"`
	Authed          bool   `json:"authed"`
	AuthIdentity    string `json:"auth_identity"`
	AuthIdentityURL string `json:"auth_identity_url"`
	TopologyZone    string `json:"topology_zone"`
	TopologyRegion  string `json:"topology_region"`

	PubCounts []PubCount `json:"pub_counts,omitempty"` // of a producer

	TLS                           bool   `json:"tls"`
	CipherSuite                   string `json:"tls_cipher_suite"`
	TLSVersion                    string `json:"tls_version"`
	TLSNegotiatedProtocol         string `json:"tls_negotiated_protocol"`
	TLSNegotiatedProtocolIsMutual bool   `json:"tls_negotiated_protocol_is_mutual"`
}

// A PubCount is how much a producer published to one topic.
type PubCount struct {
	Topic string `json:"topic"`
	Count int64  `json:"count"`
}

// LatencyStats are percentiles of the time from publish to finish, in nanoseconds.
type LatencyStats struct {
	Count       int                  `json:"count"`
	Percentiles []map[string]float64 `json:"percentiles"`
}

// MemoryStats are the Go runtime's of an nsqd: sizes in bytes, pauses in microseconds.
type MemoryStats struct {
	HeapObjects       uint64 `json:"heap_objects"`
	HeapIdleBytes     uint64 `json:"heap_idle_bytes"`
	HeapInUseBytes    uint64 `json:"heap_in_use_bytes"`
	HeapReleasedBytes uint64 `json:"heap_released_bytes"`
	GCPauseUsec100    uint64 `json:"gc_pause_usec_100"`
	GCPauseUsec99     uint64 `json:"gc_pause_usec_99"`
	GCPauseUsec95     uint64 `json:"gc_pause_usec_95"`
	NextGCBytes       uint64 `json:"next_gc_bytes"`
	GCTotalRuns       uint32 `json:"gc_total_runs"`
}

// A StatsFilter chooses what Stats asks for.
type StatsFilter struct {
	Topic, Channel string // "" for all
	Clients        bool   // with the clients of channels
	Memory         bool
}

// Stats asks one nsqd.
func (c *Client) Stats(ctx context.Context, nsqd string, f StatsFilter) (*NodeStats, error) {
	stats, err := c.statsOf(ctx, nsqd, f, nil)
	if err != nil {
		return nil, of(nsqd, err)
	}
	return stats, nil
}

func (c *Client) statsOf(ctx context.Context, nsqd string, f StatsFilter, cost *time.Duration) (*NodeStats, error) {
	query := url.Values{
		"format":          {"json"},
		"include_clients": {strconv.FormatBool(f.Clients)},
		"include_mem":     {strconv.FormatBool(f.Memory)},
	}
	if f.Topic != "" {
		query.Set("topic", f.Topic)
	}
	if f.Channel != "" {
		query.Set("channel", f.Channel)
	}
	stats := new(NodeStats)
	err := c.do(ctx, nsqd, &question{path: "/stats", query: query, limit: statsLimit, cost: cost, read: func(body io.Reader, _ http.Header) error {
		return decodeStats(json.NewDecoder(body), stats, false)
	}})
	if err != nil {
		return nil, err
	}
	if !f.Clients { // those before 1.0 give them nevertheless
		for _, t := range stats.Topics {
			for _, ch := range t.Channels {
				ch.Clients = nil
			}
		}
	}
	return stats, nil
}

// decodeStats decodes /stats topic by topic, so that no more than one of them is held
// as text.
//
// Those before 1.0 wrap it; wrapped says that such a wrapping is open.
func decodeStats(dec *json.Decoder, s *NodeStats, wrapped bool) error {
	if err := delim(dec, '{'); err != nil {
		return err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return invalid(err)
		}
		if key == "data" && !wrapped {
			if err := decodeStats(dec, s, true); err != nil {
				return err
			}
			continue
		}
		switch key {
		case "version":
			err = dec.Decode(&s.Version)
		case "health":
			err = dec.Decode(&s.Health)
		case "start_time":
			err = dec.Decode(&s.StartTime)
		case "memory":
			err = dec.Decode(&s.Memory)
		case "topics":
			err = decodeEach(dec, s.addTopic)
		case "producers":
			err = decodeEach(dec, func(p *ClientStats) { s.Producers = append(s.Producers, p) })
		default:
			var other json.RawMessage
			err = dec.Decode(&other)
		}
		if err != nil {
			return invalid(err)
		}
	}
	s.Topics = byName(s.Topics, func(t *TopicStats) string { return t.Name })
	return delim(dec, '}')
}

// decodeEach calls add with the elements of an array but for null, or of null.
func decodeEach[T any](dec *json.Decoder, add func(*T)) error {
	open, err := dec.Token()
	if err != nil || open == nil {
		return err
	}
	if open != json.Delim('[') {
		return fmt.Errorf("%v where an array should be", open)
	}
	for dec.More() {
		var v *T
		if err := dec.Decode(&v); err != nil {
			return err
		}
		if v != nil {
			add(v)
		}
	}
	return delim(dec, ']')
}

func delim(dec *json.Decoder, want json.Delim) error {
	got, err := dec.Token()
	if err != nil {
		return invalid(err)
	}
	if got == nil {
		return invalid(fmt.Errorf("null where %v should be", want))
	}
	if got != want {
		return invalid(fmt.Errorf("%v where %v should be", got, want))
	}
	return nil
}

var errInvalid = errors.New("invalid answer")

func invalid(err error) error {
	if errors.Is(err, errInvalid) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", errInvalid, err)
}

// addTopic adds what an nsqd says of a topic, but for what NSQ does not allow.
func (s *NodeStats) addTopic(t *TopicStats) {
	if invalidName(t.Name) {
		return
	}
	t.Channels = slices.DeleteFunc(t.Channels, func(ch *ChannelStats) bool { return ch == nil || invalidName(ch.Name) })
	t.Channels = byName(t.Channels, func(ch *ChannelStats) string { return ch.Name })
	t.E2ELatency = kept(t.E2ELatency)
	// A hundred nsqds say the same names, again and again.
	t.Name = unique.Make(t.Name).Value()
	for _, ch := range t.Channels {
		ch.Name = unique.Make(ch.Name).Value()
		ch.E2ELatency = kept(ch.E2ELatency)
		ch.Clients = slices.DeleteFunc(ch.Clients, func(cl *ClientStats) bool { return cl == nil })
		ch.ClientCount = max(ch.ClientCount, int64(len(ch.Clients))) // older ones do not count them
	}
	s.Topics = append(s.Topics, t)
}

// byName sorts list by name and leaves the first of each.
func byName[T any](list []*T, name func(*T) string) []*T {
	slices.SortStableFunc(list, func(a, b *T) int { return strings.Compare(name(a), name(b)) })
	return slices.CompactFunc(list, func(a, b *T) bool { return name(a) == name(b) })
}

// kept returns l, nil if it has no percentiles.
func kept(l *LatencyStats) *LatencyStats {
	if l == nil || len(l.Percentiles) == 0 {
		return nil
	}
	return l
}

// producerTopics returns the topics as those of a Producer.
func (s *NodeStats) producerTopics() []ProducerTopic {
	topics := make([]ProducerTopic, len(s.Topics))
	for i, t := range s.Topics {
		topics[i].Topic = t.Name
	}
	return topics
}

// An info is what an nsqd says in /info.
type info struct {
	Version          string `json:"version"`
	BroadcastAddress string `json:"broadcast_address"`
	Hostname         string `json:"hostname"`
	HTTPPort         int    `json:"http_port"`
	TCPPort          int    `json:"tcp_port"`
	TopologyZone     string `json:"topology_zone"`
	TopologyRegion   string `json:"topology_region"`
}

// infoOf returns the nsqd at address as it describes itself, without topics.
func (c *Client) infoOf(ctx context.Context, address string) (*Producer, error) {
	var i info
	if _, err := c.getJSON(ctx, address, "/info", nil, 0, &i); err != nil {
		return nil, err
	}
	return &Producer{
		Hostname:         i.Hostname,
		BroadcastAddress: i.BroadcastAddress,
		TCPPort:          i.TCPPort,
		HTTPPort:         i.HTTPPort,
		Version:          i.Version,
		TopologyZone:     i.TopologyZone,
		TopologyRegion:   i.TopologyRegion,
	}, nil
}

// NSQDProducers returns the given nsqds as Producers from what they say of themselves,
// for those who use no nsqlookupd.
func (c *Client) NSQDProducers(ctx context.Context, nsqds []string) ([]*Producer, error) {
	answers, err := askAll(nsqds, func(address string) ([]*Producer, error) {
		p, err := c.infoOf(ctx, address)
		if err != nil {
			return nil, err
		}
		stats, err := c.statsOf(ctx, address, StatsFilter{}, nil)
		if err != nil {
			return nil, err
		}
		p.Topics = stats.producerTopics()
		return []*Producer{p}, nil
	})
	return mergeProducers(answers), err
}
