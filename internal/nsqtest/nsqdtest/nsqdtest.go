// Package nsqdtest starts this module's own nsqd for the tests of those that publish
// to one or consume from it. It is not part of nsqtest, which nsqd's own tests import.
package nsqdtest

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nsqio/go-nsq"

	"nsqraft/internal/nsqtest"
	"nsqraft/nsqd"
)

// An NSQD is one nsqd on real sockets, with its data in a folder of the test.
type NSQD struct {
	TCP, HTTP string // addresses
	Data      string // folder
	server    *nsqd.Server
	t         testing.TB
}

// Start returns an nsqd that registers with lookupds (their TCP addresses) and ends
// with the test, if not before.
func Start(t testing.TB, lookupds ...string) *NSQD {
	t.Helper()
	return StartWith(t, func(o *nsqd.Options) { o.LookupdTCPAddresses = lookupds })
}

// StartAt is Start on given addresses, such as those of one that was closed.
func StartAt(t testing.TB, tcp, http string, lookupds ...string) *NSQD {
	t.Helper()
	return StartWith(t, func(o *nsqd.Options) {
		o.TCPAddress, o.HTTPAddress, o.LookupdTCPAddresses = tcp, http, lookupds
	})
}

// StartIn is StartAt with the data of one that was closed.
func StartIn(t testing.TB, data, tcp, http string, lookupds ...string) *NSQD {
	t.Helper()
	return StartWith(t, func(o *nsqd.Options) {
		o.DataPath, o.TCPAddress, o.HTTPAddress, o.LookupdTCPAddresses = data, tcp, http, lookupds
	})
}

// StartAs is Start of one that calls itself by another name than that of its host.
func StartAs(t testing.TB, broadcast string, lookupds ...string) *NSQD {
	t.Helper()
	return StartWith(t, func(o *nsqd.Options) { o.BroadcastAddress, o.LookupdTCPAddresses = broadcast, lookupds })
}

// StartWith is Start with options that change may have changed. Unless they say
// otherwise its ports are free ones, and stay so when it is closed.
func StartWith(t testing.TB, change func(*nsqd.Options)) *NSQD {
	t.Helper()
	o := nsqd.DefaultOptions()
	o.TCPAddress, o.HTTPAddress, o.HTTPSAddress, o.BroadcastAddress = nsqtest.FreeAddress(t), nsqtest.FreeAddress(t), "", "127.0.0.1"
	o.DataPath = t.TempDir()
	change(o)
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	n := &NSQD{t: t, Data: o.DataPath, server: nsqd.New(o, hclog.NewNullLogger())}
	if err := n.server.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	n.TCP, n.HTTP = n.server.TCPAddr().String(), n.server.HTTPAddr().String()
	return n
}

// Close stops it; what waits in it is kept on disk. It may be called twice.
func (n *NSQD) Close() {
	if err := n.server.Close(); err != nil {
		n.t.Error(err)
	}
}

// Publish publishes bodies to topic, one after the other.
func (n *NSQD) Publish(topic string, bodies ...string) {
	n.t.Helper()
	for _, body := range bodies {
		n.Post("/pub?topic="+url.QueryEscape(topic), body)
	}
}

// Post sends a request such as "/topic/create?topic=a", which must be answered 200.
func (n *NSQD) Post(request, body string) {
	n.t.Helper()
	resp, err := http.Post("http://"+n.HTTP+request, "", bytes.NewBufferString(body))
	if err != nil {
		n.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		n.t.Fatalf("POST %s: %s", request, resp.Status)
	}
}

// Take consumes n messages of a channel and returns their bodies in the order they
// came. It fails the test if that takes half a minute.
func (n *NSQD) Take(topic, channel string, count int) []string {
	n.t.Helper()
	if count == 0 {
		return nil
	}
	config := nsq.NewConfig()
	consumer, err := nsq.NewConsumer(topic, channel, config)
	if err != nil {
		n.t.Fatal(err)
	}
	consumer.SetLogger(log.New(io.Discard, "", 0), nsq.LogLevelError)
	taken := make(chan string)
	done := make(chan struct{})
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		select {
		case taken <- string(m.Body):
			return nil
		case <-done:
			m.RequeueWithoutBackoff(0)
			return nil
		}
	}))
	if err := consumer.ConnectToNSQD(n.TCP); err != nil {
		n.t.Fatal(err)
	}
	defer func() {
		close(done)
		consumer.Stop()
		<-consumer.StopChan
	}()
	var bodies []string
	timeout := time.After(30 * time.Second)
	for len(bodies) < count {
		select {
		case body := <-taken:
			bodies = append(bodies, body)
		case <-timeout:
			n.t.Fatalf("%d messages in %s/%s, want %d", len(bodies), topic, channel, count)
		}
	}
	return bodies
}

// A Channel is what nsqd says in /stats of a channel.
type Channel struct {
	Name     string `json:"channel_name"`
	Depth    int64  `json:"depth"`
	InFlight int64  `json:"in_flight_count"`
	Deferred int64  `json:"deferred_count"`
	Messages int64  `json:"message_count"`
	Requeued int64  `json:"requeue_count"`
	Clients  int    `json:"client_count"`
}

// Channel returns what nsqd says of a channel now; ok is false if it has none of that
// name.
func (n *NSQD) Channel(topic, channel string) (c Channel, ok bool) {
	n.t.Helper()
	resp, err := http.Get("http://" + n.HTTP + "/stats?format=json&include_clients=false&topic=" + url.QueryEscape(topic) + "&channel=" + url.QueryEscape(channel))
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	var stats struct {
		Topics []struct {
			Channels []Channel `json:"channels"`
		} `json:"topics"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		n.t.Fatal(err)
	}
	for _, t := range stats.Topics {
		for _, c := range t.Channels {
			return c, true
		}
	}
	return Channel{}, false
}

// AwaitChannel waits until the channel is as is wants, and fails the test if that
// takes half a minute.
func (n *NSQD) AwaitChannel(topic, channel string, is func(Channel) bool) {
	n.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		c, ok := n.Channel(topic, channel)
		if ok && is(c) {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("channel %s/%s stays %+v", topic, channel, c)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
