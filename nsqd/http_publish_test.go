package nsqd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"nsqraft/internal/httpapi"
	"nsqraft/internal/wire"
)

// mpub returns the body of an MPUB with the right lengths.
func mpub(bodies ...string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(bodies)))
	for _, body := range bodies {
		b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
		b = append(b, body...)
	}
	return b
}

// What a client is told of the body of an /mpub?binary=true, with its length known
// and without.
func TestReadBinary(t *testing.T) {
	opts := &Options{MaxMsgSize: 10, MaxBodySize: 104}
	tests := []struct {
		name string
		body string
		want []string
		err  string
	}{
		{"one", string(mpub("a")), []string{"a"}, ""},
		{"three", string(mpub("a", "bb", "0123456789")), []string{"a", "bb", "0123456789"}, ""},
		{"nothing", "", nil, "BAD_BODY"},
		{"half a count", "\x00\x00", nil, "BAD_BODY"},
		{"no messages", "\x00\x00\x00\x00", nil, "BAD_BODY"},
		{"less than none", "\xff\xff\xff\xff", nil, "BAD_BODY"},
		{"huge count", "\x7f\xff\xff\xff", nil, "BAD_BODY"},
		{"half a size", "\x00\x00\x00\x01\x00\x00\x00", nil, "BAD_MESSAGE"},
		{"size cut", "\x00\x00\x00\x02\x00\x00\x00\x05aaaaa\x00", nil, "BAD_MESSAGE"},
		{"empty message", string(mpub("a", "")), nil, "BAD_MESSAGE"},
		{"negative message", "\x00\x00\x00\x01\xff\xff\xff\xfea", nil, "BAD_MESSAGE"},
		{"too big", string(mpub("0123456789a")), nil, "BAD_MESSAGE"},
		{"huge", "\x00\x00\x00\x01\x7f\xff\xff\xffa", nil, "BAD_MESSAGE"},
		{"cut", string(mpub("abc"))[:10], nil, "BAD_BODY"},
		{"more than declared", string(mpub("a")) + "b", nil, "BAD_BODY"},
		{"more than may be", string(mpub(slices.Repeat([]string{"0123456789"}, 8)...)), nil, "BODY_TOO_BIG"},
	}
	for _, tt := range tests {
		for _, length := range []int64{int64(len(tt.body)), -1} {
			if length > opts.MaxBodySize {
				continue // refused before
			}
			r := &http.Request{ContentLength: length, Body: io.NopCloser(strings.NewReader(tt.body))}
			got, err := readBinary(r, opts)
			if err != nil {
				if e, ok := errors.AsType[*httpapi.Error](err); !ok || e.Text != tt.err || e.Status != 413 {
					t.Errorf("%s: got error %v, want %s", tt.name, err, tt.err)
				}
				continue
			}
			if tt.err != "" || !slices.Equal(texts(got), tt.want) {
				t.Errorf("%s: got %q, want %q, error %q", tt.name, got, tt.want, tt.err)
			}
		}
	}
}

// Whatever comes is refused, or is exactly what mpub makes of the result.
func FuzzMPUBBody(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(mpub("a"))
	f.Add(mpub("a", "bb", strings.Repeat("c", 1000)))
	f.Add(mpub("")[:6])
	f.Add([]byte("\x00\x00\x00\x01\xff\xff\xff\xff"))
	f.Add([]byte("\x7f\xff\xff\xff\x00\x00\x00\x01a"))
	f.Fuzz(func(t *testing.T, body []byte) {
		const most = 1 << 10
		got, err := readMPUB(bufio.NewReader(bytes.NewReader(body)), len(body), max(len(body), 5), most)
		if err != nil {
			if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != "E_BAD_BODY" && e.Code != "E_BAD_MESSAGE" {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !bytes.Equal(mpub(texts(got)...), body) {
			t.Fatalf("%q does not give %q", got, body)
		}
		for _, b := range got {
			if len(b) == 0 || len(b) > most || cap(b) != len(b) {
				t.Fatalf("message of length %d and capacity %d", len(b), cap(b))
			}
		}
	})
}

func texts(bodies [][]byte) []string {
	var s []string
	for _, b := range bodies {
		s = append(s, string(b))
	}
	return s
}

func TestSplitLines(t *testing.T) {
	tests := []struct {
		body string
		want []string
		err  error
	}{
		{"", nil, nil},
		{"\n\n\n", nil, nil},
		{"a", []string{"a"}, nil},
		{"a\n", []string{"a"}, nil},
		{"a\n\nb\r\n\x00", []string{"a", "b\r", "\x00"}, nil},
		{"0123456789\n", []string{"0123456789"}, nil},
		{"a\n0123456789a\n", nil, errMessageTooBig},
	}
	for _, tt := range tests {
		got, err := splitLines([]byte(tt.body), 10)
		if err != error(tt.err) && (err != nil || tt.err != nil) || !slices.Equal(texts(got), tt.want) {
			t.Errorf("%q: got %q, %v, want %q, %v", tt.body, got, err, tt.want, tt.err)
		}
	}
}

// However long the body, a line that stays keeps a small part of it alive.
func TestLinesShareChunks(t *testing.T) {
	for _, line := range []int{1, 100, bodyChunk - 1, bodyChunk, bodyChunk + 1, 3 * bodyChunk} {
		var body []byte
		var want []string
		for len(body) < 10*bodyChunk {
			want = append(want, strings.Repeat(string(rune('a'+len(want)%26)), line))
			body = append(append(body, want[len(want)-1]...), '\n')
		}
		got, err := splitLines(body, 4*bodyChunk)
		if err != nil || !slices.Equal(texts(got), want) {
			t.Errorf("lines of %d bytes: got %d, %v, want %d", line, len(got), err, len(want))
		}
	}
	body := bytes.Repeat([]byte("0123456789\n"), 1<<15)
	for rest := body; len(rest) > 0; {
		var some []byte
		if some, rest = cutLines(rest, bodyChunk); len(some) > bodyChunk || some[len(some)-1] != '\n' {
			t.Fatalf("a part of %d bytes", len(some))
		}
	}
}

func TestReadBody(t *testing.T) {
	for _, size := range []int{0, 1, 1000, bodyChunk - 1, bodyChunk, bodyChunk + 1, 300_000} {
		want := bytes.Repeat([]byte("x"), size)
		for _, tt := range []struct {
			name   string
			length int64
			limit  int64
			err    error
		}{
			{"known", int64(size), 300_000, nil},
			{"known, at the limit", int64(size), int64(size), nil},
			{"known, over the limit", int64(size), int64(size) - 1, errBodyTooBig},
			{"chunked", -1, 300_000, nil},
			{"chunked, at the limit", -1, int64(size), nil},
			{"chunked, over the limit", -1, int64(size) - 1, errBodyTooBig},
		} {
			if tt.limit < 0 {
				continue
			}
			for _, body := range []io.Reader{bytes.NewReader(want), iotest.DataErrReader(bytes.NewReader(want))} {
				r := &http.Request{ContentLength: tt.length, Body: io.NopCloser(body)}
				got, err := readBody(r, tt.limit, errBodyTooBig)
				if tt.err != nil {
					if err != tt.err {
						t.Errorf("%d bytes %s: got %v, want %v", size, tt.name, err, tt.err)
					}
					continue
				}
				if err != nil || !bytes.Equal(got, want) || cap(got) > size+size/8+8 {
					t.Errorf("%d bytes %s: got %d, capacity %d, error %v", size, tt.name, len(got), cap(got), err)
				}
			}
		}
	}
	broken := &http.Request{ContentLength: 10, Body: io.NopCloser(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("0123456789"))))}
	if _, err := readBody(broken, 100, errBodyTooBig); err != error(errBodyBroken) {
		t.Errorf("broken: got %v", err)
	}
}

