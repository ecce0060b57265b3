package interop

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// healTimeout is how long a stock nsqd may take to be registered with a node that
// came back: it notices a lost nsqlookupd at one 15 s tick, reconnects at the next
// and then registers everything again.
const healTimeout = 45 * time.Second

// TestEachNodeKilled kills each node in turn, twice, with -9 while a stock nsqd goes on
// creating topics. On the two that live, no lookup fails and none lacks the nsqd;
// in the end every topic that the nsqd acknowledged is known to every node.
func TestEachNodeKilled(t *testing.T) {
	c := startCluster(t)
	all := httpAddrs(c.nodes)
	d := startNSQD(t, tcpAddrs(c.nodes)...)
	d.createTopic("steady")
	eventually(t, seenTimeout, "nsqd", listed(all, "steady", d.http))

	topics := createTopics(t, d)
	for _, victim := range slices.Concat(c.nodes, c.nodes) {
		w := startWatch(t, c.without(victim), "/lookup?topic=steady", false, alwaysLists(d.http))
		begun := topics.count()
		victim.kill()
		// The cluster is left alone until the nsqd has gone on creating topics.
		eventually(t, readyTimeout, "topics created without "+victim.id, topics.reach(begun+20))
		victim.start()
		c.waitReady(victim)
		w.stop(50)
	}
	acknowledged := topics.stop()
	if len(acknowledged) < 6*20 {
		t.Errorf("only %d topics were created", len(acknowledged))
	}
	eventually(t, healTimeout, fmt.Sprintf("all %d topics everywhere", len(acknowledged)), func() error {
		for _, addr := range all {
			got, err := names(addr, "/topics")
			if err != nil {
				return err
			}
			for _, topic := range acknowledged {
				if _, ok := slices.BinarySearch(got, topic); !ok {
					return fmt.Errorf("%s: /topics lacks %s", addr, topic)
				}
			}
		}
		return nil
	})
	for _, topic := range acknowledged {
		eventually(t, healTimeout, "nsqd in every lookup", listed(all, topic, d.http))
	}
}

// TestLeaderKilled kills the leader, three times, and wants the next registration with
// the nodes that live to be on both of them soon. nsqd finds its connection to the dead
// one closed and goes on to the others, so the bound is theirs.
func TestLeaderKilled(t *testing.T) {
	c := startCluster(t)
	d := startNSQD(t, tcpAddrs(c.nodes)...)
	d.createTopic("steady")
	eventually(t, seenTimeout, "nsqd", listed(httpAddrs(c.nodes), "steady", d.http))
	for i := range 3 {
		leader := c.leader()
		survivors := c.without(leader)
		w := startWatch(t, survivors, "/lookup?topic=steady", false, alwaysLists(d.http))
		leader.kill()
		topic := "after-" + strconv.Itoa(i)
		d.createTopic(topic)
		eventually(t, 5*time.Second, "registration after the leader's death", listed(httpAddrs(survivors), topic, d.http))
		c.leader() // the two agree on one of themselves
		w.stop(1)
		leader.start()
		c.waitReady(leader)
		if err := listed([]string{leader.http}, topic, d.http)(); err != nil {
			t.Errorf("%s is ready and lacks what happened while it was down: %v", leader.id, err)
		}
	}
}

// TestStoppedGracefully sends SIGTERM to each node in turn, the leader among them.
// Nothing that a client of the other two could notice may happen.
func TestStoppedGracefully(t *testing.T) {
	c := startCluster(t)
	d := startNSQD(t, tcpAddrs(c.nodes)...)
	d.createTopic("steady")
	eventually(t, seenTimeout, "nsqd", listed(httpAddrs(c.nodes), "steady", d.http))
	for _, n := range c.nodes {
		w := startWatch(t, c.without(n), "/lookup?topic=steady", false, alwaysLists(d.http))
		n.stop()
		topic := "without-" + n.id
		d.createTopic(topic)
		eventually(t, 5*time.Second, "registration without "+n.id, listed(httpAddrs(c.running()), topic, d.http))
		n.start()
		c.waitReady(n)
		w.stop(1)
	}
}

