package nsqtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"

	"nsqraft/internal/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnKeepsTheContractOfNetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = connect(t, nsqtest.NewNetwork())
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

// connect returns both ends of a connection that a dialled to b.
func connect(t *testing.T, n *nsqtest.Network) (a, b net.Conn) {
	t.Helper()
	l, err := n.Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = n.Dial(t.Context(), "a", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

// receive reads len(want) bytes within a second.
func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Second))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

// silent demands that nothing comes for a minute.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	begin := time.Now()
	n, err := c.Read(make([]byte, 1))
	if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Minute {
		t.Fatalf("read %d bytes, %v after %v; want silence for a minute", n, err, time.Since(begin))
	}
}

func TestCutHoldsBackUntilHealed(t *testing.T) {
	faults := map[string]func(*nsqtest.Network){
		"cut":                 func(n *nsqtest.Network) { n.Cut("b", "a:7") },
		"isolate the dialler": func(n *nsqtest.Network) { n.Isolate("a") },
		"isolate the dialled": func(n *nsqtest.Network) { n.Isolate("b:1") },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := nsqtest.NewNetwork()
				a, b := connect(t, n)
				send(t, a, "before ")
				fault(n)
				send(t, a, "during ")
				a.Close()

				receive(t, b, "before ") // it had arrived
				silent(t, b)
				n.Heal()
				receive(t, b, "during ")
				if _, err := b.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("after the last byte: %v, want EOF", err)
				}
				b.Close()
			})
		})
	}
}

func TestCutFillsTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nsqtest.NewNetwork()
		a, b := connect(t, n)
		n.Isolate("b")
		a.SetWriteDeadline(time.Now().Add(time.Minute))
		sent, err := a.Write(make([]byte, 1<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || sent == 0 || sent == 1<<20 {
			t.Fatalf("wrote %d bytes, %v; want some and a time-out", sent, err)
		}
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			t.Errorf("%v is no net.Error that timed out", err)
		}
		n.Heal()
		receive(t, b, string(make([]byte, sent)))
		a.Close()
		b.Close()
	})
}

func TestDialWaitsForTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nsqtest.NewNetwork()
		l, err := n.Listen("b:1")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n.Cut("a", "b")

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		_, err = n.Dial(ctx, "a", "b:1")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("dial over a cut link: %v after %v, want a minute's wait", err, time.Since(begin))
		}

		time.AfterFunc(time.Hour, n.Heal)
		begin = time.Now()
		c, err := n.Dial(t.Context(), "a", "b:1")
		if err != nil || time.Since(begin) != time.Hour {
			t.Fatalf("dial until the link heals: %v after %v, want a connection after an hour", err, time.Since(begin))
		}
		c.Close()
	})
}

func TestIsolatedHostReachesItself(t *testing.T) {
	n := nsqtest.NewNetwork()
	n.Isolate("a")
	l, err := n.Listen("a:1")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := n.Dial(t.Context(), "a", "a:1")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestKillResetsAndRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nsqtest.NewNetwork()
		l, err := n.Listen("b:2")
		if err != nil {
			t.Fatal(err)
		}
		a, b := connect(t, n)
		accepted := make(chan error)
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
		read := make(chan error)
		go func() {
			_, err := a.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait() // both are blocked

		n.Kill("b")
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v, want net.ErrClosed", err)
		}
		if err := <-read; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read at the far end: %v, want ECONNRESET", err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write at the near end: %v, want ECONNRESET", err)
		}
		if _, err := n.Dial(t.Context(), "a", "b:2"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v, want ECONNREFUSED", err)
		}

		a.Close()
		b.Close()
		if l, err = n.Listen("b:2"); err != nil {
			t.Errorf("listen after a restart: %v", err)
		}
		l.Close()
	})
}

func TestKillBehindACutIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nsqtest.NewNetwork()
		a, b := connect(t, n)
		n.Cut("a", "b")
		n.Kill("b")
		silent(t, a)
		n.Heal()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after healing: %v, want ECONNRESET", err)
		}
		a.Close()
		b.Close()
	})
}

func TestListenerCloseResetsTheUnaccepted(t *testing.T) {
	n := nsqtest.NewNetwork()
	l, err := n.Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen("b:1"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second listener: %v, want EADDRINUSE", err)
	}
	c, err := n.Dial(t.Context(), "a", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want ECONNRESET", err)
	}
	c.Close()
}

func TestFullBacklogMakesDialsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nsqtest.NewNetwork()
		l, err := n.Listen("b:1")
		if err != nil {
			t.Fatal(err)
		}
		var conns []net.Conn
		dial := func(ctx context.Context) error {
			c, err := n.Dial(ctx, "a", "b:1")
			if err == nil {
				conns = append(conns, c)
			}
			return err
		}
		for err == nil {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err = dial(ctx)
			cancel()
		}
		if !errors.Is(err, context.DeadlineExceeded) || len(conns) == 0 {
			t.Fatalf("after %d dials: %v, want a time-out", len(conns), err)
		}
		time.AfterFunc(time.Minute, func() {
			if c, err := l.Accept(); err == nil {
				c.Close()
			}
		})
		if err := dial(t.Context()); err != nil {
			t.Errorf("dial after one was accepted: %v", err)
		}
		l.Close()
		for _, c := range conns {
			c.Close()
		}
	})
}
