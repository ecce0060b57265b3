package nsqadmin

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/nsqtest"
	"nsqraft/internal/nsqtest/lookupdtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

// An instance is an nsqadmin of a test.
type instance struct {
	*Server
	t   *testing.T
	url string
}

// start starts an nsqadmin with options that change may have changed; it ends with the
// test, if not before.
func start(t *testing.T, change func(o *Options)) *instance {
	t.Helper()
	o := DefaultOptions()
	o.HTTPAddress = "127.0.0.1:0"
	o.PollInterval = 100 * time.Millisecond
	change(o)
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	s := New(o, hclog.New(&hclog.LoggerOptions{Output: io.Discard}))
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return &instance{s, t, "http://" + s.HTTPAddr().String() + s.base}
}

// startWith starts one that asks lookupds.
func startWith(t *testing.T, lookupds ...*lookupdtest.Lookupd) *instance {
	t.Helper()
	return start(t, func(o *Options) {
		for _, l := range lookupds {
			o.LookupdHTTPAddresses = append(o.LookupdHTTPAddresses, l.HTTP)
		}
	})
}

// A reply is what a request was answered with.
type reply struct {
	status int
	header http.Header
	body   string
	JSON   map[string]any
}

// ask sends a request; change may change it before.
func (in *instance) ask(method, path, body string, change ...func(*http.Request)) reply {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(in.t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, in.url+path, strings.NewReader(body))
	if err != nil {
		in.t.Fatal(err)
	}
	for _, c := range change {
		c(r)
	}
	resp, err := http.DefaultTransport.RoundTrip(r) // without following redirects
	if err != nil {
		in.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		in.t.Fatalf("%s %s: %v", method, path, err)
	}
	a := reply{status: resp.StatusCode, header: resp.Header, body: string(text)}
	json.Unmarshal(text, &a.JSON) // not all of it is JSON
	return a
}

func (in *instance) get(path string) reply { in.t.Helper(); return in.ask("GET", path, "") }

