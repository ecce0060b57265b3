package raftguard_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"nsqraft/internal/nsqtest"
	"nsqraft/lookupd/raftguard"
)

// openBolt opens the file at path and returns a Store over it that keeps the errors
// it fails with, and a function that closes the file.
func openBolt(t *testing.T, path string) (store *raftguard.Store, failures *[]error, closeFile func()) {
	t.Helper()
	bolt, err := raftguard.OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	failures = new([]error)
	store = raftguard.NewStore(bolt, path, func(err error) { *failures = append(*failures, err) })
	return store, failures, func() {
		if err := bolt.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func command(index uint64, data string) *raft.Log {
	return &raft.Log{Index: index, Term: 3, Type: raft.LogCommand, Data: []byte(data), AppendedAt: time.Now()}
}

func TestVerify(t *testing.T) {
	tests := []struct {
		name   string
		change func(*raft.Log)
		want   string // in the error; "" for none
	}{
		{"untouched", func(l *raft.Log) {}, ""},
		{"a clock's doing", func(l *raft.Log) { l.AppendedAt = time.Time{} }, ""},
		{"index", func(l *raft.Log) { l.Index = 8 }, "log entry 8 is corrupt"},
		{"term", func(l *raft.Log) { l.Term++ }, "log entry 7 is corrupt"},
		{"type", func(l *raft.Log) { l.Type = raft.LogNoop }, "log entry 7 is corrupt"},
		{"data", func(l *raft.Log) { l.Data[2] ^= 1 }, "log entry 7 is corrupt"},
		{"no data", func(l *raft.Log) { l.Data = nil }, "log entry 7 is corrupt"},
		{"checksum", func(l *raft.Log) { l.Extensions[3] ^= 1 }, "log entry 7 is corrupt"},
		{"no checksum", func(l *raft.Log) { l.Extensions = nil }, "carries no checksum"},
		{"half a checksum", func(l *raft.Log) { l.Extensions = l.Extensions[:3] }, "unknown format"},
		{"a version to come", func(l *raft.Log) { l.Extensions[0]++ }, "unknown format"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := command(7, "register orders")
			if err := newStore(t, raft.NewInmemStore()).StoreLog(l); err != nil {
				t.Fatal(err)
			}
			tt.change(l)
			err := raftguard.Verify(l)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, raftguard.ErrCorrupt) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Verify = %v, want ErrCorrupt with %q", err, tt.want)
			}
		})
	}
}

func TestEntriesSurviveTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	store, _, closeFile := openBolt(t, path)
	logs := []*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(configuration())},
		{Index: 2, Term: 3, Type: raft.LogNoop},
		command(3, "register orders"),
		command(4, ""),
	}
	if err := store.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	closeFile()

	store, failures, closeFile := openBolt(t, path)
	defer closeFile()
	for _, want := range logs {
		var got raft.Log
		if err := store.GetLog(want.Index, &got); err != nil {
			t.Fatal(err)
		}
		if got.Index != want.Index || got.Term != want.Term || got.Type != want.Type ||
			!bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Extensions, want.Extensions) {
			t.Errorf("read %+v, want %+v", got, want)
		}
	}
	if err := store.GetLog(5, new(raft.Log)); err != raft.ErrLogNotFound {
		t.Errorf("read the entry after the last: %v, want raft.ErrLogNotFound itself", err)
	}
	if len(*failures) > 0 {
		t.Errorf("the store failed: %v", *failures)
	}
}

