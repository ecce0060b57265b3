package diskqueue

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ErrClosed is returned by what is called on a queue after Close or Delete.
var ErrClosed = errors.New("diskqueue: closed")

// Options of a queue. The zero value holds the defaults.
type Options struct {
	// MaxBytesPerFile (--max-bytes-per-file, 104857600) is how long a segment
	// may get; a message that is longer has one for itself.
	MaxBytesPerFile int64

	// MinMessage (0) and MaxMessage (1 MiB and 26 bytes) bound the length of a
	// message. A length beyond them in a file is damage.
	MinMessage, MaxMessage int

	// SyncEvery (--sync-every, 2500) is after how many messages an fsync is
	// begun in the background; a Put that is a second such number ahead waits
	// for it. At 1, Put returns after the fsync that covers its messages.
	// Negative: only Sync, SyncTimeout and Close do it.
	SyncEvery int64

	// SyncTimeout (--sync-timeout, 2s) is how long after a change messages and
	// positions are on disk at the latest.
	SyncTimeout time.Duration

	// Hold keeps messages that Next returned on disk until Release.
	Hold bool

	// Plausible says whether a message may begin with these MinMessage bytes.
	// With it, what comes after damage in a segment is found again; without it
	// (nil), damage costs the rest of its segment.
	Plausible func(head []byte) bool

	// Log (nil: none) is told what Failed is told.
	Log hclog.Logger

	// Failed (nil: none) is told of damage (*Damage) and of failures of which no
	// caller is told: those of background work. It must not call the queue.
	Failed func(error)
}

func (o Options) withDefaults() Options {
	if o.MaxBytesPerFile <= 0 {
		o.MaxBytesPerFile = 100 << 20
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 1<<20 + 26
	}
	o.MaxMessage = min(o.MaxMessage, 1<<31-1)
	o.MinMessage = max(o.MinMessage, 0)
	if o.SyncEvery == 0 {
		o.SyncEvery = 2500
	}
	if o.SyncTimeout <= 0 {
		o.SyncTimeout = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return o
}

// Damage is a part of a file that no message could be read from.
type Damage struct {
	File     string // its name, without the folder
	From, To int64  // offsets in it, as far as they are known
	Reason   string
}

func (d *Damage) Error() string {
	if d.From >= d.To {
		return fmt.Sprintf("diskqueue: %s is damaged: %s", d.File, d.Reason)
	}
	return fmt.Sprintf("diskqueue: %s is damaged from %d to %d: %s", d.File, d.From, d.To, d.Reason)
}

// unknown is the number of messages left in a segment of an earlier process that
// was not counted.
const unknown = -1

// A segment is one data file.
type segment struct {
	number int64
	size   int64 // what of the file is ours; only grows, unless the file shrank
	left   int64 // messages that Next has not returned, or unknown
	kept   bool  // there is a .bad of it
	keep   bool  // to be renamed to .bad instead of removed
}

// A position is a place in the queue. One that is at the end of a segment, or in
// one that is gone, means the beginning of the next.
type position struct{ segment, offset int64 }

// A held is a run of messages that Next returned together and that are not
// released.
type held struct {
	at      position // where the first of them begins
	lengths []int32
}

// A Queue is a FIFO of byte slices on disk, in the file format of
// nsqio/go-diskqueue 1.1.
type Queue struct {
	// Read-only after Open.
	dir    disk
	name   string
	o      Options
	format format

	// writing is held by whoever appends, over write(2) and the opening of a
	// segment, as appends to one file have to be in a row. Not over an fsync,
	// but for one case that is told at write.
	writing sync.Mutex
	begun   bool // there is a meta file, perhaps an empty one

	// reading is held by whoever reads, over pread(2).
	reading  sync.Mutex
	in       file // nil: closed
	inNumber int64
	window   window
	lengths  []int32  // of one Next, to be used again
	strikes  int      // how often reading failed at
	struck   position // this place

	// mu guards what follows. It is held over no I/O. Whoever has one of the
	// locks above takes it after that.
	mu       sync.Mutex
	segments []*segment // in order; what is before the released position is to be removed
	next     int64      // the number of the segment to come
	head     position   // of Next
	held     []held
	holding  int64 // messages in held
	depth    int64
	skipped  bool    // damage was reported that made the depth wrong, perhaps
	missed   *Damage // that the next Next reports
	sealed   bool    // the last segment gets no more
	out      file    // the last segment, if open; replaced only under writing
	rolled   []file  // earlier ones, which the next round syncs and closes
	created  bool    // a segment was, since the folder was synced
	moved    bool    // the positions are others than in the meta file
	full     bool    // a Put found the disk full: the next round gives back what it can

	batch    *batch // what was put since the last round began
	running  *batch // what the round in progress covers; nil: none is
	unsynced int64  // messages of batch
	failed   error  // of the last round, until the next Put

	hasMeta bool // the meta file's name is on disk; of the round in progress

	timer    *time.Timer
	armed    bool // the timer runs or tick does; background counts it
	again    bool // tick is wanted again at once
	activity int64
	seen     int64 // activity when tick last looked
	closed   bool

	background sync.WaitGroup // tick
	closing    sync.Once
	closeErr   error
}

// Open opens the queue called name in the folder dir, or makes a new one. It
// creates no file before the first Put.
//
// What a process that died had put and synced is there, and counts in Depth;
// what it had taken may come again, as far back as SyncTimeout, as may what it
// had taken and not released. Half a message at the end of a segment is cut off
// and reported, and so is a segment that is missing, or shorter than it was.
func Open(dir, name string, o Options) (*Queue, error) {
	return open(osDisk(dir), name, o)
}

func open(dir disk, name string, o Options) (*Queue, error) {
	o = o.withDefaults()
	q := &Queue{
		dir:    dir,
		name:   name,
		o:      o,
		format: format{min: o.MinMessage, max: o.MaxMessage, plausible: o.Plausible},
		batch:  newBatch(),
	}
	q.window.format = q.format
	q.timer = time.AfterFunc(time.Hour, q.tick)
	q.timer.Stop()
	if err := q.recover(); err != nil {
		return nil, fmt.Errorf("open disk queue %s: %w", name, err)
	}
	return q, nil
}

func (q *Queue) file(number int64) string {
	return fmt.Sprintf("%s.diskqueue.%06d.dat", q.name, number)
}

func (q *Queue) meta() string { return q.name + ".diskqueue.meta.dat" }

// Depth returns how many messages were put and not yet returned by Next. After
// damage it may be too high until Next has passed the segment; it is 0 if and
// only if there is nothing left to read.
func (q *Queue) Depth() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advanceLocked()
	if q.head == q.tailLocked() {
		return 0
	}
	return max(q.depth, 1)
}

