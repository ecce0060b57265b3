package lookupd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"nsqraft/lookupd/raftguard"
)

// startEmpty is what to do with a damaged disk. Nothing is repaired in place:
// what a node has forgotten of its log or votes it must not guess.
const startEmpty = "move the data path away and start this node with an empty one: the others will bring it up to date"

// checkTimeout is how long checkLog waits for another process to let go of the file.
const checkTimeout = time.Second

// checkLog reads the raft-boltdb file at path from one end to the other, before
// anything relies on it, and returns the index from which on its log has every
// entry; 0 for an empty log. A file that does not exist is in order.
//
// bbolt maps the file into memory and believes what it finds there: damage would
// end the process by a fault or a panic, on whichever goroutine met it first, or
// pass for a shorter log. Here it is met on this goroutine, which can say so.
// It costs one pass over the log, about what Raft's own scan does.
func checkLog(path string) (wholeFrom uint64, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%v", v)
		}
		switch {
		case errors.Is(err, berrors.ErrTimeout):
			err = fmt.Errorf("%s: another process is using it", path)
		case err != nil:
			err = fmt.Errorf("%s is damaged (%w); %s", path, err, startEmpty)
		}
	}()
	options := &bbolt.Options{ReadOnly: true, Timeout: checkTimeout}
	store, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: options})
	if err != nil {
		return 0, err
	}
	defer store.Close()
	db, err := bbolt.Open(path, 0o600, options)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		if missing := tx.Size() - info.Size(); missing > 0 {
			return fmt.Errorf("%d bytes of it are missing", missing)
		}
		if err := checkMetas(path, db.Info().PageSize); err != nil {
			return err
		}
		wholeFrom, err = checkBuckets(tx, store)
		return err
	})
	return wholeFrom, err
}

// checkMetas checks bbolt's two meta pages, which take turns: each commit writes
// the older one anew. If one is damaged bbolt makes do with the other, and may
// so go back by a transaction, which may have been an acknowledged entry or a
// vote. The meta is within one sector, so a power cut does not tear it.
func checkMetas(path string, pageSize int) error {
	const (
		header   = 16 // of a page
		checksum = 56 // where the FNV-1a of all before it is, within the meta
		magic    = 0xED0CDAED
	)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for page := range 2 {
		var meta [checksum + 8]byte
		if _, err := f.ReadAt(meta[:], int64(page*pageSize+header)); err != nil {
			return err
		}
		sum := fnv.New64a()
		sum.Write(meta[:checksum])
		if binary.NativeEndian.Uint32(meta[:]) != magic || binary.NativeEndian.Uint64(meta[checksum:]) != sum.Sum64() {
			return fmt.Errorf("its meta page %d is not as it was written", page)
		}
	}
	return nil
}

// checkBuckets checks raft-boltdb's two buckets, of which store is a reader.
func checkBuckets(tx *bbolt.Tx, store raft.LogStore) (wholeFrom uint64, err error) {
	logs, conf := tx.Bucket([]byte("logs")), tx.Bucket([]byte("conf"))
	if logs == nil && conf == nil {
		return 0, nil // its making was interrupted
	}
	if logs == nil || conf == nil {
		return 0, errors.New("a part of it is missing")
	}
	var last uint64
	err = logs.ForEach(func(key, _ []byte) error {
		if len(key) != 8 {
			return fmt.Errorf("log key %x", key)
		}
		index := binary.BigEndian.Uint64(key)
		if index <= last {
			return fmt.Errorf("log entry %d after %d", index, last)
		}
		if index != last+1 || wholeFrom == 0 {
			wholeFrom = index
		}
		last = index
		var entry raft.Log
		if err := store.GetLog(index, &entry); err != nil {
			return fmt.Errorf("log entry %d: %w", index, err)
		}
		if entry.Index != index {
			return fmt.Errorf("log entry %d in the place of %d", entry.Index, index)
		}
		return raftguard.Verify(&entry)
	})
	if err != nil {
		return 0, err
	}
	found := make(map[string]bool)
	err = conf.ForEach(func(key, sealed []byte) error {
		found[string(key)] = true
		_, err := unseal(key, sealed)
		return err
	})
	if err == nil && last > 1 && !found["CurrentTerm"] { // Raft's key; entry 1 may be there before any term
		err = errors.New("it has a log and no term")
	}
	return wholeFrom, err
}

