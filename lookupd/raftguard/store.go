package raftguard

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	berrors "go.etcd.io/bbolt/errors"
)

// Backend keeps the log and the stable values of one server, as one thing that
// fails as one: a raft-boltdb file, or memory. Each of its writes must happen
// wholly or not at all, and its log may have gaps (it is no
// raft.MonotonicLogStore).
type Backend interface {
	raft.LogStore
	raft.StableStore
}

var (
	_ raft.LogStore    = (*Store)(nil)
	_ raft.StableStore = (*Store)(nil)
)

// Store decorates a Backend:
//
//   - Every log entry carries a checksum, made by the leader, verified by each
//     server before it stores the entry and whenever it reads it back.
//   - After a failed write, or a read that met damage, it has failed: every
//     later write returns the same error, because an acknowledgement on that log
//     would mean nothing. Reads go on. The one exception is at recoverable.
//   - A vote is written at once, not in two halves; see vote.go.
//   - It tells how long a StoreLogs has been in flight, and how many bytes of log
//     were stored.
//
// A raft.LogCache belongs on top of it, never beneath. Beneath, the cache would
// hide the kind of an error from it (it keeps only the text), and every read
// that the cache serves from memory would be checksummed again.
type Store struct {
	// Read-only after NewStore.
	backend   Backend
	name      string
	onFailure func(error)

	storing atomic.Pointer[time.Time] // when the StoreLogs in flight began
	beside  atomic.Pointer[time.Time] // beginning of the Watch in flight
	bytes   atomic.Int64
	took    lately

	mu       sync.Mutex // guards what follows; never held during a call of backend
	failed   error
	cut      bool    // the log's tail was deleted, and nothing stored since
	voteTerm *uint64 // of a vote whose candidate is still to come
}

// NewStore returns a Store over backend; name says in errors which it is, best
// by the path of its file. When the store fails, onFailure is called once with the
// error, on the goroutine that met it, so it must not wait for Raft. It should
// end the process: Raft goes on being elected over a store that fails (#614).
func NewStore(backend Backend, name string, onFailure func(error)) *Store {
	return &Store{backend: backend, name: name, onFailure: onFailure}
}

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) { return s.backend.FirstIndex() }

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) { return s.backend.LastIndex() }

// GetLog reads the entry at index. The error is raft.ErrLogNotFound if there is
// none, and a *CorruptError if it is not the one that was stored. Raft
// cannot recover from the latter: it panics, or as a leader tries for ever
// to send the entry to a follower. So that fails the store.
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	var l raft.Log // not *log: that must not end up with half an entry
	err := s.backend.GetLog(index, &l)
	switch {
	case errors.Is(err, raft.ErrLogNotFound):
		return raft.ErrLogNotFound // Raft compares with ==
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return fmt.Errorf("%s: read log entry %d: %w", s.name, index, err)
	case err != nil: // undecodable: bbolt's own reads are of memory
		err = &CorruptError{Reason: err.Error()}
	case l.Index != index:
		err = &CorruptError{Reason: fmt.Sprintf("entry %d is in its place", l.Index)}
	default:
		err = Verify(&l)
	}
	if corrupt, ok := errors.AsType[*CorruptError](err); ok {
		corrupt.Store, corrupt.Index = s.name, index
		s.fail(corrupt)
		return corrupt
	}
	*log = l
	return nil
}

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs gives a checksum to each of logs that has none, and verifies the
// others, which come from a leader, before it stores any.
//
// The checksums are written into the entries themselves, for the LogCache above
// keeps those very pointers and serves them to followers. No one else can look at
// an entry meanwhile. On a leader, dispatchLogs calls this on the main goroutine
// with entries inside the futures of Apply: their callers read no more of them
// than the index, and only after the future is answered; replication asks for
// an index only after setLastLog, and the FSM gets the entry only after it is
// committed, both after this has returned. On a follower the entries were just
// decoded for the one request at hand. raft.BootstrapCluster runs alone. So
// there is no other reader before the return, and no writer after it.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	began := time.Now()
	s.storing.Store(&began)
	defer func() {
		s.storing.Store(nil)
		s.took.note(began, time.Now())
	}()

	// A leader that cannot store a change of the configuration steps down, but
	// goes by the new one all the same.
	critical := slices.ContainsFunc(logs, func(l *raft.Log) bool { return l.Type == raft.LogConfiguration })

	err := s.write("store log entries", critical, func() error {
		for _, l := range logs {
			if err := sealOrVerify(l); err != nil {
				return err
			}
		}
		return s.backend.StoreLogs(logs)
	})
	if err != nil {
		return err
	}
	for _, l := range logs {
		s.bytes.Add(int64(len(l.Data) + len(l.Extensions)))
	}
	s.setCut(false)
	return nil
}

