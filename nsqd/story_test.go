package nsqd

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPublishToFinish(t *testing.T) {
	s := startServer(t, nil)
	p := dial(t, s, pub("orders", "one"), multi("orders", "two", "three"))
	p.want("OK", "OK")
	c := dial(t, s, sub("orders", "archive"), "RDY 10\n")
	c.want("OK")
	for i, want := range []string{"one", "two", "three"} {
		m := c.message()
		if string(m.Body) != want || m.Attempts != 1 {
			t.Errorf("message %d: %q, attempt %d; want %q, 1", i, m.Body, m.Attempts, want)
		}
		c.fin(m)
	}
	c.say("FIN 0123456789abcdef\n")
	c.want("E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight")
	st := s.Stats(StatsFilter{Clients: true})
	if got := fmt.Sprint(st.Topics[0].Channels[0].Clients[0].FinishCount); got != "3" {
		t.Errorf("%s finished", got)
	}
}

// elapsed says how long it is since begun.
func elapsed(t testing.TB, begun time.Time, want time.Duration, what string) {
	t.Helper()
	if got := time.Since(begun); got != want {
		t.Errorf("%s after %v, want %v", what, got, want)
	}
}

func (p *peer) wantHeartbeat() {
	p.t.Helper()
	if kind, payload, err := p.next(); err != nil || kind != frameResponse || string(payload) != "_heartbeat_" {
		p.t.Fatalf("got frame %d %q, %v, want a heartbeat", kind, payload, err)
	}
}

func TestHeartbeats(t *testing.T) {
	inLab(t, func(o *Options) { o.ClientTimeout = time.Minute }, func(l *lab) {
		// Who does not answer is closed with the second.
		p, begun := l.dial(), time.Now()
		p.wantHeartbeat()
		elapsed(t, begun, 30*time.Second, "a heartbeat")
		p.wantHeartbeat()
		if _, _, err := p.next(); err == nil {
			t.Error("a client that answers no heartbeat gets more")
		}
		elapsed(t, begun, 60*time.Second, "the end")

		// Who answers stays, at any pace.
		p, begun = l.dial(identify(`"heartbeat_interval":1000`)), time.Now()
		p.want("OK")
		for i := range 10 {
			p.wantHeartbeat()
			elapsed(t, begun, time.Duration(i+1)*time.Second, "a heartbeat")
			p.say("NOP\n")
		}
		p.wantHeartbeat()
		p.wantHeartbeat()
		p.wantClosed()

		// A client that is never silent gets them all the same.
		p = l.dial(identify(`"heartbeat_interval":1000`))
		p.want("OK")
		beats := 0
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			p.say(pub("busy#ephemeral", "x"))
			for answered := false; !answered; {
				_, payload, err := p.next()
				if err != nil {
					t.Fatal(err)
				}
				if answered = string(payload) == "OK"; !answered {
					beats++
				}
			}
		}
		if beats < 4 || beats > 5 {
			t.Errorf("%d heartbeats in 5 s, want one each", beats)
		}
		if err := l.FindTopic("busy#ephemeral").Empty(); err != nil {
			t.Error(err)
		}
	})
}

func TestWithoutHeartbeats(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.dial(identify(`"heartbeat_interval":-1`))
		p.want("OK")
		p.patience = 3 * time.Hour
		if _, payload, err := p.next(); err == nil {
			t.Errorf("got %q, want nothing for hours", payload)
		}
		p.say(sub("t", "c"))
		p.want("E_INVALID cannot SUB with heartbeats disabled")
		p.wantClosed()
	})
}

// What is not finished in time goes to somebody else, or to the same again.
func TestMessageTimeout(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		slow := l.consumer("t", "c", 1)
		l.publish("t", "m")
		begun := time.Now()
		slow.wantMessage("m", 1)
		m := slow.wantMessage("m", 2)
		elapsed(t, begun, time.Minute, "again")
		slow.say("RDY 0\n")
		quick := l.dial(identify(`"msg_timeout":2000`), sub("t", "c"), "RDY 1\n")
		quick.want("OK", "OK")
		quick.wantMessage("m", 3)
		elapsed(t, begun, 2*time.Minute, "to another")
		slow.fin(m)
		slow.want(fmt.Sprintf("E_FIN_FAILED FIN %s failed client does not own message", m.ID))
		slow.say(fmt.Sprintf("REQ %s 0\nTOUCH %s\n", m.ID, m.ID))
		slow.want(fmt.Sprintf("E_REQ_FAILED REQ %s failed client does not own message", m.ID),
			fmt.Sprintf("E_TOUCH_FAILED TOUCH %s failed client does not own message", m.ID))
		quick.fin(quick.wantMessage("m", 4))
		elapsed(t, begun, 2*time.Minute+2*time.Second, "with a time-out of its own")
		quick.wantNone(time.Hour)
		if c := l.channel("t", "c"); c.TimeoutCount != 3 || c.RequeueCount != 0 || c.InFlightCount != 0 {
			t.Errorf("%d time-outs, %d requeues, %d in flight, want 3, 0, 0", c.TimeoutCount, c.RequeueCount, c.InFlightCount)
		}
	})
}

