package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	// stopTimeout bounds what a daemon may take to stop after SIGTERM.
	stopTimeout = 15 * time.Second
	// readyTimeout bounds each wait for daemons. It is long because it only tells
	// a slow machine from a broken one.
	readyTimeout = time.Minute
)

// A process is one daemon. It can be ended and started again with the same
// arguments and does not outlive the bench.
type process struct {
	name string
	bin  string
	args []string
	log  string // path
	in   []byte // standard input; nil: none

	// Both nil while it does not run.
	cmd    *exec.Cmd
	exited chan struct{} // closed once cmd has been waited for
}

func (b *bench) newProcess(name, bin string, args ...string) *process {
	p := &process{name: name, bin: bin, args: args, log: b.path(name + ".log")}
	b.procs = append(b.procs, p)
	return p
}

// path returns a path in this run's folder that no other call returns.
func (b *bench) path(name string) string {
	b.paths++
	return filepath.Join(b.temp, fmt.Sprintf("%03d-%s", b.paths, name))
}

// anyPath returns the pattern of all paths that path has returned for name.
func (b *bench) anyPath(name string) string { return filepath.Join(b.temp, "*-"+name) }

// start starts the process; it does not wait for it to listen.
func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own copy
	cmd := exec.Command(p.bin, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()
	if p.in != nil {
		cmd.Stdin = bytes.NewReader(p.in)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait() // its status is in cmd.ProcessState
	}()
	p.cmd, p.exited = cmd, exited
	return nil
}

// alive returns an error if the process has ended on its own.
func (p *process) alive() error {
	if p.cmd == nil {
		return fmt.Errorf("%s is not running", p.name)
	}
	select {
	case <-p.exited:
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s ended: %v\n%s", p.name, p.cmd.ProcessState, log[max(0, len(log)-2000):])
	default:
		return nil
	}
}

// kill ends the process as kill -9 does and returns once it is gone.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Kill() // an error says that it has gone by itself
	<-p.exited
	p.cmd, p.exited = nil, nil
}

// stop ends the process with SIGTERM and returns once it is gone.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.kill()
		return fmt.Errorf("%s did not stop within %v", p.name, stopTimeout)
	}
	state := p.cmd.ProcessState
	p.cmd, p.exited = nil, nil
	if !state.Success() {
		return fmt.Errorf("%s stopped with %v", p.name, state)
	}
	return nil
}

// killAll ends all that the bench has started.
func (b *bench) killAll() {
	for _, p := range b.procs {
		if p.cmd != nil {
			p.cmd.Process.Kill()
			<-p.exited
		}
	}
	b.procs = nil
}

// Ports come from below the range that Linux gives to outgoing connections, and from
// beyond the one that nsqctl and nsqdrill choose from, so that the port of a node that
// is down is still free when it comes back.
const firstPort, lastPort = 28000, 31999

var lastGiven = rand.IntN(lastPort - firstPort)

// freeAddr returns a loopback address at which nothing listens.
func freeAddr() (string, error) {
	for range lastPort - firstPort {
		lastGiven++
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+lastGiven%(lastPort-firstPort)))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr, nil
		}
	}
	return "", errors.New("no free port on 127.0.0.1")
}

func goBuild(dir, out, pkg string) error {
	cmd := exec.Command("go", "build", "-C", dir, "-trimpath", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// eventually calls check until it returns nil or readyTimeout is over.
func eventually(what string, check func() error) error {
	deadline := time.Now().Add(readyTimeout)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w", what, readyTimeout, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
