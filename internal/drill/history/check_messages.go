package history

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A channel of a topic at one nsqd, from when it was known to be there.
type channelAt struct{ node, topic, channel string }

// messages is what was published and received.
type messages struct {
	published map[string]*Op // by message
	order     []*Op
	channels  map[channelAt]time.Duration
	received  map[[2]string]int // channel and message: times
}

// checkMessages checks that every acknowledged message reaches every channel that was
// there when it was published, and that nothing else does.
func checkMessages(e *evidence) []*finding {
	delivered := newFinding("messages/delivered", true, "Every acknowledged message is delivered at least once to each channel; what the loss of an nsqd takes with it is stated, and no more than it had in memory.")
	known := newFinding("messages/nothing-from-nowhere", true, "What is delivered was published, and is what was published.")
	twice := newFinding("messages/duplicates", false, "Messages delivered more than once are counted; at least once is what NSQ promises.")
	m := &messages{published: make(map[string]*Op), channels: make(map[channelAt]time.Duration), received: make(map[[2]string]int)}
	acknowledged := m.read(e)
	m.fromNowhere(e, known)
	m.lost(e, delivered)
	stays := newFinding("messages/finished-stay-finished", true, "A message that was finished 2 s before its nsqd was stopped gracefully does not come again after its restart.")
	m.returned(e, stays)
	again, times := 0, 0
	for _, n := range m.received {
		twice.seen++
		times += n
		again += n - 1
	}
	twice.saw("%d deliveries", times)
	twice.Observed = fmt.Sprintf("%d duplicates", again)
	if times > 0 {
		twice.Observed += fmt.Sprintf(", %.4f %%", 100*float64(again)/float64(times))
	}
	delivered.Evidence = fmt.Sprintf("%d acknowledged of %d published, %d channels; ", acknowledged, len(m.order), len(m.channels)) + delivered.Evidence
	if len(m.order) == 0 {
		for _, f := range []*finding{delivered, known, stays, twice} {
			f.untested = "nothing was published"
		}
	}
	return []*finding{delivered, known, stays, twice}
}

func (m *messages) read(e *evidence) (acknowledged int) {
	for i := range e.run.Ops {
		op := &e.run.Ops[i]
		switch op.Kind {
		case Publish:
			m.published[op.Message] = op
			m.order = append(m.order, op)
			if op.Outcome == Done {
				acknowledged++
			}
		case CreateChannel:
			if op.Outcome == Done && slices.Contains(e.run.Header.NSQDs, op.Node) {
				m.knows(op)
			}
		case Receive:
			m.knows(op)
			m.received[[2]string{op.Topic + "/" + op.Channel, op.Message}]++
		}
	}
	return acknowledged
}

// knows notes that a channel was there when op returned.
func (m *messages) knows(op *Op) {
	c := channelAt{op.Node, op.Topic, op.Channel}
	if since, ok := m.channels[c]; !ok || op.Return < since {
		m.channels[c] = op.Return
	}
}

// fromNowhere looks at each delivery for what it cannot be.
func (m *messages) fromNowhere(e *evidence, f *finding) {
	for i := range e.run.Ops {
		op := &e.run.Ops[i]
		if op.Kind != Receive {
			continue
		}
		f.seen++
		from := m.published[op.Message]
		switch {
		case op.Error != "":
			f.violate("corrupt: %s: %s", op, op.Error)
		case from == nil:
			f.violate("from nowhere: %s, which nobody published", op)
		case from.Topic != op.Topic:
			f.violate("from nowhere: %s, which was published to %s", op, from.Topic)
		case from.Outcome == Refused:
			f.violate("from nowhere: %s, which was refused at %s", op, seconds(from.Return))
		case op.Return < from.Call:
			f.violate("from nowhere: %s, before it was published at %s", op, seconds(from.Call))
		}
	}
	f.saw("%d deliveries", f.seen)
}

// losesMemory are the kinds after which an nsqd has lost what it held in memory.
var losesMemory = map[string]bool{"kill": true, "power_cut": true, "wipe": true}

// inTransit is for how long an acknowledged message may be in neither of the queues of
// which an nsqd tells, on its way from the topic's to those of the channels.
const inTransit = 250 * time.Millisecond

// untold is how long before its nsqd was killed a message may have been acknowledged and
// be lost, if the nsqd did not tell what it held: by then it has reached a consumer, or it
// waits, and how many do is what nobody knows.
const untold = time.Second

// losses are what faults may have taken with the memory of an nsqd.
type losses struct {
	left   map[*Held]int // of what it said it held
	stated map[string]int
	open   map[string]int // by faults before which the nsqd did not tell
}

// excuses finds a fault that may have taken a message from c: it was under way when its
// nsqd was killed, or before. What was acknowledged shortly before an nsqd told what it
// held, or after, may be lost beyond that. If it did not tell, what was acknowledged
// shortly before the kill may be lost, and of all else nobody knows.
func (l *losses) excuses(e *evidence, op *Op, c channelAt) bool {
	open := ""
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		if !losesMemory[f.Kind] || max(f.Begin, f.Began) < op.Call || !f.hits(op.Node) {
			continue
		}
		name := fmt.Sprintf("%s of fault %d", op.Node, f.ID)
		held, told := f.held(c)
		switch {
		case held != nil && op.Return < held.At-inTransit:
			if _, known := l.left[held]; !known {
				l.left[held] = held.Messages
			}
			if l.left[held] == 0 {
				continue
			}
			l.left[held]--
		case held == nil && told:
			continue // it did not even have the channel
		case held == nil && op.Return < f.Begin-untold:
			open = name
			continue
		}
		l.stated[name]++
		return true
	}
	if open != "" {
		l.open[open]++
	}
	return open != ""
}

