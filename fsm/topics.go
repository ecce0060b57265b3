package fsm

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/btree"

	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/defect"
)

// ephemeralSuffix marks, as in NSQ, the names that go with their last registration.
const ephemeralSuffix = "#ephemeral"

func ephemeral(name string) bool { return strings.HasSuffix(name, ephemeralSuffix) }

// A channel is a known channel of a topic.
type channel struct {
	name    string // the one allocation its holdings share
	holders int    // holdings that have it
}

// A listing is what the sessions of one producer registered of a topic. It has
// at least one holding.
type listing struct {
	owner    uint64
	info     *fsmpb.Producer // the producer's
	holdings []holding       // sorted by session
}

// A holding is what one session registered of a topic: the topic, and these
// channels of it.
type holding struct {
	session  *SessionID
	inactive bool     // the session's
	channels []string // sorted; never written to, only replaced
}

// find returns the place of the session's holding, or -1.
func (l *listing) find(id *SessionID) int {
	return slices.IndexFunc(l.holdings, func(h holding) bool { return *h.session == *id })
}

// active says whether any of the sessions is active.
func (l *listing) active() bool {
	return slices.ContainsFunc(l.holdings, func(h holding) bool { return !h.inactive })
}

// mutableTopic returns the batch's own copy of a topic that exists.
func (r *Registry) mutableTopic(name string) *Topic {
	t, _ := r.topics.Get(name)
	if t.owner == r.index {
		return t
	}
	c := *t
	c.owner = r.index
	c.channels = t.channels.Copy()
	c.listings = t.listings.Copy()
	c.tombstones = t.tombstones.Copy()
	r.topics.Set(c.name, &c)
	return &c
}

// mutableListing returns the batch's own copy of a producer's listing in the
// batch's own t, where it exists.
func (r *Registry) mutableListing(t *Topic, producer string) *listing {
	l, _ := t.listings.Get(producer)
	if l.owner == r.index {
		return l
	}
	l = &listing{owner: r.index, info: l.info, holdings: slices.Clone(l.holdings)}
	t.listings.Set(producer, l)
	return l
}

// answerChanged says that the batch's own t answers otherwise than before.
func (r *Registry) answerChanged(t *Topic) {
	if t.changed != r.index {
		t.changed = r.index
		t.answer = new(answer)
	}
}

// listingsDegree makes the nodes of a topic's tree of listings smaller than
// usual. When an nsqd connects, each batch adds one listing to each of many
// topics, and what it costs is to copy the nodes on the way to it.
const listingsDegree = 8

// newTopic returns an empty topic that nobody owns.
func newTopic(name string, changed uint64) *Topic {
	return &Topic{
		name:       name,
		changed:    changed,
		channels:   new(btree.Map[string, channel]),
		listings:   btree.NewMap[string, *listing](listingsDegree),
		tombstones: new(btree.Map[string, int64]),
		answer:     new(answer),
	}
}

func (r *Registry) createTopic(name string) Result {
	if _, known := r.topics.Get(name); known {
		return ResultOK
	}
	t := newTopic(name, r.index)
	t.owner = r.index
	r.topics.Set(name, t)
	r.facts += topicFact(name)
	r.counts.Topics++
	r.topicSetChanged()
	return ResultOK
}

func (r *Registry) topicSetChanged() {
	r.names = new(nameList)
	r.topicsChanged = r.index
}

// createChannel makes a channel and its topic known. Without a name it is createTopic.
func (r *Registry) createChannel(topic, name string) Result {
	r.createTopic(topic)
	t, _ := r.topics.Get(topic)
	if _, known := t.channels.Get(name); known || name == "" {
		return ResultOK
	}
	t = r.mutableTopic(topic)
	t.channels.Set(name, channel{name: name})
	r.facts += channelFact(topic, name)
	r.counts.Channels++
	r.answerChanged(t)
	r.forgetDeletion(topic, name)
	return ResultOK
}

// deleteTopic removes a topic and all that was registered of it. The sessions
// stay and may register it again.
func (r *Registry) deleteTopic(name string) Result {
	if _, known := r.topics.Get(name); !known {
		return ResultOK
	}
	t := r.mutableTopic(name)
	t.listings.Scan(func(producer string, l *listing) bool {
		for _, h := range l.holdings {
			r.retractHolding(t, h)
			r.mutableSession(h.session).topics.Delete(name)
		}
		r.dropTombstone(t, producer)
		r.nodesChanged = r.index
		return true
	})
	r.dropTopic(t)
	return ResultOK
}

