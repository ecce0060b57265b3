package diskqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// maxRolled bounds the segments that are written and not synced, and with them
// the open files: a Put that finds so many helps to sync them first.
const maxRolled = 8

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled bounds the memory that waits for the next Put.
const maxPooled = 1 << 20

// Put appends messages, in one write, and keeps none of the slices. After an
// error none of them is in the queue; but if SyncEvery is 1 and it is the fsync
// that failed, they are, and may be lost in a crash.
//
// Where the disk is full, what was read and released is removed before Put gives
// up, down to the last segment of a queue that has nothing else.
//
// Any number of goroutines may call it.
func (q *Queue) Put(messages ...[]byte) error {
	if len(messages) == 0 {
		return nil
	}
	pooled := buffers.Get().(*[]byte)
	frames := (*pooled)[:0]
	for _, m := range messages {
		if err := q.checkLength(len(m)); err != nil {
			return err
		}
		frames = binary.BigEndian.AppendUint32(frames, uint32(len(m)))
		frames = append(frames, m...)
	}
	err := q.put(frames, int64(len(messages)))
	if cap(frames) <= maxPooled {
		*pooled = frames
		buffers.Put(pooled)
	}
	return err
}

// PutFrames is Put for n messages that are encoded already: each of them with its
// length in front of it, as a big-endian int32.
func (q *Queue) PutFrames(frames []byte, n int) error {
	found := 0
	for rest := frames; len(rest) > 0; found++ {
		if len(rest) < prefix {
			return fmt.Errorf("put to disk queue %s: %d bytes after the last message", q.name, len(rest))
		}
		length := int(int32(binary.BigEndian.Uint32(rest)))
		if err := q.checkLength(length); err != nil {
			return err
		}
		if length > len(rest)-prefix {
			return fmt.Errorf("put to disk queue %s: message of %d bytes has only %d", q.name, length, len(rest)-prefix)
		}
		rest = rest[prefix+length:]
	}
	if found != n {
		return fmt.Errorf("put to disk queue %s: %d messages, not %d", q.name, found, n)
	}
	if n == 0 {
		return nil
	}
	return q.put(frames, int64(n))
}

func (q *Queue) checkLength(n int) error {
	if n < q.o.MinMessage || n > q.o.MaxMessage {
		return fmt.Errorf("put to disk queue %s: message of %d bytes, not within %d and %d", q.name, n, q.o.MinMessage, q.o.MaxMessage)
	}
	return nil
}

func (q *Queue) put(frames []byte, n int64) error {
	q.mu.Lock()
	var behind *batch
	if len(q.rolled) >= maxRolled {
		behind = q.batch
	}
	q.mu.Unlock()
	if behind != nil {
		q.wait(behind) // its puts are told what became of it, not this one
	}

	batch, unsynced, err := q.append(frames, n)
	if isFull(err) && q.giveBack() {
		batch, unsynced, err = q.append(frames, n)
	}
	if err != nil {
		return fmt.Errorf("put to disk queue %s: %w", q.name, err)
	}
	every := q.o.SyncEvery
	switch {
	case every == 1:
		err = q.wait(batch)
	case every > 0 && unsynced >= 2*every:
		// Messages that are only late on disk do not make this Put fail: the
		// round reports.
		q.wait(batch)
	case every > 0 && unsynced >= every:
		q.mu.Lock()
		q.armLocked(0)
		q.mu.Unlock()
	}
	return err
}

// A piece is the part of a Put that goes to one segment.
type piece struct {
	segment    *segment
	file       file
	start, end int64
	messages   int64
	created    bool
}

