package nsqadmin

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"nsqraft/internal/clusterinfo"
)

type clusterPage struct {
	*clusterinfo.Cluster        // nil: no nsqlookupd is replicated, or none answers
	From                 string // the nsqlookupd that says so
	Lookupds             []lookupdRow
	Level                level
	Summary              string
	Members              []memberRow
	Same                 string // what is known about the registries
	SameLevel            level
	Lead                 *clusterinfo.Member // the leader; nil: none
	LeaderSince          time.Time
	Changes              int // of leaders within the hour
	Lanes                []lane
	Watched              *time.Time // since when it is known who led, if that is less than the hour
	From1h, To           time.Time
	Events               []*event
	Lost                 *lostLeader
	Asked                int
}

type lookupdRow struct {
	*clusterinfo.Lookupd
	State status
}

// Nothing says why there is no cluster to show.
func (d *clusterPage) Nothing() string {
	switch up := d.AnyUp(); {
	case d.Asked == 0:
		return "nsqadmin asks nsqds only."
	case d.Asked == 1 && up:
		return "The nsqlookupd is not replicated."
	case d.Asked == 1:
		return "The nsqlookupd does not answer."
	case up:
		return fmt.Sprintf("None of the %d nsqlookupds is replicated.", d.Asked)
	}
	return fmt.Sprintf("None of the %d nsqlookupds answers.", d.Asked)
}

// Addresses are those of the nsqlookupds.
func (d *clusterPage) Addresses() (out []string) {
	for _, l := range d.Lookupds {
		out = append(out, l.Address)
	}
	return out
}

// AnyUp says whether an nsqlookupd answers.
func (d *clusterPage) AnyUp() bool {
	return slices.ContainsFunc(d.Lookupds, func(l lookupdRow) bool { return l.Lookupd.State == clusterinfo.Up })
}

// A memberRow is a member with what it does in words.
type memberRow struct {
	*clusterinfo.Member
	State  status
	Uptime time.Duration
	Since  int64 // entries since the snapshot; -1: unknown
}

// lostLeader is what to say while there is none.
type lostLeader struct {
	Since   time.Time
	Stale   string // how old answers are
	Missing []string
	Healthy int
	Quorum  int
}

func (p *pages) cluster(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.src.view()
	if name := r.FormValue("confirm"); name != "" {
		return p.confirmMember(r, v, name, r.FormValue("node"), "")
	}
	verdict := p.judge.look(p.src, v)
	now := p.now()
	data := &clusterPage{From1h: now.Add(-time.Hour), To: now, Asked: len(v.Lookupds)}
	for _, l := range v.Lookupds {
		data.Lookupds = append(data.Lookupds, lookupdRow{l, lookupdStatus(l, v.At)})
	}
	c, from := v.Cluster()
	if c != nil {
		data.Cluster, data.From = c, from.Address
		data.describe(p, v, c)
	} else if reigns := p.src.reigns(time.Hour); len(reigns) > 0 {
		data.remember(p, reigns, nil) // what was seen while one answered
	}
	pg := &page{Template: "cluster", Title: "Cluster", Nav: "cluster", JSON: "/api/cluster", Data: data}
	pg.Problems = filter(verdict.Problems, func(x problem) bool { return len(x.Path) > 0 && x.Path[0] == "cluster" })
	return pg, nil
}

func (d *clusterPage) describe(p *pages, v *clusterinfo.View, c *clusterinfo.Cluster) {
	var nodes []string
	for _, m := range c.Members {
		nodes = append(nodes, m.ID)
		row := memberRow{Member: m, State: memberStatus(m, c.Leader), Uptime: time.Duration(m.UptimeSeconds) * time.Second, Since: -1}
		if m.SnapshotIndex > 0 && m.AppliedIndex >= m.SnapshotIndex {
			row.Since = int64(m.AppliedIndex - m.SnapshotIndex)
		}
		d.Members = append(d.Members, row)
		if m.ID == c.Leader {
			d.Lead = m
			if m.LeaderSinceMS > 0 {
				d.LeaderSince = time.UnixMilli(m.LeaderSinceMS)
			}
		}
	}
	reigns := p.src.reigns(time.Hour)
	for i, r := range reigns {
		if i > 0 && r.node != "" {
			d.Changes++
		}
		if d.LeaderSince.IsZero() && r.to.IsZero() && r.node == c.Leader && r.from.After(d.From1h.Add(time.Second)) {
			d.LeaderSince = r.from
		}
	}
	d.remember(p, reigns, nodes)
	for i := range d.Lanes {
		d.Lanes[i].Now = c.Leader != "" && d.Lanes[i].Node == c.Leader
	}
	d.Same, d.SameLevel = sameness(c)
	d.sumUp(p, v, c, reigns)
}

