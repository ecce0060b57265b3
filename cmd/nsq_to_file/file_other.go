//go:build !unix || solaris || aix

package main

import (
	"io/fs"
	"os"
)

// lock does nothing where there is no flock(2).
func lock(*os.File) (locked, taken bool) { return false, false }

// links is not known here.
func links(fs.FileInfo) int { return -1 }
