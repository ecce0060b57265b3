package nsqd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// Producers and consumers of several channels do all they may at the same time, while
// somebody pauses and resumes. Each channel's messages are finished once, all of them.
func TestCrowd(t *testing.T) {
	ways := maps.Clone(storages)
	ways["zones"] = func(o *Options) {
		o.TopologyZone, o.TopologyRegion, o.EnableExperiments = "z0", "r0", []string{experimentTopology}
	}
	for name, change := range ways {
		t.Run(name, func(t *testing.T) {
			inLab(t, change, func(l *lab) { newCrowd(l).play() })
		})
	}
}

const (
	crowdProducers = 4
	crowdConsumers = 4 // per channel
	crowdMessages  = 300
	crowdTimeout   = time.Second
)

type crowd struct {
	*lab
	channels []string

	mu       sync.Mutex
	finished map[string]map[string]int // by channel and body: FINs that did not fail
	peers    map[*peer]struct{}
	over     bool
	errs     []error
}

func newCrowd(l *lab) *crowd {
	return &crowd{lab: l, channels: []string{"a", "b", "c"}, finished: make(map[string]map[string]int), peers: make(map[*peer]struct{})}
}

func (c *crowd) play() {
	topic, err := c.Topic("t")
	if err != nil {
		c.t.Fatal(err)
	}
	for _, name := range c.channels {
		c.finished[name] = make(map[string]int)
		if _, err := topic.Channel(name); err != nil {
			c.t.Fatal(err)
		}
	}
	var producers, others sync.WaitGroup
	stop := make(chan struct{})
	for i := range crowdProducers {
		producers.Go(func() { c.note(c.produce(i)) })
	}
	for _, name := range c.channels {
		for range crowdConsumers {
			others.Go(func() {
				for c.going() {
					c.note(c.consume(name))
				}
			})
		}
	}
	others.Go(func() { c.note(c.disturb(topic, stop)) })
	producers.Wait()
	close(stop)
	begun := time.Now()
	for !c.done(topic) {
		if time.Sleep(time.Second); time.Since(begun) > time.Hour {
			c.t.Errorf("not done after %v: %+v", time.Since(begun), topic.stats(StatsFilter{}))
			break
		}
	}
	time.Sleep(time.Minute) // what consumers have not read yet is stale, and they hear so
	c.end()
	others.Wait()
	for _, err := range c.errs {
		c.t.Error(err)
	}
	for _, name := range c.channels {
		if got := len(c.finished[name]); got != crowdProducers*crowdMessages {
			c.t.Errorf("%s: %d messages were finished, of %d", name, got, crowdProducers*crowdMessages)
		}
		for body, n := range c.finished[name] {
			if n != 1 {
				c.t.Errorf("%s: message %s was finished %d times", name, body, n)
			}
		}
	}
}

func (c *crowd) done(topic *Topic) bool {
	s := topic.stats(StatsFilter{})
	for _, ch := range s.Channels {
		if ch.Depth > 0 || ch.InFlightCount > 0 || ch.DeferredCount > 0 {
			return false
		}
	}
	return s.Depth == 0
}

func (c *crowd) going() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.over
}

func (c *crowd) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && !c.over {
		c.errs = append(c.errs, err)
	}
}

// end makes the consumers end.
func (c *crowd) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for p := range c.peers {
		p.conn.Close()
	}
}

func (c *crowd) join(say string) *peer {
	p := c.dial(say)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peers[p] = struct{}{}
	if c.over {
		p.conn.Close()
	}
	return p
}

func (c *crowd) leave(p *peer) {
	p.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.peers, p)
}

func (c *crowd) produce(number int) error {
	p := c.join("")
	defer c.leave(p)
	for i := 0; i < crowdMessages; {
		body := func() string { i++; return fmt.Sprintf("%d-%d", number, i) }
		var say string
		switch r := rand.IntN(10); {
		case r < 6:
			say = pub("t", body())
		case r < 8:
			say = dpub("t", fmt.Sprint(rand.IntN(3000)), body())
		default:
			var bodies []string
			for range min(1+rand.IntN(40), crowdMessages-i) {
				bodies = append(bodies, body())
			}
			say = multi("t", bodies...)
		}
		if _, err := io.WriteString(p.conn, say); err != nil {
			return err
		}
		if _, payload, err := p.frame(); err != nil || string(payload) != "OK" {
			return fmt.Errorf("a publish is answered %q, %v", payload, err)
		}
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
	}
	return nil
}

