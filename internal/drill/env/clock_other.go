//go:build !(linux && amd64)

package env

import (
	"context"
	"errors"
	"time"

	"nsqraft/internal/localcluster"
)

// clockMissing says why the clock of a process cannot be moved.
func clockMissing() string {
	return "the clock of one process can be moved only on Linux on amd64, and that of the whole machine is not touched"
}

func moveClock(context.Context, *localcluster.Process, time.Duration) (undo, bool, error) {
	return nil, false, errors.New(clockMissing())
}
