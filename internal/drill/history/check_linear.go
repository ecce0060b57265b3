package history

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// maxCalls is what one search of a whole topic takes. Its time grows with the
	// length of a topic's history far beyond proportion.
	maxCalls = 20_000

	// maxAtOnce is how many calls at one time a search takes of a topic that has only
	// registrations; one of unknown outcome lasts until the end. Each doubles what there
	// is to be searched, and of such a topic the searches of single producers leave open
	// no more than whether a lookup showed all of them as of one moment.
	maxAtOnce = 24

	// maxPictures bounds how many of porcupine's pages are written, and
	// maxPictureCalls the calls in one.
	maxPictures     = 8
	maxPictureCalls = 4_000
)

// A task is one search: of a topic, or of one producer in it.
type task struct {
	what    string
	file    string // of its picture, without ending
	whole   bool
	sets    bool // only producers that come once: what the search may miss checkRegistry finds
	model   porcupine.Model
	calls   []porcupine.Operation
	result  verdict
	info    porcupine.LinearizationInfo
	skipped bool
	took    time.Duration
}

// checkLinear looks for one order of all writes and consistent lookups of a topic
// that nobody who looked at the clock could tell from the real one: topic by topic
// against the whole specification, and producer by producer as something that is
// there or not.
func checkLinear(e *evidence) []*finding {
	whole := newFinding("linear/topic", true, "Writes and consistent lookups of each topic have one order: linearizable against the whole specification.")
	each := newFinding("linear/producer", true, "So have those of each producer in each topic.")
	both := []*finding{whole, each}
	if !e.ours {
		for _, f := range both {
			f.untested = "stock has no consistent reads"
		}
		return both
	}
	tasks, wide, unsearched := e.linearTasks()
	e.searchAll(tasks)
	wide = append(wide, e.verdicts(tasks, whole, each)...)
	if n := len(unsearched); n > 0 {
		whole.Evidence += fmt.Sprintf("; %d topics were not searched at all, as: %s", n, unsearched[0].tooWide)
	}
	for _, h := range unsearched {
		if h.onlyRegistrations() {
			continue // checkRegistry knows when each producer had to be there
		}
		for _, f := range both {
			f.doubtful("a topic was not searched, and no other claim is about all that was done to it: %s", h.tooWide)
		}
	}
	if len(wide) > 0 {
		whole.Evidence += fmt.Sprintf("; %d topics were left to the checks of single producers, as: %s", len(wide), wide[0])
	}
	if each.seen == 0 && each.violations == 0 && each.doubt == "" {
		each.untested = "no producer came and went more than once in a topic"
	}
	return both
}

// linearTasks returns the searches to make, and why some topics are not searched as a
// whole: wide are left to the searches of single producers, unsearched have too much in
// them for those too.
func (e *evidence) linearTasks() (tasks []*task, wide []string, unsearched []*linearHistory) {
	for _, t := range e.topics {
		if len(t.consistent) == 0 || len(t.ops) == 0 {
			continue
		}
		h := e.linearHistory(t)
		single := len(h.producers.all) <= maxSessions && h.sessions <= maxSessions && len(h.model.tombstoneOf) <= maxTombstones
		switch {
		case !single:
			unsearched = append(unsearched, h)
		case h.tooWide != "":
			wide = append(wide, h.tooWide)
		case len(h.calls) > maxCalls:
			wide = append(wide, fmt.Sprintf("%s has %d calls, a search takes %d", t.name, len(h.calls), maxCalls))
		case h.onlyRegistrations() && atOnce(h.calls) > maxAtOnce:
			wide = append(wide, fmt.Sprintf("%s has registrations only, %d at one time, a search takes %d", t.name, atOnce(h.calls), maxAtOnce))
		default:
			tasks = append(tasks, &task{what: "topic " + t.name, file: "topic-" + t.name, whole: true, sets: h.onlySets(), model: h.model.porcupine(), calls: h.calls})
		}
		if !single {
			continue // those that come once are checkRegistry's
		}
		for producer, name := range h.producers.all {
			if h.comesAgain(producer) {
				tasks = append(tasks, &task{what: "producer " + name + " of topic " + t.name, file: "producer-" + name + "-" + t.name,
					model: h.model.heldModel(producer), calls: h.of(producer)})
			}
		}
	}
	return tasks, wide, unsearched
}

// comesAgain says whether a producer registers more than once. One that does not is
// checked as well by checkRegistry, at less cost.
func (h *linearHistory) comesAgain(producer int) bool {
	times := 0
	for _, in := range h.steps {
		if in.kind == Register && h.model.producerOf[in.session] == producer {
			times++
		}
	}
	return times > 1
}

// onlyRegistrations says whether nobody but producers and their sessions changes the topic.
func (h *linearHistory) onlyRegistrations() bool {
	return !slices.ContainsFunc(h.steps, func(in *step) bool {
		switch in.kind {
		case CreateTopic, CreateChannel, DeleteTopic, DeleteChannel, Tombstone:
			return true
		}
		return false
	})
}

