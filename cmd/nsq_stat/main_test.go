package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nsqraft/internal/nsqtest"
	"nsqraft/internal/nsqtest/commandtest"
	"nsqraft/internal/nsqtest/lookupdtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWrongFlags(t *testing.T) {
	const from = "--topic=t --channel=c --nsqd-http-address=a:1 "
	commandtest.Refuse(t, run, []commandtest.WrongFlags{
		{"--no-such-flag", 2, "not defined: -no-such-flag"},
		{"--count=many", 2, "many"},
		{"--interval=2", 2, "interval"},
		{"--topic=t --channel=c", 1, "--nsqd-http-address or --lookupd-http-address required"},
		{from + "--lookupd-http-address=b:1", 1, "use --nsqd-http-address or --lookupd-http-address, not both"},
		{from + "--interval=0s", 1, "--interval should be positive"},
		{from + "--count=0", 1, "--count should be positive"},
		{from + "--http-client-connect-timeout=0s", 1, "--http-client-connect-timeout should be positive"},
		{from + "--http-client-request-timeout=-1s", 1, "--http-client-request-timeout should be positive"},
		{"--nsqd-http-address=a", 1, `--nsqd-http-address: "a" must be host:port`},
		{"--lookupd-http-address=ftp://a:1", 1, "--lookupd-http-address: "},
	})
}

// The rates of a row are sums over the nsqds that are in both samples, each over its
// own time.
func TestSince(t *testing.T) {
	begun := time.Now()
	at := func(seconds int, published, left int64) nodeSample {
		return nodeSample{begun.Add(time.Duration(seconds) * time.Second), counts{published: published, left: left}}
	}
	before := &sample{nodes: map[string]nodeSample{
		"steady": at(0, 100, 50), "slow": at(1, 100, 100), "restarted": at(0, 1000, 1000), "gone": at(0, 5, 5), "requeued": at(0, 7, 7),
	}}
	now := &sample{failed: 1, nodes: map[string]nodeSample{
		"steady": at(2, 120, 90), "slow": at(5, 140, 104), "restarted": at(2, 10, 10), "new": at(2, 1, 1), "requeued": at(2, 7, 3),
	}}
	r := now.since(before)
	if r.ingress != 20 || r.egress != 21 { // a second: 20/2+40/4, and 40/2+4/4
		t.Errorf("rates %v and %v, want 20 and 21", r.ingress, r.egress)
	}
	if r.published != 120+140+10+1+7 || r.nodes != 5 || r.failed != 1 {
		t.Errorf("row %+v", r)
	}
}

const header = `------rate------+----------------depth----------------+--------------metadata---------------
ingress  egress |   total     mem    disk inflt   def |     req     t-o         msgs clients
`

func TestRows(t *testing.T) {
	var out strings.Builder
	p := &printer{opts: &options{}, w: &out}
	if err := p.begin(); err != nil {
		t.Fatal(err)
	}
	r := row{ingress: 9.6, egress: 0.4, counts: counts{published: 12345, depth: 30, backendDepth: 10, inFlight: 4, deferred: 5, requeued: 6, timedOut: 7, clients: 8}}
	for range headerEvery {
		if err := p.print(r); err != nil {
			t.Fatal(err)
		}
	}
	const line = "     10       0 |      30      20      10     4     5 |       6       7        12345       8\n"
	if want := header + strings.Repeat(line, headerEvery-1) + header + line; out.String() != want {
		t.Errorf("printed\n%swant\n%s", out.String(), want)
	}
}

// fill makes two nsqds with topic a, channels c and d, and on the first one topic b.
func fill(t *testing.T, lookupds ...string) (x, y *nsqdtest.NSQD) {
	x, y = nsqdtest.Start(t, lookupds...), nsqdtest.Start(t, lookupds...)
	for _, n := range []*nsqdtest.NSQD{x, y} {
		n.Post("/topic/create?topic=a", "")
		n.Post("/channel/create?topic=a&channel=c", "")
		n.Post("/channel/create?topic=a&channel=d", "")
	}
	x.Publish("a", "1", "2")
	y.Publish("a", "3")
	x.Publish("b", "4")
	return x, y
}

// rows decodes what --json printed.
func rows(t *testing.T, c *commandtest.Command) (objects []object) {
	t.Helper()
	for line := range strings.Lines(c.Stdout.String()) {
		var o object
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		objects = append(objects, o)
	}
	return objects
}

