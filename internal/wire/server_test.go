package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// listen starts s on a loopback port and closes it with the test.
func listen(t *testing.T, s *Server) (addr string, served <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String(), done
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// echo answers each byte with itself until the connection ends.
func echo(conn net.Conn) { io.Copy(conn, conn) }

func expectEcho(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte{'x'}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatalf("no answer: %v", err)
	}
}

func expectEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read gave %v; want the end of the connection", err)
	}
}

func expectServed(t *testing.T, served <-chan error) {
	t.Helper()
	select {
	case err := <-served:
		if err != nil {
			t.Fatalf("Serve = %v, want nil", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve did not return")
	}
}

func TestServerClosesConnectionAfterHandler(t *testing.T) {
	s := NewServer(ServerOptions{Handler: func(net.Conn) {}, Logger: hclog.NewNullLogger()})
	addr, _ := listen(t, s)
	expectEnd(t, dial(t, addr))
}

func TestServerCloseWaitsForHandlers(t *testing.T) {
	var mu sync.Mutex
	ended := 0
	s := NewServer(ServerOptions{Logger: hclog.NewNullLogger(), Handler: func(conn net.Conn) {
		echo(conn)
		mu.Lock()
		ended++
		mu.Unlock()
	}})
	addr, served := listen(t, s)
	for range 3 {
		expectEcho(t, dial(t, addr))
	}
	for range 2 { // the second call finds nothing to do
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if ended != 3 {
			t.Errorf("%d handlers had ended when Close returned, want 3", ended)
		}
		mu.Unlock()
	}
	expectServed(t, served)
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("the listener is still open")
	}
}

func TestServerStopAccepting(t *testing.T) {
	s := NewServer(ServerOptions{Handler: echo, Logger: hclog.NewNullLogger()})
	addr, served := listen(t, s)
	conn := dial(t, addr)
	expectEcho(t, conn)
	for range 2 {
		if err := s.StopAccepting(); err != nil {
			t.Fatal(err)
		}
	}
	expectServed(t, served)
	expectEcho(t, conn)
	if late, err := net.Dial("tcp", addr); err == nil {
		late.Close()
		t.Error("the listener is still open")
	}
	s.Close()
	expectEnd(t, conn)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ln); err != nil {
		t.Errorf("Serve on a closed Server = %v, want nil", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed Server left its listener open: %v", err)
	}
}

func TestServerSurvivesPanic(t *testing.T) {
	var log bytes.Buffer
	s := NewServer(ServerOptions{
		Logger: hclog.New(&hclog.LoggerOptions{Output: &log}),
		Handler: func(conn net.Conn) {
			if b := make([]byte, 1); readByte(conn, b) && b[0] == '!' {
				panic("boom")
			}
			echo(conn)
		},
	})
	addr, _ := listen(t, s)
	good, bad := dial(t, addr), dial(t, addr)
	bad.Write([]byte{'!'})
	expectEnd(t, bad)
	good.Write([]byte{'.'})
	expectEcho(t, good)
	third := dial(t, addr)
	third.Write([]byte{'.'})
	expectEcho(t, third)
	s.Close() // after which log is no longer written
	for _, want := range []string{"[ERROR]", "panic in connection", "boom", bad.LocalAddr().String(), "server_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, log.String())
		}
	}
}

func readByte(conn net.Conn, b []byte) bool {
	_, err := io.ReadFull(conn, b)
	return err == nil
}

func TestServerMaxConns(t *testing.T) {
	s := NewServer(ServerOptions{Handler: echo, Logger: hclog.NewNullLogger(), MaxConns: 2})
	addr, _ := listen(t, s)
	first, second := dial(t, addr), dial(t, addr)
	expectEcho(t, first)
	expectEcho(t, second)

	third := dial(t, addr) // in the backlog
	third.Write([]byte{'x'})
	third.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Fatal("a third connection was served beside two, MaxConns is 2")
	}
	third.SetReadDeadline(time.Now().Add(10 * time.Second))
	first.Close()
	if _, err := io.ReadFull(third, make([]byte, 1)); err != nil {
		t.Fatalf("the third connection was not served after the first had ended: %v", err)
	}
}

func TestServerAdmit(t *testing.T) {
	gate := make(chan struct{})
	s := NewServer(ServerOptions{Handler: echo, Logger: hclog.NewNullLogger(), Admit: func(ctx context.Context) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	addr, served := listen(t, s)
	conn := dial(t, addr)
	conn.Write([]byte{'x'})
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Fatal("a connection was served before Admit returned")
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	gate <- struct{}{}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatalf("not served after Admit had returned: %v", err)
	}
	s.Close() // while Admit waits
	expectServed(t, served)
}

// failingListener fails each Accept until it is closed.
type failingListener struct {
	net.Listener
	accepts []time.Time // owned by Serve until it has returned
	closed  chan struct{}
	once    sync.Once
}

func (l *failingListener) Accept() (net.Conn, error) {
	l.accepts = append(l.accepts, time.Now())
	return nil, errors.New("too many open files")
}

func (l *failingListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *failingListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func TestServerBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(ServerOptions{Handler: echo, Logger: hclog.NewNullLogger(), MaxConns: 1})
		ln := &failingListener{closed: make(chan struct{})}
		done := make(chan error)
		go func() { done <- s.Serve(ln) }()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		s.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		<-ln.closed
		want := []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000}
		if len(ln.accepts) != len(want)+1 {
			t.Fatalf("%d accepts, want %d", len(ln.accepts), len(want)+1)
		}
		for i, ms := range want {
			if got := ln.accepts[i+1].Sub(ln.accepts[i]); got != ms*time.Millisecond {
				t.Errorf("pause %d was %v, want %v", i, got, ms*time.Millisecond)
			}
		}
	})
}

func TestServeReturnsErrorOfLostListener(t *testing.T) {
	s := NewServer(ServerOptions{Handler: echo, Logger: hclog.NewNullLogger()})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := s.Serve(ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v, want %v", err, net.ErrClosed)
	}
}
