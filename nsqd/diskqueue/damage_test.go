package diskqueue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// damages returns what of the reports is damage.
func damages(r *reports) []*Damage {
	var all []*Damage
	for _, err := range r.all() {
		var d *Damage
		if errors.As(err, &d) {
			all = append(all, d)
		}
	}
	return all
}

func TestDamageTellsTheLengthThatWasRead(t *testing.T) {
	for head, reason := range map[string]string{
		"\x7f\x00\x00\x01": "its length reads 2130706433, allowed are 1 to 50, and 28 bytes are left",
		"\xff\xff\xff\xff": "its length reads -1, allowed are 1 to 50, and 28 bytes are left",
		"\x00\x00\x00\x30": "its length reads 48, allowed are 1 to 50, and 28 bytes are left",
	} {
		dir := t.TempDir()
		var r reports
		q := mustOpen(t, dir, Options{MinMessage: 1, MaxMessage: 50, Failed: r.add})
		mustPut(t, q, "message a", "message b", "cc")
		f, err := os.OpenFile(filepath.Join(dir, segmentName(0)), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte(head), 0)
		f.Close()
		drain(t, q)
		if d := damages(&r); len(d) != 1 || !strings.Contains(d[0].Reason, reason) {
			t.Errorf("%q: got %v, want %q", head, d, reason)
		}
	}
}

// TestWhatIsMissingAtOpenIsReportedOnce has 5 segments of 10 messages, of which
// 12 are read: one segment is removed, the second begun.
func TestWhatIsMissingAtOpenIsReportedOnce(t *testing.T) {
	const size = 4 + 14
	remove := func(n int) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, segmentName(n))); err != nil {
				t.Error(err)
			}
		}
	}
	cut := func(n int, size int64) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, segmentName(n)), size); err != nil {
				t.Error(err)
			}
		}
	}
	meta := func(text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "t.diskqueue.meta.dat"), []byte(text), 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	m := numbered
	join := func(parts ...[]string) (all []string) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	type steps []func(t *testing.T, dir string)
	for _, tt := range []struct {
		name    string
		damage  steps
		left    []string
		reports []string
	}{
		{"first gone", steps{remove(1)}, m(20, 50), []string{segmentName(1) + " is damaged: the file is gone, 8 messages are missing"}},
		{"middle gone", steps{remove(2)}, join(m(12, 20), m(30, 50)), []string{segmentName(2) + " is damaged: the file is gone, 10 messages are missing"}},
		{"last gone", steps{remove(4)}, m(12, 40), []string{segmentName(4) + " is damaged from 0 to 180: the file is gone, 10 messages are missing"}},
		{"two gone", steps{remove(2), remove(3)}, join(m(12, 20), m(40, 50)), []string{
			segmentName(2) + " is damaged: the file is gone, as are all up to " + segmentName(3) + ", 20 messages are missing"}},
		{"two apart", steps{remove(1), remove(3)}, join(m(20, 30), m(40, 50)), []string{
			segmentName(1) + " is damaged: the file is gone, 18 messages are missing in all",
			segmentName(3) + " is damaged: the file is gone, 18 messages are missing in all"}},
		{"all gone", steps{remove(1), remove(2), remove(3), remove(4)}, nil, []string{"as are all up to " + segmentName(4) + ", 38 messages are missing"}},
		{"first empty", steps{cut(1, 0)}, m(20, 50), []string{segmentName(1) + " is damaged from 0 to 36: the file is shorter than its positions say, 8 messages are missing"}},
		{"middle empty", steps{cut(2, 0)}, join(m(12, 20), m(30, 50)), []string{segmentName(2) + " is damaged: the file is empty, 10 messages are missing"}},
		{"last empty", steps{cut(4, 0)}, m(12, 40), []string{segmentName(4) + " is damaged from 0 to 180: the file is shorter than its positions say, 10 messages are missing"}},
		{"last cut", steps{cut(4, 3*size)}, m(12, 43), []string{segmentName(4) + " is damaged from 54 to 180: the file is shorter than its positions say, 7 messages are missing"}},
		{"more than the positions know", steps{remove(2), meta("28\n1,36\n3,180\n")}, join(m(12, 20), m(30, 50)), []string{
			segmentName(2) + " is damaged: the file is gone, 10 messages are missing"}},
		{"more in the last", steps{remove(2), meta("35\n1,36\n4,126\n")}, join(m(12, 20), m(30, 50)), []string{
			segmentName(2) + " is damaged: the file is gone, 10 messages are missing"}},
		{"read beyond written", steps{meta("38\n4,36\n1,36\n")}, m(10, 50), []string{
			"meta.dat is damaged from 0 to 13: the read position 4,36 is beyond the write position 1,36; every segment is read"}},
		{"read beyond all", steps{meta("38\n9,0\n4,180\n")}, m(10, 50), []string{"the read position 9,0 is beyond the write position 4,180"}},
		{"nothing", nil, m(12, 50), nil},
	} {
		for _, crashes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", tt.name, crashes), func(t *testing.T) {
				dir := t.TempDir()
				o := Options{MaxBytesPerFile: 10 * size, MinMessage: 1}
				q := mustOpen(t, dir, o)
				mustPut(t, q, m(0, 50)...)
				for range 12 {
					q.Next(1, 1)
				}
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				for _, step := range tt.damage {
					step(t, dir)
				}

				var r reports
				o.Failed = r.add
				q = mustOpen(t, dir, o)
				if d := q.Depth(); d != int64(len(tt.left)) {
					t.Errorf("depth %d, want %d", d, len(tt.left))
				}
				got := damages(&r)
				if len(got) != len(tt.reports) || len(r.all()) != len(got) {
					t.Fatalf("reports %v", r.all())
				}
				for i, d := range got {
					if !strings.Contains(d.Error(), tt.reports[i]) {
						t.Errorf("got  %s\nwant %s", d, tt.reports[i])
					}
				}
				if crashes {
					if len(got) > 0 != q.armed {
						t.Error("positions are not to be written")
					}
					q.flush(false)
					dir = crash(t, dir)
				} else if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				q = mustOpen(t, dir, o)
				mustPut(t, q, "after")
				want(t, drain(t, q), append(tt.left, "after"))
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				if n := len(r.all()); n != len(tt.reports) {
					t.Errorf("reported again: %v", r.all()[len(tt.reports):])
				}
				noBad(t, dir)
				if files, _ := filepath.Glob(filepath.Join(dir, "*.0*.dat")); len(files) > 1 {
					t.Errorf("left for ever: %q", files)
				}
			})
		}
	}
}

