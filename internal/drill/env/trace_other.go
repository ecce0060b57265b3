//go:build !linux

package env

import (
	"context"
	"errors"
	"time"
)

func straceMissing() string { return "only on Linux, with strace" }

// A meddling is what is done to some system calls of a process: nothing, on this system.
type meddling struct{}

var logFull, logHung meddling

func slowSync(time.Duration) meddling { return meddling{} }

func meddle(context.Context, int, meddling) (undo, bool, error) {
	return nil, false, errors.New(straceMissing())
}
