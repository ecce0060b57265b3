package httpapi

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/hashicorp/go-hclog"
)

// newTestRouter has one route for each kind of answer.
func newTestRouter(log hclog.Logger) *Router {
	value := func(v any, err error) Handler {
		return func(*http.Request) (any, error) { return v, err }
	}
	rt := NewRouter(log)
	rt.PlainText("GET", "/ping", value("OK", nil))
	rt.PlainText("GET", "/sick", value(nil, NewError(500, "NOK - disk full")))
	rt.PlainText("GET", "/ailing", value(nil, errors.New("secret")))
	rt.V1("GET", "/string", value("a < b", nil))
	rt.V1("GET", "/html", value([]byte("<html>"), nil))
	rt.V1("GET", "/json", value(JSON(`{"a":1}`), nil))
	rt.V1("GET", "/large", value(JSON(`"`+strings.Repeat("x", 9998)+`"`), nil))
	rt.V1("GET", "/value", value(map[string]any{"topics": []string{}, "t": "<"}, nil))
	rt.V1("GET", "/unencodable", value(func() {}, nil))
	rt.V1("GET", "/headers", value(&Response{JSON(`[]`), http.Header{"X-Nsq-Index": {"7"}}}, nil))
	rt.V1("GET", "/wrapped", value(nil, fmt.Errorf("lookup t: %w", &Error{404, `NO "t"`, http.Header{"X-Nsq-Index": {"8"}}})))
	rt.V1("GET", "/broken", value(nil, errors.New("secret")))
	rt.V1("GET", "/panic", func(*http.Request) (any, error) { panic("boom") })
	rt.V1("GET", "/query", func(r *http.Request) (any, error) {
		q, err := Query(r)
		return q.Get("topic"), err
	})
	rt.V1("POST", "/topic/create", value(nil, nil))
	rt.V1("GET", "/config/{opt}", func(r *http.Request) (any, error) { return chi.URLParam(r, "opt"), nil })
	rt.V1Body("PUT", "/config/{opt}", func(r *http.Request) (any, error) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		return fmt.Sprintf("%s=%d bytes", chi.URLParam(r, "opt"), len(body)), err
	})
	rt.Handle("GET", "/debug/pprof/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	rt.Handle("GET", "/static/*", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, chi.URLParam(r, "*"))
	}))
	rt.Handle("GET", "/late", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, strings.Repeat("x", 10000))
		panic("boom")
	}))
	return rt
}

// serve starts a server with NewServer's limits on a loopback port.
func serve(t testing.TB, h http.Handler) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(h, hclog.NewNullLogger(), ServerOptions{})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return ln.Addr().String()
}

// send writes a request and returns the whole answer up to the end of the
// connection, without its Date.
func send(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil && len(answer) == 0 {
		t.Fatal(err)
	}
	return regexp.MustCompile("Date: [^\r]*\r\n").ReplaceAllString(string(answer), "")
}

func TestAnswers(t *testing.T) {
	const (
		v1     = "X-Nsq-Content-Type: nsq; version=1.0\n"
		asJSON = "Content-Type: application/json; charset=utf-8\n"
		asText = "Content-Type: text/plain; charset=utf-8\n"
		asHTML = "Content-Type: text/html; charset=utf-8\n"
	)
	ok := func(rest string) string { return "HTTP/1.1 200 OK\n" + rest }
	notFound := "HTTP/1.1 404 Not Found\n" + asJSON + v1 + "Content-Length: 23\n\n" + `{"message":"NOT_FOUND"}`
	notAllowed := func(allow string) string {
		return "HTTP/1.1 405 Method Not Allowed\nAllow: " + allow + "\n" + asJSON + v1 + "Content-Length: 32\n\n" + `{"message":"METHOD_NOT_ALLOWED"}`
	}
	moved := func(to string) string {
		return "HTTP/1.1 301 Moved Permanently\n" + asHTML + "Location: " + to + "\nContent-Length: " +
			fmt.Sprint(len(to)+len("<a href=\"\">Moved Permanently</a>.\n\n")) + "\n\n<a href=\"" + to + "\">Moved Permanently</a>.\n\n"
	}
	failed := "HTTP/1.1 500 Internal Server Error\n" + asJSON + v1 + "Content-Length: 28\n\n" + `{"message":"INTERNAL_ERROR"}`
	tests := []struct{ request, want string }{
		// Rendering.
		{"GET /ping", ok("Content-Length: 2\n" + asText + "\nOK")},
		{"GET /sick", "HTTP/1.1 500 Internal Server Error\nContent-Length: 15\n" + asText + "\nNOK - disk full"},
		{"GET /ailing", "HTTP/1.1 500 Internal Server Error\nContent-Length: 14\n" + asText + "\nINTERNAL_ERROR"},
		{"GET /string", ok(v1 + "Content-Length: 5\n" + asText + "\na < b")},
		{"GET /html", ok(v1 + "Content-Length: 6\n" + asHTML + "\n<html>")},
		{"GET /json", ok(asJSON + v1 + "Content-Length: 7\n\n" + `{"a":1}`)},
		{"GET /large", ok("Content-Length: 10000\n" + asJSON + v1 + "\n\"" + strings.Repeat("x", 9998) + `"`)},
		{"GET /value", ok(asJSON + v1 + "Content-Length: 26\n\n" + `{"t":"\u003c","topics":[]}`)},
		{"GET /headers", ok(asJSON + "X-Nsq-Content-Type: nsq; version=1.0\nX-Nsq-Index: 7\nContent-Length: 2\n\n[]")},
		{"GET /wrapped", "HTTP/1.1 404 Not Found\n" + asJSON + v1 + "X-Nsq-Index: 8\nContent-Length: 22\n\n" + `{"message":"NO \"t\""}`},
		{"GET /broken", failed},
		{"GET /unencodable", failed},
		{"GET /panic", failed},
		{"POST /topic/create", ok(v1 + "Content-Length: 0\n\n")},

		// Query.
		{"GET /query?topic=a%20b&topic=c", ok(v1 + "Content-Length: 3\n" + asText + "\na b")},
		{"GET /query", ok(v1 + "Content-Length: 0\n\n")},
		{"GET /query?topic=%zz", "HTTP/1.1 400 Bad Request\n" + asJSON + v1 + "Content-Length: 29\n\n" + `{"message":"INVALID_REQUEST"}`},

		// HEAD, wherever GET is.
		{"HEAD /ping", ok("Content-Length: 2\n" + asText + "\n")},
		{"HEAD /large", ok("Content-Length: 10000\n" + asJSON + v1 + "\n")},
		{"HEAD /topic/create", strings.TrimSuffix(notAllowed("OPTIONS, POST"), `{"message":"METHOD_NOT_ALLOWED"}`)},

		// Routing.
		{"GET /", notFound},
		{"GET /pin", notFound},
		{"POST /pin", notFound},
		{"FROB /pin", notFound},
		{"OPTIONS /pin", notFound},
		{"GET /topic/create/", notFound}, // redirects stay within a method
		{"POST /ping", notAllowed("GET, HEAD, OPTIONS")},
		{"FROB /ping", notAllowed("GET, HEAD, OPTIONS")},
		{"GET /topic/create", notAllowed("OPTIONS, POST")},
		{"POST /config/x", notAllowed("GET, HEAD, OPTIONS, PUT")},
		{"OPTIONS /topic/create", ok("Allow: OPTIONS, POST\nContent-Length: 0\n\n")},
		{"OPTIONS /ping", ok("Allow: GET, HEAD, OPTIONS\nContent-Length: 0\n\n")},
		{"GET /ping/", moved("/ping")},
		{"GET /query/?topic=a%20b", moved("/query?topic=a%20b")},
		{"GET /debug/pprof", moved("/debug/pprof/")},
		{"GET //ping", moved("/ping")},
		{"GET //example.com/../ping", moved("/ping")},
		{"GET /a/./../PING", moved("/ping")},
		{"GET /Config/Opt/", moved("/config/Opt")},
		{"GET /STATIC/A.css", moved("/static/A.css")},
		{"GET http://example.com/ping/", moved("/ping")},
		{"HEAD /ping/", "HTTP/1.1 301 Moved Permanently\n" + asHTML + "Location: /ping\n\n"},
		{"POST /topic/create/", "HTTP/1.1 307 Temporary Redirect\nLocation: /topic/create\nContent-Length: 0\n\n"},
		{"GET /config/a%2Eb%23c", ok(v1 + "Content-Length: 5\n" + asText + "\na.b#c")},
		{"GET /config/", notFound},
		{"GET /static/js/a.js", ok("Content-Length: 7\n" + asText + "\njs/a.js")},
	}
	addr := serve(t, newTestRouter(hclog.NewNullLogger()))
	for _, tt := range tests {
		got := send(t, addr, tt.request+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		got = strings.ReplaceAll(strings.ReplaceAll(head, "\r\n", "\n"), "\nConnection: close", "") + "\n\n" + body
		if sortHeader(got) != sortHeader(tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", tt.request, got, tt.want)
		}
	}
}

// sortHeader brings the header lines of an answer into an order to compare.
func sortHeader(answer string) string {
	head, body, _ := strings.Cut(answer, "\n\n")
	lines := strings.Split(head, "\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n") + "\n\n" + body
}

// A panic after the answer has begun must not look like a whole answer.
func TestLatePanicCutsConnection(t *testing.T) {
	addr := serve(t, newTestRouter(hclog.NewNullLogger()))
	resp, err := http.Get("http://" + addr + "/late")
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the client did not notice")
	}
}

func TestFailuresAreLogged(t *testing.T) {
	tests := []struct {
		path string
		want []string
	}{
		{"/panic", []string{"[ERROR] panic in request", "path=/panic", "boom", "router_test.go"}},
		{"/broken", []string{"[ERROR] request failed", "path=/broken", "err=secret"}},
		{"/ailing", []string{"[ERROR] request failed", "err=secret"}},
		{"/wrapped", nil},
		{"/ping", nil},
	}
	for _, tt := range tests {
		var log bytes.Buffer
		rt := newTestRouter(hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Info}))
		rt.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", tt.path, nil))
		if tt.want == nil && log.Len() > 0 {
			t.Errorf("%s: unexpected log %s", tt.path, log.String())
		}
		for _, want := range tt.want {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: log lacks %q: %s", tt.path, want, log.String())
			}
		}
	}
}

func TestAccessLog(t *testing.T) {
	for request, want := range map[string]string{
		"GET /query?topic=x":  `\[DEBUG\] 200 GET /query\?topic=x \(192.0.2.1:1234\) [0-9.]+(ns|µs|ms|s)\n$`,
		"GET /broken":         `\[DEBUG\] 500 GET /broken `,
		"GET /panic":          `\[DEBUG\] 500 GET /panic `,
		"GET /nowhere":        `\[DEBUG\] 404 GET /nowhere `,
		"OPTIONS /ping":       `\[DEBUG\] 200 OPTIONS /ping `,
		"POST /topic/create/": `\[DEBUG\] 307 POST /topic/create/ `,
	} {
		var log bytes.Buffer
		method, target, _ := strings.Cut(request, " ")
		rt := newTestRouter(hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug}))
		rt.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, target, nil))
		if !regexp.MustCompile(want).MatchString(log.String()) {
			t.Errorf("%s: log is %q, want match of %q", request, log.String(), want)
		}
	}
}

func TestIgnoredBody(t *testing.T) {
	post := func(header, body string) string {
		return "POST /topic/create HTTP/1.1\r\nHost: x\r\n" + header + "\r\n" + body +
			"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	}
	chunk := func(n int) string { return fmt.Sprintf("%x\r\n%s\r\n", n, strings.Repeat("x", n)) }
	const tooBig = `{"message":"BODY_TOO_BIG"}`
	const chunked = "Transfer-Encoding: chunked\r\n"
	tests := []struct {
		name    string
		request string
		status  string
		message string
		next    bool // the next request on the connection is answered
	}{
		{"none", post("", ""), "200 OK", "", true},
		{"short", post("Content-Length: 2\r\n", "{}"), "200 OK", "", true},
		{"at the limit", post(fmt.Sprintf("Content-Length: %d\r\n", MaxIgnoredBody), strings.Repeat("x", MaxIgnoredBody)), "200 OK", "", true},
		{"announced over the limit, not sent", "POST /topic/create HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", "413 Request Entity Too Large", tooBig, false},
		{"announced as huge", post("Content-Length: 9000000000000000000\r\n", "xx"), "413 Request Entity Too Large", tooBig, false},
		{"chunked at the limit", post(chunked, chunk(MaxIgnoredBody)+"0\r\n\r\n"), "200 OK", "", true},
		{"chunked over the limit", post(chunked, chunk(MaxIgnoredBody)+chunk(1)+"0\r\n\r\n"), "413 Request Entity Too Large", tooBig, false},
		{"bad chunk", post(chunked, "zz\r\n"), "400 Bad Request", `{"message":"INVALID_REQUEST"}`, false},
	}
	addr := serve(t, newTestRouter(hclog.NewNullLogger()))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := send(t, addr, tt.request)
			if !strings.HasPrefix(got, "HTTP/1.1 "+tt.status+"\r\n") || !strings.Contains(got, tt.message) {
				t.Errorf("got %q, want %s %s", got, tt.status, tt.message)
			}
			if next := strings.HasSuffix(got, "\r\n\r\nOK"); next != tt.next {
				t.Errorf("next request answered: %v, want %v: %q", next, tt.next, got)
			}
		})
	}
}

func TestV1BodyReadsTheBody(t *testing.T) {
	addr := serve(t, newTestRouter(hclog.NewNullLogger()))
	got := send(t, addr, fmt.Sprintf("PUT /config/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", 200000, strings.Repeat("x", 200000)))
	if !strings.HasSuffix(got, "\r\n\r\nx=200000 bytes") {
		t.Errorf("got %q", got)
	}
}

// Reading a body leaves no deadline behind that would end a blocking query.
func TestBodyDeadlineIsCleared(t *testing.T) {
	for _, method := range []string{"POST", "PUT"} {
		started := make(chan *http.Request)
		release := make(chan struct{})
		h := func(r *http.Request) (any, error) {
			io.Copy(io.Discard, r.Body)
			started <- r
			<-release
			return nil, r.Context().Err()
		}
		rt := NewRouter(hclog.NewNullLogger())
		rt.V1("POST", "/", h)
		rt.V1Body("PUT", "/", h)
		deadlines := make(chan time.Time, 100)
		addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rt.ServeHTTP(&deadlineRecorder{w, deadlines}, r)
		}))
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", method)
		<-started
		var last time.Time
		for first := true; len(deadlines) > 0; first = false {
			last = <-deadlines
			if first && (last.IsZero() || time.Until(last) > bodyTimeout) {
				t.Errorf("%s: body read with deadline %v", method, last)
			}
		}
		if !last.IsZero() {
			t.Errorf("%s: deadline %v was left behind", method, last)
		}
		close(release)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: got %v, %v", method, resp, err)
		}
	}
}

// A body that no handler reads is bounded all the same: net/http reads it.
func TestUnroutedBodyIsBounded(t *testing.T) {
	deadlines := make(chan time.Time, 10)
	w := &deadlineRecorder{httptest.NewRecorder(), deadlines}
	newTestRouter(hclog.NewNullLogger()).ServeHTTP(w, httptest.NewRequest("POST", "/nowhere", strings.NewReader("x")))
	select {
	case got := <-deadlines:
		if left := time.Until(got); left <= 0 || left > bodyTimeout || len(deadlines) > 0 {
			t.Errorf("deadline %v from now, followed by %d others", left, len(deadlines))
		}
	default:
		t.Error("no deadline was set")
	}
}

// A client that waits for the answer before it sends its body does not wait for long.
func TestRefusedBodyIsNotAwaited(t *testing.T) {
	rt := NewRouter(hclog.NewNullLogger())
	rt.V1Body("PUT", "/", func(*http.Request) (any, error) { return nil, errBodyTooBig })
	deadlines := make(chan time.Time, 10)
	w := &deadlineRecorder{httptest.NewRecorder(), deadlines}
	rt.ServeHTTP(w, httptest.NewRequest("PUT", "/", strings.NewReader("x")))
	var last time.Time
	for len(deadlines) > 0 {
		last = <-deadlines
	}
	if left := time.Until(last); left <= 0 || left > lingerTimeout {
		t.Errorf("the last deadline is %v from now, want %v at most", left, lingerTimeout)
	}
}

type deadlineRecorder struct {
	http.ResponseWriter
	deadlines chan<- time.Time
}

func (d *deadlineRecorder) Unwrap() http.ResponseWriter { return d.ResponseWriter }

func (d *deadlineRecorder) SetReadDeadline(t time.Time) error {
	d.deadlines <- t
	return http.NewResponseController(d.ResponseWriter).SetReadDeadline(t)
}

func TestServerLimits(t *testing.T) {
	addr := serve(t, newTestRouter(hclog.NewNullLogger()))
	got := send(t, addr, "GET /ping HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 70<<10)+"\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("70 KiB of headers: got %q, want 431", got)
	}

	var log bytes.Buffer
	srv := NewServer(nil, hclog.New(&hclog.LoggerOptions{Output: &log}), ServerOptions{IdleTimeout: time.Second})
	if srv.ReadHeaderTimeout != 10*time.Second || srv.IdleTimeout != time.Second || srv.ReadTimeout != 0 || srv.WriteTimeout != 0 {
		t.Errorf("unexpected time-outs: %+v", srv)
	}
	srv.ErrorLog.Print("http: TLS handshake error")
	if !strings.Contains(log.String(), "[WARN]  http: TLS handshake error\n") {
		t.Errorf("log is %q", log.String())
	}
}
