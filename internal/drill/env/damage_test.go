package env

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// aLog is a file as a node's log is one, with entries.
func aLog(t *testing.T, entries int) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), logFile)
	db, err := bbolt.Open(file, 0o600, nil)
	must(t, err)
	for i := range entries {
		must(t, db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(logBucket))
			if err != nil {
				return err
			}
			return b.Put(binary.BigEndian.AppendUint64(nil, uint64(i)), fmt.Appendf(nil, "entry %d %s", i, bytes.Repeat([]byte("x"), 100)))
		}))
	}
	must(t, db.Close())
	return file
}

func entriesOf(t *testing.T, file string) (all []string) {
	t.Helper()
	db, err := bbolt.Open(file, 0o600, nil)
	must(t, err)
	defer db.Close()
	must(t, db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(logBucket)).ForEach(func(_, v []byte) error {
			all = append(all, string(v))
			return nil
		})
	}))
	return all
}

// Exactly one bit of exactly one of the last entries is flipped, as a reader of the
// file sees it.
func TestFlipBit(t *testing.T) {
	for seed := range uint64(20) {
		file := aLog(t, 60)
		before := entriesOf(t, file)
		must(t, flipBit(file, rand.New(rand.NewPCG(seed, 0))))
		differ := 0
		for i, e := range entriesOf(t, file) {
			if e != before[i] {
				differ++
				if i < len(before)-10 {
					t.Errorf("seed %d: entry %d of %d was hit", seed, i, len(before))
				}
			}
		}
		if differ != 1 {
			t.Errorf("seed %d: %d entries differ, want 1", seed, differ)
		}
	}
}

func TestTear(t *testing.T) {
	shorter, longer := 0, 0
	for seed := range uint64(20) {
		file := aLog(t, 60)
		before, err := os.ReadFile(file)
		must(t, err)
		used := inUse(before)
		must(t, tear(file, rand.New(rand.NewPCG(seed, 0))))
		after, err := os.ReadFile(file)
		must(t, err)
		switch {
		case len(after) < used && bytes.Equal(after, before[:len(after)]):
			shorter++
		case len(after) == len(before) && !bytes.Equal(after[:used], before[:used]) && bytes.Equal(after[used:], before[used:]):
			longer++
		default:
			t.Errorf("seed %d: of %d bytes, %d in use, are left %d", seed, len(before), used, len(after))
		}
	}
	if shorter == 0 || longer == 0 {
		t.Errorf("cut %d times, overwritten %d times", shorter, longer)
	}
	if err := tear(filepath.Join(t.TempDir(), "nothing"), rand.New(rand.NewPCG(0, 0))); err == nil {
		t.Error("a log that is not there was torn")
	}
}
