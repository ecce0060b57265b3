package report

import (
	"cmp"
	"slices"
	"time"

	"nsqraft/internal/drill/history"
)

// classOf names what an op counts as.
func classOf(op *history.Op) string {
	switch op.Kind {
	case history.Lookup:
		if op.Consistent {
			return "consistent lookup"
		}
		return "lookup"
	case history.CreateTopic, history.CreateChannel, history.DeleteTopic, history.DeleteChannel, history.Tombstone:
		return "mutation"
	case history.Connect, history.Ping, history.Register, history.Unregister, history.Publish, history.Receive, history.Finish:
		return string(op.Kind)
	}
	return "" // what is no call: sessions that end
}

// isWrite says whether op changes the registry.
func isWrite(op *history.Op) bool {
	return op.Kind == history.Register || op.Kind == history.Unregister || classOf(op) == "mutation"
}

// staleFrom is the age from which a lookup's answer counts as stale.
const staleFrom = time.Second

// isStale says whether an answer says that it is old, or that it does not know. Stock's
// says nothing.
func isStale(op *history.Op) bool {
	a := op.Answer
	return a != nil && a.Index > 0 && (a.StaleMS < 0 || a.StaleMS >= staleFrom.Milliseconds())
}

// A window is a time, ends included.
type window struct{ from, to time.Duration }

// outages are the times in which nodes could not be expected to answer.
type outages map[string][]window

// newOutages reads them from the faults of a run.
func newOutages(run *history.Run) outages {
	down := make(outages)
	for i := range run.Faults {
		f := &run.Faults[i]
		for _, node := range f.Targets() {
			if !f.Down(node, f.Begin) {
				continue
			}
			end := f.Healed
			if end == 0 {
				end = run.Header.Length
			}
			down[node] = append(down[node], window{f.Begin, end})
		}
	}
	for node, all := range down {
		down[node] = joined(all)
	}
	return down
}

// joined returns the windows in order, with those that touch as one.
func joined(all []window) []window {
	slices.SortFunc(all, func(a, b window) int { return cmp.Compare(a.from, b.from) })
	var out []window
	for _, w := range all {
		if n := len(out); n > 0 && w.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, w.to)
			continue
		}
		out = append(out, w)
	}
	return out
}

// during says whether node was down at some moment of a call.
func (o outages) during(op *history.Op) bool { return o.overlap(op.Node, op.Call, op.Return) }

func (o outages) overlap(node string, from, to time.Duration) bool {
	all := o[node]
	i, _ := slices.BinarySearchFunc(all, from, func(w window, t time.Duration) int { return cmp.Compare(w.to, t) })
	return i < len(all) && all[i].from <= to
}

// spread is what durations come to. It sorts them.
func spread(all []time.Duration) Spread {
	if len(all) == 0 {
		return Spread{}
	}
	slices.Sort(all)
	return Spread{Count: len(all), P50: sec(quantile(all, 0.5)), P99: sec(quantile(all, 0.99)), Max: sec(all[len(all)-1])}
}

// quantile returns the least of sorted, of which there is at least one, that a share q
// of all do not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// callsOf counts the calls of a run by node and class.
func callsOf(run *history.Run, down outages) []Calls {
	type key struct{ node, class string }
	counts := make(map[key]*Calls)
	took := make(map[key][]time.Duration)
	for i := range run.Ops {
		op := &run.Ops[i]
		k := key{op.Node, classOf(op)}
		if k.class == "" {
			continue
		}
		c := counts[k]
		if c == nil {
			c = &Calls{Node: op.Node, Class: k.class}
			counts[k] = c
		}
		c.Count++
		switch op.Outcome {
		case history.Done:
			c.OK++
			took[k] = append(took[k], op.Return-op.Call)
			continue
		case history.Refused:
			c.Refused++
		default:
			c.Unknown++
		}
		if !down.during(op) {
			c.Reachable++
		}
	}
	all := make([]Calls, 0, len(counts))
	for k, c := range counts {
		c.Took = spread(took[k])
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Calls) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Class, b.Class)) })
	return all
}