// raft-boltdb serves what a flipped bit has made of an entry.
func TestFlippedBitIsNotServed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "raft.db")
	store, _, closeFile := openBolt(t, path)
	want := command(7, "register orders")
	if err := store.StoreLogs([]*raft.Log{command(6, "before"), want, command(8, "after")}); err != nil {
		t.Fatal(err)
	}
	closeFile()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	value := storedValue(t, path, 7)
	start := bytes.Index(file, value)
	if start < 0 || bytes.LastIndex(file, value) != start {
		t.Fatal("the entry is not in the file just once")
	}

	served, path := 0, filepath.Join(dir, "flipped.db")
	for i := range value {
		flipped := bytes.Clone(file)
		flipped[start+i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		store, failures, closeFile := openBolt(t, path)
		var got raft.Log
		switch err := store.GetLog(7, &got); {
		case err == nil: // the bit has no meaning, or is in AppendedAt
			served++
			if got.Index != 7 || got.Term != want.Term || got.Type != want.Type || !bytes.Equal(got.Data, want.Data) {
				t.Errorf("bit in byte %d of %d: served %+v", i, len(value), got)
			}
		default:
			corrupt, ok := errors.AsType[*raftguard.CorruptError](err)
			if !ok || corrupt.Index != 7 || corrupt.Store != path || !errors.Is(err, raftguard.ErrCorrupt) {
				t.Errorf("bit in byte %d: %v, want a CorruptError that names entry 7 and %s", i, err, path)
			}
			if got.Data != nil {
				t.Errorf("bit in byte %d: an error, and yet the data %q", i, got.Data)
			}
			if len(*failures) != 1 || store.StoreLog(command(9, "more")) == nil {
				t.Errorf("bit in byte %d: the store goes on, having failed %d times", i, len(*failures))
			}
		}
		if err := store.GetLog(6, &got); err != nil {
			t.Errorf("bit in byte %d of entry 7: entry 6: %v", i, err)
		}
		closeFile()
	}
	if served > len(value)/3 {
		t.Errorf("%d of %d flips were served, more than AppendedAt accounts for", served, len(value))
	}
}

func storedValue(t *testing.T, path string, index byte) []byte {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	return bytes.Clone(tx.Bucket([]byte("logs")).Get([]byte{0, 0, 0, 0, 0, 0, 0, index}))
}

func TestEntryInTheWrongPlaceIsNotServed(t *testing.T) {
	backend := raft.NewInmemStore()
	failures := 0
	store := raftguard.NewStore(misplacing{backend}, "memory", func(error) { failures++ })
	if err := store.StoreLogs([]*raft.Log{command(1, "a"), command(2, "b")}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := store.GetLog(1, new(raft.Log)); !errors.Is(err, raftguard.ErrCorrupt) || failures != 1 {
			t.Errorf("read entry 1: %v and %d failures, want ErrCorrupt and one", err, failures)
		}
	}
}

// misplacing answers with the next entry.
type misplacing struct{ *raft.InmemStore }

func (s misplacing) GetLog(index uint64, log *raft.Log) error {
	return s.InmemStore.GetLog(index+1, log)
}

// Every server's copy carries the leader's checksum, Raft's own entries included.
func TestChecksumTravelsWithTheEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		backends := make(map[raft.ServerID]*raft.InmemStore)
		var nodes []*node
		for _, id := range servers {
			backends[id] = raft.NewInmemStore()
			nodes = append(nodes, startNode(t, raftConfig(id), newTransport(t, network, id), newStore(t, backends[id])))
		}
		leader := leaderOf(t, nodes)
		apply(t, leader, 20)
		last := leader.raft.LastIndex()
		kinds := make(map[raft.LogType]bool)
		for _, n := range nodes {
			eventually(t, "every node has applied every entry", func() bool { return len(n.fsm.Logs()) == 20 })
			for i := uint64(1); i <= last; i++ {
				var l, leaders raft.Log
				if err := backends[n.id].GetLog(i, &l); err != nil {
					t.Fatal(err)
				}
				kinds[l.Type] = true
				if err := raftguard.Verify(&l); err != nil {
					t.Errorf("%s: %v", n.id, err)
				}
				backends[leader.id].GetLog(i, &leaders)
				if !bytes.Equal(l.Extensions, leaders.Extensions) {
					t.Errorf("entry %d: %s has % x, the leader % x", i, n.id, l.Extensions, leaders.Extensions)
				}
			}
		}
		for _, kind := range []raft.LogType{raft.LogConfiguration, raft.LogNoop, raft.LogCommand} {
			if !kinds[kind] {
				t.Errorf("no %v was in the log", kind)
			}
		}
	})
}

// passing is a memory backend whose next write fails with err, if that is not nil.
type passing struct {
	*raft.InmemStore
	err error
}

func (s *passing) next() error {
	err := s.err
	s.err = nil
	return err
}

func (s *passing) StoreLogs(logs []*raft.Log) error {
	if err := s.next(); err != nil {
		return err
	}
	return s.InmemStore.StoreLogs(logs)
}

func (s *passing) DeleteRange(from, to uint64) error {
	if err := s.next(); err != nil {
		return err
	}
	return s.InmemStore.DeleteRange(from, to)
}

func (s *passing) Set(key, value []byte) error {
	if err := s.next(); err != nil {
		return err
	}
	return s.InmemStore.Set(key, value)
}

