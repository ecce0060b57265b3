package diskqueue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// maxStrikes is how often reading at one place may fail before what is left of
// its segment is given up: a bad sector must not end a queue, nor a cable that is
// loose for a moment cost a segment.
const maxStrikes = 3

// Next takes messages from the head of the queue, at most maxMessages, and not
// more than maxBytes of them, but at least one if there is one. If there is none
// it returns nil and no error. It may return fewer than there are.
//
// The messages share one allocation that is the caller's. After an error the
// queue is where it was, and Next may be called again. Damage is not an error:
// it is passed over, reported, and the segment kept with .bad behind its name.
func (q *Queue) Next(maxMessages, maxBytes int) ([][]byte, error) {
	q.reading.Lock()
	messages, damage, err := q.take(maxMessages, maxBytes)
	q.reading.Unlock()
	for _, d := range damage {
		q.report(d)
	}
	if err != nil {
		return nil, fmt.Errorf("read from disk queue %s: %w", q.name, err)
	}
	return messages, nil
}

func (q *Queue) take(maxMessages, maxBytes int) (messages [][]byte, damage []error, err error) {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return nil, damage, ErrClosed
		}
		q.advanceLocked()
		damage = q.appendMissedLocked(damage)
		head, tail := q.head, q.tailLocked()
		var s *segment
		if head != tail {
			s = q.segments[q.indexLocked(head.segment)]
			q.window.end = s.size
		}
		q.mu.Unlock()

		if s == nil {
			// Level with the writer. Its file may be removed before more comes.
			if q.in != nil && q.inNumber != tail.segment {
				q.closeReader()
			}
			return nil, damage, nil
		}
		reason, err := q.locate(s, head.offset)
		var short *shortError
		switch {
		case errors.As(err, &short):
			damage = append(damage, q.shrink(s, short.end))
			if err := q.recount(s); err != nil {
				return nil, damage, err
			}
			continue
		case err != nil:
			if reason, err = q.strike(head, err); err != nil {
				return nil, damage, err
			}
			damage = append(damage, q.skip(s, head.offset, q.window.end, reason))
			continue
		case reason != "":
			to, err := q.window.resume(head.offset)
			if errors.As(err, &short) {
				damage = append(damage, q.shrink(s, short.end))
				continue
			}
			if err != nil {
				if reason, err = q.strike(head, err); err != nil {
					return nil, damage, err
				}
				to = q.window.end
			}
			damage = append(damage, q.skip(s, head.offset, to, reason))
			if err := q.recount(s); err != nil {
				return nil, damage, err
			}
			continue
		}

		to := q.gather(head.offset, maxMessages, maxBytes)
		memory := slices.Clone(q.window.bytes(head.offset, to-head.offset))
		messages = make([][]byte, len(q.lengths))
		at := 0
		for i, n := range q.lengths {
			at += prefix
			messages[i] = memory[at : at+int(n) : at+int(n)]
			at += int(n)
		}

		q.mu.Lock()
		q.head.offset = to
		n := int64(len(messages))
		q.depth -= n
		if s.left != unknown {
			s.left -= n
		}
		if q.o.Hold {
			q.held = append(q.held, held{at: head, lengths: slices.Clone(q.lengths)})
			q.holding += n
		}
		q.advanceLocked()
		damage = q.appendMissedLocked(damage)
		q.changedLocked()
		q.mu.Unlock()
		return messages, damage, nil
	}
}

func (q *Queue) appendMissedLocked(damage []error) []error {
	if q.missed != nil {
		damage = append(damage, q.missed)
		q.missed = nil
	}
	return damage
}

// locate has the window at offset of s. reason is not empty if the segment is
// damaged there.
func (q *Queue) locate(s *segment, offset int64) (reason string, err error) {
	if q.in == nil || q.inNumber != s.number {
		q.closeReader()
		f, err := q.dir.Open(q.file(s.number), os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) {
			return "", &shortError{end: 0}
		}
		if err != nil {
			return "", err
		}
		q.in, q.inNumber = f, s.number
		q.window.file = f
		q.window.buf = nil
	}
	n, ok, err := q.window.frame(offset)
	if err != nil {
		return "", err
	}
	if !ok {
		if peek := q.window.peek(); offset+peek <= q.window.end {
			return fmt.Sprintf("no message there: its length reads %d, allowed are %d to %d, and %d bytes are left",
				n, q.format.min, q.format.max, q.window.end-offset-prefix), nil
		}
		return "too short for a message", nil
	}
	return "", nil
}

// gather puts the lengths of the messages from offset on into q.lengths: of the
// first, which the window has, and those after it that it has too. It returns
// where they end.
func (q *Queue) gather(offset int64, maxMessages, maxBytes int) (end int64) {
	w := &q.window
	q.lengths = q.lengths[:0]
	var bytes int64
	for {
		n, _ := w.begins(offset)
		q.lengths = append(q.lengths, int32(n))
		bytes += n
		offset += prefix + n
		if len(q.lengths) >= maxMessages || offset == w.end || !w.has(offset, w.peek()) {
			return offset
		}
		n, ok := w.begins(offset)
		if !ok || bytes+n > int64(maxBytes) || !w.has(offset, prefix+n+w.peek()) {
			return offset
		}
		if _, ok, err := w.frame(offset); !ok || err != nil {
			return offset
		}
	}
}

