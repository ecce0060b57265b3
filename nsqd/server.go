package nsqd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/wire"
)

var (
	// ErrClosing is returned for what would begin something new on a server, topic or
	// channel that is being closed, drained or deleted.
	ErrClosing = errors.New("exiting")

	// ErrTopicNotFound and ErrChannelNotFound are returned for names nothing is
	// called by.
	ErrTopicNotFound   = errors.New("topic not found")
	ErrChannelNotFound = errors.New("channel not found")
)

// A Server is one nsqd: its topics, its listeners and its links to the lookupds.
type Server struct {
	// Read-only after New.
	opts      *Options
	log       hclog.Logger
	zoneAware bool
	ids       ids
	started   time.Time
	health    health
	failed    chan error
	drained   chan struct{}
	stopping  context.Context // ends when Close begins
	stop      context.CancelFunc

	// Set by Open, read-only afterwards.
	lock    io.Closer // of the data path
	links   *links
	certs   *certificates
	auth    *authServers
	tcp     *wire.Server
	tcpAddr net.Addr
	http    httpServers
	statsd  statsd

	background sync.WaitGroup // everything that Close waits for besides
	retrying   atomic.Bool    // see retryPumps
	draining   atomic.Bool
	diskFree   atomic.Pointer[int64] // see measureDisk; nil: unknown
	closed     sync.Once
	closeErr   error

	clients  clients
	metadata metadata

	mu     sync.RWMutex
	topics map[string]*Topic
	busy   map[string]struct{} // topics that are being made or deleted
	free   *sync.Cond          // on mu: busy has changed
	shut   bool                // no topic is made any more
}

// New returns a Server that holds no resources until Open. The options are those
// that Validate has accepted.
func New(opts *Options, log hclog.Logger) *Server {
	s := &Server{
		opts:      opts,
		log:       log,
		zoneAware: slices.Contains(opts.EnableExperiments, experimentTopology),
		ids:       ids{node: uint64(opts.NodeID)},
		started:   time.Now(),
		failed:    make(chan error, 8),
		drained:   make(chan struct{}),
		topics:    make(map[string]*Topic),
		busy:      make(map[string]struct{}),
	}
	s.free = sync.NewCond(&s.mu)
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.health.log = log
	s.health.wake = make(chan struct{}, 1)
	s.metadata.wake = make(chan struct{}, 1)
	return s
}

// experimentTopology is a value of --enable-experiment.
const experimentTopology = "topology-aware-consumption"

// clock returns ns since the server was made, by the monotonic clock.
func (s *Server) clock() int64 { return int64(time.Since(s.started)) }

// durable says whether publishers are answered only once their messages are synced.
func (o *Options) durable() bool { return o.SyncEvery == 1 }

// Open takes what the data path holds, listens, and begins to serve. After an error
// nothing is left running.
func (s *Server) Open() (err error) {
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.takeOver(); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.openHTTP(); err != nil {
		return err
	}
	s.openStatsd()
	s.links.open()
	return nil
}

// takeOver makes what the data path holds the server's, and keeps it there.
func (s *Server) takeOver() (err error) {
	if s.opts.DataPath == "" {
		if s.opts.DataPath, err = os.Getwd(); err != nil {
			return err
		}
	}
	if s.lock, err = lockDataPath(s.opts.DataPath); err != nil {
		return err
	}
	if s.certs, err = loadCertificates(s.opts); err != nil {
		return err
	}
	s.links = newLinks(s.opts, s.identity, s.registrations, s.log)
	s.auth = newAuthServers(s.opts, s.certs)
	if err := s.load(); err != nil {
		return err
	}
	if err := s.persist(); err != nil && !s.metadata.found {
		return fmt.Errorf("failed to persist metadata - %w", err)
	}
	s.background.Go(s.keepMetadata)
	s.background.Go(s.watchHealth)
	s.background.Go(s.measureDisk)
	return nil
}

// listen opens the TCP listener.
func (s *Server) listen() error {
	ln, err := listen(s.opts.TCPAddress)
	if err != nil {
		return fmt.Errorf("listen (%s) failed - %w", s.opts.TCPAddress, err)
	}
	s.accept(ln)
	return nil
}

