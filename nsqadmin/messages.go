package nsqadmin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"
	"github.com/nsqio/go-nsq"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
)

// A publishJSON is the part of a request to publish that is about the message.
type publishJSON struct {
	Body       string `json:"body"`
	BodyBase64 []byte `json:"body_base64"` // instead
	Count      int    `json:"count"`       // 0: once
	DeferMS    int64  `json:"defer"`       // milliseconds, as nsqd's
	Node       string `json:"node"`        // "" for one that has the topic
}

// in makes the action one that publishes.
func (p *publishJSON) in(a *action) {
	a.name, a.node, a.count = "publish", p.Node, p.Count
	a.deferred = time.Duration(min(max(p.DeferMS, -1), int64(maxDefer/time.Millisecond))) * time.Millisecond
	if a.body = []byte(p.Body); len(p.BodyBase64) > 0 {
		a.body = p.BodyBase64
	}
}

// maxDefer keeps what a client asks for from wrapping; nsqd refuses far less.
const maxDefer = 365 * 24 * time.Hour

const (
	maxPeeked   = 100              // messages
	maxPeekWait = 30 * time.Second // for them
	maxPeekBody = 64 << 10         // bytes shown of one
	maxPeeks    = 8                // at one time
)

var (
	errMessagesHidden = httpapi.NewError(http.StatusForbidden, "MESSAGE_VIEW_DISABLED")
	errTooManyPeeks   = &httpapi.Error{Status: http.StatusServiceUnavailable, Text: "TOO_MANY_PEEKS", Header: http.Header{"Retry-After": {"5"}}}
	errInvalidWait    = httpapi.NewError(http.StatusBadRequest, "INVALID_WAIT")
)

// A peeked is a message that peek has seen.
type peeked struct {
	ID        string
	Node      string // HTTP address of its nsqd
	Published time.Time
	Attempts  uint16
	Body      []byte // the first 64 KiB
	Size      int    // of the whole body
}

// showMessages answers with new messages of a topic. Parameters: n (10, at most 100),
// wait (2s, at most 30s): it answers when it has n, or when the time is over.
//
// A channel with the name peek is shown instead, as stock does, unless there is n.
func (s *Server) showMessages(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	topic := chi.URLParam(r, "topic")
	if t := s.firstView(r.Context()).Topic(topic); !params.Has("n") && t != nil && t.Channel("peek") != nil {
		chi.RouteContext(r.Context()).URLParams.Add("channel", "peek")
		return s.showChannel(r)
	}
	n, err := whole(params, "n", 1, maxPeeked, 10, errInvalidCount)
	if err != nil {
		return nil, err
	}
	wait := 2 * time.Second
	if params.Has("wait") {
		if wait, err = time.ParseDuration(params.Get("wait")); err != nil || wait <= 0 || wait > maxPeekWait {
			return nil, errInvalidWait
		}
	}
	messages, left, err := s.look(r, topic, n, wait)
	if err != nil {
		return nil, err
	}
	answer := struct {
		Messages []*messageJSON `json:"messages"` // in the order they came
		Message  string         `json:"message"`  // what was not looked at
	}{[]*messageJSON{}, warningOf(left)}
	for _, m := range messages {
		answer.Messages = append(answer.Messages, m.json())
	}
	return answer, nil
}

// A messageJSON is a message that was seen.
type messageJSON struct {
	ID        string    `json:"id"`
	Published time.Time `json:"published"`
	Attempts  uint16    `json:"attempts"`
	Node      string    `json:"node"`
	Size      int       `json:"size"` // bytes
	Body      *string   `json:"body,omitempty"`
	Base64    []byte    `json:"body_base64,omitempty"` // of a body that is not UTF-8
	Truncated bool      `json:"truncated,omitempty"`
}

