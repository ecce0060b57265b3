package localcluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Config says what a Cluster consists of.
type Config struct {
	// Dir is the folder of all data and logs, which is made if it is not there. In the
	// folder of an earlier cluster its data is used again, and its addresses.
	Dir string

	Lookupds int  // nsqlookupds: 1 to 9
	NSQDs    int  // nsqds: 0 to 9
	Admin    bool // and nsqadmin

	// BinDir is where the programs are; "": beside this one's executable, or in PATH.
	BinDir string
	// FreePorts: stock's ports are not even tried.
	FreePorts bool
	// Unreplicated: each nsqlookupd is alone, and keeps nothing, as stock's do.
	Unreplicated bool
	// ClientProxies: there is a proxy in front of the client ports too, so that clients
	// can be parted from a process, as Link has it. It costs them some time.
	ClientProxies bool
	// Hosts are where processes run that are not on this machine's loopback, by name.
	Hosts map[string]Host
	// Programs are other binaries and further flags, by the name of the process or of
	// the program; the former comes first.
	Programs map[string]Program
}

// A Program is how a process is run otherwise than usual.
type Program struct {
	Path string   // of the binary; "": the usual one
	Args []string // after the usual ones
}

// A Host is what passes for a machine of a process's own, as a network namespace does.
// The process has stock's ports there and no proxy in front of it.
type Host struct {
	Addr     string                // IP address, for clients
	Internal string                // IP address, for the other nodes; "": Addr
	Start    func(*exec.Cmd) error // starts a command there
}

// most processes of a kind: their ports must not meet.
const most = 9

// endWithin bounds how long a process may take to end by itself in Close.
const endWithin = 10 * time.Second

// maxExits is how many ends of processes are kept for whom they concern.
const maxExits = 64

// A Cluster is a set of processes that know each other. New returns one.
type Cluster struct {
	cfg   Config
	net   *network
	http  *http.Client
	exits chan Exit

	// Read-only after Open.
	processes []*Process // in the order of their start
	moved     []string
}

// New returns a Cluster that does not run yet.
func New(cfg Config) *Cluster {
	return &Cluster{cfg: cfg, net: newNetwork(), http: newHTTPClient(), exits: make(chan Exit, maxExits)}
}

// Validate says whether there can be so many processes.
func (c *Config) Validate() error {
	switch {
	case c.Lookupds < 1 || c.Lookupds > most:
		return fmt.Errorf("there can be 1 to %d nsqlookupds, not %d", most, c.Lookupds)
	case c.NSQDs < 0 || c.NSQDs > most:
		return fmt.Errorf("there can be 0 to %d nsqds, not %d", most, c.NSQDs)
	}
	return nil
}

// Open starts everything and does not wait until it is ready. If anything fails, what
// was started has ended when it returns.
func (c *Cluster) Open() error {
	if err := c.cfg.Validate(); err != nil {
		return err
	}
	if c.cfg.Dir == "" {
		return errors.New("a cluster needs a folder for its data")
	}
	dir, err := filepath.Abs(c.cfg.Dir)
	if err != nil {
		return err
	}
	c.cfg.Dir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	for _, p := range c.processes {
		if err := p.Start(); err != nil {
			c.Kill()
			return err
		}
	}
	return nil
}

// prepare says what runs, where it is, and how it is called.
func (c *Cluster) prepare() error {
	for i := range c.cfg.Lookupds {
		c.add(Lookupd, fmt.Sprintf("n%d", i+1))
	}
	for i := range c.cfg.NSQDs {
		c.add(NSQD, fmt.Sprintf("nsqd%d", i+1))
	}
	if c.cfg.Admin {
		c.add(Admin, "nsqadmin")
	}
	for _, p := range c.processes {
		if err := c.findProgram(p); err != nil {
			return err
		}
		if p.Data != "" {
			if err := os.MkdirAll(p.Data, 0o755); err != nil {
				return err
			}
		}
	}
	behind, err := c.place()
	if err != nil {
		return err
	}
	for _, p := range c.processes {
		at := behind[p]
		if p.Raft != at.Raft {
			p.proxies = append(p.proxies, newProxy(p.Name, p.Raft, at.Raft, c.net))
		}
		if p.TCP != at.TCP {
			p.proxies = append(p.proxies, newClientProxy(p.Name, p.TCP, at.TCP, c.net))
		}
		if p.HTTP != at.HTTP {
			p.proxies = append(p.proxies, newClientProxy(p.Name, p.HTTP, at.HTTP, c.net))
		}
		p.args = append(c.args(p, at), p.args...)
	}
	return nil
}

