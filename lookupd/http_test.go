package lookupd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/httpapi"
)

type fakeHealth []check

func (h fakeHealth) Health() []check { return h }

// newTestAPI returns an API over reg, and its handler.
func newTestAPI(reg *fakeRegistry) (*httpAPI, http.Handler) {
	m := newMetrics()
	live := new(sessions)
	m.watch(reg, live, func() raftStats {
		return raftStats{HasLeader: true, Term: 3, FollowerLag: map[string]uint64{"n2": 7}, LastContact: -1}
	})
	a := newHTTPAPI(context.Background(), reg, fakeHealth{{"raft", nil}}, live, m, hclog.NewNullLogger(), 45*time.Second)
	return a, a.routes(nil)
}

// ask sends one request, such as "GET /ping", to h.
func ask(h http.Handler, request string) *httptest.ResponseRecorder {
	method, target, _ := strings.Cut(request, " ")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func message(text string) string { return `{"message":"` + text + `"}` }

func peerJSON(i int) string {
	p := testProducer(i)
	return fmt.Sprintf(`{"remote_address":"10.0.0.1:5000","hostname":%q,"broadcast_address":%q,"tcp_port":4150,"http_port":4151,"version":"1.3.0","topology_zone":"","topology_region":""`,
		p.Hostname, p.BroadcastAddress)
}

// fill registers what most tests ask about: nsqd a with t/c and t/b and u, nsqd
// b with t, nsqd c with nothing, and a topic and a channel without producers.
func fill(t testing.TB, reg *fakeRegistry) {
	for _, m := range []*fsmpb.Mutation{
		openSession(1, testProducer(0)), openSession(2, testProducer(1)), openSession(3, testProducer(2)),
		register(1, "t", "c"), register(1, "t", "b"), register(1, "u", ""), register(2, "t", ""),
		createTopic("empty"), createChannel("v", "w"),
	} {
		reg.apply(t, m)
	}
	reg.log()
}

// Stock's answers. The index is that of fill, 9.
func TestAnswers(t *testing.T) {
	a, b, c := peerJSON(0), peerJSON(1), peerJSON(2)
	tests := []struct {
		request string
		status  int
		body    string
	}{
		{"GET /ping", 200, "OK"},
		{"GET /info", 200, `{"version":"` + Version + `"}`},
		{"GET /lookup?topic=t", 200, `{"channels":["b","c"],"producers":[` + a + `},` + b + `}]}`},
		{"GET /lookup?topic=t&topic=u&x=%20", 200, `{"channels":["b","c"],"producers":[` + a + `},` + b + `}]}`},
		{"GET /lookup?topic=%74", 200, `{"channels":["b","c"],"producers":[` + a + `},` + b + `}]}`},
		{"GET /lookup?topic=u", 200, `{"channels":[],"producers":[` + a + `}]}`},
		{"GET /lookup?topic=empty", 200, `{"channels":[],"producers":[]}`},
		{"GET /lookup?topic=v", 200, `{"channels":["w"],"producers":[]}`},
		{"GET /lookup?topic=nope", 404, message("TOPIC_NOT_FOUND")},
		{"GET /lookup?topic=*", 404, message("TOPIC_NOT_FOUND")},
		{"GET /lookup?topic=", 404, message("TOPIC_NOT_FOUND")},
		{"GET /lookup?topic", 404, message("TOPIC_NOT_FOUND")},
		{"GET /lookup", 400, message("MISSING_ARG_TOPIC")},
		{"GET /lookup?Topic=t", 400, message("MISSING_ARG_TOPIC")},
		{"GET /lookup?topic=%zz", 400, message("INVALID_REQUEST")},
		{"GET /lookup?topic=t;u", 400, message("INVALID_REQUEST")},
		{"POST /lookup?topic=t", 405, message("METHOD_NOT_ALLOWED")},
		{"GET /topics", 200, `{"topics":["empty","t","u","v"]}`},
		{"GET /channels?topic=t", 200, `{"channels":["b","c"]}`},
		{"GET /channels?topic=u", 200, `{"channels":[]}`},
		{"GET /channels?topic=nope", 200, `{"channels":[]}`},
		{"GET /channels?topic=*", 200, `{"channels":[]}`},
		{"GET /channels", 400, message("MISSING_ARG_TOPIC")},
		{"GET /nodes", 200, `{"producers":[` + a + `,"tombstones":[false,false],"topics":["t","u"]},` +
			b + `,"tombstones":[false],"topics":["t"]},` + c + `,"tombstones":[],"topics":[]}]}`},
		{"GET /create_topic?topic=t", 404, message("NOT_FOUND")},
		{"GET /livez", 200, "OK"},
		{"GET /readyz", 200, "[+]raft ok\n"},

		{"GET /lookup?topic=t&consistent=yes", 400, message("INVALID_ARG_CONSISTENT")},
		{"GET /lookup?topic=u&consistent=true", 200, `{"channels":[],"producers":[` + a + `}]}`},
		{"GET /lookup?topic=u&consistent=1", 200, `{"channels":[],"producers":[` + a + `}]}`},
		{"GET /lookup?topic=u&consistent=false", 200, `{"channels":[],"producers":[` + a + `}]}`},
		{"GET /topics?max_stale=5", 400, message("INVALID_ARG_MAX_STALE")},
		{"GET /topics?max_stale=-5s", 400, message("INVALID_ARG_MAX_STALE")},
		{"GET /topics?max_stale=", 400, message("INVALID_ARG_MAX_STALE")},
		{"GET /topics?max_stale=0s", 200, `{"topics":["empty","t","u","v"]}`},
		{"GET /topics?index=-1", 400, message("INVALID_ARG_INDEX")},
		{"GET /topics?index=18446744073709551616", 400, message("INVALID_ARG_INDEX")},
		{"GET /topics?index=1", 200, `{"topics":["empty","t","u","v"]}`},
		{"GET /topics?index=9&wait=0", 200, `{"topics":["empty","t","u","v"]}`},
		{"GET /topics?index=9&wait=5", 400, message("INVALID_ARG_WAIT")},
		{"GET /topics?index=9&wait=-5s", 400, message("INVALID_ARG_WAIT")},
	}
	reg := newFakeRegistry()
	fill(t, reg)
	_, h := newTestAPI(reg)
	for _, tt := range tests {
		// Twice, since what was encoded once is kept.
		for range 2 {
			w := ask(h, tt.request)
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("%s:\n got %d %s\nwant %d %s", tt.request, w.Code, w.Body, tt.status, tt.body)
			}
			plain := slices.Contains([]string{"GET /ping", "GET /livez", "GET /readyz"}, tt.request)
			if got := w.Header().Get("X-Nsq-Content-Type"); (got == "nsq; version=1.0") == plain {
				t.Errorf("%s: X-Nsq-Content-Type is %q", tt.request, got)
			}
		}
	}
	if log := reg.log(); len(log) > 0 {
		t.Errorf("reading left log entries %q", log)
	}
}

