package clusterinfo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// A fakeNet is a network of daemons by host. Those that are not there refuse
// connections, those that hang never answer.
type fakeNet struct {
	mu      sync.Mutex
	daemons map[string]daemon
	hung    map[string]bool
	asked   map[string]int // by host and path
}

func newFakeNet() *fakeNet {
	return &fakeNet{daemons: make(map[string]daemon), hung: make(map[string]bool), asked: make(map[string]int)}
}

func (n *fakeNet) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	d, hung := n.daemons[r.URL.Host], n.hung[r.URL.Host]
	n.asked[r.URL.Host+r.URL.Path]++
	n.mu.Unlock()
	if hung {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if d == nil {
		return nil, syscall.ECONNREFUSED
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

// set makes the daemon at host answer body to path.
func (n *fakeNet) set(host, path, body string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := daemon{path: body}
	for p, b := range n.daemons[host] {
		if p != path {
			d[p] = b
		}
	}
	n.daemons[host] = d // a new one, for the old one is read without the lock
}

func (n *fakeNet) remove(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.daemons, host)
}

func (n *fakeNet) hang(host string, yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hung[host] = yes
}

func (n *fakeNet) count(what string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[what]
}

// lookupd makes a stock nsqlookupd that lists nsqds as "host:port topic,topic".
func (n *fakeNet) lookupd(host string, topics string, nsqds ...string) {
	var rows []string
	for _, nsqd := range nsqds {
		address, list, _ := strings.Cut(nsqd, " ")
		name, port, _ := strings.Cut(address, ":")
		rows = append(rows, fmt.Sprintf(`{"remote_address":"r:1","broadcast_address":%q,"hostname":"host-%s","tcp_port":4150,"http_port":%s,"version":"1.3.0","topics":%s,"tombstones":[]}`,
			name, name, port, jsonList(list)))
	}
	n.set(host, "/topics", `{"topics":`+jsonList(topics)+`}`)
	n.set(host, "/nodes", `{"producers":[`+strings.Join(rows, ",")+`]}`)
	n.set(host, "/info", `{"version":"1.3.0"}`)
}

func jsonList(names string) string {
	if names == "" {
		return "[]"
	}
	return `["` + strings.ReplaceAll(names, ",", `","`) + `"]`
}

// nsqd makes a stock nsqd of one topic t with one channel c.
func (n *fakeNet) nsqd(host string, depth int) {
	n.set(host, "/stats", fmt.Sprintf(`{"version":"1.3.0","health":"OK","topics":[{"topic_name":"t","depth":%d,"backend_depth":1,"message_count":9,"message_bytes":90,
		"channels":[{"channel_name":"c","depth":%d,"in_flight_count":2,"deferred_count":1,"message_count":100,"client_count":3,"paused":true,
			"e2e_processing_latency":{"count":1,"percentiles":[{"quantile":0.99,"value":%d}]}}]}]}`, depth, depth, depth))
	n.set(host, "/info", `{"version":"1.3.0","broadcast_address":"b","tcp_port":1,"http_port":2}`)
	n.set(host, "/config/drain", `400 {"message":"INVALID_OPTION"}`)
}

// poll runs a Poller on net for the time of a synctest bubble.
func poll(t *testing.T, net http.RoundTripper, o PollerOptions) *Poller {
	c := newClient()
	c.http = &http.Client{Transport: net}
	p := NewPoller(c, o, hclog.NewNullLogger())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return p
}

// after lets the time go by and returns the View.
func after(p *Poller, d time.Duration) *View {
	time.Sleep(d)
	synctest.Wait()
	return p.View()
}

func TestViewSumsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l1:1", "t,idle", "n2:4151 t", "n1:4151 t")
		net.lookupd("l2:1", "t", "n1:4151 t")
		net.set("l1:1", "/channels", `{"channels":["y","x"]}`)
		net.nsqd("n1:4151", 5)
		net.nsqd("n2:4151", 7)
		p := poll(t, net, PollerOptions{Lookupds: []string{"l1:1", "l2:1"}})
		if v := p.View(); v == nil || !v.At.IsZero() {
			t.Fatal("before the first answer there is an empty View")
		}
		v := after(p, 3*time.Second)
		if len(v.Nodes) != 2 || v.Nodes[0].Address != "n1:4151" || v.Nodes[0].State != Up || len(v.Nodes[0].Lookupds) != 2 || len(v.Nodes[1].Lookupds) != 1 {
			t.Fatalf("nodes: %+v", v.Nodes)
		}
		n := v.Node("n2:4151")
		if n == nil || n != v.Node("host-n2:4151") || n.Depth != 14 || n.InFlight != 2 || n.Clients != 3 || n.Messages != 9 || n.Finished != 90 || n.DiskFreeBytes != -1 || n.Stale() {
			t.Errorf("n2: %+v", n)
		}
		if v.Node("n3:4151") != nil || v.Topic("x") != nil {
			t.Error("what is unknown is found")
		}
		topic := v.Topic("t")
		if topic == nil || topic.Depth != 12 || topic.MemoryDepth != 10 || topic.BackendDepth != 2 || topic.MessageCount != 18 || topic.MessageBytes != 180 ||
			topic.Clients != 6 || topic.InFlight != 4 || topic.Deferred != 2 || topic.Finished != 182 || !topic.Registered || topic.Inactive() || topic.StaleNodes != 0 || topic.Paused {
			t.Fatalf("t: %+v", topic)
		}
		if len(topic.Nodes) != 2 || topic.Nodes[0].Node != v.Nodes[0] || topic.Nodes[1].Stats.Depth != 7 {
			t.Errorf("nodes of t: %+v", topic.Nodes)
		}
		c := topic.Channel("c")
		if c == nil || c.Topic != "t" || c.Depth != 12 || c.Finished != 182 || !c.Paused || c.PausedOn != 2 || len(c.Nodes) != 2 || c.Clients != 6 {
			t.Fatalf("c: %+v", c)
		}
		if c.E2ELatency.Count != 2 || c.E2ELatency.Percentiles[0]["value"] != 7 {
			t.Errorf("percentiles: %+v, want those of the slowest", c.E2ELatency)
		}
		idle := v.Topic("idle")
		if idle == nil || !idle.Inactive() || !idle.Registered || len(idle.Channels) != 2 || idle.Channel("x") == nil || idle.Channel("t") != nil {
			t.Errorf("idle: %+v", idle)
		}
		if l := v.Lookupds[0]; l.Address != "l1:1" || l.State != Up || l.Version != "1.3.0" || l.StaleMS != -1 || l.Cluster != nil || len(l.Producers) != 2 {
			t.Errorf("l1: %+v", l)
		}
		if c, from := v.Cluster(); c != nil || from != nil {
			t.Error("stock has a cluster")
		}
	})
}

func TestHungNSQDDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l:1", "t", "n1:4151 t", "n2:4151 t")
		net.nsqd("n1:4151", 5)
		net.nsqd("n2:4151", 7)
		p := poll(t, net, PollerOptions{Lookupds: []string{"l:1"}})
		after(p, 3*time.Second)
		net.hang("n2:4151", true)
		stopped := time.Now()
		for i := range 20 {
			net.nsqd("n1:4151", 100+i)
			v := after(p, 1500*time.Millisecond)
			equal(t, "depth on n1", v.Nodes[0].Stats.Topics[0].Depth, int64(100+i))
			n2 := v.Nodes[1]
			if n2.Stats.Topics[0].Depth != 7 || n2.StatsAt.After(stopped) {
				t.Fatalf("n2: %+v, want its last numbers and their time", n2)
			}
			since := time.Since(stopped) // a question was in flight then, of which the state is told 2 s later
			if since > 4*time.Second && since < downAfter-2*time.Second {
				equal(t, "state after "+since.String(), n2.State, Suspect)
			}
			if since > downAfter+4*time.Second {
				equal(t, "state after "+since.String(), n2.State, Down)
			}
		}
		topic := p.View().Topic("t")
		equal(t, "stale nodes", topic.StaleNodes, 1)
		equal(t, "depth with the last known", topic.Depth, int64(119+7))
		if !errors.Is(p.View().Nodes[1].Err, context.DeadlineExceeded) {
			t.Errorf("n2: %v, want a deadline", p.View().Nodes[1].Err)
		}
		net.hang("n2:4151", false)
		equal(t, "state when it answers again", after(p, 4*time.Second).Nodes[1].State, Up)
	})
}

func TestRefusedIsDownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l:1", "t", "n1:4151 t,u")
		p := poll(t, net, PollerOptions{Lookupds: []string{"l:1"}})
		v := after(p, 2*time.Second)
		n := v.Nodes[0]
		if n.State != Down || n.Stats != nil || !n.StatsAt.IsZero() || !n.Stale() {
			t.Errorf("got %+v, want one that never answered", n)
		}
		// Its topics are not without producers.
		topic := v.Topic("u")
		if topic.Inactive() || topic.Nodes[0].Stats.Name != "u" || topic.StaleNodes != 1 {
			t.Errorf("u: %+v, want it on the node that is down", topic)
		}
	})
}

func TestGoneNSQDsStayForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l:1", "t", "n1:4151 t", "n2:4151 t", "n3:4151 t")
		for _, host := range []string{"n1:4151", "n2:4151", "n3:4151"} {
			net.nsqd(host, 1)
		}
		p := poll(t, net, PollerOptions{Lookupds: []string{"l:1"}})
		after(p, 3*time.Second)
		net.lookupd("l:1", "t", "n1:4151 t")
		net.remove("n2:4151")
		v := after(p, 4*time.Minute)
		if len(v.Nodes) != 3 || !v.Nodes[0].GoneSince.IsZero() || v.Nodes[1].GoneSince.IsZero() || v.Nodes[1].State != Down || len(v.Nodes[1].Lookupds) != 0 {
			t.Fatalf("after 4 minutes: %+v", v.Nodes)
		}
		v = after(p, 2*time.Minute)
		if len(v.Nodes) != 2 || v.Node("n2:4151") != nil {
			t.Fatalf("after 6 minutes: %+v, want n2 gone", v.Nodes)
		}
		if n3 := v.Node("n3:4151"); n3 == nil || n3.State != Up || n3.GoneSince.IsZero() {
			t.Errorf("n3, which answers: %+v", n3)
		}
		before := net.count("n2:4151/stats")
		after(p, time.Minute)
		equal(t, "questions to n2", net.count("n2:4151/stats"), before)
	})
}

func TestNSQDsAreAskedOnWithoutLookupds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l1:1", "t", "n1:4151 t")
		net.lookupd("l2:1", "t", "n1:4151 t")
		net.nsqd("n1:4151", 1)
		p := poll(t, net, PollerOptions{Lookupds: []string{"l1:1", "l2:1"}})
		after(p, 3*time.Second)
		net.remove("l1:1")
		net.hang("l2:1", true)
		net.nsqd("n1:4151", 2)
		v := after(p, 20*time.Minute)
		if v.Lookupds[0].State != Down || v.Lookupds[1].State != Down || v.Lookupds[0].Err == nil {
			t.Errorf("lookupds: %+v", v.Lookupds)
		}
		n := v.Node("n1:4151")
		if n == nil || n.State != Up || !n.GoneSince.IsZero() || n.Depth != 4 || time.Since(n.StatsAt) > 2*time.Second {
			t.Errorf("n1: %+v, want fresh numbers", n)
		}
	})
}

func TestAnswersThatLieAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l:1", "t", "n1:4151 t")
		net.nsqd("n1:4151", 1)
		p := poll(t, net, PollerOptions{Lookupds: []string{"l:1"}})
		after(p, 3*time.Second)
		net.set("n1:4151", "/stats", `{"topics":[{"topic_name":7}]}`)
		net.set("l:1", "/nodes", `<html>`)
		v := after(p, 3*time.Second)
		if n := v.Nodes[0]; n.State != Suspect || n.Err == nil || n.Stats.Topics[0].Depth != 1 {
			t.Errorf("n1: %+v", n)
		}
		if l := v.Lookupds[0]; l.State != Suspect || l.Err == nil || len(l.Producers) != 1 {
			t.Errorf("l: %+v", l)
		}
	})
}

func TestRefreshShowsWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l:1", "t", "n1:4151 t", "n2:4151 t", "n3:4151")
		net.nsqd("n1:4151", 1)
		net.nsqd("n2:4151", 1)
		net.hang("n3:4151", true)
		p := poll(t, net, PollerOptions{Lookupds: []string{"l:1"}, Interval: time.Hour})
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		equal(t, "depth", p.View().Topic("t").Depth, int64(2)) // found by the first question, asked by the second
		for i := range 3 {
			net.nsqd("n2:4151", 10+i)
			start := time.Now()
			if err := p.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			equal(t, "depth", p.View().Topic("t").Depth, int64(11+i))
			equal(t, "time", time.Since(start), time.Duration(0))
		}
		net.hang("n2:4151", true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Refresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one that was up hangs: got %v", err)
		}
		if err := p.Refresh(t.Context()); err != nil || p.View().Node("n2:4151").State != Suspect {
			t.Errorf("it is not up any more: got %v, %+v", err, p.View().Node("n2:4151"))
		}
	})
}

func TestChangedIsClosedByTheNextView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l:1", "t")
		p := poll(t, net, PollerOptions{Lookupds: []string{"l:1"}})
		for range 5 {
			changed := p.Changed()
			v := p.View()
			<-changed
			if !p.View().At.After(v.At) {
				t.Fatal("no newer View")
			}
		}
	})
}

