package nsqd

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// mayOpen raises the limit of descriptors to n, or as far as it goes, and returns it.
func mayOpen(t *testing.T, n uint64) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Skip(err)
	}
	limit.Cur = min(n, limit.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Skip(err)
	}
	return int(limit.Cur)
}

// resident returns the bytes of memory that the process has.
func resident(t *testing.T) int64 {
	t.Helper()
	heap() // what is garbage does not count
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	var size, pages int64
	if _, err := fmt.Fscan(strings.NewReader(string(b)), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// What one connection of many that idle costs. It takes two descriptors each.
func TestIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("with -short")
	}
	const others = 200
	n := (mayOpen(t, 40_000+others) - others) / 2
	if n < 5000 {
		t.Skipf("only %d connections are allowed", n)
	}
	s := startServer(t, nil)
	before, heapBefore := resident(t), heap()
	conns := make([]net.Conn, n)
	errs := make(chan error, 8)
	for w := range cap(errs) {
		go func() {
			for i := w; i < n; i += cap(errs) {
				c, err := net.Dial("tcp", s.TCPAddr().String())
				if err != nil {
					errs <- fmt.Errorf("connection %d: %w", i, err)
					return
				}
				conns[i] = c
				if _, err := io.WriteString(c, "  V2NOP\n"); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
		eventually(t, "they are gone", func() bool { return s.clients.len() <= 1 })
	}()
	eventually(t, "all are connected", func() bool { return s.clients.len() == n })
	// What is resident is for the reader: it depends on what was there before, and on
	// the race detector.
	per := (heap() - heapBefore) / int64(n)
	t.Logf("%d idle connections: with the client's side %d bytes each on the heap, %d resident", n, per, (resident(t)-before)/int64(n))
	if per > readBuffer+4<<10 {
		t.Errorf("an idle connection takes %d bytes", per)
	}
	// Others are served.
	p := dial(t, s, pub("t#ephemeral", "m"))
	p.want("OK")
}
