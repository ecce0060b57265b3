package nsqd

import "time"

// drainTick is how often a drain looks whether it is over.
const drainTick = 50 * time.Millisecond

// Drain ends an nsqd softly. It deregisters from the lookupds and refuses new
// messages, topics and subscriptions; consumers that are connected go on until
// nothing is in flight and nothing waits for them. It returns at once; Drained is
// closed when that is so, or Options.DrainTimeout is over. What is left then,
// deferred messages and those of channels without consumers, Close keeps on disk.
func (s *Server) Drain() {
	if s.draining.Swap(true) {
		return
	}
	s.log.Info("draining")
	s.links.close()
	s.background.Go(s.awaitQuiet)
}

// Draining says whether Drain was called.
func (s *Server) Draining() bool { return s.draining.Load() }

// Drained is closed when a drain is over.
func (s *Server) Drained() <-chan struct{} { return s.drained }

func (s *Server) awaitQuiet() {
	var over <-chan time.Time // never, with a time-out of 0
	if s.opts.DrainTimeout > 0 {
		over = time.After(s.opts.DrainTimeout)
	}
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	for !s.quiet() {
		select {
		case <-tick.C:
		case <-over:
			s.log.Warn("the drain takes too long; what is left stays on disk", "timeout", s.opts.DrainTimeout)
			close(s.drained)
			return
		case <-s.stopping.Done():
			return
		}
	}
	s.log.Info("drained")
	close(s.drained)
}

// quiet says whether no consumer has or waits for a message.
func (s *Server) quiet() bool {
	for _, t := range s.sorted() {
		for _, c := range t.sorted() {
			if c.active() {
				return false
			}
		}
	}
	return true
}

// active says whether a message is in flight, or will be when its consumers go on.
func (c *Channel) active() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.flying) > 0 || len(c.consumers) > 0 && !c.paused && c.backlog.depth() > 0
}
