package consume

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsqio/go-nsq"
	"go.uber.org/goleak"

	"nsqraft/internal/nsqtest"
	"nsqraft/internal/nsqtest/lookupdtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

// options parses args as a utility does.
func options(t *testing.T, stderr io.Writer, args ...string) *Options {
	t.Helper()
	o := NewOptions("test", log.New(stderr, "", 0))
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(stderr)
	o.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestValidate(t *testing.T) {
	tests := []struct {
		args []string
		want string // part of the error; "" for none
	}{
		{[]string{"--nsqd-tcp-address=a:4150"}, ""},
		{[]string{"--nsqd-tcp-address=[::1]:4150"}, ""},
		{[]string{"--lookupd-http-address=a:4161", "--lookupd-http-address=https://b/path"}, ""},
		{nil, "--nsqd-tcp-address or --lookupd-http-address required"},
		{[]string{"--nsqd-tcp-address=a:1", "--lookupd-http-address=b:1"}, "not both"},
		{[]string{"--nsqd-tcp-address=a"}, `--nsqd-tcp-address: "a" must be host:port`},
		{[]string{"--nsqd-tcp-address=http://a:1"}, "without a scheme"},
		{[]string{"--lookupd-http-address=a"}, `--lookupd-http-address: "a" must be host:port`},
		{[]string{"--lookupd-http-address=ftp://a:1"}, "http or https"},
		{[]string{"--lookupd-http-address=http://:4161"}, "http or https"},
		{[]string{"--nsqd-tcp-address=a:1", "--max-in-flight=-1"}, "MaxInFlight"},
	}
	for _, tt := range tests {
		err := options(t, io.Discard, tt.args...).Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %q", tt.args, err, tt.want)
		}
	}
}

// What a consumer reads, in order.
type inbox chan string

func (in inbox) HandleMessage(m *nsq.Message) error {
	in <- string(m.Body)
	return nil
}

func (in inbox) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-in:
		if got != want {
			t.Fatalf("consumed %q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("%q does not come", want)
	}
}

