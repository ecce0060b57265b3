package interop

import "syscall"

// dieWithParent asks the kernel to end a child when the test process ends in a
// way that runs no Cleanup: a time-out, or a signal.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
