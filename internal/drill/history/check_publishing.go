package history

import "time"

// reconnected is by when after a fault of an nsqd its publishers have found out that their
// connections were of before.
const reconnected = 3 * time.Second

// checkPublishing checks that publishing needs nothing but the nsqd itself: whatever
// befalls the nsqlookupds, who publishes does not notice. A storm may take the processors
// of the machine from everybody.
func checkPublishing(e *evidence) []*finding {
	goes := newFinding("messages/publishing-goes-on", false, "Publishing to a running nsqd never fails while that nsqd itself is not hit, storms aside.")
	goes.Bound = "0 failures"
	var storms []interval
	for i := range e.run.Faults {
		if f := &e.run.Faults[i]; f.Kind == storm {
			storms = append(storms, f.lasted())
		}
	}
	stormy := merge(storms)
	published := 0
	for i := range e.run.Ops {
		op := &e.run.Ops[i]
		if op.Kind != Publish {
			continue
		}
		published++
		if e.hit[op.Node].overlap(op.Call-reconnected, op.Return) || stormy.overlap(op.Call, op.Return) {
			continue
		}
		goes.seen++
		if op.Outcome == Done {
			continue
		}
		if e.run.Header.Interrupted && op.Return >= e.run.Header.Length-reconnected {
			goes.doubtful("publishes failed when the run was interrupted")
			continue
		}
		goes.violate("failed: %s: %s%s", op, op.Error, during(e.run, op.Call, op.Return))
	}
	if published == 0 {
		goes.untested = "nothing was published"
	}
	goes.saw("%d messages published to nsqds that were not hit", goes.seen)
	goes.Observed = numbered(goes.violations, "failure")
	return []*finding{goes}
}