// start begins to consume topic/ch until the end of the test.
func start(t *testing.T, args ...string) inbox {
	t.Helper()
	out := new(nsqtest.Output)
	out.ShowIfFailed(t)
	o := options(t, out, args...)
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	in := make(inbox, 100)
	c, err := o.Start("topic", "ch", in, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return in
}

func TestGivenNSQDs(t *testing.T) {
	a, b := nsqdtest.Start(t), nsqdtest.Start(t)
	in := start(t, "--nsqd-tcp-address="+a.TCP, "--nsqd-tcp-address="+b.TCP, "--nsqd-tcp-address="+nsqtest.FreeAddress(t))
	a.Publish("topic", "from a")
	in.expect(t, "from a")
	b.Publish("topic", "from b")
	in.expect(t, "from b")

	// b comes back, empty, at the address it had.
	b.Close()
	tcp := b.TCP
	b = nsqdtest.StartAt(t, tcp, "127.0.0.1:0")
	b.Publish("topic", "from b again")
	in.expect(t, "from b again")
}

// An nsqd that comes late gets its share of max-in-flight at once, not when go-nsq
// looks again after five seconds.
func TestShares(t *testing.T) {
	const nsqds, tries, limit = 12, 2, 4 * time.Second
	fast := false
	for i := 0; i < tries && !fast; i++ { // the machine may be slow, but not always
		t.Run("try", func(t *testing.T) {
			o := options(t, io.Discard, "--max-in-flight=12", "--consumer-opt=lookupd_poll_interval,10ms")
			in := make(inbox, nsqds)
			fast = true
			var c *Consumer
			for range nsqds {
				n := nsqdtest.Start(t)
				n.Publish("topic", "m")
				begun := time.Now()
				if o.NSQDs = append(o.NSQDs, n.TCP); c == nil {
					var err error
					if c, err = o.Start("topic", "ch", in, 1); err != nil {
						t.Fatal(err)
					}
					defer c.Stop()
				} else {
					c.list(t.Context(), o.NSQDs)
				}
				in.expect(t, "m")
				fast = fast && time.Since(begun) < limit
			}
		})
	}
	if !fast {
		t.Errorf("an nsqd was not heard for %v", limit)
	}
}

// A consumer finds the nsqds that one of its nsqlookupds lists, those that come later
// too, and keeps them while no nsqlookupd answers.
func TestListedNSQDs(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	a := nsqdtest.Start(t, lookupd.TCP)
	a.Publish("topic", "from a")
	in := start(t, "--lookupd-http-address="+nsqtest.FreeAddress(t), "--lookupd-http-address="+lookupd.HTTP)
	in.expect(t, "from a")

	// The interval of polling is a minute, the patience of the test half of that.
	b := nsqdtest.Start(t, lookupd.TCP)
	b.Publish("topic", "from b")
	in.expect(t, "from b")

	lookupd.Close()
	a.Publish("topic", "without nsqlookupd")
	in.expect(t, "without nsqlookupd")

	tcp, http := a.TCP, a.HTTP
	a.Close()
	a = nsqdtest.StartAt(t, tcp, http)
	a.Publish("topic", "from a again")
	in.expect(t, "from a again")
}

// With a secret for nsqd, nsqlookupds are sent it too, as by go-nsq: there may be a
// proxy that wants it. An address may name what is asked there.
func TestLookupRequest(t *testing.T) {
	asked := make(chan *http.Request, 10)
	lookupd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		w.Header().Set("X-Nsq-Content-Type", "nsq; version=1.0")
		io.WriteString(w, `{"channels":[],"producers":[]}`)
	}))
	defer lookupd.Close()
	for flags, want := range map[string]string{
		"":                                  "",
		"--consumer-opt=auth_secret,s3cret": "Bearer s3cret",
		"--consumer-opt=auth_secret,s3cret --consumer-opt=skip_lookupd_authorization,false": "",
	} {
		t.Run(flags, func(t *testing.T) {
			start(t, append(strings.Fields(flags), "--lookupd-http-address="+lookupd.URL+"/proxied/lookup")...)
			select {
			case r := <-asked:
				if got := r.Header.Get("Authorization"); got != want || r.URL.RequestURI() != "/proxied/lookup?topic=topic" {
					t.Errorf("asked %s with Authorization %q, want %q", r.URL, got, want)
				}
			case <-time.After(patience):
				t.Error("asked nothing")
			}
		})
	}
}

