package fsm

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"nsqraft/fsm/fsmpb"
)

// A twin is the registry written for the reader: flat lists of facts and linear
// scans. What it does and what a Registry does must not differ.
type twin struct {
	index, term uint64
	lives       []twinLife
	sessions    []twinSession // in the order they were opened
	topics      []string
	channels    [][2]string // topic, channel
	regs        []twinReg
	tombstones  []Tombstone
	deletions   []deletion

	// The index of the last mutation that changed an answer.
	topicsChanged, nodesChanged uint64
	changed                     map[string]uint64
}

type twinLife struct {
	node     string
	epoch    uint64
	orphaned bool
	since    uint64 // index of the orphaning; 0: is not
	sequence uint64
	results  []Result
	applied  uint64
}

// orphan orphans l at index, unless it is.
func (l *twinLife) orphan(index uint64) {
	if !l.orphaned {
		l.orphaned, l.since = true, index
	}
}

type twinSession struct {
	id       SessionID
	info     *fsmpb.Producer
	inactive bool
	replayed bool
}

// A twinReg is a registration; an empty channel is that of the topic.
type twinReg struct {
	id             SessionID
	topic, channel string
}

func (w *twin) apply(index, term uint64, b *fsmpb.Batch) Outcome {
	w.index, w.term = index, term
	if b.Writer == "" {
		return Outcome{Status: StatusApplied, Index: index, Results: w.mutate(b)}
	}
	l := w.newest(b.Writer)
	known := func(s Status) Outcome {
		if l == nil {
			return Outcome{Status: s}
		}
		return Outcome{Status: s, Epoch: l.epoch, Sequence: l.sequence}
	}
	switch {
	case l != nil && b.Epoch < l.epoch:
		return known(StatusFenced)
	case l != nil && b.Epoch == l.epoch && b.Sequence == l.sequence:
		return Outcome{StatusApplied, l.applied, l.results, l.epoch, l.sequence}
	case l != nil && b.Epoch == l.epoch && b.Sequence != l.sequence+1:
		return known(StatusGap)
	case (l == nil || b.Epoch > l.epoch) && b.Sequence != 1:
		return known(StatusGap)
	}
	if l == nil || b.Epoch > l.epoch {
		for i := range w.lives {
			if w.lives[i].node == b.Writer {
				w.lives[i].orphan(index)
			}
		}
		w.lives = append(w.lives, twinLife{node: b.Writer, epoch: b.Epoch})
		w.dropSpentLives()
	}
	results := w.mutate(b)
	l = w.newest(b.Writer)
	l.sequence, l.results, l.applied = b.Sequence, results, index
	return Outcome{StatusApplied, index, results, b.Epoch, b.Sequence}
}

// mutate notes after each mutation which answers it changed.
func (w *twin) mutate(b *fsmpb.Batch) []Result {
	results := make([]Result, len(b.Mutations))
	for i, m := range b.Mutations {
		topics, nodes, names := w.topicAnswers(), w.producerLines(false), slices.Clone(w.topics)
		results[i] = w.mutateOne(b, m)
		for name, answer := range w.topicAnswers() {
			if before, known := topics[name]; !known || before != answer {
				w.changed[name] = w.index
			}
		}
		if !slices.Equal(nodes, w.producerLines(false)) {
			w.nodesChanged = w.index
		}
		if !slices.Equal(names, w.topics) {
			w.topicsChanged = w.index
		}
	}
	return results
}

func (w *twin) topicAnswers() map[string]string {
	answers := make(map[string]string)
	for _, t := range w.topics {
		answers[t] = topicLine(t, w.channelsOf(t), w.producersOf(t, ""))
	}
	return answers
}

