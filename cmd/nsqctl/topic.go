package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/wire"
)

func newTopicCommand(p *program) *cobra.Command {
	return group("topic", "Topics: list, describe, create, pause, empty, delete",
		newTopicListCommand(p),
		&cobra.Command{
			Use: "describe TOPIC", Short: "One topic: its numbers on each nsqd, and its channels",
			Args: exactly("TOPIC"), ValidArgsFunction: p.completeTopics,
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.show(cmd.Context(), func(ctx context.Context) (*page, error) { return p.topicPage(ctx, args[0]) })
			},
		},
		&cobra.Command{
			Use: "create TOPIC...", Short: "Make topics known to the nsqlookupds",
			Long: "Makes topics known to the nsqlookupds. An nsqd has a topic from the first\nmessage that is published to it there.",
			Args: atLeastOne("TOPIC"),
			RunE: func(cmd *cobra.Command, args []string) error { return p.createTopics(cmd.Context(), args) },
		},
		newTopicActionCommand(p, pauseAction),
		newTopicActionCommand(p, unpauseAction),
		newTopicActionCommand(p, emptyAction),
		newTopicActionCommand(p, deleteAction),
	)
}

// atLeastOne is the Args of a command that takes a list.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError("usage: "+cmd.UseLine(), "%s is missing", name)
		}
		return nil
	}
}

func newTopicListCommand(p *program) *cobra.Command {
	var match pattern
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "All topics with their numbers, over all nsqds",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.show(cmd.Context(), func(ctx context.Context) (*page, error) {
				v, err := p.view(ctx)
				if err != nil {
					return nil, err
				}
				rows := []topicRow{}
				for _, t := range v.Topics {
					if match.ok(t.Name) {
						rows = append(rows, newTopicRow(t))
					}
				}
				if len(rows) == 0 {
					p.note("no topics")
				}
				return &page{value: rows, text: func(t *text) { writeTable(t, topicColumns, rows) }, err: missing(v)}, nil
			})
		},
	}
	cmd.Flags().Var(&match, "match", "only topics whose whole name matches this regular `expression`")
	return cmd
}

// A topicRow is a topic over all nsqds. Names of numbers are those of nsqd's /stats.
type topicRow struct {
	Topic         string `json:"topic_name"`
	State         string `json:"state"` // ok, paused, partly paused, inactive
	Depth         int64  `json:"depth"`
	MemoryDepth   int64  `json:"memory_depth"`
	BackendDepth  int64  `json:"backend_depth"`
	InFlight      int64  `json:"in_flight_count"`
	Deferred      int64  `json:"deferred_count"`
	Requeued      int64  `json:"requeue_count"`
	TimedOut      int64  `json:"timeout_count"`
	Messages      int64  `json:"message_count"`
	Bytes         int64  `json:"message_bytes"`
	Channels      int    `json:"channels"`
	ChannelsDepth int64  `json:"channels_depth"`
	Clients       int64  `json:"client_count"`
	Nodes         int    `json:"nodes"`
	StaleNodes    int    `json:"stale_nodes"` // of nodes, whose numbers are old or unknown
}

func newTopicRow(t *clusterinfo.Topic) topicRow {
	r := topicRow{
		Topic: t.Name, State: pauseState(t.PausedOn, len(t.Nodes)), Depth: t.Depth, MemoryDepth: t.MemoryDepth, BackendDepth: t.BackendDepth,
		InFlight: t.InFlight, Deferred: t.Deferred, Requeued: t.Requeued, TimedOut: t.TimedOut, Messages: t.MessageCount, Bytes: t.MessageBytes,
		Channels: len(t.Channels), Clients: t.Clients, Nodes: len(t.Nodes), StaleNodes: t.StaleNodes,
	}
	for _, c := range t.Channels {
		r.ChannelsDepth += c.Depth
	}
	return r
}

// pauseState is the state of a topic or channel that is on so many nsqds.
func pauseState(pausedOn, nodes int) string {
	switch {
	case nodes == 0:
		return "inactive"
	case pausedOn == 0:
		return "ok"
	case pausedOn < nodes:
		return fmt.Sprintf("paused on %d of %d", pausedOn, nodes)
	}
	return "paused"
}

