package nsqtest

import (
	"testing"

	"nsqraft/internal/ports"
)

// FreeAddress returns an address of this host that refuses connections until the test
// has something listen there, and again when that has ended.
func FreeAddress(t testing.TB) string {
	t.Helper()
	addr, err := ports.Free()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