// What a client that goes has in flight waits for its time-out.
func TestLeaving(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		gone := l.consumer("t", "c", 1)
		l.publish("t", "m")
		begun := time.Now()
		gone.wantMessage("m", 1)
		gone.conn.Close()
		stays := l.consumer("t", "c", 1)
		if c := l.channel("t", "c"); c.InFlightCount != 1 || c.ClientCount != 1 {
			t.Errorf("%d in flight, %d clients, want 1, 1", c.InFlightCount, c.ClientCount)
		}
		stays.fin(stays.wantMessage("m", 2))
		elapsed(t, begun, time.Minute, "again")
	})
}

func TestTouch(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.consumer("t", "c", 1)
		l.publish("t", "m")
		begun := time.Now()
		m := p.wantMessage("m", 1)
		for time.Since(begun) < 14*time.Minute {
			p.wantNone(50 * time.Second)
			p.say(fmt.Sprintf("TOUCH %s\n", m.ID))
		}
		again := p.wantMessage("m", 2)
		elapsed(t, begun, 15*time.Minute, "again, in spite of being touched")
		p.say("TOUCH 0123456789abcdef\n")
		p.want("E_TOUCH_FAILED TOUCH 0123456789abcdef failed ID not in flight")
		p.fin(again)
	})
}

func TestRequeue(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.consumer("t", "c", 1)
		l.publish("t", "m")
		m := p.wantMessage("m", 1)
		for i, tt := range []struct {
			delay string
			want  time.Duration
		}{{"0", 0}, {"", 0}, {"1", time.Millisecond}, {"5000", 5 * time.Second}, {"3600001", time.Hour}, {"99999999999999999999", time.Hour}} {
			begun := time.Now()
			p.say(fmt.Sprintf("REQ %s %s\n", m.ID, tt.delay))
			if tt.want > 0 {
				if c := l.channel("t", "c"); c.DeferredCount != 1 || c.InFlightCount != 0 || c.Depth != 0 {
					t.Errorf("REQ %s: %d deferred, %d in flight, depth %d", tt.delay, c.DeferredCount, c.InFlightCount, c.Depth)
				}
			}
			m = p.wantMessage("m", i+2)
			elapsed(t, begun, tt.want, "after REQ "+tt.delay)
		}
		p.fin(m)
		if c := l.channel("t", "c"); c.RequeueCount != 6 || c.Clients[0].RequeueCount != 6 || c.Clients[0].MessageCount != 7 {
			t.Errorf("%d requeues, %d of the client, %d messages; want 6, 6, 7", c.RequeueCount, c.Clients[0].RequeueCount, c.Clients[0].MessageCount)
		}
		p.say("REQ " + m.ID.String() + " 0\n")
		p.want("E_REQ_FAILED REQ " + m.ID.String() + " failed ID not in flight")
		p.say("REQ " + m.ID.String() + " -1\n")
		p.want("E_INVALID REQ could not parse timeout -1")
		p.wantClosed()
	})
}

func dpub(topic, ms, body string) string { return "DPUB " + topic + " " + ms + "\n" + sized(body) }

