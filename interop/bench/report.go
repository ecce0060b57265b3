package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A row is one line of the table. Empty fields do not apply.
type row struct {
	Group   string `json:"group"`
	What    string `json:"what"`
	Ours    string `json:"ours,omitempty"`
	Peer    string `json:"peer,omitempty"` // with the peer's name
	Ratio   string `json:"ratio,omitempty"`
	Goal    string `json:"goal,omitempty"`
	Verdict string `json:"verdict,omitempty"` // met, missed, not measured
	Note    string `json:"note,omitempty"`
}

// verdict says whether a goal is met.
func verdict(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

// A report gathers the rows of one run.
type report struct {
	Begun   time.Time `json:"begun"`
	Machine string    `json:"machine"`
	Sync    string    `json:"sync"` // what the disk takes
	Load    []string  `json:"load"` // of the machine, before each group
	Rows    []row     `json:"rows"`
}

func newReport() *report { return &report{Begun: time.Now().UTC().Truncate(time.Second)} }

// describe notes what the numbers were measured on.
func (r *report) describe(dir string) error {
	r.Machine = fmt.Sprintf("%d cores, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	took, err := timeSyncs(dir, 200)
	if err != nil {
		return err
	}
	r.Sync = fmt.Sprintf("4 KiB written and synced: %s", took)
	return nil
}

// timeSyncs writes and syncs n times 4 KiB in dir.
func timeSyncs(dir string, n int) (samples, error) {
	f, err := os.CreateTemp(dir, "sync")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took samples
	for i := range n {
		begun := time.Now()
		if _, err := f.WriteAt(make([]byte, 4096), int64(i)*4096); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}

// add adds a row and tells of it at once.
func (r *report) add(rows ...row) {
	for _, row := range rows {
		r.Rows = append(r.Rows, row)
		fmt.Fprintf(os.Stderr, "  %s: %s\n", row.What, strings.Join(nonEmpty(row.Ours, row.Peer, row.Ratio, row.Goal, row.Verdict, row.Note), " | "))
	}
	r.Load = append(r.Load, loadAverage())
}

func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(s string) bool { return s == "" })
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Bench of %s\n\n", r.Begun.Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(&b, "%s. %s. Load average along the way: %s.\n\n", r.Machine, r.Sync, strings.Join(r.Load, " "))
	b.WriteString("A ratio is ours divided by the peer's, the median of several turns, with its range.\n\n")
	b.WriteString("| what | ours | peer | ratio | goal | | |\n|---|---|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n",
			row.What, row.Ours, row.Peer, row.Ratio, row.Goal, row.Verdict, strings.ReplaceAll(row.Note, "\n", " "))
	}
	return b.String()
}

// write replaces bench.md and bench.json in dir.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "bench.md"), []byte(r.markdown()), 0o644)
}

// samples are durations that were measured.
type samples []time.Duration

// quantile returns the smallest sample that at least the part q of all do not
// exceed; 0 if there is none.
func (s samples) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, max(0, int(q*float64(len(sorted))+0.999999)-1))]
}

func (s samples) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, max %s", short(s.quantile(.5)), short(s.quantile(.99)), short(s.quantile(1)))
}

// short renders a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	case d >= time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	default:
		return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
	}
}

// rates are events per second, one of each turn.
type rates []float64

func (r rates) median() float64 {
	if len(r) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

func (r rates) String() string {
	m := r.median()
	switch {
	case m >= 10_000:
		return fmt.Sprintf("%.1fk/s", m/1000)
	case m >= 100:
		return fmt.Sprintf("%.0f/s", m)
	default:
		return fmt.Sprintf("%.2f/s", m)
	}
}

// over returns the ratios of r to peer, turn by turn.
func (r rates) over(peer rates) rates {
	var ratios rates
	for i := range r {
		ratios = append(ratios, r[i]/peer[i])
	}
	return ratios
}

// ratioText renders ratios as their median and range.
func (r rates) ratioText() string {
	digits := 2
	switch m := r.median(); {
	case m >= 20:
		digits = 0
	case m < .05:
		digits = 4
	}
	return fmt.Sprintf("%.*f (%.*f to %.*f)", digits, r.median(), digits, slices.Min(r), digits, slices.Max(r))
}

// perSecond is n events in d.
func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }
