package nsqd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/httpapi"
	"nsqraft/internal/wire"
)

const (
	// maxHTTPConns bounds the connections of each HTTP listener at one time; more
	// wait in accept.
	maxHTTPConns = 32768
	// httpDrain bounds what requests in flight may take when the server closes.
	httpDrain = 2 * time.Second
)

var (
	errMissingTopic    = httpapi.NewError(http.StatusBadRequest, "MISSING_ARG_TOPIC")
	errMissingChannel  = httpapi.NewError(http.StatusBadRequest, "MISSING_ARG_CHANNEL")
	errTopicNotFound   = httpapi.NewError(http.StatusNotFound, "TOPIC_NOT_FOUND")
	errChannelNotFound = httpapi.NewError(http.StatusNotFound, "CHANNEL_NOT_FOUND")
	errExiting         = httpapi.NewError(http.StatusServiceUnavailable, "EXITING")

	// Stock has two spellings: the first where there is a topic only, the others
	// where there is a channel too.
	errInvalidTopic      = httpapi.NewError(http.StatusBadRequest, "INVALID_TOPIC")
	errInvalidArgTopic   = httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_TOPIC")
	errInvalidArgChannel = httpapi.NewError(http.StatusBadRequest, "INVALID_ARG_CHANNEL")
)

// httpServers are the HTTP side of a Server: its listeners and what serves them.
// The zero value is closed.
type httpServers struct {
	// Set by openHTTP.
	plain, secure net.Listener // nil: none
	servers       []*http.Server

	wg sync.WaitGroup // of the goroutines in Serve
}

// openHTTP listens for HTTP and HTTPS, where the options say so, and serves, so all
// that handlers ask of the Server must stand before. On error nothing is left open.
func (s *Server) openHTTP() (err error) {
	h := &s.http
	defer func() {
		if err != nil {
			s.closeHTTP()
		}
	}()
	api, err := newHTTPAPI(s)
	if err != nil {
		return err
	}
	if s.opts.HTTPAddress != "" {
		if h.plain, err = listen(s.opts.HTTPAddress); err != nil {
			return fmt.Errorf("listen for HTTP: %w", err)
		}
	}
	config := s.tlsConfig()
	if config != nil && s.opts.HTTPSAddress != "" {
		if h.secure, err = net.Listen("tcp", s.opts.HTTPSAddress); err != nil {
			return fmt.Errorf("listen for HTTPS: %w", err)
		}
	}
	handler := api.routes()
	if h.plain != nil {
		plain := handler
		if s.opts.TLSRequired == tlsRequired {
			plain = refusePlain(portOf(h.secureAddr()))
		}
		s.serveHTTP("HTTP", h.plain.Addr(), httpapi.Listener(h.plain, maxHTTPConns), plain)
	}
	if h.secure != nil {
		// Outermost, for net/http knows a TLS connection by its type.
		s.serveHTTP("HTTPS", h.secure.Addr(), tls.NewListener(httpapi.Listener(h.secure, maxHTTPConns), config), handler)
	}
	return nil
}

func (s *Server) serveHTTP(proto string, addr net.Addr, ln net.Listener, handler http.Handler) {
	srv := httpapi.NewServer(handler, s.log, httpapi.ServerOptions{})
	s.http.servers = append(s.http.servers, srv)
	s.log.Info(proto + ": listening on " + addr.String())
	s.http.wg.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serve %s: %w", proto, err))
		}
		s.log.Info(proto + ": closing " + addr.String())
	})
}

// closeHTTP ends what openHTTP began: requests in flight have httpDrain to be
// answered. It may be called twice, and on a Server that was not opened.
func (s *Server) closeHTTP() {
	h := &s.http
	ctx, cancel := context.WithTimeout(context.Background(), httpDrain)
	defer cancel()
	for _, srv := range h.servers {
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
	}
	// Those that nothing serves yet.
	for _, ln := range []net.Listener{h.plain, h.secure} {
		if ln != nil {
			ln.Close()
		}
	}
	h.wg.Wait()
}

// plainAddr and secureAddr return what is listened on, nil for nothing.
func (h *httpServers) plainAddr() net.Addr  { return addrOf(h.plain) }
func (h *httpServers) secureAddr() net.Addr { return addrOf(h.secure) }

func addrOf(ln net.Listener) net.Addr {
	if ln == nil {
		return nil
	}
	return ln.Addr()
}

// refusePlain answers every request as stock does on plain HTTP with
// --tls-required: nsqadmin reads the port and comes back over HTTPS.
func refusePlain(httpsPort int) http.Handler {
	body := fmt.Sprintf(`{"message": "TLS_REQUIRED", "https_port": %d}`, max(httpsPort, 0))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Nsq-Content-Type", "nsq; version=1.0")
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Connection", "close") // whatever body comes is not read
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, body)
	})
}