func (c *Cluster) add(role Role, name string) {
	p := &Process{Name: name, Role: role, Log: filepath.Join(c.cfg.Dir, name+".log"), ended: c.exits, begin: (*exec.Cmd).Start}
	if host, ok := c.cfg.Hosts[name]; ok {
		p.begin = host.Start
	}
	if role == NSQD || role == Lookupd && !c.cfg.Unreplicated {
		p.Data = filepath.Join(c.cfg.Dir, name)
	}
	c.processes = append(c.processes, p)
}

func (c *Cluster) findProgram(p *Process) (err error) {
	other, ok := c.cfg.Programs[p.Name]
	if !ok {
		other = c.cfg.Programs[p.Role.program()]
	}
	p.path, p.args = other.Path, other.Args
	if p.path == "" {
		p.path, err = find(p.Role.program(), c.cfg.BinDir)
	}
	return err
}

// place gives each process its addresses, and returns where it listens itself,
// behind its proxies.
func (c *Cluster) place() (behind map[*Process]addresses, err error) {
	before, err := readLayout(c.cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := c.sameNodes(before); err != nil {
		return nil, err
	}
	claims := newClaims(before)
	defer claims.release()
	behind = make(map[*Process]addresses)
	numbers := make(map[Role]int)
	for _, p := range c.processes {
		numbers[p.Role]++
		if host, ok := c.cfg.Hosts[p.Name]; ok {
			c.placeAway(p, host)
			behind[p] = addresses{p.TCP, p.HTTP, p.Raft}
			continue
		}
		wanted := addresses{}
		if !c.cfg.FreePorts {
			wanted = usual(p.Role, numbers[p.Role])
		}
		moved, err := claims.place(p, before[p.Name], wanted)
		if err != nil {
			return nil, err
		}
		c.moved = append(c.moved, moved...)
		at := addresses{TCP: p.TCP, HTTP: p.HTTP}
		var proxied []*string
		if c.cfg.ClientProxies && p.Role != Admin {
			proxied = append(proxied, &at.TCP, &at.HTTP)
		}
		if p.Role == Lookupd && !c.cfg.Unreplicated {
			if err := claims.placeRaft(p, before[p.Name].Raft, wanted.Raft); err != nil {
				return nil, err
			}
			proxied = append(proxied, &at.Raft)
		}
		for _, addr := range proxied {
			if *addr, err = claims.free(); err != nil {
				return nil, err
			}
		}
		behind[p] = at
	}
	return behind, writeLayout(c.cfg.Dir, c.processes)
}

// placeAway fills in where a process on a host of its own is reached.
func (c *Cluster) placeAway(p *Process, host Host) {
	at := func(ip, usual string) string {
		if usual == "" {
			return ""
		}
		return net.JoinHostPort(ip, port(usual))
	}
	usual := usual(p.Role, 1)
	p.TCP, p.HTTP = at(host.Addr, usual.TCP), at(host.Addr, usual.HTTP)
	if p.Role == Lookupd && !c.cfg.Unreplicated {
		p.Raft = at(cmp.Or(host.Internal, host.Addr), usual.Raft)
	}
}

// sameNodes refuses other nodes than those whose data is in the folder: they would
// not belong to the cluster.
func (c *Cluster) sameNodes(before map[string]addresses) error {
	nodes := 0
	for _, a := range before {
		if a.Raft != "" {
			nodes++
		}
	}
	if nodes > 0 && !c.cfg.Unreplicated && nodes != c.cfg.Lookupds {
		return fmt.Errorf("the data in %s is that of %d nsqlookupds, not of %d", c.cfg.Dir, nodes, c.cfg.Lookupds)
	}
	return nil
}

// args returns the flags of p, which listens at the addresses at.
func (c *Cluster) args(p *Process, at addresses) []string {
	args := []string{"--http-address=" + at.HTTP}
	if p.Role == Admin {
		for _, l := range c.Lookupds() {
			args = append(args, "--lookupd-http-address="+l.HTTP)
		}
		return args
	}
	host, _, _ := net.SplitHostPort(at.TCP) // it is well formed
	args = append(args, "--tcp-address="+at.TCP, "--broadcast-address="+host)
	if p.Role == NSQD {
		if p.TCP != at.TCP {
			args = append(args, "--broadcast-tcp-port="+port(p.TCP), "--broadcast-http-port="+port(p.HTTP))
		}
		for _, l := range c.Lookupds() {
			args = append(args, "--lookupd-tcp-address="+l.TCP)
		}
		return append(args, "--data-path="+p.Data)
	}
	if p.Raft == "" {
		return args
	}
	var members []string
	for _, l := range c.Lookupds() {
		members = append(members, l.Name+"="+l.Raft)
	}
	return append(args, "--node-id="+p.Name, "--data-path="+p.Data, "--raft-address="+at.Raft,
		"--raft-advertise="+p.Raft, "--initial-cluster="+strings.Join(members, ","))
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // it is well formed
	return port
}

// cleanEnvironment is the own environment without what would configure the daemons.
func cleanEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "NSQLOOKUPD_") || strings.HasPrefix(entry, "NSQD_") || strings.HasPrefix(entry, "NSQADMIN_")
	})
}

