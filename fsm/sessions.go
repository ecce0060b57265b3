package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/tidwall/btree"
	"google.golang.org/protobuf/proto"

	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/defect"
)

// A SessionID names a session: the connection that a node numbered Serial in
// the life Epoch of its process.
type SessionID struct {
	Node          string
	Epoch, Serial uint64
}

func (id SessionID) String() string {
	return fmt.Sprintf("%s/%d/%d", id.Node, id.Epoch, id.Serial)
}

// compare orders by node, then epoch, then serial.
func (id SessionID) compare(other SessionID) int {
	return cmp.Or(
		cmp.Compare(id.Node, other.Node),
		cmp.Compare(id.Epoch, other.Epoch),
		cmp.Compare(id.Serial, other.Serial),
	)
}

// ProducerID renders the identity of a producer:
// "broadcast_address:tcp_port:http_port".
func ProducerID(p *fsmpb.Producer) string {
	b := make([]byte, 0, len(p.GetBroadcastAddress())+12)
	b = append(b, p.GetBroadcastAddress()...)
	b = append(b, ':')
	b = strconv.AppendUint(b, uint64(p.GetTcpPort()), 10)
	b = append(b, ':')
	b = strconv.AppendUint(b, uint64(p.GetHttpPort()), 10)
	return string(b)
}

// A session is one nsqd's connection to one node. A life holds at most one
// session of a producer.
type session struct {
	owner    uint64
	id       *SessionID // the one allocation its holdings point to as well
	producer string     // its ProducerID
	info     *fsmpb.Producer
	inactive bool
	replayed bool
	topics   *btree.Set[string] // the topics of which it has a holding
}

// A producer is an nsqd with at least one session.
type producer struct {
	owner      uint64
	id         string
	sessions   []*SessionID    // in the order they were opened
	active     int             // how many of them are not inactive
	tombstones int             // how many topics have a tombstone of it
	info       *fsmpb.Producer // of the session opened last
}

func (s *state) session(id SessionID) *session {
	l := s.life(id.Node, id.Epoch)
	if l == nil {
		return nil
	}
	found, _ := l.sessions.Get(id.Serial)
	return found
}

// batchSession returns the session of the batch's writer with that serial, or nil.
func (r *Registry) batchSession(b *fsmpb.Batch, serial uint64) *session {
	return r.session(SessionID{b.GetWriter(), b.GetEpoch(), serial})
}

// mutableSession returns the batch's own copy of a session that exists.
func (r *Registry) mutableSession(id *SessionID) *session {
	l := r.mutableLife(id.Node, id.Epoch)
	s, _ := l.sessions.Get(id.Serial)
	if s.owner == r.index {
		return s
	}
	c := *s
	c.owner = r.index
	c.topics = s.topics.Copy()
	l.sessions.Set(id.Serial, &c)
	return &c
}

// mutableProducer returns the batch's own copy of a producer that exists.
func (r *Registry) mutableProducer(id string) *producer {
	p, _ := r.producers.Get(id)
	if p.owner == r.index {
		return p
	}
	c := *p
	c.owner = r.index
	c.sessions = slices.Clone(p.sessions)
	r.producers.Set(c.id, &c)
	return &c
}

// openSession opens a session. An older one with its serial, and the one its
// producer has in the same life, end first: IDENTIFY always wins. Sessions that
// earlier lives of the node left orphaned stay until the new one has finished
// its replay; ending them here would hide a live nsqd for as long as that takes.
func (r *Registry) openSession(b *fsmpb.Batch, m *fsmpb.OpenSession) Result {
	id := &SessionID{b.GetWriter(), b.GetEpoch(), m.GetSession()}
	name := ProducerID(m.GetProducer())
	if old := r.session(*id); old != nil {
		r.dropSession(old.id)
	}
	if p, known := r.producers.Get(name); known {
		for _, old := range p.sessions {
			if old.Node == id.Node && old.Epoch == id.Epoch {
				r.dropSession(old)
				break
			}
		}
	}

	var p *producer
	if _, known := r.producers.Get(name); known {
		p = r.mutableProducer(name)
		r.facts -= p.fact()
	} else {
		p = &producer{owner: r.index, id: name}
		r.producers.Set(name, p)
		r.counts.Producers++
		r.nodesChanged = r.index
	}
	s := &session{
		owner:    r.index,
		id:       id,
		producer: p.id,
		info:     m.GetProducer(),
		topics:   new(btree.Set[string]),
	}
	r.mutableLife(id.Node, id.Epoch).sessions.Set(id.Serial, s)
	r.counts.Sessions++
	r.facts += s.fact()

	p.sessions = append(p.sessions, id)
	r.facts += p.fact()
	r.addActive(p, 1)
	r.refreshInfo(p)
	return ResultOK
}

