package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nsqraft/internal/nsqtest/commandtest"
	"nsqraft/internal/nsqtest/nsqdtest"
	"nsqraft/internal/version"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWrongFlags(t *testing.T) {
	const from = "--topic=t --nsqd-tcp-address=a:1 "
	commandtest.Refuse(t, run, []commandtest.WrongFlags{
		{"--no-such-flag", 2, "not defined: -no-such-flag"},
		{"--sample=half", 2, "half"},
		{"--topic=t --post=http://a", 1, "--nsqd-tcp-address or --lookupd-http-address required"},
		{"--nsqd-tcp-address=a:1 --post=http://a", 1, "--topic and --channel are required"},
		{from + "--post=http://a --channel=", 1, "--topic and --channel are required"},
		{from, 1, "--get or --post required"},
		{from + "--post=http://a --get=http://a/%s", 1, "use --get or --post, not both"},
		{from + "--post=http://a --mode=hostpol", 1, `not "hostpol"`},
		{from + "--post=http://a --sample=1.5", 1, "--sample must be between 0.0 and 1.0"},
		{from + "--post=http://a --sample=NaN", 1, "--sample must be between 0.0 and 1.0"},
		{from + "--post=http://a -n=0", 1, "-n must be at least 1"},
		{from + "--post=a.example/x", 1, `--post: "a.example/x" is no http or https URL`},
		{from + "--post=http://a:port", 1, "--post: "},
		{from + "--get=http://a/", 1, "must have %s once"},
		{from + "--get=http://a/%s/%s", 1, "must have %s once"},
		{from + "--get=http://a/%s --content-type=text/plain", 1, "--content-type is only used with --post"},
		{from + "--post=http://a --content-type=", 1, "--content-type requires a value"},
		{from + "--post=http://a --header=novalue", 1, `--header "novalue" is not of the form name: value`},
		{from + "--post=http://a --header=a(b):c", 1, "--header"},
		{from + "--post=http://a --http-client-connect-timeout=0s", 1, "--http-client-connect-timeout should be positive"},
		{from + "--post=http://a --http-client-request-timeout=-1s", 1, "--http-client-request-timeout should be positive"},
	})
}

// A request, as the server saw it.
type request struct {
	method, uri, body string
	header            http.Header
}

// A site is an HTTP server that keeps what it was asked.
type site struct {
	*httptest.Server
	status   atomic.Int64 // of its answers
	mu       sync.Mutex
	requests []request
}

func newSite(t *testing.T) *site {
	s := new(site)
	s.status.Store(http.StatusOK)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests = append(s.requests, request{r.Method, r.RequestURI, string(body), r.Header})
		s.mu.Unlock()
		w.WriteHeader(int(s.status.Load()))
		fmt.Fprint(w, "an answer")
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) asked() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// start runs nsq_to_http on topic t of n, without pauses after failures.
func start(t *testing.T, n *nsqdtest.NSQD, args ...string) *commandtest.Command {
	return commandtest.Start(t, run, append([]string{"--topic=t", "--channel=c", "--nsqd-tcp-address=" + n.TCP,
		"--consumer-opt=max_backoff_duration,0s", "--consumer-opt=default_requeue_delay,0s"}, args...)...)
}

func finished(messages int64) func(nsqdtest.Channel) bool {
	return func(c nsqdtest.Channel) bool { return c.Messages == messages && c.Depth+c.InFlight+c.Deferred == 0 }
}

func TestPost(t *testing.T) {
	n, s := nsqdtest.Start(t), newSite(t)
	s.status.Store(http.StatusAccepted)
	c := start(t, n, "--post="+s.URL+"/in?a=%20b", "--content-type=text/x", "--header=X-Key: v: w ", "--header=user-agent:me")
	n.Publish("t", "a message\n")
	n.AwaitChannel("t", "c", finished(1))
	if code := c.Stop(); code != 0 {
		t.Errorf("code %d after a signal", code)
	}
	asked := s.asked()
	if len(asked) != 1 {
		t.Fatalf("requests: %v", asked)
	}
	r := asked[0]
	if r.method != "POST" || r.uri != "/in?a=%20b" || r.body != "a message\n" || r.header.Get("Content-Type") != "text/x" ||
		r.header.Get("X-Key") != "v: w" || r.header.Get("User-Agent") != "me" {
		t.Errorf("request %+v", r)
	}
}

