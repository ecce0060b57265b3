package raftguard

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// stallLimit is how long one StoreLogs may take before its server must not
	// lead any longer. It is long for a disk that works, and about what an
	// election takes.
	stallLimit = 250 * time.Millisecond

	// stallAgain is the same if it has given up leadership within stallPause before,
	// and twice as long each further time. A disk that hangs does so again. But if
	// the disks of all are slow, then passing leadership round would only add
	// elections to the slowness.
	stallAgain = time.Second
	stallPause = time.Minute
)

// stallGate makes a leader whose disk hangs fall silent, so that another is
// elected. Raft would do nothing for as long as the disk hangs: it stores an
// entry on its main goroutine, before it sends it to anyone, and that goroutine
// is also the one to step down; but heartbeats, and the requests that carry the
// commit index, come from goroutines of their own, and keep the followers
// content (#503, #666).
//
// Raft goes on taking itself for the leader until the disk returns. It commits
// nothing meanwhile, and confirms nothing: no majority answers what is not
// sent. A request that was under way when the gate closed may still
// refresh its follower, once. Afterwards it hears of the new term, or steps down
// by its own lease, whichever its main goroutine meets first.
type stallGate struct {
	store *Store // nil: never stalled
	log   hclog.Logger

	mu      sync.Mutex
	stalled time.Time // the beginning of the StoreLogs for which the gate was last closed
	closed  time.Time // and when it closed
	again   int       // how often it has, without a stallPause between
}

// check returns an error while the gate is closed.
func (g *stallGate) check() error {
	if g.store == nil {
		return nil
	}
	began := g.store.StoringSince()
	if began.IsZero() {
		return nil
	}
	now := time.Now()
	if now.Sub(began) < stallLimit {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !began.Equal(g.stalled) {
		if now.Sub(g.closed) >= stallPause {
			g.again = 0
		}
		if now.Sub(began) < g.limitLocked() {
			return nil
		}
		g.stalled, g.closed = began, now
		g.again++
		g.log.Error("the log's disk hangs; leaving leadership to another server", "for", now.Sub(began).Round(time.Millisecond))
	}
	return fmt.Errorf("the log's disk hangs: storing for %v", now.Sub(began).Round(time.Millisecond))
}

// limitLocked returns for how long a StoreLogs may take now.
func (g *stallGate) limitLocked() time.Duration {
	if g.again == 0 {
		return stallLimit
	}
	return stallAgain << min(g.again-1, 6) // a minute is too long for anyone
}
