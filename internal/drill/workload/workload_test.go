package workload

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
	"nsqraft/internal/nsqtest/lookupdtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen. It only tells a slow machine
// from what never comes: with ten busy processes to a core and the race detector most
// commands miss stock's deadline of a second, and are tried again.
const patience = 2 * time.Minute

// A notebook is a recorder in memory.
type notebook struct {
	begun time.Time

	mu       sync.Mutex
	clients  int
	sessions int64
	ops      []history.Op
	samples  []history.Sample
}

func newNotebook() *notebook { return &notebook{begun: time.Now()} }

func (l *notebook) Now() time.Duration { return time.Since(l.begun) }

func (l *notebook) Client() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients++
	return l.clients
}

func (l *notebook) Session() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions++
	return l.sessions
}

func (l *notebook) Op(op history.Op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops = append(l.ops, op)
}

func (l *notebook) Sample(s history.Sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples = append(l.samples, s)
}

// those returns the ops for which is says so, in the order they were recorded.
func (l *notebook) those(is func(history.Op) bool) (ops []history.Op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range l.ops {
		if is(op) {
			ops = append(ops, op)
		}
	}
	return ops
}

func ofKind(kinds ...history.Kind) func(history.Op) bool {
	return func(op history.Op) bool { return slices.Contains(kinds, op.Kind) }
}

// await waits until n ops are as is says, and returns them.
func (l *notebook) await(t *testing.T, n int, is func(history.Op) bool) []history.Op {
	t.Helper()
	return l.awaitThe(t, "ops", n, is)
}

// awaitThe is await that says what it waited for.
func (l *notebook) awaitThe(t *testing.T, what string, n int, is func(history.Op) bool) []history.Op {
	t.Helper()
	var ops []history.Op
	eventually(t, func() error {
		if ops = l.those(is); len(ops) < n {
			return fmt.Errorf("%d %s, want %d", len(ops), what, n)
		}
		return nil
	})
	return ops
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", patience, err)
		}
	}
}

// A cluster is an environment that nobody breaks.
type cluster struct {
	env.Env
	nodes, nsqds []env.Node
}

func (c *cluster) Nodes() []env.Node { return c.nodes }
func (c *cluster) NSQDs() []env.Node { return c.nsqds }

// clusterOf has so many nodes n1, n2, ..., and nsqds that register with them.
func clusterOf(t *testing.T, nodes, nsqds int) *cluster {
	c := new(cluster)
	if nodes == 1 {
		l := lookupdtest.Start(t)
		c.nodes = []env.Node{{Name: "n1", TCP: l.TCP, HTTP: l.HTTP}}
	} else {
		for _, m := range lookupdtest.StartCluster(t, nodes) {
			c.nodes = append(c.nodes, env.Node{Name: m.ID, TCP: m.TCP, HTTP: m.HTTP})
		}
	}
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.TCP)
	}
	for i := range nsqds {
		n := nsqdtest.Start(t, addrs...)
		c.nsqds = append(c.nsqds, env.Node{Name: fmt.Sprintf("nsqd%d", i+1), TCP: n.TCP, HTTP: n.HTTP})
	}
	return c
}

// run has w work until end is called, or the test ends.
func run(t *testing.T, w *Workload) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	eventually(t, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.state != running {
			return ErrNotRunning
		}
		return nil
	})
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return end
}

// nothing but what a test adds.
var nothing = Options{Sessions: -1, Unique: -1, Readers: -1, Mutators: -1, Messages: -1}

