package nsqd

import (
	"errors"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
)

var (
	// ErrClosing is returned for what would begin something new on a server, topic or
	// channel that is being closed, drained or deleted.
	ErrClosing         = errors.New("exiting")
	ErrTopicNotFound   = errors.New("topic not found")
	ErrChannelNotFound = errors.New("channel not found")
)

// A Server is one nsqd: its topics, its listeners and its links to the lookupds.
type Server struct {
	opts *Options
	log  hclog.Logger

	http   httpServers
	statsd statsd
	links  links
}

func New(opts *Options, log hclog.Logger) *Server { return &Server{opts: opts, log: log} }

// Open listens and serves.
func (s *Server) Open() error { panic("core") }

// Close stops what Open started, in reverse, with every message that is left on disk.
func (s *Server) Close() error { panic("core") }

// Failed gives the error after which the process must not go on (a listener that failed).
func (s *Server) Failed() <-chan error { panic("core") }

// Reload reads the certificates anew.
func (s *Server) Reload() error { panic("core") }

// Drain deregisters from the lookupds, refuses new messages and new subscriptions, lets
// consumers finish what is in flight and queued, for at most Options.DrainTimeout; it
// returns at once. Drained is closed when nothing is left, or the time is over.
func (s *Server) Drain()                   { panic("core") }
func (s *Server) Draining() bool           { panic("core") }
func (s *Server) Drained() <-chan struct{} { panic("core") }

// Health returns what is wrong since a queue on disk failed, nil if nothing is. It stays
// until a write to that queue has succeeded.
func (s *Server) Health() error { panic("core") }

func (s *Server) StartTime() time.Time { panic("core") }

// TCPAddr, HTTPAddr and HTTPSAddr are where the server listens; nil where it does not.
func (s *Server) TCPAddr() net.Addr   { panic("core") }
func (s *Server) HTTPAddr() net.Addr  { panic("core") }
func (s *Server) HTTPSAddr() net.Addr { panic("core") }

// Topic returns the topic called name, a valid name, and makes it if there is none.
func (s *Server) Topic(name string) (*Topic, error) { panic("core") }

// FindTopic returns nil if there is none.
func (s *Server) FindTopic(name string) *Topic { panic("core") }

// DeleteTopic removes the topic with its channels and all their messages: ErrTopicNotFound.
func (s *Server) DeleteTopic(name string) error { panic("core") }

// A Topic copies each message published to it into every one of its channels.
type Topic struct{ name string }

// Publish makes a message of each body and gives them to every channel, deferred by delay if that is
// not 0. The bodies are kept. It returns ErrClosing, or that of the disk; then none, or not all, were published.
func (t *Topic) Publish(bodies [][]byte, delay time.Duration) error { panic("core") }

func (t *Topic) Channel(name string) (*Channel, error) { panic("core") } // makes it if there is none
func (t *Topic) FindChannel(name string) *Channel      { panic("core") } // nil if there is none
func (t *Topic) DeleteChannel(name string) error       { panic("core") } // ErrChannelNotFound
func (t *Topic) SetPaused(paused bool) error           { panic("core") } // and writes nsqd.dat
func (t *Topic) Empty() error                          { panic("core") } // the topic's own queue only

// A Channel gives each of its messages to one subscribed consumer, and to another
// if that one does not finish it in time.
type Channel struct{ name string }

func (c *Channel) SetPaused(paused bool) error { panic("core") }
func (c *Channel) Empty() error                { panic("core") }
