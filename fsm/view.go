package fsm

import (
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"nsqraft/fsm/fsmpb"
)

// A View is the registry at one index. It never changes, nor does anything that
// is reachable from it: any goroutine may keep it and read it for ever. Callers
// do not modify the slices and messages they get.
//
// Every query costs what its answer costs.
type View struct {
	state
}

// Counts says how much is in a registry.
type Counts struct {
	Topics        int
	Channels      int // known channels of all topics
	Producers     int
	Sessions      int
	Registrations int // of topics and of channels by sessions: REGISTER t c makes two
	Tombstones    int
}

// Index returns the index of the last entry applied.
func (v *View) Index() uint64 { return v.index }

// Term returns the term of the last entry applied whose term was told.
func (v *View) Term() uint64 { return v.term }

// Hash returns a hash of the whole state, index and term aside. It is equal for
// equal states, whatever led to them.
func (v *View) Hash() uint64 { return mix(v.facts) }

// Counts returns how much there is.
func (v *View) Counts() Counts { return v.counts }

// TopicsChanged returns the index at which the set of topic names last changed.
func (v *View) TopicsChanged() uint64 { return v.topicsChanged }

// NodesChanged returns the index at which the producers, their descriptions,
// topics, tombstones or activity last changed. After a Restore it is that of
// the snapshot.
func (v *View) NodesChanged() uint64 { return v.nodesChanged }

// Topic returns the topic of that name, or nil if it is not known.
func (v *View) Topic(name string) *Topic {
	t, _ := v.topics.Get(name)
	return t
}

// TopicNames returns the names of all topics, sorted. It is computed once per
// change of the set, and shared.
func (v *View) TopicNames() []string {
	v.names.once.Do(func() { v.names.names = v.topics.Keys() })
	return v.names.names
}

// Holds says whether the session has registered the channel of the topic, or,
// if channel is empty, the topic.
func (v *View) Holds(id SessionID, topic, channel string) bool {
	s := v.session(id)
	if s == nil || !s.topics.Contains(topic) {
		return false
	}
	if channel == "" {
		return true
	}
	t, _ := v.topics.Get(topic)
	l, _ := t.listings.Get(s.producer)
	return containsSorted(l.holdings[l.find(&id)].channels, channel)
}

// A Topic is a topic at one index. Like a View, it never changes.
type Topic struct {
	owner      uint64
	name       string
	changed    uint64
	channels   *btree.Map[string, channel]  // by name
	listings   *btree.Map[string, *listing] // by ProducerID
	tombstones *btree.Map[string, int64]    // by ProducerID, of listed producers only
	answer     *answer
}

// An answer is what readers compute of a topic, at most once. Copies of a topic
// share it for as long as it holds.
type answer struct {
	producersOnce sync.Once
	producers     []TopicProducer
	channelsOnce  sync.Once
	channels      []string
	memo          atomic.Pointer[any]
}

// Name returns the topic's name.
func (t *Topic) Name() string { return t.name }

// Changed returns the index at which the answer of Channels or Producers last
// changed. After a Restore it is that of the snapshot.
func (t *Topic) Changed() uint64 { return t.changed }

// Channels returns the names of the topic's channels, sorted. It is computed
// once per change, and shared.
func (t *Topic) Channels() []string {
	t.answer.channelsOnce.Do(func() { t.answer.channels = t.channels.Keys() })
	return t.answer.channels
}

// A TopicProducer is a producer in its role for one topic.
type TopicProducer struct {
	ID           string          // its ProducerID
	Info         *fsmpb.Producer // as its newest session described it
	Active       bool            // any of its sessions that registered the topic is active
	TombstonedAt time.Time       // of its tombstone for the topic; zero: none
}

// Producers returns the producers that have registered the topic, sorted by ID;
// inactive and tombstoned ones too, since what hides them is the reader's
// clock. It is computed once per change, and shared.
func (t *Topic) Producers() []TopicProducer {
	t.answer.producersOnce.Do(func() {
		producers := make([]TopicProducer, 0, t.listings.Len())
		t.listings.Scan(func(id string, l *listing) bool {
			producers = append(producers, TopicProducer{
				ID:           id,
				Info:         l.info,
				Active:       l.active(),
				TombstonedAt: t.tombstonedAt(id),
			})
			return true
		})
		t.answer.producers = producers
	})
	return t.answer.producers
}

