package lookupd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/drill/history"
	"nsqraft/lookupd/raftguard"
)

// drill is a cluster under load and faults, of which a history is kept.
type drill struct {
	*testCluster
	record
	seed   uint64
	length time.Duration
	faults []fault
	// defect, if any, stands between the clients and a node, and does wrong.
	defect func(*process) registry
	// believer makes n1 take far longer than the others to notice that it does
	// not lead any more.
	believer bool
	// forgetful makes a wiped node come back as the instance it was.
	forgetful bool
	// fsync is what an append to a log takes at most.
	fsync time.Duration

	livesMu sync.Mutex
	lives   map[string]*process // the running ones
	started time.Time
	serial  atomic.Int64 // of sessions
	over    context.Context
	counts  struct{ writes, unknown, refused, consistent, local, unread, faults atomic.Int64 }
}

// process is one life of a node's process, as its clients know it.
type process struct {
	id    string
	node  *node
	held  *heldSessions
	reg   registry
	api   *httpAPI
	drill *drill
}

const (
	// generation is how long the clients stay with one set of topics: porcupine's
	// time grows with the length of a topic's history far beyond proportion.
	generation = 4 * time.Second
	// settle is how long all is left quiet before the last reads.
	settle = 5 * time.Second
)

// slowStore takes as long for an append as a disk does. Without it an entry would
// be everywhere at the instant it is proposed.
type slowStore struct {
	*raft.InmemStore
	most time.Duration
}

func (s slowStore) StoreLogs(logs []*raft.Log) error {
	time.Sleep(s.most/10 + time.Duration(rand.Int64N(int64(s.most))))
	return s.InmemStore.StoreLogs(logs)
}

// newDisk is an empty disk of a node.
func (d *drill) newDisk(id string) *storage {
	s := memoryStorage(id)
	s.log = raftguard.NewStore(slowStore{raft.NewInmemStore(), d.fsync}, "memory of "+id, func(error) {})
	return s
}

// run keeps the cluster busy, and returns what is wrong with what was seen.
func (d *drill) run(t *testing.T) []string {
	t.Helper()
	c := newTestCluster(t, 3)
	if d.fsync == 0 {
		d.fsync = 2 * time.Millisecond
	}
	c.disk = d.newDisk
	c.tweak = func(o *Options) {
		o.SessionGrace = time.Hour // nothing ends by itself
		if d.believer && o.NodeID == "n1" {
			o.HeartbeatTimeout, o.ElectionTimeout, o.LeaderLeaseTimeout = 3*time.Second, 3*time.Second, 3*time.Second
		}
	}
	d.testCluster, d.lives = c, make(map[string]*process)
	c.inBubble(func() {
		for _, id := range c.ids {
			d.start(id)
		}
		c.leader()
		d.started = time.Now()
		over, end := context.WithTimeout(c.t.Context(), d.length)
		defer end()
		d.over = over
		var clients sync.WaitGroup
		for i := range 6 {
			clients.Go(func() { d.toggle(rand.New(rand.NewPCG(d.seed, uint64(i))), i) })
		}
		for i := range 3 {
			clients.Go(func() { d.come(rand.New(rand.NewPCG(d.seed, uint64(100+i))), c.ids[i]) })
			clients.Go(func() { d.look(rand.New(rand.NewPCG(d.seed, uint64(200+i)))) })
		}
		d.breakThings(rand.New(rand.NewPCG(d.seed, 300)))
		clients.Wait()
		d.lookOnceMore()
	})
	n := &d.counts
	t.Logf("seed %d: %d faults, %d writes (%d unknown, %d refused), %d consistent reads, %d local ones, %d refused; %d sessions", d.seed,
		n.faults.Load(), n.writes.Load(), n.unknown.Load(), n.refused.Load(), n.consistent.Load(), n.local.Load(), n.unread.Load(), d.serial.Load())
	problems := d.check(c.ids)
	d.past.Ops, d.past.Samples = nil, nil // many drills may follow
	return problems
}

// start begins a node's process and lets clients in.
func (d *drill) start(id string) {
	d.t.Helper()
	n := d.testCluster.start(id)
	p := &process{id: id, node: n.node, held: n.sessions, drill: d}
	p.reg = p.node
	if d.defect != nil {
		p.reg = d.defect(p)
	}
	p.api = newHTTPAPI(d.t.Context(), p.reg, p.node, nil, newMetrics(), hclog.NewNullLogger(), time.Minute)
	d.livesMu.Lock()
	defer d.livesMu.Unlock()
	d.lives[id] = p
}

