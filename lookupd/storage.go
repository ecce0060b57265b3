package lookupd

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"nsqraft/internal/defect"
	"nsqraft/lookupd/raftguard"
)

// storage is what a node keeps over a restart. Tests hand in one in memory.
type storage struct {
	identity     identity
	saveIdentity func(identity) error

	log       *raftguard.Store // Raft's log, term and vote
	wholeFrom uint64           // the log as it was opened has all entries from here on; 0: it was empty
	snapshots raft.SnapshotStore
	mark      commitMark
	usage     func() (diskUsage, error) // nil in memory

	close func() error
}

// identity is who a node is, for ever. It lies beside the log: whoever has lost
// the log has lost the identity too and comes back as somebody else, so that
// it cannot vote a second time on what it has forgotten.
type identity struct {
	Node     string `json:"node_id"`
	Instance string `json:"instance"`
	Cluster  string `json:"cluster_id"` // empty until the node belongs to one
	// WasReady: its copy has once been whole. Until then it has answered nobody, and what
	// its disk holds may be any part of the registry.
	WasReady bool `json:"was_ready,omitempty"`
}

// A commitMark keeps the highest index that this node has applied, so that
// after a restart without a leader it serves nothing older than it served
// before.
type commitMark interface {
	Load() (uint64, error)
	Store(index uint64) error
	Sync() error // what was stored survives a power cut
}

const (
	identityFile = "identity.json"
	logFile      = "raft.db"
	markFile     = "commit.mark"

	// retainedSnapshots: the newest, and the one before in case of damage.
	retainedSnapshots = 2
)

// instanceKey holds the identity's instance in the stable store as well: an
// identity file that was copied to another log, or kept when the log was
// deleted, must not pass.
var instanceKey = []byte("NsqraftInstance")

func newIdentity(node string) identity {
	if defect.Seeded && defect.On(defect.SameInstance) {
		return identity{Node: node, Instance: "of-old-times"}
	}
	return identity{Node: node, Instance: randomID(8)}
}

// randomID returns n random bytes in hexadecimal.
func randomID(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails, says crypto/rand
	return hex.EncodeToString(b)
}

// openStorage opens or begins the data folder dir of node. onFailure is called
// once, when the log can no longer be written; took observes the seconds that
// each append to it takes.
func openStorage(dir, node string, onFailure func(error), took prometheus.Observer, log hclog.Logger) (_ *storage, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create data path: %w", err)
	}
	id, fresh, err := loadIdentity(dir, node)
	if err != nil {
		return nil, err
	}
	wholeFrom, err := checkLog(filepath.Join(dir, logFile))
	if err != nil {
		return nil, err
	}
	bolt, err := raftguard.OpenBolt(filepath.Join(dir, logFile))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Join(dir, logFile), err)
	}
	closers := []func() error{bolt.Close}
	closeAll := func() error {
		var errs []error
		for i := len(closers) - 1; i >= 0; i-- {
			errs = append(errs, closers[i]())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	s := &storage{
		identity:     id,
		saveIdentity: func(id identity) error { return writeIdentity(dir, id) },
		log:          raftguard.NewStore(timedBackend{sealedValues{bolt}, took}, filepath.Join(dir, logFile), onFailure),
		wholeFrom:    wholeFrom,
		usage:        func() (diskUsage, error) { return usageOf(dir) },
		close:        closeAll,
	}
	if err := s.bindIdentity(dir, fresh); err != nil {
		return nil, err
	}
	log = log.Named("snapshot")
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, retainedSnapshots, log)
	if err != nil {
		return nil, fmt.Errorf("open snapshots in %s: %w", dir, err)
	}
	s.snapshots = sealedSnapshots{snapshots, dir, log}
	mark, err := openMark(filepath.Join(dir, markFile))
	if err != nil {
		return nil, err
	}
	closers = append(closers, mark.Close)
	s.mark = mark
	return s, nil
}

// timedBackend measures the appends to the log.
type timedBackend struct {
	raftguard.Backend
	took prometheus.Observer
}

func (b timedBackend) StoreLogs(logs []*raft.Log) error {
	begun := time.Now()
	defer func() { b.took.Observe(time.Since(begun).Seconds()) }()
	return b.Backend.StoreLogs(logs)
}

