//go:build !linux

package env

import "errors"

// OpenNetns starts a cluster in which each process has a network namespace of its own.
// This system has none.
func OpenNetns(ProcessesOptions) (*Processes, error) { return nil, errors.New(NetnsMissing()) }

// NetnsMissing says why OpenNetns cannot work here.
func NetnsMissing() string { return "network namespaces are a thing of Linux" }
