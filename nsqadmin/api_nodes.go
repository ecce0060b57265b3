package nsqadmin

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/mod/semver"

	"nsqraft/internal/clusterinfo"
)

// A nodeJSON is an nsqd in stock's list of nodes.
type nodeJSON struct {
	RemoteAddresses  []string                    `json:"remote_addresses"`
	RemoteAddress    string                      `json:"remote_address"`
	Hostname         string                      `json:"hostname"`
	BroadcastAddress string                      `json:"broadcast_address"`
	TCPPort          int                         `json:"tcp_port"`
	HTTPPort         int                         `json:"http_port"`
	Version          string                      `json:"version"`
	Topics           []clusterinfo.ProducerTopic `json:"topics"`
	OutOfDate        bool                        `json:"out_of_date"`

	// Stock's of after v1.3.0.
	TopologyZone   string `json:"topology_zone"`
	TopologyRegion string `json:"topology_region"`

	// Ours.
	Address   string            `json:"address"` // by which it is known everywhere: of its HTTP port
	State     clusterinfo.State `json:"state"`
	StatsAt   time.Time         `json:"stats_at"`
	Depth     int64             `json:"depth"`
	InFlight  int64             `json:"in_flight"`
	Clients   int64             `json:"clients"`
	Messages  int64             `json:"messages"`
	DiskFree  int64             `json:"disk_free_bytes"` // -1: unknown
	RoundTrip float64           `json:"round_trip_ms"`
	Error     string            `json:"error,omitempty"`
	Published *float64          `json:"published_per_second"` // null: not known
	Finished  *float64          `json:"finished_per_second"`
}

// listNodes answers with the nsqds that are listed, not with those that no nsqlookupd
// lists any more.
func (s *Server) listNodes(r *http.Request) (any, error) {
	v, message, err := s.current(r)
	if err != nil {
		return nil, err
	}
	nodes := []*nodeJSON{}
	for _, n := range v.Nodes {
		if n.GoneSince.IsZero() {
			nodes = append(nodes, s.newNode(n))
		}
	}
	newest := "v0.0.0"
	for _, n := range nodes {
		if v := "v" + n.Version; semver.Compare(v, newest) > 0 {
			newest = v
		}
	}
	for _, n := range nodes {
		n.OutOfDate = semver.Compare("v"+n.Version, newest) < 0
	}
	slices.SortStableFunc(nodes, func(a, b *nodeJSON) int { return strings.Compare(a.Hostname, b.Hostname) })
	return struct {
		Nodes   []*nodeJSON `json:"nodes"`
		Message string      `json:"message"`
	}{nodes, message}, nil
}

func (s *Server) newNode(n *clusterinfo.Node) *nodeJSON {
	row := &nodeJSON{
		RemoteAddresses:  append([]string{}, n.RemoteAddresses...),
		Hostname:         n.Hostname,
		BroadcastAddress: n.BroadcastAddress,
		TCPPort:          n.TCPPort,
		HTTPPort:         n.HTTPPort,
		Version:          n.Version,
		Topics:           append([]clusterinfo.ProducerTopic{}, n.Topics...),
		TopologyZone:     n.TopologyZone,
		TopologyRegion:   n.TopologyRegion,
		Address:          n.Address,
		State:            n.State,
		StatsAt:          n.StatsAt,
		Depth:            n.Depth,
		InFlight:         n.InFlight,
		Clients:          n.Clients,
		Messages:         n.Messages,
		DiskFree:         n.DiskFreeBytes,
		RoundTrip:        float64(n.RoundTrip) / float64(time.Millisecond),
	}
	if len(n.RemoteAddresses) > 0 {
		_, row.RemoteAddress, _ = strings.Cut(n.RemoteAddresses[0], "/")
	}
	if f, ok := s.nodeFlow(n.Address); ok {
		row.Published, row.Finished = &f.published, &f.finished
	}
	if n.Err != nil {
		row.Error = reason(n.Err)
	}
	return row
}

// showNode answers with all topics, channels and clients of an nsqd.
func (s *Server) showNode(r *http.Request) (any, error) {
	name := chi.URLParam(r, "node")
	v, message, err := s.current(r)
	if err != nil {
		return nil, err
	}
	n := v.Node(name)
	if n == nil {
		return nil, errNodeNotFound
	}
	stats, missing := s.nodeStats(r.Context(), n)
	answer := struct {
		Node          string       `json:"node"`
		Topics        []*topicJSON `json:"topics"`
		TotalMessages int64        `json:"total_messages"`
		TotalClients  int64        `json:"total_clients"`
		Message       string       `json:"message"`
		Info          *nodeJSON    `json:"info"` // ours
	}{Node: name, Topics: []*topicJSON{}, Message: withMissing(message, missing), Info: s.newNode(n)}
	if stats != nil {
		for _, t := range stats.Topics {
			row := newTopicOnNode(n, t, tombstoned(n, t.Name))
			answer.Topics = append(answer.Topics, row)
			answer.TotalMessages += t.MessageCount
			for _, c := range t.Channels {
				answer.TotalClients += max(c.ClientCount, int64(len(c.Clients)))
			}
		}
	}
	return answer, nil
}

// nodeStats returns what is known of a node: with its clients if it gives them in
// time, else missing names it.
func (s *Server) nodeStats(ctx context.Context, n *clusterinfo.Node) (*clusterinfo.NodeStats, []string) {
	lists, missing := s.clients(ctx, "", "", n.Address)
	if stats := lists[n.Address]; stats != nil {
		return stats, nil
	}
	return n.Stats, missing
}

func tombstoned(n *clusterinfo.Node, topic string) bool {
	return slices.Contains(n.Topics, clusterinfo.ProducerTopic{Topic: topic, Tombstoned: true})
}
