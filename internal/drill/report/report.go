package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"nsqraft/internal/drill/history"
)

// A Report is a run with what was found, ready to be written. It is not modified after
// the first call of a method, and is for one goroutine.
type Report struct {
	Run      *history.Run
	Claims   []history.Claim
	Baseline *Report // the same drills against stock; nil: none
	Previous *JSON   // the last run in the same folder; nil: none
	Broken   string  // why the run itself ended badly; "": it did not
	Dir      string  // of the run, with its history and the logs of its nodes

	doc   *JSON  // once it is made
	files []file // beside the report, once it is known where that goes
}

// Exit codes of a verdict.
const (
	exitHolds        = 0
	exitViolated     = 1
	exitMissed       = 2
	exitInconclusive = 3
)

// ExitCode is that of the verdict: 0 all claims hold, 1 safety violated, 2 safe but
// slower than promised, 3 inconclusive. A violation is one although another checker ran
// out of time. A bound that was missed is only that if all else is known to be safe: a
// run that ended badly, in which a safety claim could not be decided, or in which no
// claim was tested is inconclusive.
func (r *Report) ExitCode() int {
	count := make(map[history.Status]int)
	undecided := false // of a safety claim
	for _, c := range r.Claims {
		count[c.Status]++
		undecided = undecided || c.Safety && c.Status == history.Inconclusive
	}
	switch {
	case count[history.Violated] > 0:
		return exitViolated
	case undecided || r.Broken != "":
		return exitInconclusive
	case count[history.Missed] > 0:
		return exitMissed
	case count[history.Inconclusive] > 0 || count[history.Holds] == 0:
		return exitInconclusive
	}
	return exitHolds
}

// Write writes report.html, report.json, report.md and junit.xml into dir, which must
// be there. It writes as many of them as it can.
func (r *Report) Write(dir string) error {
	r.files = r.beside(dir)
	files := []struct {
		name string
		make func() ([]byte, error)
	}{
		{jsonName, r.json},
		{"report.html", r.html},
		{"report.md", r.markdown},
		{"junit.xml", r.junit},
	}
	var errs []error
	for _, f := range files {
		content, err := f.make()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f.name), content, 0o644)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("report: %s: %w", f.name, err))
		}
	}
	return errors.Join(errs...)
}