func (d *drill) kill(id string) {
	d.t.Helper()
	d.livesMu.Lock()
	delete(d.lives, id)
	d.livesMu.Unlock()
	d.testCluster.kill(id)
}

// at returns the running process of a node, or nil.
func (d *drill) at(id string) *process {
	d.livesMu.Lock()
	defer d.livesMu.Unlock()
	return d.lives[id]
}

func (p *process) alive() bool { return p.drill.at(p.id) == p }

// write has m committed, and says what its client can know of that.
func (p *process) write(m *fsmpb.Mutation) (fsm.Result, history.Outcome) {
	ctx, cancel := context.WithTimeout(p.drill.t.Context(), registerTimeout)
	defer cancel()
	result, err := p.reg.Submit(ctx, m).Wait()
	d := p.drill
	d.counts.writes.Add(1)
	switch {
	case err == nil:
		return result, history.Done
	case errors.Is(err, errUnavailable) && p.alive():
		d.counts.refused.Add(1)
		return 0, history.Refused
	default: // also if the process died: its clients saw a reset
		d.counts.unknown.Add(1)
		return 0, history.Unknown
	}
}

// look asks for a topic as GET /lookup does, and records the answer; ok is false if it
// is refused, or if the process has died by then.
func (p *process) look(topic string, consistent bool) (ok bool) {
	d := p.drill
	o := history.Op{Kind: history.Lookup, Node: p.id, Topic: topic, Consistent: consistent, Outcome: history.Done, Call: d.now()}
	v, header, err := p.api.read(d.t.Context(), &query{topic: topic, hasTopic: true, consistent: consistent}, nil)
	o.Return = d.now()
	if err != nil || !p.alive() {
		d.counts.unread.Add(1)
		return false
	}
	if consistent {
		d.counts.consistent.Add(1)
	} else {
		d.counts.local.Add(1)
	}
	stale, err := strconv.ParseInt(header.Get("X-Nsq-Stale-Ms"), 10, 64)
	if err != nil {
		d.problem("X-Nsq-Stale-Ms: %v", err)
	}
	o.Answer = &history.Answer{Index: v.Index(), StaleMS: stale, ContactMS: -1}
	if t := v.Topic(topic); t != nil {
		o.Answer.Known = true
		o.Answer.Channels = slices.Sorted(slices.Values(t.Channels()))
		for _, producer := range t.Producers() {
			o.Answer.Producers = append(o.Answer.Producers, producer.Info.BroadcastAddress)
		}
		slices.Sort(o.Answer.Producers)
	}
	d.op(o)
	d.sample(history.Sample{At: o.Return, Node: p.id, Answered: true, Applied: v.Index(), Committed: v.Index(), Hash: hashText(v.Hash())})
	return true
}

// toggle is a client that registers and unregisters, makes and deletes the same
// few names as five others, and looks at them. Its sessions are its own; a new
// one has a new producer.
func (d *drill) toggle(rng *rand.Rand, i int) {
	var s *toggler
	for d.over.Err() == nil {
		sleep(d.over, time.Duration(rng.Int64N(int64(20*time.Millisecond))))
		now := int(time.Since(d.started) / generation)
		if s != nil && (s.generation != now || !s.p.alive() || rng.IntN(100) == 0) {
			s.leave()
			s = nil
		}
		if s == nil {
			if s = d.newToggler(now, d.ids[(i+rng.IntN(2))%len(d.ids)]); s == nil {
				continue
			}
		}
		s.act(rng)
	}
	if s != nil {
		s.leave()
	}
}

// toggler is a session of a toggling client.
type toggler struct {
	d          *drill
	p          *process
	generation int
	serial     int64
	session    fsm.SessionID
	topics     []string
}

// topicChannels are the channels that the clients use, the last one ephemeral.
var topicChannels = [...]string{"c0", "c1", "c2#ephemeral"}

