//go:build !unix || solaris || aix

package nsqd

import "os"

// flock does nothing where there is no flock(2), as stock.
func flock(*os.File) error { return nil }
