package lookupd

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/defect"
	"nsqraft/internal/httpapi"
)

// peer is a producer as /lookup and /nodes list it, fields in stock's order.
type peer struct {
	RemoteAddress    string `json:"remote_address"`
	Hostname         string `json:"hostname"`
	BroadcastAddress string `json:"broadcast_address"`
	TCPPort          uint32 `json:"tcp_port"`
	HTTPPort         uint32 `json:"http_port"`
	Version          string `json:"version"`
	TopologyZone     string `json:"topology_zone"`
	TopologyRegion   string `json:"topology_region"`
}

func newPeer(p *fsmpb.Producer) peer {
	return peer{
		RemoteAddress:    p.RemoteAddress,
		Hostname:         p.Hostname,
		BroadcastAddress: p.BroadcastAddress,
		TCPPort:          p.TcpPort,
		HTTPPort:         p.HttpPort,
		Version:          p.Version,
		TopologyZone:     p.TopologyZone,
		TopologyRegion:   p.TopologyRegion,
	}
}

// listedNode is a producer as /nodes lists it. Stock nsqadmin dies of it if the two
// lists differ in length.
type listedNode struct {
	peer
	Tombstones []bool   `json:"tombstones"`
	Topics     []string `json:"topics"`
}

// An encoding is a JSON body and how long it holds unless the registry changes.
type encoding struct {
	body  any       // httpapi.JSON, in the interface that every answer needs it in
	until time.Time // zero: for ever
}

// holds reports whether e may still be served.
func (e *encoding) holds(now func() time.Time) bool {
	return e.until.IsZero() || now().Before(e.until)
}

// A memo keeps the newest encoding of an answer, so that it is made once for
// each change and not once for each request. The zero value is empty.
type memo struct {
	newest atomic.Pointer[memoised]
	mu     sync.Mutex // held while encoding, so that one request does it for all
}

type memoised struct {
	encoding
	changed uint64 // index as of which it holds
}

// get returns the answer that last changed at the given index, which encode
// makes if it has to be made.
func (m *memo) get(changed uint64, now func() time.Time, encode func() (encoding, error)) (any, error) {
	if e := m.newest.Load(); e != nil && e.changed == changed && e.holds(now) {
		return e.body, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.newest.Load(); e != nil && e.changed == changed && e.holds(now) {
		return e.body, nil
	}
	e, err := encode()
	if err != nil {
		return nil, err
	}
	m.newest.Store(&memoised{e, changed})
	return e.body, nil
}

// encode returns v as an encoding that holds until then.
func encode(v any, until time.Time) (encoding, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return encoding{}, err
	}
	return encoding{httpapi.JSON(body), until}, nil
}

// tombstoned reports whether a tombstone of time at (zero: none) hides its
// producer now, and until when.
func (a *httpAPI) tombstoned(at, now time.Time) (hidden bool, until time.Time) {
	if at.IsZero() || defect.Seeded && defect.On(defect.ShowTombstoned) {
		return false, time.Time{}
	}
	until = at.Add(a.lifetime)
	return now.Before(until), until
}

// earlier returns the earlier of two times of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (a *httpAPI) lookup(r *http.Request) (any, error) {
	q, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	if !q.hasTopic {
		return nil, errMissingTopic
	}
	view, header, err := a.read(r.Context(), &q, (*httpAPI).watchTopic)
	if err != nil {
		return nil, err
	}
	// The name is not checked: an invalid one, such as "*", is of no topic.
	topic := view.Topic(q.topic)
	if topic == nil {
		return nil, &httpapi.Error{Status: http.StatusNotFound, Text: "TOPIC_NOT_FOUND", Header: header}
	}
	body, err := a.lookupBody(topic)
	if err != nil {
		return nil, err
	}
	return &httpapi.Response{Value: body, Header: header}, nil
}

