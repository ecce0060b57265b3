package history

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// never is a time after all others.
const never = time.Duration(math.MaxInt64)

// evidence is a run as the checkers need it. It is not modified once it is made, so
// that several may read it at once.
type evidence struct {
	run    *Run
	limits Limits
	ours   bool // not stock: there are consistent reads and an index

	topics   []*topic // of the registry, by name; not those that real nsqds publish to
	sessions map[int64]*session
	nsqds    map[string][]*session      // of each producer
	down     map[string]intervals       // of each node
	hit      map[string]intervals       // of each node: every fault that has it as a target
	deaths   map[string][]time.Duration // of each node: when its process ended, in order
	out      map[string]intervals       // of each node: when it could take no part in the cluster
	hampered map[string]intervals       // of each node: when packets from or to it were dropped or late, or its log was slow
	hidden   map[string]intervals       // of each node: when it may not have seen a connection end
	leaders  []leaderChange
	loses    intervals            // when packets of a node that led were dropped
	slowed   intervals            // when the disk of a node that led had just become slow
	apart    map[string]intervals // of each node: when its link with who led was cut
	noQuorum intervals
	frozen   intervals // when the machine stood still
	// When the cluster stood still: see stalls; or there was no quorum.
	standstill intervals
}

// A topic is what was done to it and seen of it.
type topic struct {
	name       string
	ops        []*Op // that change it, ends of sessions included; none refused
	consistent []*Op // answered lookups
	local      []*Op
	present    map[string]presences // of each producer
	refused    map[string]bool      // producers of refused registrations
	tombstoned bool
}

// A session is one connection of an nsqd.
type session struct {
	id       int64
	node     string
	producer string
	topics   map[string]bool
	first    time.Duration // call of the first
	lastDone time.Duration // call of the last one that was answered
	end      *Op           // Disconnect, Vanish or Lost; nil: it stayed open
	waited   time.Duration // for how long a command had that was not answered; 0: there was none
}

// An interval is a time that something lasted, ends included.
type interval struct{ from, to time.Duration }

// intervals are in order and apart.
type intervals []interval

// merge makes intervals of any.
func merge(all []interval) intervals {
	slices.SortFunc(all, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
	var merged intervals
	for _, i := range all {
		if n := len(merged); n > 0 && i.from <= merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, i.to)
			continue
		}
		merged = append(merged, i)
	}
	return merged
}

func mergeEach(all map[string][]interval) map[string]intervals {
	merged := make(map[string]intervals)
	for node, of := range all {
		merged[node] = merge(of)
	}
	return merged
}

// first returns the first of s that has a moment in [from, to].
func (s intervals) first(from, to time.Duration) (interval, bool) {
	i, _ := slices.BinarySearchFunc(s, from, func(i interval, t time.Duration) int { return cmp.Compare(i.to, t) })
	if i < len(s) && s[i].from <= to {
		return s[i], true
	}
	return interval{}, false
}

func (s intervals) overlap(from, to time.Duration) bool {
	_, ok := s.first(from, to)
	return ok
}

// lasted is when f was, until it was healed.
func (f *Fault) lasted() interval {
	if f.Healed == 0 {
		return interval{f.Begin, never}
	}
	return interval{f.Begin, f.Healed}
}

func newEvidence(run *Run, l Limits) *evidence {
	e := readRun(run)
	e.limits = l
	for _, t := range e.topics {
		t.present = e.presences(t)
	}
	return e
}

// readRun sorts what is in run.
func readRun(run *Run) *evidence {
	e := &evidence{
		run: run, ours: run.Header.Against != "stock", frozen: freezes(run), leaders: leaderChanges(run.Samples),
		sessions: make(map[int64]*session), nsqds: make(map[string][]*session),
	}
	e.readFaults()
	e.readOps()
	e.standstill = merge(slices.Concat(stalls(run), e.noQuorum))
	e.loses, e.slowed = e.leaderHampered()
	e.apart = e.cutFromLeader()
	return e
}

// cutsOff are the kinds that take a node's part in the cluster away without
// stopping it: it hears nobody, is not heard, or can write nothing to its log.
var cutsOff = map[string]bool{"isolate": true, "deaf": true, "mute": true, "split": true, "disk_hang": true, "disk_full": true}

