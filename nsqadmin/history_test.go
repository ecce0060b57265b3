package nsqadmin

import (
	"fmt"
	"math"
	"testing"
	"time"

	"nsqraft/internal/clusterinfo"
)

// A scene is a cluster whose counters a test moves, second by second.
type scene struct {
	t     *testing.T
	h     *history
	now   time.Time
	nodes map[string]*clusterinfo.Node
	names []string // of nodes, sorted
}

func newScene(t *testing.T, nodes ...string) *scene {
	s := &scene{t: t, h: newHistory(), now: time.Unix(1_700_000_000, 0), nodes: make(map[string]*clusterinfo.Node), names: nodes}
	for _, name := range nodes {
		s.nodes[name] = &clusterinfo.Node{Address: name, State: clusterinfo.Up, Stats: &clusterinfo.NodeStats{StartTime: 1}}
	}
	return s
}

// say lets a node answer, now, with one topic t that has a channel c.
func (s *scene) say(node string, startTime, messages, waiting int64) {
	s.answer(node, &clusterinfo.NodeStats{StartTime: startTime, Topics: []*clusterinfo.TopicStats{{
		Name: "t", MessageCount: messages,
		Channels: []*clusterinfo.ChannelStats{{Name: "c", MessageCount: messages, Depth: waiting}},
	}}})
}

func (s *scene) answer(node string, stats *clusterinfo.NodeStats) {
	n := *s.nodes[node] // a View never changes
	n.Stats, n.StatsAt = stats, s.now
	s.nodes[node] = &n
}

// look shows the history what the nodes said last, and lets a second go by.
func (s *scene) look() {
	v := &clusterinfo.View{At: s.now}
	topics := make(map[string]*clusterinfo.Topic)
	for _, name := range s.names {
		n := s.nodes[name]
		v.Nodes = append(v.Nodes, n)
		for _, t := range n.Stats.Topics {
			topic := topics[t.Name]
			if topic == nil {
				topic = &clusterinfo.Topic{Name: t.Name}
				topics[t.Name] = topic
				v.Topics = append(v.Topics, topic)
			}
			topic.Depth += t.Depth
			for _, c := range t.Channels {
				channel := topic.Channel(c.Name)
				if channel == nil {
					channel = &clusterinfo.Channel{Name: c.Name, Topic: t.Name}
					topic.Channels = append(topic.Channels, channel)
				}
				channel.Depth += c.Depth
				channel.InFlight += c.InFlightCount
				topic.InFlight += c.InFlightCount
			}
		}
	}
	s.h.observe(v, s.now)
	s.now = s.now.Add(time.Second)
}

// rate returns the newest rates of a key.
func (s *scene) rate(k key) (in, out float64) {
	s.t.Helper()
	in, ok := s.h.latest(k, published)
	if !ok {
		return math.NaN(), math.NaN()
	}
	out, _ = s.h.latest(k, finished)
	return in, out
}

func (s *scene) want(when string, k key, in, out float64) {
	s.t.Helper()
	gotIn, gotOut := s.rate(k)
	same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
	if !same(gotIn, in) || !same(gotOut, out) {
		s.t.Errorf("%s: %v in and %v out a second, want %v and %v", when, gotIn, gotOut, in, out)
	}
}

func TestRates(t *testing.T) {
	all, topic, channel := key{}, key{topic: "t"}, key{"t", "c"}
	unknown := math.NaN()

	s := newScene(t, "a", "b")
	s.say("a", 1, 1000, 1000)
	s.say("b", 1, 500, 500)
	s.look()
	s.want("after one answer", all, unknown, unknown)
	s.say("a", 1, 1010, 1004) // 10 in, 6 out
	s.say("b", 1, 520, 520)   // 20 in
	s.look()
	s.want("after two", all, 30, 6)
	s.want("after two", topic, 30, 6)
	s.want("after two", channel, 30, 6)
	if f, ok := s.h.nodeFlow("b"); !ok || f != (flow{20, 0}) {
		t.Errorf("through b: %+v (known: %v), want 20 in", f, ok)
	}

	for range 14 { // b hangs
		s.say("a", 1, 1010, 1004)
		s.look()
	}
	s.want("while b is silent its last rate holds", topic, 20, 0)
	for range 15 {
		s.say("a", 1, 1010, 1004)
		s.look()
	}
	s.want("until that is long ago", topic, 0, 0)
	s.say("b", 1, 520+300, 520) // 30 s since its last answer
	s.look()
	s.want("it comes back with the mean of its silence", topic, 10, 10)

	s.say("b", 2, 7, 900) // restarted: counters anew, and what waited on disk
	s.look()
	s.want("a restart is neither negative nor a spike", topic, 7, 0)
	s.say("b", 2, 8, 890)
	s.look()
	s.want("and goes on", topic, 1, 11)

	s.say("b", 2, 3, 0) // the topic was deleted and made again
	s.look()
	s.want("a topic that began anew", topic, 3, 0)
}