func stateCell(state string) cell {
	switch state {
	case "ok":
		return cell{state, good}
	case "inactive":
		return cell{state, faint}
	}
	return cell{state, warning}
}

// nodesCell tells on how many nsqds something is, and of how many of them the numbers
// are old.
func nodesCell(nodes, stale int) cell {
	if stale > 0 {
		return cell{fmt.Sprintf("%d (%d stale)", nodes, stale), warning}
	}
	return cell{text: fmt.Sprint(nodes)}
}

// number is the cell function of a count.
func number[T any](f func(T) int64) func(T) cell {
	return func(row T) cell { return cell{text: count(f(row))} }
}

var topicColumns = []column[topicRow]{
	{name: "TOPIC", cell: func(r topicRow) cell { return cell{text: r.Topic} }},
	{name: "STATE", cell: func(r topicRow) cell { return stateCell(r.State) }},
	{name: "DEPTH", right: true, cell: number(func(r topicRow) int64 { return r.Depth })},
	{name: "MEMORY", right: true, wide: true, cell: number(func(r topicRow) int64 { return r.MemoryDepth })},
	{name: "ON DISK", right: true, wide: true, cell: number(func(r topicRow) int64 { return r.BackendDepth })},
	{name: "CH DEPTH", right: true, cell: number(func(r topicRow) int64 { return r.ChannelsDepth })},
	{name: "IN FLIGHT", right: true, cell: number(func(r topicRow) int64 { return r.InFlight })},
	{name: "DEFERRED", right: true, cell: number(func(r topicRow) int64 { return r.Deferred })},
	{name: "REQUEUED", right: true, wide: true, cell: number(func(r topicRow) int64 { return r.Requeued })},
	{name: "TIMED OUT", right: true, wide: true, cell: number(func(r topicRow) int64 { return r.TimedOut })},
	{name: "MESSAGES", right: true, cell: number(func(r topicRow) int64 { return r.Messages })},
	{name: "BYTES", right: true, wide: true, cell: func(r topicRow) cell { return cell{text: size(r.Bytes)} }},
	{name: "CHANNELS", right: true, cell: number(func(r topicRow) int64 { return int64(r.Channels) })},
	{name: "CLIENTS", right: true, cell: number(func(r topicRow) int64 { return r.Clients })},
	{name: "NSQDS", cell: func(r topicRow) cell { return nodesCell(r.Nodes, r.StaleNodes) }},
}

// A topicNodeRow is a topic on one nsqd.
type topicNodeRow struct {
	Node         string `json:"node"`
	State        string `json:"state"` // of the nsqd
	Depth        int64  `json:"depth"`
	BackendDepth int64  `json:"backend_depth"`
	Messages     int64  `json:"message_count"`
	Bytes        int64  `json:"message_bytes"`
	Paused       bool   `json:"paused"`
	Tombstoned   bool   `json:"tombstoned"`
	Known        bool   `json:"known"` // whether the nsqd has told its numbers
}

func newTopicNodeRow(n *clusterinfo.TopicOnNode) topicNodeRow {
	r := topicNodeRow{Node: n.Node.Address, State: string(n.Node.State), Tombstoned: n.Tombstoned}
	if s := n.Stats; n.Node.Stats != nil {
		r.Known, r.Depth, r.BackendDepth, r.Messages, r.Bytes, r.Paused = true, s.Depth, s.BackendDepth, s.MessageCount, s.MessageBytes, s.Paused
	}
	return r
}

// ifKnown is the cell function of a count that may be unknown.
func ifKnown[T any](known func(T) bool, f func(T) int64) func(T) cell {
	return func(row T) cell {
		if !known(row) {
			return cell{"?", warning}
		}
		return cell{text: count(f(row))}
	}
}

func topicNodeKnown(r topicNodeRow) bool { return r.Known }

