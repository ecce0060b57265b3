package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/drill/env"
	"nsqraft/internal/localcluster"
)

// How long nodes keep what has gone silent. They are shorter than the defaults, but for
// the grace: a stock nsqd takes up to 31 s to be back.
const (
	usualGrace     = 45 * time.Second
	usualInactive  = 60 * time.Second
	usualTombstone = 45 * time.Second
	// stockInactive is the default of nsqlookupds, which those have that others started.
	stockInactive = 5 * time.Minute
)

// A place is the cluster that is broken.
type place struct {
	env         string // auto, processes, netns
	binDir      string
	stockBinDir string
	noDisks     bool
	nsqds       int

	// A Docker compose project, instead of processes of our own.
	compose        string
	composeProject string

	// A running cluster, instead of one of our own.
	lookupds []string
	nsqdHTTP []string
	begin    []string // kind=command
	end      []string
	consent  bool // to break what goes on afterwards

	grace, inactive, tombstone time.Duration

	say func(string) // to the user, beside errors
}

func (pl *place) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&pl.env, "env", "auto", "where the cluster runs: processes (no rights needed), netns (each node in a network namespace of its own), or auto: netns where that is allowed")
	f.StringVar(&pl.binDir, "bin-dir", "", "folder of the programs; default: that of nsqdrill, then PATH")
	f.StringVar(&pl.stockBinDir, "stock-bin-dir", "", "folder of stock's programs, for --against=stock and both")
	f.BoolVar(&pl.noDisks, "no-disks", false, "give the nodes no file systems of their own, even where that is allowed")
	f.IntVar(&pl.nsqds, "nsqds", 2, "real nsqds in the cluster")
	f.BoolVar(&pl.consent, "yes-break-it", false, "consent to break a cluster that somebody uses, which is one of --compose-project or --lookupd-http-address; without it such a cluster is only watched")
	f.StringVar(&pl.compose, "compose", "", "compose file of a Docker project to be drilled instead: it is brought up, and taken down with its volumes in the end")
	f.StringVar(&pl.composeProject, "compose-project", "", "name of a Docker compose project that runs already, and goes on afterwards; --compose is not needed then; needs --yes-break-it")
	f.StringArrayVar(&pl.lookupds, "lookupd-http-address", nil, "of a running cluster to be drilled instead (repeatable); all of its voters must be named; nothing is broken but by --exec-begin and --exec-end, and with --yes-break-it")
	f.StringArrayVar(&pl.nsqdHTTP, "nsqd-http-address", nil, "of an nsqd of that cluster (repeatable)")
	f.StringArrayVar(&pl.begin, "exec-begin", nil, "kind=command that breaks something in it, such as 'kill=ssh {node} systemctl kill -s KILL nsqlookupd' (repeatable)")
	f.StringArrayVar(&pl.end, "exec-end", nil, "kind=command that undoes it (repeatable)")
	f.DurationVar(&pl.grace, "session-grace", usualGrace, "--session-grace of the nodes; of nodes that are not started by nsqdrill what they have")
	f.DurationVar(&pl.inactive, "inactive-producer-timeout", usualInactive, "--inactive-producer-timeout of the nodes")
	f.DurationVar(&pl.tombstone, "tombstone-lifetime", usualTombstone, "--tombstone-lifetime of the nodes")
}

// running says whether it is a cluster that is known by its addresses alone.
func (pl *place) running() bool { return len(pl.lookupds) > 0 }

// goesOn says whether somebody else runs the cluster, before and after.
func (pl *place) goesOn() bool { return pl.running() || pl.composeProject != "" }

