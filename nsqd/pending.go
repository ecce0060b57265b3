package nsqd

import (
	"context"
	"crypto/tls"
	"io"
	"net"

	"github.com/hashicorp/go-hclog"
)

// Stand-ins for what is on other branches.
const Version = "1.3.0+raft.0.1.0"

type identity struct {
	Version, Hostname, BroadcastAddress string
	TCPPort, HTTPPort                   int
	TopologyZone, TopologyRegion        string
}
type registration struct{ topic, channel string }
type links struct{}

func newLinks(*Options, func() identity, func() []registration, hclog.Logger) *links { return &links{} }
func (l *links) open()                                                               {}
func (l *links) close()                                                              {}
func (l *links) notify(t, c string, e bool)                                          {}
func (l *links) addresses() []string                                                 { return nil }
func (l *links) set([]string)                                                        {}
func (l *links) channels(context.Context, string) ([]string, error)                  { return nil, nil }

type nop struct{}

func (nop) Close() error                     { return nil }
func lockDataPath(string) (io.Closer, error) { return nop{}, nil }

type certificates struct{}

func (c *certificates) reload() error                      { return nil }
func (s *Server) loadCertificates() (*certificates, error) { return nil, nil }
func (s *Server) tlsConfig() *tls.Config                   { return nil }

type httpServers struct{}

func (s *Server) openHTTP() error     { return nil }
func (s *Server) closeHTTP() error    { return nil }
func (s *Server) HTTPAddr() net.Addr  { return nil }
func (s *Server) HTTPSAddr() net.Addr { return nil }

type statsd struct{}

func (s *Server) openStatsd() error { return nil }
func (s *Server) closeStatsd()      {}

func openDiskQueue(o *Options, name string, failed func(error), log hclog.Logger) (diskQueue, error) {
	return &memQueue{}, nil
}

type memQueue struct{ m [][]byte }

func (q *memQueue) PutFrames(f []byte, n int) error { panic("dq") }
func (q *memQueue) Sync() error                     { return nil }
func (q *memQueue) Next(a, b int) ([][]byte, error) { return nil, nil }
func (q *memQueue) Release(n int64)                 {}
func (q *memQueue) Depth() int64                    { return 0 }
func (q *memQueue) Empty() error                    { return nil }
func (q *memQueue) Delete() error                   { return nil }
func (q *memQueue) Close() error                    { return nil }
