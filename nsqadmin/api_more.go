package nsqadmin

import (
	"cmp"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
	"nsqraft/internal/wire"
)

// moreRoutes adds what stock's API does not have.
func (s *Server) moreRoutes(rt *httpapi.Router) {
	rt.V1("GET", s.base+"/api/overview", s.overview)
	rt.V1("GET", s.base+"/api/cluster", s.cluster)
	rt.V1Body("POST", s.base+"/api/cluster", s.postCluster)
	rt.V1Body("POST", s.base+"/api/nodes/{node}", s.postNode)
	rt.V1("GET", s.base+"/api/activity", s.listActivity)
	rt.V1("GET", s.base+"/api/history", s.showHistory)
	rt.V1("GET", s.base+"/api/topics/{topic}/peek", s.showMessages)
	rt.Handle("GET", s.base+"/api/events", http.HandlerFunc(s.streamEvents))
}

var (
	errInvalidQuery  = httpapi.NewError(http.StatusBadRequest, "INVALID_QUERY")
	errInvalidSort   = httpapi.NewError(http.StatusBadRequest, "INVALID_SORT")
	errInvalidFilter = httpapi.NewError(http.StatusBadRequest, "INVALID_FILTER")
	errInvalidLimit  = httpapi.NewError(http.StatusBadRequest, "INVALID_LIMIT")
	errInvalidCursor = httpapi.NewError(http.StatusBadRequest, "INVALID_CURSOR")
	errInvalidMetric = httpapi.NewError(http.StatusBadRequest, "INVALID_METRIC")
	errInvalidSpan   = httpapi.NewError(http.StatusBadRequest, "INVALID_SPAN")
)

// whole returns a parameter that must be within [low, high]; absent is otherwise.
func whole(params url.Values, name string, low, high, otherwise int, invalid error) (int, error) {
	if !params.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(params.Get(name))
	if err != nil || n < low || n > high {
		return 0, invalid
	}
	return n, nil
}

// overview answers with the numbers of everything.
func (s *Server) overview(r *http.Request) (any, error) {
	v, message, err := s.current(r)
	if err != nil {
		return nil, err
	}
	answer := struct {
		At        time.Time                 `json:"at"`
		Topics    int                       `json:"topics"`
		Channels  int                       `json:"channels"`
		Depth     int64                     `json:"depth"` // of topics and channels
		InFlight  int64                     `json:"in_flight"`
		Deferred  int64                     `json:"deferred"`
		Consumers int64                     `json:"consumers"`
		Messages  int64                     `json:"message_count"`
		Published *float64                  `json:"published_per_second"` // null: not known yet
		Finished  *float64                  `json:"finished_per_second"`
		Nodes     map[clusterinfo.State]int `json:"nodes"` // by state
		Lookupds  map[clusterinfo.State]int `json:"nsqlookupds"`
		Cluster   *clusterinfo.Cluster      `json:"cluster"` // null: not replicated
		Verdict   *verdictJSON              `json:"verdict"` // is it all right
		Message   string                    `json:"message"`
	}{
		At:        v.At,
		Topics:    len(v.Topics),
		Published: s.rate(key{}, published),
		Finished:  s.rate(key{}, finished),
		Nodes:     make(map[clusterinfo.State]int),
		Lookupds:  make(map[clusterinfo.State]int),
		Verdict:   s.judge.look(s, v).json(),
		Message:   message,
	}
	for _, t := range v.Topics {
		answer.Channels += len(t.Channels)
		answer.Depth += backlog(t)
		answer.InFlight += t.InFlight
		answer.Deferred += t.Deferred
		answer.Consumers += t.Clients
		answer.Messages += t.MessageCount
	}
	for _, n := range v.Nodes {
		answer.Nodes[n.State]++
	}
	for _, l := range v.Lookupds {
		answer.Lookupds[l.State]++
	}
	answer.Cluster, _ = v.Cluster()
	return answer, nil
}

// rate returns the newest value of a metric, nil if it is not known.
func (s *Server) rate(k key, m metric) *float64 {
	value, ok := s.latest(k, m)
	if !ok {
		return nil
	}
	return &value
}

