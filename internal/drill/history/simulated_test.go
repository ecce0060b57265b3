package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A simulation makes the history of clients of a registry that is right, but for a
// defect: each call takes effect at one moment between call and return, default
// lookups are answered from copies that lag behind and say by how much.
type simulation struct {
	rng     *rand.Rand
	run     *Run
	now     time.Duration
	clients []*simClient
	topics  map[string]*simTopic
	index   uint64
	nodes   map[string]*simNode
	session int64
	late    []func()       // effects that come after their calls have returned
	tombs   map[string]int // how many tombstones were asked for, by topic
	defect  string
	message int
}

type simClient struct {
	number   int
	free     time.Duration // when its next call begins
	call     time.Duration
	effect   time.Duration // when that takes effect
	ret      time.Duration
	session  int64
	producer string
	node     string
	unique   bool // registers once, with a topic of many such, and goes
}

type simTopic struct {
	known    bool
	channels map[string]bool
	sessions map[int64]string // producers
	tombs    map[string]bool  // producers that are hidden: a tombstone holds longer than a simulation
	versions []simVersion
}

// A simVersion is the answer of a topic from an index on.
type simVersion struct {
	index  uint64
	at     time.Duration
	answer *Answer
}

type simNode struct {
	lag  time.Duration
	seen uint64
}

// simDefects are what a registry may do wrong, and which claims have to notice.
var simDefects = map[string][]string{
	"":                                  nil,
	"one registration in 20 is dropped": {"registry/no-lost-registration", "registry/no-stale-consistent-read"},
	"a consistent read is stale":        {"registry/no-stale-consistent-read"},
	"acknowledged before commit":        {"registry/no-stale-consistent-read"},
	"an end in 3 is dropped":            {"registry/no-phantom"},
	"an unregistration in 3 is dropped": {"registry/no-phantom", "linear/topic"},
	"a refused write is done":           {"linear/topic"},
	"a tombstone hides nothing":         {"registry/tombstone", "linear/topic"},
	"always fresh":                      {"reads/honest-age"},
	"an older copy":                     {"reads/monotonic"},
	"a copy skips an entry":             {"reads/equal-index"},
	"a lookup in 200 fails":             {"available/lookups"},
	"a command in 100 is late":          {"deadline/commands"},
	"a session in 10 is lost":           {"deadline/sessions"},
	"two lead":                          {"cluster/one-leader-a-term"},
	"the hash differs":                  {"cluster/equal-hash"},
	"applied before commit":             {"cluster/applied-is-committed"},
	"a message in 50 is dropped":        {"messages/delivered"},
	"a message is made up":              {"messages/nothing-from-nowhere"},
}

// wrong says whether to do the defect of that name this time: once in n.
func (s *simulation) wrong(name string, n int) bool {
	if s.defect != name || s.rng.IntN(n) != 0 {
		return false
	}

	return true
}

func simulate(seed uint64, calls int, defect string) *Run {
	s := &simulation{rng: rand.New(rand.NewPCG(seed, 1)), topics: make(map[string]*simTopic), nodes: make(map[string]*simNode),
		tombs: make(map[string]int), defect: defect,
		run: &Run{Header: Header{Against: "ours", Nodes: []string{"n1", "n2", "n3"}, NSQDs: []string{"nsqd1"},
			Grace: 45 * time.Second, Inactive: 300 * time.Second, Tombstone: 45 * time.Second}}}
	for i, node := range s.run.Header.Nodes {
		s.nodes[node] = &simNode{lag: time.Duration(i) * 20 * ms}
	}
	s.add(Op{Kind: CreateChannel, Node: "nsqd1", Topic: "m", Channel: "c", Outcome: Done})
	for i := range 9 {
		c := &simClient{number: i + 1, unique: i >= 5}
		s.plan(c)
		s.clients = append(s.clients, c)
	}
	for range calls {
		next := slices.MinFunc(s.clients, func(a, b *simClient) int { return int(a.effect - b.effect) })
		s.now = next.effect
		s.act(next)
		s.plan(next)
	}
	s.end()
	s.run.Sort()
	return s.run
}

