package fsm

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"

	"nsqraft/fsm/fsmpb"
)

// A Registry is the replicated map from topics and channels to the nsqd
// producers that serve them; replicas that applied the same log hold equal
// Registries.
//
// One goroutine at a time may call Apply, Advance and Restore. View may be
// called by any goroutine at any time.
type Registry struct {
	state // owned by the goroutine that applies
	view  atomic.Pointer[View]
}

// state is the registry at one index. The applier works on one, copying what it
// changes; a View holds one that never changes again.
//
// The maps are persistent: copying one is O(1), and a change of the copy leaves
// the original as it was. Only the applier copies, because copying writes to
// the original's header.
//
// The objects in the maps carry owner, the index of the batch that made this
// copy of them (0: restored from a snapshot). The batch being applied may write
// to its own copies; all others are published, hence immutable, and are copied
// first: that is what the mutable... methods do.
type state struct {
	index, term uint64

	nodes      *btree.Map[string, *node]     // by node id
	topics     *btree.Map[string, *Topic]    // by name
	producers  *btree.Map[string, *producer] // by ProducerID
	tombstoned *btree.Set[string]            // names of the topics that have tombstones
	deletions  deletions

	names         *nameList // of topics
	topicsChanged uint64
	nodesChanged  uint64
	facts         uint64 // sum of the hashes of all facts: see hash.go
	counts        Counts
}

// New returns an empty Registry at index 0.
func New() *Registry {
	r := new(Registry)
	r.state = emptyState()
	r.publish()
	return r
}

func emptyState() state {
	return state{
		nodes:      new(btree.Map[string, *node]),
		topics:     new(btree.Map[string, *Topic]),
		producers:  new(btree.Map[string, *producer]),
		tombstoned: new(btree.Set[string]),
		deletions:  newDeletions(),
		names:      new(nameList),
	}
}

// View returns the registry as of the last Apply, Advance or Restore. It is
// never nil.
func (r *Registry) View() *View { return r.view.Load() }

// publish makes the state visible to readers.
func (r *Registry) publish() {
	v := &View{state: r.state}
	v.nodes = r.nodes.Copy()
	v.topics = r.topics.Copy()
	v.producers = r.producers.Copy()
	v.tombstoned = r.tombstoned.Copy()
	v.deletions = r.deletions.copy()
	r.view.Store(v)
}

// A Result says what became of one mutation. Its values are part of the
// snapshot format.
type Result uint8

const (
	ResultOK        Result = iota + 1
	ResultNoSession        // the session is not, or no longer, in the registry: its connection must end
	ResultNotFound         // DeleteChannel of a channel that is not known
	ResultStale            // a leader's decision that was committed in another term, or that the node's life has outrun
)

func (r Result) String() string {
	switch r {
	case ResultOK:
		return "ok"
	case ResultNoSession:
		return "no-session"
	case ResultNotFound:
		return "not-found"
	case ResultStale:
		return "stale"
	}
	return "result-" + strconv.Itoa(int(r))
}

// A Status says what became of a batch as a whole.
type Status uint8

const (
	StatusApplied Status = iota + 1 // now, or earlier: a repeated batch is answered with its recorded outcome
	StatusGap                       // the sequence is neither the writer's next nor its last: nothing was changed
	StatusFenced                    // a later epoch of the writer exists: nothing was changed
)

func (s Status) String() string {
	switch s {
	case StatusApplied:
		return "applied"
	case StatusGap:
		return "gap"
	case StatusFenced:
		return "fenced"
	}
	return "status-" + strconv.Itoa(int(s))
}

// An Outcome is the answer to a batch. Results is shared; callers do not modify it.
type Outcome struct {
	Status  Status
	Index   uint64   // of the entry that applied the batch first; 0 unless StatusApplied
	Results []Result // one per mutation, if StatusApplied

	// What the registry knows of the writer after this entry: its newest epoch
	// and the last sequence applied in it. Both are 0 if it knows nothing, and
	// for a batch without a writer.
	Epoch, Sequence uint64
}

// Apply applies the batch that is the log's entry at index, committed in term,
// and publishes the result. The effect depends on nothing but the registry and
// the arguments.
//
// Apply keeps the Producer messages of b; nobody may modify them afterwards. It
// panics if index is not greater than that of the entry before, and on a
// mutation of no known kind, which Decode refuses; nothing else in b can make
// it fail.
func (r *Registry) Apply(index, term uint64, b *fsmpb.Batch) Outcome {
	if index <= r.index {
		panic(fmt.Sprintf("fsm: entry %d applied after entry %d", index, r.index))
	}
	r.index, r.term = index, term
	out := r.applyOnce(b)
	r.publish()
	return out
}

// Advance moves the registry to the index and term of an entry of the log that
// is not a batch. An index that is not greater than the registry's is ignored.
func (r *Registry) Advance(index, term uint64) {
	if index <= r.index {
		return
	}
	r.index, r.term = index, term
	r.publish()
}