func TestMutations(t *testing.T) {
	long := strings.Repeat("n", 65)
	tests := []struct {
		request string
		status  int
		body    string
		log     []string
	}{
		{"POST /topic/create?topic=x", 200, "", []string{"create x"}},
		{"POST /topic/create?topic=t", 200, "", []string{"create t"}},
		{"POST /topic/create", 400, message("MISSING_ARG_TOPIC"), nil},
		{"POST /topic/create?topic=", 400, message("INVALID_ARG_TOPIC"), nil},
		{"POST /topic/create?topic=" + long, 400, message("INVALID_ARG_TOPIC"), nil},
		{"POST /topic/create?topic=x%zz", 400, message("INVALID_REQUEST"), nil},
		{"GET /topic/create?topic=x", 405, message("METHOD_NOT_ALLOWED"), nil},
		{"POST /topic/delete?topic=t", 200, "", []string{"delete t"}},
		{"POST /topic/delete?topic=nope", 200, "", []string{"delete nope"}},
		{"POST /topic/delete?topic=*", 400, message("INVALID_ARG_TOPIC"), nil},
		{"POST /topic/delete", 400, message("MISSING_ARG_TOPIC"), nil},
		{"POST /topic/tombstone?topic=t&node=hosta:4151", 200, "", []string{"tombstone t hosta:4151"}},
		{"POST /topic/tombstone?topic=nope&node=x", 200, "", []string{"tombstone nope x"}},
		{"POST /topic/tombstone?topic=*&node=hosta:4151", 400, message("INVALID_ARG_TOPIC"), nil},
		{"POST /topic/tombstone?topic=t", 400, message("MISSING_ARG_NODE"), nil},
		{"POST /topic/tombstone?topic=t&node=%ff", 400, message("INVALID_ARG_NODE"), nil},
		{"POST /topic/tombstone?topic=t&node=%0a", 400, message("INVALID_ARG_NODE"), nil},
		{"POST /topic/tombstone?topic=t&node=" + strings.Repeat("x", maxNode+1), 400, message("INVALID_ARG_NODE"), nil},
		{"POST /topic/tombstone?node=x", 400, message("MISSING_ARG_TOPIC"), nil},
		{"POST /channel/create?topic=x&channel=y%23ephemeral", 200, "", []string{"create x/y#ephemeral"}},
		{"POST /channel/create?channel=y", 400, message("MISSING_ARG_TOPIC"), nil},
		{"POST /channel/create?topic=*&channel=y", 400, message("INVALID_ARG_TOPIC"), nil},
		{"POST /channel/create?topic=x", 400, message("MISSING_ARG_CHANNEL"), nil},
		{"POST /channel/create?topic=x&channel=*", 400, message("INVALID_ARG_CHANNEL"), nil},
		{"POST /channel/delete?topic=t&channel=c", 200, "", []string{"delete t/c"}},
		{"POST /channel/delete?topic=t&channel=nope", 404, message("CHANNEL_NOT_FOUND"), []string{"delete t/nope"}},
		{"POST /channel/delete?topic=nope&channel=c", 404, message("CHANNEL_NOT_FOUND"), []string{"delete nope/c"}},
		{"POST /channel/delete?topic=t&channel=*", 400, message("INVALID_ARG_CHANNEL"), nil},
	}
	for _, tt := range tests {
		reg := newFakeRegistry()
		fill(t, reg)
		_, h := newTestAPI(reg)
		w := ask(h, tt.request)
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s:\n got %d %s\nwant %d %s", tt.request, w.Code, w.Body, tt.status, tt.body)
		}
		if got := reg.log(); !slices.Equal(got, tt.log) {
			t.Errorf("%s: log entries are %q, want %q", tt.request, got, tt.log)
		}
	}
}

