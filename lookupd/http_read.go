package lookupd

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"nsqraft/fsm"
	"nsqraft/internal/defect"
	"nsqraft/internal/httpapi"
)

const (
	// consistentTimeout bounds a linearizable read.
	consistentTimeout = time.Second

	defaultWait = 30 * time.Second
	maxWait     = 10 * time.Minute // a longer ?wait= is cut to it

	// maxWaiting bounds the blocking queries that wait at one time; beyond it
	// they are answered at once, as if their wait were over.
	maxWaiting = 10_000
)

var (
	errInvalidConsistent = httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_CONSISTENT")
	errInvalidMaxStale   = httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_MAX_STALE")
	errInvalidIndex      = httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_INDEX")
	errInvalidWait       = httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_WAIT")
	errNodeNotReady      = &httpapi.Error{Status: http.StatusServiceUnavailable, Text: "NOT_READY", Header: retrySoon}
	errNoQuorum          = &httpapi.Error{Status: http.StatusServiceUnavailable, Text: "NO_QUORUM", Header: retrySoon}
)

// query is what a request for a part of the registry asks.
type query struct {
	topic    string
	hasTopic bool

	consistent bool          // ?consistent=true: a linearizable read
	bounded    bool          // ?max_stale=: no answer rather than an older one
	maxStale   time.Duration // if bounded
	blocking   bool          // ?index=: wait for a change after index
	index      uint64        // if blocking
	wait       time.Duration // if blocking
}

// parseQuery reads the parameters of r; the first of a name counts, unknown ones
// are ignored. Its errors are *httpapi.Error.
func parseQuery(r *http.Request) (query, error) {
	raw := r.URL.RawQuery
	if topic, ok := strings.CutPrefix(raw, "topic="); ok && !strings.ContainsAny(topic, "&%+;") {
		return query{topic: topic, hasTopic: true}, nil // what nearly all clients ask, without a map
	}
	params, err := httpapi.Query(r)
	if err != nil {
		return query{}, err
	}
	q := query{topic: params.Get("topic"), hasTopic: params.Has("topic"), wait: defaultWait}
	switch params.Get("consistent") {
	case "true", "1":
		q.consistent = true
	case "", "false", "0":
	default:
		return query{}, errInvalidConsistent
	}
	if params.Has("max_stale") {
		q.bounded = true
		if q.maxStale, err = time.ParseDuration(params.Get("max_stale")); err != nil || q.maxStale < 0 {
			return query{}, errInvalidMaxStale
		}
	}
	if params.Has("index") {
		q.blocking = true
		if q.index, err = strconv.ParseUint(params.Get("index"), 10, 64); err != nil {
			return query{}, errInvalidIndex
		}
	}
	if params.Has("wait") {
		if q.wait, err = time.ParseDuration(params.Get("wait")); err != nil || q.wait < 0 {
			return query{}, errInvalidWait
		}
		q.wait = min(q.wait, maxWait)
	}
	return q, nil
}

// A watch says at which index an answer (about topic, if it is about one) last
// changed in v, and when it will change next by the mere passing of time, which
// is when a tombstone's lifetime ends; zero: never.
type watch func(a *httpAPI, v *fsm.View, topic string) (changed uint64, next time.Time)

// read returns the view to answer q from, as fresh as q asks, and the headers
// that tell how fresh that is. For a blocking query it waits until watch says
// that the answer has changed. Its errors are *httpapi.Error.
func (a *httpAPI) read(ctx context.Context, q *query, watch watch) (*fsm.View, http.Header, error) {
	var start time.Time
	if q.consistent {
		start = time.Now()
		if err := a.awaitConsistent(ctx); err != nil {
			return nil, nil, err
		}
	} else if _, err := a.reg.Readable(ctx); err != nil {
		return nil, nil, errNodeNotReady
	}

	// Freshness before view: what it says then holds for the view all the more.
	fresh := a.freshness(q.bounded)
	view := a.reg.View()
	if q.blocking {
		fresh, view = a.awaitChange(ctx, q, watch)
	}
	if q.consistent {
		// The view shows all that was acknowledged before the call.
		if since := time.Since(start); fresh.Stale < 0 || since < fresh.Stale {
			fresh.Stale = since
		}
	}

	header := a.headers(view.Index(), fresh)
	if q.bounded && (fresh.Stale < 0 || fresh.Stale > q.maxStale) {
		header = header.Clone()
		header["Retry-After"] = retrySoon["Retry-After"]
		return nil, nil, &httpapi.Error{Status: http.StatusServiceUnavailable, Text: "TOO_STALE", Header: header}
	}
	return view, header, nil
}

