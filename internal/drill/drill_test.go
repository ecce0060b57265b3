package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
	"nsqraft/internal/drill/report"
	"nsqraft/internal/drill/workload"
)

// electionTakes is how long nobody leads a madeUp cluster whose leader is broken.
const electionTakes = 300 * time.Millisecond

// A madeUp is a cluster in memory, which can be broken, and the clients of it.
type madeUp struct {
	cannot   map[env.Kind]string // what cannot be made, and why
	fails    env.Kind            // whose Begin fails, when it has done half of it
	hidden   env.Kind            // whose effect is not seen
	illAfter env.Kind            // after which the cluster is not well any more
	stuck    error               // of Heal
	loadErr  error               // of the clients, at once
	leaves   time.Time           // from when on nobody leads for twice electWithin
	noNSQDs  bool
	onBegin  func(env.Fault)

	mu      sync.Mutex
	broken  []env.Fault
	begun   []string
	healed  int
	ill     bool
	leader  string
	since   time.Time // when it leads
	term    uint64
	rec     *history.Recorder
	removed bool
}

func newMadeUp() *madeUp { return &madeUp{leader: "n1", term: 1, since: time.Now()} }

func (m *madeUp) Name() string { return "made up" }

func (m *madeUp) Nodes() []env.Node {
	return []env.Node{{Name: "n1", HTTP: "n1"}, {Name: "n2", HTTP: "n2"}, {Name: "n3", HTTP: "n3"}}
}

func (m *madeUp) NSQDs() []env.Node {
	if m.noNSQDs {
		return nil
	}
	return []env.Node{{Name: "nsqd1"}, {Name: "nsqd2"}}
}

func (m *madeUp) Missing(k env.Kind) string { return m.cannot[k] }

func (m *madeUp) Begin(ctx context.Context, f env.Fault) (verified bool, err error) {
	m.mu.Lock()
	m.broken = append(m.broken, f)
	m.begun = append(m.begun, f.String())
	m.ill = m.ill || f.Kind == m.illAfter
	m.mu.Unlock()
	if m.onBegin != nil {
		m.onBegin(f)
	}
	if f.Kind == m.fails {
		return false, errors.New("no hands")
	}
	return f.Kind != m.hidden, nil
}

func (m *madeUp) End(ctx context.Context, f env.Fault) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = slices.DeleteFunc(m.broken, func(other env.Fault) bool { return other.String() == f.String() })
	return nil
}

func (m *madeUp) Heal(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(ctx.Err(), m.stuck); err != nil {
		return err
	}
	m.healed++
	m.broken = nil
	return nil
}

func (m *madeUp) Close() error { return nil }

func (m *madeUp) hit(node string) bool {
	return slices.ContainsFunc(m.broken, func(f env.Fault) bool { return slices.Contains(f.Targets, node) })
}

// Cluster is what a node says. The next one leads when the leader is hit.
func (m *madeUp) Cluster(_ context.Context, node string) (*clusterinfo.Cluster, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hit(m.leader) {
		for _, n := range m.Nodes() {
			if !m.hit(n.Name) {
				m.leader, m.since = n.Name, time.Now().Add(electionTakes)
				m.term++
				break
			}
		}
	}
	if m.hit(node) {
		return nil, errors.New("it is broken")
	}
	c := &clusterinfo.Cluster{NodeID: node, Ready: !m.ill, Role: "follower", Term: m.term, Voters: 3, FailureTolerance: 1}
	if away := time.Since(m.leaves); !time.Now().Before(m.since) && (away < 0 || away > 2*electWithin) {
		if c.Leader = m.leader; node == m.leader {
			c.Role = "leader"
		}
	}
	return c, nil
}

func (m *madeUp) Topics(context.Context, []string) ([]string, error) { return nil, nil }

func (m *madeUp) Producers(context.Context, []string) ([]*clusterinfo.Producer, error) {
	return nil, nil
}

