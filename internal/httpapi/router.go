package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/hashicorp/go-hclog"
)

var (
	errNotFound         = NewError(http.StatusNotFound, "NOT_FOUND")
	errMethodNotAllowed = NewError(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
)

// A Router sends requests to handlers. What is in no route is answered as stock
// NSQ answers it:
//
//   - A path that differs from a route of the same method only by a slash at its
//     end, by letter case, or by //, . and .. elements is redirected to it, with
//     301 for GET and HEAD and 307 for other methods.
//   - OPTIONS on a known path is answered with 200 and Allow.
//   - Another method on a known path is 405 METHOD_NOT_ALLOWED, with Allow.
//   - All else is 404 NOT_FOUND.
//
// A panic in a handler is logged and answered with 500 INTERNAL_ERROR, or by
// cutting the connection if part of an answer has gone out already.
//
// Every request is logged at debug level, as "200 GET /lookup?topic=t
// (127.0.0.1:1234) 1.2ms". Stock does so at info; here a healthy cluster is silent.
//
// Routes are chi patterns: "/topics/{topic}", read with chi.URLParam, and
// "/static/*". They are matched against the decoded path. All routes must be
// made before the first request.
type Router struct {
	log    hclog.Logger
	mux    *chi.Mux
	routes []route
}

type route struct {
	method  string
	pattern string
}

// NewRouter returns a Router without routes.
func NewRouter(log hclog.Logger) *Router {
	rt := &Router{log: log, mux: chi.NewMux()}
	rt.mux.NotFound(rt.unrouted)
	rt.mux.MethodNotAllowed(rt.unrouted)
	return rt
}

// V1 makes a route whose answers have the V1 form: the header X-Nsq-Content-Type,
// and errors as JSON. A request body is ignored within MaxIgnoredBody.
func (rt *Router) V1(method, pattern string, h Handler) {
	rt.handle(method, pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rt.respondWithoutBody(w, r, h, true)
	}))
}

// V1Body is V1 for a Handler that reads the body of the request. The Handler
// bounds its size; its reads are bounded in time.
func (rt *Router) V1Body(method, pattern string, h Handler) {
	rt.Handle(method, pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rt.respond(w, r, h, true)
	}))
}

// PlainText makes a route whose answers, errors included, are bare text. A
// request body is ignored within MaxIgnoredBody.
func (rt *Router) PlainText(method, pattern string, h Handler) {
	rt.handle(method, pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rt.respondWithoutBody(w, r, h, false)
	}))
}

func (rt *Router) respondWithoutBody(w http.ResponseWriter, r *http.Request, h Handler, v1 bool) {
	if r.ContentLength != 0 {
		if err := dropBody(w, r); err != nil {
			rt.respondError(w, r, err, v1)
			return
		}
	}
	rt.respond(w, r, h, v1)
}

// Handle makes a route to h, which writes its answers itself and may read the
// body as in V1Body.
func (rt *Router) Handle(method, pattern string, h http.Handler) {
	rt.handle(method, pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			r.Body = &timedBody{ReadCloser: r.Body, conn: http.NewResponseController(w)}
		}
		h.ServeHTTP(w, r)
	}))
}

// handle makes a route to h. One for GET serves HEAD too.
func (rt *Router) handle(method, pattern string, h http.Handler) {
	rt.mux.Method(method, pattern, h)
	rt.routes = append(rt.routes, route{method, pattern})
	if method == http.MethodGet {
		rt.handle(http.MethodHead, pattern, h)
	}
}

// ServeHTTP implements http.Handler.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := &answer{ResponseWriter: w}
	if rt.log.IsDebug() {
		start := time.Now()
		defer func() { // runs after recover
			rt.log.Debug(answer.line(r, time.Since(start)))
		}()
	}
	defer rt.recover(answer, r)
	if r.ContentLength != 0 {
		boundBody(http.NewResponseController(w), bodyTimeout)
	}
	if r.URL.RawPath != "" {
		// chi would match the encoded path, and hand out encoded parameters.
		decoded := *r.URL
		decoded.RawPath = ""
		r = r.WithContext(r.Context())
		r.URL = &decoded
	}
	rt.mux.ServeHTTP(answer, r)
}

