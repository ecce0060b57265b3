// Command nsqctl shows and operates an NSQ cluster.
//
// It finds everything through one nsqlookupd: those that replicate it are learnt
// from it, and the nsqds from them. Stock daemons will do, with less to show.
//
// Tables and data go to stdout, all else to stderr. Exit codes:
//
//	0  done, or all is well
//	1  failed, or not all is well
//	2  wrong usage; of status also: something does not work at all
//	3  no daemon could be reached
//	4  done in part: some daemons failed
//
// Each group of commands has a file of its name. Beside them:
//
//	root.go          the command line: global flags, exit codes, errors and their hints
//	connect.go       which daemons there are, and what they say
//	fetch.go         a GET of what package clusterinfo has no question for
//	render.go        one value as table, JSON, YAML or CSV; format.go: its numbers
//	consent.go       --yes, --dry-run, and the question at a terminal
//	action.go        what topic and channel do alike to what is there; done.go: how it went
//	cluster_page.go  how a cluster is, in a sentence and a table
//	problems.go      what is not as it should be, and what to do about it
//	doctor_nsqds.go  the doctor's checks of nsqds and clocks
//	top_rates.go     messages a second; top_rows.go: the lists; top_screen.go: the terminal
//	mask.go          what a debug bundle and config do not tell
//	dev*.go          a whole cluster on this machine
package main

import (
	"context"
	"io"
	"os"

	"nsqraft/internal/command"
)

func main() {
	command.Main(func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
		return run(ctx, args, stdin, stdout, stderr, os.LookupEnv)
	})
}
