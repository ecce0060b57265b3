package fsm

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

var (
	_ raft.FSM                = (*Machine)(nil)
	_ raft.ConfigurationStore = (*Machine)(nil)
)

// Hooks are what a Machine calls. Each may be nil.
type Hooks struct {
	// Verify checks that an entry is what was proposed, by its checksum.
	Verify func(*raft.Log) error

	// Fatal is told of an entry that cannot be applied: Verify refused it, or
	// Decode did. If it returns, or is nil, Apply panics: better a node down
	// than two that differ.
	Fatal func(error)

	// Applied is called with the registry's index whenever a new View was
	// published. It must not block.
	Applied func(index uint64)
}

// A Machine runs a Registry as the state machine of hashicorp/raft, which calls
// all of its methods on one goroutine.
//
// Entries that the registry has already, by its index, are passed over: a node
// may have restored a snapshot and replayed its log before it starts Raft,
// which then does both again.
type Machine struct {
	registry *Registry
	hooks    Hooks
}

// NewMachine returns a Machine that applies to r, which nobody else may apply
// to as long as Raft runs.
func NewMachine(r *Registry, hooks Hooks) *Machine {
	return &Machine{registry: r, hooks: hooks}
}

// Apply implements raft.FSM. It returns an Outcome; that of an entry passed
// over has no Status.
func (m *Machine) Apply(entry *raft.Log) any {
	if entry.Index <= m.registry.index {
		return Outcome{Index: entry.Index}
	}
	if m.hooks.Verify != nil {
		if err := m.hooks.Verify(entry); err != nil {
			m.fatal(entry, err)
		}
	}
	b, err := Decode(entry.Data)
	if err != nil {
		m.fatal(entry, err)
	}
	out := m.registry.Apply(entry.Index, entry.Term, b)
	m.applied()
	return out
}

func (m *Machine) fatal(entry *raft.Log, err error) {
	err = fmt.Errorf("apply entry %d of term %d: %w", entry.Index, entry.Term, err)
	if m.hooks.Fatal != nil {
		m.hooks.Fatal(err)
	}
	panic("fsm: " + err.Error())
}

func (m *Machine) applied() {
	if m.hooks.Applied != nil {
		m.hooks.Applied(m.registry.index)
	}
}

// StoreConfiguration implements raft.ConfigurationStore. The registry keeps
// nothing of a configuration but that its entry was passed, so that whoever
// waits for its index does not wait for ever. Raft does not tell its term.
func (m *Machine) StoreConfiguration(index uint64, _ raft.Configuration) {
	if index <= m.registry.index {
		return
	}
	m.registry.Advance(index, m.registry.term)
	m.applied()
}

// Snapshot implements raft.FSM. It costs nothing: the current View is the snapshot.
func (m *Machine) Snapshot() (raft.FSMSnapshot, error) {
	return snapshot{m.registry.View()}, nil
}

// Restore implements raft.FSM. A snapshot that is not newer than the registry
// is passed over like an entry: what a node answers never goes back in time.
func (m *Machine) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	sr, header, err := newSnapshotReader(rc)
	if err != nil {
		return err
	}
	if index := m.registry.index; index > 0 && header.GetIndex() <= index {
		return nil
	}
	if err := m.registry.restore(sr, header); err != nil {
		return err
	}
	m.applied()
	return nil
}

// A snapshot is a View that Raft may store.
type snapshot struct {
	view *View
}

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.view.WriteSnapshot(sink); err != nil {
		sink.Cancel()
		return err
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}
