package drill

import (
	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
)

// victims are whom the drills of one run hit, for those of another to hit the same: a
// cluster without a leader has none that could be found by asking.
type victims struct {
	left map[string][]history.Fault // by drill, in their order
}

func victimsOf(faults []history.Fault) *victims {
	v := &victims{left: make(map[string][]history.Fault)}
	for _, f := range faults {
		v.left[f.Drill] = append(v.left[f.Drill], f)
	}
	return v
}

// instead returns whom f of a drill is to hit: whom the drill's next fault hit in the
// other run, if that was of the same kind, or else whom it would have hit. v may be nil.
func (v *victims) instead(drill string, f env.Fault) []string {
	if v == nil || len(v.left[drill]) == 0 {
		return f.Targets
	}
	next := v.left[drill][0]
	v.left[drill] = v.left[drill][1:]
	if next.Kind != string(f.Kind) {
		return f.Targets
	}
	return next.Targets()
}
