package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadLine(t *testing.T) {
	const max = 40
	tests := []struct {
		name  string
		input string
		lines []string
		err   error
	}{
		{"nothing", "", nil, io.EOF},
		{"lines", "PING\nREGISTER t c\r\n\n\r\n", []string{"PING", "REGISTER t c", "", ""}, io.EOF},
		{"a \\r within stays", "a\rb\r\r\n", []string{"a\rb\r"}, io.EOF},
		{"cut off", "PING\nPIN", []string{"PING"}, io.ErrUnexpectedEOF},
		{"newline is the last byte allowed", strings.Repeat("x", max-1) + "\n", []string{strings.Repeat("x", max-1)}, io.EOF},
		{"newline is one too late", strings.Repeat("x", max) + "\n", nil, ErrLineTooLong},
		{"the limit is for each line", strings.Repeat(strings.Repeat("x", 30)+"\n", 3), []string{strings.Repeat("x", 30), strings.Repeat("x", 30), strings.Repeat("x", 30)}, io.EOF},
		{"short then long", "a\n" + strings.Repeat("x", 1000), []string{"a"}, ErrLineTooLong},
	}
	for _, size := range []int{16, max - 1, max, max + 1, 4096} {
		for _, tt := range tests {
			for mode, wrap := range map[string]func(io.Reader) io.Reader{
				"whole":  func(r io.Reader) io.Reader { return r },
				"halves": iotest.HalfReader,
				"bytes":  iotest.OneByteReader,
			} {
				t.Run(fmt.Sprintf("%s/buffer %d/%s", tt.name, size, mode), func(t *testing.T) {
					r := bufio.NewReaderSize(wrap(strings.NewReader(tt.input)), size)
					for _, want := range tt.lines {
						got, err := ReadLine(r, max)
						if err != nil || string(got) != want {
							t.Fatalf("ReadLine = %q, %v; want %q", got, err, want)
						}
					}
					if got, err := ReadLine(r, max); err != tt.err {
						t.Fatalf("last ReadLine = %q, %v; want %v", got, err, tt.err)
					}
				})
			}
		}
	}
}

// A peer that has sent max bytes is refused then, not when it sends more.
func TestReadLineRefusesAtMax(t *testing.T) {
	const max = 100
	for _, size := range []int{16, 4096} {
		pr, pw := io.Pipe()
		go pw.Write(bytes.Repeat([]byte("x"), max))
		if _, err := ReadLine(bufio.NewReaderSize(pr, size), max); err != ErrLineTooLong {
			t.Errorf("buffer %d: ReadLine = %v, want %v", size, err, ErrLineTooLong)
		}
		pr.Close()
	}
}

// What follows a line in the same segment is left for the next reader.
func TestReadLineLeavesTheRest(t *testing.T) {
	r := bufio.NewReaderSize(strings.NewReader("IDENTIFY\n\x00\x00\x00\x02{}PING\n"), 16)
	if line, err := ReadLine(r, 4096); err != nil || string(line) != "IDENTIFY" {
		t.Fatalf("ReadLine = %q, %v", line, err)
	}
	if body, err := ReadBody(r, 10); err != nil || string(body) != "{}" {
		t.Fatalf("ReadBody = %q, %v", body, err)
	}
	if line, err := ReadLine(r, 4096); err != nil || string(line) != "PING" {
		t.Fatalf("ReadLine = %q, %v", line, err)
	}
}

func TestReadBody(t *testing.T) {
	tests := []struct {
		name  string
		input string
		max   int32
		body  string
		is    error // in the chain of the error
		size  int32 // of the *SizeError
	}{
		{name: "whole", input: "\x00\x00\x00\x02{}x", max: 2, body: "{}"},
		{name: "no size", input: "", max: 2, is: ErrReadSize},
		{name: "no size, cause", input: "", max: 2, is: io.EOF},
		{name: "half a size", input: "\x00\x00", max: 2, is: ErrReadSize},
		{name: "no body", input: "\x00\x00\x00\x02", max: 2, is: ErrReadBody},
		{name: "no body, cause", input: "\x00\x00\x00\x02", max: 2, is: io.ErrUnexpectedEOF},
		{name: "half a body", input: "\x00\x00\x00\x02{", max: 2, is: ErrReadBody},
		{name: "zero", input: "\x00\x00\x00\x00", max: 2, size: 0},
		{name: "minus one", input: "\xff\xff\xff\xff", max: 2, size: -1},
		{name: "most negative", input: "\x80\x00\x00\x00", max: 2, size: math.MinInt32},
		{name: "one too many", input: "\x00\x00\x00\x03{ }", max: 2, size: 3},
		{name: "most positive", input: "\x7f\xff\xff\xff", max: 2, size: math.MaxInt32},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, err := ReadBody(iotest.OneByteReader(strings.NewReader(tt.input)), tt.max)
			switch {
			case tt.body != "":
				if err != nil || string(body) != tt.body {
					t.Errorf("got %q, %v; want %q", body, err, tt.body)
				}
			case tt.is != nil:
				if !errors.Is(err, tt.is) {
					t.Errorf("got error %v, want %v in its chain", err, tt.is)
				}
			default:
				got, ok := errors.AsType[*SizeError](err)
				if !ok || *got != (SizeError{tt.size, tt.max}) {
					t.Errorf("got error %v, want a SizeError of %d", err, tt.size)
				}
			}
		})
	}
}

