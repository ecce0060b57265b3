package nsqadmin

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
	"nsqraft/internal/wire"
)

type topicPage struct {
	*judged
	Tab, Span    string
	Spans        []string
	Pub, Fin     float64
	Growth       float64
	P99          float64
	Plots        []*plot
	Nodes        []topicNode
	NodeHeads    []heading
	Stale        []*clusterinfo.Node // whose numbers are old
	List         part                // of the channels, or of the consumers
	Channels     []channelRow
	ChannelHeads []heading
	Latency      *latencies
	Messages     *messages
	Consumers    []clientRow
	ClientHeads  []heading
	Missing      []string // nsqds whose consumers are not known
	Where        []string // addresses of nsqds to publish to
}

type topicNode struct {
	*clusterinfo.TopicOnNode
	State status
	Age   string // of the numbers; "": of now

	// Of the topic and of its channels on the nsqd.
	Depth, OnDisk int64
}

func newTopicNode(n *clusterinfo.TopicOnNode, now time.Time) topicNode {
	row := topicNode{TopicOnNode: n, State: nodeStatus(n.Node, now), Age: age(n.Node, now), Depth: n.Stats.Depth, OnDisk: n.Stats.BackendDepth}
	for _, c := range n.Stats.Channels {
		row.Depth, row.OnDisk = row.Depth+c.Depth, row.OnDisk+c.BackendDepth
	}
	if !n.Node.Stale() && n.Stats.Paused {
		row.State = status{notice, "paused", "on this nsqd"}
	}
	if n.Tombstoned {
		row.State = status{notice, "tombstoned", "consumers do not find the topic here until the tombstone expires"}
	}
	return row
}

type channelRow struct {
	*clusterinfo.Channel
	State    status
	Pub, Fin float64
	Growth   float64
	P99      float64
}

var chartSpans = []string{"10m", "1h", "24h"}

// chartSpan is the span of charts that r asks for.
func chartSpan(r *http.Request) (string, time.Duration) {
	name := r.FormValue("span")
	if !slices.Contains(chartSpans, name) {
		name = chartSpans[0]
	}
	d, err := time.ParseDuration(name)
	if err != nil {
		panic(err)
	}
	return name, d
}

// find returns the topic and, if the path names one, the channel that r is about; pg is
// the page to show if there is no such.
func (p *pages) find(r *http.Request, v *clusterinfo.View) (t *clusterinfo.Topic, c *clusterinfo.Channel, pg *page) {
	name := chi.URLParam(r, "topic")
	if t = v.Topic(name); t == nil {
		if silent(v) {
			return nil, nil, p.notYet("topic", name, "topics", nobodyAnswered)
		}
		names := make([]string, len(v.Topics))
		for i, t := range v.Topics {
			names[i] = t.Name
		}
		pg = p.missing("topic", name, names, func(n string) []string { return []string{"topics", n} })
		pg.Nav = "topics"
		if wire.ValidTopic(name) {
			pg.Data.(*fault).Create = name
		}
		return nil, nil, pg
	}
	name = chi.URLParam(r, "channel")
	if name == "" {
		return t, nil, nil
	}
	if c = t.Channel(name); c == nil {
		answered := func(n *clusterinfo.TopicOnNode) bool { return !n.Node.StatsAt.IsZero() }
		if len(t.Nodes) > 0 && !slices.ContainsFunc(t.Nodes, answered) {
			return nil, nil, p.notYet("channel", name, "topics", "None of the nsqds that have topic "+t.Name+" has answered since nsqadmin was started.")
		}
		names := make([]string, len(t.Channels))
		for i, c := range t.Channels {
			names[i] = c.Name
		}
		pg = p.missing("channel", name, names, func(n string) []string { return []string{"topics", t.Name, n} })
		pg.Nav = "topics"
		pg.Data.(*fault).Text = fmt.Sprintf("Topic %s has no channel called %s.", t.Name, cutText(100, name))
		return nil, nil, pg
	}
	return t, c, nil
}

