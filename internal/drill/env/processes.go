package env

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"nsqraft/internal/localcluster"
)

// ProcessesOptions say what Processes consists of.
type ProcessesOptions struct {
	Dir      string // of data and logs; made if it is not there
	Lookupds int    // 0: 3
	NSQDs    int
	// BinDir is where the programs are; "": beside this one's executable, or in PATH.
	BinDir string
	// Stock: the nsqlookupds are stock's, each alone.
	Stock bool
	// Programs are other binaries and further flags, by the name of a process, as n1, or
	// of a program; the former comes first.
	Programs map[string]localcluster.Program
	// Seed is of what is chosen at random, which is where data is damaged.
	Seed uint64
	// NoDisks: processes have no file systems of their own, even if this machine lets
	// them. Their disks then cannot be filled, hang or lose their power.
	NoDisks bool
}

// Processes is a cluster of processes on this machine.
type Processes struct {
	name      string
	opts      ProcessesOptions
	cluster   *localcluster.Cluster
	net       network
	ownLinks  bool // nsqds have links that can be taken away
	disks     map[string]*volume
	noDisks   string // why there are none
	noStrace  string // why no strace can be used
	nodes     []string
	nsqds     []string
	breakages breakages
	rng       *rand.Rand
}

// OpenProcesses starts a cluster on loopback. It does not wait until it is ready.
func OpenProcesses(o ProcessesOptions) (*Processes, error) {
	e, cfg := newProcesses("processes", o)
	cfg.ClientProxies, cfg.FreePorts = true, true
	e.cluster = localcluster.New(cfg)
	e.net = proxies{e.cluster, o.Stock}
	return e, e.open()
}

// newProcesses returns an environment without a cluster and a network, and what the
// cluster shall be.
func newProcesses(name string, o ProcessesOptions) (*Processes, localcluster.Config) {
	o.Lookupds = cmp.Or(o.Lookupds, 3)
	e := &Processes{name: name, opts: o, disks: make(map[string]*volume), rng: rand.New(rand.NewPCG(o.Seed, 0))}
	for i := range o.Lookupds {
		e.nodes = append(e.nodes, fmt.Sprintf("n%d", i+1))
	}
	for i := range o.NSQDs {
		e.nsqds = append(e.nsqds, fmt.Sprintf("nsqd%d", i+1))
	}
	return e, localcluster.Config{
		Dir: o.Dir, Lookupds: o.Lookupds, NSQDs: o.NSQDs, BinDir: o.BinDir,
		Unreplicated: o.Stock, Programs: o.Programs,
	}
}

// open starts everything; if it fails nothing is left.
func (e *Processes) open() error {
	if e.opts.Dir == "" {
		return errors.New("a cluster needs a folder for its data")
	}
	if err := os.MkdirAll(e.opts.Dir, 0o755); err != nil {
		return err
	}
	e.noStrace = straceMissing()
	e.openDisks()
	err := e.cluster.Open()
	if err != nil {
		return errors.Join(err, e.Close())
	}
	return nil
}

// openDisks gives each process that keeps data a file system of its own, or says why
// not.
func (e *Processes) openDisks() {
	with := slices.Concat(e.nodes, e.nsqds)
	if e.opts.Stock {
		return // Missing does not ask
	}
	if e.opts.NoDisks {
		e.noDisks = "the processes were not to have file systems of their own"
		return
	}
	for _, name := range with {
		v, err := newVolume(e.opts.Dir, name)
		if err != nil {
			e.noDisks = "a file system for each process needs root, mkfs.ext4 and mount: " + err.Error()
			e.closeDisks()
			return
		}
		e.disks[name] = v
	}
}

func (e *Processes) closeDisks() error {
	var errs []error
	for name, v := range e.disks {
		if err := v.close(); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(e.disks, name)
	}
	return errors.Join(errs...)
}

// Name is processes or netns.
func (e *Processes) Name() string { return e.name }

// Nodes returns the nsqlookupds.
func (e *Processes) Nodes() []Node { return nodesOf(e.cluster.Lookupds()) }

// NSQDs returns the nsqds.
func (e *Processes) NSQDs() []Node { return nodesOf(e.cluster.NSQDs()) }

func nodesOf(processes []*localcluster.Process) []Node {
	var nodes []Node
	for _, p := range processes {
		nodes = append(nodes, Node{Name: p.Name, TCP: p.TCP, HTTP: p.HTTP, Log: p.Log, PID: p.PID()})
	}
	return nodes
}

// An Exit is the end of a process that was not asked to.
type Exit struct {
	At     time.Time
	Name   string // of a node or nsqd
	How    string // as "exit status 1"
	LogEnd string // the last lines it wrote
}

// Ended returns which processes have ended without being asked to since it was called
// last. Of many it returns the first 64.
func (e *Processes) Ended() []Exit {
	var all []Exit
	for {
		select {
		case x := <-e.cluster.Exits():
			all = append(all, Exit{At: x.At, Name: x.Process.Name, How: x.How, LogEnd: x.LogEnd})
		default:
			return all
		}
	}
}