// newToggler opens a session with a node, or returns nil.
func (d *drill) newToggler(now int, id string) *toggler {
	p := d.at(id)
	if p == nil {
		return nil
	}
	s := &toggler{d: d, p: p, generation: now, serial: d.serial.Add(1), session: p.reg.NewSession()}
	for _, name := range []string{"a", "b", "c#ephemeral"} {
		s.topics = append(s.topics, fmt.Sprintf("g%d%s", now, name))
	}
	p.held.hold(s.session, true)
	if _, out := p.write(openSession(s.session.Serial, nsqdNamed(named(s.serial)))); out != history.Done {
		p.held.hold(s.session, false)
		return nil
	}
	return s
}

// named is the producer of a session: each has one of its own.
func named(serial int64) string { return fmt.Sprintf("p%d", serial) }

// leave ends the session if its connection is there to be closed. A node that
// died cannot say so: its sessions stay, for longer than the drill.
func (s *toggler) leave() {
	if s.p.alive() {
		s.p.held.hold(s.session, false)
		s.d.disconnect(s.p, s.session, s.serial)
	}
}

// disconnect ends a session, and records that.
func (d *drill) disconnect(p *process, session fsm.SessionID, serial int64) {
	o := history.Op{Kind: history.Disconnect, Node: p.id, Session: serial, Producer: named(serial), Call: d.now()}
	if _, o.Outcome = p.write(endSession(session.Serial)); o.Outcome != history.Done {
		o.Kind, o.Outcome = history.Vanish, history.Unknown // the node will find that the connection has gone, if it lives
	}
	o.Return = d.now()
	d.op(o)
}

func (s *toggler) act(rng *rand.Rand) {
	topic := s.topics[rng.IntN(len(s.topics))]
	name := topicChannels[rng.IntN(len(topicChannels))]
	switch dice := rng.IntN(100); {
	case dice < 45:
		if p := s.d.at(s.d.ids[rng.IntN(len(s.d.ids))]); p != nil {
			p.look(topic, true)
		}
	case dice < 60:
		s.change(history.Register, topic, "", register(s.session.Serial, topic, ""))
	case dice < 70:
		s.change(history.Register, topic, name, register(s.session.Serial, topic, name))
	case dice < 80:
		s.change(history.Unregister, topic, "", unregister(s.session.Serial, topic, ""))
	case dice < 85:
		s.change(history.Unregister, topic, name, unregister(s.session.Serial, topic, name))
	case dice < 88:
		s.change(history.CreateTopic, topic, "", createTopic(topic))
	case dice < 92:
		s.change(history.CreateChannel, topic, name, createChannel(topic, name))
	case dice < 97:
		s.change(history.DeleteChannel, topic, name, deleteChannel(topic, name))
	default:
		s.change(history.DeleteTopic, topic, "", deleteTopic(topic))
	}
}

func (s *toggler) change(kind history.Kind, topic, channel string, m *fsmpb.Mutation) {
	s.d.change(s.p, s.serial, kind, topic, channel, m)
}

// change does a write of a session, and records it.
func (d *drill) change(p *process, serial int64, kind history.Kind, topic, channel string, m *fsmpb.Mutation) history.Outcome {
	o := history.Op{Kind: kind, Node: p.id, Topic: topic, Channel: channel, Session: serial, Producer: named(serial), Call: d.now()}
	result, out := p.write(m)
	o.Return, o.Outcome = d.now(), out
	if out == history.Done {
		if o.Status = httpStatus(result); result == fsm.ResultNoSession {
			d.problem("%s knows nothing of a session that it holds: %d", p.id, serial)
		}
	}
	d.op(o)
	return out
}

// element is a producer that is registered once, with one topic, and leaves it at most
// once: whatever a reader sees or does not see of it says something.
type element struct {
	serial  int64
	topic   string
	session fsm.SessionID
	added   history.Outcome
}

// come is a client that connects as a new nsqd each time, registers it once, and
// lets it stay, unregister or close.
func (d *drill) come(rng *rand.Rand, id string) {
	var leaving sync.WaitGroup
	defer leaving.Wait()
	for d.over.Err() == nil {
		sleep(d.over, time.Duration(rng.Int64N(int64(100*time.Millisecond))))
		p := d.at(id)
		if p == nil {
			continue
		}
		e := d.register(p)
		if e == nil {
			continue
		}
		after := time.Duration(rng.Int64N(int64(3 * time.Second)))
		switch rng.IntN(4) {
		case 0:
			leaving.Go(func() { sleep(d.over, after); d.leave(e, p, false) })
		case 1:
			leaving.Go(func() { sleep(d.over, after); d.leave(e, p, true) })
		}
	}
}

