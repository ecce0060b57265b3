package clusterinfo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A daemon answers over HTTP what a test says: bodies by path.
type daemon map[string]string

func (d daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, ok := d[r.URL.Path]
	w.Header().Set("X-Nsq-Content-Type", "nsq; version=1.0")
	if status, text, found := strings.Cut(body, " "); found && len(status) == 3 {
		code, _ := strconv.Atoi(status)
		w.WriteHeader(code)
		body = text
	} else if !ok {
		w.WriteHeader(http.StatusNotFound)
		body = `{"message":"NOT_FOUND"}`
	}
	io.WriteString(w, body)
}

// patience is what a test waits for something that must come.
const patience = 30 * time.Second

// newClient returns a Client for daemons that answer, on however slow a machine.
func newClient() *Client {
	return NewClient(Options{ConnectTimeout: patience, RequestTimeout: patience})
}

// serve returns the address at which h answers.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// dead returns an address where nobody listens.
func dead(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	return strings.TrimPrefix(srv.URL, "http://")
}

// hanging returns the address of a daemon that accepts requests and never answers.
func hanging(t testing.TB) string {
	t.Helper()
	release := make(chan struct{})
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(release) })
	return address
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestNamesAreTheUnionOfAllLookupds(t *testing.T) {
	a := serve(t, daemon{"/topics": `{"topics":["b","a"]}`, "/channels": `{"channels":["y"]}`})
	b := serve(t, daemon{"/topics": `{"topics":["c","b","<script>","../../etc",""]}`, "/channels": `{"channels":["x","y",";rm"]}`})
	c := newClient()
	topics, err := c.Topics(t.Context(), []string{a, b, a})
	equal(t, "topics", topics, []string{"a", "b", "c"})
	equal(t, "error", err, nil)
	channels, err := c.Channels(t.Context(), []string{a, b}, "a")
	equal(t, "channels", channels, []string{"x", "y"})
	equal(t, "error", err, nil)
	topics, err = c.Topics(t.Context(), nil)
	equal(t, "topics of nobody", len(topics), 0)
	equal(t, "error", err, nil)
}

func TestErrorsSayWhoFailed(t *testing.T) {
	up := serve(t, daemon{"/topics": `{"topics":["a"]}`})
	ill := serve(t, daemon{"/topics": `500 {"message":"INTERNAL_ERROR"}`})
	down := dead(t)
	c := newClient()

	topics, err := c.Topics(t.Context(), []string{up, ill, down})
	equal(t, "topics", topics, []string{"a"})
	partial, ok := errors.AsType[*PartialError](err)
	if !ok || partial.Asked != 3 || len(partial.Errors) != 2 || partial.Errors[0].Address > partial.Errors[1].Address {
		t.Errorf("two of three fail: got %v, want a PartialError about both", err)
	}
	if e, ok := errors.AsType[*StatusError](err); !ok || e.Status != 500 || e.Text != "INTERNAL_ERROR" {
		t.Errorf("got %v, want the status within", err)
	}

	topics, err = c.Topics(t.Context(), []string{ill, down})
	equal(t, "topics", len(topics), 0)
	if total, ok := errors.AsType[*TotalError](err); !ok || len(total.Errors) != 2 {
		t.Errorf("all fail: got %v, want a TotalError about both", err)
	}
	_, err = c.Topics(t.Context(), []string{ill})
	if e, ok := err.(*DaemonError); !ok || e.Address != ill {
		t.Errorf("the only one fails: got %#v, want a DaemonError", err)
	}
}

func TestProducersAreMergedByAddress(t *testing.T) {
	row := func(host string, http int, rest string) string {
		return fmt.Sprintf(`{"remote_address":"1.2.3.4:5","hostname":"h","broadcast_address":%q,"tcp_port":4150,"http_port":%d,"version":"1.3.0"%s}`, host, http, rest)
	}
	a := serve(t, daemon{"/nodes": `{"producers":[` +
		row("n2", 4151, `,"topics":["t","s"],"tombstones":[true,false]`) + `,null,` +
		row("::1", 4151, `,"topics":["t"],"tombstones":[]`) + `]}`})
	b := serve(t, daemon{"/nodes": `{"producers":[` +
		row("n2", 4151, `,"topics":["t","u"],"tombstones":[false,false,true]`) + `,` +
		row("n1", 70000, ``) + `,` + row("", 4151, ``) + `]}`})
	producers, err := newClient().Producers(t.Context(), []string{a, b})
	if err != nil || len(producers) != 2 {
		t.Fatalf("got %v, %v, want two producers", producers, err)
	}
	equal(t, "address", producers[0].HTTPAddress(), "[::1]:4151")
	equal(t, "without tombstones", producers[0].Topics, []ProducerTopic{{"t", false}})
	equal(t, "address", producers[1].TCPAddress(), "n2:4150")
	equal(t, "topics", producers[1].Topics, []ProducerTopic{{"s", false}, {"t", true}, {"u", false}})
	equal(t, "lookupds", len(producers[1].RemoteAddresses), 2)
}

