package raftguard

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"nsqraft/internal/defect"
)

// lockTimeout is how long OpenBolt waits for another process to let go of the
// file: long enough for one that is on its way out.
const lockTimeout = time.Second

// OpenBolt opens the raft-boltdb file at path, and makes it if there is none.
// It gives up after a second if another process has the file open.
//
// Opening commits a transaction of its own. That matters after a failed fsync: what
// the page cache still shows, and no sync would write any more, is then on disk
// before Raft reads it and takes it for stored.
func OpenBolt(path string) (*raftboltdb.BoltStore, error) {
	store, err := raftboltdb.New(raftboltdb.Options{
		Path:   path,
		NoSync: defect.Seeded && defect.On(defect.NoSync),
		BoltOptions: &bbolt.Options{
			Timeout: lockTimeout,
			// The list of free pages is found by a scan on opening, rather than
			// written with every commit. It is long after a log was compacted.
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open raft store %s: another process is using it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open raft store %s: %w", path, err)
	}
	// bbolt syncs the file, not the name it has just given to it.
	if err := syncDir(filepath.Dir(path)); err != nil {
		store.Close()
		return nil, fmt.Errorf("open raft store %s: %w", path, err)
	}
	return store, nil
}

func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be synced there
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
