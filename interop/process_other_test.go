//go:build !linux

package interop

import "syscall"

// dieWithParent has nothing to offer outside Linux.
func dieWithParent() *syscall.SysProcAttr { return nil }