// append writes frames and then lets readers see them, all or none. It returns
// the batch they are part of.
func (q *Queue) append(frames []byte, n int64) (b *batch, unsynced int64, err error) {
	q.writing.Lock()
	defer q.writing.Unlock()

	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil, 0, ErrClosed
	}
	var last piece // without a file: a new one is needed
	if i := len(q.segments); i > 0 && !q.sealed {
		s := q.segments[i-1]
		last = piece{segment: s, file: q.out, start: s.size, end: s.size}
	}
	next := q.next
	q.mu.Unlock()

	if last.segment != nil && last.file == nil {
		if last.file, err = q.reopen(last.segment); err != nil {
			return nil, 0, err
		}
		if last.file == nil {
			last = piece{}
		}
		q.mu.Lock()
		q.out, q.sealed = last.file, last.file == nil
		q.mu.Unlock()
	}

	var pieces []piece
	for len(frames) > 0 {
		fits, messages := q.fit(frames, last.end)
		if last.segment == nil || fits == 0 {
			if len(pieces) > 0 && last.created {
				// A segment that this Put filled on its own is synced here, under
				// the lock, lest one Put of many small segments has them all open.
				if err = last.file.Sync(); err != nil {
					break
				}
				last.file.Close()
				pieces[len(pieces)-1].file = nil
			}
			last = piece{created: true}
			if last.segment, last.file, err = q.create(next); err != nil {
				break
			}
			next = last.segment.number + 1
			fits, messages = q.fit(frames, 0)
		}
		last.start, last.end, last.messages = last.end, last.end+fits, messages
		pieces = append(pieces, last)
		var wrote int
		wrote, err = last.file.WriteAt(frames[:fits], last.start)
		if err == nil && int64(wrote) < fits {
			err = io.ErrShortWrite
		}
		if err != nil {
			break
		}
		frames = frames[fits:]
	}
	if err != nil {
		q.undo(pieces)
		return nil, 0, err
	}

	q.mu.Lock()
	for _, p := range pieces {
		if p.created {
			if q.out != nil {
				q.rolled = append(q.rolled, q.out)
			}
			q.out = p.file
			q.segments = append(q.segments, p.segment)
			q.sealed, q.created = false, true
		}
		p.segment.size = p.end
		if p.segment.left != unknown {
			p.segment.left += p.messages
		}
	}
	q.next = max(q.next, next)
	q.depth += n
	q.unsynced += n
	q.failed = nil
	q.changedLocked()
	b, unsynced = q.batch, q.unsynced
	q.mu.Unlock()
	return b, unsynced, nil
}

// fit returns how many bytes of frames, and how many messages, belong into a
// segment that has size bytes. As the library does, a segment is full when the
// next frame would make it longer than allowed; a frame is never too long for an
// empty one.
func (q *Queue) fit(frames []byte, size int64) (bytes, messages int64) {
	if size+int64(len(frames)) <= q.o.MaxBytesPerFile {
		// The whole of it; the number matters only for the sum.
		for rest := frames; len(rest) > 0; messages++ {
			rest = rest[prefix+int(binary.BigEndian.Uint32(rest)):]
		}
		return int64(len(frames)), messages
	}
	for bytes < int64(len(frames)) {
		frame := prefix + int64(binary.BigEndian.Uint32(frames[bytes:]))
		if size+bytes > 0 && size+bytes+frame > q.o.MaxBytesPerFile {
			break
		}
		bytes += frame
		messages++
	}
	return bytes, messages
}

// reopen opens a segment to append to it. It returns nil if that must not be
// done: the file is gone or short, or has more than is ours and keeps it.
func (q *Queue) reopen(s *segment) (file, error) {
	f, err := q.dir.Open(q.file(s.number), os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err == nil && size > s.size {
		err = f.Truncate(s.size)
	}
	if err != nil || size < s.size {
		f.Close()
		return nil, nil
	}
	return f, nil
}

// create makes the segment number, or one after it where there is a file already
// that is not ours.
//
// Before the first of all it makes an empty meta file, so that an Open after a
// crash knows that there is something to look for.
func (q *Queue) create(number int64) (*segment, file, error) {
	if !q.begun {
		f, err := q.dir.Open(q.meta(), os.O_RDWR|os.O_CREATE)
		if err != nil {
			return nil, nil, err
		}
		f.Close()
		q.begun = true
	}
	for {
		f, err := q.dir.Open(q.file(number), os.O_RDWR|os.O_CREATE|os.O_EXCL)
		if err == nil {
			return &segment{number: number}, f, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, nil, err
		}
		number++
	}
}

// undo makes the files what they were before the pieces were written. A segment
// that cannot be cut gets no more, and none of the rest of it is ever read.
func (q *Queue) undo(pieces []piece) {
	for _, p := range pieces {
		if p.created {
			if p.file != nil {
				p.file.Truncate(0) // in case it cannot be removed
				p.file.Close()
			}
			if err := q.dir.Remove(q.file(p.segment.number)); err != nil {
				q.report(fmt.Errorf("undo a failed write: %w", err))
			}
			continue
		}
		if err := p.file.Truncate(p.start); err != nil {
			q.mu.Lock()
			q.sealed = true
			q.mu.Unlock()
			q.report(fmt.Errorf("undo a failed write: %w", err))
		}
	}
}
