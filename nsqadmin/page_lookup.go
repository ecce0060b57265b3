package nsqadmin

import (
	"net/http"
	"net/url"
	"strings"

	"nsqraft/internal/clusterinfo"
)

type lookupPage struct {
	Lookupds   []lookupdRow
	Inactive   []*clusterinfo.Topic   // known to an nsqlookupd and to no nsqd
	Channels   []*clusterinfo.Channel // likewise, of topics that an nsqd has
	Tombstones []tombstone
	More       int // inactive topics that are not listed
	Topic      string
}

type tombstone struct{ Topic, Node string }

func (p *pages) lookup(w http.ResponseWriter, r *http.Request) (*page, error) {
	const most = 200
	v := p.src.view()
	data := &lookupPage{Topic: r.FormValue("topic")}
	for _, l := range v.Lookupds {
		data.Lookupds = append(data.Lookupds, lookupdRow{l, lookupdStatus(l, v.At)})
	}
	for _, t := range v.Topics {
		if t.Inactive() {
			if len(data.Inactive) < most {
				data.Inactive = append(data.Inactive, t)
			} else {
				data.More++
			}
			continue
		}
		for _, c := range t.Channels {
			if len(c.Nodes) == 0 && len(data.Channels) < most {
				data.Channels = append(data.Channels, c)
			}
		}
	}
	for _, n := range v.Nodes {
		for _, t := range n.Topics {
			if t.Tombstoned && len(data.Tombstones) < most {
				data.Tombstones = append(data.Tombstones, tombstone{t.Topic, n.Address})
			}
		}
	}
	return &page{Template: "lookup", Title: "Lookup", Nav: "lookup", JSON: "/api/topics?inactive=true", Data: data}, nil
}

func (p *pages) lookupAct(w http.ResponseWriter, r *http.Request) (*page, error) {
	if r.PostForm.Get("action") != "create" {
		return nil, errInvalidAction
	}
	return p.create(r, r.PostForm.Get("topic"), r.PostForm.Get("channel"), p.base+"/lookup")
}

type counterPage struct {
	Total  int64
	Rate   float64 // NaN: unknown
	Digits []string
	Stale  int
	Nodes  int
}

// counter shows how many messages channels have received, since their nsqds started.
func (p *pages) counter(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.src.view()
	data := &counterPage{Nodes: len(v.Nodes)}
	for _, t := range v.Topics {
		for _, c := range t.Channels {
			data.Total += c.MessageCount
			if x := rateOf(p.src, key{t.Name, c.Name}, published); x == x {
				data.Rate += x
			}
		}
	}
	for _, n := range v.Nodes {
		if n.Stale() {
			data.Stale++
		}
	}
	data.Digits = strings.Split(integer(data.Total), "")
	return &page{Template: "counter", Title: "Counter", Nav: "counter", JSON: "/api/counter", Data: data}, nil
}

type activityPage struct {
	Kind, Filter string
	Kinds        []kindCount
	Events       []*event
	More         bool
}

var eventKinds = []kindCount{
	{"", "All", 0}, {"action", "Actions", 0}, {"leader", "Elections", 0}, {"nsqd", "nsqd", 0}, {"nsqlookupd", "nsqlookupd", 0}, {"registry", "Registry", 0},
}

func (p *pages) activity(w http.ResponseWriter, r *http.Request) (*page, error) {
	const most = 200
	q := r.URL.Query()
	data := &activityPage{Kind: q.Get("kind"), Filter: cutText(200, q.Get("q")), Kinds: eventKinds}
	want := strings.ToLower(data.Filter)
	data.Events = p.src.events(most+1, func(e *event) bool {
		if data.Kind != "" && e.Kind != data.Kind {
			return false
		}
		return want == "" || strings.Contains(strings.ToLower(strings.Join([]string{e.Text, e.Topic, e.Channel, e.Node, e.User, e.Action}, "\n")), want)
	})
	if len(data.Events) > most {
		data.Events, data.More = data.Events[:most], true
	}
	api := "/api/activity"
	if data.Kind != "" {
		api += "?" + url.Values{"kind": {data.Kind}}.Encode()
	}
	return &page{Template: "activity", Title: "Activity", Nav: "activity", JSON: api, Data: data}, nil
}

type configPage struct{ Settings []setting }

func (p *pages) config(w http.ResponseWriter, r *http.Request) (*page, error) {
	if _, role := p.src.who(r); role < operator {
		return nil, errForbidden
	}
	return &page{Template: "config", Title: "Configuration", Nav: "config", Frozen: true, Data: &configPage{Settings: p.src.setup().settings}}, nil
}
