package history

import (
	"slices"
	"time"
)

// checkRegistry holds what consistent lookups have shown against when each producer
// had to be there, and when it could be: Jepsen's set-full, for sets of which elements
// may leave and come back.
//
//	lost     acknowledged, never left, and in the end not there
//	stale    a consistent lookup lacks what was acknowledged, or seen, before it began
//	phantom  there after its end was acknowledged or had to be seen, or though it was
//	         refused, or though nobody ever registered it
func checkRegistry(e *evidence) []*finding {
	lost := newFinding("registry/no-lost-registration", true, "No acknowledged registration is lost.")
	stale := newFinding("registry/no-stale-consistent-read", true, "A consistent lookup shows everything acknowledged before it began.")
	phantom := newFinding("registry/no-phantom", true, "What has left is gone: after an acknowledged UNREGISTER at once, after a close in 2 s, after the loss of its node in the session grace and 2 s.")
	hidden := newFinding("registry/tombstone", true, "A tombstoned producer is not shown, from the acknowledgement on, until a second before the end of its tombstone or until it registers again.")
	all := []*finding{lost, stale, phantom, hidden}
	if !e.ours {
		for _, f := range all {
			f.untested = "stock has no consistent reads"
		}
		return all
	}
	registrations, unread, reads, shown := 0, 0, 0, 0
	for _, t := range e.topics {
		reads += len(t.consistent)
		present := t.present
		for producer, ps := range present {
			for _, p := range ps {
				if p.from == never {
					continue
				}
				registrations++
				e.lookFor(t, producer, p, lost, stale, &unread)
			}
		}
		for _, l := range t.consistent {
			shown += len(l.Answer.Producers)
			e.phantoms(t, l, present, phantom)
		}
		for _, ps := range present {
			phantom.seen += ps.lookedForGone(t.consistent)
		}
		hideTombstoned(e, t, present, hidden)
	}
	for _, f := range []*finding{lost, stale} {
		f.saw("%d acknowledged registrations, %d consistent lookups, %d registrations that ended before one looked", registrations, reads, unread)
	}
	phantom.saw("%d producers in %d consistent lookups; %d times one looked after a producer had to be gone", shown, reads, phantom.seen)
	if phantom.seen == 0 {
		phantom.doubtful("nobody looked for a producer after it had to be gone")
	}
	hidden.saw("%d consistent lookups while a tombstone held", hidden.seen)
	if hidden.seen == 0 {
		hidden.untested = "no lookup was made while a tombstone held"
	}
	return all
}

// after returns those of lookups, by Call, that began after t.
func after(lookups []*Op, t time.Duration) []*Op {
	i, _ := slices.BinarySearchFunc(lookups, t, func(l *Op, t time.Duration) int {
		if l.Call <= t {
			return -1
		}
		return 1
	})
	return lookups[i:]
}

// lookFor has every consistent lookup in p's time show its producer.
func (e *evidence) lookFor(t *topic, producer string, p *presence, lost, stale *finding, unread *int) {
	quiet := e.run.Header.Quiet
	read, last := false, false
	for _, l := range after(t.consistent, p.from) {
		if l.Call >= p.until {
			break
		}
		if l.Return >= p.until {
			continue
		}
		read = true
		ended := quiet > 0 && l.Call >= quiet
		last = last || ended
		switch {
		case l.Answer.shows(producer):
		case ended:
			lost.violate("lost: %s of %s, registered at %s by %s, is not there at %s in the end", producer, t.name, seconds(p.begin), p.register.Node, l.Node)
		default:
			stale.violate("stale: a consistent lookup of %s at %s, begun at %s, lacks %s, known since %s", t.name, l.Node, seconds(l.Call), producer, seconds(p.from))
		}
		stale.seen++
	}
	if last {
		lost.seen++
	}
	switch {
	case p.until == never && !last && p.register.Outcome == Done:
		lost.doubtful("nobody looked for %s of %s in the end", producer, t.name)
	case !read:
		*unread++
	}
}

// phantoms looks for what l should not show.
func (e *evidence) phantoms(t *topic, l *Op, present map[string]presences, phantom *finding) {
	for _, producer := range l.Answer.Producers {
		ps := present[producer]
		if ps.allowed(l.Call, l.Return) {
			continue
		}
		phantom.violate("phantom: %s", showsWrongly(t, l, producer, ps))
	}
}

// showsWrongly says in which way l should not show producer.
func showsWrongly(t *topic, l *Op, producer string, ps presences) string {
	where := l.Node + " shows " + producer + " of " + t.name + " at " + seconds(l.Call) + ", "
	var gone *presence
	for _, p := range ps {
		if p.gone < l.Call {
			gone = p
		}
	}
	switch {
	case gone != nil:
		return where + "which had to be gone at " + seconds(gone.gone)
	case len(ps) > 0:
		return where + "before it was registered at " + seconds(ps[0].begin)
	case t.refused[producer]:
		return where + "which was refused"
	}
	return where + "which nobody registered"
}

// hideTombstoned has consistent lookups not show what is tombstoned. A producer that
// registers once more while it is may or may not be.
func hideTombstoned(e *evidence, t *topic, present map[string]presences, hidden *finding) {
	if !t.tombstoned || e.run.Header.Tombstone == 0 {
		return
	}
	for _, op := range t.ops {
		if op.Kind != Tombstone || op.Outcome != Done || op.Status >= 400 {
			continue
		}
		ps := present[op.Producer]
		until := op.Call + e.run.Header.Tombstone - time.Second
		for _, p := range ps {
			if p.begin > op.Call || p.from > op.Call {
				until = min(until, max(p.begin, op.Call))
			}
		}
		for _, l := range after(t.consistent, op.Return) {
			if l.Return >= until {
				break
			}
			hidden.seen++
			if l.Answer.shows(op.Producer) {
				hidden.violate("tombstoned: %s shows %s of %s at %s, tombstoned at %s", l.Node, op.Producer, t.name, seconds(l.Call), seconds(op.Return))
			}
		}
	}
}
