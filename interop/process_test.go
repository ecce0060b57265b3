package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// stopTimeout is how long a process may take to stop after SIGTERM.
const stopTimeout = 15 * time.Second

// A process is one daemon started by a test. It can be ended and started again
// with the same arguments; its log goes on in the same file and is shown if the
// test fails. It does not outlive the test.
type process struct {
	t    testing.TB
	name string
	bin  string
	args []string
	log  string // path

	// Both nil while it does not run.
	cmd    *exec.Cmd
	exited chan struct{} // closed once cmd has been waited for
}

// newProcess prepares a process, without starting it.
func newProcess(t testing.TB, name, bin string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, bin: bin, args: args, log: filepath.Join(t.TempDir(), name+".log")}
	t.Cleanup(func() {
		p.kill()
		if *raceOurs {
			p.wantNoRace()
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, tail(p.log, 80))
		}
	})
	return p
}

// wantNoRace fails the test if the race detector has written to the log.
func (p *process) wantNoRace() {
	log, err := os.ReadFile(p.log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // never started
		p.t.Error(err)
	}
	if i := bytes.Index(log, []byte("WARNING: DATA RACE")); i >= 0 {
		p.t.Errorf("data race in %s:\n%s", p.name, log[i:min(len(log), i+4000)])
	}
}

// start starts the process; it does not wait for it to listen.
func (p *process) start() {
	p.t.Helper()
	if p.cmd != nil {
		p.t.Fatalf("%s runs already", p.name)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close() // the child has its own copy
	cmd := exec.Command(p.bin, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait() // its status is in cmd.ProcessState
	}()
	p.cmd, p.exited = cmd, exited
}

// running reports an error if the process is not running: ended on its own, or
// never started.
func (p *process) running() error {
	if p.cmd == nil {
		return fmt.Errorf("%s is not running", p.name)
	}
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended: %v\n%s", p.name, p.cmd.ProcessState, tail(p.log, 20))
	default:
		return nil
	}
}

// kill ends the process as kill -9 does and waits for it. It may have ended already.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Kill() // an error says that it has gone by itself
	<-p.exited
	p.cmd, p.exited = nil, nil
}

// stop ends the process with SIGTERM.
func (p *process) stop() {
	p.t.Helper()
	p.stopWith(syscall.SIGTERM)
}

// stopWith sends the process a signal that asks it to stop. One that takes too long
// or ends with another status than 0 fails the test.
func (p *process) stopWith(sig syscall.Signal) {
	p.t.Helper()
	if err := p.running(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("stop %s: %v", p.name, err)
	}
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.t.Fatalf("%s still runs %v after %v", p.name, stopTimeout, sig)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s stopped with status %d, want 0", p.name, code)
	}
	p.cmd, p.exited = nil, nil
}

// logged returns how long the process's log is now.
func (p *process) logged() int64 {
	info, err := os.Stat(p.log)
	if err != nil {
		return 0 // it has not started yet
	}
	return info.Size()
}

// says returns a check that the process's log has text in it, beyond its first
// from bytes.
func (p *process) says(text string, from int64) func() error {
	return func() error {
		b, err := os.ReadFile(p.log)
		if err == nil && !bytes.Contains(b[from:], []byte(text)) {
			err = fmt.Errorf("%s does not say %q", p.name, text)
		}
		return err
	}
}

// tail returns the last n lines of a file.
func tail(path string, n int) []byte {
	b, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-1-n):], nil)
}

// Ports come from below the range that Linux gives to outgoing connections, and from
// beyond the one that nsqctl and nsqdrill choose from, so that the port of a node that
// is down is still free when it comes back.
const (
	firstPort = 28000
	lastPort  = 31999
)

var nextPort atomic.Uint32

var seedPorts = sync.OnceFunc(func() { nextPort.Store(rand.Uint32N(lastPort - firstPort)) })

// freeAddr returns a loopback address at which nothing listens and that no
// other test of this run will be given.
func freeAddr(t testing.TB) string {
	t.Helper()
	seedPorts()
	for range lastPort - firstPort {
		port := firstPort + nextPort.Add(1)%(lastPort-firstPort)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
		// Not by listening there: a process that is being started by another test would
		// hold the listener for a moment longer.
		conn, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return addr
		}
		if err == nil {
			conn.Close()
		}
	}
	t.Fatal("no free port")
	return ""
}

// eventually calls check until it returns nil. The test fails with check's last
// error if that takes longer than within.
func eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
