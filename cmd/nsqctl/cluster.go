package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
)

func newClusterCommand(p *program) *cobra.Command {
	return group("cluster", "The nsqlookupds and the log they replicate",
		&cobra.Command{
			Use: "status", Short: "How the cluster is; exit code 1 if it is not healthy",
			Args: exactly(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return p.show(cmd.Context(), func(ctx context.Context) (*page, error) {
					c, _, err := p.cluster(ctx)
					if err != nil {
						return nil, err
					}
					return clusterPage(c), nil
				})
			},
		},
		&cobra.Command{
			Use: "members", Short: "Who belongs to the cluster, and at which addresses",
			Args: exactly(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return p.show(cmd.Context(), func(ctx context.Context) (*page, error) {
					c, _, err := p.cluster(ctx)
					if err != nil {
						return nil, err
					}
					return &page{value: c.Members, text: func(t *text) { writeTable(t, identityColumns, c.Members) }}, nil
				})
			},
		},
		&cobra.Command{
			Use: "transfer [NODE]", Short: "Let another node lead: NODE, or the one that is most advanced",
			Args:              between(0, "NODE"),
			ValidArgsFunction: p.completeMembers,
			RunE: func(cmd *cobra.Command, args []string) error {
				to := ""
				if len(args) > 0 {
					to = args[0]
				}
				return p.transfer(cmd.Context(), to)
			},
		},
		&cobra.Command{
			Use: "stepdown", Short: "Let the leader hand over to the follower that is most advanced",
			Args: exactly(),
			RunE: func(cmd *cobra.Command, _ []string) error { return p.transfer(cmd.Context(), "") },
		},
		&cobra.Command{
			Use: "add ADDRESS", Short: "Take in a node that waits to join; ADDRESS is that of its internal port (4162)",
			Args: exactly("ADDRESS"),
			RunE: func(cmd *cobra.Command, args []string) error { return p.addMember(cmd.Context(), args[0]) },
		},
		newClusterRemoveCommand(p),
		&cobra.Command{
			Use: "snapshot [NODE...]", Short: "Write a snapshot of the registry now, on all nodes or those named",
			ValidArgsFunction: p.completeMembers,
			RunE:              func(cmd *cobra.Command, args []string) error { return p.snapshot(cmd.Context(), args) },
		},
		newClusterWaitCommand(p),
	)
}

// transfer hands leadership over, and says who has it then.
func (p *program) transfer(ctx context.Context, to string) error {
	before, at, err := p.cluster(ctx)
	if err != nil {
		return err
	}
	if to != "" {
		if _, err := memberOf(before, to); err != nil {
			return err
		}
		if before.Leader == to {
			p.note("%s leads already", to)
			return p.showTransfer(transferred{Leader: to, Before: to, Term: before.Term})
		}
	}
	start := time.Now()
	if err := p.client.TransferLeadership(ctx, at, to); err != nil {
		return clusterFailure("transfer leadership", err)
	}
	after, err := p.clusterWhen(ctx, p.timeout, func(c *clusterinfo.Cluster) string {
		switch {
		case c.Leader == "" || c.Leader == before.Leader || to != "" && c.Leader != to:
			return "the old leader still leads, or none does"
		case c.FailureTolerance < 0:
			return c.Leader + " leads, but no quorum follows it yet"
		}
		return ""
	})
	if err != nil {
		return err
	}
	p.note("%s leads (term %d), %s led before; %d ms", after.Leader, after.Term, dash(before.Leader), time.Since(start).Milliseconds())
	return p.showTransfer(transferred{after.Leader, before.Leader, after.Term, time.Since(start).Milliseconds()})
}

// A transferred says who leads after a transfer.
type transferred struct {
	Leader string `json:"leader"`
	Before string `json:"led_before"` // empty: nobody
	Term   uint64 `json:"term"`
	TookMS int64  `json:"took_ms"` // until the others had heard of it
}

// showTransfer is for programs: people have been told.
func (p *program) showTransfer(t transferred) error {
	if p.output == "table" || p.output == "wide" {
		return nil
	}
	return p.write(&page{value: t, rows: []transferred{t}})
}