func TestSums(t *testing.T) {
	x, y := fill(t)
	for _, tt := range []struct {
		args            string
		depth, messages int64
	}{
		{"--topic=a --channel=c", 3, 3},
		{"--topic=a", 6, 3}, // waiting in both channels
		{"", 7, 4},          // and in topic b, which has none
		{"--channel=d", 3, 3},
	} {
		args := append(strings.Fields(tt.args), "--json", "--count=2", "--interval=10ms", "--nsqd-http-address="+x.HTTP, "--nsqd-http-address="+y.HTTP)
		c := commandtest.Start(t, run, args...)
		if code := c.Wait(); code != 0 {
			t.Errorf("%s: code %d", tt.args, code)
		}
		got := rows(t, c)
		if len(got) != 2 {
			t.Fatalf("%s: %d rows, want 2", tt.args, len(got))
		}
		for _, o := range got {
			if o.Depth != tt.depth || o.MemoryDepth != tt.depth || o.Messages != tt.messages || o.Nodes != 2 || o.FailedNodes != 0 || o.Ingress != 0 || o.Egress != 0 {
				t.Errorf("%s: %+v, want depth %d of %d messages", tt.args, o, tt.depth, tt.messages)
			}
		}
	}
}

// What goes in and out is seen in the rates. How great they are is for TestSince.
func TestRates(t *testing.T) {
	x, y := fill(t)
	c := commandtest.Start(t, run, "--topic=a", "--channel=c", "--json", "--interval=50ms", "--nsqd-http-address="+x.HTTP, "--nsqd-http-address="+y.HTTP)
	c.Stdout.Await(t, `"message_count":3`)
	for i := range 20 {
		y.Publish("a", fmt.Sprint(i))
	}
	c.Stdout.Await(t, `"message_count":23`)
	x.Post("/channel/empty?topic=a&channel=c", "")
	c.Stdout.Await(t, `"depth":21`)
	if code := c.Stop(); code != 0 {
		t.Errorf("code %d after a signal", code)
	}
	var in, out float64
	for _, o := range rows(t, c) {
		in, out = in+o.Ingress, out+o.Egress
	}
	if in <= 0 || out <= 0 {
		t.Errorf("rates say nothing went in and out:\n%s", c.Stdout.String())
	}
}

func TestNothingToLookAt(t *testing.T) {
	x, _ := fill(t)
	dead := nsqtest.FreeAddress(t)
	for _, tt := range []struct{ args, want string }{
		{"--topic=zz --nsqd-http-address=" + x.HTTP, `ERROR: failed to find topic "zz" on any nsqd`},
		{"--topic=b --channel=c --nsqd-http-address=" + x.HTTP, `ERROR: failed to find channel "c" of topic "b" on any nsqd`},
		{"--topic=a --nsqd-http-address=" + dead, "ERROR: failed to get nsqd stats: " + dead},
		{"--topic=a --lookupd-http-address=" + dead, "ERROR: failed to get topic producers: .*" + dead},
	} {
		c := commandtest.Start(t, run, strings.Fields(tt.args)...)
		if code := c.Wait(); code != 1 || c.Stdout.String() != "" {
			t.Errorf("%s: code %d, stdout %q", tt.args, code, c.Stdout.String())
		}
		c.Stderr.Await(t, tt.want)
	}
}

// One nsqlookupd or nsqd that is down is mentioned, and the others are looked at; when
// all nsqlookupds are gone, the nsqds they had listed are.
func TestSomeAreDown(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	x, y := fill(t, lookupd.TCP)
	lookupd.AwaitProducers("a", 2)
	c := commandtest.Start(t, run, "--topic=a", "--channel=c", "--json", "--interval=20ms",
		"--lookupd-http-address="+nsqtest.FreeAddress(t), "--lookupd-http-address="+lookupd.HTTP)
	c.Stdout.Await(t, `"depth":3,.*"nodes":2,"failed_nodes":0`)
	c.Stderr.Await(t, "WARNING: nsqlookupd: 1 of 2 failed: ")
	lookupd.Close()
	c.Stderr.Await(t, "WARNING: failed to get topic producers, those of the last time are asked: ")
	y.Close()
	c.Stdout.Await(t, `"depth":2,.*"nodes":1,"failed_nodes":1`)
	x.Close()
	if code := c.Wait(); code != 1 {
		t.Errorf("code %d when nothing answers any more, want 1", code)
	}
}

func TestStdoutCloses(t *testing.T) {
	x, _ := fill(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := commandtest.StartWith(t, run, nil, w, "--interval=5ms", "--nsqd-http-address="+(&url.URL{Scheme: "http", Host: x.HTTP}).String())
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if code := c.Wait(); code != 0 {
		t.Errorf("code %d, want 0", code)
	}
}