// remember fills in what happened in the last hour, with a lane for each of nodes at least.
func (d *clusterPage) remember(p *pages, reigns []reign, nodes []string) {
	if len(reigns) > 0 && reigns[0].from.After(d.From1h) {
		d.Watched = &reigns[0].from
	}
	d.Lanes = lanes(reigns, nodes, d.From1h, d.To)
	d.Events = p.src.events(12, func(e *event) bool { return e.Kind == "leader" || e.Kind == "nsqlookupd" || e.Kind == "registry" })
}

func (d *clusterPage) sumUp(p *pages, v *clusterinfo.View, c *clusterinfo.Cluster, reigns []reign) {
	healthy := 0
	for _, m := range c.Members {
		if m.Voter && m.Healthy {
			healthy++
		}
	}
	switch {
	case c.Role == "alone":
		d.Level, d.Summary = notice, "One nsqlookupd, without a cluster: while it is down nobody finds an nsqd."
	case c.Leader == "":
		d.Level = bad
		d.Lost = &lostLeader{Since: v.At, Stale: staleness(v), Quorum: c.Voters/2 + 1}
		for _, r := range reigns {
			if r.node == "" && r.to.IsZero() {
				d.Lost.Since = r.from
			}
		}
		for _, m := range c.Members {
			if m.Role == "unreachable" {
				d.Lost.Missing = append(d.Lost.Missing, m.ID)
			} else if m.Voter {
				d.Lost.Healthy++
			}
		}
		d.Summary = fmt.Sprintf("%d of %s %s, %d are needed: no leader for %s, term %d.", d.Lost.Healthy, count(c.Voters, "voter"),
			verb(d.Lost.Healthy, "answers", "answer"), d.Lost.Quorum, span(d.To.Sub(d.Lost.Since).Round(time.Second)), c.Term)
	default:
		d.Level = good
		if healthy < c.Voters || c.FailureTolerance == 0 && c.Voters > 2 {
			d.Level = caution
		}
		lose := fmt.Sprintf("can lose %d more", c.FailureTolerance)
		if c.FailureTolerance < 1 {
			lose = "cannot lose another"
		}
		since := ""
		if !d.LeaderSince.IsZero() {
			since = " for " + span(d.To.Sub(d.LeaderSince).Round(time.Second))
		}
		d.Summary = fmt.Sprintf("%d of %s healthy, %s leads term %d%s, %s.", healthy, count(c.Voters, "voter"), c.Leader, c.Term, since, lose)
	}
}

func memberStatus(m *clusterinfo.Member, leader string) status {
	switch {
	case m.Role == "unreachable":
		return status{bad, "unreachable", "it does not answer the node that was asked"}
	case leader == "":
		return status{caution, "waiting", "it knows no leader; it answers lookups from its copy"}
	case !m.Ready:
		return status{caution, "catching up", "it answers 503 until it has what was committed"}
	case m.FsyncP99MS > slowFsyncMS:
		return status{caution, "slow disk", fmt.Sprintf("fsync takes %.0f ms (p99)", m.FsyncP99MS)}
	case !m.Healthy:
		return status{caution, "unhealthy", "it does not follow the leader"}
	case !m.Voter:
		return status{notice, "no vote", "it follows and is counted in no majority"}
	}
	return status{good, "healthy", "answers, is ready, follows the leader"}
}

// sameness compares the registries of members that have applied the same index.
func sameness(c *clusterinfo.Cluster) (string, level) {
	hashes, at := map[uint64]string{}, map[uint64]int{}
	for _, m := range c.Members {
		if m.Role == "unreachable" || m.RegistryHash == "" {
			continue
		}
		if h, ok := hashes[m.AppliedIndex]; ok && h != m.RegistryHash {
			return fmt.Sprintf("Registries differ at index %s.", integer(m.AppliedIndex)), bad
		}
		hashes[m.AppliedIndex] = m.RegistryHash
		at[m.AppliedIndex]++
	}
	best := uint64(0)
	for index, n := range at {
		if n > at[best] || n == at[best] && index > best {
			best = index
		}
	}
	if at[best] < 2 {
		return "Registries cannot be compared: no two members are at the same index just now.", neutral
	}
	return fmt.Sprintf("Registry identical on %d of %d members at index %s (%s).", at[best], len(c.Members), integer(best), hashes[best][:min(8, len(hashes[best]))]), good
}

