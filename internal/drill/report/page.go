package report

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"time"

	"nsqraft/internal/drill/history"
)

//go:embed report.tmpl
var pageText string

//go:embed report.css
var pageStyle string

var pageTemplate = template.Must(template.New("report").Parse(pageText))

const (
	// mostEpisodes is how many rows their table has, and mostCloseups how many drills
	// are drawn of their own.
	mostEpisodes = 250
	mostCloseups = 40
)

// A page is report.html.
type page struct {
	Style      template.CSS
	Title      string
	Run        Conditions
	Started    string
	Verdict    mark
	Ruling     string
	Facts      string
	Broken     string
	Stock      string // the sentence of the baseline; "": there is none
	Cards      []card
	Violations []violation // of what does not hold
	Undecided  []violation // of what is inconclusive
	Timeline   template.HTML
	Legend     []key
	StockLine  template.HTML // timeline of the baseline
	Closeups   []closeup
	Compared   []comparison // with the baseline
	Caveats    []string
	Five       [5]struct{} // figures that are compared
	Drills     []drillRow
	Groups     []group
	Episodes   []episodeRow
	LeftOut    int // episodes that are not in the table
	Calls      []callRow
	Changes    []Change
	Skipped    []pair
	Conditions []pair
	Command    string
	Files      []file
}

// A mark is a status as an icon, a colour and a word.
type mark struct {
	Class string // ok, bad, warn, info, off: of the colour and the icon
	Word  string
}

type pair struct{ Name, Value string }

type card struct{ Label, Value, Note, Class string }

// A closeup is the episode of a drill that cost most.
type closeup struct {
	Drill, What string
	Picture     template.HTML
}

func (r *Report) html() ([]byte, error) {
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, r.page())
	return b.Bytes(), err
}

func (r *Report) page() *page {
	j := r.document()
	scene := newScene(r.Run, j.Episodes)
	p := &page{
		Style: template.CSS(pageStyle), Title: "nsqdrill " + oneLine(j.Run.ID), Run: j.Run,
		Verdict: verdictMark(j.Verdict.ExitCode), Ruling: ruling(r), Facts: facts(r, j), Broken: plain(r.Broken),
		Cards: cards(j), Violations: r.violations(scene),
		Timeline: scene.timeline(window{0, r.Run.Header.Length}), Legend: legend(scene.led), Files: r.files,
		Closeups: closeups(scene), Drills: drillRows(j), Groups: groups(j),
		Calls: callRows(j), Skipped: pairs(j.Run.Skipped), Conditions: conditionPairs(j), Command: plain(j.Run.Command),
	}
	if !j.Run.Started.IsZero() {
		p.Started = j.Run.Started.UTC().Format("2 January 2006, 15:04:05 UTC")
	}
	for i, v := range p.Violations {
		if len(v.Told) == 0 && v.Word == statusMark(history.Inconclusive).Word {
			p.Violations, p.Undecided = p.Violations[:i], p.Violations[i:] // they are the last
			break
		}
	}
	p.Episodes, p.LeftOut = episodeRows(j.Episodes)
	for _, c := range j.Changes {
		c.Subject = oneLine(c.Subject)
		p.Changes = append(p.Changes, c)
	}
	if b := r.Baseline; b != nil {
		p.Stock, p.Compared, p.Caveats = r.stockFacts(), comparisons(j), caveats(j)
		p.StockLine = newScene(b.Run, j.Baseline.Episodes).timeline(window{0, b.Run.Header.Length})
	}
	return p
}

func verdictMark(exit int) mark {
	return [...]mark{
		exitHolds:        {"ok", "All claims hold"},
		exitViolated:     {"bad", "Safety violated"},
		exitMissed:       {"warn", "Availability bound missed"},
		exitInconclusive: {"info", "Inconclusive"},
	}[exit]
}

func statusMark(s history.Status) mark {
	switch s {
	case history.Holds:
		return mark{"ok", "holds"}
	case history.Violated:
		return mark{"bad", "violated"}
	case history.Missed:
		return mark{"warn", "missed"}
	case history.Inconclusive:
		return mark{"info", "inconclusive"}
	}
	return mark{"off", oneLine(string(s))}
}

// closeups draws the episode of each drill that cost most, by the names of the drills.
func closeups(s *scene) []closeup {
	worst := make(map[string]Episode)
	for _, ep := range s.episodes {
		if old, ok := worst[ep.Drill]; !ok || cost(ep) > cost(old) {
			worst[ep.Drill] = ep
		}
	}
	names := slices.Sorted(maps.Keys(worst))
	var all []closeup
	for _, name := range names[:min(len(names), mostCloseups)] {
		ep := worst[name]
		what := fmt.Sprintf("%s %s at %s: no write for %s", oneLine(ep.Kind), oneLine(ep.Target), at(ep.Begin), short(ep.WriteGap))
		if ep.LookupsFailed > 0 {
			what += fmt.Sprintf(", %s failed", plural(ep.LookupsFailed, "lookup", "lookups"))
		}
		all = append(all, closeup{Drill: oneLine(name), What: what, Picture: s.closeup(ep)})
	}
	return all
}

