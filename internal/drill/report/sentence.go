package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"nsqraft/internal/drill/history"
)

// sentence is the verdict in words that can be quoted: what it is, and the figures that
// matter most.
func sentence(r *Report, j *JSON) string {
	parts := []string{ruling(r)}
	if facts := facts(r, j); facts != "" {
		parts = append(parts, facts)
	}
	return strings.Join(parts, " ")
}

// ruling says what the verdict is, and names what it is for.
func ruling(r *Report) string {
	byStatus := make(map[history.Status][]string)
	tested := 0
	bySafety := slices.Clone(r.Claims) // safety first: it decides
	slices.SortStableFunc(bySafety, func(a, b history.Claim) int { return cmp.Compare(rank(a), rank(b)) })
	for _, c := range bySafety {
		byStatus[c.Status] = append(byStatus[c.Status], headline(c))
		if c.Status != history.NotTested {
			tested++
		}
	}
	switch r.ExitCode() {
	case exitViolated:
		n := len(byStatus[history.Violated])
		return fmt.Sprintf("Safety is violated: of %d claims that were tested %s, as “%s”.",
			tested, plural(n, "does not hold", "do not hold"), byStatus[history.Violated][0])
	case exitMissed:
		return fmt.Sprintf("No safety claim is violated, but %s.", missed(byStatus[history.Missed]))
	case exitInconclusive:
		if m := byStatus[history.Missed]; len(m) > 0 {
			return undecided(r, byStatus[history.Inconclusive]) + " What is certain is that " + missed(m) + "."
		}
		return undecided(r, byStatus[history.Inconclusive])
	}
	if r.Run.Header.Against == "stock" {
		return fmt.Sprintf("What stock NSQ promises holds: %s.", plural(tested, "claim", "claims"))
	}
	if tested == 1 {
		return "The claim that was tested holds."
	}
	return fmt.Sprintf("All %d claims that were tested hold.", tested)
}

// rank puts safety claims before the others.
func rank(c history.Claim) int {
	if c.Safety {
		return 0
	}
	return 1
}

// missed says which bounds were; there must be one.
func missed(bounds []string) string {
	return fmt.Sprintf("%s missed, as “%s”", plural(len(bounds), "availability bound was", "availability bounds were"), bounds[0])
}

// undecided says why the verdict is: claims are those that are inconclusive.
func undecided(r *Report, claims []string) string {
	switch {
	case r.Run.Header.Interrupted:
		return "Interrupted: nothing unsafe was seen until then."
	case r.Broken != "":
		return "Inconclusive: the run itself ended badly, and nothing unsafe was seen until then."
	case len(claims) == 0:
		return "Inconclusive: no claim was tested."
	}
	return fmt.Sprintf("Inconclusive: nothing unsafe was seen, but %s could not be decided, as “%s”.", plural(len(claims), "claim", "claims"), claims[0])
}

// headline is what a claim is about, in few words.
func headline(c history.Claim) string {
	text := strings.TrimSuffix(oneLine(c.Title), ".")
	if strings.HasPrefix(c.ID, "drill/") {
		return strings.TrimSuffix(title(c), ".")
	}
	before, _, _ := strings.Cut(text, ":")
	return before
}

// facts are what was done, and what clients saw of it.
func facts(r *Report, j *JSON) string {
	if len(j.Episodes) == 0 {
		return "Nothing was broken."
	}
	var seen []string
	if s := gaps(j); s != "" {
		seen = append(seen, s)
	}
	if made, failed := lookups(j); made > 0 {
		seen = append(seen, fmt.Sprintf("%s of %s lookups failed on nodes that were up", count(failed), count(made)))
		if m := j.Missing; m.Lookups > 0 {
			seen = append(seen, fmt.Sprintf("%s an nsqd that was alive, for up to %s", plural(m.Lookups, "answer lacked", "answers lacked"), short(m.Longest)))
			if m.Empty > 0 {
				seen[len(seen)-1] += fmt.Sprintf(", and %s no nsqd at all", plural(m.Empty, "of them named", "of them named"))
			}
		} else {
			seen = append(seen, "none lacked an nsqd that was alive")
		}
	}
	seen = append(seen, lost(r, "registry/no-lost-registration", acknowledged(j, history.Register), "acknowledged registrations")...)
	seen = append(seen, lost(r, "messages/delivered", acknowledged(j, history.Publish), "acknowledged messages")...)
	what := fmt.Sprintf("%s broke the cluster %s in %s", plural(len(j.Drills), "drill", "drills"), plural(len(j.Episodes), "time", "times"), short(j.Run.Length))
	if len(j.Drills) == 1 {
		what = fmt.Sprintf("%s, %s", oneLine(j.Drills[0].Name), plural(j.Drills[0].Times, "time", "times"))
	}
	return what + ": " + strings.Join(seen, "; ") + "."
}

// stockFacts are what the baseline came to; there must be one.
func (r *Report) stockFacts() string {
	s := facts(r.Baseline, r.document().Baseline)
	if r.Baseline.Broken != "" {
		s += " That run ended badly: " + oneLine(r.Baseline.Broken) + "."
	}
	return s
}

// gaps says how long there was no write: of drills that leave a majority, and after the
// end of those that do not.
func gaps(j *JSON) string {
	longest, back := "", ""
	most, latest := -1.0, -1.0
	for _, d := range j.Drills {
		switch {
		case !leavesMajority(d.Name):
			if d.Recovery.Count > 0 && d.Recovery.Max > latest {
				latest, back = d.Recovery.Max, fmt.Sprintf("after the loss of all or most nodes writes were back within %s", short(d.Recovery.Max))
			}
		case d.WriteGap.Max > most && d.Writes > 0:
			most, longest = d.WriteGap.Max, fmt.Sprintf("the longest time without a write was %s (%s)", short(d.WriteGap.Max), oneLine(d.Name))
			if len(j.Drills) == 1 && d.Times > 1 {
				longest = fmt.Sprintf("no write for %s in the median, %s at worst", short(d.WriteGap.P50), short(d.WriteGap.Max))
			}
		}
	}
	if longest != "" && back != "" {
		return longest + "; " + back
	}
	return longest + back
}

func lookups(j *JSON) (made, failed int) {
	for _, c := range j.Calls {
		if c.Class == "lookup" {
			made += c.OK + c.Reachable
			failed += c.Reachable
		}
	}
	return made, failed
}

// acknowledged counts the calls of a kind that were.
func acknowledged(j *JSON, kind history.Kind) (n int) {
	for _, c := range j.Calls {
		if c.Class == string(kind) {
			n += c.OK
		}
	}
	return n
}

// lost says whether any of n things was, as the claim id has it; nothing if it was not
// tested.
func lost(r *Report, id string, n int, things string) []string {
	for _, c := range r.Claims {
		switch {
		case c.ID != id || n == 0:
		case c.Status == history.Holds && c.Stated > 0:
			return []string{fmt.Sprintf("none of %s %s was lost but for what a killed nsqd had in memory (%s)", count(n), things, plural(c.Stated, "delivery", "deliveries"))}
		case c.Status == history.Holds:
			return []string{fmt.Sprintf("none of %s %s was lost", count(n), things)}
		case c.Status == history.Violated:
			return []string{fmt.Sprintf("of %s %s some were lost", count(n), things)}
		}
	}
	return nil
}
