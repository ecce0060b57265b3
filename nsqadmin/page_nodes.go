package nsqadmin

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"nsqraft/internal/clusterinfo"
)

type nodesPage struct {
	Heads    []heading
	Rows     []nodeRow
	Lookupds int
	Skew     bool // versions differ
}

type nodeRow struct {
	*clusterinfo.Node
	State  status
	Age    string
	Uptime time.Duration // 0: unknown
	Newest bool          // has the newest version
	Zone   string
	Pub    float64 // messages/s; NaN: unknown
	Fin    float64
}

var nodeColumns = []column[nodeRow]{
	{Key: "node", Title: "nsqd", compare: func(a, b nodeRow) int { return strings.Compare(a.Address, b.Address) }},
	{Key: "state", Title: "State", compare: func(a, b nodeRow) int { return cmp.Compare(b.State.Level.rank(), a.State.Level.rank()) }},
	{Key: "registered", Title: "Registered", Number: true, Help: "with how many of the nsqlookupds", compare: func(a, b nodeRow) int { return cmp.Compare(len(a.Lookupds), len(b.Lookupds)) }},
	{Key: "topics", Title: "Topics", Number: true, compare: func(a, b nodeRow) int { return cmp.Compare(a.TopicCount(), b.TopicCount()) }},
	{Key: "depth", Title: "Depth", Number: true, compare: func(a, b nodeRow) int { return cmp.Compare(a.Depth, b.Depth) }},
	{Key: "inflight", Title: "In flight", Number: true, compare: func(a, b nodeRow) int { return cmp.Compare(a.InFlight, b.InFlight) }},
	{Key: "pub", Title: "Pub/s", Number: true, compare: func(a, b nodeRow) int { return byFloat(a.Pub, b.Pub) }},
	{Key: "consumers", Title: "Consumers", Number: true, compare: func(a, b nodeRow) int { return cmp.Compare(a.Clients, b.Clients) }},
	{Key: "disk", Title: "Disk free", Number: true, compare: func(a, b nodeRow) int { return cmp.Compare(a.DiskFreeBytes, b.DiskFreeBytes) }},
	{Key: "uptime", Title: "Uptime", Number: true, compare: func(a, b nodeRow) int { return cmp.Compare(a.Uptime, b.Uptime) }},
	{Key: "version", Title: "Version", compare: func(a, b nodeRow) int { return strings.Compare(a.Version, b.Version) }},
}

// TopicCount is the number of topics that the nsqd has.
func (n nodeRow) TopicCount() int {
	if n.Stats != nil {
		return len(n.Stats.Topics)
	}
	return len(n.Topics)
}

func (p *pages) nodeRow(n *clusterinfo.Node, now time.Time) nodeRow {
	row := nodeRow{Node: n, Pub: math.NaN(), Fin: math.NaN(), State: nodeStatus(n, now), Age: age(n, now), Zone: strings.Trim(n.TopologyRegion+" / "+n.TopologyZone, " /")}
	if n.Stats != nil && n.Stats.StartTime > 0 && !n.Stale() {
		row.Uptime = now.Sub(time.Unix(n.Stats.StartTime, 0))
	}
	if f, ok := p.src.nodeFlow(n.Address); ok {
		row.Pub, row.Fin = f.published, f.finished
	}
	return row
}

func (p *pages) nodes(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.src.view()
	data := &nodesPage{Lookupds: len(v.Lookupds)}
	newest := ""
	for _, n := range v.Nodes {
		if n.Version != newest && newest != "" {
			data.Skew = true
		}
		newest = max(newest, n.Version)
	}
	for _, n := range v.Nodes {
		row := p.nodeRow(n, v.At)
		row.Newest = n.Version == newest
		data.Rows = append(data.Rows, row)
	}
	data.Heads = arrange(r.URL.Query(), "sort", "node", nodeColumns, data.Rows)
	return &page{Template: "nodes", Title: "Nodes", Nav: "nodes", JSON: "/api/nodes", Data: data}, nil
}

type nodePage struct {
	nodeRow
	List    part
	Topics  []nodeTopic
	Memory  *clusterinfo.MemoryStats
	Unknown bool // its consumers are not known
	Many    bool // it has so many topics that it is not asked for all their consumers
	Lists   []lookupdMark
	Drains  bool // it is one of ours
}

// A lookupdMark says whether one nsqlookupd lists the nsqd.
type lookupdMark struct {
	Address string
	Lists   bool
}

type nodeTopic struct {
	*clusterinfo.TopicStats
	Tombstoned bool
	Total      int64
	Clients    int64
	Shown      []nodeChannel // of Channels, at most mostFolded
}

type nodeChannel struct {
	*clusterinfo.ChannelStats
	Consumers []clientRow // at most mostFolded
	More      int         // consumers that are not in it
}

// mostFolded bounds the channels of a topic, and the consumers of a channel, on the page
// of an nsqd: that of the topic or channel has all.
const mostFolded = 20

// Unshown is how many of the channels are not in Shown.
func (t nodeTopic) Unshown() int { return len(t.Channels) - len(t.Shown) }

