package nsqadmin

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
	"nsqraft/internal/wire"
)

// A topicJSON is a topic over all nsqds, or on one of its Nodes; a channelJSON is the
// same of a channel.
type topicJSON struct {
	Node         string         `json:"node"` // "*" for all
	Hostname     string         `json:"hostname"`
	TopicName    string         `json:"topic_name"`
	Depth        int64          `json:"depth"`
	MemoryDepth  int64          `json:"memory_depth"`
	BackendDepth int64          `json:"backend_depth"`
	MessageCount int64          `json:"message_count"`
	Nodes        []*topicJSON   `json:"nodes"`
	Channels     []*channelJSON `json:"channels"`
	Paused       bool           `json:"paused"`
	E2ELatency   *latencyJSON   `json:"e2e_processing_latency"`

	// Ours.
	MessageBytes int64      `json:"message_bytes"`
	Tombstoned   bool       `json:"tombstoned,omitempty"`
	StatsAt      *time.Time `json:"stats_at,omitempty"` // of one node's numbers, if they are not those of now
}

type channelJSON struct {
	Node          string         `json:"node"`
	Hostname      string         `json:"hostname"`
	TopicName     string         `json:"topic_name"`
	ChannelName   string         `json:"channel_name"`
	Depth         int64          `json:"depth"`
	MemoryDepth   int64          `json:"memory_depth"`
	BackendDepth  int64          `json:"backend_depth"`
	InFlightCount int64          `json:"in_flight_count"`
	DeferredCount int64          `json:"deferred_count"`
	RequeueCount  int64          `json:"requeue_count"`
	TimeoutCount  int64          `json:"timeout_count"`
	MessageCount  int64          `json:"message_count"`
	ClientCount   int64          `json:"client_count"`
	Nodes         []*channelJSON `json:"nodes"`
	Clients       []*clientJSON  `json:"clients"`
	Paused        bool           `json:"paused"`
	E2ELatency    *latencyJSON   `json:"e2e_processing_latency"`

	// Stock's of after v1.3.0.
	ZoneLocalCount   int64 `json:"zone_local_msg_count,omitempty"`
	RegionLocalCount int64 `json:"region_local_msg_count,omitempty"`
	GlobalCount      int64 `json:"global_msg_count,omitempty"`

	// Ours.
	StatsAt *time.Time `json:"stats_at,omitempty"`
}

type clientJSON struct {
	Node string `json:"node"`
	*clusterinfo.ClientStats
	Connected time.Duration `json:"connected"` // nanoseconds
}

// latencyJSON has stock's names. Each percentile has its quantile; min, average and
// max of those of the nodes, in nanoseconds; and value, which is that of one node, the
// greatest of several.
type latencyJSON struct {
	Count       int                  `json:"count"`
	Percentiles []map[string]float64 `json:"percentiles"`
	Topic       string               `json:"topic"`
	Channel     string               `json:"channel"`
	Host        string               `json:"host"`
}

func newLatency(of *clusterinfo.LatencyStats) *latencyJSON {
	l := new(latencyJSON)
	l.add(of)
	return l
}

// add merges the percentiles of one more node.
func (l *latencyJSON) add(of *clusterinfo.LatencyStats) {
	if of == nil {
		return
	}
	l.Count += of.Count
	for _, p := range of.Percentiles {
		quantile, value, count := p["quantile"], p["value"], float64(of.Count)
		i := slices.IndexFunc(l.Percentiles, func(have map[string]float64) bool { return have["quantile"] == quantile })
		if i < 0 {
			l.Percentiles = append(l.Percentiles, map[string]float64{
				"quantile": quantile, "value": value, "min": value, "max": value, "average": value, "count": count,
			})
			continue
		}
		have := l.Percentiles[i]
		have["min"], have["max"] = min(have["min"], value), max(have["max"], value)
		have["value"] = have["max"]
		if have["count"] += count; have["count"] > 0 {
			have["average"] += (value - have["average"]) * count / have["count"]
		}
	}
}

// statsAt returns when the numbers of n were those of now, nil if they still are.
func statsAt(n *clusterinfo.Node) *time.Time {
	if !n.Stale() && !n.Late || n.StatsAt.IsZero() {
		return nil
	}
	return &n.StatsAt
}

