package diskqueue

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxMeta bounds the meta file: five numbers of at most 20 digits.
const maxMeta = 256

// maxProbe is how many segments are looked for by name; beyond, and where one is
// missing, the folder is listed. Thousands of queues that each list a folder of
// thousands of files would take long to open.
const maxProbe = 1 << 10

// A state is what the meta file says.
type state struct {
	depth    int64 // messages between the two positions
	released position
	tail     position
}

func (q *Queue) stateLocked() state {
	return state{depth: q.depth + q.holding, released: q.releasedLocked(), tail: q.tailLocked()}
}

// String is the content of the meta file.
func (s state) String() string {
	return fmt.Sprintf("%d\n%d,%d\n%d,%d\n", s.depth, s.released.segment, s.released.offset, s.tail.segment, s.tail.offset)
}

func parseState(text []byte) (s state, err error) {
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(lines) != 3 {
		return state{}, fmt.Errorf("%d lines, not 3", len(lines))
	}
	fields := append(strings.Split(string(lines[1]), ","), strings.Split(string(lines[2]), ",")...)
	if len(fields) != 4 {
		return state{}, fmt.Errorf("%d positions, not 4", len(fields))
	}
	if s.depth, err = strconv.ParseInt(string(lines[0]), 10, 64); err != nil {
		return state{}, err
	}
	for i, into := range []*int64{&s.released.segment, &s.released.offset, &s.tail.segment, &s.tail.offset} {
		if *into, err = strconv.ParseInt(fields[i], 10, 64); err != nil {
			return state{}, err
		}
		if *into < 0 || *into > 1<<60 {
			return state{}, fmt.Errorf("position %d", *into)
		}
	}
	if s.tail.before(s.released) {
		return state{}, fmt.Errorf("the read position %d,%d is beyond the write position %d,%d",
			s.released.segment, s.released.offset, s.tail.segment, s.tail.offset)
	}
	return s, nil
}

func (p position) before(o position) bool {
	return p.segment < o.segment || p.segment == o.segment && p.offset < o.offset
}

// writeMeta replaces the meta file. Only one round or drop is at it at a time.
func (q *Queue) writeMeta(s state) error {
	err := q.replaceMeta([]byte(s.String()))
	if err != nil {
		return fmt.Errorf("write positions of disk queue %s: %w", q.name, err)
	}
	q.mu.Lock()
	q.moved = q.stateLocked() != s
	q.mu.Unlock()
	return nil
}

