package clusterinfo

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// blockFor is how long an nsqlookupd is asked to wait for a change.
	blockFor = 30 * time.Second

	// The pause between two blocking queries is the first of these. It grows to the
	// second while answers come at once that say nothing new: that is an nsqlookupd
	// on which too many wait already.
	leastPause = 20 * time.Millisecond
	mostPause  = time.Second

	// settle is how long the first answer of one waits for those of the others.
	settle = time.Second

	// firstRetry is the first pause after a failure.
	firstRetry = 100 * time.Millisecond

	defaultInterval = time.Minute
)

// WatchTopics calls changed with the sorted names of all topics at first and whenever
// they are others, until ctx ends. Where an nsqlookupd offers blocking queries
// (X-Nsq-Index) a change is seen at once, else by asking every interval (0: a minute).
//
// While one nsqlookupd fails the others are believed, and what it said is not; while
// all fail, changed is not called and failed (may be nil) is, with pauses that grow to
// the interval. Neither is called while the other runs.
func (c *Client) WatchTopics(ctx context.Context, lookupds []string, interval time.Duration, changed func(topics []string), failed func(error)) {
	w := &watch[[]string]{ask: c.topicsOf, merge: union, same: slices.Equal[[]string], changed: changed, failed: failed}
	w.run(ctx, lookupds, interval)
}

// WatchProducers is WatchTopics for the nsqds that produce topic.
func (c *Client) WatchProducers(ctx context.Context, lookupds []string, topic string, interval time.Duration, changed func([]*Producer), failed func(error)) {
	w := &watch[[]*Producer]{merge: mergeProducers, same: sameProducers, changed: changed, failed: failed}
	w.ask = func(ctx context.Context, address string, wait wait) ([]*Producer, http.Header, error) {
		return c.producersOf(ctx, address, topic, wait)
	}
	w.run(ctx, lookupds, interval)
}

// sameProducers says whether a and b are the same nsqds: through which connections
// nsqlookupds know them is no difference.
func sameProducers(a, b []*Producer) bool {
	return slices.EqualFunc(a, b, func(a, b *Producer) bool {
		return a.HTTPAddress() == b.HTTPAddress() && a.TCPPort == b.TCPPort && a.Hostname == b.Hostname && a.Version == b.Version &&
			a.TopologyZone == b.TopologyZone && a.TopologyRegion == b.TopologyRegion
	})
}

// A watch tells when the answers of nsqlookupds change.
type watch[T any] struct {
	// Read-only.
	ask     func(ctx context.Context, address string, w wait) (T, http.Header, error)
	merge   func([]said[T]) T
	same    func(a, b T) bool
	changed func(T)
	failed  func(error)

	mu      sync.Mutex
	sources []*source[T]
}

// A source is what one nsqlookupd said last. Guarded by watch.mu.
type source[T any] struct {
	address string
	asked   bool // it has answered or failed
	value   T
	err     error
}

// run asks each of lookupds in a goroutine of its own, and calls changed and failed
// from its own, until ctx ends.
func (w *watch[T]) run(ctx context.Context, lookupds []string, interval time.Duration) {
	if interval <= 0 {
		interval = defaultInterval
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	news := make(chan struct{}, 1)
	for _, address := range once(lookupds) {
		s := &source[T]{address: address}
		w.sources = append(w.sources, s)
		wg.Go(func() { w.follow(ctx, s, interval, news) })
	}
	w.tell(ctx, interval, news)
}

// tell calls changed and failed.
func (w *watch[T]) tell(ctx context.Context, interval time.Duration, news <-chan struct{}) {
	settled := time.After(settle)
	var told *T
	var retry time.Duration // between two calls of failed
	var next time.Time      // not before this
	for over := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-settled:
			over = true
		case <-news:
		}
		answers, err, all := w.said()
		switch {
		case !all && !over:
			// The first answer of some is still to come.
		case len(answers) > 0:
			retry, next = 0, time.Time{}
			if merged := w.merge(answers); told == nil || !w.same(*told, merged) {
				told = &merged
				w.changed(merged)
			}
		case all && err != nil && w.failed != nil && !time.Now().Before(next):
			retry = min(max(2*retry, firstRetry), interval)
			next = time.Now().Add(retry)
			w.failed(err)
		}
	}
}

// said returns the answers of those that do not fail, the error of those that do, and
// whether all have answered or failed.
func (w *watch[T]) said() (answers []said[T], err error, all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all = true
	var failures []*DaemonError
	for _, s := range w.sources {
		switch {
		case !s.asked:
			all = false
		case s.err != nil:
			failures = append(failures, &DaemonError{s.address, s.err})
		default:
			answers = append(answers, said[T]{s.address, s.value})
		}
	}
	return answers, failure(failures, len(w.sources)), all
}

// follow asks one nsqlookupd again and again.
func (w *watch[T]) follow(ctx context.Context, s *source[T], interval time.Duration, news chan<- struct{}) {
	var index uint64 // of its last answer; 0: there is none, or it is stock's
	var retry, quick time.Duration
	for ctx.Err() == nil {
		var q wait
		if index != 0 {
			q = wait{index, blockFor}
		}
		start := time.Now()
		value, header, err := w.ask(ctx, s.address, q)
		if ctx.Err() != nil {
			return
		}
		fresh := w.note(s, value, err)
		signal(news)
		switch {
		case err != nil:
			// Who was restarted may have an index that is lower.
			index = 0
			retry = min(max(2*retry, firstRetry), interval)
			pause(ctx, retry)
			continue
		case indexOf(header) == 0:
			index = 0
			pause(ctx, interval+rand.N(interval/10+1))
		default:
			index = indexOf(header)
			if fresh || time.Since(start) > mostPause {
				quick = 0
			}
			quick = min(max(2*quick, leastPause), mostPause)
			pause(ctx, quick)
		}
		retry = 0
	}
}

// note takes in an answer, and says whether it is another than the last.
func (w *watch[T]) note(s *source[T], value T, err error) (fresh bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fresh = !s.asked || s.err != nil || err != nil || !w.same(s.value, value)
	s.asked, s.value, s.err = true, value, err
	return fresh
}

// pause returns after d, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
