package nsqadmin

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Charts are SVG without a style attribute, which the Content-Security-Policy would
// not let through: colours come from classes, and a viewBox that is stretched to the
// box the stylesheet gives it. Their words are HTML around them, so that they are not
// stretched too.

// A plot is a chart with the words around it.
type plot struct {
	Title    string
	Unit     string // "/s" or ""
	Class    string // colour: depth, pub, fin
	Now      string
	Top      string // the value at the upper edge
	From     time.Time
	To       time.Time
	Values   string // for the script that shows the value under the pointer: numbers with commas, empty where unknown
	SVG      template.HTML
	Nothing  bool // no point is known
	LongAgo  string
	Describe string // for who cannot see it
}

const (
	plotWidth, plotHeight   = 600, 120
	sparkWidth, sparkHeight = 80, 20
	sparkPoints             = 40
)

// newPlot draws points, of the time from from to to, as an area. If nothing is known of
// the first part of it, the chart begins later.
func newPlot(title, unit, class string, points []point, from, to time.Time) *plot {
	const least = 30 * time.Second
	points = known(points)
	if n := len(points); n > 0 && to.Sub(points[n-1].at) < to.Sub(from)/10 {
		to = points[n-1].at // the newest sample is what is called now
	}
	if len(points) > 0 && points[0].at.After(from) && to.Sub(from) > least {
		from = points[0].at
		if earliest := to.Add(-least); from.After(earliest) {
			from = earliest
		}
	}
	p := &plot{Title: title, Unit: unit, Class: class, From: from, To: to, LongAgo: "−" + span(to.Sub(from).Round(time.Second))}
	top, known := greatest(points)
	p.Nothing = !known
	p.Now = unknown
	if n := len(points); n > 0 {
		p.Now = perSecond(points[n-1].value)
	}
	top = roundUp(top)
	p.Top = short(top)
	if top < 10 {
		p.Top = perSecond(top)
	}
	p.Describe = fmt.Sprintf("%s over the last %s: now %s%s, at most %s%s", title, span(to.Sub(from).Round(time.Second)), p.Now, unit, p.Top, unit)
	p.Values = values(points, from, to)
	line, area := paths(points, from, to, top, plotWidth, plotHeight)
	p.SVG = template.HTML(fmt.Sprintf(`<svg class="plot %s" viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true">`+
		`<path class="grid" d="M0 1H%[2]dM0 %[4]dH%[2]dM0 %[5]dH%[2]d"/><path class="area" d="%[6]s"/><path class="line" d="%[7]s"/></svg>`,
		class, plotWidth, plotHeight, plotHeight/2, plotHeight-1, area, line))
	return p
}

// spark draws points as a line that is as long as a word.
func spark(class string, points []point) template.HTML {
	points = known(points)
	if len(points) < 2 {
		return ""
	}
	from, to := points[0].at, points[len(points)-1].at
	points = thin(points, sparkPoints)
	top, _ := greatest(points)
	line, area := paths(points, from, to, max(top, 1e-9), sparkWidth, sparkHeight)
	return template.HTML(fmt.Sprintf(`<svg class="spark %s" viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true">`+
		`<path class="area" d="%s"/><path class="line" d="%s"/></svg>`, class, sparkWidth, sparkHeight, area, line))
}

// paths returns a line through the known points and the area below it. Unknown
// points leave a gap.
func paths(points []point, from, to time.Time, top float64, width, height int) (line, area string) {
	total := to.Sub(from)
	if total <= 0 || top <= 0 {
		return "", ""
	}
	var l, a strings.Builder
	inside := false
	var last float64
	shut := func() {
		if inside {
			fmt.Fprintf(&a, "L%s %dZ", coordinate(last), height)
		}
		inside = false
	}
	for _, p := range points {
		if math.IsNaN(p.value) {
			shut()
			continue
		}
		x := float64(width) * float64(p.at.Sub(from)) / float64(total)
		// A pixel of room above and below, or half of the line would be cut off.
		y := float64(height) - 1 - float64(height-2)*min(max(p.value/top, 0), 1)
		command := "L"
		if !inside {
			command = "M"
			fmt.Fprintf(&a, "M%s %dL%s %s", coordinate(x), height, coordinate(x), coordinate(y))
		} else {
			fmt.Fprintf(&a, "L%s %s", coordinate(x), coordinate(y))
		}
		fmt.Fprintf(&l, "%s%s %s", command, coordinate(x), coordinate(y))
		inside, last = true, x
	}
	shut()
	return l.String(), a.String()
}

