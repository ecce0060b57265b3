package nsqadmin

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"nsqraft/internal/clusterinfo"
)

type topics struct {
	Filter  string
	Invalid string // why Filter is no expression
	Kind    string
	Kinds   []kindCount
	Heads   []heading
	Rows    []topicLine
	Total   int // that pass the filter
	All     int
	Pages   []pageLink
	Confirm *confirmation
}

type kindCount struct {
	Key, Title string
	Count      int
}

type topicLine struct {
	*judged
	Pub, Fin, P99      float64
	DepthLine, PubLine template.HTML
}

const topicsAPage = 50

var topicColumns = []column[*judged]{
	{Key: "name", Title: "Topic", compare: func(a, b *judged) int { return strings.Compare(a.Name, b.Name) }},
	{Key: "state", Title: "State", compare: func(a, b *judged) int { return cmp.Compare(b.Level.rank(), a.Level.rank()) }},
	{Key: "depth", Title: "Depth", Line: "10 min", Number: true, Help: "messages that wait, in memory and on disk", compare: func(a, b *judged) int { return cmp.Compare(a.Total(), b.Total()) }},
	{Key: "pub", Title: "Pub/s", Line: "10 min", Number: true, compare: func(a, b *judged) int { return byFloat(a.pub, b.pub) }},
	{Key: "fin", Title: "Fin/s", Number: true, compare: func(a, b *judged) int { return byFloat(a.fin, b.fin) }},
	{Key: "inflight", Title: "In flight", Number: true, compare: func(a, b *judged) int { return cmp.Compare(a.InFlight, b.InFlight) }},
	{Key: "p99", Title: "p99", Number: true, Help: "99 % of messages are finished within; the greatest of the nsqds", compare: func(a, b *judged) int { return byFloat(p99(a.E2ELatency), p99(b.E2ELatency)) }},
	{Key: "channels", Title: "Channels", Number: true, compare: func(a, b *judged) int { return cmp.Compare(len(a.Channels), len(b.Channels)) }},
	{Key: "consumers", Title: "Consumers", Number: true, compare: func(a, b *judged) int { return cmp.Compare(a.Clients, b.Clients) }},
}

// State is that of the topic or, if it is worse, of one of its channels: then it is not
// the topic that is paused.
func (t topicLine) State() status { return ofWhole(t.judged) }

func ofWhole(t *judged) status {
	st := t.status
	if st.Word == "paused" && !t.Topic.Paused {
		st.Word = "channel paused"
	}
	return st
}

// Total is what waits in the topic and in its channels.
func (t *judged) Total() int64 { return backlog(t.Topic) }

func p99(l *clusterinfo.LatencyStats) float64 {
	if l == nil {
		return math.NaN()
	}
	for _, p := range l.Percentiles {
		if math.Abs(p["quantile"]-0.99) < 1e-9 {
			return p["value"]
		}
	}
	return math.NaN()
}

// matcher returns what a filter box means: a part of a name, in any case, or an
// expression between slashes.
func matcher(filter string) (func(name string) bool, error) {
	if len(filter) > 1 && filter[0] == '/' && filter[len(filter)-1] == '/' {
		re, err := regexp.Compile(filter[1 : len(filter)-1])
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	}
	want := strings.ToLower(filter)
	return func(name string) bool { return strings.Contains(strings.ToLower(name), want) }, nil
}

// chosen returns the topics that pass the filter of q, and how many would with each kind.
func chosen(w *verdict, q url.Values) (rows []*judged, counts []kindCount, invalid string) {
	counts = make([]kindCount, len(kinds))
	current := 0
	for i, k := range kinds {
		counts[i] = kindCount{Key: k.Key, Title: k.Title}
		if k.Key == q.Get("f") {
			current = i
		}
	}
	match, err := matcher(cutText(200, q.Get("q")))
	if err != nil {
		return nil, counts, err.Error()
	}
	for i := range w.topics {
		t := &w.topics[i]
		if !match(t.Name) {
			continue
		}
		for j, k := range kinds {
			if k.is(t) {
				counts[j].Count++
				if j == current {
					rows = append(rows, t)
				}
			}
		}
	}
	return rows, counts, ""
}

