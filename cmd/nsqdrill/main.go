// Command nsqdrill breaks an NSQ cluster on purpose, while clients use it, and says
// what they could rely on.
//
//	nsqdrill run                     a minute, on a cluster of its own
//	nsqdrill run leader-kill --times=20
//	nsqdrill run --profile=standard --against=both --out=report
//	nsqdrill list                    the drills, and which cannot be made here
//	nsqdrill explain leader-kill     what a drill does, and what it may cost
//	nsqdrill check report            the claims about a recorded run once more
//
// Progress goes to stderr, the verdict to stdout. Exit codes:
//
//	0    all claims hold
//	1    violated: something was lost or wrong, a node that was up answered nobody for
//	     more than 1 s, or the cluster did not get well again
//	2    safe, but slower than promised
//	3    inconclusive: a drill that was not made, a fault without effect, too little seen,
//	     a checker out of time, a run that ended badly
//	4    nothing was drilled: wrong usage, or the cluster did not get ready
//	130  interrupted by SIGINT or SIGTERM: what was broken is undone, and the report is of
//	     what was seen until then; a second signal ends nsqdrill at once
package main

import (
	"context"
	"io"

	"nsqraft/internal/command"
)

func main() { command.Main(run) }

const (
	exitSetUp       = 4
	exitInterrupted = 130
)

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdout: stdout, stderr: stderr}
	root := newRootCommand(p)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		return p.failed(ctx, err)
	}
	return p.code
}
