package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/clusterinfo"
)

// The 99th percentile, in milliseconds, from which the fsyncs of a log are slow, and
// from which they are so long that they make elections likely.
const (
	slowFsync  = 100
	fatalFsync = 500
)

// behindEntries is the lag from which a member counts as behind: more than what is
// in flight of a busy cluster.
const behindEntries = 1000

// clusterVerdict says in a sentence how a cluster is.
func clusterVerdict(c *clusterinfo.Cluster) (tone, string) {
	up := 0
	for _, m := range c.Members {
		if m.Voter && m.Healthy {
			up++
		}
	}
	registry := registryVerdict(c)
	switch {
	case c.Role == "alone":
		return plain, fmt.Sprintf("One nsqlookupd without a cluster (%s): what it knows ends with it. %s", c.NodeID, registry.text)
	case c.Voters == 0:
		return bad, noVoters + "."
	case c.Leader == "":
		return bad, fmt.Sprintf("No leader: %d of %s reachable, %d needed. Lookups are answered from what is known, registrations wait. %s",
			answering(c), plural(c.Voters, "voter"), quorum(c.Voters), registry.text)
	case c.FailureTolerance < 0:
		return bad, fmt.Sprintf("No quorum: %d of %d voters, %d are needed. Lookups are answered from what is known, registrations wait. %s",
			up, c.Voters, quorum(c.Voters), registry.text)
	}
	state, mood := "Healthy", good
	if up < c.Voters || registry.tone == bad {
		state, mood = "Degraded", warning
	}
	return mood, fmt.Sprintf("%s: %d of %s, leader %s (%s), %s. %s",
		state, up, plural(c.Voters, "voter"), c.Leader, reign(c), tolerance(c.FailureTolerance), registry.text)
}

// What an nsqlookupd says that waits to join, or that does not tell the truth, and what
// to do about it.
const (
	noVoters     = "No cluster: this nsqlookupd names no voters"
	noVotersHint = "if it waits to join, nsqctl cluster add at a member takes it in; else its answer is wrong: see its log"
)

// answering is how many voters answer, whether they have a leader or not.
func answering(c *clusterinfo.Cluster) int {
	n := 0
	for _, m := range c.Members {
		if m.Voter && m.Role != "unreachable" {
			n++
		}
	}
	return n
}

// leaderless says how a member is that answers and has no leader, and what helps.
func leaderless(c *clusterinfo.Cluster) (text, hint string) {
	return "answers and has no leader", fmt.Sprintf("one is elected once %d of %s reach each other", quorum(c.Voters), plural(c.Voters, "voter"))
}

func quorum(voters int) int { return voters/2 + 1 }

// reign says in which term the leader leads, and for how long if that is known.
func reign(c *clusterinfo.Cluster) string {
	for _, m := range c.Members {
		if m.ID == c.Leader && m.LeaderSinceMS > 0 {
			return fmt.Sprintf("term %d, %s", c.Term, span(time.Since(time.UnixMilli(m.LeaderSinceMS))))
		}
	}
	return fmt.Sprintf("term %d", c.Term)
}

func tolerance(n int) string {
	if n <= 0 {
		return "can lose none"
	}
	return fmt.Sprintf("can lose %d more", n)
}

// registryVerdict compares the copies of the registry: those at the same index must
// be the same. Which index is compared is the newest that more than one has applied.
func registryVerdict(c *clusterinfo.Cluster) cell {
	hashes := make(map[uint64]string)
	var indexes []uint64
	same, newest := uint64(0), uint64(0)
	for _, m := range c.Members {
		if m.Role == "unreachable" || m.RegistryHash == "" {
			continue
		}
		h, ok := hashes[m.AppliedIndex]
		switch {
		case ok && h != m.RegistryHash:
			return cell{fmt.Sprintf("REGISTRIES DIFFER at index %d.", m.AppliedIndex), bad}
		case ok:
			same = max(same, m.AppliedIndex)
		}
		hashes[m.AppliedIndex] = m.RegistryHash
		indexes = append(indexes, m.AppliedIndex)
		newest = max(newest, m.AppliedIndex)
	}
	switch {
	case len(indexes) == 0:
		return cell{"", plain}
	case len(indexes) == 1:
		return cell{fmt.Sprintf("Registry at index %d (%s).", newest, shortHash(hashes[newest])), plain}
	case same == 0:
		return cell{fmt.Sprintf("Registries at index %d to %d.", slices.Min(indexes), newest), plain}
	}
	return cell{fmt.Sprintf("Registry identical at index %d (%s).", same, shortHash(hashes[same])), plain}
}

func shortHash(h string) string { return h[:min(8, len(h))] }

// memberHealth is the member's state in a word or two.
func memberHealth(m *clusterinfo.Member) cell {
	switch {
	case m.Role == "unreachable":
		return cell{"down", bad}
	case m.Lag >= behindEntries:
		return cell{"behind", warning}
	case !m.Ready:
		return cell{"not ready", warning}
	case !m.Healthy:
		return cell{"no leader", warning}
	case m.FsyncP99MS >= slowFsync:
		return cell{"slow disk", warning}
	}
	return cell{"up", good}
}