func TestMutationsReadBack(t *testing.T) {
	reg := newFakeRegistry()
	_, h := newTestAPI(reg)
	reg.lag()
	for _, step := range []struct{ request, read, want string }{
		{"POST /channel/create?topic=t&channel=c", "GET /lookup?topic=t", `{"channels":["c"],"producers":[]}`},
		{"POST /channel/delete?topic=t&channel=c", "GET /lookup?topic=t", `{"channels":[],"producers":[]}`},
		{"POST /topic/delete?topic=t", "GET /topics", `{"topics":[]}`},
	} {
		reg.lag()
		if w := ask(h, step.request); w.Code != 200 {
			t.Fatalf("%s: got %d %s", step.request, w.Code, w.Body)
		}
		if got := ask(h, step.read).Body.String(); got != step.want {
			t.Errorf("%s after %s: got %s, want %s", step.read, step.request, got, step.want)
		}
	}
}

func TestFailures(t *testing.T) {
	tests := []struct {
		request string
		fault   func(*fakeRegistry)
		status  int
		message string
		retry   string
	}{
		{"POST /topic/create?topic=x", func(f *fakeRegistry) { f.fails = errUnavailable }, 503, "NO_LEADER", "1"},
		{"POST /topic/create?topic=x", func(f *fakeRegistry) { f.fails = errUnknown }, 504, "UNKNOWN_OUTCOME", ""},
		{"POST /topic/create?topic=x", func(f *fakeRegistry) { f.held = true }, 503, "NO_LEADER", "1"},
		{"POST /topic/create?topic=x", func(f *fakeRegistry) { f.held, f.sent = true, true }, 504, "UNKNOWN_OUTCOME", ""},
		{"POST /topic/create?topic=x", func(f *fakeRegistry) { f.fails = errors.New("secret") }, 500, "INTERNAL_ERROR", ""},
		{"GET /lookup?topic=t", func(f *fakeRegistry) { f.notReady = true }, 503, "NOT_READY", "1"},
		{"GET /lookup?topic=nope", func(f *fakeRegistry) { f.notReady = true }, 503, "NOT_READY", "1"},
		{"GET /topics", func(f *fakeRegistry) { f.notReady = true }, 503, "NOT_READY", "1"},
		{"GET /channels?topic=t", func(f *fakeRegistry) { f.notReady = true }, 503, "NOT_READY", "1"},
		{"GET /nodes", func(f *fakeRegistry) { f.notReady = true }, 503, "NOT_READY", "1"},
		{"GET /debug", func(f *fakeRegistry) { f.notReady = true }, 503, "NOT_READY", "1"},
		{"GET /lookup?topic=t&consistent=true", func(f *fakeRegistry) { f.fails = errUnavailable }, 503, "NO_QUORUM", "1"},
		{"GET /nodes?consistent=true", func(f *fakeRegistry) { f.fails = errNotReady }, 503, "NOT_READY", "1"},
		{"GET /lookup?topic=t&max_stale=5s", func(f *fakeRegistry) { f.fresh.Stale = 5*time.Second + 1 }, 503, "TOO_STALE", "1"},
		{"GET /lookup?topic=t&max_stale=5s", func(f *fakeRegistry) { f.fresh.Stale = -1 }, 503, "TOO_STALE", "1"},
		{"GET /nodes?max_stale=0s", func(f *fakeRegistry) { f.fresh.Stale = 1 }, 503, "TOO_STALE", "1"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			reg := newFakeRegistry()
			fill(t, reg)
			reg.set(tt.fault)
			_, h := newTestAPI(reg)
			start := time.Now()
			w := ask(h, tt.request)
			if w.Code != tt.status || w.Body.String() != message(tt.message) || w.Header().Get("Retry-After") != tt.retry {
				t.Errorf("%s: got %d %s, Retry-After %q, want %d %s, %q", tt.request, w.Code, w.Body, w.Header().Get("Retry-After"), tt.status, tt.message, tt.retry)
			}
			if took := time.Since(start); took > mutationTimeout {
				t.Errorf("%s: took %v", tt.request, took)
			}
		})
	}
}

func TestFreshnessHeaders(t *testing.T) {
	tests := []struct {
		request string
		fresh   freshness
		want    string // index, known, contact, stale
	}{
		{"GET /lookup?topic=t", freshness{true, 0, 0}, "9 true 0 0"},
		{"GET /lookup?topic=t", freshness{true, 1, 1500 * time.Microsecond}, "9 true 1 2"},
		{"GET /lookup?topic=nope", freshness{false, time.Hour, time.Hour}, "9 false 3600000 3600000"},
		{"GET /topics", freshness{false, -1, -1}, "9 false -1 -1"},
		{"GET /channels?topic=t", freshness{true, 0, 0}, "9 true 0 0"},
		{"GET /nodes?max_stale=1s", freshness{true, time.Second, 2 * time.Second}, "9 true 1000 2000"},
		{"GET /debug", freshness{true, 0, 0}, "9 true 0 0"},
		// A linearizable read is as fresh as its start, whatever the node knows.
		{"GET /lookup?topic=t&consistent=1&max_stale=1s", freshness{false, -1, -1}, "9 false -1 0"},
		{"GET /topics?index=9&wait=1s&consistent=1", freshness{true, 5 * time.Second, 5 * time.Second}, "9 true 5000 1000"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			reg := newFakeRegistry()
			fill(t, reg)
			reg.fresh = tt.fresh
			_, h := newTestAPI(reg)
			header := ask(h, tt.request).Header()
			got := strings.Join([]string{header.Get("X-Nsq-Index"), header.Get("X-Nsq-Known-Leader"), header.Get("X-Nsq-Last-Contact"), header.Get("X-Nsq-Stale-Ms")}, " ")
			if got != tt.want {
				t.Errorf("%s with %+v: got %s, want %s", tt.request, tt.fresh, got, tt.want)
			}
		})
	}
}