// register has a new element connect to p; nil if it could not.
func (d *drill) register(p *process) *element {
	e := &element{serial: d.serial.Add(1), topic: d.elementTopic(time.Now()), session: p.reg.NewSession()}
	p.held.hold(e.session, true)
	if _, out := p.write(openSession(e.session.Serial, nsqdNamed(named(e.serial)))); out != history.Done {
		p.held.hold(e.session, false)
		return nil
	}
	e.added = d.change(p, e.serial, history.Register, e.topic, "", register(e.session.Serial, e.topic, ""))
	return e
}

// elementTopic is where elements register at a time. It is another one every few
// seconds: what porcupine takes for a topic grows far faster than the topic's history.
func (d *drill) elementTopic(at time.Time) string {
	return fmt.Sprintf("elements%d", at.Sub(d.started)/(3*time.Second))
}

func (d *drill) leave(e *element, p *process, closes bool) {
	switch {
	case !p.alive():
	case closes:
		p.held.hold(e.session, false)
		d.disconnect(p, e.session, e.serial)
	default:
		d.change(p, e.serial, history.Unregister, e.topic, "", unregister(e.session.Serial, e.topic, ""))
	}
}

// look is a client that looks at the elements on any node, in both ways.
func (d *drill) look(rng *rand.Rand) {
	for d.over.Err() == nil {
		sleep(d.over, time.Duration(rng.Int64N(int64(25*time.Millisecond))))
		if p := d.at(d.ids[rng.IntN(len(d.ids))]); p != nil {
			// Also where elements do not come any more, but leave.
			at := time.Now().Add(-time.Duration(rng.IntN(2)) * 3 * time.Second)
			if at.Before(d.started) {
				at = d.started
			}
			p.look(d.elementTopic(at), rng.IntN(3) == 0)
		}
	}
}

// lookOnceMore reads all topics on every node when all is well again.
func (d *drill) lookOnceMore() {
	time.Sleep(settle)
	d.leader()
	topics := make(map[string]bool)
	for _, o := range d.past.Ops {
		topics[o.Topic] = true
	}
	d.past.Header.Quiet = d.now()
	delete(topics, "")
	for topic := range topics {
		for _, id := range d.ids {
			if p := d.at(id); p == nil || !p.look(topic, true) {
				d.problem("inconclusive: %s does not answer in the end", id)
			}
		}
	}
}

// fault is what befalls a cluster, until it has passed.
type fault struct {
	name string
	do   func(d *drill, rng *rand.Rand)
}

