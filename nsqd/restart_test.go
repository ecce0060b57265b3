package nsqd

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// storages are the ways to keep messages.
var storages = map[string]func(*Options){
	"memory": func(*Options) {},
	"spill":  func(o *Options) { o.MemQueueSize = 2 },
	"disk":   func(o *Options) { o.MemQueueSize = 0 },
	"synced": func(o *Options) { o.SyncEvery = 1 },
}

// inLabs runs a story with each of them. The story may have its lab restarted.
func inLabs(t *testing.T, story func(t *testing.T, start func() *lab)) {
	for name, change := range storages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				folder := t.TempDir()
				story(t, func() *lab {
					return newLab(t, func(o *Options) {
						o.DataPath = folder
						change(o)
					})
				})
			})
		})
	}
}

// close closes the lab's server. It may be called by the end of the test again.
func (l *lab) close() {
	l.t.Helper()
	if err := l.Close(); err != nil {
		l.t.Fatal(err)
	}
}

func TestRestart(t *testing.T) {
	inLabs(t, func(t *testing.T, start func() *lab) {
		l := start()
		c := l.consumer("t", "c", 2)
		l.consumer("t", "gone#ephemeral", 0)
		l.publish("t", "waits 1", "waits 2", "waits 3", "waits 4")
		flies, given := c.message(), c.message()
		c.say(fmt.Sprintf("RDY 1\nREQ %s 50000\n", given.ID))
		synctest.Wait()
		begun := time.Now()
		p := l.dial(dpub("t", "30000", "late"), pub("alone", "in the topic"), dpub("alone", "40000", "late in the topic"))
		p.want("OK", "OK", "OK")
		l.consumer("paused", "c", 0)
		l.publish("paused", "m")
		for _, err := range []error{l.FindTopic("paused").FindChannel("c").SetPaused(true), l.FindTopic("alone").SetPaused(true)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		l.close()
		c.wantClosed()
		p.wantClosed()
		time.Sleep(5 * time.Second)

		l = start()
		if s := l.channel("t", "c"); s.Depth+int64(s.DeferredCount) != 5 {
			t.Errorf("depth %d, %d deferred, want 5 together", s.Depth, s.DeferredCount)
		}
		if l.FindTopic("t").FindChannel("gone#ephemeral") != nil {
			t.Error("an ephemeral channel is back")
		}
		c = l.consumer("t", "c", 10)
		attempts := make(map[string]uint16)
		for range 3 {
			m := c.message()
			attempts[string(m.Body)] = m.Attempts
			if m.ID == flies.ID && m.Timestamp != flies.Timestamp {
				t.Errorf("published at %d, want %d", m.Timestamp, flies.Timestamp)
			}
			c.fin(m)
		}
		want := map[string]uint16{"waits 1": 1, "waits 2": 1, "waits 3": 1, "waits 4": 1}
		want[string(flies.Body)] = 2 // it was in flight
		delete(want, string(given.Body))
		if !maps.Equal(attempts, want) {
			t.Errorf("attempts %v, want %v", attempts, want)
		}
		c.fin(c.wantMessage("late", 1))
		elapsed(t, begun, 30*time.Second, "late")
		c.fin(c.wantMessage(string(given.Body), 2))
		elapsed(t, begun, 50*time.Second, "what was given back")

		// What was paused is, with what it has.
		if s := l.channel("paused", "c"); !s.Paused || s.Depth != 1 {
			t.Errorf("paused %v, depth %d, want true, 1", s.Paused, s.Depth)
		}
		c = l.consumer("alone", "c", 10)
		c.wantNone(time.Second)
		if err := l.FindTopic("alone").SetPaused(false); err != nil {
			t.Fatal(err)
		}
		c.fin(c.wantMessage("in the topic", 1))
		c.fin(c.wantMessage("late in the topic", 1))
	})
}

// Many restarts in a row wear nothing out.
func TestManyRestarts(t *testing.T) {
	inLabs(t, func(t *testing.T, start func() *lab) {
		l := start()
		l.publish("t", "1", "2", "3", "4", "5", "6")
		for i := range 5 {
			c := l.consumer("t", "c", 6)
			for range 6 - i {
				if m := c.message(); int(m.Attempts) != i+1 {
					t.Errorf("after %d restarts, message %s is at attempt %d", i, m.Body, m.Attempts)
				} else if string(m.Body) == fmt.Sprint(i+1) {
					c.fin(m)
				}
			}
			synctest.Wait()
			l.close()
			l = start()
		}
		c := l.consumer("t", "c", 6)
		c.fin(c.wantMessage("6", 6))
		c.wantNone(time.Hour)
	})
}

// Whatever was acknowledged when the server is closed amidst of its work has been
// sent to a consumer that finished it, or comes after the restart.
func TestCloseAmidst(t *testing.T) {
	inLabs(t, func(t *testing.T, start func() *lab) {
		l := start()
		var mu sync.Mutex
		acknowledged, received := make(map[string]bool), make(map[string]bool)
		var wg sync.WaitGroup
		for n := range 4 {
			p := l.dial()
			wg.Go(func() {
				for i := 0; ; i += 3 {
					var bodies []string
					for k := range 3 {
						bodies = append(bodies, fmt.Sprintf("%d-%d-%s", n, i+k, strings.Repeat("x", 100)))
					}
					if _, err := io.WriteString(p.conn, multi("t", bodies...)); err != nil {
						return
					}
					if _, payload, err := p.frame(); err != nil || !bytes.Equal(payload, okText) {
						return
					}
					mu.Lock()
					for _, b := range bodies {
						acknowledged[b] = true
					}
					mu.Unlock()
					time.Sleep(time.Millisecond)
				}
			})
		}
		for range 2 {
			c := l.consumer("t", "c", 20)
			wg.Go(func() {
				for i := 0; ; i++ {
					_, payload, err := c.frame()
					if err != nil {
						return
					}
					var m Message
					if m.decode(payload) != nil {
						return
					}
					if i%5 == 0 {
						continue // it stays in flight
					}
					mu.Lock()
					received[string(m.Body)] = true
					mu.Unlock()
					if _, err := fmt.Fprintf(c.conn, "FIN %s\n", m.ID); err != nil {
						return
					}
				}
			})
		}
		time.Sleep(200 * time.Millisecond)
		l.close()
		wg.Wait()
		if len(acknowledged) < 100 {
			t.Errorf("only %d messages were published", len(acknowledged))
		}
		l = start()
		c := l.consumer("t", "c", 100)
		for range l.channel("t", "c").Depth + int64(l.channel("t", "c").InFlightCount) {
			m := c.message()
			received[string(m.Body)] = true
			c.fin(m)
		}
		c.wantNone(time.Hour)
		for body := range acknowledged {
			if !received[body] {
				t.Errorf("message %.10s is lost", body)
			}
		}
	})
}
