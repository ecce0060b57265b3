package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/clusterinfo"
)

// members makes a cluster of words: "n1 leader up", "n2 follower up", "n3 unreachable",
// "n4 nonvoter up". It is led by the leader among them.
func members(words ...string) *clusterinfo.Cluster {
	c := &clusterinfo.Cluster{ClusterID: "c", Term: 7, Role: "follower"}
	healthy := 0
	for _, word := range words {
		f := strings.Fields(word)
		m := &clusterinfo.Member{ID: f[0], Role: f[1], Voter: f[1] != "nonvoter", Address: f[0] + ":4162", LastContactMS: -1}
		if f[1] != "unreachable" {
			m.HTTPAddress, m.AppliedIndex, m.RegistryHash = f[0]+":4161", 100, "b3f19c0212345678"
		}
		if f[1] == "leader" {
			c.Leader, c.Role, c.NodeID = f[0], "leader", f[0]
		}
		if len(f) > 2 && f[2] == "up" {
			m.Healthy, m.Ready = true, true
		}
		if m.Voter {
			c.Voters++
			if m.Healthy {
				healthy++
			}
		}
		c.Members = append(c.Members, m)
	}
	c.FailureTolerance = max(-1, healthy-quorum(c.Voters))
	return c
}

func TestClusterVerdict(t *testing.T) {
	three := func(change func(*clusterinfo.Cluster)) *clusterinfo.Cluster {
		c := members("n1 follower up", "n2 leader up", "n3 follower up")
		change(c)
		return c
	}
	tests := []struct {
		name    string
		cluster *clusterinfo.Cluster
		tone    tone
		want    string
	}{
		{"healthy", three(func(c *clusterinfo.Cluster) {
			c.Members[1].LeaderSinceMS = time.Now().Add(-2*time.Hour - 14*time.Minute - 10*time.Second).UnixMilli()
		}), good, "Healthy: 3 of 3 voters, leader n2 (term 7, 2h14m), can lose 1 more. Registry identical at index 100 (b3f19c02)."},
		{"one lags", three(func(c *clusterinfo.Cluster) { c.Members[2].AppliedIndex, c.Members[2].RegistryHash = 98, "ff" }), good,
			"Healthy: 3 of 3 voters, leader n2 (term 7), can lose 1 more. Registry identical at index 100 (b3f19c02)."},
		{"all differ in index", three(func(c *clusterinfo.Cluster) { c.Members[0].AppliedIndex, c.Members[2].AppliedIndex = 99, 98 }), good,
			"Healthy: 3 of 3 voters, leader n2 (term 7), can lose 1 more. Registries at index 98 to 100."},
		{"registries differ", three(func(c *clusterinfo.Cluster) { c.Members[2].RegistryHash = "ff" }), warning,
			"Degraded: 3 of 3 voters, leader n2 (term 7), can lose 1 more. REGISTRIES DIFFER at index 100."},
		{"one down", members("n1 leader up", "n2 follower up", "n3 unreachable"), warning,
			"Degraded: 2 of 3 voters, leader n1 (term 7), can lose none. Registry identical at index 100 (b3f19c02)."},
		{"five, one down", members("n1 leader up", "n2 follower up", "n3 unreachable", "n4 follower up", "n5 follower up"), warning,
			"Degraded: 4 of 5 voters, leader n1 (term 7), can lose 1 more. Registry identical at index 100 (b3f19c02)."},
		{"a joiner is no voter", members("n1 leader up", "n2 nonvoter up"), good,
			"Healthy: 1 of 1 voter, leader n1 (term 7), can lose none. Registry identical at index 100 (b3f19c02)."},
		{"no leader", members("n1 candidate", "n2 unreachable", "n3 unreachable"), bad,
			"No leader: 1 of 3 voters reachable, 2 needed. Lookups are answered from what is known, registrations wait. Registry at index 100 (b3f19c02)."},
		{"a leader who lost them", members("n1 leader up", "n2 unreachable", "n3 unreachable"), bad,
			"No quorum: 1 of 3 voters, 2 are needed. Lookups are answered from what is known, registrations wait. Registry at index 100 (b3f19c02)."},
		{"alone", func() *clusterinfo.Cluster { c := members("n1 leader up"); c.Role = "alone"; return c }(), plain,
			"One nsqlookupd without a cluster (n1): what it knows ends with it. Registry at index 100 (b3f19c02)."},
		{"nothing", &clusterinfo.Cluster{}, bad, "No cluster: this nsqlookupd names no voters."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tone, got := clusterVerdict(tt.cluster); tone != tt.tone || got != tt.want {
				t.Errorf("tone %d, want %d\n got %s\nwant %s", tone, tt.tone, got, tt.want)
			}
		})
	}
}

