package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dieWithParent asks the kernel to end a child with the bench, however that ends.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// clockTick is the unit of CPU times in /proc: 100 to the second on all of Linux's
// common architectures.
const clockTick = 10 * time.Millisecond

// usage returns what the process has used so far.
func (p *process) usage() (usage, error) {
	var u usage
	proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		return u, err
	}
	// The name in parentheses may hold anything; field 3 follows it.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	u.stopped = fields[0] == "T"
	for _, field := range fields[11:13] { // utime, stime
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return u, fmt.Errorf("read %sstat: %w", proc, err)
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	if u.resident, err = procValue(proc+"status", "VmRSS"); err != nil {
		return u, err
	}
	u.resident <<= 10 // kB
	if u.written, err = procValue(proc+"io", "wchar"); err != nil {
		return u, err
	}
	u.read, err = procValue(proc+"io", "rchar")
	return u, err
}

// procValue returns the number behind "key:" in a file of /proc.
func procValue(path, key string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strconv.ParseInt(strings.Fields(value)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, key)
}

// loadAverage returns how many processes wanted a core in the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}
