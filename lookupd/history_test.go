package lookupd

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nsqraft/fsm"
	"nsqraft/internal/drill/history"
)

// A record is what the clients of a cluster asked for and were told. The checks of
// package history say what in it cannot be.
type record struct {
	mu       sync.Mutex
	began    time.Time
	clock    time.Duration
	past     history.Run
	problems []string // found while it was recorded
}

// now is the time since the first call of now. It is never the same twice: within a
// bubble many events happen at one instant, and their order is known all the same.
func (r *record) now() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.began.IsZero() {
		r.began = time.Now()
	}
	r.clock = max(r.clock+1, time.Since(r.began))
	return r.clock
}

func (r *record) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *record) op(op history.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.past.Ops = append(r.past.Ops, op)
}

func (r *record) sample(s history.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.past.Samples = append(r.past.Samples, s)
}

// httpStatus is the result of a mutation as the HTTP API tells it.
func httpStatus(result fsm.Result) int {
	if result == fsm.ResultNotFound {
		return 404
	}
	return 200
}

// searchTimeout bounds the search for one linearization. One that is not over by then
// has shown nothing, and that is a failure.
const searchTimeout = 30 * time.Second

// checked are the claims that a record is enough for.
var checked = []string{
	"record/complete",
	"registry/no-lost-registration", "registry/no-stale-consistent-read", "registry/no-phantom",
	"linear/topic", "linear/producer",
	"reads/honest-age", "reads/monotonic", "reads/equal-index",
	"cluster/equal-hash",
}

// check runs the checks on what was recorded by the nodes of these names. How long
// anything may take while a cluster is broken all the time is not theirs: the end of a
// session whose outcome nobody knows has no bound, as one whose client has vanished.
func (r *record) check(nodes []string) []string {
	r.past.Header = history.Header{Against: "ours", Nodes: nodes, Quiet: r.past.Header.Quiet, Inactive: time.Hour}
	r.past.Faults = []history.Fault{{ID: 1, Kind: "several", Verified: true}}
	r.past.Sort()
	problems := r.problems
	for _, c := range history.Check(&r.past, history.Limits{Time: searchTimeout}) {
		if !slices.Contains(checked, c.ID) {
			continue
		}
		problems = append(problems, c.Violations...)
		if c.Status == history.Inconclusive {
			problems = append(problems, fmt.Sprintf("inconclusive: %s: %s", c.ID, c.Evidence))
		}
	}
	return problems
}

// report fails the test with the problems, or the first of them.
func report(t *testing.T, problems []string) {
	t.Helper()
	const most = 10
	for i, p := range problems {
		if i == most {
			t.Errorf("and %d more", len(problems)-most)
			break
		}
		t.Error(p)
	}
}

func firstWith(problems []string, prefix string) string {
	for _, p := range problems {
		if strings.HasPrefix(p, prefix) {
			return p
		}
	}
	return ""
}
