package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"nsqraft/internal/drill"
	"nsqraft/internal/drill/history"
	"nsqraft/internal/drill/report"
	"nsqraft/internal/version"
)

// A task is what nsqdrill run was told to do.
type task struct {
	place   place
	against string // ours, stock, both
	out     string
	opts    drill.Options
}

func (p *program) runCommand() *cobra.Command {
	t := &task{place: place{say: p.say}}
	cmd := &cobra.Command{
		Use:   "run [DRILL...]",
		Short: "break a cluster, and judge what was seen",
		Long: `run starts a cluster of its own, puts load on it, makes the named drills or those of
a profile one after the other, checks everything that the clients were told, and
writes a report. It breaks only what it has started or was told to.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t.opts.Drills = args
			return p.drill(cmd.Context(), cmd, t)
		},
	}
	t.place.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&t.opts.Profile, "profile", "smoke", "drills to make if none is named: smoke (a minute), standard (every one, ten minutes), long (by chance, for --duration)")
	f.IntVar(&t.opts.Times, "times", 1, "how often each drill is made")
	f.DurationVar(&t.opts.Duration, "duration", time.Hour, "of the profile long")
	f.Uint64Var(&t.opts.Seed, "seed", 0, "of every choice; 0: by chance, and told in the report")
	f.StringVar(&t.out, "out", "", "folder of the report; default: nsqdrill-<date>-<seed>")
	f.StringVar(&t.against, "against", "ours", "ours, stock, or both: stock with the same seed beside it")
	f.IntVar(&t.opts.Load.Sessions, "sessions", 0, "simulated nsqds; 0: the usual 60")
	f.IntVar(&t.opts.Load.Messages, "messages", 0, "a second, for each nsqd; 0: the usual 100")
	f.Float64Var(&t.opts.Load.TimeScale, "time-scale", 0, "divides the 15 s after which nsqds look after their connections; 0: 1")
	return cmd
}

func (p *program) drill(ctx context.Context, cmd *cobra.Command, t *task) error {
	if t.opts.Seed == 0 {
		t.opts.Seed = rand.Uint64N(1_000_000) + 1
	}
	if t.out == "" {
		t.out = fmt.Sprintf("nsqdrill-%s-%d", time.Now().Format("20060102-150405"), t.opts.Seed)
	}
	if err := t.check(); err != nil {
		return err
	}
	t.place.assume(cmd)
	if t.against != "ours" && t.against != "stock" && t.against != "both" {
		return fmt.Errorf("--against=%s: it is ours, stock or both", t.against)
	}
	if t.against == "both" {
		if err := t.place.stockable(); err != nil { // before minutes are spent on ours
			return err
		}
	}
	previous := report.ReadPrevious(t.out)
	r, err := p.one(ctx, cmd, t, t.out, t.against == "stock", nil)
	if err != nil {
		return err
	}
	r.Previous = previous
	if t.against == "both" && ctx.Err() == nil {
		if r.Baseline, err = p.baseline(ctx, cmd, t, r.Run.Faults); err != nil {
			return errors.Join(err, p.conclude(r, t.out))
		}
	}
	return p.conclude(r, t.out)
}

// baseline makes the same drills against stock, with its own report in a folder of the
// other's.
func (p *program) baseline(ctx context.Context, cmd *cobra.Command, t *task, like []history.Fault) (*report.Report, error) {
	fmt.Fprintln(p.stderr, "the same against stock")
	dir := filepath.Join(t.out, "stock")
	r, err := p.one(ctx, cmd, t, dir, true, like)
	if err == nil {
		err = r.Write(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("stock: %w", err)
	}
	return r, nil
}

// one drills one cluster, with the report in dir. It hits whom the faults in like hit.
func (p *program) one(ctx context.Context, cmd *cobra.Command, t *task, dir string, stock bool, like []history.Fault) (*report.Report, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	e, err := t.place.open(ctx, filepath.Join(dir, "nodes"), stock, t.opts.Seed)
	if err != nil {
		return nil, err
	}
	opts := t.opts
	opts.Dir, opts.Stock, opts.GoesOn, opts.Screen = dir, stock, t.place.goesOn(), p.stderr
	if f, ok := p.stderr.(*os.File); ok {
		opts.Terminal = term.IsTerminal(int(f.Fd()))
	}
	opts.Watch = opts.GoesOn && !t.place.consent
	opts.Load.Grace, opts.Like = t.place.grace, like
	opts.Header = p.header(cmd, t, dir, versions(ctx, e))
	run, err := drill.Run(ctx, e, opts)
	if closed := e.Close(); closed != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", drill.ErrLeft, closed))
	}
	if run == nil {
		return nil, errors.Join(err, ctx.Err())
	}
	limits := history.Limits{Dir: dir}
	if run.Header.Interrupted {
		if !errors.Is(err, drill.ErrLeft) {
			err = nil // it says only that the run ended
		}
		p.interrupted(err)
		limits.Time, limits.Total = hurried, hurriedTotal
	}
	fmt.Fprintln(p.stderr, "checking what was seen")
	return judged(run, dir, limits, err), nil
}

const (
	// What whoever has interrupted a run waits for its checks at most.
	hurried      = 5 * time.Second
	hurriedTotal = 20 * time.Second
)

// judged is the report of a run that has left its files in dir. err is what went wrong
// besides what the run knows.
func judged(run *history.Run, dir string, limits history.Limits, err error) *report.Report {
	limits.Memory = memory()
	r := &report.Report{Run: run, Dir: dir, Claims: history.Check(run, limits), Broken: run.Header.Ended}
	switch {
	case run.Header.Interrupted:
		r.Broken = fmt.Sprintf("it was interrupted after %s", run.Header.Length.Round(100*time.Millisecond))
	case err != nil:
		r.Broken = err.Error()
	}
	return r
}

func (p *program) header(cmd *cobra.Command, t *task, dir string, versions map[string]string) history.Header {
	versions["nsqdrill"] = version.Version
	return history.Header{
		ID:        fmt.Sprintf("%s-%d", time.Now().UTC().Format("20060102T150405Z"), t.opts.Seed),
		Started:   time.Now(),
		Command:   t.again(cmd),
		Versions:  versions,
		Machine:   machine(dir),
		TimeScale: max(1, t.opts.Load.TimeScale),
		Grace:     t.place.grace,
		Inactive:  t.place.inactive,
		Tombstone: t.place.tombstone,
	}
}

// check refuses numbers that mean nothing.
func (t *task) check() error {
	load := t.opts.Load
	switch {
	case t.opts.Times < 1:
		return fmt.Errorf("--times=%d: a drill is made once at least", t.opts.Times)
	case t.opts.Duration <= 0:
		return fmt.Errorf("--duration=%s: it is more than nothing", t.opts.Duration)
	case load.Sessions < 0 || load.Messages < 0:
		return fmt.Errorf("--sessions=%d, --messages=%d: they are not negative", load.Sessions, load.Messages)
	case load.TimeScale != 0 && !(load.TimeScale >= 1 && load.TimeScale <= maxTimeScale):
		return fmt.Errorf("--time-scale=%v: it is 1 to %d", load.TimeScale, maxTimeScale)
	}
	return nil
}

// maxTimeScale leaves a tick that is longer than the 1 s deadline of a stock nsqd's calls.
const maxTimeScale = 10

// again is the command that makes the same plan.
func (t *task) again(cmd *cobra.Command) string {
	words := append([]string{"nsqdrill", "run"}, t.opts.Drills...)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			if f.Name != "seed" && f.Name != "out" {
				words = append(words, quoted("--"+f.Name+"="+v))
			}
		}
	})
	return strings.Join(append(words, fmt.Sprintf("--seed=%d", t.opts.Seed)), " ")
}

// quoted makes one word of s to a shell.
func quoted(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_=./:,@%+", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
