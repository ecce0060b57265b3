// Package diskspace tells how much more a file system takes.
package diskspace

import "errors"

// ErrUnknown is returned on systems where the free space cannot be told.
var ErrUnknown = errors.New("free disk space cannot be told on this system")