// plan decides when the client's next call is made, takes effect, and returns.
func (s *simulation) plan(c *simClient) {
	some := func(most time.Duration) time.Duration { return 1 + time.Duration(s.rng.Int64N(int64(most))) }
	c.call = c.free + some(10*ms)
	c.effect = c.call + some(10*ms)
	c.ret = c.effect + some(10*ms)
	c.free = c.ret
}

func (s *simulation) add(op Op) { s.run.Ops = append(s.run.Ops, op) }

// topic names: toggling clients move on every two seconds, as their search takes long.
func (s *simulation) topicOf(unique bool) string {
	if unique {
		return fmt.Sprintf("u%d", s.now/(5*time.Second))
	}
	return fmt.Sprintf("g%d-%d", s.now/(2*time.Second), s.rng.IntN(2))
}

func (s *simulation) topic(name string) *simTopic {
	t := s.topics[name]
	if t == nil {
		t = &simTopic{channels: make(map[string]bool), sessions: make(map[int64]string), tombs: make(map[string]bool)}
		t.versions = []simVersion{{answer: &Answer{}}}
		s.topics[name] = t
	}
	return t
}

// commit makes a new version of a topic.
func (s *simulation) commit(t *simTopic) {
	s.index++
	a := &Answer{Known: t.known}
	if t.known {
		for _, p := range t.sessions {
			if !t.tombs[p] {
				a.Producers = append(a.Producers, p)
			}
		}
		for c := range t.channels {
			a.Channels = append(a.Channels, c)
		}
		slices.Sort(a.Producers)
		slices.Sort(a.Channels)
	}
	t.versions = append(t.versions, simVersion{s.index, s.now, a})
}

// at returns the answer of a topic as of an index.
func (t *simTopic) at(index uint64) *Answer {
	for _, v := range slices.Backward(t.versions) {
		if v.index <= index {
			return v.answer
		}
	}
	return t.versions[0].answer
}

func (s *simulation) act(c *simClient) {
	op := Op{Client: c.number, Call: c.call, Return: c.ret, Outcome: Done, Node: fmt.Sprintf("n%d", 1+s.rng.IntN(3))}
	switch {
	case s.rng.IntN(3) > 0:
		s.look(c, op)
	case s.rng.IntN(8) == 0:
		s.sample(op.Node)
	case s.rng.IntN(6) == 0:
		s.publish(c, op)
	case c.session == 0:
		s.open(c, op)
	case s.rng.IntN(12) == 0:
		s.close(c, op)
	case !c.unique:
		s.toggle(c, op)
	}
}

func (s *simulation) open(c *simClient, op Op) {
	s.session++
	c.session, c.node = s.session, op.Node
	c.producer = fmt.Sprintf("p%d:1", s.session)
	op.Kind, op.Session, op.Producer = Connect, c.session, c.producer
	if !c.unique {
		s.add(op)
		return
	}
	op.Kind, op.Topic = Register, s.topicOf(true)
	s.change(c, op, func(t *simTopic) { t.known, t.sessions[c.session] = true, c.producer })
}

// close ends the client's session with every topic.
func (s *simulation) close(c *simClient, op Op) {
	op.Kind, op.Session, op.Producer, op.Node = Disconnect, c.session, c.producer, c.node
	if s.wrong("a session in 10 is lost", 1) {
		op.Kind = Lost
	}
	for _, t := range s.topics {
		if _, ok := t.sessions[c.session]; ok && !s.wrong("an end in 3 is dropped", 3) {
			delete(t.sessions, c.session)
			delete(t.tombs, c.producer)
			s.commit(t)
		}
	}
	op.Outcome = Unknown
	s.add(op)
	c.session = 0
}

