package report

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"nsqraft/internal/drill/history"
)

// Measures of the picture, in pixels at its full width.
const (
	pictureWidth = 1180
	plotLeft     = 132
	plotRight    = 1170
	plotWidth    = plotRight - plotLeft

	mostRows    = 6 // of names of what was broken
	labelHeight = 14
	laneHeight  = 12
	stripHeight = 12
	curveHeight = 40
	gap         = 4
	blockGap    = 14
	letter      = 6.3 // width of one, about

	mostTitled = 150 // faults in one picture, for them to have names and titles
)

// A scene is what the pictures of a run have in common.
type scene struct {
	run       *history.Run
	episodes  []Episode
	down      outages
	stretches map[string][]stretch
	none      []window        // without a leader
	lacking   []time.Duration // by op: more than 0 of a lookup that lacked an nsqd that was alive
	led       bool            // some node ever said that it leads; stock's do not
}

func newScene(run *history.Run, episodes []Episode) *scene {
	s := &scene{run: run, episodes: episodes, down: newOutages(run)}
	s.stretches = stretchesOf(run, s.down)
	s.none = leaderless(run, s.stretches)
	s.lacking, _ = missing(run, s.down)
	for _, list := range s.stretches {
		s.led = s.led || slices.ContainsFunc(list, func(s stretch) bool { return s.state == "leader" })
	}
	return s
}

// A timeline draws a run, or a part of it, from top to bottom: names of what was broken,
// when nobody led, a block for each node, messages, and the time.
type timeline struct {
	drawing
	window
	*scene
	columns *columns
	terse   bool    // there is so much to show that nothing has a name
	labels  []label // of what was broken
	top     float64 // below them
	y       float64 // where the next thing goes
}

// timeline draws the part of the run in w.
func (s *scene) timeline(w window) template.HTML {
	t := &timeline{scene: s, window: w, columns: s.columns(w)}
	return t.draw()
}

func (t *timeline) draw() template.HTML {
	shown := 0
	for i := range t.run.Faults {
		if f := &t.run.Faults[i]; f.Begin <= t.to && (f.Healed == 0 || f.Healed >= t.from) {
			shown++
		}
	}
	t.terse = shown > mostTitled
	rows := 0
	if !t.terse {
		t.labels, rows = t.named()
	}
	t.top = float64(max(rows, 1) * labelHeight)
	bottom := t.top + gap + t.height()
	t.faults(bottom)
	if t.led {
		t.leaderless()
	}
	for _, node := range t.run.Header.Nodes {
		t.node(node)
	}
	t.messages()
	t.axis(bottom)
	return t.svg(pictureWidth, bottom+18, fmt.Sprintf("From %s to %s: what was broken, who led, and how lookups and writes went at each node. The tables say the same in numbers.",
		at(sec(t.from)), at(sec(t.to))))
}

// height is that of everything between the names and the axis.
func (t *timeline) height() float64 {
	h := 0.0
	block := stripHeight + gap + stripHeight + gap + curveHeight + blockGap
	if t.led {
		h += laneHeight + blockGap
		block += laneHeight + gap
	}
	h += float64(len(t.run.Header.Nodes) * block)
	if t.messaging() {
		h += curveHeight + blockGap
	}
	return h
}

// x is where a moment is.
func (t *timeline) x(at time.Duration) float64 {
	at = min(max(at, t.from), t.to)
	return plotLeft + plotWidth*float64(at-t.from)/float64(max(t.to-t.from, 1))
}

// faults shades when something was broken, lighter until all was well, and names it.
func (t *timeline) faults(bottom float64) {
	shade := func(class string, all []window) {
		for _, w := range joined(all) {
			if w.to >= t.from && w.from <= t.to {
				t.rect(class, t.x(w.from), t.top, max(t.x(w.to)-t.x(w.from), leastWidth), bottom-t.top, t.during(w))
			}
		}
	}
	var broken, healing []window
	for i := range t.run.Faults {
		f := &t.run.Faults[i]
		end, healed := cmp.Or(f.End, t.run.Header.Length), cmp.Or(f.Healed, t.run.Header.Length)
		broken = append(broken, window{f.Begin, end})
		if healed > end {
			healing = append(healing, window{end, healed})
		}
	}
	shade("healing", healing)
	shade("band", broken)
	for _, l := range t.labels {
		y := float64((l.row + 1) * labelHeight)
		t.rect("stem", l.at, y-labelHeight+3, 1, t.top-y+labelHeight-3, "")
		t.text("label", "start", l.x, y-2, l.name)
	}
	t.y = t.top + gap
}