// lookupBody returns the body of /lookup for topic, which keeps it until it
// changes. Two requests may both make it, with the same outcome.
func (a *httpAPI) lookupBody(topic *fsm.Topic) (any, error) {
	if e := topic.Memo().Load(); e != nil {
		if e := (*e).(*encoding); e.holds(a.reg.Now) {
			return e.body, nil
		}
	}
	now := a.reg.Now()
	answer := struct {
		Channels  []string `json:"channels"`
		Producers []peer   `json:"producers"`
	}{nonNil(topic.Channels()), []peer{}}
	var until time.Time
	for _, p := range topic.Producers() {
		hidden, end := a.tombstoned(p.TombstonedAt, now)
		if hidden {
			until = earlier(until, end)
		}
		if p.Active && !hidden {
			answer.Producers = append(answer.Producers, newPeer(p.Info))
		}
	}
	e, err := encode(answer, until)
	if err != nil {
		return nil, err
	}
	var slot any = &e
	topic.Memo().Store(&slot)
	return e.body, nil
}

func (a *httpAPI) watchTopic(v *fsm.View, name string) (changed uint64, next time.Time) {
	topic := v.Topic(name)
	if topic == nil {
		return v.TopicsChanged(), time.Time{}
	}
	now := a.reg.Now()
	for _, p := range topic.Producers() {
		if hidden, end := a.tombstoned(p.TombstonedAt, now); hidden {
			next = earlier(next, end)
		}
	}
	return topic.Changed(), next
}

func (a *httpAPI) listChannels(r *http.Request) (any, error) {
	q, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	if !q.hasTopic {
		return nil, errMissingTopic
	}
	view, header, err := a.read(r.Context(), &q, (*httpAPI).watchTopic)
	if err != nil {
		return nil, err
	}
	var channels []string
	if topic := view.Topic(q.topic); topic != nil {
		channels = topic.Channels()
	}
	return &httpapi.Response{Value: struct {
		Channels []string `json:"channels"`
	}{nonNil(channels)}, Header: header}, nil
}

func (a *httpAPI) listTopics(r *http.Request) (any, error) {
	q, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	view, header, err := a.read(r.Context(), &q, (*httpAPI).watchTopics)
	if err != nil {
		return nil, err
	}
	body, err := a.topics.get(view.TopicsChanged(), a.reg.Now, func() (encoding, error) {
		return encode(struct {
			Topics []string `json:"topics"`
		}{nonNil(view.TopicNames())}, time.Time{})
	})
	if err != nil {
		return nil, err
	}
	return &httpapi.Response{Value: body, Header: header}, nil
}

func (a *httpAPI) watchTopics(v *fsm.View, _ string) (changed uint64, next time.Time) {
	return v.TopicsChanged(), time.Time{}
}

func (a *httpAPI) listNodes(r *http.Request) (any, error) {
	q, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	view, header, err := a.read(r.Context(), &q, (*httpAPI).watchNodes)
	if err != nil {
		return nil, err
	}
	body, err := a.nodes.get(view.NodesChanged(), a.reg.Now, func() (encoding, error) {
		return a.encodeNodes(view)
	})
	if err != nil {
		return nil, err
	}
	return &httpapi.Response{Value: body, Header: header}, nil
}

// encodeNodes lists the active producers, those without topics too.
func (a *httpAPI) encodeNodes(v *fsm.View) (encoding, error) {
	now := a.reg.Now()
	nodes := []listedNode{}
	var until time.Time
	for p := range v.Producers() {
		if !p.Active {
			continue
		}
		n := listedNode{peer: newPeer(p.Info), Tombstones: []bool{}, Topics: []string{}}
		for topic, at := range p.Topics() {
			hidden, end := a.tombstoned(at, now)
			if hidden {
				until = earlier(until, end)
			}
			n.Topics = append(n.Topics, topic)
			n.Tombstones = append(n.Tombstones, hidden)
		}
		nodes = append(nodes, n)
	}
	return encode(struct {
		Producers []listedNode `json:"producers"`
	}{nodes}, until)
}

func (a *httpAPI) watchNodes(v *fsm.View, _ string) (changed uint64, next time.Time) {
	now := a.reg.Now()
	for t := range v.Tombstones() {
		if hidden, end := a.tombstoned(t.Time, now); hidden {
			next = earlier(next, end)
		}
	}
	return v.NodesChanged(), next
}

// nonNil makes an empty list of none, for JSON to be [] and not null.
func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
