package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nsqio/go-nsq"
)

// A scene is a cluster for nsqadmins: an nsqlookupd, or three, and two nsqds.
type scene struct {
	lookupds []string // HTTP addresses
	a, b     *nsqd
}

// scenes are those of stock's daemons and of ours.
var scenes = map[string]func(t testing.TB) *scene{
	"stock": func(t testing.TB) *scene {
		tcp, http := freeAddr(t), freeAddr(t)
		p := newProcess(t, "nsqlookupd", stockBin("nsqlookupd"), "--tcp-address="+tcp, "--http-address="+http, "--broadcast-address=127.0.0.1")
		p.start()
		awaitPing(t, p, http)
		return &scene{[]string{http}, startNSQDOf(t, "stock", tcp), startNSQDOf(t, "stock", tcp)}
	},
	"ours": func(t testing.TB) *scene {
		c := startCluster(t)
		tcp := tcpAddrs(c.nodes)
		return &scene{httpAddrs(c.nodes), startNSQDOf(t, "ours", tcp...), startNSQDOf(t, "ours", tcp...)}
	},
}

// eachScene runs test with the daemons of both. Stock's alone have nothing to say
// about our nsqadmin.
func eachScene(t *testing.T, test func(t *testing.T, start func(testing.TB) *scene)) {
	if *against == "stock" {
		t.Skip("about our nsqadmin")
	}
	for _, name := range []string{"stock", "ours"} {
		t.Run(name+" daemons", func(t *testing.T) {
			t.Parallel()
			test(t, scenes[name])
		})
	}
}

// startAdmin starts an nsqadmin, stock's or ours, over a scene and returns its address.
func (s *scene) startAdmin(t testing.TB, which string, flags ...string) string {
	t.Helper()
	addr := freeAddr(t)
	args := append([]string{"--http-address=" + addr}, each("--lookupd-http-address", s.lookupds)...)
	p := newProcess(t, "nsqadmin-"+which, utilityBin(which, "nsqadmin"), append(args, flags...)...)
	p.start()
	awaitPing(t, p, addr)
	return addr
}

// fill gives the cluster something to show, with a consumer that stays.
func (s *scene) fill(t testing.TB) {
	t.Helper()
	for _, d := range []*nsqd{s.a, s.b} {
		d.createTopic("orders")
		d.createChannel("orders", "archive")
		d.createChannel("orders", "mail")
	}
	for i := range 5 {
		s.a.publish("orders", fmt.Sprint("order ", i))
	}
	s.b.publish("orders", "one more")
	s.b.publish("alone", "here only")
	mustSend(t, "POST", s.a.http, "/channel/pause?topic=orders&channel=mail", "")
	for _, l := range s.lookupds[:1] {
		mustSend(t, "POST", l, "/topic/create?topic=planned", "")
		mustSend(t, "POST", l, "/channel/create?topic=planned&channel=later", "")
	}
	config := nsq.NewConfig()
	config.UserAgent, config.ClientID, config.Hostname = "test/1", "id", "host"
	consumer, err := nsq.NewConsumer("orders", "archive", config)
	if err != nil {
		t.Fatal(err)
	}
	consumer.SetLoggerLevel(nsq.LogLevelMax)
	end := make(chan struct{})
	t.Cleanup(func() {
		close(end)
		consumer.Stop()
		<-consumer.StopChan
	})
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		<-end // in flight until then
		return nil
	}))
	if err := consumer.ConnectToNSQD(s.a.tcp); err != nil {
		t.Fatal(err)
	}
	eventually(t, seenTimeout, "registrations", func() error {
		if err := listed(s.lookupds, "orders", s.a.http, s.b.http)(); err != nil {
			return err
		}
		return named(s.lookupds, "/topics", "alone", "orders", "planned")()
	})
	eventually(t, seenTimeout, "a message in flight", func() error {
		a, err := request("GET", s.a.http, "/stats?format=json&topic=orders&channel=archive", "")
		if err == nil && !strings.Contains(string(a.body), `"in_flight_count":1`) {
			err = fmt.Errorf("stats: %s", a.body)
		}
		return err
	})
}

// changing are the fields that two questions in a row may answer differently, and
// those in which stock is wrong: see TestNSQAdminDeviations.
var changing = map[string]bool{"connected": true, "message": true}

