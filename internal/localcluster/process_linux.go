package localcluster

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes: a child has a process group of its own, so that Ctrl-C on the
// terminal reaches its parent alone, and is killed when the thread that started it
// ends. Threads of Go end with their process only, unless a goroutine that is locked
// to one ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// pause returns once the child has stopped.
func pause(child *os.Process) error {
	if err := child.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, child.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func resume(child *os.Process) error { return child.Signal(syscall.SIGCONT) }