// tombstonedAt returns the time of a producer's tombstone; zero: none.
func (t *Topic) tombstonedAt(producer string) time.Time {
	if at, set := t.tombstones.Get(producer); set {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// Registrations yields who has registered the topic (under the empty channel
// name), then who has registered each channel, by name. Channels that nobody
// has registered are left out.
func (t *Topic) Registrations() iter.Seq2[string, []TopicProducer] {
	return func(yield func(string, []TopicProducer) bool) {
		all := t.Producers()
		if len(all) > 0 && !yield("", all) {
			return
		}
		byChannel := make(map[string][]TopicProducer)
		for _, p := range all {
			l, _ := t.listings.Get(p.ID)
			var channels []string
			for _, h := range l.holdings {
				channels = mergeSorted(channels, h.channels)
			}
			for _, name := range channels {
				byChannel[name] = append(byChannel[name], p)
			}
		}
		t.channels.Scan(func(name string, c channel) bool {
			return c.holders == 0 || yield(name, byChannel[name])
		})
	}
}

// Memo is a slot for a reader's own rendering of the topic. The registry never
// looks into it. It is empty again after each change of what Channels or
// Producers answer, and of nothing else, so only they may go into it.
func (t *Topic) Memo() *atomic.Pointer[any] { return &t.answer.memo }

// A Producer is an nsqd that has at least one session, at one index.
type Producer struct {
	ID     string          // its ProducerID
	Info   *fsmpb.Producer // as its newest session described it
	Active bool            // any of its sessions is active

	producer *producer
	view     *View
}

// Producers yields all producers, sorted by ID.
func (v *View) Producers() iter.Seq[*Producer] {
	return func(yield func(*Producer) bool) {
		v.producers.Scan(func(id string, p *producer) bool {
			return yield(&Producer{ID: id, Info: p.info, Active: p.active > 0, producer: p, view: v})
		})
	}
}

// Sessions returns the producer's sessions, the one opened first first.
func (p *Producer) Sessions() []SessionID {
	ids := make([]SessionID, len(p.producer.sessions))
	for i, id := range p.producer.sessions {
		ids[i] = *id
	}
	return ids
}

// Topics yields the topics that the producer has registered, sorted, each with
// the time of its tombstone there (zero: none).
func (p *Producer) Topics() iter.Seq2[string, time.Time] {
	return func(yield func(string, time.Time) bool) {
		for _, name := range p.view.topicsOf(p.producer) {
			var at time.Time
			if p.producer.tombstones > 0 {
				at = p.view.Topic(name).tombstonedAt(p.ID)
			}
			if !yield(name, at) {
				return
			}
		}
	}
}

// A Tombstone hides a producer from the lookups of a topic for a while.
type Tombstone struct {
	Topic    string
	Producer string // its ProducerID
	Time     time.Time
}

// Tombstones yields all tombstones, sorted by topic, then producer.
func (v *View) Tombstones() iter.Seq[Tombstone] {
	return func(yield func(Tombstone) bool) {
		v.tombstoned.Scan(func(name string) bool {
			more := true
			v.Topic(name).tombstones.Scan(func(producer string, at int64) bool {
				more = yield(Tombstone{name, producer, time.Unix(0, at)})
				return more
			})
			return more
		})
	}
}

// A Session is one nsqd's connection to one node, at one index.
type Session struct {
	ID       SessionID
	Producer string          // its ProducerID
	Info     *fsmpb.Producer // as it described itself over this connection
	Inactive bool            // it was silent for longer than the time-out
	Replayed bool            // it has registered all it had to after it was opened
	Orphaned bool            // nobody is known to hold its connection
	Topics   int             // how many it has registered
}

// Session returns the session of that id, or nil if there is none.
func (v *View) Session(id SessionID) *Session {
	l := v.life(id.Node, id.Epoch)
	if l == nil {
		return nil
	}
	s, ok := l.sessions.Get(id.Serial)
	if !ok {
		return nil
	}
	return l.view(s)
}

// Sessions yields the sessions of one life of a node, by serial.
func (v *View) Sessions(node string, epoch uint64) iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		if l := v.life(node, epoch); l != nil {
			l.sessions.Scan(func(_ uint64, s *session) bool { return yield(l.view(s)) })
		}
	}
}

func (l *life) view(s *session) *Session {
	return &Session{
		ID:       *s.id,
		Producer: s.producer,
		Info:     s.info,
		Inactive: s.inactive,
		Replayed: s.replayed,
		Orphaned: l.orphaned,
		Topics:   s.topics.Len(),
	}
}

// A Life is one process of a node, as the registry knows it.
type Life struct {
	Node     string
	Epoch    uint64
	Orphaned bool
	// OrphanedAt is the index of the entry that orphaned it, which tells one orphaning
	// from another; 0 if it is not orphaned, or was by an entry older than a snapshot
	// that did not note it.
	OrphanedAt uint64
	Sessions   int    // how many it has
	Sequence   uint64 // of its writer's last batch
}

// Lives returns the newest life of each node that has ever written, and the
// earlier ones that still have sessions, sorted by node, then epoch.
func (v *View) Lives() []Life {
	var lives []Life
	v.nodes.Scan(func(_ string, n *node) bool {
		lives = slices.Grow(lives, len(n.lives))
		for _, l := range n.lives {
			lives = append(lives, Life{l.node, l.epoch, l.orphaned, l.orphanedAt, l.sessions.Len(), l.sequence})
		}
		return true
	})
	return lives
}
