package nsqd

import (
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"nsqraft/internal/httpapi"
	"nsqraft/internal/wire"
)

// maxMetricQueues bounds the cardinality of /metrics: that many topics and channels
// together have series of their own, by name, and no ephemeral one ever has, for
// their names come and go. nsqd_queues_left_out says how many have none. Whoever
// needs those asks /stats. A topic has 5 series, a channel 9, and one for each
// percentile of --e2e-processing-latency-percentile. Besides those there is a
// constant number, and one histogram for each route, method and status.
const maxMetricQueues = 5000

// metrics are what /metrics tells, in a registry of its own.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec // route, method, code
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "nsqd_http_request_duration_seconds",
			Help:    "Time to answer HTTP requests, their bodies included.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30},
		}, []string{"route", "method", "code"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "nsqd_build_info",
		Help:        "1, with the versions of nsqd and Go as labels.",
		ConstLabels: prometheus.Labels{"version": Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, build, &scraper{s},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// handler answers /metrics. A scrape reads all queues; more than two at a time are
// turned away with 503.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2})
}

// timed observes how long h takes, by route, method and status.
func (m *metrics) timed(route, method string, h httpapi.Handler) httpapi.Handler {
	var answered [600]atomic.Pointer[prometheus.Observer] // by status, once it has occurred
	return func(r *http.Request) (any, error) {
		start := time.Now()
		value, err := h(r)
		status := statusOf(err)
		observer := answered[status].Load()
		if observer == nil {
			o := m.requests.WithLabelValues(route, method, strconv.Itoa(status))
			observer = &o
			answered[status].Store(observer)
		}
		(*observer).Observe(time.Since(start).Seconds())
		return value, err
	}
}

// statusOf returns the status that httpapi gives err.
func statusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if e, ok := errors.AsType[*httpapi.Error](err); ok {
		return e.Status
	}
	return http.StatusInternalServerError
}

// A scraper collects what is a state rather than an event, at each scrape.
type scraper struct{ srv *Server }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("nsqd_"+name, help, labels, nil)
}

var (
	descStart     = describe("start_time_seconds", "When nsqd was started, in Unix seconds.")
	descHealthy   = describe("healthy", "0 if the last write to a queue on disk failed.")
	descDraining  = describe("draining", "1 while nsqd lets consumers finish and takes nothing new.")
	descDiskFree  = describe("disk_free_bytes", "Bytes that may still be written to the file system of the data path.")
	descTopics    = describe("topics", "Topics, ephemeral ones included.")
	descChannels  = describe("channels", "Channels of all topics, ephemeral ones included.")
	descConsumers = describe("consumers", "Subscribed consumers of all channels.")
	descDepth     = describe("depth_messages", "Messages queued in all topics and channels.")
	descInFlight  = describe("in_flight_messages", "Messages sent to consumers and not finished, of all channels.")
	descDeferred  = describe("deferred_messages", "Messages that wait for their time, of all channels.")
	descLeftOut   = describe("queues_left_out", "Topics and channels that have no series of their own here.")

	descTopicDepth    = describe("topic_depth_messages", "Messages queued in the topic.", "topic")
	descTopicDisk     = describe("topic_backend_depth_messages", "Messages queued in the topic on disk.", "topic")
	descTopicMessages = describe("topic_messages_total", "Messages published since nsqd was started.", "topic")
	descTopicBytes    = describe("topic_message_bytes_total", "Bytes of bodies published since nsqd was started.", "topic")
	descTopicPaused   = describe("topic_paused", "1 while the topic is paused.", "topic")

	descChannelDepth    = describe("channel_depth_messages", "Messages queued in the channel.", "topic", "channel")
	descChannelDisk     = describe("channel_backend_depth_messages", "Messages queued in the channel on disk.", "topic", "channel")
	descChannelInFlight = describe("channel_in_flight_messages", "Messages sent to consumers and not finished.", "topic", "channel")
	descChannelDeferred = describe("channel_deferred_messages", "Messages that wait for their time.", "topic", "channel")
	descChannelMessages = describe("channel_messages_total", "Messages that came to the channel since nsqd was started.", "topic", "channel")
	descChannelRequeues = describe("channel_requeues_total", "Messages requeued by consumers.", "topic", "channel")
	descChannelTimeouts = describe("channel_timeouts_total", "Messages not finished in time.", "topic", "channel")
	descChannelClients  = describe("channel_consumers", "Subscribed consumers.", "topic", "channel")
	descChannelPaused   = describe("channel_paused", "1 while the channel is paused.", "topic", "channel")
	descChannelLatency  = describe("channel_e2e_latency_seconds", "Time from publish to finish.", "topic", "channel", "quantile")
)

