package env

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"go.etcd.io/bbolt"

	"nsqraft/internal/localcluster"
)

// logFile is a node's raft log in its data folder, and logBucket the entries in it.
const logFile, logBucket = "raft.db", "logs"

// damage kills p, damages its raft log, and starts it again. At the end, if it has not
// survived, it starts with an empty folder.
func (e *Processes) damage(ctx context.Context, p *localcluster.Process, k Kind, at uint64) (undo, bool, error) {
	undo, verified, err := e.kill(ctx, p)
	if err != nil {
		return undo, false, err
	}
	file := filepath.Join(p.Data, logFile)
	rng := rand.New(rand.NewPCG(at, 0))
	if k == FlipBit {
		err = flipBit(file, rng)
	} else {
		err = tear(file, rng)
	}
	if err != nil {
		return undo, false, fmt.Errorf("damage %s: %w", file, err)
	}
	if err := p.Start(); err != nil {
		return undo, false, err
	}
	return func(ctx context.Context) error {
		if p.State() != localcluster.Down {
			return nil
		}
		if err := empty(p.Data); err != nil {
			return err
		}
		return start(p)(ctx)
	}, verified, nil
}

// flipBit flips one bit of one of the last entries of a log, or anywhere in what is in
// use of a log without entries.
func flipBit(file string, rng *rand.Rand) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	from, size := 0, inUse(data)
	if at, n := entryIn(file, rng.IntN(10)); n > 0 {
		from, size = at, n
	}
	if size == 0 {
		return errors.New("it is empty")
	}
	i := from + rng.IntN(size)
	return overwrite(file, int64(i), []byte{data[i] ^ 1<<rng.IntN(8)})
}

// tear leaves the end of a log as a disk may that lost its power: cut off within the
// last pages in use, or with something else in the last of them.
func tear(file string, rng *rand.Rand) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	size, page := inUse(data), os.Getpagesize()
	if size < 4*page {
		return fmt.Errorf("only %d bytes of it are in use", size)
	}
	if rng.IntN(2) == 0 {
		left := int64(size - 1 - rng.IntN(2*page))
		return errors.Join(os.Truncate(file, left), sizeIs(file, left))
	}
	garbage := make([]byte, page)
	for i := range garbage {
		garbage[i] = byte(rng.Uint32())
	}
	return overwrite(file, int64(size-page), garbage)
}

// overwrite writes b at an offset and sees that it is there.
func overwrite(file string, offset int64, b []byte) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(b, offset); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	read := make([]byte, len(b))
	if _, err := f.ReadAt(read, offset); err != nil {
		return err
	}
	if !bytes.Equal(read, b) {
		return errors.New("what was written is not there")
	}
	return nil
}

func sizeIs(file string, size int64) error {
	info, err := os.Stat(file)
	if err == nil && info.Size() != size {
		err = fmt.Errorf("it has %d bytes, not %d", info.Size(), size)
	}
	return err
}

// entryIn returns where the entry is that is so many before the last one, or the first,
// and how many bytes it has; 0 if there is none.
func entryIn(file string, before int) (at, size int) {
	db, err := bbolt.Open(file, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return 0, 0
	}
	defer db.Close()
	db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(logBucket))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		key, value := c.Last()
		for ; before > 0 && key != nil; before-- {
			if k, v := c.Prev(); k != nil {
				key, value = k, v
			}
		}
		// The file has other copies of it that are not in use, so it is not searched for:
		// what bbolt returns is in the file, which is mapped.
		if size = len(value); size > 0 {
			at = int(uintptr(unsafe.Pointer(&value[0])) - db.Info().Data)
		}
		return nil
	})
	return at, size
}

// inUse returns how many bytes of a bbolt file the newer of its two meta pages says are
// in use: the rest is room for more.
func inUse(data []byte) int {
	const header, pgid, txid = 16, 40, 48 // bytes before a meta, and into it
	page, used, newest := os.Getpagesize(), 0, uint64(0)
	if len(data) < 2*page {
		return len(data)
	}
	for i := range 2 {
		meta := data[i*page+header:]
		if tx := binary.LittleEndian.Uint64(meta[txid:]); tx >= newest {
			newest, used = tx, int(binary.LittleEndian.Uint64(meta[pgid:]))*page
		}
	}
	return min(used, len(data))
}