func (p *peeked) json() *messageJSON {
	row := &messageJSON{ID: p.ID, Published: p.Published, Attempts: p.Attempts, Node: p.Node, Size: p.Size, Truncated: len(p.Body) < p.Size}
	body := p.Body
	for i := 0; row.Truncated && i < utf8.UTFMax && !utf8.Valid(body) && len(body) > 0; i++ {
		body = body[:len(body)-1] // it may be cut within a character
	}
	if utf8.Valid(body) {
		text := string(body)
		row.Body = &text
	} else {
		row.Base64 = p.Body
	}
	return row
}

// peek waits until count (1 to 100) messages of topic that are published after the
// call have been seen, or for wait (at most 30 s). It reads through an ephemeral channel
// of its own: none is taken from other channels. It checks name and role as do does, and
// fails with 403 MESSAGE_VIEW_DISABLED if --disable-message-view is set.
func (s *Server) peek(r *http.Request, topic string, count int, wait time.Duration) ([]*peeked, error) {
	messages, _, err := s.look(r, topic, min(max(count, 1), maxPeeked), min(wait, maxPeekWait))
	return messages, err
}

// look is peek, and says besides which nsqds were left out, and why. One is on which the
// topic has no channel: what waits there for the first channel would go to ours, and be
// lost.
func (s *Server) look(r *http.Request, topic string, n int, wait time.Duration) (messages []*peeked, left []string, err error) {
	if s.opts.DisableMessageView {
		return nil, nil, errMessagesHidden
	}
	// It makes a channel for a moment, though it is a GET: not for other sites.
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" {
		return nil, nil, errCrossOrigin
	}
	if _, role := s.who(r); role < operator {
		return nil, nil, errForbidden
	}
	v, _, err := s.having(r, topic, "")
	if err != nil {
		return nil, nil, err
	}
	select {
	case s.peeks <- struct{}{}:
		defer func() { <-s.peeks }()
	default:
		return nil, nil, errTooManyPeeks
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	stop := context.AfterFunc(s.stopping, cancel)
	defer stop()
	return s.listen(ctx, v.Topic(topic), n)
}

// listen takes up to n messages from a channel that is there until ctx ends.
func (s *Server) listen(ctx context.Context, t *clusterinfo.Topic, n int) (messages []*peeked, left []string, err error) {
	nodes, left := s.peekable(ctx, t)
	channel := fmt.Sprintf("nsqadmin-peek-%08x#ephemeral", rand.Uint32())
	seen, failed := make(chan *peeked), make(chan string)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, node := range nodes {
		wg.Go(func() {
			peep := &peep{node: node.Address, seen: seen, ctx: ctx, closed: make(chan struct{})}
			if err := peep.run(node.TCPAddress(), t.Name, channel, n, s.opts.ConnectTimeout); err != nil {
				select {
				case failed <- "nsqd " + node.Address + ": " + err.Error():
				case <-ctx.Done():
				}
			}
		})
	}
	for open := len(nodes); len(messages) < n && open > 0 && ctx.Err() == nil; {
		select {
		case m := <-seen:
			messages = append(messages, m)
		case reason := <-failed:
			left = append(left, reason)
			open--
		case <-ctx.Done():
		}
	}
	cancel()
	wg.Wait()
	return messages, left, nil
}

// A peep is a connection to one nsqd. It uses go-nsq's Conn: a Consumer panics if it is
// stopped while it connects, or if an nsqd that hung for long goes on.
type peep struct {
	node   string
	seen   chan<- *peeked
	ctx    context.Context // until it ends
	closed chan struct{}   // when the connection is

	refusal atomic.Pointer[string] // what nsqd said before it closed
}

// run looks until the context ends or the connection does; the error says why that was.
func (p *peep) run(address, topic, channel string, n int, connectTimeout time.Duration) error {
	config := nsq.NewConfig()
	config.DialTimeout, config.WriteTimeout = connectTimeout, connectTimeout
	config.ReadTimeout, config.HeartbeatInterval = 2500*time.Millisecond, time.Second
	config.UserAgent = "nsqadmin/" + Version
	if err := config.Validate(); err != nil {
		return err
	}
	conn := nsq.NewConn(address, config, p)
	conn.SetLogger(log.New(io.Discard, "", 0), nsq.LogLevelMax, "")
	if _, err := conn.Connect(); err != nil {
		return err
	}
	err := conn.WriteCommand(nsq.Subscribe(topic, channel))
	if err == nil {
		err = conn.WriteCommand(nsq.Ready(n))
	}
	if err == nil {
		select {
		case <-p.ctx.Done():
		case <-p.closed:
			if err = errClosed; p.refusal.Load() != nil {
				err = errors.New(*p.refusal.Load())
			}
		}
	}
	conn.Close()
	<-p.closed // bounded by the time-outs above
	return err
}

