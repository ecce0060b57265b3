//go:build unix && !solaris && !aix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// lock locks f until it is closed. taken says that another process has locked it;
// neither is true where the file system has no locks.
func lock(f *os.File) (locked, taken bool) {
	for {
		switch syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) {
		case syscall.EINTR:
		case syscall.EWOULDBLOCK:
			return false, true
		case nil:
			return true, false
		default:
			return false, false
		}
	}
}

// links is how many names the file has, -1 if that is not known.
func links(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Nlink)
	}
	return -1
}
