package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"nsqraft/internal/drill/history"
)

const (
	// readInterval is how often each reader asks.
	readInterval = 40 * time.Millisecond
	// maxLate is how many calls of a reader may be on their way: of a node that hangs,
	// each takes requestTimeout.
	maxLate = int(requestTimeout/readInterval) + 5
)

// startReaders starts those of each node and each way to read, evenly spread in time.
func (w *Workload) startReaders() {
	number, each := 0, w.opts.Readers
	for _, n := range w.nodes {
		for _, consistent := range []bool{false, true} {
			if consistent && w.opts.Stock {
				continue
			}
			for i := range each {
				number++
				rng, delay := w.rng(kindReader, number), readInterval*time.Duration(i)/time.Duration(each)
				w.goLoad(func() {
					if sleep(w.load, delay) {
						w.read(n, consistent, func() string { return w.names.lookup(rng) })
					}
				})
			}
		}
	}
}

// read asks a node again and again, no later because it has not answered yet.
func (w *Workload) read(n *daemon, consistent bool, topic func() string) {
	idle := make(chan int, maxLate) // clients that have no call on its way
	for range maxLate {
		idle <- w.rec.Client()
	}
	every(w.load, readInterval, func() {
		select {
		case client := <-idle:
			asked := topic()
			w.goRun(func() {
				w.lookup(w.run, client, n, asked, consistent)
				idle <- client
			})
		default: // as many as may be are late
		}
	})
}

// lookup records one lookup, unless ctx ends before its answer is there, and says
// whether it was answered.
func (w *Workload) lookup(ctx context.Context, client int, n *daemon, topic string, consistent bool) bool {
	path := "/lookup?topic=" + url.QueryEscape(topic)
	if consistent {
		path += "&consistent=true"
	}
	op := history.Op{Kind: history.Lookup, Client: client, Node: n.Name, Call: w.rec.Now(), Topic: topic, Consistent: consistent}
	r, err := n.api.do(ctx, http.MethodGet, path, "")
	op.Return = w.rec.Now()
	if ctx.Err() != nil && err != nil {
		return false
	}
	var answer *history.Answer
	if err == nil && (r.status == http.StatusOK || r.status == http.StatusNotFound) {
		answer, err = readAnswer(r)
	}
	settle(&op, r, err)
	if op.Outcome == history.Done {
		op.Answer = answer
	}
	w.record(op)
	return op.Outcome == history.Done
}

// readAnswer reads what nsqlookupd says of a topic.
func readAnswer(r *response) (*history.Answer, error) {
	a := &history.Answer{Known: r.status == http.StatusOK, StaleMS: -1, ContactMS: -1}
	if err := readFreshness(a, r.header); err != nil {
		return nil, err
	}
	if !a.Known {
		var refusal struct {
			Message string `json:"message"`
		}
		if err := json.Unmarshal(r.body, &refusal); err != nil || refusal.Message != "TOPIC_NOT_FOUND" {
			return nil, fmt.Errorf("404 that is not about the topic: %.100s", r.body)
		}
		return a, nil
	}
	var body struct {
		Channels  []string `json:"channels"`
		Producers []struct {
			Host string `json:"broadcast_address"`
			Port int    `json:"tcp_port"`
		} `json:"producers"`
	}
	if err := json.Unmarshal(r.body, &body); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if body.Channels == nil || body.Producers == nil {
		return nil, errors.New("an answer without channels or producers")
	}
	a.Channels = body.Channels
	for _, p := range body.Producers {
		a.Producers = append(a.Producers, net.JoinHostPort(p.Host, strconv.Itoa(p.Port)))
	}
	slices.Sort(a.Channels)
	slices.Sort(a.Producers)
	return a, nil
}

// readFreshness reads the headers that stock does not have.
func readFreshness(a *history.Answer, h http.Header) (err error) {
	index := h.Get("X-Nsq-Index")
	if index == "" {
		return nil
	}
	if a.Index, err = strconv.ParseUint(index, 10, 64); err != nil {
		return fmt.Errorf("X-Nsq-Index: %w", err)
	}
	if a.StaleMS, err = strconv.ParseInt(h.Get("X-Nsq-Stale-Ms"), 10, 64); err != nil {
		return fmt.Errorf("X-Nsq-Stale-Ms: %w", err)
	}
	if a.ContactMS, err = strconv.ParseInt(h.Get("X-Nsq-Last-Contact"), 10, 64); err != nil {
		return fmt.Errorf("X-Nsq-Last-Contact: %w", err)
	}
	if a.KnownLeader, err = strconv.ParseBool(h.Get("X-Nsq-Known-Leader")); err != nil {
		return fmt.Errorf("X-Nsq-Known-Leader: %w", err)
	}
	return nil
}