var errClosed = errors.New("the connection was closed")

// OnMessage, called by the connection for each message in turn, shows it and finishes
// it: for this channel only.
func (p *peep) OnMessage(_ *nsq.Conn, m *nsq.Message) {
	select {
	case p.seen <- newPeeked(m, p.node):
	case <-p.ctx.Done():
	}
	m.Finish()
}

// OnError is told what nsqd refuses; nothing comes after it.
func (p *peep) OnError(conn *nsq.Conn, text []byte) {
	reason := string(text)
	p.refusal.CompareAndSwap(nil, &reason)
	conn.Close()
}

// OnClose is told once.
func (p *peep) OnClose(*nsq.Conn) { close(p.closed) }

// OnIOError is followed by OnClose.
func (p *peep) OnIOError(*nsq.Conn, error) {}

// The rest of nsq.ConnDelegate is of no interest here.

func (p *peep) OnResponse(*nsq.Conn, []byte)              {}
func (p *peep) OnMessageFinished(*nsq.Conn, *nsq.Message) {}
func (p *peep) OnMessageRequeued(*nsq.Conn, *nsq.Message) {}
func (p *peep) OnBackoff(*nsq.Conn)                       {}
func (p *peep) OnContinue(*nsq.Conn)                      {}
func (p *peep) OnResume(*nsq.Conn)                        {}
func (p *peep) OnHeartbeat(*nsq.Conn)                     {}

// peekable returns the nsqds that may be listened to, and why the others may not. They
// are asked now: a channel may have been deleted since the last View.
func (s *Server) peekable(ctx context.Context, t *clusterinfo.Topic) (nodes []*clusterinfo.Node, left []string) {
	if t.Inactive() {
		return nil, []string{"no nsqd has the topic"}
	}
	refusals := make([]string, len(t.Nodes))
	var wg sync.WaitGroup
	for i, on := range t.Nodes {
		wg.Go(func() { refusals[i] = s.unfit(ctx, on, t.Name) })
	}
	wg.Wait()
	for i, on := range t.Nodes {
		if refusals[i] != "" {
			left = append(left, "nsqd "+on.Node.Address+": "+refusals[i])
			continue
		}
		if on.Stats != nil && on.Stats.Paused {
			left = append(left, "nsqd "+on.Node.Address+": the topic is paused there")
		}
		nodes = append(nodes, on.Node)
	}
	return nodes, left
}

// unfit says why a node may not be listened to, "" if it may.
func (s *Server) unfit(ctx context.Context, on *clusterinfo.TopicOnNode, topic string) string {
	if on.Node.Stale() {
		return "no answer"
	}
	stats, err := s.client.Stats(ctx, on.Node.Address, clusterinfo.StatsFilter{Topic: topic})
	switch {
	case err != nil:
		return reason(err)
	case !hasChannel(stats, topic):
		return "the topic has no channel there, and a look would take the messages that wait for one"
	}
	return ""
}

func hasChannel(stats *clusterinfo.NodeStats, topic string) bool {
	for _, t := range stats.Topics {
		if t.Name == topic {
			return len(t.Channels) > 0
		}
	}
	return false
}

func newPeeked(m *nsq.Message, node string) *peeked {
	return &peeked{
		ID:        string(m.ID[:]),
		Node:      node,
		Published: time.Unix(0, m.Timestamp).UTC(),
		Attempts:  m.Attempts,
		Body:      m.Body[:min(len(m.Body), maxPeekBody)],
		Size:      len(m.Body),
	}
}