func (s *passing) SetUint64(key []byte, value uint64) error {
	if err := s.next(); err != nil {
		return err
	}
	return s.InmemStore.SetUint64(key, value)
}

func vote(s raft.StableStore, term uint64, candidate string) error {
	if err := s.SetUint64([]byte("LastVoteTerm"), term); err != nil {
		return err
	}
	return s.Set([]byte("LastVoteCand"), []byte(candidate))
}

func TestFailedWrite(t *testing.T) {
	var (
		ioError    = &fs.PathError{Op: "write", Path: "raft.db", Err: syscall.EIO}
		noSpace    = &fs.PathError{Op: "write", Path: "raft.db", Err: syscall.ENOSPC}
		overQuota  = &fs.PathError{Op: "write", Path: "raft.db", Err: syscall.EDQUOT}
		syncFailed = syscall.ENOSPC // as bbolt returns it on Linux, and then elsewhere
		fileSync   = &fs.PathError{Op: "sync", Path: "raft.db", Err: syscall.ENOSPC}
		growFailed = errors.New("file resize error: truncate raft.db: no space left on device")
	)
	type write func(*raftguard.Store) error
	var (
		storeLog      write = func(s *raftguard.Store) error { return s.StoreLog(command(4, "more")) }
		configure     write = func(s *raftguard.Store) error { return s.StoreLog(&raft.Log{Index: 4, Type: raft.LogConfiguration}) }
		compact       write = func(s *raftguard.Store) error { return s.DeleteRange(1, 2) }
		deleteTail    write = func(s *raftguard.Store) error { return s.DeleteRange(3, 3) }
		replaceTail   write = func(s *raftguard.Store) error { return errors.Join(deleteTail(s), s.StoreLog(command(3, "other"))) }
		set           write = func(s *raftguard.Store) error { return s.Set([]byte("k"), []byte("v")) }
		setTerm       write = func(s *raftguard.Store) error { return s.SetUint64([]byte("CurrentTerm"), 5) }
		castVote      write = func(s *raftguard.Store) error { return vote(s, 5, "n2") }
		nothing       write = func(s *raftguard.Store) error { return nil }
		storeDamaged  write = func(s *raftguard.Store) error { return s.StoreLog(damaged(4)) }
		everyOneWrite       = []write{storeLog, configure, compact, deleteTail, set, setTerm, castVote}
	)
	tests := []struct {
		name   string
		before write
		write  write
		err    error // what the backend answers; nil: it is not asked
		final  bool
	}{
		{"store: I/O error", nothing, storeLog, ioError, true},
		{"store: no space", nothing, storeLog, noSpace, false},
		{"store: over quota", nothing, storeLog, overQuota, false},
		{"store: no space to sync", nothing, storeLog, syncFailed, true},
		{"store: no space to sync elsewhere", nothing, storeLog, fileSync, true},
		{"store: no space to grow", nothing, storeLog, growFailed, true},
		{"store: no space for a configuration", nothing, configure, noSpace, true},
		{"store: no space after the tail was deleted", deleteTail, storeLog, noSpace, true},
		{"store: no space after the tail was replaced", replaceTail, storeLog, noSpace, false},
		{"store: no space after the head was deleted", compact, storeLog, noSpace, false},
		{"store: damaged entry", nothing, storeDamaged, nil, false},
		{"store: damaged entry after the tail was deleted", deleteTail, storeDamaged, nil, true},
		{"delete: I/O error", nothing, compact, ioError, true},
		{"delete: no space", nothing, compact, noSpace, false},
		{"delete the tail: no space", nothing, deleteTail, noSpace, false},
		{"set: I/O error", nothing, set, ioError, true},
		{"set: no space", nothing, set, noSpace, false},
		{"set term: I/O error", nothing, setTerm, ioError, true},
		{"set term: no space", nothing, setTerm, noSpace, false},
		{"vote: I/O error", nothing, castVote, ioError, true},
		{"vote: no space", nothing, castVote, noSpace, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			backend := &passing{InmemStore: raft.NewInmemStore()}
			var failures []error
			s := raftguard.NewStore(backend, "memory", func(err error) { failures = append(failures, err) })
			if err := s.StoreLogs([]*raft.Log{command(1, "a"), command(2, "b"), command(3, "c")}); err != nil {
				t.Fatal(err)
			}
			if err := tt.before(s); err != nil {
				t.Fatal(err)
			}
			backend.err = tt.err
			first := tt.write(s)
			if first == nil || tt.err != nil && !errors.Is(first, tt.err) {
				t.Fatalf("the write returned %v, want %v", first, tt.err)
			}

			if !tt.final {
				if err := storeLog(s); err != nil || len(failures) > 0 {
					t.Errorf("afterwards: %v, failures %v; want the store to go on", err, failures)
				}
				return
			}
			for i, write := range everyOneWrite {
				if err := write(s); err != first {
					t.Errorf("write %d afterwards: %v, want the first error again", i, err)
				}
			}
			if len(failures) != 1 || failures[0] != first {
				t.Errorf("failures %v, want the first error once", failures)
			}
			if err := s.GetLog(2, new(raft.Log)); err != nil {
				t.Errorf("read afterwards: %v", err)
			}
		})
	}
}