func TestSetLookupds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l1:1", "t", "n1:4151 t")
		net.lookupd("l2:1", "u", "n2:4151 u")
		net.nsqd("n1:4151", 1)
		net.nsqd("n2:4151", 1)
		p := poll(t, net, PollerOptions{Lookupds: []string{"l1:1"}})
		after(p, 3*time.Second)
		p.SetLookupds([]string{"l2:1", "l2:1"})
		v := after(p, 3*time.Second)
		if len(v.Lookupds) != 1 || v.Lookupds[0].Address != "l2:1" || v.Node("n2:4151") == nil || v.Node("n1:4151").GoneSince.IsZero() {
			t.Errorf("got %+v, %+v", v.Lookupds, v.Nodes)
		}
		before := net.count("l1:1/nodes")
		after(p, time.Minute)
		equal(t, "questions to the old one", net.count("l1:1/nodes"), before)
	})
}

func TestGivenNSQDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.nsqd("n1:4151", 1)
		p := poll(t, net, PollerOptions{NSQDs: []string{"n1:4151", "http://n2:4151/x", "n1:4151"}})
		v := after(p, 10*time.Minute)
		if len(v.Nodes) != 2 {
			t.Fatalf("got %+v", v.Nodes)
		}
		if n := v.Node("n1:4151"); n.State != Up || n.BroadcastAddress != "b" || len(n.Topics) != 1 || !n.GoneSince.IsZero() || n != v.Node("b:2") {
			t.Errorf("n1: %+v", n)
		}
		if n := v.Node("http://n2:4151/x"); n.State != Down || n.HTTPAddress() != "n2:4151" {
			t.Errorf("n2: %+v", n)
		}
	})
}

func TestWhatOnlyOursSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l:1", "t", "n1:4151 t")
		net.set("l:1", "/cluster", `{"node_id":"n1","role":"follower","leader":"n2","term":4,"members":[{"id":"n1"}]}`)
		net.nsqd("n1:4151", 1)
		net.set("n1:4151", "/config/drain", "false")
		net.set("n1:4151", "/metrics", "# HELP nsqd_disk_free_bytes x\nnsqd_disk_free_bytesx 1\nnsqd_disk_free_bytes 1.5e+09\n")
		p := poll(t, net, PollerOptions{Lookupds: []string{"l:1"}})
		v := after(p, 3*time.Second)
		if c, from := v.Cluster(); c == nil || c.Leader != "n2" || from.Address != "l:1" {
			t.Errorf("cluster: %+v", c)
		}
		if n := v.Nodes[0]; n.State != Up || n.DiskFreeBytes != 1_500_000_000 {
			t.Errorf("n1: %+v", n)
		}
		net.set("n1:4151", "/config/drain", "true")
		if n := after(p, 3*time.Second).Nodes[0]; n.State != Draining || n.Stale() {
			t.Errorf("n1: %+v, want it draining", n)
		}
		if asked := net.count("n1:4151/metrics"); asked != 1 {
			t.Errorf("/metrics was asked for %d times in 6 s", asked)
		}
	})
}

func TestStockIsNotAskedForOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.lookupd("l:1", "t", "n1:4151 t")
		net.nsqd("n1:4151", 1)
		p := poll(t, net, PollerOptions{Lookupds: []string{"l:1"}})
		after(p, 50*time.Second)
		for what, want := range map[string]int{"l:1/cluster": 1, "l:1/info": 1, "n1:4151/config/drain": 1, "n1:4151/metrics": 0, "l:1/channels": 0} {
			equal(t, what, net.count(what), want)
		}
		if n := net.count("n1:4151/stats"); n < 45 || n > 51 {
			t.Errorf("/stats was asked for %d times in 50 s", n)
		}
	})
}

func TestManyInactiveTopicsAreAskedAboutInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const topics = 3*channelsAtOnce + 1
		names := make([]string, topics)
		for i := range names {
			names[i] = fmt.Sprintf("t%d", i)
		}
		net := newFakeNet()
		net.lookupd("l:1", strings.Join(names, ","))
		net.set("l:1", "/channels", `{"channels":["c"]}`)
		p := poll(t, net, PollerOptions{Lookupds: []string{"l:1"}})
		v := after(p, 100*time.Millisecond)
		if len(v.Topics) != topics || net.count("l:1/channels") != channelsAtOnce {
			t.Fatalf("%d topics, %d questions in the first round", len(v.Topics), net.count("l:1/channels"))
		}
		for _, topic := range after(p, 5*time.Second).Topics {
			if topic.Channel("c") == nil {
				t.Fatalf("%s: its channel is not known after 5 s", topic.Name)
			}
		}
		equal(t, "questions in 5 s", net.count("l:1/channels"), topics)
	})
}

