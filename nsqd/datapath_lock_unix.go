//go:build unix && !solaris && !aix

package nsqd

import (
	"os"
	"syscall"
)

// flock locks f until it is closed. Stock nsqd takes the same lock, so the two keep
// out of each other's way.
func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return err
		}
	}
}