// TestWhatIsMissingFromASegmentThatIsNotCountedIsReported cuts one between two
// messages, which only who reads it can know.
func TestWhatIsMissingFromASegmentThatIsNotCountedIsReported(t *testing.T) {
	const size = 4 + 14
	for _, tt := range []struct{ segment, keep, missing int }{{0, 2, 8}, {0, 5, 5}, {2, 5, 5}, {3, 1, 9}} {
		dir := t.TempDir()
		var r reports
		o := Options{MaxBytesPerFile: 10 * size, MinMessage: 1, Failed: r.add}
		q := mustOpen(t, dir, o)
		all := numbered(0, 50)
		mustPut(t, q, all...)
		q.Next(2, 1000)
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, segmentName(tt.segment)), int64(tt.keep*size)); err != nil {
			t.Fatal(err)
		}
		q = mustOpen(t, dir, o)
		mustPut(t, q, "after", "and more") // in a segment of their own
		got := drain(t, q)
		left := append([]string{}, all[2:10*tt.segment+tt.keep]...)
		want(t, got, append(append(left, all[10*(tt.segment+1):]...), "after", "and more"))
		d := damages(&r)
		if len(d) != 1 || d[0].Reason != fmt.Sprintf("in the segments up to this one %d messages are missing", tt.missing) || d[0].File != segmentName(4) {
			t.Errorf("%v: reported %v", tt, r.all())
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		drain(t, mustOpen(t, dir, o))
		if len(r.all()) != 1 {
			t.Errorf("%v: reported again: %v", tt, r.all())
		}
	}
}
