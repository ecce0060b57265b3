package nsqd

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestStatsdKeys(t *testing.T) {
	p := &statsd{
		opts:   &Options{StatsdUDPPacketSize: 1 << 16, StatsdMemStats: true},
		prefix: "nsq.h_4151.",
		stats:  func() Stats { return someStats() },
		memory: func() MemoryStats {
			return MemoryStats{HeapObjects: 1, HeapIdleBytes: 2, HeapInUseBytes: 3, HeapReleasedBytes: 4,
				GCPauseUsec100: 5, GCPauseUsec99: 6, GCPauseUsec95: 7, NextGCBytes: 8, GCTotalRuns: 9}
		},
		last: Stats{Topics: []TopicStats{{Name: "orders", MessageCount: 100, MessageBytes: 5000,
			Channels: []ChannelStats{{Name: "billing", MessageCount: 90, RequeueCount: 5, TimeoutCount: 1}}}}},
		lastCount: 5,
	}
	want := `nsq.h_4151.topic.orders.message_count:23|c
nsq.h_4151.topic.orders.message_bytes:1150|c
nsq.h_4151.topic.orders.depth:4|g
nsq.h_4151.topic.orders.backend_depth:3|g
nsq.h_4151.topic.orders.e2e_processing_latency_99:1500000|g
nsq.h_4151.topic.orders.channel.billing.message_count:33|c
nsq.h_4151.topic.orders.channel.billing.depth:2|g
nsq.h_4151.topic.orders.channel.billing.backend_depth:1|g
nsq.h_4151.topic.orders.channel.billing.in_flight_count:7|g
nsq.h_4151.topic.orders.channel.billing.deferred_count:8|g
nsq.h_4151.topic.orders.channel.billing.requeue_count:4|c
nsq.h_4151.topic.orders.channel.billing.timeout_count:2|c
nsq.h_4151.topic.orders.channel.billing.clients:1|g
nsq.h_4151.topic.orders.channel.billing.e2e_processing_latency_99:1500000|g
nsq.h_4151.topic.orders.channel.tail#ephemeral.message_count:0|c
nsq.h_4151.topic.orders.channel.tail#ephemeral.depth:0|g
nsq.h_4151.topic.orders.channel.tail#ephemeral.backend_depth:0|g
nsq.h_4151.topic.orders.channel.tail#ephemeral.in_flight_count:0|g
nsq.h_4151.topic.orders.channel.tail#ephemeral.deferred_count:0|g
nsq.h_4151.topic.orders.channel.tail#ephemeral.requeue_count:0|c
nsq.h_4151.topic.orders.channel.tail#ephemeral.timeout_count:0|c
nsq.h_4151.topic.orders.channel.tail#ephemeral.clients:0|g
nsq.h_4151.topic.x#ephemeral.message_count:1|c
nsq.h_4151.topic.x#ephemeral.message_bytes:2|c
nsq.h_4151.topic.x#ephemeral.depth:0|g
nsq.h_4151.topic.x#ephemeral.backend_depth:0|g
nsq.h_4151.mem.heap_objects:1|g
nsq.h_4151.mem.heap_idle_bytes:2|g
nsq.h_4151.mem.heap_in_use_bytes:3|g
nsq.h_4151.mem.heap_released_bytes:4|g
nsq.h_4151.mem.gc_pause_usec_100:5|g
nsq.h_4151.mem.gc_pause_usec_99:6|g
nsq.h_4151.mem.gc_pause_usec_95:7|g
nsq.h_4151.mem.next_gc_bytes:8|g
nsq.h_4151.mem.gc_runs:4|c
`
	got := p.packets()
	if len(got) != 1 || string(got[0]) != want {
		t.Errorf("got %q, want %q", got, want)
	}

	// Nothing has happened since; without memory and what is ephemeral.
	p.opts.StatsdMemStats, p.opts.StatsdExcludeEphemeral = false, true
	got = p.packets()
	for _, key := range []string{"topic.orders.message_count:0|c\n", "topic.orders.depth:4|g\n"} {
		if !strings.Contains(string(got[0]), key) {
			t.Errorf("second push: got %q, want %q", got, key)
		}
	}
	for _, key := range []string{"mem.", "ephemeral"} {
		if strings.Contains(string(got[0]), key) {
			t.Errorf("second push: got %q, want no %q", got, key)
		}
	}

	// The topic was deleted and made anew, with fewer messages than it had.
	p.last.Topics[0].MessageCount = 1000
	if got = p.packets(); !strings.Contains(string(got[0]), "topic.orders.message_count:123|c\n") {
		t.Errorf("new topic: got %q", got)
	}
}

