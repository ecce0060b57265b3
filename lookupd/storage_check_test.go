package lookupd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// Each kind of damage that only one check can see, and what that says. The folder is
// as it was otherwise, so that no other check stands in for it.
func TestEachCheckOfTheDisk(t *testing.T) {
	intact := intactFolder(t)
	flipMeta := func(page int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, logFile), func(b []byte) []byte {
				b[page*os.Getpagesize()+40] ^= 1
				return b
			})
		}
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string
	}{
		{"older or newer meta page, 0", flipMeta(0), "meta page 0 is not as it was written"},
		{"older or newer meta page, 1", flipMeta(1), "meta page 1 is not as it was written"},
		{"a bit of the term", func(t *testing.T, dir string) {
			inBolt(t, dir, func(tx *bbolt.Tx) error {
				conf := tx.Bucket([]byte("conf"))
				term := append([]byte(nil), conf.Get([]byte("CurrentTerm"))...)
				term[7] ^= 1
				return conf.Put([]byte("CurrentTerm"), term)
			})
		}, `the value of "CurrentTerm" has a wrong checksum`},
		{"no term", func(t *testing.T, dir string) {
			inBolt(t, dir, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("conf")).Delete([]byte("CurrentTerm")) })
		}, "a log and no term"},
		{"the log's last entry is gone", func(t *testing.T, dir string) {
			inBolt(t, dir, func(tx *bbolt.Tx) error {
				last := tx.Bucket([]byte("logs")).Cursor()
				last.Last()
				return last.Delete()
			})
		}, "but this node has applied entry"},
		{"the log begins behind the snapshots", func(t *testing.T, dir string) {
			inBolt(t, dir, func(tx *bbolt.Tx) error {
				logs := tx.Bucket([]byte("logs"))
				first, _ := logs.Cursor().First()
				return logs.Delete(append([]byte(nil), first...))
			})
			if err := os.RemoveAll(filepath.Join(dir, snapshotsDir)); err != nil {
				t.Fatal(err)
			}
		}, "and there is no snapshot of what came before"},
		{"a bit of an entry", func(t *testing.T, dir string) {
			inBolt(t, dir, func(tx *bbolt.Tx) error {
				logs := tx.Bucket([]byte("logs"))
				key, entry := logs.Cursor().Last()
				entry = append([]byte(nil), entry...)
				at := strings.Index(string(entry), "topic")
				if at < 0 {
					t.Fatal("the test is void: the last entry is about no topic")
				}
				entry[at] ^= 1
				return logs.Put(append([]byte(nil), key...), entry)
			})
		}, "its checksum is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyFolder(t, intact)
			tt.damage(t, dir)
			n, _, err := startAlone(dir)
			if err == nil {
				n.Close()
				t.Fatal("the node has started")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), startEmpty) {
				t.Errorf("%v\nwant %q in it, and what to do", err, tt.want)
			}
		})
	}
}

// inBolt changes the log file in dir as a program could that has no idea of it.
func inBolt(t *testing.T, dir string, change func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, logFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A snapshot whose description has changed is passed over: Raft would believe it.
func TestSnapshotWithAnotherDescriptionIsNotListed(t *testing.T) {
	dir := t.TempDir()
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	store := sealedSnapshots{files, dir, hclog.NewNullLogger()}
	sink, err := store.Create(raft.SnapshotVersionMax, 7, 3, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	if list, err := store.List(); len(list) != 1 || err != nil {
		t.Fatalf("%d snapshots are listed, %v, want 1", len(list), err)
	}
	rewrite(t, filepath.Join(dir, snapshotsDir, sink.ID(), snapshotMetaFile), func(b []byte) []byte {
		changed := strings.Replace(string(b), `"Index":7`, `"Index":8`, 1)
		if changed == string(b) {
			t.Fatalf("the test is void: no index in %s", b)
		}
		return []byte(changed)
	})
	if list, err := store.List(); len(list) != 0 || err != nil {
		t.Errorf("%d snapshots are listed, %v, want none", len(list), err)
	}
}
