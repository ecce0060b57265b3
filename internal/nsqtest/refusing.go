package nsqtest

import (
	"net"
	"testing"
)

// Refusing returns an address of this host that refuses connections, unless somebody
// else begins to listen there meanwhile.
func Refusing(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	return ln.Addr().String()
}