func TestDeferredPublish(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		a, b := l.consumer("t", "a", 10), l.consumer("t", "b", 10)
		p := l.dial(dpub("t", "3000", "late"), dpub("t", "1000", "soon"), dpub("t", "0", "now"))
		p.want("OK", "OK", "OK")
		begun := time.Now()
		if c := l.channel("t", "a"); c.DeferredCount != 2 {
			t.Errorf("%d deferred, want 2", c.DeferredCount)
		}
		for _, c := range []*peer{a, b} {
			c.fin(c.wantMessage("now", 1))
		}
		for body, after := range map[string]time.Duration{"soon": time.Second} {
			a.fin(a.wantMessage(body, 1))
			elapsed(t, begun, after, body)
		}
		a.fin(a.wantMessage("late", 1))
		elapsed(t, begun, 3*time.Second, "late")
		b.fin(b.wantMessage("soon", 1))
		b.fin(b.wantMessage("late", 1))

		// One that waits in the topic, for want of a channel, is late by no more than that.
		p.say(dpub("u", "60000", "m"))
		p.want("OK")
		begun = time.Now()
		time.Sleep(10 * time.Second)
		c := l.consumer("u", "c", 1)
		c.fin(c.wantMessage("m", 1))
		elapsed(t, begun, time.Minute, "m")

		for _, tt := range []struct{ say, want string }{
			{"DPUB t\n", "E_INVALID DPUB insufficient number of parameters"},
			{"DPUB t x\n", "E_INVALID DPUB could not parse timeout x"},
			{"DPUB t -1\n", "E_INVALID DPUB could not parse timeout -1"},
			{"DPUB t 3600001\n", "E_INVALID DPUB timeout 3600001 out of range 0-3600000"},
			{"DPUB t 18446744073709551615\n", "E_INVALID DPUB timeout 18446744073709551615 out of range 0-3600000"},
			{"DPUB t 9223372036854775807\n", "E_INVALID DPUB timeout 9223372036854775807 out of range 0-3600000"},
			{"DPUB t$ 1\n", `E_BAD_TOPIC DPUB topic name "t$" is not valid`},
		} {
			p := l.dial(tt.say)
			p.want(tt.want)
			p.wantClosed()
		}
	})
}

func TestReadyBoundsWhatIsInFlight(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.dial(sub("t", "c"))
		p.want("OK")
		l.publish("t", "1", "2", "3", "4", "5", "6")
		p.wantNone(time.Second)
		p.say("RDY\n") // one
		one := p.wantMessage("1", 1)
		p.wantNone(time.Second)
		p.say("RDY 3\n")
		two, three := p.wantMessage("2", 1), p.wantMessage("3", 1)
		p.wantNone(time.Second)
		p.fin(one)
		four := p.wantMessage("4", 1)
		p.say("RDY 1\n")
		synctest.Wait()
		p.fin(two)
		p.fin(three)
		p.wantNone(time.Second)
		p.fin(four)
		five := p.wantMessage("5", 1)
		p.say("RDY 0\n")
		synctest.Wait()
		p.fin(five)
		p.wantNone(time.Second)
		p.say("RDY 2500\n")
		p.fin(p.wantMessage("6", 1))
		if c := l.channel("t", "c"); c.Clients[0].ReadyCount != 2500 {
			t.Errorf("ready count %d", c.Clients[0].ReadyCount)
		}
		for line, want := range map[string]string{
			"RDY 2501\n":                 "E_INVALID RDY count 2501 out of range 0-2500",
			"RDY 99999999999999999999\n": "E_INVALID RDY count 99999999999999999999 out of range 0-2500",
			"RDY -1\n":                   "E_INVALID RDY could not parse count -1",
			"RDY x\n":                    "E_INVALID RDY could not parse count x",
		} {
			p := l.consumer("t", "c", 0)
			p.say(line)
			p.want(want)
			p.wantClosed()
		}
		p = l.dial("RDY 1\n")
		p.want("E_INVALID cannot RDY in current state")
		p.wantClosed()
	})
}

func TestStartClose(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.consumer("t", "c", 2)
		l.publish("t", "1", "2", "3")
		one, two := p.wantMessage("1", 1), p.wantMessage("2", 1)
		p.say("CLS\n")
		p.want("CLOSE_WAIT")
		if c := l.channel("t", "c"); c.Clients[0].State != 4 {
			t.Errorf("state %d, want 4", c.Clients[0].State)
		}
		p.say(fmt.Sprintf("RDY 5\nTOUCH %s\n", one.ID))
		p.fin(one)
		p.say(fmt.Sprintf("REQ %s 0\n", two.ID))
		p.wantNone(time.Minute)
		other := l.consumer("t", "c", 10)
		other.fin(other.wantMessage("3", 1))
		other.fin(other.wantMessage("2", 2))
		p.say("CLS\n")
		p.want("E_INVALID cannot CLS in current state")
		p.wantClosed()
		p = l.dial("CLS\n")
		p.want("E_INVALID cannot CLS in current state")
		p.wantClosed()
	})
}

