package nsqadmin

import (
	"context"
	"slices"
	"sync"
	"time"

	"nsqraft/internal/clusterinfo"
)

const (
	// clientsWait bounds what a page waits for lists of clients, of however many
	// nodes. An answer that comes later is there for the next page.
	clientsWait = 150 * time.Millisecond
	// clientsFresh is how long an answer is given again.
	clientsFresh = time.Second
	// maxClientLists bounds the answers that are kept or waited for.
	maxClientLists = 512
)

// clientLists asks nsqds for the clients of channels, when somebody wants to see them.
type clientLists struct {
	// Read-only after newClientLists.
	client  *clusterinfo.Client
	timeout time.Duration // of one question
	ctx     context.Context
	cancel  context.CancelFunc

	mu     sync.Mutex
	lists  map[clientsOf]*clientList
	closed bool
	wg     sync.WaitGroup
}

// clientsOf is what an nsqd is asked for; topic and channel may be empty: all.
type clientsOf struct{ node, topic, channel string }

// A clientList is an answer, once done is closed.
type clientList struct {
	asked time.Time
	done  chan struct{}

	// Not before done.
	answered time.Time
	stats    *clusterinfo.NodeStats
	err      error
}

func newClientLists(client *clusterinfo.Client, timeout time.Duration) *clientLists {
	l := &clientLists{client: client, timeout: timeout, lists: make(map[clientsOf]*clientList)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// get returns the answer of a node, which may not be there yet; nil if there are too
// many to ask for one more.
func (l *clientLists) get(of clientsOf) *clientList {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if list := l.lists[of]; list != nil && !list.old(now) {
		return list
	}
	if len(l.lists) >= maxClientLists {
		for of, list := range l.lists {
			if list.old(now) {
				delete(l.lists, of)
			}
		}
	}
	if l.closed || len(l.lists) >= maxClientLists {
		return nil
	}
	list := &clientList{asked: now, done: make(chan struct{})}
	l.lists[of] = list
	l.wg.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, l.timeout)
		defer cancel()
		list.stats, list.err = l.client.Stats(ctx, of.node, clusterinfo.StatsFilter{Topic: of.topic, Channel: of.channel, Clients: true})
		list.answered = time.Now()
		close(list.done)
	})
	return list
}

// old says whether the answer is there and must be asked for anew. One that took long
// is kept as long again, or nobody would ever see it.
func (l *clientList) old(now time.Time) bool {
	select {
	case <-l.done:
		return now.Sub(l.answered) > clientsFresh+l.answered.Sub(l.asked)
	default:
		return false
	}
}

// close ends all questions.
func (l *clientLists) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
}

// clients returns the clients of one channel by node (topic and channel) or all of one
// node (node): asked for now, of nodes that are up only, with at most 150 ms for it all;
// what was asked for within the last second is returned again. missing are the nodes
// whose clients are not in it.
func (s *Server) clients(ctx context.Context, topic, channel, node string) (stats map[string]*clusterinfo.NodeStats, missing []string) {
	v := s.view()
	var nodes []*clusterinfo.Node
	if node != "" {
		if n := v.Node(node); n != nil {
			nodes = append(nodes, n)
		}
	} else if t := v.Topic(topic); t != nil {
		for _, on := range t.Nodes {
			nodes = append(nodes, on.Node)
		}
	}
	lists := make(map[string]*clientList)
	for _, n := range nodes {
		if !n.Stale() {
			if list := s.lists.get(clientsOf{n.Address, topic, channel}); list != nil {
				lists[n.Address] = list
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, clientsWait)
	defer cancel()
	stats = make(map[string]*clusterinfo.NodeStats)
	for _, n := range nodes {
		list := lists[n.Address]
		if list != nil {
			select {
			case <-list.done:
			case <-ctx.Done():
			}
		}
		if list.answer() == nil {
			missing = append(missing, n.Address)
			continue
		}
		stats[n.Address] = list.answer()
	}
	slices.Sort(missing)
	return stats, missing
}

// answer returns what the node said, nil if it has said nothing yet or failed.
func (l *clientList) answer() *clusterinfo.NodeStats {
	if l == nil {
		return nil
	}
	select {
	case <-l.done:
		if l.err == nil {
			return l.stats
		}
	default:
	}
	return nil
}
