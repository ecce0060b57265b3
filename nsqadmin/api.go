package nsqadmin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
)

// maxBody bounds the JSON of a request. One that publishes has a message in it, of
// which nsqd's default limit is 1 MiB.
const maxBody = 8 << 20

// firstWait bounds what a request right after the start waits for the first answers
// of the daemons.
const firstWait = 2 * time.Second

// stockRoutes adds stock nsqadmin's API. Fields, status codes and error texts are its,
// with these differences:
//
//   - What is unknown is 404 TOPIC_NOT_FOUND or CHANNEL_NOT_FOUND, and a topic without
//     producers is one with no nodes.
//   - Answers come from the newest View. A daemon that does not answer takes nothing
//     from totals: its last numbers stay, and "message" says so.
//   - With all nsqlookupds away the last known nsqds are shown, with a message.
//   - An action is 502 only if it failed everywhere, and 504 UNKNOWN_OUTCOME if it was
//     done nowhere for certain, but may still happen where no answer came.
//   - Of percentiles over several nsqds "value" is the greatest; stock's names stay,
//     with what they say.
func (s *Server) stockRoutes(rt *httpapi.Router) {
	rt.V1("GET", s.base+"/api/topics", s.listTopics)
	rt.V1("GET", s.base+"/api/topics/{topic}", s.showTopic)
	rt.V1("GET", s.base+"/api/topics/{topic}/{channel}", s.showChannel)
	rt.V1("GET", s.base+"/api/nodes", s.listNodes)
	rt.V1("GET", s.base+"/api/nodes/{node}", s.showNode)
	rt.V1("GET", s.base+"/api/counter", s.counter)

	rt.V1Body("POST", s.base+"/api/topics", s.postTopics)
	rt.V1Body("POST", s.base+"/api/topics/{topic}", s.postTopic)
	rt.V1Body("POST", s.base+"/api/topics/{topic}/{channel}", s.postTopic)
	rt.V1("DELETE", s.base+"/api/topics/{topic}", s.deleteTopicOrChannel)
	rt.V1("DELETE", s.base+"/api/topics/{topic}/{channel}", s.deleteTopicOrChannel)
	rt.V1Body("DELETE", s.base+"/api/nodes/{node}", s.deleteNode)
}

// A doneJSON is what actions answer.
type doneJSON struct {
	Message string       `json:"message"`
	Results []resultJSON `json:"results,omitempty"`
}

var errNoAnswer = errors.New("no daemon has answered yet")

// current returns the newest View and a message about daemons that do not answer. The
// error is 502 if nothing is known at all.
func (s *Server) current(r *http.Request) (*clusterinfo.View, string, error) {
	v := s.firstView(r.Context())
	warnings, answered := trouble(v)
	if !answered && len(v.Nodes) == 0 {
		if len(warnings) == 0 {
			warnings = []string{errNoAnswer.Error()}
		}
		return nil, "", upstreamError(warnings)
	}
	return v, warningOf(warnings), nil
}

