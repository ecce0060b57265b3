package diskqueue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reports collects what a queue tells of.
type reports struct {
	mu  sync.Mutex
	got []error
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, err)
}

func (r *reports) all() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

func mustOpen(t testing.TB, dir string, o Options) *Queue {
	t.Helper()
	q, err := Open(dir, "t", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func mustPut(t testing.TB, q *Queue, messages ...string) {
	t.Helper()
	var b [][]byte
	for _, m := range messages {
		b = append(b, []byte(m))
	}
	if err := q.Put(b...); err != nil {
		t.Fatal(err)
	}
}

// drain takes all there is.
func drain(t testing.TB, q *Queue) []string {
	t.Helper()
	var all []string
	for {
		messages, err := q.Next(7, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if messages == nil {
			if d := q.Depth(); d != 0 {
				t.Fatalf("depth %d of a drained queue", d)
			}
			return all
		}
		for _, m := range messages {
			all = append(all, string(m))
		}
	}
}

func want(t testing.TB, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got %d messages, want %d\ngot  %.300q\nwant %.300q", len(got), len(want), got, want)
	}
}

func numbered(from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("message %06d", i))
	}
	return all
}

func noBad(t testing.TB, dir string) {
	t.Helper()
	if bad, _ := filepath.Glob(filepath.Join(dir, "*.bad")); len(bad) > 0 {
		t.Fatalf("damage where there is none: %q", bad)
	}
}