// dropTopic removes a topic whose registrations are gone.
func (r *Registry) dropTopic(t *Topic) {
	t.channels.Scan(func(name string, _ channel) bool {
		r.facts -= channelFact(t.name, name)
		r.counts.Channels--
		return true
	})
	r.topics.Delete(t.name)
	r.facts -= topicFact(t.name)
	r.counts.Topics--
	r.topicSetChanged()
}

// dropChannel removes a channel that no holding has from the batch's own t.
func (r *Registry) dropChannel(t *Topic, name string) {
	t.channels.Delete(name)
	r.facts -= channelFact(t.name, name)
	r.counts.Channels--
	r.answerChanged(t)
}

// register makes the topic and the channel known, and known to be held by the session.
func (r *Registry) register(b *fsmpb.Batch, m *fsmpb.Register) Result {
	if defect.Seeded && defect.On(defect.LoseRegistrations) && r.index%20 == 0 {
		return ResultOK
	}
	s := r.batchSession(b, m.GetSession())
	if s == nil {
		return ResultNoSession
	}
	r.createChannel(m.GetTopic(), m.GetChannel())
	if !s.topics.Contains(m.GetTopic()) {
		r.hold(m.GetTopic(), s.id)
	}
	if m.GetChannel() != "" {
		r.holdChannel(m.GetTopic(), m.GetChannel(), s)
	}
	return ResultOK
}

// hold adds the holding of a session that has none of the topic.
func (r *Registry) hold(topic string, id *SessionID) {
	s := r.mutableSession(id)
	t := r.mutableTopic(topic)
	s.topics.Insert(t.name)

	h := holding{session: s.id, inactive: s.inactive}
	if _, listed := t.listings.Get(s.producer); listed {
		l := r.mutableListing(t, s.producer)
		before := l.active()
		i, _ := slices.BinarySearchFunc(l.holdings, *id, func(h holding, id SessionID) int {
			return h.session.compare(id)
		})
		l.holdings = slices.Insert(l.holdings, i, h)
		if l.active() != before {
			r.answerChanged(t)
		}
	} else {
		p, _ := r.producers.Get(s.producer)
		t.listings.Set(p.id, &listing{owner: r.index, info: p.info, holdings: []holding{h}})
		r.answerChanged(t)
		r.nodesChanged = r.index
	}
	r.facts += registrationFact(t.name, "", s.id)
	r.counts.Registrations++
}

// holdChannel adds a known channel to a holding that exists.
func (r *Registry) holdChannel(topic, name string, s *session) {
	t, _ := r.topics.Get(topic)
	l, _ := t.listings.Get(s.producer)
	i := l.find(s.id)
	if containsSorted(l.holdings[i].channels, name) {
		return
	}
	t = r.mutableTopic(topic)
	h := &r.mutableListing(t, s.producer).holdings[i]
	c, _ := t.channels.Get(name)
	c.holders++
	t.channels.Set(c.name, c)
	h.channels = insertSorted(h.channels, c.name)
	r.facts += registrationFact(topic, name, s.id)
	r.counts.Registrations++
}

// unregister removes a channel, or all of a topic, from the session's holding.
// Orphaned sessions of the same producer lose it too: they would have heard
// this, had they not been orphaned.
func (r *Registry) unregister(b *fsmpb.Batch, m *fsmpb.Unregister) Result {
	s := r.batchSession(b, m.GetSession())
	if s == nil {
		return ResultNoSession
	}
	t, known := r.topics.Get(m.GetTopic())
	if !known {
		return ResultOK
	}
	l, listed := t.listings.Get(s.producer)
	if !listed {
		return ResultOK
	}
	for _, h := range slices.Clone(l.holdings) {
		switch {
		case h.session != s.id && !r.orphaned(h.session):
		case m.GetChannel() != "":
			r.dropChannelOf(t.name, m.GetChannel(), s.producer, h)
		default:
			r.mutableSession(h.session).topics.Delete(t.name)
			r.dropHolding(t.name, s.producer, h.session)
		}
	}
	return ResultOK
}

