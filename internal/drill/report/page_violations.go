package report

import (
	"cmp"
	"html/template"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nsqraft/internal/drill/history"
)

const (
	// mostTold is how many violations of a claim are told, and mostExcerpts for how
	// many of those of the whole report it is shown what was seen.
	mostTold     = 5
	mostExcerpts = 12
)

// A violation is a claim that does not hold, or is inconclusive, with what is known.
type violation struct {
	mark
	ID, Title, Bound, Observed, Evidence, Picture string
	Told                                          []told
	More                                          int    // violations that are not told here
	Again                                         string // command that may show it again; "": it is not known
}

// What is told has the calls that it speaks of, or else a picture of the episode.
type told struct {
	Text    string
	Excerpt *excerpt
	Open    bool // the excerpt is shown without being asked for
	Picture template.HTML
}

// violations returns the claims that do not hold, the gravest first. With a scene they
// have excerpts and pictures, mostExcerpts at most.
func (r *Report) violations(s *scene) []violation {
	claims := slices.DeleteFunc(slices.Clone(r.Claims), func(c history.Claim) bool { return gravity(c.Status) < gravity(history.Inconclusive) })
	slices.SortStableFunc(claims, func(a, b history.Claim) int { return cmp.Compare(gravity(b.Status), gravity(a.Status)) })
	show := &shower{scene: s, dir: r.Dir}
	var all []violation
	for _, c := range claims {
		v := violation{mark: statusMark(c.Status), ID: oneLine(c.ID), Title: title(c), Bound: measured(c.Bound),
			Observed: measured(c.Observed), Evidence: counted(c.Evidence), Picture: c.Picture, Again: again(r.Run, drillOf(r.Run, c))}
		for i, text := range c.Violations {
			if i == mostTold {
				v.More = len(c.Violations) - mostTold
				break
			}
			t := told{Text: plain(text)}
			if s != nil && i < 2 {
				show.what(&t, text, strings.HasPrefix(c.ID, "cluster/"))
				t.Open = i == 0 && c.Status == history.Violated
			}
			v.Told = append(v.Told, t)
		}
		all = append(all, v)
	}
	return all
}

// A shower adds to violations what was seen.
type shower struct {
	*scene
	dir    string // of the run
	finder *finder
	shown  int
	drawn  map[int]bool // episodes, by their first fault
}

// faultNumber finds the fault that a sentence of a checker names.
var faultNumber = regexp.MustCompile(`\bfault (\d+)`)

// what adds the calls that text speaks of, or a picture of the episode that it names,
// each episode once.
func (s *shower) what(t *told, text string, cluster bool) {
	if s.shown >= mostExcerpts {
		return
	}
	if s.finder == nil {
		s.finder, s.drawn = newFinder(s.run, newNodeLogs(s.dir, s.run.Header.Started)), make(map[int]bool)
	}
	if t.Excerpt = s.finder.about(text, cluster); t.Excerpt != nil {
		s.shown++
		return
	}
	found := faultNumber.FindStringSubmatch(text)
	if found == nil {
		return
	}
	id, err := strconv.Atoi(found[1])
	i := slices.IndexFunc(s.episodes, func(ep Episode) bool { return slices.Contains(ep.Faults, id) })
	if err != nil || i < 0 || s.drawn[s.episodes[i].Fault] {
		return
	}
	s.drawn[s.episodes[i].Fault] = true
	s.shown++
	t.Picture = s.closeup(s.episodes[i])
}

// title returns what is claimed, with the drill that it is claimed of.
func title(c history.Claim) string {
	if of, ok := strings.CutPrefix(c.ID, "drill/"); ok {
		drill, _, _ := strings.Cut(of, "/")
		return oneLine(drill + ": " + c.Title)
	}
	return oneLine(c.Title)
}