// Empty drops everything, what is held too, and removes the files. Messages that
// Next returned before must not be released after it.
func (q *Queue) Empty() error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	q.mu.Unlock()
	q.o.Log.Info(fmt.Sprintf("DISKQUEUE(%s): emptying", q.name))
	return q.drop(false)
}

// Delete is Empty and Close, and leaves no file behind but what is called .bad.
func (q *Queue) Delete() error {
	q.o.Log.Info(fmt.Sprintf("DISKQUEUE(%s): deleting", q.name))
	q.stop()
	return q.drop(true)
}

// drop removes every segment, and with meta the meta file, otherwise written anew.
func (q *Queue) drop(meta bool) error {
	q.mu.Lock()
	round := q.beginLocked()
	q.mu.Unlock()
	q.writing.Lock()
	q.reading.Lock()

	q.mu.Lock()
	segments, state := q.clear()
	q.window = window{format: q.format}

	// Positions first, so that a crash leaves either the whole queue or none of
	// it. But the disk may be full, and this be what makes room.
	var errs []error
	written := false
	if !meta {
		written = q.writeMeta(state) == nil
	}
	if !written && len(segments) > 0 {
		q.forgetMeta()
	}
	for _, s := range segments {
		if err := q.dir.Remove(q.file(s.number)); err != nil {
			errs = append(errs, fmt.Errorf("empty disk queue %s: %w", q.name, err))
		}
	}
	if meta {
		errs = append(errs, q.dir.Remove(q.meta()))
	} else if !written {
		errs = append(errs, q.writeMeta(state))
	}

	q.reading.Unlock()
	q.writing.Unlock()
	q.mu.Lock()
	q.endLocked(round, nil)
	q.mu.Unlock()
	return errors.Join(errs...)
}

