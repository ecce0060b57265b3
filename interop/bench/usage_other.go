//go:build !linux

package main

import (
	"errors"
	"syscall"
)

// dieWithParent has nothing to offer outside Linux.
func dieWithParent() *syscall.SysProcAttr { return nil }

func (p *process) usage() (usage, error) {
	return usage{}, errors.New("what a process uses is known on Linux only")
}

func loadAverage() string { return "unknown" }
