package env

import (
	"net"
	"strings"
	"testing"
	"time"
)

// openNetns is skipped where there can be no namespaces.
func openNetns(t *testing.T, o ProcessesOptions) *Processes {
	t.Helper()
	if why := NetnsMissing(); why != "" {
		t.Skip(why)
	}
	o.Dir, o.BinDir, o.NoDisks = t.TempDir(), binaries, true
	e, err := OpenNetns(o)
	return watched(t, e, err)
}

func TestFaultsOfNetns(t *testing.T) {
	e := openNetns(t, ProcessesOptions{NSQDs: 1})
	if n := e.net.(*namespaces); n.noWalls != "" {
		t.Logf("without firewalls: %s", n.noWalls)
	}
	ms := time.Millisecond
	for _, f := range []Fault{
		{Kind: Kill, Targets: []string{"n1"}},
		{Kind: Pause, Targets: []string{"n3"}},
		{Kind: Isolate, Targets: []string{"n1"}},
		{Kind: Cut},
		{Kind: Deaf, Targets: []string{"n2"}},
		{Kind: Mute, Targets: []string{"n3"}},
		{Kind: Split, Targets: []string{"n1", "n2"}},
		{Kind: Delay, Targets: []string{"n1"}, Amount: 20 * ms, Jitter: 10 * ms},
		{Kind: Loss, Targets: []string{"n1"}, Percent: 30},
		{Kind: Reorder, Targets: []string{"n1", "n2", "n3"}, Percent: 20},
		{Kind: Reorder, Targets: []string{"n1"}, Percent: 25, Amount: 20 * ms},
		{Kind: Duplicate, Targets: []string{"n2"}, Percent: 20},
		{Kind: Unreach, Targets: []string{"n1"}},
		{Kind: Unplug, Targets: []string{"n2"}},
		{Kind: Unplug, Targets: []string{"nsqd1"}},
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

func TestTogetherInNetns(t *testing.T) {
	cutEach(t, openNetns(t, ProcessesOptions{}))
}

// What is cut off answers clients and has no leader.
func TestIsolatedInNetns(t *testing.T) {
	e := openNetns(t, ProcessesOptions{})
	_, leader := follower(t, e)
	f := Fault{Kind: Isolate, Targets: []string{leader}}
	begin(t, e, f)
	must(t, ping(t.Context(), e.cluster.Process(leader).HTTP))
	for ctx := within(t); ; time.Sleep(10 * time.Millisecond) {
		must(t, ctx.Err())
		if l, err := e.cluster.Leader(ctx); err == nil && l.Name != leader {
			break
		}
	}
	if err := e.cluster.Write(within(t), e.cluster.Process(leader)); err == nil {
		t.Error("a node that is cut off has committed something")
	}
	end(t, e, f)
}

// When it is closed nothing is left on this machine.
func TestNetnsLeavesNothing(t *testing.T) {
	e := openNetns(t, ProcessesOptions{Stock: false, Lookupds: 1})
	name := e.net.(*namespaces).uplink.Attrs().Name
	if _, err := net.InterfaceByName(name); err != nil || !strings.HasPrefix(name, linkPrefix) {
		t.Fatalf("no link %s: %v", name, err)
	}
	begin(t, e, Fault{Kind: Unreach, Targets: []string{"n1"}})
	must(t, e.Close())
	if _, err := net.InterfaceByName(name); err == nil {
		t.Errorf("%s is left", name)
	}
}

func TestStockInNetns(t *testing.T) {
	breakStock(t, openNetns(t, ProcessesOptions{Stock: true, NSQDs: 1}))
}
