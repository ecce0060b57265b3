package nsqadmin

import (
	"time"

	"nsqraft/internal/clusterinfo"
)

// recordEvery is the least time between two samples of the history.
const recordEvery = time.Second

// record takes note of each new View until the server stops.
func (s *Server) record() {
	watchman := newWatchman(s.activity)
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for {
		changed := s.poller.Changed()
		v, now := s.poller.View(), time.Now()
		if !v.At.IsZero() {
			s.history.observe(v, now)
			watchman.observe(v, now)
			s.judge.look(s, v)
			c, _ := v.Cluster()
			if begun := s.leadership.observe(c, now); begun != nil {
				watchman.leads(begun, now)
			}
		}
		select {
		case <-tick.C:
		case <-s.stopping.Done():
			return
		}
		select {
		case <-changed:
		case <-s.stopping.Done():
			return
		}
	}
}

// view returns the newest View.
func (s *Server) view() *clusterinfo.View { return s.poller.View() }

// series returns the last span of a metric, oldest first, with at most 300 points
// evenly spaced. nil: no history of that key.
func (s *Server) series(k key, m metric, span time.Duration) []point {
	return s.history.series(k, m, span)
}

// latest returns the newest value of a metric; ok is false if it is not known (the first
// second of a rate, or a node that restarted).
func (s *Server) latest(k key, m metric) (value float64, ok bool) { return s.history.latest(k, m) }

// growth returns by how many messages a second the depth has changed over the last
// span, negative if it shrank; ok is false if the history is shorter than a tenth of
// span. It is cheap: it is asked of every topic and channel for each View.
func (s *Server) growth(k key, span time.Duration) (perSecond float64, ok bool) {
	return s.history.growth(k, span)
}

// nodeFlow returns what goes through one nsqd, by its address; ok is false if it is not known.
func (s *Server) nodeFlow(address string) (f flow, ok bool) { return s.history.nodeFlow(address) }

// setup returns the same each time.
func (s *Server) setup() *setup { return s.settings }

// reigns returns those of the last span, oldest first.
func (s *Server) reigns(span time.Duration) []reign { return s.leadership.within(span, time.Now()) }

// events returns the newest limit events, newest first, that keep says to keep (nil: all).
func (s *Server) events(limit int, keep func(*event) bool) []*event {
	return s.activity.newest(limit, keep)
}
