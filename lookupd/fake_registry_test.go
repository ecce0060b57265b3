package lookupd

import (
	"context"
	"sync"
	"testing"
	"time"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
)

// fakeRegistry is a registry of one node "n1" in its first life that applies
// each mutation at once, unless it is told to do otherwise.
type fakeRegistry struct {
	mu       sync.Mutex
	fsm      *fsm.Registry
	index    uint64
	sequence uint64
	serial   uint64
	applied  []*fsmpb.Mutation
	changed  chan struct{}
	seen     *fsm.View // what lags; nil: nothing does

	fails      error // of Submit, Consistent
	notReady   bool
	panics     bool // in View
	held       bool // proposals wait for release
	sent       bool // and have been sent: they may commit behind everybody's back
	holding    []*proposal
	consistent int // calls of Consistent
	fresh      freshness
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{fsm: fsm.New(), changed: make(chan struct{}), fresh: freshness{LeaderKnown: true}}
}

// set changes how the registry behaves.
func (f *fakeRegistry) set(change func(*fakeRegistry)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// lag makes View stay where it is until somebody waits for more.
func (f *fakeRegistry) lag() { f.set(func(f *fakeRegistry) { f.seen = f.fsm.View() }) }

// release applies the proposals that were held and holds no more.
func (f *fakeRegistry) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.holding {
		f.applyLocked(p)
	}
	f.holding, f.held = nil, false
}

func (f *fakeRegistry) View() *fsm.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("as told")
	}
	if f.seen != nil {
		return f.seen
	}
	return f.fsm.View()
}

func (f *fakeRegistry) Readable(context.Context) (*fsm.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.notReady {
		return nil, errNotReady
	}
	f.seen = nil
	return f.fsm.View(), nil
}

func (f *fakeRegistry) Consistent(context.Context) (*fsm.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.consistent++
	if f.fails != nil {
		return nil, f.fails
	}
	f.seen = nil
	return f.fsm.View(), nil
}

func (f *fakeRegistry) Changed(v *fsm.View) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v.Index() < f.fsm.View().Index() {
		now := make(chan struct{})
		close(now)
		return now
	}
	return f.changed
}

func (f *fakeRegistry) Freshness() freshness {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fresh
}

func (f *fakeRegistry) Now() time.Time { return time.Now() }

func (f *fakeRegistry) Submit(ctx context.Context, m *fsmpb.Mutation) *proposal {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := newProposal(ctx, m)
	switch {
	case f.fails != nil:
		p.resolve(0, f.fails)
	case f.held:
		if f.sent {
			p.state.Store(proposalSent)
		}
		f.holding = append(f.holding, p)
	default:
		f.applyLocked(p)
	}
	return p
}

func (f *fakeRegistry) applyLocked(p *proposal) {
	if !p.state.CompareAndSwap(proposalQueued, proposalSent) && p.state.Load() == proposalAbandoned {
		return
	}
	b := &fsmpb.Batch{Writer: "n1", Epoch: 1, Sequence: f.sequence + 1, Time: time.Now().UnixNano(), Mutations: []*fsmpb.Mutation{p.mutation}}
	data, err := fsm.Encode(b)
	if err == nil {
		b, err = fsm.Decode(data)
	}
	if err != nil {
		panic(err) // the edge proposed what no node can apply
	}
	f.index++
	f.sequence++
	outcome := f.fsm.Apply(f.index, 1, b)
	f.applied = append(f.applied, p.mutation)
	close(f.changed)
	f.changed = make(chan struct{})
	p.resolve(outcome.Results[0], nil)
}

func (f *fakeRegistry) NewSession() fsm.SessionID {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serial++
	return fsm.SessionID{Node: "n1", Epoch: 1, Serial: f.serial}
}

// apply does what another session or node would do.
func (f *fakeRegistry) apply(tb testing.TB, m *fsmpb.Mutation) {
	tb.Helper()
	if result, err := f.Submit(context.Background(), m).Wait(); err != nil || result != fsm.ResultOK {
		tb.Fatalf("apply %v: got %v, %v", m, result, err)
	}
}

// log returns what was applied since the last call, in short.
func (f *fakeRegistry) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, m := range f.applied {
		lines = append(lines, shortMutation(m))
	}
	f.applied = nil
	return lines
}