func (s *Server) listTopics(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	v, message, err := s.current(r)
	if err != nil {
		return nil, err
	}
	if params.Get("detail") == "1" || params.Get("detail") == "true" {
		return s.detailedTopics(v, message, params)
	}
	if params.Get("inactive") == "true" {
		inactive := make(map[string][]string)
		for _, t := range v.Topics {
			if t.Inactive() && len(v.Lookupds) > 0 {
				inactive[t.Name] = channelNames(t)
			}
		}
		return struct {
			Topics  map[string][]string `json:"topics"`
			Message string              `json:"message"`
		}{inactive, message}, nil
	}
	names := make([]string, len(v.Topics))
	for i, t := range v.Topics {
		names[i] = t.Name
	}
	return struct {
		Topics  []string `json:"topics"`
		Message string   `json:"message"`
	}{names, message}, nil
}

func channelNames(t *clusterinfo.Topic) []string {
	names := make([]string, len(t.Channels))
	for i, c := range t.Channels {
		names[i] = c.Name
	}
	return names
}

func (s *Server) showTopic(r *http.Request) (any, error) {
	v, message, err := s.having(r, chi.URLParam(r, "topic"), "")
	if err != nil {
		return nil, err
	}
	t := v.Topic(chi.URLParam(r, "topic"))
	all := newTopic(t)
	for _, on := range t.Nodes {
		all.Nodes = append(all.Nodes, newTopicOnNode(on.Node, on.Stats, on.Tombstoned))
	}
	for _, c := range t.Channels {
		all.Channels = append(all.Channels, newChannel(c))
	}
	return struct {
		*topicJSON
		Message string `json:"message"`
	}{all, message}, nil
}

// having is current for a View with that topic and, if one is named, channel; the
// error is 404 if there is none.
func (s *Server) having(r *http.Request, topic, channel string) (*clusterinfo.View, string, error) {
	v, message, err := s.current(r)
	if err != nil {
		return nil, "", err
	}
	a, about := &action{topic: topic, channel: channel}, aTopic
	if channel != "" {
		about = aChannel
	}
	if missing(v, a, about) != nil && wire.ValidTopic(topic) && s.maySeek() { // younger than the View, perhaps
		s.refresh(r.Context(), topic)
		v = s.view()
	}
	return v, message, missing(v, a, about)
}

// maySeek says, at most once a second, that all daemons may be asked because somebody
// wants to see what is not there.
func (s *Server) maySeek() bool {
	now, last := time.Now().UnixNano(), s.soughtAt.Load()
	return now-last > int64(refreshWait) && s.soughtAt.CompareAndSwap(last, now)
}

func newTopic(t *clusterinfo.Topic) *topicJSON {
	all := &topicJSON{
		Node:         "*",
		TopicName:    t.Name,
		Depth:        t.Depth,
		MemoryDepth:  t.MemoryDepth,
		BackendDepth: t.BackendDepth,
		MessageCount: t.MessageCount,
		MessageBytes: t.MessageBytes,
		Nodes:        []*topicJSON{},
		Channels:     []*channelJSON{},
		Paused:       t.Paused,
		E2ELatency:   &latencyJSON{Topic: t.Name, Host: "*"},
	}
	for _, on := range t.Nodes {
		if on.Stats != nil {
			all.E2ELatency.add(on.Stats.E2ELatency)
		}
	}
	return all
}

// newTopicOnNode returns a topic on one node; stats may be nil.
func newTopicOnNode(n *clusterinfo.Node, stats *clusterinfo.TopicStats, tombstoned bool) *topicJSON {
	t := &topicJSON{Node: n.Address, Hostname: n.Hostname, Channels: []*channelJSON{}, Tombstoned: tombstoned, StatsAt: statsAt(n)}
	if stats == nil {
		return t
	}
	t.TopicName = stats.Name
	t.Depth, t.BackendDepth, t.MemoryDepth = stats.Depth, stats.BackendDepth, stats.Depth-stats.BackendDepth
	t.MessageCount, t.MessageBytes, t.Paused = stats.MessageCount, stats.MessageBytes, stats.Paused
	t.E2ELatency = newLatency(stats.E2ELatency)
	for _, c := range stats.Channels {
		t.Channels = append(t.Channels, newChannelOnNode(n, stats.Name, c))
	}
	return t
}

