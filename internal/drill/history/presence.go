package history

import (
	"cmp"
	"slices"
	"time"
)

const (
	// promptly is by when the end of a session has to be seen everywhere while
	// nothing is broken.
	promptly = 2 * time.Second

	// earlyGrace and lateGrace are by how much the end of the sessions of a node that
	// is gone may come too early or too late.
	earlyGrace, lateGrace = time.Second, 2 * time.Second
)

// A presence is when a producer must be among those of a topic, and when it may be,
// because of one registration. It must be shown to who asks after from and is answered
// before until; it may be shown to who is answered after begin and asks before gone.
type presence struct {
	register    *Op
	session     *session
	begin, from time.Duration // from is never if it may not have been registered
	until, gone time.Duration
}

// presences are those of one producer in one topic, by begin.
type presences []*presence

// allowed reports whether the producer may have been there at a time from a to b.
func (ps presences) allowed(a, b time.Duration) bool {
	return slices.ContainsFunc(ps, func(p *presence) bool { return p.begin <= b && a <= p.gone })
}

// lookedForGone counts the lookups, by Call, that could have shown the producer though it
// had to be gone.
func (ps presences) lookedForGone(lookups []*Op) (n int) {
	for i, p := range ps {
		if i+1 < len(ps) && ps[i+1].begin <= p.gone {
			continue // and what follows tells
		}
		for _, l := range after(lookups, p.gone) {
			if !ps.allowed(l.Call, l.Return) {
				n++
			} else if l.Call > p.gone {
				break // it has come again
			}
		}
	}
	return n
}

// presences returns those of each producer in t.
func (e *evidence) presences(t *topic) map[string]presences {
	all := make(map[string]presences)
	for _, op := range t.ops {
		if op.Kind != Register {
			continue
		}
		p := &presence{register: op, session: e.sessions[op.Session], begin: op.Call, from: never, until: never, gone: never}
		if op.Outcome == Done {
			p.from = op.Return
		}
		all[p.session.producer] = append(all[p.session.producer], p)
	}
	for _, op := range t.ops {
		switch op.Kind {
		case Unregister:
			if op.Channel == "" {
				e.unregistered(all[e.sessions[op.Session].producer], op)
			}
		case DeleteTopic:
			for _, ps := range all {
				ps.endedBy(op)
			}
		case Tombstone:
			e.tombstoned(all[op.Producer], op)
		}
	}
	ends := make(map[int64]interval)
	for _, ps := range all {
		slices.SortFunc(ps, func(a, b *presence) int { return cmp.Compare(a.begin, b.begin) })
		for _, p := range ps {
			end, known := ends[p.session.id]
			if !known {
				end = e.end(p.session)
				ends[p.session.id] = end
			}
			p.until, p.gone = min(p.until, end.from), min(p.gone, end.to)
			p.until = min(p.until, e.replaced(p, ps))
		}
	}
	for producer, ps := range all {
		if len(ps) == 1 && ps[0].from == never {
			ps[0].from = firstSeen(t.consistent, producer)
		}
	}
	return all
}

// tombstoned ends what a tombstone may hide. A registration while it holds need not be
// shown either: it is of a producer that is there already, as a rule.
func (e *evidence) tombstoned(ps presences, op *Op) {
	over := never
	if op.Outcome == Done {
		over = op.Return + e.run.Header.Tombstone + time.Second
	}
	for _, p := range ps {
		if p.begin <= over {
			p.until = min(p.until, op.Call)
		}
	}
}

// firstSeen returns when a consistent lookup that shows producer was first over: from
// then on all have to.
func firstSeen(lookups []*Op, producer string) time.Duration {
	first := never
	for _, l := range lookups {
		if l.Return < first && l.Answer.shows(producer) {
			first = l.Return
		}
	}
	return first
}

// unregistered ends those of ps that op does. Those of other sessions may end by it
// if their node was in trouble: it may then have been taken for gone.
func (e *evidence) unregistered(ps presences, op *Op) {
	for _, p := range ps {
		switch {
		case p.session.id == op.Session && p.begin <= op.Call:
			p.endBy(op)
		case p.session.id != op.Session && e.hit[p.session.node].overlap(p.begin, op.Return):
			p.until = min(p.until, op.Call)
		}
	}
}

// endBy ends p by a call that came after the registration.
func (p *presence) endBy(op *Op) {
	p.until = min(p.until, op.Call)
	if op.Outcome == Done {
		p.gone = min(p.gone, op.Return)
	}
}

// endedBy ends those of ps that a call of another client does.
func (ps presences) endedBy(op *Op) {
	for _, p := range ps {
		switch {
		case p.register.Outcome == Done && p.register.Return < op.Call:
			p.endBy(op)
		case op.Outcome == Unknown || p.begin <= op.Return:
			p.until = min(p.until, op.Call) // in one order or the other
		}
	}
}

// replaced returns from when on later sessions of p's producer may have taken the place
// of p's: its nsqd has connected again. Once such a session has registered what it has
// to, those of nodes that were taken for gone are out of date; and of one process of a
// node a producer has one session.
func (e *evidence) replaced(p *presence, ps presences) time.Duration {
	until := never
	for _, s := range e.nsqds[p.session.producer] {
		if s.first >= until { // it cannot be earlier than another that was found
			continue
		}
		if s.first <= p.begin || s == p.session || !e.hit[p.session.node].overlap(p.begin, s.first) && s.node != p.session.node {
			continue
		}
		from := s.first
		if s.node != p.session.node || e.died(s.node, p.begin, s.first) {
			for _, again := range ps {
				if again.session == s && again.register.Outcome == Done {
					from = max(from, again.register.Return) // as of then it is there on its own account
					break
				}
			}
		}
		until = min(until, from)
	}
	return until
}