func TestMemberHealth(t *testing.T) {
	up := clusterinfo.Member{Role: "follower", Ready: true, Healthy: true}
	tests := []struct {
		change func(*clusterinfo.Member)
		want   string
	}{
		{func(*clusterinfo.Member) {}, "up"},
		{func(m *clusterinfo.Member) { m.Role = "unreachable" }, "down"},
		{func(m *clusterinfo.Member) { m.Ready = false }, "not ready"},
		{func(m *clusterinfo.Member) { m.Healthy = false }, "no leader"},
		{func(m *clusterinfo.Member) { m.Lag = behindEntries }, "behind"},
		{func(m *clusterinfo.Member) { m.FsyncP99MS = slowFsync }, "slow disk"},
	}
	for _, tt := range tests {
		m := up
		tt.change(&m)
		if got := memberHealth(&m).text; got != tt.want {
			t.Errorf("%+v is %q, want %q", m, got, tt.want)
		}
	}
}

func TestRemoval(t *testing.T) {
	three := members("n1 leader up", "n2 follower up", "n3 follower up")
	degraded := members("n1 leader up", "n2 follower up", "n3 unreachable")
	tests := []struct {
		cluster *clusterinfo.Cluster
		node    string
		plan    string
		refused bool
	}{
		{three, "n3", "without n3: 2 voters, 2 of them healthy, 2 needed; can lose none", false},
		{degraded, "n3", "without n3: 2 voters, 2 of them healthy, 2 needed; can lose none", false},
		{degraded, "n2", "without n2: 2 voters, 1 of them healthy, 2 needed; can lose none", true},
		{members("n1 leader up", "n2 follower up", "n3 follower up", "n4 follower up"), "n4", "without n4: 3 voters, 3 of them healthy, 2 needed; can lose 1 more", false},
		{members("n1 leader up"), "n1", "without n1: 0 voters, 0 of them healthy, 1 needed; can lose none", true},
		{members("n1 leader up", "n2 nonvoter up"), "n2", "without n2: 1 voter, 1 of them healthy, 1 needed; can lose none", false},
		{three, "n9", "", true},
	}
	for _, tt := range tests {
		plan, err := removal(tt.cluster, tt.node)
		if plan != tt.plan || (err != nil) != tt.refused {
			t.Errorf("remove %s: %q, %v; want %q, refused %v", tt.node, plan, err, tt.plan, tt.refused)
		}
	}
}

func TestWaitingFor(t *testing.T) {
	tests := []struct {
		cluster *clusterinfo.Cluster
		state   string
		members int
		waits   bool
	}{
		{members("n1 leader up", "n2 follower up", "n3 follower up"), "healthy", 3, false},
		{members("n1 leader up", "n2 follower up", "n3 follower up"), "healthy", 4, true},
		{members("n1 leader up", "n2 follower up", "n3 unreachable"), "healthy", 0, true},
		{members("n1 leader up", "n2 follower up", "n3 unreachable"), "leader", 0, false},
		{members("n1 leader up", "n2 unreachable", "n3 unreachable"), "leader", 0, true},
		{members("n1 candidate", "n2 follower", "n3 follower"), "leader", 0, true},
	}
	for _, tt := range tests {
		if lacks := waitingFor(tt.cluster, tt.state, tt.members); (lacks != "") != tt.waits {
			t.Errorf("%s, %d members: lacks %q, want that it waits: %v", tt.state, tt.members, lacks, tt.waits)
		}
	}
}

func TestBestOfAndSources(t *testing.T) {
	follower := answer{"f:4161", members("n1 leader up", "n2 follower up"), nil}
	follower.cluster.Role, follower.cluster.NodeID, follower.cluster.Term = "follower", "n2", 9
	leader := answer{"l:4161", members("n1 leader up", "n2 follower up"), nil}
	stale := answer{"s:4161", members("n3 leader up"), nil}
	stale.cluster.Term = 3
	ahead := answer{"a:4161", members("n1 follower up"), nil}
	ahead.cluster.Term, ahead.cluster.AppliedIndex = 9, 5
	stock := answer{"x:4161", nil, clusterinfo.ErrNotClustered}
	dead := answer{"d:4161", nil, errors.New("refused")}
	tests := []struct {
		answers []answer
		best    string
		sources string
	}{
		{[]answer{follower, leader}, "l:4161", "l:4161"},
		{[]answer{leader, follower}, "l:4161", "l:4161"},
		{[]answer{stale, leader}, "l:4161", "l:4161"},
		{[]answer{follower, ahead}, "a:4161", "a:4161"},
		{[]answer{dead, leader}, "l:4161", "l:4161"},
		{[]answer{stock, leader, dead}, "l:4161", "l:4161 x:4161"},
		{[]answer{stock, dead}, "", "x:4161 d:4161"},
	}
	for i, tt := range tests {
		var addresses []string
		for _, a := range tt.answers {
			addresses = append(addresses, a.lookupd)
		}
		if got := bestOf(tt.answers).lookupd; got != tt.best {
			t.Errorf("%d: best is %q, want %q", i, got, tt.best)
		}
		if got := strings.Join(sources(addresses, tt.answers), " "); got != tt.sources {
			t.Errorf("%d: sources %q, want %q", i, got, tt.sources)
		}
	}
}