func TestPausedChannel(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.consumer("t", "c", 2)
		l.publish("t", "1")
		one := p.wantMessage("1", 1)
		c := l.FindTopic("t").FindChannel("c")
		if err := c.SetPaused(true); err != nil {
			t.Fatal(err)
		}
		l.publish("t", "2")
		p.wantNone(30 * time.Second)
		p.say(fmt.Sprintf("REQ %s 0\n", one.ID)) // it may be given back meanwhile
		p.wantNone(30 * time.Second)
		if s := l.channel("t", "c"); !s.Paused || s.Depth != 2 {
			t.Errorf("paused %v, depth %d, want true, 2", s.Paused, s.Depth)
		}
		if err := c.SetPaused(false); err != nil {
			t.Fatal(err)
		}
		p.fin(p.wantMessage("2", 1))
		p.fin(p.wantMessage("1", 2))
	})
}

func TestPausedTopic(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.consumer("t", "c", 5)
		l.publish("t", "1")
		topic := l.FindTopic("t")
		if err := topic.SetPaused(true); err != nil {
			t.Fatal(err)
		}
		p.fin(p.wantMessage("1", 1))
		l.publish("t", "2", "3")
		p.wantNone(time.Minute)
		if s := l.Stats(StatsFilter{}).Topics[0]; !s.Paused || s.Depth != 2 || s.Channels[0].Depth != 0 {
			t.Errorf("paused %v, depth %d, of the channel %d; want true, 2, 0", s.Paused, s.Depth, s.Channels[0].Depth)
		}
		// A channel that comes meanwhile has what was published before it came too.
		late := l.consumer("t", "late", 5)
		late.wantNone(time.Second)
		if err := topic.SetPaused(false); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*peer{p, late} {
			c.fin(c.wantMessage("2", 1))
			c.fin(c.wantMessage("3", 1))
		}
	})
}

func TestEmpty(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.consumer("t", "c", 1)
		l.publish("t", "1", "2", "3")
		one := p.wantMessage("1", 1)
		d := l.dial(dpub("t", "1000", "later"))
		d.want("OK")
		if err := l.FindTopic("t").FindChannel("c").Empty(); err != nil {
			t.Fatal(err)
		}
		if c := l.channel("t", "c"); c.Depth != 0 || c.InFlightCount != 0 || c.DeferredCount != 0 {
			t.Errorf("after Empty, depth %d, %d in flight, %d deferred", c.Depth, c.InFlightCount, c.DeferredCount)
		}
		p.fin(one)
		p.want("E_FIN_FAILED FIN " + one.ID.String() + " failed ID not in flight")
		p.wantNone(time.Hour)
		l.publish("t", "4")
		p.fin(p.wantMessage("4", 1)) // its ready count is whole again

		l.publish("u", "1", "2")
		if err := l.FindTopic("u").Empty(); err != nil {
			t.Fatal(err)
		}
		l.consumer("u", "c", 1).wantNone(time.Minute)
	})
}

func TestDeleteWhileSubscribed(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		a, b := l.consumer("t", "a", 10), l.consumer("t", "b", 10)
		p := l.dial(multi("t", "1", "2"))
		p.want("OK")
		one := b.wantMessage("1", 1)
		a.fin(a.wantMessage("1", 1))
		a.fin(a.wantMessage("2", 1))
		topic := l.FindTopic("t")
		if err := topic.DeleteChannel("b"); err != nil {
			t.Fatal(err)
		}
		b.wantMessage("2", 1)
		b.wantClosed()
		if topic.FindChannel("b") != nil || topic.DeleteChannel("b") != ErrChannelNotFound {
			t.Error("the channel is still there")
		}
		b = l.consumer("t", "b", 10) // a new one
		b.fin(one)
		b.want("E_FIN_FAILED FIN " + one.ID.String() + " failed ID not in flight")
		b.wantNone(10 * time.Minute)

		if err := l.DeleteTopic("t"); err != nil {
			t.Fatal(err)
		}
		a.wantClosed()
		b.wantClosed()
		p = l.dial(pub("t", "3")) // which makes it anew
		p.want("OK")
		if err := l.DeleteTopic("t"); err != nil {
			t.Fatal(err)
		}
		p.say(pub("t", "4")) // on a connection that knew the old one
		p.want("OK")
		a = l.consumer("t", "a", 1)
		a.fin(a.wantMessage("4", 1))
		if err := l.DeleteTopic("nowhere"); err != ErrTopicNotFound {
			t.Errorf("got %v, want %v", err, ErrTopicNotFound)
		}
	})
}

