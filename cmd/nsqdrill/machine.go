package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// machine says on what the drill was made, dir being where the nodes have their data.
func machine(dir string) map[string]string {
	m := map[string]string{
		"os":    runtime.GOOS + "/" + runtime.GOARCH,
		"cores": fmt.Sprint(runtime.NumCPU()),
		"go":    runtime.Version(),
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m["kernel"] = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m["load before"], _, _ = strings.Cut(string(text), " ")
	}
	if d, err := fsyncCost(dir); err == nil {
		m["fsync of 4 KiB"] = d.Round(10 * time.Microsecond).String()
	}
	return m
}

// memory is how many bytes searches may take: a third of what is free, 0 if that is not
// known, which leaves it to the checkers.
func memory() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	_, free, _ := strings.Cut(string(text), "MemAvailable:")
	var kib int64
	fmt.Sscan(free, &kib) // 0 if it is not there
	return kib << 10 / 3
}

// fsyncs is how often fsyncCost measures.
const fsyncs = 20

// fsyncCost is what a write of 4 KiB and its fsync take in dir, in the mean.
func fsyncCost(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "fsync.tmp"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4096)
	begun := time.Now()
	for range fsyncs {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	return time.Since(begun) / fsyncs, nil
}