// closeup draws an episode, from a second before it to two after it, at most a minute.
func (s *scene) closeup(ep Episode) template.HTML {
	end := s.run.Header.Length
	if ep.Healed > 0 {
		end = min(end, dur(max(ep.Healed, ep.End))+2*time.Second)
	}
	begin := max(0, dur(ep.Begin)-time.Second)
	return s.timeline(window{begin, min(end, begin+time.Minute)})
}

// cost orders episodes: one with lookups that failed costs more than any without.
func cost(ep Episode) float64 { return ep.WriteGap + 1000*float64(ep.LookupsFailed) }

// cards are the figures that most people look for.
func cards(j *JSON) []card {
	made, failed := lookups(j)
	cards := []card{
		{Label: "Broken", Value: count(len(j.Episodes)), Note: fmt.Sprintf("times, by %s", plural(len(j.Drills), "drill", "drills"))},
		{Label: "Lookups failed", Value: count(failed), Note: fmt.Sprintf("of %s on nodes that were up", count(made)), Class: ifBad(failed > 0, "warn")},
	}
	lacking := card{Label: "Lookups incomplete", Value: count(j.Missing.Lookups), Note: "lacked an nsqd that was alive"}
	if j.Missing.Lookups > 0 {
		lacking.Class, lacking.Note = "warn", lacking.Note+", for up to "+short(j.Missing.Longest)
	}
	cards = append(cards, lacking)
	if b := j.Baseline; b != nil {
		stock := card{Label: "Incomplete with stock", Value: count(b.Missing.Lookups), Note: "under the same drills"}
		if b.Missing.Lookups > 0 {
			stock.Note += ", for up to " + short(b.Missing.Longest)
		}
		cards = append(cards, stock)
	}
	longest, none := Drill{}, Episode{}
	for _, d := range j.Drills {
		if leavesMajority(d.Name) && d.WriteGap.Max > longest.WriteGap.Max {
			longest = d
		}
	}
	for _, ep := range j.Episodes {
		if leavesMajority(ep.Drill) && ep.NoLeader > none.NoLeader {
			none = ep
		}
	}
	cards = append(cards, card{Label: "Longest without a write", Value: short(longest.WriteGap.Max), Note: cmp.Or(oneLine(longest.Name), "while a majority was up")})
	if len(j.Leaders) > 0 {
		cards = append(cards, card{Label: "Longest without a leader", Value: short(none.NoLeader), Note: cmp.Or(oneLine(none.Drill), "while a majority was up")})
	}
	for _, x := range []struct {
		kind      history.Kind
		id, label string
	}{{history.Register, "registry/no-lost-registration", "Registrations lost"}, {history.Publish, "messages/delivered", "Messages lost"}} {
		for _, c := range j.Claims {
			n := acknowledged(j, x.kind)
			if c.ID != x.id || n == 0 {
				continue
			}
			card := card{Label: x.label, Value: "0", Note: fmt.Sprintf("of %s acknowledged", count(n))}
			switch c.Status {
			case history.Violated:
				card.Value, card.Class = count(len(c.Violations)), "bad"
				if len(c.Violations) >= 20 {
					card.Value += " +"
				}
			case history.Inconclusive, history.NotTested:
				card.Value, card.Note = nothing, oneLine(string(c.Status))
			}
			cards = append(cards, card)
		}
	}
	return cards
}

// leavesMajority says whether a drill is one in which writes are to go on: nothing is
// promised of how long they stop in the others.
func leavesMajority(drill string) bool {
	b, ok := history.BoundOf(drill)
	return !ok || b.WriteGap > 0
}

func ifBad(is bool, class string) string {
	if is {
		return class
	}
	return ""
}

// pairs returns a map by its names.
func pairs(m map[string]string) []pair {
	var all []pair
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, pair{oneLine(name), oneLine(m[name])})
	}
	return all
}

// conditionPairs are the conditions of the run, those that matter to who repeats it.
func conditionPairs(j *JSON) []pair {
	c := j.Run
	all := []pair{
		{"Cluster", fmt.Sprintf("%s, %s, %s", map[string]string{"stock": "stock NSQ", "ours": "nsqraft"}[c.Against], plural(len(c.Nodes), "nsqlookupd", "nsqlookupds"), plural(len(c.NSQDs), "nsqd", "nsqds"))},
		{"Environment", oneLine(c.Env)},
		{"Profile", cmp.Or(oneLine(c.Profile), "drills by name")},
		{"Seed", fmt.Sprint(c.Seed)},
		{"Began", c.Started.UTC().Format(time.RFC3339)},
		{"Length", fmt.Sprintf("%s, the last reads from %s on", short(c.Length), short(c.Quiet))},
		{"Time scale", fmt.Sprint(c.TimeScale)},
		{"Session grace", short(c.Grace)},
		{"Inactive timeout", short(c.Inactive)},
		{"Tombstone lifetime", short(c.Tombstone)},
	}
	if c.Dropped > 0 {
		all = append(all, pair{"Not recorded", count(int(c.Dropped)) + " ops"})
	}
	for _, p := range pairs(c.Versions) {
		all = append(all, pair{"Version of " + p.Name, p.Value})
	}
	for _, p := range pairs(c.Machine) {
		all = append(all, pair{"Machine: " + p.Name, p.Value})
	}
	return all
}
