package lookupd

import (
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"nsqraft/fsm"
	"nsqraft/internal/httpapi"
)

// metrics are what /metrics tells of one node, in a registry of its own. Each
// is declared here once; what happens on a hot path has its series looked up
// beforehand.
type metrics struct {
	registry *prometheus.Registry

	requests      *prometheus.HistogramVec // route, method, code
	registrations *prometheus.CounterVec   // result
	lookups       *prometheus.CounterVec   // result

	registered struct{ ok, noSession, unavailable, unknown prometheus.Counter }

	// Observed by the Raft side, in seconds.
	raftApply    timing               // from proposing a batch to its result
	raftFsync    timing               // one append to the log on disk
	raftSnapshot prometheus.Histogram // writing one snapshot
}

// newMetrics returns the metrics of a node, still without those of watch.
func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "nsqlookupd_http_request_duration_seconds",
			Help:    "Time to answer HTTP requests, without blocking queries.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3, 10},
		}, []string{"route", "method", "code"}),
		registrations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nsqlookupd_registrations_total",
			Help: "REGISTER and UNREGISTER commands proposed for this node's nsqds, by what became of them.",
		}, []string{"result"}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nsqlookupd_lookups_total",
			Help: "Requests of /lookup by result.",
		}, []string{"result"}),
		raftApply:    timing{newRaftHistogram("apply", "Time from proposing a batch to its committed result."), newRecentTimes()},
		raftFsync:    timing{newRaftHistogram("fsync", "Time of one append to the log on disk."), newRecentTimes()},
		raftSnapshot: newRaftHistogram("snapshot", "Time to write one snapshot."),
	}
	m.registered.ok = m.registrations.WithLabelValues("ok")
	m.registered.noSession = m.registrations.WithLabelValues("no_session")
	m.registered.unavailable = m.registrations.WithLabelValues("unavailable")
	m.registered.unknown = m.registrations.WithLabelValues("unknown")

	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "nsqlookupd_build_info",
		Help:        "1, with the versions of nsqlookupd and Go as labels.",
		ConstLabels: prometheus.Labels{"version": Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.registrations, m.lookups, build,
		m.raftApply, m.raftFsync, m.raftSnapshot,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func newRaftHistogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "nsqlookupd_raft_" + name + "_duration_seconds",
		Help:    help,
		Buckets: prometheus.ExponentialBuckets(.0002, 2, 16), // to 6.5 s
	})
}

// raftStats is what the Raft side tells for one scrape.
type raftStats struct {
	HasLeader, IsLeader                           bool
	Term, CommitIndex, AppliedIndex, LastLogIndex uint64
	Voters, FailureTolerance                      int
	FollowerLag                                   map[string]uint64 // by node id, on the leader only: entries not yet replicated
	LastContact                                   time.Duration     // negative: never
	LeaderChanges                                 uint64            // seen by this process
}

// watch adds what is read at each scrape: the registry's sizes, the number of
// connections, and what stats returns.
func (m *metrics) watch(reg registry, sessions *sessions, stats func() raftStats) {
	m.registry.MustRegister(&scraper{reg, sessions, stats})
}

// handler answers /metrics.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// countRegistration counts a REGISTER or UNREGISTER by what became of it.
func (m *metrics) countRegistration(result fsm.Result, err error) {
	switch {
	case errors.Is(err, errUnavailable):
		m.registered.unavailable.Inc()
	case err != nil:
		m.registered.unknown.Inc()
	case result == fsm.ResultNoSession:
		m.registered.noSession.Inc()
	default:
		m.registered.ok.Inc()
	}
}

// countedLookups counts what h answers to /lookup.
func (m *metrics) countedLookups(h httpapi.Handler) httpapi.Handler {
	ok := m.lookups.WithLabelValues("ok")
	return func(r *http.Request) (any, error) {
		value, err := h(r)
		if err == nil {
			ok.Inc()
			return value, nil
		}
		m.lookups.WithLabelValues(lookupResult(err)).Inc()
		return nil, err
	}
}

// lookupResult returns the label for a lookup that failed.
func lookupResult(err error) string {
	if e, ok := errors.AsType[*httpapi.Error](err); ok {
		switch e.Text {
		case "TOPIC_NOT_FOUND":
			return "not_found"
		case "NOT_READY":
			return "not_ready"
		case "NO_QUORUM":
			return "no_quorum"
		case "TOO_STALE":
			return "too_stale"
		}
		return "bad_request"
	}
	return "error"
}

// timed observes how long h takes, by route, method and status. Blocking queries
// are left out: how long they take is the client's choice.
func (m *metrics) timed(route, method string, h httpapi.Handler) httpapi.Handler {
	var answered [600]atomic.Pointer[prometheus.Observer] // by status, once it has occurred
	return func(r *http.Request) (any, error) {
		if strings.Contains(r.URL.RawQuery, "index=") {
			return h(r)
		}
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
