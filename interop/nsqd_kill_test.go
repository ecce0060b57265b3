package interop

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// kills is how often TestNSQDKilled kills nsqd.
var kills = flag.Int("nsqd-kills", 3, "how often nsqd is killed under load")

// acked are the bodies that were published and answered with OK.
type acked struct {
	mu     sync.Mutex
	bodies map[string]bool
}

func (a *acked) add(bodies ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, body := range bodies {
		a.bodies[body] = true
	}
}

// TestNSQDKilled kills an nsqd that syncs every message, again and again, while eight
// producers publish and one channel is read. No channel may lose a message whose
// publisher had its OK.
func TestNSQDKilled(t *testing.T) {
	t.Parallel()
	if nsqdUnderTest() == "stock" {
		t.Skip("stock loses what it has in memory")
	}
	for _, flags := range [][]string{{"--sync-every=1"}, {"--sync-every=1", "--mem-queue-size=0", "--max-bytes-per-file=100000"}} {
		t.Run(fmt.Sprint(flags), func(t *testing.T) {
			t.Parallel()
			s := startNSQDSubject(t, "ours", flags...)
			for _, target := range []string{"/topic/create?topic=t", "/channel/create?topic=t&channel=read", "/channel/create?topic=t&channel=kept"} {
				mustSend(t, "POST", s.http, target, "")
			}
			published := &acked{bodies: make(map[string]bool)}
			read := &acked{bodies: make(map[string]bool)}
			for round := range *kills {
				var clients sync.WaitGroup
				for i := range 8 {
					clients.Go(func() { publishUntilKilled(s.tcp, fmt.Sprintf("%d/%d", round, i), i >= 4, published) })
				}
				clients.Go(func() { readUntilKilled(s.tcp, "read", read) })
				time.Sleep(time.Duration(50+rand.IntN(300)) * time.Millisecond)
				s.kill()
				clients.Wait()
				s.start()
				awaitPing(t, s.process, s.http)
			}
			t.Logf("%d messages acknowledged, %d of them read along the way", len(published.bodies), len(read.bodies))
			if len(published.bodies) == 0 {
				t.Fatal("nothing was published")
			}
			for body := range consume(t, s.tcp, "t", "read", 1<<30, 2*time.Second) {
				read.bodies[body] = true
			}
			kept := &acked{bodies: make(map[string]bool)}
			for body := range consume(t, s.tcp, "t", "kept", 1<<30, 2*time.Second) {
				kept.bodies[body] = true
			}
			for _, channel := range []struct {
				name string
				got  *acked
			}{{"read", read}, {"kept", kept}} {
				lost := 0
				for body := range published.bodies {
					if !channel.got.bodies[body] {
						if lost++; lost <= 5 {
							t.Errorf("channel %s has lost %q", channel.name, body)
						}
					}
				}
				if lost > 5 {
					t.Errorf("channel %s has lost %d of %d", channel.name, lost, len(published.bodies))
				}
			}
			noBadFiles(t, s.data)
		})
	}
}

// publishUntilKilled publishes different bodies, alone or in batches, until the
// connection breaks.
func publishUntilKilled(addr, name string, batches bool, published *acked) {
	c, err := dialV2(addr)
	if err != nil {
		return // killed before it began
	}
	defer c.Close()
	for i := 0; ; i++ {
		bodies := []string{fmt.Sprintf("%s/%d", name, i)}
		command := pub("t", bodies[0])
		if batches {
			for k := range 9 {
				bodies = append(bodies, fmt.Sprintf("%s/%d-%d", name, i, k))
			}
			command = mpub("t", bodies...)
		}
		if c.do(command) != nil {
			return
		}
		published.add(bodies...)
	}
}

// readUntilKilled finishes messages until the connection breaks.
func readUntilKilled(addr, channel string, read *acked) {
	c, err := dialV2(addr)
	if err != nil {
		return
	}
	defer c.Close()
	if c.do("SUB t "+channel+"\n") != nil {
		return
	}
	if _, err := fmt.Fprint(c, "RDY 100\n"); err != nil {
		return
	}
	for {
		f, err := c.next(10 * time.Second)
		if err != nil {
			return
		}
		if _, _, id, body, err := f.message(); f.kind == frameMessage && err == nil {
			read.add(body)
			fmt.Fprint(c, "FIN "+id+"\n") // an error shows at the next read
		}
	}
}
