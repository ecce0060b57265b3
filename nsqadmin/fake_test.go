package nsqadmin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
)

// now is when the tests of pages take place.
var now = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// A fake is a source with a View made by hand. Rates follow from names, so that they
// are the same each time.
type fake struct {
	v        *clusterinfo.View
	kings    []reign
	happened []*event
	user     string
	role     role
	options  *setup
	consume  map[string]*clusterinfo.NodeStats
	missing  []string
	messages []*peeked

	mu      sync.Mutex // of done
	done    []action
	results []clusterinfo.Result
	err     error
}

func (f *fake) view() *clusterinfo.View { return f.v }

func (f *fake) firstView(context.Context) *clusterinfo.View { return f.v }

func (f *fake) base(k key, m metric) float64 {
	seed := 7
	for _, r := range k.topic + k.channel {
		seed = seed*31%9973 + int(r)
	}
	if k == (key{}) {
		seed = 4000
	}
	switch m {
	case depth:
		if t := f.v.Topic(k.topic); t != nil {
			if c := t.Channel(k.channel); c != nil {
				return float64(c.Depth)
			}
			return float64((&judged{Topic: t}).Total())
		}
		return 21000
	case inFlight:
		return float64(seed % 50)
	}
	return float64(seed%900) / 3
}

func (f *fake) series(k key, m metric, length time.Duration) []point {
	const n = 150
	points := make([]point, n)
	top := f.base(k, m)
	for i := range points {
		at := now.Add(-length + time.Duration(i)*length/(n-1))
		x := float64(i) / n
		wave := 0.87 + 0.12*math.Sin(x*9+top) + 0.07*math.Sin(x*37) + 0.06*math.Sin(x*83+1)
		if m == depth {
			wave = 0.4 + 0.6*x*x + 0.05*math.Sin(x*20)
		}
		points[i] = point{at, math.Max(0, top*wave)}
	}
	return points
}

func (f *fake) latest(k key, m metric) (float64, bool) {
	if t := f.v.Topic(k.topic); k.topic != "" && (t == nil || t.Inactive()) {
		return 0, false
	}
	return f.base(k, m), true
}

func (f *fake) growth(k key, _ time.Duration) (float64, bool) {
	if strings.Contains(k.topic, "slow") {
		return 31.5, true
	}
	return 0.2, k.topic != "new"
}

func (f *fake) nodeFlow(address string) (flow, bool) {
	n := f.v.Node(address)
	return flow{120.5, 119}, n != nil && !n.Stale()
}

func (f *fake) reigns(time.Duration) []reign { return f.kings }

func (f *fake) events(limit int, keep func(*event) bool) []*event {
	var out []*event
	for _, e := range f.happened {
		if len(out) < limit && (keep == nil || keep(e)) {
			out = append(out, e)
		}
	}
	return out
}

func (f *fake) clients(_ context.Context, topic, channel, node string) (map[string]*clusterinfo.NodeStats, []string) {
	return f.consume, f.missing
}

func (f *fake) who(*http.Request) (string, role) { return f.user, f.role }

func (f *fake) do(_ *http.Request, a action) ([]clusterinfo.Result, error) {
	needs := map[string]role{"publish": operator, "create_topic": operator, "create_channel": operator, "pause_topic": operator,
		"unpause_topic": operator, "pause_channel": operator, "unpause_channel": operator}
	if want, ok := needs[a.name]; !ok && f.role < admin || f.role < want {
		return nil, httpapi.NewError(http.StatusForbidden, "FORBIDDEN")
	}
	f.mu.Lock()
	f.done = append(f.done, a)
	f.mu.Unlock()
	return f.results, f.err
}

func (f *fake) peek(_ *http.Request, _ string, count int, _ time.Duration) ([]*peeked, error) {
	return f.messages[:min(count, len(f.messages))], f.err
}

func (f *fake) setup() *setup {
	if f.options != nil {
		return f.options
	}
	return &setup{version: "1.3.0+raft.0.1.0", messageView: true, settings: []setting{
		{"http-address", "127.0.0.1:4171", "0.0.0.0:4171", "<addr>:<port> to listen on for HTTP clients"},
		{"lookupd-http-address", "127.0.0.1:4161, 127.0.0.1:4261", "", "lookupd HTTP address (may be given multiple times)"},
		{"graphite-url", "", "", "graphite HTTP address"},
	}}
}