func TestStatsdPackets(t *testing.T) {
	l := statsdLines{prefix: "p.", size: 20}
	for _, key := range []string{"a", "b", "c", strings.Repeat("k", 30), "d"} {
		l.gauge(key, 1) // p.a:1|g and a newline: 8 bytes
	}
	want := []string{"p.a:1|g\np.b:1|g\n", "p.c:1|g\n", "p." + strings.Repeat("k", 30) + ":1|g\n", "p.d:1|g\n"}
	if !slices.Equal(texts(l.packets), want) {
		t.Errorf("got %q, want %q", l.packets, want)
	}
}

func TestStatsdSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var at []time.Duration
		send := func([]byte) { at = append(at, time.Since(begun)) }
		packets := make([][]byte, 4)
		spread(t.Context(), packets, 8*time.Second, send)
		if want := []time.Duration{0, 2 * time.Second, 4 * time.Second, 6 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("sent at %v, want %v", at, want)
		}

		ended, cancel := context.WithCancel(t.Context())
		cancel()
		begun, at = time.Now(), nil
		if spread(ended, packets, 8*time.Second, send); len(at) != 4 || at[3] != 0 {
			t.Errorf("ended: sent at %v, want all at once", at)
		}
	})
	for interval, want := range map[time.Duration]time.Duration{
		time.Minute: 59 * time.Second,
		time.Second: 500 * time.Millisecond,
		1:           0,
	} {
		if got := statsdSpread(interval); got != want {
			t.Errorf("every %v: spread over %v, want %v", interval, got, want)
		}
	}
}

// The daemon gets a packet each interval, and closing ends the goroutine.
func TestStatsdPushes(t *testing.T) {
	daemon, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	ctx, cancel := context.WithCancel(t.Context())
	p := &statsd{
		opts:   &Options{StatsdAddress: daemon.LocalAddr().String(), StatsdInterval: time.Millisecond, StatsdUDPPacketSize: 508},
		log:    hclog.NewNullLogger(),
		prefix: "p.",
		stats:  func() Stats { return Stats{Topics: []TopicStats{{Name: "t"}}} },
	}
	done := make(chan struct{})
	go func() { p.run(ctx); close(done) }()
	buf := make([]byte, 1000)
	daemon.SetReadDeadline(time.Now().Add(10 * time.Second))
	for range 2 {
		n, _, err := daemon.ReadFrom(buf)
		if want := "p.topic.t.message_count:0|c\n"; err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Fatalf("got %q, %v, want %q", buf[:n], err, want)
		}
	}
	cancel()
	<-done
}

// A server pushes what it knows, under its own address.
func TestStatsdOfAServer(t *testing.T) {
	daemon, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	o := testOptions(t)
	o.StatsdAddress, o.StatsdInterval, o.BroadcastAddress = daemon.LocalAddr().String(), 100*time.Millisecond, "a.b"
	s := openServer(t, o)
	if _, err := s.Topic("t"); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("nsq.a_b_%d.topic.t.depth:0|g\n", portOf(s.HTTPAddr()))
	buf := make([]byte, 1000)
	daemon.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		n, _, err := daemon.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%v before %q came", err, want)
		}
		if n > o.StatsdUDPPacketSize {
			t.Errorf("a packet of %d bytes", n)
		}
		if strings.Contains(string(buf[:n]), want) {
			break
		}
	}
}

func TestStatsdPrefix(t *testing.T) {
	http := &net.TCPAddr{Port: 4151}
	tests := []struct {
		opts Options
		addr net.Addr
		want string
	}{
		{Options{StatsdPrefix: "nsq.%s", BroadcastAddress: "a.example"}, http, "nsq.a_example_4151."},
		{Options{StatsdPrefix: "nsq.%s.", BroadcastAddress: "a", BroadcastHTTPPort: 80}, http, "nsq.a_80."},
		{Options{StatsdPrefix: "%s-%s", BroadcastAddress: "a"}, nil, "a_0-a_0."},
		{Options{StatsdPrefix: "%s", BroadcastAddress: "::1"}, http, "[__1]_4151."},
		{Options{StatsdPrefix: "x%d"}, http, "x%d."},
		{Options{}, http, ""},
	}
	for _, tt := range tests {
		if got := statsdPrefix(&tt.opts, tt.addr); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.opts.StatsdPrefix, got, tt.want)
		}
	}
}