// onlySets says whether the topic is no more than a set of producers, each of which
// registers once. Of such a topic checkRegistry says as much, at less cost, and for any
// number of them at a time.
func (h *linearHistory) onlySets() bool {
	if !h.onlyRegistrations() {
		return false
	}
	for producer := range h.producers.all {
		if h.comesAgain(producer) {
			return false
		}
	}
	return true
}

// searchAll makes the searches, as many at once as there are processors.
func (e *evidence) searchAll(tasks []*task) {
	workers := max(1, min(runtime.GOMAXPROCS(0), len(tasks)))
	memory := e.limits.Memory / int64(workers)
	over := time.Now().Add(e.limits.Total)
	todo := make(chan *task)
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for t := range todo {
				left := min(e.limits.Time, time.Until(over))
				if left <= 0 {
					t.skipped = true
					continue
				}
				start := time.Now()
				t.result, t.info = search(t.model, t.calls, left, memory)
				t.took = time.Since(start)
				if t.result != notLinear {
					t.info = porcupine.LinearizationInfo{} // it may be large
				}
			}
		})
	}
	for _, t := range tasks {
		todo <- t
	}
	close(todo)
	working.Wait()
}

// verdicts says what came of the searches, draws pictures, and returns which topics
// are left to other checkers, and why.
func (e *evidence) verdicts(tasks []*task, whole, each *finding) (left []string) {
	var slowest *task
	var calls, unknown [2]int
	pictures := 0
	for _, t := range tasks {
		f, i := each, 1
		if t.whole {
			f, i = whole, 0
			if !t.skipped && t.result == linear && (slowest == nil || t.took > slowest.took) {
				slowest = t
			}
		}
		calls[i] += len(t.calls)
		unknown[i] += unknowns(t.calls)
		switch {
		case t.sets && (t.result == tooLong || t.result == tooBig):
			left = append(left, fmt.Sprintf("%s, a set of producers, has %d calls, too many for a search", t.what, len(t.calls)))
		case t.skipped:
			f.doubtful("%s: all the time for searches was used up before it", t.what)
		case t.result == tooLong:
			f.doubtful("%s: %d calls, %d of unknown outcome, were too many for %v", t.what, len(t.calls), unknowns(t.calls), e.limits.Time)
		case t.result == tooBig:
			f.doubtful("%s: %d calls, %d of unknown outcome, were too many for %d MB of memory", t.what, len(t.calls), unknowns(t.calls), e.limits.Memory>>20)
		case t.result == notLinear:
			f.seen++
			e.shorten(t)
			f.violate("not linearizable: %s: %s", t.what, stuck(t.calls, t.info))
			if pictures++; pictures <= maxPictures {
				e.draw(t, f)
			}
		default:
			f.seen++
		}
	}
	whole.saw("%d topics, %d calls, %d of unknown outcome", whole.seen, calls[0], unknown[0])
	each.saw("%d producers, %d calls, %d of unknown outcome", each.seen, calls[1], unknown[1])
	if slowest != nil {
		whole.Observed = fmt.Sprintf("longest search that found one: %s for %s", seconds(slowest.took), slowest.what)
		if e.limits.Dir != "" {
			_, slowest.info = search(slowest.model, slowest.calls, e.limits.Time, e.limits.Memory)
			e.draw(slowest, whole)
		}
	}
	return left
}

// atOnce returns how many calls lasted at one time at most.
func atOnce(calls []porcupine.Operation) int {
	var begun, over []int64
	for _, c := range calls {
		begun, over = append(begun, c.Call), append(over, c.Return)
	}
	slices.Sort(begun)
	slices.Sort(over)
	most, ended := 0, 0
	for i, t := range begun {
		for over[ended] < t {
			ended++
		}
		most = max(most, i+1-ended)
	}
	return most
}

func unknowns(calls []porcupine.Operation) (n int) {
	for _, c := range calls {
		if c.Return == int64(never) {
			n++
		}
	}
	return n
}

// shorten makes a search that failed one of as few calls as fail.
func (e *evidence) shorten(t *task) {
	limit := min(e.limits.Time, 10*time.Second)
	few := shortest(t.model, t.calls, limit, e.limits.Memory)
	if result, info := search(t.model, few, limit, e.limits.Memory); result == notLinear {
		t.calls, t.info = few, info
	}
}

// draw writes porcupine's page of a search.
func (e *evidence) draw(t *task, f *finding) {
	if e.limits.Dir == "" || len(t.calls) > maxPictureCalls {
		return
	}
	name := "porcupine-" + fileSafe(t.file) + ".html"
	page, err := os.Create(filepath.Join(e.limits.Dir, name))
	if err == nil {
		err = porcupine.Visualize(t.model, t.info, page)
		if cerr := page.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		f.Evidence += "; no picture: " + err.Error()
		return
	}
	if f.Picture == "" {
		f.Picture = name
	}
}

// fileSafe keeps what is harmless in the name of a file.
func fileSafe(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
}
