package env

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// straceMissing says why system calls of processes cannot be meddled with.
func straceMissing() string {
	if _, err := exec.LookPath("strace"); err != nil {
		return "it needs strace, which is not installed"
	}
	scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err == nil && strings.TrimSpace(string(scope)) != "0" && os.Geteuid() != 0 {
		return "strace may not trace other processes here: kernel.yama.ptrace_scope is not 0"
	}
	return ""
}

// A meddling is what is done to some system calls of a process.
type meddling struct {
	calls []string
	how   string   // as strace calls it
	shows []string // any of these in what strace says shows that it was done
}

// slowSync: each fsync takes d longer.
func slowSync(d time.Duration) meddling {
	return meddling{[]string{"fsync", "fdatasync"}, fmt.Sprintf("delay_enter=%d", d.Microseconds()), []string{"(DELAYED)"}}
}

// A node writes its log with pwrite64 and nothing else with it.
var (
	logFull = meddling{[]string{"pwrite64", "ftruncate", "fallocate"}, "error=ENOSPC", []string{"(INJECTED)"}}
	logHung = meddling{[]string{"pwrite64", "fsync", "fdatasync"}, "delay_enter=86400000000", []string{"pwrite64(", "sync("}}
)

const maxSaid = 4 << 10 // bytes of what strace says that are kept

// meddle does something to the system calls of a process, through strace, which lets go
// of the process when it ends.
func meddle(ctx context.Context, pid int, m meddling) (undo, bool, error) {
	if pid == 0 {
		return nil, false, errors.New("it does not run")
	}
	calls := strings.Join(m.calls, ",")
	cmd := exec.Command("strace", "-f", "-p", strconv.Itoa(pid), "-e", "trace="+calls, "-e", "inject="+calls+":"+m.how)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, false, err
	}
	if err := cmd.Start(); err != nil {
		return nil, false, err
	}
	shown, over := make(chan struct{}), make(chan string, 1)
	go func() { over <- m.listen(out, shown) }()
	end := func(context.Context) error {
		cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended with the process
		over <- <-over                      // what it said stays there for who ends it again
		cmd.Wait()                          // it ends with the signal
		return nil
	}
	select {
	case <-shown:
		return end, true, nil
	case said := <-over:
		cmd.Wait()
		return nil, false, fmt.Errorf("strace has ended: %s", strings.TrimSpace(said))
	case <-time.After(2 * seenWithin): // there was no such call
	case <-ctx.Done():
	}
	return end, false, nil
}

// listen reads what strace says until it ends, closes shown when it says that something
// was done, and returns the end of it.
func (m meddling) listen(out io.Reader, shown chan<- struct{}) (said string) {
	buf := make([]byte, maxSaid)
	for {
		n, err := out.Read(buf)
		said += string(buf[:n])
		if shown != nil && slices.ContainsFunc(m.shows, func(s string) bool { return strings.Contains(said, s) }) {
			close(shown)
			shown = nil
		}
		said = said[max(0, len(said)-maxSaid):]
		if err != nil {
			return said
		}
	}
}
