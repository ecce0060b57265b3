package history

import (
	"slices"
	"time"
)

// deadline is what a stock nsqd waits for an answer to a command, or for a connection,
// before it gives the connection up. late is what the client's own scheduling may add.
const (
	deadline = time.Second
	late     = 50 * time.Millisecond

	// closesAfter is for how long writes stop when nodes close connections: they let a
	// command wait for 800 ms, some of which it has waited for others before, or does
	// afterwards.
	closesAfter = 600 * time.Millisecond
)

// checkDeadline checks that stock nsqds on surviving nodes stay connected.
func checkDeadline(e *evidence) []*finding {
	inTime := newFinding("deadline/commands", false, "Every command of an nsqd on a surviving node is answered, or its connection closed, within 1 s.")
	inTime.Bound = seconds(deadline)
	stays := newFinding("deadline/sessions", false, "No nsqd on a surviving node loses its session while that node and the leader hear each other; but for a command that waits while writes stop, or for a link or a disk that was made slow.")
	stays.Bound = "0 sessions"
	var took spread
	excused, sessions := 0, make(map[int64]bool)
	for i := range e.run.Ops {
		op := &e.run.Ops[i]
		switch op.Kind {
		case Connect, Ping, Register, Unregister:
			if !e.reachable(op.Node, op.Call, op.Return) {
				continue
			}
			if op.Outcome == Done {
				sessions[op.Session] = true // others never came about
			}
			inTime.seen++
			d := e.waited(op)
			took.add(d)
			if d > deadline+late {
				inTime.violate("late: %s took %s%s", op, seconds(d), during(e.run, op.Call, op.Return))
			}
		case Lost:
			if e.excuses(e.sessions[op.Session], op.Return) {
				excused++
				continue
			}
			stays.violate("lost: session %d of %s at %s at %s: %s%s", op.Session, op.Producer, op.Node, seconds(op.Return), op.Error, during(e.run, op.Call-deadline, op.Return))
		}
	}
	stays.seen = len(sessions)
	inTime.saw("%d commands%s", inTime.seen, e.froze())
	inTime.Observed = took.String()
	stays.saw("%d sessions; %d more were lost that were on a node that was down or cut off from the leader, or without a quorum, or over a command that had waited while writes stopped or a link or disk was slow%s", len(sessions), excused, e.froze())
	stays.Observed = numbered(stays.violations, "session") + " lost"
	return []*finding{inTime, stays}
}

// waited returns for how long the client of op waited for one thing: to be connected is
// one, to be answered another, and a stock nsqd has a deadline for each.
func (e *evidence) waited(op *Op) time.Duration {
	if op.Dialed == 0 {
		return e.counted(op.Call, op.Return)
	}
	return max(e.counted(op.Call, op.Dialed), e.counted(op.Dialed, op.Return))
}

// excuses reports whether s may be lost by the time b: its node was down or cut off, from
// all or from who led, so that it can commit nothing; or there was no quorum. A client
// that is as stock's looks once in 15 s: it may have been lost at any time since its last
// answer.
func (e *evidence) excuses(s *session, b time.Duration) bool {
	a := min(s.lastDone, max(0, b-2*deadline))
	if e.out[s.node].overlap(a, b) || e.apart[s.node].overlap(a, b) || e.down[s.node].overlap(a, b) || e.noQuorum.overlap(a, b) {
		return true
	}
	return s.waited >= closesAfter && e.delays(s.node, b-2*deadline, b)
}

// delays reports whether a command to node may have waited for so long, at some time from
// a to b, that the node closed the connection, rather than be late. For how long writes may
// stop is each drill's own claim. Where packets are lost one in three, as a
// drill has it, TCP may bring an answer too late, and if they are the leader's, what
// is forwarded to it, wherever it comes from. A node whose packets are 50 ms late takes six
// trips until it can show what a command has changed, and may have to end the command
// before first; one whose disk takes 200 ms for each write waits for two of those: either
// may be too late for its own nsqds, and a leader with such a disk for all until it has
// handed over. Packets in disorder and a clock that jumps are no excuse. And the machine
// may have stood still.
func (e *evidence) delays(node string, a, b time.Duration) bool {
	return e.hampered[node].overlap(a, b) || e.loses.overlap(a, b) || e.slowed.overlap(a, b) || e.elections(a, b) > 0 || e.stopped(a, b)
}

// stopped reports whether writes had stopped, at some time from a to b, for so long that
// nodes close connections, and while something was broken or just after.
func (e *evidence) stopped(a, b time.Duration) bool {
	broken := func(i interval) bool {
		return slices.ContainsFunc(e.run.Faults, func(f Fault) bool {
			l := f.lasted()
			return l.from <= i.to && (l.to == never || i.from <= l.to+aftermath)
		})
	}
	return slices.ContainsFunc(e.standstill, func(i interval) bool {
		return i.from <= b && a <= i.to && i.to-i.from >= closesAfter && broken(i)
	})
}
