package history

import (
	"slices"
	"strings"
)

// mayEndOver are the kinds over which a process may end by itself: it cannot keep what it
// has promised, or finds that it has lost what it had.
var mayEndOver = map[string]bool{
	"disk_full": true, "disk_hang": true, "slow_fsync": true, "torn_log": true, "flip_bit": true, "power_cut": true,
}

// checkEnded checks that no process ends that nobody ended.
func checkEnded(e *evidence) []*finding {
	stays := newFinding("cluster/no-process-ends-by-itself", true, "No process ends by itself, unless its disk was broken.")
	h := &e.run.Header
	stays.seen = len(h.Nodes) + len(h.NSQDs)
	if !h.Watched {
		stays.untested = "the environment does not know which processes end by themselves"
	}
	allowed := 0
	for i := range h.Exits {
		x := &h.Exits[i]
		if e.mayEnd(x) {
			allowed++
			continue
		}
		stays.violate("ended: %s at %s by itself, with %s%s; its log ends with: %s", x.Node, seconds(x.At), x.How, during(e.run, x.At, x.At), x.last())
	}
	stays.saw("%d processes; %d times one ended over its disk, as it may", stays.seen, allowed)
	stays.Observed = numbered(stays.violations, "end")
	return []*finding{stays}
}

// mayEnd reports whether x came about while its process had a broken disk.
func (e *evidence) mayEnd(x *Exit) bool {
	return slices.ContainsFunc(e.run.Faults, func(f Fault) bool { return mayEndOver[f.Kind] && f.hits(x.Node) && f.lasts(x.At) })
}

// last returns what in the log's end says most: a panic from its first line on, or the
// last line.
func (x *Exit) last() string {
	text := strings.TrimSpace(x.LogEnd)
	for _, begin := range []string{"panic:", "fatal error:"} {
		if i := strings.Index(text, begin); i >= 0 {
			return text[i:]
		}
	}
	return text[strings.LastIndexByte(text, '\n')+1:]
}
