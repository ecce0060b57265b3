package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// A linearHistory is what was done to one topic, as porcupine takes it.
type linearHistory struct {
	topic     *topic
	model     topicModel
	steps     []*step
	calls     []porcupine.Operation // of each step
	producers names
	sessions  int
	tooWide   string // why the whole specification cannot hold it; "": it can
}

// linearHistory returns the writes and consistent lookups of t. A write whose outcome
// nobody knows may take effect until the end of all time. Sessions that ended without
// an UNREGISTER, or may have, end at some time after they could.
func (e *evidence) linearHistory(t *topic) *linearHistory {
	h := &linearHistory{topic: t, model: topicModel{ephemeral: ephemeral(t.name)}}
	var channels, nodes names
	sessions := make(map[int64]int)
	place := func(id int64) int {
		i, ok := sessions[id]
		if !ok {
			i = len(sessions)
			sessions[id] = i
			h.model.producerOf = append(h.model.producerOf, h.producers.number(e.sessions[id].producer))
		}
		return i
	}
	for _, op := range t.ops {
		in := &step{kind: op.Kind, op: op, channel: -1}
		if op.Channel != "" {
			in.channel = channels.number(op.Channel)
		}
		in.node = nodes.number(op.Node)
		switch op.Kind {
		case Disconnect, Vanish, Lost:
			continue
		case Register, Unregister:
			in.session = place(op.Session)
		case Tombstone:
			if op.Outcome == Done && op.Status >= 400 {
				continue
			}
			in.producer = h.producers.number(op.Producer)
			in.tombstone = len(h.model.tombstoneOf)
			h.model.tombstoneOf = append(h.model.tombstoneOf, in.producer)
			h.endTombstone(e, in)
		}
		h.add(in, op.Call, returned(op))
	}
	h.sessions = len(sessions)
	if len(sessions) <= maxSessions {
		for _, op := range t.consistent {
			h.look(op, &channels)
		}
		h.endSessions(e, sessions)
	}
	for i, name := range channels.all {
		if ephemeral(name) && i < maxChannels {
			h.model.ephemerals |= 1 << i
		}
	}
	for _, bound := range []struct {
		what    string
		n, most int
	}{
		{"sessions", h.sessions, maxSessions}, {"producers", len(h.producers.all), maxSessions}, {"channels", len(channels.all), maxChannels},
		{"tombstones", len(h.model.tombstoneOf), maxTombstones}, {"nodes", len(nodes.all), maxNodes},
	} {
		if bound.n > bound.most && h.tooWide == "" {
			h.tooWide = fmt.Sprintf("%s has %d %s, the specification holds %d", t.name, bound.n, bound.what, bound.most)
		}
	}
	return h
}

// returned is until when op can have taken effect.
func returned(op *Op) time.Duration {
	if op.Outcome == Unknown {
		return never
	}
	return op.Return
}

func (h *linearHistory) add(in *step, call, ret time.Duration) {
	h.steps = append(h.steps, in)
	h.calls = append(h.calls, porcupine.Operation{ClientId: in.op.Client, Input: in, Call: int64(call), Return: int64(ret)})
}

// endTombstone adds the end of a tombstone, give or take a second: nodes look at
// clocks of their own.
func (h *linearHistory) endTombstone(e *evidence, in *step) {
	life := e.run.Header.Tombstone
	if life == 0 || in.op.Call+life-time.Second > e.run.Header.Length && e.run.Header.Length > 0 {
		return
	}
	to := returned(in.op)
	if to < never {
		to += life + time.Second
	}
	end := *in
	end.kind = tombstoneEnd
	h.add(&end, in.op.Call+life-time.Second, to)
}

func (h *linearHistory) look(op *Op, channels *names) {
	in := &step{kind: Lookup, op: op, channel: -1, known: op.Answer.Known}
	for _, name := range op.Answer.Channels {
		if i := channels.number(name); i < maxChannels {
			in.channels |= 1 << i
		}
	}
	for _, name := range op.Answer.Producers {
		if i, ok := h.producers.numbers[name]; !ok {
			in.foreign = true
		} else if i < maxSessions {
			in.producers.add(i)
		}
	}
	h.add(in, op.Call, op.Return)
}

