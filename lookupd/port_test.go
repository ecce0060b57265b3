package lookupd

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/nsqtest"
)

// openPort returns an internal port at host:4162 for server of cluster.
func openPort(t *testing.T, network *nsqtest.Network, host, cluster, server string) *port {
	t.Helper()
	ln, err := network.Listen(host + ":4162")
	if err != nil {
		t.Fatal(err)
	}
	p := newPort(ln, host+":4162", func(ctx context.Context, addr string) (net.Conn, error) { return network.Dial(ctx, host, addr) }, hclog.NewNullLogger())
	p.self = func() (string, string) { return cluster, server }
	p.admit = func(to, from string) string {
		if to != server || from != cluster {
			return "not for you"
		}
		return ""
	}
	p.wg.Add(1)
	go p.serve()
	return p
}

func TestPortHandsEachKindToItsListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		a, b := openPort(t, network, "a", "c1", "a/1"), openPort(t, network, "b", "c1", "b/1")
		defer a.Close()
		defer b.Close()
		for kind, ln := range map[byte]net.Listener{kindRaft: b.raft, kindPeer: b.peer, kindStranger: b.stranger} {
			conn, reply, err := a.connect(t.Context(), kind, "b:4162", "b/1")
			if err != nil {
				t.Fatalf("kind %d: %v", kind, err)
			}
			if reply.Server != "b/1" || reply.Cluster != "c1" {
				t.Errorf("kind %d is answered by %v", kind, reply)
			}
			accepted, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			conn.Write([]byte("ping"))
			got := make([]byte, 4)
			if _, err := io.ReadFull(accepted, got); err != nil || string(got) != "ping" {
				t.Errorf("kind %d carries %q, %v", kind, got, err)
			}
		}
	})
}

// Only the race detector can see it fail.
func TestPortGivesUpADialWhileTLSBegins(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	p := newPort(newDeafListener(), "a:4162", func(context.Context, string) (net.Conn, error) { return client, nil }, hclog.NewNullLogger())
	p.self = func() (string, string) { return "c1", "a/1" }
	ctx, cancel := context.WithCancel(t.Context())
	p.tls = func() (server, client *tls.Config) {
		cancel()
		time.Sleep(10 * time.Millisecond) // for what the end of ctx sets off
		return nil, new(tls.Config)
	}
	if _, _, err := p.connect(ctx, kindPeer, "b:4162", "b/1"); err == nil {
		t.Error("connected after its context had ended")
	}
}

func TestPortRefusesWhoMeansAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		a, b := openPort(t, network, "a", "c1", "a/1"), openPort(t, network, "b", "c1", "b/2")
		stranger := openPort(t, network, "s", "c2", "s/1")
		defer a.Close()
		defer b.Close()
		defer stranger.Close()
		for _, tt := range []struct {
			name string
			from *port
			kind byte
			to   string
			ok   bool
		}{
			{"this instance", a, kindRaft, "b/2", true},
			{"the instance before", a, kindRaft, "b/1", false},
			{"no instance in particular", a, kindPeer, "", false},
			{"from another cluster", stranger, kindRaft, "b/2", false},
			{"a question of a stranger", stranger, kindStranger, "", true},
		} {
			conn, _, err := tt.from.connect(t.Context(), tt.kind, "b:4162", tt.to)
			if tt.ok != (err == nil) || (err != nil && !errors.Is(err, errRefused)) {
				t.Errorf("%s: got %v, want welcome %v", tt.name, err, tt.ok)
			}
			if conn != nil {
				conn.Close()
			}
		}
	})
}

// A connection that says nothing, or nonsense, is closed and keeps nobody out.
func TestPortSurvivesBadHellos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		b := openPort(t, network, "b", "c1", "b/1")
		defer b.Close()
		huge := binary.BigEndian.AppendUint16([]byte{kindRaft}, 65535)
		for name, hello := range map[string][]byte{
			"silence":      nil,
			"unknown kind": {9, 0, 0},
			"half a hello": {kindRaft, 0, 200, 1, 2, 3},
			"too long":     append(huge, bytes.Repeat([]byte{1}, 70000)...),
			"garbage":      append([]byte{kindPeer, 0, 3}, 0xff, 0xff, 0xff),
			"TLS":          []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		} {
			conn, err := network.Dial(t.Context(), "x", "b:4162")
			if err != nil {
				t.Fatal(err)
			}
			go conn.Write(hello)
			begun := time.Now()
			io.Copy(io.Discard, conn)
			if took := time.Since(begun); took > helloTimeout+time.Second {
				t.Errorf("%s: held open for %v", name, took)
			}
			conn.Close()
		}
		a := openPort(t, network, "a", "c1", "a/1")
		defer a.Close()
		if _, _, err := a.connect(t.Context(), kindRaft, "b:4162", "b/1"); err != nil {
			t.Errorf("after all of them: %v", err)
		}
	})
}

func TestPortCloseEndsLiveConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		a, b := openPort(t, network, "a", "c1", "a/1"), openPort(t, network, "b", "c1", "b/1")
		conn, _, err := a.connect(t.Context(), kindRaft, "b:4162", "b/1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.raft.Accept(); err != nil {
			t.Fatal(err)
		}
		b.Close()
		if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "deadline") {
			t.Errorf("read from a closed port: %v, want the connection's end", err)
		}
		a.Close()
		if _, _, err := a.connect(t.Context(), kindRaft, "b:4162", "b/1"); err == nil {
			t.Error("a closed port still dials")
		}
	})
}
