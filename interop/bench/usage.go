package main

import "time"

// usage is what a process has used.
type usage struct {
	cpu           time.Duration
	resident      int64 // bytes of memory
	read, written int64 // bytes by system calls: sockets, files, logs
	stopped       bool  // by SIGSTOP
}

// since returns what was used after earlier; memory is the difference.
func (u usage) since(earlier usage) usage {
	return usage{
		cpu:      u.cpu - earlier.cpu,
		resident: u.resident - earlier.resident,
		read:     u.read - earlier.read,
		written:  u.written - earlier.written,
	}
}