// Describe implements prometheus.Collector.
func (s *scraper) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descStart, descHealthy, descDraining, descDiskFree, descTopics, descChannels, descConsumers, descDepth, descInFlight, descDeferred, descLeftOut,
		descTopicDepth, descTopicDisk, descTopicMessages, descTopicBytes, descTopicPaused,
		descChannelDepth, descChannelDisk, descChannelInFlight, descChannelDeferred, descChannelMessages,
		descChannelRequeues, descChannelTimeouts, descChannelClients, descChannelPaused, descChannelLatency,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *scraper) Collect(ch chan<- prometheus.Metric) {
	g := gatherer(ch)
	g.gauge(descStart, float64(s.srv.StartTime().UnixNano())/1e9)
	g.gauge(descHealthy, number(s.srv.Health() == nil))
	g.gauge(descDraining, number(s.srv.Draining()))
	if free := s.srv.diskFree.Load(); free != nil {
		g.gauge(descDiskFree, float64(*free))
	}
	g.queues(s.srv.Stats(StatsFilter{}).Topics, maxMetricQueues)
}

// A gatherer is where metrics of one scrape go.
type gatherer chan<- prometheus.Metric

func (g gatherer) gauge(d *prometheus.Desc, value float64, labels ...string) {
	g <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (g gatherer) counter(d *prometheus.Desc, value uint64, labels ...string) {
	g <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

// queues gives the sums of topics, and the series of the first most queues by name:
// always the same ones while no topic or channel comes or goes.
func (g gatherer) queues(topics []TopicStats, most int) {
	var sum struct{ channels, consumers, depth, inFlight, deferred int64 }
	shown, leftOut := 0, 0
	show := func(ephemeral bool) bool {
		if ephemeral || shown >= most {
			leftOut++
			return false
		}
		shown++
		return true
	}
	for i := range topics {
		t := &topics[i]
		sum.depth += t.Depth
		transient := wire.Ephemeral(t.Name)
		if show(transient) {
			g.topic(t)
		}
		for j := range t.Channels {
			c := &t.Channels[j]
			sum.channels++
			sum.consumers += int64(c.ClientCount)
			sum.depth += c.Depth
			sum.inFlight += int64(c.InFlightCount)
			sum.deferred += int64(c.DeferredCount)
			if show(transient || wire.Ephemeral(c.Name)) {
				g.channel(t.Name, c)
			}
		}
	}
	g.gauge(descTopics, float64(len(topics)))
	g.gauge(descChannels, float64(sum.channels))
	g.gauge(descConsumers, float64(sum.consumers))
	g.gauge(descDepth, float64(sum.depth))
	g.gauge(descInFlight, float64(sum.inFlight))
	g.gauge(descDeferred, float64(sum.deferred))
	g.gauge(descLeftOut, float64(leftOut))
}

func (g gatherer) topic(t *TopicStats) {
	g.gauge(descTopicDepth, float64(t.Depth), t.Name)
	g.gauge(descTopicDisk, float64(t.BackendDepth), t.Name)
	g.counter(descTopicMessages, t.MessageCount, t.Name)
	g.counter(descTopicBytes, t.MessageBytes, t.Name)
	g.gauge(descTopicPaused, number(t.Paused), t.Name)
}

func (g gatherer) channel(topic string, c *ChannelStats) {
	g.gauge(descChannelDepth, float64(c.Depth), topic, c.Name)
	g.gauge(descChannelDisk, float64(c.BackendDepth), topic, c.Name)
	g.gauge(descChannelInFlight, float64(c.InFlightCount), topic, c.Name)
	g.gauge(descChannelDeferred, float64(c.DeferredCount), topic, c.Name)
	g.counter(descChannelMessages, c.MessageCount, topic, c.Name)
	g.counter(descChannelRequeues, c.RequeueCount, topic, c.Name)
	g.counter(descChannelTimeouts, c.TimeoutCount, topic, c.Name)
	g.gauge(descChannelClients, float64(c.ClientCount), topic, c.Name)
	g.gauge(descChannelPaused, number(c.Paused), topic, c.Name)
	for _, p := range c.E2ELatency.Percentiles {
		quantile := strconv.FormatFloat(p["quantile"], 'g', -1, 64)
		g.gauge(descChannelLatency, p["value"]/1e9, topic, c.Name, quantile)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
