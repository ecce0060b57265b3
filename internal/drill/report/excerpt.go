package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"nsqraft/internal/drill/history"
)

// An excerpt is the part of a history that a violation speaks of.
type excerpt struct {
	About string // what it was chosen by
	Lines []line
}

// A line is a call, what a node said of itself, or a line of its log.
type line struct {
	time                          time.Duration
	At, Took, Node, What, Outcome string
	Class                         string // fine, aged, failing, log
}

const (
	// mostOfAKind is how many lines of writes, of lookups and of samples there are, and
	// mostFar of lookups that are farther from all times that are named than far.
	mostOfAKind = 12
	mostFar     = 3
	far         = 10 * time.Second
	// mostNamed bounds the names that are shown of an answer.
	mostNamed = 8
)

// moments are times that a sentence of a checker names; lengths are told otherwise.
var moments = regexp.MustCompile(`(?:\bat |\bsince |\[)(\d+\.\d{3})s`)

// sessions are those that it names.
var sessions = regexp.MustCompile(`\bsession (\d+)`)

// A finder knows what a history has names for.
type finder struct {
	run       *history.Run
	logs      *nodeLogs
	topics    map[string]bool
	producers map[string]bool
	messages  map[string]bool
}

func newFinder(run *history.Run, logs *nodeLogs) *finder {
	f := &finder{run: run, logs: logs, topics: make(map[string]bool), producers: make(map[string]bool), messages: make(map[string]bool)}
	for i := range run.Ops {
		op := &run.Ops[i]
		f.topics[op.Topic], f.producers[op.Producer] = true, true
		if op.Kind == history.Publish || op.Kind == history.Receive {
			f.messages[op.Message] = true
		}
	}
	for _, names := range []map[string]bool{f.topics, f.producers, f.messages} {
		delete(names, "")
	}
	return f
}

// mentions are what a sentence speaks of.
type mentions struct {
	topics, producers, messages, nodes []string
	sessions                           []int64
	times                              []time.Duration
	consistent                         bool // it speaks of a consistent lookup
}

func (f *finder) read(sentence string) mentions {
	m := mentions{consistent: strings.Contains(sentence, "consistent lookup")}
	for _, word := range strings.FieldsFunc(sentence, func(r rune) bool { return strings.ContainsRune(" \n,;[]()", r) }) {
		for _, name := range []string{word, strings.TrimRight(word, ":.")} {
			switch {
			case f.messages[name]:
				m.messages = add(m.messages, name)
			case f.topics[name]:
				m.topics = add(m.topics, name)
			case f.producers[name]:
				m.producers = add(m.producers, name)
			case slices.Contains(f.run.Header.Nodes, name), slices.Contains(f.run.Header.NSQDs, name):
				m.nodes = add(m.nodes, name)
			default:
				continue
			}
			break
		}
	}
	for _, found := range sessions.FindAllStringSubmatch(sentence, -1) {
		if n, err := strconv.ParseInt(found[1], 10, 64); err == nil && !slices.Contains(m.sessions, n) {
			m.sessions = append(m.sessions, n)
		}
	}
	for _, found := range moments.FindAllStringSubmatch(sentence, -1) {
		if seconds, err := strconv.ParseFloat(found[1], 64); err == nil {
			m.times = append(m.times, dur(seconds))
		}
	}
	return m
}

func add(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

// about returns the calls that sentence speaks of: of the topics, producers, messages
// or sessions that it names, those next to the times that it names; of lookups those at the
// nodes that it names. With them is what those nodes logged then. It is nil if sentence
// names nothing.
func (f *finder) about(sentence string, cluster bool) *excerpt {
	m := f.read(sentence)
	var writes, lookups []*history.Op
	for i := range f.run.Ops {
		op := &f.run.Ops[i]
		switch {
		case !m.concerns(op):
		case op.Kind == history.Lookup && (len(m.nodes) > 0 && !slices.Contains(m.nodes, op.Node) || m.consistent && !op.Consistent):
		case op.Kind == history.Lookup:
			lookups = append(lookups, op)
		default:
			writes = append(writes, op)
		}
	}
	var lines []line
	for _, op := range append(m.nearest(writes), m.near(lookups)...) {
		lines = append(lines, lineOf(op))
	}
	if cluster {
		lines = append(lines, f.samples(m)...)
	}
	if len(lines) == 0 {
		return nil
	}
	for _, node := range m.nodes {
		lines = append(lines, f.logs.about(node, m.times, slices.Concat(m.topics, m.producers))...)
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.time, b.time) })
	return &excerpt{About: m.String(), Lines: lines}
}

