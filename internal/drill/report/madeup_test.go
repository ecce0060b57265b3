package report

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/drill/history"
)

const ms = time.Millisecond

// hostile is a name as somebody may give it who wants to be in the report more than
// they should.
const hostile = "<script>alert(1)</script>\"'`|*_[x](javascript:alert(1)) ]]>&amp;\x1b[31m\u202e\x00\xff"

// madeUp returns a run with everything in it that a report shows: each kind of fault that
// is drawn differently, elections, stale answers, failures of nodes that are up and of
// nodes that are down, messages, sessions that are lost.
func madeUp() *history.Run {
	m := &maker{rng: rand.New(rand.NewPCG(1, 2)), run: &history.Run{Header: history.Header{
		Schema: 1, ID: "20260102T030405Z-7", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Length: 74 * time.Second, Quiet: 70 * time.Second,
		Seed: 7, Profile: "standard", Command: "nsqdrill run --profile=standard --seed=7", Against: "ours", Env: "processes",
		Nodes: []string{"n1", "n2", "n3"}, NSQDs: []string{"nsqd1", "nsqd2"},
		Versions: map[string]string{"nsqlookupd": "0.3.0", "nsqdrill": "0.3.0"}, Machine: map[string]string{"kernel": "6.1.0", "cores": "2", "fsync": "1.2 ms"},
		TimeScale: 1, Skipped: map[string]string{"reordering-link": "needs CAP_NET_ADMIN", "power-cut": "needs CAP_SYS_ADMIN"},
		Grace: 45 * time.Second, Inactive: 300 * time.Second, Tombstone: 45 * time.Second,
	}}}
	s := time.Second
	m.leads("n1", 0, 5*s)
	m.fault("leader-kill", "kill", "n1", 5*s, 8*s, 8400*ms, "n1", "n2")
	m.leads("n2", 5640*ms, 22*s)
	m.fault("follower-pause", "pause", "n3", 12*s, 17*s, 17200*ms, "", "")
	m.fault("leader-isolated", "isolate", "n2", 22*s, 30*s, 30900*ms, "n2", "n3")
	m.leads("n3", 22780*ms, 41*s)
	for i, node := range []string{"n1", "n2", "n3"} {
		t := time.Duration(35+3*i) * s
		m.fault("rolling-restart", "stop", node, t, t+s, t+1600*ms, "", "")
	}
	m.leads("n1", 41040*ms, 45*s)
	for _, node := range []string{"n1", "n2", "n3"} {
		m.fault("no-quorum", "isolate", node, 45*s, 51*s, 52*s, "", "")
	}
	m.leads("n2", 51380*ms, 58*s)
	m.fault("kill-all", "kill", "n1,n2,n3", 58*s, 59*s, 60200*ms, "", "")
	m.leads("n2", 59700*ms, 74*s)
	for i := range 8 {
		t := 62*s + time.Duration(i)*s/2
		m.fault("flapping-follower", "isolate", "n3", t, t+250*ms, t+300*ms, "", "")
	}
	m.run.Faults[len(m.run.Faults)-1].Verified = false
	m.load()
	return m.run
}

type maker struct {
	rng    *rand.Rand
	run    *history.Run
	reigns []Reign
}

func (m *maker) leads(node string, from, to time.Duration) {
	m.reigns = append(m.reigns, Reign{node, uint64(len(m.reigns) + 1), sec(from), sec(to)})
}

func (m *maker) fault(drill, kind, target string, begin, end, healed time.Duration, before, after string) {
	m.run.Faults = append(m.run.Faults, history.Fault{ID: len(m.run.Faults) + 1, Drill: drill, Kind: kind, Target: target,
		Begin: begin, Began: begin + 5*ms, End: end, Healed: healed, Verified: true, OldLeader: before, NewLeader: after})
}

// leader returns who leads, nobody if there is a zero Reign.
func (m *maker) leader(t time.Duration) Reign {
	for _, r := range m.reigns {
		if dur(r.From) <= t && t < dur(r.To) {
			return r
		}
	}
	return Reign{}
}