// DeleteRange implements raft.LogStore.
func (s *Store) DeleteRange(from, to uint64) error {
	last, err := s.backend.LastIndex()
	if err != nil {
		return fmt.Errorf("%s: find the last log entry: %w", s.name, err)
	}
	err = s.write(fmt.Sprintf("delete log entries %d to %d", from, to), false, func() error {
		return s.backend.DeleteRange(from, to)
	})
	if err == nil && to >= last {
		s.setCut(true)
	}
	return err
}

func (s *Store) setCut(cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = cut
}

// Watch runs a write to the disk of the log that is not one of this Store, so that
// StoringSince knows of it. There must not be two at a time.
func (s *Store) Watch(write func() error) error {
	began := time.Now()
	s.beside.Store(&began)
	defer s.beside.Store(nil)
	return write()
}

// StoringSince returns when the StoreLogs or the Watch now in flight began, the
// earlier of the two; zero if none is. Raft never has two StoreLogs.
func (s *Store) StoringSince() time.Time {
	var since time.Time
	for _, began := range []*time.Time{s.storing.Load(), s.beside.Load()} {
		if began != nil && (since.IsZero() || began.Before(since)) {
			since = *began
		}
	}
	return since
}

// Took returns how long a StoreLogs takes lately: what the last two took at least and
// at most; 0, 0 if there were not two, or the last is older than latelyFor.
func (s *Store) Took() (least, most time.Duration) { return s.took.bounds(time.Now()) }

// LogBytes returns how many bytes of log entries were stored since the last
// ResetLogBytes. It is what a snapshot would spare: Raft counts only entries.
func (s *Store) LogBytes() int64 { return s.bytes.Load() }

// ResetLogBytes starts the count of LogBytes anew.
func (s *Store) ResetLogBytes() { s.bytes.Store(0) }

// write runs one write of the backend, unless the store has failed, and decides
// what a failure means. critical tells that Raft does not undo, in memory,
// what it could not write.
func (s *Store) write(step string, critical bool, do func() error) error {
	if err := s.failure(); err != nil {
		return err
	}
	err := do()
	if err == nil {
		// If another write has failed meanwhile, then this one came after it on
		// the same disk, and may have been reported as synced when it was not.
		return s.failure()
	}
	err = fmt.Errorf("%s: %s: %w", s.name, step, err)
	s.mu.Lock()
	critical = critical || s.cut
	s.mu.Unlock()
	if critical || !recoverable(err) {
		s.fail(err)
	}
	return err
}

// recoverable tells whether after err the store is still as if the write had
// not been tried, on disk, in memory and in the eyes of Raft.
//
// So it is if the entries were refused before they touched the disk, and if bbolt
// found no room for its pages: it writes them beside those in use, and rolls back.
// It is not if fsync found no room, which may have lost anything. What tells
// them apart is that bbolt returns a write's *fs.PathError as it is, but from
// fdatasync a bare errno and from growing the file a bare text.
//
// Raft then steps down, or answers the leader with a failure, and tries again,
// with two exceptions. If it has just deleted the log's conflicting tail, it still
// takes the deleted entry for its last one until the next is stored, and
// could build on it; and see StoreLogs for changes of the configuration.
func recoverable(err error) bool {
	if errors.Is(err, ErrCorrupt) {
		return true
	}
	path, ok := errors.AsType[*fs.PathError](err)
	return ok && path.Op == "write" && (errors.Is(path, syscall.ENOSPC) || errors.Is(path, syscall.EDQUOT))
}

func (s *Store) fail(err error) {
	s.mu.Lock()
	first := s.failed == nil
	if first {
		s.failed = err
	}
	s.mu.Unlock()
	if first {
		s.onFailure(err)
	}
}

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// latelyFor is for how long it counts what a StoreLogs took.
const latelyFor = 5 * time.Second

// lately are what the last two took. One alone says little: a disk may be busy.
type lately struct {
	mu   sync.Mutex
	took [2]time.Duration // the last first; 0: none yet
	end  time.Time        // of the last
}

func (l *lately) note(began, end time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = [2]time.Duration{max(end.Sub(began), 1), l.took[0]}
	l.end = end
}

func (l *lately) bounds(now time.Time) (least, most time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	least, most = slices.Min(l.took[:]), slices.Max(l.took[:])
	if least == 0 || now.Sub(l.end) > latelyFor {
		return 0, 0
	}
	return least, most
}
