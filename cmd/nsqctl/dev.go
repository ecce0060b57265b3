package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"nsqraft/internal/localcluster"
)

// readyWithin is how long a cluster may take at least to be ready. It only tells a slow
// machine from one on which it does not work.
const readyWithin = 30 * time.Second

// sayWaiting is after how long is said what a cluster lacks that is not ready; then
// after twice that, and so on, for a slow machine may need long to ask for all of it.
const sayWaiting = 3 * time.Second

// devOptions are the flags of nsqctl dev.
type devOptions struct {
	lookupds  int
	nsqds     int
	noAdmin   bool
	dataDir   string
	binDir    string
	freePorts bool
}

// devCommands is what can be done to the cluster.
const devCommands = `  k, kill [NAME]        kill -9 the leader, or another process
  p, partition [NAME]   part the leader, or another node, from the other nodes; again: heal
  s, stop NAME          stop a process in order, with SIGTERM
  r, restart [NAME]     start what is down
  l, logs [NAME]        show the ends of the logs
  q, quit               end everything
  ?, help               say this`

func newDevCommand(p *program) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, to try and to break",
		Long: `dev runs nsqlookupds that replicate their registry, nsqds and nsqadmin on this
machine's loopback, as processes of their own, until q, Ctrl-C or SIGTERM. It is
ready when a write is committed and every node has it.

The first of each listens at stock NSQ's ports, so that every client works with it
untouched; free ports are taken where those are not free.

With a terminal, keys do things to the cluster; without one, lines on stdin do:

` + devCommands + `

After k, p and s it prints what clients of the other nodes have seen of it: who leads
then, when the next write was committed, and how many lookups failed meanwhile.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDev(cmd.Context(), p, o) },
	}
	flags := cmd.Flags()
	flags.IntVar(&o.lookupds, "lookupds", 3, "`number` of nsqlookupds, 1 to 9")
	flags.IntVar(&o.nsqds, "nsqds", 2, "`number` of nsqds, 0 to 9")
	flags.BoolVar(&o.noAdmin, "no-admin", false, "without nsqadmin")
	flags.StringVar(&o.dataDir, "data-dir", "", "`folder` of data and logs, which are kept and used again (default: a temporary one, deleted at the end)")
	flags.StringVar(&o.binDir, "bin-dir", "", "`folder` of the programs (default: that of nsqctl, or PATH)")
	flags.BoolVar(&o.freePorts, "free-ports", false, "use free ports even where stock NSQ's are not taken")
	return cmd
}

// runDev starts a cluster and sees to it until ctx ends or somebody has had enough.
func runDev(ctx context.Context, p *program, o devOptions) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP) // the terminal is gone
	defer stop()
	cfg := localcluster.Config{
		Dir: o.dataDir, Lookupds: o.lookupds, NSQDs: o.nsqds, Admin: !o.noAdmin, BinDir: o.binDir, FreePorts: o.freePorts,
	}
	if err := cfg.Validate(); err != nil {
		return usageError("", "%w", err)
	}
	if cfg.Dir == "" {
		if cfg.Dir, err = os.MkdirTemp("", "nsqctl-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(cfg.Dir)) }()
	}
	cluster := localcluster.New(cfg)
	begun := time.Now()
	if err := cluster.Open(); err != nil {
		return err
	}
	// What is deleted need not be stopped in order.
	end := func() error { cluster.Kill(); return nil }
	if o.dataDir != "" {
		end = cluster.Close
	}
	defer func() { err = errors.Join(err, end()) }()

	if err := awaitReady(ctx, p, cluster); err != nil {
		if ctx.Err() != nil {
			return nil // told to end
		}
		return err
	}
	took := time.Since(begun)

	ctx, quit := context.WithCancel(ctx)
	defer quit()
	in, err := openKeyboard(p.stdin, p.stdout, quit)
	if err != nil {
		return err
	}
	defer in.close()
	s := &devSession{cluster: cluster, out: in.out, keys: in.keys}
	s.greet(took, filepath.Clean(cfg.Dir), o.dataDir != "")
	s.run(ctx, in.said)
	return nil
}

// awaitReady returns when cluster is ready, and says what it waits for if that takes long.
func awaitReady(ctx context.Context, p *program, cluster *localcluster.Cluster) error {
	begun := time.Now()
	for patience := sayWaiting; ; patience *= 2 {
		readying, cancel := context.WithTimeout(ctx, patience)
		err := cluster.Ready(readying)
		cancel()
		var ended *localcluster.EndedError
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.As(err, &ended):
			fmt.Fprintf(p.stderr, "The end of the log of %s:\n%s\n", ended.Name, indent(ended.LogEnd))
			return fmt.Errorf("%s has ended before the cluster was ready", ended.Name)
		case time.Since(begun) > readyWithin:
			return err
		}
		p.note("waiting: %v", err)
	}
}

// devNote is what the box says.
func devNote(dir string, kept bool) string {
	if kept {
		return fmt.Sprintf("For development only: on loopback, without authentication. The data stays in %s.", dir)
	}
	return "For development only: on loopback, without authentication, the data is deleted at the end."
}
