package nsqd

import "github.com/beorn7/perks/quantile"

// Stats are what an nsqd knows of its topics and clients at one time. The JSON is
// that of /stats in stock nsqd v1.3.0.
type Stats struct {
	Version   string        `json:"version"`
	Health    string        `json:"health"` // "OK", or "NOK - " and what is wrong
	StartTime int64         `json:"start_time"`
	Topics    []TopicStats  `json:"topics"`
	Memory    *MemoryStats  `json:"memory,omitempty"`
	Producers []ClientStats `json:"producers"`
}

// TopicStats are those of one topic, with its channels by name.
type TopicStats struct {
	Name         string         `json:"topic_name"`
	Channels     []ChannelStats `json:"channels"`
	Depth        int64          `json:"depth"` // in memory and on disk, not given to channels yet
	BackendDepth int64          `json:"backend_depth"`
	MessageCount uint64         `json:"message_count"`
	MessageBytes uint64         `json:"message_bytes"`
	Paused       bool           `json:"paused"`
	E2ELatency   LatencyStats   `json:"e2e_processing_latency"`
}

// ChannelStats are those of one channel.
type ChannelStats struct {
	Name          string        `json:"channel_name"`
	Depth         int64         `json:"depth"`
	BackendDepth  int64         `json:"backend_depth"`
	InFlightCount int           `json:"in_flight_count"`
	DeferredCount int           `json:"deferred_count"`
	MessageCount  uint64        `json:"message_count"`
	RequeueCount  uint64        `json:"requeue_count"`
	TimeoutCount  uint64        `json:"timeout_count"`
	ClientCount   int           `json:"client_count"`
	Clients       []ClientStats `json:"clients"` // nil when they were not asked for
	Paused        bool          `json:"paused"`
	E2ELatency    LatencyStats  `json:"e2e_processing_latency"`

	ZoneLocalCount   uint64 `json:"zone_local_msg_count,omitempty"`
	RegionLocalCount uint64 `json:"region_local_msg_count,omitempty"`
	GlobalCount      uint64 `json:"global_msg_count,omitempty"`
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
	MessageCount    uint64 `json:"message_count"`
	FinishCount     uint64 `json:"finish_count"`
	RequeueCount    uint64 `json:"requeue_count"`
	ConnectTime     int64  `json:"connect_ts"`
	SampleRate      int32  `json:"sample_rate"`
	Deflate         bool   `json:"deflate"`
	Snappy          bool   `json:"snappy"`
	UserAgent       string `json:"user_agent"`
	Authed          bool   `json:"authed,omitempty"`
	AuthIdentity    string `json:"auth_identity,omitempty"`
	AuthIdentityURL string `json:"auth_identity_url,omitempty"`
	TopologyZone    string `json:"topology_zone"`
	TopologyRegion  string `json:"topology_region"`

	PubCounts []PubCount `json:"pub_counts,omitempty"`

	TLS                           bool   `json:"tls"`
	CipherSuite                   string `json:"tls_cipher_suite"`
	TLSVersion                    string `json:"tls_version"`
	TLSNegotiatedProtocol         string `json:"tls_negotiated_protocol"`
	TLSNegotiatedProtocolIsMutual bool   `json:"tls_negotiated_protocol_is_mutual"`
}

// PubCount says how many messages a client has published to a topic.
type PubCount struct {
	Topic string `json:"topic"`
	Count uint64 `json:"count"`
}

// LatencyStats are percentiles of the time from publish to finish.
type LatencyStats struct {
	Count       int                  `json:"count"`
	Percentiles []map[string]float64 `json:"percentiles"` // of quantile and value (ns); nil if none are kept
}

// MemoryStats are the Go runtime's: sizes in bytes, pauses in microseconds.
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

// StatsFilter chooses what Server.Stats returns.
type StatsFilter struct {
	Topic, Channel string // "" for all
	Clients        bool   // with ChannelStats.Clients and Stats.Producers
}

// Stats returns topics and channels by name. Memory is left out.
func (s *Server) Stats(f StatsFilter) Stats {
	stats := Stats{Version: Version, Health: s.healthText(), StartTime: s.started.Unix()}
	if f.Topic == "" {
		stats.Topics = []TopicStats{} // and null if the one that was asked for is not there
	}
	for _, t := range s.sorted() {
		if f.Topic != "" && f.Topic != t.name {
			continue
		}
		if f.Channel != "" && t.FindChannel(f.Channel) == nil {
			if stats.Topics == nil {
				stats.Topics = []TopicStats{} // as stock
			}
			continue
		}
		stats.Topics = append(stats.Topics, t.stats(f))
	}
	if f.Clients {
		stats.Producers = s.clients.producers()
	}
	return stats
}

func (t *Topic) stats(f StatsFilter) TopicStats {
	all := newStream(t.server.opts)
	channels := []ChannelStats{}
	for _, c := range t.sorted() {
		stats := c.stats(f, all)
		if f.Channel == "" || f.Channel == c.name {
			channels = append(channels, stats)
		}
	}
	latency := latencyStats(t.server.opts, all)
	if len(channels) == 0 {
		latency = LatencyStats{} // there is nothing to have percentiles of
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return TopicStats{
		Name:         t.name,
		Channels:     channels,
		Depth:        t.backlog.depth(),
		BackendDepth: t.backlog.onDisk(),
		MessageCount: t.messages.Load(),
		MessageBytes: t.bytes.Load(),
		Paused:       t.paused,
		E2ELatency:   latency,
	}
}

// stats adds the channel's latencies to those of its topic.
func (c *Channel) stats(f StatsFilter, topic *quantile.Stream) ChannelStats {
	own := newStream(c.server.opts)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latency.mergeInto(own)
	c.latency.mergeInto(topic)
	stats := ChannelStats{
		Name:             c.name,
		Depth:            c.backlog.depth(),
		BackendDepth:     c.backlog.onDisk(),
		InFlightCount:    len(c.flying),
		DeferredCount:    len(c.deferred),
		MessageCount:     c.messages,
		RequeueCount:     c.requeues,
		TimeoutCount:     c.timeouts,
		ClientCount:      len(c.consumers),
		Paused:           c.paused,
		E2ELatency:       latencyStats(c.server.opts, own),
		ZoneLocalCount:   c.zoneLocal,
		RegionLocalCount: c.regionLocal,
		GlobalCount:      c.further,
	}
	if f.Clients {
		stats.Clients = make([]ClientStats, 0, len(c.consumers))
		for _, co := range c.consumers {
			client := co.describe()
			co.count(&client)
			stats.Clients = append(stats.Clients, client)
		}
	}
	return stats
}

// count fills in what the channel knows of a client.
func (c *Channel) count(co *consumer, stats *ClientStats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	co.count(stats)
}

// count does that with the channel's mutex held.
func (co *consumer) count(stats *ClientStats) {
	stats.ReadyCount, stats.InFlightCount = co.ready, co.inFlight
	stats.MessageCount, stats.FinishCount, stats.RequeueCount = co.delivered, co.finished, co.requeued
}