func (p *program) addMember(ctx context.Context, address string) error {
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" || port == "0" {
		return usageError("ADDRESS is the <host>:<port> of its --raft-address that the others can reach, such as 10.0.0.4:4162", "%q is no address", address)
	}
	c, at, err := p.cluster(ctx)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(c.Members, func(m *clusterinfo.Member) bool { return m.Address == address }); i >= 0 {
		return &failure{exitFailed, fmt.Errorf("%s is the address of %s, which belongs to the cluster", address, c.Members[i].ID), "see nsqctl cluster members"}
	}
	if err := p.client.AddMember(ctx, at, address); err != nil {
		return clusterFailure("add "+address, err)
	}
	p.note("added %s; it votes once it has caught up. See nsqctl cluster status", address)
	return nil
}

func newClusterRemoveCommand(p *program) *cobra.Command {
	var yes, dry, force bool
	cmd := &cobra.Command{
		Use: "remove NODE", Short: "Take a node out of the cluster",
		Long:              "Takes a node out of the cluster. Its data is of no more use to the cluster: to\ncome back it joins as a new node. A removal that would leave the rest without a\nquorum is refused.",
		Args:              exactly("NODE"),
		ValidArgsFunction: p.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			plan, at, err := p.planRemoval(ctx, args[0], force)
			if err != nil {
				return err
			}
			p.note("%s", plan)
			if dry {
				p.note("nothing was changed (--dry-run)")
				return nil
			}
			if err := p.confirm(ctx, yes, "Remove "+args[0]+"?"); err != nil {
				return err
			}
			if err := p.client.RemoveMember(ctx, at, args[0]); err != nil {
				return clusterFailure("remove "+args[0], err)
			}
			p.note("removed %s", args[0])
			return nil
		},
	}
	addConsent(cmd, &yes, &dry)
	cmd.Flags().BoolVar(&force, "force", false, "remove it also if that costs the quorum")
	return cmd
}

