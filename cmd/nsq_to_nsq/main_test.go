package main

import (
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"nsqraft/internal/nsqtest"
	"nsqraft/internal/nsqtest/commandtest"
	"nsqraft/internal/nsqtest/nsqdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWrongFlags(t *testing.T) {
	const from, to = "--topic=t --nsqd-tcp-address=a:1 ", "--destination-nsqd-tcp-address=b:1 "
	commandtest.Refuse(t, run, []commandtest.WrongFlags{
		{"--no-such-flag", 2, "not defined: -no-such-flag"},
		{"--producer-opt=nothing,1", 2, "invalid option nothing"},
		{"--topic=t " + to, 1, "--nsqd-tcp-address or --lookupd-http-address required"},
		{"--nsqd-tcp-address=a:1 " + to, 1, "--topic and --channel are required"},
		{from + to + "--channel=", 1, "--topic and --channel are required"},
		{from + to + "--channel=a(b)", 1, "--channel is invalid"},
		{from + to + "--topic=a(b)", 1, "--topic is invalid"},
		{from + to + "--destination-topic=a(b)", 1, "--destination-topic is invalid"},
		{from, 1, "--destination-nsqd-tcp-address required"},
		{from + "--destination-nsqd-tcp-address=http://b:1", 1, "without a scheme"},
		{from + to + "--mode=hostpol", 1, `not "hostpol"`},
		{from + to + "--require-json-value=1", 1, "--require-json-value needs --require-json-field"},
		{from + to + "--producer-opt=read_timeout,1s", 1, "--producer-opt: "},
	})
}

func TestFilter(t *testing.T) {
	const object = `{"n": 9007199254740993, "s":"a<b", "o": {"z":1,"a":[]}, "nil":null}`
	tests := []struct {
		filter     filter
		body, want string
		err        error
	}{
		{filter{}, "no JSON at all", "no JSON at all", nil},
		{filter{field: "n"}, object, object, nil},
		{filter{field: "nil"}, object, object, nil},
		{filter{field: "x"}, object, "", errNotWanted},
		{filter{field: "n"}, "no JSON", "", errNoObject},
		{filter{field: "n"}, "[1]", "", errNoObject},
		{filter{field: "n"}, "null", "", errNotWanted},
		{filter{field: "s", value: "a<b"}, object, object, nil},
		{filter{field: "s", value: "a"}, object, "", errNotWanted},
		{filter{field: "x", value: "a"}, object, "", errFieldMissing},
		{filter{field: "n", value: "5.0"}, `{"n":5}`, `{"n":5}`, nil},
		{filter{field: "n", value: "5"}, `{"n":6}`, "", errNotWanted},
		{filter{field: "n", value: "5"}, `{"n":"5"}`, `{"n":"5"}`, nil},
		{filter{field: "n", value: "five"}, `{"n":5}`, "", errNotWanted},
		{filter{field: "n", value: "true"}, `{"n":true}`, "", errNotWanted},
		{filter{keep: []string{"n", "x"}}, object, `{"n":9007199254740993}`, nil},
		{filter{keep: []string{"o", "nil"}}, object, `{"nil":null,"o":{"z":1,"a":[]}}`, nil},
		{filter{keep: []string{"x"}}, object, `{}`, nil},
		{filter{keep: []string{"x"}}, "no JSON", "", errNoObject},
		{filter{field: "s", value: "a<b", keep: []string{"n"}}, object, `{"n":9007199254740993}`, nil},
	}
	for _, tt := range tests {
		got, err := tt.filter.compile().apply([]byte(tt.body))
		if string(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%+v of %s: %s, %v; want %s, %v", tt.filter, tt.body, got, err, tt.want, tt.err)
		}
	}
}

// start runs nsq_to_nsq from n, without pauses after failures.
func start(t *testing.T, n *nsqdtest.NSQD, args ...string) *commandtest.Command {
	return commandtest.Start(t, run, append([]string{"--channel=c", "--nsqd-tcp-address=" + n.TCP,
		"--consumer-opt=max_backoff_duration,0s", "--consumer-opt=default_requeue_delay,0s", "--consumer-opt=max_attempts,0"}, args...)...)
}

func finished(messages int64) func(nsqdtest.Channel) bool {
	return func(c nsqdtest.Channel) bool { return c.Messages == messages && c.Depth+c.InFlight+c.Deferred == 0 }
}