// Freshness is asked for once a millisecond; in between, its last word ages.
func TestFreshnessAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		reg.fresh = freshness{true, 2 * time.Millisecond, 5 * time.Millisecond}
		_, h := newTestAPI(reg)
		want := func(request, contact, stale string) {
			t.Helper()
			header := ask(h, request).Header()
			if header.Get("X-Nsq-Last-Contact") != contact || header.Get("X-Nsq-Stale-Ms") != stale {
				t.Errorf("after %s: got %s and %s, want %s and %s", request, header.Get("X-Nsq-Last-Contact"), header.Get("X-Nsq-Stale-Ms"), contact, stale)
			}
		}
		want("GET /topics", "2", "5")
		reg.fresh = freshness{true, 0, 0}
		time.Sleep(time.Millisecond / 2)
		want("GET /topics", "3", "6")
		want("GET /topics?max_stale=1ms", "0", "0")
		time.Sleep(time.Millisecond / 2)
		want("GET /topics", "0", "1")
		time.Sleep(time.Millisecond / 2)
		want("GET /topics", "0", "0")
	})
}

func TestTombstones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		fill(t, reg)
		_, h := newTestAPI(reg)
		both := ask(h, "GET /lookup?topic=t").Body.String()
		want := func(request, body string) {
			t.Helper()
			if got := ask(h, request).Body.String(); got != body {
				t.Errorf("%s: got %s, want %s", request, got, body)
			}
		}
		ask(h, "POST /topic/tombstone?topic=t&node=hosta:4151")
		hidden := `{"channels":["b","c"],"producers":[` + peerJSON(1) + `}]}`
		want("GET /lookup?topic=t", hidden)
		want("GET /lookup?topic=u", `{"channels":[],"producers":[`+peerJSON(0)+`}]}`)
		nodes := func(tombstoned bool) string {
			return fmt.Sprintf(`{"producers":[%s,"tombstones":[%v,false],"topics":["t","u"]},%s,"tombstones":[false],"topics":["t"]},%s,"tombstones":[],"topics":[]}]}`,
				peerJSON(0), tombstoned, peerJSON(1), peerJSON(2))
		}
		want("GET /nodes", nodes(true))
		time.Sleep(45*time.Second - 1)
		want("GET /lookup?topic=t", hidden)
		want("GET /nodes", nodes(true))
		time.Sleep(time.Nanosecond)
		want("GET /lookup?topic=t", both)
		want("GET /nodes", nodes(false))
	})
}

func TestInactiveProducersAreHidden(t *testing.T) {
	reg := newFakeRegistry()
	fill(t, reg)
	_, h := newTestAPI(reg)
	before := ask(h, "GET /nodes").Body.String()
	reg.apply(t, setActive(1, false))
	if got, want := ask(h, "GET /lookup?topic=t").Body.String(), `{"channels":["b","c"],"producers":[`+peerJSON(1)+`}]}`; got != want {
		t.Errorf("/lookup: got %s, want %s", got, want)
	}
	if got, want := ask(h, "GET /nodes").Body.String(), `{"producers":[`+peerJSON(1)+`,"tombstones":[false],"topics":["t"]},`+peerJSON(2)+`,"tombstones":[],"topics":[]}]}`; got != want {
		t.Errorf("/nodes: got %s, want %s", got, want)
	}
	reg.apply(t, setActive(1, true))
	if got := ask(h, "GET /nodes").Body.String(); got != before {
		t.Errorf("/nodes: got %s, want %s", got, before)
	}
}

