package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrLineTooLong is returned by ReadLine.
	ErrLineTooLong = errors.New("line too long")

	// ErrReadSize is in the chain of ReadBody's error if the four bytes of the
	// size did not arrive, ErrReadBody if the body did not arrive whole. The
	// reader's own error is in the chain too.
	ErrReadSize = errors.New("failed to read body size")
	ErrReadBody = errors.New("failed to read body")
)

// A SizeError is ReadBody's answer to a size that is not in 1..Max.
type SizeError struct {
	Size, Max int32
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("body size %d is not in 1..%d", e.Size, e.Max)
}

// An Error is a failure as the peer may see it: a code such as "E_INVALID" and
// an explanation such as "client must IDENTIFY", which may be empty.
type Error struct {
	Code, Text string
}

// Error returns what is written on the wire: "CODE text", or the code alone.
func (e *Error) Error() string {
	if e.Text == "" {
		return e.Code
	}
	return e.Code + " " + e.Text
}

// ReadLine returns the next line without its \n and without a \r before that.
// The line is valid until the next read from r.
//
// The newline must be among the first max bytes: as soon as max bytes have come
// without one, ErrLineTooLong is returned and the stream is of no further use.
// No more than max bytes are ever held beside r's own buffer. At the end of the
// stream the error is io.EOF, in the middle of a line io.ErrUnexpectedEOF.
func ReadLine(r *bufio.Reader, max int) ([]byte, error) {
	var head []byte // what no longer fits into r's buffer; nil if max does
	scanned := 0    // buffered bytes known to hold no newline
	for {
		buf, err := r.Peek(min(r.Buffered(), max-len(head)))
		if err != nil {
			return nil, err
		}
		if i := bytes.IndexByte(buf[scanned:], '\n'); i >= 0 {
			line := buf[:scanned+i]
			// The buffer is not moved by discarding, so line stays valid.
			if _, err := r.Discard(len(line) + 1); err != nil {
				return nil, err
			}
			if head != nil {
				line = append(head, line...)
			}
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		if len(head)+len(buf) >= max {
			return nil, ErrLineTooLong
		}
		scanned = len(buf)
		if scanned == r.Size() {
			head = append(head, buf...)
			if _, err := r.Discard(scanned); err != nil {
				return nil, err
			}
			scanned = 0
		}
		if _, err := r.Peek(scanned + 1); err != nil {
			if err == io.EOF && len(head)+scanned > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// ReadBody reads a big-endian int32 and that many bytes. A size that is not in
// 1..max is refused with a *SizeError before memory is made for it; the other
// errors are those of ErrReadSize and ErrReadBody.
func ReadBody(r io.Reader, max int32) ([]byte, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReadSize, err)
	}
	size := int32(binary.BigEndian.Uint32(prefix[:]))
	if size <= 0 || size > max {
		return nil, &SizeError{Size: size, Max: max}
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("%w: %w", ErrReadBody, err)
	}
	return body, nil
}

// WriteFrame writes body behind its size as a big-endian int32, in one Write.
// This is nsqlookupd's framing of replies: there is no frame type.
func WriteFrame(w io.Writer, body []byte) error {
	buf := make([]byte, 0, 4+len(body))
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(body)))
	buf = append(buf, body...)
	_, err := w.Write(buf)
	return err
}
