package lookupd

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"nsqraft/fsm"
)

// A history is what the clients of a cluster asked for and were told. Its checks
// say what in it cannot be, each in a sentence; they know nothing of the cluster.
type history struct {
	mu        sync.Mutex
	clock     int64 // orders events: within a bubble many happen at one instant
	ops       []op
	elements  []*element
	sightings []sighting
	problems  []string // found while it was recorded
}

// moment is a place in a history: its order among all events, and the time.
type moment struct {
	order int64
	at    time.Time
}

// never is when a call returns whose outcome nobody knows: until then, at any
// time, it may take effect.
var never = moment{order: math.MaxInt64}

func (h *history) now() moment {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	return moment{h.clock, time.Now()}
}

func (h *history) problem(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problems = append(h.problems, fmt.Sprintf(format, args...))
}

// outcome of a call, as its caller can know it.
type outcome int

const (
	done    outcome = iota
	refused         // certainly not, now or later
	unknown
)

// op is one call that concerns one topic. A call that concerns several, such as
// the end of a session, is one op for each, with the same moments: that asks
// less of the cluster than it promises, never more.
type op struct {
	kind    opKind
	topic   string
	channel int // of topicChannels; -1: none
	session int // the place of the caller's session in the topic's bit sets
	node    int // which was asked
	call    moment
	ret     moment
	outcome outcome
	result  fsm.Result
	answer  topicAnswer // of a lookup
}

type opKind int

const (
	opRegister opKind = iota
	opUnregister
	opLeave // the session ends
	opCreateTopic
	opCreateChannel
	opDeleteTopic
	opDeleteChannel
	opLookup // a consistent one
)

var opNames = [...]string{"register", "unregister", "leave", "create topic", "create channel", "delete topic", "delete channel", "lookup"}

// topicAnswer is what a lookup says of a topic.
type topicAnswer struct {
	known    bool
	channels uint8  // bits, by topicChannels
	sessions uint32 // bits: whose producers are listed
}

// topicChannels are the channels that the clients use, the last one ephemeral.
var topicChannels = [...]string{"c0", "c1", "c2#ephemeral"}

const ephemeralChannels = 1 << 2

func (o op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%d,", o.call.order)
	if o.ret == never {
		b.WriteString("...] ")
	} else {
		fmt.Fprintf(&b, "%d] ", o.ret.order)
	}
	fmt.Fprintf(&b, "n%d %s %s", o.node+1, opNames[o.kind], o.topic)
	switch o.kind {
	case opLookup:
		fmt.Fprintf(&b, " = known %v, channels %03b, sessions %b", o.answer.known, o.answer.channels, o.answer.sessions)
	case opCreateTopic, opDeleteTopic, opLeave:
	default:
		fmt.Fprintf(&b, " channel %d", o.channel)
	}
	if o.kind == opRegister || o.kind == opUnregister || o.kind == opLeave {
		fmt.Fprintf(&b, " by session %d", o.session)
	}
	if o.kind == opDeleteChannel && o.outcome == done {
		fmt.Fprintf(&b, " = %v", o.result)
	}
	return b.String()
}

// topicState is the sequential specification's state of one topic.
type topicState struct {
	known    bool
	channels uint8
	sessions uint32                     // that hold the topic
	holders  [len(topicChannels)]uint32 // of each channel
	deleted  uint8                      // channels whose deletion may be remembered
	told     [maxNodes]uint8            // of which deletions a node has been told
}

const maxNodes = 3

