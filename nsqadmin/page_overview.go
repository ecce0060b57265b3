package nsqadmin

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"slices"
	"time"

	"nsqraft/internal/clusterinfo"
)

type overview struct {
	Cards  []card
	Needs  []problem
	Hidden int      // problems that are not listed
	All    []places // where each of Needs and Hidden is
	Least  float64  // growth per second, of the topics in Top
	Top    []ranked // by growth
	Busy   []ranked // by messages published
	Plots  []*plot
	Events []*event
	Empty  bool          // there is no topic yet
	Over   time.Duration // of growth
}

// A places leads to a page with things that need somebody.
type places struct {
	Text, Page, Query string
}

// whereabouts returns the pages that list what the problems are about.
func whereabouts(problems []problem) (out []places) {
	for _, place := range []places{{"topics", "topics", "?f=attention"}, {"nsqds", "nodes", "?sort=state"}, {"the cluster", "cluster", ""}, {"nsqlookupds", "lookup", ""}} {
		if slices.ContainsFunc(problems, func(p problem) bool { return len(p.Path) > 0 && p.Path[0] == place.Page }) {
			out = append(out, place)
		}
	}
	return out
}

// leastGrowth is what a topic grows by, in messages/s, to be among the fastest growing.
const leastGrowth = 0.5

// A card is one number that somebody looks at first.
type card struct {
	Label, Value, Unit string
	Note               string // below it
	Level              level  // "": no judgement
	Path               []string
}

// A ranked is a topic in a list of those with most of something.
type ranked struct {
	*judged
	Growth, Pub, Fin float64
	Spark            template.HTML
}

func (p *pages) overview(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.src.view()
	verdict := p.judge.look(p.src, v)
	o := &overview{
		Cards: p.cards(v), Events: p.src.events(10, nil), Empty: len(v.Topics) == 0,
		Plots: p.plots(key{}, 10*time.Minute), Needs: verdict.Problems, Over: p.known(growthSpan), Least: leastGrowth,
	}
	const most = 8
	if len(o.Needs) > most {
		o.All = whereabouts(o.Needs)
		o.Needs, o.Hidden = o.Needs[:most], len(o.Needs)-most
	}
	o.Top = p.rank(verdict, 10, leastGrowth, depth, "depth", func(t *judged) float64 { return t.growth })
	o.Busy = p.rank(verdict, 8, 0.005, published, "pub", func(t *judged) float64 { return t.pub })
	return &page{Template: "overview", Title: "Overview", Nav: "overview", JSON: "/api/overview", Data: o}, nil
}

// State is that of the topic, as in the list of all.
func (r ranked) State() status { return ofWhole(r.judged) }

// plots are the charts of one topic, channel, or everything.
func (p *pages) plots(k key, span time.Duration) []*plot {
	to := p.now()
	from := to.Add(-span)
	return []*plot{
		newPlot("Published", "/s", "pub", p.src.series(k, published, span), from, to),
		newPlot("Finished", "/s", "fin", p.src.series(k, finished, span), from, to),
		newPlot("Depth", "", "depth", p.src.series(k, depth, span), from, to),
	}
}

// rank returns the n topics with the greatest value, those with less than least left
// out, with a line of how m has gone.
func (p *pages) rank(w *verdict, n int, least float64, m metric, class string, value func(*judged) float64) []ranked {
	var top []*judged
	for i := range w.topics {
		if t := &w.topics[i]; value(t) >= least {
			top = append(top, t)
		}
	}
	slices.SortStableFunc(top, func(a, b *judged) int { return cmp.Compare(value(b), value(a)) })
	top = top[:min(len(top), n)]
	out := make([]ranked, len(top))
	for i, t := range top {
		out[i] = ranked{t, t.growth, t.pub, t.fin, spark(class, p.src.series(key{topic: t.Name}, m, 10*time.Minute))}
	}
	return out
}

