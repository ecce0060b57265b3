package drill

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Profiles are the names of those there are.
var Profiles = []string{"smoke", "standard", "long"}

// smoke is what is made on every change: at most a minute with everything around it.
var smoke = []string{"leader-kill", "leader-pause", "leader-isolated", "rolling-restart", "wiped-node", "nsqd-crash", "kill-all"}

// A plan is the drills of one run, one after the other. next returns nil at the end.
type plan struct {
	next    func() *Drill
	skipped map[string]string // drills that are not made, and why
}

// newPlan returns the plan for o: the drills that are named, each times times, or those
// of a profile. missing says why a drill cannot be made here, "" if it can.
func newPlan(o Options, rng *rand.Rand, missing func(*Drill) string) (*plan, error) {
	drills, err := chosen(o)
	if err != nil {
		return nil, err
	}
	p := &plan{skipped: map[string]string{}}
	drills = slices.DeleteFunc(drills, func(d *Drill) bool {
		why := missing(d)
		if why != "" {
			p.skipped[d.Name] = why
		}
		return why != ""
	})
	if len(drills) == 0 && !o.Watch {
		return nil, fmt.Errorf("none of the drills can be made here: %s", p.why())
	}
	if len(o.Drills) == 0 && o.Profile == "long" {
		until := time.Now().Add(o.Duration)
		p.next = func() *Drill {
			if !time.Now().Before(until) {
				return nil
			}
			return drills[rng.IntN(len(drills))]
		}
		return p, nil
	}
	queue := slices.Repeat(drills, max(1, o.Times))
	p.next = func() *Drill {
		if len(queue) == 0 {
			return nil
		}
		d := queue[0]
		queue = queue[1:]
		return d
	}
	return p, nil
}

// chosen returns the drills that o asks for.
func chosen(o Options) ([]*Drill, error) {
	wanted := o.Drills
	switch {
	case len(wanted) > 0:
	case o.Profile == "smoke":
		wanted = smoke
	case o.Profile == "standard" || o.Profile == "long":
		return slices.Clone(Catalogue), nil
	default:
		return nil, fmt.Errorf("there is no profile %q: it is one of %s", o.Profile, strings.Join(Profiles, ", "))
	}
	var drills []*Drill
	for _, name := range wanted {
		d := Named(name)
		if d == nil {
			return nil, fmt.Errorf("there is no drill %q: nsqdrill list has them all", name)
		}
		drills = append(drills, d)
	}
	return drills, nil
}

func (p *plan) why() string {
	var all []string
	for name, why := range p.skipped {
		all = append(all, name+" ("+why+")")
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
