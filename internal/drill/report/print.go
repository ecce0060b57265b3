package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"nsqraft/internal/drill/history"
)

// Print writes the verdict for a terminal: the claims, what was not made and why, and
// the sentence, last, where it is seen.
func (r *Report) Print(w io.Writer) {
	j := r.document()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Claims {
		text := measured(cmp.Or(c.Observed, c.Evidence))
		if c.Status == history.NotTested || c.Status == history.Inconclusive {
			text = counted(c.Evidence)
		}
		if c.Bound != "" {
			text += " (" + measured(c.Bound) + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", statusMark(c.Status).Word, oneLine(c.ID), cut(oneLine(text), 100))
	}
	table.Flush()
	for _, v := range r.violations(nil) {
		if len(v.Told) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s: %s\n", v.Word, v.Title)
		for _, t := range v.Told {
			fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(t.Text, "\n", "\n  "))
		}
		if v.More > 0 {
			fmt.Fprintf(w, "  and %d more\n", v.More)
		}
		if v.Again != "" {
			fmt.Fprintf(w, "  try: %s\n", v.Again)
		}
	}
	if skipped := pairs(j.Run.Skipped); len(skipped) > 0 {
		fmt.Fprintln(w, "\nNot made:")
		for _, p := range skipped {
			fmt.Fprintf(w, "  %s: %s\n", p.Name, p.Value)
		}
	}
	if r.Broken != "" {
		fmt.Fprintf(w, "\nThe run itself ended badly: %s\n", plain(r.Broken))
	}
	if r.Baseline != nil {
		fmt.Fprintf(w, "\nStock NSQ, under the same drills and seed: %s\n", r.stockFacts())
	}
	fmt.Fprintf(w, "\n%s\n", j.Verdict.Sentence)
	if j.Run.Command != "" {
		fmt.Fprintf(w, "The same again: %s\n", oneLine(j.Run.Command))
	}
}