func (q *Queue) closeReader() {
	if q.in != nil {
		q.in.Close()
	}
	q.in = nil
	q.window = window{format: q.format, end: q.window.end, keep: q.window.keep}
}

// strike counts failures to read at one place. It returns the failure, or the
// reason to give the place up.
func (q *Queue) strike(at position, err error) (string, error) {
	if !errors.Is(err, syscall.EIO) {
		return "", err
	}
	if at != q.struck {
		q.struck, q.strikes = at, 0
	}
	if q.strikes++; q.strikes < maxStrikes {
		return "", err
	}
	q.struck, q.strikes = position{}, 0
	return err.Error(), nil
}

// shrink is told that a segment has become shorter. What it has left is read.
func (q *Queue) shrink(s *segment, end int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := &Damage{File: q.file(s.number), From: end, To: s.size, Reason: "the file is shorter than it was, or gone"}
	end = max(end, q.head.offset)
	s.size = end
	q.skipped = true
	if q.segments[len(q.segments)-1] == s {
		q.sealed = true
	}
	return d
}

// skip passes over the damage between from and to.
func (q *Queue) skip(s *segment, from, to int64, reason string) error {
	q.mu.Lock()
	q.head.offset = to
	q.skipped = true
	if q.segments[len(q.segments)-1] == s {
		// What is put from now on must not depend on what this segment holds.
		q.sealed = true
	}
	kept := s.kept
	s.kept = true
	q.changedLocked()
	q.mu.Unlock()
	if !kept {
		q.keep(s)
	}
	return &Damage{File: q.file(s.number), From: from, To: to, Reason: reason}
}

// keep gives a damaged segment a second name, so that its removal leaves it for
// whoever wants to see it. Where there are no links it is renamed at the end.
func (q *Queue) keep(s *segment) {
	name := q.file(s.number)
	bad := name + ".bad"
	err := q.dir.Link(name, bad)
	if errors.Is(err, fs.ErrExist) && !q.dir.Same(name, bad) {
		if err = q.dir.Remove(bad); err == nil { // of an earlier queue of this name
			err = q.dir.Link(name, bad)
		}
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		q.mu.Lock()
		s.keep = true
		q.mu.Unlock()
	}
}

// recount makes the depth right after damage in a segment of which nobody knew
// how many messages it has, which makes it unknown how many the others have.
func (q *Queue) recount(s *segment) error {
	q.mu.Lock()
	if s.left != unknown {
		q.mu.Unlock()
		return nil
	}
	type part struct {
		s        *segment
		from, to int64
	}
	var parts []part
	for _, s := range q.segments[q.indexLocked(q.head.segment):] {
		if s.left == unknown {
			p := part{s: s, to: s.size}
			if s.number == q.head.segment {
				p.from = q.head.offset
			}
			parts = append(parts, p)
			s.left = 0 // what is put from now on counts
		}
	}
	q.mu.Unlock()

	for i, p := range parts {
		n, err := q.count(p.s.number, p.from, p.to)
		q.mu.Lock()
		if err != nil {
			for _, p := range parts[i:] {
				p.s.left = unknown
			}
			q.mu.Unlock()
			return err
		}
		p.s.left += n
		q.mu.Unlock()
	}
	q.mu.Lock()
	q.depth = 0
	for _, s := range q.segments[q.indexLocked(q.head.segment):] {
		q.depth += s.left
	}
	q.mu.Unlock()
	return nil
}

// count returns how many messages Next would find in a part of a segment.
func (q *Queue) count(number, from, to int64) (int64, error) {
	f, err := q.dir.Open(q.file(number), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := window{format: q.format, file: f, end: to}
	n, _, _, err := w.count(from)
	var short *shortError
	if errors.As(err, &short) {
		w.end = min(short.end, to)
		w.buf = nil
		if w.end > from {
			n, _, _, err = w.count(from)
		} else {
			n, err = 0, nil
		}
	}
	return n, err
}

// Release lets go of the first n messages that Next returned and that are not
// released: the next Open will not return them, and a segment is removed when it
// holds nothing else. It needs Options.Hold. More than there are means all.
func (q *Queue) Release(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for n > 0 && len(q.held) > 0 {
		first := &q.held[0]
		if have := int64(len(first.lengths)); have <= n {
			n -= have
			q.holding -= have
			q.held[0] = held{}
			q.held = q.held[1:]
			continue
		}
		for _, length := range first.lengths[:n] {
			first.at.offset += prefix + int64(length)
		}
		first.lengths = first.lengths[n:]
		q.holding -= n
		n = 0
	}
	q.changedLocked()
}
