package main

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"nsqraft/internal/nsqtest/commandtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWrongFlags(t *testing.T) {
	commandtest.Refuse(t, run, []commandtest.WrongFlags{
		{"--no-such-flag", 2, "not defined: -no-such-flag"},
		{"--n=many", 2, "many"},
		{"--consumer-opt=nothing", 2, "invalid option nothing"},
		{"--consumer-opt=max_attempts,x", 2, "max_attempts"},
		{"--topic=a", 1, "--nsqd-tcp-address or --lookupd-http-address required"},
		{"--topic=a --nsqd-tcp-address=b:1 --lookupd-http-address=c:1", 1, "not both"},
		{"--nsqd-tcp-address=b:1", 1, "--topic required"},
		{"--topic=a --nsqd-tcp-address=b:1 -n=-1", 1, "-n must not be negative"},
	})
}

func TestNoSuchTopicName(t *testing.T) {
	n := nsqdtest.Start(t)
	c := commandtest.Start(t, run, "--topic=a b", "--nsqd-tcp-address="+n.TCP)
	if code := c.Wait(); code != 1 {
		t.Errorf("code %d, want 1", code)
	}
	c.Stderr.Await(t, "ERROR: consume a b/.*: invalid topic name\n")
}

func TestPrints(t *testing.T) {
	n := nsqdtest.Start(t)
	bodies := []string{"plain", "two\nlines", "", "<&>\x01", "\xff\xfe"}
	n.Post("/topic/create?topic=a", "")
	n.Post("/channel/create?topic=a&channel=text", "")
	n.Post("/channel/create?topic=a&channel=topic", "")
	n.Post("/channel/create?topic=a&channel=json", "")
	for _, body := range bodies {
		if body != "" { // which /pub does not take
			n.Publish("a", body)
		}
	}
	args := func(more ...string) []string {
		return append([]string{"--nsqd-tcp-address=" + n.TCP, "--topic=a", "-n=4"}, more...)
	}

	text := commandtest.Start(t, run, args("--channel=text")...)
	if code, want := text.Wait(), "plain\ntwo\nlines\n<&>\x01\n\xff\xfe\n"; code != 0 || text.Stdout.String() != want {
		t.Errorf("code %d, %q; want 0, %q", code, text.Stdout.String(), want)
	}
	withTopic := commandtest.Start(t, run, args("--channel=topic", "--print-topic")...)
	if code, want := withTopic.Wait(), "a | plain\na | two\nlines\na | <&>\x01\na | \xff\xfe\n"; code != 0 || withTopic.Stdout.String() != want {
		t.Errorf("code %d, %q; want 0, %q", code, withTopic.Stdout.String(), want)
	}

	objects := commandtest.Start(t, run, args("--channel=json", "--json")...)
	if code := objects.Wait(); code != 0 {
		t.Errorf("code %d", code)
	}
	var got []string
	for line := range strings.Lines(objects.Stdout.String()) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if r.Topic != "a" || r.NSQD != n.TCP || r.Attempts != 1 || len(r.ID) != 16 || r.Timestamp == 0 {
			t.Errorf("object %s", line)
		}
		body := r.Base64
		if r.Body != nil {
			body = []byte(*r.Body)
		}
		got = append(got, string(body))
	}
	if want := slices.DeleteFunc(bodies, func(s string) bool { return s == "" }); !slices.Equal(got, want) {
		t.Errorf("bodies %q, want %q", got, want)
	}

	// All that was printed is finished, the last one too.
	for _, channel := range []string{"text", "topic", "json"} {
		n.AwaitChannel("a", channel, func(c nsqdtest.Channel) bool { return c.Depth+c.InFlight+c.Deferred == 0 && c.Messages == 4 })
	}
}

// Of more messages than were asked for, the others stay in the channel.
func TestLeavesWhatItDoesNotPrint(t *testing.T) {
	n := nsqdtest.Start(t)
	n.Post("/topic/create?topic=a", "")
	n.Post("/channel/create?topic=a&channel=c", "")
	n.Publish("a", "1", "2", "3", "4", "5", "6", "7")
	c := commandtest.Start(t, run, "--nsqd-tcp-address="+n.TCP, "--topic=a", "--channel=c", "-n=3")
	if code := c.Wait(); code != 0 || c.Stdout.String() != "1\n2\n3\n" {
		t.Errorf("code %d, %q; want 0 and three messages", code, c.Stdout.String())
	}
	n.AwaitChannel("a", "c", func(c nsqdtest.Channel) bool { return c.Depth == 4 && c.InFlight == 0 && c.Deferred == 0 })
}

func TestSeveralTopics(t *testing.T) {
	n := nsqdtest.Start(t)
	c := commandtest.Start(t, run, "--nsqd-tcp-address="+n.TCP, "--topic=a", "--topic=b", "--print-topic")
	c.Stderr.Await(t, `tailing topic b`)
	n.AwaitChannel("a", "", func(c nsqdtest.Channel) bool { return c.Clients == 1 })
	n.AwaitChannel("b", "", func(c nsqdtest.Channel) bool { return c.Clients == 1 })
	n.Publish("a", "first")
	c.Stdout.Await(t, `a \| first\n`)
	n.Publish("b", "second")
	c.Stdout.Await(t, `b \| second\n`)
	if code := c.Stop(); code != 0 {
		t.Errorf("code %d after a signal", code)
	}
}

// A reader that goes away, as head does, ends the tail without complaint; one message
// that was not printed is not lost. A full disk is a failure.
func TestStdoutCloses(t *testing.T) {
	n := nsqdtest.Start(t)
	n.Post("/topic/create?topic=a", "")
	n.Post("/channel/create?topic=a&channel=c", "")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c := commandtest.StartWith(t, run, nil, w, "--nsqd-tcp-address="+n.TCP, "--topic=a", "--channel=c")
	n.Publish("a", "read")
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	n.Publish("a", "nobody reads this")
	if code := c.Wait(); code != 0 {
		t.Errorf("code %d, want 0", code)
	}
	n.AwaitChannel("a", "c", func(c nsqdtest.Channel) bool { return c.Depth == 1 && c.InFlight == 0 })

	c = commandtest.StartWith(t, run, nil, full{}, "--nsqd-tcp-address="+n.TCP, "--topic=a", "--channel=c")
	if code := c.Wait(); code != 1 {
		t.Errorf("code %d with a full disk, want 1", code)
	}
	c.Stderr.Await(t, "ERROR: write to stdout: no space\n")
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }
