package history

// checkCluster checks what the nodes said of themselves.
func checkCluster(e *evidence) []*finding {
	one := newFinding("cluster/one-leader-a-term", true, "No two nodes lead in the same term.")
	hash := newFinding("cluster/equal-hash", true, "Nodes that have applied the same index hold the same registry.")
	applied := newFinding("cluster/applied-is-committed", true, "No node applies what is not committed.")
	forward := newFinding("cluster/terms-go-on", true, "No node's term goes back, restarts included.")
	all := []*finding{one, hash, applied, forward}
	if !e.ours {
		for _, f := range all {
			f.untested = "stock's nodes are not a cluster"
		}
		return all
	}
	committed := uint64(0) // as far as anybody said in the whole run
	for _, s := range e.run.Samples {
		committed = max(committed, s.Committed)
	}
	leader := make(map[uint64]Sample)
	at := make(map[uint64]Sample)
	term := make(map[string]Sample)
	pairs := 0
	for _, s := range e.run.Samples {
		if !s.Answered {
			continue
		}
		if s.Role == "leader" {
			one.seen++
			if other, ok := leader[s.Term]; ok && other.Node != s.Node {
				one.violate("two leaders: %s at %s and %s at %s, both in term %d", other.Node, seconds(other.At), s.Node, seconds(s.At), s.Term)
			}
			leader[s.Term] = s
		}
		if s.Hash != "" {
			if other, ok := at[s.Applied]; ok && other.Node != s.Node {
				pairs++
				if other.Hash != s.Hash {
					hash.violate("diverged: %s and %s at index %d: %s and %s", other.Node, s.Node, s.Applied, other.Hash, s.Hash)
				}
			} else if ok && other.Hash != s.Hash {
				hash.violate("diverged: %s from itself at index %d: %s at %s and %s at %s", s.Node, s.Applied, other.Hash, seconds(other.At), s.Hash, seconds(s.At))
			}
			at[s.Applied] = s
		}
		// After a restart a node replays what it knew to be committed before Raft
		// tells it so: only a ready one can be held to its own word.
		switch {
		case s.Applied > committed:
			applied.violate("ahead: %s has applied %d at %s, and nobody ever committed more than %d", s.Node, s.Applied, seconds(s.At), committed)
		case s.Ready && s.Leader != "" && s.Applied > s.Committed:
			applied.violate("ahead: %s has applied %d at %s of %d that are committed", s.Node, s.Applied, seconds(s.At), s.Committed)
		}
		applied.seen++
		if before, ok := term[s.Node]; ok {
			forward.seen++
			if s.Term < before.Term && !e.wiped(s.Node, before, s) {
				forward.violate("back in term: %s at %s in term %d after %d at %s", s.Node, seconds(s.At), s.Term, before.Term, seconds(before.At))
			}
		}
		term[s.Node] = s
	}
	hash.seen = pairs
	one.saw("%d samples of leaders in %d terms", one.seen, len(leader))
	hash.saw("%d pairs of samples at the same index", pairs)
	applied.saw("%d samples", applied.seen)
	forward.saw("%d pairs of samples", forward.seen)
	return all
}

// wiped reports whether node lost its disk between two samples: it begins anew.
func (e *evidence) wiped(node string, a, b Sample) bool {
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		if (f.Kind == "wipe" || f.Kind == "torn_log" || f.Kind == "flip_bit") && f.Begin <= b.At && f.lasted().to >= a.At && f.hits(node) {
			return true
		}
	}
	return false
}
