package nsqadmin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/nsqtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

// liar returns the address of a server that answers what answers has for a path, and
// all else with 404.
func liar(t *testing.T, answers map[string]string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("X-Nsq-Content-Type", "nsq; version=1.0")
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// Whatever daemons say, every answer is one, and a good daemon beside them is shown.
func TestUpstreamsThatLie(t *testing.T) {
	node := nsqdtest.Start(t)
	node.Publish("t", "1")
	node.Post("/channel/create?topic=t&channel=c", "")
	host, port, _ := strings.Cut(node.HTTP, ":")
	good := `{"remote_address":"r:1","hostname":"h","broadcast_address":"` + host + `","tcp_port":1,"http_port":` + port + `,"version":"1.3.0"`
	honest := liar(t, map[string]string{
		"/topics": `{"topics":["t"]}`, "/channels": `{"channels":["c"]}`, "/info": `{"version":"1.3.0"}`, "/ping": "OK",
		"/nodes": `{"producers":[` + good + `,"topics":["t"],"tombstones":[false]}]}`,
	})
	tests := []struct{ name, topics, nodes, info string }{
		{"short tombstones", `{"topics":["t"]}`, `{"producers":[` + good + `,"topics":["t","u","v"],"tombstones":[true]}]}`, `{}`},
		{"null everywhere", `{"topics":null}`, `{"producers":[null,{"topics":null}]}`, `null`},
		{"no JSON", `<html>`, `}{`, ``},
		{"other types", `{"topics":{"a":1}}`, `{"producers":"none"}`, `[]`},
		{"without an end", `{"topics":["`, `{"producers":[`, `{`},
		{"names that are no names", `{"topics":["<script>alert(1)</script>","a b",""]}`, `{"producers":[]}`, `{}`},
		{"ports that are none", `{"topics":[]}`, `{"producers":[{"broadcast_address":"x","http_port":-1,"tcp_port":1e9,"topics":[],"tombstones":[]}]}`, `{}`},
		{"much", `{"topics":[` + strings.Repeat(`"a",`, 200_000) + `"b"]}`, `{"producers":[` + strings.Repeat(`{"topics":["x"],"tombstones":[]},`, 20_000) + `{}]}`, `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lying := liar(t, map[string]string{"/topics": tt.topics, "/nodes": tt.nodes, "/info": tt.info, "/stats": tt.info, "/cluster": tt.info, "/ping": "OK"})
			in := start(t, func(o *Options) { o.LookupdHTTPAddresses = []string{honest, lying} })
			in.await("/api/topics/t/c", "the channel", func(a reply) bool { return a.status == 200 })
			in.await("/api/nodes/"+node.HTTP, "the nsqd", has(`"topic_name":"t"`))
			for _, path := range []string{"/api/topics", "/api/topics?inactive=true", "/api/topics?detail=1", "/api/nodes", "/api/counter",
				"/api/overview", "/api/cluster", "/", "/topics", "/topics/t", "/nodes", "/cluster", "/lookup"} {
				if got := in.get(path); got.status != 200 || strings.Contains(got.body, "<script>alert") {
					t.Errorf("%s: %d %.300s", path, got.status, got.body)
				}
			}
		})
	}
}

// An nsqd that lies about its statistics spoils nobody else's.
func TestNsqdsThatLie(t *testing.T) {
	node := nsqdtest.Start(t)
	node.Publish("t", "1")
	for _, stats := range []string{
		`{"topics":[null,{"topic_name":"t","channels":[null,{"channel_name":"c","clients":[null],"depth":-5}],"message_count":-1,"e2e_processing_latency":{"percentiles":[null,{}]}}]}`,
		`{"topics":[{"topic_name":"t"},{"topic_name":"t"}],"memory":null,"producers":[null]}`,
		`{"topics":"t"}`, `[]`, `null`, ``, `{"start_time":"x"}`,
	} {
		lying := liar(t, map[string]string{"/stats": stats, "/ping": "OK", "/info": `{"version":"1.3.0","broadcast_address":"x","http_port":1,"tcp_port":1}`})
		in := start(t, func(o *Options) { o.NSQDHTTPAddresses = []string{node.HTTP, lying} })
		in.await("/api/nodes", "both", func(a reply) bool {
			nodes, _ := a.JSON["nodes"].([]any)
			return len(nodes) == 2 && in.view().Node(lying) != nil && asked(in.view())
		})
		for _, path := range []string{"/api/topics/t", "/api/topics/t/c", "/api/nodes/" + lying, "/api/counter", "/api/overview", "/topics/t", "/nodes/" + lying} {
			if got := in.get(path); got.status != 200 && got.status != 404 {
				t.Errorf("%s with %s: %d %.300s", path, stats, got.status, got.body)
			}
		}
		if got := in.get("/api/topics/t"); !strings.Contains(got.body, node.HTTP) {
			t.Errorf("with %s the other is not shown: %s", stats, got.body)
		}
	}
}

func TestGraphite(t *testing.T) {
	answers := make(chan string, 1)
	asked := make(chan *http.Request, 1)
	graphite := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		w.Header().Set("Set-Cookie", "a=b")
		fmt.Fprint(w, <-answers)
	}))
	defer graphite.Close()
	in := start(t, func(o *Options) {
		o.NSQDHTTPAddresses, o.GraphiteURL, o.ProxyGraphite = []string{"127.0.0.1:1"}, strings.Replace(graphite.URL, "//", "//g:pw@", 1)+"/g", true
	})
	for _, tt := range []struct {
		answer string
		status int
		rate   any
	}{
		{`[{"target":"x","datapoints":[[74.0,1],[3,2]]}]`, 200, "1.23"},
		{`[{"datapoints":[[-1,1]]}]`, 200, "N/A"},
		{`[{"datapoints":[[null,1]]}]`, 200, "N/A"},
		{`[{"datapoints":[[]]}]`, 200, "N/A"},
		{`[{"datapoints":[]}]`, 200, "N/A"},
		{`[]`, 200, "N/A"},
		{`null`, 200, "N/A"},
		{`oops`, 500, nil},
	} {
		answers <- tt.answer
		got := in.get("/api/graphite?metric=rate&target=a%20b")
		if r := <-asked; r.URL.Path != "/g/render" || r.URL.RawQuery != "format=json&from=-120sec&target=a+b&until=-60sec" {
			t.Errorf("graphite is asked %s", r.URL)
		}
		if got.status != tt.status || got.JSON["rate"] != tt.rate {
			t.Errorf("graphite says %s: %d %s, want %d with rate %v", tt.answer, got.status, got.body, tt.status, tt.rate)
		}
	}
	answers <- "<script>picture</script>"
	got := in.ask("GET", "/render?target=x&width=10", "", withPassword("user", "secret"), as("user"))
	r := <-asked
	if user, password, _ := r.BasicAuth(); user != "g" || password != "pw" || r.URL.RequestURI() != "/g/render?target=x&width=10" || r.Header.Get("X-Forwarded-User") != "" {
		t.Errorf("graphite is asked %s as %s:%s with %v", r.URL, user, password, r.Header)
	}
	if got.body != "<script>picture</script>" || got.header.Get("Set-Cookie") != "" || !strings.Contains(got.header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("it is passed on as %v %s", got.header, got.body)
	}
	graphite.Close()
	if got := in.get("/render?target=x"); got.status != 502 {
		t.Errorf("without graphite: %d %s", got.status, got.body)
	}
	if got := in.get("/api/graphite?metric=rate&target=x"); got.status != 500 || got.JSON["message"] != "INTERNAL_ERROR" {
		t.Errorf("a rate without graphite: %d %s", got.status, got.body)
	}
}

func TestLooksAtMessages(t *testing.T) {
	a, b := nsqdtest.Start(t), nsqdtest.Start(t)
	a.Publish("t", "before")
	a.Post("/channel/create?topic=t&channel=c", "")
	b.Publish("t", "waits for the first channel")
	in := start(t, func(o *Options) { o.NSQDHTTPAddresses = []string{a.HTTP, b.HTTP, nsqtest.FreeAddress(t)} })
	in.await("/api/topics/t", "both", func(r reply) bool {
		nodes, _ := r.JSON["nodes"].([]any)
		return len(nodes) == 2
	})
	done := make(chan reply, 1)
	go func() { done <- in.get("/api/topics/t/peek?n=3&wait=30s") }()
	published := int64(1)
	for got := (reply{}); ; {
		a.Publish("t", fmt.Sprintf("message %d", published)) // until the channel is there and has seen three
		published++
		select {
		case got = <-done:
		case <-time.After(20 * time.Millisecond):
			continue
		}
		messages, _ := got.JSON["messages"].([]any)
		if got.status != 200 || len(messages) != 3 {
			t.Fatalf("%d %s, want three messages", got.status, got.body)
		}
		first := messages[0].(map[string]any)
		if !strings.HasPrefix(first["body"].(string), "message ") || first["node"] != a.HTTP || first["size"].(float64) < 9 || len(first["id"].(string)) != 16 {
			t.Errorf("a message is shown as %v", first)
		}
		if !strings.Contains(got.JSON["message"].(string), "nsqd "+b.HTTP+": the topic has no channel there") {
			t.Errorf("message %q, want that the nsqd without a channel is left out", got.JSON["message"])
		}
		break
	}
	a.AwaitChannel("t", "c", func(c nsqdtest.Channel) bool { return c.Depth == published && c.InFlight == 0 })
	b.Post("/channel/create?topic=t&channel=c", "")
	b.AwaitChannel("t", "c", func(c nsqdtest.Channel) bool { return c.Depth == 1 })
	in.await("/api/topics/t", "no channel of ours", func(r reply) bool { return !strings.Contains(r.body, "nsqadmin-peek") })
}

func TestMessagesAreHidden(t *testing.T) {
	node := nsqdtest.Start(t)
	node.Publish("t", "1")
	in := start(t, func(o *Options) { o.NSQDHTTPAddresses, o.DisableMessageView = []string{node.HTTP}, true })
	if got := in.get("/api/topics/t/peek"); got.status != 403 || got.JSON["message"] != "MESSAGE_VIEW_DISABLED" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// A channel may be called peek, as in stock.
func TestAChannelCalledPeek(t *testing.T) {
	node := nsqdtest.Start(t)
	node.Publish("t", "1")
	node.Post("/channel/create?topic=t&channel=peek", "")
	in := start(t, func(o *Options) { o.NSQDHTTPAddresses = []string{node.HTTP} })
	in.await("/api/topics/t/peek", "the channel", has(`"channel_name":"peek"`))
	if got := in.get("/api/topics/t/peek?n=1&wait=10ms"); !strings.Contains(got.body, `"messages":`) {
		t.Errorf("with n: %s", got.body)
	}
}

func TestListsOfTopics(t *testing.T) {
	o := DefaultOptions()
	o.NSQDHTTPAddresses = []string{"127.0.0.1:1"}
	s := New(o, nil)
	view := &clusterinfo.View{Topics: []*clusterinfo.Topic{
		{Name: "alpha", Depth: 1001, MessageCount: 10, Nodes: make([]*clusterinfo.TopicOnNode, 1)},
		{Name: "Beta", Depth: 1000, MessageCount: 30, Clients: 2, Nodes: make([]*clusterinfo.TopicOnNode, 2)},
		{Name: "gamma", Channels: []*clusterinfo.Channel{{Name: "c", Depth: 1009}}, Paused: true, Nodes: make([]*clusterinfo.TopicOnNode, 1)},
		{Name: "tmp#ephemeral", MessageCount: 20},
	}}
	tests := []struct {
		query, want string
		total       int
		cursor      string
	}{
		{"", "alpha Beta gamma tmp#ephemeral", 4, ""},
		{"sort=-name", "tmp#ephemeral gamma Beta alpha", 4, ""},
		{"sort=messages", "Beta tmp#ephemeral alpha gamma", 4, ""},
		{"sort=-messages", "gamma alpha tmp#ephemeral Beta", 4, ""},
		{"sort=backlog", "gamma alpha Beta tmp#ephemeral", 4, ""}, // 1009, 1001, 1000, 0
		{"q=BET", "Beta", 1, ""},
		{"q=/^(alp|gam)/", "alpha gamma", 2, ""},
		{"filter=backlog", "alpha gamma", 2, ""},
		{"filter=no_consumer", "alpha gamma", 2, ""},
		{"filter=paused", "gamma", 1, ""},
		{"filter=inactive", "tmp#ephemeral", 1, ""},
		{"filter=ephemeral", "tmp#ephemeral", 1, ""},
		{"limit=3", "alpha Beta gamma", 4, "3"},
		{"limit=3&cursor=3", "tmp#ephemeral", 4, ""},
		{"limit=3&cursor=99", "", 4, ""},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "/?"+tt.query, nil)
		answer, err := s.detailedTopics(view, "", r.URL.Query())
		if err != nil {
			t.Errorf("%s: %v", tt.query, err)
			continue
		}
		list := answer.(struct {
			Topics  []*topicDetail `json:"topics"`
			Total   int            `json:"total"`
			Cursor  string         `json:"cursor,omitempty"`
			Message string         `json:"message"`
		})
		var names []string
		for _, row := range list.Topics {
			names = append(names, row.TopicName)
		}
		if got := strings.Join(names, " "); got != tt.want || list.Total != tt.total || list.Cursor != tt.cursor {
			t.Errorf("%s: %s of %d, cursor %q, want %s of %d, cursor %q", tt.query, got, list.Total, list.Cursor, tt.want, tt.total, tt.cursor)
		}
	}
}

func TestPercentilesOfATotal(t *testing.T) {
	l := newLatency(&clusterinfo.LatencyStats{Count: 3, Percentiles: []map[string]float64{{"quantile": 0.99, "value": 100}, {"quantile": 0.95, "value": 50}}})
	l.add(&clusterinfo.LatencyStats{Count: 1, Percentiles: []map[string]float64{{"quantile": 0.99, "value": 20}}})
	l.add(nil)
	p := l.Percentiles[0]
	if l.Count != 4 || len(l.Percentiles) != 2 || p["value"] != 100 || p["max"] != 100 || p["min"] != 20 || p["average"] != 80 || p["count"] != 4 {
		t.Errorf("%d in all, %v", l.Count, l.Percentiles)
	}
}
