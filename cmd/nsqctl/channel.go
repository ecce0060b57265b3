package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/wire"
)

func newChannelCommand(p *program) *cobra.Command {
	return group("channel", "Channels: list, describe, create, pause, empty, delete",
		newChannelListCommand(p),
		&cobra.Command{
			Use: "describe TOPIC CHANNEL", Short: "One channel: its numbers on each nsqd, and its consumers",
			Args: exactly("TOPIC", "CHANNEL"), ValidArgsFunction: p.completeChannels,
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.show(cmd.Context(), func(ctx context.Context) (*page, error) { return p.channelPage(ctx, args[0], args[1]) })
			},
		},
		&cobra.Command{
			Use: "create TOPIC CHANNEL...", Short: "Create channels, and the topic if need be",
			Long: "Creates channels, and the topic if need be: on the nsqlookupds, and on the nsqds\nthat have the topic. From then on the channel keeps what is published.",
			Args: func(cmd *cobra.Command, args []string) error {
				if len(args) < 2 {
					return between(2, "TOPIC", "CHANNEL")(cmd, args)
				}
				return nil
			},
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.createChannels(cmd.Context(), args[0], args[1:])
			},
		},
		newChannelActionCommand(p, pauseAction),
		newChannelActionCommand(p, unpauseAction),
		newChannelActionCommand(p, emptyAction),
		newChannelActionCommand(p, deleteAction),
	)
}

func newChannelListCommand(p *program) *cobra.Command {
	var match pattern
	cmd := &cobra.Command{
		Use: "ls [TOPIC]", Aliases: []string{"list"}, Short: "The channels of one topic or of all, with their numbers over all nsqds",
		Args: between(0, "TOPIC"), ValidArgsFunction: p.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.show(cmd.Context(), func(ctx context.Context) (*page, error) {
				v, err := p.view(ctx)
				if err != nil {
					return nil, err
				}
				topics := v.Topics
				if len(args) > 0 {
					t, err := topicOf(v, args[0])
					if err != nil {
						return nil, err
					}
					topics = []*clusterinfo.Topic{t}
				}
				rows := []channelRow{}
				for _, t := range topics {
					for _, c := range t.Channels {
						if match.ok(c.Name) {
							rows = append(rows, newChannelRow(c))
						}
					}
				}
				if len(rows) == 0 {
					p.note("no channels")
				}
				return &page{value: rows, text: func(t *text) { writeTable(t, channelColumns, rows) }, err: missing(v)}, nil
			})
		},
	}
	cmd.Flags().Var(&match, "match", "only channels whose whole name matches this regular `expression`")
	return cmd
}

// A channelRow is a channel over all nsqds. Names of numbers are those of nsqd's /stats.
type channelRow struct {
	Topic        string `json:"topic_name"`
	Channel      string `json:"channel_name"`
	State        string `json:"state"` // ok, paused, partly paused, inactive
	Depth        int64  `json:"depth"`
	MemoryDepth  int64  `json:"memory_depth"`
	BackendDepth int64  `json:"backend_depth"`
	InFlight     int64  `json:"in_flight_count"`
	Deferred     int64  `json:"deferred_count"`
	Requeued     int64  `json:"requeue_count"`
	TimedOut     int64  `json:"timeout_count"`
	Messages     int64  `json:"message_count"`
	Finished     int64  `json:"finish_count"`
	Clients      int64  `json:"client_count"`
	Nodes        int    `json:"nodes"`
	StaleNodes   int    `json:"stale_nodes"`
}

func newChannelRow(c *clusterinfo.Channel) channelRow {
	return channelRow{
		Topic: c.Topic, Channel: c.Name, State: pauseState(c.PausedOn, len(c.Nodes)),
		Depth: c.Depth, MemoryDepth: c.MemoryDepth, BackendDepth: c.BackendDepth, InFlight: c.InFlight, Deferred: c.Deferred,
		Requeued: c.Requeued, TimedOut: c.TimedOut, Messages: c.MessageCount, Finished: c.Finished, Clients: c.Clients,
		Nodes: len(c.Nodes), StaleNodes: c.StaleNodes,
	}
}

