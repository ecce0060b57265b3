package clusterinfo

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nsqraft/internal/nsqtest/lookupdtest"
)

// watchTopics calls WatchTopics until the test ends, and returns what it tells.
func watchTopics(t *testing.T, c *Client, interval time.Duration, lookupds ...string) (topics chan []string, failed chan error) {
	topics, failed = make(chan []string, 100), make(chan error, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.WatchTopics(ctx, lookupds, interval, func(names []string) { topics <- names }, func(err error) { failed <- err })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return topics, failed
}

// until receives from ch until it is what want describes.
func until[T any](t *testing.T, ch <-chan T, what string, want func(T) bool) {
	t.Helper()
	timeout := time.After(patience)
	var last T
	for {
		select {
		case last = <-ch:
			if want(last) {
				return
			}
		case <-timeout:
			t.Fatalf("%s: got %v last", what, last)
		}
	}
}

func these(names ...string) func([]string) bool {
	return func(got []string) bool { return slices.Equal(got, names) }
}

func create(t *testing.T, lookupd, topic string) {
	t.Helper()
	if failed := failures(newClient().CreateTopic(t.Context(), Targets{Lookupds: []string{lookupd}}, topic)); failed != nil {
		t.Fatal(failed)
	}
}

// The interval is an hour: what is seen is seen by blocking queries.
func TestNewTopicsAreSeenAtOnce(t *testing.T) {
	l := lookupdtest.Start(t)
	c := newClient()
	topics, failed := watchTopics(t, c, time.Hour, l.HTTP)
	until(t, topics, "at first", these())
	for i, want := range [][]string{{"a"}, {"a", "b"}, {"a", "b", "c"}} {
		start := time.Now()
		create(t, l.HTTP, want[i])
		until(t, topics, "created", these(want...))
		t.Logf("seen %v after it was asked for", time.Since(start))
	}
	c.DeleteTopic(t.Context(), Targets{Lookupds: []string{l.HTTP}}, "b")
	until(t, topics, "deleted", these("a", "c"))

	// One that was restarted has forgotten all, and its index is lower.
	l.Close()
	until(t, failed, "while it is away", func(err error) bool { return err != nil })
	l = lookupdtest.StartAt(t, l.TCP, l.HTTP)
	until(t, topics, "restarted", these())
	create(t, l.HTTP, "d")
	until(t, topics, "created", these("d"))
}

func TestOthersAreBelievedWhileOneFails(t *testing.T) {
	a, b := lookupdtest.Start(t), lookupdtest.Start(t)
	create(t, a.HTTP, "a")
	create(t, b.HTTP, "b")
	topics, _ := watchTopics(t, newClient(), time.Hour, a.HTTP, b.HTTP, dead(t))
	until(t, topics, "both", these("a", "b"))
	b.Close()
	until(t, topics, "one", these("a"))
	create(t, a.HTTP, "c")
	until(t, topics, "created", these("a", "c"))
}

// register announces an nsqd of topic, for as long as the connection is open.
func register(t *testing.T, lookupd string, port int, topic string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", lookupd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	identity, _ := json.Marshal(map[string]any{"broadcast_address": "127.0.0.1", "hostname": "h", "tcp_port": port, "http_port": port + 1, "version": "1.3.0"})
	fmt.Fprintf(conn, "  V1IDENTIFY\n%s%s", binary.BigEndian.AppendUint32(nil, uint32(len(identity))), identity)
	fmt.Fprintf(conn, "REGISTER %s\n", topic)
	for range 2 {
		var size [4]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(size[:]))); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

func TestNewProducersAreSeenAtOnce(t *testing.T) {
	l := lookupdtest.Start(t)
	seen := make(chan []*Producer, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		newClient().WatchProducers(ctx, []string{l.HTTP}, "t", time.Hour, func(p []*Producer) { seen <- p }, nil)
	}()
	defer func() {
		cancel()
		<-done
	}()
	ports := func(want ...int) func([]*Producer) bool {
		return func(got []*Producer) bool {
			return slices.EqualFunc(got, want, func(p *Producer, port int) bool { return p.TCPPort == port })
		}
	}
	until(t, seen, "of an unknown topic", ports())
	create(t, l.HTTP, "another")
	first := register(t, l.TCP, 1000, "t")
	until(t, seen, "registered", ports(1000))
	register(t, l.TCP, 2000, "t")
	until(t, seen, "the second", ports(1000, 2000))
	first.Close()
	until(t, seen, "without the first", ports(2000))
}

func TestStockIsPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeNet()
		fake.lookupd("l1:1", "a")
		fake.lookupd("l2:1", "b")
		c := newClient()
		c.http = &http.Client{Transport: fake}
		topics, failed := watchTopics(t, c, 10*time.Second, "l1:1", "l2:1", "l1:1")
		synctest.Wait()
		equal(t, "at first", <-topics, []string{"a", "b"})
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "changes while nothing changes", len(topics), 0)
		if n := fake.count("l1:1/topics"); n < 5 || n > 7 {
			t.Errorf("asked %d times in a minute, want every 10 s", n)
		}
		fake.lookupd("l1:1", "a,c")
		time.Sleep(12 * time.Second)
		synctest.Wait()
		equal(t, "a new one", <-topics, []string{"a", "b", "c"})

		fake.remove("l2:1")
		time.Sleep(12 * time.Second)
		synctest.Wait()
		equal(t, "without the second", <-topics, []string{"a", "c"})
		equal(t, "failures while one answers", len(failed), 0)

		fake.remove("l1:1")
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		equal(t, "changes while all fail", len(topics), 0)
		if n := len(failed); n < 5 || n > 35 {
			t.Errorf("%d failures in 3 minutes, want pauses that grow to 10 s", n)
		}
		if err := <-failed; !strings.Contains(err.Error(), "all 2 failed") {
			t.Errorf("got %v", err)
		}
		fake.lookupd("l2:1", "a,c")
		time.Sleep(12 * time.Second)
		synctest.Wait()
		equal(t, "changes when it is back with the same", len(topics), 0)
	})
}

// Too many blocking queries are answered at once: that must not become a storm.
func TestAnswersAtOnceAreNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		c := newClient()
		c.http = &http.Client{Transport: transport(func(r *http.Request) string {
			asked.Add(1)
			return `{"topics":["a"]}`
		})}
		topics, _ := watchTopics(t, c, time.Hour, "l:1")
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "topics", <-topics, []string{"a"})
		if n := asked.Load(); n < 30 || n > 80 {
			t.Errorf("asked %d times in a minute", n)
		}
	})
}

// A transport answers each request with a body, at an index that is always the same.
type transport func(*http.Request) string

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"X-Nsq-Index": {"7"}, "X-Nsq-Content-Type": {"nsq; version=1.0"}},
		Body:       io.NopCloser(strings.NewReader(f(r))),
	}, nil
}

func TestFirstAnswerWaitsForTheOthersALittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFakeNet()
		fake.lookupd("l1:1", "a")
		fake.hang("l2:1", true)
		c := newClient()
		c.http = &http.Client{Transport: fake}
		start := time.Now()
		topics, _ := watchTopics(t, c, time.Minute, "l1:1", "l2:1")
		equal(t, "topics", <-topics, []string{"a"})
		equal(t, "time", time.Since(start), settle)
	})
}