func TestTargets(t *testing.T) {
	c := members("n1 leader up", "n2 follower up", "n3 unreachable")
	other := *c
	other.NodeID, other.Role = "n2", "follower"
	lone := members("n1 leader up")
	lone.ClusterID, lone.Role = "d", "alone"
	lookupd := func(address string, state clusterinfo.State, c *clusterinfo.Cluster) *clusterinfo.Lookupd {
		return &clusterinfo.Lookupd{Address: address, State: state, Cluster: c}
	}
	tests := []struct {
		name     string
		lookupds []*clusterinfo.Lookupd
		want     string
	}{
		{"of a cluster one", []*clusterinfo.Lookupd{lookupd("b", clusterinfo.Up, &other), lookupd("a", clusterinfo.Up, c)}, "a"},
		{"and not one that is dead", []*clusterinfo.Lookupd{lookupd("a", clusterinfo.Up, c), lookupd("d", clusterinfo.Down, nil)}, "a"},
		{"of stock all", []*clusterinfo.Lookupd{lookupd("x", clusterinfo.Up, nil), lookupd("y", clusterinfo.Down, nil)}, "x y"},
		{"of both", []*clusterinfo.Lookupd{lookupd("a", clusterinfo.Up, c), lookupd("x", clusterinfo.Up, nil)}, "a x"},
		{"of those alone each", []*clusterinfo.Lookupd{lookupd("a", clusterinfo.Up, lone), lookupd("x", clusterinfo.Down, nil)}, "a x"},
	}
	for _, tt := range tests {
		if got := strings.Join(targets(&clusterinfo.View{Lookupds: tt.lookupds}), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// healthy is a View with nothing to say about.
func healthy() *clusterinfo.View {
	at := time.Now()
	c := members("n1 leader up", "n2 follower up", "n3 follower up")
	v := &clusterinfo.View{At: at}
	for _, m := range c.Members {
		own := *c
		own.NodeID, own.Role = m.ID, m.Role
		v.Lookupds = append(v.Lookupds, &clusterinfo.Lookupd{Address: m.HTTPAddress, State: clusterinfo.Up, Cluster: &own, Version: "1"})
	}
	for _, host := range []string{"a", "b"} {
		v.Nodes = append(v.Nodes, &clusterinfo.Node{
			Producer: clusterinfo.Producer{Hostname: host, BroadcastAddress: host, TCPPort: 4150, HTTPPort: 4151, Version: "1"},
			Address:  host + ":4151", State: clusterinfo.Up, StatsAt: at, Stats: &clusterinfo.NodeStats{Health: "OK"},
			Lookupds: []string{"n1:4161", "n2:4161", "n3:4161"},
		})
	}
	return v
}

func TestProblems(t *testing.T) {
	refused := errors.New("connection refused")
	cluster := func(v *clusterinfo.View, change func(*clusterinfo.Cluster)) {
		for _, l := range v.Lookupds {
			change(l.Cluster)
		}
	}
	tests := []struct {
		name   string
		change func(*clusterinfo.View)
		state  string
		want   []string // parts of the problems, in order
	}{
		{"nothing", func(*clusterinfo.View) {}, "ok", nil},
		{"no leader", func(v *clusterinfo.View) {
			cluster(v, func(c *clusterinfo.Cluster) { c.Leader, c.FailureTolerance, c.Role = "", -1, "follower" })
		}, "down", []string{"no quorum or no leader"}},
		{"member down", func(v *clusterinfo.View) {
			cluster(v, func(c *clusterinfo.Cluster) {
				c.Members[2] = &clusterinfo.Member{ID: "n3", Role: "unreachable", Voter: true, Address: "n3:4162"}
				c.FailureTolerance = 0
			})
			v.Lookupds = v.Lookupds[:2]
		}, "degraded", []string{"no further nsqlookupd may fail", "does not answer the others"}},
		{"member not reached from here", func(v *clusterinfo.View) {
			v.Lookupds[2].State, v.Lookupds[2].Err, v.Lookupds[2].Cluster = clusterinfo.Down, refused, nil
		}, "ok", []string{"is healthy, but does not answer from here: connection refused"}},
		{"slow disk", func(v *clusterinfo.View) {
			cluster(v, func(c *clusterinfo.Cluster) { c.Members[1].FsyncP99MS = 300 })
		}, "ok", []string{"an fsync takes 300ms (p99)"}},
		{"clock", func(v *clusterinfo.View) {
			cluster(v, func(c *clusterinfo.Cluster) { c.Members[1].ClockSkewMS = -3000 })
		}, "degraded", []string{"its clock is 3s off"}},
		{"disk", func(v *clusterinfo.View) {
			cluster(v, func(c *clusterinfo.Cluster) { c.Members[1].DiskFreeBytes = 5 << 20 })
			v.Nodes[0].DiskFreeBytes = 6 << 20
		}, "degraded", []string{"5.0MiB of disk left", "6.0MiB of disk left"}},
		{"an answer without members", func(v *clusterinfo.View) {
			cluster(v, func(c *clusterinfo.Cluster) { c.Members, c.Voters, c.Leader = nil, 0, "" })
		}, "down", []string{"cluster: No cluster: this nsqlookupd names no voters"}},
		{"registries differ", func(v *clusterinfo.View) {
			cluster(v, func(c *clusterinfo.Cluster) { c.Members[1].RegistryHash = "0" })
		}, "down", []string{"REGISTRIES DIFFER"}},
		{"a dead stock nsqlookupd", func(v *clusterinfo.View) {
			v.Lookupds = []*clusterinfo.Lookupd{{Address: "x:4161", State: clusterinfo.Up}, {Address: "y:4161", State: clusterinfo.Down, Err: refused}}
			for _, n := range v.Nodes {
				n.Lookupds = []string{"x:4161"}
			}
		}, "degraded", []string{"nsqlookupd y:4161: does not answer: connection refused"}},
		{"registered with one of two", func(v *clusterinfo.View) {
			v.Lookupds = []*clusterinfo.Lookupd{{Address: "x:4161", State: clusterinfo.Up}, {Address: "y:4161", State: clusterinfo.Up}}
			v.Nodes[0].Lookupds, v.Nodes[1].Lookupds = []string{"x:4161"}, []string{"x:4161", "y:4161"}
		}, "degraded", []string{"nsqd a:4151: is not registered with nsqlookupd y:4161"}},
		{"nsqd hangs", func(v *clusterinfo.View) {
			v.Nodes[0].State, v.Nodes[0].Err = clusterinfo.Suspect, errors.New("no answer")
		},
			"degraded", []string{"nsqd a:4151: does not answer: no answer"}},
		{"nsqd gone", func(v *clusterinfo.View) {
			v.Nodes[0].GoneSince, v.Nodes[0].State = v.At.Add(-time.Minute), clusterinfo.Down
		}, "degraded", []string{"no nsqlookupd lists it any more since 1m ago"}},
		{"nsqd drains", func(v *clusterinfo.View) { v.Nodes[0].State, v.Nodes[0].Lookupds = clusterinfo.Draining, nil }, "ok", []string{"nsqd a:4151: drains"}},
		{"nsqd ill", func(v *clusterinfo.View) { v.Nodes[0].Stats.Health = "NOK - disk" }, "degraded", []string{"not healthy: NOK - disk"}},
		{"all nsqds down", func(v *clusterinfo.View) {
			for _, n := range v.Nodes {
				n.State, n.Err = clusterinfo.Down, refused
			}
		}, "down", []string{"no nsqd answers", "does not answer", "does not answer"}},
		{"no nsqds", func(v *clusterinfo.View) { v.Nodes = nil }, "ok", []string{"no nsqd is registered"}},
		{"versions", func(v *clusterinfo.View) { v.Nodes[0].Version = "2" }, "ok", []string{"2 versions of nsqd"}},
		{"topics", func(v *clusterinfo.View) {
			v.Topics = []*clusterinfo.Topic{
				{Name: "a", Depth: 3},
				{Name: "b", Paused: true, Channels: []*clusterinfo.Channel{{Topic: "b", Name: "c", Depth: 1}, {Topic: "b", Name: "d", Paused: true, Clients: 1}}},
			}
		}, "ok", []string{"paused: b, b/d", "messages and no consumer: b/c", "messages and no channel: a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := healthy()
			tt.change(v)
			report := statusPage(v).value.(statusReport)
			if report.State != tt.state {
				t.Errorf("state %s, want %s", report.State, tt.state)
			}
			for i, p := range report.Problems {
				text := p.Subject + ": " + p.Text
				if i >= len(tt.want) || !strings.Contains(text, tt.want[i]) || p.Hint == "" {
					t.Errorf("problem %d: %+v, want %q", i, p, tt.want)
				}
			}
			if len(report.Problems) != len(tt.want) {
				t.Errorf("%d problems, want %d: %+v", len(report.Problems), len(tt.want), report.Problems)
			}
		})
	}
}
