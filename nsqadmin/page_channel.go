package nsqadmin

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/clusterinfo"
)

type channelPage struct {
	*clusterinfo.Channel
	State       status
	Span        string
	Spans       []string
	Pub, Fin    float64
	Growth      float64
	P99         float64
	Drain       string // how long until it is empty; "": nothing waits, or nobody can say
	DrainWhy    string
	Plots       []*plot
	Nodes       []channelNode
	NodeHeads   []heading
	Stale       []*clusterinfo.Node // whose numbers are old
	Latency     *latencies
	Delivery    template.HTML // zone, region, elsewhere
	List        part          // of Clients
	Clients     []clientRow
	ClientCount int64
	ClientHeads []heading
	Missing     []string
	Backoff     string // hint; "": none
	Last        bool   // of its topic
}

type channelNode struct {
	*clusterinfo.ChannelOnNode
	State status
	Age   string
}

// A clientRow is a consumer on one nsqd.
type clientRow struct {
	*clusterinfo.ClientStats
	Topic, Channel, NSQD string
	Name                 string
	Badges               []badge
}

// A badge is a word with an explanation.
type badge struct{ Word, Why string }

var channelNodeColumns = []column[channelNode]{
	{Key: "node", Title: "nsqd", compare: func(a, b channelNode) int { return strings.Compare(a.Node.Address, b.Node.Address) }},
	{Key: "state", Title: "State", compare: func(a, b channelNode) int { return cmp.Compare(b.State.Level.rank(), a.State.Level.rank()) }},
	{Key: "depth", Title: "Depth", Number: true, compare: func(a, b channelNode) int { return cmp.Compare(a.Stats.Depth, b.Stats.Depth) }},
	{Key: "disk", Title: "On disk", Number: true, compare: func(a, b channelNode) int { return cmp.Compare(a.Stats.BackendDepth, b.Stats.BackendDepth) }},
	{Key: "inflight", Title: "In flight", Number: true, compare: func(a, b channelNode) int { return cmp.Compare(a.Stats.InFlightCount, b.Stats.InFlightCount) }},
	{Key: "deferred", Title: "Deferred", Number: true, compare: func(a, b channelNode) int { return cmp.Compare(a.Stats.DeferredCount, b.Stats.DeferredCount) }},
	{Key: "requeued", Title: "Requeued", Number: true, compare: func(a, b channelNode) int { return cmp.Compare(a.Stats.RequeueCount, b.Stats.RequeueCount) }},
	{Key: "timedout", Title: "Timed out", Number: true, compare: func(a, b channelNode) int { return cmp.Compare(a.Stats.TimeoutCount, b.Stats.TimeoutCount) }},
	{Key: "messages", Title: "Messages", Number: true, compare: func(a, b channelNode) int { return cmp.Compare(a.Stats.MessageCount, b.Stats.MessageCount) }},
	{Key: "consumers", Title: "Consumers", Number: true, compare: func(a, b channelNode) int { return cmp.Compare(a.Stats.ClientCount, b.Stats.ClientCount) }},
}

var clientColumns = []column[clientRow]{
	{Key: "channel", Title: "Channel", compare: func(a, b clientRow) int { return strings.Compare(a.Channel, b.Channel) }},
	{Key: "client", Title: "Consumer", compare: func(a, b clientRow) int { return strings.Compare(a.Name, b.Name) }},
	{Key: "agent", Title: "User agent", compare: func(a, b clientRow) int { return strings.Compare(a.UserAgent, b.UserAgent) }},
	{Key: "nsqd", Title: "nsqd", compare: func(a, b clientRow) int { return strings.Compare(a.NSQD, b.NSQD) }},
	{Key: "rdy", Title: "RDY", Number: true, Help: "how many messages it is ready for", compare: func(a, b clientRow) int { return cmp.Compare(a.ReadyCount, b.ReadyCount) }},
	{Key: "inflight", Title: "In flight", Number: true, compare: func(a, b clientRow) int { return cmp.Compare(a.InFlightCount, b.InFlightCount) }},
	{Key: "finished", Title: "Finished", Number: true, compare: func(a, b clientRow) int { return cmp.Compare(a.FinishCount, b.FinishCount) }},
	{Key: "requeued", Title: "Requeued", Number: true, compare: func(a, b clientRow) int { return cmp.Compare(a.RequeueCount, b.RequeueCount) }},
	{Key: "messages", Title: "Messages", Number: true, compare: func(a, b clientRow) int { return cmp.Compare(a.MessageCount, b.MessageCount) }},
	{Key: "connected", Title: "Connected", Number: true, compare: func(a, b clientRow) int { return cmp.Compare(b.ConnectTime, a.ConnectTime) }},
}