// Missing says why a kind cannot be made here; "" if it can.
func (e *Processes) Missing(k Kind) string {
	if ofNetwork(k) {
		return e.net.missing(k)
	}
	switch k {
	case Kill, Stop, Wipe:
		return ""
	case Pause:
		return pauseMissing
	case ClockJump:
		return clockMissing()
	}
	if e.opts.Stock {
		return "stock nsqlookupds keep nothing on disk"
	}
	switch k {
	case TornLog, FlipBit:
		return ""
	case PowerCut:
		return e.noDisks
	case DiskFull, DiskHang:
		if e.noDisks != "" && e.noStrace != "" {
			return e.noDisks + "; without one, " + e.noStrace
		}
		return ""
	case SlowFsync:
		return e.noStrace
	}
	return fmt.Sprintf("there is no fault %q", k)
}

// Begin breaks something. See Env.
func (e *Processes) Begin(ctx context.Context, f Fault) (verified bool, err error) {
	if err := f.check(e.nodes, e.nsqds); err != nil {
		return false, err
	}
	if why := e.Missing(f.Kind); why != "" {
		return false, fmt.Errorf("%s: %s", f, why)
	}
	if ofNetwork(f.Kind) {
		return e.beginNetwork(ctx, f)
	}
	u, verified, err := e.begin(ctx, f)
	return e.breakages.begun(f, u, verified, err)
}

func (e *Processes) beginNetwork(ctx context.Context, f Fault) (verified bool, err error) {
	if f.Kind == Unplug && !e.ownLinks {
		for _, t := range f.Targets {
			if slices.Contains(e.nsqds, t) {
				return false, fmt.Errorf("%s: what %s sends passes no proxy; network namespaces have a link to take away", f, t)
			}
		}
	}
	e.breakages.add(f, nil)
	if err := e.net.set(effects(e.breakages.faults(), e.nodes)); err != nil {
		e.breakages.take(f)
		return false, fmt.Errorf("%s: %w", f, errors.Join(err, e.net.set(effects(e.breakages.faults(), e.nodes))))
	}
	verified = seen(ctx, e.net, f, e.nodes)
	for _, t := range f.Targets {
		switch addr := e.cluster.Process(t).HTTP; f.Kind {
		case Unreach, Unplug:
			verified = verified && silent(ctx, addr)
		case Lag:
			verified = verified && lags(ctx, addr, f.Amount-f.Jitter)
		}
	}
	return verified, nil
}

// begin is Begin for what is not of the network.
func (e *Processes) begin(ctx context.Context, f Fault) (undo, bool, error) {
	var at []uint64 // where data is damaged, chosen in the order of the targets
	for range f.Targets {
		at = append(at, e.rng.Uint64())
	}
	return each(ctx, f.Targets, func(target string) (undo, bool, error) {
		p, disk := e.cluster.Process(target), e.disks[target]
		switch f.Kind {
		case Kill:
			return e.kill(ctx, p)
		case Stop:
			return e.stop(ctx, p)
		case Pause:
			return pauseProcess(ctx, p)
		case Wipe:
			return e.wipe(ctx, p)
		case TornLog, FlipBit:
			return e.damage(ctx, p, f.Kind, at[slices.Index(f.Targets, target)])
		case DiskFull:
			return supervised(p)(fillDisk(ctx, p, disk))
		case DiskHang:
			return supervised(p)(hangDisk(ctx, p, disk))
		case PowerCut:
			return e.cutPower(p, disk)
		case SlowFsync:
			return supervised(p)(meddle(ctx, p.PID(), slowSync(f.Amount)))
		case ClockJump:
			return moveClock(ctx, p, f.Amount)
		}
		return nil, false, fmt.Errorf("there is no fault %q", f.Kind)
	})
}

// End undoes f. See Env.
func (e *Processes) End(ctx context.Context, f Fault) error {
	err := e.breakages.end(ctx, f)
	if err == nil && ofNetwork(f.Kind) {
		err = e.net.set(effects(e.breakages.faults(), e.nodes))
	}
	return err
}

// Heal undoes whatever is broken: what was begun, and processes that do not run.
func (e *Processes) Heal(ctx context.Context) error {
	errs := []error{e.breakages.endAll(ctx), e.net.set(nil)}
	for _, p := range e.cluster.Processes() {
		switch p.State() {
		case localcluster.Paused:
			errs = append(errs, p.Resume())
		case localcluster.Down:
			errs = append(errs, p.Start())
		}
	}
	return errors.Join(errs...)
}

// Close ends all processes, as kill -9 does, and removes what was mounted and made in the system. Data and
// logs stay, but for data on file systems of the processes' own. It may be called twice.
func (e *Processes) Close() error {
	// A process that waits for its disk cannot be killed, and strace is waited for.
	undone := e.breakages.endKinds(context.Background(), DiskHang, SlowFsync, DiskFull)
	e.cluster.Kill()
	return errors.Join(undone, e.closeDisks(), e.net.close())
}
