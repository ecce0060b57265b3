package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/clusterinfo"
)

// A severity is how much a problem matters.
type severity string

const (
	remark   severity = "note"     // worth to know; all is well
	degraded severity = "degraded" // works, with less behind it or in part
	down     severity = "down"     // does not work
)

// A problem is something that is not as it should be, and what to do about it.
type problem struct {
	Severity severity `json:"severity"`
	Subject  string   `json:"subject"`
	Text     string   `json:"text"`
	Hint     string   `json:"hint"`
}

// problems returns what is not as it should be, the worst first.
func problems(v *clusterinfo.View) []problem {
	list := []problem{}
	add := func(s severity, subject, hint, format string, args ...any) {
		list = append(list, problem{s, subject, fmt.Sprintf(format, args...), hint})
	}
	cluster, _ := v.Cluster()
	if cluster != nil {
		clusterProblems(cluster, add)
	}
	lookupdProblems(v, cluster, add)
	nodeProblems(v, add)
	topicProblems(v, add)
	rank := map[severity]int{down: 0, degraded: 1, remark: 2}
	slices.SortStableFunc(list, func(a, b problem) int { return rank[a.Severity] - rank[b.Severity] })
	return list
}

type addProblem func(s severity, subject, hint, format string, args ...any)

func clusterProblems(c *clusterinfo.Cluster, add addProblem) {
	if c.Role == "alone" {
		add(remark, "cluster", "three nsqlookupds with --data-path and --initial-cluster survive the loss of one", "one nsqlookupd without a cluster: what it knows ends with it")
		return
	}
	switch {
	case c.Voters == 0:
		add(down, "cluster", noVotersHint, "%s", noVoters)
		return
	case c.Leader == "" || c.FailureTolerance < 0:
		add(down, "cluster", fmt.Sprintf("bring nsqlookupds back until %d of %d answer", quorum(c.Voters), c.Voters),
			"no quorum or no leader: lookups are answered from what is known, registrations wait")
	case c.FailureTolerance == 0 && c.Voters == 1:
		add(remark, "cluster", "two more nsqlookupds with --join make it survive the loss of one", "one voter: nothing may fail")
	case c.FailureTolerance == 0:
		add(degraded, "cluster", "bring back or replace the nsqlookupds that are not healthy before another fails", "no further nsqlookupd may fail")
	}
	if r := registryVerdict(c); r.tone == bad {
		add(down, "cluster", "this must not happen: stop the node that differs, keep its data for a report, and let it join anew", "%s", r.text)
	}
	for _, m := range c.Members {
		switch health := memberHealth(m); {
		case health.tone == good:
		case m.Role == "unreachable":
			add(degraded, "nsqlookupd "+m.ID, "start it, or look why the others cannot reach "+m.Address, "does not answer the others")
		case health.text == "slow disk":
			add(remark, "nsqlookupd "+m.ID, "give its --data-path a faster disk, or one of its own, if it stays so", "slow disk: an fsync takes %s (p99)", millis(m.FsyncP99MS))
		case c.Leader == "":
			text, hint := leaderless(c)
			add(degraded, "nsqlookupd "+m.ID, hint, "%s", text)
		default:
			add(degraded, "nsqlookupd "+m.ID, "it catches up by itself if it can reach the leader; see its log", "%s", health.text)
		}
		if skew := time.Duration(m.ClockSkewMS) * time.Millisecond; skew.Abs() > time.Second {
			add(degraded, "nsqlookupd "+m.ID, "let NTP set the clocks", "its clock is %s off", span(skew.Abs()))
		}
		if m.DiskFreeBytes > 0 && m.DiskFreeBytes < littleDisk {
			add(degraded, "nsqlookupd "+m.ID, "make room on the disk of its --data-path", "%s of disk left", size(m.DiskFreeBytes))
		}
	}
}

// littleDisk is what is worth a warning to have left.
const littleDisk = 1 << 30

func lookupdProblems(v *clusterinfo.View, c *clusterinfo.Cluster, add addProblem) {
	for _, l := range v.Lookupds {
		if l.State == clusterinfo.Up {
			continue
		}
		m := memberAt(c, l.Address)
		switch {
		case m != nil && m.Healthy:
			add(remark, "nsqlookupd "+l.Address, "reach it from here, too, or set its --broadcast-address to one that can be", "is healthy, but does not answer from here: %v", l.Err)
		case c != nil && c.Voters > 1 && m != nil:
			// Told already, as a member.
		default:
			add(degraded, "nsqlookupd "+l.Address, "start it, or name it no longer", "does not answer: %v", l.Err)
		}
	}
}