// Long answers are read one after the other. Who waits for that is not late, and who
// has a short answer does not wait.
func TestLongAnswersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.set("long:1", "/stats", `{"topics":[]}`+strings.Repeat(" ", 2*longAnswer))
		net.set("short:1", "/stats", `{"topics":[]}`)
		c := newClient()
		c.http = &http.Client{Transport: net}
		c = c.forPolling(time.Second)
		c.turns <- struct{}{} // somebody reads
		var cost time.Duration
		answered := make(chan error, 1)
		go func() {
			_, err := c.statsOf(t.Context(), "long:1", StatsFilter{}, &cost)
			answered <- err
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, err := c.statsOf(t.Context(), "short:1", StatsFilter{}, nil); err != nil || len(answered) > 0 {
			t.Errorf("the short one: %v, %d answers to the long one", err, len(answered))
		}
		<-c.turns
		if err := <-answered; err != nil {
			t.Errorf("the long one: %v", err)
		}
		equal(t, "what it cost", cost, time.Duration(0))
		equal(t, "turns taken afterwards", len(c.turns), 0)
	})
}

func TestCostlyDaemonsAreAskedLess(t *testing.T) {
	for _, tt := range []struct {
		cost, total time.Duration
		least, most time.Duration
	}{
		{0, 0, time.Second, time.Second},
		{50 * time.Millisecond, 100 * time.Millisecond, time.Second, time.Second},
		{400 * time.Millisecond, 400 * time.Millisecond, 2 * time.Second, 6 * time.Second},
		{40 * time.Millisecond, 4 * time.Second, 8 * time.Second, 24 * time.Second},
		{time.Hour, 2 * time.Hour, 30 * time.Second, 90 * time.Second},
	} {
		p := NewPoller(newClient(), PollerOptions{}, hclog.NewNullLogger())
		for range 100 {
			if got := p.pause(tt.cost, tt.total); got < tt.least || got > tt.most {
				t.Errorf("cost %v of %v: pause %v, want %v to %v", tt.cost, tt.total, got, tt.least, tt.most)
			}
		}
	}
}

func TestWhatFailsSlowsNobodyElse(t *testing.T) {
	net := newFakeNet()
	c := newClient()
	c.http = &http.Client{Transport: net}
	p := NewPoller(c, PollerOptions{NSQDs: []string{"endless:1", "well:1"}}, hclog.NewNullLogger())
	endless, well := &p.nodes["endless:1"].subject, &p.nodes["well:1"].subject
	finish := func(s *subject, cost time.Duration, err error) time.Duration {
		pause, ok := p.finish(t.Context(), s, 0, func() {}, cost, err)
		if !ok {
			t.Fatal("it is not asked any more")
		}
		return pause
	}
	for range 2 {
		if got := finish(endless, 2*time.Second, errTooLong); got < 10*time.Second {
			t.Errorf("the endless one is asked again after %v", got)
		}
		equal(t, "pause of the other", finish(well, time.Millisecond, nil), time.Second)
	}
	finish(endless, 2*time.Second, nil)
	if got := finish(well, time.Millisecond, nil); got < 4*time.Second {
		t.Errorf("an answer that costs much is no reason to ask the other later than after %v", got)
	}
	finish(endless, 0, errTooLong)
	equal(t, "cost of all in the end", p.total, time.Millisecond)
}

func TestOldNumbersOfOneThatIsUpAreLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet()
		net.nsqd("long:1", 5)
		net.nsqd("well:1", 5)
		p := poll(t, net, PollerOptions{NSQDs: []string{"long:1", "well:1"}})
		if n := after(p, 3*time.Second).Node("long:1"); n.State != Up || n.Late {
			t.Fatalf("at first it is %s, late %v", n.State, n.Late)
		}
		p.client.turns <- struct{}{} // somebody reads
		net.set("long:1", "/stats", `{"topics":[]}`+strings.Repeat(" ", 2*longAnswer))
		v := after(p, 10*time.Second)
		if n := v.Node("long:1"); n.State != Up || !n.Late || v.At.Sub(n.StatsAt) < 5*time.Second {
			t.Errorf("while it waits for its turn it is %s, late %v, of %v ago", n.State, n.Late, v.At.Sub(n.StatsAt))
		}
		if n := v.Node("well:1"); n.Late {
			t.Error("the other is late too")
		}
		<-p.client.turns
		if n := after(p, 3*time.Second).Node("long:1"); n.Late {
			t.Error("it is late after it was read")
		}
	})
}