// recover is deferred by ServeHTTP.
func (rt *Router) recover(answer *answer, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v != http.ErrAbortHandler {
		rt.log.Error("panic in request", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr,
			"panic", v, "stack", string(debug.Stack()))
		if answer.status == 0 {
			clear(answer.Header())
			rt.respondError(answer, r, internalError, true)
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// unrouted answers a request that is in no route.
func (rt *Router) unrouted(w http.ResponseWriter, r *http.Request) {
	if fixed, ok := rt.fix(r.Method, r.URL.Path); ok {
		status := http.StatusTemporaryRedirect
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			status = http.StatusMovedPermanently
		}
		// Of the request's URL, only path and query: never a host from outside.
		to := url.URL{Path: fixed, RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, to.String(), status)
		return
	}
	allow := rt.allow(r.URL.Path)
	if allow == "" {
		rt.respondError(w, r, errNotFound, true)
		return
	}
	w.Header().Set("Allow", allow)
	if r.Method == http.MethodOptions {
		return
	}
	rt.respondError(w, r, errMethodNotAllowed, true)
}

// allow returns the methods that have a route for p, as in the Allow header, or
// "" if there is none.
func (rt *Router) allow(p string) string {
	var methods []string
	for _, route := range rt.routes {
		if !slices.Contains(methods, route.method) && rt.mux.Match(chi.NewRouteContext(), route.method, p) {
			methods = append(methods, route.method)
		}
	}
	if methods == nil {
		return ""
	}
	if !slices.Contains(methods, http.MethodOptions) {
		methods = append(methods, http.MethodOptions)
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

// fix returns the path that p should have been for a route of method to serve it.
func (rt *Router) fix(method, p string) (fixed string, ok bool) {
	cleaned := path.Clean("/" + p)
	for _, route := range rt.routes {
		if route.method != method {
			continue
		}
		if fixed, ok := route.fix(cleaned); ok && fixed != p {
			return fixed, true
		}
	}
	return "", false
}

// fix returns cleaned as the route spells it, if the two differ in nothing but
// letter case and a slash at the end.
func (rt route) fix(cleaned string) (fixed string, ok bool) {
	want := strings.Split(strings.Trim(rt.pattern, "/"), "/")
	have := strings.Split(strings.Trim(cleaned, "/"), "/")
	for i, element := range want {
		switch {
		case element == "*":
			if i == len(have) {
				have = append(have, "")
			}
			return "/" + strings.Join(have, "/"), true
		case i == len(have):
			return "", false
		case strings.HasPrefix(element, "{"):
			if have[i] == "" {
				return "", false
			}
		case strings.EqualFold(element, have[i]):
			have[i] = element
		default:
			return "", false
		}
	}
	if len(have) != len(want) {
		return "", false
	}
	fixed = "/" + strings.Join(have, "/")
	if strings.HasSuffix(rt.pattern, "/") && fixed != "/" {
		fixed += "/"
	}
	return fixed, true
}

// An answer is a ResponseWriter that remembers whether and with what status the
// answer has begun.
type answer struct {
	http.ResponseWriter
	status int // 0 until then
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// WriteString spares the copy that Write would need.
func (a *answer) WriteString(s string) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return io.WriteString(a.ResponseWriter, s)
}

// Unwrap lets an http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// line returns what the access log says of the answer to r.
func (a *answer) line(r *http.Request, took time.Duration) string {
	status := a.status
	if status == 0 {
		status = http.StatusOK // the handler has returned without a word
	}
	return fmt.Sprintf("%d %s %s (%s) %s", status, r.Method, r.RequestURI, r.RemoteAddr, took)
}
