package interop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// A load creates topics with our nodes, as fast as a few clients can, and keeps
// those that were acknowledged.
type load struct {
	t    testing.TB
	name string
	stop func()
	wg   sync.WaitGroup

	mu     sync.Mutex
	topics []string // acknowledged
	at     []time.Time
}

// loadClients are the clients at each node.
const loadClients = 2

// startLoad creates topics that begin with name at each of nodes.
func startLoad(t testing.TB, name string, nodes []*node) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, name: name, stop: cancel}
	for _, n := range nodes {
		for i := range loadClients {
			l.wg.Go(func() { l.run(ctx, n, fmt.Sprintf("%s-%s-%d", name, n.id, i)) })
		}
	}
	t.Cleanup(func() { l.end() })
	return l
}

func (l *load) run(ctx context.Context, n *node, name string) {
	for i := 0; ctx.Err() == nil; i++ {
		topic := fmt.Sprintf("%s-%06d", name, i)
		a, err := request("POST", n.http, "/topic/create?topic="+topic, "")
		if err == nil && a.status == http.StatusOK {
			l.mu.Lock()
			l.topics, l.at = append(l.topics, topic), append(l.at, time.Now())
			l.mu.Unlock()
			continue
		}
		time.Sleep(5 * time.Millisecond) // the node is down, or cannot
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.topics)
}

// awaitMore waits until n more topics have been acknowledged.
func (l *load) awaitMore(n int, within time.Duration) {
	l.t.Helper()
	want := l.count() + n
	eventually(l.t, within, fmt.Sprintf("%d more topics of %s acknowledged", n, l.name), func() error {
		if got := l.count(); got < want {
			return fmt.Errorf("%d are missing", want-got)
		}
		return nil
	})
}

// end stops the load and returns what was acknowledged.
func (l *load) end() []string {
	l.stop()
	l.wg.Wait()
	return l.topics
}

// gap returns the longest time without an acknowledgement after since.
func (l *load) gap(since time.Time) (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.at {
		if at.After(since) {
			longest, since = max(longest, at.Sub(since)), at
		}
	}
	return longest
}

// lostAt returns those of topics that a node, asked consistently, does not know.
func lostAt(n *node, topics []string) (lost []string, err error) {
	known, err := names(n.http, "/topics?consistent=true")
	if err != nil {
		return nil, err
	}
	for _, topic := range topics {
		if _, ok := slices.BinarySearch(known, topic); !ok {
			lost = append(lost, topic)
		}
	}
	return lost, nil
}

// nothingLost returns a check that all nodes know all topics.
func nothingLost(nodes []*node, topics []string) func() error {
	return func() error {
		var errs []error
		for _, n := range nodes {
			lost, err := lostAt(n, topics)
			if err == nil && len(lost) > 0 {
				err = fmt.Errorf("%s lacks %d of %d acknowledged topics, such as %s", n.id, len(lost), len(topics), lost[0])
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
}
