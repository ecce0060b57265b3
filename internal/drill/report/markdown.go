package report

import (
	"fmt"
	"html"
	"strings"

	"nsqraft/internal/drill/history"
)

// md escapes a text of a history for a table of Markdown.
func md(s string) string {
	s = html.EscapeString(oneLine(s))
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "~", `\~`).Replace(s)
}

func (r *Report) markdown() ([]byte, error) {
	j := r.document()
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("# %s\n\n%s\n", verdictMark(j.Verdict.ExitCode).Word, md(j.Verdict.Sentence))
	if r.Broken != "" {
		say("The run itself ended badly: %s\n", md(r.Broken))
	}
	if r.Baseline != nil {
		say("Stock NSQ, under the same drills and seed: %s\n", md(r.stockFacts()))
	}
	b.WriteString(stockTable(j))
	b.WriteString(drillTable(j))
	say("## Claims\n\n| | claim | observed | bound | evidence |\n|---|---|---|---|---|")
	for _, c := range r.Claims {
		if strings.HasPrefix(c.ID, "drill/") && c.Status != history.Violated && c.Status != history.Missed && c.Status != history.Inconclusive {
			continue // in the table of drills
		}
		say("| %s | %s | %s | %s | %s |", md(statusMark(c.Status).Word), md(title(c)), md(measured(c.Observed)), md(measured(c.Bound)), md(counted(c.Evidence)))
	}
	for _, v := range r.violations(nil) {
		if len(v.Told) == 0 {
			continue
		}
		say("\n### %s: %s\n", v.Word, md(v.ID))
		for _, t := range v.Told {
			say("- %s", md(t.Text))
		}
	}
	if len(j.Run.Skipped) > 0 {
		say("\n## Not made\n")
		for _, p := range pairs(j.Run.Skipped) {
			say("- %s: %s", md(p.Name), md(p.Value))
		}
	}
	say("\n## Conditions\n")
	for _, p := range conditionPairs(j) {
		say("- %s: %s", md(p.Name), md(p.Value))
	}
	if j.Run.Command != "" {
		say("\nThe same again:\n\n    %s", oneLine(j.Run.Command))
	}
	return []byte(b.String()), nil
}

// drillTable is the table of drills.
func drillTable(j *JSON) string {
	rows := drillRows(j)
	if len(rows) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("## Drills\n\n| drill | times | no write for | bound | writes back after | new leaders | lookups failed | lookups lacked a live nsqd |")
	line := "|---|--:|--:|--:|--:|--:|--:|--:|"
	b.WriteString("\n" + line + "\n")
	text := func(c cell) string { return md(strings.TrimSpace(c.Value + " " + c.More)) }
	for _, d := range rows {
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s | %s |", md(d.Name), d.Times, text(d.Writes), md(d.Writes.Bound), text(d.Recovery), text(d.Leaders), text(d.Lookups), d.LookupsLacking)
		b.WriteByte('\n')
	}
	return b.String() + "\n"
}

// stockTable sets the drills beside those of the baseline, if there is one.
func stockTable(j *JSON) string {
	if j.Baseline == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString("## Beside stock NSQ\n\n| drill | hit | answers that lacked a live nsqd: ours | stock | for up to: ours | stock | no write for: ours | stock |\n|---|---|--:|--:|--:|--:|--:|--:|\n")
	for _, c := range comparisons(j) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", md(c.Drill), md(c.Targets),
			c.Ours.Lacking, c.Stock.Lacking, c.Ours.LackingFor, c.Stock.LackingFor, c.Ours.Writes, c.Stock.Writes)
	}
	b.WriteByte('\n')
	for _, text := range caveats(j) {
		fmt.Fprintf(&b, "- %s\n", md(text))
	}
	return b.String() + "\n"
}