// A2: stock nsqadmin dies of lists of different lengths, one longer than the other.
func TestListsOfDifferentLengthsAreHarmless(t *testing.T) {
	for _, lists := range []string{
		`"topics":["t","u"],"tombstones":[true]`, `"topics":["t","u"]`, `"topics":["t","u"],"tombstones":null`,
		`"topics":[],"tombstones":[true,true]`, `"topics":null,"tombstones":[true]`,
	} {
		address := serve(t, daemon{"/nodes": `{"producers":[{"broadcast_address":"n","tcp_port":1,"http_port":2,` + lists + `}]}`})
		producers, err := newClient().Producers(t.Context(), []string{address})
		if err != nil || len(producers) != 1 {
			t.Errorf("%s: got %v, %v", lists, producers, err)
		}
	}
}

func TestTopicProducers(t *testing.T) {
	c := newClient()
	unknown := serve(t, daemon{"/lookup": `404 {"message":"TOPIC_NOT_FOUND"}`})
	old := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // before 1.0
		equal(t, "topic asked for", r.URL.Query().Get("topic"), "a&b")
		io.WriteString(w, `{"status_code":200,"status_txt":"OK","data":{"channels":[],"producers":[{"broadcast_address":"n","tcp_port":1,"http_port":2}]}}`)
	}))
	producers, err := c.TopicProducers(t.Context(), []string{unknown, old}, "a&b")
	if err != nil || len(producers) != 1 || producers[0].HTTPAddress() != "n:2" {
		t.Errorf("got %v, %v, want the one of the wrapped answer", producers, err)
	}
	producers, err = c.TopicProducers(t.Context(), []string{unknown}, "t")
	if err != nil || len(producers) != 0 {
		t.Errorf("unknown topic: got %v, %v", producers, err)
	}
	// Something else that answers 404 is no nsqlookupd.
	if _, err = c.TopicProducers(t.Context(), []string{serve(t, daemon{})}, "t"); err == nil {
		t.Error("404 NOT_FOUND is taken for an unknown topic")
	}
}

const someStats = `{"version":"1.3.0","health":"OK","start_time":7,"future":{"x":[1]},"topics":[
	{"topic_name":"t","channels":[null,{"channel_name":"c","depth":3,"clients":[null,{"client_id":"x"}],"e2e_processing_latency":{"count":0,"percentiles":null}}],
	 "depth":5,"paused":true,"e2e_processing_latency":{"count":1,"percentiles":[{"quantile":0.5,"value":9}]}},
	null,{"topic_name":"<b>"},{"topic_name":"t","depth":77},{"topic_name":"s","channels":null}],
	"memory":{"heap_objects":1},"producers":[{"client_id":"p","pub_counts":[{"topic":"t","count":2}]},null]}`

func TestStats(t *testing.T) {
	var asked url.Values
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		io.WriteString(w, someStats)
	}))
	c := newClient()
	stats, err := c.Stats(t.Context(), address, StatsFilter{Topic: "t", Channel: "c", Clients: true})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "query", asked.Encode(), "channel=c&format=json&include_clients=true&include_mem=false&topic=t")
	if len(stats.Topics) != 2 || stats.Topics[0].Name != "s" || stats.Topics[1].Depth != 5 {
		t.Fatalf("got %+v, want s, and the first t", stats.Topics)
	}
	topic := stats.Topics[1]
	if topic.E2ELatency == nil || len(topic.Channels) != 1 {
		t.Fatalf("got %+v", topic)
	}
	ch := topic.Channels[0]
	if ch.Depth != 3 || ch.ClientCount != 1 || len(ch.Clients) != 1 || ch.E2ELatency != nil {
		t.Errorf("got %+v", ch)
	}
	if len(stats.Producers) != 1 || stats.Producers[0].PubCounts[0].Count != 2 || stats.Memory.HeapObjects != 1 || stats.StartTime != 7 {
		t.Errorf("got %+v", stats)
	}
	stats, err = c.Stats(t.Context(), address, StatsFilter{})
	if err != nil || stats.Topics[1].Channels[0].Clients != nil || stats.Topics[1].Channels[0].ClientCount != 1 {
		t.Errorf("clients that were not asked for: got %v, want their number alone", err)
	}
	wrapped := serve(t, daemon{"/stats": `{"status_code":200,"status_txt":"OK","data":` + someStats + `}`})
	if stats, err = c.Stats(t.Context(), wrapped, StatsFilter{}); err != nil || len(stats.Topics) != 2 {
		t.Errorf("wrapped: got %v, %v", stats, err)
	}
}

