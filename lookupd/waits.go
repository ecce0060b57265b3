package lookupd

import (
	"sync"
	"time"

	"nsqraft/fsm"
	"nsqraft/lookupd/peerpb"
)

// waits knows for how much of the grace each orphaned life has waited. The leader
// counts that and tells it with every renewal, so that the next one goes on from there:
// else a cluster whose leader changes more often than once in a grace would list
// what is gone for ever. Only time counts that a leader saw go by on its own monotonic
// clock. What passes without one does not, for nobody can register meanwhile; and if
// none is left who remembers, a grace begins anew.
type waits struct {
	mu      sync.Mutex
	of      map[life]wait
	counted time.Time // up to when they are; zero: this node does not lead
}

// A wait is of one orphaning: a life that was reclaimed and is orphaned again has
// all of its grace before it.
type wait struct {
	orphaning uint64        // index of its entry
	waited    time.Duration // by the clocks of those who led
}

// count counts what passes from now on; what has passed since the last pass is not.
func (w *waits) count(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counted = now
}

// stop ends what count began.
func (w *waits) stop() { w.count(time.Time{}) }

// pass counts for all what has passed since count or the last pass.
func (w *waits) pass(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	passed := w.uncountedLocked(now)
	for l, known := range w.of {
		known.waited += passed
		w.of[l] = known
	}
	w.counted = now
}

// uncountedLocked returns what has passed since it was counted last. A leader whose
// log hangs comes late; that was no time in which to register.
func (w *waits) uncountedLocked(now time.Time) time.Duration {
	if w.counted.IsZero() {
		return 0
	}
	return max(0, min(now.Sub(w.counted), lateTick))
}

// waited returns for how long l, which is orphaned, has waited: for silent at least,
// for which it was not heard of.
func (w *waits) waited(l fsm.Life, silent time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := life{l.Node, l.Epoch}
	known, ok := w.of[id]
	if !ok || known.orphaning != l.OrphanedAt {
		known = wait{orphaning: l.OrphanedAt}
	}
	known.waited = max(known.waited, silent)
	w.putLocked(id, known)
	return known.waited
}

func (w *waits) putLocked(l life, known wait) {
	if w.of == nil {
		w.of = make(map[life]wait)
	}
	w.of[l] = known
}

// keep forgets those of all other lives.
func (w *waits) keep(waiting map[life]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range w.of {
		if !waiting[l] {
			delete(w.of, l)
		}
	}
}

// hear takes what another node remembers. Of two words on one orphaning the longer
// is as true, and of two orphanings the later one is the one that lasts.
func (w *waits) hear(told []*peerpb.Wait, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hearLocked(told, now)
}

func (w *waits) hearLocked(told []*peerpb.Wait, now time.Time) {
	passed := w.uncountedLocked(now) // will be added: it may be a leader's own word that comes back
	for _, t := range told {
		id, heard := life{t.Node, t.Epoch}, wait{t.OrphanedAt, time.Duration(t.Waited) - passed}
		known, ok := w.of[id]
		if !ok || known.orphaning < heard.orphaning || known.orphaning == heard.orphaning && known.waited < heard.waited {
			w.putLocked(id, heard)
		}
	}
}

// replace forgets all but what the leader, who has heard it before, says.
func (w *waits) replace(told []*peerpb.Wait, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of = nil
	w.hearLocked(told, now)
}

// tell returns all that is known, as of now.
func (w *waits) tell(now time.Time) []*peerpb.Wait {
	w.mu.Lock()
	defer w.mu.Unlock()
	passed := w.uncountedLocked(now)
	var all []*peerpb.Wait
	for l, known := range w.of {
		all = append(all, &peerpb.Wait{Node: l.node, Epoch: l.epoch, OrphanedAt: known.orphaning, Waited: int64(known.waited + passed)})
	}
	return all
}