// ---- Views ----

func nsqd(i int, state clusterinfo.State, age time.Duration) *clusterinfo.Node {
	address := fmt.Sprintf("10.0.0.%d:4151", i)
	return &clusterinfo.Node{
		Producer: clusterinfo.Producer{Hostname: fmt.Sprintf("queue%d", i), BroadcastAddress: fmt.Sprintf("10.0.0.%d", i), TCPPort: 4150, HTTPPort: 4151,
			Version: "1.3.0+raft.0.1.0", TopologyZone: fmt.Sprintf("b%d", i), TopologyRegion: "eu-1"},
		Address: address, State: state, StatsAt: now.Add(-age), RoundTrip: 420 * time.Microsecond, Lookupds: []string{"n1:4161", "n2:4161", "n3:4161"},
		Stats:         &clusterinfo.NodeStats{Version: "1.3.0+raft.0.1.0", Health: "OK", StartTime: now.Add(-77 * time.Hour).Unix()},
		DiskFreeBytes: 181 << 30,
	}
}

func e2e(p50, p99, p999 time.Duration) *clusterinfo.LatencyStats {
	l := &clusterinfo.LatencyStats{Count: 3}
	for q, d := range map[float64]time.Duration{0.5: p50, 0.99: p99, 0.999: p999} {
		l.Percentiles = append(l.Percentiles, map[string]float64{"quantile": q, "value": float64(d)})
	}
	return l
}

// put adds a topic with channels to nodes and to the View; each channel has depth on
// each node and clients.
func put(v *clusterinfo.View, name string, nodes []*clusterinfo.Node, channels map[string][2]int64) *clusterinfo.Topic {
	t := &clusterinfo.Topic{Name: name, Registered: true}
	for _, n := range nodes {
		s := &clusterinfo.TopicStats{Name: name, MessageCount: 1203400, MessageBytes: 91 << 20}
		tn := &clusterinfo.TopicOnNode{Node: n, Stats: s}
		t.Nodes = append(t.Nodes, tn)
		t.MessageCount += s.MessageCount
		n.Stats.Topics = append(n.Stats.Topics, s)
		n.Topics = append(n.Topics, clusterinfo.ProducerTopic{Topic: name})
		n.Messages += s.MessageCount
		if n.Stale() {
			t.StaleNodes++
		}
	}
	for _, c := range sortedKeys(channels) {
		ch := &clusterinfo.Channel{Name: c, Topic: name, ZoneLocal: 700, RegionLocal: 200, Global: 100}
		for _, n := range nodes {
			s := &clusterinfo.ChannelStats{Name: c, Depth: channels[c][0], BackendDepth: channels[c][0] / 2, InFlightCount: 12, MessageCount: 1203400,
				RequeueCount: 31, TimeoutCount: 4, ClientCount: channels[c][1]}
			ch.Nodes = append(ch.Nodes, &clusterinfo.ChannelOnNode{Node: n, Stats: s})
			ch.Depth, ch.InFlight, ch.MessageCount = ch.Depth+s.Depth, ch.InFlight+s.InFlightCount, ch.MessageCount+s.MessageCount
			ch.Requeued, ch.TimedOut, ch.Clients = ch.Requeued+s.RequeueCount, ch.TimedOut+s.TimeoutCount, ch.Clients+s.ClientCount
			ts := n.Stats.Topics[len(n.Stats.Topics)-1]
			ts.Channels = append(ts.Channels, s)
			n.Depth, n.InFlight, n.Clients = n.Depth+s.Depth, n.InFlight+s.InFlightCount, n.Clients+s.ClientCount
			if n.Stale() {
				ch.StaleNodes++
			}
		}
		t.Clients, t.InFlight = t.Clients+ch.Clients, t.InFlight+ch.InFlight
		t.Channels = append(t.Channels, ch)
	}
	v.Topics = append(v.Topics, t)
	return t
}