// concerns says whether op is of what is named: the most special of it.
func (m *mentions) concerns(op *history.Op) bool {
	switch {
	case len(m.messages) > 0:
		return slices.Contains(m.messages, op.Message)
	case op.Kind == history.Publish || op.Kind == history.Receive || op.Kind == history.Finish:
		return false
	case len(m.topics) == 0 && len(m.sessions) > 0:
		return slices.Contains(m.sessions, op.Session)
	case len(m.topics) == 0:
		return false
	case op.Topic == "" && op.Producer != "" && op.Kind != history.Ping: // its connection
		return slices.Contains(m.producers, op.Producer)
	case !slices.Contains(m.topics, op.Topic):
		return false
	case len(m.producers) > 0 && op.Producer != "":
		return slices.Contains(m.producers, op.Producer)
	}
	return true
}

// distance is how far from a call the nearest of the times is that are named; without
// any, how far the call is from the beginning.
func (m *mentions) distance(op *history.Op) time.Duration {
	best := op.Call
	for i, t := range m.times {
		if d := max(op.Call-t, t-op.Return, 0); i == 0 || d < best {
			best = d
		}
	}
	return best
}

// nearest returns those of ops that are nearest to a time that is named, in that order.
func (m *mentions) nearest(ops []*history.Op) []*history.Op {
	slices.SortStableFunc(ops, func(a, b *history.Op) int { return cmp.Compare(m.distance(a), m.distance(b)) })
	return ops[:min(len(ops), mostOfAKind)]
}

// near returns those of nearest that are not far from such a time, and few others.
func (m *mentions) near(ops []*history.Op) []*history.Op {
	ops = m.nearest(ops)
	n := 0
	for n < len(ops) && m.distance(ops[n]) <= far {
		n++
	}
	return ops[:min(len(ops), max(n, mostFar))]
}

// samples returns what the nodes that are named said of themselves.
func (f *finder) samples(m mentions) []line {
	var lines []line
	near := func(at time.Duration) bool {
		return slices.ContainsFunc(m.times, func(t time.Duration) bool { return (at - t).Abs() <= 200*time.Millisecond })
	}
	for i := range f.run.Samples {
		s := &f.run.Samples[i]
		if len(lines) < 2*mostOfAKind && slices.Contains(m.nodes, s.Node) && near(s.At) {
			l := line{time: s.At, At: at(sec(s.At)), Node: oneLine(s.Node), What: "said of itself", Outcome: "no answer", Class: "failing"}
			if s.Answered {
				l.Class = "fine"
				l.Outcome = oneLine(fmt.Sprintf("%s in term %d, follows %s, applied %d of %d, hash %s", s.Role, s.Term, cmp.Or(s.Leader, "nobody"), s.Applied, s.Committed, cmp.Or(s.Hash, "unknown")))
			}
			lines = append(lines, l)
		}
	}
	return lines
}

func (m *mentions) String() string {
	var of []string
	for _, x := range []struct {
		what  string
		names []string
	}{{"topic", m.topics}, {"producer", m.producers}, {"message", m.messages}} {
		if len(x.names) > 0 {
			of = append(of, x.what+" "+oneLine(listed(x.names)))
		}
	}
	if len(of) == 0 && len(m.sessions) > 0 {
		of = append(of, fmt.Sprintf("session %d", m.sessions[0]))
	}
	if len(of) == 0 {
		of = append(of, oneLine(listed(m.nodes)))
	}
	return strings.Join(of, ", ")
}

func lineOf(op *history.Op) line {
	l := line{time: op.Call, At: at(sec(op.Call)), Took: short(sec(op.Return - op.Call)), Node: oneLine(op.Node), What: oneLine(callText(op)), Outcome: oneLine(outcomeText(op)), Class: "fine"}
	switch {
	case op.Outcome != history.Done && classOf(op) != "":
		l.Class = "failing"
	case op.Kind == history.Lookup && isStale(op):
		l.Class = "aged"
	}
	return l
}

func callText(op *history.Op) string {
	s := strings.ReplaceAll(string(op.Kind), "_", " ")
	if op.Consistent {
		s = "consistent lookup"
	}
	for _, x := range [][2]string{{" ", op.Topic}, {"/", op.Channel}, {" of ", op.Producer}, {" message ", op.Message}} {
		if x[1] != "" {
			s += x[0] + x[1]
		}
	}
	if op.Session > 0 {
		s += fmt.Sprintf(", session %d", op.Session)
	}
	return s
}

func outcomeText(op *history.Op) string {
	s := string(op.Outcome)
	if op.Status > 0 {
		s += " " + strconv.Itoa(op.Status)
	}
	if op.Error != "" {
		s += ": " + op.Error
	}
	a := op.Answer
	if a == nil {
		return s
	}
	if !a.Known {
		s += ": not known"
	} else {
		s += ": producers " + listed(a.Producers) + "; channels " + listed(a.Channels)
	}
	if a.Index > 0 {
		s += fmt.Sprintf("; index %d, stale %d ms", a.Index, a.StaleMS)
	}
	return s
}

// listed writes names with commas, not too many.
func listed(names []string) string {
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > mostNamed:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNamed], ", "), n-mostNamed)
	}
	return strings.Join(names, ", ")
}