// do200 sends a request that must be answered 200 without a warning.
func (in *instance) do200(method, path, body string) reply {
	in.t.Helper()
	a := in.ask(method, path, body)
	if a.status != http.StatusOK || a.JSON["message"] != "" {
		in.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// await asks again and again until is likes the answer.
func (in *instance) await(path, what string, is func(reply) bool) reply {
	in.t.Helper()
	var a reply
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if a = in.get(path); is(a) {
			return a
		}
	}
	in.t.Fatalf("%s never shows %s: %d %s", path, what, a.status, a.body)
	return a
}

func has(text string) func(reply) bool {
	return func(a reply) bool { return strings.Contains(a.body, text) }
}

// What an action did is in the next answer, whatever the poller's interval.
func TestWhatWasDoneIsSeenAtOnce(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	a, b := nsqdtest.Start(t, lookupd.TCP), nsqdtest.Start(t, lookupd.TCP)
	in := start(t, func(o *Options) {
		o.LookupdHTTPAddresses = []string{lookupd.HTTP}
		o.PollInterval = time.Minute
	})
	in.do200("POST", "/api/topics", `{"topic":"t","channel":"c"}`)
	if got := in.do200("GET", "/api/topics?inactive=true", "").body; !strings.Contains(got, `{"t":["c"]}`) {
		t.Errorf("inactive topics: %s", got)
	}
	got := in.do200("GET", "/api/topics/t", "")
	if len(got.JSON["nodes"].([]any)) != 0 || len(got.JSON["channels"].([]any)) != 1 {
		t.Errorf("a topic without producers: %s", got.body)
	}
	in.do200("POST", "/api/topics", `{"topic":"t","channel":"d"}`)
	in.do200("GET", "/api/topics/t/d", "")
	in.do200("DELETE", "/api/topics/t/d", "")
	a.Publish("t", "1", "2")
	b.Publish("t", "3")
	// A topic that came into being behind our back is found, though the last View was
	// before it, and counted once the nsqlookupd lists its nodes.
	a.Publish("other", "x")
	in.do200("GET", "/api/topics/other", "")
	for in.do200("GET", "/api/topics/t", "").JSON["message_count"] != 3.0 {
		in.refresh(t.Context(), "t")
	}
	paused := func(path string) any { return in.do200("GET", path, "").JSON["paused"] }
	for _, path := range []string{"/api/topics/t", "/api/topics/t/c"} {
		in.do200("POST", path, `{"action":"pause"}`)
		if paused(path) != true {
			t.Errorf("%s is not paused", path)
		}
		in.do200("POST", path, `{"action":"unpause"}`)
		if paused(path) != false {
			t.Errorf("%s is paused", path)
		}
	}
	a.AwaitChannel("t", "c", func(c nsqdtest.Channel) bool { return c.Depth == 2 })
	b.AwaitChannel("t", "c", func(c nsqdtest.Channel) bool { return c.Depth == 1 })
	in.refresh(t.Context(), "t")
	if got := in.do200("GET", "/api/topics/t/c", "").JSON["depth"]; got != 3.0 {
		t.Errorf("depth %v, want 3", got)
	}
	in.do200("POST", "/api/topics/t/c", `{"action":"empty","nodes":["`+b.HTTP+`"]}`)
	if got := in.do200("GET", "/api/topics/t/c", "").JSON["depth"]; got != 2.0 {
		t.Errorf("depth %v after one of two nsqds was emptied, want 2", got)
	}
	in.do200("POST", "/api/topics/t", `{"action":"publish","body":"x","count":5,"node":"`+b.HTTP+`"}`)
	if got := in.do200("GET", "/api/topics/t", "").JSON["message_count"]; got != 8.0 {
		t.Errorf("%v messages, want 8", got)
	}
	in.do200("DELETE", "/api/nodes/"+b.HTTP, `{"topic":"t"}`)
	if got := in.do200("GET", "/api/topics/t", "").JSON["nodes"].([]any); len(got) != 1 {
		t.Errorf("%d nodes have the topic after one was tombstoned, want 1", len(got))
	}
	in.do200("DELETE", "/api/topics/t/c", "")
	if got := in.get("/api/topics/t/c"); got.status != 404 || got.JSON["message"] != "CHANNEL_NOT_FOUND" {
		t.Errorf("a channel that was deleted: %d %s", got.status, got.body)
	}
	in.do200("DELETE", "/api/topics/t", "")
	for _, method := range []string{"GET", "DELETE"} {
		if got := in.ask(method, "/api/topics/t", ""); got.status != 404 || got.JSON["message"] != "TOPIC_NOT_FOUND" {
			t.Errorf("%s of a topic that was deleted: %d %s", method, got.status, got.body)
		}
	}
	var done []string
	for _, e := range in.events(100, func(e *event) bool { return e.Kind == "action" }) {
		done = append(done, e.Action)
	}
	want := "delete_topic delete_channel tombstone_topic_producer publish empty_channel unpause_channel pause_channel unpause_topic pause_topic delete_channel create_channel create_channel"
	if got := strings.Join(done, " "); got != want {
		t.Errorf("activity %s, want %s", got, want)
	}
}

func TestBadRequests(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	node := nsqdtest.Start(t, lookupd.TCP)
	node.Publish("t", "1")
	node.Post("/channel/create?topic=t&channel=c", "")
	in := startWith(t, lookupd)
	in.await("/api/topics/t/c", "the channel", func(a reply) bool { return a.status == 200 })
	long := strings.Repeat("x", 65)
	tests := []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"GET", "/api/topics/nope", "", 404, "TOPIC_NOT_FOUND"},
		{"GET", "/api/topics/nope/c", "", 404, "TOPIC_NOT_FOUND"},
		{"GET", "/api/topics/t/nope", "", 404, "CHANNEL_NOT_FOUND"},
		{"GET", "/api/topics/%3Cscript%3E", "", 404, "TOPIC_NOT_FOUND"},
		{"GET", "/api/nodes/127.0.0.1:1", "", 404, "NODE_NOT_FOUND"},
		{"GET", "/api/nope", "", 404, "NOT_FOUND"},
		{"GET", "/api/topics?x=%zz", "", 400, "INVALID_REQUEST"},
		{"PUT", "/api/topics", "", 405, "METHOD_NOT_ALLOWED"},
		{"POST", "/api/topics", `{"topic":"a b"}`, 400, "INVALID_TOPIC"},
		{"POST", "/api/topics", `{"topic":"` + long + `"}`, 400, "INVALID_TOPIC"},
		{"POST", "/api/topics", `{"topic":"a","channel":"b*"}`, 400, "INVALID_CHANNEL"},
		{"POST", "/api/topics", `{"topic":"a","nodes":["x:1"]}`, 404, "NODE_NOT_FOUND"},
		{"POST", "/api/topics", ``, 400, "EOF"},
		{"POST", "/api/topics", `{"topic":`, 400, "unexpected EOF"},
		{"POST", "/api/topics/t", `{"action":"explode"}`, 400, "INVALID_ACTION"},
		{"POST", "/api/topics/t/c", `{"action":"publish","body":"x"}`, 400, "INVALID_ACTION"},
		{"POST", "/api/topics/nope", `{"action":"pause"}`, 404, "TOPIC_NOT_FOUND"},
		{"POST", "/api/topics/t/nope", `{"action":"empty"}`, 404, "CHANNEL_NOT_FOUND"},
		{"POST", "/api/topics/t", `{"action":"publish"}`, 400, "MSG_EMPTY"},
		{"POST", "/api/topics/t", `{"action":"publish","body":"x","count":1001}`, 400, "INVALID_COUNT"},
		{"POST", "/api/topics/t", `{"action":"publish","body":"x","defer":-1}`, 400, "INVALID_DEFER"},
		{"POST", "/api/topics/t", `{"action":"publish","body":"x","node":"x:1"}`, 404, "NODE_NOT_FOUND"},
		{"DELETE", "/api/topics/nope", "", 404, "TOPIC_NOT_FOUND"},
		{"DELETE", "/api/topics/t/nope", "", 404, "CHANNEL_NOT_FOUND"},
		{"DELETE", "/api/nodes/" + node.HTTP, "{", 400, "INVALID_BODY"},
		{"DELETE", "/api/nodes/" + node.HTTP, `{"topic":"*"}`, 400, "INVALID_TOPIC"},
		{"DELETE", "/api/nodes/" + node.HTTP, `{"topic":"nope"}`, 404, "TOPIC_NOT_FOUND"},
		{"DELETE", "/api/nodes/127.0.0.1:1", `{"topic":"t"}`, 404, "NODE_NOT_FOUND"},
		{"POST", "/api/nodes/127.0.0.1:1", `{"action":"drain"}`, 404, "NODE_NOT_FOUND"},
		{"POST", "/api/nodes/" + node.HTTP, `{"action":"sink"}`, 400, "INVALID_ACTION"},
		{"POST", "/api/cluster", `{"action":"snapshot","node":"nope"}`, 404, "NODE_NOT_FOUND"},
		{"POST", "/api/cluster", `{"action":"publish"}`, 400, "INVALID_ACTION"},
		{"GET", "/api/topics?detail=1&q=/(/", "", 400, "INVALID_QUERY"},
		{"GET", "/api/topics?detail=1&sort=mood", "", 400, "INVALID_SORT"},
		{"GET", "/api/topics?detail=1&filter=mood", "", 400, "INVALID_FILTER"},
		{"GET", "/api/topics?detail=1&limit=0", "", 400, "INVALID_LIMIT"},
		{"GET", "/api/topics?detail=1&cursor=-1", "", 400, "INVALID_CURSOR"},
		{"GET", "/api/activity?limit=1001", "", 400, "INVALID_LIMIT"},
		{"GET", "/api/history", "", 400, "INVALID_METRIC"},
		{"GET", "/api/history?metric=depth&span=25h", "", 400, "INVALID_SPAN"},
		{"GET", "/api/topics/t/peek?n=101", "", 400, "INVALID_COUNT"},
		{"GET", "/api/topics/t/peek?wait=1h", "", 400, "INVALID_WAIT"},
		{"GET", "/api/topics/nope/peek", "", 404, "TOPIC_NOT_FOUND"},
		{"GET", "/api/graphite", "", 400, "INVALID_ARG_METRIC"},
		{"GET", "/api/graphite?metric=rate", "", 400, "INVALID_ARG_TARGET"},
		{"GET", "/config/nope", "", 400, "INVALID_OPTION"},
		{"PUT", "/config/base_path", "/x", 400, "INVALID_OPTION"},
		{"PUT", "/config/log_level", "loud", 400, "INVALID_VALUE"},
		{"PUT", "/config/log_level", "", 413, "INVALID_VALUE"},
		{"PUT", "/config/nsqlookupd_http_addresses", "a:1", 400, "INVALID_VALUE"},
		{"PUT", "/config/nsqlookupd_http_addresses", `["a"]`, 400, "INVALID_VALUE"},
	}
	for _, tt := range tests {
		got := in.ask(tt.method, tt.path, tt.body)
		if got.status != tt.status || got.JSON["message"] != tt.message {
			t.Errorf("%s %s %s: %d %s, want %d %s", tt.method, tt.path, tt.body, got.status, got.body, tt.status, tt.message)
		}
		if got.header.Get("X-Nsq-Content-Type") != "nsq; version=1.0" {
			t.Errorf("%s %s: not in the V1 form: %v", tt.method, tt.path, got.header)
		}
	}
	if in.view().Topic("t") == nil || len(in.events(10, func(e *event) bool { return e.Kind == "action" })) != 0 {
		t.Error("one of them did something")
	}
}

