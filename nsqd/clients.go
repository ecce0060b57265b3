package nsqd

import (
	"crypto/tls"
	"maps"
	"slices"
	"strings"
	"sync"
)

// clients are those that are connected. The zero value has none.
type clients struct {
	mu  sync.Mutex
	all map[*client]struct{}
}

func (cs *clients) add(c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.all == nil {
		cs.all = make(map[*client]struct{})
	}
	cs.all[c] = struct{}{}
}

func (cs *clients) remove(c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.all, c)
}

// producers returns those that have published, by address; nil if there are none.
func (cs *clients) producers() []ClientStats {
	cs.mu.Lock()
	all := slices.Collect(maps.Keys(cs.all))
	cs.mu.Unlock()
	var producers []ClientStats
	for _, c := range all {
		if stats := c.stats(); len(stats.PubCounts) > 0 {
			c.mu.Lock()
			channel, consumer := c.about.channel, c.about.consumer
			c.mu.Unlock()
			if consumer != nil {
				channel.count(consumer, &stats)
			}
			producers = append(producers, stats)
		}
	}
	slices.SortFunc(producers, func(a, b ClientStats) int { return strings.Compare(a.RemoteAddress, b.RemoteAddress) })
	return producers
}

// countPublished counts n messages published to the topic.
func (c *client) countPublished(topic string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.about.published == nil {
		c.about.published = make(map[string]uint64)
	}
	c.about.published[topic] += uint64(n)
}

// stats returns what is known of the client itself; counts of messages are its
// channel's.
func (c *client) stats() ClientStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &c.about
	stats := ClientStats{
		ClientID:       a.id,
		Hostname:       a.hostname,
		Version:        "V2",
		RemoteAddress:  c.conn.RemoteAddr().String(),
		State:          int32(a.state),
		ConnectTime:    c.connected.Unix(),
		SampleRate:     a.sampleRate,
		Deflate:        a.deflate,
		Snappy:         a.snappy,
		UserAgent:      a.agent,
		TopologyZone:   a.zone,
		TopologyRegion: a.region,
	}
	if a.auth != nil {
		stats.Authed = true
		stats.AuthIdentity, stats.AuthIdentityURL = a.auth.identity, a.auth.identityURL
	}
	for _, topic := range slices.Sorted(maps.Keys(a.published)) {
		stats.PubCounts = append(stats.PubCounts, PubCount{topic, a.published[topic]})
	}
	if a.tls != nil {
		stats.TLS = true
		stats.CipherSuite = tls.CipherSuiteName(a.tls.CipherSuite)
		stats.TLSVersion = strings.Replace(tls.VersionName(a.tls.Version), " ", "", 1) // stock has no space
		stats.TLSNegotiatedProtocol = a.tls.NegotiatedProtocol
		stats.TLSNegotiatedProtocolIsMutual = true // as stock, whose library has said so since ALPN
	}
	return stats
}
