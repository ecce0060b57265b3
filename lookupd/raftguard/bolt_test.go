package raftguard_test

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nsqraft/lookupd/raftguard"
)

func TestOpenBoltTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	synctest.Test(t, func(t *testing.T) {
		first, err := raftguard.OpenBolt(path)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, err = raftguard.OpenBolt(path)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("open it again: %v, want an error that names %s and the reason", err, path)
		}
		if waited := time.Since(begin); waited > 2*time.Second {
			t.Errorf("gave up after %v, want a second", waited)
		}

		// One who is on his way out is waited for.
		time.AfterFunc(500*time.Millisecond, func() { first.Close() })
		second, err := raftguard.OpenBolt(path)
		if err != nil {
			t.Fatalf("open it while the other closes: %v", err)
		}
		second.Close()
	})
}

func TestOpenBoltNamesThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "raft.db")
	if _, err := raftguard.OpenBolt(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("open in a directory that is not there: %v, want an error that names %s", err, path)
	}
}