// A lookupdJSON is an nsqlookupd.
type lookupdJSON struct {
	Address    string            `json:"address"`
	State      clusterinfo.State `json:"state"`
	Error      string            `json:"error,omitempty"`
	AnsweredAt time.Time         `json:"answered_at"`
	RoundTrip  float64           `json:"round_trip_ms"`
	Version    string            `json:"version"`
	StaleMS    int64             `json:"stale_ms"` // -1: stock's, or unknown
	Index      uint64            `json:"index"`    // 0: stock's
	NodeID     string            `json:"node_id,omitempty"`
	Producers  int               `json:"producers"`
	Topics     int               `json:"topics"`
}

// A reignJSON is a time in which one node led, or none.
type reignJSON struct {
	Node string     `json:"node"` // empty: no leader
	Term uint64     `json:"term"`
	From time.Time  `json:"from"`
	To   *time.Time `json:"to"` // null: still
}

// cluster answers with what is known of the nsqlookupds, and who led within the last
// hour.
func (s *Server) cluster(r *http.Request) (any, error) {
	v, message, err := s.current(r)
	if err != nil {
		return nil, err
	}
	answer := struct {
		Cluster  *clusterinfo.Cluster `json:"cluster"` // null: not replicated
		From     string               `json:"from"`    // the nsqlookupd that says so
		Lookupds []*lookupdJSON       `json:"nsqlookupds"`
		Reigns   []reignJSON          `json:"reigns"` // oldest first
		Differ   []string             `json:"differing_members"`
		Message  string               `json:"message"`
	}{Lookupds: []*lookupdJSON{}, Reigns: []reignJSON{}, Differ: []string{}, Message: message}
	c, from := v.Cluster()
	if c != nil {
		answer.Cluster, answer.From = c, from.Address
	}
	for _, l := range v.Lookupds {
		answer.Lookupds = append(answer.Lookupds, newLookupd(l))
	}
	for _, reign := range s.reigns(time.Hour) {
		row := reignJSON{Node: reign.node, Term: reign.term, From: reign.from}
		if !reign.to.IsZero() {
			row.To = &reign.to
		}
		answer.Reigns = append(answer.Reigns, row)
	}
	if a, b, _ := differing(v); a != "" {
		answer.Differ = []string{a, b}
	}
	return answer, nil
}

func newLookupd(l *clusterinfo.Lookupd) *lookupdJSON {
	row := &lookupdJSON{
		Address:    l.Address,
		State:      l.State,
		AnsweredAt: l.AnsweredAt,
		RoundTrip:  float64(l.RoundTrip) / float64(time.Millisecond),
		Version:    l.Version,
		StaleMS:    l.StaleMS,
		Index:      l.Index,
		Producers:  len(l.Producers),
		Topics:     len(l.Channels),
	}
	if l.Err != nil {
		row.Error = reason(l.Err)
	}
	if l.Cluster != nil {
		row.NodeID = l.Cluster.NodeID
	}
	return row
}

// postCluster does transfer_leadership, remove_member or snapshot to the member node.
func (s *Server) postCluster(r *http.Request) (any, error) {
	if err := s.mayAct(r); err != nil {
		return nil, err
	}
	var body struct {
		Action string `json:"action"`
		Node   string `json:"node"`
	}
	if err := readJSON(r, &body); err != nil {
		return nil, err
	}
	switch body.Action {
	case "transfer_leadership", "remove_member", "snapshot":
		return answerTo(s.do(r, action{name: body.Action, node: body.Node}))
	}
	return nil, errInvalidAction
}

// postNode drains an nsqd.
func (s *Server) postNode(r *http.Request) (any, error) {
	if err := s.mayAct(r); err != nil {
		return nil, err
	}
	var body struct {
		Action string `json:"action"`
	}
	if err := readJSON(r, &body); err != nil {
		return nil, err
	}
	if body.Action != "drain" {
		return nil, errInvalidAction
	}
	return answerTo(s.do(r, action{name: "drain_nsqd", node: chi.URLParam(r, "node")}))
}

// listActivity answers with the newest events, newest first. Parameters: limit (100,
// at most 1000), kind, topic, channel, node.
func (s *Server) listActivity(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	limit, err := whole(params, "limit", 1, maxEvents, 100, errInvalidLimit)
	if err != nil {
		return nil, err
	}
	matches := func(name, value string) bool { return !params.Has(name) || params.Get(name) == value }
	events := s.events(limit, func(e *event) bool {
		return matches("kind", e.Kind) && matches("topic", e.Topic) && matches("channel", e.Channel) && matches("node", e.Node)
	})
	return struct {
		Events []*event `json:"events"`
	}{append([]*event{}, events...)}, nil
}