func (p *pages) channel(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.view(r)
	t, c, pg := p.find(r, v)
	if pg != nil {
		return pg, nil
	}
	if name := r.FormValue("confirm"); name != "" {
		return p.confirmPage(r, v, name, t.Name, c.Name, r.Form["node"], "")
	}
	verdict := p.judge.look(p.src, v)
	k, q := key{t.Name, c.Name}, r.URL.Query()
	data := &channelPage{
		Channel: c, Spans: chartSpans, Pub: rateOf(p.src, k, published), Fin: rateOf(p.src, k, finished),
		Growth: growthOf(p.src, k), P99: p99(c.E2ELatency), Last: len(t.Channels) == 1, ClientCount: c.Clients,
		Latency:  newLatencies(c.E2ELatency, channelLatencies(c)),
		Delivery: shares([]int64{c.ZoneLocal, c.RegionLocal, c.Global}, "zone", "region", "global"),
	}
	data.State = channelStatus(c, data.Growth)
	data.Drain, data.DrainWhy = drainTime(c.Depth, data.Pub, data.Fin)
	var length time.Duration
	data.Span, length = chartSpan(r)
	data.Plots = p.plots(k, length)
	data.Plots[0].Title = "Received"
	for _, n := range c.Nodes {
		row := channelNode{ChannelOnNode: n, State: nodeStatus(n.Node, v.At), Age: age(n.Node, v.At)}
		if n.Node.Stale() {
			data.Stale = append(data.Stale, n.Node)
		} else if n.Stats.Paused {
			row.State = status{notice, "paused", "on this nsqd"}
		}
		data.Nodes = append(data.Nodes, row)
	}
	data.NodeHeads = arrange(q, "nsort", "node", channelNodeColumns, data.Nodes)
	data.Clients, data.Missing = p.consumers(r, t.Name, c.Name, "")
	data.Backoff = backoffHint(data.Clients)
	data.ClientHeads = arrange(q, "sort", "client", clientColumns[1:], data.Clients)
	data.List, data.Clients = partOf(q, data.Clients, clientRow.texts)
	return &page{
		Template: "channel", Title: t.Name + " / " + c.Name, Nav: "topics", JSON: "/api" + link("topics", t.Name, c.Name),
		Problems: verdict.ofTopic(t.Name, c.Name), Data: data,
	}, nil
}

// Answering is how many of the nsqds that have the channel answer.
func (c *channelPage) Answering() int { return len(c.Nodes) - len(c.Stale) }

func (p *pages) channelAct(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.view(r)
	t, c, pg := p.find(r, v)
	if pg != nil {
		return pg, nil
	}
	return p.act(r, v, t.Name, c.Name)
}

// drainTime says how long a channel of depth takes to be empty at these rates.
func drainTime(depth int64, pub, fin float64) (text, why string) {
	net := fin - pub
	switch {
	case depth == 0:
		return "", "nothing waits"
	case math.IsNaN(net):
		return "", "rates are not known yet"
	case net <= 0.005 && fin <= 0.005:
		return "never", "nothing is finished"
	case net <= 0.005:
		return "never", "no more is finished than comes in"
	}
	seconds := float64(depth) / net
	if seconds > 365*24*3600 {
		return "over a year", "at the rates of now"
	}
	return span(time.Duration(math.Ceil(seconds)) * time.Second), "at the rates of now"
}

// consumers returns those of a topic, of one of its channels, or of an nsqd.
func (p *pages) consumers(r *http.Request, topic, channel, node string) (rows []clientRow, missing []string) {
	stats, missing := p.src.clients(r.Context(), topic, channel, node)
	for address, s := range stats {
		for _, t := range s.Topics {
			if topic != "" && t.Name != topic {
				continue
			}
			for _, c := range t.Channels {
				if channel != "" && c.Name != channel {
					continue
				}
				for _, one := range c.Clients {
					rows = append(rows, newClientRow(one, t.Name, c.Name, address))
				}
			}
		}
	}
	slices.SortFunc(rows, func(a, b clientRow) int {
		return cmp.Or(strings.Compare(a.Channel, b.Channel), strings.Compare(a.Name, b.Name), strings.Compare(a.NSQD, b.NSQD), strings.Compare(a.RemoteAddress, b.RemoteAddress))
	})
	return rows, missing
}

func newClientRow(c *clusterinfo.ClientStats, topic, channel, nsqd string) clientRow {
	row := clientRow{ClientStats: c, Topic: topic, Channel: channel, NSQD: nsqd, Name: cmp.Or(c.Hostname, c.ClientID, c.RemoteAddress)}
	add := func(yes bool, word, why string) {
		if yes {
			row.Badges = append(row.Badges, badge{word, why})
		}
	}
	add(c.SampleRate > 0, fmt.Sprintf("sampled %d %%", c.SampleRate), "it gets only a part of the messages")
	add(c.TLS, "TLS", strings.TrimSpace(c.TLSVersion+" "+c.CipherSuite))
	add(c.Deflate, "deflate", "compressed")
	add(c.Snappy, "snappy", "compressed")
	add(c.Authed, "authed", c.AuthIdentity)
	add(c.TopologyZone != "", "zone "+c.TopologyZone, "")
	add(c.TopologyRegion != "", "region "+c.TopologyRegion, "")
	return row
}

// texts are what a filter of consumers looks at.
func (c clientRow) texts() []string {
	return []string{c.Name, c.Channel, c.NSQD, c.RemoteAddress, c.UserAgent}
}

// backoffHint explains consumers that are ready for nothing.
func backoffHint(rows []clientRow) string {
	idle := 0
	for _, c := range rows {
		if c.ReadyCount == 0 {
			idle++
		}
	}
	if idle == 0 {
		return ""
	}
	return fmt.Sprintf("RDY 0 on %d of %s: they back off after failures, or their max in flight is less than the number of nsqds.", idle, count(len(rows), "connection"))
}
