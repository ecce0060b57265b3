package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
)

// A finding is what one check of doctor came to.
type finding struct {
	Result  string `json:"result"` // ok, warn or fail
	Check   string `json:"check"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	Hint    string `json:"hint"` // what to do; empty if ok
}

func newDoctorCommand(p *program) *cobra.Command {
	folder := ""
	cmd := &cobra.Command{
		Use: "doctor", Short: "Examine the daemons and say what to do about what is wrong",
		Long: "Examines the daemons from here: whether the addresses that they tell others can be\nreached, clocks, versions, disks, and what the cluster can lose. Each line is ok,\nwarn or fail, with what to do. Exit code 1 if one is fail, 3 if no nsqlookupd\nanswers.",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.show(cmd.Context(), func(ctx context.Context) (*page, error) { return p.examine(ctx, folder) })
		},
	}
	cmd.Flags().StringVar(&folder, "data-path", "", "also measure what an fsync costs in this `folder`")
	return cmd
}

// A doctor collects findings.
type doctor struct {
	p        *program
	findings []finding
}

func (d *doctor) ok(check, subject, format string, args ...any) {
	d.findings = append(d.findings, finding{"ok", check, subject, fmt.Sprintf(format, args...), ""})
}

func (d *doctor) warn(check, subject, hint, format string, args ...any) {
	d.findings = append(d.findings, finding{"warn", check, subject, fmt.Sprintf(format, args...), hint})
}

func (d *doctor) fail(check, subject, hint, format string, args ...any) {
	d.findings = append(d.findings, finding{"fail", check, subject, fmt.Sprintf(format, args...), hint})
}

// examine is the page of doctor.
func (p *program) examine(ctx context.Context, folder string) (*page, error) {
	d := &doctor{p: p, findings: []finding{}}
	if folder != "" {
		d.folder(folder)
	}
	v, err := p.viewAll(ctx)
	var f *failure
	switch {
	case errors.As(err, &f) && f.code == exitUnreachable:
		d.fail("reach", "nsqlookupd", f.hint, "%v", f.err)
		pg := d.page()
		pg.err = &failure{exitUnreachable, errors.New("no nsqlookupd answers"), ""}
		return pg, nil
	case err != nil:
		return nil, err
	default:
		d.lookupds(v)
		if c, _ := v.Cluster(); c != nil {
			d.quorum(c)
			d.members(c)
		}
		d.nsqds(ctx, v)
		d.clocks(ctx, v)
		d.versions(v)
	}
	return d.page(), nil
}

var findingColumns = []column[finding]{
	{name: "RESULT", cell: func(f finding) cell {
		return cell{f.Result, map[string]tone{"ok": good, "warn": warning, "fail": bad}[f.Result]}
	}},
	{name: "CHECK", cell: func(f finding) cell { return cell{text: f.Check} }},
	{name: "SUBJECT", cell: func(f finding) cell { return cell{text: f.Subject} }},
	{name: "FINDING", cell: func(f finding) cell { return cell{text: f.Text} }},
}

func (d *doctor) page() *page {
	counts := make(map[string]int)
	for _, f := range d.findings {
		counts[f.Result]++
	}
	pg := &page{value: d.findings, text: func(t *text) {
		writeTable(t, findingColumns, d.findings)
		hints := make(map[string]bool)
		for _, f := range d.findings {
			if f.Hint == "" || hints[f.Hint] {
				continue
			}
			if len(hints) == 0 {
				t.blank()
				t.line(head, "What to do")
			}
			hints[f.Hint] = true
			t.line(plain, "%s, %s: %s", f.Check, f.Subject, f.Hint)
		}
	}}
	if counts["fail"] > 0 {
		pg.err = &failure{exitFailed, fmt.Errorf("%d of %s failed", counts["fail"], plural(len(d.findings), "check")), ""}
	}
	return pg
}

// lookupds tells which nsqlookupds answer from here.
func (d *doctor) lookupds(v *clusterinfo.View) {
	c, _ := v.Cluster()
	for _, l := range v.Lookupds {
		subject := "nsqlookupd " + l.Address
		m := memberAt(c, l.Address)
		switch {
		case l.State == clusterinfo.Up && l.Cluster == nil:
			d.ok("reach", subject, "answers in %s; it is not replicated", millis(ms(l.RoundTrip)))
		case l.State == clusterinfo.Up:
			d.ok("reach", subject, "answers in %s as %s", millis(ms(l.RoundTrip)), l.Cluster.NodeID)
		case m != nil && m.Healthy:
			d.warn("reach", subject, "nsqds and consumers that use it need this address: open it, or set its --broadcast-address to one that others can reach",
				"is healthy for the other members, but not from here: %v", l.Err)
		default:
			d.fail("reach", subject, "look whether it runs, or hangs, and whether this is its address", "%v", l.Err)
		}
	}
	if c == nil && len(v.Lookupds) > 0 {
		d.warn("quorum", "nsqlookupds", "replicate them: --data-path and --initial-cluster on three nodes", "each nsqlookupd knows only what nsqds tell it, and forgets it when it ends")
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quorum does the arithmetic of voters.
func (d *doctor) quorum(c *clusterinfo.Cluster) {
	const subject = "cluster"
	if c.Role == "alone" {
		d.warn("quorum", subject, "replicate it: --data-path and --initial-cluster on three nodes", "one nsqlookupd without a cluster: what it knows ends with it")
		return
	}
	if c.Voters == 0 {
		d.fail("quorum", subject, noVotersHint, "%s", noVoters)
		return
	}
	healthy := 0
	for _, m := range c.Members {
		if m.Voter && m.Healthy {
			healthy++
		}
	}
	sum := fmt.Sprintf("%d of %s healthy, %d needed, %s; leader %s, term %d",
		healthy, plural(c.Voters, "voter"), quorum(c.Voters), tolerance(healthy-quorum(c.Voters)), dash(c.Leader), c.Term)
	if c.Leader == "" {
		sum = fmt.Sprintf("no leader: %d of %s reachable, %d needed; term %d", answering(c), plural(c.Voters, "voter"), quorum(c.Voters), c.Term)
	}
	switch {
	case c.Leader == "" || healthy < quorum(c.Voters):
		d.fail("quorum", subject, "bring members back until there is a quorum; until then lookups are answered from what is known, and registrations wait", "%s", sum)
	case c.Voters == 1:
		d.warn("quorum", subject, "add two more nsqlookupds with --join", "%s", sum)
	case c.Voters%2 == 0:
		d.warn("quorum", subject, fmt.Sprintf("add or remove one: %d voters can lose no more than %d", c.Voters, c.Voters-1), "%s", sum)
	case healthy < c.Voters:
		d.warn("quorum", subject, "bring back the members that are not healthy, or replace them", "%s", sum)
	default:
		d.ok("quorum", subject, "%s", sum)
	}
	if r := registryVerdict(c); r.tone == bad {
		d.fail("registry", subject, "this must not happen: keep the data of the node that differs for a report, and let it join anew", "%s", r.text)
	} else if r.text != "" {
		d.ok("registry", subject, "%s", strings.TrimSuffix(r.text, "."))
	}
}

// members looks at each nsqlookupd of the cluster.
func (d *doctor) members(c *clusterinfo.Cluster) {
	if c.Role == "alone" {
		return
	}
	for _, m := range c.Members {
		subject := "nsqlookupd " + m.ID
		switch health := memberHealth(m); {
		case m.Role == "unreachable":
			d.fail("member", subject, "start it, or look why the others cannot reach its --raft-advertise", "does not answer the others at %s", m.Address)
			continue
		case health.text == "up" || health.text == "slow disk":
			d.ok("member", subject, "%s, lag %d", m.Role, m.Lag)
		case c.Leader == "":
			text, hint := leaderless(c)
			d.warn("member", subject, hint, "%s, %s", m.Role, text)
		default:
			d.warn("member", subject, "it catches up by itself once it reaches the leader; its log says why it does not", "%s, %s, lag %d", m.Role, health.text, m.Lag)
		}
		d.disk(subject, m.DiskFreeBytes)
		switch cost := m.FsyncP99MS; {
		case cost >= fatalFsync:
			d.fail("fsync", subject, "give its --data-path a disk of its own, or a faster one: elections follow from this", "%s (p99)", millis(cost))
		case cost >= slowFsync:
			d.warn("fsync", subject, "look what else uses the disk of its --data-path", "%s (p99)", millis(cost))
		case cost > 0:
			d.ok("fsync", subject, "%s (p99)", millis(cost))
		}
	}
}

// noDisk is what is left of a disk that is as good as full.
const noDisk = 100 << 20

func (d *doctor) disk(subject string, free int64) {
	switch {
	case free <= 0: // not told
	case free < noDisk:
		d.fail("disk", subject, "make room on the disk of its --data-path now", "%s left", size(free))
	case free < littleDisk:
		d.warn("disk", subject, "make room on the disk of its --data-path", "%s left", size(free))
	default:
		d.ok("disk", subject, "%s left", size(free))
	}
}

// versions looks for more than one.
func (d *doctor) versions(v *clusterinfo.View) {
	found := map[string]map[string]bool{"nsqlookupds": {}, "nsqds": {}}
	for _, l := range v.Lookupds {
		if l.State == clusterinfo.Up && l.Version != "" {
			found["nsqlookupds"][l.Version] = true
		}
	}
	for _, n := range v.Nodes {
		if n.Version != "" && n.GoneSince.IsZero() {
			found["nsqds"][n.Version] = true
		}
	}
	for _, subject := range []string{"nsqlookupds", "nsqds"} {
		list := slices.Sorted(maps.Keys(found[subject]))
		switch {
		case len(list) > 1:
			d.warn("versions", subject, "fine during an upgrade; else bring them to one version", "%s", strings.Join(list, ", "))
		case len(list) == 1:
			d.ok("versions", subject, "%s", list[0])
		}
	}
}
