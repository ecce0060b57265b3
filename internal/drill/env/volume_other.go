//go:build !linux

package env

import "errors"

// A volume is a file system of one process's own. There is none on this system.
type volume struct{}

var errNoVolume = errors.New("only on Linux")

func newVolume(dir, name string) (*volume, error) { return nil, errNoVolume }
func (v *volume) attach() error                   { return errNoVolume }
func (v *volume) detach() error                   { return errNoVolume }
func (v *volume) close() error                    { return errNoVolume }
func (v *volume) fill() error                     { return errNoVolume }
func (v *volume) free() error                     { return errNoVolume }
func (v *volume) full() bool                      { return false }
func (v *volume) writable() bool                  { return false }
func (v *volume) freeze() error                   { return errNoVolume }
func (v *volume) thaw() error                     { return errNoVolume }
func (v *volume) frozen() bool                    { return false }
func (v *volume) cutPower() error                 { return errNoVolume }
