package report

import (
	"slices"
	"time"

	"nsqraft/internal/drill/history"
)

// A state is how calls went in a column of time, the worse the greater.
type state uint8

const (
	silent  state = iota // there was no call
	waiting              // calls were under way, and none was answered
	fine                 //
	aged                 // a lookup was answered with something old
	lacking              // a lookup was answered, and lacked an nsqd that was alive
	offline              // a call failed at a node that was down
	failing              // a call failed at a node that was up
)

// finest is the least width of a column, and mostPoints the most of a curve.
const (
	finest     = 100 * time.Millisecond
	mostColumn = 1200
	mostPoints = 300
)

// columns are a part of a run by columns of equal width.
type columns struct {
	window
	nodes map[string]*nodeColumns
	// Of all nsqds, by point: messages a second.
	published, received []float64
	point               time.Duration // width of one of a curve
}

// nodeColumns is what one node was asked.
type nodeColumns struct {
	lookups, writes []state   // by column
	lookup, write   []float64 // p99 of what was answered, by point, in seconds; 0: nothing was
}

// divide returns how many columns of at least finest make up w, at most most.
func divide(w window, most int) (n int, width time.Duration) {
	length := max(w.to-w.from, finest)
	width = max(finest, (length+time.Duration(most)-1)/time.Duration(most))
	return int((length + width - 1) / width), width
}

// columns sorts the calls of a run in w into columns.
func (s *scene) columns(w window) *columns {
	run := s.run
	n, width := divide(w, mostColumn)
	points, point := divide(w, mostPoints)
	c := &columns{window: w, nodes: make(map[string]*nodeColumns), point: point,
		published: make([]float64, points), received: make([]float64, points)}
	took := make(map[string]*[2][][]time.Duration)
	for _, node := range run.Header.Nodes {
		c.nodes[node] = &nodeColumns{lookups: make([]state, n), writes: make([]state, n),
			lookup: make([]float64, points), write: make([]float64, points)}
		took[node] = &[2][][]time.Duration{make([][]time.Duration, points), make([][]time.Duration, points)}
	}
	i, _ := slices.BinarySearchFunc(run.Ops, w.from-longestCall, byCall)
	for ; i < len(run.Ops) && run.Ops[i].Call <= w.to; i++ {
		op := &run.Ops[i]
		if op.Return < w.from {
			continue
		}
		p := min(int((op.Return-w.from)/point), points-1)
		inside := op.Return <= w.to
		switch {
		case op.Kind == history.Publish && op.Outcome == history.Done && inside:
			c.published[p] += 1 / point.Seconds()
		case op.Kind == history.Receive && inside:
			c.received[p] += 1 / point.Seconds()
		}
		node, lists := c.nodes[op.Node], took[op.Node]
		if node == nil {
			continue
		}
		of, kind := node.lookups, 0
		switch {
		case isWrite(op):
			of, kind = node.writes, 1
		case op.Kind != history.Lookup || op.Consistent:
			continue
		}
		c.mark(of, op, s.stateOf(i), width)
		if op.Outcome == history.Done && inside {
			lists[kind][p] = append(lists[kind][p], op.Return-op.Call)
		}
	}
	for name, lists := range took {
		for p := range points {
			c.nodes[name].lookup[p] = spread(lists[0][p]).P99
			c.nodes[name].write[p] = spread(lists[1][p]).P99
		}
	}
	return c
}

// longestCall is more than any call of a client takes.
const longestCall = 15 * time.Second

func (s *scene) stateOf(i int) state {
	op := &s.run.Ops[i]
	switch {
	case s.lacking[i] > 0:
		return lacking
	case op.Outcome == history.Done && op.Kind == history.Lookup && isStale(op):
		return aged
	case op.Outcome == history.Done:
		return fine
	case s.down.during(op):
		return offline
	}
	return failing
}

// mark enters a call. One that was answered counts when the answer was there, and if it
// took long, is under way before; one that was not counts for as long as its client waited.
func (c *columns) mark(of []state, op *history.Op, s state, width time.Duration) {
	before := s
	switch {
	case s > lacking:
	case op.Return-op.Call < finest:
		before = silent
	default:
		before = waiting
	}
	last := int((op.Return - c.from) / width)
	for i := max(0, int((op.Call-c.from)/width)); i < last && i < len(of); i++ {
		of[i] = max(of[i], before)
	}
	if last < len(of) {
		of[last] = max(of[last], s)
	}
}