// clear forgets all segments, closes what is open of them, and returns them, with
// the positions behind them. It is called in a round, with all locks held, and
// returns without mu.
func (q *Queue) clear() ([]*segment, state) {
	files, segments := q.openLocked(), q.segments
	q.segments, q.held, q.holding, q.depth = nil, nil, 0, 0
	q.sealed, q.skipped, q.missed = false, false, nil
	q.head = position{segment: q.next}
	q.moved = true
	s := q.stateLocked()
	q.mu.Unlock()
	for _, f := range files {
		f.Close()
	}
	q.closeReader()
	return segments, s
}

// Close puts everything on disk and closes the files. What is held comes again
// at the next Open. Close may be called twice.
func (q *Queue) Close() error {
	q.closing.Do(func() {
		q.o.Log.Debug(fmt.Sprintf("DISKQUEUE(%s): closing", q.name))
		q.stop()
		q.closeErr = q.flush(true)
	})
	return q.closeErr
}

// stop lets nothing new begin and waits for the background.
func (q *Queue) stop() {
	q.mu.Lock()
	q.closed = true
	if q.armed && q.timer.Stop() {
		q.armed = false
		q.background.Done()
	}
	q.mu.Unlock()
	q.background.Wait()
	// Who was let in before has come out.
	q.writing.Lock()
	q.reading.Lock()
	q.lengths = nil
	q.reading.Unlock()
	q.writing.Unlock()
}

// openLocked takes the files out of the queue that are open for writing.
func (q *Queue) openLocked() []file {
	files := q.rolled
	if q.out != nil {
		files = append(files, q.out)
	}
	q.rolled, q.out = nil, nil
	return files
}

// indexLocked returns the index of the first segment whose number is number or
// above.
func (q *Queue) indexLocked(number int64) int {
	i, _ := slices.BinarySearchFunc(q.segments, number, func(s *segment, n int64) int { return cmp.Compare(s.number, n) })
	return i
}

// advanceLocked moves the head from the end of a segment to the beginning of the
// next, if there is one. So a position that is written to the meta file is never
// at the end of a segment that a next one follows, which the library would take
// for damage.
func (q *Queue) advanceLocked() {
	for {
		i := q.indexLocked(q.head.segment)
		if i == len(q.segments) {
			return
		}
		s := q.segments[i]
		if s.number > q.head.segment {
			q.head = position{segment: s.number}
			q.moved = true
		}
		if q.head.offset < s.size {
			return
		}
		if s.left > 0 {
			// Damage took them.
			q.depth -= s.left
			s.left = 0
			q.moved = true
		}
		if s.left == unknown {
			s.left = 0
			if i+1 == len(q.segments) || q.segments[i+1].left != unknown {
				q.settleDepthLocked(s, q.segments[i+1:])
			}
		}
		if i+1 == len(q.segments) {
			if q.depth != 0 {
				q.depth = 0
				q.moved = true
			}
			return
		}
		q.head = position{segment: q.segments[i+1].number}
		q.moved = true
	}
}

// settleDepthLocked makes the depth exact when Next has passed last, the last of
// the segments that were not counted: only now it is known whether they had as
// many messages as the meta file said.
func (q *Queue) settleDepthLocked(last *segment, rest []*segment) {
	var depth int64
	for _, s := range rest {
		depth += s.left
	}
	missing := q.depth - depth
	if missing > 0 && !q.skipped {
		q.missed = &Damage{File: q.file(last.number), Reason: fmt.Sprintf("in the segments up to this one %d messages are missing", missing)}
	}
	if missing != 0 {
		q.depth = depth
		q.moved = true
	}
}

// tailLocked returns where the next message goes, as far as is known now.
func (q *Queue) tailLocked() position {
	if n := len(q.segments); n > 0 {
		return position{q.segments[n-1].number, q.segments[n-1].size}
	}
	return position{segment: q.next}
}

// drainedLocked says whether there are segments and nothing in them is needed.
func (q *Queue) drainedLocked() bool {
	q.advanceLocked()
	return len(q.segments) > 0 && len(q.held) == 0 && q.head == q.tailLocked()
}

// releasedLocked returns where the next Open begins to read.
func (q *Queue) releasedLocked() position {
	if len(q.held) > 0 {
		return q.held[0].at
	}
	return q.head
}

// report tells of damage and of failures in the background.
func (q *Queue) report(err error) {
	if err == nil {
		return
	}
	q.o.Log.Error(fmt.Sprintf("DISKQUEUE(%s) failed", q.name), "err", err)
	if q.o.Failed != nil {
		q.o.Failed(err)
	}
}