func sortedKeys(m map[string][2]int64) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func member(i int, leader string) *clusterinfo.Member {
	id := fmt.Sprintf("n%d", i)
	m := &clusterinfo.Member{ID: id, Instance: "i" + id, Address: id + ":4162", HTTPAddress: id + ":4161", Role: "follower", Voter: true, Healthy: true, Ready: true,
		Term: 7, AppliedIndex: 48211, LastLogIndex: 48211, LastContactMS: 34, RegistryHash: "b3f19c02aa01ff34", Version: "1.3.0+raft.0.1.0",
		UptimeSeconds: 77 * 3600, SnapshotIndex: 40000, DataBytes: 1990000, FsyncP99MS: 1.8, RoundTripMS: 0.4, Registrations: 214, Topics: 12, Producers: 3}
	if id == leader {
		m.Role, m.LeaderSinceMS, m.CommitP99MS = "leader", now.Add(-21*time.Minute).UnixMilli(), 3.1
	}
	return m
}

// healthyFake is a cluster of three nsqlookupds and three nsqds on which all is well.
func healthyFake() *fake {
	v := &clusterinfo.View{At: now}
	c := &clusterinfo.Cluster{ClusterID: "c1", NodeID: "n2", Role: "leader", Leader: "n2", Term: 7, Ready: true, CommitIndex: 48211, AppliedIndex: 48211,
		LastLogIndex: 48211, RegistryHash: "b3f19c02aa01ff34", Voters: 3, FailureTolerance: 1}
	for i := 1; i <= 3; i++ {
		c.Members = append(c.Members, member(i, "n2"))
		v.Nodes = append(v.Nodes, nsqd(i, clusterinfo.Up, 300*time.Millisecond))
	}
	for i := 1; i <= 3; i++ {
		l := &clusterinfo.Lookupd{Address: fmt.Sprintf("n%d:4161", i), State: clusterinfo.Up, AnsweredAt: now, RoundTrip: 410 * time.Microsecond, Version: "1.3.0+raft.0.1.0", StaleMS: 12, Index: 48211, Cluster: c}
		for _, n := range v.Nodes {
			l.Producers = append(l.Producers, &n.Producer)
		}
		v.Lookupds = append(v.Lookupds, l)
	}
	put(v, "audit", v.Nodes, map[string][2]int64{"archive": {3, 2}})
	put(v, "clicks", v.Nodes, map[string][2]int64{"geo": {120, 4}, "totals#ephemeral": {0, 1}})
	fresh := &clusterinfo.Topic{Name: "new", Registered: true, Channels: []*clusterinfo.Channel{{Name: "later", Topic: "new"}}}
	v.Topics = append(v.Topics, fresh)
	put(v, "orders", v.Nodes, map[string][2]int64{"billing": {41, 3}, "search": {212, 2}, "warehouse": {0, 4}})
	v.Topics[3].E2ELatency = e2e(2*time.Millisecond, 33500*time.Microsecond, 60300*time.Millisecond)
	v.Topics[3].Nodes[0].Stats.E2ELatency = v.Topics[3].E2ELatency
	v.Topics[3].Channels[0].E2ELatency = v.Topics[3].E2ELatency
	v.Topics[3].Channels[0].Nodes[0].Stats.E2ELatency = v.Topics[3].E2ELatency
	put(v, "presence#ephemeral", v.Nodes[:1], map[string][2]int64{"web": {0, 6}})
	f := &fake{v: v, user: "ann", role: admin, consume: map[string]*clusterinfo.NodeStats{}}
	for i, n := range v.Nodes {
		f.consume[n.Address] = &clusterinfo.NodeStats{
			Memory: &clusterinfo.MemoryStats{HeapInUseBytes: 61 << 20, GCPauseUsec99: 310, GCTotalRuns: 918},
			Topics: []*clusterinfo.TopicStats{{Name: "orders", Channels: []*clusterinfo.ChannelStats{{Name: "billing", Clients: []*clusterinfo.ClientStats{
				{ClientID: "billing-1", Hostname: "billing-1", RemoteAddress: "10.0.3.4:51234", UserAgent: "go-nsq/1.1.0", ReadyCount: int64(i % 2 * 25), InFlightCount: 12, FinishCount: 401022, RequeueCount: 31, MessageCount: 401065, ConnectTime: now.Add(-3 * time.Hour).Unix(), TLS: true, TLSVersion: "TLS1.3", TopologyZone: "b1"},
			}}}}}}
	}
	f.kings = []reign{
		{"n1", 5, now.Add(-3 * time.Hour), now.Add(-41 * time.Minute)},
		{"", 5, now.Add(-41 * time.Minute), now.Add(-41*time.Minute + 400*time.Millisecond)},
		{"n3", 6, now.Add(-41*time.Minute + 400*time.Millisecond), now.Add(-22 * time.Minute)},
		{"", 6, now.Add(-22 * time.Minute), now.Add(-21 * time.Minute)},
		{"n2", 7, now.Add(-21 * time.Minute), time.Time{}},
	}
	f.happened = []*event{
		{ID: 5, At: now.Add(-4 * time.Minute), Kind: "action", Action: "pause_channel", Topic: "orders", Channel: "search", User: "ann", Remote: "10.0.9.1", Text: "ann paused channel search of topic orders",
			Results: []resultJSON{{Address: "10.0.0.1:4151", Kind: "nsqd", TookMS: 3}, {Address: "10.0.0.2:4151", Kind: "nsqd", Error: "answers 500 INTERNAL_ERROR", TookMS: 4}}},
		{ID: 4, At: now.Add(-21 * time.Minute), Kind: "leader", Text: "n2 leads, term 7, after 1m without a leader."},
		{ID: 3, At: now.Add(-22 * time.Minute), Kind: "nsqlookupd", Text: "n3:4161 does not answer."},
		{ID: 2, At: now.Add(-41 * time.Minute), Kind: "leader", Text: "n3 leads, term 6, after 400 ms without a leader."},
		{ID: 1, At: now.Add(-55 * time.Minute), Kind: "nsqd", Node: "10.0.0.2:4151", Text: "nsqd 10.0.0.2:4151 registered."},
	}
	f.messages = []*peeked{
		{ID: "0d1f3a5b7c9e1122", Node: "10.0.0.1:4151", Published: now, Attempts: 1, Body: []byte(`{"order":17,"sum":"12.50","note":"it's <b>fine</b>"}`), Size: 52},
		{ID: "0d1f3a5b7c9e1123", Node: "10.0.0.2:4151", Published: now, Attempts: 2, Body: []byte("plain text"), Size: 10},
		{ID: "0d1f3a5b7c9e1124", Node: "10.0.0.2:4151", Published: now, Attempts: 1, Body: []byte{0, 1, 2, 0xff}, Size: 4},
	}
	return f
}

