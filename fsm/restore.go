package fsm

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/tidwall/btree"

	"nsqraft/fsm/fsmpb"
)

// Restore replaces the registry's state by that of a snapshot, read as far as
// its end and verified before. After an error nothing has changed.
func (r *Registry) Restore(rd io.Reader) error {
	sr, header, err := newSnapshotReader(rd)
	if err != nil {
		return err
	}
	return r.restore(sr, header)
}

func (r *Registry) restore(sr *snapshotReader, header *fsmpb.SnapshotHeader) error {
	s, err := readState(sr, header)
	if err != nil {
		return err
	}
	r.state = *s
	r.publish()
	return nil
}

// A restorer builds a state from the records of a snapshot. It takes nothing
// for granted: keys ascend, references resolve, and each rule that the registry
// keeps is checked.
type restorer struct {
	state
	kind     int               // of the last record, as its place among the kinds
	sessions []restoredSession // by place in the snapshot
	opened   map[*producer][]restoredSession
	lastLife *life
	lastName string // of the last topic
	lastPair string // pairKey of the last deletion
}

type restoredSession struct {
	*session
	of    *producer
	place uint32 // among the producer's sessions
}

// readState reads the records after the header.
func readState(sr *snapshotReader, header *fsmpb.SnapshotHeader) (*state, error) {
	b := &restorer{state: emptyState(), opened: make(map[*producer][]restoredSession)}
	b.index, b.term = header.GetIndex(), header.GetTerm()
	b.topicsChanged, b.nodesChanged = b.index, b.index
	for {
		before := sr.position
		rec, err := sr.next()
		if err != nil {
			return nil, before.failed(err)
		}
		if err := b.add(rec, before.records); err != nil {
			return nil, before.failed(fmt.Errorf("%w: %w", ErrCorruptSnapshot, err))
		}
		if rec.GetTrailer() != nil {
			break
		}
	}
	if err := sr.end(); err != nil {
		return nil, sr.failed(err)
	}
	return &b.state, nil
}

// The kinds of records, in their order.
const (
	lifeKind = iota
	sessionKind
	topicKind
	deletionKind
	trailerKind
)

// add takes in one record; count others came before it.
func (b *restorer) add(rec *fsmpb.SnapshotRecord, count uint64) error {
	switch k := rec.GetKind().(type) {
	case *fsmpb.SnapshotRecord_Node:
		if err := b.enter(lifeKind); err != nil {
			return err
		}
		return b.addLife(k.Node)
	case *fsmpb.SnapshotRecord_Session:
		if err := b.enter(sessionKind); err != nil {
			return err
		}
		return b.addSession(k.Session)
	case *fsmpb.SnapshotRecord_Topic:
		if err := b.enter(topicKind); err != nil {
			return err
		}
		if err := b.addTopic(k.Topic); err != nil {
			return fmt.Errorf("topic %q: %w", k.Topic.GetName(), err)
		}
		return nil
	case *fsmpb.SnapshotRecord_Deletion:
		if err := b.enter(deletionKind); err != nil {
			return err
		}
		return b.addDeletion(k.Deletion)
	case *fsmpb.SnapshotRecord_Trailer:
		if err := b.enter(trailerKind); err != nil {
			return err
		}
		return b.finish(k.Trailer, count)
	}
	return fmt.Errorf("a record that cannot be here: %T", rec.GetKind())
}

// enter begins, or goes on with, the records of a kind.
func (b *restorer) enter(kind int) error {
	if kind < b.kind {
		return fmt.Errorf("a record of kind %d after one of kind %d", kind, b.kind)
	}
	if b.kind <= sessionKind && kind > sessionKind {
		if err := b.finishSessions(); err != nil {
			return err
		}
	}
	b.kind = kind
	return nil
}