// httpAPI answers the HTTP ports: stock nsqd's endpoints, probes, metrics.
type httpAPI struct {
	// Read-only after newHTTPAPI.
	srv     *Server
	opts    *Options
	log     hclog.Logger
	metrics *metrics
	admins  *net.IPNet // of --allow-config-from-cidr; nil: nobody
}

func newHTTPAPI(s *Server) (*httpAPI, error) {
	a := &httpAPI{srv: s, opts: s.opts, log: s.log, metrics: newMetrics(s)}
	if s.opts.AllowConfigFromCIDR != "" {
		_, admins, err := net.ParseCIDR(s.opts.AllowConfigFromCIDR)
		if err != nil {
			return nil, fmt.Errorf("--allow-config-from-cidr: %w", err)
		}
		a.admins = admins
	}
	return a, nil
}

// routes returns the handler of the HTTP ports.
func (a *httpAPI) routes() http.Handler {
	rt := httpapi.NewRouter(a.log)
	v1 := func(method, path string, h httpapi.Handler) { rt.V1(method, path, a.metrics.timed(path, method, h)) }
	v1Body := func(method, path string, h httpapi.Handler) {
		rt.V1Body(method, path, a.metrics.timed(path, method, h))
	}

	rt.PlainText("GET", "/ping", a.metrics.timed("/ping", "GET", a.ping))
	v1("GET", "/info", a.info)
	v1("GET", "/stats", a.stats)
	v1Body("POST", "/pub", a.publish)
	v1Body("POST", "/mpub", a.publishMany)

	v1("POST", "/topic/create", a.createTopic)
	v1("POST", "/topic/delete", a.deleteTopic)
	v1("POST", "/topic/empty", a.emptyTopic)
	v1("POST", "/topic/pause", a.pauseTopic(true))
	v1("POST", "/topic/unpause", a.pauseTopic(false))
	v1("POST", "/channel/create", a.createChannel)
	v1("POST", "/channel/delete", a.deleteChannel)
	v1("POST", "/channel/empty", a.emptyChannel)
	v1("POST", "/channel/pause", a.pauseChannel(true))
	v1("POST", "/channel/unpause", a.pauseChannel(false))

	v1("GET", "/config/{opt}", a.getConfig)
	v1Body("PUT", "/config/{opt}", a.putConfig)

	rt.PlainText("GET", "/livez", a.livez)
	rt.PlainText("GET", "/readyz", a.readyz)
	rt.Handle("GET", "/metrics", a.metrics.handler())
	debugRoutes(rt)
	return rt
}

// ping answers stock's health check: whether the last write to each queue on disk
// succeeded.
func (a *httpAPI) ping(*http.Request) (any, error) {
	if err := a.srv.Health(); err != nil {
		return nil, httpapi.NewError(http.StatusInternalServerError, "NOK - "+err.Error())
	}
	return "OK", nil
}

// livez answers for as long as the process can answer at all: no disk is mended by
// a restart.
func (a *httpAPI) livez(*http.Request) (any, error) { return "OK", nil }

// readyz answers 200 if messages may be sent here, else 503 and why not.
func (a *httpAPI) readyz(*http.Request) (any, error) {
	reason := ""
	switch {
	case a.srv.stopping.Err() != nil:
		reason = "closing"
	case a.srv.Draining():
		reason = "draining"
	default:
		if err := a.srv.Health(); err != nil {
			reason = "disk: " + err.Error()
		}
	}
	if reason != "" {
		return nil, httpapi.NewError(http.StatusServiceUnavailable, "NOK - "+reason)
	}
	return "OK", nil
}

func (a *httpAPI) info(*http.Request) (any, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, httpapi.NewError(http.StatusInternalServerError, err.Error())
	}
	return struct {
		Version                string        `json:"version"`
		BroadcastAddress       string        `json:"broadcast_address"`
		Hostname               string        `json:"hostname"`
		HTTPPort               int           `json:"http_port"` // -1 on a unix socket, as the next
		TCPPort                int           `json:"tcp_port"`
		StartTime              int64         `json:"start_time"`
		MaxHeartbeatInterval   time.Duration `json:"max_heartbeat_interval"`
		MaxOutputBufferSize    int64         `json:"max_output_buffer_size"`
		MaxOutputBufferTimeout time.Duration `json:"max_output_buffer_timeout"`
		MaxDeflateLevel        int           `json:"max_deflate_level"`
		TopologyZone           string        `json:"topology_zone"`
		TopologyRegion         string        `json:"topology_region"`
	}{
		Version:                Version,
		BroadcastAddress:       a.opts.BroadcastAddress,
		Hostname:               hostname,
		HTTPPort:               portOf(a.srv.HTTPAddr()),
		TCPPort:                portOf(a.srv.TCPAddr()),
		StartTime:              a.srv.StartTime().Unix(),
		MaxHeartbeatInterval:   a.opts.MaxHeartbeatInterval,
		MaxOutputBufferSize:    a.opts.MaxOutputBufferSize,
		MaxOutputBufferTimeout: a.opts.MaxOutputBufferTimeout,
		MaxDeflateLevel:        a.opts.MaxDeflateLevel,
		TopologyZone:           a.opts.TopologyZone,
		TopologyRegion:         a.opts.TopologyRegion,
	}, nil
}

