package fsm

import (
	"slices"

	"github.com/tidwall/btree"

	"nsqraft/fsm/fsmpb"
)

// A node is what the registry remembers of a cluster node: its lives, oldest
// first. The last is the newest; of the others, all orphaned, only those that
// still have sessions remain.
type node struct {
	owner uint64
	id    string
	lives []*life
}

// A life is one process of a node, by its epoch: a writer of batches, and the
// sessions of the nsqd connections that it holds.
//
// The sessions of an orphaned life are orphaned: nobody holds their connections
// any more, as far as the leader knows.
type life struct {
	owner    uint64
	node     string
	epoch    uint64
	orphaned bool
	// orphanedAt is the index of the entry that orphaned it: which orphaning this is.
	// It is 0 if a version took the snapshot that did not note it, and therefore no
	// part of the hash: a copy made from such a snapshot is no other registry.
	orphanedAt uint64
	sessions   *btree.Map[uint64, *session] // by serial

	// The last batch of the writer and its outcome.
	sequence uint64
	results  []Result
	applied  uint64 // index of its entry
}

// outcome answers the writer's last batch.
func (l *life) outcome() Outcome {
	return Outcome{
		Status:   StatusApplied,
		Index:    l.applied,
		Results:  l.results,
		Epoch:    l.epoch,
		Sequence: l.sequence,
	}
}

// life returns the life of that epoch, or nil.
func (n *node) life(epoch uint64) *life {
	for _, l := range n.lives {
		if l.epoch == epoch {
			return l
		}
	}
	return nil
}

func (n *node) newest() *life { return n.lives[len(n.lives)-1] }

// life returns one life of a node, or nil.
func (s *state) life(id string, epoch uint64) *life {
	n, ok := s.nodes.Get(id)
	if !ok {
		return nil
	}
	return n.life(epoch)
}

// newestLife returns the newest life of a node, or nil.
func (s *state) newestLife(id string) *life {
	n, ok := s.nodes.Get(id)
	if !ok {
		return nil
	}
	return n.newest()
}

// orphaned says whether id is of an orphaned life. The session exists.
func (s *state) orphaned(id *SessionID) bool {
	return s.life(id.Node, id.Epoch).orphaned
}

// mutableNode returns the batch's own copy of a node that exists.
func (r *Registry) mutableNode(id string) *node {
	n, _ := r.nodes.Get(id)
	if n.owner == r.index {
		return n
	}
	n = &node{owner: r.index, id: n.id, lives: slices.Clone(n.lives)}
	r.nodes.Set(n.id, n)
	return n
}

// mutableLife returns the batch's own copy of a life that exists.
func (r *Registry) mutableLife(id string, epoch uint64) *life {
	if l := r.life(id, epoch); l.owner == r.index {
		return l
	}
	n := r.mutableNode(id)
	i := slices.IndexFunc(n.lives, func(l *life) bool { return l.epoch == epoch })
	l := *n.lives[i]
	l.owner = r.index
	l.sessions = l.sessions.Copy()
	n.lives[i] = &l
	return &l
}

// beginLife begins a life of a node with an epoch later than all before it,
// which are orphaned by it: a node is one process at a time.
func (r *Registry) beginLife(id string, epoch uint64) {
	var n *node
	if _, known := r.nodes.Get(id); known {
		n = r.mutableNode(id)
	} else {
		n = &node{owner: r.index, id: id}
		r.nodes.Set(id, n)
	}
	for _, l := range n.lives {
		r.setOrphaned(l, true)
	}
	l := &life{owner: r.index, node: id, epoch: epoch, sessions: new(btree.Map[uint64, *session])}
	r.facts += l.fact()
	n.lives = append(n.lives, l)
	r.dropSpentLives(n)
}

// dropSpentLives drops the lives of the batch's own n that are over: neither
// the newest nor with a session left.
func (r *Registry) dropSpentLives(n *node) {
	newest := n.newest()
	n.lives = slices.DeleteFunc(n.lives, func(l *life) bool {
		spent := l != newest && l.sessions.Len() == 0
		if spent {
			r.facts -= l.fact()
		}
		return spent
	})
}

func (r *Registry) setOrphaned(l *life, orphaned bool) {
	if l.orphaned == orphaned {
		return
	}
	l = r.mutableLife(l.node, l.epoch)
	r.facts -= l.fact()
	l.orphaned, l.orphanedAt = orphaned, 0
	if orphaned {
		l.orphanedAt = r.index
	}
	r.facts += l.fact()
}

// orphanNode marks a life as orphaned: the leader's decision, made in the term
// the entry was committed in, or the node's own word in a batch of that life.
func (r *Registry) orphanNode(b *fsmpb.Batch, m *fsmpb.OrphanNode) Result {
	ownWord := m.GetTerm() == 0 && b.GetWriter() == m.GetNode() && b.GetEpoch() == m.GetEpoch()
	if m.GetTerm() != r.term && !ownWord {
		return ResultStale
	}
	l := r.life(m.GetNode(), m.GetEpoch())
	if l == nil {
		return ResultStale
	}
	r.setOrphaned(l, true)
	return ResultOK
}

// reclaimNode takes an orphanNode back. Only the newest life can be reclaimed:
// of an older one no process is left.
func (r *Registry) reclaimNode(m *fsmpb.ReclaimNode) Result {
	l := r.newestLife(m.GetNode())
	if m.GetTerm() != r.term || l == nil || l.epoch != m.GetEpoch() {
		return ResultStale
	}
	r.setOrphaned(l, false)
	return ResultOK
}

// endNode ends orphaned sessions in the order of their serials. A life that was
// reclaimed after the decision is left alone.
func (r *Registry) endNode(m *fsmpb.EndNode) Result {
	l := r.life(m.GetNode(), m.GetEpoch())
	if m.GetTerm() != r.term || l == nil || !l.orphaned {
		return ResultStale
	}
	limit := l.sessions.Len()
	if m.GetLimit() != 0 {
		limit = min(limit, int(m.GetLimit()))
	}
	ending := make([]*session, 0, limit)
	l.sessions.Scan(func(_ uint64, s *session) bool {
		if len(ending) == limit {
			return false
		}
		ending = append(ending, s)
		return true
	})
	for _, s := range ending {
		r.dropSession(s.id)
	}
	return ResultOK
}