// TestAllKilled kills all three nodes at once and starts them again. From the
// moment a node answers HTTP at all it says 503 or the truth: never that a topic is
// unknown, never that it has no producer.
func TestAllKilled(t *testing.T) {
	c := startCluster(t)
	all := httpAddrs(c.nodes)
	d := startNSQD(t, tcpAddrs(c.nodes)...)
	d.createTopic("steady")
	d.createChannel("steady", "archive")
	for _, n := range c.nodes { // as nsqadmin does; once would do
		mustSend(t, "POST", n.http, "/topic/create?topic=quiet", "")
	}
	eventually(t, seenTimeout, "nsqd", listed(all, "steady", d.http))
	eventually(t, seenTimeout, "names", named(all, "/topics", "quiet", "steady"))
	// The nsqd's REGISTER of the channel is a command of its own, after the topic's.
	eventually(t, seenTimeout, "channel", named(all, "/channels?topic=steady", "archive"))

	for _, n := range c.nodes {
		n.kill()
	}
	watches := []*watch{
		startWatch(t, c.nodes, "/lookup?topic=steady", true, listsOrNotReady(d.http)),
		startWatch(t, c.nodes, "/lookup?topic=quiet", true, listsOrNotReady()),
		startWatch(t, c.nodes, "/topics", true, contains("quiet", "steady")),
		startWatch(t, c.nodes, "/channels?topic=steady", true, contains("archive")),
	}
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady(c.nodes...)
	eventually(t, seenTimeout, "the registry is back", listed(all, "steady", d.http))
	for _, w := range watches {
		w.stop(20)
	}
}

// TestOneOfThreeBack starts only one of three killed nodes. Without a leader it
// first says that it is not ready, then serves what its disk holds, marked stale.
func TestOneOfThreeBack(t *testing.T) {
	c := startCluster(t, "--serve-stale-after=3s")
	d := startNSQD(t, tcpAddrs(c.nodes)...)
	d.createTopic("steady")
	eventually(t, seenTimeout, "nsqd", listed(httpAddrs(c.nodes), "steady", d.http))
	for _, n := range c.nodes {
		n.kill()
	}
	lone := c.nodes[1]
	w := startWatch(t, []*node{lone}, "/lookup?topic=steady", true, func(a answer) error {
		if err := listsOrNotReady(d.http)(a); err != nil {
			return err
		}
		if a.status == http.StatusOK && a.header.Get("X-Nsq-Known-Leader") != "false" {
			return fmt.Errorf("X-Nsq-Known-Leader: %q, want false", a.header.Get("X-Nsq-Known-Leader"))
		}
		return nil
	})
	lone.start()
	refused := 0
	eventually(t, readyTimeout, "serves what its disk holds", func() error {
		a, err := request("GET", lone.http, "/lookup?topic=steady", "")
		if err == nil && a.status == http.StatusServiceUnavailable {
			refused++
		}
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", a.status, a.body)
		}
		return err
	})
	if refused == 0 {
		t.Error("it answered before it could know whether the others are alive")
	}
	if a, err := request("GET", lone.http, "/readyz", ""); err != nil || a.status == http.StatusOK {
		t.Errorf("/readyz of a node without a leader: %d %v, want no 200", a.status, err)
	}
	if a, err := request("GET", lone.http, "/lookup?topic=steady&consistent=true", ""); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("consistent lookup without a quorum: %d %v, want 503", a.status, err)
	}
	w.stop(20)
}