// showHistory answers with points of one metric. Parameters: metric (depth, published,
// finished, in_flight), topic, channel, span (10m; at most 24h).
func (s *Server) showHistory(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	m := slices.Index([]string{"depth", "published", "finished", "in_flight"}, params.Get("metric"))
	if m < 0 {
		return nil, errInvalidMetric
	}
	span := 10 * time.Minute
	if params.Has("span") {
		if span, err = time.ParseDuration(params.Get("span")); err != nil || span <= 0 || span > 24*time.Hour {
			return nil, errInvalidSpan
		}
	}
	type pointJSON struct {
		At    time.Time `json:"at"`
		Value *float64  `json:"value"` // null: not known
	}
	answer := struct {
		Points []pointJSON `json:"points"`
	}{[]pointJSON{}}
	for _, p := range s.series(key{params.Get("topic"), params.Get("channel")}, metric(m), span) {
		row := pointJSON{At: p.at.UTC()}
		if p.value == p.value { // not NaN, which JSON does not have
			row.Value = &p.value
		}
		answer.Points = append(answer.Points, row)
	}
	return answer, nil
}

// A topicDetail is a topic in a list, with the numbers people look for.
type topicDetail struct {
	TopicName  string   `json:"topic_name"`
	Depth      int64    `json:"depth"` // its own, as everywhere in the API
	Backlog    int64    `json:"backlog"`
	InFlight   int64    `json:"in_flight_count"`
	Deferred   int64    `json:"deferred_count"`
	Requeued   int64    `json:"requeue_count"`
	TimedOut   int64    `json:"timeout_count"`
	Messages   int64    `json:"message_count"`
	Clients    int64    `json:"client_count"`
	Channels   int      `json:"channels"`
	Nodes      int      `json:"nodes"`
	StaleNodes int      `json:"stale_nodes"`
	Paused     bool     `json:"paused"`
	PausedOn   int      `json:"paused_on"` // nodes
	Inactive   bool     `json:"inactive"`
	Published  *float64 `json:"published_per_second"` // null: not known yet
	Finished   *float64 `json:"finished_per_second"`
}

// topicSorts are what lists of topics can be sorted by: a value that a name stands
// for, greatest first.
var topicSorts = map[string]func(s *Server, t *clusterinfo.Topic) float64{
	"backlog":   func(_ *Server, t *clusterinfo.Topic) float64 { return float64(backlog(t)) },
	"in_flight": func(_ *Server, t *clusterinfo.Topic) float64 { return float64(t.InFlight) },
	"clients":   func(_ *Server, t *clusterinfo.Topic) float64 { return float64(t.Clients) },
	"channels":  func(_ *Server, t *clusterinfo.Topic) float64 { return float64(len(t.Channels)) },
	"messages":  func(_ *Server, t *clusterinfo.Topic) float64 { return float64(t.MessageCount) },
	"published": func(s *Server, t *clusterinfo.Topic) float64 {
		value, _ := s.latest(key{topic: t.Name}, published)
		return value
	},
	"finished": func(s *Server, t *clusterinfo.Topic) float64 {
		value, _ := s.latest(key{topic: t.Name}, finished)
		return value
	},
}

var topicFilters = map[string]func(t *clusterinfo.Topic) bool{
	"":            func(*clusterinfo.Topic) bool { return true },
	"backlog":     hasBacklog, // as the page of topics means it
	"no_consumer": func(t *clusterinfo.Topic) bool { return t.Clients == 0 && !t.Inactive() },
	"paused":      func(t *clusterinfo.Topic) bool { return t.Paused },
	"inactive":    (*clusterinfo.Topic).Inactive,
	"ephemeral":   func(t *clusterinfo.Topic) bool { return wire.Ephemeral(t.Name) },
}

// hasBacklog says whether more than backlogDepth messages wait in the topic itself or in
// one of its channels.
func hasBacklog(t *clusterinfo.Topic) bool {
	deep := func(c *clusterinfo.Channel) bool { return c.Depth > backlogDepth }
	return t.Depth > backlogDepth || slices.ContainsFunc(t.Channels, deep)
}