func (q *Queue) replaceMeta(text []byte) error {
	name := q.meta()
	f, err := q.dir.Open(name+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	if err == nil {
		err = f.Sync()
	}
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	if err == nil {
		err = q.dir.Rename(name+".tmp", name)
	}
	if err == nil && !q.hasMeta {
		// Without one, segments that were removed cannot be told from none.
		if err = q.dir.Sync(); err == nil {
			q.hasMeta = true
		}
	}
	return err
}

// forgetMeta makes the meta file what it was before the first round: empty, which
// takes no room. The next Open then reads whatever there is. It is for a removal
// of segments of which the positions speak that cannot be written anew: after a
// crash, what was released comes again, but nothing is missed that is not lost.
func (q *Queue) forgetMeta() {
	f, err := q.dir.Open(q.meta(), os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = f.Truncate(0)
		f.Close()
	}
	if err != nil {
		q.report(fmt.Errorf("forget positions of disk queue %s: %w", q.name, err))
	}
}

// recover finds out what the files hold. It believes the meta file only as far as
// they bear it out: it may be older than they are, or missing.
func (q *Queue) recover() error {
	var meta state
	sound := false // the meta file is there and can be read
	text, err := q.dir.Read(q.meta(), maxMeta)
	switch {
	case err == nil:
		q.begun = true
		if len(text) == 0 {
			break // never written
		}
		q.hasMeta = true
		if meta, err = parseState(text); err != nil {
			q.report(&Damage{File: q.meta(), To: int64(len(text)), Reason: err.Error() + "; every segment is read"})
			q.reportOnce()
			meta = state{}
			break
		}
		sound = true
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}

	complete, err := q.find(meta, sound)
	if err != nil {
		return err
	}
	var missing []*Damage
	if sound && !complete {
		missing = q.missing(meta)
	}
	q.head = meta.released
	q.next = max(meta.tail.segment, meta.released.segment)
	if n := len(q.segments); n > 0 {
		q.next = max(q.next, q.segments[n-1].number+1)
	} else {
		q.next, q.head = q.nextOf(meta), position{}
		q.head.segment = q.next
		q.moved = q.hasMeta && (!sound || meta != q.stateLocked())
		q.reportMissing(missing, meta.depth)
		if sound && complete {
			q.removeStale(meta.released.segment)
		}
		return nil
	}
	first := q.segments[0]
	switch {
	case first.number != q.head.segment:
		q.head = position{segment: first.number}
	case q.head.offset > first.size:
		// It was read further than it is long now: there is nothing left of it.
		q.head.offset = first.size
	}

	// What the meta file knows of need not be read: there may be very much of it.
	from := q.head
	trusted := sound && complete && meta.depth >= 0 && meta.released == q.head
	if trusted {
		from = meta.tail
		q.depth = meta.depth
	}
	lost := meta.depth
	for i, s := range q.segments {
		known := trusted && (s.number < from.segment || s.number == from.segment && from.offset > 0)
		if known {
			s.left = unknown
		}
		if s.number < from.segment {
			continue
		}
		offset := int64(0)
		if s.number == from.segment {
			offset = from.offset
		}
		n, err := q.survey(s, offset, i == len(q.segments)-1)
		if err != nil {
			return err
		}
		q.depth += n
		switch {
		case len(missing) == 0 || s.number > meta.tail.segment:
		case s.number == meta.tail.segment && s.size > meta.tail.offset:
			// What is behind the position came after the depth was written.
			before, err := q.count(s.number, q.offsetIn(s), meta.tail.offset)
			if err != nil {
				return err
			}
			lost -= before
		default:
			lost -= n
		}
		if !known {
			s.left = n
		}
	}
	q.advanceLocked()
	q.moved = !sound || q.stateLocked() != meta
	q.reportMissing(missing, lost)
	if trusted {
		q.removeStale(first.number)
	}
	return nil
}

// offsetIn returns where in s there is something to read.
func (q *Queue) offsetIn(s *segment) int64 {
	if s.number == q.head.segment {
		return q.head.offset
	}
	return 0
}

// missing returns what meta knows of and the segments have not.
func (q *Queue) missing(meta state) (all []*Damage) {
	if meta.released == meta.tail {
		return nil // there was nothing to read
	}
	from, to := meta.released.segment, meta.tail.segment
	// Where a segment must at least end.
	least := func(n int64) int64 {
		switch n {
		case to:
			return meta.tail.offset
		case from:
			return meta.released.offset
		}
		return 0
	}
	gone := func(first, last int64) {
		d := &Damage{File: q.file(first), To: least(first), Reason: "the file is gone"}
		if first == from {
			d.From = meta.released.offset
		}
		if last > first {
			d.Reason = fmt.Sprintf("the file is gone, as are all up to %s", q.file(last))
		}
		all = append(all, d)
	}
	next := from
	for _, s := range q.segments {
		if s.number > to {
			break
		}
		if s.number > next {
			gone(next, s.number-1)
		}
		next = s.number + 1
		switch end := least(s.number); {
		case s.size < end:
			all = append(all, &Damage{File: q.file(s.number), From: s.size, To: end, Reason: "the file is shorter than its positions say"})
		case s.size == 0 && s.number < to:
			all = append(all, &Damage{File: q.file(s.number), Reason: emptied})
		}
	}
	if meta.tail.offset == 0 {
		to-- // it need not have been begun
	}
	if next <= to {
		gone(next, to)
	}
	return all
}

const emptied = "the file is empty"

// reportMissing reports what missing has found, and that lost messages went with
// it; below 0 it is not known how many. If it is 0, an earlier Open has reported
// it, or it is an empty segment that a failed Put has left.
func (q *Queue) reportMissing(missing []*Damage, lost int64) {
	if len(missing) == 0 || lost == 0 {
		return
	}
	q.reportOnce()
	for _, d := range missing {
		switch {
		case lost < 0 && d.Reason == emptied:
			continue
		case lost < 0:
		case len(missing) == 1:
			d.Reason += fmt.Sprintf(", %d messages are missing", lost)
		default:
			d.Reason += fmt.Sprintf(", %d messages are missing in all", lost)
		}
		q.report(d)
	}
}

// reportOnce sees to it that the positions are written soon, lest the next Open
// finds the same again.
func (q *Queue) reportOnce() {
	q.mu.Lock()
	q.changedLocked()
	q.mu.Unlock()
}

// nextOf returns the number of the first segment of a queue that has none.
func (q *Queue) nextOf(meta state) int64 {
	n := max(meta.tail.segment, meta.released.segment)
	if meta.tail.offset > 0 || n == meta.released.segment && meta.released.offset > 0 {
		n++ // there was one of that number
	}
	return n
}

// find fills in q.segments. complete is false if one is missing that meta knows,
// or shorter.
func (q *Queue) find(meta state, sound bool) (complete bool, err error) {
	add := func(number int64) (found bool, err error) {
		size, err := q.dir.Size(q.file(number))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		q.segments = append(q.segments, &segment{number: number, size: size})
		return true, nil
	}

	from, to := meta.released.segment, meta.tail.segment
	complete = sound
	if to-from > maxProbe || to < from {
		complete = false
	}
	for n := from; complete && n <= to; n++ {
		found, err := add(n)
		if err != nil {
			return false, err
		}
		// The last may not have been begun yet.
		complete = found || n == to && meta.tail.offset == 0
		if found {
			size := q.segments[len(q.segments)-1].size
			if n == from && size < meta.released.offset || n == to && size < meta.tail.offset || n < to && size == 0 {
				complete = false
				break
			}
		}
	}
	if !complete && q.begun {
		// Something is not as it was: look at everything.
		q.segments = nil
		numbers, err := q.list()
		if err != nil {
			return false, err
		}
		known := int64(0) // segments that are as the meta file has them
		for _, n := range numbers {
			if n < from {
				continue
			}
			found, err := add(n)
			if err != nil {
				return false, err
			}
			if found && n <= to {
				size := q.segments[len(q.segments)-1].size
				if (n > from || size >= meta.released.offset) && (n < to && size > 0 || n == to && size >= meta.tail.offset) {
					known++
				}
			}
		}
		return sound && to >= from && known == to-from+1, nil
	}
	// What was begun after the meta file was written, or without one. Two missing
	// in a row are the end.
	n := to + 1
	if !sound {
		n = 0
	}
	for missing := 0; missing < 2; n++ {
		found, err := add(n)
		if err != nil {
			return false, err
		}
		if missing++; found {
			missing = 0
		}
	}
	return complete, nil
}

// list returns the numbers of all segments of the queue in the folder, in order.
func (q *Queue) list() ([]int64, error) {
	names, err := q.dir.List()
	if err != nil {
		return nil, err
	}
	var numbers []int64
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, q.name+".diskqueue.")
		if !ok {
			continue
		}
		if digits, ok = strings.CutSuffix(digits, ".dat"); !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err == nil && n >= 0 && n < 1<<60 && q.file(n) == name {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// survey counts the messages of s from offset on and cuts off half a one at its
// end. The last segment gets no more messages if it is damaged.
func (q *Queue) survey(s *segment, offset int64, last bool) (int64, error) {
	if offset >= s.size {
		return 0, nil
	}
	f, err := q.dir.Open(q.file(s.number), os.O_RDWR)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := window{format: q.format, file: f, end: s.size}
	n, sound, damaged, err := w.count(offset)
	if err != nil {
		return 0, err
	}
	if sound < s.size {
		torn, err := w.torn(sound)
		if err != nil {
			return 0, err
		}
		if torn {
			q.report(&Damage{File: q.file(s.number), From: sound, To: s.size, Reason: "half a message at the end, cut off"})
			// Should this fail, the rest is not ours all the same, and cut off
			// before anything is appended.
			if err := f.Truncate(sound); err != nil {
				q.report(fmt.Errorf("cut off %s: %w", q.file(s.number), err))
			}
			s.size = sound
			damaged = false
		}
	}
	if damaged && last {
		q.sealed = true
	}
	return n, nil
}

// removeStale removes segments before the first, which a crash has left behind
// after the positions were written that are behind them.
func (q *Queue) removeStale(first int64) {
	for n := first - 1; n >= 0 && n >= first-maxProbe; n-- {
		name := q.file(n)
		if _, err := q.dir.Size(name); err != nil {
			return
		}
		q.o.Log.Warn(fmt.Sprintf("DISKQUEUE(%s): removing a segment that was read", q.name), "file", name)
		if err := q.dir.Remove(name); err != nil {
			q.report(fmt.Errorf("remove a segment that was read: %w", err))
			return
		}
	}
}