// step is the sequential specification: what an op may answer in a state, and
// the state after it.
func step(s topicState, o op, ephemeralTopic bool) (bool, topicState) {
	bit := uint32(1) << o.session
	leave := func() {
		if s.sessions&bit == 0 {
			return
		}
		for i := range s.holders {
			s.release(i, bit)
		}
		s.sessions &^= bit
		if s.sessions == 0 && ephemeralTopic {
			s.clear()
		}
	}
	switch o.kind {
	case opRegister:
		s.known = true
		s.sessions |= bit
		if o.channel >= 0 {
			s.create(o.channel)
			s.holders[o.channel] |= bit
		}
	case opUnregister:
		if o.channel >= 0 {
			s.release(o.channel, bit)
		} else {
			leave()
		}
	case opLeave:
		leave()
	case opCreateTopic:
		s.known = true
	case opCreateChannel:
		s.known = true
		s.create(o.channel)
	case opDeleteTopic:
		s.clear()
	case opDeleteChannel:
		return s.deleteChannel(o)
	case opLookup:
		want := topicAnswer{s.known, s.channels, s.sessions}
		return o.answer == want, s
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
	for i := range s.told {
		s.told[i] &^= c
	}
}

// release takes a session's hold of a channel away.
func (s *topicState) release(channel int, session uint32) {
	if s.holders[channel]&session == 0 {
		return
	}
	s.holders[channel] &^= session
	if c := uint8(1) << channel; s.holders[channel] == 0 && c&ephemeralChannels != 0 {
		s.channels &^= c
	}
}

// clear forgets the topic, but not which channels were deleted one by one.
func (s *topicState) clear() {
	*s = topicState{deleted: s.deleted, told: s.told}
}

// deleteChannel: "not found" is right whenever there is no such channel. "ok"
// is right also once for each node that has not been told of its deletion yet.
func (s topicState) deleteChannel(o op) (bool, topicState) {
	c := uint8(1) << o.channel
	switch {
	case s.channels&c != 0:
		s.channels &^= c
		s.holders[o.channel] = 0
		s.deleted |= c
		for i := range s.told {
			s.told[i] &^= c
		}
		s.told[o.node] |= c
		return o.outcome == unknown || o.result == fsm.ResultOK, s
	case o.outcome == done && o.result == fsm.ResultOK:
		first := s.deleted&c != 0 && s.told[o.node]&c == 0
		s.told[o.node] |= c
		return first, s
	}
	return o.outcome == unknown || o.result == fsm.ResultNotFound, s
}

// searchTimeout bounds the search for one linearization. One that is not over by
// then has shown nothing, and that is a failure.
const searchTimeout = 30 * time.Second

// linearizable checks that all writes and consistent lookups can have happened
// one after another in an order that nobody who looked at the clock could tell
// from the real one: topic by topic against the whole specification, and producer
// by producer as a bit that is set and cleared.
func (h *history) linearizable() (problems []string) {
	for topic, ops := range h.byTopic() {
		ephemeralTopic := strings.HasSuffix(topic, "#ephemeral")
		whole := porcupine.Model{
			Init: func() any { return topicState{} },
			Step: func(state, input, _ any) (bool, any) {
				ok, next := step(state.(topicState), input.(op), ephemeralTopic)
				return ok, next
			},
		}
		problems = append(problems, linearize("topic "+topic, whole, ops)...)

		sessions := 0
		for _, o := range ops {
			sessions = max(sessions, o.session+1)
		}
		for session := range sessions {
			bit := porcupine.Model{
				Init: func() any { return false },
				Step: func(state, input, _ any) (bool, any) { return stepBit(state.(bool), input.(op), session) },
			}
			var own []op
			for _, o := range ops {
				if o.session == session || o.kind == opLookup || o.kind == opDeleteTopic {
					own = append(own, o)
				}
			}
			problems = append(problems, linearize(fmt.Sprintf("session %d of topic %s", session, topic), bit, own)...)
		}
	}
	return problems
}

func stepBit(held bool, o op, session int) (bool, bool) {
	switch o.kind {
	case opRegister:
		return true, true
	case opUnregister:
		return true, held && o.channel >= 0
	case opLeave, opDeleteTopic:
		return true, false
	case opLookup:
		return o.answer.sessions&(1<<session) != 0 == held, held
	}
	return true, held
}

// byTopic returns the ops of each topic. Refused ones are left out: they
// happened at no time.
func (h *history) byTopic() map[string][]op {
	topics := make(map[string][]op)
	for _, o := range h.ops {
		if o.outcome == refused {
			continue
		}
		if o.outcome == unknown {
			o.ret = never
		}
		topics[o.topic] = append(topics[o.topic], o)
	}
	return topics
}

func linearize(what string, model porcupine.Model, ops []op) []string {
	in := make([]porcupine.Operation, len(ops))
	for i, o := range ops {
		in[i] = porcupine.Operation{ClientId: i, Input: o, Call: o.call.order, Return: o.ret.order}
	}
	switch porcupine.CheckOperationsTimeout(model, in, searchTimeout) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return []string{fmt.Sprintf("inconclusive: %s: %d ops were too many for %v", what, len(ops), searchTimeout)}
	}
	_, info := porcupine.CheckOperationsVerbose(model, in, searchTimeout) // again, for the orders it found
	return []string{fmt.Sprintf("not linearizable: %s: %s", what, stuck(ops, info))}
}

