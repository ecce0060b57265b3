package nsqadmin

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
)

// metrics are what /metrics tells, in a registry of its own.
type metricsPage struct {
	registry      *prometheus.Registry
	actions       *prometheus.CounterVec // action, result
	notifications *prometheus.CounterVec // result
}

func newMetricsPage() *metricsPage {
	m := &metricsPage{
		registry: prometheus.NewRegistry(),
		actions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nsqadmin_actions_total",
			Help: "Actions by name, and by whether they were done on all daemons, on some or on none, or on none for certain (unknown).",
		}, []string{"action", "result"}),
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nsqadmin_notifications_total",
			Help: "Notifications of actions by what became of them.",
		}, []string{"result"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "nsqadmin_build_info",
		Help:        "1, with the versions of nsqadmin and Go as labels.",
		ConstLabels: prometheus.Labels{"version": Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.actions, m.notifications, build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// countAction counts an action by what became of it.
func (m *metricsPage) countAction(name string, results []clusterinfo.Result) {
	failed, unknown := tally(results)
	result := "done"
	switch {
	case failed > 0 && failed == len(results):
		result = "failed"
	case unknown > 0 && failed+unknown == len(results):
		result = "unknown"
	case failed+unknown > 0:
		result = "partial"
	}
	m.actions.WithLabelValues(name, result).Inc()
}

// A viewScraper reads the newest View at each scrape.
type viewScraper struct{ s *Server }

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("nsqadmin_"+name, help, labels, nil)
}

var (
	topicsGauge    = gauge("topics", "Topics that are known.")
	channelsGauge  = gauge("channels", "Channels that are known.")
	depthGauge     = gauge("depth", "Messages that wait in all topics and channels.")
	inFlightGauge  = gauge("in_flight", "Messages that consumers have in hand.")
	consumersGauge = gauge("consumers", "Consumers of all channels.")
	nodesGauge     = gauge("nodes", "nsqds by state.", "state")
	lookupdsGauge  = gauge("nsqlookupds", "nsqlookupds by state.", "state")
	viewAgeGauge   = gauge("view_age_seconds", "Age of the newest numbers.")
	streamsGauge   = gauge("event_streams", "Browsers and programs that listen to events.")
)

func (v viewScraper) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{topicsGauge, channelsGauge, depthGauge, inFlightGauge, consumersGauge,
		nodesGauge, lookupdsGauge, viewAgeGauge, streamsGauge} {
		ch <- desc
	}
}

func (v viewScraper) Collect(ch chan<- prometheus.Metric) {
	put := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	view := v.s.view()
	var channels, waiting, inFlight, consumers int64
	for _, t := range view.Topics {
		channels += int64(len(t.Channels))
		waiting += backlog(t)
		inFlight += t.InFlight
		consumers += t.Clients
	}
	put(topicsGauge, float64(len(view.Topics)))
	put(channelsGauge, float64(channels))
	put(depthGauge, float64(waiting))
	put(inFlightGauge, float64(inFlight))
	put(consumersGauge, float64(consumers))
	nodes, lookupds := make(map[clusterinfo.State]int), make(map[clusterinfo.State]int)
	for _, n := range view.Nodes {
		nodes[n.State]++
	}
	for _, l := range view.Lookupds {
		lookupds[l.State]++
	}
	for _, state := range []clusterinfo.State{clusterinfo.Up, clusterinfo.Suspect, clusterinfo.Down, clusterinfo.Draining, clusterinfo.Unknown} {
		put(nodesGauge, float64(nodes[state]), string(state))
		put(lookupdsGauge, float64(lookupds[state]), string(state))
	}
	if !view.At.IsZero() {
		put(viewAgeGauge, time.Since(view.At).Seconds())
	}
	put(streamsGauge, float64(len(v.s.streams)))
}

// probeRoutes adds what is for those who look after this process.
func (s *Server) probeRoutes(rt *httpapi.Router) {
	rt.PlainText("GET", s.base+"/ping", ping)
	rt.PlainText("GET", s.base+"/livez", ping)
	rt.PlainText("GET", s.base+"/readyz", s.readyz)
	rt.Handle("GET", s.base+"/metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
}

func ping(*http.Request) (any, error) { return "OK", nil }

// readyz answers 200 once each daemon has been asked, or had the time to be: also if
// none answers, as that is what people then want to see.
func (s *Server) readyz(*http.Request) (any, error) {
	v := s.view()
	warnings, answered := trouble(v)
	var text strings.Builder
	if !asked(v) && time.Since(s.opened) < firstWait {
		return nil, httpapi.NewError(http.StatusServiceUnavailable, "[-]view failed: the daemons have not been asked yet\n")
	}
	fmt.Fprintf(&text, "[+]view ok\n")
	if answered && len(warnings) == 0 {
		fmt.Fprintf(&text, "[+]daemons ok\n")
	}
	for _, w := range warnings {
		fmt.Fprintf(&text, "[+]daemons ok, but: %s\n", w)
	}
	return text.String(), nil
}