// accept serves the TCP clients that ln has.
func (s *Server) accept(ln net.Listener) {
	s.log.Info("TCP: listening on " + ln.Addr().String())
	s.tcpAddr = ln.Addr()
	s.tcp = wire.NewServer(wire.ServerOptions{Handler: s.serveTCP, Logger: s.log, MaxConns: s.opts.MaxConnections})
	s.background.Go(func() {
		if err := s.tcp.Serve(ln); err != nil {
			s.fail(err)
		}
	})
}

// fail tells Failed's reader of an error after which the process must not go on.
func (s *Server) fail(err error) {
	select {
	case s.failed <- err:
	default: // the first ones will do
	}
}

// Failed gives the errors after which the process must not go on, such as a
// listener's.
func (s *Server) Failed() <-chan error { return s.failed }

// Close stops what Open started, in reverse; every message that is left is on disk
// when it returns. It may be called more than once and returns the first error.
func (s *Server) Close() error {
	s.closed.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Server) close() error {
	var errs []error
	s.stop()
	s.closeStatsd()
	// First of all the lookupds hear of it: nobody new shall come.
	if s.links != nil {
		s.links.close()
	}
	if s.tcp != nil {
		s.log.Info("TCP: closing " + s.tcpAddr.String())
		errs = append(errs, s.tcp.Close())
	}
	s.closeHTTP()
	if s.lock != nil {
		errs = append(errs, s.closeTopics())
	}
	s.log.Info("NSQ: stopping subsystems")
	s.auth.close()
	s.background.Wait()
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	s.log.Info("NSQ: bye")
	return errors.Join(errs...)
}

// closeTopics writes nsqd.dat and the messages.
func (s *Server) closeTopics() error {
	s.mu.Lock()
	s.shut = true
	for len(s.busy) > 0 {
		s.free.Wait()
	}
	topics := slices.Collect(maps.Values(s.topics))
	s.mu.Unlock()
	var errs []error
	if s.metadata.loaded.Load() { // else it would be lost
		errs = append(errs, s.save())
	}
	s.log.Info("NSQ: closing topics")
	errs = append(errs, together(topics, (*Topic).close))
	return errors.Join(errs...)
}

// closers bounds how many topics are closed at the same time, and how many channels
// of each: closing syncs files, and many at once cost little more than one.
const closers = 16

// together calls f for each of list, a few at the same time.
func together[T any](list []T, f func(T) error) error {
	errs := make([]error, len(list))
	slots := make(chan struct{}, closers)
	var wg sync.WaitGroup
	for i, element := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = f(element)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Reload reads the certificates anew. After an error the old ones are still used.
func (s *Server) Reload() error {
	return s.certs.reload()
}

// Health returns what is wrong since a queue on disk failed, nil if nothing is. It
// stays until a write to the same queue has succeeded.
func (s *Server) Health() error { return s.health.err() }

// healthText is the health as NSQ shows it.
func (s *Server) healthText() string {
	if err := s.Health(); err != nil {
		return "NOK - " + err.Error()
	}
	return "OK"
}

// StartTime returns when New was called.
func (s *Server) StartTime() time.Time { return s.started }

// TCPAddr returns where the server listens for TCP clients.
func (s *Server) TCPAddr() net.Addr { return s.tcpAddr }

// HTTPAddr and HTTPSAddr return where the server listens for HTTP clients, nil if
// it does not.
func (s *Server) HTTPAddr() net.Addr  { return s.http.plainAddr() }
func (s *Server) HTTPSAddr() net.Addr { return s.http.secureAddr() }

// tlsConfig returns nil if there is no certificate.
func (s *Server) tlsConfig() *tls.Config { return s.certs.server() }

// identity returns what lookupds are told.
func (s *Server) identity() identity {
	host, err := os.Hostname()
	if err != nil {
		host = s.opts.BroadcastAddress
	}
	return identity{
		Version:          Version,
		Hostname:         host,
		BroadcastAddress: s.opts.BroadcastAddress,
		TCPPort:          broadcastPort(s.opts.BroadcastTCPPort, s.TCPAddr()),
		HTTPPort:         broadcastPort(s.opts.BroadcastHTTPPort, s.HTTPAddr()),
		TopologyZone:     s.opts.TopologyZone,
		TopologyRegion:   s.opts.TopologyRegion,
	}
}

// registrations returns all topics and channels, as lookupds are to know them.
func (s *Server) registrations() []registration {
	var all []registration
	for _, t := range s.sorted() {
		all = append(all, registration{topic: t.name})
		for _, c := range t.sorted() {
			all = append(all, registration{topic: t.name, channel: c.name})
		}
	}
	return all
}

// sorted returns the topics by name.
func (s *Server) sorted() []*Topic {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return byName(s.topics)
}

// sorted returns the channels by name.
func (t *Topic) sorted() []*Channel {
	t.mu.Lock()
	defer t.mu.Unlock()
	return byName(t.channels)
}

func byName[T any](m map[string]T) []T {
	list := make([]T, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[name])
	}
	return list
}

