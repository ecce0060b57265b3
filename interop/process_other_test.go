//go:build !linux

package interop

import (
	"errors"
	"syscall"
)

// dieWithParent has nothing to offer outside Linux.
func dieWithParent() *syscall.SysProcAttr { return nil }

const withoutSync = "run-without-sync"

// runWithoutSync has nothing to offer outside Linux either.
func runWithoutSync([]string) error { return errors.ErrUnsupported }