// lacks says what of stock's answer is not, or not the same, in ours. Ours may have
// more fields, an empty list for null, and lists in another order.
func lacks(at string, stock, ours any) []string {
	switch stock := stock.(type) {
	case nil:
		if list, ok := ours.([]any); ours != nil && (!ok || len(list) > 0) {
			return []string{fmt.Sprintf("%s: null at stock's, %v at ours", at, ours)}
		}
	case map[string]any:
		object, ok := ours.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s: an object at stock's, %v at ours", at, ours)}
		}
		var all []string
		for key, value := range stock {
			if _, ok := object[key]; !ok {
				all = append(all, fmt.Sprintf("%s.%s: %v at stock's, not there at ours", at, key, value))
			} else if !changing[key] {
				all = append(all, lacks(at+"."+key, value, object[key])...)
			}
		}
		return all
	case []any:
		list, ok := ours.([]any)
		if !ok || len(list) != len(stock) {
			return []string{fmt.Sprintf("%s: %d at stock's, %v at ours", at, len(stock), ours)}
		}
		a, b := slices.Clone(stock), slices.Clone(list)
		for _, list := range [][]any{a, b} {
			slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(identity(a), identity(b)) })
		}
		var all []string
		for i := range a {
			all = append(all, lacks(fmt.Sprintf("%s[%d]", at, i), a[i], b[i])...)
		}
		return all
	default:
		if stock != ours {
			return []string{fmt.Sprintf("%s: %v at stock's, %v at ours", at, stock, ours)}
		}
	}
	return nil
}

// identity returns what tells an element of a list from the others.
func identity(v any) string {
	object, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprint(v)
	}
	var parts []string
	for _, key := range []string{"topic_name", "topic", "channel_name", "node", "tcp_port", "remote_address"} {
		parts = append(parts, fmt.Sprint(object[key]))
	}
	return strings.Join(parts, " ")
}

// unalias takes out of stock's answer about a topic what its sums get wrong: the
// channels of the first node are the sums of all, so that they are there twice, and a
// sum calls itself by that node if it is the only one.
func unalias(v any) any {
	object, ok := v.(map[string]any)
	if !ok || object["topic_name"] == nil || object["channels"] == nil || object["nodes"] == nil {
		return v
	}
	for _, c := range object["channels"].([]any) {
		for _, key := range []string{"node", "hostname", "nodes", "clients", "e2e_processing_latency"} {
			delete(c.(map[string]any), key)
		}
	}
	for _, n := range object["nodes"].([]any) {
		delete(n.(map[string]any), "channels")
	}
	return object
}

// TestNSQAdminShows compares all that stock nsqadmin shows of a cluster with ours of
// the same.
func TestNSQAdminShows(t *testing.T) {
	eachScene(t, func(t *testing.T, start func(testing.TB) *scene) {
		s := start(t)
		s.fill(t)
		stock, ours := s.startAdmin(t, "stock"), s.startAdmin(t, "ours")
		for _, target := range []string{
			"/ping", "/api/topics", "/api/topics?inactive=true", "/api/topics?inactive=false", "/api/topics/orders", "/api/topics/alone",
			"/api/topics/orders/archive", "/api/topics/orders/mail", "/api/nodes", "/api/nodes/" + s.a.http, "/api/nodes/" + s.b.http, "/api/counter",
		} {
			eventually(t, seenTimeout, target, func() error {
				a, err := request("GET", stock, target, "")
				if err != nil {
					t.Fatal(err)
				}
				b, err := request("GET", ours, target, "")
				if err != nil {
					t.Fatal(err)
				}
				return sameAnswer(target, a, b)
			})
		}
	})
}

// sameAnswer says how ours, b, falls short of stock's, a.
func sameAnswer(target string, a, b answer) error {
	for _, header := range []string{"X-Nsq-Content-Type", "Content-Type"} { // stock gives text no type
		if got := b.header.Get(header); a.header.Get(header) != "" && a.header.Get(header) != got {
			return fmt.Errorf("%s %q at stock's, %q at ours", header, a.header.Get(header), got)
		}
	}
	if a.status != b.status {
		return fmt.Errorf("status %d at stock's, %d at ours: %s", a.status, b.status, b.body)
	}
	if string(a.body) == string(b.body) {
		return nil
	}
	var stock, ours any
	if err := json.Unmarshal(a.body, &stock); err != nil {
		return fmt.Errorf("%q at stock's, %q at ours", a.body, b.body)
	}
	if err := json.Unmarshal(b.body, &ours); err != nil {
		return fmt.Errorf("%q at stock's, %q at ours", a.body, b.body)
	}
	if all := lacks(target, unalias(stock), ours); len(all) > 0 {
		return fmt.Errorf("%s", strings.Join(all, "\n"))
	}
	return nil
}