var topicNodeColumns = []column[topicNodeRow]{
	{name: "NSQD", cell: func(r topicNodeRow) cell { return cell{text: r.Node} }},
	{name: "STATE", cell: func(r topicNodeRow) cell {
		c := daemonState(clusterinfo.State(r.State))
		if r.Tombstoned {
			c = cell{c.text + ", tombstoned", warning}
		}
		return c
	}},
	{name: "PAUSED", cell: func(r topicNodeRow) cell { return pausedCell(r.Paused) }},
	{name: "DEPTH", right: true, cell: ifKnown(topicNodeKnown, func(r topicNodeRow) int64 { return r.Depth })},
	{name: "ON DISK", right: true, cell: ifKnown(topicNodeKnown, func(r topicNodeRow) int64 { return r.BackendDepth })},
	{name: "MESSAGES", right: true, cell: ifKnown(topicNodeKnown, func(r topicNodeRow) int64 { return r.Messages })},
	{name: "BYTES", right: true, wide: true, cell: func(r topicNodeRow) cell { return cell{text: size(r.Bytes)} }},
}

func pausedCell(paused bool) cell {
	if paused {
		return cell{"yes", warning}
	}
	return cell{text: "no"}
}

// topicPage is the page of one topic.
func (p *program) topicPage(ctx context.Context, name string) (*page, error) {
	v, err := p.view(ctx)
	if err != nil {
		return nil, err
	}
	t, err := topicOf(v, name)
	if err != nil {
		return nil, err
	}
	value := struct {
		topicRow
		Nodes    []topicNodeRow `json:"nodes"`
		Channels []channelRow   `json:"channels"`
	}{newTopicRow(t), []topicNodeRow{}, []channelRow{}}
	for _, n := range t.Nodes {
		value.Nodes = append(value.Nodes, newTopicNodeRow(n))
	}
	for _, c := range t.Channels {
		value.Channels = append(value.Channels, newChannelRow(c))
	}
	return &page{value: value, rows: value.Nodes, err: missing(v), text: func(out *text) {
		out.line(head, "Topic %s: %s, depth %s, %s published, %s", t.Name, value.State, count(t.Depth), count(t.MessageCount), size(t.MessageBytes))
		if t.Inactive() {
			out.line(faint, "no nsqd has it: none has published to it, or those that did are gone")
		}
		out.blank()
		writeTable(out, topicNodeColumns, value.Nodes)
		out.blank()
		if len(value.Channels) == 0 {
			out.line(faint, "no channels: the messages wait for the first")
			return
		}
		writeTable(out, channelColumns[1:], value.Channels)
	}}, nil
}

// topicOf returns the topic called name; the failure of an unknown one names similar ones.
func topicOf(v *clusterinfo.View, name string) (*clusterinfo.Topic, error) {
	if t := v.Topic(name); t != nil {
		return t, nil
	}
	var names []string
	for _, t := range v.Topics {
		names = append(names, t.Name)
	}
	return nil, unknown("topic", name, names)
}

func (p *program) createTopics(ctx context.Context, names []string) error {
	for _, name := range names {
		if !wire.ValidTopic(name) {
			return invalidName("topic", name)
		}
	}
	v, err := p.view(ctx)
	if err != nil {
		return err
	}
	var all []done
	for _, name := range names {
		results := p.client.CreateTopic(ctx, clusterinfo.Targets{Lookupds: targets(v)}, name)
		all = append(all, newDone("create", name, "", results))
	}
	return p.showDone(all)
}

// completeTopics offers topics.
func (p *program) completeTopics(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return p.complete(cmd, func(ctx context.Context) []string {
		names, _ := p.client.Topics(ctx, p.lookupds)
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) })
	})
}

// A pattern is the flag --match: a regular expression of whole names. The zero value
// matches all.
type pattern struct {
	source string
	re     *regexp.Regexp
}

func (m *pattern) String() string { return m.source }
func (m *pattern) Type() string   { return "regexp" }

func (m *pattern) Set(source string) error {
	re, err := regexp.Compile(`^(?:` + source + `)$`)
	if err != nil {
		return fmt.Errorf("%q is no regular expression", source)
	}
	m.source, m.re = source, re
	return nil
}

func (m *pattern) given() bool         { return m.re != nil }
func (m *pattern) ok(name string) bool { return m.re == nil || m.re.MatchString(name) }