func findMember(c *clusterinfo.Cluster, id string) *clusterinfo.Member {
	if c == nil {
		return nil
	}
	for _, m := range c.Members {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// confirmMember asks before something is done to a member of the cluster. Without a
// node, "transfer" lets the leader step down for the most advanced.
func (p *pages) confirmMember(r *http.Request, v *clusterinfo.View, name, node, wrong string) (*page, error) {
	if _, role := p.src.who(r); role < admin {
		return nil, errForbidden
	}
	c, _ := v.Cluster()
	m := findMember(c, node)
	if m == nil && (node != "" || name != "transfer") || c == nil {
		return nil, errInvalidAction
	}
	self := p.base + "/cluster"
	d := &confirmation{To: self, Back: self, Err: wrong, Fields: []field{{"action", name}, {"node", node}, {"confirmed", "1"}}}
	switch name {
	case "transfer":
		d.Title, d.Button = "Let "+node+" lead?", "Transfer leadership"
		if node == "" {
			d.Title, d.Button = c.Leader+" steps down?", "Step down"
		}
		d.Effects = []string{"Changes wait for a moment, lookups do not. No registration is lost.", c.Leader + " follows from then on."}
	case "remove":
		d.Title, d.Button, d.Danger, d.Type = "Remove "+node+" from the cluster?", "Remove", true, node
		d.Effects, d.Beware = removal(c, m)
		if d.Beware != nil {
			d.Button, d.Type = "", ""
		}
	default:
		return nil, errInvalidAction
	}
	return &page{Template: "confirm", Title: d.Title, Nav: "cluster", Frozen: true, Status: refused(wrong), Data: d}, nil
}

// removal says what is left without m, and in beware why that must not be done.
func removal(c *clusterinfo.Cluster, m *clusterinfo.Member) (effects, beware []string) {
	voters, healthy := 0, 0
	for _, o := range c.Members {
		if o.Voter && o != m {
			voters++
			if o.Healthy {
				healthy++
			}
		}
	}
	if !m.Voter {
		return []string{"It has no vote: the majority stays as it is."}, nil
	}
	quorum := voters/2 + 1
	effects = []string{
		fmt.Sprintf("%s remain, of which %d are healthy; %d are a majority.", count(voters, "voter"), healthy, quorum),
		"It must not come back with its old data: start it with an empty data path to let it join again.",
	}
	switch {
	case voters == 0:
		beware = []string{"It is the only voter: without it there is no cluster."}
	case c.Leader == "":
		beware = []string{"There is no leader that could commit it. Bring a majority back first."}
	case healthy < quorum:
		beware = []string{"The remaining healthy voters would be no majority: nothing could be changed any more. Bring another one back first."}
	}
	return effects, beware
}

func (p *pages) clusterAct(w http.ResponseWriter, r *http.Request) (*page, error) {
	v := p.src.view()
	name, node := r.PostForm.Get("action"), r.PostForm.Get("node")
	c, _ := v.Cluster()
	a, ok := map[string]action{
		"transfer": {name: "transfer_leadership", node: node},
		"remove":   {name: "remove_member", node: node},
		"snapshot": {name: "snapshot", node: node},
	}[name]
	switch {
	case !ok:
		return nil, errInvalidAction
	case name != "snapshot" && r.PostForm.Get("confirmed") == "":
		return p.confirmMember(r, v, name, node, "")
	case name == "remove":
		if m := findMember(c, node); m == nil {
			return nil, errInvalidAction
		} else if _, beware := removal(c, m); beware != nil {
			return p.confirmMember(r, v, name, node, "Nothing was done.")
		}
		if r.PostForm.Get("typed") != node {
			return p.confirmMember(r, v, name, node, "That is not the name. Nothing was done.")
		}
	}
	results, err := p.src.do(r, a)
	if err != nil {
		return nil, err
	}
	text := map[string]string{
		"transfer": "Handed leadership to " + node,
		"remove":   "Removed " + node,
		"snapshot": "Wrote a snapshot of " + node,
	}[name]
	if name == "transfer" && node == "" {
		text = "Handed leadership on"
	}
	self := p.base + "/cluster"
	return p.finish(text, results, []field{{"action", name}, {"node", node}, {"confirmed", "1"}, {"typed", node}}, self, self), nil
}