// A topic that is deleted where it was consumed does not come back because of it.
func TestDeletedTopicStaysDeleted(t *testing.T) {
	n := nsqdtest.Start(t)
	out := new(nsqtest.Output)
	c, err := options(t, out, "--nsqd-tcp-address="+n.TCP, "--consumer-opt=lookupd_poll_interval,10ms").Start("topic", "ch", make(inbox, 1), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	c.list(t.Context(), nil)
	n.Publish("topic", "still connected")
	n.AwaitChannel("topic", "ch", func(c nsqdtest.Channel) bool { return c.Messages == 1 && c.Depth+c.InFlight == 0 })
	n.Post("/topic/delete?topic=topic", "")
	out.Await(t, "there are 0 connections left alive")
	c.Stop()
	if _, ok := n.Channel("topic", "ch"); ok {
		t.Errorf("the topic is there again:\n%s", out)
	}
}

// Messages that a handler takes no more go back once, and are not lost by being
// handed out again and again.
func TestNoMore(t *testing.T) {
	a, b := nsqdtest.Start(t), nsqdtest.Start(t)
	var handled atomic.Int64
	handler := nsq.HandlerFunc(func(m *nsq.Message) error {
		if handled.Add(1) > 3 {
			return fmt.Errorf("that is enough: %w", ErrNoMore)
		}
		return nil
	})
	c, err := options(t, io.Discard, "--nsqd-tcp-address="+a.TCP, "--nsqd-tcp-address="+b.TCP).Start("topic", "ch", handler, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	const each = 20
	for range each {
		a.Publish("topic", "m")
		b.Publish("topic", "m")
	}
	left := func() (depth, inFlight int64) {
		for _, n := range []*nsqdtest.NSQD{a, b} {
			c, _ := n.Channel("topic", "ch")
			depth, inFlight = depth+c.Depth, inFlight+c.InFlight
		}
		return depth, inFlight
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		depth, inFlight := left()
		if depth == 2*each-3 && inFlight == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages wait and %d are in flight, want %d and none", depth, inFlight, 2*each-3)
		}
	}
	c.Stop()
	if depth, inFlight := left(); depth != 2*each-3 || inFlight != 0 {
		t.Errorf("after the stop %d messages wait and %d are in flight, want %d and none", depth, inFlight, 2*each-3)
	}
}

// A consumer that is paused stays so when one more nsqd is connected.
func TestPausedStaysPaused(t *testing.T) {
	a, b := nsqdtest.Start(t), nsqdtest.Start(t)
	out, in := new(nsqtest.Output), make(inbox, 10)
	o := options(t, out, "--nsqd-tcp-address="+a.TCP)
	c, err := o.Start("topic", "ch", in, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	c.ChangeMaxInFlight(0)
	if err := c.connectAny([]string{b.TCP}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*nsqdtest.NSQD{a, b} {
		n.Publish("topic", "m")
		n.AwaitChannel("topic", "ch", func(c nsqdtest.Channel) bool { return c.Clients == 1 && c.Depth == 1 })
	}
	if len(in) != 0 {
		t.Errorf("%d messages came while none were asked for", len(in))
	}
	c.ChangeMaxInFlight(5)
	in.expect(t, "m")
	in.expect(t, "m")
}

func TestStartErrors(t *testing.T) {
	n := nsqdtest.Start(t)
	dead := nsqtest.FreeAddress(t)
	tests := []struct {
		topic, channel, addr, want string
	}{
		{"to pic", "ch", n.TCP, "invalid topic name"},
		{"topic", "", n.TCP, "invalid channel name"},
		{"topic", "ch", dead, "none of the nsqds can be connected to; " + dead},
	}
	for _, tt := range tests {
		c, err := options(t, io.Discard, "--nsqd-tcp-address="+tt.addr).Start(tt.topic, tt.channel, make(inbox), 1)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s/%s at %s: %v, want %q", tt.topic, tt.channel, tt.addr, err, tt.want)
		}
		if err == nil {
			c.Stop()
		}
	}
}

// Stop lets the handlers end, and what they have done is finished.
func TestStopDrains(t *testing.T) {
	n := nsqdtest.Start(t)
	begun, end := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(begun) })
	handler := nsq.HandlerFunc(func(m *nsq.Message) error {
		once()
		<-end
		if string(m.Body) == "bad" {
			return errors.New("refused by the test")
		}
		return nil
	})
	out := new(nsqtest.Output)
	c, err := options(t, out, "--nsqd-tcp-address="+n.TCP, "--consumer-opt=max_backoff_duration,0s").Start("topic", "ch", handler, 2)
	if err != nil {
		t.Fatal(err)
	}
	n.Publish("topic", "good", "bad")
	<-begun
	n.AwaitChannel("topic", "ch", func(c nsqdtest.Channel) bool { return c.InFlight == 2 })
	stopped := make(chan struct{})
	go func() {
		c.Stop()
		close(stopped)
	}()
	close(end)
	<-stopped
	c.Stop() // harmless
	n.AwaitChannel("topic", "ch", func(c nsqdtest.Channel) bool {
		return c.InFlight == 0 && c.Requeued == 1 && c.Deferred == 1 && c.Depth == 0
	})
	if log := out.String(); strings.Contains(log, lossAddress) || !strings.Contains(log, fmt.Sprintf("(%s) connecting to nsqd", n.TCP)) {
		t.Errorf("log:\n%s", log)
	}
}
