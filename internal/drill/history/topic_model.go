package history

import (
	"math/bits"
	"strings"

	"github.com/anishathalye/porcupine"
)

// Bounds of what one topic's specification can hold. A topic with more of anything
// is checked producer by producer only.
const (
	maxSessions   = 256
	maxChannels   = 8
	maxTombstones = 16
	maxNodes      = 16
)

// A set is of sessions or producers, by number.
type set [maxSessions / 64]uint64

func (s *set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *set) remove(i int)   { s[i/64] &^= 1 << (i % 64) }
func (s *set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }
func (s *set) empty() bool    { return *s == set{} }

// topicState is the sequential specification's state of one topic.
type topicState struct {
	known      bool
	channels   uint8
	sessions   set                 // that hold the topic
	holders    [maxChannels]set    // of each channel
	tombstones uint16              // that hold
	deleted    uint8               // channels whose deletion may be remembered
	told       [maxChannels]uint16 // which nodes have been told of it
}

// A step is one op as the specification takes it: names are numbers.
type step struct {
	kind      Kind // Disconnect for every end of a session; tombstoneEnd
	op        *Op
	session   int
	channel   int // -1: none
	node      int
	tombstone int
	producer  int // of a Tombstone
	known     bool
	channels  uint8
	producers set  // of a Lookup
	foreign   bool // a Lookup that shows what nobody named: it is never right
}

// tombstoneEnd is when a tombstone has held for its time. No client does it.
const tombstoneEnd Kind = "tombstone_end"

// A topicModel is the specification of one topic, with the numbers of its names.
type topicModel struct {
	ephemeral   bool
	ephemerals  uint8 // channels
	producerOf  []int // session -> producer
	tombstoneOf []int // tombstone -> producer
}

func (m *topicModel) visible(s *topicState) set {
	var shown set
	for w, word := range s.sessions {
		for ; word != 0; word &= word - 1 {
			shown.add(m.producerOf[w*64+bits.TrailingZeros64(word)])
		}
	}
	for t := s.tombstones; t != 0; t &= t - 1 {
		shown.remove(m.tombstoneOf[bits.TrailingZeros16(t)])
	}
	return shown
}

// step says whether an op may answer what it did, and what is after it.
func (m *topicModel) step(s topicState, in *step) (bool, topicState) {
	switch in.kind {
	case Register:
		s.known = true
		s.sessions.add(in.session)
		if in.channel >= 0 {
			s.create(in.channel)
			s.holders[in.channel].add(in.session)
		}
	case Unregister:
		if in.channel >= 0 {
			m.release(&s, in.channel, in.session)
		} else {
			m.leave(&s, in.session)
		}
	case Disconnect:
		m.leave(&s, in.session)
	case CreateTopic:
		s.known = true
	case CreateChannel:
		s.known = true
		s.create(in.channel)
	case DeleteTopic:
		s.clear()
	case DeleteChannel:
		return s.deleteChannel(in)
	case Tombstone:
		for w, word := range s.sessions {
			for ; word != 0; word &= word - 1 {
				if m.producerOf[w*64+bits.TrailingZeros64(word)] == in.producer {
					s.tombstones |= 1 << in.tombstone
				}
			}
		}
	case tombstoneEnd:
		s.tombstones &^= 1 << in.tombstone
	case Lookup:
		ok := !in.foreign && in.known == s.known && in.channels == s.channels && in.producers == m.visible(&s)
		return ok, s
	}
	return true, s
}

func (s *topicState) create(channel int) {
	c := uint8(1) << channel
	if s.channels&c != 0 {
		return
	}
	s.channels |= c
	s.deleted &^= c
	s.told[channel] = 0
}

// release takes a session's hold of a channel away.
func (m *topicModel) release(s *topicState, channel, session int) {
	if !s.holders[channel].has(session) {
		return
	}
	s.holders[channel].remove(session)
	if c := uint8(1) << channel; s.holders[channel].empty() {
		s.channels &^= c & m.ephemerals
	}
}

