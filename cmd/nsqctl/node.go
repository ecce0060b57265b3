package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/suggest"
)

func newNodeCommand(p *program) *cobra.Command {
	return group("node", "The nsqds: list, describe, drain",
		&cobra.Command{
			Use: "ls", Aliases: []string{"list"}, Short: "All nsqds with their numbers",
			Args: exactly(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return p.show(cmd.Context(), func(ctx context.Context) (*page, error) {
					v, err := p.nodeView(ctx)
					if err != nil {
						return nil, err
					}
					rows := nodeRows(v)
					if len(rows) == 0 {
						p.note("no nsqds")
					}
					return &page{value: rows, text: func(t *text) { writeTable(t, nodeColumns, rows) }, err: missing(v)}, nil
				})
			},
		},
		&cobra.Command{
			Use: "describe NSQD", Short: "One nsqd: its topics and channels; NSQD is an HTTP address or a host name",
			Args: exactly("NSQD"), ValidArgsFunction: p.completeNodes,
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.show(cmd.Context(), func(ctx context.Context) (*page, error) { return p.nodePage(ctx, args[0]) })
			},
		},
		newDrainCommand(p),
	)
}

// A nodeRow is one nsqd.
type nodeRow struct {
	Node             string   `json:"node"` // HTTP address
	State            string   `json:"state"`
	Error            string   `json:"error,omitempty"`
	AgeSeconds       int64    `json:"age_seconds"` // of the numbers; -1: there are none
	Hostname         string   `json:"hostname"`
	BroadcastAddress string   `json:"broadcast_address"`
	TCPPort          int      `json:"tcp_port"`
	HTTPPort         int      `json:"http_port"`
	Version          string   `json:"version"`
	Zone             string   `json:"topology_zone"`
	Region           string   `json:"topology_region"`
	Topics           int      `json:"topics"`
	Channels         int      `json:"channels"`
	Depth            int64    `json:"depth"`
	InFlight         int64    `json:"in_flight_count"`
	Clients          int64    `json:"client_count"`
	Messages         int64    `json:"message_count"`
	Health           string   `json:"health"`
	StartTime        int64    `json:"start_time"`
	DiskFreeBytes    int64    `json:"disk_free_bytes"` // -1: unknown
	RoundTripMS      float64  `json:"round_trip_ms"`
	Lookupds         []string `json:"lookupds"` // that list it
}

func nodeRows(v *clusterinfo.View) []nodeRow {
	rows := []nodeRow{}
	for _, n := range v.Nodes {
		rows = append(rows, newNodeRow(n, v.At))
	}
	return rows
}

func newNodeRow(n *clusterinfo.Node, at time.Time) nodeRow {
	r := nodeRow{
		Node: n.Address, State: string(n.State), AgeSeconds: -1, Hostname: n.Hostname, BroadcastAddress: n.BroadcastAddress,
		TCPPort: n.TCPPort, HTTPPort: n.HTTPPort, Version: n.Version, Zone: n.TopologyZone, Region: n.TopologyRegion,
		Depth: n.Depth, InFlight: n.InFlight, Clients: n.Clients, Messages: n.Messages, DiskFreeBytes: n.DiskFreeBytes,
		RoundTripMS: float64(n.RoundTrip.Microseconds()) / 1000, Lookupds: append([]string{}, n.Lookupds...), Topics: len(n.Topics),
	}
	if n.DiskFreeBytes == 0 {
		r.DiskFreeBytes = -1
	}
	if n.Err != nil {
		r.Error = n.Err.Error()
	}
	if n.Stats != nil {
		r.AgeSeconds = int64(at.Sub(n.StatsAt).Seconds())
		r.Topics, r.Health, r.StartTime = len(n.Stats.Topics), n.Stats.Health, n.Stats.StartTime
		for _, t := range n.Stats.Topics {
			r.Channels += len(t.Channels)
		}
	}
	return r
}

// daemonState is the state of a daemon in a cell.
func daemonState(s clusterinfo.State) cell {
	switch s {
	case clusterinfo.Up:
		return cell{string(s), good}
	case clusterinfo.Down:
		return cell{string(s), bad}
	}
	return cell{string(s), warning}
}

func nodeKnown(r nodeRow) bool { return r.AgeSeconds >= 0 }