var channelColumns = []column[channelRow]{
	{name: "TOPIC", cell: func(r channelRow) cell { return cell{text: r.Topic} }},
	{name: "CHANNEL", cell: func(r channelRow) cell { return cell{text: r.Channel} }},
	{name: "STATE", cell: func(r channelRow) cell { return stateCell(r.State) }},
	{name: "DEPTH", right: true, cell: number(func(r channelRow) int64 { return r.Depth })},
	{name: "MEMORY", right: true, wide: true, cell: number(func(r channelRow) int64 { return r.MemoryDepth })},
	{name: "ON DISK", right: true, wide: true, cell: number(func(r channelRow) int64 { return r.BackendDepth })},
	{name: "IN FLIGHT", right: true, cell: number(func(r channelRow) int64 { return r.InFlight })},
	{name: "DEFERRED", right: true, cell: number(func(r channelRow) int64 { return r.Deferred })},
	{name: "REQUEUED", right: true, cell: number(func(r channelRow) int64 { return r.Requeued })},
	{name: "TIMED OUT", right: true, cell: number(func(r channelRow) int64 { return r.TimedOut })},
	{name: "MESSAGES", right: true, cell: number(func(r channelRow) int64 { return r.Messages })},
	{name: "FINISHED", right: true, wide: true, cell: number(func(r channelRow) int64 { return r.Finished })},
	{name: "CLIENTS", right: true, cell: func(r channelRow) cell {
		if r.Clients == 0 && r.Depth > 0 {
			return cell{"0", warning}
		}
		return cell{text: count(r.Clients)}
	}},
	{name: "NSQDS", cell: func(r channelRow) cell { return nodesCell(r.Nodes, r.StaleNodes) }},
}

// A channelNodeRow is a channel on one nsqd.
type channelNodeRow struct {
	Node         string `json:"node"`
	State        string `json:"state"` // of the nsqd
	Paused       bool   `json:"paused"`
	Depth        int64  `json:"depth"`
	BackendDepth int64  `json:"backend_depth"`
	InFlight     int64  `json:"in_flight_count"`
	Deferred     int64  `json:"deferred_count"`
	Requeued     int64  `json:"requeue_count"`
	TimedOut     int64  `json:"timeout_count"`
	Messages     int64  `json:"message_count"`
	Clients      int64  `json:"client_count"`
	Known        bool   `json:"known"` // whether the nsqd has told its numbers
}

func newChannelNodeRow(n *clusterinfo.ChannelOnNode) channelNodeRow {
	r := channelNodeRow{Node: n.Node.Address, State: string(n.Node.State)}
	if s := n.Stats; n.Node.Stats != nil {
		r.Known, r.Paused, r.Depth, r.BackendDepth = true, s.Paused, s.Depth, s.BackendDepth
		r.InFlight, r.Deferred, r.Requeued, r.TimedOut = s.InFlightCount, s.DeferredCount, s.RequeueCount, s.TimeoutCount
		r.Messages, r.Clients = s.MessageCount, s.ClientCount
	}
	return r
}

func channelNodeKnown(r channelNodeRow) bool { return r.Known }

