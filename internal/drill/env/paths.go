package env

import (
	"cmp"
	"slices"
	"time"
)

// overtakenAfter is how much later a packet comes that is to be overtaken: nodes that
// have something to say send a packet every few milliseconds.
const overtakenAfter = 15 * time.Millisecond

// clients is how a path calls all who are no nodes.
const clients = "clients"

// A path is one direction between two nodes, or between one and clients.
type path struct{ From, To string }

// An effect is what becomes of what is sent over a path.
type effect struct {
	Cut           bool
	Delay, Jitter time.Duration
	// Of packets, in percent.
	Loss, Reorder, Duplicate int
	Behind                   time.Duration // of what is overtaken
}

// effects returns what the faults make of the network together. What is not in it is
// well. nodes are all that replicate.
func effects(faults []Fault, nodes []string) map[path]effect {
	all := make(map[path]effect)
	for _, f := range faults {
		for _, p := range pathsOf(f, nodes) {
			all[p] = all[p].and(f)
		}
	}
	return all
}

// and returns e with what f adds to it.
func (e effect) and(f Fault) effect {
	switch f.Kind {
	case Delay, Lag:
		e.Delay += f.Amount
		e.Jitter += f.Jitter
	case Loss:
		e.Loss = max(e.Loss, f.Percent)
	case Reorder:
		e.Reorder = max(e.Reorder, f.Percent)
		e.Behind = max(e.Behind, cmp.Or(f.Amount, overtakenAfter))
	case Duplicate:
		e.Duplicate = max(e.Duplicate, f.Percent)
	default:
		e.Cut = true
	}
	return e
}

// pathsOf returns the paths that a fault concerns, none if it is no fault of the network.
func pathsOf(f Fault, nodes []string) []path {
	hit := func(node string) bool { return slices.Contains(f.Targets, node) }
	var paths []path
	between := func(concerns func(from, to string) bool) {
		for _, from := range nodes {
			for _, to := range nodes {
				if from != to && concerns(from, to) {
					paths = append(paths, path{from, to})
				}
			}
		}
	}
	switch f.Kind {
	case Cut:
		return []path{{f.Targets[0], f.Targets[1]}}
	case Deaf:
		between(func(_, to string) bool { return hit(to) })
	case Mute, Loss, Reorder, Duplicate:
		between(func(from, _ string) bool { return hit(from) })
	case Split:
		between(func(from, to string) bool { return hit(from) != hit(to) })
	case Isolate, Unplug, Delay:
		between(func(from, to string) bool { return hit(from) || hit(to) })
	}
	if f.Kind == Unreach || f.Kind == Lag || f.Kind == Unplug {
		for _, t := range f.Targets {
			paths = append(paths, path{clients, t}, path{t, clients})
		}
	}
	return paths
}

// ofNetwork says whether a kind is a fault of the network.
func ofNetwork(k Kind) bool {
	switch k {
	case Isolate, Cut, Deaf, Mute, Split, Delay, Loss, Reorder, Duplicate, Unreach, Lag, Unplug:
		return true
	}
	return false
}