// ofFollower is what a column says of members that do not lead, and answer.
func ofFollower(leader string, f func(m *clusterinfo.Member) string) func(*clusterinfo.Member) cell {
	return func(m *clusterinfo.Member) cell {
		if m.ID == leader || m.Role == "unreachable" {
			return cell{text: "-"}
		}
		return cell{text: f(m)}
	}
}

// statusColumns are those of cluster status.
func statusColumns(leader string) []column[*clusterinfo.Member] {
	index := func(f func(m *clusterinfo.Member) uint64) func(*clusterinfo.Member) cell {
		return func(m *clusterinfo.Member) cell {
			if m.Role == "unreachable" {
				return cell{text: "-"}
			}
			return cell{text: fmt.Sprint(f(m))}
		}
	}
	words := func(f func(m *clusterinfo.Member) string) func(*clusterinfo.Member) cell {
		return func(m *clusterinfo.Member) cell { return cell{text: dash(f(m))} }
	}
	type member = *clusterinfo.Member
	return []column[member]{
		{name: "NODE", cell: words(func(m member) string { return m.ID })},
		{name: "ROLE", cell: func(m member) cell {
			if m.ID == leader {
				return cell{m.Role + " *", head}
			}
			return cell{text: m.Role}
		}},
		{name: "HEALTH", cell: memberHealth},
		{name: "TERM", wide: true, cell: index(func(m member) uint64 { return m.Term })},
		{name: "LAST LOG", wide: true, cell: index(func(m member) uint64 { return m.LastLogIndex })},
		{name: "APPLIED", cell: index(func(m member) uint64 { return m.AppliedIndex })},
		{name: "LAG", cell: ofFollower(leader, func(m member) string { return fmt.Sprint(m.Lag) })},
		{name: "CONTACT", cell: ofFollower(leader, func(m member) string {
			if m.LastContactMS < 0 {
				return "-"
			}
			return span(time.Duration(m.LastContactMS) * time.Millisecond)
		})},
		{name: "RTT", cell: ofFollower(leader, func(m member) string { return millis(m.RoundTripMS) })},
		{name: "SKEW", wide: true, cell: ofFollower(leader, func(m member) string { return fmt.Sprintf("%dms", m.ClockSkewMS) })},
		{name: "SNAPSHOT", cell: words(func(m member) string {
			if m.SnapshotIndex == 0 {
				return ""
			}
			return fmt.Sprint(m.SnapshotIndex)
		})},
		{name: "DISK", cell: words(func(m member) string { return size(m.DataBytes) })},
		{name: "FREE", wide: true, cell: words(func(m member) string { return size(m.DiskFreeBytes) })},
		{name: "FSYNC P99", wide: true, cell: words(func(m member) string { return millis(m.FsyncP99MS) })},
		{name: "COMMIT P99", wide: true, cell: words(func(m member) string { return millis(m.CommitP99MS) })},
		{name: "UPTIME", cell: words(func(m member) string { return seconds(m.UptimeSeconds) })},
		{name: "REGISTRY", wide: true, cell: words(func(m member) string { return shortHash(m.RegistryHash) })},
		{name: "VERSION", cell: words(func(m member) string { return m.Version })},
	}
}

// identityColumns are those of cluster members.
var identityColumns = []column[*clusterinfo.Member]{
	{name: "NODE", cell: func(m *clusterinfo.Member) cell { return cell{text: m.ID} }},
	{name: "VOTER", cell: func(m *clusterinfo.Member) cell {
		if m.Voter {
			return cell{text: "yes"}
		}
		return cell{"no", warning}
	}},
	{name: "ROLE", cell: func(m *clusterinfo.Member) cell {
		if m.Role == "unreachable" {
			return cell{m.Role, bad}
		}
		return cell{text: m.Role}
	}},
	{name: "ADDRESS", cell: func(m *clusterinfo.Member) cell { return cell{text: dash(m.Address)} }},
	{name: "HTTP", cell: func(m *clusterinfo.Member) cell { return cell{text: dash(m.HTTPAddress)} }},
	{name: "INSTANCE", cell: func(m *clusterinfo.Member) cell { return cell{text: dash(m.Instance)} }},
	{name: "VERSION", cell: func(m *clusterinfo.Member) cell { return cell{text: dash(m.Version)} }},
}

// clusterPage is the page of cluster status.
func clusterPage(c *clusterinfo.Cluster) *page {
	mood, verdict := clusterVerdict(c)
	pg := &page{value: c, rows: c.Members, text: func(t *text) {
		t.line(mood, "%s", strings.TrimSpace(verdict))
		writeTable(t, statusColumns(c.Leader), c.Members)
	}}
	if mood == warning || mood == bad {
		// Said already; only the exit code tells it once more.
		pg.err = &failure{code: exitFailed}
	}
	return pg
}