// stuck shows the end of the longest order that porcupine found, and what could
// not follow it.
func stuck(ops []op, info porcupine.LinearizationInfo) string {
	var longest []porcupine.Operation
	for _, orders := range info.PartialLinearizationsOperations() {
		for _, order := range orders {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	placed := make(map[op]bool)
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d ops in order, the last ones:", len(longest), len(ops))
	for i, o := range longest {
		placed[o.Input.(op)] = true
		if i >= len(longest)-8 {
			fmt.Fprintf(&b, "\n    %v", o.Input)
		}
	}
	b.WriteString("\n  and then none of:")
	rest := slices.DeleteFunc(slices.Clone(ops), func(o op) bool { return placed[o] })
	slices.SortFunc(rest, func(a, b op) int { return int(a.ret.order - b.ret.order) })
	for _, o := range rest[:min(4, len(rest))] {
		fmt.Fprintf(&b, "\n    %v", o)
	}
	return b.String()
}

// element is a producer that is registered once, with one topic, and leaves it
// at most once: whatever a reader sees or does not see of it says something.
type element struct {
	name  string
	topic string
	add   change
	leave change // zero: it stays
}

type change struct {
	call, ret moment
	outcome   outcome
}

func (c change) begun() bool { return c.call.order != 0 }

// sighting is one lookup in a topic of elements.
type sighting struct {
	node       string
	topic      string
	consistent bool
	last       bool // asked when all was quiet again
	call, ret  moment
	index      uint64
	hash       uint64        // of the whole registry
	stale      time.Duration // negative: the node does not know
	names      map[string]bool
}

// complete checks what readers saw of the elements.
//
//	lost     acknowledged, never left, and in the end not there
//	stale    a consistent lookup lacks what was acknowledged, or seen, before it began
//	phantom  there after its end was acknowledged, or though it was refused
//	honest   a default lookup lacks what its X-Nsq-Stale-Ms says it has
func (h *history) complete() (problems []string) {
	say := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	byTopic := make(map[string][]*sighting)
	for i := range h.sightings {
		r := &h.sightings[i]
		byTopic[r.topic] = append(byTopic[r.topic], r)
	}
	for _, rs := range byTopic {
		slices.SortFunc(rs, func(a, b *sighting) int { return int(a.call.order - b.call.order) })
	}
	for _, e := range h.elements {
		known := never // from when on every consistent lookup must show it
		if e.add.outcome == done {
			known = e.add.ret
		}
		read := false
		for _, r := range byTopic[e.topic] {
			shown := r.names[e.name]
			read = read || r.consistent
			left := e.leave.begun() && e.leave.call.order < r.ret.order // perhaps
			gone := e.leave.begun() && e.leave.outcome == done && e.leave.ret.order < r.call.order
			switch {
			case shown && e.add.outcome == refused:
				say("phantom: %s shows %s, which was refused", r.node, e.name)
			case shown && gone && r.consistent:
				say("phantom: %s shows %s, which had left", r.node, e.name)
			case shown && r.consistent && r.ret.order < known.order:
				known = r.ret
			case !shown && !left && r.consistent && known.order < r.call.order && r.last:
				say("lost: %s lacks %s of %s in the end", r.node, e.name, e.topic)
			case !shown && !left && r.consistent && known.order < r.call.order:
				say("stale: a consistent lookup of %s lacks %s", r.node, e.name)
			}
			if r.consistent || r.stale < 0 {
				continue
			}
			upTo := r.ret.at.Add(-r.stale)
			if !shown && !left && e.add.outcome == done && e.add.ret.at.Before(upTo) {
				say("dishonest: %s says %v and lacks %s, acknowledged %v ago", r.node, r.stale, e.name, r.ret.at.Sub(e.add.ret.at))
			}
			if shown && gone && e.leave.ret.at.Before(upTo) {
				say("dishonest: %s says %v and shows %s, which left %v ago", r.node, r.stale, e.name, r.ret.at.Sub(e.leave.ret.at))
			}
		}
		if !read && e.add.outcome == done {
			say("inconclusive: no consistent lookup looked for %s", e.name)
		}
	}
	return problems
}

// monotonic checks that no node's answers go back in time, whatever happened to
// the node between them, and that nodes at the same index hold the same.
func (h *history) monotonic() (problems []string) {
	rs := slices.Clone(h.sightings)
	slices.SortFunc(rs, func(a, b sighting) int { return int(a.ret.order - b.ret.order) })
	byCall := slices.Clone(rs)
	slices.SortFunc(byCall, func(a, b sighting) int { return int(a.call.order - b.call.order) })
	newest := make(map[string]uint64) // of the readings that were over
	over := 0
	for _, r := range byCall {
		for ; rs[over].ret.order < r.call.order; over++ {
			newest[rs[over].node] = max(newest[rs[over].node], rs[over].index)
		}
		if r.index < newest[r.node] {
			problems = append(problems, fmt.Sprintf("back in time: %s answers as of index %d after %d", r.node, r.index, newest[r.node]))
		}
	}
	hashes := make(map[uint64]sighting)
	for _, r := range rs {
		if other, ok := hashes[r.index]; ok && other.hash != r.hash {
			problems = append(problems, fmt.Sprintf("diverged: %s and %s differ at index %d", r.node, other.node, r.index))
		}
		hashes[r.index] = r
	}
	return problems
}

// check runs all checks.
func (h *history) check() []string {
	return slices.Concat(h.problems, h.complete(), h.monotonic(), h.linearizable())
}

// report fails the test with the problems, or the first of them.
func report(t *testing.T, problems []string) {
	t.Helper()
	const most = 10
	for i, p := range problems {
		if i == most {
			t.Errorf("and %d more", len(problems)-most)
			break
		}
		t.Error(p)
	}
}
