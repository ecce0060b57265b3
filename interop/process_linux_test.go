package interop

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"
)

// dieWithParent asks the kernel to end a child when the test process ends in a
// way that runs no Cleanup: a time-out, or a signal.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// withoutSync as the first argument makes the test binary run the rest as a
// command, see runWithoutSync.
const withoutSync = "run-without-sync"

// runWithoutSync becomes the command args, for which fsync and fdatasync do
// nothing and say that they did: what a disk does that lies, or a program that
// does not ask. It returns only if that cannot be done.
func runWithoutSync(args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	const (
		setNoNewPrivs, setSeccomp, modeFilter = 38, 22, 2 // of prctl

		load, jumpIfEqual, ret = 0x20, 0x15, 0x06 // of a filter: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
		allow, succeed         = 0x7fff0000, 0x00050000
	)
	filter := []syscall.SockFilter{
		{Code: load, K: 0}, // the system call's number
		{Code: jumpIfEqual, K: syscall.SYS_FSYNC, Jt: 2},
		{Code: jumpIfEqual, K: syscall.SYS_FDATASYNC, Jt: 1},
		{Code: ret, K: allow},
		{Code: ret, K: succeed}, // without doing it, with errno 0
	}
	program := syscall.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // the filter is this thread's, and of what it becomes
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setNoNewPrivs, 1, 0); errno != 0 {
		return fmt.Errorf("prctl: %w", errno)
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setSeccomp, modeFilter, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, args, os.Environ()))
}