// A length that is only announced makes no memory, and one without end little more
// than the limit.
func TestReadBodyMemory(t *testing.T) {
	announced := func() *http.Request {
		return &http.Request{ContentLength: 100 << 20, Body: io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))}
	}
	endless := func() *http.Request {
		return &http.Request{ContentLength: -1, Body: io.NopCloser(endlessReader{})}
	}
	for _, tt := range []struct {
		name  string
		r     func() *http.Request
		limit int64
		most  int64
	}{
		{"announced", announced, 200 << 20, bodyChunk},
		// Doubling copies what there was: once more in all, and it is garbage.
		{"endless", endless, 4 << 20, 2*4<<20 + bodyChunk},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readBody(tt.r(), tt.limit, errBodyTooBig)
		runtime.ReadMemStats(&after)
		if got := int64(after.TotalAlloc - before.TotalAlloc); err == nil || got > tt.most+16<<10 {
			t.Errorf("%s: %v, %d bytes made, want at most %d", tt.name, err, got, tt.most)
		}
	}
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) { return len(p), nil }

func TestDeferArg(t *testing.T) {
	tests := []struct {
		query  string
		opts   Options
		want   time.Duration
		refuse bool
	}{
		{"", Options{MaxReqTimeout: time.Hour}, 0, false},
		{"defer=0", Options{MaxReqTimeout: time.Hour}, 0, false},
		{"defer=1500", Options{MaxReqTimeout: time.Hour}, 1500 * time.Millisecond, false},
		{"defer=3600000", Options{MaxReqTimeout: time.Hour}, time.Hour, false},
		{"defer=3600001", Options{MaxReqTimeout: time.Hour}, 0, true},
		{"defer=3600001", Options{MaxReqTimeout: time.Hour, MaxDeferTimeout: 2 * time.Hour}, time.Hour + time.Millisecond, false},
		{"defer=1001", Options{MaxReqTimeout: time.Hour, MaxDeferTimeout: time.Second}, 0, true},
		{"defer=-1", Options{MaxReqTimeout: time.Hour}, 0, true},
		{"defer=", Options{MaxReqTimeout: time.Hour}, 0, true},
		{"defer=1s", Options{MaxReqTimeout: time.Hour}, 0, true},
		{"defer=1.5", Options{MaxReqTimeout: time.Hour}, 0, true},
		// Times a million, it is 448 ms modulo 2^64 nanoseconds.
		{"defer=18446744073710", Options{MaxReqTimeout: time.Hour}, 0, true},
		{"defer=9223372036854775808", Options{MaxReqTimeout: time.Hour}, 0, true},
	}
	for _, tt := range tests {
		params, _ := url.ParseQuery(tt.query)
		got, err := deferArg(params, &tt.opts)
		if got != tt.want || (err != nil) != tt.refuse {
			t.Errorf("%q: got %v, %v, want %v, refused %v", tt.query, got, err, tt.want, tt.refuse)
		}
	}
}

func TestRefusePlain(t *testing.T) {
	w := httptest.NewRecorder()
	refusePlain(4152).ServeHTTP(w, httptest.NewRequest("POST", "/pub?topic=t", strings.NewReader("x")))
	if want := `{"message": "TLS_REQUIRED", "https_port": 4152}`; w.Code != 403 || w.Body.String() != want || w.Header().Get("X-Nsq-Content-Type") == "" {
		t.Errorf("got %d %v %s, want %s", w.Code, w.Header(), w.Body, want)
	}
}