var channelNodeColumns = []column[channelNodeRow]{
	{name: "NSQD", cell: func(r channelNodeRow) cell { return cell{text: r.Node} }},
	{name: "STATE", cell: func(r channelNodeRow) cell { return daemonState(clusterinfo.State(r.State)) }},
	{name: "PAUSED", cell: func(r channelNodeRow) cell { return pausedCell(r.Paused) }},
	{name: "DEPTH", right: true, cell: ifKnown(channelNodeKnown, func(r channelNodeRow) int64 { return r.Depth })},
	{name: "ON DISK", right: true, wide: true, cell: ifKnown(channelNodeKnown, func(r channelNodeRow) int64 { return r.BackendDepth })},
	{name: "IN FLIGHT", right: true, cell: ifKnown(channelNodeKnown, func(r channelNodeRow) int64 { return r.InFlight })},
	{name: "DEFERRED", right: true, cell: ifKnown(channelNodeKnown, func(r channelNodeRow) int64 { return r.Deferred })},
	{name: "REQUEUED", right: true, cell: ifKnown(channelNodeKnown, func(r channelNodeRow) int64 { return r.Requeued })},
	{name: "TIMED OUT", right: true, cell: ifKnown(channelNodeKnown, func(r channelNodeRow) int64 { return r.TimedOut })},
	{name: "MESSAGES", right: true, cell: ifKnown(channelNodeKnown, func(r channelNodeRow) int64 { return r.Messages })},
	{name: "CLIENTS", right: true, cell: ifKnown(channelNodeKnown, func(r channelNodeRow) int64 { return r.Clients })},
}

// A clientRow is a consumer of a channel on one nsqd.
type clientRow struct {
	Topic     string   `json:"topic_name"`
	Channel   string   `json:"channel_name"`
	Node      string   `json:"node"`
	Client    string   `json:"client_id"`
	Hostname  string   `json:"hostname"`
	Remote    string   `json:"remote_address"`
	UserAgent string   `json:"user_agent"`
	Ready     int64    `json:"ready_count"`
	InFlight  int64    `json:"in_flight_count"`
	Finished  int64    `json:"finish_count"`
	Requeued  int64    `json:"requeue_count"`
	Messages  int64    `json:"message_count"`
	Connected int64    `json:"connect_ts"`
	Traits    []string `json:"traits"`
}

func newClientRow(topic, channel, node string, c *clusterinfo.ClientStats) clientRow {
	r := clientRow{
		Topic: topic, Channel: channel, Node: node, Client: c.ClientID, Hostname: c.Hostname, Remote: c.RemoteAddress, UserAgent: c.UserAgent,
		Ready: c.ReadyCount, InFlight: c.InFlightCount, Finished: c.FinishCount, Requeued: c.RequeueCount, Messages: c.MessageCount,
		Connected: c.ConnectTime, Traits: []string{},
	}
	for _, trait := range []struct {
		has  bool
		name string
	}{{c.TLS, "tls"}, {c.Deflate, "deflate"}, {c.Snappy, "snappy"}, {c.Authed, "authed"}} {
		if trait.has {
			r.Traits = append(r.Traits, trait.name)
		}
	}
	if c.SampleRate > 0 {
		r.Traits = append(r.Traits, fmt.Sprintf("sample=%d%%", c.SampleRate))
	}
	if c.TopologyZone != "" {
		r.Traits = append(r.Traits, "zone="+c.TopologyZone)
	}
	return r
}

var clientColumns = []column[clientRow]{
	{name: "CLIENT", cell: func(r clientRow) cell { return cell{text: dash(r.Client)} }},
	{name: "HOST", wide: true, cell: func(r clientRow) cell { return cell{text: dash(r.Hostname)} }},
	{name: "REMOTE", cell: func(r clientRow) cell { return cell{text: dash(r.Remote)} }},
	{name: "NSQD", cell: func(r clientRow) cell { return cell{text: r.Node} }},
	{name: "RDY", right: true, cell: number(func(r clientRow) int64 { return r.Ready })},
	{name: "IN FLIGHT", right: true, cell: number(func(r clientRow) int64 { return r.InFlight })},
	{name: "FINISHED", right: true, cell: number(func(r clientRow) int64 { return r.Finished })},
	{name: "REQUEUED", right: true, cell: number(func(r clientRow) int64 { return r.Requeued })},
	{name: "MESSAGES", right: true, wide: true, cell: number(func(r clientRow) int64 { return r.Messages })},
	{name: "CONNECTED", right: true, cell: func(r clientRow) cell { return cell{text: span(time.Since(time.Unix(r.Connected, 0)))} }},
	{name: "TRAITS", wide: true, cell: func(r clientRow) cell { return cell{text: dash(strings.Join(r.Traits, " "))} }},
	{name: "USER AGENT", wide: true, cell: func(r clientRow) cell { return cell{text: dash(r.UserAgent)} }},
}

