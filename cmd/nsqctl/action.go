package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/suggest"
	"nsqraft/internal/wire"
)

// An action is what topic and channel do alike to what is there already.
type action struct {
	name     string
	topics   string // what it does to a topic
	channels string // and to a channel
	takes    bool   // it takes something away: there is no way back
	registry bool   // it concerns the nsqlookupds, too
	do       func(ctx context.Context, c *clusterinfo.Client, to clusterinfo.Targets, topic, channel string) []clusterinfo.Result
}

var (
	pauseAction = action{
		name:     "pause",
		topics:   "Stop the flow from topics into their channels; they go on taking messages",
		channels: "Stop the flow from channels to their consumers; they go on taking messages",
		do: func(ctx context.Context, c *clusterinfo.Client, to clusterinfo.Targets, topic, channel string) []clusterinfo.Result {
			return c.Pause(ctx, to, topic, channel, true)
		},
	}
	unpauseAction = action{
		name:     "unpause",
		topics:   "Let messages flow from topics into their channels again",
		channels: "Let messages flow from channels to their consumers again",
		do: func(ctx context.Context, c *clusterinfo.Client, to clusterinfo.Targets, topic, channel string) []clusterinfo.Result {
			return c.Pause(ctx, to, topic, channel, false)
		},
	}
	emptyAction = action{
		name:     "empty",
		topics:   "Drop the messages of topics that no channel has yet",
		channels: "Drop all messages of channels",
		takes:    true,
		do: func(ctx context.Context, c *clusterinfo.Client, to clusterinfo.Targets, topic, channel string) []clusterinfo.Result {
			return c.Empty(ctx, to, topic, channel)
		},
	}
	deleteAction = action{
		name:     "delete",
		topics:   "Delete topics, their channels and all their messages",
		channels: "Delete channels and their messages, and disconnect their consumers",
		takes:    true, registry: true,
		do: func(ctx context.Context, c *clusterinfo.Client, to clusterinfo.Targets, topic, channel string) []clusterinfo.Result {
			if channel == "" {
				return c.DeleteTopic(ctx, to, topic)
			}
			return c.DeleteChannel(ctx, to, topic, channel)
		},
	}
)

// An object is a topic or channel that is to be acted on.
type object struct {
	Action   string   `json:"action"`
	Topic    string   `json:"topic"`
	Channel  string   `json:"channel,omitempty"`
	Messages int64    `json:"messages"` // that it holds
	Clients  int64    `json:"clients"`  // that are connected
	Nodes    []string `json:"nodes"`
	stale    int
}

var objectColumns = []column[object]{
	{name: "WOULD", cell: func(o object) cell { return cell{text: o.Action} }},
	{name: "TOPIC", cell: func(o object) cell { return cell{text: o.Topic} }},
	{name: "CHANNEL", cell: func(o object) cell { return cell{text: dash(o.Channel)} }},
	{name: "MESSAGES", right: true, cell: number(func(o object) int64 { return o.Messages })},
	{name: "CLIENTS", right: true, cell: number(func(o object) int64 { return o.Clients })},
	{name: "NSQDS", cell: func(o object) cell { return nodesCell(len(o.Nodes), o.stale) }},
}

func topicObject(a action, t *clusterinfo.Topic) object {
	o := object{Action: a.name, Topic: t.Name, Messages: t.Depth, Nodes: []string{}, stale: t.StaleNodes}
	if a.name != emptyAction.name {
		o.Clients = t.Clients
		for _, c := range t.Channels {
			o.Messages += c.Depth + c.InFlight + c.Deferred
		}
	}
	for _, n := range t.Nodes {
		o.Nodes = append(o.Nodes, n.Node.Address)
	}
	return o
}

func channelObject(a action, c *clusterinfo.Channel) object {
	o := object{
		Action: a.name, Topic: c.Topic, Channel: c.Name,
		Messages: c.Depth + c.InFlight + c.Deferred, Clients: c.Clients, Nodes: []string{}, stale: c.StaleNodes,
	}
	for _, n := range c.Nodes {
		o.Nodes = append(o.Nodes, n.Node.Address)
	}
	return o
}

// A selection says what an action is for.
type selection struct {
	match    pattern
	yes, dry bool
}

func (s *selection) flags(cmd *cobra.Command, a action, match string) {
	cmd.Flags().Var(&s.match, "match", match)
	cmd.Flags().BoolVar(&s.dry, "dry-run", false, "say what would be done, and do nothing")
	yes := "do not ask"
	if !a.takes {
		yes = "accepted for scripts; this is never asked about"
	}
	cmd.Flags().BoolVarP(&s.yes, "yes", "y", false, yes)
}