// Run is one client that writes.
func (m *madeUp) Run(ctx context.Context) error {
	if m.loadErr != nil {
		return m.loadErr
	}
	client := m.rec.Client()
	for ctx.Err() == nil {
		op := history.Op{Kind: history.CreateTopic, Client: client, Node: "n3", Topic: "t", Call: m.rec.Now(), Outcome: history.Done}
		op.Return = m.rec.Now()
		m.rec.Op(op)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

func (m *madeUp) Complete(context.Context) bool { return true }

func (m *madeUp) Storm(context.Context, int, int) (func(), error) { return func() {}, nil }

func (m *madeUp) Held(_ context.Context, nsqd string) ([]history.Held, error) {
	return []history.Held{{At: m.rec.Now(), Node: nsqd, Topic: "m", Channel: "c", Messages: 7}}, nil
}

func (m *madeUp) LastReads(context.Context) error { return nil }

func (m *madeUp) Remove(context.Context) error {
	m.removed = true
	return nil
}

func (m *madeUp) Progress() workload.Progress {
	return workload.Progress{LookupsPerSecond: 12, RegisterP99: 1500 * time.Microsecond, Sessions: 60}
}

// drill makes a run on m, in no time.
func (m *madeUp) drill(ctx context.Context, t *testing.T, o Options) (*history.Run, error) {
	t.Helper()
	o.Dir = t.TempDir()
	return run(ctx, m, o, m, func(r *history.Recorder) load {
		m.rec = r
		return m
	})
}

// must is drill of which nothing goes wrong.
func (m *madeUp) must(t *testing.T, o Options) *history.Run {
	t.Helper()
	run, err := m.drill(t.Context(), t, o)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func told(run *history.Run) (all []string) {
	for _, f := range run.Faults {
		all = append(all, f.Drill+" "+f.Kind+" "+f.Target)
	}
	return all
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		run := m.must(t, Options{Drills: []string{"leader-kill", "nsqd-crash"}, Times: 2, Seed: 1})
		if len(run.Faults) != 4 || len(m.broken) > 0 || m.removed {
			t.Fatalf("%d faults, left are %v; topics removed: %v", len(run.Faults), m.broken, m.removed)
		}
		f := run.Faults[0]
		if f.OldLeader != "n1" || f.NewLeader != "n2" || !f.Verified || f.End-f.Begin < brief || f.Healed < f.End {
			t.Errorf("the first fault is %+v", f)
		}
		if h := run.Faults[1].Held; len(h) != 1 || h[0].Messages != 7 || h[0].Node != run.Faults[1].Target || f.Held != nil {
			t.Errorf("of the nsqd it is said that it held %+v, of the node %+v", h, f.Held)
		}
		if h := run.Header; h.Quiet == 0 || h.Ended != "" || h.Interrupted || h.Length < h.Quiet {
			t.Errorf("the header is %+v", h)
		}
	})
}

// The same seed makes the same drills hit the same, and what goes wrong in one of them
// does not change the others.
func TestSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := func(seed uint64, fails env.Kind) []string {
			m := newMadeUp()
			m.fails = fails
			return told(m.must(t, Options{Profile: "long", Duration: 10 * time.Minute, Seed: seed}))
		}
		first := faults(1, "")
		if again := faults(1, ""); !slices.Equal(first, again) {
			t.Errorf("one seed made %v\nand %v", first, again)
		}
		// A drill that fails is over sooner, so that more of them are made.
		drills := func(faults []string) (names []string) {
			for _, f := range faults {
				name, _, _ := strings.Cut(f, " ")
				names = append(names, name)
			}
			return slices.Compact(names)
		}
		failing := drills(faults(1, env.Kill))
		if want := drills(first); !slices.Equal(failing[:20], want[:20]) {
			t.Errorf("with drills that fail it made %v\nand without %v", failing, want)
		}
		if other := faults(2, ""); slices.Equal(first, other) {
			t.Errorf("two seeds made %v", first)
		}
	})
}