// during says what was broken in w, or was not well yet.
func (t *timeline) during(w window) string {
	if t.terse {
		return ""
	}
	var all []string
	for i := range t.run.Faults {
		f := &t.run.Faults[i]
		if f.Begin < w.to && cmp.Or(f.Healed, t.run.Header.Length) > w.from {
			all = append(all, oneLine(fmt.Sprintf("fault %d, %s: %s of %s at %s", f.ID, f.Drill, f.Kind, f.Target, at(sec(f.Begin)))))
		}
	}
	if len(all) > mostNamed {
		all = append(all[:mostNamed], fmt.Sprintf("and %d more", len(all)-mostNamed))
	}
	return strings.Join(all, "\n")
}

// A label is the name of what was broken.
type label struct {
	name  string
	at, x float64 // where it was, and where the name begins
	row   int     // from the top
}

// named places the names of the episodes in as few rows as there need be, repeats of a
// drill that follow each other once, and returns how many rows that are. What has no room
// in mostRows is named only by its title and in the tables.
func (t *timeline) named() (all []label, rows int) {
	var free [mostRows]float64
	last := ""
	for _, ep := range t.episodes {
		begin := dur(ep.Begin)
		if begin > t.to || ep.Healed > 0 && dur(ep.Healed) < t.from || ep.Drill == last {
			continue
		}
		last = ep.Drill
		l := label{name: oneLine(ep.Drill), at: t.x(begin)}
		width := letter*float64(utf8.RuneCountInString(l.name)) + 8
		l.x = min(l.at, plotRight-width)
		for l.row < mostRows && free[l.row] > l.x {
			l.row++
		}
		if l.row == mostRows {
			continue
		}
		free[l.row] = l.x + width
		rows = max(rows, l.row+1)
		l.x += 4
		all = append(all, l)
	}
	return all, rows
}

func (t *timeline) name(class, name string, height float64) {
	t.text(class, "end", plotLeft-8, t.y+height-2, name)
}

// leaderless shows when nobody led.
func (t *timeline) leaderless() {
	t.name("row", "no leader", laneHeight)
	t.rect("bed", plotLeft, t.y, plotWidth, laneHeight, "")
	for _, w := range t.none {
		if w.to < t.from || w.from > t.to {
			continue
		}
		t.rect("void", t.x(w.from), t.y, max(t.x(w.to)-t.x(w.from), leastWidth), laneHeight,
			fmt.Sprintf("no leader for %s from %s on", short(sec(w.to-w.from)), at(sec(w.from))))
	}
	t.y += laneHeight + blockGap
}

// node shows one node: when it led, how its lookups and writes went, how long they took.
func (t *timeline) node(name string) {
	c := t.columns.nodes[name]
	t.text("node", "start", 0, t.y+laneHeight-2, cut(oneLine(name), 10))
	if t.led {
		t.name("row", "leads", laneHeight)
		t.rect("bed", plotLeft, t.y, plotWidth, laneHeight, "")
		for _, s := range t.stretches[name] {
			t.stretch(oneLine(name), s)
		}
		t.y += laneHeight + gap
	}
	t.strip("lookups", c.lookups)
	t.strip("writes", c.writes)
	t.latency(c)
	t.y += blockGap
}

// stretch shows what a node said of itself.
func (t *timeline) stretch(name string, s stretch) {
	if s.to < t.from || s.from > t.to || s.state == "follower" || s.to == s.from {
		return
	}
	x, width := t.x(s.from), max(t.x(s.to)-t.x(s.from), leastWidth)
	from := fmt.Sprintf(" for %s from %s on", short(sec(s.to-s.from)), at(sec(s.from)))
	title := func(format string, args ...any) string {
		if t.terse {
			return ""
		}
		return oneLine(fmt.Sprintf(format, args...) + from)
	}
	switch s.state {
	case "leader":
		t.rect("reign", x, t.y, width, laneHeight, title("%s led term %d", name, s.term))
		if term := fmt.Sprintf("term %d", s.term); width > letter*float64(len(term))+6 {
			t.text("term", "start", x+4, t.y+laneHeight-3, term)
		}
	case "":
		// Hollow, as a strip is of a node that is down.
		t.rect("down", x, t.y, width, laneHeight/6, title("%s did not answer", name))
		t.rect("down", x, t.y+laneHeight*5/6, width, laneHeight/6, "")
	default:
		t.rect("candidate", x, t.y+laneHeight/2, width, laneHeight/2, title("%s was %s", name, s.state))
	}
}