func TestGet(t *testing.T) {
	n, s := nsqdtest.Start(t), newSite(t)
	start(t, n, "--get="+s.URL+"/%20%%20?m=%s&n=1")
	n.Publish("t", "a & b%s")
	n.AwaitChannel("t", "c", finished(1))
	r := s.asked()[0]
	if want := "/%20%20?m=" + url.QueryEscape("a & b%s") + "&n=1"; r.method != "GET" || r.uri != want || r.body != "" {
		t.Errorf("request %+v, want GET %s", r, want)
	}
	if got, want := r.header.Get("User-Agent"), "nsq_to_http v"+version.Version; got != want || r.header.Get("Content-Type") != "" {
		t.Errorf("header %v, want User-Agent %s and no Content-Type", r.header, want)
	}
}

// What no server takes comes again: a GET that is answered 202, a POST that is refused.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		flag   string
		status int64
	}{
		{"--get=%s/%%s", http.StatusAccepted},
		{"--post=%s", http.StatusBadRequest},
	} {
		n, s := nsqdtest.Start(t), newSite(t)
		s.status.Store(tt.status)
		c := start(t, n, fmt.Sprintf(tt.flag, s.URL))
		n.Publish("t", "secret-words")
		n.AwaitChannel("t", "c", func(c nsqdtest.Channel) bool { return c.Requeued > 1 })
		s.status.Store(http.StatusOK)
		n.AwaitChannel("t", "c", finished(1))
		if asked := len(s.asked()); asked < 3 {
			t.Errorf("%s: %d requests, want more", tt.flag, asked)
		}
		c.Stderr.Await(t, fmt.Sprintf(`(GET|POST) \S+: answered %d `, tt.status))
	}
}

// The log has no messages in it, whatever goes wrong.
func TestNobodyListens(t *testing.T) {
	n, s := nsqdtest.Start(t), newSite(t)
	s.Close()
	c := start(t, n, "--get="+s.URL+"/%s")
	n.Publish("t", "secret-words")
	c.Stderr.Await(t, `GET \S+/%s: dial tcp \S+: connect`)
	if strings.Contains(c.Stderr.String(), "secret") {
		t.Errorf("log:\n%s", c.Stderr.String())
	}
}

func TestSampleNone(t *testing.T) {
	n, s := nsqdtest.Start(t), newSite(t)
	start(t, n, "--post="+s.URL, "--sample=0")
	n.Publish("t", "1", "2", "3")
	n.AwaitChannel("t", "c", finished(3))
	if asked := s.asked(); len(asked) != 0 {
		t.Errorf("requests: %v", asked)
	}
}

func TestRoundRobin(t *testing.T) {
	n, a, b := nsqdtest.Start(t), newSite(t), newSite(t)
	c := start(t, n, "--mode=round-robin", "--post="+a.URL, "--post="+b.URL, "--status-every=5")
	for i := range 10 {
		n.Publish("t", fmt.Sprint(i))
	}
	n.AwaitChannel("t", "c", finished(10))
	if len(a.asked()) != 5 || len(b.asked()) != 5 {
		t.Errorf("%d and %d requests, want 5 each", len(a.asked()), len(b.asked()))
	}
	c.Stderr.Await(t, `\[aggregate\]: finished 5 - 99th: `)
	c.Stderr.Await(t, `\[`+b.URL+`\]: finished 5 - `)
}

// A signal lets the requests under way end, and what they sent is finished.
func TestStopDrains(t *testing.T) {
	n := nsqdtest.Start(t)
	begun, end := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-end
	}))
	defer slow.Close()
	c := start(t, n, "--post="+slow.URL)
	n.Publish("t", "m")
	<-begun
	code := make(chan int)
	go func() { code <- c.Stop() }()
	select {
	case <-code:
		t.Error("ended while a request was under way")
	case <-time.After(50 * time.Millisecond):
	}
	close(end)
	if code := <-code; code != 0 {
		t.Errorf("code %d", code)
	}
	n.AwaitChannel("t", "c", finished(1))
}