// damaged returns an entry whose checksum came with it and is wrong.
func damaged(index uint64) *raft.Log {
	l := command(index, "more")
	l.Extensions = []byte{1, 0, 0, 0, 0}
	return l
}

// A write that was under way when another failed proves nothing about the disk.
func TestWriteBesideAFailedOneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &deleteFails{gatedStore{InmemStore: raft.NewInmemStore()}}
		s := raftguard.NewStore(backend, "memory", func(error) {})
		gate := backend.hold()
		stored := make(chan error)
		go func() { stored <- s.StoreLog(command(1, "a")) }()
		synctest.Wait()
		if err := s.DeleteRange(1, 1); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		close(gate)
		if err := <-stored; !errors.Is(err, syscall.EIO) {
			t.Errorf("store: %v, want the error of the delete", err)
		}
	})
}

type deleteFails struct{ gatedStore }

func (*deleteFails) DeleteRange(from, to uint64) error { return syscall.EIO }

func TestStoringSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &gatedStore{InmemStore: raft.NewInmemStore()}
		s := newStore(t, backend)
		gate := backend.hold()
		began := time.Now()
		stored := make(chan error)
		go func() { stored <- s.StoreLog(command(1, "a")) }()
		time.Sleep(3 * time.Second)
		if got := s.StoringSince(); !got.Equal(began) {
			t.Errorf("with a StoreLogs in flight: %v, want %v", got, began)
		}
		close(gate)
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
		if got := s.StoringSince(); !got.IsZero() {
			t.Errorf("with none in flight: %v, want zero", got)
		}
	})
}

func TestLogBytes(t *testing.T) {
	backend := &passing{InmemStore: raft.NewInmemStore()}
	s := newStore(t, backend)
	store := func(size int) error { return s.StoreLog(command(1, strings.Repeat("x", size))) }
	store(1000)
	store(500)
	backend.err = &fs.PathError{Op: "write", Err: syscall.ENOSPC}
	if store(10_000) == nil {
		t.Fatal("stored where there is no space")
	}
	if got := s.LogBytes(); got < 1500 || got > 1600 {
		t.Errorf("LogBytes = %d after 1000 and 500 bytes of data", got)
	}
	s.ResetLogBytes()
	if got := s.LogBytes(); got != 0 {
		t.Errorf("LogBytes = %d after a reset", got)
	}
}

func TestTookIsOfTheLastTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &gatedStore{InmemStore: raft.NewInmemStore()}
		store := newStore(t, backend)
		var index uint64
		write := func(took time.Duration) {
			index++
			gate := backend.hold()
			time.AfterFunc(took, func() { gate <- nil })
			if err := store.StoreLog(&raft.Log{Index: index, Term: 1}); err != nil {
				t.Fatal(err)
			}
		}
		const ms = time.Millisecond
		for _, tt := range []struct{ took, least, most time.Duration }{
			{1 * ms, 0, 0},
			{200 * ms, 1 * ms, 200 * ms},
			{100 * ms, 100 * ms, 200 * ms},
			{150 * ms, 100 * ms, 150 * ms},
			{2 * ms, 2 * ms, 150 * ms},
		} {
			write(tt.took)
			if least, most := store.Took(); least != tt.least || most != tt.most {
				t.Errorf("after a write of %v: %v to %v, want %v to %v", tt.took, least, most, tt.least, tt.most)
			}
		}
		time.Sleep(6 * time.Second)
		if least, most := store.Took(); least != 0 || most != 0 {
			t.Errorf("without a write for 6s: %v to %v, want 0", least, most)
		}
	})
}
