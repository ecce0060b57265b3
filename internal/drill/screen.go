package drill

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"nsqraft/internal/drill/history"
	"nsqraft/internal/drill/workload"
)

// screenEvery is the pause between two lines of progress.
const (
	screenEvery = time.Second
	plainEvery  = 5 * time.Second // where lines are not written over
)

// A screen shows what is being broken, who leads, and what clients see of it.
type screen struct {
	mu       sync.Mutex
	out      io.Writer // nil: nothing is shown
	terminal bool
	status   bool   // the last line is one of progress
	broken   string // what is; "": nothing
	rec      *history.Recorder
	load     load
	health   *health
}

func newScreen(out io.Writer, terminal bool, rec *history.Recorder, load load, h *health) *screen {
	return &screen{out: out, terminal: terminal, rec: rec, load: load, health: h}
}

// run writes progress until ctx ends.
func (s *screen) run(ctx context.Context) {
	if s.out == nil {
		return
	}
	every := screenEvery
	if !s.terminal {
		every = plainEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.progress(s.health.leader(ctx))
		}
	}
}

func (s *screen) progress(leader string) {
	p := s.load.Progress()
	s.mu.Lock()
	text := s.broken
	s.mu.Unlock()
	if text != "" {
		text += "; "
	}
	switch {
	case s.health.stock: // has no leader
	case leader == "":
		text += "nobody leads; "
	default:
		text += leader + " leads; "
	}
	text += fmt.Sprintf("%.0f lookups/s%s; %.0f registrations/s, p99 %s; %.0f messages/s; %d sessions",
		p.LookupsPerSecond, answered(p), p.RegistersPerSecond, p.RegisterP99.Round(100*time.Microsecond), p.MessagesPerSecond, p.Sessions)
	s.write(text, s.terminal)
}

// answered is how many of the lookups of the last seconds were, those included that
// were made of a node that is down.
func answered(p workload.Progress) string {
	failed := float64(p.LookupsFailed) / workload.ProgressSpan.Seconds()
	if p.LookupsPerSecond+failed == 0 {
		return ""
	}
	return fmt.Sprintf(", %.1f %% answered", 100*p.LookupsPerSecond/(p.LookupsPerSecond+failed))
}

// is notes what is broken.
func (s *screen) is(broken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = broken
}

// write writes a line; over says that the next one may be written over it.
func (s *screen) write(text string, over bool) {
	if s.out == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%7.1fs  %s", s.rec.Now().Seconds(), text)
	if s.status {
		line = "\r\x1b[K" + line
	}
	if !over {
		line += "\n"
	}
	s.status = over
	io.WriteString(s.out, line) // progress is not worth an error
}

func (s *screen) say(format string, args ...any) { s.write(fmt.Sprintf(format, args...), false) }

func (s *screen) drill(d *Drill) { s.say("%s: %s", d.Name, d.Explain) }

func (s *screen) begins(f history.Fault) {
	s.is(f.Kind + " " + f.Target)
	s.say("  %s %s %s", f.Kind, f.Target, f.Detail)
}

func (s *screen) succeeds(f history.Fault, after time.Duration) {
	s.say("  %s leads instead of %s after %s", f.NewLeader, f.OldLeader, after.Round(time.Millisecond))
}

func (s *screen) ends(f history.Fault) {
	s.is("")
	s.say("  end of %s %s", f.Kind, f.Target)
}

func (s *screen) failed(d *Drill, err error) { s.say("  %s could not be made: %v", d.Name, err) }