func TestEphemeral(t *testing.T) {
	inLab(t, func(o *Options) { o.MemQueueSize = 3 }, func(l *lab) {
		// A channel goes with its last consumer, an ephemeral topic with its last channel.
		a, b := l.consumer("t#ephemeral", "c#ephemeral", 0), l.consumer("t#ephemeral", "c#ephemeral", 0)
		l.publish("t#ephemeral", "1", "2", "3", "4", "5") // more than there is room for
		if c := l.channel("t#ephemeral", "c#ephemeral"); c.Depth != 3 || c.MessageCount != 5 {
			t.Errorf("depth %d, %d messages; want 3 kept of 5", c.Depth, c.MessageCount)
		}
		a.conn.Close()
		synctest.Wait()
		if c := l.channel("t#ephemeral", "c#ephemeral"); c.ClientCount != 1 {
			t.Errorf("%d clients, want 1", c.ClientCount)
		}
		b.say("RDY 1\n")
		b.wantMessage("1", 1)
		b.conn.Close()
		synctest.Wait()
		if l.FindTopic("t#ephemeral") != nil {
			t.Error("the ephemeral topic stays without channels")
		}

		// In a topic that stays, it does.
		a = l.consumer("t", "c#ephemeral", 1)
		a.conn.Close()
		synctest.Wait()
		if topic := l.FindTopic("t"); topic == nil || topic.FindChannel("c#ephemeral") != nil {
			t.Error("want a topic without channels")
		}

		// A topic that never had a channel stays.
		l.publish("never#ephemeral", "1")
		time.Sleep(time.Hour)
		if l.FindTopic("never#ephemeral") == nil {
			t.Error("an ephemeral topic goes before it had a channel")
		}

		// Nobody is left behind on a channel that goes while he comes.
		for range 50 {
			x := l.consumer("churn#ephemeral", "c#ephemeral", 1)
			x.conn.Close()
			y := l.dial(sub("churn#ephemeral", "c#ephemeral"), "RDY 1\n")
			y.want("OK")
			l.publish("churn#ephemeral", "m")
			// It goes where the topic goes.
			if kind, payload, err := y.frame(); err == nil && (kind != frameMessage || !strings.HasSuffix(string(payload), "m")) {
				t.Fatalf("got frame %d %q", kind, payload)
			}
			y.conn.Close()
			synctest.Wait()
		}
		if b := l.saved(); strings.Contains(b, "ephemeral") {
			t.Errorf("nsqd.dat has what is ephemeral: %s", b)
		}
	})
}

// saved returns what nsqd.dat would hold.
func (l *lab) saved() string {
	var names []string
	for _, t := range l.sorted() {
		if t.ephemeral {
			continue
		}
		names = append(names, fmt.Sprint(t.saved()))
	}
	return strings.Join(names, " ")
}

func TestSampling(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.dial(identify(`"sample_rate":25,"msg_timeout":900000`), sub("t", "c"), "RDY 2500\n")
		p.want("OK", "OK")
		synctest.Wait()
		for range 40 {
			l.publish("t", slices.Repeat([]string{"m"}, 100)...)
		}
		c := l.channel("t", "c")
		if c.InFlightCount < 800 || c.InFlightCount > 1200 || c.Depth != 0 { // 7 standard deviations
			t.Errorf("of 4000 messages %d are delivered and %d left, want a quarter and none", c.InFlightCount, c.Depth)
		}
		if c.Clients[0].SampleRate != 25 {
			t.Errorf("sample rate %d", c.Clients[0].SampleRate)
		}
		if err := l.FindTopic("t").FindChannel("c").Empty(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestMaxChannelConsumers(t *testing.T) {
	inLab(t, func(o *Options) { o.MaxChannelConsumers = 2 }, func(l *lab) {
		a := l.consumer("t", "c", 1)
		l.consumer("t", "c", 1)
		l.consumer("t", "other", 1)
		p := l.dial(sub("t", "c"))
		p.want("E_SUB_FAILED SUB failed consumers for t:c exceeds limit of 2")
		p.wantClosed()
		a.conn.Close()
		synctest.Wait()
		l.consumer("t", "c", 1)
	})
}

func TestFanOut(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.dial(pub("t", "before"))
		p.want("OK")
		channels := []*peer{l.consumer("t", "a", 100), l.consumer("t", "b", 100), l.consumer("t", "c", 100)}
		p.say(multi("t", "1", "2") + pub("t", "3"))
		p.want("OK", "OK")
		ids := make(map[MessageID]int)
		for i, c := range channels {
			want := []string{"1", "2", "3"}
			if i == 0 { // it was there first
				want = slices.Insert(want, 0, "before")
			}
			for _, body := range want {
				m := c.wantMessage(body, 1)
				ids[m.ID]++
				if i != 1 {
					c.fin(m)
				}
			}
		}
		if len(ids) != 4 {
			t.Errorf("4 messages have %d ids", len(ids))
		}
		// A channel that does not finish does not matter to the others.
		for _, body := range []string{"1", "2", "3"} {
			channels[1].fin(channels[1].wantMessage(body, 2))
		}
		channels[0].wantNone(10 * time.Minute)
		channels[2].wantNone(time.Second)
	})
}

