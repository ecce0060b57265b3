package nsqd

import (
	"encoding/json"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// someStats are those of a topic with two channels and of an ephemeral topic.
func someStats() Stats {
	latency := LatencyStats{Count: 3, Percentiles: []map[string]float64{{"quantile": 0.99, "value": 1.5e6}}}
	return Stats{
		Version:   Version,
		Health:    "OK",
		StartTime: 1000,
		Topics: []TopicStats{
			{
				Name: "orders", Depth: 4, BackendDepth: 3, MessageCount: 123, MessageBytes: 6150, Paused: true, E2ELatency: latency,
				Channels: []ChannelStats{
					{
						Name: "billing", Depth: 2, BackendDepth: 1, InFlightCount: 7, DeferredCount: 8, MessageCount: 123,
						RequeueCount: 9, TimeoutCount: 3, ClientCount: 1, E2ELatency: latency,
						Clients: []ClientStats{{
							ClientID: "c", Hostname: "host", Version: "V2", RemoteAddress: "10.0.0.1:5000", State: 3,
							ReadyCount: 25, InFlightCount: 7, MessageCount: 123, FinishCount: 100, RequeueCount: 9,
							ConnectTime: 1000, UserAgent: "go-nsq/1.1.0",
						}},
					},
					{Name: "tail#ephemeral", Paused: true, Clients: []ClientStats{}},
				},
			},
			{Name: "x#ephemeral", MessageCount: 1, MessageBytes: 2, Channels: []ChannelStats{}},
		},
		Producers: []ClientStats{{
			Hostname: "far-away.example.com", Version: "V2", RemoteAddress: "10.0.0.2:6000", ConnectTime: 4000,
			UserAgent: "p", PubCounts: []PubCount{{"orders", 100}, {"x#ephemeral", 1}},
		}},
	}
}

func TestStatsText(t *testing.T) {
	started, now := time.Unix(1000, 0).UTC(), time.Unix(4661, 500e6)
	head := "nsqd v" + Version + " (built w/" + runtime.Version() + ")\n" +
		"start_time 1970-01-01T00:16:40Z\nuptime 1h1m1.5s\n"

	s := someStats()
	want := head + `
Health: OK

Topics:
*P [orders         ] depth: 4     be-depth: 3     msgs: 123      e2e%: 1.5ms
      [billing                  ] depth: 2     be-depth: 1     inflt: 7    def: 8    re-q: 9     timeout: 3     msgs: 123      e2e%: 1.5ms
        [V2 host:5000 go-nsq/1.1.0] state: 3 inflt: 7    rdy: 25   fin: 100      re-q: 9        msgs: 123      connected: 1h1m1s
   *P [tail#ephemeral           ] depth: 0     be-depth: 0     inflt: 0    def: 0    re-q: 0     timeout: 0     msgs: 0        e2e%: ` + `

   [x#ephemeral    ] depth: 0     be-depth: 0     msgs: 1        e2e%: ` + `

Producers:
   [V2 far-away.example.com:6000 p] msgs: 101      topics: orders=100,x#ephemeral=1 connected: 11m1s
`
	if got := string(s.text(started, now)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	empty := Stats{Version: Version, Health: "NOK - disk full", Memory: &MemoryStats{HeapObjects: 3896, GCTotalRuns: 2}}
	want = head + `
Health: NOK - disk full

Memory:
   heap_objects             	3896
   heap_idle_bytes          	0
   heap_in_use_bytes        	0
   heap_released_bytes      	0
   gc_pause_usec_100        	0
   gc_pause_usec_99         	0
   gc_pause_usec_95         	0
   next_gc_bytes            	0
   gc_total_runs            	2

Topics: None

Producers: None
`
	if got := string(empty.text(started, now)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHumanNanoseconds(t *testing.T) {
	for ns, want := range map[float64]string{0: "0.0ns", 1000: "1000.0ns", 1001: "1.0us", 2.56e6: "2.6ms", 1e9: "1000.0ms", 61e9: "61.0s"} {
		if got := humanNanoseconds(ns); got != want {
			t.Errorf("%v: got %s, want %s", ns, got, want)
		}
	}
}

// The keys of stock's JSON, in its order, with null where stock has null.
func TestStatsJSON(t *testing.T) {
	got, err := json.Marshal(Stats{Version: "1.3.0", Health: "OK", StartTime: 7, Topics: []TopicStats{{
		Name: "t", Channels: []ChannelStats{{Name: "c"}},
	}}})
	want := `{"version":"1.3.0","health":"OK","start_time":7,"topics":[{"topic_name":"t","channels":[{"channel_name":"c","depth":0,"backend_depth":0,"in_flight_count":0,"deferred_count":0,"message_count":0,"requeue_count":0,"timeout_count":0,"client_count":0,"clients":null,"paused":false,"e2e_processing_latency":{"count":0,"percentiles":null}}],"depth":0,"backend_depth":0,"message_count":0,"message_bytes":0,"paused":false,"e2e_processing_latency":{"count":0,"percentiles":null}}],"producers":null}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}

func TestReadMemory(t *testing.T) {
	runtime.GC()
	m := readMemory()
	if m.HeapObjects == 0 || m.HeapInUseBytes == 0 || m.NextGCBytes == 0 || m.GCTotalRuns == 0 || m.GCPauseUsec100 < m.GCPauseUsec95 {
		t.Errorf("got %+v", m)
	}
	var old runtime.MemStats
	runtime.ReadMemStats(&old)
	if near := func(a, b uint64) bool { return a < 2*b+1<<20 && b < 2*a+1<<20 }; !near(m.HeapIdleBytes, old.HeapIdle) ||
		!near(m.HeapInUseBytes, old.HeapInuse) || !near(m.HeapReleasedBytes, old.HeapReleased) || !near(m.HeapObjects, old.HeapObjects) {
		t.Errorf("got %+v, far from %+v", m, old)
	}
}

func TestPauseUsec(t *testing.T) {
	var pauses []time.Duration
	if got := pauseUsec(pauses, 1); got != 0 {
		t.Errorf("of none: %d", got)
	}
	for i := range 100 {
		pauses = append(pauses, time.Duration(i)*time.Microsecond)
	}
	for q, want := range map[float64]uint64{1: 99, 0.99: 99, 0.95: 95} {
		if got := pauseUsec(pauses, q); got != want {
			t.Errorf("%v: got %d, want %d", q, got, want)
		}
	}
}

// However many topics there are, no more than so many have series of their own.
func TestMetricsAreBounded(t *testing.T) {
	collect := func(most int) (series int, text string) {
		ch := make(chan prometheus.Metric)
		go func() {
			defer close(ch)
			gatherer(ch).queues(someStats().Topics, most)
		}()
		var descs []string
		for m := range ch {
			series++
			descs = append(descs, m.Desc().String())
		}
		slices.Sort(descs)
		return series, strings.Join(descs, "\n")
	}
	for most, want := range map[int]int{0: 7, 1: 7 + 5, 2: 7 + 5 + 10, 100: 7 + 5 + 10} {
		if got, text := collect(most); got != want {
			t.Errorf("at most %d queues: %d series, want %d\n%s", most, got, want, text)
		}
	}
}
