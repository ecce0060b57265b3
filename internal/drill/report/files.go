package report

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
)

// A file is one that belongs to a run, as seen from its report.
type file struct{ Name, Link, What, Size string }

// beside returns the files that belong to the run, for a report in dir.
func (r *Report) beside(dir string) []file {
	var all []file
	add := func(pattern, what string) {
		found, _ := filepath.Glob(pattern) // its only error is a bad pattern
		for _, name := range found {
			f := file{What: what}
			if rel, err := filepath.Rel(dir, name); err == nil {
				f.Name, f.Link = filepath.ToSlash(rel), (&url.URL{Path: filepath.ToSlash(rel)}).EscapedPath()
			}
			if info, err := os.Stat(name); err == nil {
				f.Size = humanize.IBytes(uint64(info.Size()))
			}
			all = append(all, f)
		}
	}
	quoted := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace
	add(filepath.Join(quoted(dir), "porcupine-*.html"), "porcupine’s picture of the order of a topic’s calls")
	if r.Dir != "" {
		add(filepath.Join(quoted(r.Dir), logsDir, "*.log"), "log of a node or nsqd")
		add(filepath.Join(quoted(r.Dir), "history.jsonl*"), "everything that was recorded")
	}
	if b := r.Baseline; b != nil && b.Dir != "" {
		add(filepath.Join(quoted(b.Dir), "report.html"), "the report of stock NSQ alone")
	}
	return all
}
