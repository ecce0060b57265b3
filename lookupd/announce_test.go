package lookupd

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// heardLines collects what all nodes of a cluster log.
type heardLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heardLines) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

// count returns in how many lines all of words are.
func (h *heardLines) count(words ...string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
lines:
	for line := range strings.Lines(h.text.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}

func TestSilentNodeIsAnnouncedOnceAndItsReturnToo(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		cut := c.followers()[0]
		c.register(c.connect(cut, "nsqd"), "orders", "")
		for round := 1; round <= 2; round++ {
			c.net.Isolate(cut.id)
			time.Sleep(20 * time.Second)
			if got := c.heard.count("node is silent", "node="+cut.id); got != round {
				t.Errorf("cut off for the %d. time: announced %d times", round, got)
			}
			c.net.Heal()
			time.Sleep(20 * time.Second)
			if got := c.heard.count("node is back", "node="+cut.id); got != round {
				t.Errorf("back for the %d. time: announced %d times", round, got)
			}
		}
	})
}

// A leader whose disk hangs hears nobody renew, for all have gone to the next
// one, and can do nothing about it.
func TestLeaderWhoseDiskHangsAnnouncesNothing(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		old := c.leader()
		for i, n := range c.followers() {
			c.register(c.connect(n, fmt.Sprintf("nsqd%d", i)), "orders", "")
		}
		resume := sync.OnceFunc(old.disk.hang())
		defer resume()
		c.writable(c.followersOf(old)[0])
		time.Sleep(20 * time.Second)
		for _, n := range c.followersOf(old) {
			if got := c.heard.count("node is silent", "node="+n.id); got != 0 {
				t.Errorf("%s, which lives, was said to be silent %d times", n.id, got)
			}
		}
		if got := c.heard.count("node is silent", "node="+old.id); got != 1 {
			t.Errorf("the old leader was said to be silent %d times, want once", got)
		}
	})
}