func coordinate(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

// values writes points evenly spaced over from..to, at most 300.
func values(points []point, from, to time.Time) string {
	if len(points) == 0 || !to.After(from) {
		return ""
	}
	slots := 1
	if n := len(points); n > 1 && points[n-1].at.After(points[0].at) {
		slots = min(1+int(float64(n-1)*float64(to.Sub(from))/float64(points[n-1].at.Sub(points[0].at))+0.5), 300)
	}
	texts := make([]string, slots)
	for _, p := range points {
		i := int(float64(slots-1)*float64(p.at.Sub(from))/float64(to.Sub(from)) + 0.5)
		if i >= 0 && i < slots && !math.IsNaN(p.value) {
			texts[i] = strconv.FormatFloat(p.value, 'g', 6, 64)
		}
	}
	return strings.Join(texts, ",")
}

// thin returns at most n points, each the greatest of those it stands for: a peak
// is what somebody looks for.
func thin(points []point, n int) []point {
	if len(points) <= n {
		return points
	}
	out := make([]point, 0, n)
	for i := range n {
		part := points[i*len(points)/n : (i+1)*len(points)/n]
		top := part[len(part)-1]
		top.value = math.NaN()
		for _, p := range part {
			if !math.IsNaN(p.value) && !(p.value <= top.value) {
				top.value = p.value
			}
		}
		out = append(out, top)
	}
	out[0].at = points[0].at
	return out
}

// known returns points from the first on whose value is known.
func known(points []point) []point {
	for i, p := range points {
		if !math.IsNaN(p.value) {
			return points[i:]
		}
	}
	return nil
}

func greatest(points []point) (top float64, known bool) {
	for _, p := range points {
		if !math.IsNaN(p.value) {
			top, known = max(top, p.value), true
		}
	}
	return top, known
}

// roundUp returns the least of 1, 2, 5 times a power of ten that is not less than v; 1 for 0.
func roundUp(v float64) float64 {
	if v <= 0 || math.IsInf(v, 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// A lane shows when one node led.
type lane struct {
	Node  string // "" for the lane of the time without a leader
	Now   bool   // it leads
	Share string // of the span: "42 %"
	SVG   template.HTML
}

// lanes draws one lane for each of nodes and each other that led, and, if there
// was a time without a leader, one more.
func lanes(reigns []reign, nodes []string, from, to time.Time) []lane {
	nodes = slices.Clone(nodes)
	for _, r := range reigns {
		if !slices.Contains(nodes, r.node) {
			nodes = append(nodes, r.node)
		}
	}
	slices.Sort(nodes)
	if len(nodes) > 0 && nodes[0] == "" {
		nodes = append(nodes[1:], "") // last
	}
	total := float64(to.Sub(from))
	out := make([]lane, 0, len(nodes))
	for _, node := range nodes {
		l := lane{Node: node}
		var led time.Duration
		var b strings.Builder
		fmt.Fprintf(&b, `<svg class="lane" viewBox="0 0 %d 14" preserveAspectRatio="none" aria-hidden="true"><rect class="bed" width="%[1]d" height="14"/>`, plotWidth)
		for _, r := range reigns {
			if r.node != node {
				continue
			}
			begin, end := r.from, r.to
			if end.IsZero() {
				end = to
			}
			if begin.Before(from) {
				begin = from
			}
			if !end.After(begin) {
				continue
			}
			led += end.Sub(begin)
			x := plotWidth * float64(begin.Sub(from)) / total
			// An election is short: a line that is too thin to see would say that there was none.
			width := max(plotWidth*float64(end.Sub(begin))/total, 1.5)
			fmt.Fprintf(&b, `<rect class="%s" x="%s" width="%s" height="14"><title>%s</title></rect>`,
				reignClass(node), coordinate(x), coordinate(width), template.HTMLEscapeString(reignText(r, to)))
		}
		b.WriteString("</svg>")
		l.Share = strconv.Itoa(int(math.Round(100*float64(led)/total))) + " %"
		l.SVG = template.HTML(b.String())
		out = append(out, l)
	}
	return out
}

func reignClass(node string) string {
	if node == "" {
		return "void"
	}
	return "reign"
}

func reignText(r reign, now time.Time) string {
	end, until := r.to, clock(r.to)+" UTC"
	if end.IsZero() {
		end, until = now, "now"
	}
	if r.node == "" {
		return fmt.Sprintf("no leader for %s, from %s to %s", span(end.Sub(r.from)), clock(r.from), until)
	}
	return fmt.Sprintf("%s led term %d for %s, from %s to %s", r.node, r.term, span(end.Sub(r.from)), clock(r.from), until)
}

// shares draws parts of a whole as one bar; classes name their colours.
func shares(parts []int64, classes ...string) template.HTML {
	var total int64
	for _, p := range parts {
		total += p
	}
	if total <= 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(`<svg class="shares" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">`)
	x := 0.0
	for i, p := range parts {
		width := 100 * float64(p) / float64(total)
		fmt.Fprintf(&b, `<rect class="%s" x="%s" width="%s" height="8"/>`, classes[i], coordinate(x), coordinate(width))
		x += width
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}
