package nsqd

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/wire"
)

// statsdDial bounds what looking up the daemon's name may take.
const statsdDial = time.Second

// A statsd pushes statistics to a statsd daemon over UDP, with stock's keys, once
// every interval. The zero value is closed.
type statsd struct {
	// Set by openStatsd.
	opts   *Options
	log    hclog.Logger
	prefix string
	stats  func() Stats // without clients
	memory func() MemoryStats
	cancel context.CancelFunc

	wg sync.WaitGroup // of run

	// Owned by run.
	last      Stats
	lastCount uint32 // of garbage collections
}

// openStatsd begins to push, if there is somebody to push to. The HTTP port must be
// known: it is part of the keys.
func (s *Server) openStatsd() {
	if s.opts.StatsdAddress == "" {
		return
	}
	p := &s.statsd
	p.opts, p.log, p.prefix = s.opts, s.log, statsdPrefix(s.opts, s.HTTPAddr())
	p.stats, p.memory = func() Stats { return s.Stats(StatsFilter{}) }, readMemory
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.wg.Go(func() { p.run(ctx) })
}

// closeStatsd stops pushing; what is being pushed goes out at once. It may be called
// twice, and on a Server that was not opened.
func (s *Server) closeStatsd() {
	if s.statsd.cancel != nil {
		s.statsd.cancel()
	}
	s.statsd.wg.Wait()
}

// run pushes until ctx ends.
func (p *statsd) run(ctx context.Context) {
	ticker := time.NewTicker(p.opts.StatsdInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			p.log.Info("STATSD: closing")
			return
		case <-ticker.C:
			p.push(ctx)
		}
	}
}

// push sends the statistics of now and of the interval that is over, spread over the
// next but for its last second.
func (p *statsd) push(ctx context.Context) {
	dialer := net.Dialer{Timeout: statsdDial}
	conn, err := dialer.DialContext(ctx, "udp", p.opts.StatsdAddress)
	if err != nil {
		p.log.Error("failed to create UDP socket to statsd", "address", p.opts.StatsdAddress, "err", err)
		return
	}
	defer conn.Close()
	p.log.Info("STATSD: pushing stats to " + p.opts.StatsdAddress)
	spread(ctx, p.packets(), statsdSpread(p.opts.StatsdInterval), func(packet []byte) {
		conn.Write(packet) // nobody may be listening: UDP promises nothing
	})
}

// statsdSpread returns the time over which packets are spread: all but a second, as
// in stock, or half of an interval too short for that.
func statsdSpread(interval time.Duration) time.Duration {
	return max(interval-time.Second, interval/2)
}