// open starts the cluster, with its data and logs in dir, or connects to the one that runs.
func (pl *place) open(ctx context.Context, dir string, stock bool, seed uint64) (env.Env, error) {
	if stock {
		if err := pl.stockable(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if pl.running() {
		return pl.openRunning(ctx, dir)
	}
	if pl.compose != "" || pl.composeProject != "" {
		return env.OpenCompose(ctx, env.ComposeOptions{File: pl.compose, Project: pl.composeProject, Dir: dir})
	}
	opts := env.ProcessesOptions{
		Dir: dir, NSQDs: pl.nsqds, BinDir: pl.binDir, Stock: stock, Seed: seed, NoDisks: pl.noDisks,
		Programs: map[string]localcluster.Program{},
	}
	args := []string{"--inactive-producer-timeout=" + pl.inactive.String(), "--tombstone-lifetime=" + pl.tombstone.String()}
	if stock {
		opts.Programs["nsqlookupd"] = localcluster.Program{Path: filepath.Join(pl.stockBinDir, "nsqlookupd"), Args: args}
		opts.Programs["nsqd"] = localcluster.Program{Path: filepath.Join(pl.stockBinDir, "nsqd")}
	} else {
		opts.Programs["nsqlookupd"] = localcluster.Program{Args: append(args, "--session-grace="+pl.grace.String())}
	}
	switch pl.env {
	case "processes":
		return env.OpenProcesses(opts)
	case "netns":
		return env.OpenNetns(opts)
	case "auto":
		why := env.NetnsMissing()
		if why == "" {
			return env.OpenNetns(opts)
		}
		pl.say("the cluster runs as processes on loopback: " + why)
		return env.OpenProcesses(opts)
	}
	return nil, fmt.Errorf("--env=%s: it is auto, processes or netns", pl.env)
}

// stockable says why there can be no cluster of stock's.
func (pl *place) stockable() error {
	switch {
	case pl.running():
		return errors.New("--against=stock needs a cluster of its own: leave out --lookupd-http-address")
	case pl.compose != "" || pl.composeProject != "":
		return errors.New("--against=stock needs a cluster of its own: leave out --compose")
	case pl.stockBinDir == "":
		return errors.New("stock's programs are not known: name their folder with --stock-bin-dir")
	}
	for _, name := range []string{"nsqlookupd", "nsqd"} {
		if _, err := os.Stat(filepath.Join(pl.stockBinDir, name)); err != nil {
			return fmt.Errorf("stock's programs: %w", err)
		}
	}
	return nil
}

func (pl *place) openRunning(ctx context.Context, dir string) (env.Env, error) {
	begin, err := commands("--exec-begin", pl.begin)
	if err != nil {
		return nil, err
	}
	end, err := commands("--exec-end", pl.end)
	if err != nil {
		return nil, err
	}
	return env.OpenHooks(ctx, env.HooksOptions{Lookupds: pl.lookupds, NSQDs: pl.nsqdHTTP, Begin: begin, End: end, Dir: dir})
}

func commands(flag string, words []string) (map[env.Kind]string, error) {
	out := make(map[env.Kind]string, len(words))
	for _, w := range words {
		kind, command, ok := strings.Cut(w, "=")
		if !ok || command == "" {
			return nil, fmt.Errorf("%s=%s: it is a kind of fault, = and a command", flag, w)
		}
		out[env.Kind(kind)] = command
	}
	return out, nil
}

// assume has the timeouts that were not given be those which nodes have that are not
// started by us.
func (pl *place) assume(cmd *cobra.Command) {
	if (pl.goesOn() || pl.compose != "") && !cmd.Flags().Changed("inactive-producer-timeout") {
		pl.inactive = stockInactive
	}
}

// missing returns a function that says why a kind of fault cannot be made here. A
// cluster is started for that and ended again.
func (pl *place) missing(ctx context.Context) (func(env.Kind) string, error) {
	dir, err := os.MkdirTemp("", "nsqdrill-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	e, err := pl.open(ctx, dir, false, 1)
	if err != nil {
		return nil, err
	}
	missing := make(map[env.Kind]string)
	for _, k := range env.Kinds() {
		missing[k] = e.Missing(k)
	}
	return func(k env.Kind) string { return missing[k] }, e.Close()
}

// versions asks all daemons of e for theirs.
func versions(ctx context.Context, e env.Env) map[string]string {
	client := clusterinfo.NewClient(clusterinfo.Options{RequestTimeout: 2 * time.Second})
	out := make(map[string]string)
	for _, n := range append(e.Nodes(), e.NSQDs()...) {
		if v, err := client.Version(ctx, n.HTTP); err == nil {
			out[n.Name] = v
		}
	}
	return out
}
