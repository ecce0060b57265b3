package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"nsqraft/internal/drill/history"
)

// changeInterval is how often a mutator does something, on average.
const changeInterval = 100 * time.Millisecond

// A mutator changes the few topics of the present generation, together with the others,
// by HTTP and as an nsqd. In each generation its nsqd is another one.
type mutator struct {
	w      *Workload
	number int
	client int
	rng    *rand.Rand

	generation int
	serial     int // of the nsqds it has been
	session    *session
}

// mutableChannels are those of topics that mutators change.
var mutableChannels = []string{"c", "d"}

func (w *Workload) mutate(number int) {
	m := &mutator{w: w, number: number, client: w.rec.Client(), rng: w.rng(kindMutator, number), generation: -1}
	for sleep(w.load, time.Duration(m.rng.Int64N(int64(2*changeInterval)))) {
		m.enter()
		m.act()
	}
	if m.session != nil { // what it has registered is there for the last reads
		w.goRun(func() {
			m.session.stay(w.run, time.Time{})
			m.session.close()
		})
	}
}

// enter sees to it that the mutator is an nsqd of the present generation, if it can.
func (m *mutator) enter() {
	now := m.w.names.generation(mutableGeneration)
	if m.session != nil && (m.generation != now || m.session.ended) {
		m.session.close()
		m.session = nil
	}
	m.generation = now
	if m.session == nil {
		m.serial++
		host := m.w.names.producer(fmt.Sprintf("x%d.", m.number), m.serial)
		m.session = m.w.connect(m.w.run, m.client, m.node(), host, stockTimeout)
	}
}

func (m *mutator) node() *daemon { return m.w.nodes[m.rng.IntN(len(m.w.nodes))] }

func (m *mutator) act() {
	topic := m.w.names.mutable(m.generation, m.rng)
	channel := mutableChannels[m.rng.IntN(len(mutableChannels))]
	dice := m.rng.IntN(100)
	switch {
	case dice < 30 && m.session != nil:
		m.session.register(topic, m.oneOf("", channel))
	case dice < 45 && m.session != nil:
		m.session.unregister(topic, m.oneOf("", channel))
	case dice < 60:
		m.post(history.CreateTopic, "/topic/create", topic, "")
	case dice < 75:
		m.post(history.CreateChannel, "/channel/create", topic, channel)
	case dice < 85:
		m.post(history.DeleteChannel, "/channel/delete", topic, channel)
	case dice < 92:
		m.post(history.DeleteTopic, "/topic/delete", topic, "")
	case m.session != nil:
		m.tombstone(topic)
	}
}

func (m *mutator) oneOf(a, b string) string {
	if m.rng.IntN(2) == 0 {
		return a
	}
	return b
}

func (m *mutator) post(kind history.Kind, path, topic, channel string) {
	m.w.post(m.w.run, m.node(), path, history.Op{Kind: kind, Client: m.client, Topic: topic, Channel: channel}, "")
}

// tombstone hides the mutator's own nsqd, and looks whether it is: by chance few would.
func (m *mutator) tombstone(topic string) {
	if !m.session.register(topic, "") {
		return
	}
	host, _, err := net.SplitHostPort(m.session.producer)
	if err != nil {
		panic(err) // we have made it
	}
	op := history.Op{Kind: history.Tombstone, Client: m.client, Topic: topic, Producer: m.session.producer}
	m.w.post(m.w.run, m.node(), "/topic/tombstone", op, "&node="+url.QueryEscape(net.JoinHostPort(host, strconv.Itoa(httpPort))))
	if !m.w.opts.Stock {
		m.w.lookup(m.w.run, m.client, m.node(), topic, true)
	}
}

// post makes and records a change by HTTP at n. If ctx ends meanwhile its outcome is
// unknown.
func (w *Workload) post(ctx context.Context, n *daemon, path string, op history.Op, more string) {
	path += "?topic=" + url.QueryEscape(op.Topic)
	if op.Channel != "" {
		path += "&channel=" + url.QueryEscape(op.Channel)
	}
	op.Node, op.Call = n.Name, w.rec.Now()
	r, err := n.api.do(ctx, http.MethodPost, path+more, "")
	op.Return = w.rec.Now()
	settle(&op, r, err)
	w.record(op)
}
