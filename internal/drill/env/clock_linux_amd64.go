package env

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nsqraft/internal/localcluster"
)

// Programs of Go ask for the time through the vDSO, a small library that the kernel maps
// into each process. A page of it that is written to becomes the process's own, so what
// one process is told of the time can be changed without anything else noticing.

// clockMissing says why the clock of a process cannot be moved.
func clockMissing() string {
	scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err == nil && strings.TrimSpace(string(scope)) != "0" && os.Geteuid() != 0 {
		return "the memory of other processes may not be written here: kernel.yama.ptrace_scope is not 0"
	}
	return ""
}

// skew returns a function for clock_gettime's place that asks the kernel and adds d to
// the wall clock, and to no other.
func skew(d time.Duration) []byte {
	code := []byte{
		0xb8, 0xe4, 0x00, 0x00, 0x00, // mov  $228, %eax    clock_gettime
		0x0f, 0x05, //                   syscall
		0x85, 0xff, //                   test %edi, %edi     CLOCK_REALTIME is 0
		0x75, 0x0d, //                   jne  to ret
		0x48, 0xb9, //                   movabs $seconds, %rcx
	}
	code = binary.LittleEndian.AppendUint64(code, uint64(int64(d/time.Second)))
	return append(code,
		0x48, 0x01, 0x0e, //             add  %rcx, (%rsi)   tv_sec
		0xc3, //                         ret
	)
}

// moveClock moves the wall clock of p by whole seconds.
func moveClock(ctx context.Context, p *localcluster.Process, d time.Duration) (undo, bool, error) {
	if d.Abs() < time.Second {
		return nil, false, fmt.Errorf("a clock is moved by whole seconds, not by %v", d)
	}
	pid := p.PID()
	if pid == 0 {
		return nil, false, errors.New("it does not run")
	}
	at, err := clockFunction(pid)
	if err != nil {
		return nil, false, fmt.Errorf("vDSO of %s: %w", p.Name, err)
	}
	before, err := patch(p, at, skew(d))
	if err != nil {
		return nil, false, fmt.Errorf("vDSO of %s: %w", p.Name, err)
	}
	back := func(context.Context) error {
		if p.PID() != pid {
			return nil // what runs now has a clock like everybody's
		}
		_, err := patch(p, at, before)
		return err
	}
	off, err := clockOf(ctx, p.HTTP)
	return back, err == nil && (off-d).Abs() < 5*time.Second, nil
}

// clockFunction returns the address of clock_gettime in a process's vDSO.
func clockFunction(pid int) (int64, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		if !strings.Contains(line, "[vdso]") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			return 0, err
		}
		mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
		if err != nil {
			return 0, err
		}
		defer mem.Close()
		image := make([]byte, to-from)
		if _, err := mem.ReadAt(image, from); err != nil {
			return 0, err
		}
		offset, err := symbolIn(image, "__vdso_clock_gettime")
		return from + offset, err
	}
	return 0, errors.New("there is none")
}

func symbolIn(image []byte, name string) (int64, error) {
	lib, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	symbols, err := lib.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == name {
			if s.Size < uint64(len(skew(0))) {
				return 0, fmt.Errorf("%s has only %d bytes", name, s.Size)
			}
			return int64(s.Value), nil
		}
	}
	return 0, fmt.Errorf("there is no %s", name)
}

// patch writes code into a process while it is stopped and no thread of it is just
// there, and returns what was there before.
func patch(p *localcluster.Process, at int64, code []byte) (before []byte, err error) {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", p.PID()), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	paused := p.State() == localcluster.Paused
	for range 100 {
		if err := p.Pause(); err != nil {
			return nil, err
		}
		if !executes(p.PID(), at, at+int64(len(code))) {
			before = make([]byte, len(code))
			if _, err = mem.ReadAt(before, at); err == nil {
				_, err = mem.WriteAt(code, at)
			}
			if !paused {
				err = errors.Join(err, p.Resume())
			}
			return before, err
		}
		if paused {
			return nil, errors.New("it is paused while it asks for the time")
		}
		if err := p.Resume(); err != nil {
			return nil, err
		}
		time.Sleep(time.Millisecond)
	}
	return nil, errors.New("it asks for the time all the time")
}

// executes says whether a thread of a stopped process is in a range of addresses.
func executes(pid int, from, to int64) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid)) // the pattern is well formed
	for _, file := range threads {
		text, err := os.ReadFile(file)
		fields := strings.Fields(string(text))
		if err != nil || len(fields) == 0 {
			continue // it has ended
		}
		var pc int64
		if _, err := fmt.Sscanf(fields[len(fields)-1], "0x%x", &pc); err != nil || from <= pc && pc < to {
			return true // also if it does not stand still yet
		}
	}
	return false
}