// consume subscribes, deals with some messages in all ways, and leaves.
func (c *crowd) consume(channel string) error {
	p := c.join(identify(fmt.Sprintf(`"msg_timeout":%d,"topology_zone":"z%d","topology_region":"r%d"`, crowdTimeout.Milliseconds(), rand.IntN(3), rand.IntN(2))) + sub("t", channel) + fmt.Sprintf("RDY %d\n", 1+rand.IntN(20)))
	defer c.leave(p)
	bodies := make(map[MessageID]string)
	closing := false
	for left := 1 + rand.IntN(100); ; {
		kind, payload, err := p.frame()
		if err != nil {
			return err
		}
		if string(payload) == "CLOSE_WAIT" {
			return nil // it has heard about all that it has finished
		}
		if id, ok := bytes.CutPrefix(payload, []byte("E_FIN_FAILED FIN ")); ok {
			c.count(channel, bodies[MessageID(id[:16])], -1)
			continue
		}
		if kind == frameError && !bytes.HasPrefix(payload, []byte("E_REQ_FAILED")) && !bytes.HasPrefix(payload, []byte("E_TOUCH_FAILED")) {
			return errors.New(string(payload))
		}
		if kind != frameMessage || closing {
			continue // what comes now times out
		}
		var m Message
		if err := m.decode(payload); err != nil {
			return err
		}
		bodies[m.ID] = string(m.Body)
		var say string
		switch r := rand.IntN(20); {
		case r < 2:
			say = fmt.Sprintf("REQ %s %d\n", m.ID, rand.IntN(2)*rand.IntN(2000))
		case r == 2: // it forgets about it
		case r == 3:
			time.Sleep(crowdTimeout * 11 / 10)
			fallthrough
		default:
			say = fmt.Sprintf("TOUCH %s\nFIN %s\n", m.ID, m.ID)
			c.count(channel, string(m.Body), 1)
		}
		if left--; left == 0 {
			closing = true
			say += "CLS\n"
		} else if rand.IntN(20) == 0 {
			say += fmt.Sprintf("RDY %d\n", 1+rand.IntN(20))
		}
		if _, err := io.WriteString(p.conn, say); err != nil {
			return err
		}
	}
}

func (c *crowd) count(channel, body string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished[channel][body] += n
	if c.finished[channel][body] == 0 {
		delete(c.finished[channel], body)
	}
}

// disturb pauses and resumes until stop is closed.
func (c *crowd) disturb(topic *Topic, stop chan struct{}) error {
	for {
		ch := topic.FindChannel(c.channels[rand.IntN(len(c.channels))])
		for _, paused := range []bool{true, false} {
			if err := errors.Join(topic.SetPaused(paused && rand.IntN(2) == 0), ch.SetPaused(paused)); err != nil {
				return err
			}
			c.Stats(StatsFilter{Clients: true})
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

// Who comes to an ephemeral channel while the last of the others goes is not thrown
// out with it.
func TestEphemeralCrowd(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		c := newCrowd(l)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { c.note(c.comeAndGo(i)) })
		}
		wg.Wait()
		for _, err := range c.errs {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if topics := l.sorted(); len(topics) != 0 {
			t.Errorf("%d topics are left", len(topics))
		}
	})
}

func (c *crowd) comeAndGo(number int) error {
	for i := range 300 {
		p := c.join(sub("t#ephemeral", "c#ephemeral") + "RDY 1\n" + pub("t#ephemeral", fmt.Sprint(number, i)))
		for oks := 0; oks < 2; {
			kind, payload, err := p.frame()
			if err != nil || kind == frameError {
				return fmt.Errorf("turn %d: got %q, %v", i, payload, err)
			}
			if string(payload) == "OK" {
				oks++
			}
		}
		c.leave(p)
	}
	return nil
}

// Topics and channels are deleted and emptied while they are in use; in the end they
// are as good as new.
func TestDeletingCrowd(t *testing.T) {
	for name, change := range storages {
		t.Run(name, func(t *testing.T) {
			inLab(t, change, func(l *lab) {
				c := newCrowd(l)
				for _, name := range c.channels {
					c.finished[name] = make(map[string]int)
				}
				var others sync.WaitGroup
				for i := range 3 {
					others.Go(func() {
						for c.going() {
							c.publishTo(fmt.Sprint("t", i%2))
						}
					})
				}
				for i := range 6 {
					others.Go(func() {
						for c.going() {
							c.drop(fmt.Sprint("t", i%2), c.channels[i%3])
						}
					})
				}
				for range 60 {
					time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
					topic := l.FindTopic(fmt.Sprint("t", rand.IntN(2)))
					if topic == nil {
						continue
					}
					var err error
					switch ch := topic.FindChannel(c.channels[rand.IntN(3)]); {
					case rand.IntN(4) == 0:
						err = l.DeleteTopic(topic.name)
					case rand.IntN(4) == 0:
						err = topic.Empty()
					case ch == nil:
					case rand.IntN(2) == 0:
						err = ch.Empty()
					default:
						if err = topic.DeleteChannel(ch.name); errors.Is(err, ErrChannelNotFound) {
							err = nil // it was in a topic that is deleted
						}
					}
					if err != nil {
						t.Error(err)
					}
				}
				c.end()
				others.Wait()
				for _, topic := range []string{"t0", "t1"} {
					if err := l.DeleteTopic(topic); err != nil && !errors.Is(err, ErrTopicNotFound) {
						t.Error(err)
					}
					p := l.consumer(topic, "a", 1)
					l.publish(topic, "m")
					p.fin(p.wantMessage("m", 1))
				}
				if err := l.Health(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// publishTo publishes until it is refused, or all ends.
func (c *crowd) publishTo(topic string) {
	p := c.join("")
	defer c.leave(p)
	for i := 0; ; i++ {
		if _, err := io.WriteString(p.conn, multi(topic, fmt.Sprint(i), fmt.Sprint(i, "x"))+dpub(topic, "10", fmt.Sprint(i, "y"))); err != nil {
			return
		}
		for range 2 {
			if _, payload, err := p.frame(); err != nil || string(payload) != "OK" {
				return
			}
		}
		time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
	}
}

// drop subscribes, and finishes what comes until it is thrown out.
func (c *crowd) drop(topic, channel string) {
	p := c.join(sub(topic, channel) + "RDY 10\n")
	defer c.leave(p)
	for {
		kind, payload, err := p.frame()
		if err != nil {
			return
		}
		if kind != frameMessage {
			continue
		}
		if _, err := fmt.Fprintf(p.conn, "FIN %s\n", payload[10:26]); err != nil {
			return
		}
	}
}