func shortMutation(m *fsmpb.Mutation) string {
	name := func(topic, channel string) string {
		if channel != "" {
			return " " + topic + "/" + channel
		}
		return " " + topic
	}
	switch k := m.Kind.(type) {
	case *fsmpb.Mutation_OpenSession:
		return "open " + fsm.ProducerID(k.OpenSession.Producer)
	case *fsmpb.Mutation_Register:
		return "register" + name(k.Register.Topic, k.Register.Channel)
	case *fsmpb.Mutation_Unregister:
		return "unregister" + name(k.Unregister.Topic, k.Unregister.Channel)
	case *fsmpb.Mutation_EndSession:
		return "end"
	case *fsmpb.Mutation_FinishReplay:
		return "replayed"
	case *fsmpb.Mutation_SetActive:
		if k.SetActive.Active {
			return "active"
		}
		return "silent"
	case *fsmpb.Mutation_CreateTopic:
		return "create" + name(k.CreateTopic.Topic, "")
	case *fsmpb.Mutation_DeleteTopic:
		return "delete" + name(k.DeleteTopic.Topic, "")
	case *fsmpb.Mutation_CreateChannel:
		return "create" + name(k.CreateChannel.Topic, k.CreateChannel.Channel)
	case *fsmpb.Mutation_DeleteChannel:
		return "delete" + name(k.DeleteChannel.Topic, k.DeleteChannel.Channel)
	case *fsmpb.Mutation_Tombstone:
		return "tombstone " + k.Tombstone.Topic + " " + k.Tombstone.Node
	}
	return m.String()
}

// Mutations of this node's sessions, in short; cluster_test.go has those of any.

func openSession(serial uint64, p *fsmpb.Producer) *fsmpb.Mutation {
	return &fsmpb.Mutation{Kind: &fsmpb.Mutation_OpenSession{OpenSession: &fsmpb.OpenSession{Session: serial, Producer: p}}}
}

func register(serial uint64, topic, channel string) *fsmpb.Mutation {
	return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{Session: serial, Topic: topic, Channel: channel}}}
}

func unregister(serial uint64, topic, channel string) *fsmpb.Mutation {
	return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Unregister{Unregister: &fsmpb.Unregister{Session: serial, Topic: topic, Channel: channel}}}
}

func setActive(serial uint64, active bool) *fsmpb.Mutation {
	return &fsmpb.Mutation{Kind: &fsmpb.Mutation_SetActive{SetActive: &fsmpb.SetActive{Session: serial, Active: active}}}
}

func createTopic(topic string) *fsmpb.Mutation {
	return &fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateTopic{CreateTopic: &fsmpb.CreateTopic{Topic: topic}}}
}

func deleteTopic(topic string) *fsmpb.Mutation {
	return &fsmpb.Mutation{Kind: &fsmpb.Mutation_DeleteTopic{DeleteTopic: &fsmpb.DeleteTopic{Topic: topic}}}
}

func createChannel(topic, channel string) *fsmpb.Mutation {
	return &fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateChannel{CreateChannel: &fsmpb.CreateChannel{Topic: topic, Channel: channel}}}
}

func deleteChannel(topic, channel string) *fsmpb.Mutation {
	return &fsmpb.Mutation{Kind: &fsmpb.Mutation_DeleteChannel{DeleteChannel: &fsmpb.DeleteChannel{Topic: topic, Channel: channel}}}
}

func tombstone(topic, node string) *fsmpb.Mutation {
	return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Tombstone{Tombstone: &fsmpb.Tombstone{Topic: topic, Node: node}}}
}

func endSession(serial uint64) *fsmpb.Mutation {
	return &fsmpb.Mutation{Kind: &fsmpb.Mutation_EndSession{EndSession: &fsmpb.EndSession{Session: serial}}}
}

// testProducer is nsqd number i.
func testProducer(i int) *fsmpb.Producer {
	host := "host" + string(rune('a'+i%26))
	if i >= 26 {
		host += testProducer(i/26 - 1).Hostname
	}
	return &fsmpb.Producer{
		BroadcastAddress: host,
		TcpPort:          4150,
		HttpPort:         4151,
		Hostname:         host,
		Version:          "1.3.0",
		RemoteAddress:    "10.0.0.1:5000",
	}
}
