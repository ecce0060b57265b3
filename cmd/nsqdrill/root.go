package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"nsqraft/internal/drill"
	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
	"nsqraft/internal/drill/report"
	"nsqraft/internal/version"
)

// A program is one run of nsqdrill.
type program struct {
	stdout, stderr io.Writer
	code           int // of a run that came to a verdict
}

func (p *program) say(text string) { fmt.Fprintln(p.stderr, "nsqdrill:", text) }

func (p *program) failed(ctx context.Context, err error) int {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		if !errors.Is(err, drill.ErrLeft) {
			err = nil // it says only that nsqdrill was interrupted
		}
		p.interrupted(err)
		return exitInterrupted
	}
	fmt.Fprintln(p.stderr, "nsqdrill:", err)
	return exitSetUp
}

// interrupted says that it was noticed. err is what is left.
func (p *program) interrupted(err error) {
	if err != nil {
		fmt.Fprintln(p.stderr, "nsqdrill: interrupted:", err)
		return
	}
	fmt.Fprintln(p.stderr, "interrupted; what was broken is undone")
}

func newRootCommand(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:           "nsqdrill",
		Short:         "break an NSQ cluster on purpose, and see what its clients could rely on",
		Version:       version.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate(fmt.Sprintf("nsqdrill v{{.Version}} (built w/%s)\n", runtime.Version()))
	root.AddCommand(p.runCommand(), p.listCommand(), p.explainCommand(), p.checkCommand())
	return root
}

func (p *program) listCommand() *cobra.Command {
	where := place{say: p.say}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "the drills, and which of them cannot be made here",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			missing, err := where.missing(cmd.Context())
			if err != nil {
				return err
			}
			p.doctor(missing)
			return nil
		},
	}
	where.flags(cmd)
	return cmd
}

// doctor says which drills can be made, which cannot and why, and the same of faults.
func (p *program) doctor(missing func(env.Kind) string) {
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, d := range drill.Catalogue {
		why := ""
		if w := d.Missing(missing); w != "" {
			why = "not here: " + w
		}
		fmt.Fprintf(table, "%s\t%s\n", d.Name, why)
	}
	table.Flush() // an error is one of stdout
	var can, reasons []string
	cannot := make(map[string][]string)
	for _, k := range env.Kinds() {
		why := missing(k)
		switch {
		case why == "":
			can = append(can, string(k))
			continue
		case cannot[why] == nil:
			reasons = append(reasons, why)
		}
		cannot[why] = append(cannot[why], string(k))
	}
	fmt.Fprintf(p.stdout, "\nFaults that can be made here: %s.\n", strings.Join(can, ", "))
	for _, why := range reasons {
		fmt.Fprintf(p.stdout, "Not %s: %s.\n", strings.Join(cannot[why], ", "), why)
	}
}

func (p *program) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain DRILL",
		Short: "what a drill does, and what it may cost",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d := drill.Named(args[0])
			if d == nil {
				return fmt.Errorf("there is no drill %q: nsqdrill list has them all", args[0])
			}
			fmt.Fprintf(p.stdout, "%s: %s.\n", d.Name, d.Explain)
			bound, ok := history.BoundOf(d.Name)
			if !ok {
				fmt.Fprintln(p.stdout, "Nothing is promised of how long it takes; nothing acknowledged may be lost.")
				return nil
			}
			if bound.WriteGap > 0 {
				fmt.Fprintf(p.stdout, "Longest time without an acknowledged write: %s.\n", bound.WriteGap)
			}
			if bound.Recovery > 0 {
				fmt.Fprintf(p.stdout, "Writes are back after its end within %s.\n", bound.Recovery)
			}
			if bound.LeaderChanges >= 0 {
				fmt.Fprintf(p.stdout, "Changes of the leader: at most %d.\n", bound.LeaderChanges)
			}
			return nil
		},
	}
}

func (p *program) checkCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "check FOLDER",
		Short: "make the claims about a recorded run once more",
		Long:  "check reads history.jsonl.gz in FOLDER, checks it, and writes the report anew. No cluster is needed.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := history.ReadDir(args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = args[0]
			}
			if err := os.MkdirAll(out, 0o755); err != nil {
				return err
			}
			return p.conclude(judged(run, args[0], history.Limits{Dir: out}, nil), out)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "folder of the report; default: FOLDER")
	return cmd
}

// conclude writes the report and says the verdict.
func (p *program) conclude(r *report.Report, dir string) error {
	if err := r.Write(dir); err != nil {
		return err
	}
	r.Print(p.stdout)
	fmt.Fprintf(p.stdout, "\nReport: %s/report.html\n", dir)
	if p.code = r.ExitCode(); r.Run.Header.Interrupted {
		p.code = exitInterrupted
	}
	return nil
}