// hungFake has an nsqd that hangs, another that was never reached, a channel without
// consumers, a topic that grows, and a paused channel.
func hungFake() *fake {
	f := healthyFake()
	n := nsqd(4, clusterinfo.Suspect, 41*time.Second)
	n.Err = errors.New("timeout")
	lost := nsqd(5, clusterinfo.Down, 0)
	lost.StatsAt, lost.Stats, lost.Err = time.Time{}, nil, errors.New("dial tcp: lookup a81f2c: no such host")
	lost.Hostname, lost.BroadcastAddress = "a81f2c", "a81f2c"
	f.v.Nodes = append(f.v.Nodes, n, lost)
	put(f.v, "slow", f.v.Nodes[1:4], map[string][2]int64{"a": {5040, 2}, "b": {5166, 0}})
	put(f.v, "stuck", f.v.Nodes[3:4], map[string][2]int64{"only": {5040, 2}})
	c := f.v.Topics[3].Channels[1]
	c.Paused, c.PausedOn = true, len(c.Nodes)
	f.v.Nodes[1].Version = "1.2.1"
	return f
}

// leaderlessFake has lost two of three nsqlookupds.
func leaderlessFake() *fake {
	f := healthyFake()
	c := f.v.Lookupds[0].Cluster
	c.NodeID, c.Role, c.Leader, c.FailureTolerance = "n1", "candidate", "", -1
	for i, m := range c.Members {
		m.Healthy, m.LeaderSinceMS, m.LastContactMS = false, 0, -1
		if m.Role = "candidate"; i > 0 {
			*m = clusterinfo.Member{ID: m.ID, Instance: m.Instance, Address: m.Address, Role: "unreachable", Voter: true, LastContactMS: -1}
		}
	}
	for i, l := range f.v.Lookupds {
		if l.StaleMS = 68000; i > 0 {
			l.State, l.Err, l.AnsweredAt = clusterinfo.Down, errors.New("dial tcp n2:4161: connect: connection refused"), now.Add(-68*time.Second)
		}
	}
	f.kings[4].to = now.Add(-67 * time.Second)
	f.kings = append(f.kings, reign{"", 7, now.Add(-67 * time.Second), time.Time{}})
	return f
}

