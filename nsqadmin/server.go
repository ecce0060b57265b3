package nsqadmin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
)

// Version is what the pages and --version show: the release of stock nsqadmin whose
// API this is; what is ours stands in the build part.
const Version = "1.3.0+raft.0.1.0"

const (
	// maxConns bounds the HTTP connections at one time, those of SSE included;
	// more wait in accept.
	maxConns = 4096
	// httpDrain bounds what requests in flight may take at a stop.
	httpDrain = 2 * time.Second
	// resolveTimeout bounds the look at whether configured names can be resolved.
	resolveTimeout = 5 * time.Second
)

// A Server is one nsqadmin.
type Server struct {
	// Read-only after New.
	opts *Options
	log  hclog.Logger
	base string // the base path without a slash at its end: links are base + "/topics"

	history    *history
	leadership *leadership
	activity   *activity
	notifier   *notifier
	metrics    *metricsPage
	streams    chan struct{} // a place for each who listens to events
	peeks      chan struct{} // a place for each who looks at messages
	settings   *setup
	judge      judge

	// Set by Open.
	listener net.Listener
	tls      *certificate // nil: plain HTTP
	auth     *authenticator
	client   *clusterinfo.Client
	poller   *clusterinfo.Poller
	opened   time.Time
	lists    *clientLists
	http     *http.Server
	stopping context.Context // ends what Open started, and SSE
	stop     context.CancelFunc

	lookupds atomic.Pointer[[]string] // may be set over HTTP
	soughtAt atomic.Int64             // when maySeek said yes, in Unix nanoseconds

	failed chan error // buffered; the first thing that ended the server
	wg     sync.WaitGroup
	close  sync.Once
	err    error // of Close
}

// New returns a Server for opts, which must have passed Validate. It does no I/O.
func New(opts *Options, log hclog.Logger) *Server {
	s := &Server{
		opts:       opts,
		log:        log,
		base:       strings.TrimSuffix(opts.BasePath, "/"),
		history:    newHistory(),
		leadership: new(leadership),
		activity:   newActivity(time.Now()),
		metrics:    newMetricsPage(),
		streams:    make(chan struct{}, maxStreams),
		peeks:      make(chan struct{}, maxPeeks),
		settings:   newSetup(opts),
		failed:     make(chan error, 1),
	}
	lookupds := slices.Clone(opts.LookupdHTTPAddresses)
	s.lookupds.Store(&lookupds)
	s.metrics.registry.MustRegister(viewScraper{s})
	s.notifier = newNotifier(opts, s.metrics.notifications, log)
	s.stopping, s.stop = context.WithCancel(context.Background())
	return s
}

// Open reads the files of the options, takes the port and begins to serve and to
// ask. It waits for no daemon. On error nothing is left open.
func (s *Server) Open() (err error) {
	clientTLS, err := clientTLS(s.opts)
	if err != nil {
		return err
	}
	if s.auth, err = newAuthenticator(s.opts, s.log); err != nil {
		return err
	}
	if s.opts.TLSCert != "" {
		if s.tls, err = loadCertificate(s.opts.TLSCert, s.opts.TLSKey); err != nil {
			return err
		}
	}
	handler, err := s.handler()
	if err != nil {
		return err
	}
	if s.listener, err = net.Listen("tcp", s.opts.HTTPAddress); err != nil {
		return fmt.Errorf("listen (%s) failed - %w", s.opts.HTTPAddress, err)
	}
	s.client = clusterinfo.NewClient(clusterinfo.Options{
		ConnectTimeout: s.opts.ConnectTimeout,
		RequestTimeout: s.opts.RequestTimeout,
		TLS:            clientTLS,
		UserAgent:      "nsqadmin/" + Version,
	})
	s.opened = time.Now()
	s.lists = newClientLists(s.client, s.opts.RequestTimeout)
	s.poller = clusterinfo.NewPoller(s.client, clusterinfo.PollerOptions{
		Lookupds: s.opts.LookupdHTTPAddresses,
		NSQDs:    s.opts.NSQDHTTPAddresses,
		Interval: s.opts.PollInterval,
	}, s.log.Named("poller"))
	s.serve(handler)
	return nil
}

// serve starts the goroutines.
func (s *Server) serve(handler http.Handler) {
	s.http = httpapi.NewServer(handler, s.log, httpapi.ServerOptions{})
	ln, scheme := httpapi.Listener(s.listener, maxConns), "HTTP"
	if s.tls != nil {
		ln, scheme = tls.NewListener(ln, s.tls.config()), "HTTPS"
	}
	s.log.Info(scheme + ": listening on " + s.listener.Addr().String())
	s.wg.Go(func() { s.poller.Run(s.stopping) })
	s.wg.Go(s.record)
	s.wg.Go(func() { s.notifier.run(s.stopping) })
	s.wg.Go(s.warnOfNames)
	s.wg.Go(func() {
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serve HTTP: %w", err))
		}
	})
}

// warnOfNames logs which of the configured addresses cannot be resolved. Stock ends
// at the first such.
func (s *Server) warnOfNames() {
	ctx, cancel := context.WithTimeout(s.stopping, resolveTimeout)
	defer cancel()
	for _, address := range slices.Concat(s.opts.LookupdHTTPAddresses, s.opts.NSQDHTTPAddresses) {
		host := address
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			host = u.Hostname()
		} else if h, _, err := net.SplitHostPort(address); err == nil {
			host = h
		}
		if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil && s.stopping.Err() == nil {
			s.log.Warn("an address cannot be resolved", "address", address, "err", err)
		}
	}
}

// Failed delivers the error that ended the server from within.
func (s *Server) Failed() <-chan error { return s.failed }

func (s *Server) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// HTTPAddr returns what the server listens on, after Open.
func (s *Server) HTTPAddr() net.Addr { return s.listener.Addr() }

// Reload reads the certificate and the users file anew. What cannot be read stays
// as it was.
func (s *Server) Reload() error {
	var err error
	if s.tls != nil {
		err = s.tls.reload()
	}
	return errors.Join(err, s.auth.reload())
}

// Close ends what Open started, within a few seconds. It may be called twice.
func (s *Server) Close() error {
	s.close.Do(func() {
		s.log.Info("HTTP: closing")
		s.stop()
		if s.http == nil {
			return
		}
		drain, cancel := context.WithTimeout(context.Background(), httpDrain)
		defer cancel()
		if s.http.Shutdown(drain) != nil {
			s.err = s.http.Close()
		}
		s.lists.close()
		s.wg.Wait()
	})
	return s.err
}