var (
	leaderKilled = fault{"leader killed", func(d *drill, rng *rand.Rand) { d.restart(rng, d.leader().id) }}
	// At that moment nobody but the leader knows that the entry is committed.
	leaderKilledAtOK = fault{"leader killed when it has acknowledged", func(d *drill, rng *rand.Rand) {
		leader := d.leader().id
		p := d.at(d.other(rng, leader))
		if e := d.register(p); e != nil && e.added == history.Done {
			d.kill(leader)
			p.look(e.topic, true)
			d.pause(rng, time.Second)
			d.start(leader)
		}
	}}
	anyKilled = fault{"a node killed", func(d *drill, rng *rand.Rand) { d.restart(rng, d.any(rng)) }}
	twoKilled = fault{"two killed, one after the other", func(d *drill, rng *rand.Rand) {
		first := d.leader().id
		d.kill(first)
		d.pause(rng, 500*time.Millisecond)
		d.restart(rng, d.other(rng, first))
		d.start(first)
	}}
	allKilled = fault{"all killed", func(d *drill, rng *rand.Rand) {
		for _, id := range d.ids {
			d.kill(id)
		}
		d.pause(rng, time.Second)
		for _, id := range d.ids {
			d.start(id)
			d.pause(rng, 100*time.Millisecond)
		}
	}}
	leaderIsolated = fault{"leader isolated", func(d *drill, rng *rand.Rand) { d.isolate(rng, d.leader().id) }}
	anyIsolated    = fault{"a node isolated", func(d *drill, rng *rand.Rand) { d.isolate(rng, d.any(rng)) }}
	linkCut        = fault{"one link cut", func(d *drill, rng *rand.Rand) {
		id := d.any(rng)
		d.net.Cut(id, d.other(rng, id))
		d.pause(rng, 3*time.Second)
		d.net.Heal()
	}}
	allIsolated = fault{"all isolated", func(d *drill, rng *rand.Rand) {
		for _, id := range d.ids {
			d.net.Isolate(id)
		}
		d.pause(rng, 2*time.Second)
		d.net.Heal()
	}}
	handedOn = fault{"leadership transferred", func(d *drill, rng *rand.Rand) {
		l := d.leader()
		l.transfer(d.t.Context(), d.other(rng, l.id)) // may fail; it is only there to disturb
	}}
	believerIsolated = fault{"a leader isolated that will believe for long", func(d *drill, rng *rand.Rand) {
		if l := d.leader(); l.id != "n1" {
			l.transfer(d.t.Context(), "n1")
			d.eventually(5*time.Second, "n1 leads", func() bool { return d.leader().id == "n1" })
		}
		d.isolate(rng, "n1")
	}}
	nodeWiped = fault{"a node's disk lost", func(d *drill, rng *rand.Rand) {
		// All disks are whole when this one goes: what it held, the others hold.
		d.leader()
		d.eventually(20*time.Second, "all are up to date", d.upToDate)
		id := d.any(rng)
		d.kill(id)
		d.wipe(id)
		d.pause(rng, 500*time.Millisecond)
		d.start(id)
		d.votesAgain(id)
	}}
	wipedBesideLaggard = fault{"a node's disk lost while another is behind", func(d *drill, rng *rand.Rand) {
		leader := d.leader().id
		lost := d.other(rng, leader)
		for _, behind := range d.ids {
			if behind != leader && behind != lost {
				d.net.Isolate(behind)
			}
		}
		time.Sleep(time.Second) // two nodes acknowledge what the third does not have
		d.kill(leader)
		d.kill(lost)
		d.wipe(lost)
		d.net.Heal()
		d.start(lost)
		time.Sleep(3 * time.Second)
		d.start(leader)
		d.votesAgain(lost)
	}}
)

// allFaults are those that a cluster is to survive without losing or inventing
// anything.
var allFaults = []fault{leaderKilled, leaderKilledAtOK, anyKilled, twoKilled, allKilled, leaderIsolated, anyIsolated, linkCut, allIsolated, handedOn, nodeWiped, wipedBesideLaggard}

// breakThings lets one fault follow another, each of them at least once if there is
// time, until the drill is over.
func (d *drill) breakThings(rng *rand.Rand) {
	d.faults = slices.Clone(d.faults) // it is shuffled
	for i := 0; d.over.Err() == nil; i++ {
		sleep(d.over, 200*time.Millisecond+time.Duration(rng.Int64N(int64(time.Second))))
		if len(d.faults) == 0 || d.over.Err() != nil {
			continue
		}
		if i%len(d.faults) == 0 {
			rng.Shuffle(len(d.faults), func(a, b int) { d.faults[a], d.faults[b] = d.faults[b], d.faults[a] })
		}
		f := d.faults[i%len(d.faults)]
		begun := time.Now()
		f.do(d, rng)
		d.counts.faults.Add(1)
		if testing.Verbose() {
			d.t.Logf("%8v %v: %s", begun.Sub(d.started).Round(time.Millisecond), time.Since(begun).Round(time.Millisecond), f.name)
		}
	}
}

func (d *drill) pause(rng *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(rng.Int64N(int64(most))))
}

func (d *drill) any(rng *rand.Rand) string { return d.ids[rng.IntN(len(d.ids))] }

func (d *drill) other(rng *rand.Rand, not string) string {
	for {
		if id := d.any(rng); id != not {
			return id
		}
	}
}

func (d *drill) restart(rng *rand.Rand, id string) {
	d.kill(id)
	d.pause(rng, 2*time.Second)
	d.start(id)
}

func (d *drill) isolate(rng *rand.Rand, id string) {
	d.net.Isolate(id)
	d.pause(rng, 5*time.Second) // shorter and longer than a lease
	d.net.Heal()
}

// wipe loses a dead node's disk.
func (d *drill) wipe(id string) {
	was := d.nodes[id].store.identity
	d.testCluster.wipe(id)
	if d.forgetful {
		s := d.newDisk(id)
		s.identity = was
		d.nodes[id].store = s
	}
}

