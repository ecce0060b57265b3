package diskqueue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A faultyDisk fails where it is told to.
type faultyDisk struct {
	disk
	mu    sync.Mutex
	fault map[string]error // by operation
	room  int              // bytes that a failing write writes all the same
	space int64            // bytes that all files may have; 0: any
	step  func()           // called before each change
	syncs int
}

func (d *faultyDisk) set(op string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault[op] = err
}

func (d *faultyDisk) fails(op string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fault[op]
}

func (d *faultyDisk) Open(name string, flag int) (file, error) {
	op := "open"
	if strings.HasSuffix(name, ".tmp") {
		op = "meta"
	}
	if err := d.fails(op); err != nil {
		return nil, err
	}
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		d.changes()
	}
	f, err := d.disk.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return faultyFile{f, d}, nil
}

func (d *faultyDisk) Remove(name string) error {
	d.changes()
	return d.disk.Remove(name)
}

func (d *faultyDisk) Rename(from, to string) error {
	d.changes()
	return d.disk.Rename(from, to)
}

func (d *faultyDisk) changes() {
	if d.step != nil {
		d.step()
	}
}

// used returns how many bytes all files have.
func (d *faultyDisk) used() (sum int64) {
	names, _ := d.disk.List()
	for _, name := range names {
		size, _ := d.disk.Size(name)
		sum += size
	}
	return sum
}

type faultyFile struct {
	file
	d *faultyDisk
}

func (f faultyFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.d.fails("write"); err != nil {
		n, _ := f.file.WriteAt(b[:min(len(b), f.d.room)], at)
		return n, err
	}
	f.d.changes()
	if size, err := f.file.Size(); err == nil && f.d.space > 0 {
		if free := f.d.space - f.d.used(); at+int64(len(b))-size > free {
			n, _ := f.file.WriteAt(b[:max(0, min(size+free-at, int64(len(b))))], at)
			return n, syscall.ENOSPC
		}
	}
	return f.file.WriteAt(b, at)
}

func (f faultyFile) ReadAt(b []byte, at int64) (int, error) {
	if err := f.d.fails("read"); err != nil {
		return 0, err
	}
	return f.file.ReadAt(b, at)
}

func (f faultyFile) Sync() error {
	f.d.mu.Lock()
	f.d.syncs++
	f.d.mu.Unlock()
	if err := f.d.fails("sync"); err != nil {
		return err
	}
	return f.file.Sync()
}

func (f faultyFile) Truncate(n int64) error {
	if err := f.d.fails("truncate"); err != nil {
		return err
	}
	f.d.changes()
	return f.file.Truncate(n)
}

func openFaulty(t *testing.T, o Options) (*Queue, *faultyDisk, string) {
	t.Helper()
	dir := t.TempDir()
	d := &faultyDisk{disk: osDisk(dir), fault: map[string]error{}, room: 21}
	q, err := open(d, "t", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q, d, dir
}

func TestAFailedPutLeavesNothingBehind(t *testing.T) {
	for _, faults := range [][]string{{"open"}, {"write"}, {"write", "truncate"}} {
		for _, before := range []int{0, 3, 5} {
			t.Run(fmt.Sprintf("%v/%d", faults, before), func(t *testing.T) {
				o := Options{MaxBytesPerFile: 100, MinMessage: 1}
				q, d, dir := openFaulty(t, o)
				all := numbered(0, before)
				mustPut(t, q, all...)
				for _, f := range faults {
					d.set(f, syscall.ENOSPC)
				}
				var many [][]byte
				for _, m := range numbered(500, 520) {
					many = append(many, []byte(m))
				}
				if err := q.Put(many...); !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("got %v, want ENOSPC", err)
				}
				if got := q.Depth(); got != int64(before) {
					t.Fatalf("depth %d, want %d", got, before)
				}
				for _, f := range faults {
					d.set(f, nil)
				}
				mustPut(t, q, "later")
				all = append(all, "later")
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				q = mustOpen(t, dir, o)
				if len(faults) == 1 {
					want(t, drain(t, q), all)
					noBad(t, dir)
					return
				}
				// What could not be cut off is damage to the next process, which
				// takes whole messages in it for what they look like.
				var left []string
				for _, m := range drain(t, q) {
					if m != "message 000500" {
						left = append(left, m)
					}
				}
				want(t, left, all)
			})
		}
	}
}

func TestAFailedReadKeepsThePlace(t *testing.T) {
	for _, tt := range []struct {
		op  string
		err error
	}{{"open", syscall.EMFILE}, {"read", syscall.ENOSPC}, {"read", syscall.EIO}} {
		q, d, dir := openFaulty(t, Options{})
		mustPut(t, q, "a", "b")
		d.set(tt.op, tt.err)
		for range 2 {
			if _, err := q.Next(1, 1); !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
		}
		d.set(tt.op, nil)
		want(t, drain(t, q), []string{"a", "b"})
		noBad(t, dir)
	}
}

func TestABadSectorCostsItsSegmentOnly(t *testing.T) {
	q, d, dir := openFaulty(t, Options{MaxBytesPerFile: 40})
	mustPut(t, q, numbered(0, 4)...)
	d.set("read", syscall.EIO)
	for range maxStrikes - 1 {
		q.Next(1, 1)
	}
	d.fault["read"] = syscall.EIO
	if _, err := q.Next(1, 1); err == nil {
		t.Fatal("no error from the next segment")
	}
	d.set("read", nil)
	want(t, drain(t, q), numbered(2, 4))
	if _, err := os.Stat(filepath.Join(dir, segmentName(0)+".bad")); err != nil {
		t.Fatal(err)
	}
}