// hides are the kinds that keep from a node that a connection has ended.
var hides = map[string]bool{"unreach": true, "unplug": true, "loss": true}

// stopsPart says whether f keeps its targets, or those that ended over it, from taking
// part in the cluster.
func (f *Fault) stopsPart() bool {
	return takesDown[f.Kind] && f.Kind != "unreach" || cutsOff[f.Kind] || f.Ended != ""
}

// storm is the kind of what is no fault: many clients that come at once. It is recorded
// as one, and excuses nothing.
const storm = "storm"

// readFaults finds out who was hit when.
func (e *evidence) readFaults() {
	hidden := make(map[string][]interval)
	down, hit, out, hampered := make(map[string][]interval), make(map[string][]interval), make(map[string][]interval), make(map[string][]interval)
	e.deaths = make(map[string][]time.Duration)
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		if f.Kind == storm {
			continue
		}
		for _, node := range f.Targets() {
			hit[node] = append(hit[node], f.lasted())
			if f.kills(node) {
				e.deaths[node] = append(e.deaths[node], f.Begin) // faults are by Begin
			}
			if f.takesDown(node) {
				down[node] = append(down[node], f.lasted())
			}
			if hides[f.Kind] {
				hidden[node] = append(hidden[node], f.lasted())
			}
			if f.Kind == "loss" || f.Kind == "delay" || f.Kind == "slow_fsync" {
				hampered[node] = append(hampered[node], f.lasted())
			}
		}
		if f.stopsPart() {
			for _, node := range e.cutOff(f) {
				out[node] = append(out[node], f.lasted())
			}
		}
	}
	e.down, e.hit, e.out, e.hampered, e.hidden = mergeEach(down), mergeEach(hit), mergeEach(out), mergeEach(hampered), mergeEach(hidden)
	e.noQuorum = e.tooFew(out)
}

// cutOff returns the nodes that f takes from the cluster. Of a split it is the
// smaller side.
func (e *evidence) cutOff(f *Fault) []string {
	targets := f.Targets()
	if !takesDown[f.Kind] && !cutsOff[f.Kind] {
		targets = strings.Split(f.Ended, ",")
	}
	nodes := e.run.Header.Nodes
	if f.Kind != "split" || len(targets) <= len(nodes)/2 {
		return targets
	}
	var rest []string
	for _, n := range nodes {
		if !slices.Contains(targets, n) {
			rest = append(rest, n)
		}
	}
	return rest
}

// tooFew returns when less than a majority of the nodes was left.
func (e *evidence) tooFew(out map[string][]interval) intervals {
	type edge struct {
		at   time.Duration
		more int
	}
	var edges []edge
	nodes := 0
	for _, node := range e.run.Header.Nodes {
		nodes++
		for _, i := range merge(out[node]) {
			edges = append(edges, edge{i.from, 1})
			if i.to < never {
				edges = append(edges, edge{i.to, -1})
			}
		}
	}
	slices.SortStableFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	majority := nodes/2 + 1
	var found []interval
	gone := 0
	for i, x := range edges {
		gone += x.more
		until := never
		if i+1 < len(edges) {
			until = edges[i+1].at
		}
		if nodes-gone < majority {
			found = append(found, interval{x.at, until})
		}
	}
	return merge(found)
}

func byCall(a, b *Op) int { return cmp.Compare(a.Call, b.Call) }

// readOps sorts the ops by topics and sessions.
func (e *evidence) readOps() {
	topics := make(map[string]*topic)
	real := make(map[string]bool)
	of := func(name string) *topic {
		t := topics[name]
		if t == nil {
			t = &topic{name: name, refused: make(map[string]bool)}
			topics[name] = t
		}
		return t
	}
	for i := range e.run.Ops {
		op := &e.run.Ops[i]
		switch op.Kind {
		case Publish:
			real[op.Topic] = true
		case Lookup:
			e.readLookup(of(op.Topic), op)
		case Connect, Ping, Register, Unregister, Disconnect, Vanish, Lost:
			e.readSession(op, of)
		case CreateTopic, CreateChannel, DeleteTopic, DeleteChannel, Tombstone:
			if op.Outcome != Refused && !slices.Contains(e.run.Header.NSQDs, op.Node) {
				t := of(op.Topic)
				t.ops = append(t.ops, op)
				t.tombstoned = t.tombstoned || op.Kind == Tombstone
			}
		}
	}
	for _, s := range e.sessions {
		e.nsqds[s.producer] = append(e.nsqds[s.producer], s)
		for name := range s.topics {
			if s.end != nil {
				of(name).ops = append(of(name).ops, s.end)
			}
		}
	}
	for name, t := range topics {
		if real[name] {
			continue
		}
		slices.SortStableFunc(t.ops, byCall)
		e.topics = append(e.topics, t)
	}
	slices.SortFunc(e.topics, func(a, b *topic) int { return strings.Compare(a.name, b.name) })
}

