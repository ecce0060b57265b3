package nsqd

import "crypto/tls"

// What the others of the package bring; this file goes when it is there.

const Version = "1.3.0+raft.0.1.0"

type links struct{}

func (*links) set([]string)        { panic("link") }
func (*links) addresses() []string { panic("link") }

func (s *Server) tlsConfig() *tls.Config { panic("link") }
func (s *Server) fail(error)             { panic("core") }

func validLookupds([]string) error { return nil }