// endSessions adds the ends of sessions. Of a producer that has one session in all,
// lookups say more about when it can have been; that keeps the search short.
func (h *linearHistory) endSessions(e *evidence, sessions map[int64]int) {
	alone := make([]int, len(h.producers.all))
	for _, p := range h.model.producerOf {
		alone[p]++
	}
	order := make([]int64, 0, len(sessions))
	for id := range sessions {
		order = append(order, id)
	}
	slices.Sort(order)
	for _, id := range order {
		s := e.sessions[id]
		place := sessions[id]
		producer := h.model.producerOf[place]
		over := e.end(s)
		if alone[producer] > 1 {
			// A node in trouble may have been taken for gone, and another session of
			// its producers have taken their place.
			if i, ok := e.hit[s.node].first(0, s.lastSeen()); ok {
				over.from = min(over.from, i.from)
			}
		}
		if over.from == never {
			continue
		}
		from, to := over.from, never
		if s.end != nil && s.end.Kind == Disconnect && s.end.Outcome == Done {
			to = s.end.Return
		}
		if alone[producer] == 1 {
			from, to = h.tighten(s, place, from, to)
		}
		op := s.end
		if op == nil {
			op = &Op{Kind: Lost, Node: s.node, Call: from, Return: never, Outcome: Unknown, Topic: h.topic.name, Session: s.id, Producer: s.producer}
		}
		h.add(&step{kind: Disconnect, op: op, session: place, channel: -1}, from, to)
	}
}

// tighten narrows when the one session of a producer can have ended: not before a
// lookup that shows it was begun; and, if nothing else can have hidden it, not after
// one that does not was over.
func (h *linearHistory) tighten(s *session, place int, from, to time.Duration) (time.Duration, time.Duration) {
	only := true
	registered := never
	for _, in := range h.steps {
		switch in.kind {
		case Register:
			if in.session == place {
				only = only && registered == never && in.op.Outcome == Done
				registered = in.op.Return
			}
		case Unregister:
			only = only && in.session != place
		case DeleteTopic, Tombstone:
			only = false
		}
	}
	after, before := from, to
	for _, l := range h.topic.consistent {
		switch shown := l.Answer.shows(s.producer); {
		case shown:
			after = max(after, l.Call)
		case only && l.Call > registered:
			before = min(before, l.Return)
		}
	}
	if after > before {
		return from, to // it cannot be, and the search will find that
	}
	return after, before
}

// lastSeen is until when the session is known to have been there.
func (s *session) lastSeen() time.Duration {
	if s.end == nil {
		return never
	}
	return s.end.Return
}

// of returns the calls that concern one producer.
func (h *linearHistory) of(producer int) []porcupine.Operation {
	var calls []porcupine.Operation
	for i, in := range h.steps {
		concerned := false
		switch in.kind {
		case Register, Unregister, Disconnect:
			concerned = h.model.producerOf[in.session] == producer
		case Tombstone, tombstoneEnd:
			concerned = in.producer == producer
		case Lookup, DeleteTopic:
			concerned = true
		}
		if concerned {
			calls = append(calls, h.calls[i])
		}
	}
	return thin(calls, producer)
}

// thin leaves lookups out that say nothing more about producer than those just
// before and after them: no write begins or returns between these, and all agree.
func thin(calls []porcupine.Operation, producer int) []porcupine.Operation {
	var edges []int64
	var lookups []int
	for i, c := range calls {
		if c.Input.(*step).kind == Lookup {
			lookups = append(lookups, i)
		} else {
			edges = append(edges, c.Call, c.Return)
		}
	}
	slices.Sort(edges)
	slices.SortFunc(lookups, func(a, b int) int { return cmp.Compare(calls[a].Call, calls[b].Call) })
	drop := make(map[int]bool)
	shown := func(i int) bool { return calls[lookups[i]].Input.(*step).producers.has(producer) }
	for i := 1; i < len(lookups)-1; i++ {
		if shown(i) != shown(i-1) || shown(i) != shown(i+1) {
			continue
		}
		from := calls[lookups[i-1]].Call
		to := max(calls[lookups[i-1]].Return, calls[lookups[i]].Return, calls[lookups[i+1]].Return)
		if next, _ := slices.BinarySearch(edges, from); next == len(edges) || edges[next] > to {
			drop[lookups[i]] = true
		}
	}
	kept := calls[:0:0]
	for i, c := range calls {
		if !drop[i] {
			kept = append(kept, c)
		}
	}
	return kept
}