var nodeColumns = []column[nodeRow]{
	{name: "NSQD", cell: func(r nodeRow) cell { return cell{text: r.Node} }},
	{name: "HOST", cell: func(r nodeRow) cell { return cell{text: dash(r.Hostname)} }},
	{name: "STATE", cell: func(r nodeRow) cell { return daemonState(clusterinfo.State(r.State)) }},
	{name: "TOPICS", right: true, cell: ifKnown(nodeKnown, func(r nodeRow) int64 { return int64(r.Topics) })},
	{name: "CHANNELS", right: true, wide: true, cell: ifKnown(nodeKnown, func(r nodeRow) int64 { return int64(r.Channels) })},
	{name: "DEPTH", right: true, cell: ifKnown(nodeKnown, func(r nodeRow) int64 { return r.Depth })},
	{name: "IN FLIGHT", right: true, cell: ifKnown(nodeKnown, func(r nodeRow) int64 { return r.InFlight })},
	{name: "CLIENTS", right: true, cell: ifKnown(nodeKnown, func(r nodeRow) int64 { return r.Clients })},
	{name: "MESSAGES", right: true, wide: true, cell: ifKnown(nodeKnown, func(r nodeRow) int64 { return r.Messages })},
	{name: "FREE", right: true, cell: func(r nodeRow) cell { return cell{text: size(r.DiskFreeBytes)} }},
	{name: "UPTIME", right: true, cell: func(r nodeRow) cell {
		if r.StartTime <= 0 {
			return cell{text: "-"}
		}
		return cell{text: span(time.Since(time.Unix(r.StartTime, 0)))}
	}},
	{name: "RTT", right: true, wide: true, cell: func(r nodeRow) cell { return cell{text: millis(r.RoundTripMS)} }},
	{name: "TCP", right: true, wide: true, cell: func(r nodeRow) cell { return cell{text: fmt.Sprint(r.TCPPort)} }},
	{name: "ZONE", wide: true, cell: func(r nodeRow) cell {
		return cell{text: dash(strings.Trim(r.Region+"/"+r.Zone, "/"))}
	}},
	{name: "LOOKUPDS", right: true, wide: true, cell: func(r nodeRow) cell { return cell{text: fmt.Sprint(len(r.Lookupds))} }},
	{name: "VERSION", cell: func(r nodeRow) cell { return cell{text: dash(r.Version)} }},
}

// nodeView is what pages of nsqds are made of. Which nsqlookupds list an nsqd only all
// of them can tell; the short table does without.
func (p *program) nodeView(ctx context.Context) (*clusterinfo.View, error) {
	if p.output == "table" {
		return p.view(ctx)
	}
	return p.viewAll(ctx)
}

// nodePage is the page of one nsqd.
func (p *program) nodePage(ctx context.Context, name string) (*page, error) {
	v, err := p.nodeView(ctx)
	if err != nil {
		return nil, err
	}
	n, err := nodeOf(v, name)
	if err != nil {
		return nil, err
	}
	value := struct {
		nodeRow
		TopicRows   []topicRow   `json:"topic_list"`
		ChannelRows []channelRow `json:"channel_list"`
	}{newNodeRow(n, v.At), []topicRow{}, []channelRow{}}
	for _, t := range v.Topics {
		if t = only(t, n); t == nil {
			continue
		}
		value.TopicRows = append(value.TopicRows, newTopicRow(t))
		for _, c := range t.Channels {
			value.ChannelRows = append(value.ChannelRows, newChannelRow(c))
		}
	}
	pg := &page{value: value, rows: value.ChannelRows, text: func(out *text) {
		writeTable(out, nodeColumns, []nodeRow{value.nodeRow})
		if value.Error != "" {
			out.line(bad, "%s", value.Error)
		}
		if len(value.TopicRows) > 0 {
			out.blank()
			writeTable(out, topicColumns[:len(topicColumns)-1], value.TopicRows)
		}
		if len(value.ChannelRows) > 0 {
			out.blank()
			writeTable(out, channelColumns[:len(channelColumns)-1], value.ChannelRows)
		}
	}}
	if n.Stale() {
		pg.err = &failure{exitUnreachable, fmt.Errorf("%s is %s: %w", n.Address, n.State, n.Err), "nsqctl doctor says more"}
	}
	return pg, nil
}

// only returns t with the numbers of one node, nil if the node has not told any.
func only(t *clusterinfo.Topic, node *clusterinfo.Node) *clusterinfo.Topic {
	for _, n := range t.Nodes {
		if n.Node != node || node.Stats == nil {
			continue
		}
		s := n.Stats
		alone := &clusterinfo.Topic{
			Name: t.Name, Depth: s.Depth, BackendDepth: s.BackendDepth, MemoryDepth: s.Depth - s.BackendDepth,
			MessageCount: s.MessageCount, MessageBytes: s.MessageBytes, Nodes: []*clusterinfo.TopicOnNode{n}, PausedOn: one(s.Paused),
		}
		for _, c := range s.Channels {
			alone.Channels = append(alone.Channels, onlyChannel(t.Name, c, node))
			alone.InFlight += c.InFlightCount
			alone.Deferred += c.DeferredCount
			alone.Requeued += c.RequeueCount
			alone.TimedOut += c.TimeoutCount
			alone.Clients += c.ClientCount
		}
		return alone
	}
	return nil
}

