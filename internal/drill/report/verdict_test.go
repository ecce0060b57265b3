package report

import (
	"slices"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/drill/history"
)

func claim(status history.Status) history.Claim {
	return history.Claim{ID: "x/" + string(status), Title: "It is " + string(status) + ".", Status: status}
}

// unsafe is the status of a safety claim that is inconclusive.
const unsafe = "unsafe"

func TestExitCode(t *testing.T) {
	tests := []struct {
		name     string
		statuses []history.Status
		broken   string
		want     int
	}{
		{"all hold", []history.Status{history.Holds, history.Holds}, "", 0},
		{"what was not tested does not count", []history.Status{history.Holds, history.NotTested}, "", 0},
		{"safety", []history.Status{history.Holds, history.Violated}, "", 1},
		{"safety before availability", []history.Status{history.Missed, history.Violated, history.Inconclusive}, "", 1},
		{"a violation is one although the run ended badly", []history.Status{history.Violated}, "it ended", 1},
		{"availability", []history.Status{history.Holds, history.Missed}, "", 2},
		{"a bound, in a run that ended badly", []history.Status{history.Holds, history.Missed}, "it ended", 3},
		{"a bound, and another undecided", []history.Status{history.Inconclusive, history.Missed}, "", 2},
		{"a bound, and safety undecided", []history.Status{history.Missed, unsafe}, "", 3},
		{"safety before safety undecided", []history.Status{history.Violated, unsafe}, "", 1},
		{"inconclusive", []history.Status{history.Holds, history.Inconclusive}, "", 3},
		{"the run ended badly", []history.Status{history.Holds}, "it ended", 3},
		{"nothing was tested", []history.Status{history.NotTested}, "", 3},
		{"nothing was claimed", nil, "", 3},
		{"a status that nobody knows holds nothing", []history.Status{"excellent"}, "", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Report{Run: &history.Run{}, Broken: tt.broken}
			for _, s := range tt.statuses {
				c := claim(s)
				if s == unsafe {
					c.Safety, c.Status = true, history.Inconclusive
				}
				r.Claims = append(r.Claims, c)
			}
			if got := r.ExitCode(); got != tt.want {
				t.Errorf("exit code %d, want %d", got, tt.want)
			}
		})
	}
}