// endSession ends a session: its connection was closed.
func (r *Registry) endSession(b *fsmpb.Batch, m *fsmpb.EndSession) Result {
	if defect.Seeded && defect.On(defect.KeepClosed) && m.GetSession()%10 == 0 {
		return ResultOK
	}
	s := r.batchSession(b, m.GetSession())
	if s == nil {
		return ResultNoSession
	}
	r.dropSession(s.id)
	return ResultOK
}

// dropSession removes a session that exists, all it registered, its producer if
// it was the last, and its life if that is over.
func (r *Registry) dropSession(id *SessionID) {
	s := r.session(*id)
	for _, topic := range s.topics.Keys() {
		r.dropHolding(topic, s.producer, id)
	}

	n := r.mutableNode(id.Node)
	l := r.mutableLife(id.Node, id.Epoch)
	s, _ = l.sessions.Delete(id.Serial)
	r.counts.Sessions--
	r.facts -= s.fact()
	r.dropSpentLives(n)

	p := r.mutableProducer(s.producer)
	r.facts -= p.fact()
	p.sessions = slices.DeleteFunc(p.sessions, func(other *SessionID) bool { return *other == *id })
	if !s.inactive {
		r.addActive(p, -1)
	}
	if len(p.sessions) == 0 {
		r.producers.Delete(p.id)
		r.counts.Producers--
		r.nodesChanged = r.index
		return
	}
	r.facts += p.fact()
	r.refreshInfo(p)
}

// finishReplay says that a session has registered all it had to. What orphaned
// sessions of the same producer registered is thereby out of date.
func (r *Registry) finishReplay(b *fsmpb.Batch, m *fsmpb.FinishReplay) Result {
	s := r.batchSession(b, m.GetSession())
	if s == nil {
		return ResultNoSession
	}
	if !s.replayed {
		s = r.mutableSession(s.id)
		r.facts -= s.fact()
		s.replayed = true
		r.facts += s.fact()
	}
	p, _ := r.producers.Get(s.producer)
	for _, other := range slices.Clone(p.sessions) {
		if other != s.id && r.orphaned(other) {
			r.dropSession(other)
		}
	}
	return ResultOK
}

// setActive records that a session was heard again, or not for long.
func (r *Registry) setActive(b *fsmpb.Batch, m *fsmpb.SetActive) Result {
	s := r.batchSession(b, m.GetSession())
	if s == nil {
		return ResultNoSession
	}
	if s.inactive == !m.GetActive() {
		return ResultOK
	}
	s = r.mutableSession(s.id)
	r.facts -= s.fact()
	s.inactive = !m.GetActive()
	r.facts += s.fact()

	change := 1
	if s.inactive {
		change = -1
	}
	r.addActive(r.mutableProducer(s.producer), change)
	s.topics.Scan(func(topic string) bool {
		t := r.mutableTopic(topic)
		l := r.mutableListing(t, s.producer)
		before := l.active()
		l.holdings[l.find(s.id)].inactive = s.inactive
		if l.active() != before {
			r.answerChanged(t)
		}
		return true
	})
	return ResultOK
}

// addActive adds to the number of active sessions of the batch's own p.
func (r *Registry) addActive(p *producer, change int) {
	before := p.active > 0
	p.active += change
	if (p.active > 0) != before {
		r.nodesChanged = r.index
	}
}

// refreshInfo makes the batch's own p, and its entry in every topic, show what
// its newest session said of itself.
func (r *Registry) refreshInfo(p *producer) {
	info := r.session(*p.sessions[len(p.sessions)-1]).info
	if proto.Equal(p.info, info) {
		return
	}
	p.info = info
	r.nodesChanged = r.index
	for _, topic := range r.topicsOf(p) {
		t := r.mutableTopic(topic)
		r.mutableListing(t, p.id).info = info
		r.answerChanged(t)
	}
}

// topicsOf returns the names of the topics that p serves, sorted: the union
// over its sessions.
func (s *state) topicsOf(p *producer) []string {
	var union []string
	for _, id := range p.sessions {
		union = mergeSorted(union, s.session(*id).topics.Keys())
	}
	return union
}

// mergeSorted returns the sorted union of two sorted slices, which may be one of them.
func mergeSorted(a, b []string) []string {
	if len(a) == 0 || slices.Equal(a, b) {
		return b
	}
	union := make([]string, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			union, a = append(union, a[0]), a[1:]
		case a[0] > b[0]:
			union, b = append(union, b[0]), b[1:]
		default:
			union, a, b = append(union, a[0]), a[1:], b[1:]
		}
	}
	return append(append(union, a...), b...)
}
