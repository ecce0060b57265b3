package interop

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A watch asks nsqlookupds the same question over and over and keeps every answer
// that was wrong.
type watch struct {
	t    testing.TB
	quit chan struct{}
	once sync.Once
	wg   sync.WaitGroup

	mu      sync.Mutex
	asked   map[string]int
	judged  map[string]int // without the refused connections
	slowest time.Duration
	wrong   []string
}

// watchEvery is the pause between two questions to one node: dense enough to see
// a gap of a few milliseconds, light enough for two cores.
const watchEvery = 5 * time.Millisecond

// maxWrong bounds what a failing test prints.
const maxWrong = 10

// startWatch begins to ask each of nodes for target. judge returns an error if an
// answer is wrong. A refused connection is wrong too, unless the node is allowed to
// be down, which ends with its first answer.
func startWatch(t testing.TB, nodes []*node, target string, mayBeDown bool, judge func(answer) error) *watch {
	w := &watch{t: t, quit: make(chan struct{}), asked: make(map[string]int), judged: make(map[string]int)}
	for _, n := range nodes {
		w.wg.Go(func() { w.ask(n.id, n.http, target, mayBeDown, judge) })
	}
	t.Cleanup(w.end)
	return w
}

func (w *watch) ask(id, addr, target string, mayBeDown bool, judge func(answer) error) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		begun := time.Now()
		a, err := request("GET", addr, target, "")
		w.mu.Lock()
		w.asked[id]++
		w.mu.Unlock()
		if mayBeDown && errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		mayBeDown = false
		took := time.Since(begun)
		if err == nil {
			err = judge(a)
		}
		w.mu.Lock()
		w.judged[id]++
		w.slowest = max(w.slowest, took)
		if err != nil {
			w.wrong = append(w.wrong, fmt.Sprintf("%s %s %s after %v: %v",
				begun.Format("15:04:05.000000"), id, target, took.Round(time.Microsecond), err))
		}
		w.mu.Unlock()
	}
}

func (w *watch) end() {
	w.once.Do(func() { close(w.quit) })
	w.wg.Wait()
}

// stop ends the watch and fails the test if an answer was wrong, or if there were
// fewer than atLeast answers from one of the nodes to judge by.
func (w *watch) stop(atLeast int) {
	w.t.Helper()
	w.end()
	for id, asked := range w.asked {
		if got := w.judged[id]; got < atLeast {
			w.t.Errorf("%s: only %d answers to %d questions, want at least %d to judge by", id, got, asked, atLeast)
		}
	}
	for i, s := range w.wrong {
		if i == maxWrong {
			w.t.Errorf("and %d more wrong answers", len(w.wrong)-maxWrong)
			break
		}
		w.t.Error(s)
	}
	w.t.Logf("answers: %v, wrong: %d, slowest: %v", w.judged, len(w.wrong), w.slowest.Round(time.Microsecond))
}

// alwaysLists judges an answer of /lookup: 200, and exactly the wanted producers.
func alwaysLists(want ...string) func(answer) error {
	return func(a answer) error {
		if a.status != http.StatusOK {
			return fmt.Errorf("status %d: %s", a.status, a.body)
		}
		l, err := a.lookup()
		if err != nil {
			return err
		}
		return l.lists(want...)
	}
}

// listsOrNotReady judges an answer of /lookup as alwaysLists does, but lets a node
// say that it is not ready.
func listsOrNotReady(want ...string) func(answer) error {
	lists := alwaysLists(want...)
	return func(a answer) error {
		if a.status == http.StatusServiceUnavailable {
			return nil
		}
		return lists(a)
	}
}