func TestBlockingQueries(t *testing.T) {
	tests := []struct {
		name, request string
		change        func(*testing.T, *fakeRegistry)
		after         time.Duration
		contains      string
	}{
		{"change of the topic", "/lookup?topic=t&index=9", func(t *testing.T, f *fakeRegistry) { f.apply(t, createChannel("t", "new")) }, time.Second, `"new"`},
		{"change of another topic", "/lookup?topic=t&index=9", func(t *testing.T, f *fakeRegistry) { f.apply(t, createChannel("u", "new")) }, defaultWait, `"b","c"`},
		{"nothing", "/lookup?topic=t&index=9&wait=2m", nil, 2 * time.Minute, `"b","c"`},
		{"wait beyond the most", "/lookup?topic=t&index=9&wait=20m", nil, maxWait, `"b","c"`},
		{"new topic", "/lookup?topic=new&index=9", func(t *testing.T, f *fakeRegistry) { f.apply(t, createTopic("new")) }, time.Second, `"channels":[]`},
		{"another new topic", "/lookup?topic=new&index=9", func(t *testing.T, f *fakeRegistry) { f.apply(t, createTopic("other")) }, defaultWait, "TOPIC_NOT_FOUND"},
		{"topic deleted", "/lookup?topic=t&index=9", func(t *testing.T, f *fakeRegistry) { f.apply(t, deleteTopic("t")) }, time.Second, "TOPIC_NOT_FOUND"},
		{"channels", "/channels?topic=t&index=9", func(t *testing.T, f *fakeRegistry) { f.apply(t, createChannel("t", "new")) }, time.Second, `"new"`},
		{"topics", "/topics?index=9", func(t *testing.T, f *fakeRegistry) { f.apply(t, createTopic("new")) }, time.Second, `"new"`},
		{"topics, channel created", "/topics?index=9", func(t *testing.T, f *fakeRegistry) { f.apply(t, createChannel("t", "new")) }, defaultWait, `"t"`},
		{"nodes", "/nodes?index=9", func(t *testing.T, f *fakeRegistry) { f.apply(t, register(3, "new", "")) }, time.Second, `"new"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := newFakeRegistry()
				fill(t, reg)
				_, h := newTestAPI(reg)
				start := time.Now()
				if tt.change != nil {
					go func() {
						time.Sleep(time.Second)
						tt.change(t, reg)
					}()
				}
				w := ask(h, "GET "+tt.request)
				if took := time.Since(start); took != tt.after || !strings.Contains(w.Body.String(), tt.contains) {
					t.Errorf("after %v: %s, want %s after %v", took, w.Body, tt.contains, tt.after)
				}
			})
		})
	}
}

// The end of a tombstone's lifetime is a change without a log entry.
func TestBlockingQueriesSeeTombstonesEnd(t *testing.T) {
	for _, request := range []string{"GET /lookup?topic=t&index=10&wait=5m", "GET /nodes?index=10&wait=5m"} {
		synctest.Test(t, func(t *testing.T) {
			reg := newFakeRegistry()
			fill(t, reg)
			_, h := newTestAPI(reg)
			reg.apply(t, tombstone("t", "hosta:4151"))
			start := time.Now()
			w := ask(h, request)
			if took := time.Since(start); took != 45*time.Second || !strings.Contains(w.Body.String(), "hosta") || strings.Contains(w.Body.String(), "true") {
				t.Errorf("%s: after %v: %s", request, took, w.Body)
			}
		})
	}
}

func TestBlockingQueriesEndEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newFakeRegistry()
		fill(t, reg)
		api, h := newTestAPI(reg)
		stopping, stop := context.WithCancel(context.Background())
		api.stopping = stopping
		answered := make(chan *httptest.ResponseRecorder)
		wait := func(ctx context.Context) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/lookup?topic=t&index=9", nil).WithContext(ctx))
			answered <- w
		}

		ctx, leave := context.WithCancel(context.Background())
		go wait(ctx)
		time.Sleep(time.Second)
		leave()
		start := time.Now()
		if <-answered; time.Since(start) != 0 {
			t.Errorf("answered %v after the client had gone", time.Since(start))
		}

		api.waiting.Store(maxWaiting)
		start = time.Now()
		go wait(context.Background())
		if w := <-answered; w.Code != 200 || time.Since(start) != 0 {
			t.Errorf("with too many waiting: %d after %v", w.Code, time.Since(start))
		}
		if got := api.waiting.Load(); got != maxWaiting {
			t.Errorf("%d waiting, want %d", got, maxWaiting)
		}
		api.waiting.Store(0)

		go wait(context.Background())
		time.Sleep(time.Second)
		stop()
		if w := <-answered; w.Code != 200 {
			t.Errorf("when stopping: %d", w.Code)
		}
	})
}

func TestDebug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestV1(newFakeRegistry())
		c := identified(t, v, 0)
		c.send("REGISTER t c\n")
		identifiedAt := time.Now()
		c.reg.apply(t, openSession(77, testProducer(1))) // whose connection is elsewhere
		c.reg.apply(t, register(77, "t", ""))
		c.reg.apply(t, createChannel("t", "idle"))
		time.Sleep(time.Minute)
		c.reg.apply(t, tombstone("t", "hosta:4151"))

		a := newHTTPAPI(context.Background(), c.reg, fakeHealth{}, v.sessions, newMetrics(), hclog.NewNullLogger(), time.Minute)
		h := a.routes(nil)
		var got map[string][]map[string]any
		if err := json.Unmarshal(ask(h, "GET /debug").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		show := func(key string) (lines []string) {
			for _, r := range got[key] {
				lines = append(lines, fmt.Sprintf("%v %v %v %v %v", r["broadcast_address"], r["id"], int64(r["last_update"].(float64))/1e9, r["tombstoned"], int64(r["tombstoned_at"].(float64))/1e9))
			}
			return lines
		}
		seen, hidden := identifiedAt.Unix(), time.Now().Unix()
		for key, want := range map[string][]string{
			"client::":       {fmt.Sprintf("hosta pipe %d false 0", seen), "hostb 10.0.0.1:5000 0 false 0"},
			"topic:t:":       {fmt.Sprintf("hosta pipe %d true %d", seen, hidden), "hostb 10.0.0.1:5000 0 false 0"},
			"channel:t:c":    {fmt.Sprintf("hosta pipe %d false 0", seen)},
			"channel:t:idle": nil,
		} {
			if got := show(key); !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", key, got, want)
			}
		}
		if len(got) != 3 {
			t.Errorf("%d keys, want 3", len(got))
		}
		c.close()
	})
}

func TestReadyz(t *testing.T) {
	a, h := newTestAPI(newFakeRegistry())
	a.health = fakeHealth{{"raft", nil}, {"leader", errors.New("none known")}, {"applied", nil}}
	w := ask(h, "GET /readyz")
	if want := "[+]raft ok\n[-]leader failed: none known\n[+]applied ok\n"; w.Code != 503 || w.Body.String() != want {
		t.Errorf("got %d %q, want 503 %q", w.Code, w.Body, want)
	}
	if w := ask(h, "GET /livez"); w.Code != 200 {
		t.Errorf("/livez: got %d", w.Code)
	}
}

func TestPprof(t *testing.T) {
	_, h := newTestAPI(newFakeRegistry())
	for _, request := range []string{
		"GET /debug/pprof", "GET /debug/pprof/cmdline", "GET /debug/pprof/symbol", "POST /debug/pprof/symbol",
		"GET /debug/pprof/heap", "GET /debug/pprof/goroutine", "GET /debug/pprof/block", "GET /debug/pprof/threadcreate",
	} {
		if w := ask(h, request); w.Code != 200 || w.Body.Len() == 0 {
			t.Errorf("%s: got %d with %d bytes", request, w.Code, w.Body.Len())
		}
	}
}

func TestMoreRoutes(t *testing.T) {
	a, _ := newTestAPI(newFakeRegistry())
	h := a.routes(func(handle handleFunc) {
		handle("POST", "/cluster/transfer", func(*http.Request) (any, error) {
			return nil, httpapi.NewError(409, "NOT_LEADER")
		})
	})
	if w := ask(h, "POST /cluster/transfer"); w.Code != 409 || w.Body.String() != message("NOT_LEADER") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if got := ask(h, "GET /metrics").Body.String(); !strings.Contains(got, `nsqlookupd_http_request_duration_seconds_count{code="409",method="POST",route="/cluster/transfer"} 1`) {
		t.Errorf("not among the metrics: %s", got)
	}
}

// Bodies are dropped, whatever their size says.
func TestBodies(t *testing.T) {
	_, h := newTestAPI(newFakeRegistry())
	srv := httptest.NewServer(h)
	defer srv.Close()
	for size, want := range map[int]int{2: 200, httpapi.MaxIgnoredBody + 1: 413} {
		resp, err := http.Post(srv.URL+"/topic/create?topic=t", "text/plain", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("body of %d bytes: got %d, want %d", size, resp.StatusCode, want)
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := newFakeRegistry()
	fill(t, reg)
	a, h := newTestAPI(reg)
	a.metrics.countRegistration(0, errUnavailable)
	a.metrics.raftFsync.Observe(0.001)
	for _, request := range []string{"GET /lookup?topic=t", "GET /lookup?topic=nope", "GET /lookup", "GET /nodes?index=0"} {
		ask(h, request)
	}
	got := ask(h, "GET /metrics").Body.String()
	for _, want := range []string{
		"nsqlookupd_topics 4", "nsqlookupd_channels 3", "nsqlookupd_producers 3", "nsqlookupd_tombstones 0", "nsqlookupd_sessions 0",
		`nsqlookupd_registrations_total{result="unavailable"} 1`, `nsqlookupd_registrations_total{result="ok"} 0`,
		`nsqlookupd_lookups_total{result="ok"} 1`, `nsqlookupd_lookups_total{result="not_found"} 1`, `nsqlookupd_lookups_total{result="bad_request"} 1`,
		`nsqlookupd_http_request_duration_seconds_count{code="200",method="GET",route="/lookup"} 1`,
		`nsqlookupd_http_request_duration_seconds_count{code="404",method="GET",route="/lookup"} 1`,
		"nsqlookupd_raft_has_leader 1", "nsqlookupd_raft_is_leader 0", "nsqlookupd_raft_term 3", `nsqlookupd_raft_follower_lag_entries{peer="n2"} 7`,
		"nsqlookupd_raft_last_contact_seconds -1", "nsqlookupd_raft_leader_changes_total 0", "nsqlookupd_raft_commit_index 0",
		"nsqlookupd_raft_applied_index 0", "nsqlookupd_raft_last_log_index 0", "nsqlookupd_raft_voters 0", "nsqlookupd_raft_failure_tolerance 0",
		"nsqlookupd_raft_fsync_duration_seconds_count 1", "nsqlookupd_raft_apply_duration_seconds_count 0", "nsqlookupd_raft_snapshot_duration_seconds_count 0",
		`nsqlookupd_build_info{goversion="go`, "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if strings.Contains(got, `route="/nodes"`) {
		t.Error("a blocking query was timed")
	}
	if t.Failed() {
		t.Log(got)
	}
}