// planRemoval says what is left of the cluster without node, and whom to ask for that.
// Members that have just heard of a new leader get some time to follow it.
func (p *program) planRemoval(ctx context.Context, node string, force bool) (plan, at string, err error) {
	for start := time.Now(); ; {
		c, at, err := p.cluster(ctx)
		if err != nil {
			return "", "", err
		}
		plan, err := removal(c, node)
		switch {
		case plan == "": // there is no such member
			return "", "", err
		case err == nil || force:
			return plan, at, nil
		case time.Since(start) > settleTime:
			return "", "", err
		}
		select {
		case <-ctx.Done():
			return "", "", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// settleTime is how long members may take to follow a leader.
const settleTime = time.Second

// removal says what is left of the cluster without node, and refuses if that is no
// quorum.
func removal(c *clusterinfo.Cluster, node string) (string, error) {
	gone, err := memberOf(c, node)
	if err != nil {
		return "", err
	}
	voters, healthy := 0, 0
	for _, m := range c.Members {
		if m != gone && m.Voter {
			voters++
			if m.Healthy {
				healthy++
			}
		}
	}
	spare := healthy - quorum(voters)
	plan := fmt.Sprintf("without %s: %s, %d of them healthy, %d needed; %s", node, plural(voters, "voter"), healthy, quorum(voters), tolerance(spare))
	if gone.Voter && (voters == 0 || spare < 0) {
		return plan, &failure{exitFailed, errors.New(plan + ": the rest has no quorum"), "bring the others up first, or use --force"}
	}
	return plan, nil
}

// snapshot makes the nodes, or all that answer, write one.
func (p *program) snapshot(ctx context.Context, nodes []string) error {
	c, _, err := p.cluster(ctx)
	if err != nil {
		return err
	}
	members := c.Members
	if len(nodes) > 0 {
		members = nil
		for _, node := range nodes {
			m, err := memberOf(c, node)
			if err != nil {
				return err
			}
			members = append(members, m)
		}
	}
	var results []clusterinfo.Result
	for _, m := range members {
		r := clusterinfo.Result{Address: m.ID, Kind: "nsqlookupd"}
		start := time.Now()
		if m.HTTPAddress == "" {
			r.Err = errors.New("it does not answer, its HTTP address is not known")
		} else {
			r.Err = p.client.SnapshotMember(ctx, m.HTTPAddress)
		}
		r.Took = time.Since(start)
		results = append(results, r)
	}
	d := newDone("snapshot", "", "", results)
	return p.showDoneIn([]done{d}, func(t *text) { writeTable(t, snapshotColumns, d.Results) })
}

var snapshotColumns = []column[outcome]{
	{name: "ACTION", cell: func(outcome) cell { return cell{text: "snapshot"} }},
	{name: "NODE", cell: func(o outcome) cell { return cell{text: o.Address} }},
	{name: "RESULT", cell: func(o outcome) cell {
		if o.Error != "" {
			return cell{"FAILED", bad}
		}
		return cell{"done", good}
	}},
}

func newClusterWaitCommand(p *program) *cobra.Command {
	state, members := "healthy", 0
	cmd := &cobra.Command{
		Use: "wait", Short: "Wait until the cluster is healthy, or has a leader",
		Long: "Waits until the cluster is in the state of --for, for a minute if --timeout says\nnothing else. Exit code 1 if it does not come to that.",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if state != "healthy" && state != "leader" {
				return usageError("", "--for must be healthy or leader, not %q", state)
			}
			limit := time.Minute
			if cmd.Flags().Changed("timeout") {
				limit = p.timeout
			}
			p.timeout = min(p.timeout, 5*time.Second)
			c, err := p.clusterWhen(cmd.Context(), limit, func(c *clusterinfo.Cluster) string { return waitingFor(c, state, members) })
			if err != nil {
				return err
			}
			return p.write(clusterPage(c))
		},
	}
	cmd.Flags().StringVar(&state, "for", state, "`state`: healthy (all voters, and their registries agree) or leader (a quorum has one)")
	cmd.Flags().IntVar(&members, "members", 0, "wait for that `number` of voters, too")
	return cmd
}

// waitingFor says what c lacks of state, "" if nothing.
func waitingFor(c *clusterinfo.Cluster, state string, members int) string {
	mood, verdict := clusterVerdict(c)
	switch {
	case c.Voters < members:
		return fmt.Sprintf("%d of %d voters", c.Voters, members)
	case mood == bad, state == "healthy" && mood == warning:
		return verdict
	case c.Leader == "" && c.Role != "alone":
		return "no leader"
	}
	return ""
}

// clusterWhen asks for the cluster until lacking says "" of it, at most for limit.
func (p *program) clusterWhen(ctx context.Context, limit time.Duration, lacking func(*clusterinfo.Cluster) string) (*clusterinfo.Cluster, error) {
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var why error // the newest reason that was not made by the end of waiting
	for {
		c, _, err := p.cluster(waiting)
		if err == nil {
			lacks := lacking(c)
			if lacks == "" {
				return c, nil
			}
			err = &failure{exitFailed, fmt.Errorf("after %v: %s", limit, lacks), "nsqctl doctor may say why"}
		}
		if why == nil || waiting.Err() == nil {
			why = err
		}
		select {
		case <-waiting.Done():
			return nil, cmp.Or(ctx.Err(), why)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// memberOf returns the member called node.
func memberOf(c *clusterinfo.Cluster, node string) (*clusterinfo.Member, error) {
	var ids []string
	for _, m := range c.Members {
		if m.ID == node {
			return m, nil
		}
		ids = append(ids, m.ID)
	}
	return nil, &failure{exitFailed, fmt.Errorf("%q is no member of the cluster", node), "members are " + strings.Join(ids, ", ")}
}

// clusterFailure says what was tried and what that nsqlookupd answered.
func clusterFailure(what string, err error) error {
	f := &failure{code: exitFailed, err: fmt.Errorf("%s: %w", what, err), hint: "see nsqctl cluster status"}
	var status *clusterinfo.StatusError
	if errors.Is(err, clusterinfo.ErrNotClustered) {
		// It is, or its status would not have been had.
		f.err, f.hint = fmt.Errorf("%s: this nsqlookupd does not offer it", what), "it is older than nsqctl"
	}
	if errors.Is(err, clusterinfo.ErrUnknownOutcome) {
		f.hint = "see nsqctl cluster status whether it happened"
	} else if errors.As(err, &status) {
		switch {
		case status.Status < 500:
			f.hint = "see nsqctl cluster members"
		case strings.Contains(status.Text, "LEADER") || strings.Contains(status.Text, "QUORUM"):
			f.hint = "nothing was changed: without a leader it cannot be. See nsqctl cluster status"
		}
	}
	return f
}

// completeMembers offers the members' ids.
func (p *program) completeMembers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return p.complete(cmd, func(ctx context.Context) []string {
		c, _, err := p.cluster(ctx)
		if err != nil {
			return nil
		}
		var ids []string
		for _, m := range c.Members {
			if !slices.Contains(args, m.ID) {
				ids = append(ids, m.ID)
			}
		}
		return ids
	})
}