var topicNodeColumns = []column[topicNode]{
	{Key: "node", Title: "nsqd", compare: func(a, b topicNode) int { return strings.Compare(a.Node.Address, b.Node.Address) }},
	{Key: "state", Title: "State", compare: func(a, b topicNode) int { return cmp.Compare(b.State.Level.rank(), a.State.Level.rank()) }},
	{Key: "depth", Title: "Depth", Number: true, Help: "messages that wait on the nsqd, in the topic itself and in its channels", compare: func(a, b topicNode) int { return cmp.Compare(a.Depth, b.Depth) }},
	{Key: "disk", Title: "On disk", Number: true, Help: "those of them that are not in memory", compare: func(a, b topicNode) int { return cmp.Compare(a.OnDisk, b.OnDisk) }},
	{Key: "messages", Title: "Messages", Number: true, Help: "published since the nsqd started", compare: func(a, b topicNode) int { return cmp.Compare(a.Stats.MessageCount, b.Stats.MessageCount) }},
	{Key: "bytes", Title: "Bytes", Number: true, compare: func(a, b topicNode) int { return cmp.Compare(a.Stats.MessageBytes, b.Stats.MessageBytes) }},
	{Key: "channels", Title: "Channels", Number: true, compare: func(a, b topicNode) int { return cmp.Compare(len(a.Stats.Channels), len(b.Stats.Channels)) }},
}

var channelColumns = []column[channelRow]{
	{Key: "name", Title: "Channel", compare: func(a, b channelRow) int { return strings.Compare(a.Name, b.Name) }},
	{Key: "state", Title: "State", compare: func(a, b channelRow) int { return cmp.Compare(b.State.Level.rank(), a.State.Level.rank()) }},
	{Key: "depth", Title: "Depth", Number: true, compare: func(a, b channelRow) int { return cmp.Compare(a.Depth, b.Depth) }},
	{Key: "in", Title: "In/s", Number: true, compare: func(a, b channelRow) int { return byFloat(a.Pub, b.Pub) }},
	{Key: "fin", Title: "Fin/s", Number: true, compare: func(a, b channelRow) int { return byFloat(a.Fin, b.Fin) }},
	{Key: "inflight", Title: "In flight", Number: true, compare: func(a, b channelRow) int { return cmp.Compare(a.InFlight, b.InFlight) }},
	{Key: "deferred", Title: "Deferred", Number: true, compare: func(a, b channelRow) int { return cmp.Compare(a.Deferred, b.Deferred) }},
	{Key: "requeued", Title: "Requeued", Number: true, compare: func(a, b channelRow) int { return cmp.Compare(a.Requeued, b.Requeued) }},
	{Key: "timedout", Title: "Timed out", Number: true, compare: func(a, b channelRow) int { return cmp.Compare(a.TimedOut, b.TimedOut) }},
	{Key: "p99", Title: "p99", Number: true, Help: "the greatest of the nsqds", compare: func(a, b channelRow) int { return byFloat(a.P99, b.P99) }},
	{Key: "consumers", Title: "Consumers", Number: true, compare: func(a, b channelRow) int { return cmp.Compare(a.Clients, b.Clients) }},
}

func (p *pages) topic(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.view(r)
	t, _, pg := p.find(r, v)
	if pg != nil {
		return pg, nil
	}
	if name := r.FormValue("confirm"); name != "" {
		return p.confirmPage(r, v, name, t.Name, "", r.Form["node"], "")
	}
	return p.topicPage(r, v, t, r.FormValue("tab"), nil), nil
}

func (p *pages) topicPage(r *http.Request, v *clusterinfo.View, t *clusterinfo.Topic, tab string, m *messages) *page {
	verdict := p.judge.look(p.src, v)
	q := r.URL.Query()
	data := &topicPage{Tab: tab, judged: &judged{Topic: t}, Spans: chartSpans, Messages: m}
	if i, ok := slices.BinarySearchFunc(verdict.topics, t.Name, func(j judged, name string) int { return strings.Compare(j.Name, name) }); ok {
		data.judged = &verdict.topics[i]
	}
	data.Pub, data.Fin, data.Growth, data.P99 = data.pub, data.fin, data.growth, p99(t.E2ELatency)
	for _, n := range t.Nodes {
		if n.Node.Stale() {
			data.Stale = append(data.Stale, n.Node)
		} else {
			data.Where = append(data.Where, n.Node.Address)
		}
		data.Nodes = append(data.Nodes, newTopicNode(n, v.At))
	}
	switch tab {
	case "messages":
		if data.Messages == nil {
			data.Messages = &messages{Count: 10}
		}
		data.Messages.View = p.src.setup().messageView
		for _, n := range v.Nodes {
			if !n.Stale() && !slices.Contains(data.Where, n.Address) {
				data.Where = append(data.Where, n.Address)
			}
		}
	case "consumers":
		data.Consumers, data.Missing = p.consumers(r, t.Name, "", "")
		data.ClientHeads = arrange(q, "sort", "channel", clientColumns, data.Consumers)
		data.List, data.Consumers = partOf(q, data.Consumers, clientRow.texts)
	case "settings":
	default:
		var length time.Duration
		data.Tab = ""
		data.Span, length = chartSpan(r)
		data.Plots = p.plots(key{topic: t.Name}, length)
		data.NodeHeads = arrange(q, "nsort", "node", topicNodeColumns, data.Nodes)
		data.Latency = newLatencies(t.E2ELatency, topicLatencies(t))
		for _, c := range t.Channels {
			k := key{t.Name, c.Name}
			growth := growthOf(p.src, k)
			data.Channels = append(data.Channels, channelRow{
				Channel: c, State: channelStatus(c, growth), Growth: growth,
				Pub: rateOf(p.src, k, published), Fin: rateOf(p.src, k, finished), P99: p99(c.E2ELatency),
			})
		}
		data.ChannelHeads = arrange(q, "sort", "name", channelColumns, data.Channels)
		data.List, data.Channels = partOf(q, data.Channels, func(c channelRow) []string { return []string{c.Name} })
	}
	return &page{
		Template: "topic", Title: t.Name, Nav: "topics", JSON: "/api" + link("topics", t.Name),
		Problems: verdict.ofTopic(t.Name, ""), Frozen: tab == "messages", Data: data,
	}
}

