package history

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// claims are those of a run, by ID.
func claims(run *Run) map[string]Claim {
	byID := make(map[string]Claim)
	for _, c := range Check(run, Limits{Time: 5 * time.Second}) {
		byID[c.ID] = c
	}
	return byID
}

// A script is a small history, in milliseconds.
type script struct{ Run }

// quietRun is a run of three nodes and one nsqd in which nothing has happened.
func quietRun() *script {
	return &script{Run{Header: Header{
		Against: "ours", Nodes: []string{"n1", "n2", "n3"}, NSQDs: []string{"nsqd1"}, Length: 200 * time.Second,
		Grace: 45 * time.Second, Inactive: 300 * time.Second, Tombstone: 45 * time.Second, Quiet: 100 * time.Second,
	}}}
}

func (s *script) op(from, to int, op Op) *script {
	op.Call, op.Return = time.Duration(from)*ms, time.Duration(to)*ms
	if op.Outcome == "" {
		op.Outcome = Done
	}
	s.Ops = append(s.Ops, op)
	return s
}

// session is op of a session of producer pN, N its number, at n1.
func (s *script) session(kind Kind, id int64, from, to int, out Outcome) *script {
	return s.op(from, to, Op{Kind: kind, Node: "n1", Topic: "t", Session: id, Producer: fmt.Sprintf("p%d:1", id), Outcome: out})
}

// waits has a command of the session end with it, unanswered.
func (s *script) waits(id int64, from, to int) *script {
	return s.session(Ping, id, from, to, Unknown).session(Lost, id, from, to, Unknown)
}

// see is a lookup that shows those of p1:1 and p2:1 that are named.
func (s *script) see(node string, consistent bool, from, to int, producers ...string) *script {
	return s.op(from, to, Op{Kind: Lookup, Node: node, Topic: "t", Consistent: consistent,
		Answer: &Answer{Known: true, Producers: producers, Index: uint64(from), KnownLeader: true}})
}

// answer is a default lookup as of index, of which the node says that it is stale ms
// old and heard the leader heard ms ago.
func (s *script) answer(node string, at int, index uint64, stale, heard int64, producers ...string) *script {
	return s.op(at, at+1, Op{Kind: Lookup, Node: node, Topic: "t",
		Answer: &Answer{Known: true, Producers: producers, Index: index, StaleMS: stale, ContactMS: heard, KnownLeader: true}})
}

func (s *script) fault(kind, target, drill string, from, to int) *script {
	f := Fault{ID: len(s.Faults) + 1, Drill: drill, Kind: kind, Target: target, Begin: time.Duration(from) * ms, Verified: true}
	f.Began = f.Begin
	if to > 0 {
		f.End, f.Healed = time.Duration(to)*ms, time.Duration(to)*ms
	}
	s.Faults = append(s.Faults, f)
	return s
}

func (s *script) sample(at int, sample Sample) *script {
	sample.At, sample.Answered = time.Duration(at)*ms, true
	s.Samples = append(s.Samples, sample)
	return s
}

func (s *script) header(change func(*Header)) *script {
	change(&s.Header)
	return s
}

// done ends the building of a run.
func (s *script) done() *Run {
	s.Sort()
	return &s.Run
}

// registered is a run in which p1:1 registers at n1, and n2 shows it then and in the end.
func registered() *script {
	return quietRun().session(Register, 1, 10, 20, Done).
		see("n2", true, 30, 40, "p1:1").see("n2", true, 100_000, 100_010, "p1:1")
}

