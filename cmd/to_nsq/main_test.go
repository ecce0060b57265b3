package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nsqraft/internal/nsqtest"
	"nsqraft/internal/nsqtest/commandtest"
	"nsqraft/internal/nsqtest/lookupdtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

func TestWrongFlags(t *testing.T) {
	commandtest.Refuse(t, run, []commandtest.WrongFlags{
		{"--no-such-flag", 2, "not defined: -no-such-flag"},
		{"--rate=fast", 2, "fast"},
		{"--nsqd-tcp-address=a:1", 1, "--topic required"},
		{"--topic=a(b) --nsqd-tcp-address=a:1", 1, "--topic is invalid"},
		{"--topic=t", 1, "--nsqd-tcp-address or --lookupd-http-address required"},
		{"--topic=t --nsqd-tcp-address=a:1 --lookupd-http-address=b:1", 1, "not both"},
		{"--topic=t --nsqd-tcp-address=a", 1, `--nsqd-tcp-address: "a" must be host:port`},
		{"--topic=t --lookupd-http-address=ftp://a:1", 1, "--lookupd-http-address: "},
		{"--topic=t --nsqd-tcp-address=a:1 --delimiter=", 1, "--delimiter must be a single byte"},
		{"--topic=t --nsqd-tcp-address=a:1 --delimiter=ab", 1, "--delimiter must be a single byte"},
		{"--topic=t --nsqd-tcp-address=a:1 --rate=-1", 1, "--rate must not be negative"},
		{"--topic=t --nsqd-tcp-address=a:1 --producer-opt=read_timeout,1s", 1, "--producer-opt: "},
	})
}

// sink creates a channel for what is published to topic t of n.
func sink(n *nsqdtest.NSQD) {
	n.Post("/topic/create?topic=t", "")
	n.Post("/channel/create?topic=t&channel=sink", "")
}

// received returns the messages that wait in channel sink of topic t, in their order.
func received(t *testing.T, n *nsqdtest.NSQD, messages int64) []string {
	t.Helper()
	n.AwaitChannel("t", "sink", func(c nsqdtest.Channel) bool { return c.Depth >= messages })
	return n.Take("t", "sink", int(messages))
}

func TestRecords(t *testing.T) {
	for _, tt := range []struct {
		input, delimiter string
		want             []string
	}{
		{"", "\n", nil},
		{"a\nb\n", "\n", []string{"a", "b"}},
		{"a\nunterminated", "\n", []string{"a", "unterminated"}},
		{"\n\na\r\n\n", "\n", []string{"a\r"}},
		{"a,b\n,c", ",", []string{"a", "b\n", "c"}},
		{"a\x00b", "\x00", []string{"a", "b"}},
		{strings.Repeat("x", 1<<20) + "\ny", "\n", []string{strings.Repeat("x", 1<<20), "y"}},
	} {
		a, b := nsqdtest.Start(t), nsqdtest.Start(t)
		sink(a)
		sink(b)
		c := commandtest.StartWith(t, run, strings.NewReader(tt.input), nil,
			"--topic=t", "--delimiter="+tt.delimiter, "--nsqd-tcp-address="+a.TCP, "--nsqd-tcp-address="+b.TCP, "--nsqd-tcp-address="+a.TCP)
		if code := c.Wait(); code != 0 || c.Stdout.String() != "" {
			t.Errorf("%.20q: code %d, stdout %q", tt.input, code, c.Stdout.String())
		}
		for _, n := range []*nsqdtest.NSQD{a, b} {
			if got := received(t, n, int64(len(tt.want))); !slices.Equal(got, tt.want) {
				t.Errorf("%.20q: published %.50q, want %.50q", tt.input, got, tt.want)
			}
			if c, _ := n.Channel("t", "sink"); c.Messages != int64(len(tt.want)) {
				t.Errorf("%.20q: published %d messages, want %d", tt.input, c.Messages, len(tt.want))
			}
		}
	}
}

func TestFailures(t *testing.T) {
	n := nsqdtest.Start(t)
	sink(n)
	dead := nsqtest.FreeAddress(t)
	for _, tt := range []struct {
		name, addr string
		stdin      io.Reader
		want       string
	}{
		{"nobody listens", dead, strings.NewReader("a"), "ERROR: record 1: publish to " + dead + ": dial tcp"},
		{"too big for nsqd", n.TCP, strings.NewReader("\na\n" + strings.Repeat("x", 1<<20+1)), "ERROR: record 3: publish to " + n.TCP + ": E_BAD_MESSAGE PUB message too big 1048577 > 1048576"},
		{"no delimiter ever", n.TCP, io.MultiReader(strings.NewReader("a\n"), endless{}), `ERROR: record 2 of the input is longer than 128 MiB: is the delimiter "\\n" right\?`},
		{"input fails", n.TCP, io.MultiReader(strings.NewReader("a\n"), broken{}), "ERROR: read record 2: input/output error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := commandtest.StartWith(t, run, tt.stdin, nil, "--topic=t", "--nsqd-tcp-address="+tt.addr)
			if code := c.Wait(); code != 1 {
				t.Errorf("code %d, want 1", code)
			}
			c.Stderr.Await(t, tt.want)
		})
	}
}