// State is for the heading.
func (t *topicPage) State() status { return ofWhole(t.judged) }

// Answering is how many of the nsqds that have the topic answer.
func (t *topicPage) Answering() int { return len(t.Nodes) - len(t.Stale) }

// oldNumbers says of nodes that do not answer what of them is in totals.
func oldNumbers(nodes []*clusterinfo.Node) (out []string) {
	var old, never []string
	for _, n := range nodes {
		if n.StatsAt.IsZero() {
			never = append(never, n.Address)
		} else {
			old = append(old, n.Address)
		}
	}
	if len(old) > 0 {
		out = append(out, "Numbers of "+list(old)+" are the last known; totals contain them.")
	}
	if len(never) > 0 {
		out = append(out, "Numbers of "+list(never)+" were never known; totals lack them.")
	}
	return out
}

// age is how old the numbers of n are; "" if they are those of now.
func age(n *clusterinfo.Node, now time.Time) string {
	switch {
	case !n.Stale() && !n.Late:
		return ""
	case n.StatsAt.IsZero():
		return "unknown"
	}
	return span(now.Sub(n.StatsAt)) + " ago"
}

// latencies is a table of percentiles, node by node. Nodes may keep different ones.
type latencies struct {
	Quantiles []float64
	Greatest  []float64 // parallel to Quantiles; NaN: unknown
	Rows      []latencyRow
	Top       float64 // the greatest of all
}

type latencyRow struct {
	Address string
	Values  []float64
}

func topicLatencies(t *clusterinfo.Topic) (rows []nodeLatency) {
	for _, n := range t.Nodes {
		rows = append(rows, nodeLatency{n.Node.Address, n.Stats.E2ELatency})
	}
	return rows
}

func channelLatencies(c *clusterinfo.Channel) (rows []nodeLatency) {
	for _, n := range c.Nodes {
		rows = append(rows, nodeLatency{n.Node.Address, n.Stats.E2ELatency})
	}
	return rows
}

type nodeLatency struct {
	address string
	stats   *clusterinfo.LatencyStats
}

// newLatencies returns nil if no percentile is kept.
func newLatencies(merged *clusterinfo.LatencyStats, nodes []nodeLatency) *latencies {
	l := &latencies{}
	add := func(s *clusterinfo.LatencyStats) {
		if s == nil {
			return
		}
		for _, p := range s.Percentiles {
			if q := p["quantile"]; !slices.Contains(l.Quantiles, q) {
				l.Quantiles = append(l.Quantiles, q)
			}
		}
	}
	add(merged)
	for _, n := range nodes {
		add(n.stats)
	}
	if len(l.Quantiles) == 0 {
		return nil
	}
	slices.Sort(l.Quantiles)
	pick := func(s *clusterinfo.LatencyStats) []float64 {
		out := make([]float64, len(l.Quantiles))
		for i, q := range l.Quantiles {
			out[i] = math.NaN()
			if s == nil {
				continue
			}
			for _, p := range s.Percentiles {
				if p["quantile"] == q {
					out[i] = p["value"]
				}
			}
		}
		return out
	}
	l.Greatest = pick(merged)
	for _, n := range nodes {
		l.Rows = append(l.Rows, latencyRow{n.address, pick(n.stats)})
	}
	for _, v := range l.Greatest {
		if !math.IsNaN(v) {
			l.Top = max(l.Top, v)
		}
	}
	return l
}

// messages is what the tab of that name shows.
type messages struct {
	View    bool // peek works
	Count   int
	Filter  string
	Peeked  []shownMessage
	Looked  bool // a peek was made
	Seen    int  // before the filter
	Body    string
	Defer   string
	Node    string
	Times   int
	Problem string
}