// Each is a history that cannot be, that shows too little, or that is just right.
func TestSmallHistories(t *testing.T) {
	lookupFailed := Op{Kind: Lookup, Node: "n2", Topic: "t", Outcome: Unknown, Error: "connection refused"}
	published := Op{Kind: Publish, Node: "nsqd1", Topic: "m", Message: "a-1"}
	publishFailed := Op{Kind: Publish, Node: "nsqd1", Topic: "m", Message: "a-9", Outcome: Unknown, Error: "EOF"}
	received := Op{Kind: Receive, Node: "nsqd1", Topic: "m", Channel: "c", Message: "a-1"}
	finished := Op{Kind: Finish, Node: "nsqd1", Topic: "m", Channel: "c", Message: "a-1"}
	channel := Op{Kind: CreateChannel, Node: "nsqd1", Topic: "m", Channel: "c"}
	tests := []struct {
		name    string
		run     *script
		id      string // of the claim
		want    Status
		telling string // in the claim: its first violation, or its evidence
	}{
		// Registry.
		{"registered and there", registered(), "registry/no-lost-registration", Holds, ""},
		{"not there in the end", quietRun().session(Register, 1, 10, 20, Done).see("n2", true, 30, 40, "p1:1").see("n3", true, 100_000, 100_010),
			"registry/no-lost-registration", Violated, "lost: p1:1 of t"},
		{"nobody looked in the end", quietRun().session(Register, 1, 10, 20, Done).see("n2", true, 30, 40, "p1:1"),
			"registry/no-lost-registration", Inconclusive, "nobody looked for p1:1"},
		{"in the end a default lookup alone", quietRun().session(Register, 1, 10, 20, Done).see("n2", false, 100_000, 100_010, "p1:1"),
			"registry/no-lost-registration", Inconclusive, "nobody looked"},
		{"unknown, and never there", quietRun().session(Register, 1, 10, 20, Unknown).see("n2", true, 100_000, 100_010),
			"registry/no-lost-registration", Inconclusive, "nothing to look at"},
		{"acknowledged, then not shown", registered().see("n3", true, 50, 60), "registry/no-stale-consistent-read", Violated, "stale: a consistent lookup of t at n3"},
		{"asked before it was acknowledged", registered().see("n3", true, 15, 60), "registry/no-stale-consistent-read", Holds, ""},
		{"unknown, seen, then not", quietRun().session(Register, 1, 10, 90, Unknown).see("n1", true, 20, 30, "p1:1").see("n2", true, 40, 50),
			"registry/no-stale-consistent-read", Violated, "lacks p1:1, known since 0.030s"},
		{"left, and not shown", registered().session(Unregister, 1, 50, 60, Unknown).see("n2", true, 55, 70), "registry/no-stale-consistent-read", Holds, ""},
		{"its topic was deleted", registered().op(50, 60, Op{Kind: DeleteTopic, Node: "n1", Topic: "t"}).see("n2", true, 70, 80), "registry/no-stale-consistent-read", Holds, ""},
		{"unregistered, and there", registered().session(Unregister, 1, 50, 60, Done).see("n2", true, 70, 80, "p1:1"), "registry/no-phantom", Violated, "had to be gone at 0.060s"},
		{"unregistered, and not there", quietRun().session(Register, 1, 10, 20, Done).session(Unregister, 1, 50, 60, Done).see("n2", true, 70, 80), "registry/no-phantom", Holds, "1 times one looked after a producer had to be gone"},
		{"unregistered at that time", registered().session(Unregister, 1, 50, 200_000, Done).see("n2", true, 55, 58, "p1:1"), "registry/no-phantom", Inconclusive, "nobody looked for a producer after it had to be gone"},
		{"refused, and there", quietRun().session(Register, 1, 10, 20, Refused).see("n2", true, 30, 40, "p1:1"), "registry/no-phantom", Violated, "which was refused"},
		{"never registered, and there", quietRun().see("n2", true, 30, 40, "p1:1"), "registry/no-phantom", Violated, "nobody registered"},
		{"there before it registered", registered().see("n2", true, 1, 5, "p1:1"), "registry/no-phantom", Violated, "before it was registered"},
		{"closed, there a second later", quietRun().session(Register, 1, 10, 20, Done).session(Disconnect, 1, 50, 51, Unknown).see("n2", true, 1_050, 1_060, "p1:1"),
			"registry/no-phantom", Inconclusive, "nobody looked for a producer after it had to be gone"},
		{"closed, there three seconds later", quietRun().session(Register, 1, 10, 20, Done).session(Disconnect, 1, 50, 51, Unknown).see("n2", true, 3_050, 3_060, "p1:1"),
			"registry/no-phantom", Violated, "had to be gone at 2.051s"},
		{"closed while nothing was acknowledged", closedInAStall().see("n2", true, 6_500, 6_510, "p1:1"), "registry/no-phantom", Inconclusive, "nobody looked for a producer after it had to be gone"},
		{"closed long before", closedInAStall().see("n2", true, 7_100, 7_110, "p1:1"), "registry/no-phantom", Violated, "had to be gone at 6.991s"},
		{"closed while there was no quorum", quietRun().session(Register, 1, 10, 20, Done).session(Disconnect, 1, 50, 51, Unknown).fault("isolate", "n2,n3", "no-quorum", 40, 8_000).see("n2", true, 9_000, 9_010, "p1:1"),
			"registry/no-phantom", Inconclusive, "nobody looked for a producer after it had to be gone"},
		{"there longer than a heal explains", quietRun().session(Register, 1, 10, 20, Done).session(Disconnect, 1, 50, 51, Unknown).fault("isolate", "n2,n3", "no-quorum", 40, 8_000).see("n2", true, 10_100, 10_110, "p1:1"),
			"registry/no-phantom", Violated, "had to be gone at 10.000s"},
		{"its node died, within the grace", quietRun().session(Register, 1, 10, 20, Done).session(Lost, 1, 100, 100, Unknown).fault("kill", "n1", "leader-kill", 90, 1_000).see("n2", true, 44_000, 44_010, "p1:1"),
			"registry/no-phantom", Inconclusive, "nobody looked for a producer after it had to be gone"},
		{"its node died, after the grace", quietRun().session(Register, 1, 10, 20, Done).session(Lost, 1, 100, 100, Unknown).fault("kill", "n1", "leader-kill", 90, 1_000).see("n2", true, 48_100, 48_110, "p1:1"),
			"registry/no-phantom", Violated, "had to be gone at 47.090s"},
		{"closed while its node was out of reach", quietRun().session(Register, 1, 10, 20, Done).session(Disconnect, 1, 50, 51, Unknown).fault("unreach", "n1", "hung-lookupd", 40, 9_000).see("n2", true, 19_900, 19_910, "p1:1").see("n2", true, 20_100, 20_110, "p1:1"),
			"registry/no-phantom", Violated, "at 20.100s, which had to be gone at 19.949s"},
		{"closed at the process that came after", quietRun().fault("kill", "n1", "follower-kill", 5, 9_000).session(Register, 1, 3_010, 3_020, Done).session(Disconnect, 1, 3_050, 3_051, Unknown).see("n2", true, 10_900, 10_910, "p1:1").see("n2", true, 11_100, 11_110, "p1:1"),
			"registry/no-phantom", Violated, "at 11.100s, which had to be gone at 11.000s"},
		{"its node died twice", quietRun().session(Register, 1, 10, 20, Done).session(Lost, 1, 100, 100, Unknown).fault("kill", "n1", "leader-kill", 90, 1_000).fault("kill", "n1", "leader-kill", 30_000, 31_000).see("n2", true, 48_100, 48_110, "p1:1"),
			"registry/no-phantom", Violated, "had to be gone at 47.090s"},
		{"its node died, and later all did", quietRun().session(Register, 1, 10, 20, Done).session(Lost, 1, 100, 100, Unknown).fault("kill", "n1", "leader-kill", 90, 1_000).fault("kill", "n1,n2,n3", "kill-all", 30_000, 31_000).see("n2", true, 77_900, 77_910, "p1:1").see("n2", true, 78_100, 78_110, "p1:1"),
			"registry/no-phantom", Violated, "at 78.100s, which had to be gone at 78.000s"},
		{"closed while another node was down", quietRun().session(Register, 1, 10, 20, Done).session(Disconnect, 1, 50, 51, Unknown).fault("kill", "n3", "follower-kill", 40, 9_000).see("n2", true, 3_050, 3_060, "p1:1"),
			"registry/no-phantom", Violated, "had to be gone at 2.051s"},
		{"closed before faults of others that follow each other", quietRun().session(Register, 1, 10, 20, Done).session(Disconnect, 1, 50, 51, Unknown).fault("kill", "n3", "follower-kill", 1_000, 2_000).fault("pause", "n2", "follower-pause", 3_000, 9_000).see("n2", true, 9_500, 9_510, "p1:1"),
			"registry/no-phantom", Violated, "had to be gone at 2.051s"},
		{"closed when the leader died", leaderDies().see("n2", true, 4_900, 4_910, "p1:1"), "registry/no-phantom", Inconclusive, "nobody looked for"},
		{"closed long after the leader died", leaderDies().see("n2", true, 5_100, 5_110, "p1:1"), "registry/no-phantom", Violated, "had to be gone at 5.040s"},
		{"closed while its node was paused", quietRun().session(Register, 1, 10, 20, Done).session(Disconnect, 1, 50, 51, Unknown).fault("pause", "n1", "follower-pause", 40, 9_000).see("n2", true, 10_900, 10_910, "p1:1").see("n2", true, 11_100, 11_110, "p1:1"),
			"registry/no-phantom", Violated, "at 11.100s, which had to be gone at 11.000s"},
		{"its node died, and it is gone at once", registered().session(Lost, 1, 50, 100, Unknown).fault("kill", "n1", "leader-kill", 90, 1_000).see("n2", true, 5_000, 5_010),
			"registry/no-stale-consistent-read", Violated, "lacks p1:1"},
		{"it was with the process that came after", quietRun().fault("wipe", "n1", "wiped-node", 5, 200).session(Register, 1, 50, 60, Done).see("n2", true, 70, 80, "p1:1").session(Ping, 1, 85, 90, Done).session(Lost, 1, 90, 100, Unknown).see("n2", true, 150, 160),
			"registry/no-stale-consistent-read", Holds, ""},
		{"its node died, and it is gone after the grace", registered().session(Lost, 1, 50, 100, Unknown).fault("kill", "n1", "leader-kill", 90, 1_000).see("n2", true, 50_000, 50_010),
			"registry/no-stale-consistent-read", Holds, ""},
		{"its node died, it came back elsewhere and went", registered().session(Lost, 1, 50, 100, Unknown).fault("kill", "n1", "leader-kill", 90, 1_000).
			op(2_000, 2_010, Op{Kind: Register, Node: "n2", Topic: "t", Session: 7, Producer: "p1:1"}).op(3_000, 3_001, Op{Kind: Lost, Node: "n2", Session: 7, Producer: "p1:1", Outcome: Unknown}).see("n2", true, 8_000, 8_010).with(func(r *Run) { r.Header.Quiet = 0 }),
			"registry/no-stale-consistent-read", Holds, ""},
		{"its node died, it came back elsewhere and is not there", registered().session(Lost, 1, 50, 100, Unknown).fault("kill", "n1", "leader-kill", 90, 1_000).
			op(2_000, 2_010, Op{Kind: Register, Node: "n2", Topic: "t", Session: 7, Producer: "p1:1"}).see("n2", true, 8_000, 8_010),
			"registry/no-stale-consistent-read", Violated, "lacks p1:1"},
		{"it fell silent, within the time-out", quietRun().session(Register, 1, 10, 20, Done).session(Vanish, 1, 50, 50, Unknown).header(func(h *Header) { h.Inactive = 30 * time.Second }).see("n2", true, 31_000, 31_010, "p1:1"),
			"registry/no-phantom", Inconclusive, "nobody looked for a producer after it had to be gone"},
		{"it fell silent, after the time-out", quietRun().session(Register, 1, 10, 20, Done).session(Vanish, 1, 50, 50, Unknown).header(func(h *Header) { h.Inactive = 30 * time.Second }).see("n2", true, 33_000, 33_010, "p1:1"),
			"registry/no-phantom", Violated, "had to be gone at 32.050s"},
		{"tombstoned, and hidden", registered().op(50, 60, Op{Kind: Tombstone, Node: "n1", Topic: "t", Producer: "p1:1"}).see("n2", true, 70, 80), "registry/tombstone", Holds, ""},
		{"tombstoned, and shown", registered().op(50, 60, Op{Kind: Tombstone, Node: "n1", Topic: "t", Producer: "p1:1"}).see("n2", true, 70, 80, "p1:1"), "registry/tombstone", Violated, "tombstoned: n2 shows p1:1"},
		{"tombstoned, registered once more, and hidden", registered().op(50, 60, Op{Kind: Tombstone, Node: "n1", Topic: "t", Producer: "p1:1"}).session(Register, 1, 65, 66, Done).see("n2", true, 70, 80), "registry/no-stale-consistent-read", Holds, ""},
		{"tombstoned, and its time is over", registered().op(50, 60, Op{Kind: Tombstone, Node: "n1", Topic: "t", Producer: "p1:1"}).see("n2", true, 70, 80).see("n2", true, 47_000, 47_010, "p1:1"), "registry/tombstone", Holds, ""},

		// One order.
		{"one order", registered().session(Unregister, 1, 100_020, 100_030, Done).see("n1", true, 100_040, 100_050), "linear/topic", Holds, ""},
		{"a topic that nobody made", quietRun().session(Unregister, 1, 10, 20, Done).see("n1", true, 30, 40), "linear/topic", Violated, "not linearizable: topic t"},
		{"a channel that nobody made", registered().op(50, 60, Op{Kind: Lookup, Node: "n1", Topic: "t", Consistent: true, Answer: &Answer{Known: true, Producers: []string{"p1:1"}, Channels: []string{"c"}}}),
			"linear/topic", Violated, "channels [c]"},
		{"a channel deleted twice at one node", registered().op(50, 51, Op{Kind: CreateChannel, Node: "n1", Topic: "t", Channel: "c"}).
			op(52, 53, Op{Kind: DeleteChannel, Node: "n1", Topic: "t", Channel: "c", Status: 200}).op(54, 55, Op{Kind: DeleteChannel, Node: "n1", Topic: "t", Channel: "c", Status: 200}),
			"linear/topic", Violated, "not linearizable: topic t"},
		{"a channel deleted at two nodes", registered().op(50, 51, Op{Kind: CreateChannel, Node: "n1", Topic: "t", Channel: "c"}).
			op(52, 53, Op{Kind: DeleteChannel, Node: "n1", Topic: "t", Channel: "c", Status: 200}).op(54, 55, Op{Kind: DeleteChannel, Node: "n2", Topic: "t", Channel: "c", Status: 200}),
			"linear/topic", Holds, ""},
		{"a channel deleted that is not there", registered().op(54, 55, Op{Kind: DeleteChannel, Node: "n2", Topic: "t", Channel: "c", Status: 404}), "linear/topic", Holds, ""},
		{"a refused deletion that was done", registered().op(50, 60, Op{Kind: DeleteTopic, Node: "n1", Topic: "t", Outcome: Refused}).see("n1", true, 70, 80), "linear/topic", Violated, "not linearizable"},
		{"an unknown deletion, done later", registered().op(50, 60, Op{Kind: DeleteTopic, Node: "n1", Topic: "t", Outcome: Unknown}).see("n1", true, 70, 80, "p1:1").
			op(90, 95, Op{Kind: Lookup, Node: "n1", Topic: "t", Consistent: true, Answer: &Answer{}}).header(func(h *Header) { h.Quiet = 0 }),
			"linear/topic", Violated, ""}, // registered() shows p1:1 again in the end
		{"back and forth", registered().session(Unregister, 1, 50, 60, Done).see("n1", true, 61, 65).session(Register, 1, 70, 80, Done).see("n1", true, 81, 82, "p1:1"), "linear/producer", Holds, ""},
		{"back, forth, and gone", registered().session(Unregister, 1, 50, 60, Done).session(Register, 1, 70, 80, Done).see("n1", true, 81, 82), "linear/producer", Violated, "not linearizable: producer p1:1 of topic t"},
		{"an ephemeral channel goes with its last holder", quietRun().
			op(10, 11, Op{Kind: Register, Node: "n1", Topic: "t", Channel: "c#ephemeral", Session: 1, Producer: "p1:1"}).
			op(20, 21, Op{Kind: Unregister, Node: "n1", Topic: "t", Channel: "c#ephemeral", Session: 1, Producer: "p1:1"}).
			see("n1", true, 30, 31, "p1:1").see("n1", true, 100_000, 100_001, "p1:1"), "linear/topic", Holds, ""},

		// Default lookups.
		{"old, and says so", registered().answer("n3", 2_000, 5, 2_000, 2_000), "reads/honest-age", Inconclusive, ""},
		{"two seconds old, says one", registered().answer("n3", 2_100, 5, 1_000, 1_000), "reads/honest-age", Violated, "dishonest: n3 says 1s"},
		{"shows what left before its age", registered().session(Unregister, 1, 50, 60, Done).answer("n3", 2_100, 5, 1_000, 1_000, "p1:1"), "reads/honest-age", Violated, "had to be gone"},
		{"refused, and there by default", quietRun().session(Register, 1, 10, 20, Refused).answer("n3", 30, 5, -1, -1, "p1:1"), "reads/honest-age", Violated, "which was refused"},
		{"hears the leader, and is old", registered().answer("n3", 600, 5, 1_000, 100), "reads/bounded-age", Missed, "old: n3 heard the leader 100ms before"},
		{"hears the leader again, and is old", registered().fault("isolate", "n3", "x", 15, 500).answer("n3", 600, 5, 1_000, 100).answer("n3", 3_000, 5, 1_000, 100, "p1:1"), "reads/bounded-age", Holds, ""},
		{"hears what comes through of a leader whose packets are lost", registered().sample(1, Sample{Node: "n1", Role: "leader", Term: 2}).fault("loss", "n1", "x", 15, 500).answer("n3", 600, 5, 1_000, 100).answer("n3", 3_000, 5, 1_000, 100, "p1:1"), "reads/bounded-age", Holds, ""},
		{"hears the leader, while another's packets are lost", registered().sample(1, Sample{Node: "n1", Role: "leader", Term: 2}).fault("loss", "n2", "x", 15, 500).answer("n3", 600, 5, 1_000, 100), "reads/bounded-age", Missed, "old: n3 heard the leader 100ms before"},
		{"is old, and says less, of a leader whose packets are lost", registered().sample(1, Sample{Node: "n1", Role: "leader", Term: 2}).fault("loss", "n1", "x", 15, 500).answer("n3", 600, 5, 100, 100), "reads/honest-age", Violated, "dishonest: n3 says 100ms"},
		{"hears the leader, and is 200 ms old", registered().answer("n3", 220, 5, 1_000, 100).answer("n3", 900, 5, 1_000, 100, "p1:1"), "reads/bounded-age", Holds, ""},
		{"back in time", registered().answer("n3", 600, 9, 0, 0, "p1:1").answer("n3", 700, 8, 0, 0, "p1:1"), "reads/monotonic", Violated, "back in time: n3 answers as of index 8"},
		{"as of nothing at all", registered().answer("n3", 600, 9, 0, 0, "p1:1").answer("n3", 700, 0, -1, -1), "reads/monotonic", Violated, "back in time: n3 answers as of index 0"},
		{"two at a time", registered().answer("n3", 600, 9, 0, 0, "p1:1").answer("n3", 601, 8, 0, 0, "p1:1"), "reads/monotonic", Holds, ""},
		{"one index, two answers", registered().answer("n3", 600, 9, 0, 0, "p1:1").answer("n2", 700, 9, 1_000, 1_000), "reads/equal-index", Violated, "diverged:"},
		{"one index, one answer", registered().answer("n3", 600, 9, 0, 0, "p1:1").answer("n2", 700, 9, 1_000, 1_000, "p1:1"), "reads/equal-index", Holds, ""},

		{"never says how old it is", registered().agesOf("n1", 0).agesOf("n2", 0).agesOf("n3", -1), "reads/age-known", Missed, "no age: n3 has not known since 1.000s"},
		{"says an age, and that it is old", registered().agesOf("n1", 0).agesOf("n2", 9_000).agesOf("n3", 0), "reads/age-known", Missed, "no age: n2"},
		{"all know their age", registered().agesOf("n1", 0).agesOf("n2", 100).agesOf("n3", 2_000), "reads/age-known", Holds, "9 of n1"},
		{"does not know for 2 s", registered().agesOf("n1", 0).agesOf("n2", 0).agesOf("n3", 0).answer("n3", 5_100, 9, -1, -1).answer("n3", 7_050, 9, -1, -1).answer("n3", 6_000, 9, -1, -1), "reads/age-known", Holds, ""},
		{"does not know before and after nobody looks", registered().agesOf("n1", 0).agesOf("n2", 0).agesOf("n3", 0).answer("n3", 12_100, 9, -1, -1).op(12_110, 18_010, Op{Kind: Lookup, Node: "n3", Topic: "t", Answer: &Answer{Known: true, Index: 9, StaleMS: -1, ContactMS: -1}}).answer("n3", 18_020, 9, 6_000, 1_000), "reads/age-known", Holds, ""},
		{"does not know while another is broken", registered().agesOf("n1", 0).agesOf("n2", 0).agesOf("n3", -1).fault("kill", "n1", "x", 900, 10_500), "reads/age-known", Inconclusive, "no lookup at n1"},
		{"was never asked while nothing was broken", registered().agesOf("n1", 0).agesOf("n2", 0), "reads/age-known", Inconclusive, "no lookup at n3"},

		// Availability.
		{"a lookup failed", registered().op(50, 60, lookupFailed).answer("n2", 160, 9, 0, 0, "p1:1"), "available/lookups", Missed, "failed: a lookup of t at n2"},
		{"a lookup failed on a dead node", registered().op(50, 60, lookupFailed).answer("n2", 160, 9, 0, 0, "p1:1").fault("kill", "n2", "x", 55, 100), "available/lookups", Holds, ""},
		{"a lookup failed on a cut-off node", registered().op(50, 60, lookupFailed).fault("isolate", "n2", "x", 40, 100), "available/lookups", Missed, "during fault 1 (isolate of n2)"},
		{"lookups failed for 0.9 s", registered().fails("n2", 1_000, 1_900), "available/serves", Holds, ""},
		{"lookups failed for 1.1 s", registered().fails("n2", 1_000, 2_100), "available/serves", Violated, "out: all lookups at n2 failed from 1.000s on"},
		{"lookups failed for 1.1 s, but for one", registered().fails("n2", 1_000, 1_500).answer("n2", 1_500, 9, 0, 0, "p1:1").fails("n2", 1_510, 2_100), "available/serves", Holds, ""},
		{"lookups failed for 1.1 s on a dead node", registered().fails("n2", 1_000, 2_100).answer("n3", 1_500, 9, 0, 0, "p1:1").fault("kill", "n2", "x", 990, 2_200), "available/serves", Holds, ""},
		{"two lookups timed out together", registered().op(1_000, 3_000, lookupFailed).op(1_100, 3_100, lookupFailed).answer("n2", 3_200, 9, 0, 0, "p1:1"), "available/serves", Holds, ""},
		{"a consistent lookup was refused", registered().op(50, 60, Op{Kind: Lookup, Node: "n2", Topic: "t", Outcome: Refused, Consistent: true, Status: 503}).answer("n2", 160, 9, 0, 0, "p1:1"), "available/lookups", Holds, ""},
		{"shown, then not", registered().answer("n3", 50, 8, 0, 0, "p1:1").answer("n3", 60, 9, 1_000, 0), "available/never-loses-live-nsqd", Violated, "lost alive: n3 lacks p1:1"},
		{"shown as it was before, then not", registered().session(Unregister, 1, 50, 51, Done).session(Register, 1, 60, 61, Done).
			answer("n3", 65, 8, 30, 0, "p1:1").answer("n3", 70, 9, 15, 0).answer("n3", 90, 10, 1, 0, "p1:1"), "available/never-loses-live-nsqd", Holds, ""},
		{"not shown yet", registered().answer("n3", 50, 8, 1_000, 0).answer("n3", 60, 9, 1_000, 0, "p1:1"), "available/never-loses-live-nsqd", Holds, ""},

		{"turned away once", registered().turnedAway(1, 1_000, 1_000), "available/registrations", Holds, ""},
		{"turned away for 4 s", registered().turnedAway(2, 1_000, 4_000).session(Register, 2, 5_010, 5_020, Done), "available/registrations", Holds, ""},
		{"turned away for 7 s", registered().turnedAway(2, 1_000, 7_000), "available/registrations", Violated, "turned away: n1 lets nobody in"},
		{"one is turned away for 7 s, others are not", registered().turnedAway(2, 1_000, 7_000).session(Register, 3, 4_010, 4_020, Done), "available/registrations", Violated, "turned away: n1 lets p2:1 in no more"},
		{"turned away for 7 s of two leaders", registered().turnedAway(2, 1_000, 7_000).sample(1, Sample{Node: "n2", Role: "leader", Term: 2}).sample(4_000, Sample{Node: "n3", Role: "leader", Term: 3}), "available/registrations", Holds, ""},
		{"turned away before and after nobody tries", registered().turnedAway(2, 1_000, 1_000).turnedAway(3, 7_000, 2_000), "available/registrations", Holds, ""},
		{"turned away by a node that is cut off", registered().turnedAway(2, 1_000, 7_000).fault("isolate", "n1", "x", 900, 9_000), "available/registrations", Holds, ""},
		{"turned away while another is cut off", registered().turnedAway(2, 1_000, 7_000).fault("isolate", "n2", "x", 900, 9_000), "available/registrations", Violated, "during fault 1 (isolate of n2)"},
		{"turned away without a quorum", registered().turnedAway(2, 1_000, 7_000).fault("kill", "n2,n3", "x", 900, 9_000), "available/registrations", Holds, ""},
		{"turned away in a storm", registered().turnedAway(2, 1_000, 7_000).fault(storm, "n1,n2,n3", "reconnect-storm", 900, 9_000), "available/registrations", Holds, ""},
		{"turned away after a storm", registered().turnedAway(2, 1_000, 7_000).fault(storm, "n1,n2,n3", "reconnect-storm", 100, 900), "available/registrations", Violated, "turned away: n1"},

		// The deadline.
		{"lost while its node was cut off, and found out at the next PING", quietRun().session(Register, 1, 10, 20, Done).fault("deaf", "n1", "leader-deaf", 100, 8_000).session(Lost, 1, 20, 15_000, Unknown), "deadline/sessions", Holds, ""},
		{"a session that never came about", quietRun().session(Connect, 1, 10, 20, Refused), "deadline/sessions", Inconclusive, "nothing to look at"},
		{"in time", registered(), "deadline/commands", Holds, ""},
		{"too late", registered().session(Ping, 1, 50, 1_200, Unknown), "deadline/commands", Missed, "late: ping at n1"},
		{"late to be connected, and soon to be answered", registered().op(50, 1_200, Op{Kind: Connect, Node: "n1", Session: 2, Producer: "p2:1", Dialed: 900 * ms}), "deadline/commands", Holds, ""},
		{"too late to be connected", registered().op(50, 1_200, Op{Kind: Connect, Node: "n1", Session: 2, Producer: "p2:1", Dialed: 1_150 * ms}), "deadline/commands", Missed, "late: connect at n1"},
		{"soon to be connected, and too late to be answered", registered().op(50, 1_200, Op{Kind: Connect, Node: "n1", Session: 2, Producer: "p2:1", Dialed: 60 * ms}), "deadline/commands", Missed, "late: connect at n1"},
		{"too late on a paused node", registered().session(Ping, 1, 50, 1_200, Unknown).fault("pause", "n1", "x", 100, 3_000), "deadline/commands", Holds, ""},
		{"a session was lost", registered().session(Lost, 1, 50, 60, Unknown).fault("kill", "n2", "x", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost with its node", registered().session(Lost, 1, 50, 60, Unknown).fault("kill", "n1", "x", 40, 100), "deadline/sessions", Holds, ""},
		{"a session was lost while its node's clock jumped", registered().session(Lost, 1, 50, 60, Unknown).fault("clock_jump", "n1", "x", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost while its node's packets were late", registered().waits(1, 50, 860).fault("delay", "n1,n2,n3", "x", 40, 100), "deadline/sessions", Holds, ""},
		{"an idle session was lost while its node's packets were late", registered().session(Lost, 1, 50, 860, Unknown).fault("delay", "n1,n2,n3", "x", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost at once while its node's packets were late", registered().waits(1, 50, 150).fault("delay", "n1,n2,n3", "x", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost while another's packets were late", registered().session(Lost, 1, 50, 60, Unknown).fault("delay", "n2", "x", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost while its node's packets came in disorder", registered().session(Lost, 1, 50, 60, Unknown).fault("reorder", "n1", "x", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost while its node's packets were lost", registered().waits(1, 50, 860).fault("loss", "n1", "x", 40, 100), "deadline/sessions", Holds, ""},
		{"a session was lost with a node whose disk was slow", registered().waits(1, 50, 860).fault("slow_fsync", "n1", "x", 40, 100), "deadline/sessions", Holds, ""},
		{"a session was lost while a follower's disk was slow", registered().session(Lost, 1, 50, 60, Unknown).fault("slow_fsync", "n2", "x", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost when the leader's disk had become slow", registered().sample(1, Sample{Node: "n2", Role: "leader", Term: 2}).waits(1, 50, 860).fault("slow_fsync", "n2", "x", 40, 9_000), "deadline/sessions", Holds, ""},
		{"a session was lost though the leader's disk was slow for long", registered().sample(1, Sample{Node: "n2", Role: "leader", Term: 2}).session(Ping, 1, 6_000, 6_010, Done).session(Lost, 1, 6_020, 6_900, Unknown).fault("slow_fsync", "n2", "x", 40, 9_000), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost with a node that cannot write its log", registered().session(Lost, 1, 50, 60, Unknown).fault("disk_full", "n1", "x", 40, 100), "deadline/sessions", Holds, ""},
		{"a session was lost while another's disk was full", registered().session(Lost, 1, 50, 60, Unknown).fault("disk_full", "n2", "x", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost while the leader's packets were lost", registered().sample(1, Sample{Node: "n2", Role: "leader", Term: 2}).waits(1, 50, 860).fault("loss", "n2", "x", 40, 100), "deadline/sessions", Holds, ""},
		{"a session was lost while a follower's packets were lost", registered().sample(1, Sample{Node: "n1", Role: "leader", Term: 2}).session(Lost, 1, 50, 60, Unknown).fault("loss", "n2", "x", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost with a cut-off node", registered().session(Lost, 1, 50, 60, Unknown).fault("isolate", "n1", "x", 40, 100), "deadline/sessions", Holds, ""},
		{"a session was lost with a node cut off from the leader", registered().sample(1, Sample{Node: "n2", Role: "leader", Term: 2}).session(Lost, 1, 50, 60, Unknown).fault("cut", "n2,n1", "bridge", 40, 100), "deadline/sessions", Holds, ""},
		{"a session was lost with a node cut off from a follower", registered().sample(1, Sample{Node: "n2", Role: "leader", Term: 2}).session(Lost, 1, 50, 60, Unknown).fault("cut", "n3,n1", "bridge", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session of the leader was lost, which is cut off from a follower", registered().sample(1, Sample{Node: "n1", Role: "leader", Term: 2}).session(Lost, 1, 50, 60, Unknown).fault("cut", "n1,n2", "bridge", 40, 100), "deadline/sessions", Missed, "lost: session 1 of p1:1 at n1"},
		{"a session was lost without a quorum", registered().session(Lost, 1, 1_050, 1_060, Unknown).fault("kill", "n2", "x", 40, 5_000).fault("kill", "n3", "x", 50, 5_000), "deadline/sessions", Holds, ""},

		// The cluster.
		{"one leader", quietRun().sample(1, Sample{Node: "n1", Role: "leader", Term: 2}).sample(2, Sample{Node: "n2", Role: "leader", Term: 3}), "cluster/one-leader-a-term", Holds, ""},
		{"two leaders", quietRun().sample(1, Sample{Node: "n1", Role: "leader", Term: 2}).sample(2, Sample{Node: "n2", Role: "leader", Term: 2}), "cluster/one-leader-a-term", Violated, "two leaders: n1"},
		{"two registries", quietRun().sample(1, Sample{Node: "n1", Applied: 7, Committed: 7, Hash: "a"}).sample(2, Sample{Node: "n2", Applied: 7, Committed: 7, Hash: "b"}), "cluster/equal-hash", Violated, "diverged: n1 and n2 at index 7"},
		{"one registry", quietRun().sample(1, Sample{Node: "n1", Applied: 7, Committed: 7, Hash: "a"}).sample(2, Sample{Node: "n2", Applied: 7, Committed: 7, Hash: "a"}), "cluster/equal-hash", Holds, ""},
		{"at no common index", quietRun().sample(1, Sample{Node: "n1", Applied: 7, Committed: 8, Hash: "a"}).sample(2, Sample{Node: "n2", Applied: 8, Committed: 8, Hash: "b"}), "cluster/equal-hash", Inconclusive, ""},
		{"applied, not committed", quietRun().sample(1, Sample{Node: "n1", Applied: 8, Committed: 7}), "cluster/applied-is-committed", Violated, "ahead: n1"},
		{"ahead of its own word", quietRun().sample(1, Sample{Node: "n1", Applied: 8, Committed: 7, Ready: true, Leader: "n2"}).sample(2, Sample{Node: "n2", Applied: 9, Committed: 9}), "cluster/applied-is-committed", Violated, "of 7 that are committed"},
		{"replayed at its start", quietRun().sample(1, Sample{Node: "n1", Applied: 8, Committed: 0}).sample(2, Sample{Node: "n2", Applied: 9, Committed: 9}), "cluster/applied-is-committed", Holds, ""},
		{"back in term", quietRun().sample(1, Sample{Node: "n1", Term: 8}).sample(2, Sample{Node: "n1", Term: 7}), "cluster/terms-go-on", Violated, "back in term: n1"},
		{"wiped between", quietRun().sample(1, Sample{Node: "n1", Term: 8}).sample(3, Sample{Node: "n1", Term: 0}).fault("wipe", "n1", "x", 2, 5), "cluster/terms-go-on", Holds, ""},

		{"a node has panicked", quietRun().exit("n2", 500, "panic: index 7 after 9\ngoroutine 1"), "cluster/no-process-ends-by-itself", Violated, "ended: n2 at 0.500s by itself, with exit status 2; its log ends with: panic: index 7"},
		{"an nsqd has ended while a node was killed", quietRun().exit("nsqd1", 500, "one\ntwo").fault("kill", "n1", "x", 100, 900), "cluster/no-process-ends-by-itself", Violated, "during fault 1 (kill of n1); its log ends with: two"},
		{"a node has ended over its full disk", quietRun().exit("n2", 500, "no space left").fault("disk_full", "n2", "x", 100, 900), "cluster/no-process-ends-by-itself", Holds, "1 times one ended over its disk"},
		{"a node has ended over another's full disk", quietRun().exit("n2", 500, "no space left").fault("disk_full", "n1", "x", 100, 900), "cluster/no-process-ends-by-itself", Violated, "ended: n2"},
		{"a node has ended after its disk was full", quietRun().exit("n2", 950, "").fault("disk_full", "n2", "x", 100, 900), "cluster/no-process-ends-by-itself", Violated, "ended: n2"},
		{"no process has ended", quietRun().header(func(h *Header) { h.Watched = true }), "cluster/no-process-ends-by-itself", Holds, "4 processes"},
		{"nobody knows whether a process has ended", quietRun(), "cluster/no-process-ends-by-itself", NotTested, ""},

		// Messages.
		{"a publish failed", quietRun().op(3, 4, published).op(10, 20, publishFailed), "messages/publishing-goes-on", Missed, "failed: publish at nsqd1"},
		{"a publish failed while nobody led", quietRun().op(3, 4, published).op(10, 20, publishFailed).fault("kill", "n1,n2", "x", 5, 100), "messages/publishing-goes-on", Missed, "during fault 1 (kill of n1,n2)"},
		{"a publish failed at an nsqd that was hit", quietRun().op(3, 4, published).op(6_010, 6_020, publishFailed).fault("kill", "nsqd1", "x", 6_000, 7_000), "messages/publishing-goes-on", Holds, "1 messages"},
		{"a publish failed in a storm", quietRun().op(3, 4, published).op(6_010, 6_020, publishFailed).fault(storm, "n1,n2,n3", "reconnect-storm", 6_000, 7_000), "messages/publishing-goes-on", Holds, "1 messages"},
		{"a publish failed at the interrupt", quietRun().op(3, 4, published).op(199_000, 199_020, publishFailed).header(func(h *Header) { h.Interrupted = true }), "messages/publishing-goes-on", Inconclusive, "interrupted"},
		{"delivered", quietRun().op(1, 2, channel).op(3, 4, published).op(5, 5, received), "messages/delivered", Holds, ""},
		{"not delivered", quietRun().op(1, 2, channel).op(3, 4, published), "messages/delivered", Violated, "lost: a-1 of m"},
		{"not delivered to the second channel", quietRun().op(1, 2, channel).op(1, 2, Op{Kind: CreateChannel, Node: "nsqd1", Topic: "m", Channel: "d"}).op(3, 4, published).op(5, 5, received), "messages/delivered", Violated, "never reached channel d"},
		{"published before the channel was there", quietRun().op(1, 2, published).op(1, 3, channel).op(4, 5, Op{Kind: Publish, Node: "nsqd1", Topic: "m", Message: "a-2"}).op(6, 6, Op{Kind: Receive, Node: "nsqd1", Topic: "m", Channel: "c", Message: "a-2"}), "messages/delivered", Holds, ""},
		{"no channel at all", quietRun().op(3, 4, published), "messages/delivered", Inconclusive, "had no channel to go to"},
		{"lost with a killed nsqd", quietRun().op(1, 2, channel).op(3, 4, published).fault("kill", "nsqd1", "nsqd-kill", 10, 20), "messages/delivered", Holds, ""},
		{"lost, and held in memory", quietRun().op(1, 2, channel).op(3, 4, published).fault("kill", "nsqd1", "nsqd-kill", 1_000, 1_020).holds(990, 1), "messages/delivered", Holds, ""},
		{"lost, and not held in memory", quietRun().op(1, 2, channel).op(3, 4, published).fault("kill", "nsqd1", "nsqd-kill", 1_000, 1_020).holds(990, 0), "messages/delivered", Violated, "lost: a-1"},
		{"lost, and the first kill held it", quietRun().op(1, 2, channel).op(3, 4, published).fault("kill", "nsqd1", "nsqd-kill", 1_000, 1_020).holds(990, 1).fault("kill", "nsqd1", "nsqd-kill", 2_000, 2_020).holds(1_990, 0), "messages/delivered", Holds, ""},
		{"more lost than was held", quietRun().op(1, 2, channel).op(3, 4, published).op(3, 4, Op{Kind: Publish, Node: "nsqd1", Topic: "m", Message: "b-1"}).fault("kill", "nsqd1", "nsqd-kill", 1_000, 1_020).holds(990, 1), "messages/delivered", Violated, "lost: a-1"},
		{"acknowledged just before the nsqd told", quietRun().op(1, 2, channel).op(900, 901, published).fault("kill", "nsqd1", "nsqd-kill", 1_000, 1_020).holds(990, 0), "messages/delivered", Holds, ""},
		{"acknowledged after the nsqd told", quietRun().op(1, 2, channel).op(995, 996, published).fault("kill", "nsqd1", "nsqd-kill", 1_000, 1_020).holds(990, 0), "messages/delivered", Holds, ""},
		{"not delivered when the run was interrupted", quietRun().op(1, 2, channel).op(3, 4, published).header(func(h *Header) { h.Quiet, h.Interrupted = 0, true }), "messages/delivered", Inconclusive, "still to come"},
		{"finished, and back after a restart", finishedOnce().op(9_000, 9_000, received), "messages/finished-stay-finished", Violated, "back: a-1"},
		{"finished, and gone", finishedOnce(), "messages/finished-stay-finished", Holds, ""},
		{"finished, and back before the restart", finishedOnce().op(2_000, 2_000, received).op(9_000, 9_000, received), "messages/finished-stay-finished", NotTested, ""},
		{"finished late, and back", quietRun().op(3, 4, published).op(5, 5, received).op(4_000, 4_000, finished).fault("stop", "nsqd1", "nsqd-stop", 8_000, 8_100).op(9_000, 9_000, received), "messages/finished-stay-finished", NotTested, ""},
		{"finished, killed and stopped, and back", finishedOnce().fault("kill", "nsqd1", "nsqd-kill", 4_000, 4_100).op(9_000, 9_000, received), "messages/finished-stay-finished", NotTested, ""},
		{"finished, gone after a restart, and killed later", finishedOnce().fault("kill", "nsqd1", "nsqd-kill", 20_000, 20_100), "messages/finished-stay-finished", Holds, "1 messages were finished before a graceful restart"},
		{"lost after the kill", quietRun().op(1, 2, channel).op(30, 40, published).fault("kill", "nsqd1", "nsqd-kill", 10, 20), "messages/delivered", Violated, "lost: a-1"},
		{"lost after the kill, before all was well", quietRun().op(1, 2, channel).op(3_000, 3_001, published).fault("kill", "nsqd1", "nsqd-kill", 10, 5_000).holds(5, 9), "messages/delivered", Violated, "lost: a-1"},
		{"lost long before a kill of which the nsqd did not tell", quietRun().op(1, 2, channel).op(3, 4, published).fault("kill", "nsqd1", "nsqd-kill", 9_000, 9_020), "messages/delivered", Inconclusive, "1 deliveries are missing that may have gone with the memory of nsqd1 of fault 1"},
		{"lost by the second kill, of the first the nsqd did not tell", quietRun().op(1, 2, channel).op(3, 4, published).fault("kill", "nsqd1", "nsqd-kill", 9_000, 9_020).fault("kill", "nsqd1", "nsqd-kill", 12_000, 12_020).holds(11_990, 1), "messages/delivered", Holds, ""},
		{"lost with a stopped nsqd", quietRun().op(1, 2, channel).op(3, 4, published).fault("stop", "nsqd1", "nsqd-stop", 10, 20), "messages/delivered", Violated, "lost: a-1"},
		{"unknown, not delivered", quietRun().op(1, 2, channel).op(3, 4, Op{Kind: Publish, Node: "nsqd1", Topic: "m", Message: "a-2", Outcome: Unknown}).op(3, 4, published).op(5, 5, received), "messages/delivered", Holds, ""},
		{"from nowhere", quietRun().op(3, 4, published).op(5, 5, Op{Kind: Receive, Node: "nsqd1", Topic: "m", Channel: "c", Message: "b-1"}), "messages/nothing-from-nowhere", Violated, "which nobody published"},
		{"of another topic", quietRun().op(3, 4, published).op(5, 5, Op{Kind: Receive, Node: "nsqd1", Topic: "o", Channel: "c", Message: "a-1"}), "messages/nothing-from-nowhere", Violated, "published to m"},
		{"refused, and delivered", quietRun().op(3, 4, Op{Kind: Publish, Node: "nsqd1", Topic: "m", Message: "a-1", Outcome: Refused}).op(5, 5, received), "messages/nothing-from-nowhere", Violated, "was refused"},
		{"before it was published", quietRun().op(3, 4, published).op(1, 1, received), "messages/nothing-from-nowhere", Violated, "before it was published"},
		{"corrupt", quietRun().op(3, 4, published).op(5, 5, Op{Kind: Receive, Node: "nsqd1", Topic: "m", Channel: "c", Message: "a-1", Error: "3 of 100 bytes differ"}), "messages/nothing-from-nowhere", Violated, "corrupt:"},
		{"twice", quietRun().op(3, 4, published).op(5, 5, received).op(6, 6, received), "messages/duplicates", Holds, ""},

		// The record, and what a drill may cost.
		{"two calls at a time", quietRun().op(1, 5, Op{Kind: Ping, Client: 3}).op(2, 3, Op{Kind: Ping, Client: 3}), "record/complete", Violated, "two calls at a time"},
		{"a fault without effect", quietRun().fault("kill", "n1", "x", 1, 2).with(func(r *Run) { r.Faults[0].Verified = false }), "faults/effective", Inconclusive, "was not seen"},
		{"never well again", quietRun().fault("kill", "n1", "x", 1, 2).with(func(r *Run) { r.Faults[0].Healed = 0 }), "faults/healed", Violated, "ill: fault 1"},
		{"not well after it, and the run ended", quietRun().fault("kill", "n1", "x", 1, 2).header(func(h *Header) { h.Ended = "enough" }).with(func(r *Run) { r.Faults[0].Healed, r.Faults[0].Note = 0, NotWell+"1m0s after its end" }), "faults/healed", Violated, "ill: fault 1"},
		{"the run ended before anybody looked", quietRun().fault("kill", "n1", "x", 1, 2).header(func(h *Header) { h.Ended = "no clients" }).with(func(r *Run) { r.Faults[0].Healed = 0 }), "faults/healed", Inconclusive, "nobody waited"},
		{"a drill that was not made", quietRun().fault("kill", "n1", "x", 1, 2).header(func(h *Header) { h.Failed = []string{"y: no leader"} }), "faults/made", Inconclusive, "it was not of y: no leader"},
		{"the only drill was not made", quietRun().header(func(h *Header) { h.Failed = []string{"y: no leader"} }), "faults/made", Inconclusive, "1 drill could not be made"},
		{"all drills were made", quietRun().fault("kill", "n1", "x", 1, 2), "faults/made", Holds, ""},
		{"never ended", quietRun().fault("kill", "n1", "x", 1, 0), "faults/healed", Inconclusive, "fault 1, kill of n1, was never ended"},
		{"undone at an interrupt", quietRun().fault("kill", "n1", "x", 1, 2).header(func(h *Header) { h.Interrupted = true }).with(func(r *Run) { r.Faults[0].Healed = 0 }), "faults/healed", Inconclusive, "at an interrupt"},
		{"a lookup fails on a node that ended over its full disk", registered().op(1_500, 1_510, lookupFailed).answer("n3", 1_600, 9, 0, 0, "p1:1").fault("disk_full", lookupFailed.Node, "disk-full", 1_000, 3_000).with(func(r *Run) { r.Faults[0].Ended = lookupFailed.Node }), "available/lookups", Holds, ""},
		{"a lookup fails on a node with a full disk", registered().op(1_500, 1_510, lookupFailed).fault("disk_full", lookupFailed.Node, "disk-full", 1_000, 3_000), "available/lookups", Missed, "failed:"},
		{"writes stop when the next drill begins", writesStop(1_100).fault("stop", "n1", "leader-stop", 100, 500).fault("kill", "n2", "leader-kill", 1_000, 3_000), "drill/leader-stop/writes", Holds, ""},
		{"writes stop for 0.9 s", writesStop(900).fault("kill", "n1", "leader-kill", 1_000, 3_000), "drill/leader-kill/writes", Holds, ""},
		{"writes stop for 1.1 s", writesStop(1_100).fault("kill", "n1", "leader-kill", 1_000, 3_000), "drill/leader-kill/writes", Missed, "no write for 1.1"},
		{"nobody writes", quietRun().fault("kill", "n1", "leader-kill", 1_000, 3_000), "drill/leader-kill/writes", Inconclusive, "0 writes were tried"},
		{"writes are back 0.4 s after the end", writesStop(2_400).fault("pause", "n1,n2,n3", "pause-all", 1_000, 3_000), "drill/pause-all/recovery", Holds, ""},
		{"writes are back 0.6 s after the end", writesStop(2_600).fault("pause", "n1,n2,n3", "pause-all", 1_000, 3_000), "drill/pause-all/recovery", Missed, "no write until 0.6"},
		{"nobody writes, so nobody knows when writes are back", quietRun().fault("pause", "n1,n2,n3", "pause-all", 1_000, 3_000), "drill/pause-all/recovery", Inconclusive, "0 writes were tried"},
		{"writes do not stop, so they are not back", writesStop(0).fault("pause", "n1,n2,n3", "pause-all", 1_000, 3_000), "drill/pause-all/recovery", Inconclusive, "writes never stopped for so long"},
		{"nobody said who leads", writesStop(100).sample(900, Sample{Node: "n1", Role: "leader", Term: 1}).fault("kill", "n1", "leader-kill", 1_000, 3_000), "drill/leader-kill/leaders", Inconclusive, "no node said meanwhile who leads"},
		{"one drill of three faults, back in time", writesStop(2_900).fault("isolate", "n1", "no-quorum", 1_000, 3_000).fault("isolate", "n2", "no-quorum", 1_010, 3_010).fault("isolate", "n3", "no-quorum", 1_020, 3_020),
			"drill/no-quorum/recovery", Holds, "made 1 time"},
		{"one drill of three faults, back too late", writesStop(3_100).fault("isolate", "n1", "no-quorum", 1_000, 3_000).fault("isolate", "n2", "no-quorum", 1_010, 3_010).fault("isolate", "n3", "no-quorum", 1_020, 3_020),
			"drill/no-quorum/recovery", Missed, "and 2 more: no write until 1.09"},
		{"a storm that is soon in", registered().fault(storm, "n1,n2,n3", "reconnect-storm", 1_000, 9_000), "drill/reconnect-storm/registered", Holds, ""},
		{"a storm that is slow", registered().fault(storm, "n1,n2,n3", "reconnect-storm", 1_000, 12_000), "drill/reconnect-storm/registered", Missed, "not all were registered for 11.000s"},
		{"a session was lost in a storm", registered().session(Lost, 1, 50, 60, Unknown).fault(storm, "n1,n2,n3", "reconnect-storm", 40, 100), "deadline/sessions", Missed, "lost: session 1"},
		{"one new leader", writesStop(100).sample(900, Sample{Node: "n1", Role: "leader", Term: 1}).sample(1_400, Sample{Node: "n2", Role: "leader", Term: 2}).fault("kill", "n1", "leader-kill", 1_000, 3_000), "drill/leader-kill/leaders", Holds, ""},
		{"a new leader for nothing", writesStop(100).sample(1_400, Sample{Node: "n2", Role: "leader", Term: 2}).fault("kill", "n3", "follower-kill", 1_000, 3_000), "drill/follower-kill/leaders", Missed, "1 new leader"},
		{"a lookup fails on a survivor", registered().op(1_500, 1_510, lookupFailed).answer("n2", 1_600, 9, 0, 0, "p1:1").fault("kill", "n1", "leader-kill", 1_000, 3_000), "drill/leader-kill/lookups", Missed, "1 of 2 lookups"},
	}
	failed, doubted := make(map[string]bool), make(map[string]bool)
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			all := claims(tt.run.done())
			c, ok := all[tt.id]
			if !ok {
				t.Fatalf("no claim %s", tt.id)
			}
			text := strings.Join(append(c.Violations, c.Evidence), "\n")
			if c.Status != tt.want || !strings.Contains(text, tt.telling) {
				t.Errorf("%s: %s, want %s with %q:\n%s", tt.id, c.Status, tt.want, tt.telling, text)
			}
			if c.Status == Violated || c.Status == Missed {
				failed[ofAnyDrill(c.ID)] = true
			}
			if c.Status == Inconclusive {
				doubted[c.ID] = true
			}
		})
	}
	// Every claim has to be one that can fail. Duplicates are only counted; a drill that
	// was not made and a fault without effect are doubts about the run, not the cluster.
	for id := range claims(quietRun().fault("kill", "n1", "leader-kill", 1, 2).done()) {
		switch {
		case id == "messages/duplicates":
		case id == "faults/effective" || id == "faults/made":
			if !doubted[id] {
				t.Errorf("no history makes %s inconclusive", id)
			}
		case !failed[ofAnyDrill(id)]:
			t.Errorf("no history makes %s fail", id)
		}
	}
}

// fails has the default lookups at node fail every 10 ms.
func (s *script) fails(node string, from, to int) *script {
	for at := from; at <= to; at += 10 {
		s.op(at, at+1, Op{Kind: Lookup, Node: node, Topic: "t", Outcome: Unknown, Error: "connection refused"})
	}
	return s
}

// closedInAStall has a session closed before the cluster stands still from 0.06 s to 5 s.
func closedInAStall() *script {
	return quietRun().session(Register, 1, 10, 20, Done).session(Disconnect, 1, 50, 51, Unknown).session(Register, 2, 60, 5_000, Done)
}

// leaderDies has a session of n1 closed when n3, which leads, has just died.
func leaderDies() *script {
	return quietRun().sample(1, Sample{Node: "n3", Role: "leader", Term: 2}).session(Register, 1, 10, 20, Done).session(Disconnect, 1, 50, 51, Unknown).fault("kill", "n3", "leader-kill", 40, 9_000)
}

// exit is the end of a process that nobody ended.
func (s *script) exit(node string, at int, log string) *script {
	return s.header(func(h *Header) {
		h.Watched = true
		h.Exits = append(h.Exits, Exit{At: time.Duration(at) * ms, Node: node, How: "exit status 2", LogEnd: log})
	})
}

// agesOf has a node asked once a second for 12 s, and say that it is stale ms old.
func (s *script) agesOf(node string, stale int64) *script {
	for at := 1_000; at <= 12_000; at += 1_000 {
		s.answer(node, at, 9, stale, stale, "p1:1")
	}
	return s
}

// turnedAway has an nsqd not let in, once a second for as many ms.
func (s *script) turnedAway(id int64, from, lasts int) *script {
	for at := from; at < from+lasts; at += 1_000 {
		s.op(at, at+10, Op{Kind: Connect, Node: "n1", Session: id, Producer: fmt.Sprintf("p%d:1", id), Outcome: Refused, Error: "connection refused"})
	}
	return s
}

// ofAnyDrill is the ID of a claim about one drill as that about any.
func ofAnyDrill(id string) string {
	if rest, ok := strings.CutPrefix(id, "drill/"); ok {
		_, what, _ := strings.Cut(rest, "/")
		return "drill/*/" + what
	}
	return id
}

// holds is what nsqd1 said before the last fault that it held of its channel.
func (s *script) holds(at, messages int) *script {
	f := &s.Faults[len(s.Faults)-1]
	f.Held = append(f.Held, Held{At: time.Duration(at) * ms, Node: "nsqd1", Topic: "m", Channel: "c", Messages: messages})
	return s
}

// finishedOnce has a message finished at once, and its nsqd stopped and started much later.
func finishedOnce() *script {
	message := Op{Kind: Publish, Node: "nsqd1", Topic: "m", Message: "a-1"}
	s := quietRun().op(3, 4, message)
	message.Channel, message.Kind = "c", Receive
	s.op(5, 5, message)
	message.Kind = Finish
	return s.op(6, 6, message).fault("stop", "nsqd1", "nsqd-stop", 8_000, 8_100)
}

func (s *script) with(change func(*Run)) *script {
	change(&s.Run)
	return s
}

// writesStop is a run with a write at n3 every 10 ms, of which none is acknowledged
// for as many ms from 1 s on.
func writesStop(gap int) *script {
	s := quietRun()
	for at := 0; at < 10_000; at += 10 {
		out := Done
		if at >= 1_000 && at < 1_000+gap {
			out = Refused
		}
		s.op(at, at+1, Op{Kind: CreateTopic, Node: "n3", Topic: "t", Outcome: out})
	}
	return s
}

// Of stock nothing is claimed that it does not offer, and the rest is.
func TestStock(t *testing.T) {
	run := registered().answer("n1", 50, 0, -1, -1, "p1:1").
		session(Lost, 1, 90, 100, Unknown).fault("kill", "n1", "leader-kill", 95, 1_000).
		answer("n1", 2_000, 0, -1, -1).header(func(h *Header) { h.Against, h.Grace = "stock", 0 }).done()
	all := claims(run)
	for id, want := range map[string]Status{
		"registry/no-lost-registration": NotTested, "linear/topic": NotTested, "reads/monotonic": NotTested,
		"cluster/equal-hash": NotTested, "drill/leader-kill/writes": NotTested,
		"available/lookups": Holds, "available/never-loses-live-nsqd": NotTested, "deadline/commands": Holds,
	} {
		if c := all[id]; c.Status != want {
			t.Errorf("%s: %+v, want %s", id, c, want)
		}
	}
	// What it loses is counted all the same.
	if c := all["available/never-loses-live-nsqd"]; !strings.HasPrefix(c.Observed, "1 of 2 lookups") || len(c.Violations) > 0 {
		t.Errorf("what stock loses: %+v", c)
	}
}

func TestDown(t *testing.T) {
	f := Fault{Kind: "kill", Target: "n1,n10", Begin: 5, Healed: 9}
	for _, tt := range []struct {
		kind, node string
		at         time.Duration
		want       bool
	}{
		{"kill", "n1", 5, true}, {"kill", "n10", 9, true}, {"kill", "n1", 4, false}, {"kill", "n1", 10, false},
		{"kill", "n", 6, false}, {"kill", "n2", 6, false}, {"isolate", "n1", 6, false}, {"unreach", "n1", 6, true},
	} {
		f.Kind = tt.kind
		if got := f.Down(tt.node, tt.at); got != tt.want {
			t.Errorf("%s of %s: Down(%s, %d) = %v", tt.kind, f.Target, tt.node, tt.at, got)
		}
	}
	if f := (Fault{Kind: "wipe", Target: "n1", Begin: 5}); !f.Down("n1", 1<<40) {
		t.Error("a fault that was never healed is over")
	}
}

// What a claim allows to be lost is counted all the same, for who sums up.
func TestStatedLossesAreCounted(t *testing.T) {
	run := quietRun().op(1, 2, Op{Kind: CreateChannel, Node: "nsqd1", Topic: "m", Channel: "c"}).
		op(3, 4, Op{Kind: Publish, Node: "nsqd1", Topic: "m", Message: "a-1"}).
		fault("kill", "nsqd1", "nsqd-kill", 1_000, 1_020).holds(990, 1)
	if c := claims(run.done())["messages/delivered"]; c.Status != Holds || c.Stated != 1 {
		t.Errorf("%s with %d stated, want %s with 1", c.Status, c.Stated, Holds)
	}
}