func TestZones(t *testing.T) {
	inLab(t, func(o *Options) {
		o.TopologyZone, o.TopologyRegion = "z1", "r1"
		o.EnableExperiments = []string{experimentTopology}
	}, func(l *lab) {
		join := func(zone, region string) *peer {
			p := l.dial(identify(fmt.Sprintf(`"topology_zone":%q,"topology_region":%q`, zone, region)), sub("t", "c"), "RDY 1\n")
			p.want("OK", "OK")
			synctest.Wait()
			return p
		}
		far, region, zone := join("z9", "r9"), join("z2", "r1"), join("z1", "r1")
		for _, body := range []string{"1", "2", "3", "4"} {
			l.publish("t", body)
		}
		local := zone.wantMessage("1", 1)
		region.wantMessage("2", 1)
		far.wantMessage("3", 1)
		far.wantNone(time.Second)
		zone.fin(local)
		zone.wantMessage("4", 1)
		c := l.channel("t", "c")
		if c.ZoneLocalCount != 2 || c.RegionLocalCount != 1 || c.GlobalCount != 1 {
			t.Errorf("%d in the zone, %d in the region, %d elsewhere; want 2, 1, 1", c.ZoneLocalCount, c.RegionLocalCount, c.GlobalCount)
		}
		if c.Clients[2].TopologyZone != "z1" || c.Clients[2].TopologyRegion != "r1" {
			t.Errorf("the client is in %q, %q", c.Clients[2].TopologyZone, c.Clients[2].TopologyRegion)
		}
		// When the near ones go, the far one has all.
		zone.conn.Close()
		region.conn.Close()
		synctest.Wait()
		far.say("RDY 10\n")
		l.publish("t", "5")
		far.wantMessage("5", 1)
		if err := l.FindTopic("t").FindChannel("c").Empty(); err != nil {
			t.Fatal(err)
		}
	})
}

// A consumer in the zone that does not read is no reason for the others to wait.
func TestDeafConsumerInTheZone(t *testing.T) {
	inLab(t, func(o *Options) {
		o.TopologyZone, o.EnableExperiments = "z1", []string{experimentTopology}
	}, func(l *lab) {
		time.Sleep(time.Second) // the server's clock begins at 0, which it never is later
		deaf := l.dial(identify(`"topology_zone":"z1"`), sub("t", "c"), "RDY 2500\n")
		deaf.want("OK", "OK")
		far := l.consumer("t", "c", 10)
		body := strings.Repeat("x", 200<<10)
		l.publish("t", body, body, body, body) // more than the network holds
		l.publish("t", "m")
		begun := time.Now()
		for m := far.message(); string(m.Body) != "m"; m = far.message() {
			far.fin(m)
		}
		elapsed(t, begun, sendPatience, "delivered far away")
		if err := l.FindTopic("t").FindChannel("c").Empty(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestConsumersShareFairly(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		const consumers, rounds, each = 8, 20, 80
		counts := make([]int, consumers)
		var peers []*peer
		for range consumers {
			peers = append(peers, l.consumer("t", "c", each))
		}
		for range rounds {
			l.publish("t", slices.Repeat([]string{"m"}, each)...)
			synctest.Wait()
			for i, p := range peers {
				for range l.channel("t", "c").Clients[i].InFlightCount {
					p.fin(p.message())
					counts[i]++
				}
			}
		}
		if sum := counts[0] + counts[1] + counts[2] + counts[3] + counts[4] + counts[5] + counts[6] + counts[7]; sum != rounds*each {
			t.Errorf("%d messages, want %d", sum, rounds*each)
		}
		for i, n := range counts {
			if n < rounds*each/consumers/3 {
				t.Errorf("consumer %d has %d of %d messages: %v", i, n, rounds*each, counts)
			}
		}
	})
}

// Answers come in the order of the commands, however they arrive.
func TestPipelining(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		var say strings.Builder
		var want []string
		for range 2000 {
			say.WriteString(pub("t#ephemeral", "m"))
			want = append(want, "OK")
		}
		say.WriteString("NOP\r\n" + dpub("t#ephemeral", "", "m") + "PUB t$\n")
		want = append(want, "OK", `E_BAD_TOPIC PUB topic name "t$" is not valid`)
		p := l.dial(say.String())
		p.want(want...)
		p.wantClosed()

		p = l.dial()
		for _, b := range []byte(pub("t#ephemeral", "m") + "SUB t#ephemeral c\n") { // byte by byte
			p.say(string(b))
			synctest.Wait()
		}
		p.want("OK", "OK")
	})
}