const (
	maxTopicRows = 1000
	maxQuery     = 256 // bytes
)

// detailedTopics answers /api/topics?detail=1. Parameters: q (a part of the name, or
// /a regular expression/), filter (see topicFilters), sort (name, or see topicSorts; a
// minus turns it round), limit (100, at most 1000), cursor (of the answer before: of a
// sort by something that moves, a topic may be seen twice or not at all).
func (s *Server) detailedTopics(v *clusterinfo.View, message string, params url.Values) (any, error) {
	matches, err := nameMatcher(params.Get("q"))
	if err != nil {
		return nil, err
	}
	filter, ok := topicFilters[params.Get("filter")]
	if !ok {
		return nil, errInvalidFilter
	}
	limit, err := whole(params, "limit", 1, maxTopicRows, 100, errInvalidLimit)
	if err != nil {
		return nil, err
	}
	from, err := whole(params, "cursor", 0, 1<<30, 0, errInvalidCursor)
	if err != nil {
		return nil, err
	}
	var topics []*clusterinfo.Topic
	for _, t := range v.Topics {
		if matches(t.Name) && filter(t) {
			topics = append(topics, t)
		}
	}
	if err := s.sortTopics(topics, params.Get("sort")); err != nil {
		return nil, err
	}
	answer := struct {
		Topics  []*topicDetail `json:"topics"`
		Total   int            `json:"total"`            // that match
		Cursor  string         `json:"cursor,omitempty"` // for those after them; none: there are no more
		Message string         `json:"message"`
	}{Topics: []*topicDetail{}, Total: len(topics), Message: message}
	from = min(from, len(topics))
	to := min(from+limit, len(topics))
	for _, t := range topics[from:to] {
		answer.Topics = append(answer.Topics, s.topicDetail(t))
	}
	if to < len(topics) {
		answer.Cursor = strconv.Itoa(to)
	}
	return answer, nil
}

// nameMatcher returns what says whether a name is looked for.
func nameMatcher(q string) (func(string) bool, error) {
	if len(q) > maxQuery {
		return nil, errInvalidQuery
	}
	if expr, ok := strings.CutPrefix(q, "/"); ok {
		re, err := regexp.Compile(strings.TrimSuffix(expr, "/"))
		if err != nil {
			return nil, errInvalidQuery
		}
		return re.MatchString, nil
	}
	q = strings.ToLower(q)
	return func(name string) bool { return strings.Contains(strings.ToLower(name), q) }, nil
}

// sortTopics sorts topics, which are sorted by name, by what is asked for; those that
// are alike stay sorted by name.
func (s *Server) sortTopics(topics []*clusterinfo.Topic, by string) error {
	by, turned := strings.CutPrefix(by, "-")
	if by == "" || by == "name" {
		if turned {
			slices.Reverse(topics)
		}
		return nil
	}
	value, ok := topicSorts[by]
	if !ok {
		return errInvalidSort
	}
	values := make(map[*clusterinfo.Topic]float64, len(topics))
	for _, t := range topics {
		values[t] = value(s, t)
	}
	slices.SortStableFunc(topics, func(a, b *clusterinfo.Topic) int {
		if turned {
			return cmp.Compare(values[a], values[b])
		}
		return cmp.Compare(values[b], values[a])
	})
	return nil
}

func (s *Server) topicDetail(t *clusterinfo.Topic) *topicDetail {
	return &topicDetail{
		TopicName:  t.Name,
		Depth:      t.Depth,
		Backlog:    backlog(t),
		InFlight:   t.InFlight,
		Deferred:   t.Deferred,
		Requeued:   t.Requeued,
		TimedOut:   t.TimedOut,
		Messages:   t.MessageCount,
		Clients:    t.Clients,
		Channels:   len(t.Channels),
		Nodes:      len(t.Nodes),
		StaleNodes: t.StaleNodes,
		Paused:     t.Paused,
		PausedOn:   t.PausedOn,
		Inactive:   t.Inactive(),
		Published:  s.rate(key{topic: t.Name}, published),
		Finished:   s.rate(key{topic: t.Name}, finished),
	}
}
