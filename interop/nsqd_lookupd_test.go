package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// lookupds are where an nsqd registers.
type lookupds struct {
	tcp, http []string
	processes []*process
}

// reachable has a nsqlookupd of one node say where it answers /channels.
const reachable = "--broadcast-address=127.0.0.1"

// eachLookupd runs a test against one stock nsqlookupd and against three of ours.
func eachLookupd(t *testing.T, test func(*testing.T, lookupds)) {
	t.Run("stock nsqlookupd", func(t *testing.T) {
		s := startSubject(t, "stock", reachable)
		test(t, lookupds{[]string{s.tcp}, []string{s.http}, []*process{s.process}})
	})
	if *against == "ours" {
		t.Run("three nsqlookupds", func(t *testing.T) {
			c := startCluster(t)
			l := lookupds{tcp: tcpAddrs(c.nodes), http: httpAddrs(c.nodes)}
			for _, n := range c.nodes {
				l.processes = append(l.processes, n.process)
			}
			test(t, l)
		})
	}
}

// TestNSQDRegisters has an nsqd create and delete topics and channels, get channels
// that are known before it is, and leave.
func TestNSQDRegisters(t *testing.T) {
	eachLookupd(t, func(t *testing.T, l lookupds) {
		d := startNSQDOf(t, nsqdUnderTest(), l.tcp...)
		other := startNSQDOf(t, nsqdUnderTest(), l.tcp...)
		eventually(t, seenTimeout, "two nodes", func() error {
			nodes, err := nodesOf(l.http[0])
			if err == nil && len(nodes) != 2 {
				err = fmt.Errorf("%v", nodes)
			}
			return err
		})
		d.createTopic("orders")
		d.createChannel("orders", "archive")
		eventually(t, seenTimeout, "its topic", listed(l.http, "orders", d.http))
		eventually(t, seenTimeout, "its channel", func() error { return wantNames(l.http[0], "/channels?topic=orders", "archive") })

		// A message waits for the channels that others have.
		mustSend(t, "POST", l.http[0], "/topic/create?topic=known", "")
		mustSend(t, "POST", l.http[0], "/channel/create?topic=known&channel=before", "")
		mustSend(t, "POST", l.http[0], "/channel/create?topic=known&channel=tail%23ephemeral", "")
		other.publish("known", "first")
		if got := channelsOf(t, other, "known"); got != "before=1" {
			t.Errorf("channels and depths of a topic known before: %s, want before=1", got)
		}

		mustSend(t, "POST", d.http, "/channel/delete?topic=orders&channel=archive", "")
		mustSend(t, "POST", d.http, "/topic/delete?topic=orders", "")
		eventually(t, seenTimeout, "nobody has the topic", listed(l.http, "orders"))

		d.createTopic("leaving")
		eventually(t, seenTimeout, "its topic", listed(l.http, "leaving", d.http))
		d.stop()
		eventually(t, 500*time.Millisecond, "it has left", listed(l.http, "leaving"))
	})
}

func wantNames(addr, target string, want ...string) error {
	got, err := names(addr, target)
	if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
		err = fmt.Errorf("%s: %q, want %q", target, got, want)
	}
	return err
}

// channelsOf returns the channels of a topic with what has come to each.
func channelsOf(t testing.TB, d *nsqd, topic string) string {
	t.Helper()
	var stats struct {
		Topics []struct {
			Channels []struct {
				Name     string `json:"channel_name"`
				Messages int    `json:"message_count"`
			} `json:"channels"`
		} `json:"topics"`
	}
	var text string
	eventually(t, replyTimeout, "the message is in a channel", func() error {
		if err := json.Unmarshal([]byte(mustSend(t, "GET", d.http, "/stats?format=json&topic="+topic, "")), &stats); err != nil {
			return err
		}
		text = ""
		for _, topic := range stats.Topics {
			for _, c := range topic.Channels {
				text += fmt.Sprintf("%s=%d", c.Name, c.Messages)
			}
		}
		if text == "" || text == "before=0" {
			return fmt.Errorf("channels %q", text)
		}
		return nil
	})
	return text
}

// TestNSQDLookupdRestarts wants an nsqd back at once: stock takes half a minute.
func TestNSQDLookupdRestarts(t *testing.T) {
	if nsqdUnderTest() == "stock" {
		t.Skip("stock nsqd reconnects after 15 to 30 s")
	}
	s := startSubject(t, "stock", reachable)
	d := startNSQDOf(t, "ours", s.tcp)
	d.createTopic("orders")
	d.createChannel("orders", "archive")
	eventually(t, seenTimeout, "registered", listed([]string{s.http}, "orders", d.http))
	s.kill()
	s.start()
	awaitPing(t, s.process, s.http)
	eventually(t, 3*time.Second, "registered again", listed([]string{s.http}, "orders", d.http))
	eventually(t, time.Second, "its channel", func() error { return wantNames(s.http, "/channels?topic=orders", "archive") })
}

// hungPubTimeout is how long a PUB may take while a nsqlookupd hangs: stock's 5 s
// are those of its HTTP client.
const hungPubTimeout = 2 * time.Second

// TestNSQDLookupdHangs publishes to new topics while one nsqlookupd neither answers
// nor closes.
func TestNSQDLookupdHangs(t *testing.T) {
	if nsqdUnderTest() == "stock" {
		t.Skip("stock nsqd waits for 5 s")
	}
	well, hung := startSubject(t, "stock", reachable), startSubject(t, "stock", reachable)
	d := startNSQDOf(t, "ours", well.tcp, hung.tcp)
	d.createTopic("orders")
	for _, s := range []*subject{well, hung} {
		eventually(t, seenTimeout, "registered", listed([]string{s.http}, "orders", d.http))
	}
	hung.signal(syscall.SIGSTOP)
	defer hung.signal(syscall.SIGCONT)
	for i := range 3 {
		topic := fmt.Sprintf("new-%d", i)
		mustSend(t, "POST", well.http, "/channel/create?topic="+topic+"&channel=before", "")
		begun := time.Now()
		a, err := request("POST", d.http, "/pub?topic="+topic, "x")
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("PUB to %s: %v %d", topic, err, a.status)
		}
		if took := time.Since(begun); took > hungPubTimeout {
			t.Errorf("the first PUB to %s took %v", topic, took)
		}
		begun = time.Now()
		d.publish(topic, "y")
		if took := time.Since(begun); took > 200*time.Millisecond {
			t.Errorf("the second PUB to %s took %v", topic, took)
		}
		eventually(t, seenTimeout, "registered where nothing hangs", listed([]string{well.http}, topic, d.http))
		if got := channelsOf(t, d, topic); got != "before=2" {
			t.Errorf("channels of %s: %s, want before=2", topic, got)
		}
	}
	hung.signal(syscall.SIGCONT)
	eventually(t, 5*time.Second, "registered where it has hung", listed([]string{hung.http}, "new-2", d.http))
	hung.signal(syscall.SIGSTOP)
	d.stop() // does not wait for who hangs
	eventually(t, 500*time.Millisecond, "it has left", listed([]string{well.http}, "orders"))
}

// signal sends the process a signal.
func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Errorf("%v to %s: %v", sig, p.name, err)
	}
}