// The profile long ends when its duration is over.
func TestLongEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newMadeUp().must(t, Options{Profile: "long", Duration: time.Hour, Seed: 1})
		if l := run.Header.Length; l < time.Hour || l > time.Hour+2*time.Minute || len(run.Faults) < 100 {
			t.Errorf("an hour took %s and made %d faults", l, len(run.Faults))
		}
	})
}

// A fault that cannot be begun is undone, and the run goes on. It proves nothing.
func TestFaultFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		m.fails = env.Pause
		var out bytes.Buffer
		run := m.must(t, Options{Drills: []string{"leader-pause", "leader-kill"}, Screen: &out})
		if got := told(run); len(got) != 2 || m.healed != 1 {
			t.Fatalf("faults %v, healed %d times", got, m.healed)
		}
		f := run.Faults[0]
		if f.Verified || f.End == 0 || f.Healed == 0 || !strings.Contains(f.Note, "no hands") {
			t.Errorf("the fault that failed is %+v", f)
		}
		if !strings.Contains(out.String(), "leader-pause could not be made: pause n1: no hands") {
			t.Errorf("it is not said:\n%s", &out)
		}
	})
}

// A drill that ends before it has broken anything makes the run inconclusive, and one of
// nsqds is not begun where there is none.
func TestDrillNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		m.leaves = time.Now().Add(warmUp / 2)
		run := m.must(t, Options{Drills: []string{"leader-kill"}})
		if len(run.Faults) > 0 || len(run.Header.Failed) != 1 || !strings.Contains(run.Header.Failed[0], "leader-kill: there is no leader") {
			t.Fatalf("faults %v, failed %q", told(run), run.Header.Failed)
		}
		r := &report.Report{Run: run, Claims: history.Check(run, history.Limits{})}
		if code := r.ExitCode(); code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
		m = newMadeUp()
		m.noNSQDs = true
		run = m.must(t, Options{Drills: []string{"follower-kill", "nsqd-crash"}})
		if run.Header.Skipped["nsqd-crash"] == "" || len(run.Header.Failed) > 0 {
			t.Errorf("without an nsqd: skipped %v, failed %q", run.Header.Skipped, run.Header.Failed)
		}
	})
}

// A fault of which no effect is seen makes the run inconclusive.
func TestNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		m.hidden = env.Kill
		run := m.must(t, Options{Drills: []string{"leader-kill"}})
		r := &report.Report{Run: run, Claims: history.Check(run, history.Limits{})}
		if code := r.ExitCode(); code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
		if !slices.ContainsFunc(r.Claims, func(c history.Claim) bool {
			return c.ID == "faults/effective" && c.Status == history.Inconclusive
		}) {
			t.Errorf("claims %+v", r.Claims)
		}
	})
}

// An interrupt in the middle of a fault heals first; what was seen until then is kept.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		m.onBegin = func(f env.Fault) {
			if f.Kind == env.Pause {
				time.AfterFunc(time.Second, interrupt)
			}
		}
		run, err := m.drill(ctx, t, Options{Drills: []string{"leader-kill", "leader-pause", "follower-kill"}, GoesOn: true})
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrLeft) {
			t.Errorf("the run ends with %v", err)
		}
		if len(m.broken) > 0 || m.healed != 1 || !m.removed {
			t.Errorf("left are %v, healed %d times; topics removed: %v", m.broken, m.healed, m.removed)
		}
		if run == nil || len(run.Faults) != 2 || len(run.Ops) < 50 {
			t.Fatalf("of the run is kept %+v", run)
		}
		if f := run.Faults[1]; f.End == 0 || f.Healed != 0 || f.Note != "" {
			t.Errorf("the last fault is %+v", f)
		}
		if h := run.Header; !h.Interrupted || h.Quiet != 0 {
			t.Errorf("the header is %+v", h)
		}
		for _, c := range history.Check(run, history.Limits{}) {
			if len(c.Violations) > 0 {
				t.Errorf("the interrupt is taken for a failure: %+v", c)
			}
		}
	})
}