// channelPage is the page of one channel.
func (p *program) channelPage(ctx context.Context, topic, name string) (*page, error) {
	v, err := p.view(ctx)
	if err != nil {
		return nil, err
	}
	c, err := channelOf(v, topic, name)
	if err != nil {
		return nil, err
	}
	value := struct {
		channelRow
		Nodes   []channelNodeRow `json:"nodes"`
		Clients []clientRow      `json:"clients"`
	}{newChannelRow(c), []channelNodeRow{}, []clientRow{}}
	var nodes []*clusterinfo.Node
	for _, n := range c.Nodes {
		value.Nodes = append(value.Nodes, newChannelNodeRow(n))
		nodes = append(nodes, n.Node)
	}
	value.Clients = append(value.Clients, p.clients(ctx, nodes, clusterinfo.StatsFilter{Topic: topic, Channel: name, Clients: true})...)
	return &page{value: value, rows: value.Nodes, err: missing(v), text: func(out *text) {
		out.line(head, "Channel %s of %s: %s, depth %s, %s in flight, %s", c.Name, c.Topic, value.State, count(c.Depth), count(c.InFlight), plural(int(c.Clients), "consumer"))
		if out.blank(); len(value.Nodes) > 0 {
			writeTable(out, channelNodeColumns, value.Nodes)
			out.blank()
		}
		if len(value.Clients) == 0 {
			out.line(faint, "no consumers")
			return
		}
		writeTable(out, clientColumns, value.Clients)
	}}, nil
}

// clients returns the consumers on those of nodes that are up.
func (p *program) clients(ctx context.Context, nodes []*clusterinfo.Node, f clusterinfo.StatsFilter) []clientRow {
	rows := make([][]clientRow, len(nodes))
	each(len(nodes), func(i int) {
		n := nodes[i]
		if n.Stale() {
			return
		}
		stats, err := p.client.Stats(ctx, n.Address, f)
		if err != nil {
			return // the View says whether it is up
		}
		for _, t := range stats.Topics {
			for _, c := range t.Channels {
				for _, client := range c.Clients {
					rows[i] = append(rows[i], newClientRow(t.Name, c.Name, n.Address, client))
				}
			}
		}
	})
	return slices.Concat(rows...)
}

// channelOf returns that channel; the failure of an unknown one names similar ones.
func channelOf(v *clusterinfo.View, topic, name string) (*clusterinfo.Channel, error) {
	t, err := topicOf(v, topic)
	if err != nil {
		return nil, err
	}
	if c := t.Channel(name); c != nil {
		return c, nil
	}
	var names []string
	for _, c := range t.Channels {
		names = append(names, c.Name)
	}
	return nil, unknown("channel of "+topic, name, names)
}

func (p *program) createChannels(ctx context.Context, topic string, names []string) error {
	if !wire.ValidTopic(topic) {
		return invalidName("topic", topic)
	}
	for _, name := range names {
		if !wire.ValidChannel(name) {
			return invalidName("channel", name)
		}
	}
	v, err := p.view(ctx)
	if err != nil {
		return err
	}
	to := clusterinfo.Targets{Lookupds: targets(v)}
	if t := v.Topic(topic); t != nil {
		for _, n := range t.Nodes {
			to.NSQDs = append(to.NSQDs, n.Node.Address)
		}
	}
	var all []done
	for _, name := range names {
		all = append(all, newDone("create", topic, name, p.client.CreateChannel(ctx, to, topic, name)))
	}
	return p.showDone(all)
}

// completeChannels offers topics, and then the channels of the one that was chosen.
func (p *program) completeChannels(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return p.completeTopics(cmd, args, word)
	}
	return p.complete(cmd, func(ctx context.Context) []string {
		names, _ := p.client.Channels(ctx, p.lookupds, args[0])
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args[1:], name) })
	})
}