// The answer to SUB is the first a consumer hears.
func TestAnswerBeforeTheFirstMessage(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		for range 20 {
			l.publish("t", "m")
			p := l.dial(sub("t", "c"), "RDY 1\n")
			p.want("OK")
			p.fin(p.wantMessage("m", 1))
			synctest.Wait()
			p.conn.Close()
			synctest.Wait()
		}
	})
}

func TestSubscribeErrors(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		id := " 0123456789abcdef"
		for say, want := range map[string]string{
			"SUB t\n":                     "E_INVALID SUB insufficient number of parameters",
			"SUB t$ c\n":                  `E_BAD_TOPIC SUB topic name "t$" is not valid`,
			"SUB t c$\n":                  `E_BAD_CHANNEL SUB channel name "c$" is not valid`,
			"SUB t c\nSUB t c\n":          "E_INVALID cannot SUB in current state",
			"SUB t c\n" + identify(""):    "E_INVALID cannot IDENTIFY in current state",
			"SUB t c\nAUTH\n":             "E_INVALID cannot AUTH in current state",
			"FIN" + id + "\n":             "E_INVALID cannot FIN in current state",
			"REQ" + id + " 0\n":           "E_INVALID cannot REQ in current state",
			"TOUCH" + id + "\n":           "E_INVALID cannot TOUCH in current state",
			"SUB t c\nFIN\n":              "E_INVALID FIN insufficient number of params",
			"SUB t c\nREQ" + id + "\n":    "E_INVALID REQ insufficient number of params",
			"SUB t c\nTOUCH\n":            "E_INVALID TOUCH insufficient number of params",
			"SUB t c\nFIN 1234\n":         "E_INVALID invalid message ID",
			"SUB t c\nREQ" + id + "0 0\n": "E_INVALID invalid message ID",
			"AUTH x\n":                    "E_INVALID AUTH invalid number of parameters",
			"AUTH\n" + sized("secret"):    "E_AUTH_DISABLED AUTH disabled",
			"hello\n":                     "E_INVALID invalid command hello",
			"\n":                          "E_INVALID invalid command ",
			"PUB\n":                       "E_INVALID PUB insufficient number of parameters",
			"MPUB\n":                      "E_INVALID MPUB insufficient number of parameters",
			"MPUB t$\n":                   `E_BAD_TOPIC E_BAD_TOPIC MPUB topic name "t$" is not valid`,
		} {
			p := l.dial(say)
			if strings.HasPrefix(say, "SUB t c\n") {
				p.want("OK")
			}
			p.want(want)
			p.wantClosed()
		}
		p := l.connect()
		p.say("  V1")
		p.want("E_BAD_PROTOCOL")
		p.wantClosed()
	})
}

func TestDrain(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p, c := l.dial(pub("t", "0")), l.consumer("t", "c", 1)
		p.want("OK")
		zero := c.wantMessage("0", 1)
		p.say(multi("t", "1", "2"))
		p.want("OK")
		l.Drain()
		l.Drain()
		select {
		case <-l.Drained():
			t.Fatal("drained with messages in flight")
		case <-time.After(30 * time.Second):
		}
		for _, say := range []string{pub("t", "x"), pub("new", "x")} {
			p := l.dial(say)
			p.want("E_PUB_FAILED PUB failed exiting")
			p.wantClosed()
		}
		for say, want := range map[string]string{
			multi("t", "x"):     "E_MPUB_FAILED MPUB failed exiting",
			dpub("t", "5", "x"): "E_DPUB_FAILED DPUB failed exiting",
			sub("t", "c"):       "E_SUB_FAILED SUB failed exiting",
			sub("new", "c"):     "E_SUB_FAILED SUB failed exiting",
		} {
			p := l.dial(say)
			p.want(want)
			p.wantClosed()
		}
		// Those that are connected go on, until nothing is left for them.
		c.fin(zero)
		c.fin(c.wantMessage("1", 1))
		c.fin(c.wantMessage("2", 1))
		begun := time.Now()
		<-l.Drained()
		if d := time.Since(begun); d > drainTick {
			t.Errorf("drained %v after the last message", d)
		}
	})
}