// memberAt returns the member with that HTTP address.
func memberAt(c *clusterinfo.Cluster, address string) *clusterinfo.Member {
	if c == nil {
		return nil
	}
	for _, m := range c.Members {
		if m.HTTPAddress == address {
			return m
		}
	}
	return nil
}

func nodeProblems(v *clusterinfo.View, add addProblem) {
	up := 0
	for _, n := range v.Nodes {
		subject := "nsqd " + n.Address
		switch {
		case !n.GoneSince.IsZero():
			add(degraded, subject, "start it again if it was not stopped on purpose", "no nsqlookupd lists it any more since %s", ago(v.At, n.GoneSince))
			continue
		case n.State == clusterinfo.Draining:
			add(remark, subject, "it ends when its consumers are done", "drains")
		case n.Stale():
			add(degraded, subject, reachHint(n.Err, "look whether it hangs: nsqctl debug bundle, its log"), "does not answer: %v", n.Err)
			continue
		}
		up++
		if n.Stats != nil && n.Stats.Health != "" && n.Stats.Health != "OK" {
			add(degraded, subject, "see its log; most often the disk is full or has failed", "not healthy: %s", n.Stats.Health)
		}
		if n.DiskFreeBytes > 0 && n.DiskFreeBytes < littleDisk {
			add(degraded, subject, "make room on the disk of its --data-path", "%s of disk left", size(n.DiskFreeBytes))
		}
		if not := notListedBy(v, n); len(not) > 0 && n.State != clusterinfo.Draining {
			add(degraded, subject, "look at its log, and whether its --lookupd-tcp-address names all of them", "is not registered with nsqlookupd %s", strings.Join(not, ", "))
		}
	}
	switch {
	case len(v.Nodes) == 0:
		add(remark, "nsqds", "start nsqd with --lookupd-tcp-address", "no nsqd is registered")
	case up == 0:
		add(down, "nsqds", "messages can be neither published nor consumed: bring the nsqds back", "no nsqd answers")
	}
	versions := make(map[string]bool)
	for _, n := range v.Nodes {
		if n.Version != "" && n.GoneSince.IsZero() {
			versions[n.Version] = true
		}
	}
	if len(versions) > 1 {
		add(remark, "nsqds", "fine during an upgrade; else bring them to one version", "%d versions of nsqd", len(versions))
	}
}

// notListedBy returns the nsqlookupds that answer and do not list n.
func notListedBy(v *clusterinfo.View, n *clusterinfo.Node) []string {
	var not []string
	for _, l := range v.Lookupds {
		if l.State == clusterinfo.Up && !slices.Contains(n.Lookupds, l.Address) {
			not = append(not, l.Address)
		}
	}
	return not
}

// manyTopics is how many topics are named in a problem.
const manyTopics = 3

func topicProblems(v *clusterinfo.View, add addProblem) {
	var paused, unread, waiting []string
	for _, t := range v.Topics {
		if t.Paused {
			paused = append(paused, t.Name)
		}
		if len(t.Channels) == 0 && t.Depth > 0 {
			waiting = append(waiting, t.Name)
		}
		for _, c := range t.Channels {
			if c.Paused {
				paused = append(paused, t.Name+"/"+c.Name)
			}
			if c.Clients == 0 && c.Depth > 0 {
				unread = append(unread, t.Name+"/"+c.Name)
			}
		}
	}
	tell := func(names []string, hint, format string) {
		if len(names) > 0 {
			add(remark, "topics", hint, format, list(names))
		}
	}
	tell(paused, "nsqctl topic unpause, nsqctl channel unpause", "paused: %s")
	tell(unread, "start consumers, or delete channels that nobody needs", "messages and no consumer: %s")
	tell(waiting, "their messages wait for the first channel", "messages and no channel: %s")
}

// list names the first of names.
func list(names []string) string {
	if len(names) > manyTopics {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:manyTopics], ", "), len(names)-manyTopics)
	}
	return strings.Join(names, ", ")
}

func ago(now, then time.Time) string { return span(now.Sub(then)) + " ago" }

// reachHint says what to do about a daemon that failed with err.
func reachHint(err error, otherwise string) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "its --broadcast-address is a name that is not known here: set it to one that is"
	case notReached(err):
		return "start it; if it runs, its --broadcast-address cannot be reached from here"
	}
	return otherwise
}
