package lookupd

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nsqraft/fsm"
)

// chaosLog is what clients were told in the course of a story about topics that
// are created once each.
type chaosLog struct {
	mu      sync.Mutex
	acked   map[string]time.Time // topic: when its creation was acknowledged
	order   []string             // of acked
	refused map[string]bool      // topics that were certainly not created
}

// missing returns what v lacks of the last topics acknowledged, those before by.
func (h *chaosLog) missing(v *fsm.View, by time.Time, last int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range h.order[max(0, len(h.order)-last):] {
		if at := h.acked[topic]; at.Before(by) && v.Topic(topic) == nil {
			return fmt.Sprintf("%s, acknowledged %v before", topic, by.Sub(at))
		}
	}
	return ""
}

// TestChaosLosesNothing cuts, kills, restarts and deposes nodes at random, one
// seed after the other: NSQRAFT_CHAOS_SEEDS says how many, from 1 on.
func TestChaosLosesNothing(t *testing.T) {
	seeds, _ := strconv.Atoi(os.Getenv("NSQRAFT_CHAOS_SEEDS"))
	for seed := range max(1, seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inCluster(t, 3, func(t *testing.T, c *testCluster) { chaos(t, c, rand.New(rand.NewSource(int64(seed)))) })
		})
	}
}

// chaos has three clients write through and read from a node each, and checks
// what they are told: no consistent read lacks what was acknowledged before it,
// no view more than it admits, no node goes back, nothing refused appears.
func chaos(t *testing.T, c *testCluster, rng *rand.Rand) {
	h := &chaosLog{acked: map[string]time.Time{}, refused: map[string]bool{}}
	live := make(map[string]*atomic.Pointer[node])
	for _, id := range c.ids {
		live[id] = new(atomic.Pointer[node])
		live[id].Store(c.nodes[id].node)
	}
	seen := map[string]uint64{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() { // writers
			for i := 0; ctx.Err() == nil; i++ {
				topic := fmt.Sprintf("w%d-%d", w, i)
				p := live[c.ids[w]].Load()
				if p == nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				cctx, done := context.WithTimeout(ctx, 800*time.Millisecond)
				r, err := p.Submit(cctx, createTopic(topic)).Wait()
				done()
				h.mu.Lock()
				switch {
				case err == nil && r == fsm.ResultOK:
					h.acked[topic] = time.Now()
					h.order = append(h.order, topic)
				case errors.Is(err, errUnavailable):
					h.refused[topic] = true
				}
				h.mu.Unlock()
				time.Sleep(time.Duration(1+w) * 3 * time.Millisecond)
			}
		})
		wg.Go(func() { // readers
			for ctx.Err() == nil {
				id := c.ids[w]
				if p := live[id].Load(); p != nil {
					begun := time.Now()
					f := p.Freshness()
					v := p.View()
					if f.Stale >= 0 {
						if m := h.missing(v, begun.Add(-f.Stale), 100); m != "" {
							t.Errorf("%s says stale %v and lacks %s", id, f.Stale, m)
						}
					}
					h.mu.Lock()
					if v.Index() < seen[id] {
						t.Errorf("%s went back from %d to %d", id, seen[id], v.Index())
					}
					seen[id] = max(seen[id], v.Index())
					h.mu.Unlock()
					begun = time.Now()
					if v, err := p.Consistent(ctx); err == nil {
						if m := h.missing(v, begun, 100); m != "" {
							t.Errorf("consistent read on %s lacks %s", id, m)
						}
					}
				}
				time.Sleep(7 * time.Millisecond)
			}
		})
	}
	for range 20 {
		id := c.ids[rng.Intn(3)]
		n := c.nodes[id]
		switch rng.Intn(8) {
		case 0, 1:
			c.net.Isolate(id)
		case 2:
			c.net.Cut(id, c.ids[rng.Intn(3)])
		case 3, 4:
			c.net.Heal()
		case 5:
			if n.up {
				live[id].Store(nil)
				c.kill(id)
			} else {
				live[id].Store(c.start(id).node)
			}
		case 6:
			live[id].Store(nil)
			if n.up {
				c.kill(id)
			}
			live[id].Store(c.start(id).node)
		case 7:
			if p := live[id].Load(); p != nil {
				wg.Go(func() { p.transfer(ctx, "") })
			}
		}
		time.Sleep(time.Duration(rng.Intn(1500)) * time.Millisecond)
	}
	c.net.Heal()
	for _, id := range c.ids {
		if !c.nodes[id].up {
			c.start(id)
		}
	}
	time.Sleep(3 * time.Second)
	cancel()
	wg.Wait()
	for _, id := range c.ids {
		n := c.nodes[id]
		c.eventually(10*time.Second, "%s reads consistently", func() bool {
			v, err := n.Consistent(t.Context())
			if err != nil {
				return false
			}
			if m := h.missing(v, time.Now(), 1<<30); m != "" {
				t.Errorf("lost: %s lacks %s", id, m)
			}
			for topic := range h.refused {
				if v.Topic(topic) != nil {
					t.Errorf("phantom: %s has %s, which was refused for certain", id, topic)
				}
			}
			return true
		}, id)
	}
	t.Logf("%d acknowledged, %d refused", len(h.acked), len(h.refused))
}
