//go:build unix && !linux

package localcluster

import (
	"os"
	"syscall"
)

// childAttributes: a child has a process group of its own, so that Ctrl-C on the
// terminal reaches its parent alone.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func pause(child *os.Process) error { return child.Signal(syscall.SIGSTOP) }

func resume(child *os.Process) error { return child.Signal(syscall.SIGCONT) }