// state is what an action could have changed: what nsqlookupds and nsqds have.
func (s *scene) state(t testing.TB) string {
	t.Helper()
	var text strings.Builder
	topics, err := names(s.lookupds[0], "/topics")
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range topics {
		channels, err := names(s.lookupds[0], "/channels?topic="+topic)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "registered %s %v\n", topic, channels)
	}
	for i, d := range []*nsqd{s.a, s.b} {
		var stats struct {
			Topics []struct {
				Name     string `json:"topic_name"`
				Depth    int
				Paused   bool
				Channels []struct {
					Name   string `json:"channel_name"`
					Depth  int
					Paused bool
				}
			}
		}
		if err := get(d.http, "/stats?format=json&include_clients=false", &stats); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "nsqd %d has %+v\n", i, stats.Topics)
	}
	return text.String()
}

// An adminStep is a request to an nsqadmin; node is replaced by the HTTP address of
// the second nsqd.
type adminStep struct{ method, target, body string }

// TestNSQAdminActs tells stock nsqadmin and ours the same story, each on a cluster of
// its own, and compares what they answer and what is different on the daemons
// afterwards.
func TestNSQAdminActs(t *testing.T) {
	steps := []adminStep{
		{"POST", "/api/topics", `{"topic":"made"}`},
		{"POST", "/api/topics", `{"topic":"made","channel":"audit"}`},
		{"POST", "/api/topics", `{"topic":"orders","channel":"new"}`},
		{"POST", "/api/topics", `{"topic":"a b"}`},
		{"POST", "/api/topics", `{"topic":"made","channel":"*"}`},
		{"POST", "/api/topics", `{}`},
		{"POST", "/api/topics", ``},
		{"POST", "/api/topics", `{`},
		{"POST", "/api/topics/orders", `{"action":"pause"}`},
		{"POST", "/api/topics/orders", `{"action":"unpause"}`},
		{"POST", "/api/topics/orders/archive", `{"action":"pause"}`},
		{"POST", "/api/topics/orders/archive", `{"action":"unpause"}`},
		{"POST", "/api/topics/orders/mail", `{"action":"empty"}`},
		{"POST", "/api/topics/alone", `{"action":"empty"}`},
		{"POST", "/api/topics/orders", `{"action":"explode"}`},
		{"POST", "/api/topics/orders", `{}`},
		{"POST", "/api/topics/orders", `x`},
		{"DELETE", "/api/topics/orders/new", ``},
		{"DELETE", "/api/topics/made/audit", ``},
		{"DELETE", "/api/topics/made", ``},
		{"DELETE", "/api/nodes/node", ``},
		{"DELETE", "/api/nodes/node", `{"topic":"a b"}`},
		{"DELETE", "/api/nodes/node", `{"topic":"orders"}`},
		{"DELETE", "/api/topics/alone", ``},
		{"DELETE", "/api/topics/orders", ``},
		{"PUT", "/api/topics", ``},
		{"DELETE", "/api/topics", ``},
		{"GET", "/api/nodes/127.0.0.1:1", ``},
		{"GET", "/api/nope", ``},
		{"GET", "/api/topics/", ``},
		{"OPTIONS", "/api/topics", ``},
	}
	eachScene(t, func(t *testing.T, start func(testing.TB) *scene) {
		type told struct {
			answer
			state string
		}
		tell := func(which string) []told {
			s := start(t)
			s.fill(t)
			addr := s.startAdmin(t, which)
			var all []told
			for _, step := range steps {
				a, err := request(step.method, addr, strings.ReplaceAll(step.target, "node", s.node(step)), step.body)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, told{a, s.settled(t)})
			}
			return all
		}
		stock, ours := tell("stock"), tell("ours")
		for i, step := range steps {
			a, b := stock[i], ours[i]
			if a.status != b.status || messageOf(a.answer) != messageOf(b.answer) || a.header.Get("Allow") != "" && b.header.Get("Allow") == "" {
				t.Errorf("%s %s %s: %d %s at stock's, %d %s at ours", step.method, step.target, step.body, a.status, a.body, b.status, b.body)
			}
			if a.state != b.state {
				t.Errorf("after %s %s %s stock's left\n%sours\n%s", step.method, step.target, step.body, a.state, b.state)
			}
		}
	})
}