func newTopicActionCommand(p *program, a action) *cobra.Command {
	var s selection
	cmd := &cobra.Command{
		Use: a.name + " [TOPIC...]", Short: a.topics,
		ValidArgsFunction: p.completeTopics,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 == s.match.given() {
				return usageError("usage: "+cmd.UseLine(), "name topics or use --match, one of the two")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := p.view(cmd.Context())
			if err != nil {
				return err
			}
			objects := []object{}
			for _, name := range args {
				t, err := topicOf(v, name)
				if err != nil {
					return err
				}
				objects = append(objects, topicObject(a, t))
			}
			for _, t := range v.Topics {
				if s.match.given() && s.match.ok(t.Name) {
					objects = append(objects, topicObject(a, t))
				}
			}
			return p.act(cmd.Context(), a, s, v, objects)
		},
	}
	s.flags(cmd, a, "all topics whose whole name matches this regular `expression`")
	return cmd
}

func newChannelActionCommand(p *program, a action) *cobra.Command {
	var s selection
	cmd := &cobra.Command{
		Use: a.name + " [TOPIC] [CHANNEL...]", Short: a.channels,
		ValidArgsFunction: p.completeChannels,
		Args: func(cmd *cobra.Command, args []string) error {
			if s.match.given() && len(args) > 1 || !s.match.given() && len(args) < 2 {
				return usageError("usage: "+cmd.UseLine(), "name a topic and channels of it, or use --match")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := p.view(cmd.Context())
			if err != nil {
				return err
			}
			objects, err := channelObjects(v, a, s.match, args)
			if err != nil {
				return err
			}
			return p.act(cmd.Context(), a, s, v, objects)
		},
	}
	s.flags(cmd, a, "all channels of TOPIC whose whole name matches this regular `expression`; without TOPIC, all channels of which topic/channel does")
	return cmd
}

// channelObjects returns the channels that args name, or match does.
func channelObjects(v *clusterinfo.View, a action, match pattern, args []string) ([]object, error) {
	objects := []object{}
	if !match.given() {
		for _, name := range args[1:] {
			c, err := channelOf(v, args[0], name)
			if err != nil {
				return nil, err
			}
			objects = append(objects, channelObject(a, c))
		}
		return objects, nil
	}
	if len(args) == 1 {
		t, err := topicOf(v, args[0])
		if err != nil {
			return nil, err
		}
		for _, c := range t.Channels {
			if match.ok(c.Name) {
				objects = append(objects, channelObject(a, c))
			}
		}
		return objects, nil
	}
	for _, t := range v.Topics {
		for _, c := range t.Channels {
			if match.ok(t.Name + "/" + c.Name) {
				objects = append(objects, channelObject(a, c))
			}
		}
	}
	return objects, nil
}

// act does a to objects, once it is agreed to.
func (p *program) act(ctx context.Context, a action, s selection, v *clusterinfo.View, objects []object) error {
	if s.dry {
		p.note("nothing was changed (--dry-run)")
		return p.write(&page{value: objects, text: func(t *text) { writeTable(t, objectColumns, objects) }})
	}
	if len(objects) == 0 {
		p.note("nothing matches, nothing to do")
		return p.showDone([]done{})
	}
	if a.takes {
		if err := p.confirm(ctx, s.yes, consequences(a, objects)); err != nil {
			return err
		}
	}
	var all []done
	for _, o := range objects {
		to := clusterinfo.Targets{NSQDs: o.Nodes}
		if a.registry {
			to.Lookupds = targets(v)
		}
		all = append(all, newDone(a.name, o.Topic, o.Channel, a.do(ctx, p.client, to, o.Topic, o.Channel)))
		if ctx.Err() != nil {
			break
		}
	}
	return p.showDone(all)
}

// consequences asks whether to do a, with what it costs.
func consequences(a action, objects []object) string {
	var messages, clients int64
	nodes := make(map[string]bool)
	var names []string
	for _, o := range objects {
		messages += o.Messages
		clients += o.Clients
		for _, n := range o.Nodes {
			nodes[n] = true
		}
		names = append(names, strings.TrimSuffix(o.Topic+"/"+o.Channel, "/"))
	}
	what := strings.Join(names, ", ")
	if len(names) > 5 {
		what = fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	cost := fmt.Sprintf("This drops %s on %s", plural(int(messages), "message"), plural(len(nodes), "nsqd"))
	if clients > 0 && a.name == deleteAction.name {
		cost += fmt.Sprintf(" and disconnects %s", plural(int(clients), "consumer"))
	}
	return fmt.Sprintf("%s%s %s? %s.", strings.ToUpper(a.name[:1]), a.name[1:], what, cost)
}

// invalidName is the failure for a name that NSQ does not allow.
func invalidName(kind, name string) error {
	return usageError("names have 1 to 64 letters, digits, '.', '_' or '-', and may end in #ephemeral", "%q is no name of a %s", name, kind)
}

// unknown is the failure for something that is not there, with what may be meant.
func unknown(kind, name string, names []string) error {
	if !wire.ValidChannel(name) { // the rule for topics is the same
		kind, _, _ = strings.Cut(kind, " ")
		return invalidName(kind, name)
	}
	f := &failure{exitFailed, fmt.Errorf("there is no %s called %s", kind, name), ""}
	if near := suggest.Nearest(name, names); near != "" {
		f.hint = "did you mean " + near + "?"
	} else if word, _, _ := strings.Cut(kind, " "); len(names) > 0 {
		f.hint = fmt.Sprintf("see nsqctl %s ls", word)
	}
	return f
}