// classes of states in the stylesheet.
var classes = map[state]string{waiting: "waiting", fine: "fine", aged: "aged", lacking: "lacking", offline: "offline", failing: "failing"}

func (t *timeline) strip(name string, all []state) {
	t.name("row", name, stripHeight)
	t.rect("bed", plotLeft, t.y, plotWidth, stripHeight, "")
	shapes := strips(all, plotLeft, t.y, plotWidth, stripHeight)
	for _, s := range []state{waiting, fine, aged, lacking, offline, failing} {
		t.path(classes[s], shapes[s])
	}
	t.y += stripHeight + gap
}

// latency draws how long lookups and writes took.
func (t *timeline) latency(c *nodeColumns) {
	t.text("row", "end", plotLeft-44, t.y+curveHeight/2+4, "took")
	grid := ""
	for _, mark := range []struct {
		seconds float64
		name    string
	}{{1, "1 s"}, {0.01, "10 ms"}, {0.0001, "0.1 ms"}} {
		y := t.y + curveHeight*(1-logarithmic(mark.seconds))
		grid += fmt.Sprintf("M%d %sH%d", plotLeft, coordinate(y), plotRight)
		t.text("tick", "end", plotLeft-8, y+3, mark.name)
	}
	t.path("grid", grid)
	t.path("curve lookup", curve(c.lookup, plotLeft, t.y, plotWidth, curveHeight, logarithmic))
	t.path("curve write", curve(c.write, plotLeft, t.y, plotWidth, curveHeight, logarithmic))
	t.y += curveHeight
}

func (t *timeline) messaging() bool {
	return slices.Max(t.columns.published) > 0 || slices.Max(t.columns.received) > 0
}

// messages draws how many a second went through all nsqds.
func (t *timeline) messages() {
	if !t.messaging() {
		return
	}
	top := roundUp(max(slices.Max(t.columns.published), slices.Max(t.columns.received)))
	t.text("node", "start", 0, t.y+curveHeight/2+3, "messages")
	t.text("tick", "end", plotLeft-8, t.y+8, count(int(top))+" /s")
	t.text("tick", "end", plotLeft-8, t.y+curveHeight, "0")
	t.path("grid", fmt.Sprintf("M%d %sH%[3]dM%[1]d %[4]sH%[3]d", plotLeft, coordinate(t.y), plotRight, coordinate(t.y+curveHeight)))
	t.path("curve pub", curve(t.columns.published, plotLeft, t.y, plotWidth, curveHeight, linear(top)))
	t.path("curve fin", curve(t.columns.received, plotLeft, t.y, plotWidth, curveHeight, linear(top)))
	t.y += curveHeight + blockGap
}

// steps are what may be between two marks of the axis.
var steps = []time.Duration{
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
	30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 4 * time.Hour,
}

func (t *timeline) axis(y float64) {
	step := steps[len(steps)-1]
	for _, s := range steps {
		if (t.to-t.from)/s <= 12 {
			step = s
			break
		}
	}
	ticks := fmt.Sprintf("M%d %sH%d", plotLeft, coordinate(y), plotRight)
	for m := (t.from + step - 1) / step * step; m <= t.to; m += step {
		x := t.x(m)
		ticks += fmt.Sprintf("M%s %sv4", coordinate(x), coordinate(y))
		anchor := "middle"
		if x > plotRight-20 {
			anchor = "end"
		}
		t.text("tick", anchor, x, y+15, moment(m, step))
	}
	t.path("axis", ticks)
}

// moment writes a time of the axis.
func moment(at, step time.Duration) string {
	switch {
	case step < time.Second:
		return fmt.Sprintf("%.1f s", at.Seconds())
	case at < 2*time.Minute:
		return fmt.Sprintf("%.0f s", at.Seconds())
	case at < time.Hour:
		return fmt.Sprintf("%d:%02d min", int(at.Minutes()), int(at.Seconds())%60)
	}
	return fmt.Sprintf("%d:%02d h", int(at.Hours()), int(at.Minutes())%60)
}

// cut keeps at most n letters.
func cut(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}
