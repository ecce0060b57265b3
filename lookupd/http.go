package lookupd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/httpapi"
	"nsqraft/internal/version"
	"nsqraft/internal/wire"
)

// Version is what /info and IDENTIFY answer.
const Version = version.Version

const (
	// mutationTimeout bounds a mutation over HTTP. Nobody is cut off after 1 s
	// here, and an election is over long before.
	mutationTimeout = 3 * time.Second

	// maxNode bounds the node of a tombstone: a broadcast address and a port.
	maxNode = maxField + len(":65535")
)

// health is what the readiness probe asks of the node.
type health interface {
	// Health returns all that must hold before requests are sent to this node,
	// always the same checks in the same order.
	Health() []check
}

// A check is one condition of readiness: it holds if err is nil.
type check struct {
	name string
	err  error
}

var (
	retrySoon = http.Header{"Retry-After": {"1"}}

	errMissingTopic    = httpapi.NewError(http.StatusBadRequest, "MISSING_ARG_TOPIC")
	errInvalidTopic    = httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_TOPIC")
	errMissingChannel  = httpapi.NewError(http.StatusBadRequest, "MISSING_ARG_CHANNEL")
	errInvalidChannel  = httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_CHANNEL")
	errMissingAddress  = httpapi.NewError(http.StatusBadRequest, "MISSING_ARG_ADDRESS")
	errMissingNode     = httpapi.NewError(http.StatusBadRequest, "MISSING_ARG_NODE")
	errInvalidNode     = httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_NODE")
	errChannelNotFound = httpapi.NewError(http.StatusNotFound, "CHANNEL_NOT_FOUND")
	errUnknownOutcome  = httpapi.NewError(http.StatusGatewayTimeout, "UNKNOWN_OUTCOME")
	errNoLeader        = &httpapi.Error{Status: http.StatusServiceUnavailable, Text: "NO_LEADER", Header: retrySoon}
)

// httpAPI answers the HTTP port: stock nsqlookupd's endpoints, probes, metrics.
type httpAPI struct {
	// Read-only after newHTTPAPI.
	reg      registry
	health   health
	sessions *sessions
	metrics  *metrics
	logger   hclog.Logger
	lifetime time.Duration   // --tombstone-lifetime
	stopping context.Context // ends blocking queries

	waiting atomic.Int64 // blocking queries
	reading atomic.Pointer[reading]
	stamp   atomic.Pointer[stamp]
	nodes   memo
	topics  memo
	dumping sync.Mutex // one /debug at a time: an answer is as large as the registry
}

// newHTTPAPI returns the API of a node. When stopping ends, blocking queries
// are answered at once with what there is.
func newHTTPAPI(stopping context.Context, reg registry, h health, sessions *sessions, m *metrics, logger hclog.Logger, tombstoneLifetime time.Duration) *httpAPI {
	return &httpAPI{
		reg:      reg,
		health:   h,
		sessions: sessions,
		metrics:  m,
		logger:   logger,
		lifetime: tombstoneLifetime,
		stopping: stopping,
	}
}

// handleFunc makes a route with answers in the V1 form.
type handleFunc func(method, path string, h httpapi.Handler)

