package env

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/localcluster"
)

func startProcesses(t *testing.T, change func(*ProcessesOptions)) *Processes {
	t.Helper()
	o := ProcessesOptions{Dir: t.TempDir(), NSQDs: 1, BinDir: binaries, NoDisks: true, Seed: 1}
	if change != nil {
		change(&o)
	}
	e, err := OpenProcesses(o)
	return watched(t, e, err)
}

// write has topics committed through a node, so that its log is used.
func write(t testing.TB, e *Processes, node string) {
	t.Helper()
	for i := range 20 {
		_, err := e.cluster.Ask(within(t), e.cluster.Process(node), "POST", "/topic/create?topic=t"+strings.Repeat("x", i+1))
		must(t, err)
	}
}

// follower returns a node that does not lead, and who leads.
func follower(t testing.TB, e *Processes) (follower, leader string) {
	t.Helper()
	for ctx := within(t); ; time.Sleep(5 * time.Millisecond) {
		if l, err := e.cluster.Leader(ctx); err == nil {
			i := slices.IndexFunc(e.nodes, func(n string) bool { return n != l.Name })
			return e.nodes[i], l.Name
		}
		must(t, ctx.Err())
	}
}

// aimed gives a cut without targets two between which something passes: a leader and a
// follower, as followers have nothing to say to each other.
func aimed(t testing.TB, e *Processes, f Fault) Fault {
	if f.Kind == Cut && f.Targets == nil {
		follower, leader := follower(t, e)
		f.Targets = []string{leader, follower}
	}
	return f
}

// Each fault that needs no rights is begun, seen and ended, one after the other.
func TestFaultsOfProcesses(t *testing.T) {
	e := startProcesses(t, nil)
	for _, f := range []Fault{
		{Kind: Kill, Targets: []string{"n1"}},
		{Kind: Kill, Targets: []string{"n1", "n2", "n3", "nsqd1"}},
		{Kind: Stop, Targets: []string{"n2"}},
		{Kind: Pause, Targets: []string{"n3"}},
		{Kind: Pause, Targets: []string{"nsqd1"}},
		{Kind: Isolate, Targets: []string{"n1"}},
		{Kind: Cut},
		{Kind: Deaf, Targets: []string{"n2"}},
		{Kind: Mute, Targets: []string{"n3"}},
		{Kind: Split, Targets: []string{"n1", "n2"}},
		{Kind: Isolate, Targets: []string{"n1", "n2", "n3"}},
		{Kind: Delay, Targets: []string{"n1"}, Amount: 20 * time.Millisecond, Jitter: 10 * time.Millisecond},
		{Kind: Unreach, Targets: []string{"n1"}},
		{Kind: Unreach, Targets: []string{"nsqd1"}},
		{Kind: Lag, Targets: []string{"n1", "nsqd1"}, Amount: 30 * time.Millisecond},
		{Kind: Unplug, Targets: []string{"n2"}},
		{Kind: Wipe, Targets: []string{"n3"}},
	} {
		if why := e.Missing(f.Kind); why != "" {
			t.Errorf("%s: %s", f, why)
			continue
		}
		f = aimed(t, e, f)
		begin(t, e, f)
		end(t, e, f)
	}
	if ended := e.Ended(); len(ended) > 0 {
		t.Errorf("ended by themselves: %+v", ended)
	}
}

// What strace does to a leader's log, for which nobody needs to be root.
func TestMeddlingWithDisks(t *testing.T) {
	e := startProcesses(t, nil)
	if why := e.Missing(SlowFsync); why != "" {
		t.Skip(why)
	}
	_, leader := follower(t, e)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // something to sync
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				e.cluster.Ask(t.Context(), e.cluster.Process(leader), "POST", "/topic/delete?topic=nothing")
			}
		}
	}()
	for _, f := range []Fault{
		{Kind: SlowFsync, Targets: []string{leader}, Amount: 50 * time.Millisecond},
		{Kind: DiskHang, Targets: []string{leader}},
		{Kind: DiskFull, Targets: []string{leader}},
	} {
		begin(t, e, f)
		end(t, e, f)
	}
	if _, err := e.Begin(t.Context(), Fault{Kind: DiskFull, Targets: []string{"nsqd1"}}); err == nil || !strings.Contains(err.Error(), "needs root") {
		t.Errorf("disk of an nsqd: %v", err)
	}
}

