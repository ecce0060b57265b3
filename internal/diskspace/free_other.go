//go:build !linux && !darwin && !freebsd

package diskspace

// Free returns ErrUnknown.
func Free(string) (int64, error) { return 0, ErrUnknown }
