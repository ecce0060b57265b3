package nsqd

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"time"

	"nsqraft/internal/httpapi"
)

// stats answers /stats, as JSON for format=json and as text for any other format.
func (a *httpAPI) stats(r *http.Request) (any, error) {
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	yes := func(name string) bool {
		value, known := boolArg(params, name)
		return value || !known
	}
	s := a.srv.Stats(StatsFilter{
		Topic:   params.Get("topic"),
		Channel: params.Get("channel"),
		Clients: yes("include_clients"),
	})
	if yes("include_mem") {
		memory := readMemory()
		s.Memory = &memory
	}
	if params.Get("format") == "json" {
		return s, nil
	}
	return s.text(a.srv.StartTime(), time.Now()), nil
}

// text returns s in the layout of stock's /stats, for people and for scripts that
// cut it apart.
func (s *Stats) text(started, now time.Time) []byte {
	w := new(bytes.Buffer)
	fmt.Fprintf(w, "nsqd v%s (built w/%s)\n", s.Version, runtime.Version())
	fmt.Fprintf(w, "start_time %s\n", started.Format(time.RFC3339))
	fmt.Fprintf(w, "uptime %s\n", now.Sub(started))
	fmt.Fprintf(w, "\nHealth: %s\n", s.Health)
	if m := s.Memory; m != nil {
		fmt.Fprintf(w, "\nMemory:\n")
		for _, line := range []struct {
			name  string
			value uint64
		}{
			{"heap_objects", m.HeapObjects},
			{"heap_idle_bytes", m.HeapIdleBytes},
			{"heap_in_use_bytes", m.HeapInUseBytes},
			{"heap_released_bytes", m.HeapReleasedBytes},
			{"gc_pause_usec_100", m.GCPauseUsec100},
			{"gc_pause_usec_99", m.GCPauseUsec99},
			{"gc_pause_usec_95", m.GCPauseUsec95},
			{"next_gc_bytes", m.NextGCBytes},
			{"gc_total_runs", uint64(m.GCTotalRuns)},
		} {
			fmt.Fprintf(w, "   %-25s\t%d\n", line.name, line.value)
		}
	}
	if len(s.Topics) == 0 {
		fmt.Fprintf(w, "\nTopics: None\n")
	} else {
		fmt.Fprintf(w, "\nTopics:")
	}
	for i := range s.Topics {
		s.Topics[i].writeText(w, now)
	}
	if len(s.Producers) == 0 {
		fmt.Fprintf(w, "\nProducers: None\n")
	} else {
		fmt.Fprintf(w, "\nProducers:\n")
		for i := range s.Producers {
			fmt.Fprintf(w, "   %s\n", s.Producers[i].text(now))
		}
	}
	return w.Bytes()
}

func (t *TopicStats) writeText(w *bytes.Buffer, now time.Time) {
	fmt.Fprintf(w, "\n%s[%-15s] depth: %-5d be-depth: %-5d msgs: %-8d e2e%%: %s\n",
		pausedMark(t.Paused), t.Name, t.Depth, t.BackendDepth, t.MessageCount, t.E2ELatency.text())
	for i := range t.Channels {
		c := &t.Channels[i]
		fmt.Fprintf(w, "   %s[%-25s] depth: %-5d be-depth: %-5d inflt: %-4d def: %-4d re-q: %-5d timeout: %-5d msgs: %-8d e2e%%: %s\n",
			pausedMark(c.Paused), c.Name, c.Depth, c.BackendDepth, c.InFlightCount, c.DeferredCount,
			c.RequeueCount, c.TimeoutCount, c.MessageCount, c.E2ELatency.text())
		for j := range c.Clients {
			fmt.Fprintf(w, "        %s\n", c.Clients[j].text(now))
		}
	}
}

func pausedMark(paused bool) string {
	if paused {
		return "*P "
	}
	return "   "
}

// text tells producers, which have published something, from consumers.
func (c *ClientStats) text(now time.Time) string {
	connected := now.Sub(time.Unix(c.ConnectTime, 0)).Truncate(time.Second)
	_, port, _ := net.SplitHostPort(c.RemoteAddress) // "" for a unix socket
	id := c.Hostname + ":" + port + " " + c.UserAgent
	if len(c.PubCounts) == 0 {
		return fmt.Sprintf("[%s %-21s] state: %d inflt: %-4d rdy: %-4d fin: %-8d re-q: %-8d msgs: %-8d connected: %s",
			c.Version, id, c.State, c.InFlightCount, c.ReadyCount, c.FinishCount, c.RequeueCount, c.MessageCount, connected)
	}
	var total uint64
	topics := make([]string, len(c.PubCounts))
	for i, p := range c.PubCounts {
		total += p.Count
		topics[i] = fmt.Sprintf("%s=%d", p.Topic, p.Count)
	}
	return fmt.Sprintf("[%s %-21s] msgs: %-8d topics: %s connected: %s",
		c.Version, id, total, strings.Join(topics, ","), connected)
}

// text returns the percentiles, in the order of the option.
func (l *LatencyStats) text() string {
	values := make([]string, len(l.Percentiles))
	for i, p := range l.Percentiles {
		values[i] = humanNanoseconds(p["value"])
	}
	return strings.Join(values, ", ")
}

func humanNanoseconds(ns float64) string {
	switch {
	case ns > 1e9:
		return fmt.Sprintf("%.1fs", ns/1e9)
	case ns > 1e6:
		return fmt.Sprintf("%.1fms", ns/1e6)
	case ns > 1e3:
		return fmt.Sprintf("%.1fus", ns/1e3)
	}
	return fmt.Sprintf("%.1fns", ns)
}