func TestWhatWasEmptiedWasNotFinished(t *testing.T) {
	s := newScene(t, "a")
	s.say("a", 1, 1000, 1000)
	s.look()
	s.say("a", 1, 1000, 995)
	s.look()
	s.h.emptied("t", "c", s.now.Add(-time.Millisecond))
	s.say("a", 1, 1000, 0)
	s.look()
	s.want("emptied", key{"t", "c"}, 0, 5)
	s.say("a", 1, 1003, 0)
	s.look()
	s.want("and on", key{"t", "c"}, 3, 3)
}

// Answers a few milliseconds apart, as after an action, give no rate.
func TestAnswersInARowMakeNoSpike(t *testing.T) {
	s := newScene(t, "a")
	s.say("a", 1, 0, 0)
	s.look()
	s.say("a", 1, 10, 10)
	s.look()
	s.now = s.now.Add(-999 * time.Millisecond)
	s.say("a", 1, 12, 12)
	s.look()
	s.want("a millisecond later", key{"t", "c"}, 10, 0)
}

// What an nsqd sends in another order, or twice, is no news.
func TestOrderOfAnswersDoesNotMatter(t *testing.T) {
	stats := func(count int64, names ...string) *clusterinfo.NodeStats {
		n := &clusterinfo.NodeStats{StartTime: 1}
		for _, name := range names {
			n.Topics = append(n.Topics, &clusterinfo.TopicStats{Name: name, MessageCount: count})
		}
		return n
	}
	s := newScene(t, "n")
	s.answer("n", stats(100, "c", "a", "b"))
	s.look()
	s.answer("n", stats(101, "b", "c", "a"))
	s.look()
	for _, name := range []string{"a", "b", "c"} {
		s.want(name, key{topic: name}, 1, 0)
	}
}

func TestSeries(t *testing.T) {
	s := newScene(t, "a")
	for i := range int64(90) {
		s.say("a", 1, 10*i, i)
		s.look()
	}
	for _, tt := range []struct {
		m    metric
		span time.Duration
		n    int
	}{
		{depth, 30 * time.Second, 15},
		{depth, 10 * time.Minute, 300},
		{published, time.Hour, 300},
		{published, 24 * time.Hour, 288},
		{inFlight, 48 * time.Hour, 288},
	} {
		points := s.h.series(key{topic: "t"}, tt.m, tt.span)
		if len(points) != tt.n {
			t.Errorf("%v of metric %d: %d points, want %d", tt.span, tt.m, len(points), tt.n)
			continue
		}
		step := points[1].at.Sub(points[0].at)
		for i := 1; i < len(points); i++ {
			if points[i].at.Sub(points[i-1].at) != step {
				t.Errorf("%v: points %v and %v are not %v apart", tt.span, points[i-1].at, points[i].at, step)
			}
		}
	}
	points := s.h.series(key{topic: "t"}, depth, 10*time.Minute)
	if last := points[len(points)-1].value; last != 88.5 { // the mean of 88 and 89
		t.Errorf("newest depth %v, want 88.5", last)
	}
	if !math.IsNaN(points[0].value) {
		t.Errorf("depth of before the start: %v, want NaN", points[0].value)
	}
	if rates := s.h.series(key{"t", "c"}, published, 10*time.Minute); rates[len(rates)-1].value != 10 {
		t.Errorf("newest rate %v, want 10", rates[len(rates)-1].value)
	}
	if s.h.series(key{topic: "nope"}, depth, time.Hour) != nil {
		t.Error("a topic that does not exist has a history")
	}
}

// A key that does not move costs no rings, and still has its history, with the holes
// that everything has.
func TestAtRest(t *testing.T) {
	s := newScene(t, "a")
	for range 30 {
		s.say("a", 1, 5, 5)
		s.look()
	}
	s.now = s.now.Add(time.Minute) // this process was stopped
	for range 30 {
		s.say("a", 1, 5, 5)
		s.look()
	}
	k := key{"t", "c"}
	if s.h.tracks[k].rings != nil {
		t.Fatal("a key at rest has rings")
	}
	check := func() {
		t.Helper()
		known, unknown := 0, 0
		for _, p := range s.h.series(k, depth, 2*time.Minute) {
			switch {
			case p.value == 5:
				known++
			case math.IsNaN(p.value):
				unknown++
			default:
				t.Errorf("depth %v at %v, want 5", p.value, p.at)
			}
		}
		if known < 25 || unknown < 25 {
			t.Errorf("%d points known and %d unknown of a minute each", known, unknown)
		}
	}
	check()
	s.say("a", 1, 5, 4)
	s.look()
	if s.h.tracks[k].rings == nil {
		t.Fatal("a key that moved has no rings")
	}
	points := s.h.series(k, depth, 20*time.Second)
	if points[0].value != 5 || points[len(points)-1].value >= 5 {
		t.Errorf("from %v to %v, want from 5 to less", points[0].value, points[len(points)-1].value)
	}
}