// applyOnce applies b if it is the next batch of its writer.
func (r *Registry) applyOnce(b *fsmpb.Batch) Outcome {
	if b.GetWriter() == "" {
		return Outcome{Status: StatusApplied, Index: r.index, Results: r.mutate(b)}
	}
	l := r.newestLife(b.Writer)
	if l == nil || b.Epoch > l.epoch {
		if b.Sequence != 1 {
			return refused(StatusGap, l)
		}
		r.beginLife(b.Writer, b.Epoch)
		return r.applyNext(b)
	}
	switch {
	case b.Epoch < l.epoch:
		return refused(StatusFenced, l)
	case b.Sequence == l.sequence:
		return l.outcome()
	case b.Sequence == l.sequence+1:
		return r.applyNext(b)
	}
	return refused(StatusGap, l)
}

// applyNext applies the next batch of a writer's newest life and records its outcome.
func (r *Registry) applyNext(b *fsmpb.Batch) Outcome {
	results := r.mutate(b)
	l := r.mutableLife(b.Writer, b.Epoch)
	r.facts -= l.fact()
	l.sequence, l.results, l.applied = b.Sequence, results, r.index
	r.facts += l.fact()
	return l.outcome()
}

// refused is the outcome of a batch that was not applied; l is the newest life
// of its writer, or nil.
func refused(s Status, l *life) Outcome {
	out := Outcome{Status: s}
	if l != nil {
		out.Epoch, out.Sequence = l.epoch, l.sequence
	}
	return out
}

func (r *Registry) mutate(b *fsmpb.Batch) []Result {
	results := make([]Result, len(b.GetMutations()))
	for i, m := range b.GetMutations() {
		results[i] = r.mutateOne(b, m)
	}
	return results
}

func (r *Registry) mutateOne(b *fsmpb.Batch, m *fsmpb.Mutation) Result {
	switch k := m.GetKind().(type) {
	case *fsmpb.Mutation_OpenSession:
		return r.openSession(b, k.OpenSession)
	case *fsmpb.Mutation_Register:
		return r.register(b, k.Register)
	case *fsmpb.Mutation_Unregister:
		return r.unregister(b, k.Unregister)
	case *fsmpb.Mutation_EndSession:
		return r.endSession(b, k.EndSession)
	case *fsmpb.Mutation_FinishReplay:
		return r.finishReplay(b, k.FinishReplay)
	case *fsmpb.Mutation_SetActive:
		return r.setActive(b, k.SetActive)
	case *fsmpb.Mutation_CreateTopic:
		return r.createTopic(k.CreateTopic.GetTopic())
	case *fsmpb.Mutation_DeleteTopic:
		return r.deleteTopic(k.DeleteTopic.GetTopic())
	case *fsmpb.Mutation_CreateChannel:
		return r.createChannel(k.CreateChannel.GetTopic(), k.CreateChannel.GetChannel())
	case *fsmpb.Mutation_DeleteChannel:
		return r.deleteChannel(b, k.DeleteChannel.GetTopic(), k.DeleteChannel.GetChannel())
	case *fsmpb.Mutation_Tombstone:
		return r.setTombstones(b, k.Tombstone)
	case *fsmpb.Mutation_ClearTombstone:
		return r.clearTombstone(k.ClearTombstone)
	case *fsmpb.Mutation_OrphanNode:
		return r.orphanNode(b, k.OrphanNode)
	case *fsmpb.Mutation_ReclaimNode:
		return r.reclaimNode(k.ReclaimNode)
	case *fsmpb.Mutation_EndNode:
		return r.endNode(k.EndNode)
	}
	panic(fmt.Sprintf("fsm: entry %d holds a mutation of unknown kind %T", r.index, m.GetKind()))
}

// A nameList is the sorted list of names of a map, computed when first asked
// for. A change of the map's keys replaces it.
type nameList struct {
	once  sync.Once
	names []string
}

// insertSorted returns a new slice: sorted without v, and v in its place.
// There is no spare capacity, since most are never touched again.
func insertSorted(sorted []string, v string) []string {
	i, _ := slices.BinarySearch(sorted, v)
	out := make([]string, 0, len(sorted)+1)
	out = append(out, sorted[:i]...)
	out = append(out, v)
	return append(out, sorted[i:]...)
}

// removeSorted returns a new slice: sorted without v, which it holds.
func removeSorted(sorted []string, v string) []string {
	i, _ := slices.BinarySearch(sorted, v)
	if len(sorted) == 1 {
		return nil
	}
	out := make([]string, 0, len(sorted)-1)
	out = append(out, sorted[:i]...)
	return append(out, sorted[i+1:]...)
}

func containsSorted(sorted []string, v string) bool {
	_, found := slices.BinarySearch(sorted, v)
	return found
}