func (m *maker) load() {
	run := m.run
	down := newOutages(run)
	index := uint64(0)
	for t := time.Duration(0); t < run.Header.Length; t += 10 * ms {
		for i, node := range run.Header.Nodes {
			up, leader := !down.overlap(node, t, t), m.leader(t)
			if up {
				index++
			}
			if t%(100*ms) == 0 {
				sample := history.Sample{At: t, Node: node, Answered: up}
				if up {
					sample.Role, sample.Leader, sample.Term, sample.Applied, sample.Committed, sample.Ready = "follower", leader.Node, leader.Term, index, index, true
					switch leader.Node {
					case node:
						sample.Role = "leader"
					case "":
						sample.Role = "candidate"
					}
				}
				run.Samples = append(run.Samples, sample)
			}
			if t%(20*ms) == 0 {
				m.lookup(t, node, i, up, leader, index)
			}
			if t%(100*ms) == 40*ms {
				m.consistent(t, node, i, up, leader, index)
			}
			if t%(50*ms) == time.Duration(i)*10*ms {
				m.write(t, node, i, up, leader)
			}
		}
		if t%(20*ms) == 0 {
			op := history.Op{Kind: history.Publish, Client: 50, Node: "nsqd1", Call: t, Return: t + ms, Outcome: history.Done, Topic: "orders", Message: fmt.Sprintf("a-%d", t/ms)}
			receive := op
			receive.Kind, receive.Call, receive.Return, receive.Channel = history.Receive, t+3*ms, t+3*ms, "c"
			run.Ops = append(run.Ops, op, receive)
		}
	}
	run.Ops = append(run.Ops, history.Op{Kind: history.Lost, Client: 9, Node: "n1", Call: 5100 * ms, Return: 5100 * ms, Outcome: history.Unknown, Error: "EOF", Session: 3, Producer: "10.0.0.3:4150"})
	slices.SortStableFunc(run.Ops, func(a, b history.Op) int { return int(a.Call - b.Call) })
}

func (m *maker) took(least time.Duration) time.Duration {
	return least + time.Duration(m.rng.ExpFloat64()*float64(least)/3)
}

func (m *maker) lookup(t time.Duration, node string, client int, up bool, leader Reign, index uint64) {
	op := history.Op{Kind: history.Lookup, Client: client + 1, Node: node, Call: t, Return: t + m.took(400*time.Microsecond), Outcome: history.Done, Topic: "orders", Status: 200}
	a := &history.Answer{Known: true, Channels: []string{"c"}, Producers: []string{"10.0.0.1:4150", "10.0.0.2:4150"}, Index: index, KnownLeader: leader.Node != "", StaleMS: 20}
	if leader.Node == "" && t > 45*time.Second && t < 51*time.Second {
		a.StaleMS = (t - 45*time.Second).Milliseconds()
	}
	op.Answer = a
	switch {
	case !up:
		op.Return, op.Outcome, op.Status, op.Answer, op.Error = t+15*ms, history.Refused, 0, nil, "connection refused"
	case node == "n2" && t > 24*time.Second && t < 24200*ms:
		op.Return, op.Outcome, op.Status, op.Answer, op.Error = t+18*ms, history.Unknown, 0, nil, "EOF"
	}
	m.run.Ops = append(m.run.Ops, op)
}

func (m *maker) consistent(t time.Duration, node string, client int, up bool, leader Reign, index uint64) {
	op := history.Op{Kind: history.Lookup, Consistent: true, Client: client + 21, Node: node, Call: t, Return: t + m.took(2*ms), Outcome: history.Done, Topic: "orders", Status: 200,
		Answer: &history.Answer{Known: true, Channels: []string{"c"}, Producers: []string{"10.0.0.1:4150"}, Index: index, KnownLeader: true}}
	if !up || leader.Node == "" {
		op.Outcome, op.Status, op.Answer, op.Error = history.Refused, 503, nil, "NO_LEADER"
	}
	m.run.Ops = append(m.run.Ops, op)
}

func (m *maker) write(t time.Duration, node string, client int, up bool, leader Reign) {
	op := history.Op{Kind: history.Register, Client: client + 11, Node: node, Call: t, Return: t + m.took(3*ms), Outcome: history.Done, Topic: "orders", Session: int64(client + 1), Producer: fmt.Sprintf("10.0.0.%d:4150", client+1)}
	switch {
	case !up:
		op.Return, op.Outcome, op.Error = t+40*ms, history.Refused, "connection refused"
	case leader.Node == "" || node == "n2" && t > 22*time.Second && t < 30*time.Second:
		op.Return, op.Outcome, op.Error = t+45*ms, history.Unknown, "E_NO_LEADER"
	}
	m.run.Ops = append(m.run.Ops, op)
}