func TestGrowth(t *testing.T) {
	s := newScene(t, "a")
	k := key{"t", "c"}
	if _, ok := s.h.growth(k, time.Minute); ok {
		t.Error("growth of nothing")
	}
	s.say("a", 1, 0, 100)
	s.look()
	if _, ok := s.h.growth(k, time.Minute); ok {
		t.Error("growth after one sample")
	}
	for i := range int64(120) {
		s.say("a", 1, 0, 100+3*i)
		s.look()
	}
	if got, ok := s.h.growth(k, time.Minute); !ok || math.Abs(got-3) > 0.1 {
		t.Errorf("grows by %v a second (known: %v), want 3", got, ok)
	}
	if got, ok := s.h.growth(k, time.Hour); ok {
		t.Errorf("growth of an hour after two minutes: %v", got)
	}
	for range 120 {
		s.say("a", 1, 0, 457)
		s.look()
	}
	if got, ok := s.h.growth(k, time.Minute); !ok || got != 0 {
		t.Errorf("grows by %v a second (known: %v), want 0", got, ok)
	}
}

// More keys than there is room for move: those at rest for longest lose their past,
// and none moves without a bound.
func TestHistoryIsBounded(t *testing.T) {
	s := newScene(t, "a")
	round := func(from, to int, depth, others int64) {
		stats := &clusterinfo.NodeStats{StartTime: 1}
		for i := range 2 * maxMoving {
			topic := &clusterinfo.TopicStats{Name: fmt.Sprintf("t%05d", i), Depth: others}
			if i >= from && i < to {
				topic.Depth = depth
			}
			stats.Topics = append(stats.Topics, topic)
		}
		s.answer("a", stats)
		s.look()
	}
	round(0, 0, 0, 1)
	round(0, maxMoving-1, 2, 1) // beside everything itself
	if s.h.moving != maxMoving {
		t.Fatalf("%d keys move, want %d", s.h.moving, maxMoving)
	}
	round(0, 2*maxMoving, 3, 1) // nobody rests: no room for those that begin to
	if s.h.moving != maxMoving {
		t.Errorf("%d keys move, want %d", s.h.moving, maxMoving)
	}
	late := key{topic: fmt.Sprintf("t%05d", 2*maxMoving-1)}
	if points := s.h.series(late, depth, time.Minute); !math.IsNaN(points[len(points)-3].value) || points[len(points)-1].value != 3 {
		t.Errorf("a key without room shows %v, then %v: want NaN, as that is not kept, then 3", points[len(points)-3].value, points[len(points)-1].value)
	}
	s.now = s.now.Add(2 * restBeforeFall)
	round(2*maxMoving-1, 2*maxMoving, 4, 3)
	if s.h.tracks[late].rings == nil {
		t.Error("nobody who rested made room")
	}
	if s.h.moving > maxMoving {
		t.Errorf("%d keys move, want at most %d", s.h.moving, maxMoving)
	}
}

func TestTopicsThatAreGoneAreForgotten(t *testing.T) {
	s := newScene(t, "a")
	s.say("a", 1, 1, 1)
	s.look()
	s.say("a", 1, 2, 2)
	s.look()
	s.answer("a", &clusterinfo.NodeStats{StartTime: 1})
	s.look()
	if _, ok := s.h.latest(key{topic: "t"}, depth); ok {
		t.Error("a topic that is gone has a depth")
	}
	s.now = s.now.Add(forgetAfter + time.Minute)
	s.look()
	if len(s.h.tracks) != 1 || s.h.moving != 1 {
		t.Errorf("%d keys are kept and %d move, want that of everything only", len(s.h.tracks), s.h.moving)
	}
}

// 10,000 topics, of which a tenth moves, take a sample without anybody noticing.
func BenchmarkObserve(b *testing.B) {
	h, now := newHistory(), time.Unix(1_700_000_000, 0)
	for i := 0; b.Loop(); i++ {
		stats := &clusterinfo.NodeStats{StartTime: 1}
		v := &clusterinfo.View{At: now}
		for j := range 10_000 {
			name := fmt.Sprintf("t%05d", j)
			count := int64(0)
			if j%10 == 0 {
				count = int64(i)
			}
			stats.Topics = append(stats.Topics, &clusterinfo.TopicStats{Name: name, MessageCount: count})
			v.Topics = append(v.Topics, &clusterinfo.Topic{Name: name, Depth: count})
		}
		v.Nodes = []*clusterinfo.Node{{Address: "a", Stats: stats, StatsAt: now, State: clusterinfo.Up}}
		h.observe(v, now)
		now = now.Add(time.Second)
	}
}
