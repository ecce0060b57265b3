package diskqueue

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestQueueIsAFIFO compares a queue with a slice under random steps. The slice
// is what was put, with two marks: what was released, and taken.
func TestQueueIsAFIFO(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "diskqueue")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { os.RemoveAll(dir) }()
		o := Options{
			MaxBytesPerFile: rapid.SampledFrom([]int64{40, 100, 131, 100000}).Draw(t, "max"),
			MinMessage:      22, MaxMessage: 100,
			Hold: rapid.Bool().Draw(t, "hold"), SyncEvery: -1,
		}
		var r reports
		o.Failed = r.add
		if rapid.Bool().Draw(t, "plausible") {
			o.Plausible = plausible
		}
		reopen := func() *Queue {
			q, err := Open(dir, "t", o)
			if err != nil {
				t.Fatal(err)
			}
			return q
		}
		q := reopen()
		defer func() { q.Close() }()
		var all []string
		serial, released, taken := 0, 0, 0
		put := func(n int) {
			var b [][]byte
			for range n {
				m := message(serial)[:rapid.IntRange(22, 27).Draw(t, "length")]
				serial++
				all = append(all, m)
				b = append(b, []byte(m))
			}
			if err := q.Put(b...); err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) { put(rapid.IntRange(1, 12).Draw(t, "n")) },
			"next": func(t *rapid.T) {
				n := rapid.IntRange(1, 12).Draw(t, "n")
				got, err := q.Next(n, rapid.IntRange(0, 300).Draw(t, "bytes"))
				if err != nil || len(got) > n || (len(got) == 0) != (taken == len(all)) {
					t.Fatalf("%d messages, %v, of %d", len(got), err, len(all)-taken)
				}
				for _, m := range got {
					if string(m) != all[taken] {
						t.Fatalf("got %q, want %q", m, all[taken])
					}
					taken++
				}
				if !o.Hold {
					released = taken
				}
			},
			"release": func(t *rapid.T) {
				if o.Hold {
					n := rapid.IntRange(0, taken-released).Draw(t, "n")
					q.Release(int64(n))
					released += n
				}
			},
			"sync": func(t *rapid.T) {
				if err := q.Sync(); err != nil {
					t.Fatal(err)
				}
			},
			"flush": func(t *rapid.T) {
				if err := q.flush(rapid.Bool().Draw(t, "shut")); err != nil {
					t.Fatal(err)
				}
			},
			"empty": func(t *rapid.T) {
				if err := q.Empty(); err != nil {
					t.Fatal(err)
				}
				all, released, taken = nil, 0, 0
			},
			"close": func(t *rapid.T) {
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				q = reopen()
				all = all[released:]
				released, taken = 0, 0
			},
			"crash": func(t *rapid.T) {
				to, err := os.MkdirTemp("", "diskqueue")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				q.Close()
				os.RemoveAll(dir)
				dir = to
				if files, _ := filepath.Glob(filepath.Join(dir, "*.0*.dat")); len(files) > 0 {
					slices.Sort(files)
					suffix := rapid.SampledFrom([]string{"", "\x00", "\x00\x00\x00\x18abc", string(make([]byte, 50))}).Draw(t, "suffix")
					f, err := os.OpenFile(files[len(files)-1], os.O_WRONLY|os.O_APPEND, 0)
					if err != nil {
						t.Fatal(err)
					}
					f.WriteString(suffix)
					f.Close()
				}
				q = reopen()
				// What was taken may come again, from as far back as the positions
				// were written; nothing that was put is missing.
				var got []string
				for {
					m, err := q.Next(100, 1<<20)
					if err != nil {
						t.Fatal(err)
					}
					if m == nil {
						break
					}
					for _, m := range m {
						got = append(got, string(m))
					}
				}
				missing := all[released:]
				if len(got) < len(missing) || !slices.Equal(got[len(got)-len(missing):], missing) {
					t.Fatalf("after a crash: got %q, want at least %q", got, missing)
				}
				if err := q.Empty(); err != nil {
					t.Fatal(err)
				}
				all, released, taken = nil, 0, 0
			},
			"": func(t *rapid.T) {
				if got := q.Depth(); got != int64(len(all)-taken) {
					t.Fatalf("depth %d, want %d", got, len(all)-taken)
				}
				if bad, _ := filepath.Glob(filepath.Join(dir, "*.bad")); len(bad) > 0 {
					t.Fatalf("damage where there is none: %q", bad)
				}
				for _, d := range damages(&r) {
					if d.Reason != "half a message at the end, cut off" {
						t.Fatalf("damage where there is none: %v", d)
					}
				}
			},
		})
	})
}