// What could not be undone at an interrupt is said.
func TestInterruptLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		m.stuck = errors.New("it is stuck")
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		m.onBegin = func(env.Fault) { interrupt() }
		_, err := m.drill(ctx, t, Options{Drills: []string{"leader-kill"}})
		if !errors.Is(err, ErrLeft) || !errors.Is(err, m.stuck) {
			t.Errorf("the run ends with %v", err)
		}
	})
}

// A cluster that does not recover ends the run, which keeps what was seen.
func TestNeverWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		m.illAfter = env.Pause
		run, err := m.drill(t.Context(), t, Options{Drills: []string{"leader-pause", "leader-kill"}})
		if err == nil || !strings.Contains(err.Error(), "not well") {
			t.Errorf("the run ends with %v", err)
		}
		if run == nil || len(run.Faults) != 1 || run.Faults[0].Healed != 0 || run.Header.Ended == "" || run.Header.Interrupted {
			t.Fatalf("of the run is kept %+v", run)
		}
		m = newMadeUp()
		m.ill = true
		if run, err := m.drill(t.Context(), t, Options{Drills: []string{"leader-kill"}}); run != nil || err == nil || len(m.begun) > 0 {
			t.Errorf("a cluster that is ill before: %v, %v", err, m.begun)
		}
	})
}

// A workload that cannot run ends the run, and is named as the reason.
func TestWorkloadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		m.loadErr = errors.New("no clients")
		_, err := m.drill(t.Context(), t, Options{Drills: []string{"leader-kill"}})
		if !errors.Is(err, m.loadErr) || errors.Is(err, context.Canceled) || len(m.begun) > 0 {
			t.Errorf("the run ends with %v, after %v", err, m.begun)
		}
	})
}

func TestSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		m.cannot = map[env.Kind]string{env.Pause: "no signals"}
		run := m.must(t, Options{Drills: []string{"leader-pause", "leader-kill"}})
		if got := fmt.Sprint(run.Header.Skipped); got != "map[leader-pause:no signals]" || len(run.Faults) != 1 {
			t.Errorf("skipped %s, faults %v", got, told(run))
		}
	})
}

// On a terminal each line of progress is written over the one before; elsewhere there
// are fewer of them.
func TestScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := func(terminal bool) (text string, lines int) {
			var out bytes.Buffer
			newMadeUp().must(t, Options{Drills: []string{"leader-kill"}, Screen: &out, Terminal: terminal})
			return out.String(), strings.Count(out.String(), "60 sessions")
		}
		plain, few := screen(false)
		live, many := screen(true)
		for _, want := range []string{"leader-kill: kill -9 the leader", "  kill n1", "  n2 leads instead of n1 after 30", "  end of kill n1",
			"n2 leads; 12 lookups/s, 100.0 % answered; 0 registrations/s, p99 1.5ms; 0 messages/s; 60 sessions\n"} {
			if !strings.Contains(plain, want) {
				t.Errorf("%q is not in\n%s", want, plain)
			}
		}
		if strings.Contains(plain, "\r") || strings.Contains(live, "sessions\n") || !strings.Contains(live, "sessions\r\x1b[K") {
			t.Errorf("not on a terminal:\n%q\non one:\n%q", plain, live)
		}
		if few < 2 || many < 4*few {
			t.Errorf("%d lines of progress, %d on a terminal", few, many)
		}
	})
}

// The file of a run that was interrupted is whole.
func TestInterruptedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMadeUp()
		ctx, interrupt := context.WithCancel(t.Context())
		m.onBegin = func(env.Fault) { interrupt() }
		defer interrupt()
		dir := t.TempDir()
		run, _ := run(ctx, m, Options{Drills: []string{"leader-kill"}, Dir: dir}, m, func(r *history.Recorder) load { m.rec = r; return m })
		again, err := history.ReadDir(dir)
		if err != nil || len(again.Ops) != len(run.Ops) || !again.Header.Interrupted {
			entries, _ := os.ReadDir(dir)
			t.Errorf("read %v, %v; the folder has %v", again, err, entries)
		}
	})
}