// A node whose log is damaged serves again, at the latest with an empty folder.
func TestDamage(t *testing.T) {
	e := startProcesses(t, nil)
	write(t, e, "n1")
	for _, kind := range []Kind{TornLog, FlipBit, TornLog, FlipBit} {
		victim, _ := follower(t, e)
		f := Fault{Kind: kind, Targets: []string{victim}}
		begin(t, e, f)
		for range 100 { // it has found out by itself, or serves
			if e.cluster.Process(victim).State() == localcluster.Down || ping(t.Context(), e.cluster.Process(victim).HTTP) == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("%s is %v: %s", victim, e.cluster.Process(victim).State(), e.cluster.Process(victim).LogEnd(1))
		end(t, e, f)
	}
}

// Two faults of the network at once, of which one ends first.
func TestFaultsTogether(t *testing.T) {
	e := startProcesses(t, nil)
	one, other := Fault{Kind: Isolate, Targets: []string{"n1"}}, Fault{Kind: Mute, Targets: []string{"n2"}}
	begin(t, e, one)
	begin(t, e, other)
	must(t, e.End(within(t), one))
	if left := effects(e.breakages.faults(), e.nodes); len(left) != 2 || !left[path{"n2", "n1"}].Cut {
		t.Errorf("left is %v, want n2 mute", left)
	}
	if err := e.End(within(t), one); err == nil {
		t.Error("ended twice")
	}
	must(t, e.Heal(within(t)))
	must(t, Ready(within(t), e))
}

// One node after the other is cut off, and then one more way that is cut already.
func TestCutEach(t *testing.T) { cutEach(t, startProcesses(t, nil)) }

func cutEach(t *testing.T, e *Processes) {
	for _, f := range []Fault{
		{Kind: Isolate, Targets: []string{"n1"}},
		{Kind: Isolate, Targets: []string{"n2"}},
		{Kind: Isolate, Targets: []string{"n3"}},
		{Kind: Cut, Targets: []string{"n1", "n2"}},
	} {
		begin(t, e, f)
	}
	must(t, e.Heal(within(t)))
	must(t, Ready(within(t), e))
	follower, leader := follower(t, e)
	begin(t, e, Fault{Kind: Cut, Targets: []string{leader, follower}})
	begin(t, e, Fault{Kind: Cut, Targets: []string{follower, leader}})
}

// Heal finds what a drill that broke off has left.
func TestHealEverything(t *testing.T) {
	e := startProcesses(t, nil)
	begin(t, e, Fault{Kind: Kill, Targets: []string{"n1"}})
	begin(t, e, Fault{Kind: Pause, Targets: []string{"n2"}})
	begin(t, e, Fault{Kind: Unreach, Targets: []string{"n3"}})
	must(t, e.cluster.Process("nsqd1").Kill())
	must(t, e.Heal(within(t)))
	must(t, Ready(within(t), e))
	if left := e.breakages.faults(); len(left) > 0 {
		t.Errorf("left is %v", left)
	}
}

// A cluster, broken in every way that lasts, can be closed.
func TestCloseWhileBroken(t *testing.T) {
	e := startProcesses(t, func(o *ProcessesOptions) { o.NoDisks = false })
	begin(t, e, Fault{Kind: Pause, Targets: []string{"n1"}})
	begin(t, e, Fault{Kind: Isolate, Targets: []string{"n2"}})
	if e.noDisks != "" {
		t.Logf("with healthy disks: %s", e.noDisks)
		return
	}
	begin(t, e, Fault{Kind: DiskHang, Targets: []string{"n3"}})
	begin(t, e, Fault{Kind: DiskFull, Targets: []string{"nsqd1"}})
}

func TestDisks(t *testing.T) {
	e := startProcesses(t, func(o *ProcessesOptions) { o.NoDisks = false })
	if e.noDisks != "" {
		t.Skip(e.noDisks)
	}
	for _, f := range []Fault{
		{Kind: DiskFull, Targets: []string{"n1"}},
		{Kind: DiskFull, Targets: []string{"nsqd1"}},
		{Kind: DiskHang, Targets: []string{"n2"}},
		{Kind: PowerCut, Targets: []string{"n1", "n2", "n3"}},
		{Kind: Wipe, Targets: []string{"n2"}},
	} {
		begin(t, e, f)
		end(t, e, f)
		write(t, e, "n1")
	}
	dir := e.opts.Dir
	must(t, e.Close())
	left, err := filepath.Glob(filepath.Join(dir, "*.disk"))
	must(t, err)
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if len(left) > 0 || strings.Contains(string(mounts), dir) {
		t.Errorf("left are %q and mounts in\n%s", left, mounts)
	}
}

func TestRefusedFaults(t *testing.T) {
	e, cfg := newProcesses("processes", ProcessesOptions{Dir: t.TempDir(), NSQDs: 1, NoDisks: true})
	e.cluster = localcluster.New(cfg)
	e.net, e.noDisks = proxies{e.cluster, false}, "none"
	for want, f := range map[string]Fault{
		"there is no n9":         {Kind: Kill, Targets: []string{"n9"}},
		"needs a target":         {Kind: Kill},
		"named twice":            {Kind: Kill, Targets: []string{"n1", "n1"}},
		`no fault "melt"`:        {Kind: "melt", Targets: []string{"n1"}},
		"is no nsqlookupd":       {Kind: Isolate, Targets: []string{"nsqd1"}},
		"takes two nodes":        {Kind: Cut, Targets: []string{"n1"}},
		"nobody is on the other": {Kind: Split, Targets: []string{"n1", "n2", "n3"}},
		"needs an amount":        {Kind: Delay, Targets: []string{"n1"}},
		"sees no packets":        {Kind: Loss, Targets: []string{"n1"}, Percent: 10},
		"percent is 1 to 100":    {Kind: Reorder, Targets: []string{"n1"}},
		"none":                   {Kind: PowerCut, Targets: []string{"n1"}},
		"passes no proxy":        {Kind: Unplug, Targets: []string{"nsqd1"}},
	} {
		if _, err := e.Begin(t.Context(), f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", f, err, want)
		}
	}
}

func TestEffects(t *testing.T) {
	nodes := []string{"n1", "n2", "n3"}
	ms := time.Millisecond
	for _, tt := range []struct {
		what   string
		faults []Fault
		want   map[path]effect
	}{
		{"nothing", []Fault{{Kind: Kill, Targets: []string{"n1"}}}, map[path]effect{}},
		{"one way", []Fault{{Kind: Cut, Targets: []string{"n1", "n3"}}}, map[path]effect{{"n1", "n3"}: {Cut: true}}},
		{"deaf", []Fault{{Kind: Deaf, Targets: []string{"n1"}}}, map[path]effect{{"n2", "n1"}: {Cut: true}, {"n3", "n1"}: {Cut: true}}},
		{"lossy", []Fault{{Kind: Loss, Targets: []string{"n1"}, Percent: 30}}, map[path]effect{{"n1", "n2"}: {Loss: 30}, {"n1", "n3"}: {Loss: 30}}},
		{"split", []Fault{{Kind: Split, Targets: []string{"n1", "n2"}}}, map[path]effect{
			{"n1", "n3"}: {Cut: true}, {"n3", "n1"}: {Cut: true}, {"n2", "n3"}: {Cut: true}, {"n3", "n2"}: {Cut: true}}},
		{"unplugged", []Fault{{Kind: Unplug, Targets: []string{"n1"}}}, map[path]effect{
			{"n1", "n2"}: {Cut: true}, {"n2", "n1"}: {Cut: true}, {"n1", "n3"}: {Cut: true}, {"n3", "n1"}: {Cut: true},
			{clients, "n1"}: {Cut: true}, {"n1", clients}: {Cut: true}}},
		{"together", []Fault{{Kind: Mute, Targets: []string{"n1"}}, {Kind: Delay, Targets: []string{"n1"}, Amount: 5 * ms, Jitter: ms}}, map[path]effect{
			{"n1", "n2"}: {Cut: true, Delay: 5 * ms, Jitter: ms}, {"n1", "n3"}: {Cut: true, Delay: 5 * ms, Jitter: ms},
			{"n2", "n1"}: {Delay: 5 * ms, Jitter: ms}, {"n3", "n1"}: {Delay: 5 * ms, Jitter: ms}}},
	} {
		got := effects(tt.faults, nodes)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
		for p, e := range tt.want {
			if got[p] != e {
				t.Errorf("%s: %v is %v, want %v", tt.what, p, got[p], e)
			}
		}
	}
}

// Stock nsqlookupds have nothing between them and nothing on disk.
func TestMissingOfStock(t *testing.T) {
	e, cfg := newProcesses("processes", ProcessesOptions{Dir: t.TempDir(), Stock: true})
	e.cluster = localcluster.New(cfg)
	e.net = proxies{e.cluster, true}
	can := []Kind{Kill, Stop, Unreach, Lag, Wipe}
	for _, k := range Kinds() {
		if k == Pause || k == ClockJump {
			continue // depends on the system
		}
		if why := e.Missing(k); (why == "") != slices.Contains(can, k) {
			t.Errorf("%s: %q", k, why)
		}
	}
}

// The wall clock of one process jumps, both ways, and that of the others does not.
func TestClockJump(t *testing.T) {
	e := startProcesses(t, nil)
	if why := e.Missing(ClockJump); why != "" {
		t.Skip(why)
	}
	for _, f := range []Fault{
		{Kind: ClockJump, Targets: []string{"n1"}, Amount: time.Hour},
		{Kind: ClockJump, Targets: []string{"n2", "nsqd1"}, Amount: -time.Hour},
	} {
		begin(t, e, f)
		if f.Targets[0] == "n1" {
			if off, err := clockOf(t.Context(), e.cluster.Process("n2").HTTP); err != nil || off.Abs() > time.Minute {
				t.Errorf("the clock of another is off by %v, %v", off, err)
			}
		}
		must(t, e.cluster.Write(within(t), e.cluster.Process("n1")))
		end(t, e, f)
		for _, name := range f.Targets {
			if off, err := clockOf(t.Context(), e.cluster.Process(name).HTTP); err != nil || off.Abs() > time.Minute {
				t.Errorf("after the end the clock of %s is off by %v, %v", name, off, err)
			}
		}
	}
	if ended := e.Ended(); len(ended) > 0 {
		t.Errorf("ended by themselves: %+v", ended)
	}
}

// nsqlookupds that are alone, as stock's are, are broken in the same ways.
func TestStock(t *testing.T) {
	e := startProcesses(t, func(o *ProcessesOptions) { o.Stock = true })
	breakStock(t, e)
	begin(t, e, Fault{Kind: Lag, Targets: []string{"n1"}, Amount: 20 * time.Millisecond})
	must(t, e.Heal(within(t)))
}

func breakStock(t *testing.T, e Env) {
	for _, k := range []Kind{Kill, Stop, Pause, Wipe, Unreach} {
		f := Fault{Kind: k, Targets: []string{"n1"}}
		begin(t, e, f)
		end(t, e, f)
	}
	if _, err := e.Begin(t.Context(), Fault{Kind: Isolate, Targets: []string{"n1"}}); err == nil || !strings.Contains(err.Error(), "no links") {
		t.Errorf("isolated: %v", err)
	}
}

// A program that does not start is told of at once, with what it said.
func TestStartedSaysWhoHasEnded(t *testing.T) {
	bad := t.TempDir()
	must(t, os.WriteFile(filepath.Join(bad, "nsqlookupd"), []byte("#!/bin/sh\necho no such flag\nexit 2\n"), 0o700))
	e, err := OpenProcesses(ProcessesOptions{Dir: t.TempDir(), Lookupds: 1, BinDir: bad, NoDisks: true, Seed: 1})
	must(t, err)
	defer e.Close()
	err = Started(within(t), e)
	if err == nil || !strings.Contains(err.Error(), "n1 has ended (exit status 2)") || !strings.Contains(err.Error(), "no such flag") {
		t.Errorf("got %v", err)
	}
}