func (s *simulation) toggle(c *simClient, op Op) {
	op.Topic, op.Session, op.Producer = s.topicOf(false), c.session, c.producer
	channel := fmt.Sprintf("c%d", s.rng.IntN(2))
	what := s.rng.IntN(9)
	if what == 7 && s.tombs[op.Topic] == maxTombstones {
		what = 0 // a topic with more is not searched: the specification does not hold them
	}
	switch what {
	default:
		op.Kind, op.Node = Register, c.node
		s.change(c, op, func(t *simTopic) { t.known, t.sessions[c.session] = true, c.producer })
	case 3, 4:
		op.Kind, op.Node = Unregister, c.node
		s.change(c, op, func(t *simTopic) {
			if !s.wrong("an unregistration in 3 is dropped", 3) {
				delete(t.sessions, c.session)
				delete(t.tombs, c.producer)
			}
		})
	case 5:
		op.Kind, op.Channel = CreateChannel, channel
		s.change(c, op, func(t *simTopic) { t.known, t.channels[channel] = true, true })
	case 6:
		op.Kind, op.Channel, op.Status = DeleteChannel, channel, 200
		if !s.topic(op.Topic).channels[channel] {
			op.Status = 404
		}
		s.change(c, op, func(t *simTopic) { delete(t.channels, channel) })
	case 7:
		op.Kind, op.Status = Tombstone, 200
		s.tombs[op.Topic]++
		s.change(c, op, func(t *simTopic) {
			if t.sessions[c.session] != "" && !s.wrong("a tombstone hides nothing", 1) {
				t.tombs[c.producer] = true
			}
		})
	case 8:
		op.Kind = DeleteTopic
		s.change(c, op, func(t *simTopic) {
			*t = simTopic{channels: map[string]bool{}, sessions: map[int64]string{}, tombs: map[string]bool{}, versions: t.versions}
		})
	}
	if op.Kind == Register && s.wrong("a command in 100 is late", 30) {
		last := &s.run.Ops[len(s.run.Ops)-1]
		last.Return += 2 * time.Second
		c.free, c.ret = last.Return, last.Return
	}
}

// change does a write, now and then with another outcome than that it is done.
func (s *simulation) change(c *simClient, op Op, do func(*simTopic)) {
	t := s.topic(op.Topic)
	effect := func() { do(t); s.commit(t) }
	switch dice := s.rng.IntN(100); {
	case dice < 2:
		op.Outcome = Refused
		if !s.wrong("a refused write is done", 1) {
			effect = func() {}
		}
	case dice < 4:
		op.Outcome, op.Status = Unknown, 0
		if s.rng.IntN(2) == 0 {
			effect = func() {}
		}
	case op.Kind == Register && s.wrong("one registration in 20 is dropped", 20):
		effect = func() {}
	case op.Kind == Register && s.wrong("acknowledged before commit", 3):
		s.late = append(s.late, effect)
		effect = func() {}
	}
	effect()
	s.add(op)
	if len(s.late) > 3 {
		s.late[0]()
		s.late = s.late[1:]
	}
}

func (s *simulation) look(c *simClient, op Op) {
	op.Kind, op.Topic, op.Consistent = Lookup, s.topicOf(c.unique), s.rng.IntN(2) == 0
	n, t := s.nodes[op.Node], s.topic(op.Topic)
	index, stale := s.index, int64(0)
	if !op.Consistent {
		for index > 0 && s.committed(index) > s.now-n.lag {
			index--
		}
		index = max(index, n.seen)
		stale = n.lag.Milliseconds() + 1
	}
	n.seen = max(n.seen, index)
	if op.Consistent && s.wrong("a consistent read is stale", 5) {
		index = max(index, 4) - 4
		op.Return, c.free = s.now+1, s.now+1
	}
	if !op.Consistent {
		switch {
		case s.wrong("always fresh", 1):
			stale = 0
			index = max(index, 8) - 8
		case s.wrong("an older copy", 20):
			index = max(index, 30) - 30
		case s.wrong("a lookup in 200 fails", 100):
			op.Outcome, op.Error = Unknown, "EOF"
			s.add(op)
			return
		}
	}
	a := *t.at(index)
	a.Index, a.StaleMS, a.ContactMS, a.KnownLeader = index, stale, 10, true
	if op.Node == "n3" && len(a.Producers) > 0 && s.wrong("a copy skips an entry", 2) {
		a.Producers = a.Producers[1:]
	}
	op.Answer = &a
	s.add(op)
}