// node returns what the word node in a step stands for.
func (s *scene) node(step adminStep) string {
	if strings.HasPrefix(step.target, "/api/nodes/node") {
		return s.b.http
	}
	return "node"
}

// settled returns the state once it has not changed for a moment: nsqds register what
// they have after they have answered.
func (s *scene) settled(t testing.TB) string {
	t.Helper()
	for state, same := s.state(t), 0; ; {
		time.Sleep(20 * time.Millisecond)
		if now := s.state(t); now != state {
			state, same = now, 0
		} else if same++; same == 5 {
			return state
		}
	}
}

func messageOf(a answer) string {
	var v struct {
		Message string `json:"message"`
	}
	json.Unmarshal(a.body, &v) // not every answer has one
	return v.Message
}

// TestNSQAdminConfig compares /config.
func TestNSQAdminConfig(t *testing.T) {
	if *against == "stock" {
		t.Skip("about our nsqadmin")
	}
	s := scenes["stock"](t)
	stock, ours := s.startAdmin(t, "stock"), s.startAdmin(t, "ours")
	compare := func(method, target, body string) {
		t.Helper()
		a, err := request(method, stock, target, body)
		if err != nil {
			t.Fatal(err)
		}
		b, err := request(method, ours, target, body)
		if err != nil {
			t.Fatal(err)
		}
		if err := sameAnswer(target, a, b); err != nil || string(a.body) != string(b.body) {
			t.Errorf("%s %s %.40s: %d %s at stock's, %d %s at ours, %v", method, target, body, a.status, a.body, b.status, b.body, err)
		}
	}
	for _, key := range []string{"log_level", "log_prefix", "base_path", "dev_static_dir", "graphite_url", "proxy_graphite", "statsd_prefix", "statsd_counter_format",
		"statsd_gauge_format", "statsd_interval", "nsqlookupd_http_addresses", "http_client_connect_timeout", "http_client_request_timeout",
		"http_client_tls_insecure_skip_verify", "http_client_tls_root_ca_file", "http_client_tls_cert", "http_client_tls_key", "allow_config_from_cidr",
		"notification_http_endpoint", "acl_http_header", "admin_users", "nsqd_http_addresses", "nope", "version"} {
		compare("GET", "/config/"+key, "")
	}
	for _, level := range []string{"debug", "WARN", "error", "fatal", "info", "loud", "", "2"} {
		compare("PUT", "/config/log_level", level)
	}
	for _, addresses := range []string{`["127.0.0.1:1"]`, `[]`, `x`, `[1]`, ``, `{}`} {
		compare("PUT", "/config/nsqlookupd_http_addresses", addresses)
	}
	compare("PUT", "/config/base_path", "/x")
	compare("PUT", "/config/nope", "x")
	compare("PUT", "/config/nope", "")
	compare("PUT", "/config/log_level", strings.Repeat("x", 1<<20+1))
	compare("POST", "/config/log_level", "info")
}

