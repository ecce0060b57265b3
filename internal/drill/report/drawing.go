package report

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// A drawing is an SVG under way. Colours come from the classes of the page's stylesheet.
// Texts are escaped by it.
type drawing struct{ b strings.Builder }

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(&d.b, format, args...) }

// coordinate writes a number with a tenth of a pixel.
func coordinate(v float64) string {
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

// rect draws a rectangle. title, if any, is shown when the pointer is over it.
func (d *drawing) rect(class string, x, y, width, height float64, title string) {
	d.printf(`<rect class="%s" x="%s" y="%s" width="%s" height="%s"`, class, coordinate(x), coordinate(y), coordinate(width), coordinate(height))
	if title == "" {
		d.printf("/>")
		return
	}
	d.printf("><title>%s</title></rect>", template.HTMLEscapeString(title))
}

// text writes s; anchor is start, middle or end.
func (d *drawing) text(class, anchor string, x, y float64, s string) {
	d.printf(`<text class="%s" text-anchor="%s" x="%s" y="%s">%s</text>`, class, anchor, coordinate(x), coordinate(y), template.HTMLEscapeString(s))
}

// path draws what is in shape, if anything.
func (d *drawing) path(class, shape string) {
	if shape != "" {
		d.printf(`<path class="%s" d="%s"/>`, class, shape)
	}
}

// svg returns the picture. label is for who cannot see it.
func (d *drawing) svg(width, height float64, label string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="timeline" viewBox="0 0 %s %s" role="img" aria-label="%s">%s</svg>`,
		coordinate(width), coordinate(height), template.HTMLEscapeString(label), d.b.String()))
}

// runs calls f with each stretch of equal values: all[from:to] are value.
func runs[T comparable](all []T, f func(from, to int, value T)) {
	for from := 0; from < len(all); {
		to := from + 1
		for to < len(all) && all[to] == all[from] {
			to++
		}
		f(from, to, all[from])
		from = to
	}
}

// leastWidth is that of what must be seen however short it was.
const leastWidth = 1.6

// A part of a strip's height, from its top.
type part struct{ from, height float64 }

// forms are how a state looks without its colour: the worse, the taller. A node that is
// down is hollow, and what is lacking leaves a gap.
var forms = map[state][]part{
	waiting: {{0.75, 0.25}},
	fine:    {{0.5, 0.5}},
	aged:    {{0.25, 0.75}},
	lacking: {{0, 0.375}, {0.625, 0.375}},
	offline: {{0, 1.0 / 6}, {5.0 / 6, 1.0 / 6}},
	failing: {{0, 1}},
}

// strips returns a shape for each state but silent: its form where it was.
func strips(all []state, x, y, width, height float64) map[state]string {
	shapes := make(map[state]*strings.Builder)
	step := width / float64(len(all))
	runs(all, func(from, to int, s state) {
		if s == silent {
			return
		}
		b := shapes[s]
		if b == nil {
			b = new(strings.Builder)
			shapes[s] = b
		}
		w := step * float64(to-from)
		if s != fine {
			w = max(w, leastWidth)
		}
		left := min(x+step*float64(from), x+width-w)
		for _, p := range forms[s] {
			fmt.Fprintf(b, "M%s %sh%sv%sh-%[3]sz", coordinate(left), coordinate(y+p.from*height), coordinate(w), coordinate(p.height*height))
		}
	})
	out := make(map[state]string, len(shapes))
	for s, b := range shapes {
		out[s] = b.String()
	}
	return out
}

// curve returns a line through points, which are evenly spread over the width; scale
// turns a value into a share of the height. A value of 0 leaves a gap; a single point
// between two gaps is a dash.
func curve(points []float64, x, y, width, height float64, scale func(float64) float64) string {
	var b strings.Builder
	step := width / float64(len(points))
	inside := false
	for i, v := range points {
		if v == 0 {
			inside = false
			continue
		}
		px, py := coordinate(x+step*(float64(i)+0.5)), coordinate(y+height*(1-scale(v)))
		switch {
		case inside:
			fmt.Fprintf(&b, "L%s %s", px, py)
		case i+1 == len(points) || points[i+1] == 0:
			fmt.Fprintf(&b, "M%s %sh%s", px, py, coordinate(max(step/2, 1)))
		default:
			fmt.Fprintf(&b, "M%s %s", px, py)
		}
		inside = true
	}
	return b.String()
}

// logarithmic places seconds between 0.1 ms and 10 s.
func logarithmic(seconds float64) float64 {
	return min(max((math.Log10(seconds)+4)/5, 0), 1)
}

// linear places values between 0 and top.
func linear(top float64) func(float64) float64 {
	return func(v float64) float64 { return min(max(v/top, 0), 1) }
}

// roundUp returns the least of 1, 2, 5 times a power of ten that is not less than v; 1
// for 0.
func roundUp(v float64) float64 {
	if v <= 0 || math.IsInf(v, 0) || math.IsNaN(v) {
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