// committed returns when an index was.
func (s *simulation) committed(index uint64) time.Duration {
	at := time.Duration(0)
	for _, t := range s.topics {
		i, _ := slices.BinarySearchFunc(t.versions, index+1, func(v simVersion, i uint64) int { return int(v.index) - int(i) })
		if i > 0 {
			at = max(at, t.versions[i-1].at)
		}
	}
	return at
}

func (s *simulation) sample(node string) {
	x := Sample{At: s.now, Node: node, Answered: true, Role: "follower", Leader: "n1", Term: 1 + s.index/100, Applied: s.index, Committed: s.index, Ready: true, Hash: fmt.Sprint(s.index)}
	if node == "n1" || s.wrong("two lead", 3) {
		x.Role = "leader"
	}
	if s.wrong("the hash differs", 2) {
		x.Hash = "other"
	}
	if s.wrong("applied before commit", 3) {
		x.Applied++
		x.Hash = ""
	}
	s.run.Samples = append(s.run.Samples, x)
	if node != "n2" { // so that there are pairs
		x.Node, x.Role = "n2", "follower"
		x.Applied, x.Hash = x.Committed, fmt.Sprint(x.Committed)
		s.run.Samples = append(s.run.Samples, x)
	}
}

func (s *simulation) publish(c *simClient, op Op) {
	s.message++
	op.Kind, op.Node, op.Topic, op.Message = Publish, "nsqd1", "m", fmt.Sprintf("a-%d", s.message)
	if s.rng.IntN(20) == 0 {
		op.Outcome = Unknown
	}
	s.add(op)
	if s.wrong("a message in 50 is dropped", 20) {
		return
	}
	if s.wrong("a message is made up", 20) {
		op.Message = "b-1"
	}
	for range 1 + s.rng.IntN(20)/19 {
		op.Kind, op.Channel, op.Outcome, op.Client = Receive, "c", Done, 0
		op.Call, op.Return = c.ret, c.ret
		s.add(op)
	}
}

// end makes the last lookups.
func (s *simulation) end() {
	last := time.Duration(0)
	for _, op := range s.run.Ops {
		last = max(last, op.Return)
	}
	for _, effect := range s.late {
		effect()
	}
	last += 5 * time.Second
	s.run.Header.Quiet = last
	for i, name := range []string{"n1", "n2", "n3"} {
		for topic, t := range s.topics {
			a := *t.at(s.index)
			a.Index, a.ContactMS, a.KnownLeader = s.index, 10, true
			s.add(Op{Kind: Lookup, Client: 100 + i, Node: name, Topic: topic, Consistent: true, Call: last, Return: last, Outcome: Done, Answer: &a})
		}
	}
	s.run.Header.Length = last + time.Second
}

// What a registry that is right does never cannot be.
func TestRightRegistryPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := simulate(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(100, 1500).Draw(t, "calls"), "")
		for _, c := range Check(run, Limits{Time: 30 * time.Second}) {
			if c.ID == "messages/publishing-goes-on" {
				continue // of the registry: to its nsqd a publish in 20 fails
			}
			if c.Status == Violated || c.Status == Missed {
				t.Fatalf("%s: %s\n%s", c.ID, c.Status, strings.Join(c.Violations, "\n"))
			}
			if c.Status == Inconclusive && (strings.HasPrefix(c.ID, "linear/topic") || c.ID == "registry/no-lost-registration") && len(run.Ops) > 800 {
				t.Fatalf("%s: %s", c.ID, c.Evidence)
			}
		}
	})
}

// Each defect is noticed by each of its claims, in one of a few histories.
func TestDefectsAreNoticed(t *testing.T) {
	for defect, want := range simDefects {
		if defect == "" {
			continue
		}
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			missing := slices.Clone(want)
			for seed := uint64(0); seed < 10 && len(missing) > 0; seed++ {
				for _, c := range Check(simulate(seed, 2500, defect), Limits{Time: 20 * time.Second}) {
					if c.Status == Violated || c.Status == Missed {
						missing = slices.DeleteFunc(missing, func(id string) bool { return id == c.ID })
					}
				}
			}
			if len(missing) > 0 {
				t.Errorf("not noticed: %q", missing)
			}
		})
	}
}