// memoryStorage is the storage of a node that forgets everything at its end.
func memoryStorage(node string) *storage {
	s := &storage{
		identity:  newIdentity(node),
		log:       raftguard.NewStore(raft.NewInmemStore(), "memory", func(error) {}),
		snapshots: raft.NewInmemSnapshotStore(),
		mark:      new(memoryMark),
		close:     func() error { return nil },
	}
	s.saveIdentity = func(id identity) error { s.identity = id; return nil }
	return s
}

// loadIdentity reads the identity in dir, or makes the first one if dir holds
// nothing of a node yet.
func loadIdentity(dir, node string) (id identity, fresh bool, err error) {
	path := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, logFile)); err == nil {
			return id, false, fmt.Errorf("%s holds a raft log but no %s: it cannot be told whose it is; move the folder away and start this node with an empty one", dir, identityFile)
		}
		id = newIdentity(node)
		return id, true, writeIdentity(dir, id)
	}
	if err != nil {
		return id, false, fmt.Errorf("read identity: %w", err)
	}
	if err := json.Unmarshal(data, &id); err != nil || id.Node == "" || id.Instance == "" {
		return id, false, fmt.Errorf("%s is damaged; move the folder away and start this node with an empty one", path)
	}
	if id.Node != node {
		return id, false, fmt.Errorf("data path %s belongs to node %s, this is --node-id %s", dir, id.Node, node)
	}
	return id, false, nil
}

// writeIdentity replaces the file at once or not at all.
func writeIdentity(dir string, id identity) error {
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, identityFile+".*.tmp")
	if err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(data, '\n'))
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	if err := os.Rename(tmp.Name(), filepath.Join(dir, identityFile)); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bindIdentity ties the stable store to the identity, or refuses the pair.
func (s *storage) bindIdentity(dir string, fresh bool) error {
	bound, err := s.log.Get(instanceKey)
	if err != nil && err.Error() != "not found" {
		return fmt.Errorf("read the log's instance: %w", err)
	}
	last, err := s.log.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log's end: %w", err)
	}
	switch {
	case string(bound) == s.identity.Instance:
		return nil
	case len(bound) == 0 && last == 0 && (fresh || s.identity.Cluster == ""):
		return s.log.Set(instanceKey, []byte(s.identity.Instance))
	default:
		return fmt.Errorf("%s and %s in %s do not belong together (the log was deleted or copied from elsewhere); move the folder away and start this node with an empty one: the others will bring it up to date", identityFile, logFile, dir)
	}
}

// fileMark is a commitMark in a file that is written in place: index and
// checksum, 12 bytes. It survives the process's death at once and the
// machine's after Sync.
type fileMark struct {
	file *os.File
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func openMark(path string) (*fileMark, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open commit mark: %w", err)
	}
	return &fileMark{file: f}, nil
}

// Load returns 0 for a mark that was never written or only in part.
func (m *fileMark) Load() (uint64, error) {
	var b [12]byte
	if _, err := m.file.ReadAt(b[:], 0); errors.Is(err, io.EOF) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("read commit mark: %w", err)
	}
	if binary.BigEndian.Uint32(b[8:]) != crc32.Checksum(b[:8], castagnoli) {
		return 0, nil
	}
	return binary.BigEndian.Uint64(b[:8]), nil
}

func (m *fileMark) Store(index uint64) error {
	var b [12]byte
	binary.BigEndian.PutUint64(b[:8], index)
	binary.BigEndian.PutUint32(b[8:], crc32.Checksum(b[:8], castagnoli))
	if _, err := m.file.WriteAt(b[:], 0); err != nil {
		return fmt.Errorf("write commit mark: %w", err)
	}
	return nil
}

func (m *fileMark) Sync() error {
	if defect.Seeded && defect.On(defect.NoSync) {
		return nil
	}
	return m.file.Sync()
}

func (m *fileMark) Close() error {
	return errors.Join(m.file.Sync(), m.file.Close())
}

type memoryMark struct{ index atomic.Uint64 }

func (m *memoryMark) Load() (uint64, error)    { return m.index.Load(), nil }
func (m *memoryMark) Store(index uint64) error { m.index.Store(index); return nil }
func (m *memoryMark) Sync() error              { return nil }
