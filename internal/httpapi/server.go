package httpapi

import (
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ServerOptions are the limits of an http.Server that a daemon may change. Zero
// values mean the defaults.
type ServerOptions struct {
	ReadHeaderTimeout time.Duration // a request line and its headers; default 10 s
	IdleTimeout       time.Duration // a kept-alive connection between requests; default 2 min
}

// maxHeaderBytes bounds the request line and the headers together.
const maxHeaderBytes = 64 << 10

// NewServer returns a server for handler that the caller starts and closes. What
// net/http has to say (failed TLS handshakes, failing accepts) is logged as a
// warning.
//
// ReadTimeout is not set: it would cancel the context of requests that take
// longer, such as blocking queries. The Router bounds the arrival of bodies.
// WriteTimeout is not set because it runs from the arrival of a request, and a
// blocking query or a profile may take minutes before its first byte.
func NewServer(handler http.Handler, log hclog.Logger, opts ServerOptions) *http.Server {
	if opts.ReadHeaderTimeout == 0 {
		opts.ReadHeaderTimeout = 10 * time.Second
	}
	if opts.IdleTimeout == 0 {
		opts.IdleTimeout = 2 * time.Minute
	}
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: opts.ReadHeaderTimeout,
		IdleTimeout:       opts.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}),
	}
}