// A verdict is what porcupine has to say.
type verdict int

const (
	linear verdict = iota
	notLinear
	tooLong
	tooBig
)

// stateSize is about what porcupine keeps for each state it has been in.
const stateSize = 600

// search looks for an order of calls that the model allows. Beyond its bounds of time
// and memory it says so.
func search(model porcupine.Model, calls []porcupine.Operation, limit time.Duration, memory int64) (verdict, porcupine.LinearizationInfo) {
	var taken atomic.Int64
	var full atomic.Bool
	each := int64(stateSize + len(calls)/8)
	within := model
	within.Step = func(state, input, output any) (bool, any) {
		if full.Load() {
			return false, state
		}
		ok, next := model.Step(state, input, output)
		if ok && taken.Add(each) > memory {
			full.Store(true)
		}
		return ok, next
	}
	result, info := porcupine.CheckOperationsVerbose(within, calls, limit)
	switch {
	case result == porcupine.Ok:
		return linear, info
	case result == porcupine.Unknown:
		return tooLong, info
	case full.Load():
		return tooBig, info
	}
	return notLinear, info
}

// shortest returns the shortest beginning of calls that is not linearizable, if that
// can be found in time; what had not returned by its end may still take effect.
func shortest(model porcupine.Model, calls []porcupine.Operation, limit time.Duration, memory int64) []porcupine.Operation {
	over := time.Now().Add(limit)
	var ends []int64
	for _, c := range calls {
		if c.Return != int64(never) {
			ends = append(ends, c.Return)
		}
	}
	slices.Sort(ends)
	least, most := 0, len(ends)-1 // the answer is among them
	for least < most && time.Now().Before(over) {
		middle := (least + most) / 2
		v, _ := search(model, until(calls, ends[middle]), time.Until(over), memory)
		switch v {
		case notLinear:
			most = middle
		case linear:
			least = middle + 1
		default:
			return until(calls, ends[most])
		}
	}
	if len(ends) == 0 {
		return calls
	}
	return until(calls, ends[most])
}

// until returns calls as they were known at t. A lookup that had no answer yet says
// nothing.
func until(calls []porcupine.Operation, t int64) []porcupine.Operation {
	var known []porcupine.Operation
	for _, c := range calls {
		switch {
		case c.Call > t:
			continue
		case c.Return > t && c.Input.(*step).kind == Lookup:
			continue
		case c.Return > t:
			c.Return = math.MaxInt64
			in := *c.Input.(*step)
			op := *in.op
			op.Outcome = Unknown
			in.op = &op
			c.Input = &in
		}
		known = append(known, c)
	}
	return known
}

// stuck shows the end of the longest order that porcupine found, and what could not
// follow it.
func stuck(calls []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var longest []porcupine.Operation
	for _, orders := range info.PartialLinearizationsOperations() {
		for _, order := range orders {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	placed := make(map[*step]bool)
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d calls in order, the last ones:", len(longest), len(calls))
	for i, c := range longest {
		placed[c.Input.(*step)] = true
		if i >= len(longest)-6 {
			fmt.Fprintf(&b, "\n    %v", c.Input)
		}
	}
	b.WriteString("\n  and then none of:")
	rest := slices.DeleteFunc(slices.Clone(calls), func(c porcupine.Operation) bool { return placed[c.Input.(*step)] })
	slices.SortFunc(rest, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	for _, c := range rest[:min(4, len(rest))] {
		fmt.Fprintf(&b, "\n    %v", c.Input)
	}
	return b.String()
}
