package nsqadmin

import (
	"slices"
	"strings"
	"time"

	"nsqraft/internal/clusterinfo"
)

// minBetween is the least time between two answers from which a rate is computed:
// over less, a few messages look like many.
const minBetween = 250 * time.Millisecond

// A flow is what goes through a topic or channel, in messages/s.
type flow struct{ published, finished float64 }

func (f flow) plus(g flow) flow { return flow{f.published + g.published, f.finished + g.finished} }

// nodeRates are the rates on one nsqd, from its last two answers.
type nodeRates struct {
	stats *clusterinfo.NodeStats // the newest
	at    time.Time              // of its answer
	known bool                   // there were two answers
	rates map[key]flow           // those that are not zero, of topics and channels
}

// rates returns the rates of all nsqds together, and those of everything under the
// empty key; what is not in it does not move. nodes are those of each nsqd that has
// given two answers, and is heard of.
//
// Each nsqd's rate is what its counters rose between its own two last answers, however
// far apart: one that was silent for a minute comes back with the mean of that minute.
// Until then its last rate is believed for a while.
func (h *history) rates(v *clusterinfo.View, now time.Time, emptied map[key]time.Time) (sums map[key]flow, nodes map[string]flow) {
	sums, nodes = make(map[key]flow), make(map[string]flow)
	listed := make(map[string]bool, len(v.Nodes))
	for _, n := range v.Nodes {
		listed[n.Address] = true
		nr := h.nodes[n.Address]
		if nr == nil {
			nr = new(nodeRates)
			h.nodes[n.Address] = nr
		}
		if n.Stats != nil && n.StatsAt.Sub(nr.at) >= minBetween {
			nr.take(n.Stats, n.StatsAt, emptied)
		}
		if !nr.known || n.State == clusterinfo.Down || now.Sub(nr.at) > hold {
			continue
		}
		var all flow
		for k, r := range nr.rates {
			sums[k] = sums[k].plus(r)
			if k.channel == "" {
				all = all.plus(r)
			}
		}
		nodes[n.Address] = all
		sums[key{}] = sums[key{}].plus(all)
	}
	for address := range h.nodes {
		if !listed[address] {
			delete(h.nodes, address)
		}
	}
	return sums, nodes
}

// nodeFlow returns what goes through one nsqd, its topics together; ok is false while
// it has not given two answers, or has not answered for a while.
func (h *history) nodeFlow(address string) (sum flow, ok bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	sum, ok = h.flows[address]
	return sum, ok
}

// take computes the rates between the newest answer and stats.
func (nr *nodeRates) take(stats *clusterinfo.NodeStats, at time.Time, emptied map[key]time.Time) {
	old, from := nr.stats, nr.at
	nr.stats, nr.at = stats, at
	if old == nil {
		return
	}
	restarted := stats.StartTime != old.StartTime
	seconds := at.Sub(from).Seconds()
	was := nr.rates
	nr.known, nr.rates = true, make(map[key]flow)
	next := walk(old.Topics, func(t *clusterinfo.TopicStats) string { return t.Name })
	for _, t := range stats.Topics {
		before := next(t.Name)
		if before == nil || restarted {
			before = new(clusterinfo.TopicStats) // all it has came since
		}
		r := flow{published: rise(before.MessageCount, t.MessageCount) / seconds}
		nextChannel := walk(before.Channels, func(c *clusterinfo.ChannelStats) string { return c.Name })
		for _, c := range t.Channels {
			k := key{t.Name, c.Name}
			cr := channelRate(nextChannel(c.Name), c, seconds)
			if emptied[k].After(from) { // as it was: what was dropped was not finished
				cr.finished = was[k].finished
			}
			if cr != (flow{}) {
				nr.rates[k] = cr
			}
			r.finished += cr.finished
		}
		if r != (flow{}) {
			nr.rates[key{topic: t.Name}] = r
		}
	}
}

// channelRate returns the rate between two answers; before is nil if the channel, or
// the nsqd, was not there before.
func channelRate(before, c *clusterinfo.ChannelStats, seconds float64) flow {
	if before == nil || c.MessageCount < before.MessageCount {
		// What waits in it may be from an earlier life, so that of what went out
		// nothing can be said.
		return flow{published: float64(max(c.MessageCount, 0)) / seconds}
	}
	return flow{
		published: rise(before.MessageCount, c.MessageCount) / seconds,
		finished:  max(0, float64(gone(c)-gone(before))) / seconds,
	}
}

// gone returns how many of the messages that came into a channel are no longer in
// it: finished, or dropped.
func gone(c *clusterinfo.ChannelStats) int64 {
	return c.MessageCount - c.Depth - c.InFlightCount - c.DeferredCount
}

// rise returns by how much a counter rose; one that fell began anew.
func rise(before, now int64) float64 {
	if now < before {
		return float64(max(now, 0))
	}
	return float64(now - before)
}

// walk returns a function that finds the elements of list by name. It is quickest for
// names that are asked for in the order of a sorted list, which is how nsqds send them.
func walk[T any](list []*T, name func(*T) string) func(string) *T {
	byName := func(a, b *T) int { return strings.Compare(name(a), name(b)) }
	if !slices.IsSortedFunc(list, byName) {
		list = slices.SortedFunc(slices.Values(list), byName)
	}
	i := 0
	return func(want string) *T {
		if i == len(list) || name(list[i]) != want {
			found := false
			i, found = slices.BinarySearchFunc(list, want, func(e *T, want string) int { return strings.Compare(name(e), want) })
			if !found {
				return nil
			}
		}
		i++
		return list[i-1]
	}
}