func (b *restorer) addLife(rec *fsmpb.SnapshotNode) error {
	id := rec.GetId()
	if id == "" {
		return fmt.Errorf("a node without an id")
	}
	if last := b.lastLife; last != nil && (last.node > id || last.node == id && last.epoch >= rec.GetEpoch()) {
		return fmt.Errorf("epoch %d of node %q comes after epoch %d of %q", rec.GetEpoch(), id, last.epoch, last.node)
	}
	l := &life{
		node:       id,
		epoch:      rec.GetEpoch(),
		orphaned:   rec.GetOrphaned(),
		orphanedAt: rec.GetOrphanedAt(),
		sessions:   new(btree.Map[uint64, *session]),
		sequence:   rec.GetSequence(),
		results:    make([]Result, len(rec.GetResults())),
		applied:    rec.GetIndex(),
	}
	for i, code := range rec.GetResults() {
		l.results[i] = Result(code)
		if l.results[i] < ResultOK || l.results[i] > ResultStale {
			return fmt.Errorf("node %q has the result code %d", id, code)
		}
	}
	if l.applied > b.index {
		return fmt.Errorf("node %q wrote at index %d, after %d", id, l.applied, b.index)
	}
	if l.orphanedAt > b.index || l.orphanedAt > 0 && !l.orphaned {
		return fmt.Errorf("node %q was orphaned at index %d of %d (orphaned: %v)", id, l.orphanedAt, b.index, l.orphaned)
	}
	n, known := b.nodes.Get(id)
	if !known {
		n = &node{id: id}
		b.nodes.Load(id, n)
	}
	l.node = n.id
	n.lives = append(n.lives, l)
	b.lastLife = l
	b.facts += l.fact()
	return nil
}

func (b *restorer) addSession(rec *fsmpb.SnapshotSession) error {
	l := b.life(rec.GetNode(), rec.GetEpoch())
	if l == nil {
		return fmt.Errorf("a session of epoch %d of node %q, which is not there", rec.GetEpoch(), rec.GetNode())
	}
	id := &SessionID{l.node, l.epoch, rec.GetSession()}
	if n := len(b.sessions); n > 0 && b.sessions[n-1].id.compare(*id) >= 0 {
		return fmt.Errorf("session %v comes after %v", id, b.sessions[n-1].id)
	}
	if rec.GetProducer() == nil {
		return fmt.Errorf("session %v has no producer", id)
	}
	name := ProducerID(rec.GetProducer())
	p, known := b.producers.Get(name)
	if !known {
		p = &producer{id: name}
		b.producers.Set(name, p)
		b.counts.Producers++
	}
	s := &session{
		id:       id,
		producer: p.id,
		info:     rec.GetProducer(),
		inactive: rec.GetInactive(),
		replayed: rec.GetReplayed(),
		topics:   new(btree.Set[string]),
	}
	l.sessions.Load(id.Serial, s)
	if !s.inactive {
		p.active++
	}
	placed := restoredSession{s, p, rec.GetPlace()}
	b.sessions = append(b.sessions, placed)
	b.opened[p] = append(b.opened[p], placed)
	b.counts.Sessions++
	b.facts += s.fact()
	return nil
}

// finishSessions checks what can only be said when all sessions are there.
func (b *restorer) finishSessions() error {
	for p, sessions := range b.opened {
		for i := range sessions[1:] {
			// They came sorted by node, then epoch.
			if a, b := sessions[i].id, sessions[i+1].id; a.Node == b.Node && a.Epoch == b.Epoch {
				return fmt.Errorf("sessions %v and %v of one life have one producer", a, b)
			}
		}
		slices.SortFunc(sessions, func(a, b restoredSession) int { return cmp.Compare(a.place, b.place) })
		for i, s := range sessions {
			if s.place != uint32(i) {
				return fmt.Errorf("session %v has place %d, not %d, of its producer's", s.id, s.place, i)
			}
			p.sessions = append(p.sessions, s.id)
			p.info = s.info
		}
		b.facts += p.fact()
	}
	var err error
	b.nodes.Scan(func(_ string, n *node) bool {
		for _, l := range n.lives {
			if l != n.newest() && (!l.orphaned || l.sessions.Len() == 0) {
				err = fmt.Errorf("epoch %d of node %q is over but still there", l.epoch, l.node)
			}
		}
		return err == nil
	})
	return err
}