// dropChannelOf removes a channel from the holding h of a producer, if it is in it.
func (r *Registry) dropChannelOf(topic, name, producer string, h holding) {
	if !containsSorted(h.channels, name) {
		return
	}
	t := r.mutableTopic(topic)
	l := r.mutableListing(t, producer)
	own := &l.holdings[l.find(h.session)]
	own.channels = removeSorted(own.channels, name)
	r.retractChannel(t, name, h.session)
}

// dropHolding removes a session's holding of a topic, and whatever goes with
// the last one: the producer's tombstone, ephemeral channels, an ephemeral topic.
// The session's own set of topics is the caller's to update.
func (r *Registry) dropHolding(topic, producer string, id *SessionID) {
	t := r.mutableTopic(topic)
	l := r.mutableListing(t, producer)
	before := l.active()
	i := l.find(id)
	h := l.holdings[i]
	l.holdings = slices.Delete(l.holdings, i, i+1)
	r.retractHolding(t, h)

	if len(l.holdings) == 0 {
		t.listings.Delete(producer)
		r.dropTombstone(t, producer)
		r.nodesChanged = r.index
		r.answerChanged(t)
	} else if l.active() != before {
		r.answerChanged(t)
	}
	if t.listings.Len() == 0 && ephemeral(t.name) {
		r.dropTopic(t)
	}
}

// retractHolding takes what h registered of the batch's own t out of the account.
func (r *Registry) retractHolding(t *Topic, h holding) {
	for _, name := range h.channels {
		r.retractChannel(t, name, h.session)
	}
	r.facts -= registrationFact(t.name, "", h.session)
	r.counts.Registrations--
}

// retractChannel takes one holding's registration of a channel of the batch's
// own t out of the account. An ephemeral channel goes with its last.
func (r *Registry) retractChannel(t *Topic, name string, id *SessionID) {
	r.facts -= registrationFact(t.name, name, id)
	r.counts.Registrations--
	c, _ := t.channels.Get(name)
	c.holders--
	t.channels.Set(c.name, c)
	if c.holders == 0 && ephemeral(name) {
		r.dropChannel(t, name)
	}
}

// setTombstones hides the producers of a topic at one node from the batch's time on.
func (r *Registry) setTombstones(b *fsmpb.Batch, m *fsmpb.Tombstone) Result {
	t, known := r.topics.Get(m.GetTopic())
	if !known {
		return ResultOK
	}
	var hidden []string
	t.listings.Scan(func(producer string, l *listing) bool {
		if nodeAddress(l.info) == m.GetNode() {
			hidden = append(hidden, producer)
		}
		return true
	})
	for _, producer := range hidden {
		r.setTombstone(t.name, producer, b.GetTime())
	}
	return ResultOK
}

// nodeAddress names a producer's node as NSQ does in a tombstone.
func nodeAddress(p *fsmpb.Producer) string {
	return p.GetBroadcastAddress() + ":" + strconv.FormatUint(uint64(p.GetHttpPort()), 10)
}

func (r *Registry) setTombstone(topic, producer string, time int64) {
	t, _ := r.topics.Get(topic)
	if before, set := t.tombstones.Get(producer); set && before == time {
		return
	}
	t = r.mutableTopic(topic)
	r.dropTombstone(t, producer)
	p := r.mutableProducer(producer)
	p.tombstones++
	t.tombstones.Set(p.id, time)
	r.tombstoned.Insert(t.name)
	r.facts += tombstoneFact(topic, producer, time)
	r.counts.Tombstones++
	r.nodesChanged = r.index
	r.answerChanged(t)
}

// clearTombstone drops one tombstone, unless it has been set again since.
func (r *Registry) clearTombstone(m *fsmpb.ClearTombstone) Result {
	t, known := r.topics.Get(m.GetTopic())
	if !known {
		return ResultOK
	}
	if time, set := t.tombstones.Get(m.GetProducer()); set && time == m.GetTime() {
		r.dropTombstone(r.mutableTopic(t.name), m.GetProducer())
	}
	return ResultOK
}

// dropTombstone removes the tombstone of a producer, if it has one, from the
// batch's own t.
func (r *Registry) dropTombstone(t *Topic, producer string) {
	time, set := t.tombstones.Delete(producer)
	if !set {
		return
	}
	r.mutableProducer(producer).tombstones--
	if t.tombstones.Len() == 0 {
		r.tombstoned.Delete(t.name)
	}
	r.facts -= tombstoneFact(t.name, producer, time)
	r.counts.Tombstones--
	r.nodesChanged = r.index
	r.answerChanged(t)
}