func onlyChannel(topic string, c *clusterinfo.ChannelStats, node *clusterinfo.Node) *clusterinfo.Channel {
	return &clusterinfo.Channel{
		Name: c.Name, Topic: topic, Depth: c.Depth, BackendDepth: c.BackendDepth, MemoryDepth: c.Depth - c.BackendDepth,
		InFlight: c.InFlightCount, Deferred: c.DeferredCount, MessageCount: c.MessageCount, Requeued: c.RequeueCount, TimedOut: c.TimeoutCount,
		Finished: c.MessageCount - c.Depth - c.InFlightCount - c.DeferredCount, Clients: c.ClientCount, PausedOn: one(c.Paused),
		Nodes: []*clusterinfo.ChannelOnNode{{Node: node, Stats: c}},
	}
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// nodeOf returns the nsqd that name means: an address, or a host with one nsqd.
func nodeOf(v *clusterinfo.View, name string) (*clusterinfo.Node, error) {
	if n := v.Node(name); n != nil {
		return n, nil
	}
	var addresses []string
	var found []*clusterinfo.Node
	for _, n := range v.Nodes {
		addresses = append(addresses, n.Address)
		if n.Hostname == name || n.BroadcastAddress == name {
			found = append(found, n)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, &failure{exitFailed, fmt.Errorf("there are %d nsqds at %s", len(found), name), "name one by its HTTP address: nsqctl node ls"}
	}
	f := &failure{exitFailed, fmt.Errorf("there is no nsqd %q", name), ""}
	if len(addresses) > 0 {
		f.hint = "see nsqctl node ls"
		if near := suggest.Nearest(name, addresses); near != "" {
			f.hint = "did you mean " + near + "?"
		}
	}
	return nil, f
}

func newDrainCommand(p *program) *cobra.Command {
	var yes, dry, wait bool
	cmd := &cobra.Command{
		Use: "drain NSQD", Short: "Let an nsqd end softly: it takes nothing new, and ends when its consumers are done",
		Long: "Lets an nsqd end softly: it deregisters, takes nothing new, lets its consumers\nfinish what they and their channels have, and ends. What no consumer is there for\nstays on its disk. There is no way back but to start it anew.",
		Args: exactly("NSQD"), ValidArgsFunction: p.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			v, err := p.view(ctx)
			if err != nil {
				return err
			}
			n, err := nodeOf(v, args[0])
			if err != nil {
				return err
			}
			plan := fmt.Sprintf("Drain %s? It has %s, %s in flight, %s.", n.Address, plural(int(n.Depth), "message"), count(n.InFlight), plural(int(n.Clients), "consumer"))
			if dry {
				p.note("%s", plan)
				p.note("nothing was changed (--dry-run)")
				return nil
			}
			if err := p.confirm(ctx, yes, plan); err != nil {
				return err
			}
			if err := p.client.Drain(ctx, n.Address); err != nil {
				return drainFailure(err)
			}
			p.note("%s drains", n.Address)
			if wait {
				return p.awaitDrained(ctx, n.Address)
			}
			return nil
		},
	}
	addConsent(cmd, &yes, &dry)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has ended")
	return cmd
}

func drainFailure(err error) error {
	f := &failure{exitFailed, fmt.Errorf("drain: %w", err), ""}
	var status *clusterinfo.StatusError
	switch {
	case errors.Is(err, clusterinfo.ErrUnknownOutcome):
		f.hint = "nsqctl node ls shows whether it drains"
	case notReached(err):
		f.code = exitUnreachable
	case errors.As(err, &status) && status.Status == 403:
		f.hint = "it takes this only from the network of its --allow-config-from-cidr; run nsqctl there"
	case errors.As(err, &status):
		f.hint = "stock nsqd cannot: take it from its publishers, wait until nsqctl node ls shows depth 0, and stop it"
	}
	return f
}

// awaitDrained returns when the nsqd at address is gone, and tells what it still has.
func (p *program) awaitDrained(ctx context.Context, address string) error {
	for last := int64(-1); ; {
		stats, err := p.client.Stats(ctx, address, clusterinfo.StatsFilter{})
		if notReached(err) {
			p.note("%s has ended", address)
			return nil
		}
		if err == nil {
			left := int64(0)
			for _, t := range stats.Topics {
				for _, c := range t.Channels {
					left += c.Depth + c.InFlightCount
				}
			}
			if left != last {
				p.note("%s: %s left in channels", address, plural(int(left), "message"))
			}
			last = left
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of %s: %w", address, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// completeNodes offers the nsqds.
func (p *program) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return p.complete(cmd, func(ctx context.Context) []string {
		if len(args) > 0 {
			return nil
		}
		producers, _ := p.client.Producers(ctx, p.lookupds)
		var addresses []string
		for _, n := range producers {
			addresses = append(addresses, n.HTTPAddress())
		}
		return addresses
	})
}

// atOnce is how many daemons are asked at the same time by each.
const atOnce = 16

// each calls f for 0 to n-1, some at the same time, and returns when all have returned.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	turns := make(chan struct{}, atOnce)
	for i := range n {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			f(i)
		})
	}
	wg.Wait()
}