func TestDrainTakesTooLong(t *testing.T) {
	inLab(t, func(o *Options) { o.DrainTimeout = 10 * time.Second }, func(l *lab) {
		c := l.consumer("t", "c", 1)
		l.publish("t", "m")
		m := c.wantMessage("m", 1)
		begun := time.Now()
		l.Drain()
		<-l.Drained()
		elapsed(t, begun, 10*time.Second, "it is given up")
		c.fin(m)
		synctest.Wait()
	})
}

func TestDrainOfNothing(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		l.consumer("t", "c", 1)
		l.Drain()
		<-l.Drained()
	})
}

func TestStatsOfClients(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		begun := time.Now().Unix()
		p := l.dial(identify(`"client_id":"id","hostname":"host","user_agent":"agent/1"`), multi("b", "1", "2"), pub("a", "1"), pub("c", "1"), pub("a", "2"))
		p.want("OK", "OK", "OK", "OK", "OK")
		c := l.consumer("a", "x", 10)
		m := c.wantMessage("1", 1)
		c.wantMessage("2", 1)
		c.fin(m)
		time.Sleep(time.Second)
		s := l.Stats(StatsFilter{Clients: true})
		if len(s.Producers) != 1 {
			t.Fatalf("%d producers, want 1", len(s.Producers))
		}
		got := s.Producers[0]
		if want := []PubCount{{"a", 2}, {"b", 2}, {"c", 1}}; !slices.Equal(got.PubCounts, want) {
			t.Errorf("pub_counts %v, want %v", got.PubCounts, want)
		}
		if got.ClientID != "id" || got.Hostname != "host" || got.UserAgent != "agent/1" || got.Version != "V2" || got.State != 0 ||
			got.RemoteAddress != p.conn.LocalAddr().String() || got.ConnectTime != begun {
			t.Errorf("of the producer: %+v", got)
		}
		got = l.channel("a", "x").Clients[0]
		if got.ClientID != "peer" || got.Hostname != "peer" || got.State != 3 || got.ReadyCount != 10 || got.InFlightCount != 1 ||
			got.MessageCount != 2 || got.FinishCount != 1 || got.RequeueCount != 0 || got.PubCounts != nil {
			t.Errorf("of the consumer: %+v", got)
		}
		p.conn.Close()
		synctest.Wait()
		if s := l.Stats(StatsFilter{Clients: true}); s.Producers != nil {
			t.Errorf("producers that are gone: %v", s.Producers)
		}
		for _, topic := range []string{"a", "b", "c"} {
			if err := l.DeleteTopic(topic); err != nil {
				t.Error(err)
			}
		}
	})
}

// A new topic begins with the channels that an nsqlookupd knows of it. Its messages
// wait for them, and who publishes does not.
func TestPrecreatedChannels(t *testing.T) {
	inLab(t, func(o *Options) { o.LookupdTCPAddresses = []string{"lookupd:4160"} }, func(l *lab) {
		answers := make(chan string)
		l.links.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			select {
			case names := <-answers:
				return respond(200, names)
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		lookupd := listenAs(t, l.network, "lookupd:4160").accept()
		lookupd.hello()
		lookupd.answer(welcome)
		go func() { // it agrees with all
			for {
				if _, err := lookupd.r.ReadString('\n'); err != nil {
					return
				}
				lookupd.answer("OK")
			}
		}()
		synctest.Wait()

		begun := time.Now()
		p := l.dial(pub("t", "m"))
		p.want("OK")
		own := l.dial(sub("t", "own"), "RDY 1\n")
		own.want("OK")
		elapsed(t, begun, 0, "answered")
		time.Sleep(500 * time.Millisecond)
		if c := l.channel("t", "own"); c.MessageCount != 0 {
			t.Errorf("a channel has messages while others may come")
		}
		answers <- `{"channels":["a","b","c#ephemeral"]}`
		own.fin(own.wantMessage("m", 1))
		elapsed(t, begun, 500*time.Millisecond, "delivered")
		for _, name := range []string{"a", "b"} {
			if c := l.channel("t", name); c.Depth != 1 {
				t.Errorf("depth of %s is %d, want 1", name, c.Depth)
			}
		}
		if n := len(l.FindTopic("t").sorted()); n != 3 {
			t.Errorf("%d channels, want 3", n)
		}

		// It does not wait for long.
		begun = time.Now()
		c := l.dial(pub("u", "m"), sub("u", "c"), "RDY 1\n")
		c.want("OK", "OK")
		elapsed(t, begun, 0, "answered")
		c.fin(c.wantMessage("m", 1))
		elapsed(t, begun, channelsWait, "delivered")
	})
}