// A refused size costs no memory: this size would be 2 GiB.
func TestReadBodyRefusesBeforeAllocating(t *testing.T) {
	got := testing.AllocsPerRun(10, func() {
		if _, err := ReadBody(strings.NewReader("\x7f\xff\xff\xff"), 64<<10); err == nil {
			t.Fatal("no error")
		}
	})
	if got > 5 {
		t.Errorf("%v allocations for a refused body", got)
	}
}

type countingWriter struct {
	bytes.Buffer
	writes int
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes++
	return w.Buffer.Write(p)
}

func TestWriteFrame(t *testing.T) {
	for body, want := range map[string]string{
		"OK":                     "\x00\x00\x00\x02OK",
		"":                       "\x00\x00\x00\x00",
		strings.Repeat("x", 300): "\x00\x00\x01\x2c" + strings.Repeat("x", 300),
	} {
		var w countingWriter
		if err := WriteFrame(&w, []byte(body)); err != nil {
			t.Fatal(err)
		}
		if w.String() != want || w.writes != 1 {
			t.Errorf("WriteFrame(%q) wrote %q in %d writes, want %q in one", body, w.String(), w.writes, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	for want, err := range map[string]error{
		"E_INVALID client must IDENTIFY": &Error{"E_INVALID", "client must IDENTIFY"},
		"E_BAD_PROTOCOL":                 &Error{Code: "E_BAD_PROTOCOL"},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Whatever arrives, ReadLine gives exactly the lines of the input that are short
// enough, in order, whatever the size of the buffer.
func FuzzReadLine(f *testing.F) {
	f.Add([]byte("PING\r\n\nREGISTER t\nx"), 8, 16)
	f.Add(bytes.Repeat([]byte("x"), 100), 50, 20)
	f.Fuzz(func(t *testing.T, input []byte, max, size int) {
		if max < 1 || max > 1<<16 || size < 0 || size > 1<<16 {
			return
		}
		r := bufio.NewReaderSize(bytes.NewReader(input), size)
		for rest := input; ; {
			got, err := ReadLine(r, max)
			line, after, found := bytes.Cut(rest, []byte("\n"))
			switch {
			case found && len(line) < max:
				if err != nil || !bytes.Equal(got, bytes.TrimSuffix(line, []byte("\r"))) {
					t.Fatalf("got %q, %v; want line %q", got, err, line)
				}
				rest = after
				continue
			case len(rest) >= max:
				if err != ErrLineTooLong {
					t.Fatalf("got %q, %v; want %v", got, err, ErrLineTooLong)
				}
			case len(rest) == 0:
				if err != io.EOF {
					t.Fatalf("got %q, %v; want %v", got, err, io.EOF)
				}
			default:
				if err != io.ErrUnexpectedEOF {
					t.Fatalf("got %q, %v; want %v", got, err, io.ErrUnexpectedEOF)
				}
			}
			return
		}
	})
}

func FuzzReadBody(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02{}"), int32(10))
	f.Add([]byte("\xff\xff\xff\xff"), int32(10))
	f.Fuzz(func(t *testing.T, input []byte, max int32) {
		max = min(max, 1<<16)
		body, err := ReadBody(bytes.NewReader(input), max)
		if err == nil && (len(body) == 0 || len(body) > int(max) || !bytes.Equal(body, input[4:4+len(body)])) {
			t.Fatalf("got %q of %q", body, input)
		}
	})
}
