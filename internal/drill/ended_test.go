package drill

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
)

// watched is madeUp of which it is known which processes end by themselves.
type watched struct {
	*madeUp
	ended []env.Exit
}

func (w *watched) Ended() []env.Exit {
	all := w.ended
	w.ended = nil
	return all
}

// What has ended by itself is in the record, with its time, bounded, and is a violation.
func TestEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		w := &watched{madeUp: m}
		m.onBegin = func(f env.Fault) {
			if m.onBegin = nil; f.Kind != env.Kill {
				t.Errorf("it begins %s", f)
			}
			for range maxExits + 1 {
				w.ended = append(w.ended, env.Exit{At: time.Now(), Name: "nsqd1", How: "exit status 2", LogEnd: strings.Repeat("x", maxLogEnd) + "\npanic: no"})
			}
		}
		run, err := run(context.Background(), w, Options{Drills: []string{"leader-kill"}, Seed: 1, Dir: t.TempDir()}, m, func(r *history.Recorder) load {
			m.rec = r
			return m
		})
		if err != nil {
			t.Fatal(err)
		}
		h := run.Header
		if !h.Watched || len(h.Exits) != maxExits {
			t.Fatalf("watched %v, with %d ends", h.Watched, len(h.Exits))
		}
		if x := h.Exits[0]; x.At != run.Faults[0].Begin || x.Node != "nsqd1" || len(x.LogEnd) != maxLogEnd {
			t.Errorf("the first is at %s of %s with %d bytes, and the fault began at %s", x.At, x.Node, len(x.LogEnd), run.Faults[0].Begin)
		}
		for _, c := range history.Check(run, history.Limits{}) {
			if c.ID == "cluster/no-process-ends-by-itself" && (c.Status != history.Violated || !strings.HasSuffix(c.Violations[0], "panic: no")) {
				t.Errorf("%+v", c)
			}
		}
	})
}

// Of an environment that cannot know nothing is said.
func TestNotWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if h := newMadeUp().must(t, Options{Drills: []string{"leader-kill"}, Seed: 1}).Header; h.Watched || h.Exits != nil {
			t.Errorf("watched %v, with %v", h.Watched, h.Exits)
		}
	})
}
