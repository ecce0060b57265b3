package nsqd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/diskspace"
)

// testOptions listen on ports that are free and keep data in a folder of the test.
func testOptions(t testing.TB) *Options {
	o := DefaultOptions()
	o.TCPAddress, o.HTTPAddress, o.HTTPSAddress = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	o.DataPath = t.TempDir()
	return o
}

// openServer opens a Server that the end of the test closes.
func openServer(t testing.TB, o *Options) *Server {
	t.Helper()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	s := New(o, hclog.NewNullLogger())
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// An httpClient asks one server.
type httpClient struct {
	t    testing.TB
	base string
	*http.Client
}

func newHTTPClient(t testing.TB, s *Server) *httpClient {
	c := &httpClient{t, "http://" + s.HTTPAddr().String(), &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// ask sends a request such as "GET /ping", without redirects, and returns the answer as
// "status body".
func (c *httpClient) ask(request string, body io.Reader) string {
	c.t.Helper()
	resp := c.do(request, body)
	return fmt.Sprint(resp.StatusCode, " ", c.read(resp))
}

func (c *httpClient) do(request string, body io.Reader) *http.Response {
	c.t.Helper()
	method, target, _ := strings.Cut(request, " ")
	r, err := http.NewRequest(method, c.base+target, body)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.Transport.RoundTrip(r)
	if err != nil {
		c.t.Fatalf("%s: %v", request, err)
	}
	return resp
}

func (c *httpClient) read(resp *http.Response) string {
	c.t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// stats returns what /stats says with the query.
func (c *httpClient) stats(query string) Stats {
	c.t.Helper()
	resp := c.do("GET /stats?format=json&"+query, nil)
	var s Stats
	if err := json.Unmarshal([]byte(c.read(resp)), &s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

func message(text string) string { return `{"message":"` + text + `"}` }

// The answers of stock, in an order in which each step has what it needs.
func TestHTTPAnswers(t *testing.T) {
	o := testOptions(t)
	o.MaxMsgSize, o.MaxBodySize = 100, 250
	o.TopologyZone = "z"
	s := openServer(t, o)
	c := newHTTPClient(t, s)
	long := strings.Repeat("x", 101)
	for _, step := range []struct {
		request, body string
		status        int
		want          string
	}{
		{"GET /ping", "", 200, "OK"},
		{"HEAD /ping", "", 200, ""},
		{"POST /ping", "", 405, message("METHOD_NOT_ALLOWED")},
		{"GET /nowhere", "", 404, message("NOT_FOUND")},
		{"GET /livez", "", 200, "OK"},
		{"GET /readyz", "", 200, "OK"},

		{"POST /topic/create", "", 400, message("MISSING_ARG_TOPIC")},
		{"POST /topic/create?topic=", "", 400, message("INVALID_TOPIC")},
		{"POST /topic/create?topic=a%20b", "", 400, message("INVALID_TOPIC")},
		{"POST /topic/create?topic=" + strings.Repeat("a", 65), "", 400, message("INVALID_TOPIC")},
		{"POST /topic/create?topic=%zz", "", 400, message("INVALID_REQUEST")},
		{"POST /topic/create?topic=*", "", 400, message("INVALID_TOPIC")},
		{"GET /topic/create?topic=t", "", 405, message("METHOD_NOT_ALLOWED")},
		{"POST /topic/create?topic=t", "", 200, ""},
		{"POST /topic/create?topic=t", `{"ignored":true}`, 200, ""},
		{"POST /topic/pause", "", 400, message("MISSING_ARG_TOPIC")},
		{"POST /topic/pause?topic=a%20b", "", 404, message("TOPIC_NOT_FOUND")},
		{"POST /topic/pause?topic=t", "", 200, ""},
		{"POST /topic/unpause?topic=u", "", 404, message("TOPIC_NOT_FOUND")},
		{"POST /topic/unpause?topic=t", "", 200, ""},
		{"POST /topic/empty?topic=a%20b", "", 400, message("INVALID_TOPIC")},
		{"POST /topic/empty?topic=u", "", 404, message("TOPIC_NOT_FOUND")},
		{"POST /topic/empty?topic=t", "", 200, ""},
		{"POST /topic/delete", "", 400, message("MISSING_ARG_TOPIC")},
		{"POST /topic/delete?topic=a%20b", "", 404, message("TOPIC_NOT_FOUND")},
		{"POST /topic/delete?topic=*", "", 404, message("TOPIC_NOT_FOUND")},

		{"POST /channel/create?channel=c", "", 400, message("MISSING_ARG_TOPIC")},
		{"POST /channel/create?topic=a%20b&channel=c", "", 400, message("INVALID_ARG_TOPIC")},
		{"POST /channel/create?topic=t", "", 400, message("MISSING_ARG_CHANNEL")},
		{"POST /channel/create?topic=t&channel=", "", 400, message("INVALID_ARG_CHANNEL")},
		{"POST /channel/create?topic=u&channel=c", "", 404, message("TOPIC_NOT_FOUND")},
		{"POST /channel/create?topic=t&channel=c", "", 200, ""},
		{"POST /channel/create?topic=t&channel=c", "", 200, ""},
		{"POST /channel/pause?topic=t&channel=d", "", 404, message("CHANNEL_NOT_FOUND")},
		{"POST /channel/pause?topic=t&channel=c", "", 200, ""},
		{"POST /channel/unpause?topic=t&channel=c", "", 200, ""},
		{"POST /channel/unpause?topic=u&channel=c", "", 404, message("TOPIC_NOT_FOUND")},
		{"POST /channel/empty?topic=t&channel=d", "", 404, message("CHANNEL_NOT_FOUND")},
		{"POST /channel/empty?topic=t&channel=c", "", 200, ""},
		{"POST /channel/delete?topic=t&channel=d", "", 404, message("CHANNEL_NOT_FOUND")},
		{"POST /channel/delete?topic=t", "", 400, message("MISSING_ARG_CHANNEL")},

		{"POST /pub?topic=t", "", 400, message("MSG_EMPTY")},
		{"POST /pub?topic=%zz", "", 400, message("MSG_EMPTY")},
		{"POST /pub", "x", 400, message("MISSING_ARG_TOPIC")},
		{"POST /pub?topic=%zz", "x", 400, message("INVALID_REQUEST")},
		{"POST /pub?topic=", "x", 400, message("INVALID_TOPIC")},
		{"POST /pub?topic=t&defer=-1", "x", 400, message("INVALID_DEFER")},
		{"POST /pub?topic=t&defer=3600001", "x", 400, message("INVALID_DEFER")},
		{"POST /pub?topic=t&defer=18446744073710", "x", 400, message("INVALID_DEFER")},
		{"POST /pub?topic=t", long, 413, message("MSG_TOO_BIG")},
		{"POST /pub?topic=t", long[1:], 200, "OK"},
		{"POST /pub?topic=t&defer=3600000", "x", 200, "OK"},
		{"PUT /pub?topic=t", "x", 405, message("METHOD_NOT_ALLOWED")},

		{"POST /mpub", "x", 400, message("MISSING_ARG_TOPIC")},
		{"POST /mpub?topic=t", "", 200, "OK"},
		{"POST /mpub?topic=t", "\n\n", 200, "OK"},
		{"POST /mpub?topic=t", "a\nb\n\nc", 200, "OK"},
		{"POST /mpub?topic=t&defer=x", "a\n", 400, message("INVALID_DEFER")},
		{"POST /mpub?topic=t&defer=3600000", "a\n", 200, "OK"},
		{"POST /mpub?topic=t", long + "\n", 413, message("MSG_TOO_BIG")},
		{"POST /mpub?topic=t", strings.Repeat("a\n", 126), 413, message("BODY_TOO_BIG")},
		{"POST /mpub?topic=t&binary=true", string(mpub("a", "b")), 200, "OK"},
		{"POST /mpub?topic=t&binary=1", string(mpub("a")), 200, "OK"},
		{"POST /mpub?topic=t&binary=yes", string(mpub("a")), 200, "OK"},
		{"POST /mpub?topic=t&binary=", "a", 413, message("BAD_BODY")},
		{"POST /mpub?topic=t&binary=true", "", 413, message("BAD_BODY")},
		{"POST /mpub?topic=t&binary=true", string(mpub("a", "")), 413, message("BAD_MESSAGE")},
		{"POST /mpub?topic=t&binary=true", string(mpub(long)), 413, message("BAD_MESSAGE")},
		{"POST /mpub?topic=t&binary=false", "a", 200, "OK"},

		{"GET /config/max_msg_size", "", 200, "100"},
		{"GET /config/log_prefix", "", 200, "[nsqd] "},
		{"GET /config/nothing", "", 400, message("INVALID_OPTION")},
		{"GET /config/nsqlookupd_tcp_addresses", "", 200, "[]"},
		{"GET /config/broadcast_http_port", "", 200, fmt.Sprint(portOf(s.HTTPAddr()))},
		{"GET /config/drain", "", 200, "false"},
		{"PUT /config/max_msg_size", "1000", 400, message("INVALID_OPTION")},
		{"PUT /config/nothing", "x", 400, message("INVALID_OPTION")},
		{"PUT /config/log_level", "", 413, message("INVALID_VALUE")},
		{"PUT /config/log_level", strings.Repeat("x", maxConfigValue+1), 413, message("INVALID_VALUE")},
		{"PUT /config/log_level", "loud", 400, message("INVALID_VALUE")},
		{"PUT /config/nsqlookupd_tcp_addresses", "a:1", 400, message("INVALID_VALUE")},
		{"PUT /config/nsqlookupd_tcp_addresses", `["no port"]`, 400, message("INVALID_VALUE")},
		{"PUT /config/nsqlookupd_tcp_addresses", `["127.0.0.1:1"]`, 200, `["127.0.0.1:1"]`},
		{"GET /config/nsqlookupd_tcp_addresses", "", 200, `["127.0.0.1:1"]`},
		{"PUT /config/nsqlookupd_tcp_addresses", `[]`, 200, `[]`},
		{"PUT /config/drain", "false", 400, message("INVALID_VALUE")},
		{"POST /config/drain", "", 405, message("METHOD_NOT_ALLOWED")},

		{"PUT /debug/setblockrate?rate=x", "", 400, `invalid block rate : strconv.Atoi: parsing "x": invalid syntax`},
		{"PUT /debug/setblockrate?rate=0", "", 200, ""},
		{"POST /debug/freememory", "", 200, ""},
		{"GET /debug/pprof/cmdline", "", 200, strings.Join(os.Args, "\x00")},

		{"POST /channel/delete?topic=t&channel=c", "", 200, ""},
		{"POST /topic/delete?topic=t", "", 200, ""},
		{"POST /topic/delete?topic=t", "", 404, message("TOPIC_NOT_FOUND")},
	} {
		want := fmt.Sprint(step.status, " ", step.want)
		if got := c.ask(step.request, strings.NewReader(step.body)); got != want {
			t.Errorf("%s: got %q, want %q", step.request, got, want)
		}
	}
}

// What is published is in the channel, and the counters say so.
func TestHTTPPublish(t *testing.T) {
	s := openServer(t, testOptions(t))
	c := newHTTPClient(t, s)
	c.ask("POST /topic/create?topic=t", nil)
	c.ask("POST /channel/create?topic=t&channel=c", nil)
	c.ask("POST /pub?topic=t", strings.NewReader("one"))
	c.ask("POST /mpub?topic=t", strings.NewReader("two\nthree\n"))
	c.ask("POST /mpub?topic=t&binary=true", bytes.NewReader(mpub("four", "five\nlines")))
	c.ask("POST /pub?topic=t&defer=60000", strings.NewReader("six"))
	c.ask("POST /mpub?topic=t&defer=60000", strings.NewReader("seven\neight"))

	got := c.stats("topic=t&include_clients=false").Topics[0]
	if got.MessageCount != 8 || got.MessageBytes != uint64(len("onetwothreefourfive\nlinessixseveneight")) || got.Depth != 0 {
		t.Errorf("topic: got %+v", got)
	}
	if ch := got.Channels[0]; ch.Name != "c" || ch.MessageCount != 8 || ch.Depth != 5 || ch.DeferredCount != 3 || ch.Clients != nil {
		t.Errorf("channel: got %+v", ch)
	}

	c.ask("POST /channel/pause?topic=t&channel=c", nil)
	c.ask("POST /topic/pause?topic=t", nil)
	got = c.stats("").Topics[0]
	if !got.Paused || !got.Channels[0].Paused {
		t.Errorf("paused: got %+v", got)
	}
	c.ask("POST /channel/empty?topic=t&channel=c", nil)
	if ch := c.stats("").Topics[0].Channels[0]; ch.Depth != 0 || ch.DeferredCount != 0 {
		t.Errorf("emptied: got %+v", ch)
	}
}

func TestHTTPStats(t *testing.T) {
	s := openServer(t, testOptions(t))
	c := newHTTPClient(t, s)
	for _, request := range []string{"topic/create?topic=b", "topic/create?topic=a", "channel/create?topic=a&channel=y", "channel/create?topic=a&channel=x"} {
		c.ask("POST /"+request, nil)
	}
	for query, want := range map[string]string{
		"topic=nothing": `"topics":null,`,
	} {
		if got := c.ask("GET /stats?format=json&"+query, nil); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	names := func(s Stats) (names []string) {
		for _, t := range s.Topics {
			names = append(names, t.Name)
			for _, c := range t.Channels {
				names = append(names, c.Name)
			}
		}
		return names
	}
	for query, want := range map[string][]string{
		"":                  {"a", "x", "y", "b"},
		"topic=a":           {"a", "x", "y"},
		"topic=a&channel=y": {"a", "y"},
		"topic=b":           {"b"},
	} {
		if got := names(c.stats(query)); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	if c.stats("include_mem=false").Memory != nil || c.stats("include_mem=no").Memory == nil || c.stats("").Memory.HeapInUseBytes == 0 {
		t.Error("memory is not what was asked for")
	}
	resp := c.do("GET /stats?include_mem=0", nil)
	if got := c.read(resp); !strings.HasPrefix(got, "nsqd v"+Version+" (built w/go") || strings.Contains(got, "Memory") ||
		!strings.Contains(got, "\n   [b              ] depth: 0     be-depth: 0     msgs: 0        e2e%: \n") {
		t.Errorf("got %s", got)
	}
	if v := resp.Header.Get("X-Nsq-Content-Type"); v != "nsq; version=1.0" {
		t.Errorf("got X-Nsq-Content-Type %q", v)
	}
}

func TestHTTPInfo(t *testing.T) {
	o := testOptions(t)
	o.BroadcastAddress, o.TopologyRegion = "here", "r"
	s := openServer(t, o)
	host, _ := os.Hostname()
	want := fmt.Sprintf(`200 {"version":%q,"broadcast_address":"here","hostname":%q,"http_port":%d,"tcp_port":%d,"start_time":%d,"max_heartbeat_interval":60000000000,"max_output_buffer_size":65536,"max_output_buffer_timeout":30000000000,"max_deflate_level":6,"topology_zone":"","topology_region":"r"}`,
		Version, host, portOf(s.HTTPAddr()), portOf(s.TCPAddr()), s.StartTime().Unix())
	if got := newHTTPClient(t, s).ask("GET /info", nil); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestHTTPLogLevel(t *testing.T) {
	o := testOptions(t)
	log := hclog.New(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Info})
	s := New(o, log)
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := newHTTPClient(t, s)
	for i, level := range []string{"debug", "INFO", "warn", "Error", "fatal"} {
		want := fmt.Sprint("200 ", i+1)
		if got := c.ask("PUT /config/log_level", strings.NewReader(level)); got != want {
			t.Errorf("%s: got %s, want %s", level, got, want)
		}
		if got := c.ask("GET /config/log_level", nil); got != want {
			t.Errorf("after %s: got %s, want %s", level, got, want)
		}
	}
	if log.GetLevel() != hclog.Off {
		t.Errorf("the logger's level is %v", log.GetLevel())
	}
}

func TestHTTPConfigForbidden(t *testing.T) {
	for _, cidr := range []string{"", "10.0.0.0/8"} {
		o := testOptions(t)
		o.AllowConfigFromCIDR = cidr
		c := newHTTPClient(t, openServer(t, o))
		for _, option := range []string{"log_level", "nsqlookupd_tcp_addresses", "drain", "nothing"} {
			if got := c.ask("PUT /config/"+option, strings.NewReader("debug")); got != "403 "+message("FORBIDDEN") {
				t.Errorf("from %q, %s: got %s", cidr, option, got)
			}
		}
		if got := c.ask("GET /config/log_level", nil); !strings.HasPrefix(got, "200 ") {
			t.Errorf("reading: got %s", got)
		}
	}
}

func TestHTTPDrain(t *testing.T) {
	s := openServer(t, testOptions(t))
	c := newHTTPClient(t, s)
	c.ask("POST /topic/create?topic=t", nil)
	if got := c.ask("PUT /config/drain", nil); got != "200 true" {
		t.Fatalf("got %s", got)
	}
	for request, want := range map[string]string{
		"GET /livez":                 "200 OK",
		"GET /readyz":                "503 NOK - draining",
		"GET /ping":                  "200 OK",
		"GET /config/drain":          "200 true",
		"POST /pub?topic=t":          "503 " + message("EXITING"),
		"POST /mpub?topic=t":         "503 " + message("EXITING"),
		"POST /pub?topic=u":          "503 " + message("EXITING"),
		"POST /topic/create?topic=u": "503 " + message("EXITING"),
	} {
		var body io.Reader
		if strings.HasPrefix(request, "POST") {
			body = strings.NewReader("x")
		}
		if got := c.ask(request, body); got != want {
			t.Errorf("%s: got %s, want %s", request, got, want)
		}
	}
}

func TestHTTPUnhealthy(t *testing.T) {
	s := openServer(t, testOptions(t))
	c := newHTTPClient(t, s)
	s.health.failed("t", io.ErrShortWrite)
	defer s.health.succeeded("t")
	for request, want := range map[string]string{
		"GET /ping":   "500 NOK - short write",
		"GET /livez":  "200 OK",
		"GET /readyz": "503 NOK - disk: short write",
	} {
		if got := c.ask(request, nil); got != want {
			t.Errorf("%s: got %s, want %s", request, got, want)
		}
	}
	if got := c.stats("").Health; got != "NOK - short write" {
		t.Errorf("health: got %s", got)
	}
}

// While the server closes, requests that still come are told so.
func TestHTTPClosingIsNotReady(t *testing.T) {
	s := openServer(t, testOptions(t))
	c := newHTTPClient(t, s)
	s.stop()
	for request, want := range map[string]string{"GET /readyz": "503 NOK - closing", "GET /livez": "200 OK"} {
		if got := c.ask(request, nil); got != want {
			t.Errorf("%s: got %s, want %s", request, got, want)
		}
	}
}

func TestHTTPMetrics(t *testing.T) {
	s := openServer(t, testOptions(t))
	c := newHTTPClient(t, s)
	c.ask("POST /pub?topic=t", strings.NewReader("x"))
	c.ask("POST /channel/create?topic=t&channel=c", nil)
	c.ask("POST /topic/create?topic=x%23ephemeral", nil)
	c.ask("POST /pub?topic=", strings.NewReader("x"))
	if _, err := diskspace.Free(s.opts.DataPath); err == nil {
		for s.diskFree.Load() == nil {
			time.Sleep(time.Millisecond)
		}
		if got := c.ask("GET /metrics?name[]=nsqd_disk_free_bytes", nil); !strings.Contains(got, "\nnsqd_disk_free_bytes ") || strings.Contains(got, "nsqd_topics") {
			t.Errorf("the free space alone: got %s", got)
		}
	}
	got := c.ask("GET /metrics", nil)
	for _, want := range []string{
		"nsqd_healthy 1\n", "nsqd_topics 2\n", "nsqd_channels 1\n", "nsqd_queues_left_out 1\n",
		`nsqd_topic_messages_total{topic="t"} 1` + "\n",
		`nsqd_channel_messages_total{channel="c",topic="t"} 1` + "\n",
		`nsqd_http_request_duration_seconds_count{code="200",method="POST",route="/pub"} 1` + "\n",
		`nsqd_http_request_duration_seconds_count{code="400",method="POST",route="/pub"} 1` + "\n",
		`nsqd_build_info{goversion="`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(got, "ephemeral\"") {
		t.Error("an ephemeral topic has series")
	}
}

// Bodies that lie about their length, or have none: refused in time, and what they
// hold is not kept.
func TestHTTPBadBodies(t *testing.T) {
	o := testOptions(t)
	o.MaxMsgSize, o.MaxBodySize = 100<<10, 300<<10
	s := openServer(t, o)
	c := newHTTPClient(t, s)
	chunked := func(path string, sizes ...int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", path)
		for _, n := range sizes {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, strings.Repeat("x", n))
		}
		return b.String()
	}
	tests := []struct{ name, request, want string }{
		{"pub announced", "POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 102401\r\n\r\n", "413 " + message("MSG_TOO_BIG")},
		{"pub announced as huge", "POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\n", "413 " + message("MSG_TOO_BIG")},
		{"pub chunked", chunked("/pub?topic=t", 60<<10, 60<<10), "413 " + message("MSG_TOO_BIG")},
		{"mpub announced", "POST /mpub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 307201\r\n\r\n", "413 " + message("BODY_TOO_BIG")},
		{"mpub chunked", chunked("/mpub?topic=t", 100<<10, 100<<10, 100<<10, 1), "413 " + message("BODY_TOO_BIG")},
		{"binary chunked", chunked("/mpub?topic=t&binary=true", 100<<10, 100<<10, 100<<10, 1), "413 " + message("BODY_TOO_BIG")},
		{"no topic, body not sent", "POST /mpub HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n", "400 " + message("MISSING_ARG_TOPIC")},
		{"bad chunk", chunked("/pub?topic=t") + "zz\r\n", "500 " + message("INTERNAL_ERROR")},
		{"huge chunk", chunked("/pub?topic=t") + "7fffffffffffffff\r\nxx", ""},
		{"config chunked", strings.Replace(chunked("/config/log_level", 40<<10, 40<<10), "POST", "PUT", 1), "413 " + message("INVALID_VALUE")},
		{"topic pause", "POST /topic/pause?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 157286400\r\n\r\n", "413 " + message("BODY_TOO_BIG")},
	}
	t.Run("refused", func(t *testing.T) { // each waits a second for the rest of the body
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				conn, err := net.Dial("tcp", s.HTTPAddr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(30 * time.Second))
				go io.WriteString(conn, tt.request) // may fail: the server reads no more
				if tt.want == "" {                  // it waits for more, for a time that httpapi bounds
					return
				}
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				if got := fmt.Sprint(resp.StatusCode, " ", string(body)); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		}
	})
	if topics := c.stats("").Topics; len(topics) != 0 {
		t.Errorf("topics came of it: %+v", topics)
	}
	if got := c.ask("POST /pub?topic=t", strings.NewReader("x")); got != "200 OK" {
		t.Errorf("others: got %s", got)
	}
}

func TestHTTPUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "nsqd") // t.TempDir's name may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "http.sock")

	// The socket of a process that is gone.
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()

	o := testOptions(t)
	o.HTTPAddress = path
	s := openServer(t, o)
	c := &httpClient{t, "http://unix", &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}}
	defer c.CloseIdleConnections()
	if got := c.ask("GET /ping", nil); got != "200 OK" {
		t.Errorf("got %s", got)
	}
	if got := c.ask("GET /info", nil); !strings.Contains(got, `"http_port":-1,`) {
		t.Errorf("got %s", got)
	}
	if got := c.ask("PUT /config/nsqlookupd_tcp_addresses", strings.NewReader("[]")); got != "200 []" {
		t.Errorf("config over the socket: got %s", got)
	}

	// Somebody listens on it.
	if ln, err := listen(path); err == nil {
		ln.Close()
		t.Error("a socket in use was replaced")
	}
	if got := c.ask("GET /ping", nil); got != "200 OK" {
		t.Errorf("after another has tried: got %s", got)
	}
	c.CloseIdleConnections()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket was left: %v", err)
	}

	// What is no socket is never removed.
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ln, err := listen(path); err == nil {
		ln.Close()
		t.Error("a file was replaced")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "data" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

func TestHTTPS(t *testing.T) {
	o := testOptions(t)
	a := newAuthority(t)
	a.leaf("server")
	o.TLSCert, o.TLSKey = a.file("server.pem"), a.file("server.key")
	o.TLSRequired = tlsRequired
	s := openServer(t, o)
	plain := newHTTPClient(t, s)
	want := fmt.Sprintf(`403 {"message": "TLS_REQUIRED", "https_port": %d}`, portOf(s.HTTPSAddr()))
	for _, request := range []string{"GET /ping", "POST /pub?topic=t", "GET /nowhere"} {
		if got := plain.ask(request, nil); got != want {
			t.Errorf("%s: got %s, want %s", request, got, want)
		}
	}
	secure := &httpClient{t, "https://" + s.HTTPSAddr().String(), &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}}
	defer secure.CloseIdleConnections()
	if got := secure.ask("POST /pub?topic=t", strings.NewReader("x")); got != "200 OK" {
		t.Errorf("got %s", got)
	}
	if got := secure.ask("PUT /config/nsqlookupd_tcp_addresses", strings.NewReader("[]")); got != "200 []" {
		t.Errorf("got %s", got)
	}
}

func TestHTTPIsNotRequired(t *testing.T) {
	o := testOptions(t)
	o.HTTPAddress = ""
	s := openServer(t, o)
	if s.HTTPAddr() != nil || s.HTTPSAddr() != nil {
		t.Errorf("listens on %v and %v", s.HTTPAddr(), s.HTTPSAddr())
	}
}

// Close lets a request that is being answered end, but no longer than httpDrain.
func TestHTTPClose(t *testing.T) {
	s := openServer(t, testOptions(t))
	conn, err := net.Dial("tcp", s.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nha") // the rest never comes
	begun := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > httpDrain+5*time.Second {
		t.Errorf("took %v", took)
	}
	if _, err := net.DialTimeout("tcp", s.HTTPAddr().String(), time.Second); err == nil {
		t.Error("still listens")
	}
}

func TestHTTPPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	o := testOptions(t)
	o.HTTPAddress = ln.Addr().String()
	if err := New(o, hclog.NewNullLogger()).Open(); err == nil || !strings.Contains(err.Error(), "listen for HTTP: ") {
		t.Errorf("got %v", err)
	}
}