// died reports whether the process of node was another one at b than at a.
func (e *evidence) died(node string, a, b time.Duration) bool {
	i, _ := slices.BinarySearch(e.deaths[node], a)
	return i < len(e.deaths[node]) && e.deaths[node][i] <= b
}

// diesWith are the kinds after which nobody is left to notice that a connection ended.
var diesWith = map[string]bool{"kill": true, "stop": true, "torn_log": true, "flip_bit": true, "wipe": true, "power_cut": true}

// end returns from when on a session may be over, and by when it has to be.
func (e *evidence) end(s *session) interval {
	over := interval{never, never}
	grace := e.run.Header.Grace
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		hits := f.hits(s.node) && (s.end == nil || f.Begin <= s.end.Return)
		if hits && grace > 0 && f.lasted().to >= s.lastDone && f.lasted().to-f.Begin > grace-earlyGrace {
			over.from = min(over.from, f.Begin+grace-earlyGrace) // its node may have been taken for gone
		}
	}
	if s.end == nil {
		return over
	}
	switch s.end.Kind {
	case Disconnect:
		over.from = min(over.from, s.end.Call)
		if s.end.Outcome == Done {
			over.to = s.end.Return
		} else {
			over.to = e.goneAfter(s, s.end.Return, 0)
		}
	case Vanish:
		over.from = min(over.from, s.end.Call)
		over.to = e.goneAfter(s, s.end.Call, e.run.Header.Inactive)
	case Lost:
		over.from = min(over.from, e.lostFrom(s))
		wait := time.Duration(0)
		if e.hidden[s.node].overlap(s.lastDone, s.end.Return) {
			wait = e.run.Header.Inactive // it may not know that the client has gone
		}
		over.to = e.goneAfter(s, s.end.Return, wait)
	}
	return over
}

// lostFrom returns from when on a session may have ended that its client has lost.
func (e *evidence) lostFrom(s *session) time.Duration {
	from := s.lastDone
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		if !f.Down(s.node, s.end.Return) && !(f.lasted().from >= s.lastDone && f.Down(s.node, f.Begin) && f.Begin <= s.end.Return) {
			continue
		}
		if diesWith[f.Kind] && s.first > max(f.Begin, f.Began) {
			continue // it was with the process that came after
		}
		switch {
		case diesWith[f.Kind] && e.run.Header.Grace > 0:
			from = max(from, f.Begin+e.run.Header.Grace-earlyGrace)
		case diesWith[f.Kind]:
			from = never // stock has no such time: its nsqd is alive all along
		case f.Kind == "pause" && f.End > 0:
			from = max(from, f.End)
		}
	}
	return from
}

// succession is how much longer than that all may take when who leads was lost.
const succession = 3 * time.Second

// goneAfter returns by when a session has to be gone that its client left at a time
// and that its node may take wait to notice. What is broken puts it off if it is the
// session's node, or who leads; while there is no quorum, or the cluster stands still,
// no time passes. What is broken elsewhere is no excuse.
func (e *evidence) goneAfter(s *session, left, wait time.Duration) time.Duration {
	by := e.afterStalls(left, wait+promptly)
	died := false
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		span := f.lasted()
		if f.Kind == storm || span.from > by || span.to < s.lastDone {
			continue
		}
		switch {
		case f.kills(s.node) && s.first <= max(f.Begin, f.Began): // not with the process that came after
			// The grace is over once, however often the node dies; but if all nodes
			// end it begins again.
			if again := e.noQuorum.overlap(span.from, span.to); again || !died {
				by = max(by, e.afterGrace(f, again))
			}
			died = true
		case f.hits(s.node) && hides[f.Kind] && !died:
			// The client's kernel says once more that the connection has ended, and
			// waits each time for twice as long as before: after the heal for at most
			// as long again as it was not heard.
			again := promptly
			if left < span.to && span.to < never {
				again += span.to - left
			}
			by = max(by, e.afterStalls(span.to, again))
		case f.hits(s.node) && !died:
			by = max(by, e.afterStalls(span.to, promptly))
		case e.hitsLeader(f) && f.stopsPart():
			by = max(by, e.afterStalls(max(f.Begin, f.Began), promptly+succession))
		case e.hitsLeader(f):
			by = max(by, e.afterStalls(span.to, promptly)) // it leads on, and is slow
		}
	}
	return by
}

// afterGrace returns by when the sessions of a node that died by f have to be gone; again:
// the grace may have begun again when f was over.
func (e *evidence) afterGrace(f *Fault, again bool) time.Duration {
	lost := f.Begin
	switch {
	case again:
		lost = f.lasted().to
	case f.Ended != "":
		lost = max(f.Begin, f.End) // at some time in between
	}
	return e.afterStalls(lost, e.run.Header.Grace+lateGrace)
}

// hitsLeader reports whether f hit a node that led when it began, or took the lead while
// it lasted.
func (e *evidence) hitsLeader(f *Fault) bool {
	return f.OldLeader != "" || slices.ContainsFunc(f.Targets(), func(n string) bool { return e.led(n, f.lasted()) })
}
