package diskqueue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	f, err := d.disk.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return faultyFile{f, d}, nil
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
	if files, _ := filepath.Glob(filepath.Join(dir, "*.dat")); len(files) != 2 {
		t.Fatalf("left %q", files)
	}
	mustPut(t, q, "last")
	d.set("meta", nil)
	want(t, drain(t, mustOpen(t, crash(t, dir), Options{})), []string{"last"})
}
