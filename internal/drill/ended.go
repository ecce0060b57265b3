package drill

import (
	"time"

	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
)

const (
	// maxExits is how many ends of processes a record has; one is too many already.
	maxExits = 100
	// maxLogEnd bounds what each has of the process's log.
	maxLogEnd = 4 << 10
)

// A watcher is an environment that knows which of its processes have ended without being
// asked to, since it was asked last.
type watcher interface{ Ended() []env.Exit }

// watch notes in h which processes of e have ended by themselves since it was called last,
// if e knows.
func watch(e env.Env, rec *history.Recorder, h *history.Header) {
	w, ok := e.(watcher)
	if !ok {
		return
	}
	h.Watched = true
	for _, x := range w.Ended() {
		if len(h.Exits) == maxExits {
			continue
		}
		text := x.LogEnd[max(0, len(x.LogEnd)-maxLogEnd):]
		h.Exits = append(h.Exits, history.Exit{At: max(0, rec.Now()-time.Since(x.At)), Node: x.Name, How: x.How, LogEnd: text})
	}
}