// awaitConsistent returns once View shows everything acknowledged before.
func (a *httpAPI) awaitConsistent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, consistentTimeout)
	defer cancel()
	_, err := a.reg.Consistent(ctx)
	switch {
	case errors.Is(err, errNotReady):
		return errNodeNotReady
	case err != nil:
		return errNoQuorum
	}
	return nil
}

// awaitChange returns the first view whose answer has changed after q's index,
// or the newest one when the wait is over, a tombstone ends, the client goes
// away, the node stops, or too many wait already.
func (a *httpAPI) awaitChange(ctx context.Context, q *query, watch watch) (freshness, *fsm.View) {
	crowded := a.waiting.Add(1) > maxWaiting
	defer a.waiting.Add(-1)

	over := time.NewTimer(q.wait)
	defer over.Stop()
	var ending *time.Timer // of the next tombstone
	defer func() {
		if ending != nil {
			ending.Stop()
		}
	}()
	absent := false // the topic asked for, when last looked
	for stop := crowded; ; {
		fresh := a.reg.Freshness()
		view := a.reg.View()
		changed, next := watch(a, view, q.topic)
		if q.topic != "" && view.Topic(q.topic) == nil {
			if absent {
				changed = 0 // some other topic came or went
			}
			absent = true
		}
		if changed > q.index || stop {
			return fresh, view
		}
		var ended <-chan time.Time
		if !next.IsZero() {
			left := next.Sub(a.reg.Now())
			if ending == nil {
				ending = time.NewTimer(left)
			} else {
				ending.Reset(left)
			}
			ended = ending.C
		}
		select {
		case <-a.reg.Changed(view):
		case <-ended:
			stop = true
		case <-over.C:
			stop = true
		case <-ctx.Done():
			stop = true
		case <-a.stopping.Done():
			stop = true
		}
	}
}

// A reading is what the registry's Freshness said at a time.
type reading struct {
	freshness
	at time.Time
}

// freshness returns the registry's Freshness as of now. It asks at most once a
// millisecond, because the answer costs more than the rest of a lookup, and
// unless exact adds to a reading the time that has gone by since: an answer
// that is a little too old says so itself.
func (a *httpAPI) freshness(exact bool) freshness {
	now := time.Now() // before asking, so that a reading seems rather older than it is
	if last := a.reading.Load(); last != nil && !exact {
		if age := now.Sub(last.at); age < time.Millisecond {
			age = max(age, 0)
			fresh := last.freshness
			if fresh.LastContact > 0 {
				fresh.LastContact += age
			}
			if fresh.Stale >= 0 {
				fresh.Stale += age
			}
			return fresh
		}
	}
	fresh := &reading{a.reg.Freshness(), now}
	a.reading.Store(fresh)
	return fresh.freshness
}

// stamp is a set of response headers and what they were made from. Most answers
// within a millisecond share one.
type stamp struct {
	index       uint64
	known       bool
	lastContact int64 // ms
	stale       int64 // ms
	header      http.Header
}

// headers tells a client what an answer is worth:
//
//	X-Nsq-Index         the index of the log the answer is as of
//	X-Nsq-Known-Leader  true or false
//	X-Nsq-Last-Contact  milliseconds since the leader was heard; -1: never
//	X-Nsq-Stale-Ms      everything acknowledged longer ago is in the answer,
//	                    rounded up; -1: nothing is known of what is missing
//
// Callers do not modify it.
func (a *httpAPI) headers(index uint64, f freshness) http.Header {
	s := stamp{
		index:       index,
		known:       f.LeaderKnown,
		lastContact: ceilMillis(f.LastContact),
		stale:       ceilMillis(f.Stale),
	}
	if defect.Seeded && defect.On(defect.AlwaysFresh) {
		s.stale = 0
	}
	if defect.Seeded && defect.OneIn(100, defect.IndexGoesBack) {
		s.index -= min(s.index, 10)
	}
	if last := a.stamp.Load(); last != nil && last.index == s.index && last.known == s.known &&
		last.lastContact == s.lastContact && last.stale == s.stale {
		return last.header
	}
	s.header = http.Header{
		"X-Nsq-Index":        {strconv.FormatUint(s.index, 10)},
		"X-Nsq-Known-Leader": {strconv.FormatBool(s.known)},
		"X-Nsq-Last-Contact": {strconv.FormatInt(s.lastContact, 10)},
		"X-Nsq-Stale-Ms":     {strconv.FormatInt(s.stale, 10)},
	}
	a.stamp.Store(&s)
	return s.header
}

// ceilMillis returns d in whole milliseconds, never less than d; -1 if negative.
func ceilMillis(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