// sealedValues adds a checksum to each stable value of a Backend: a term or a vote
// with a flipped bit would be believed.
type sealedValues struct{ raftguard.Backend }

// seal returns value followed by a checksum of key and value.
func seal(key, value []byte) []byte {
	sealed := append(make([]byte, 0, len(value)+crc32.Size), value...)
	return binary.BigEndian.AppendUint32(sealed, valueSum(key, value))
}

func unseal(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - crc32.Size
	if n < 0 || binary.BigEndian.Uint32(sealed[n:]) != valueSum(key, sealed[:n]) {
		return nil, fmt.Errorf("the value of %q has a wrong checksum", key)
	}
	return sealed[:n], nil
}

func valueSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func (s sealedValues) Set(key, value []byte) error { return s.Backend.Set(key, seal(key, value)) }

func (s sealedValues) Get(key []byte) ([]byte, error) {
	sealed, err := s.Backend.Get(key)
	if err != nil || len(sealed) == 0 {
		return nil, err
	}
	return unseal(key, sealed)
}

func (s sealedValues) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

func (s sealedValues) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil || len(value) == 0 {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("the value of %q has %d bytes", key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// sealedSnapshots adds a checksum to each snapshot's description, in a file beside
// it: hashicorp/raft checks a snapshot's content only, and takes index, term and
// members from the description. A snapshot whose description is not as it was
// written is not listed. One without a checksum was interrupted before Raft
// could drop the log that it replaces.
type sealedSnapshots struct {
	raft.SnapshotStore
	dir string
	log hclog.Logger
}

const (
	snapshotsDir     = "snapshots" // hashicorp/raft's names
	snapshotMetaFile = "meta.json"
	metaSumFile      = "meta.crc"
)

func (s sealedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, trans)
	if err != nil {
		return nil, err
	}
	return sealedSink{sink, s}, nil
}

type sealedSink struct {
	raft.SnapshotSink
	store sealedSnapshots
}

func (k sealedSink) Close() error {
	if err := k.SnapshotSink.Close(); err != nil {
		return err
	}
	if err := k.store.seal(k.ID()); err != nil {
		return fmt.Errorf("seal snapshot %s: %w", k.ID(), err)
	}
	return nil
}

func (s sealedSnapshots) seal(id string) error {
	dir := filepath.Join(s.dir, snapshotsDir, id)
	sum, err := metaSum(dir)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, metaSumFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(sum)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncDir(dir)
}

func (s sealedSnapshots) List() ([]*raft.SnapshotMeta, error) {
	all, err := s.SnapshotStore.List()
	if err != nil {
		return nil, err
	}
	var whole []*raft.SnapshotMeta
	for _, meta := range all {
		dir := filepath.Join(s.dir, snapshotsDir, meta.ID)
		want, err := os.ReadFile(filepath.Join(dir, metaSumFile))
		if err == nil {
			var sum string
			if sum, err = metaSum(dir); err == nil && sum != string(want) {
				err = errors.New("its description has a wrong checksum")
			}
		}
		if err != nil {
			s.log.Warn("a snapshot is damaged or was interrupted; it is not used", "id", meta.ID, "err", err)
			continue
		}
		whole = append(whole, meta)
	}
	return whole, nil
}

// metaSum is the checksum of the description of the snapshot in dir, in text.
func metaSum(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, snapshotMetaFile))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x\n", crc32.Checksum(b, castagnoli)), nil
}