func TestMethodsAndPaths(t *testing.T) {
	in := start(t, func(o *Options) {
		o.NSQDHTTPAddresses = []string{nsqdtest.Start(t).HTTP}
		o.BasePath = "a/b/"
	})
	if !strings.HasSuffix(in.url, "/a/b") {
		t.Fatalf("base path in %s", in.url)
	}
	tests := []struct {
		method, path string
		status       int
		header, want string // "": any
	}{
		{"GET", "/ping", 200, "", ""},
		{"HEAD", "/ping", 200, "", ""},
		{"GET", "/livez", 200, "", ""},
		{"GET", "/metrics", 200, "", ""},
		{"GET", "/", 301, "Location", "/a/b"},
		{"GET", "", 200, "Content-Security-Policy", contentPolicy},
		{"HEAD", "/topics", 200, "Content-Type", "text/html; charset=utf-8"},
		{"GET", "/topics/", 301, "Location", "/a/b/topics"},
		{"GET", "/api/topics/", 301, "Location", "/a/b/api/topics"},
		{"OPTIONS", "/api/topics", 200, "Allow", ""},
		{"GET", "/../../api/topics", 404, "", ""},
		{"GET", "/nope", 404, "Content-Type", "text/html; charset=utf-8"},
	}
	for _, tt := range tests {
		got := in.ask(tt.method, tt.path, "")
		if got.status != tt.status || tt.want != "" && got.header.Get(tt.header) != tt.want {
			t.Errorf("%s %s: %d %v, want %d with %s: %s", tt.method, tt.path, got.status, got.header, tt.status, tt.header, tt.want)
		}
	}
	in.await("/readyz", "that it is ready", func(a reply) bool { return a.status == 200 })
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	node := nsqdtest.Start(t)
	for i := range 20 {
		node.Publish(fmt.Sprintf("topic-%02d", i), "x")
	}
	in := start(t, func(o *Options) { o.NSQDHTTPAddresses = []string{node.HTTP} })
	in.await("/api/topics", "all topics", has("topic-19"))
	zipped := func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") }
	got := in.ask("GET", "/api/nodes/"+node.HTTP, "", zipped)
	if got.header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("answer of %d bytes is not compressed: %v", len(got.body), got.header)
	}
	r, err := gzip.NewReader(bytes.NewBufferString(got.body))
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Topics []any }
	if err := json.NewDecoder(r).Decode(&answer); err != nil || len(answer.Topics) != 20 {
		t.Errorf("%d topics in what was compressed, error %v", len(answer.Topics), err)
	}
	if got := in.ask("GET", "/ping", "", zipped); got.body != "OK" {
		t.Errorf("a small answer: %q", got.body)
	}
}