// spread calls send for each packet, evenly over d, or at once when ctx has ended.
func spread(ctx context.Context, packets [][]byte, d time.Duration, send func([]byte)) {
	for i, packet := range packets {
		if i > 0 {
			timer := time.NewTimer(d / time.Duration(len(packets)))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
		send(packet)
	}
}

// packets returns what one push sends, and notes what the next one is the difference
// to.
func (p *statsd) packets() [][]byte {
	lines := statsdLines{prefix: p.prefix, size: p.opts.StatsdUDPPacketSize}
	stats := p.stats()
	lines.queues(stats.Topics, p.last.Topics, p.opts.StatsdExcludeEphemeral)
	p.last = stats
	if p.opts.StatsdMemStats {
		m := p.memory()
		lines.memory(&m, p.lastCount)
		p.lastCount = m.GCTotalRuns
	}
	return lines.packets
}

// statsdLines are lines in packets of at most size bytes, each line with its newline.
// One that is longer has a packet for itself.
type statsdLines struct {
	prefix  string
	size    int
	packets [][]byte
}

func (l *statsdLines) count(key string, n uint64)  { l.add(key, strconv.FormatUint(n, 10), "c") }
func (l *statsdLines) gauge(key string, n int64)   { l.add(key, strconv.FormatInt(n, 10), "g") }
func (l *statsdLines) ugauge(key string, n uint64) { l.add(key, strconv.FormatUint(n, 10), "g") }

func (l *statsdLines) add(key, value, kind string) {
	line := l.prefix + key + ":" + value + "|" + kind + "\n"
	last := len(l.packets) - 1
	if last < 0 || len(l.packets[last])+len(line) > l.size {
		l.packets = append(l.packets, nil)
		last++
	}
	l.packets[last] = append(l.packets[last], line...)
}

// queues adds topics and channels; counters as what they have grown by since last.
func (l *statsdLines) queues(topics, last []TopicStats, excludeEphemeral bool) {
	before := make(map[string]*TopicStats, len(last))
	for i := range last {
		before[last[i].Name] = &last[i]
	}
	for i := range topics {
		t := &topics[i]
		if excludeEphemeral && wire.Ephemeral(t.Name) {
			continue
		}
		was := before[t.Name]
		if was == nil {
			was = new(TopicStats)
		}
		key := "topic." + t.Name + "."
		l.count(key+"message_count", grown(t.MessageCount, was.MessageCount))
		l.count(key+"message_bytes", grown(t.MessageBytes, was.MessageBytes))
		l.gauge(key+"depth", t.Depth)
		l.gauge(key+"backend_depth", t.BackendDepth)
		l.latency(key, &t.E2ELatency)
		l.channels(key+"channel.", t.Channels, was.Channels, excludeEphemeral)
	}
}

func (l *statsdLines) channels(prefix string, channels, last []ChannelStats, excludeEphemeral bool) {
	before := make(map[string]*ChannelStats, len(last))
	for i := range last {
		before[last[i].Name] = &last[i]
	}
	for i := range channels {
		c := &channels[i]
		if excludeEphemeral && wire.Ephemeral(c.Name) {
			continue
		}
		was := before[c.Name]
		if was == nil {
			was = new(ChannelStats)
		}
		key := prefix + c.Name + "."
		l.count(key+"message_count", grown(c.MessageCount, was.MessageCount))
		l.gauge(key+"depth", c.Depth)
		l.gauge(key+"backend_depth", c.BackendDepth)
		l.gauge(key+"in_flight_count", int64(c.InFlightCount))
		l.gauge(key+"deferred_count", int64(c.DeferredCount))
		l.count(key+"requeue_count", grown(c.RequeueCount, was.RequeueCount))
		l.count(key+"timeout_count", grown(c.TimeoutCount, was.TimeoutCount))
		l.gauge(key+"clients", int64(c.ClientCount))
		l.latency(key, &c.E2ELatency)
	}
}

func (l *statsdLines) latency(key string, e *LatencyStats) {
	for _, p := range e.Percentiles {
		l.gauge(fmt.Sprintf("%se2e_processing_latency_%.0f", key, p["quantile"]*100), int64(p["value"]))
	}
}

func (l *statsdLines) memory(m *MemoryStats, lastCount uint32) {
	l.ugauge("mem.heap_objects", m.HeapObjects)
	l.ugauge("mem.heap_idle_bytes", m.HeapIdleBytes)
	l.ugauge("mem.heap_in_use_bytes", m.HeapInUseBytes)
	l.ugauge("mem.heap_released_bytes", m.HeapReleasedBytes)
	l.ugauge("mem.gc_pause_usec_100", m.GCPauseUsec100)
	l.ugauge("mem.gc_pause_usec_99", m.GCPauseUsec99)
	l.ugauge("mem.gc_pause_usec_95", m.GCPauseUsec95)
	l.ugauge("mem.next_gc_bytes", m.NextGCBytes)
	l.count("mem.gc_runs", uint64(m.GCTotalRuns-lastCount))
}

// grown returns what a counter has grown by since it was last. One that has shrunk
// is another's: of a topic or channel that was deleted and made anew.
func grown(now, last uint64) uint64 {
	if now < last {
		return now
	}
	return now - last
}

// statsdPrefix returns what all keys begin with: the option, with the broadcast
// address and HTTP port, dots and colons turned into _, for each %s in it, and a dot
// at its end. It is empty if the option is.
func statsdPrefix(o *Options, http net.Addr) string {
	if o.StatsdPrefix == "" {
		return ""
	}
	host := net.JoinHostPort(o.BroadcastAddress, strconv.Itoa(broadcastPort(o.BroadcastHTTPPort, http)))
	prefix := strings.ReplaceAll(o.StatsdPrefix, "%s", strings.NewReplacer(".", "_", ":", "_").Replace(host))
	if !strings.HasSuffix(prefix, ".") {
		prefix += "."
	}
	return prefix
}