func (w *twin) mutateOne(b *fsmpb.Batch, m *fsmpb.Mutation) Result {
	at := func(serial uint64) (SessionID, bool) {
		id := SessionID{b.Writer, b.Epoch, serial}
		return id, w.session(id) != nil
	}
	switch k := m.Kind.(type) {
	case *fsmpb.Mutation_OpenSession:
		id, _ := at(k.OpenSession.Session)
		info := k.OpenSession.Producer
		for _, s := range slices.Clone(w.sessions) {
			sameProducer := ProducerID(s.info) == ProducerID(info) && s.id.Node == id.Node && s.id.Epoch == id.Epoch
			if s.id == id || sameProducer {
				w.end(s.id)
			}
		}
		w.sessions = append(w.sessions, twinSession{id: id, info: info})
	case *fsmpb.Mutation_Register:
		id, ok := at(k.Register.Session)
		if !ok {
			return ResultNoSession
		}
		w.know(k.Register.Topic, k.Register.Channel)
		w.hold(twinReg{id, k.Register.Topic, ""})
		w.hold(twinReg{id, k.Register.Topic, k.Register.Channel})
	case *fsmpb.Mutation_Unregister:
		id, ok := at(k.Unregister.Session)
		if !ok {
			return ResultNoSession
		}
		producer := w.producer(id)
		w.removeRegs(func(r twinReg) bool {
			return r.topic == k.Unregister.Topic &&
				(k.Unregister.Channel == "" || r.channel == k.Unregister.Channel) &&
				(r.id == id || w.producer(r.id) == producer && w.orphaned(r.id))
		})
	case *fsmpb.Mutation_EndSession:
		id, ok := at(k.EndSession.Session)
		if !ok {
			return ResultNoSession
		}
		w.end(id)
	case *fsmpb.Mutation_FinishReplay:
		id, ok := at(k.FinishReplay.Session)
		if !ok {
			return ResultNoSession
		}
		w.session(id).replayed = true
		producer := w.producer(id)
		for _, s := range slices.Clone(w.sessions) {
			if s.id != id && ProducerID(s.info) == producer && w.orphaned(s.id) {
				w.end(s.id)
			}
		}
	case *fsmpb.Mutation_SetActive:
		id, ok := at(k.SetActive.Session)
		if !ok {
			return ResultNoSession
		}
		w.session(id).inactive = !k.SetActive.Active
	case *fsmpb.Mutation_CreateTopic:
		w.know(k.CreateTopic.Topic, "")
	case *fsmpb.Mutation_CreateChannel:
		w.know(k.CreateChannel.Topic, k.CreateChannel.Channel)
	case *fsmpb.Mutation_DeleteTopic:
		topic := k.DeleteTopic.Topic
		w.removeRegs(func(r twinReg) bool { return r.topic == topic })
		w.forgetTopic(topic)
	case *fsmpb.Mutation_DeleteChannel:
		return w.deleteChannel(b, k.DeleteChannel.Topic, k.DeleteChannel.Channel)
	case *fsmpb.Mutation_Tombstone:
		for _, p := range w.producersOf(k.Tombstone.Topic, "") {
			if nodeAddress(p.Info) == k.Tombstone.Node {
				w.clearTombstone(k.Tombstone.Topic, p.ID)
				w.tombstones = append(w.tombstones, Tombstone{k.Tombstone.Topic, p.ID, time.Unix(0, b.Time)})
			}
		}
	case *fsmpb.Mutation_ClearTombstone:
		c := k.ClearTombstone
		if w.tombstonedAt(c.Topic, c.Producer).Equal(time.Unix(0, c.Time)) {
			w.clearTombstone(c.Topic, c.Producer)
		}
	case *fsmpb.Mutation_OrphanNode:
		o := k.OrphanNode
		ownWord := o.Term == 0 && o.Node == b.Writer && o.Epoch == b.Epoch
		l := w.life(o.Node, o.Epoch)
		if o.Term != w.term && !ownWord || l == nil {
			return ResultStale
		}
		l.orphan(w.index)
	case *fsmpb.Mutation_ReclaimNode:
		l := w.newest(k.ReclaimNode.Node)
		if k.ReclaimNode.Term != w.term || l == nil || l.epoch != k.ReclaimNode.Epoch {
			return ResultStale
		}
		l.orphaned, l.since = false, 0
	case *fsmpb.Mutation_EndNode:
		e := k.EndNode
		l := w.life(e.Node, e.Epoch)
		if e.Term != w.term || l == nil || !l.orphaned {
			return ResultStale
		}
		var serials []uint64
		for _, s := range w.sessions {
			if s.id.Node == e.Node && s.id.Epoch == e.Epoch {
				serials = append(serials, s.id.Serial)
			}
		}
		slices.Sort(serials)
		for i, serial := range serials {
			if e.Limit == 0 || i < int(e.Limit) {
				w.end(SessionID{e.Node, e.Epoch, serial})
			}
		}
	}
	return ResultOK
}