// A hung nsqd adds nothing to an answer: it would be a minute.
func TestAHungNsqdHoldsUpNobody(t *testing.T) {
	hung, err := net.Listen("tcp", "127.0.0.1:0") // connects, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	node := nsqdtest.Start(t)
	node.Publish("t", "1")
	node.Post("/channel/create?topic=t&channel=c", "")
	in := start(t, func(o *Options) {
		o.NSQDHTTPAddresses = []string{node.HTTP, hung.Addr().String()}
		o.RequestTimeout = time.Minute
	})
	begun := time.Now()
	in.await("/api/topics/t/c", "the channel", func(a reply) bool { return a.status == 200 })
	for _, path := range []string{"/api/topics", "/api/topics/t", "/api/topics/t/c", "/api/nodes", "/api/nodes/" + hung.Addr().String(),
		"/api/counter", "/api/overview", "/topics", "/topics/t", "/topics/t/c", "/nodes", "/nodes/" + hung.Addr().String(), "/"} {
		if got := in.get(path); got.status != 200 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	in.await("/api/topics/t", "a warning about the one that hangs", has("WARNING: nsqd "+hung.Addr().String()))
}

// A page right after the start waits for the first answers, as the API does.
func TestPagesRightAfterTheStart(t *testing.T) {
	node := nsqdtest.Start(t)
	node.Publish("t", "1")
	node.Post("/channel/create?topic=t&channel=c", "")
	for _, path := range []string{"/topics/t", "/topics/t/c", "/nodes/" + node.HTTP} {
		in := start(t, func(o *Options) { o.NSQDHTTPAddresses = []string{node.HTTP} })
		if got := in.get(path); got.status != 200 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	in := start(t, func(o *Options) { o.NSQDHTTPAddresses = []string{nsqtest.FreeAddress(t)} })
	if got := in.get("/topics/t"); got.status != 503 || got.header.Get("Retry-After") != "2" {
		t.Errorf("with nobody there: %d, %v", got.status, got.header)
	}
}

// With all nsqlookupds away what was known is still shown, and said to be old.
func TestWithoutNsqlookupds(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	node := nsqdtest.Start(t, lookupd.TCP)
	node.Publish("t", "1")
	in := startWith(t, lookupd)
	in.await("/api/nodes", "the nsqd", has(node.HTTP))
	in.await("/api/topics", "the topic", has(`"t"`))
	lookupd.Close()
	got := in.await("/api/nodes", "a warning", has("WARNING: nsqlookupd "+lookupd.HTTP))
	if !strings.Contains(got.body, `"state":"up"`) {
		t.Errorf("the nsqd is forgotten: %s", got.body)
	}
	if got := in.get("/api/topics/t"); got.status != 200 || !strings.Contains(got.body, "WARNING: nsqlookupd") {
		t.Errorf("the topic: %d %s", got.status, got.body)
	}
	if got := in.ask("POST", "/api/topics/t", `{"action":"pause"}`); got.status != 200 || got.JSON["message"] != "" {
		t.Errorf("what needs no nsqlookupd: %d %s", got.status, got.body)
	}
	if got := in.ask("POST", "/api/topics", `{"topic":"u"}`); got.status != 502 || !strings.HasPrefix(got.JSON["message"].(string), "UPSTREAM_ERROR: nsqlookupd") {
		t.Errorf("what does: %d %s", got.status, got.body)
	}
	if got := in.ask("DELETE", "/api/topics/t", ""); got.status != 200 || !strings.HasPrefix(got.JSON["message"].(string), "WARNING: nsqlookupd") {
		t.Errorf("a topic is deleted where it can be: %d %s", got.status, got.body)
	}

	dead := startWith(t, lookupd)
	for _, path := range []string{"/api/topics", "/api/nodes", "/api/topics/t", "/api/counter", "/api/overview"} {
		if got := dead.get(path); got.status != 502 || !strings.HasPrefix(got.JSON["message"].(string), "UPSTREAM_ERROR: nsqlookupd") {
			t.Errorf("%s when nothing is known: %d %s", path, got.status, got.body)
		}
	}
}

// The addresses of nsqlookupds can be changed while it runs.
func TestConfig(t *testing.T) {
	first, second := lookupdtest.Start(t), lookupdtest.Start(t)
	node := nsqdtest.Start(t, second.TCP)
	in := startWith(t, first)
	for path, want := range map[string]string{
		"/config/nsqlookupd_http_addresses":   `["` + first.HTTP + `"]`,
		"/config/nsqd_http_addresses":         "[]",
		"/config/http_client_request_timeout": "5000000000",
		"/config/statsd_prefix":               "nsq.%s",
		"/config/proxy_graphite":              "false",
		"/config/admin_users":                 "[]",
	} {
		if got := in.get(path); got.status != 200 || got.body != want {
			t.Errorf("%s: %d %s, want %s", path, got.status, got.body, want)
		}
	}
	if got := in.ask("PUT", "/config/log_level", "debug"); got.body != "1" {
		t.Errorf("log level %s, want 1", got.body)
	}
	addresses := `["` + second.HTTP + `"]`
	if got := in.ask("PUT", "/config/nsqlookupd_http_addresses", addresses); got.body != addresses {
		t.Errorf("addresses %s, want %s", got.body, addresses)
	}
	in.await("/api/nodes", "the nsqd of the other nsqlookupd", has(node.HTTP))
}

func TestConfigIsForANetwork(t *testing.T) {
	for cidr, want := range map[string]int{"": 200, "127.0.0.1/8": 200, "192.0.2.0/24": 403, "::/0": 403} {
		in := start(t, func(o *Options) {
			o.NSQDHTTPAddresses = []string{"127.0.0.1:1"}
			o.AllowConfigFromCIDR = cidr
		})
		if got := in.get("/config/log_level"); got.status != want {
			t.Errorf("--allow-config-from-cidr %q: %d, want %d", cidr, got.status, want)
		}
		if got := in.ask("PUT", "/config/log_level", "warn"); got.status != want {
			t.Errorf("--allow-config-from-cidr %q: %d to PUT, want %d", cidr, got.status, want)
		}
	}
}

// A line of a stream is an event's field.
type line struct{ name, value string }

// listen returns the lines of /api/events as they come, until the server ends them.
func (in *instance) listen(lastID string) <-chan line {
	in.t.Helper()
	r, err := http.NewRequestWithContext(in.t.Context(), "GET", in.url+"/api/events", nil)
	if err != nil {
		in.t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		in.t.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || !strings.HasPrefix(got, "text/event-stream") {
		in.t.Fatalf("events: %s, %s", resp.Status, got)
	}
	lines := make(chan line, 1000)
	go func() {
		defer resp.Body.Close()
		defer close(lines)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			if name, value, ok := strings.Cut(s.Text(), ": "); ok {
				lines <- line{name, value}
			}
		}
	}()
	return lines
}

// next returns the value of the next line with that name.
func next(t *testing.T, lines <-chan line, name string) string {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				t.Fatalf("the stream ends without %s", name)
			}
			if l.name == name {
				return l.value
			}
		case <-timeout:
			t.Fatalf("no %s in the stream", name)
		}
	}
}

