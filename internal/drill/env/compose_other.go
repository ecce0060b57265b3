//go:build !linux

package env

import (
	"errors"
	"net"
)

// containerNetwork cuts nothing on this system, where containers run in another one.
type containerNetwork struct{}

func newContainerNetwork(func(string) (int, net.IP, error), *guardian) network {
	return containerNetwork{}
}

func (containerNetwork) missing(Kind) string { return "the network of containers is cut only on Linux" }

func (containerNetwork) set(all map[path]effect) error {
	if len(all) > 0 {
		return errors.New("the network of containers is cut only on Linux")
	}
	return nil
}

func (containerNetwork) counts(path) counts { return counts{} }
func (containerNetwork) close() error       { return nil }