func (d *drill) votesAgain(id string) {
	d.eventually(30*time.Second, "%s votes again", func() bool {
		_, ok := d.leader().voter(id)
		return ok && d.nodes[id].ready.Load()
	}, id)
}

// upToDate reports whether every node has the same log.
func (d *drill) upToDate() bool {
	last := d.leader().raft.LastIndex()
	for _, id := range d.ids {
		if d.nodes[id].raft.LastIndex() < last {
			return false
		}
	}
	return true
}

// drillSeeds is for a night: each seed is another 40 s of faults, in about 3 s.
var drillSeeds = flag.Uint64("drill.seeds", 2, "how many drills of all faults TestHistoriesAreLinearizable runs")

func TestHistoriesAreLinearizable(t *testing.T) {
	type test struct {
		name  string
		drill drill
	}
	tests := []test{
		{"slow disks", drill{seed: 4, length: 20 * time.Second, faults: []fault{leaderKilled, leaderIsolated, twoKilled}, fsync: 20 * time.Millisecond}},
		{"a leader that believes for long", drill{seed: 5, length: 20 * time.Second, faults: []fault{believerIsolated}, believer: true}},
	}
	for seed := range *drillSeeds {
		tests = append(tests, test{fmt.Sprint("seed ", seed), drill{seed: seed, length: 40 * time.Second, faults: allFaults}})
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := &tt.drill
			if raceDetector {
				d.length /= 4
			}
			report(t, d.run(t))
			// Too little of anything would prove nothing.
			n, seconds := &d.counts, int64(d.length/time.Second)
			if n.faults.Load() < seconds/8 || n.writes.Load() < 25*seconds || n.consistent.Load() < 10*seconds || n.local.Load() < 10*seconds {
				t.Error("inconclusive: not enough has happened")
			}
		})
	}
}

// wrong is a registry between clients and a node that does one thing wrong.
type wrong struct {
	*node
	consistent func(ctx context.Context) (*fsm.View, error)
	submit     func(ctx context.Context, m *fsmpb.Mutation) *proposal
	freshness  func() freshness
	view       func() *fsm.View
}

func (w *wrong) Consistent(ctx context.Context) (*fsm.View, error) {
	if w.consistent != nil {
		return w.consistent(ctx)
	}
	return w.node.Consistent(ctx)
}

func (w *wrong) Submit(ctx context.Context, m *fsmpb.Mutation) *proposal {
	if w.submit != nil {
		return w.submit(ctx, m)
	}
	return w.node.Submit(ctx, m)
}

func (w *wrong) Freshness() freshness {
	if w.freshness != nil {
		return w.freshness()
	}
	return w.node.Freshness()
}

func (w *wrong) View() *fsm.View {
	if w.view != nil {
		return w.view()
	}
	return w.node.View()
}

// resolved is a proposal that claims to be committed.
func resolved(ctx context.Context, m *fsmpb.Mutation) *proposal {
	p := newProposal(ctx, m)
	p.resolve(fsm.ResultOK, nil)
	return p
}

// every returns whether this is the nth call, the 2nth, and so on.
func every(n int64) func() bool {
	var calls atomic.Int64
	return func() bool { return calls.Add(1)%n == 0 }
}