func (a *httpAPI) createTopic(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	_, err = a.topic(params)
	return nil, err
}

func (a *httpAPI) deleteTopic(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	if !params.Has("topic") {
		return nil, errMissingTopic
	}
	return nil, httpError(a.srv.DeleteTopic(params.Get("topic")))
}

func (a *httpAPI) emptyTopic(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	name, err := topicArg(params)
	if err != nil {
		return nil, err
	}
	topic := a.srv.FindTopic(name)
	if topic == nil {
		return nil, errTopicNotFound
	}
	return nil, httpError(topic.Empty())
}

// pauseTopic, unlike its siblings, does not say that a name is not valid: as in
// stock there just is no such topic.
func (a *httpAPI) pauseTopic(paused bool) httpapi.Handler {
	return func(r *http.Request) (any, error) {
		params, err := httpapi.Query(r)
		if err != nil {
			return nil, err
		}
		if !params.Has("topic") {
			return nil, errMissingTopic
		}
		topic := a.srv.FindTopic(params.Get("topic"))
		if topic == nil {
			return nil, errTopicNotFound
		}
		return nil, httpError(topic.SetPaused(paused))
	}
}

func (a *httpAPI) createChannel(r *http.Request) (any, error) {
	topic, name, err := a.topicAndChannel(r)
	if err != nil {
		return nil, err
	}
	_, err = topic.Channel(name)
	return nil, httpError(err)
}

func (a *httpAPI) deleteChannel(r *http.Request) (any, error) {
	topic, name, err := a.topicAndChannel(r)
	if err != nil {
		return nil, err
	}
	return nil, httpError(topic.DeleteChannel(name))
}

func (a *httpAPI) emptyChannel(r *http.Request) (any, error) {
	channel, err := a.channel(r)
	if err != nil {
		return nil, err
	}
	return nil, httpError(channel.Empty())
}

func (a *httpAPI) pauseChannel(paused bool) httpapi.Handler {
	return func(r *http.Request) (any, error) {
		channel, err := a.channel(r)
		if err != nil {
			return nil, err
		}
		return nil, httpError(channel.SetPaused(paused))
	}
}

// topic returns the topic that params name, made if there is none.
func (a *httpAPI) topic(params url.Values) (*Topic, error) {
	name, err := topicArg(params)
	if err != nil {
		return nil, err
	}
	topic, err := a.srv.Topic(name)
	return topic, httpError(err)
}

// topicAndChannel returns the topic that r names, which must be there, and the
// channel's name, which need not.
func (a *httpAPI) topicAndChannel(r *http.Request) (*Topic, string, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, "", err
	}
	switch {
	case !params.Has("topic"):
		return nil, "", errMissingTopic
	case !wire.ValidTopic(params.Get("topic")):
		return nil, "", errInvalidArgTopic
	case !params.Has("channel"):
		return nil, "", errMissingChannel
	case !wire.ValidChannel(params.Get("channel")):
		return nil, "", errInvalidArgChannel
	}
	topic := a.srv.FindTopic(params.Get("topic"))
	if topic == nil {
		return nil, "", errTopicNotFound
	}
	return topic, params.Get("channel"), nil
}

// channel returns the channel that r names, which must be there.
func (a *httpAPI) channel(r *http.Request) (*Channel, error) {
	topic, name, err := a.topicAndChannel(r)
	if err != nil {
		return nil, err
	}
	channel := topic.FindChannel(name)
	if channel == nil {
		return nil, errChannelNotFound
	}
	return channel, nil
}

func topicArg(params url.Values) (string, error) {
	if !params.Has("topic") {
		return "", errMissingTopic
	}
	name := params.Get("topic")
	if !wire.ValidTopic(name) {
		return "", errInvalidTopic
	}
	return name, nil
}

// httpError returns what an HTTP client sees of an error of the core: errors without
// a name of NSQ's are left to the router, which logs them and answers 500.
func httpError(err error) error {
	switch {
	case errors.Is(err, ErrClosing):
		return errExiting
	case errors.Is(err, ErrTopicNotFound):
		return errTopicNotFound
	case errors.Is(err, ErrChannelNotFound):
		return errChannelNotFound
	}
	return err
}
