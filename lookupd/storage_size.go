package lookupd

import (
	"errors"
	"io/fs"
	"path/filepath"

	"nsqraft/internal/diskspace"
)

// A diskUsage is what a data folder takes, and what its file system has left.
type diskUsage struct {
	data int64 // bytes of log and snapshots
	free int64 // bytes; 0 where it cannot be told
}

// usageOf measures the data folder dir.
func usageOf(dir string) (u diskUsage, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				u.data += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an old snapshot that was removed meanwhile
		}
		return err
	})
	if err != nil {
		return u, err
	}
	u.free, err = diskspace.Free(dir)
	if errors.Is(err, diskspace.ErrUnknown) {
		err = nil
	}
	return u, err
}