// Processes returns all, nsqlookupds first, then nsqds.
func (c *Cluster) Processes() []*Process { return c.processes }

// Lookupds returns the nsqlookupds.
func (c *Cluster) Lookupds() []*Process { return c.of(Lookupd) }

// NSQDs returns the nsqds.
func (c *Cluster) NSQDs() []*Process { return c.of(NSQD) }

// Admin returns nsqadmin, nil if there is none.
func (c *Cluster) Admin() *Process {
	if all := c.of(Admin); len(all) > 0 {
		return all[0]
	}
	return nil
}

func (c *Cluster) of(role Role) []*Process {
	return slices.DeleteFunc(slices.Clone(c.processes), func(p *Process) bool { return p.Role != role })
}

// Process returns the one of that name, nil if there is none.
func (c *Cluster) Process(name string) *Process {
	for _, p := range c.processes {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Moved says, in a sentence each, which of stock's ports were taken, or those of
// the cluster that was in the folder before, and what is used instead.
func (c *Cluster) Moved() []string { return c.moved }

// Exits tells of processes that have ended without being asked to. Of those that
// nobody takes, the first 64 are kept.
func (c *Cluster) Exits() <-chan Exit { return c.exits }

// Close asks all to end, nsqadmin first and nsqlookupds last, waits for them, and
// returns the first error. What has not ended after 10 s is killed. It may be called
// twice, and while nothing runs.
func (c *Cluster) Close() error {
	var first error
	for _, role := range []Role{Admin, NSQD, Lookupd} {
		if err := c.stop(c.of(role)); err != nil && first == nil {
			first = err
		}
	}
	c.end()
	return first
}

func (c *Cluster) stop(processes []*Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), endWithin)
	defer cancel()
	errs := make([]error, len(processes))
	var wg sync.WaitGroup
	for i, p := range processes {
		wg.Go(func() {
			if err := p.Stop(ctx); err != nil && !errors.Is(err, ErrDown) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Kill ends all at once, as kill -9 does, and is otherwise as Close.
func (c *Cluster) Kill() {
	for _, p := range c.processes {
		if r := p.current(); r != nil {
			r.asked.Store(true)
			r.cmd.Process.Kill()
		}
	}
	for _, p := range c.processes {
		p.Kill() // an error says that it is down
	}
	c.end()
}

// end closes what remains when no process runs.
func (c *Cluster) end() {
	for _, p := range c.processes {
		for _, proxy := range p.proxies {
			proxy.close()
		}
	}
	c.http.CloseIdleConnections()
}