func (b *restorer) addTopic(rec *fsmpb.SnapshotTopic) error {
	if b.topics.Len() > 0 && rec.GetName() <= b.lastName {
		return fmt.Errorf("it comes after %q", b.lastName)
	}
	if !ascending(rec.GetChannels()) || len(rec.Channels) > 0 && rec.Channels[0] == "" {
		return fmt.Errorf("its channels are not in order")
	}
	b.lastName = rec.GetName()
	t := newTopic(rec.GetName(), b.index)
	if err := b.addHoldings(t, rec); err != nil {
		return err
	}
	for i, tomb := range rec.GetTombstones() {
		producer := tomb.GetProducer()
		if _, listed := t.listings.Get(producer); !listed {
			return fmt.Errorf("a tombstone of %q, which has not registered it", producer)
		}
		if i > 0 && producer <= rec.Tombstones[i-1].GetProducer() {
			return fmt.Errorf("its tombstones are not in order")
		}
		p, _ := b.producers.Get(producer)
		p.tombstones++
		t.tombstones.Load(p.id, tomb.GetTime())
		b.facts += tombstoneFact(t.name, p.id, tomb.GetTime())
	}
	if t.tombstones.Len() > 0 {
		b.tombstoned.Load(t.name)
	}
	b.topics.Load(t.name, t)
	b.facts += topicFact(t.name)
	b.counts.Topics++
	b.counts.Channels += t.channels.Len()
	b.counts.Tombstones += t.tombstones.Len()
	return nil
}

// addHoldings fills the channels and listings of t.
func (b *restorer) addHoldings(t *Topic, rec *fsmpb.SnapshotTopic) error {
	holders := make([]int, len(rec.GetChannels()))
	for i, held := range rec.GetHoldings() {
		place := held.GetSession()
		if i > 0 && place <= rec.Holdings[i-1].GetSession() {
			return fmt.Errorf("its registrations are not in order")
		}
		if int64(place) >= int64(len(b.sessions)) {
			return fmt.Errorf("a registration by session %d of %d", place, len(b.sessions))
		}
		s := b.sessions[place]
		h := holding{session: s.id, inactive: s.inactive}
		if n := len(held.GetChannels()); n > 0 {
			h.channels = make([]string, n)
		}
		for j, at := range held.GetChannels() {
			if int64(at) >= int64(len(holders)) || j > 0 && at <= held.Channels[j-1] {
				return fmt.Errorf("session %v has registered channel %d of %d out of order", s.id, at, len(holders))
			}
			h.channels[j] = rec.Channels[at]
			holders[at]++
			b.facts += registrationFact(t.name, h.channels[j], s.id)
		}
		l, listed := t.listings.Get(s.producer)
		if !listed {
			l = &listing{info: s.of.info}
			t.listings.Set(s.producer, l)
		}
		l.holdings = append(l.holdings, h)
		s.topics.Load(t.name)
		b.facts += registrationFact(t.name, "", s.id)
		b.counts.Registrations += 1 + len(h.channels)
	}
	for i, name := range rec.GetChannels() {
		t.channels.Load(name, channel{name, holders[i]})
		b.facts += channelFact(t.name, name)
	}
	return nil
}

func (b *restorer) addDeletion(rec *fsmpb.SnapshotDeletion) error {
	pair := pairKey(rec.GetTopic(), rec.GetChannel())
	if pair <= b.lastPair {
		return fmt.Errorf("the deletion of %q of topic %q is out of order", rec.GetChannel(), rec.GetTopic())
	}
	b.lastPair = pair
	if t, known := b.topics.Get(rec.GetTopic()); known {
		if _, known := t.channels.Get(rec.GetChannel()); known {
			return fmt.Errorf("channel %q of topic %q is there and deleted", rec.GetChannel(), rec.GetTopic())
		}
	}
	if len(rec.GetNodes()) == 0 || !ascending(rec.GetNodes()) {
		return fmt.Errorf("the nodes that deleted %q of topic %q are not in order", rec.GetChannel(), rec.GetTopic())
	}
	d := &deletion{rec.GetTopic(), rec.GetChannel(), rec.GetTime(), rec.GetNodes()}
	b.deletions.byName.Load(pair, d)
	b.deletions.byTime.Insert(timeKey(d.time, pair))
	b.facts += d.fact()
	return nil
}

// finish compares what was read with what was written.
func (b *restorer) finish(rec *fsmpb.SnapshotTrailer, count uint64) error {
	if rec.GetRecords() != count {
		return fmt.Errorf("%d records, of %d that were written", count, rec.GetRecords())
	}
	if hash := mix(b.facts); rec.GetHash() != hash {
		return fmt.Errorf("the registry's hash is %016x, of what was written %016x", hash, rec.GetHash())
	}
	return nil
}

// ascending says whether names are sorted without duplicates.
func ascending(names []string) bool {
	for i := range names[min(1, len(names)):] {
		if names[i] >= names[i+1] {
			return false
		}
	}
	return true
}