func (e *evidence) readLookup(t *topic, op *Op) {
	switch {
	case op.Outcome != Done || op.Answer == nil:
	case op.Consistent:
		t.consistent = append(t.consistent, op)
	default:
		t.local = append(t.local, op)
	}
}

func (e *evidence) readSession(op *Op, of func(string) *topic) {
	s := e.sessions[op.Session]
	if s == nil {
		s = &session{id: op.Session, node: op.Node, producer: op.Producer, topics: make(map[string]bool), first: op.Call}
		e.sessions[op.Session] = s
	}
	switch op.Kind {
	case Disconnect, Vanish, Lost:
		if s.end == nil {
			s.end = op
		}
		return
	case Register, Unregister:
		t := of(op.Topic)
		if op.Outcome == Refused {
			if op.Kind == Register {
				t.refused[op.Producer] = true
			}
			return
		}
		t.ops = append(t.ops, op)
		s.topics[op.Topic] = true
	}
	if s.producer == "" {
		s.producer = op.Producer
	}
	switch op.Outcome {
	case Done:
		s.lastDone = max(s.lastDone, op.Call)
	case Unknown:
		s.waited = max(s.waited, op.Return-op.Call)
	}
}

// shows says whether the answer lists producer.
func (a *Answer) shows(producer string) bool {
	_, ok := slices.BinarySearch(a.Producers, producer)
	return ok
}

// handsOver is in what time a leader whose disk becomes slow has handed over, and the
// commands that waited for it are done.
const handsOver = 2 * time.Second

// leaderHampered returns when packets of a node that led were dropped, and when its disk had
// just become slow.
func (e *evidence) leaderHampered() (loses, slowed intervals) {
	var dropped, slow []interval
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		if !slices.ContainsFunc(f.Targets(), func(n string) bool { return e.led(n, f.lasted()) }) {
			continue
		}
		switch f.Kind {
		case "loss":
			dropped = append(dropped, f.lasted())
		case "slow_fsync":
			slow = append(slow, interval{f.Begin, min(f.lasted().to, max(f.Begin, f.Began)+handsOver)})
		}
	}
	return merge(dropped), merge(slow)
}

// led reports whether node led at any time of span.
func (e *evidence) led(node string, span interval) bool {
	for i, c := range e.leaders {
		until := never
		if i+1 < len(e.leaders) {
			until = e.leaders[i+1].at
		}
		if c.node == node && c.at <= span.to && until >= span.from {
			return true
		}
	}
	return false
}

// cutFromLeader returns when each node could not hear who led over the link between them,
// or not be heard.
func (e *evidence) cutFromLeader() map[string]intervals {
	apart := make(map[string][]interval)
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		if ends := f.Targets(); f.Kind == "cut" && len(ends) == 2 {
			for k, node := range ends {
				if e.led(ends[1-k], f.lasted()) {
					apart[node] = append(apart[node], f.lasted())
				}
			}
		}
	}
	return mergeEach(apart)
}

// A leaderChange is a term in which a node said that it leads.
type leaderChange struct {
	at   time.Duration // when that was first seen
	node string
	term uint64
}

func leaderChanges(samples []Sample) []leaderChange {
	var changes []leaderChange
	seen := make(map[uint64]bool)
	for _, s := range samples {
		if s.Answered && s.Role == "leader" && !seen[s.Term] {
			seen[s.Term] = true
			changes = append(changes, leaderChange{s.At, s.Node, s.Term})
		}
	}
	return changes
}
