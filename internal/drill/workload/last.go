package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"nsqraft/internal/drill/history"
)

const (
	lastReaders = 4 // for each node
	lastTries   = 3
	// drainTimeout bounds the wait for the queues to be empty.
	drainTimeout = 30 * time.Second
)

// LastReads makes, when nothing is broken any more, what the checkers need at the end.
// Run must still work, for what is registered stays so only until Run ends. First it ends
// the load: nothing more is changed, published or looked up. Then it makes a consistent
// and a local lookup of each topic on each node, and waits until the nsqds have delivered
// all messages, half a minute at most. The error says what could not be done; the rest
// was done all the same.
func (w *Workload) LastReads(ctx context.Context) error {
	w.mu.Lock()
	state := w.state
	w.mu.Unlock()
	if state != running {
		return ErrNotRunning
	}
	<-w.started
	w.stopLoad()
	w.loading.Wait()
	var errs [2]error
	var both sync.WaitGroup
	both.Go(func() { errs[0] = w.lookUpAll(ctx) })
	both.Go(func() { errs[1] = w.drain(ctx) })
	both.Wait()
	return errors.Join(errs[:]...)
}

// Remove deletes, when Run has ended, all topics that the workload has made, at a node
// that can and at each nsqd. It is for a cluster that is there after the drill. The error
// says how much is left, and why the first of it.
func (w *Workload) Remove(ctx context.Context) error {
	left := 0
	var first error
	note := func(err error) {
		if err == nil {
			return
		}
		if left++; first == nil {
			first = err
		}
	}
	topics := w.names.all()
	if w.opts.Messages > 0 && len(w.nsqds) > 0 {
		messages := w.names.messages()
		topics = append(topics, messages)
		for _, n := range w.nsqds {
			note(remove(ctx, []*daemon{n}, messages)) // 404: it never had it
		}
	}
	for _, topic := range topics {
		note(remove(ctx, w.nodes, topic))
	}
	for _, d := range slices.Concat(w.nodes, w.nsqds) {
		d.api.close()
	}
	if left > 0 {
		return fmt.Errorf("%d topics of %d could not be removed, as: %w", left, len(topics), first)
	}
	return nil
}

// remove deletes topic at one of daemons, the first that can.
func remove(ctx context.Context, daemons []*daemon, topic string) error {
	var errs []error
	for _, d := range daemons {
		r, err := d.api.do(ctx, http.MethodPost, "/topic/delete?topic="+url.QueryEscape(topic), "")
		if err == nil && r.status != http.StatusOK && r.status != http.StatusNotFound {
			err = fmt.Errorf("status %d", r.status)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("delete topic %s at %s: %w", topic, d.Name, err))
	}
	return errors.Join(errs...)
}

// A question is one of the last lookups.
type question struct {
	topic      string
	consistent bool
}

func (w *Workload) lookUpAll(ctx context.Context) error {
	topics := w.names.all()
	missed := make([]int, len(w.nodes))
	var readers sync.WaitGroup
	for i, n := range w.nodes {
		questions := make(chan question)
		var mu sync.Mutex
		for range lastReaders {
			readers.Go(func() {
				client := w.rec.Client()
				for q := range questions {
					if !w.lookUpLast(ctx, client, n, q) {
						mu.Lock()
						missed[i]++
						mu.Unlock()
					}
				}
			})
		}
		readers.Go(func() {
			defer close(questions)
			for _, topic := range topics {
				if !w.opts.Stock {
					questions <- question{topic, true}
				}
				questions <- question{topic, false}
			}
		})
	}
	readers.Wait()
	var errs []error
	for i, n := range w.nodes {
		if missed[i] > 0 {
			errs = append(errs, fmt.Errorf("%s has not answered %d of the last lookups of %d topics", n.Name, missed[i], len(topics)))
		}
	}
	return errors.Join(errs...)
}

// lookUpLast tries again, for what is not answered says nothing.
func (w *Workload) lookUpLast(ctx context.Context, client int, n *daemon, q question) bool {
	for range lastTries {
		if ctx.Err() != nil {
			return false
		}
		if w.lookup(ctx, client, n, q.topic, q.consistent) {
			return true
		}
		sleep(ctx, 100*time.Millisecond)
	}
	return false
}

// drain returns when all nsqds have delivered all messages and have them finished.
func (w *Workload) drain(ctx context.Context) error {
	if w.opts.Messages == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	var errs []error
	for _, n := range w.nsqds {
		err := w.awaitEmpty(ctx, n)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (w *Workload) awaitEmpty(ctx context.Context, n *daemon) error {
	for {
		left, err := w.waiting(ctx, n)
		if err == nil && left == 0 {
			return nil
		}
		if !sleep(ctx, 100*time.Millisecond) {
			if err == nil {
				err = fmt.Errorf("%d messages are still to be delivered or finished", left)
			}
			return err
		}
	}
}

// waiting returns how many messages an nsqd has, of each channel and of the topic itself.
func (w *Workload) waiting(ctx context.Context, n *daemon) (int, error) {
	topics, err := w.stats(ctx, n)
	left := 0
	for _, t := range topics {
		left += t.Depth
		for _, c := range t.Channels {
			left += c.Depth + c.InFlight + c.Deferred
		}
	}
	return left, err
}

// Held returns what an nsqd says that it has in memory for each channel of the messages.
// A message that is on its way from the topic to its channels is in neither.
func (w *Workload) Held(ctx context.Context, nsqd string) (all []history.Held, err error) {
	at := w.rec.Now()
	i := slices.IndexFunc(w.nsqds, func(n *daemon) bool { return n.Name == nsqd })
	if i < 0 {
		return nil, fmt.Errorf("there is no nsqd %s", nsqd)
	}
	topics, err := w.stats(ctx, w.nsqds[i])
	for _, t := range topics {
		for _, c := range t.Channels {
			all = append(all, history.Held{At: at, Node: nsqd, Topic: t.Name, Channel: c.Name,
				Messages: t.Depth - t.OnDisk + c.Depth - c.OnDisk + c.InFlight + c.Deferred})
		}
	}
	return all, err
}

// topicStats is what an nsqd says of a topic.
type topicStats struct {
	Name     string `json:"topic_name"`
	Depth    int    `json:"depth"`
	OnDisk   int    `json:"backend_depth"`
	Channels []struct {
		Name     string `json:"channel_name"`
		Depth    int    `json:"depth"`
		OnDisk   int    `json:"backend_depth"`
		InFlight int    `json:"in_flight_count"`
		Deferred int    `json:"deferred_count"`
	} `json:"channels"`
}

// stats asks an nsqd about the topic of the messages; none: it does not have it.
func (w *Workload) stats(ctx context.Context, n *daemon) ([]topicStats, error) {
	r, err := n.api.do(ctx, http.MethodGet, "/stats?format=json&include_clients=false&topic="+url.QueryEscape(w.names.messages()), "")
	if err != nil {
		return nil, err
	}
	var stats struct {
		Topics []topicStats `json:"topics"`
	}
	if err := json.Unmarshal(r.body, &stats); err != nil || r.status != http.StatusOK {
		return nil, fmt.Errorf("/stats: status %d: %w", r.status, err)
	}
	return stats.Topics, nil
}