// leave takes all away that a session holds. A producer's tombstones go with its
// last session.
func (m *topicModel) leave(s *topicState, session int) {
	if !s.sessions.has(session) {
		return
	}
	for i := range s.holders {
		m.release(s, i, session)
	}
	s.sessions.remove(session)
	if s.tombstones != 0 {
		m.dropTombstones(s, m.producerOf[session])
	}
	if s.sessions.empty() && m.ephemeral {
		s.clear()
	}
}

func (m *topicModel) dropTombstones(s *topicState, producer int) {
	for w, word := range s.sessions {
		for ; word != 0; word &= word - 1 {
			if m.producerOf[w*64+bits.TrailingZeros64(word)] == producer {
				return
			}
		}
	}
	for i, p := range m.tombstoneOf {
		if p == producer {
			s.tombstones &^= 1 << i
		}
	}
}

// clear forgets the topic, but not which channels were deleted one by one.
func (s *topicState) clear() {
	*s = topicState{deleted: s.deleted, told: s.told}
}

// deleteChannel: 404 is right whenever there is no such channel. 200 is right also
// once for each node that has not been told of its deletion yet: a client that
// repeats a call whose answer was lost learns that it was done.
func (s topicState) deleteChannel(in *step) (bool, topicState) {
	c, node := uint8(1)<<in.channel, uint16(1)<<in.node
	unknown, notFound := in.op.Outcome == Unknown, in.op.Status == 404
	switch {
	case s.channels&c != 0:
		s.channels &^= c
		s.holders[in.channel] = set{}
		s.deleted |= c
		s.told[in.channel] = node
		return unknown || !notFound, s
	case !unknown && !notFound:
		first := s.deleted&c != 0 && s.told[in.channel]&node == 0
		s.told[in.channel] |= node
		return first, s
	}
	return true, s
}

// names gives numbers to the names of one kind.
type names struct {
	all     []string
	numbers map[string]int
}

// number returns the number of a name, which is a new one if need be.
func (n *names) number(name string) int {
	i, ok := n.numbers[name]
	if !ok {
		i = len(n.all)
		n.all = append(n.all, name)
		if n.numbers == nil {
			n.numbers = make(map[string]int)
		}
		n.numbers[name] = i
	}
	return i
}

func ephemeral(name string) bool { return strings.HasSuffix(name, "#ephemeral") }

// porcupine returns the specification as porcupine takes it.
func (m *topicModel) porcupine() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return topicState{} },
		Step: func(state, input, _ any) (bool, any) {
			return m.step(state.(topicState), input.(*step))
		},
		DescribeOperation: func(input, _ any) string { return input.(*step).String() },
	}
}

func (in *step) String() string {
	if in.kind == tombstoneEnd {
		return "end of " + in.op.String()
	}
	return in.op.String()
}

// heldModel is the specification of one producer in one topic: which of its sessions
// hold the topic. It is far cheaper to search than that of the topic.
func (m *topicModel) heldModel(producer int) porcupine.Model {
	type state struct {
		held       set
		tombstones uint16
	}
	apply := func(s state, in *step) (bool, state) {
		switch in.kind {
		case Register:
			s.held.add(in.session)
		case Unregister:
			if in.channel < 0 {
				s.held.remove(in.session)
			}
		case Disconnect:
			s.held.remove(in.session)
		case DeleteTopic:
			s.held = set{}
		case Tombstone:
			if !s.held.empty() {
				s.tombstones |= 1 << in.tombstone
			}
		case tombstoneEnd:
			s.tombstones &^= 1 << in.tombstone
		case Lookup:
			return in.producers.has(producer) == (!s.held.empty() && s.tombstones == 0), s
		}
		if s.held.empty() {
			s.tombstones = 0
		}
		return true, s
	}
	return porcupine.Model{
		Init:              func() any { return state{} },
		Step:              func(s, input, _ any) (bool, any) { return apply(s.(state), input.(*step)) },
		DescribeOperation: func(input, _ any) string { return input.(*step).String() },
	}
}
