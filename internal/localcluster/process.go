package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Role is what a process is.
type Role int

const (
	Lookupd Role = iota
	NSQD
	Admin
)

// program returns the name of the binary.
func (r Role) program() string { return [...]string{"nsqlookupd", "nsqd", "nsqadmin"}[r] }

func (r Role) String() string { return r.program() }

// A State is what a process is doing.
type State int

const (
	Down State = iota
	Running
	Paused
)

func (s State) String() string { return [...]string{"down", "running", "paused"}[s] }

// ErrDown is returned by what needs a running process.
var ErrDown = errors.New("is not running")

// A Process is one daemon, which can be ended and started again with the same
// arguments. Start, Kill, Stop, Pause and Resume of one Process are for one goroutine
// at a time; everything else may be called at any time.
type Process struct {
	// Read-only after Open.

	Name string // n1, n2, ...; nsqd1, nsqd2, ...; nsqadmin
	Role Role
	TCP  string // address; nsqadmin has none
	HTTP string // address
	Raft string // a replicated nsqlookupd's: where the others reach it
	Log  string // file; each start adds to it
	Data string // folder; "" for nsqadmin and what keeps nothing

	path    string
	args    []string
	begin   func(*exec.Cmd) error
	proxies []*proxy
	ended   chan<- Exit

	mu  sync.Mutex
	run *run // nil while it is down
}

// A run is one life of a process.
type run struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone and has been waited for
	asked  atomic.Bool   // its end was
	paused atomic.Bool
}

// An Exit is the end of a process that nobody asked for.
type Exit struct {
	Process *Process
	At      time.Time
	How     string // as "exit status 1" or "signal: killed"
	LogEnd  string // the last lines it wrote
}

// Start starts a process that is down, and does not wait until it listens.
func (p *Process) Start() error {
	if p.current() != nil {
		return fmt.Errorf("start %s: it runs already", p.Name)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer log.Close() // the child has its own copy
	for _, proxy := range p.proxies {
		if err := proxy.listen(); err != nil {
			p.refuse()
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
	}
	r := &run{cmd: exec.Command(p.path, p.args...), exited: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.Env = cleanEnvironment()
	r.cmd.SysProcAttr = childAttributes()
	if err := p.begin(r.cmd); err != nil {
		p.refuse()
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.mu.Lock()
	p.run = r
	p.mu.Unlock()
	go p.wait(r)
	return nil
}

// refuse has all proxies refuse calls.
func (p *Process) refuse() {
	for _, proxy := range p.proxies {
		proxy.refuse()
	}
}

// wait sees to what follows the end of a process, whoever brought it about.
func (p *Process) wait(r *run) {
	r.cmd.Wait() // its status is in ProcessState
	p.refuse()
	p.mu.Lock()
	p.run = nil
	p.mu.Unlock()
	if !r.asked.Load() {
		select {
		case p.ended <- Exit{p, time.Now(), r.cmd.ProcessState.String(), p.LogEnd(logEndLines)}:
		default: // nobody has looked for a long time
		}
	}
	close(r.exited)
}

// current returns the life that p is in, nil if it is down.
func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// State returns what p is doing.
func (p *Process) State() State {
	r := p.current()
	switch {
	case r == nil:
		return Down
	case r.paused.Load():
		return Paused
	default:
		return Running
	}
}

// PID returns the process id, 0 while p is down.
func (p *Process) PID() int {
	if r := p.current(); r != nil {
		return r.cmd.Process.Pid
	}
	return 0
}

// Kill ends p as kill -9 does and returns once it is gone. ErrDown if it was before.
func (p *Process) Kill() error {
	r := p.current()
	if r == nil {
		return fmt.Errorf("kill %s: it %w", p.Name, ErrDown)
	}
	r.asked.Store(true)
	r.cmd.Process.Kill() // an error says that it has gone by itself
	<-r.exited
	return nil
}

// Stop asks p to end, with SIGTERM, and returns once it is gone; what is paused is
// resumed for that. When ctx ends before, p is killed, which is an error.
func (p *Process) Stop(ctx context.Context) error {
	r := p.current()
	if r == nil {
		return fmt.Errorf("stop %s: it %w", p.Name, ErrDown)
	}
	r.asked.Store(true)
	r.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has gone by itself
	r.resume()
	select {
	case <-r.exited:
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("stop %s: it did not end in time and was killed", p.Name)
	}
	if !r.cmd.ProcessState.Success() {
		return fmt.Errorf("stop %s: it ended with %s", p.Name, r.cmd.ProcessState)
	}
	return nil
}

// Pause stops p with SIGSTOP: its connections stay open, and it does nothing.
func (p *Process) Pause() error {
	r := p.current()
	if r == nil {
		return fmt.Errorf("pause %s: it %w", p.Name, ErrDown)
	}
	r.paused.Store(true)
	if err := pause(r.cmd.Process); err != nil {
		r.paused.Store(false)
		return fmt.Errorf("pause %s: %w", p.Name, err)
	}
	return nil
}

// Resume lets a paused process go on; one that is not paused it leaves alone.
func (p *Process) Resume() error {
	r := p.current()
	if r == nil {
		return fmt.Errorf("resume %s: it %w", p.Name, ErrDown)
	}
	if err := r.resume(); err != nil {
		return fmt.Errorf("resume %s: %w", p.Name, err)
	}
	return nil
}

func (r *run) resume() error {
	if !r.paused.Load() {
		return nil
	}
	err := resume(r.cmd.Process)
	r.paused.Store(false)
	return err
}

const (
	logEndLines = 10
	maxLogEnd   = 16 << 10
)

// LogEnd returns the last lines that p wrote, at most so many and 16 KiB.
func (p *Process) LogEnd(lines int) string {
	f, err := os.Open(p.Log)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	text := make([]byte, min(info.Size(), maxLogEnd))
	n, _ := f.ReadAt(text, info.Size()-int64(len(text)))
	all := strings.Split(strings.TrimRight(string(text[:n]), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