// TestOnlyNodeOfAnNSQDKilled kills, for good, the one node that two nsqds are
// connected to. Nobody ever finds the first one missing: it is told of another
// node before its grace is over. The second is left alone; it goes when the grace
// is over, and shows that the first would have gone too.
func TestOnlyNodeOfAnNSQDKilled(t *testing.T) {
	t.Parallel()                   // it mostly waits for the grace
	const grace = 31 * time.Second // the least that is accepted
	// A busy machine makes the short timeouts of lan elect again and again, and each new
	// leader counts the grace anew. This is about the grace.
	c := startCluster(t, "--session-grace="+grace.String(), "--raft-timing=wan")
	victim := c.nodes[0]
	moved, left := startNSQD(t, victim.tcp), startNSQD(t, victim.tcp)
	moved.createTopic("moved")
	left.createTopic("left")
	eventually(t, seenTimeout, "first nsqd", listed(httpAddrs(c.nodes), "moved", moved.http))
	eventually(t, seenTimeout, "second nsqd", listed(httpAddrs(c.nodes), "left", left.http))

	survivors := c.without(victim)
	addrs := httpAddrs(survivors)
	w := startWatch(t, survivors, "/lookup?topic=moved", false, alwaysLists(moved.http))
	victim.kill()
	killed := time.Now()
	moved.useLookupds(survivors[0].tcp)

	// A registration made now shows that the nsqd has arrived at the other node.
	moved.createTopic("arrived")
	eventually(t, healTimeout, "first nsqd is at another node", listed(addrs, "arrived", moved.http))
	if time.Since(killed) < grace {
		if err := listed(addrs, "left", left.http)(); err != nil {
			t.Errorf("%v after the kill: %v", time.Since(killed), err)
		}
	}
	eventually(t, grace+time.Minute, "the second nsqd's grace is over", listed(addrs, "left"))
	if early := time.Since(killed); early < grace {
		t.Errorf("the second nsqd went %v after the kill, want %v at least", early, grace)
	}
	if err := listed(addrs, "moved", moved.http)(); err != nil {
		t.Errorf("after the grace: %v", err)
	}
	w.stop(1000)
}

// contains judges an answer of /topics or /channels: 503, or all of want.
func contains(want ...string) func(answer) error {
	return func(a answer) error {
		if a.status == http.StatusServiceUnavailable {
			return nil
		}
		got, err := a.names()
		if err != nil {
			return err
		}
		var missing []error
		for _, name := range want {
			if !slices.Contains(got, name) {
				missing = append(missing, fmt.Errorf("status %d: %s lacks %s", a.status, a.body, name))
			}
		}
		return errors.Join(missing...)
	}
}

// A topicMaker creates topics on an nsqd until it is stopped.
type topicMaker struct {
	t    testing.TB
	d    *nsqd
	quit chan struct{}
	once sync.Once
	done chan struct{}

	mu   sync.Mutex
	made []string // acknowledged by the nsqd
}

// makeEvery leaves the nsqd time to register each topic with three nodes.
const makeEvery = 40 * time.Millisecond

func createTopics(t testing.TB, d *nsqd) *topicMaker {
	m := &topicMaker{t: t, d: d, quit: make(chan struct{}), done: make(chan struct{})}
	go m.run()
	t.Cleanup(m.end)
	return m
}

func (m *topicMaker) run() {
	defer close(m.done)
	tick := time.NewTicker(makeEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-m.quit:
			return
		case <-tick.C:
		}
		topic := fmt.Sprintf("topic-%04d", i)
		// nsqd asks every nsqlookupd for the topic's channels first, which may
		// take it longer than we wait. What it did not acknowledge is not counted.
		a, err := request("POST", m.d.http, "/topic/create?topic="+topic, "")
		if err != nil || a.status != http.StatusOK {
			m.t.Logf("nsqd did not acknowledge %s: %d %v", topic, a.status, err)
			continue
		}
		m.mu.Lock()
		m.made = append(m.made, topic)
		m.mu.Unlock()
	}
}

func (m *topicMaker) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.made)
}

// reach returns a check that n topics have been created.
func (m *topicMaker) reach(n int) func() error {
	return func() error {
		if got := m.count(); got < n {
			return fmt.Errorf("%d topics, want %d", got, n)
		}
		return nil
	}
}

func (m *topicMaker) end() {
	m.once.Do(func() { close(m.quit) })
	<-m.done
}

// stop ends the creation and returns the topics that the nsqd acknowledged.
func (m *topicMaker) stop() []string {
	m.end()
	return m.made
}
