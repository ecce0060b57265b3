package workload

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"nsqraft/internal/drill/history"
)

const (
	sampleInterval = 100 * time.Millisecond
	sampleTimeout  = time.Second
)

// sample asks a node of its own view until Run ends. A node is asked again when it has
// answered the last question, so that samples are in the order of their answers.
func (w *Workload) sample(n *daemon) {
	every(w.run, sampleInterval, func() {
		s, ok := w.ask(n)
		if ok {
			w.rec.Sample(s)
		}
	})
}

// ask returns one sample, of the time its answer was there; ok is false if Run has
// ended. A stock node says only that it is there.
func (w *Workload) ask(n *daemon) (s history.Sample, ok bool) {
	ctx, cancel := context.WithTimeout(w.run, sampleTimeout)
	defer cancel()
	path := "/cluster"
	if w.opts.Stock {
		path = "/ping"
	}
	r, err := n.api.do(ctx, http.MethodGet, path, "")
	s = history.Sample{At: w.rec.Now(), Node: n.Name, Answered: err == nil && r.status == http.StatusOK}
	if w.run.Err() != nil {
		return s, false
	}
	if !s.Answered || w.opts.Stock {
		return s, true
	}
	var status struct {
		Role      string `json:"role"`
		Leader    string `json:"leader"`
		Term      uint64 `json:"term"`
		Ready     bool   `json:"ready"`
		Committed uint64 `json:"commit_index"`
		Applied   uint64 `json:"applied_index"`
		Hash      string `json:"registry_hash"`
	}
	if json.Unmarshal(r.body, &status) != nil {
		s.Answered = false
		return s, true
	}
	s.Role, s.Leader, s.Term, s.Ready = status.Role, status.Leader, status.Term, status.Ready
	s.Committed, s.Applied, s.Hash = status.Committed, status.Applied, status.Hash
	return s, true
}