func (p *pages) findNode(r *http.Request, v *clusterinfo.View) (*clusterinfo.Node, *page) {
	address := chi.URLParam(r, "node")
	if n := v.Node(address); n != nil {
		return n, nil
	}
	if silent(v) {
		return nil, p.notYet("nsqd", address, "nodes", nobodyAnswered)
	}
	names := make([]string, len(v.Nodes))
	for i, n := range v.Nodes {
		names[i] = n.Address
	}
	pg := p.missing("nsqd", address, names, func(n string) []string { return []string{"nodes", n} })
	pg.Nav = "nodes"
	return nil, pg
}

func (p *pages) node(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.view(r)
	n, pg := p.findNode(r, v)
	if pg != nil {
		return pg, nil
	}
	switch r.FormValue("confirm") {
	case "drain":
		return p.confirmDrain(r, n)
	case "":
	default:
		return nil, errInvalidAction
	}
	data := &nodePage{nodeRow: p.nodeRow(n, v.At), Drains: strings.Contains(n.Version, "raft")}
	for _, l := range v.Lookupds {
		data.Lists = append(data.Lists, lookupdMark{l.Address, slices.Contains(n.Lookupds, l.Address)})
	}
	var topics []*clusterinfo.TopicStats
	if n.Stats != nil {
		topics, data.Memory = n.Stats.Topics, n.Stats.Memory
	}
	data.List, topics = partOf(r.URL.Query(), topics, func(t *clusterinfo.TopicStats) []string { return []string{t.Name} })
	consumers := map[key][]*clusterinfo.ClientStats{}
	if data.Many = data.List.All > rowsAPage; !data.Many {
		stats, missing := p.src.clients(r.Context(), "", "", n.Address)
		data.Unknown = len(missing) > 0
		if s := stats[n.Address]; s != nil {
			data.Memory = cmp.Or(s.Memory, data.Memory)
			for _, t := range s.Topics {
				for _, c := range t.Channels {
					consumers[key{t.Name, c.Name}] = c.Clients
				}
			}
		}
	}
	for _, t := range topics {
		data.Topics = append(data.Topics, newNodeTopic(n, t, consumers))
	}
	return &page{
		Template: "node", Title: n.Address, Nav: "nodes", JSON: "/api" + link("nodes", n.Address),
		Problems: p.judge.look(p.src, v).ofNode(n.Address), Data: data,
	}, nil
}

func newNodeTopic(n *clusterinfo.Node, t *clusterinfo.TopicStats, consumers map[key][]*clusterinfo.ClientStats) nodeTopic {
	row := nodeTopic{TopicStats: t, Total: t.Depth}
	for _, c := range t.Channels {
		row.Total += c.Depth
		row.Clients += c.ClientCount
	}
	row.Tombstoned = slices.ContainsFunc(n.Producer.Topics, func(pt clusterinfo.ProducerTopic) bool {
		return pt.Topic == t.Name && pt.Tombstoned
	})
	for _, c := range t.Channels[:min(len(t.Channels), mostFolded)] {
		clients := consumers[key{t.Name, c.Name}]
		shown := nodeChannel{ChannelStats: c, More: max(0, len(clients)-mostFolded)}
		for _, one := range clients[:len(clients)-shown.More] {
			shown.Consumers = append(shown.Consumers, newClientRow(one, t.Name, c.Name, n.Address))
		}
		row.Shown = append(row.Shown, shown)
	}
	return row
}

func (p *pages) nodeAct(w http.ResponseWriter, r *http.Request) (*page, error) {
	n, pg := p.findNode(r, p.view(r))
	if pg != nil {
		return pg, nil
	}
	if r.PostForm.Get("action") != "drain" {
		return nil, errInvalidAction
	}
	if r.PostForm.Get("confirmed") == "" {
		return p.confirmDrain(r, n)
	}
	results, err := p.src.do(r, action{name: "drain_nsqd", node: n.Address})
	if err != nil {
		return nil, err
	}
	self := p.base + link("nodes", n.Address)
	return p.finish("Began to drain nsqd "+n.Address, results, []field{{"action", "drain"}, {"confirmed", "1"}}, self, self), nil
}

func (p *pages) confirmDrain(r *http.Request, n *clusterinfo.Node) (*page, error) {
	if _, role := p.src.who(r); role < admin {
		return nil, errForbidden
	}
	self := p.base + link("nodes", n.Address)
	c := &confirmation{
		Title: "Drain nsqd " + n.Address + "?", Button: "Drain", Danger: true, To: self, Back: self,
		Fields: []field{{"action", "drain"}, {"confirmed", "1"}},
		Effects: []string{
			"It takes no new messages: producers get an error and must publish elsewhere.",
			count(n.Depth+n.InFlight, "message") + " on it are delivered to consumers as usual; when none is left, it unregisters.",
		},
		Beware: []string{"Start it again to end this."},
	}
	if n.Clients == 0 && n.Depth > 0 {
		c.Beware = append(c.Beware, "It has no consumer: it will not get empty.")
	}
	return &page{Template: "confirm", Title: c.Title, Nav: "nodes", Frozen: true, Data: c}, nil
}
