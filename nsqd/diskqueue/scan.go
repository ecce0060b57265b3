package diskqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// prefix is the length, a big-endian int32, in front of each message.
const prefix = 4

// windowSize is how much of a segment is read at once: enough that the system
// call costs nothing beside the copying, little enough for the processor's cache.
const windowSize = 256 << 10

// format is what a sound frame looks like.
type format struct {
	min, max  int
	plausible func([]byte) bool
}

// peek is how many bytes tell whether a frame may begin somewhere.
func (f format) peek() int64 { return prefix + int64(f.min) }

// length returns the length of the message that begins with head, which has peek
// bytes. ok is false if no message begins so.
func (f format) length(head []byte) (n int64, ok bool) {
	n = int64(int32(binary.BigEndian.Uint32(head)))
	if n < int64(f.min) || n > int64(f.max) {
		return n, false
	}
	return n, f.plausible == nil || f.plausible(head[prefix:])
}

// A window is a part of one segment in memory.
type window struct {
	format
	file io.ReaderAt
	end  int64  // of the segment: no frame goes beyond
	at   int64  // where in the segment buf begins
	buf  []byte // at most windowSize bytes, or one frame and the peek behind it
	keep []byte // the memory of windowSize bytes behind buf, once there is one
	head []byte // of a frame outside of buf
}

// shortError says that a segment ends before its known end.
type shortError struct{ end int64 }

func (e *shortError) Error() string { return fmt.Sprintf("segment ends at %d", e.end) }

// has says whether n bytes from offset on, or what the segment has of them, are
// in the window.
func (w *window) has(offset, n int64) bool {
	return offset >= w.at && min(offset+n, w.end) <= w.at+int64(len(w.buf))
}

// load moves the window to offset, unless it has n bytes from there already.
func (w *window) load(offset, n int64) error {
	if w.has(offset, n) {
		return nil
	}
	n = min(max(n, windowSize), w.end-offset)
	var buf []byte
	if n <= windowSize {
		if w.keep == nil {
			// A queue that never holds much never needs much: the window
			// doubles until it is whole.
			w.keep = make([]byte, min(max(n, 4<<10), windowSize))
		} else if int64(len(w.keep)) < n {
			w.keep = make([]byte, min(max(n, 2*int64(len(w.keep))), windowSize))
		}
		buf = w.keep[:n]
	} else {
		buf = make([]byte, n)
	}
	w.at, w.buf = offset, nil
	got, err := w.file.ReadAt(buf, offset)
	if got == len(buf) {
		err = nil
	}
	switch {
	case err == nil:
		w.buf = buf
		return nil
	case errors.Is(err, io.EOF):
		return &shortError{end: offset + int64(got)}
	}
	return err
}

// bytes returns n bytes from offset on; they are in the window.
func (w *window) bytes(offset, n int64) []byte {
	return w.buf[offset-w.at:][:n]
}

// begins returns the length of the message whose frame begins at offset. ok is
// false if none does. It leaves the window where it is.
func (w *window) begins(offset int64) (n int64, ok bool) {
	peek := w.peek()
	if offset+peek > w.end {
		return 0, false
	}
	var head []byte
	if w.has(offset, peek) {
		head = w.bytes(offset, peek)
	} else {
		if w.head == nil {
			w.head = make([]byte, peek)
		}
		if got, _ := w.file.ReadAt(w.head, offset); got < len(w.head) {
			return 0, false
		}
		head = w.head
	}
	n, ok = w.length(head)
	return n, ok && offset+prefix+n <= w.end
}

// follows says whether a frame begins at offset, or the segment ends there.
func (w *window) follows(offset int64) bool {
	if offset == w.end {
		return true
	}
	_, ok := w.begins(offset)
	return ok
}

// frame returns the length of the message whose frame begins at offset. ok is
// false if the segment is damaged there; n is what was read for a length then.
// If ok, the window has the frame after that.
//
// If what comes after a frame is no frame, one of the two lengths is wrong. It is
// this one if a frame begins inside this one.
func (w *window) frame(offset int64) (n int64, ok bool, err error) {
	peek := w.peek()
	if err := w.load(offset, peek); err != nil {
		return 0, false, err
	}
	if n, ok = w.begins(offset); !ok {
		return n, false, nil
	}
	next := offset + prefix + n
	if err := w.load(offset, next-offset+peek); err != nil {
		return 0, false, err
	}
	if w.plausible == nil || w.follows(next) {
		return n, true, nil
	}
	for inside := offset + peek; inside < next; inside++ {
		if m, ok := w.begins(inside); ok && w.follows(inside+prefix+m) {
			return n, false, nil
		}
	}
	return n, true, nil
}

// resume returns where, after damage at offset, the next frame begins that
// another one follows, or the end of the segment.
func (w *window) resume(offset int64) (int64, error) {
	if w.plausible == nil {
		return w.end, nil
	}
	for offset++; offset+w.peek() <= w.end; offset++ {
		if err := w.load(offset, w.peek()); err != nil {
			return 0, err
		}
		if n, ok := w.begins(offset); ok && w.follows(offset+prefix+n) {
			return offset, nil
		}
	}
	return w.end, nil
}

// torn says whether what is between offset and the end of the segment may be
// what a power cut leaves of a write: a part of a frame, or zeros.
func (w *window) torn(offset int64) (bool, error) {
	rest := w.end - offset
	if rest < prefix {
		return true, nil
	}
	if err := w.load(offset, prefix); err != nil {
		return false, err
	}
	n := int64(int32(binary.BigEndian.Uint32(w.bytes(offset, prefix))))
	if n >= int64(w.min) && n <= int64(w.max) && prefix+n > rest {
		return true, nil
	}
	for offset < w.end {
		if err := w.load(offset, 1); err != nil {
			return false, err
		}
		part := w.buf[offset-w.at:]
		for _, b := range part {
			if b != 0 {
				return false, nil
			}
		}
		offset += int64(len(part))
	}
	return true, nil
}

// count returns how many frames there are from offset on, as Next would return
// them, and where the damage begins that goes on to the end of the segment:
// its end if there is no such damage. damaged is true if there is damage at all.
func (w *window) count(offset int64) (frames, sound int64, damaged bool, err error) {
	sound = offset
	for offset < w.end {
		n, ok, err := w.frame(offset)
		if err != nil {
			return frames, sound, damaged, err
		}
		if !ok {
			damaged = true
			if offset, err = w.resume(offset); err != nil {
				return frames, sound, damaged, err
			}
			continue
		}
		frames++
		offset += prefix + n
		sound = offset
	}
	return frames, sound, damaged, nil
}