// received creates a channel for what is published to a topic of n.
func received(n *nsqdtest.NSQD, topic string) {
	n.Post("/topic/create?topic="+topic, "")
	n.Post("/channel/create?topic="+topic+"&channel=sink", "")
}

func TestTopics(t *testing.T) {
	from, to := nsqdtest.Start(t), nsqdtest.Start(t)
	received(to, "a")
	received(to, "b")
	received(to, "all")
	start(t, from, "--topic=a", "--topic=b", "--destination-nsqd-tcp-address="+to.TCP)
	c := start(t, from, "--topic=a", "--topic=b", "--channel=d", "--destination-nsqd-tcp-address="+to.TCP, "--destination-topic=all")
	for _, channel := range []string{"c", "d"} {
		from.AwaitChannel("a", channel, func(c nsqdtest.Channel) bool { return c.Clients == 1 })
		from.AwaitChannel("b", channel, func(c nsqdtest.Channel) bool { return c.Clients == 1 })
	}
	from.Publish("a", "1", "2", "3")
	from.Publish("b", "4")
	to.AwaitChannel("a", "sink", func(c nsqdtest.Channel) bool { return c.Depth == 3 })
	to.AwaitChannel("b", "sink", func(c nsqdtest.Channel) bool { return c.Depth == 1 })
	to.AwaitChannel("all", "sink", func(c nsqdtest.Channel) bool { return c.Depth == 4 })
	from.AwaitChannel("a", "c", finished(3))
	if code := c.Stop(); code != 0 {
		t.Errorf("code %d after a signal", code)
	}
}

func TestDropsAndRepeats(t *testing.T) {
	from, to := nsqdtest.Start(t), nsqdtest.Start(t)
	received(to, "t")
	c := start(t, from, "--topic=t", "--destination-nsqd-tcp-address="+to.TCP, "--require-json-field=f", "--require-json-value=1", "--whitelist-json-field=g")
	from.Publish("t", "no JSON", `{"f":2}`, `{"f":1,"g":2}`)
	from.AwaitChannel("t", "c", finished(3))
	to.AwaitChannel("t", "sink", func(c nsqdtest.Channel) bool { return c.Depth == 1 })
	c.Stderr.Await(t, `ERROR: message \w{16} is dropped: not a JSON object`)
	from.Publish("t", `{"g":1}`)
	from.AwaitChannel("t", "c", func(c nsqdtest.Channel) bool { return c.Requeued > 1 })
}

// While a destination is down the others get its messages, and no message is lost.
func TestOneDestinationDies(t *testing.T) {
	for _, mode := range []string{"hostpool", "round-robin", "epsilon-greedy"} {
		t.Run(mode, func(t *testing.T) {
			from, a, b := nsqdtest.Start(t), nsqdtest.Start(t), nsqdtest.Start(t)
			received(a, "t")
			received(b, "t")
			c := start(t, from, "--topic=t", "--mode="+mode, "--destination-nsqd-tcp-address="+a.TCP, "--destination-nsqd-tcp-address="+b.TCP)
			for i := range 20 {
				from.Publish("t", fmt.Sprint(i))
			}
			from.AwaitChannel("t", "c", finished(20))
			got, _ := a.Channel("t", "sink")
			a.Close()
			for i := range 20 {
				from.Publish("t", fmt.Sprint(20+i))
			}
			from.AwaitChannel("t", "c", finished(40))
			b.AwaitChannel("t", "sink", func(c nsqdtest.Channel) bool { return c.Depth+got.Depth >= 40 })
			if code := c.Stop(); code != 0 {
				t.Errorf("code %d", code)
			}
		})
	}
}

// With no destination nothing is finished, and a signal ends it all the same.
func TestNoDestination(t *testing.T) {
	from := nsqdtest.Start(t)
	c := start(t, from, "--topic=t", "--destination-nsqd-tcp-address="+nsqtest.FreeAddress(t))
	from.Publish("t", "m")
	from.AwaitChannel("t", "c", func(c nsqdtest.Channel) bool { return c.Requeued > 1 })
	if code := c.Stop(); code != 0 {
		t.Errorf("code %d", code)
	}
	from.AwaitChannel("t", "c", func(c nsqdtest.Channel) bool { return c.Depth+c.Deferred == 1 })
}