// claimsOf returns claims of each status about run, and what history says of its drills.
func claimsOf(run *history.Run) []history.Claim {
	claims := []history.Claim{
		{ID: "record/complete", Title: "Everything that happened was recorded.", Safety: true, Status: history.Holds, Evidence: "11100 ops, 2220 samples, 19 faults"},
		{ID: "faults/effective", Title: "Every fault had an effect that was seen.", Safety: true, Status: history.Inconclusive, Evidence: "19 faults; inconclusive: fault 19, isolate of n3, was not seen to have an effect"},
		{ID: "registry/no-lost-registration", Title: "No acknowledged registration is lost.", Safety: true, Status: history.Holds, Evidence: "1204 registrations, looked for in 44100 consistent lookups"},
		{ID: "registry/no-stale-consistent-read", Title: "A consistent lookup shows everything acknowledged before it began.", Safety: true, Status: history.Violated,
			Evidence: "44100 lookups", Violations: []string{"stale: a consistent lookup of orders at n3, begun at 23.104s, lacks 10.0.0.2:4150, known since 22.950s", "stale: a consistent lookup of orders at n3, begun at 23.124s, lacks 10.0.0.2:4150, known since 22.950s"}},
		{ID: "linear/topic", Title: "Writes and consistent lookups of each topic have one order: linearizable against the whole specification.", Safety: true, Status: history.Violated,
			Observed: "longest search: 0.412s for topic orders", Evidence: "14 topics, 5120 calls, 31 of unknown outcome", Picture: "porcupine-topic-orders.html",
			Violations: []string{"not linearizable: topic orders: 3 of 5 calls in order, the last ones:\n    register orders by 10.0.0.2:4150 at n2 [22.900s, 22.950s]\n  and then none of:\n    lookup orders at n3 [23.104s, 23.106s] = none"}},
		{ID: "reads/honest-age", Title: "A default lookup is never older than X-Nsq-Stale-Ms says.", Safety: true, Status: history.Holds, Evidence: "10800 lookups, the oldest said 5.980s"},
		{ID: "reads/bounded-age", Title: "While its node hears the leader, a default lookup lacks nothing acknowledged 250 ms before.", Status: history.Holds, Bound: "0.250s", Observed: "at most 0.041s", Evidence: "9800 lookups"},
		{ID: "available/lookups", Title: "Lookups on surviving, reachable nodes never fail.", Status: history.Missed, Bound: "0 failures", Observed: "9 failures, longest gap 0.198s at n2", Evidence: "10230 default lookups on nodes that were up",
			Violations: []string{"failed: a lookup of orders at n2, begun at 24.020s, returned at 24.038s: EOF, during fault 3 (isolate of n2)"}},
		{ID: "cluster/one-leader-a-term", Title: "No two nodes lead in the same term.", Safety: true, Status: history.Violated, Evidence: "2220 samples, 6 terms",
			Violations: []string{"two leaders: n2 at 22.700s and n3 at 22.800s, both in term 3"}},
		{ID: "messages/delivered", Title: "Every acknowledged message is delivered at least once to each channel; what the loss of an nsqd takes with it is stated.", Safety: true, Status: history.Holds, Evidence: "3700 messages"},
		{ID: "messages/duplicates", Title: "Messages delivered more than once are counted; at least once is what NSQ promises.", Status: history.NotTested, Evidence: "nothing is promised of this"},
	}
	for _, c := range history.Check(run, history.Limits{}) {
		if strings.HasPrefix(c.ID, "drill/") {
			claims = append(claims, c)
		}
	}
	return claims
}

// stock returns a run as stock would have made of it: no leaders, no consistent reads.
func stock() *Report {
	run := madeUp()
	run.Header.Against = "stock"
	run.Samples = nil
	for i := range run.Ops {
		op := &run.Ops[i]
		if op.Answer != nil {
			op.Answer.Index, op.Answer.StaleMS = 0, -1
		}
		if op.Kind == history.Lookup && op.Outcome == history.Done && op.Call > 60*time.Second && op.Call < 71*time.Second {
			op.Outcome, op.Answer, op.Error = history.Unknown, nil, "nothing"
		}
	}
	return &Report{Run: run, Claims: history.Check(run, history.Limits{})}
}