func TestMessagesComeBackInOrderOverSegmentsAndRestarts(t *testing.T) {
	dir := t.TempDir()
	o := Options{MaxBytesPerFile: 100, MinMessage: 1}
	q := mustOpen(t, dir, o)
	all := numbered(0, 50)
	mustPut(t, q, all[:20]...) // one Put over several segments
	for _, m := range all[20:] {
		mustPut(t, q, m)
	}
	first, err := q.Next(3, 1<<20)
	if err != nil || len(first) != 3 {
		t.Fatalf("got %d messages, %v", len(first), err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = mustOpen(t, dir, o)
	if got := q.Depth(); got != 47 {
		t.Fatalf("depth %d, want 47", got)
	}
	want(t, drain(t, q), all[3:])
	noBad(t, dir)
}

func TestNextKeepsToItsBoundsButReturnsOne(t *testing.T) {
	q := mustOpen(t, t.TempDir(), Options{})
	mustPut(t, q, "aaaa", "bbbb", "cccc", "dddd")
	for _, tt := range []struct{ messages, bytes, want int }{{1, 100, 1}, {9, 8, 2}, {9, 1, 1}, {9, 9, 0}} {
		got, err := q.Next(tt.messages, tt.bytes)
		if err != nil || len(got) != tt.want {
			t.Fatalf("Next(%d, %d): %d messages, %v", tt.messages, tt.bytes, len(got), err)
		}
	}
}

func TestReaderLevelWithWriterAtARollMakesNoBadFile(t *testing.T) {
	dir := t.TempDir()
	q := mustOpen(t, dir, Options{MaxBytesPerFile: 100})
	for _, m := range numbered(0, 100) {
		mustPut(t, q, m)
		want(t, drain(t, q), []string{m})
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	noBad(t, dir)
	if files, _ := filepath.Glob(filepath.Join(dir, "*.dat")); len(files) != 2 {
		t.Fatalf("%q, want the meta file and one segment", files)
	}
}

func TestHeldMessagesComeBackUntilReleased(t *testing.T) {
	dir := t.TempDir()
	o := Options{MaxBytesPerFile: 100, Hold: true}
	q := mustOpen(t, dir, o)
	all := numbered(0, 30)
	mustPut(t, q, all...)
	drain(t, q)
	q.Release(11)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = mustOpen(t, dir, o)
	if d := q.Depth(); d != 19 {
		t.Fatalf("depth %d, want 19", d)
	}
	want(t, drain(t, q), all[11:])
	q.Release(100)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = mustOpen(t, dir, o)
	want(t, drain(t, q), nil)
	noBad(t, dir)
}

func TestEmptyAndDelete(t *testing.T) {
	dir := t.TempDir()
	q := mustOpen(t, dir, Options{MaxBytesPerFile: 100})
	mustPut(t, q, numbered(0, 30)...)
	if err := q.Empty(); err != nil {
		t.Fatal(err)
	}
	want(t, drain(t, q), nil)
	if files, _ := filepath.Glob(filepath.Join(dir, "*.dat")); len(files) != 1 {
		t.Fatalf("left %q", files)
	}
	mustPut(t, q, "new")
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = mustOpen(t, dir, Options{MaxBytesPerFile: 100})
	want(t, drain(t, q), []string{"new"})
	if err := q.Delete(); err != nil {
		t.Fatal(err)
	}
	if err := q.Put([]byte("x")); err == nil {
		t.Fatal("put into a deleted queue")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Fatalf("left %v", entries)
	}
}

func TestPutFramesBelievesNothing(t *testing.T) {
	q := mustOpen(t, t.TempDir(), Options{MinMessage: 2, MaxMessage: 8})
	for name, tt := range map[string]struct {
		frames string
		n      int
	}{
		"negative":  {"\xff\xff\xff\xffab", 1},
		"short":     {"\x00\x00\x00\x05abc", 1},
		"too small": {"\x00\x00\x00\x01a", 1},
		"too large": {"\x00\x00\x00\x09abcdefghi", 1},
		"rest":      {"\x00\x00\x00\x02abc", 1},
		"fewer":     {"\x00\x00\x00\x02ab", 2},
	} {
		if err := q.PutFrames([]byte(tt.frames), tt.n); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := q.PutFrames([]byte("\x00\x00\x00\x02ab\x00\x00\x00\x03cde"), 2); err != nil {
		t.Fatal(err)
	}
	want(t, drain(t, q), []string{"ab", "cde"})
}

// crash copies what is on disk now, as another machine would find it.
func crash(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func segmentName(n int) string { return fmt.Sprintf("t.diskqueue.%06d.dat", n) }

func TestWhatWasSyncedCountsAfterACrash(t *testing.T) {
	for _, tt := range []struct {
		name   string
		suffix string
		reads  int
	}{
		{"nothing after", "", 0},
		{"half a length", "\x00\x00", 0},
		{"half a message", "\x00\x00\x00\x0emess", 3},
		{"zeros", strings.Repeat("\x00", 70), 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			q := mustOpen(t, dir, Options{MaxBytesPerFile: 1000, MinMessage: 1})
			all := numbered(0, 120)
			mustPut(t, q, all...)
			q.Next(tt.reads, 1000)
			if err := q.Sync(); err != nil {
				t.Fatal(err)
			}
			after := crash(t, dir)
			f, err := os.OpenFile(filepath.Join(after, segmentName(2)), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteString(tt.suffix)
			f.Close()
			var r reports
			q = mustOpen(t, after, Options{MaxBytesPerFile: 1000, MinMessage: 1, Failed: r.add})
			if d := q.Depth(); d != 120 {
				t.Errorf("depth %d, want 120", d)
			}
			if got := len(r.all()); (got > 0) != (tt.suffix != "") {
				t.Errorf("reports %v", r.all())
			}
			mustPut(t, q, "after")
			want(t, drain(t, q), append(all, "after"))
			noBad(t, after)
		})
	}
}

func TestAQueueAtRestHoldsNothing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		q, err := Open(dir, "t", Options{})
		if err != nil {
			t.Fatal(err)
		}
		mustPut(t, q, "a", "b")
		q.Next(1, 10)
		time.Sleep(3 * time.Second)
		if text, err := os.ReadFile(filepath.Join(dir, "t.diskqueue.meta.dat")); err != nil || string(text) != "1\n0,5\n0,10\n" {
			t.Errorf("meta %q, %v", text, err)
		}
		time.Sleep(3 * time.Second)
		q.mu.Lock()
		armed, out, in := q.armed, q.out, q.in
		q.mu.Unlock()
		if armed || out != nil || in != nil || q.window.keep != nil {
			t.Errorf("armed %v, open %v %v", armed, out, in)
		}
		want(t, drain(t, q), []string{"b"})
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestConcurrentPutNextSync(t *testing.T) {
	dir := t.TempDir()
	q := mustOpen(t, dir, Options{MaxBytesPerFile: 4000, SyncEvery: 100, SyncTimeout: time.Millisecond, Hold: true})
	const writers, each = 4, 300
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := q.Put(fmt.Appendf(nil, "%d %d", w, 2*i), fmt.Appendf(nil, "%d %d", w, 2*i+1)); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					if err := q.Sync(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	last := make([]int, writers)
	for got := 0; got < writers*each*2; {
		messages, err := q.Next(10, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			var w, i int
			fmt.Sscanf(string(m), "%d %d", &w, &i)
			if i != last[w] {
				t.Fatalf("writer %d: got %d, want %d", w, i, last[w])
			}
			last[w]++
		}
		got += len(messages)
		q.Release(int64(len(messages)))
	}
	wg.Wait()
	noBad(t, dir)
}

func frame(b []byte, m string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(m)))
	return append(b, m...)
}

// message is one that plausible accepts: as nsqd's, it has a head to be known by.
func message(i int) string { return fmt.Sprintf("0123456789abcdef%06d body", i) }

func plausible(head []byte) bool { return bytes.HasPrefix(head, []byte("0123456789abcdef")) }

func TestDamageCostsOnlyWhatIsDamaged(t *testing.T) {
	const size = 4 + 27
	for _, tt := range []struct {
		name      string
		damage    func(segment []byte) []byte
		lost      []int // with Plausible
		lostBlind int   // of the segment's 10, without
	}{
		{"length too large", func(b []byte) []byte { b[3*size] = 0x7f; return b }, []int{3}, 7},
		{"length negative", func(b []byte) []byte { b[3*size] = 0xff; return b }, []int{3}, 7},
		{"length one more", func(b []byte) []byte { b[3*size+3]++; return b }, []int{3}, 7},
		{"zeros", func(b []byte) []byte { clear(b[3*size+7 : 5*size+9]); return b }, []int{3, 4, 5}, 7},
		{"gone", func(b []byte) []byte { return nil }, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 10},
		{"cut", func(b []byte) []byte { return b[:7*size+5] }, []int{7, 8, 9}, 3},
		{"first", func(b []byte) []byte { b[0] = 1; return b }, []int{0}, 10},
		{"last", func(b []byte) []byte { b[9*size] = 1; return b }, []int{9}, 1},
	} {
		for segment := range 3 {
			for _, clean := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%d/clean=%v", tt.name, segment, clean), func(t *testing.T) {
					dir := t.TempDir()
					o := Options{MaxBytesPerFile: 10 * size, MinMessage: 22, MaxMessage: 100, Plausible: plausible}
					q := mustOpen(t, dir, o)
					var all []string
					for i := range 30 {
						all = append(all, message(i))
					}
					mustPut(t, q, all...)
					if clean {
						q.Close()
					} else {
						q.Sync()
						dir = crash(t, dir)
					}
					name := filepath.Join(dir, segmentName(segment))
					b, err := os.ReadFile(name)
					if err != nil {
						t.Fatal(err)
					}
					if b = tt.damage(b); b == nil {
						err = os.Remove(name)
					} else {
						err = os.WriteFile(name, b, 0o600)
					}
					if err != nil {
						t.Fatal(err)
					}

					blind := crash(t, dir)
					var left []string
					for i, m := range all {
						lost := false
						for _, l := range tt.lost {
							lost = lost || i == 10*segment+l
						}
						if !lost {
							left = append(left, m)
						}
					}
					var r reports
					o.Failed = r.add
					q = mustOpen(t, dir, o)
					mustPut(t, q, message(99))
					got := drain(t, q)
					var sound []string
					for _, m := range got {
						if plausible([]byte(m)) && len(m) == 27 && !strings.Contains(m, "\x00") {
							sound = append(sound, m)
						}
					}
					want(t, sound, append(left, message(99)))
					if len(got)-len(sound) > 1 {
						t.Errorf("garbage delivered: %q", got)
					}

					o.Plausible, o.Failed = nil, nil
					q = mustOpen(t, blind, o)
					mustPut(t, q, message(99))
					n := 0
					for _, m := range drain(t, q) {
						if len(m) == 27 && !strings.Contains(m, "\x00") {
							n++
						}
					}
					if n != 31-tt.lostBlind {
						t.Errorf("blind: %d messages, want %d", n, 31-tt.lostBlind)
					}
				})
			}
		}
	}
}