func (w *twin) deleteChannel(b *fsmpb.Batch, topic, channel string) Result {
	w.deletions = slices.DeleteFunc(w.deletions, func(d deletion) bool {
		apart := time.Duration(b.Time - d.time).Abs()
		return apart > 5*time.Second
	})
	if i := slices.Index(w.channels, [2]string{topic, channel}); i >= 0 {
		w.removeRegs(func(r twinReg) bool { return r.topic == topic && r.channel == channel })
		w.forgetChannel(topic, channel)
		w.deletions = append(w.deletions, deletion{topic, channel, b.Time, []string{b.Writer}})
		return ResultOK
	}
	for i, d := range w.deletions {
		if d.topic == topic && d.channel == channel && !slices.Contains(d.nodes, b.Writer) {
			told := append(slices.Clone(d.nodes), b.Writer)
			slices.Sort(told)
			w.deletions[i].nodes = told
			return ResultOK
		}
	}
	return ResultNotFound
}

func (w *twin) life(node string, epoch uint64) *twinLife {
	for i := range w.lives {
		if w.lives[i].node == node && w.lives[i].epoch == epoch {
			return &w.lives[i]
		}
	}
	return nil
}

func (w *twin) newest(node string) *twinLife {
	var newest *twinLife
	for i := range w.lives {
		if l := &w.lives[i]; l.node == node && (newest == nil || l.epoch > newest.epoch) {
			newest = l
		}
	}
	return newest
}

func (w *twin) session(id SessionID) *twinSession {
	for i := range w.sessions {
		if w.sessions[i].id == id {
			return &w.sessions[i]
		}
	}
	return nil
}

func (w *twin) producer(id SessionID) string { return ProducerID(w.session(id).info) }

func (w *twin) orphaned(id SessionID) bool { return w.life(id.Node, id.Epoch).orphaned }

func (w *twin) know(topic, channel string) {
	if !slices.Contains(w.topics, topic) {
		w.topics = append(w.topics, topic)
	}
	pair := [2]string{topic, channel}
	if channel != "" && !slices.Contains(w.channels, pair) {
		w.channels = append(w.channels, pair)
		w.deletions = slices.DeleteFunc(w.deletions, func(d deletion) bool {
			return d.topic == topic && d.channel == channel
		})
	}
}

func (w *twin) hold(r twinReg) {
	if !slices.Contains(w.regs, r) {
		w.regs = append(w.regs, r)
	}
}

// removeRegs removes registrations and what does not outlive its last one.
func (w *twin) removeRegs(gone func(twinReg) bool) {
	before := slices.Clone(w.regs)
	w.regs = slices.DeleteFunc(w.regs, gone)
	for _, r := range before {
		left := func(same func(twinReg) bool) bool { return slices.ContainsFunc(w.regs, same) }
		if !left(func(o twinReg) bool { return o.topic == r.topic && w.producer(o.id) == w.producer(r.id) }) {
			w.clearTombstone(r.topic, w.producer(r.id))
		}
		if strings.HasSuffix(r.channel, "#ephemeral") &&
			!left(func(o twinReg) bool { return o.topic == r.topic && o.channel == r.channel }) {
			w.forgetChannel(r.topic, r.channel)
		}
		if strings.HasSuffix(r.topic, "#ephemeral") && !left(func(o twinReg) bool { return o.topic == r.topic }) {
			w.forgetTopic(r.topic)
		}
	}
}

func (w *twin) forgetTopic(topic string) {
	w.topics = slices.DeleteFunc(w.topics, func(t string) bool { return t == topic })
	w.channels = slices.DeleteFunc(w.channels, func(c [2]string) bool { return c[0] == topic })
}

func (w *twin) forgetChannel(topic, channel string) {
	w.channels = slices.DeleteFunc(w.channels, func(c [2]string) bool { return c == [2]string{topic, channel} })
}

func (w *twin) end(id SessionID) {
	w.removeRegs(func(r twinReg) bool { return r.id == id })
	w.sessions = slices.DeleteFunc(w.sessions, func(s twinSession) bool { return s.id == id })
	w.dropSpentLives()
}

func (w *twin) dropSpentLives() {
	w.lives = slices.DeleteFunc(w.lives, func(l twinLife) bool {
		return l.epoch != w.newest(l.node).epoch && w.sessionsOf(l) == 0
	})
}

func (w *twin) sessionsOf(l twinLife) int {
	n := 0
	for _, s := range w.sessions {
		if s.id.Node == l.node && s.id.Epoch == l.epoch {
			n++
		}
	}
	return n
}

func (w *twin) clearTombstone(topic, producer string) {
	w.tombstones = slices.DeleteFunc(w.tombstones, func(t Tombstone) bool {
		return t.Topic == topic && t.Producer == producer
	})
}

