package drill

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
)

func TestCatalogue(t *testing.T) {
	names := make(map[string]bool)
	for _, d := range Catalogue {
		if names[d.Name] {
			t.Errorf("there are two drills %s", d.Name)
		}
		names[d.Name] = true
		if d.Explain == "" || strings.HasSuffix(d.Explain, ".") || d.script == nil {
			t.Errorf("%s: %q has to be a sentence without its full stop, with a script", d.Name, d.Explain)
		}
		for _, k := range d.Needs {
			if !slices.Contains(env.Kinds(), k) {
				t.Errorf("%s needs %s, which no environment knows", d.Name, k)
			}
		}
		if _, ok := history.BoundOf(d.Name); !ok {
			t.Errorf("%s has no number: it may cost anything", d.Name)
		}
	}
	for _, name := range smoke {
		if !names[name] {
			t.Errorf("the profile smoke has %s, which is no drill", name)
		}
	}
}

func everything(*Drill) string { return "" }

// names of what a plan makes, at most 50.
func made(p *plan) []string {
	var names []string
	for d := p.next(); d != nil && len(names) < 50; d = p.next() {
		names = append(names, d.Name)
	}
	return names
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func TestPlan(t *testing.T) {
	tests := []struct {
		opts Options
		want []string
	}{
		{Options{Profile: "smoke"}, smoke},
		{Options{Profile: "smoke", Drills: []string{"pause-all"}}, []string{"pause-all"}},
		{Options{Drills: []string{"pause-all", "bridge"}, Times: 2}, []string{"pause-all", "bridge", "pause-all", "bridge"}},
	}
	for _, tt := range tests {
		p, err := newPlan(tt.opts, newRand(1), everything)
		if err != nil {
			t.Fatalf("%+v: %v", tt.opts, err)
		}
		if got := made(p); !slices.Equal(got, tt.want) {
			t.Errorf("%+v makes %v, want %v", tt.opts, got, tt.want)
		}
	}
}

func TestPlanByChanceIsThatOfItsSeed(t *testing.T) {
	random := func(seed uint64) []string {
		p, err := newPlan(Options{Profile: "long", Duration: time.Hour}, newRand(seed), everything)
		if err != nil {
			t.Fatal(err)
		}
		return made(p)
	}
	if a, b := random(1), random(1); !slices.Equal(a, b) {
		t.Errorf("one seed made two plans: %v and %v", a, b)
	}
	if a, b := random(1), random(2); slices.Equal(a, b) {
		t.Errorf("two seeds made one plan: %v", a)
	}
	p, err := newPlan(Options{Profile: "long", Duration: -time.Second}, newRand(1), everything)
	if err != nil {
		t.Fatal(err)
	}
	if got := made(p); len(got) > 0 {
		t.Errorf("drills %v were made after the end of the run", got)
	}
}

func TestPlanSkipsWithAReason(t *testing.T) {
	p, err := newPlan(Options{Profile: "standard"}, newRand(1), func(d *Drill) string {
		if d.Name == "bridge" {
			return "no links"
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.skipped) != 1 || p.skipped["bridge"] != "no links" {
		t.Errorf("skipped %v, want the bridge and why", p.skipped)
	}
	if got := made(p); slices.Contains(got, "bridge") || len(got) != len(Catalogue)-1 {
		t.Errorf("%d drills of %d are made: %v", len(got), len(Catalogue), got)
	}
	_, err = newPlan(Options{Drills: []string{"bridge"}}, newRand(1), func(*Drill) string { return "no links" })
	if err == nil || !strings.Contains(err.Error(), "bridge (no links)") {
		t.Errorf("a plan of nothing but what cannot be made: %v", err)
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, o := range []Options{{Profile: "smok"}, {Drills: []string{"leader-kil"}}, {}} {
		if _, err := newPlan(o, newRand(1), everything); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// A storm that has not enough files is not begun.
func TestStormNeedsFiles(t *testing.T) {
	storm, can := Named("reconnect-storm"), func(env.Kind) string { return "" }
	for files, want := range map[uint64]string{0: "", 20_000: "", 4096: "take about 17000 open files and nsqdrill may have 4096"} {
		if why := storm.missing(can, files); !strings.Contains(why, want) || want == "" && why != "" {
			t.Errorf("with %d files: %q, want %q", files, why, want)
		}
	}
	if why := Named("leader-kill").missing(can, 100); why != "" {
		t.Errorf("a kill with few files: %q", why)
	}
}