func TestAfterAFailedFsyncTheSegmentGetsNoMore(t *testing.T) {
	var r reports
	q, d, dir := openFaulty(t, Options{SyncEvery: 1, Failed: r.add})
	mustPut(t, q, "a")
	d.set("sync", syscall.EIO)
	if err := q.Put([]byte("b")); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v, want EIO", err)
	}
	if err := q.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Sync: got %v, want EIO", err)
	}
	if len(r.all()) == 0 {
		t.Fatal("not reported")
	}
	d.set("sync", nil)
	mustPut(t, q, "c")
	if _, err := os.Stat(filepath.Join(dir, segmentName(1))); err != nil {
		t.Fatal(err)
	}
	want(t, drain(t, q), []string{"a", "b", "c"})
}

func TestSyncIsShared(t *testing.T) {
	q, d, _ := openFaulty(t, Options{SyncEvery: 1, SyncTimeout: time.Hour})
	var wg sync.WaitGroup
	const n = 200
	for range n {
		wg.Go(func() {
			if err := q.Put([]byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d.syncs > n/2 {
		t.Errorf("%d fsyncs for %d messages", d.syncs, n)
	}
}

func TestAFullDiskIsMadeRoomOnByReading(t *testing.T) {
	q, d, dir := openFaulty(t, Options{MaxBytesPerFile: 100, SyncTimeout: time.Hour})
	mustPut(t, q, numbered(0, 50)...)
	d.set("meta", syscall.ENOSPC)
	drain(t, q)
	if err := q.flush(false); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v, want ENOSPC", err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.dat")); len(files) != 1 { // the meta file
		t.Fatalf("left %q", files)
	}
	mustPut(t, q, "last")
	d.set("meta", nil)
	want(t, drain(t, mustOpen(t, crash(t, dir), Options{})), []string{"last"})
}

// TestADiskThatTheQueueFilledRecovers crashes before each change of a file too.
func TestADiskThatTheQueueFilledRecovers(t *testing.T) {
	for _, segment := range []int64{100, 1 << 20} {
		for _, hold := range []bool{false, true} {
			for _, first := range []string{"put", "positions"} {
				t.Run(fmt.Sprintf("%d/%v/%s", segment, hold, first), func(t *testing.T) {
					o := Options{MaxBytesPerFile: segment, MinMessage: 1, Hold: hold, SyncTimeout: time.Hour}
					q, d, dir := openFaulty(t, o)
					mustPut(t, q, "early")
					if err := q.flush(false); err != nil {
						t.Fatal(err)
					}
					d.space = 2000
					var all []string
					for i := 0; ; i++ {
						m := fmt.Sprintf("message %06d", i)
						if err := q.Put([]byte(m)); errors.Is(err, syscall.ENOSPC) {
							break
						} else if err != nil {
							t.Fatal(err)
						}
						all = append(all, m)
					}
					d.space = d.used() // not even the positions have room
					all = append([]string{"early"}, all...)
					var got []string
					for len(got) < len(all)-1 {
						messages, err := q.Next(1, 1)
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, string(messages[0]))
					}
					if hold {
						// What is held is needed.
						if err := q.Put([]byte("no room")); !errors.Is(err, syscall.ENOSPC) {
							t.Fatalf("got %v, want ENOSPC", err)
						}
						q.Release(int64(len(got)))
					}
					want(t, append(got, drain(t, q)...), all)
					q.Release(1)

					var crashed []string
					d.step = func() { crashed = append(crashed, crash(t, dir)) }
					if first == "positions" {
						if err := q.flush(false); err != nil {
							t.Fatal(err)
						}
					}
					mustPut(t, q, "last")
					d.step = nil
					if len(crashed) < 4 {
						t.Fatalf("%d crashes", len(crashed))
					}
					check := func(dir string, must ...string) {
						t.Helper()
						var r reports
						o := o
						o.Failed = r.add
						q := mustOpen(t, dir, o)
						left := drain(t, q)
						for _, m := range left {
							if m != "last" && !slices.Contains(all, m) {
								t.Errorf("got %q", m)
							}
						}
						for _, m := range must {
							if !slices.Contains(left, m) {
								t.Errorf("%q is missing", m)
							}
						}
						if len(r.all()) > 0 {
							t.Errorf("reported: %v", r.all())
						}
						mustPut(t, q, "afterwards")
						want(t, drain(t, q), []string{"afterwards"})
						q.Release(1 << 20)
						q.Close()
						noBad(t, dir)
						if files, _ := filepath.Glob(filepath.Join(dir, "*.0*.dat")); len(files) > 1 {
							t.Errorf("left for ever: %q", files)
						}
					}
					for _, dir := range crashed {
						check(dir)
					}
					check(crash(t, dir), "last")
					if d.used() > 200 { // a small segment may stay
						t.Errorf("%d bytes left", d.used())
					}
					mustPut(t, q, numbered(0, 50)...)
					want(t, drain(t, q), append([]string{"last"}, numbered(0, 50)...))
				})
			}
		}
	}
}