func (w *twin) tombstonedAt(topic, producer string) time.Time {
	for _, t := range w.tombstones {
		if t.Topic == topic && t.Producer == producer {
			return t.Time
		}
	}
	return time.Time{}
}

func (w *twin) channelsOf(topic string) []string {
	var names []string
	for _, c := range w.channels {
		if c[0] == topic {
			names = append(names, c[1])
		}
	}
	slices.Sort(names)
	return names
}

// producersOf returns who has registered the channel; empty: the topic.
func (w *twin) producersOf(topic, channel string) []TopicProducer {
	var found []TopicProducer
	for _, id := range w.producerIDs() {
		p := TopicProducer{ID: id, TombstonedAt: w.tombstonedAt(topic, id)}
		listed := false
		for _, s := range w.sessions {
			if ProducerID(s.info) != id {
				continue
			}
			p.Info = s.info
			if slices.Contains(w.regs, twinReg{s.id, topic, ""}) && !s.inactive {
				p.Active = true
			}
			listed = listed || slices.Contains(w.regs, twinReg{s.id, topic, channel})
		}
		if listed {
			found = append(found, p)
		}
	}
	return found
}

func (w *twin) producerIDs() []string {
	var ids []string
	for _, s := range w.sessions {
		ids = append(ids, ProducerID(s.info))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// producerLines is what /nodes answers of; sessions are not part of that.
func (w *twin) producerLines(withSessions bool) []string {
	var lines []string
	for _, id := range w.producerIDs() {
		var (
			info   *fsmpb.Producer
			active bool
			topics []string
			opened []SessionID
		)
		for _, s := range w.sessions {
			if ProducerID(s.info) == id {
				info = s.info
				active = active || !s.inactive
				if withSessions {
					opened = append(opened, s.id)
				}
			}
		}
		for _, r := range w.regs {
			if r.channel == "" && w.producer(r.id) == id {
				topics = append(topics, r.topic)
			}
		}
		slices.Sort(topics)
		topics = slices.Compact(topics)
		for i, t := range topics {
			topics[i] += tombstoneMark(w.tombstonedAt(t, id))
		}
		lines = append(lines, producerLine(id, info.Version, active, opened, topics))
	}
	return lines
}

func (w *twin) picture() picture {
	var pic picture
	for _, l := range w.lives {
		pic.Lives = append(pic.Lives, Life{l.node, l.epoch, l.orphaned, l.since, w.sessionsOf(l), l.sequence})
	}
	slices.SortFunc(pic.Lives, func(a, b Life) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Epoch, b.Epoch))
	})
	sessions := slices.Clone(w.sessions)
	slices.SortFunc(sessions, func(a, b twinSession) int { return a.id.compare(b.id) })
	for _, s := range sessions {
		view := Session{
			ID: s.id, Producer: ProducerID(s.info), Info: s.info,
			Inactive: s.inactive, Replayed: s.replayed, Orphaned: w.orphaned(s.id),
		}
		var held []string
		for _, r := range w.regs {
			switch {
			case r.id != s.id:
			case r.channel == "":
				held = append(held, r.topic)
				view.Topics++
			default:
				held = append(held, r.topic+"/"+r.channel)
			}
		}
		slices.Sort(held)
		pic.Sessions = append(pic.Sessions, sessionLine(view, held))
	}
	pic.Producers = w.producerLines(true)
	for _, t := range slices.Sorted(slices.Values(w.topics)) {
		pic.Topics = append(pic.Topics, topicLine(t, w.channelsOf(t), w.producersOf(t, "")))
		for _, c := range append([]string{""}, w.channelsOf(t)...) {
			if by := w.producersOf(t, c); len(by) > 0 {
				pic.Topics = append(pic.Topics, registrationLine(t, c, by))
			}
		}
	}
	tombstones := slices.Clone(w.tombstones)
	slices.SortFunc(tombstones, func(a, b Tombstone) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Producer, b.Producer))
	})
	for _, t := range tombstones {
		pic.Tombstones = append(pic.Tombstones, tombstoneLine(t))
	}
	deletions := slices.Clone(w.deletions)
	slices.SortFunc(deletions, func(a, b deletion) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.channel, b.channel))
	})
	for _, d := range deletions {
		pic.Deletions = append(pic.Deletions, deletionLine(&d))
	}
	pic.Counts = Counts{
		Topics: len(w.topics), Channels: len(w.channels), Producers: len(w.producerIDs()),
		Sessions: len(w.sessions), Registrations: len(w.regs), Tombstones: len(w.tombstones),
	}
	return pic
}
