package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits bound what checking may take. Zero values mean the defaults.
type Limits struct {
	Time   time.Duration // of each porcupine check; default 60 s
	Total  time.Duration // of all of them; default 10 min
	Memory int64         // bytes that porcupine may take, about; default 1 GiB
	Dir    string        // where porcupine's pictures go; "": none are made
}

func (l Limits) withDefaults() Limits {
	l.Time = cmp.Or(l.Time, time.Minute)
	l.Total = cmp.Or(l.Total, 10*time.Minute)
	l.Memory = cmp.Or(l.Memory, 1<<30)
	return l
}

// Check makes every claim about a run, in a fixed order. See the check_*.go files.
func Check(run *Run, l Limits) []Claim {
	e := newEvidence(run, l.withDefaults())
	checkers := []func(*evidence) []*finding{
		checkRecord,
		checkRegistry,
		checkLinear,
		checkReads,
		checkAge,
		checkAvailable,
		checkRegistrations,
		checkDeadline,
		checkCluster,
		checkEnded,
		checkMessages,
		checkPublishing,
		checkBounds,
	}
	var claims []Claim
	for _, check := range checkers {
		start := time.Now()
		found := check(e)
		took := time.Since(start).Seconds() / float64(max(1, len(found)))
		for _, f := range found {
			c := f.claim()
			c.Took = took
			claims = append(claims, c)
		}
	}
	return claims
}

// most is how many violations of a claim are told in words.
const most = 20

// A finding becomes a Claim.
type finding struct {
	Claim
	violations int
	seen       int    // what could have shown a violation
	doubt      string // why it is inconclusive in spite of what was seen; "": it is not
	untested   string // why it could not be tested
}

func newFinding(id string, safety bool, title string) *finding {
	return &finding{Claim: Claim{ID: id, Title: title, Safety: safety}}
}

// violate says what cannot be.
func (f *finding) violate(format string, args ...any) {
	if f.violations++; f.violations <= most {
		f.Violations = append(f.Violations, fmt.Sprintf(format, args...))
	}
}

func (f *finding) doubtful(format string, args ...any) {
	if f.doubt == "" {
		f.doubt = fmt.Sprintf(format, args...)
	}
}

// saw says what was looked at.
func (f *finding) saw(format string, args ...any) { f.Evidence = fmt.Sprintf(format, args...) }

// claim decides. A violation is one whatever else is in doubt.
func (f *finding) claim() Claim {
	c := f.Claim
	switch {
	case f.violations > 0 && c.Safety:
		c.Status = Violated
	case f.violations > 0:
		c.Status = Missed
	case f.untested != "":
		c.Status, c.Evidence = NotTested, f.untested
	case f.doubt != "":
		c.Status = Inconclusive
	case f.seen == 0:
		c.Status = Inconclusive
		f.doubt = "there was nothing to look at"
	default:
		c.Status = Holds
	}
	if c.Status == Inconclusive {
		if c.Evidence != "" {
			c.Evidence += "; "
		}
		c.Evidence += "inconclusive: " + f.doubt
	}
	if f.violations > most {
		c.Evidence += fmt.Sprintf("; %d violations, of which %d are told", f.violations, most)
	}
	return c
}