// firstView returns the newest View; right after the start it waits until each daemon
// has been asked once, for firstWait at most.
func (s *Server) firstView(ctx context.Context) *clusterinfo.View {
	ctx, cancel := context.WithDeadline(ctx, s.opened.Add(firstWait))
	defer cancel()
	for {
		changed := s.poller.Changed()
		v := s.view()
		if asked(v) || ctx.Err() != nil {
			return v
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// asked says whether each daemon of the View has been asked once.
func asked(v *clusterinfo.View) bool {
	for _, l := range v.Lookupds {
		if l.AnsweredAt.IsZero() && l.Err == nil {
			return false
		}
	}
	for _, n := range v.Nodes {
		if n.StatsAt.IsZero() && n.Err == nil {
			return false
		}
	}
	return !v.At.IsZero()
}

// trouble returns a sentence for each daemon that does not answer, and whether any
// does whose word makes the lists: an nsqlookupd, or an nsqd where there are none.
func trouble(v *clusterinfo.View) (warnings []string, answered bool) {
	for _, l := range v.Lookupds {
		if l.State == clusterinfo.Up {
			answered = true
		} else if l.Err != nil {
			warnings = append(warnings, "nsqlookupd "+l.Address+": "+reason(l.Err))
		}
	}
	for _, n := range v.Nodes {
		if !n.Stale() {
			answered = answered || len(v.Lookupds) == 0
		} else if n.Err != nil {
			warnings = append(warnings, staleNode(n, v.At))
		}
	}
	return warnings, answered
}

// staleNode says how old the numbers of n are.
func staleNode(n *clusterinfo.Node, now time.Time) string {
	if n.StatsAt.IsZero() {
		return "nsqd " + n.Address + ": " + reason(n.Err)
	}
	age := now.Sub(n.StatsAt).Round(time.Second)
	return "nsqd " + n.Address + " (its numbers are " + age.String() + " old): " + reason(n.Err)
}

// maxWarnings bounds the sentences of one message.
const maxWarnings = 10

func joined(sentences []string) string {
	if len(sentences) > maxWarnings {
		sentences = append(sentences[:maxWarnings:maxWarnings], "...")
	}
	return strings.Join(sentences, "; ")
}

// warningOf returns stock's form of a message about what did not work, "" for nothing.
func warningOf(sentences []string) string {
	if len(sentences) == 0 {
		return ""
	}
	return "WARNING: " + joined(sentences)
}

func upstreamError(sentences []string) error {
	return httpapi.NewError(http.StatusBadGateway, "UPSTREAM_ERROR: "+joined(sentences))
}

// answerTo turns what an action did into its answer.
func answerTo(results []clusterinfo.Result, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	var failed []string
	for _, r := range results {
		if r.Err != nil {
			failed = append(failed, r.Kind+" "+r.Address+": "+reason(r.Err))
		}
	}
	if len(failed) > 0 && len(failed) == len(results) {
		if _, unknown := tally(results); unknown > 0 {
			return nil, httpapi.NewError(http.StatusGatewayTimeout, "UNKNOWN_OUTCOME: "+joined(failed))
		}
		return nil, upstreamError(failed)
	}
	return doneJSON{warningOf(failed), resultsJSON(results)}, nil
}

// errInvalidBody is for JSON of another form than is asked for. What json says of it has
// the names of our types.
var errInvalidBody = httpapi.NewError(http.StatusBadRequest, "INVALID_BODY")

// readJSON reads the body of r into v. Of what is no JSON the error is what json says,
// as in stock.
func readJSON(r *http.Request, v any) error {
	err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(v)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return errInvalidBody
	}
	if err != nil {
		return httpapi.NewError(http.StatusBadRequest, err.Error())
	}
	return nil
}

// mayAct is asked before the body is looked at, as in stock; do asks again.
func (s *Server) mayAct(r *http.Request) error {
	if _, role := s.who(r); role < operator {
		return errForbidden
	}
	return nil
}

func (s *Server) postTopics(r *http.Request) (any, error) {
	if err := s.mayAct(r); err != nil {
		return nil, err
	}
	var body struct {
		Topic   string   `json:"topic"`
		Channel string   `json:"channel"`
		Nodes   []string `json:"nodes"` // ours: create on these nsqds too
	}
	if err := readJSON(r, &body); err != nil {
		return nil, err
	}
	a := action{name: "create_topic", topic: body.Topic, channel: body.Channel, nodes: body.Nodes}
	if body.Channel != "" {
		a.name = "create_channel"
	}
	return answerTo(s.do(r, a))
}

// postTopic pauses, unpauses or empties a topic or, with a channel, that. Ours is that
// one can publish to a topic.
func (s *Server) postTopic(r *http.Request) (any, error) {
	if err := s.mayAct(r); err != nil {
		return nil, err
	}
	var body struct {
		Action string   `json:"action"`
		Nodes  []string `json:"nodes"` // ours: only on these nsqds
		publishJSON
	}
	if err := readJSON(r, &body); err != nil {
		return nil, err
	}
	a := action{topic: chi.URLParam(r, "topic"), channel: chi.URLParam(r, "channel"), nodes: body.Nodes}
	switch body.Action {
	case "pause", "unpause", "empty":
		a.name = body.Action + "_topic"
		if a.channel != "" {
			a.name = body.Action + "_channel"
		}
	case "publish":
		if a.channel != "" {
			return nil, errInvalidAction
		}
		body.publishJSON.in(&a)
	default:
		return nil, errInvalidAction
	}
	return answerTo(s.do(r, a))
}

func (s *Server) deleteTopicOrChannel(r *http.Request) (any, error) {
	a := action{name: "delete_topic", topic: chi.URLParam(r, "topic"), channel: chi.URLParam(r, "channel")}
	if a.channel != "" {
		a.name = "delete_channel"
	}
	return answerTo(s.do(r, a))
}

// deleteNode tombstones a topic on a node.
func (s *Server) deleteNode(r *http.Request) (any, error) {
	if err := s.mayAct(r); err != nil {
		return nil, err
	}
	var body struct {
		Topic string `json:"topic"`
	}
	if readJSON(r, &body) != nil {
		return nil, httpapi.NewError(http.StatusBadRequest, "INVALID_BODY")
	}
	return answerTo(s.do(r, action{name: "tombstone_topic_producer", topic: body.Topic, node: chi.URLParam(r, "node")}))
}