// known is how much of the last length there is history of.
func (p *pages) known(length time.Duration) time.Duration {
	if points := known(p.src.series(key{}, depth, length)); len(points) > 0 {
		return min(length, p.now().Sub(points[0].at).Round(time.Second))
	}
	return length
}

func (p *pages) cards(v *clusterinfo.View) []card {
	var deep, flying, consumers int64
	stale := 0
	by := map[clusterinfo.State]int{}
	for _, n := range v.Nodes {
		if !n.GoneSince.IsZero() {
			continue
		}
		deep, flying, consumers = deep+n.Depth, flying+n.InFlight, consumers+n.Clients
		by[n.State]++
		if n.Stale() {
			stale++
		}
	}
	nodes := by[clusterinfo.Up] + by[clusterinfo.Suspect] + by[clusterinfo.Down] + by[clusterinfo.Draining] + by[clusterinfo.Unknown]
	of := ""
	if stale > 0 {
		of = fmt.Sprintf("%d of %d nsqds answer", nodes-stale, nodes)
	}
	rateOf := func(m metric) string {
		if x, ok := p.src.latest(key{}, m); ok {
			return perSecond(x)
		}
		return unknown
	}
	grown := ""
	if g, ok := p.src.growth(key{}, growthSpan); ok && math.Abs(g) >= 0.005 {
		grown = signed(g) + "/s over " + span(p.known(growthSpan))
	}
	if of != "" {
		grown = of
	}
	cards := []card{
		{Label: "Published", Value: rateOf(published), Unit: "/s", Note: of},
		{Label: "Finished", Value: rateOf(finished), Unit: "/s", Note: of},
		{Label: "Depth", Value: short(float64(deep)), Note: grown, Path: []string{"topics"}},
		{Label: "In flight", Value: short(float64(flying)), Note: of},
		{Label: "Consumers", Value: short(float64(consumers)), Note: of},
		nodeCard(by, nodes),
	}
	return append(cards, lookupCard(v))
}

func nodeCard(by map[clusterinfo.State]int, nodes int) card {
	c := card{Label: "nsqds up", Value: integer(by[clusterinfo.Up]), Unit: " of " + integer(nodes), Level: good, Path: []string{"nodes"}}
	var notes []string
	for _, s := range []clusterinfo.State{clusterinfo.Down, clusterinfo.Suspect, clusterinfo.Draining, clusterinfo.Unknown} {
		if by[s] > 0 {
			notes = append(notes, fmt.Sprintf("%d %s", by[s], s))
		}
	}
	c.Note = list(notes)
	switch {
	case by[clusterinfo.Down] > 0:
		c.Level = bad
	case by[clusterinfo.Suspect] > 0:
		c.Level = caution
	case nodes == 0:
		c.Level = neutral
	}
	return c
}

func lookupCard(v *clusterinfo.View) card {
	if c, _ := v.Cluster(); c != nil && c.Role != "alone" {
		out := card{Label: "Can lose", Value: integer(max(0, c.FailureTolerance)), Unit: " more", Level: good, Path: []string{"cluster"}}
		healthy := 0
		for _, m := range c.Members {
			if m.Voter && m.Healthy {
				healthy++
			}
		}
		out.Note = fmt.Sprintf("%d of %d voters healthy", healthy, c.Voters)
		switch {
		case c.Leader == "":
			out.Level, out.Note = bad, "no leader"
		case c.FailureTolerance < 0:
			out.Level = bad
		case c.FailureTolerance == 0 && c.Voters > 2:
			out.Level = caution
		}
		return out
	}
	up := 0
	for _, l := range v.Lookupds {
		if l.State == clusterinfo.Up {
			up++
		}
	}
	out := card{Label: "nsqlookupds up", Value: integer(up), Unit: " of " + integer(len(v.Lookupds)), Level: good, Path: []string{"lookup"}}
	switch {
	case len(v.Lookupds) == 0:
		out.Level, out.Note = neutral, "none is asked"
	case up == 0:
		out.Level = bad
	case up < len(v.Lookupds):
		out.Level = caution
	}
	return out
}
