package workload

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// A generation of the topics of unique producers, and of those that mutators change:
	// porcupine's time grows with the length of a topic's history beyond proportion.
	uniqueGeneration  = 2 * time.Second
	mutableGeneration = 5 * time.Second

	uniqueTopics  = 4 // in a generation
	mutableTopics = 2

	// recent is how many generations of unique producers' topics are looked up most.
	recent = 3
	// remembered is how many are looked up at all before the end.
	remembered = 15
)

// Prefix begins the name of every topic and the address of every simulated nsqd.
const Prefix = "drill-"

// names are the topics of a Workload.
type names struct {
	now func() time.Duration
	tag string // what all begin with

	mu     sync.Mutex
	used   map[string]bool
	stable []string // those of nsqds that stay
}

func newNames(now func() time.Duration, tag string) *names {
	return &names{now: now, tag: Prefix + tag + "-", used: make(map[string]bool)}
}

// use notes that topic is in the registry, or may be.
func (n *names) use(topic string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.used[topic] = true
	return topic
}

// all returns what was used, sorted.
func (n *names) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]string, 0, len(n.used))
	for topic := range n.used {
		all = append(all, topic)
	}
	slices.Sort(all)
	return all
}

// unique returns a topic for a producer that comes now.
func (n *names) unique(rng *rand.Rand) string {
	return n.use(n.uniqueIn(n.generation(uniqueGeneration), rng))
}

func (n *names) uniqueIn(generation int, rng *rand.Rand) string {
	return fmt.Sprintf("%su%d.%d", n.tag, generation, rng.IntN(uniqueTopics))
}

// mutable returns a topic for mutators of that generation.
func (n *names) mutable(generation int, rng *rand.Rand) string {
	return n.use(n.mutableIn(generation, rng))
}

func (n *names) mutableIn(generation int, rng *rand.Rand) string {
	return fmt.Sprintf("%sx%d.%d", n.tag, generation, rng.IntN(mutableTopics))
}

func (n *names) generation(length time.Duration) int { return int(n.now() / length) }

// stay returns the i-th topic of nsqds that stay.
func (n *names) stay(i int) string {
	topic := fmt.Sprintf("%ss%d", n.tag, i)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.used[topic] {
		n.used[topic] = true
		n.stable = append(n.stable, topic)
	}
	return topic
}

// messages returns the topic of all messages.
func (n *names) messages() string { return n.tag + "messages" }

// producer returns the host name of a producer, as s12.
func (n *names) producer(kind string, i int) string {
	return fmt.Sprintf("%s%s%d", n.tag, kind, i)
}

// lookup returns a topic to look up now: one whose producers come now for the most part,
// or one that is changed, or one that should not change.
func (n *names) lookup(rng *rand.Rand) string {
	switch dice := rng.IntN(100); {
	case dice < 50:
		return n.uniqueIn(max(0, n.generation(uniqueGeneration)-rng.IntN(recent)), rng)
	case dice < 65:
		return n.uniqueIn(max(0, n.generation(uniqueGeneration)-rng.IntN(remembered)), rng)
	case dice < 85:
		return n.mutableIn(max(0, n.generation(mutableGeneration)-rng.IntN(2)), rng)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.stable) == 0 {
		return n.mutableIn(n.generation(mutableGeneration), rng)
	}
	return n.stable[rng.IntN(len(n.stable))]
}