// TestNSQAdminNotifications compares what the two tell an endpoint.
func TestNSQAdminNotifications(t *testing.T) {
	if *against == "stock" {
		t.Skip("about our nsqadmin")
	}
	s := scenes["stock"](t)
	s.fill(t)
	tell := func(which string) map[string]any {
		notes := make(chan map[string]any, 10)
		endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			note := map[string]any{"content type": r.Header.Get("Content-Type"), "method": r.Method}
			if err := json.NewDecoder(r.Body).Decode(&note); err != nil {
				t.Error(err)
			}
			notes <- note
		}))
		defer endpoint.Close()
		addr := s.startAdmin(t, which, "--notification-http-endpoint="+endpoint.URL)
		req, err := http.NewRequest("POST", "http://alice:pw@"+addr+"/api/topics/orders/archive?why=not", strings.NewReader(`{"action":"pause"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("User-Agent", "test")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		select {
		case note := <-notes:
			note["url"] = strings.Replace(fmt.Sprint(note["url"]), addr, "ADDR", 1)
			delete(note, "timestamp")
			delete(note, "remote_ip")
			return note
		case <-time.After(seenTimeout):
			t.Fatalf("%s nsqadmin tells nothing", which)
			return nil
		}
	}
	stock, ours := tell("stock"), tell("ours")
	if all := lacks("note", stock, ours); len(all) > 0 {
		t.Error(strings.Join(all, "\n"))
	}
	if host, _ := os.Hostname(); ours["via"] != host || len(ours["result"].([]any)) != 2 {
		t.Errorf("ours tells %v", ours)
	}
}

// TestNSQAdminDeviations holds the answers in which ours is not stock's: what stock has
// wrong.
func TestNSQAdminDeviations(t *testing.T) {
	eachScene(t, func(t *testing.T, start func(testing.TB) *scene) {
		s := start(t)
		s.fill(t)
		stock, ours := s.startAdmin(t, "stock"), s.startAdmin(t, "ours")
		eventually(t, seenTimeout, "our nsqadmin sees the topic", func() error {
			return get(ours, "/api/topics/orders/archive", new(any))
		})
		for _, tt := range []struct {
			step        adminStep
			stock, ours int
		}{
			{adminStep{"GET", "/api/topics/nope", ""}, 502, 404},
			{adminStep{"GET", "/api/topics/orders/nope", ""}, 200, 404}, // without any of a channel's fields
			{adminStep{"GET", "/api/topics/planned", ""}, 502, 200},
			{adminStep{"DELETE", "/api/topics/nope", ""}, 502, 404},
			{adminStep{"POST", "/api/topics/nope", `{"action":"pause"}`}, 502, 404},
			{adminStep{"HEAD", "/ping", ""}, 405, 200},
			{adminStep{"DELETE", "/api/nodes/" + s.a.http, `{"topic":"nope"}`}, 200, 404}, // with a warning
		} {
			a, err := request(tt.step.method, stock, tt.step.target, tt.step.body)
			if err != nil {
				t.Fatal(err)
			}
			b, err := request(tt.step.method, ours, tt.step.target, tt.step.body)
			if err != nil {
				t.Fatal(err)
			}
			if a.status != tt.stock || b.status != tt.ours {
				t.Errorf("%v: %d %s at stock's, %d %s at ours, want %d and %d", tt.step, a.status, a.body, b.status, b.body, tt.stock, tt.ours)
			}
		}
		// Another site's page.
		for addr, want := range map[string]int{stock: 200, ours: 403} {
			req, err := http.NewRequest("POST", "http://"+addr+"/api/topics/orders/mail", strings.NewReader(`{"action":"pause"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Origin", "http://evil.example")
			req.Header.Set("Content-Type", "text/plain")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("from another site: %d, want %d", resp.StatusCode, want)
			}
		}
	})
}

// TestNSQAdminBesideHungNSQD holds that an nsqd that hangs adds nothing to an answer,
// and takes nothing from a total. Stock waits 5 s, and shows a smaller total.
func TestNSQAdminBesideHungNSQD(t *testing.T) {
	eachScene(t, func(t *testing.T, start func(testing.TB) *scene) {
		s := start(t)
		s.fill(t)
		ours := s.startAdmin(t, "ours")
		total := func() (depth, messages float64) {
			var topic struct {
				Messages float64 `json:"message_count"`
				Channels []struct{ Depth float64 }
			}
			if err := get(ours, "/api/topics/orders", &topic); err != nil {
				t.Fatal(err)
			}
			for _, c := range topic.Channels {
				depth += c.Depth
			}
			return depth, topic.Messages
		}
		eventually(t, seenTimeout, "all messages are counted", func() error {
			if _, messages := total(); messages != 6 {
				return fmt.Errorf("%v messages", messages)
			}
			return nil
		})
		depth, messages := total()
		s.b.signal(syscall.SIGSTOP)
		defer s.b.signal(syscall.SIGCONT)
		begun, slowest := time.Now(), time.Duration(0)
		for time.Since(begun) < 4*time.Second {
			for _, target := range []string{"/api/topics/orders", "/api/topics/orders/archive", "/api/nodes/" + s.b.http, "/api/nodes"} {
				asked := time.Now()
				mustSend(t, "GET", ours, target, "")
				slowest = max(slowest, time.Since(asked))
			}
			if d, m := total(); d != depth || m != messages {
				t.Fatalf("totals %v and %v while one hangs, want %v and %v", d, m, depth, messages)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if slowest > time.Second {
			t.Errorf("the slowest answer took %v", slowest)
		}
		if a, err := request("GET", ours, "/api/topics/orders", ""); err != nil || !strings.Contains(messageOf(a), "WARNING: nsqd "+s.b.http) {
			t.Errorf("no warning about the one that hangs: %s, %v", a.body, err)
		}
	})
}