func newChannel(c *clusterinfo.Channel) *channelJSON {
	all := &channelJSON{
		Node:             "*",
		TopicName:        c.Topic,
		ChannelName:      c.Name,
		Depth:            c.Depth,
		MemoryDepth:      c.MemoryDepth,
		BackendDepth:     c.BackendDepth,
		InFlightCount:    c.InFlight,
		DeferredCount:    c.Deferred,
		RequeueCount:     c.Requeued,
		TimeoutCount:     c.TimedOut,
		MessageCount:     c.MessageCount,
		ClientCount:      c.Clients,
		Clients:          []*clientJSON{},
		Paused:           c.Paused,
		E2ELatency:       &latencyJSON{Topic: c.Topic, Channel: c.Name, Host: "*"},
		ZoneLocalCount:   c.ZoneLocal,
		RegionLocalCount: c.RegionLocal,
		GlobalCount:      c.Global,
	}
	for _, on := range c.Nodes {
		if on.Stats != nil {
			all.E2ELatency.add(on.Stats.E2ELatency)
		}
	}
	return all
}

func newChannelOnNode(n *clusterinfo.Node, topic string, c *clusterinfo.ChannelStats) *channelJSON {
	on := &channelJSON{
		Node:             n.Address,
		Hostname:         n.Hostname,
		TopicName:        topic,
		ChannelName:      c.Name,
		Depth:            c.Depth,
		MemoryDepth:      c.Depth - c.BackendDepth,
		BackendDepth:     c.BackendDepth,
		InFlightCount:    c.InFlightCount,
		DeferredCount:    c.DeferredCount,
		RequeueCount:     c.RequeueCount,
		TimeoutCount:     c.TimeoutCount,
		MessageCount:     c.MessageCount,
		ClientCount:      c.ClientCount,
		Clients:          []*clientJSON{},
		Paused:           c.Paused,
		E2ELatency:       newLatency(c.E2ELatency),
		ZoneLocalCount:   c.ZoneLocalCount,
		RegionLocalCount: c.RegionLocalCount,
		GlobalCount:      c.GlobalCount,
		StatsAt:          statsAt(n),
	}
	for _, client := range c.Clients {
		connected := time.Since(time.Unix(client.ConnectTime, 0)).Truncate(time.Second)
		on.Clients = append(on.Clients, &clientJSON{n.Address, client, connected})
	}
	return on
}

func (s *Server) showChannel(r *http.Request) (any, error) {
	topic, channel := chi.URLParam(r, "topic"), chi.URLParam(r, "channel")
	v, message, err := s.having(r, topic, channel)
	if err != nil {
		return nil, err
	}
	c := v.Topic(topic).Channel(channel)
	lists, missing := s.clients(r.Context(), topic, channel, "")
	all := newChannel(c)
	all.Nodes = []*channelJSON{}
	for _, on := range c.Nodes {
		if on.Stats == nil {
			continue
		}
		stats := *on.Stats
		stats.Clients = clientsIn(lists[on.Node.Address], topic, channel)
		row := newChannelOnNode(on.Node, topic, &stats)
		all.Nodes = append(all.Nodes, row)
		all.Clients = append(all.Clients, row.Clients...)
	}
	slices.SortStableFunc(all.Clients, func(a, b *clientJSON) int { return strings.Compare(a.Hostname, b.Hostname) })
	return struct {
		*channelJSON
		Message string `json:"message"`
	}{all, withMissing(message, missing)}, nil
}

// clientsIn returns the clients of a channel in what a node answered, which may be nil.
func clientsIn(stats *clusterinfo.NodeStats, topic, channel string) []*clusterinfo.ClientStats {
	if stats == nil {
		return nil
	}
	for _, t := range stats.Topics {
		if t.Name != topic {
			continue
		}
		for _, c := range t.Channels {
			if c.Name == channel {
				return c.Clients
			}
		}
	}
	return nil
}

// withMissing adds to a message whose clients are not shown.
func withMissing(message string, nodes []string) string {
	if len(nodes) == 0 {
		return message
	}
	text := "clients of " + joined(nodes) + " are not shown: no answer in time"
	if message == "" {
		return "WARNING: " + text
	}
	return message + "; " + text
}

func (s *Server) counter(r *http.Request) (any, error) {
	v, message, err := s.current(r)
	if err != nil {
		return nil, err
	}
	type count struct {
		Node         string `json:"node"`
		TopicName    string `json:"topic_name"`
		ChannelName  string `json:"channel_name"`
		MessageCount int64  `json:"message_count"`
	}
	stats := make(map[string]count)
	for _, t := range v.Topics {
		for _, c := range t.Channels {
			for _, on := range c.Nodes {
				if on.Stats != nil {
					stats[t.Name+":"+c.Name+":"+on.Node.Address] = count{on.Node.Address, t.Name, c.Name, on.Stats.MessageCount}
				}
			}
		}
	}
	return struct {
		Stats   map[string]count `json:"stats"`
		Message string           `json:"message"`
	}{stats, message}, nil
}