// Each is a cluster with one defect, which the checks must find: a check that
// nothing fails proves nothing.
func TestChecksFindDefects(t *testing.T) {
	if raceDetector {
		t.Skip("the checks see nothing of the race detector")
	}
	tests := []struct {
		name   string
		drill  drill // but for the defect
		defect func(*process) registry
		want   []string // beginnings of problems, each of which must be among those found
	}{
		{"a consistent read from the local copy", drill{}, func(p *process) registry {
			return &wrong{node: p.node, consistent: func(context.Context) (*fsm.View, error) { return p.node.View(), nil }}
		}, []string{"not linearizable: topic", "not linearizable: producer", "stale:"}},

		{"a consistent read from a leader that only believes it leads", drill{faults: []fault{believerIsolated}, believer: true}, func(p *process) registry {
			return &wrong{node: p.node, consistent: func(ctx context.Context) (*fsm.View, error) {
				if p.node.raft.State() == raft.Leader {
					return p.node.View(), nil
				}
				return p.node.Consistent(ctx)
			}}
		}, []string{"not linearizable: topic"}},

		{"a consistent read up to a new leader's own commit index", drill{faults: []fault{leaderKilledAtOK}, fsync: 20 * time.Millisecond}, func(p *process) registry {
			return &wrong{node: p.node, consistent: func(ctx context.Context) (*fsm.View, error) {
				ctx, cancel := context.WithTimeout(ctx, consistentWait)
				defer cancel()
				for ; ctx.Err() == nil; sleep(ctx, retryPause) {
					for _, id := range p.drill.ids {
						l := p.drill.at(id)
						if l == nil || l.node.raft.State() != raft.Leader {
							continue
						}
						index, term := l.node.raft.CommitIndex(), l.node.raft.CurrentTerm()
						if l.node.confirmLeadership(ctx, term, time.Now()) == nil {
							return p.node.View(), p.node.awaitIndex(ctx, index)
						}
					}
				}
				return nil, errUnavailable
			}}
		}, []string{"stale:"}},

		{"OK before the commit", drill{faults: []fault{leaderKilled, leaderIsolated}}, func(p *process) registry {
			return &wrong{node: p.node, submit: func(ctx context.Context, m *fsmpb.Mutation) *proposal {
				p.node.Submit(p.drill.t.Context(), m)
				return resolved(ctx, m)
			}}
		}, []string{"not linearizable: topic", "stale:"}},

		{"one registration in a hundred is dropped", drill{}, func(p *process) registry {
			drop := every(100)
			return &wrong{node: p.node, submit: func(ctx context.Context, m *fsmpb.Mutation) *proposal {
				if m.GetRegister() != nil && drop() {
					return resolved(ctx, m)
				}
				return p.node.Submit(ctx, m)
			}}
		}, []string{"not linearizable: producer", "lost:"}},

		{"one end of a session in five is dropped", drill{}, func(p *process) registry {
			drop := every(5)
			return &wrong{node: p.node, submit: func(ctx context.Context, m *fsmpb.Mutation) *proposal {
				if end := m.GetEndSession(); end != nil && drop() {
					p.held.hold(fsm.SessionID{Node: p.id, Epoch: p.node.writer.epoch.Load(), Serial: end.Session}, true)
					return resolved(ctx, m)
				}
				return p.node.Submit(ctx, m)
			}}
		}, []string{"phantom:"}},

		{"a refused write is committed after all", drill{faults: []fault{leaderIsolated}}, func(p *process) registry {
			return &wrong{node: p.node, submit: func(ctx context.Context, m *fsmpb.Mutation) *proposal {
				if ok, _ := p.node.knownLeader(); ok {
					return p.node.Submit(ctx, m)
				}
				p.node.Submit(p.drill.t.Context(), m) // outlives its context
				said := newProposal(ctx, m)
				said.resolve(0, errUnavailable)
				return said
			}}
		}, []string{"not linearizable: topic"}},

		{"a wiped node that votes", drill{faults: []fault{wipedBesideLaggard}, forgetful: true}, nil, []string{"lost:", "not linearizable: topic"}},

		{"a default read that is always fresh", drill{faults: []fault{anyIsolated}}, func(p *process) registry {
			return &wrong{node: p.node, freshness: func() freshness { return freshness{LeaderKnown: true} }}
		}, []string{"dishonest:"}},

		{"now and then an older copy", drill{}, func(p *process) registry {
			again := every(50)
			var old atomic.Pointer[fsm.View]
			return &wrong{node: p.node, view: func() *fsm.View {
				v := p.node.View()
				if last := old.Load(); again() && last != nil {
					return last
				}
				if last := old.Load(); last == nil || v.Index() > last.Index()+20 {
					old.Store(v)
				}
				return v
			}}
		}, []string{"back in time:"}},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			missing := tt.want
			for seed := uint64(0); seed < 8 && len(missing) > 0; seed++ {
				d := &drill{seed: seed, length: 8 * time.Second, faults: tt.drill.faults, defect: tt.defect,
					believer: tt.drill.believer, forgetful: tt.drill.forgetful, fsync: tt.drill.fsync}
				found := d.run(t)
				var still []string
				for _, want := range missing {
					first := firstWith(found, want)
					if first == "" {
						still = append(still, want)
					} else {
						t.Logf("found: %s", first)
					}
				}
				missing = still
			}
			if len(missing) > 0 {
				t.Errorf("nobody noticed: %q", missing)
			}
		})
	}
}