func TestEvents(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	in := startWith(t, lookupd)
	in.await("/readyz", "that it is ready", func(a reply) bool { return a.status == 200 })
	lines := in.listen("")
	var view struct{ At time.Time }
	for next(t, lines, "event") != "view" {
	}
	if err := json.Unmarshal([]byte(next(t, lines, "data")), &view); err != nil || time.Since(view.At) > time.Minute {
		t.Errorf("view of %v, error %v", view.At, err)
	}
	in.do200("POST", "/api/topics", `{"topic":"t"}`)
	id := next(t, lines, "id")
	if got := next(t, lines, "data"); !strings.Contains(got, `"create_topic"`) {
		t.Errorf("event %s, want that the topic was created", got)
	}
	in.do200("DELETE", "/api/topics/t", "")
	in.do200("POST", "/api/topics", `{"topic":"u"}`)
	again := in.listen(id) // as who was away meanwhile
	for _, want := range []string{"delete_topic", "create_topic"} {
		next(t, again, "id")
		if got := next(t, again, "data"); !strings.Contains(got, `"`+want+`"`) {
			t.Errorf("event %s, want %s", got, want)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(30 * time.Second)
	for open := true; open; {
		select {
		case _, open = <-again:
		case <-timeout:
			t.Fatal("a stream goes on after Close")
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	in := start(t, func(o *Options) { o.NSQDHTTPAddresses = []string{"127.0.0.1:1"} })
	for range maxStreams {
		in.streams <- struct{}{}
	}
	if got := in.get("/api/events"); got.status != 503 {
		t.Errorf("one stream too many: %d", got.status)
	}
	<-in.streams
	next(t, in.listen(""), "retry")
}

// Close ends everything that Open began, within seconds, and may be called twice; a
// Server that could not be opened may be closed too.
func TestClose(t *testing.T) {
	in := start(t, func(o *Options) { o.NSQDHTTPAddresses = []string{"127.0.0.1:1"} })
	for range 2 {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := net.DialTimeout("tcp", in.HTTPAddr().String(), time.Second); err == nil {
		t.Error("it still listens")
	}
	o := DefaultOptions()
	o.HTTPAddress, o.NSQDHTTPAddresses = "256.0.0.1:1", []string{"127.0.0.1:1"}
	s := New(o, hclog.NewNullLogger())
	if err := s.Open(); err == nil {
		t.Fatal("it listens where nobody can")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
