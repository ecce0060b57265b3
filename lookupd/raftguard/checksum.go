package raftguard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// ErrCorrupt is what errors.Is finds in every CorruptError.
var ErrCorrupt = errors.New("corrupt log entry")

// CorruptError says that a log entry is not what its leader wrote.
type CorruptError struct {
	Store  string // the name given to NewStore; empty if the entry came from elsewhere
	Index  uint64
	Reason string
}

func (e *CorruptError) Error() string {
	if e.Store == "" {
		return fmt.Sprintf("log entry %d is corrupt: %s", e.Index, e.Reason)
	}
	return fmt.Sprintf("%s: log entry %d is corrupt: %s", e.Store, e.Index, e.Reason)
}

// Unwrap returns ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// A seal is what raft.Log.Extensions holds in all our entries: a version byte,
// then the CRC-32C of index, term, type and data. Raft stores and sends
// Extensions with the entry and gives them no meaning, so a follower checks
// what the leader computed before anything was written or sent.
//
// AppendedAt is left out. Nothing depends on it, and its encoding rounds it.
const (
	sealVersion = 1
	sealSize    = 1 + crc32.Size
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(l *raft.Log) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[0:], l.Index)
	binary.BigEndian.PutUint64(head[8:], l.Term)
	head[16] = byte(l.Type)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, l.Data)
}

func sealOrVerify(l *raft.Log) error {
	if len(l.Extensions) > 0 {
		return Verify(l)
	}
	l.Extensions = binary.BigEndian.AppendUint32([]byte{sealVersion}, checksum(l))
	return nil
}

// Verify checks an entry that went through a Store, on this server or on its
// leader, against the checksum it carries. The error is a *CorruptError; an
// entry without a checksum is one, too, for every entry of our clusters has one.
func Verify(l *raft.Log) error {
	refuse := func(format string, args ...any) error {
		return &CorruptError{Index: l.Index, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(l.Extensions) == 0:
		return refuse("it carries no checksum")
	case l.Extensions[0] != sealVersion || len(l.Extensions) != sealSize:
		return refuse("its checksum is in an unknown format (% x)", l.Extensions)
	}
	want, got := binary.BigEndian.Uint32(l.Extensions[1:]), checksum(l)
	if got != want {
		return refuse("its checksum is %08x, its content has %08x", want, got)
	}
	return nil
}