func TestWhatCannotBeParsedIsAnError(t *testing.T) {
	c := newClient()
	for name, body := range map[string]string{
		"empty":           ``,
		"text":            `hello`,
		"cut":             `{"topics":[{"topic_name":"t"`,
		"another type":    `{"topics":7,"producers":"x"}`,
		"list":            `[]`,
		"number":          `{"topics":[{"topic_name":"t","depth":1e99}],"producers":[{"tcp_port":"4150"}]}`,
		"trailing":        `{"topics":{},"producers":{}}`,
		"deep":            strings.Repeat(`{"data":`, 100_000),
		"deep list":       `{"topics":` + strings.Repeat(`[`, 100_000),
		"deep unknown":    `{"x":` + strings.Repeat(`[`, 100_000),
		"many structs":    `{"topics":[{"topic_name":"t","channels":[` + strings.Repeat(`{},`, objectLimit+1) + `{}]}]}`,
		"invalid unicode": "{\"topics\xff",
	} {
		address := serve(t, daemon{"/stats": body, "/topics": body, "/nodes": body, "/lookup": body, "/cluster": body, "/info": body})
		_, err := c.Stats(t.Context(), address, StatsFilter{})
		if err == nil {
			t.Errorf("/stats, %s: no error", name)
		} else if len(err.Error()) > 500 {
			t.Errorf("/stats, %s: an error of %d bytes", name, len(err.Error()))
		}
		if _, err := c.Producers(t.Context(), []string{address}); err == nil {
			t.Errorf("/nodes, %s: no error", name)
		}
		if _, err := c.TopicProducers(t.Context(), []string{address}, "t"); err == nil {
			t.Errorf("/lookup, %s: no error", name)
		}
		if _, err := c.NSQDProducers(t.Context(), []string{address}); err == nil {
			t.Errorf("/info, %s: no error", name)
		}
	}
}

func TestEndlessAnswersEnd(t *testing.T) {
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := []byte(strings.Repeat(`"aaaaaaaa",`, 10_000))
		io.WriteString(w, `{"members":[`)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	c := NewClient(Options{RequestTimeout: time.Minute})
	if _, err := c.Cluster(t.Context(), serve(t, endless)); !errors.Is(err, errTooLong) {
		t.Errorf("endless: got %v, want %v", err, errTooLong)
	}
	drip := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			io.WriteString(w, " ")
			w.(http.Flusher).Flush()
			time.Sleep(time.Millisecond)
		}
	})
	c = NewClient(Options{RequestTimeout: 50 * time.Millisecond})
	for name, address := range map[string]string{"drip": serve(t, drip), "hanging": hanging(t)} {
		_, err := c.Topics(t.Context(), []string{address})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 50ms") {
			t.Errorf("%s: got %v, want how long it was waited for", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Topics(ctx, []string{hanging(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestLongRefusalsAreCutShort(t *testing.T) {
	address := serve(t, daemon{"/topics": "500 " + strings.Repeat("x\x1b\n", 100_000)})
	_, err := newClient().Topics(t.Context(), []string{address})
	if err == nil || len(err.Error()) > textLimit+100 {
		t.Errorf("got an error of %d bytes", len(err.Error()))
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"h:1":            "http://h:1",
		"[::1]:1":        "http://[::1]:1",
		"http://h:1/":    "http://h:1",
		"https://h/a/b/": "https://h/a/b",
		"ftp://h":        "",
		"":               "",
		"http://":        "",
		"h:x":            "",
		"h:1\n":          "",
	} {
		base, err := parseAddress(address)
		if (err != nil) != (want == "") || err == nil && base.String() != want {
			t.Errorf("%q: got %v, %v, want %q", address, base, err, want)
		}
	}
	address := serve(t, daemon{"/proxied/topics": `{"topics":["a"]}`})
	topics, err := newClient().Topics(t.Context(), []string{"http://" + address + "/proxied/"})
	if err != nil || len(topics) != 1 {
		t.Errorf("a path: got %v, %v", topics, err)
	}
}

func TestClusterOfStock(t *testing.T) {
	c := newClient()
	if _, err := c.Cluster(t.Context(), serve(t, daemon{})); !errors.Is(err, ErrNotClustered) {
		t.Errorf("stock: got %v, want %v", err, ErrNotClustered)
	}
	for _, body := range []string{`{}`, `{"message":"OK"}`, `{"members":[{"id":"n1"}]}`, `{"node_id":"n1"}`, `{"node_id":"n1","members":null}`, `null`} {
		if cl, err := c.Cluster(t.Context(), serve(t, daemon{"/cluster": body})); !errors.Is(err, ErrNotClustered) {
			t.Errorf("%s: got %+v, %v, want %v", body, cl, err, ErrNotClustered)
		}
	}
	if _, err := c.Cluster(t.Context(), serve(t, daemon{"/cluster": `{"node_id":"n4","role":"nonvoter","members":[]}`})); err != nil {
		t.Errorf("one that waits to be taken in: %v", err)
	}
	cl, err := c.Cluster(t.Context(), serve(t, daemon{"/cluster": `{"node_id":"n2","leader":"n2","members":[{"id":"n2"},null,{"id":"n1"}],"later":1}`}))
	if err != nil || cl.Leader != "n2" || len(cl.Members) != 2 || cl.Members[0].ID != "n1" {
		t.Errorf("got %+v, %v", cl, err)
	}
}