// A shownMessage is one that was peeked, ready to be read.
type shownMessage struct {
	*peeked
	Form    string // json, text or hex
	Text    string
	Command string // publishes it again
}

const (
	maxPeek   = 100 // messages
	peekWait  = 3 * time.Second
	maxCopied = 4 << 10 // a body in a command to copy
)

func (p *pages) topicAct(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.view(r)
	t, _, pg := p.find(r, v)
	if pg != nil {
		return pg, nil
	}
	switch r.PostForm.Get("action") {
	case "create":
		return p.create(r, t.Name, r.PostForm.Get("channel"), p.base+link("topics", t.Name))
	case "peek":
		return p.peekPage(r, v, t)
	case "publish":
		return p.publish(r, v, t)
	}
	return p.act(r, v, t.Name, "")
}

func (p *pages) peekPage(r *http.Request, v *clusterinfo.View, t *clusterinfo.Topic) (*page, error) {
	n, _ := strconv.Atoi(r.PostForm.Get("count"))
	m := &messages{Count: min(max(n, 1), maxPeek), Filter: cutText(200, r.PostForm.Get("filter")), Looked: true}
	match, err := matcher(m.Filter)
	if err != nil {
		m.Problem, m.Looked = "The filter is no expression: "+err.Error(), false
		return p.topicPage(r, v, t, "messages", m), nil
	}
	seen, err := p.src.peek(r, t.Name, m.Count, peekWait)
	if err != nil {
		return nil, err
	}
	m.Seen = len(seen)
	for _, one := range seen {
		if m.Filter == "" || match(string(one.Body)) {
			m.Peeked = append(m.Peeked, show(one, t.Name))
		}
	}
	return p.topicPage(r, v, t, "messages", m), nil
}

// show makes a body readable: indented if it is JSON, bytes in hex if it is no text.
func show(m *peeked, topic string) shownMessage {
	out := shownMessage{peeked: m, Form: "text", Text: string(m.Body)}
	var b bytes.Buffer
	switch {
	case len(m.Body) > 0 && strings.ContainsRune("{[", rune(m.Body[0])) && json.Indent(&b, m.Body, "", "  ") == nil:
		out.Form, out.Text = "json", b.String()
	case !utf8.Valid(m.Body) || bytes.ContainsRune(m.Body, 0):
		out.Form, out.Text = "hex", hex.Dump(m.Body[:min(len(m.Body), 4096)])
	}
	if out.Form != "hex" && len(m.Body) <= maxCopied && len(m.Body) == m.Size {
		to := url.URL{Scheme: "http", Host: m.Node, Path: "/pub", RawQuery: url.Values{"topic": {topic}}.Encode()}
		out.Command = "curl --data-binary " + shell(string(m.Body)) + " " + shell(to.String())
	}
	return out
}

func (p *pages) publish(r *http.Request, v *clusterinfo.View, t *clusterinfo.Topic) (*page, error) {
	f := r.PostForm
	m := &messages{Count: 10, Body: f.Get("body"), Defer: f.Get("defer"), Node: f.Get("node"), Times: 1}
	again := func(problem string) (*page, error) {
		m.Problem = problem
		pg := p.topicPage(r, v, t, "messages", m)
		pg.Status = http.StatusUnprocessableEntity
		return pg, nil
	}
	if text := f.Get("times"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return again("How often: a number from 1 to 1,000. Nothing was published.")
		}
		m.Times = n
	}
	var deferred time.Duration
	if m.Defer != "" {
		d, err := time.ParseDuration(m.Defer)
		if err != nil || d < 0 {
			return again("Defer by: a duration such as 500ms, 30s or 1h. Nothing was published.")
		}
		deferred = d
	}
	if m.Body == "" {
		return again("A message needs a body. Nothing was published.")
	}
	// Browsers send line ends of a text field as CR LF, whatever was typed.
	body := strings.ReplaceAll(m.Body, "\r\n", "\n")
	results, err := p.src.do(r, action{
		name: "publish", topic: t.Name, node: m.Node, body: []byte(body), count: m.Times, deferred: deferred,
	})
	if e, ok := errors.AsType[*httpapi.Error](err); ok && e.Status == http.StatusBadRequest {
		return again(sentence(e.Text) + " Nothing was published.")
	}
	if err != nil {
		return nil, err
	}
	self := p.base + link("topics", t.Name)
	return p.finish("Published "+count(m.Times, "message")+" to topic "+t.Name, results,
		[]field{{"action", "publish"}, {"body", m.Body}, {"times", strconv.Itoa(m.Times)}, {"defer", m.Defer}}, self, self+"?tab=messages"), nil
}
