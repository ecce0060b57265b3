package diskqueue

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// A batch is what was put between two rounds. One fsync is for all of it.
type batch struct {
	done chan struct{} // closed when err is final
	err  error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// Sync returns when everything that was put before is on disk. Concurrent calls
// share an fsync: one is in progress, and the next covers all who came meanwhile.
//
// It returns an error if the fsync failed that covers what was put last. Then
// nothing more goes to that segment, as no later fsync of it can be believed.
// With several publishers, only SyncEvery 1 lets each know of its own messages.
func (q *Queue) Sync() error {
	q.mu.Lock()
	b := q.batch
	if q.unsynced == 0 {
		if b = q.running; b == nil {
			err := q.failed
			q.mu.Unlock()
			return err
		}
	}
	q.mu.Unlock()
	return q.wait(b)
}

// wait returns what became of b: the first who comes does it for all.
func (q *Queue) wait(b *batch) error {
	q.mu.Lock()
	for {
		select {
		case <-b.done:
			q.mu.Unlock()
			return b.err
		default:
		}
		if running := q.running; running != nil {
			q.mu.Unlock()
			<-running.done
			q.mu.Lock()
			continue
		}
		q.round(q.beginLocked(), false, false)
		q.mu.Lock()
	}
}

// beginLocked waits until no round is in progress and begins one. While it lasts
// its caller alone syncs, writes the meta file and closes what is open for writing.
func (q *Queue) beginLocked() *batch {
	for q.running != nil {
		running := q.running
		q.mu.Unlock()
		<-running.done
		q.mu.Lock()
	}
	q.running, q.batch = q.batch, newBatch()
	q.unsynced = 0
	return q.running
}

func (q *Queue) endLocked(b *batch, err error) {
	b.err = err
	q.running = nil
	if err != nil {
		q.failed = err
	}
	close(b.done)
}

// flush puts everything on disk, the positions too, and removes what is released.
func (q *Queue) flush(shut bool) error {
	q.mu.Lock()
	return q.round(q.beginLocked(), true, shut)
}

// round does the work of batch b. With positions it also writes the meta file
// and removes the segments that are released, and with shut it closes the files
// if nothing was put meanwhile. It is called with mu held, and returns without.
func (q *Queue) round(b *batch, positions, shut bool) error {
	rolled, out, created := q.rolled, q.out, q.created
	q.rolled, q.created = nil, false
	q.advanceLocked()
	state, moved := q.stateLocked(), q.moved
	full := q.full
	if positions {
		q.full = false
	}
	q.mu.Unlock()

	// Messages before the positions that say they are there.
	var errs []error
	for _, f := range rolled {
		errs = append(errs, f.Sync())
		f.Close()
	}
	if out != nil {
		if err := out.Sync(); err != nil {
			errs = append(errs, err)
			q.abandon(out)
		}
	}
	if created {
		if err := q.dir.Sync(); err != nil {
			errs = append(errs, err)
			q.mu.Lock()
			q.created = true
			q.mu.Unlock()
		}
	}
	err := errors.Join(errs...)
	if err != nil {
		err = fmt.Errorf("sync disk queue %s: %w", q.name, err)
		q.report(err)
	}
	var errMeta error
	if positions {
		errMeta = q.settle(state, moved, full)
		q.report(errMeta)
	}
	if shut {
		q.shut()
	}

	q.mu.Lock()
	q.endLocked(b, err)
	q.mu.Unlock()
	return errors.Join(err, errMeta)
}

// settle writes the positions s, if they moved, and removes the segments before
// them. If the disk is full it removes those of a drained queue too.
func (q *Queue) settle(s state, moved, full bool) error {
	var err error
	if moved {
		err = q.writeMeta(s)
	}
	q.mu.Lock()
	removes := q.indexLocked(s.released.segment) > 0
	q.mu.Unlock()
	if removes {
		// If the disk is full, this is what makes room for the meta file.
		if err != nil {
			q.forgetMeta()
		}
		errRemove := q.removeReleased(s.released)
		if err != nil {
			err = q.writeMeta(s)
		}
		err = errors.Join(err, errRemove)
	}
	if full || isFull(err) {
		if drained, errDrained := q.removeDrained(); drained {
			return errDrained
		}
	}
	return err
}

// isFull says whether err is that of a disk without room for us.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// giveBack removes from a full disk what the queue does not need. It returns
// false if there is no such thing.
func (q *Queue) giveBack() bool {
	q.mu.Lock()
	if !q.drainedLocked() && q.indexLocked(q.releasedLocked().segment) == 0 {
		q.mu.Unlock()
		return false
	}
	q.full = true
	b := q.beginLocked()
	// After Close the files may be another queue's. A Close that comes now waits
	// for this round.
	q.round(b, !q.closed, false) // which reports
	return true
}

// removeDrained removes all segments of a queue that has nothing to read and
// nothing held. It returns false if the queue has, or has no segments. It is
// called in a round.
func (q *Queue) removeDrained() (bool, error) {
	q.writing.Lock()
	defer q.writing.Unlock()
	q.reading.Lock()
	defer q.reading.Unlock()
	q.mu.Lock()
	if !q.drainedLocked() {
		q.mu.Unlock()
		return false, nil
	}
	segments, s := q.clear()
	q.o.Log.Warn(fmt.Sprintf("DISKQUEUE(%s): disk is full, removing what was read", q.name), "segments", len(segments))
	err := q.writeMeta(s)
	if err != nil {
		q.forgetMeta()
	}
	errRemove := q.removeSegments(segments)
	if err != nil {
		err = q.writeMeta(s)
	}
	return true, errors.Join(err, errRemove)
}

// abandon closes the last segment, of which an fsync has failed: the kernel may
// have dropped what it could not write, and report success the next time.
func (q *Queue) abandon(f file) {
	q.writing.Lock()
	defer q.writing.Unlock()
	q.mu.Lock()
	if q.out == f {
		q.out, q.sealed = nil, true
	} else {
		q.rolled = slices.DeleteFunc(q.rolled, func(r file) bool { return r == f })
	}
	q.mu.Unlock()
	f.Close()
}

// removeReleased removes the segments before the position from.
func (q *Queue) removeReleased(from position) error {
	q.mu.Lock()
	n := q.indexLocked(from.segment)
	gone := slices.Clone(q.segments[:n])
	q.mu.Unlock()
	err := q.removeSegments(gone)
	// One that could not be removed is forgotten all the same; the next Open
	// sees it before its beginning and removes it.
	q.mu.Lock()
	q.segments = slices.Delete(q.segments, 0, n)
	q.mu.Unlock()
	return err
}

func (q *Queue) removeSegments(gone []*segment) error {
	var errs []error
	for _, s := range gone {
		name := q.file(s.number)
		var err error
		if s.keep {
			err = q.dir.Rename(name, name+".bad")
		} else {
			err = q.dir.Remove(name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove a segment that was read: %w", err))
		}
	}
	return errors.Join(errs...)
}

// shut closes the files of a queue at rest. The next Put or Next opens them.
func (q *Queue) shut() {
	q.writing.Lock()
	q.mu.Lock()
	var files []file
	if q.unsynced == 0 {
		files = q.openLocked()
	}
	q.mu.Unlock()
	for _, f := range files {
		f.Close()
	}
	q.writing.Unlock()

	q.reading.Lock()
	q.closeReader()
	q.window.keep, q.lengths = nil, nil
	q.reading.Unlock()
}

// changedLocked sees to it that what has changed is on disk after SyncTimeout.
func (q *Queue) changedLocked() {
	q.activity++
	q.moved = true
	if !q.armed {
		q.armLocked(q.o.SyncTimeout)
	}
}

// armLocked has tick run after d, or earlier if it is due anyway.
func (q *Queue) armLocked(d time.Duration) {
	switch {
	case q.closed:
	case !q.armed:
		q.armed = true
		q.background.Add(1)
		q.timer.Reset(d)
	case d > 0:
	case q.timer.Stop():
		q.timer.Reset(0)
	default:
		q.again = true // tick is running
	}
}

// tick is what a queue does in the background, on a goroutine of its timer: it
// puts on disk what has changed, and closes the files of a queue that rests.
// It runs again after SyncTimeout for as long as there is something of either.
func (q *Queue) tick() {
	q.mu.Lock()
	rests := q.activity == q.seen && q.unsynced == 0
	q.seen = q.activity
	q.again = false
	q.mu.Unlock()

	err := q.flush(rests)

	q.mu.Lock()
	q.armed = false
	defer q.background.Done()
	switch {
	case q.again:
		q.armLocked(0)
	case !rests || err != nil:
		q.armLocked(q.o.SyncTimeout)
	}
	q.mu.Unlock()
}