// endless is an input without end and delimiter.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, fmt.Errorf("input/output error") }

func TestSignal(t *testing.T) {
	n := nsqdtest.Start(t)
	sink(n)
	r, w := io.Pipe()
	defer w.Close()
	c := commandtest.StartWith(t, run, r, nil, "--topic=t", "--nsqd-tcp-address="+n.TCP)
	fmt.Fprint(w, "a\nb\nunfinished")
	n.AwaitChannel("t", "sink", func(c nsqdtest.Channel) bool { return c.Depth == 2 })
	if code := c.Stop(); code != 0 {
		t.Errorf("code %d after a signal", code)
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace{rate: 10}
		send := func(n int) time.Duration {
			begun := time.Now()
			for range n {
				if !p.wait(t.Context()) {
					t.Fatal("ended")
				}
			}
			return time.Since(begun)
		}
		if took := send(21); took != 2*time.Second {
			t.Errorf("21 messages at 10 a second took %v, want 2s", took)
		}
		time.Sleep(time.Hour)
		if took := send(21); took != time.Second {
			t.Errorf("21 messages after a pause took %v, want 1s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p.wait(ctx) {
			t.Error("goes on when its context has ended")
		}
	})
}

// Of the nsqds that are listed it takes one that has the topic, and another when that
// one dies. One nsqlookupd that is down does not matter.
func TestFindsAnNSQD(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	nsqds := []*nsqdtest.NSQD{nsqdtest.Start(t, lookupd.TCP), nsqdtest.Start(t, lookupd.TCP), nsqdtest.Start(t, lookupd.TCP)}
	for _, n := range nsqds {
		n.Post("/topic/create?topic=other", "")
	}
	lookupd.AwaitProducers("other", 3)
	sink(nsqds[1])
	lookupd.AwaitProducers("t", 1)

	r, w := io.Pipe()
	c := commandtest.StartWith(t, run, r, nil, "--topic=t", "--lookupd-http-address="+nsqtest.FreeAddress(t), "--lookupd-http-address="+lookupd.HTTP)
	fmt.Fprint(w, "1\n2\n")
	if got, want := received(t, nsqds[1], 2), []string{"1", "2"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	c.Stderr.Await(t, "WARNING: nsqlookupd: 1 of 2 failed")
	nsqds[1].Close()
	fmt.Fprint(w, "3\n")
	if addr := c.Stderr.Await(t, `(?s)publishing to nsqd .*publishing to nsqd (\S+)\n`); addr != nsqds[0].TCP && addr != nsqds[2].TCP {
		t.Errorf("goes on with %s", addr)
	}
	w.Close()
	if code := c.Wait(); code != 0 {
		t.Errorf("code %d", code)
	}
	lookupd.AwaitProducers("t", 1)
}

func TestFindsNone(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	n := nsqdtest.Start(t, lookupd.TCP)
	sink(n)
	lookupd.AwaitProducers("t", 1)
	hung := hungNSQD(t)
	for _, tt := range []struct{ name, lookupd, input, want string }{
		{"no nsqlookupd", nsqtest.FreeAddress(t), "a", "ERROR: record 1: find an nsqd: "},
		{"refused", lookupd.HTTP, strings.Repeat("x", 2<<20), "ERROR: record 1: publish to " + n.TCP + ": E_BAD_MESSAGE"},
		{"hung", hung, "a", "(?s)ERROR: nsqd 127.0.0.1:.*: no answer after 2s\n.*ERROR: record 1: none of the 1 nsqds that are listed is alive and takes the message\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := commandtest.StartWith(t, run, strings.NewReader(tt.input), nil, "--topic=t", "--lookupd-http-address="+tt.lookupd)
			if code := c.Wait(); code != 1 {
				t.Errorf("code %d, want 1", code)
			}
			c.Stderr.Await(t, tt.want)
		})
	}
}

// hungNSQD returns the address of an nsqlookupd that lists one nsqd, which takes
// connections and says nothing.
func hungNSQD(t *testing.T) string {
	t.Helper()
	nsqd, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nsqd.Close() })
	lookupd, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	producers := map[string]any{"producers": []any{map[string]any{
		"broadcast_address": "127.0.0.1", "hostname": "h", "tcp_port": nsqd.Addr().(*net.TCPAddr).Port, "http_port": 1, "version": "1.3.0",
	}}}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Nsq-Content-Type", "nsq; version=1.0")
		json.NewEncoder(w).Encode(producers)
	})}
	go server.Serve(lookupd)
	t.Cleanup(func() { server.Close() })
	return lookupd.Addr().String()
}

func TestSplitAtKeepsNothingBack(t *testing.T) {
	s := bufio.NewScanner(io.MultiReader(strings.NewReader("a"), strings.NewReader("b;"), strings.NewReader(";c")))
	s.Split(splitAt(';'))
	var got []string
	for s.Scan() {
		got = append(got, s.Text())
	}
	if want := []string{"ab", "", "c"}; !slices.Equal(got, want) || s.Err() != nil {
		t.Errorf("records %q, %v; want %q", got, s.Err(), want)
	}
}