// FindTopic returns nil if there is none.
func (s *Server) FindTopic(name string) *Topic {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.topics[name]
}

// Topic returns the topic called name, a valid name, and makes it if there is none:
// then it begins with the channels that the lookupds know of it, and messages wait
// in it until they have answered or are late.
func (s *Server) Topic(name string) (*Topic, error) {
	if t := s.FindTopic(name); t != nil {
		return t, nil
	}
	ask := len(s.links.addresses()) > 0
	t, made, err := s.topic(name, false, ask)
	if !made {
		return t, err
	}
	s.log.Info("TOPIC(" + name + "): created")
	s.changed(name, "", true)
	if ask {
		s.background.Go(func() { t.precreate(s.stopping) })
	}
	return t, nil
}

// topic does that without telling anybody.
func (s *Server) topic(name string, paused, starting bool) (t *Topic, made bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.isBusy(name) {
		s.free.Wait()
	}
	if s.shut || s.draining.Load() {
		return nil, false, ErrClosing
	}
	if t, ok := s.topics[name]; ok {
		return t, false, nil
	}
	s.busy[name] = struct{}{}
	s.mu.Unlock()
	t, err = newTopic(s, name, paused, starting)
	s.mu.Lock()
	delete(s.busy, name)
	s.free.Broadcast()
	if err != nil {
		return nil, false, err
	}
	s.metadata.version.Add(1)
	s.topics[name] = t
	return t, true, nil
}

func (s *Server) isBusy(name string) bool {
	_, busy := s.busy[name]
	return busy
}

// DeleteTopic removes the topic, its channels and all their messages, and ends their
// clients. ErrTopicNotFound if there is none.
func (s *Server) DeleteTopic(name string) error {
	s.mu.Lock()
	t, ok := s.topics[name]
	if !ok || s.shut {
		s.mu.Unlock()
		return ErrTopicNotFound
	}
	return s.deleteTopic(t)
}

// forsake removes the topic, unless a channel has come to it, or it is gone.
func (s *Server) forsake(t *Topic) error {
	s.mu.Lock()
	if s.shut || s.topics[t.name] != t || !t.closeUnused() {
		s.mu.Unlock()
		return nil
	}
	return s.deleteTopic(t)
}

// deleteTopic removes the topic, which is there. mu is held before and not after.
func (s *Server) deleteTopic(t *Topic) error {
	name := t.name
	s.metadata.version.Add(1)
	delete(s.topics, name)
	s.busy[name] = struct{}{}
	s.mu.Unlock()
	s.log.Info("TOPIC(" + name + "): deleting")
	err := t.remove()
	s.mu.Lock()
	delete(s.busy, name)
	s.free.Broadcast()
	s.mu.Unlock()
	s.changed(name, "", false)
	return err
}

// openStore opens what the topic or channel called name keeps on disk.
func (s *Server) openStore(name string) (*store, error) {
	return openStore(s.opts, name, &s.health, s.log)
}

// retryPumps lets the topics whose channels could not take their messages try again
// in a while.
func (s *Server) retryPumps() {
	if s.retrying.Swap(true) {
		return
	}
	s.background.Go(func() {
		defer s.retrying.Store(false)
		select {
		case <-time.After(readRetry):
		case <-s.stopping.Done():
			return
		}
		for _, t := range s.sorted() {
			t.mu.Lock()
			t.pump()
			t.mu.Unlock()
		}
	})
}