// held returns what f's target said it held for c, nil if nothing; told is false if it
// said nothing of any channel.
func (f *Fault) held(c channelAt) (held *Held, told bool) {
	for i := range f.Held {
		h := &f.Held[i]
		if h.Node != c.node {
			continue
		}
		if told = true; h.Topic == c.topic && h.Channel == c.channel {
			return h, true
		}
	}
	return nil, told
}

// lost looks for acknowledged messages that a channel never got. The latest come first:
// they have the fewest faults that may have taken them.
func (m *messages) lost(e *evidence, f *finding) {
	channels := make(map[[2]string][]channelAt) // of a node and topic
	for c := range m.channels {
		key := [2]string{c.node, c.topic}
		channels[key] = append(channels[key], c)
	}
	for _, all := range channels {
		slices.SortFunc(all, func(a, b channelAt) int { return strings.Compare(a.channel, b.channel) })
	}
	taken := &losses{left: make(map[*Held]int), stated: make(map[string]int), open: make(map[string]int)}
	nobody := make(map[[2]string]int)
	var missing []string
	for _, op := range slices.Backward(m.order) {
		if op.Outcome != Done {
			continue
		}
		key := [2]string{op.Node, op.Topic}
		if len(channels[key]) == 0 {
			nobody[key]++
		}
		for _, c := range channels[key] {
			if op.Call < m.channels[c] {
				continue
			}
			f.seen++
			if m.received[[2]string{c.topic + "/" + c.channel, op.Message}] > 0 || taken.excuses(e, op, c) {
				continue
			}
			missing = append(missing, fmt.Sprintf("%s of %s, acknowledged by %s at %s, never reached channel %s", op.Message, op.Topic, op.Node, seconds(op.Return), c.channel))
		}
	}
	if n := len(missing); n > 0 && e.run.Header.Quiet == 0 {
		f.doubtful("%d deliveries were still to come when the run ended", n)
		missing = nil
	}
	for _, m := range slices.Backward(missing) {
		f.violate("lost: %s", m)
	}
	for name, n := range taken.open {
		f.doubtful("%d deliveries are missing that may have gone with the memory of %s, which did not tell before what it held", n, name)
	}
	stated := taken.stated
	f.saw("%d deliveries were due", f.seen)
	f.Observed = fmt.Sprintf("%d lost", f.violations)
	if len(stated) > 0 {
		var names []string
		total := 0
		for name, n := range stated {
			names = append(names, fmt.Sprintf("%d by %s", n, name))
			total += n
		}
		slices.Sort(names)
		f.Stated = total
		f.Observed += fmt.Sprintf("; stated: %d deliveries lost with the memory of a killed nsqd (%s)", total, strings.Join(names, ", "))
	}
	for key, n := range nobody {
		f.doubtful("%d messages of %s at %s had no channel to go to", n, key[1], key[0])
	}
}

const (
	// synced is by when an nsqd has written a FIN that it got.
	synced = 2 * time.Second
	// inTime is how soon after it came a message has to be finished for the FIN not to
	// come after its timeout.
	inTime = time.Second
)

// returned looks for messages that were finished, with time to spare, and come again
// after a graceful restart of their nsqd.
func (m *messages) returned(e *evidence, f *finding) {
	came := make(map[[2]string]*Op) // the last time, by channel and message
	finished := make(map[[2]string]*Op)
	for i := range e.run.Ops {
		op := &e.run.Ops[i]
		key := [2]string{op.Topic + "/" + op.Channel, op.Message}
		switch op.Kind {
		case Finish:
			if last := came[key]; last != nil && op.Outcome == Done && op.Call-last.Call < inTime {
				finished[key] = op
			}
		case Receive:
			if fin := finished[key]; fin != nil && e.restarted(op.Node, fin.Return+synced, op.Call) {
				f.violate("back: %s came to %s again at %s, after a graceful restart of %s; it was finished at %s", op.Message, op.Channel, seconds(op.Call), op.Node, seconds(fin.Return))
			}
			delete(finished, key) // what comes again meanwhile was not finished
			came[key] = op
		}
	}
	// What could have come back.
	for key, fin := range finished {
		node := m.published[key[1]].at()
		if since := fin.Return + synced; e.restarted(node, since, e.spoilt(node, since)) {
			f.seen++
		}
	}
	f.saw("%d messages were finished before a graceful restart of their nsqd", f.seen)
	f.Observed = fmt.Sprintf("%d came again", f.violations)
	if f.seen == 0 && f.violations == 0 {
		f.untested = "no nsqd was restarted gracefully after a message was finished"
	}
}

// at is where a message was published, "" if it was not.
func (op *Op) at() string {
	if op == nil {
		return ""
	}
	return op.Node
}

// restarted reports whether node was stopped and started between a and b, and nothing
// else was done to it.
func (e *evidence) restarted(node string, a, b time.Duration) bool {
	stopped := false
	for i := range e.run.Faults {
		f := &e.run.Faults[i]
		switch {
		case !f.hits(node) || f.lasted().to < a-synced || f.Begin > b:
		case f.Kind != "stop" || f.Begin < a || f.End == 0 || f.End > b:
			return false
		default:
			stopped = true
		}
	}
	return stopped
}

// spoilt returns until when nothing else was done to node after a than to stop and start
// it; never if nothing was.
func (e *evidence) spoilt(node string, a time.Duration) time.Duration {
	for i := range e.run.Faults {
		if f := &e.run.Faults[i]; f.hits(node) && f.Kind != "stop" && f.lasted().to >= a-synced {
			return f.Begin - 1
		}
	}
	return never
}