// checkRecord asks whether the record itself can be relied on.
func checkRecord(e *evidence) []*finding {
	whole := newFinding("record/complete", true, "Everything that happened was recorded.")
	whole.seen = len(e.run.Ops)
	whole.saw("%d ops, %d samples, %d faults", len(e.run.Ops), len(e.run.Samples), len(e.run.Faults))
	if n := e.run.Header.Dropped; n > 0 {
		whole.doubtful("%d ops were more than is kept", n)
	}
	busy := make(map[int]*Op)
	for i := range e.run.Ops {
		op := &e.run.Ops[i]
		if op.Return < op.Call {
			whole.violate("broken record: client %d: %s returned before it was called", op.Client, op)
		}
		if last := busy[op.Client]; last != nil && op.Client != 0 && op.Call < last.Return {
			whole.violate("broken record: client %d made two calls at a time: %s and %s", op.Client, last, op)
		}
		busy[op.Client] = op
	}

	effective := newFinding("faults/effective", true, "Every fault had an effect that was seen.")
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		effective.seen++
		if !f.Verified {
			effective.doubtful("fault %d, %s of %s, was not seen to have an effect", f.ID, f.Kind, f.Target)
		}
	}
	made := newFinding("faults/made", true, "Every drill was made to its end.")
	made.seen = len(e.run.Faults)
	for _, why := range e.run.Header.Failed {
		made.doubtful("it was not of %s", why)
	}
	made.saw("%s", numbered(len(e.run.Header.Failed), "drill")+" could not be made")
	healed := newFinding("faults/healed", true, "After every fault all is well again.")
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		healed.seen++
		switch {
		case f.Healed > 0:
		case f.End == 0:
			healed.doubtful("fault %d, %s of %s, was never ended: %s", f.ID, f.Kind, f.Target, f.Note)
		case e.run.Header.Interrupted:
			healed.doubtful("fault %d, %s of %s, was undone at an interrupt, and nobody waited until all was well", f.ID, f.Kind, f.Target)
		case e.run.Header.Ended != "" && !strings.HasPrefix(f.Note, NotWell):
			healed.doubtful("fault %d, %s of %s, was undone when the run ended, and nobody waited until all was well", f.ID, f.Kind, f.Target)
		default:
			healed.violate("ill: fault %d, %s of %s, ended at %s, and not all was well again: %s", f.ID, f.Kind, f.Target, seconds(f.End), f.Note)
		}
	}
	for _, f := range []*finding{effective, healed} {
		f.saw("%d faults", len(e.run.Faults))
	}
	for _, f := range []*finding{made, effective, healed} {
		if len(e.run.Faults) == 0 && f.doubt == "" {
			f.untested = "nothing was broken"
		}
	}
	return []*finding{whole, made, effective, healed}
}

func (op *Op) String() string {
	s := fmt.Sprintf("%s at %s [%s, ", op.Kind, op.Node, seconds(op.Call))
	if op.Outcome == Unknown {
		s += "...]"
	} else {
		s += seconds(op.Return) + "]"
	}
	for _, word := range []string{op.Topic, op.Channel, op.Producer, op.Message} {
		if word != "" {
			s += " " + word
		}
	}
	if op.Session != 0 {
		s += fmt.Sprintf(" session %d", op.Session)
	}
	if op.Outcome != Done {
		s += " " + string(op.Outcome)
	}
	if op.Status != 0 {
		s += fmt.Sprintf(" %d", op.Status)
	}
	if a := op.Answer; a != nil {
		s += fmt.Sprintf(" = known %v, channels %v, producers %v", a.Known, a.Channels, a.Producers)
	}
	return s
}

// seconds shows a time of a run, or how long something took.
func seconds(d time.Duration) string {
	if d == never {
		return "never"
	}
	return fmt.Sprintf("%.3fs", d.Seconds())
}

// A spread is what many measurements come to.
type spread struct {
	values []time.Duration
}

func (s *spread) add(d time.Duration) { s.values = append(s.values, d) }

// quantile returns the smallest value that a share q of all do not exceed; 0 of none.
func (s *spread) quantile(q float64) time.Duration {
	if len(s.values) == 0 {
		return 0
	}
	slices.Sort(s.values)
	i := int(q*float64(len(s.values))+0.999999) - 1
	return s.values[min(max(i, 0), len(s.values)-1)]
}

func (s *spread) String() string {
	if len(s.values) == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s of %d", seconds(s.quantile(0.5)), seconds(s.quantile(0.99)), seconds(s.quantile(1)), len(s.values))
}