func (p *pages) topics(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.src.view()
	verdict := p.judge.look(p.src, v)
	q := r.URL.Query()
	rows, counts, invalid := chosen(verdict, q)
	data := &topics{Filter: q.Get("q"), Invalid: invalid, Kind: q.Get("f"), Kinds: counts, Total: len(rows), All: len(v.Topics)}
	data.Heads = arrange(q, "sort", "name", topicColumns, rows)
	switch q.Get("format") {
	case "csv":
		return nil, sendCSV(w, rows)
	case "json":
		return nil, sendJSON(w, rows)
	}
	if name := q.Get("confirm"); name != "" {
		return p.confirmBulk(r, name, rows)
	}
	rows, data.Pages = onPage(rows, topicsAPage, q.Get("page"))
	for _, t := range rows {
		k := key{topic: t.Name}
		data.Rows = append(data.Rows, topicLine{
			judged: t, Pub: t.pub, Fin: t.fin, P99: p99(t.E2ELatency),
			DepthLine: spark("depth", p.src.series(k, depth, 10*time.Minute)),
			PubLine:   spark("pub", p.src.series(k, published, 10*time.Minute)),
		})
	}
	api := url.Values{"detail": {"1"}}
	if data.Filter != "" {
		api.Set("q", data.Filter)
	}
	return &page{Template: "topics", Title: "Topics", Nav: "topics", JSON: "/api/topics?" + api.Encode(), Data: data}, nil
}

// exported is a topic in an export.
type exported struct {
	Topic     string   `json:"topic"`
	State     string   `json:"state"`
	Reason    string   `json:"reason"`
	Depth     int64    `json:"depth"` // of the topic and its channels
	Published *float64 `json:"published_per_second"`
	Finished  *float64 `json:"finished_per_second"`
	InFlight  int64    `json:"in_flight"`
	P99       *float64 `json:"p99_ns"`
	Channels  int      `json:"channels"`
	Consumers int64    `json:"consumers"`
	Paused    bool     `json:"paused"`
	Nodes     int      `json:"nodes"`
	Stale     int      `json:"stale_nodes"`
}

func export(t *judged) exported {
	known := func(v float64) *float64 {
		if math.IsNaN(v) {
			return nil
		}
		return &v
	}
	return exported{t.Name, t.Word, t.Why, t.Total(), known(t.pub), known(t.fin), t.InFlight, known(p99(t.E2ELatency)),
		len(t.Channels), t.Clients, t.paused, len(t.Nodes), t.StaleNodes}
}

// errSent says that a handler has answered by itself.
var errSent = fmt.Errorf("answered")

func sendJSON(w http.ResponseWriter, rows []*judged) error {
	out := make([]exported, len(rows))
	for i, t := range rows {
		out[i] = export(t)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="topics.json"`)
	json.NewEncoder(w).Encode(map[string]any{"topics": out}) // an error means that the client has gone
	return errSent
}

func sendCSV(w http.ResponseWriter, rows []*judged) error {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="topics.csv"`)
	c := csv.NewWriter(w)
	c.Write([]string{"topic", "state", "reason", "depth", "published_per_second", "finished_per_second", "in_flight",
		"p99_ns", "channels", "consumers", "paused", "nodes", "stale_nodes"})
	float := func(v *float64) string {
		if v == nil {
			return ""
		}
		return strconv.FormatFloat(*v, 'f', -1, 64)
	}
	for _, t := range rows {
		e := export(t)
		c.Write([]string{e.Topic, e.State, e.Reason, strconv.FormatInt(e.Depth, 10), float(e.Published), float(e.Finished),
			strconv.FormatInt(e.InFlight, 10), float(e.P99), strconv.Itoa(e.Channels), strconv.FormatInt(e.Consumers, 10),
			strconv.FormatBool(e.Paused), strconv.Itoa(e.Nodes), strconv.Itoa(e.Stale)})
	}
	c.Flush()
	return errSent
}
