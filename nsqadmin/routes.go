package nsqadmin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/klauspost/compress/gzhttp"

	"nsqraft/internal/httpapi"
)

// contentPolicy lets a page load nothing but our assets: a name that got through the
// escaping could still not run.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// gzipFrom is the size, in bytes, from which an answer is compressed.
const gzipFrom = 4096

var (
	errCrossOrigin = httpapi.NewError(http.StatusForbidden, "CROSS_ORIGIN")
	errPanic       = httpapi.NewError(http.StatusInternalServerError, "INTERNAL_ERROR")
)

// handler returns what answers all requests. On the way to the API or the pages, a
// request that another site's page makes is refused if it could change anything,
// and its sender is looked at.
func (s *Server) handler() (http.Handler, error) {
	gzip, err := gzhttp.NewWrapper(gzhttp.MinSize(gzipFrom), gzhttp.EnableZstd(false))
	if err != nil {
		return nil, err
	}
	foreign := http.NewCrossOriginProtection()
	for _, origin := range s.opts.TrustedOrigins {
		if err := foreign.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("--trusted-origin: %w", err)
		}
	}
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, errCrossOrigin)
	}))
	plain := foreign.Handler(s.authenticated(s.dispatch()))
	zipped := gzip(plain)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.URL.Path == s.base+"/api/events" { // each event goes out as it is
			plain.ServeHTTP(w, r)
			return
		}
		zipped.ServeHTTP(w, r)
	}), nil
}

// dispatch sends requests to the API, which answers as stock's does, or to pages.
func (s *Server) dispatch() http.Handler {
	api, pages := s.apiRoutes(), s.pagesHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, s.base)
		first, _, deeper := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		switch first {
		case "api", "ping", "livez", "readyz", "metrics", "render":
		case "config":
			ok = ok && deeper
		default:
			ok = false
		}
		if ok {
			api.ServeHTTP(w, r)
		} else {
			pages.ServeHTTP(w, r)
		}
	})
}

// apiRoutes returns the routes of everything that is no page.
func (s *Server) apiRoutes() http.Handler {
	rt := httpapi.NewRouter(s.log)
	s.probeRoutes(rt)
	s.stockRoutes(rt)
	s.moreRoutes(rt)
	s.graphiteRoutes(rt)
	s.configRoutes(rt)
	return rt
}

// pagesHandler returns the routes of pages and assets.
func (s *Server) pagesHandler() http.Handler {
	mux := chi.NewMux()
	mux.Use(s.guarded, middleware.RedirectSlashes, middleware.GetHead)
	mux.NotFound(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, httpapi.NewError(http.StatusNotFound, "NOT_FOUND"))
	})
	mux.Route(s.opts.BasePath, s.pageRoutes)
	return mux
}

// guarded gives pages their headers, and answers for a handler that panics.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			s.log.Error("panic in request", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr,
				"panic", v, "stack", string(debug.Stack()))
			refuse(w, errPanic)
		}()
		header := w.Header()
		header.Set("Content-Security-Policy", contentPolicy)
		header.Set("Referrer-Policy", "same-origin")
		if r.URL.RawPath != "" {
			// chi would match the encoded path, and hand out encoded parameters.
			decoded := *r.URL
			decoded.RawPath = ""
			r = r.WithContext(r.Context())
			r.URL = &decoded
		}
		next.ServeHTTP(w, r)
	})
}

// refuse answers before any route is known: as the API does, which people can read.
func refuse(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*httpapi.Error](err)
	if !ok {
		e = errPanic
	}
	body, _ := json.Marshal(map[string]string{"message": e.Text}) // a string always has an encoding
	maps.Copy(w.Header(), e.Header)
	w.Header()["X-Nsq-Content-Type"] = []string{"nsq; version=1.0"}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(e.Status)
	w.Write(body)
}