// Everything that a workload does appears in the history, and makes sense.
func TestEverything(t *testing.T) {
	c := clusterOf(t, 3, 1)
	l := newNotebook()
	w := newWorkload(c, l, Options{TimeScale: 30, Sessions: 8})
	end := run(t, w)
	for _, kind := range []history.Kind{
		history.Connect, history.Ping, history.Register, history.Unregister, history.Disconnect, history.CreateTopic,
		history.CreateChannel, history.DeleteTopic, history.DeleteChannel, history.Tombstone, history.Lookup,
		history.Publish, history.Receive, history.Finish,
	} {
		l.awaitThe(t, string(kind), 1, func(op history.Op) bool {
			return op.Kind == kind && (op.Outcome == history.Done || kind == history.Disconnect)
		})
	}
	if err := w.LastReads(t.Context()); err != nil {
		t.Error(err)
	}
	quiet := l.Now()
	end()
	check(t, l)
	checkLast(t, l, w)
	checkMessages(t, l)
	if len(l.samples) == 0 || !l.samples[0].Answered || l.samples[0].Role == "" || l.samples[0].Hash == "" {
		t.Errorf("%d samples, first %+v", len(l.samples), l.samples[:min(1, len(l.samples))])
	}
	for _, op := range l.those(ofKind(history.Disconnect)) {
		if op.Call > quiet {
			return
		}
	}
	t.Error("no session was there until the end")
}

// check says what no history may have in it.
func check(t *testing.T, l *notebook) {
	t.Helper()
	busy := make(map[int]history.Op)
	ops := l.those(func(history.Op) bool { return true })
	slices.SortStableFunc(ops, func(a, b history.Op) int { return int(a.Call - b.Call) })
	for _, op := range ops {
		switch {
		case op.Call > op.Return || op.Return > l.Now():
			t.Errorf("not in the order of time: %+v", op)
		case op.Outcome == "" || op.Outcome != history.Done && op.Error == "" && op.Kind != history.Disconnect && op.Kind != history.Vanish:
			t.Errorf("without outcome, or a reason: %+v", op)
		case op.Client == 0 && op.Kind != history.Lost && op.Kind != history.Disconnect || op.Node == "":
			t.Errorf("nobody, or at no node: %+v", op)
		case op.Client > 0 && op.Call < busy[op.Client].Return:
			t.Errorf("two calls at one time: %+v and %+v", busy[op.Client], op)
		case op.Kind == history.Lookup && (op.Answer != nil) != (op.Outcome == history.Done):
			t.Errorf("answered, but no answer, or the reverse: %+v", op)
		}
		busy[op.Client] = op
	}
}

// checkLast says whether each topic was looked up in both ways on each node in the end,
// and whether what stays is there.
func checkLast(t *testing.T, l *notebook, w *Workload) {
	t.Helper()
	type asked struct {
		node, topic string
		consistent  bool
	}
	last := make(map[asked]*history.Answer)
	for _, op := range l.those(ofKind(history.Lookup)) {
		if op.Outcome == history.Done {
			last[asked{op.Node, op.Topic, op.Consistent}] = op.Answer
		}
	}
	topics := w.names.all()
	for _, n := range w.nodes {
		for _, topic := range topics {
			for _, consistent := range []bool{false, true} {
				if last[asked{n.Name, topic, consistent}] == nil {
					t.Errorf("%s was not asked for %s (consistent: %v)", n.Name, topic, consistent)
				}
			}
		}
		for _, topic := range w.names.stable {
			a := last[asked{n.Name, topic, true}]
			if a == nil || len(a.Producers) == 0 || a.Index == 0 || a.StaleMS < 0 || !a.KnownLeader {
				t.Errorf("%s says of %s: %+v", n.Name, topic, a)
			}
		}
	}
}

// checkMessages says whether all that was published came to both channels, intact.
func checkMessages(t *testing.T, l *notebook) {
	t.Helper()
	type at struct{ message, channel string }
	received, finished := make(map[at]bool), make(map[string]bool)
	for _, op := range l.those(ofKind(history.Receive, history.Finish)) {
		switch {
		case op.Kind == history.Finish:
			finished[op.Message] = finished[op.Message] || op.Outcome == history.Done
		case op.Error != "":
			t.Errorf("%+v", op)
		default:
			received[at{op.Message, op.Channel}] = true
		}
	}
	published := l.those(func(op history.Op) bool { return op.Kind == history.Publish && op.Outcome == history.Done })
	if len(published) == 0 {
		t.Error("nothing was published")
	}
	for _, op := range published {
		if !received[at{op.Message, ownChannel}] || !received[at{op.Message, gonsqChannel}] || !finished[op.Message] {
			t.Errorf("%s was not received in both channels, or not finished", op.Message)
		}
	}
}