// stockFake asks two stock nsqlookupds, of which one is down.
func stockFake() *fake {
	f := healthyFake()
	f.v.Lookupds = f.v.Lookupds[:2]
	for _, l := range f.v.Lookupds {
		l.Cluster, l.StaleMS, l.Index, l.Version = nil, -1, 0, "1.3.0"
	}
	for _, n := range f.v.Nodes {
		n.DiskFreeBytes, n.Lookupds = -1, []string{"n1:4161"}
	}
	l := f.v.Lookupds[1]
	l.State, l.Err, l.AnsweredAt = clusterinfo.Down, errors.New("connection refused"), now.Add(-3*time.Minute)
	f.kings = nil
	return f
}

// deadFake has lost everything: the numbers are the last known.
func deadFake() *fake {
	f := leaderlessFake()
	for _, l := range f.v.Lookupds {
		l.State, l.Err, l.AnsweredAt = clusterinfo.Down, errors.New("connection refused"), now.Add(-2*time.Minute)
	}
	for _, n := range f.v.Nodes {
		n.State, n.Err, n.StatsAt = clusterinfo.Down, errors.New("connection refused"), now.Add(-2*time.Minute)
	}
	for _, t := range f.v.Topics {
		t.StaleNodes = len(t.Nodes)
		for _, c := range t.Channels {
			c.StaleNodes = len(c.Nodes)
		}
	}
	f.consume = nil
	for _, n := range f.v.Nodes {
		f.missing = append(f.missing, n.Address)
	}
	return f
}

// bigFake has topics on nodes, each topic on one of them.
func bigFake(topics, nodes int) *fake {
	return crowdedFake(topics, nodes, func(v *clusterinfo.View, i int) []*clusterinfo.Node { return v.Nodes[i%nodes : i%nodes+1] })
}

// everywhereFake has topics on nodes, each topic on all of them.
func everywhereFake(topics, nodes int) *fake {
	return crowdedFake(topics, nodes, func(v *clusterinfo.View, _ int) []*clusterinfo.Node { return v.Nodes })
}

func crowdedFake(topics, nodes int, on func(v *clusterinfo.View, topic int) []*clusterinfo.Node) *fake {
	f := healthyFake()
	f.v.Topics, f.v.Nodes = nil, nil
	for i := range nodes {
		f.v.Nodes = append(f.v.Nodes, nsqd(i+1, clusterinfo.Up, time.Second))
	}
	for i := range topics {
		put(f.v, fmt.Sprintf("topic.%05d", i), on(f.v, i), map[string][2]int64{"a": {int64(i % 1700), int64(i % 5)}, "b": {0, 1}})
	}
	return f
}

// nsqdsFake knows no nsqlookupd.
func nsqdsFake() *fake {
	f := stockFake()
	f.v.Lookupds = nil
	for _, n := range f.v.Nodes {
		n.Lookupds = nil
	}
	return f
}

// emptyFake has been started a moment ago.
func emptyFake() *fake { return &fake{v: &clusterinfo.View{}, role: admin} }

var fakes = map[string]func() *fake{
	"healthy": healthyFake, "hung": hungFake, "leaderless": leaderlessFake, "stock": stockFake, "dead": deadFake, "empty": emptyFake, "nsqds": nsqdsFake,
	"big": func() *fake { return bigFake(300, 12) },
}