func TestSentence(t *testing.T) {
	leaderKill := func(times int) *history.Run {
		run := &history.Run{Header: history.Header{Length: 30 * time.Second, Nodes: []string{"n1", "n2"}}}
		for i := range times {
			begin := time.Duration(10*i) * time.Second
			gap := time.Duration(600+100*i) * ms
			run.Faults = append(run.Faults, history.Fault{ID: i + 1, Drill: "leader-kill", Kind: "kill", Target: "n1", Begin: begin, Began: begin, End: begin + 2*time.Second, Healed: begin + 3*time.Second, Verified: true})
			run.Ops = append(run.Ops,
				history.Op{Kind: history.Register, Client: 1, Node: "n2", Call: begin, Return: begin + gap, Outcome: history.Done, Session: 1, Topic: "t", Producer: "p"},
				history.Op{Kind: history.Lookup, Client: 2, Node: "n2", Call: begin + ms, Return: begin + 2*ms, Outcome: history.Done, Topic: "t"},
				history.Op{Kind: history.Lookup, Client: 2, Node: "n1", Call: begin + 3*ms, Return: begin + 4*ms, Outcome: history.Refused, Topic: "t"})
		}
		return run
	}
	kept := history.Claim{ID: "registry/no-lost-registration", Title: "No acknowledged registration is lost.", Status: history.Holds}
	lost := kept
	lost.Status = history.Violated
	published := leaderKill(1)
	published.Ops = append(published.Ops, history.Op{Kind: history.Publish, Client: 3, Node: "nsqd1", Call: ms, Return: 2 * ms, Outcome: history.Done, Topic: "m", Message: "a-1"})
	stated := history.Claim{ID: "messages/delivered", Title: "Every acknowledged message is delivered.", Status: history.Holds, Stated: 1}
	tests := []struct {
		name   string
		report Report
		want   string
	}{
		{"one drill, many times", Report{Run: leaderKill(3), Claims: []history.Claim{kept}},
			"The claim that was tested holds. leader-kill, 3 times: no write for 0.70 s in the median, 0.80 s at worst; 0 of 3 lookups failed on nodes that were up; none lacked an nsqd that was alive; none of 3 acknowledged registrations was lost."},
		{"once", Report{Run: leaderKill(1), Claims: []history.Claim{lost}},
			"Safety is violated: of 1 claims that were tested 1 does not hold, as “No acknowledged registration is lost”. leader-kill, 1 time: the longest time without a write was 0.60 s (leader-kill); 0 of 1 lookups failed on nodes that were up; none lacked an nsqd that was alive; of 1 acknowledged registrations some were lost."},
		{"lost as stated", Report{Run: published, Claims: []history.Claim{stated}},
			"The claim that was tested holds. leader-kill, 1 time: the longest time without a write was 0.60 s (leader-kill); 0 of 1 lookups failed on nodes that were up; none lacked an nsqd that was alive; none of 1 acknowledged messages was lost but for what a killed nsqd had in memory (1 delivery)."},
		{"nothing broken", Report{Run: &history.Run{}, Claims: []history.Claim{claim(history.Missed)}},
			"No safety claim is violated, but 1 availability bound was missed, as “It is missed”. Nothing was broken."},
		{"undecided", Report{Run: &history.Run{}, Claims: []history.Claim{claim(history.Inconclusive), claim(history.Holds)}},
			"Inconclusive: nothing unsafe was seen, but 1 claim could not be decided, as “It is inconclusive”. Nothing was broken."},
		{"undecided, and slow", Report{Run: &history.Run{}, Claims: []history.Claim{claim(history.Inconclusive), {ID: "y", Title: "It is safe.", Safety: true, Status: history.Inconclusive}, claim(history.Missed)}},
			"Inconclusive: nothing unsafe was seen, but 2 claims could not be decided, as “It is safe”. What is certain is that 1 availability bound was missed, as “It is missed”. Nothing was broken."},
		{"ended badly", Report{Run: &history.Run{}, Claims: []history.Claim{kept}, Broken: "no"},
			"Inconclusive: the run itself ended badly, and nothing unsafe was seen until then. Nothing was broken."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.report.document().Verdict.Sentence; got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// What a made-up run costs, as it was made up.
func TestFigures(t *testing.T) {
	run := madeUp()
	j := (&Report{Run: run}).document()
	find := func(drill string) Episode {
		i := slices.IndexFunc(j.Episodes, func(ep Episode) bool { return ep.Drill == drill })
		if i < 0 {
			t.Fatalf("no episode of %s", drill)
		}
		return j.Episodes[i]
	}
	within := func(what string, got, least, most float64) {
		t.Helper()
		if got < least || got > most {
			t.Errorf("%s: %v, want %v to %v", what, got, least, most)
		}
	}
	kill := find("leader-kill")
	within("no leader after leader-kill", kill.NoLeader, 0.6, 0.8)
	within("no write after leader-kill", kill.WriteGap, 0.6, 0.8)
	if kill.Target != "n1" || kill.NewLeaderName != "n2" || kill.LookupsFailed != 0 || kill.WritesFailed == 0 {
		t.Errorf("leader-kill: %+v", kill)
	}
	all := find("no-quorum")
	within("no leader without a quorum", all.NoLeader, 6.2, 6.5)
	within("recovery of the quorum", all.Recovery, 0.3, 0.5)
	if all.StaleLookups < 500 || len(all.Faults) != 3 || all.Target != "n1,n2,n3" {
		t.Errorf("no-quorum: %+v", all)
	}
	if ep := find("follower-pause"); ep.NoLeader != 0 || ep.Detected != 0 || ep.Healed != 17.2 {
		t.Errorf("follower-pause: %+v", ep)
	}
	isolated := find("leader-isolated")
	within("detected", isolated.Detected, 0, 0.2)
	i := slices.IndexFunc(j.Drills, func(d Drill) bool { return d.Name == "rolling-restart" })
	if d := j.Drills[i]; d.Times != 3 || d.WriteGap.Count != 3 || d.WriteGap.Max < d.WriteGap.P50 {
		t.Errorf("rolling-restart: %+v", d)
	}
	if made, failed := lookups(j); failed != 9 || made < 9000 {
		t.Errorf("%d of %d lookups failed on nodes that were up, want 9", failed, made)
	}
}

func TestChanges(t *testing.T) {
	before := &JSON{Schema: schema, Claims: []history.Claim{{ID: "a", Status: history.Violated}, {ID: "b", Status: history.Holds}, {ID: "c", Status: history.Holds}, {ID: "gone"}},
		Drills: []Drill{{Name: "same", WriteGap: Spread{Max: 0.6}}, {Name: "worse", WriteGap: Spread{Max: 0.6}}}}
	after := &JSON{Claims: []history.Claim{{ID: "a", Status: history.Holds}, {ID: "b", Status: history.Missed}, {ID: "c", Status: history.Holds}, {ID: "new"}},
		Drills: []Drill{{Name: "same", WriteGap: Spread{Max: 0.64}}, {Name: "worse", WriteGap: Spread{Max: 0.9}}, {Name: "new", WriteGap: Spread{Max: 3}}}}
	want := []Change{{"a", "violated", "holds", false}, {"b", "holds", "missed", true}, {"worse", "0.60 s without a write", "0.90 s without a write", true}}
	if got := changes(before, after); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestShort(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0 s", 0.00042: "420 µs", 0.0124: "12 ms", 0.64: "0.64 s", 12.04: "12.0 s", 59.97: "60.0 s", 74: "1m14s", 100: "1m40s", 3720.4: "1h2m", 120: "2m", 3600: "1h0m", -1: "−1.00 s"} {
		if got := short(seconds); got != want {
			t.Errorf("short(%v) = %q, want %q", seconds, got, want)
		}
	}
}

func TestPlain(t *testing.T) {
	got := plain("a\x1b[31m\u202eb\nc\x00\xff" + strings.Repeat("x", 1000))
	if want := `a\x1b[31m\u202eb` + "\nc" + `\x00` + "\ufffd"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want it to begin with %q", got, want)
	}
	if n := len([]rune(got)); n > longestText+60 {
		t.Errorf("%d letters are left", n)
	}
}

// A lookup is expected to list whom was registered, has settled, and has not left.
func TestMissing(t *testing.T) {
	s := time.Second
	op := func(kind history.Kind, node string, at time.Duration, producers ...string) history.Op {
		op := history.Op{Kind: kind, Client: 1, Node: node, Call: at, Return: at + ms, Outcome: history.Done, Topic: "t", Session: 1, Producer: "p"}
		if kind == history.Lookup {
			op.Session, op.Producer, op.Answer = 0, "", &history.Answer{Known: true, Producers: producers, StaleMS: -1}
		}
		if kind == history.Connect || kind == history.Lost || kind == history.Disconnect {
			op.Topic = ""
		}
		return op
	}
	lookups := func(ops ...history.Op) *history.Run {
		return &history.Run{Header: history.Header{Against: "ours", Length: 60 * s, Nodes: []string{"n1", "n2"}}, Ops: append([]history.Op{op(history.Connect, "n1", 0), op(history.Register, "n1", s)}, ops...)}
	}
	old := op(history.Lookup, "n1", 5*s)
	old.Answer.Index = 7
	stock := lookups(op(history.Lookup, "n2", 5*s))
	stock.Header.Against = "stock"
	down := lookups(op(history.Lookup, "n1", 5*s))
	down.Faults = []history.Fault{{ID: 1, Kind: "kill", Target: "n1", Begin: 4 * s, End: 6 * s, Healed: 7 * s}}
	tests := []struct {
		name string
		run  *history.Run
		want Missing
	}{
		{"it is there", lookups(op(history.Lookup, "n1", 5*s, "p")), Missing{}},
		{"it has not settled", lookups(op(history.Lookup, "n1", 1500*ms)), Missing{}},
		{"it is not there", lookups(op(history.Lookup, "n2", 5*s), op(history.Lookup, "n2", 7*s), op(history.Lookup, "n2", 9*s, "p")), Missing{Lookups: 2, Empty: 2, Longest: 2.001}},
		{"it says that it is old", lookups(old), Missing{}},
		{"of stock another node", stock, Missing{}},
		{"the node is down", down, Missing{}},
		{"it has left", lookups(op(history.Disconnect, "n1", 4*s), op(history.Lookup, "n1", 5*s)), Missing{}},
		{"it took it back", lookups(op(history.Unregister, "n1", 4*s), op(history.Lookup, "n1", 5*s)), Missing{}},
		{"it is tombstoned, and registers again", lookups(op(history.Tombstone, "n1", 4*s), op(history.Register, "n1", 5*s), op(history.Lookup, "n1", 9*s)), Missing{}},
		{"the topic is gone", lookups(op(history.DeleteTopic, "n1", 4*s), op(history.Lookup, "n1", 5*s)), Missing{}},
		{"it was lost, and not heard of again", lookups(op(history.Lost, "n1", 4*s), op(history.Lookup, "n1", 5*s)), Missing{}},
		{"it was lost, and came again", lookups(op(history.Lost, "n1", 4*s), op(history.Lookup, "n1", 5*s), op(history.Connect, "n1", 20*s)), Missing{Lookups: 1, Empty: 1, Longest: 0.001}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := missing(tt.run, newOutages(tt.run)); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