// routes returns the handler of the HTTP port. more, which may be nil, adds
// routes of its own by handle.
func (a *httpAPI) routes(more func(handle handleFunc)) http.Handler {
	rt := httpapi.NewRouter(a.logger)
	v1 := func(method, path string, h httpapi.Handler) {
		rt.V1(method, path, a.metrics.timed(path, method, h))
	}

	rt.PlainText("GET", "/ping", a.metrics.timed("/ping", "GET", a.ping))
	v1("GET", "/info", a.info)

	v1("GET", "/lookup", a.metrics.countedLookups(a.lookup))
	v1("GET", "/topics", a.listTopics)
	v1("GET", "/channels", a.listChannels)
	v1("GET", "/nodes", a.listNodes)
	v1("GET", "/debug", a.dump)

	v1("POST", "/topic/create", a.createTopic)
	v1("POST", "/topic/delete", a.deleteTopic)
	v1("POST", "/topic/tombstone", a.tombstoneTopic)
	v1("POST", "/channel/create", a.createChannel)
	v1("POST", "/channel/delete", a.deleteChannel)

	rt.PlainText("GET", "/livez", a.ping)
	rt.PlainText("GET", "/readyz", a.readyz)
	rt.Handle("GET", "/metrics", a.metrics.handler())

	// As in stock the index has no slash at its end here, unlike nsqd's.
	rt.Handle("GET", "/debug/pprof", http.HandlerFunc(pprof.Index))
	rt.Handle("GET", "/debug/pprof/cmdline", http.HandlerFunc(pprof.Cmdline))
	rt.Handle("GET", "/debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
	rt.Handle("POST", "/debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
	rt.Handle("GET", "/debug/pprof/profile", http.HandlerFunc(pprof.Profile))
	for _, profile := range []string{"heap", "goroutine", "block", "threadcreate"} {
		rt.Handle("GET", "/debug/pprof/"+profile, pprof.Handler(profile))
	}

	if more != nil {
		more(v1)
	}
	return rt
}

func (a *httpAPI) ping(*http.Request) (any, error) { return "OK", nil }

func (a *httpAPI) info(*http.Request) (any, error) {
	return struct {
		Version string `json:"version"`
	}{Version}, nil
}

// readyz answers 200 if all checks hold, else 503, with a line for each.
func (a *httpAPI) readyz(*http.Request) (any, error) {
	var text strings.Builder
	ready := true
	for _, c := range a.health.Health() {
		if c.err != nil {
			ready = false
			fmt.Fprintf(&text, "[-]%s failed: %v\n", c.name, c.err)
		} else {
			fmt.Fprintf(&text, "[+]%s ok\n", c.name)
		}
	}
	if !ready {
		return nil, &httpapi.Error{Status: http.StatusServiceUnavailable, Text: text.String(), Header: retrySoon}
	}
	return text.String(), nil
}

func (a *httpAPI) createTopic(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	topic, err := topicArg(params)
	if err != nil {
		return nil, err
	}
	_, err = a.commit(r, &fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateTopic{
		CreateTopic: &fsmpb.CreateTopic{Topic: topic},
	}})
	if err != nil {
		return nil, err
	}
	a.logger.Info(fmt.Sprintf("DB: adding topic(%s)", topic))
	return nil, nil
}

// deleteTopic differs from stock in that a name which no topic can have is
// refused: there "*" deletes every topic.
func (a *httpAPI) deleteTopic(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	topic, err := topicArg(params)
	if err != nil {
		return nil, err
	}
	_, err = a.commit(r, &fsmpb.Mutation{Kind: &fsmpb.Mutation_DeleteTopic{
		DeleteTopic: &fsmpb.DeleteTopic{Topic: topic},
	}})
	if err != nil {
		return nil, err
	}
	a.logger.Info(fmt.Sprintf("DB: removing topic(%s)", topic))
	return nil, nil
}

// tombstoneTopic refuses bad names as deleteTopic does.
func (a *httpAPI) tombstoneTopic(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	topic, err := topicArg(params)
	if err != nil {
		return nil, err
	}
	if !params.Has("node") {
		return nil, errMissingNode
	}
	node := params.Get("node")
	if len(node) > maxNode || !utf8.ValidString(node) || strings.ContainsFunc(node, unicode.IsControl) {
		return nil, errInvalidNode
	}
	_, err = a.commit(r, &fsmpb.Mutation{Kind: &fsmpb.Mutation_Tombstone{
		Tombstone: &fsmpb.Tombstone{Topic: topic, Node: node},
	}})
	if err != nil {
		return nil, err
	}
	a.logger.Info(fmt.Sprintf("DB: setting tombstone for producer@%s of topic(%s)", node, topic))
	return nil, nil
}

func (a *httpAPI) createChannel(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	topic, channel, err := topicChannelArgs(params)
	if err != nil {
		return nil, err
	}
	_, err = a.commit(r, &fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateChannel{
		CreateChannel: &fsmpb.CreateChannel{Topic: topic, Channel: channel},
	}})
	if err != nil {
		return nil, err
	}
	a.logger.Info(fmt.Sprintf("DB: adding channel(%s) in topic(%s)", channel, topic))
	return nil, nil
}

func (a *httpAPI) deleteChannel(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	topic, channel, err := topicChannelArgs(params)
	if err != nil {
		return nil, err
	}
	result, err := a.commit(r, &fsmpb.Mutation{Kind: &fsmpb.Mutation_DeleteChannel{
		DeleteChannel: &fsmpb.DeleteChannel{Topic: topic, Channel: channel},
	}})
	if err != nil {
		return nil, err
	}
	if result == fsm.ResultNotFound {
		return nil, errChannelNotFound
	}
	a.logger.Info(fmt.Sprintf("DB: removing channel(%s) from topic(%s)", channel, topic))
	return nil, nil
}

// commit returns the result of m once it is committed.
func (a *httpAPI) commit(r *http.Request, m *fsmpb.Mutation) (fsm.Result, error) {
	ctx, cancel := context.WithTimeout(r.Context(), mutationTimeout)
	defer cancel()
	result, err := a.reg.Submit(ctx, m).Wait()
	switch {
	case errors.Is(err, errUnavailable):
		return 0, errNoLeader
	case errors.Is(err, errUnknown):
		return 0, errUnknownOutcome
	}
	return result, err
}

// topicArg returns the topic that a mutation is about.
func topicArg(params url.Values) (string, error) {
	if !params.Has("topic") {
		return "", errMissingTopic
	}
	topic := params.Get("topic")
	if !wire.ValidTopic(topic) {
		return "", errInvalidTopic
	}
	return topic, nil
}

// topicChannelArgs returns the channel that a mutation is about.
func topicChannelArgs(params url.Values) (topic, channel string, err error) {
	topic, err = topicArg(params)
	if err != nil {
		return "", "", err
	}
	if !params.Has("channel") {
		return "", "", errMissingChannel
	}
	channel = params.Get("channel")
	if !wire.ValidChannel(channel) {
		return "", "", errInvalidChannel
	}
	return topic, channel, nil
}
