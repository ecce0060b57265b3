package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	rows       string
	list       bool
	out        string
	dir        string
	binary     string
	stock      string
	nsqdBinary string
	stockNSQD  string
	etcd       string
	turns      int
	window     time.Duration
	clients    int
	nsqds      int
	channels   int
	storm      int
	kills      int
	stops      int
	million    int
	day        int
	profiles   string
	keep       bool
	bare       string
}

func parseFlags() *options {
	o := new(options)
	flag.StringVar(&o.rows, "rows", "", "groups to measure, with commas between; empty: all")
	flag.BoolVar(&o.list, "list", false, "list the groups")
	flag.StringVar(&o.out, "out", "../artefacts", "folder for bench.md and bench.json")
	flag.StringVar(&o.dir, "dir", "", "folder for data and logs, on the disk to be measured; empty: a temporary one")
	flag.StringVar(&o.binary, "nsqlookupd", "", "our nsqlookupd; empty: built from the parent directory")
	flag.StringVar(&o.stock, "stock", "", "stock nsqlookupd; empty: built from go.mod")
	flag.StringVar(&o.nsqdBinary, "nsqd", "", "our nsqd; empty: built from the parent directory")
	flag.StringVar(&o.stockNSQD, "stock-nsqd", "", "stock nsqd; empty: built from go.mod")
	flag.StringVar(&o.etcd, "etcd", "etcd", "etcd, which registrations are compared with if it is there")
	flag.BoolVar(&o.keep, "keep", false, "leave logs and data where they are, as after a failure")
	flag.IntVar(&o.turns, "turns", 5, "turns of ours and the peer for each ratio")
	flag.DurationVar(&o.window, "window", time.Second, "length of one turn of read load")
	flag.IntVar(&o.clients, "clients", 16, "kept-alive connections of read load")
	flag.IntVar(&o.nsqds, "nsqds", 200, "simulated nsqds that register")
	flag.IntVar(&o.channels, "channels", 100, "channels that each of them registers")
	flag.IntVar(&o.storm, "storm", 2000, "simulated nsqds that reconnect at once")
	flag.IntVar(&o.kills, "kills", 30, "kills of the leader")
	flag.IntVar(&o.stops, "stops", 10, "graceful stops, pauses, and hangs of the disk, of the leader")
	flag.IntVar(&o.million, "million", 1_000_000, "registrations of the large registry")
	flag.IntVar(&o.day, "day", 40_000, "mutations of the simulated day")
	flag.StringVar(&o.profiles, "profiles", "", "folder for CPU and allocation profiles of our nodes in the groups lookup, register and million; empty: none are taken")
	flag.StringVar(&o.bare, "bare", "", "serve the answer on standard input at this address, and nothing else (for the bench itself)")
	flag.Parse()
	return o
}

// A group measures rows that share their daemons.
type group struct {
	name, about string
	measure     func(*bench) error
}

var groups = []group{
	{"lookup", "/lookup and /nodes of small registries, beside stock and a bare handler", measureReads},
	{"register", "registrations by many nsqds on three nodes, beside three stock ones and etcd", measureRegistrations},
	{"latency", "one REGISTER at a time on an idle cluster", measureLatency},
	{"storm", "all nsqds reconnect at once", measureStorm},
	{"kill", "kill -9 of the leader", measureKills},
	{"stop", "graceful stop of the leader", measureStops},
	{"pause", "SIGSTOP of the leader", measurePauses},
	{"hang", "the leader's disk hangs", measureHangs},
	{"million", "a million registrations: lookup, memory, restart, unit costs", measureMillion},
	{"connections", "an idle cluster, an idle connection, a PING: unit costs", measureConnections},
	{"nsqd", "nsqd: throughput, latency, memory and CPU beside stock", measureNSQD},
	{"growth", "log and snapshots under a day's mutations", measureGrowth},
}

// bench is one run.
type bench struct {
	*options
	report *report
	procs  []*process
	temp   string // this run's folder
	paths  int    // given out in it
}

func main() {
	o := parseFlags()
	if o.bare != "" {
		if err := serveBare(o.bare, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if o.list {
		for _, g := range groups {
			fmt.Printf("%-12s %s\n", g.name, g.about)
		}
		return
	}
	failed, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// run measures the chosen groups and writes the table after each, so that an
// interrupted run leaves what it has. failed: one could not be measured.
func run(o *options) (failed bool, err error) {
	chosen, err := choose(o.rows)
	if err != nil {
		return false, err
	}
	b := &bench{options: o, report: newReport()}
	if b.temp, err = os.MkdirTemp(o.dir, "nsqbench"); err != nil {
		return false, err
	}
	defer func() {
		b.killAll()
		if failed || b.keep {
			fmt.Fprintln(os.Stderr, "logs and data are left in", b.temp)
			return
		}
		os.RemoveAll(b.temp)
	}()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		b.unmount()
		os.RemoveAll(b.temp)
		os.Exit(1) // the daemons end with us
	}()

	if err := b.build(); err != nil {
		return false, err
	}
	if err := b.report.describe(b.temp); err != nil {
		return false, err
	}
	for _, g := range chosen {
		begun := time.Now()
		fmt.Fprintf(os.Stderr, "%s: %s\n", g.name, g.about)
		err := g.measure(b)
		b.killAll()
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s: %v\n", g.name, err)
			b.report.add(row{Group: g.name, What: g.about, Verdict: "not measured", Note: err.Error()})
		}
		fmt.Fprintf(os.Stderr, "%s: done in %v\n", g.name, time.Since(begun).Round(time.Second))
		if err := b.report.write(o.out); err != nil {
			return failed, err
		}
		runtime.GC() // the next group does not pay for this one's garbage
	}
	fmt.Print(b.report.markdown())
	return failed, nil
}

func choose(names string) ([]group, error) {
	if names == "" {
		return groups, nil
	}
	wanted := strings.Split(names, ",")
	var chosen []group
	for _, g := range groups {
		if slices.Contains(wanted, g.name) {
			chosen = append(chosen, g)
		}
	}
	if len(chosen) != len(wanted) {
		return nil, fmt.Errorf("-rows=%s: there is no such group; -list lists them", names)
	}
	return chosen, nil
}

// build makes both binaries, static as in a release, unless they were given.
func (b *bench) build() error {
	if b.binary == "" {
		b.binary = filepath.Join(b.temp, "nsqlookupd")
		if err := goBuild("..", b.binary, "./cmd/nsqlookupd"); err != nil {
			return fmt.Errorf("build our nsqlookupd: %w", err)
		}
	}
	if b.stock == "" {
		b.stock = filepath.Join(b.temp, "stock-nsqlookupd")
		if err := goBuild(".", b.stock, "github.com/nsqio/nsq/apps/nsqlookupd"); err != nil {
			return fmt.Errorf("build stock nsqlookupd: %w", err)
		}
	}
	return nil
}
