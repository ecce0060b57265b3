package lookupd

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// What follows are open bugs of hashicorp/raft that leave a node useless until
// its process ends. They can be told by their symptoms, and so it ends.

// transferWatch sees a leadership transfer that never comes to an end
// (hashicorp/raft#696): one of its goroutines waits for ever, the mark that a
// transfer is under way stays, over the end of the leadership and into the
// next, and the leader refuses every write for as long as it leads.
type transferWatch struct {
	limit time.Duration // for how long a leader may refuse

	mu    sync.Mutex
	term  uint64
	since time.Time // when the leader of term began to refuse; zero: it does not
}

// newTransferWatch returns a watch for a given election time-out. An honest
// transfer is given up after one, but its request to a server that has just
// gone silent is not: that takes two of Raft's RPC time-outs of 1 s, to dial and
// to be answered.
func newTransferWatch(election time.Duration) *transferWatch {
	return &transferWatch{limit: 3*election + 2*time.Second}
}

// note takes the outcome of one raft.Apply in term, and reports whether the
// transfer is stuck.
func (w *transferWatch) note(err error, term uint64, now time.Time) (stuck bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		w.since = time.Time{}
		return false
	}
	if w.since.IsZero() || w.term != term {
		w.term, w.since = term, now
	}
	return now.Sub(w.since) > w.limit
}

// refusing reports whether the last outcome noted was a refusal.
func (w *transferWatch) refusing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.since.IsZero()
}

const (
	// maxInstalls snapshots within installWindow, with nothing applied from
	// the log between them, are one too many.
	maxInstalls   = 3
	installWindow = time.Minute
)

// installWatch sees a follower that the leader sends one snapshot after the
// other (hashicorp/raft#697): installing one does not remove a tail of the log
// that conflicts with it, by which the follower refuses the entries after it, so
// that the leader sends it a snapshot. For ever.
//
// It belongs to the goroutine on which Raft calls the state machine.
type installWatch struct {
	installs []time.Time // within installWindow, since an entry was applied
}

// installing notes that a snapshot is about to be installed, and reports whether
// that leads nowhere.
func (w *installWatch) installing(now time.Time) (looping bool) {
	for len(w.installs) > 0 && now.Sub(w.installs[0]) > installWindow {
		w.installs = w.installs[1:]
	}
	w.installs = append(w.installs, now)
	return len(w.installs) > maxInstalls
}

// applied notes that an entry was applied.
func (w *installWatch) applied() { w.installs = w.installs[:0] }
