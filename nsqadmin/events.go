package nsqadmin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"nsqraft/internal/httpapi"
)

const (
	// maxStreams bounds who listens to events at one time.
	maxStreams = 512
	// viewEvery is the least time between two events that tell of a View.
	viewEvery = time.Second
	// heartbeat is how often a stream says something if there is nothing to say, so
	// that proxies keep it open and a client that is gone is noticed.
	heartbeat = 15 * time.Second
	// streamTimeout bounds each write. Of HTTP/2 the listener's bound is not enough:
	// there one stream may be stuck while the connection is not.
	streamTimeout = 30 * time.Second
)

var errTooManyStreams = &httpapi.Error{Status: http.StatusServiceUnavailable, Text: "TOO_MANY_STREAMS", Header: http.Header{"Retry-After": {"5"}}}

// streamEvents answers with server-sent events until the client goes or the server
// stops:
//
//	event: view        data: {"at": "..."}   there is a newer View, at most once a second
//	event: activity    data: an event, with its id
//	: heartbeat
//
// A client that comes back with Last-Event-ID gets the activity since that, as far as
// it is kept. There is no queue for a client: each stream knows how far it has come,
// so that a slow one misses views but no activity, and one that does not read at all
// is cut off after 30 s.
func (s *Server) streamEvents(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		refuse(w, errTooManyStreams)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx
	if r.Method == http.MethodHead {
		return
	}
	stream := &stream{w: w, conn: http.NewResponseController(w)}
	seen := s.activity.last()
	if id, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64); err == nil && id < seen {
		seen = id
	}
	fmt.Fprint(&stream.buf, "retry: 2000\n\n")
	s.stream(r, stream, seen)
}

// stream sends what is new until it ends; seen is the last event that the client has.
func (s *Server) stream(r *http.Request, stream *stream, seen uint64) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	var viewed time.Time // of the last View that was told
	var next <-chan time.Time
	told := time.Now().Add(-viewEvery)
	for {
		events, more := s.activity.after(seen)
		for _, e := range events {
			stream.event("activity", strconv.FormatUint(e.ID, 10), e)
			seen = e.ID
		}
		changed := s.poller.Changed()
		if v, now := s.view(), time.Now(); v.At.After(viewed) {
			if wait := told.Add(viewEvery).Sub(now); wait <= 0 {
				stream.event("view", "", struct {
					At time.Time `json:"at"`
				}{v.At.UTC()})
				viewed, told, next = v.At, now, nil
			} else {
				changed, next = nil, time.After(wait)
			}
		}
		if stream.flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-more:
		case <-next:
		case <-tick.C:
			stream.buf.WriteString(": heartbeat\n\n")
		case <-r.Context().Done():
			return
		case <-s.stopping.Done():
			return
		}
	}
}

// A stream is one client's.
type stream struct {
	w    http.ResponseWriter
	conn *http.ResponseController
	buf  bytes.Buffer
}

// event adds an event; data is sent as JSON, which has no line breaks.
func (s *stream) event(name, id string, data any) {
	body, err := json.Marshal(data)
	if err != nil {
		return // it is made of strings, numbers and times
	}
	if id != "" {
		fmt.Fprintf(&s.buf, "id: %s\n", id)
	}
	fmt.Fprintf(&s.buf, "event: %s\ndata: %s\n\n", name, body)
}

// flush sends what was added.
func (s *stream) flush() error {
	if s.buf.Len() == 0 {
		return nil
	}
	s.conn.SetWriteDeadline(time.Now().Add(streamTimeout)) // a test's writer has none
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return err
	}
	s.buf.Reset()
	return s.conn.Flush()
}
