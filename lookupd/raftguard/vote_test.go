package raftguard_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"nsqraft/lookupd/raftguard"
)

// readVote reads a vote as Raft does: the text "not found" means none.
func readVote(t *testing.T, s raft.StableStore) (term uint64, candidate []byte) {
	t.Helper()
	term, err := s.GetUint64([]byte("LastVoteTerm"))
	if err != nil && err.Error() != "not found" {
		t.Fatal(err)
	}
	candidate, err = s.Get([]byte("LastVoteCand"))
	if err != nil && err.Error() != "not found" {
		t.Fatal(err)
	}
	return term, candidate
}

// hashicorp/raft#661: a crash between the two halves of a vote made the new term
// one with the old candidate.
func TestTornVoteLeavesTheOldOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	store, _, closeFile := openBolt(t, path)
	if term, candidate := readVote(t, store); term != 0 || candidate != nil {
		t.Errorf("before the first vote: %d, %q; want none", term, candidate)
	}
	if err := vote(store, 4, "n1:4162"); err != nil {
		t.Fatal(err)
	}
	if err := store.SetUint64([]byte("LastVoteTerm"), 5); err != nil {
		t.Fatal(err)
	}
	if term, candidate := readVote(t, store); term != 4 || string(candidate) != "n1:4162" {
		t.Errorf("between the halves: term %d for %q, want 4 for n1:4162", term, candidate)
	}
	closeFile() // the crash

	store, _, closeFile = openBolt(t, path)
	defer closeFile()
	if term, candidate := readVote(t, store); term != 4 || string(candidate) != "n1:4162" {
		t.Errorf("after a crash between the halves: term %d for %q, want 4 for n1:4162", term, candidate)
	}
	if err := vote(store, 6, "n2:4162"); err != nil {
		t.Fatal(err)
	}
	if term, candidate := readVote(t, store); term != 6 || string(candidate) != "n2:4162" {
		t.Errorf("after another vote: term %d for %q, want 6 for n2:4162", term, candidate)
	}
}

func TestVote(t *testing.T) {
	backend := raft.NewInmemStore()
	store := newStore(t, backend)
	if err := store.Set([]byte("LastVoteCand"), []byte("n1")); err == nil || !strings.Contains(err.Error(), "no term") {
		t.Errorf("a candidate without a term: %v, want an error", err)
	}
	if err := vote(store, 2, ""); err != nil {
		t.Fatal(err)
	}
	if term, candidate := readVote(t, store); term != 2 || candidate == nil || len(candidate) > 0 {
		t.Errorf("vote for the empty candidate: %d, %#v; want 2 and empty, not nil", term, candidate)
	}
	if store.Set([]byte("LastVoteCand"), []byte("n1")) == nil {
		t.Error("a second candidate was voted for in the same term")
	}
	if err := store.SetUint64([]byte("CurrentTerm"), 9); err != nil {
		t.Fatal(err)
	}
	if got, err := store.GetUint64([]byte("CurrentTerm")); got != 9 || err != nil {
		t.Errorf("CurrentTerm = %d, %v; want 9", got, err)
	}
	if err := store.Set([]byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Get([]byte("k")); string(got) != "v" || err != nil {
		t.Errorf("k = %q, %v; want v", got, err)
	}

	backend.Set([]byte("LastVote"), []byte("short"))
	if _, err := store.GetUint64([]byte("LastVoteTerm")); err == nil || err.Error() == "not found" {
		t.Errorf("a damaged record: %v, want an error other than not found", err)
	}
	empty := newStore(t, silentStore{backend})
	if term, candidate := readVote(t, empty); term != 0 || candidate != nil {
		t.Errorf("of a backend that has no error for absence: %d, %q; want none", term, candidate)
	}
}

// silentStore has nothing, and says so as raft.StableStore is documented.
type silentStore struct{ raftguard.Backend }

func (silentStore) Get([]byte) ([]byte, error) { return nil, nil }
