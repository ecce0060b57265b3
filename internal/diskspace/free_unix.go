//go:build linux || darwin || freebsd

package diskspace

import "syscall"

// Free returns the bytes that an ordinary process may still write to the file system
// of dir. A disk that hangs may hang the caller.
func Free(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
