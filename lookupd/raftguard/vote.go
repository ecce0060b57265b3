package raftguard

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Raft writes a vote as two values, the term and then the candidate. A crash
// between them leaves the new term with the candidate of an older vote, and if
// that one asks again it gets the vote as a duplicate, without the check that
// its log is complete (#661). So the term waits in memory for the candidate,
// and the two are one record.
const (
	voteTermKey      = "LastVoteTerm" // raft's
	voteCandidateKey = "LastVoteCand" // raft's
	voteKey          = "LastVote"     // ours: the term as 8 bytes, big-endian, then the candidate
)

// errNotFound has the text by which Raft knows an absent value. Not every
// backend returns an error for one, nor need it.
var errNotFound = errors.New("not found")

// SetUint64 implements raft.StableStore. The term of a vote is written, and can
// be read back, with its candidate.
func (s *Store) SetUint64(key []byte, value uint64) error {
	if string(key) == voteTermKey {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.voteTerm = &value
		return s.failed
	}
	return s.write("set "+string(key), false, func() error {
		return s.backend.SetUint64(key, value)
	})
}

// Set implements raft.StableStore.
func (s *Store) Set(key, value []byte) error {
	if string(key) == voteCandidateKey {
		return s.setVote(value)
	}
	return s.write("set "+string(key), false, func() error {
		return s.backend.Set(key, value)
	})
}

func (s *Store) setVote(candidate []byte) error {
	s.mu.Lock()
	term := s.voteTerm
	s.voteTerm = nil
	s.mu.Unlock()
	if term == nil {
		return fmt.Errorf("%s: vote for %q has no term", s.name, candidate)
	}
	record := append(binary.BigEndian.AppendUint64(nil, *term), candidate...)
	return s.write(fmt.Sprintf("vote for %q in term %d", candidate, *term), false, func() error {
		return s.backend.Set([]byte(voteKey), record)
	})
}

// GetUint64 implements raft.StableStore. Before the first vote the error for
// its term is the text "not found", which Raft looks for.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	if string(key) == voteTermKey {
		term, _, err := s.vote()
		return term, err
	}
	return s.backend.GetUint64(key)
}

// Get implements raft.StableStore, as GetUint64 does.
func (s *Store) Get(key []byte) ([]byte, error) {
	if string(key) == voteCandidateKey {
		_, candidate, err := s.vote()
		return candidate, err
	}
	return s.backend.Get(key)
}

func (s *Store) vote() (term uint64, candidate []byte, err error) {
	record, err := s.backend.Get([]byte(voteKey))
	if err != nil {
		return 0, nil, err
	}
	if len(record) == 0 {
		return 0, nil, errNotFound
	}
	if len(record) < 8 {
		return 0, nil, fmt.Errorf("%s: vote record of %d bytes is too short", s.name, len(record))
	}
	return binary.BigEndian.Uint64(record), record[8:], nil
}
