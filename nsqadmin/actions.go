package nsqadmin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/httpapi"
	"nsqraft/internal/wire"
)

const (
	// refreshWait bounds what an action waits, after it was done, for the View to
	// show it.
	refreshWait = time.Second
	// maxPublished bounds the messages of one publish action.
	maxPublished = 1000
)

// An action is what somebody wants done; names are stock's of the notifications.
type action struct {
	name           string // one of actions
	topic, channel string
	node           string   // an nsqd's HTTP address, or a member's id
	nodes          []string // only these nsqds; nil: all that have it
	body           []byte   // publish
	count          int      // publish; 0 is 1
	deferred       time.Duration
}

// An actionKind is what an action of one name needs and does.
type actionKind struct {
	role  role
	about object
	done  string // for the activity: what was done, to %s
	act   func(s *Server, ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result
}

// An object is what an action is about. It must exist before it is done.
type object int

const (
	aTopic object = iota
	aChannel
	makesTopic // needs a good name only
	makesChannel
	anNsqd
	topicOnNsqd
	aMember
	aMemberOrNone
)

var actions = map[string]actionKind{
	"create_topic":             {operator, makesTopic, "created topic %s", (*Server).createTopic},
	"create_channel":           {operator, makesChannel, "created channel %s", (*Server).createChannel},
	"delete_topic":             {admin, aTopic, "deleted topic %s", (*Server).deleteTopic},
	"delete_channel":           {admin, aChannel, "deleted channel %s", (*Server).deleteChannel},
	"pause_topic":              {operator, aTopic, "paused topic %s", (*Server).pause},
	"unpause_topic":            {operator, aTopic, "unpaused topic %s", (*Server).pause},
	"pause_channel":            {operator, aChannel, "paused channel %s", (*Server).pause},
	"unpause_channel":          {operator, aChannel, "unpaused channel %s", (*Server).pause},
	"empty_topic":              {admin, aTopic, "emptied topic %s", (*Server).empty},
	"empty_channel":            {admin, aChannel, "emptied channel %s", (*Server).empty},
	"tombstone_topic_producer": {admin, topicOnNsqd, "tombstoned topic %s", (*Server).tombstone},
	"publish":                  {operator, makesTopic, "published to topic %s", (*Server).publish},
	"drain_nsqd":               {admin, anNsqd, "began to drain nsqd %s", (*Server).drain},
	"transfer_leadership":      {admin, aMemberOrNone, "transferred the leadership to %s", (*Server).transfer},
	"remove_member":            {admin, aMember, "removed member %s", (*Server).removeMember},
	"snapshot":                 {admin, aMember, "made member %s write a snapshot", (*Server).snapshot},
}

var (
	errInvalidTopic    = httpapi.NewError(http.StatusBadRequest, "INVALID_TOPIC")
	errInvalidChannel  = httpapi.NewError(http.StatusBadRequest, "INVALID_CHANNEL")
	errInvalidCount    = httpapi.NewError(http.StatusBadRequest, "INVALID_COUNT")
	errInvalidDefer    = httpapi.NewError(http.StatusBadRequest, "INVALID_DEFER")
	errEmptyMessage    = httpapi.NewError(http.StatusBadRequest, "MSG_EMPTY")
	errTopicNotFound   = httpapi.NewError(http.StatusNotFound, "TOPIC_NOT_FOUND")
	errChannelNotFound = httpapi.NewError(http.StatusNotFound, "CHANNEL_NOT_FOUND")
	errNodeNotFound    = httpapi.NewError(http.StatusNotFound, "NODE_NOT_FOUND")
	errNotClustered    = httpapi.NewError(http.StatusNotFound, "NOT_CLUSTERED")

	errNoNode = errors.New("none is up")
)

// do checks the names and the role, acts, records it, notifies, and returns what
// happened daemon by daemon, after the View shows it (within a second). err is an
// *httpapi.Error: 400 INVALID_..., 403 FORBIDDEN, 404 TOPIC_NOT_FOUND, CHANNEL_NOT_FOUND, NODE_NOT_FOUND.
func (s *Server) do(r *http.Request, a action) ([]clusterinfo.Result, error) {
	kind, ok := actions[a.name]
	if !ok {
		return nil, errInvalidAction
	}
	user, role := s.who(r)
	if role < kind.role {
		return nil, errForbidden
	}
	// What was begun is brought to its end, also if who asked for it goes away. The
	// client bounds each request, of which an action has two in a row.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 3*s.opts.RequestTimeout)
	defer cancel()
	v, err := s.findFor(ctx, &a, kind.about)
	if err != nil {
		return nil, err
	}
	results := kind.act(s, ctx, &a, v)
	now := time.Now()
	rows := resultsJSON(results)
	s.metrics.countAction(a.name, results)
	s.activity.add(&event{
		At: now, Kind: "action", Action: a.name, Topic: a.topic, Channel: a.channel, Node: a.node,
		User: user, Remote: r.RemoteAddr, Text: a.sentence(kind, user, results), Results: rows,
	})
	if a.name == "create_channel" { // stock tells of both
		s.notifier.notify(r, user, &action{name: "create_topic", topic: a.topic}, rows, now)
	}
	s.notifier.notify(r, user, &a, rows, now)
	s.refresh(ctx, a.topic)
	return results, nil
}

// refresh waits until the View shows what was just done with a topic (or, "", with
// none), for a second at most.
func (s *Server) refresh(ctx context.Context, topic string) {
	ctx, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	var changed []string
	if topic != "" {
		changed = append(changed, topic)
	}
	s.poller.Refresh(ctx, changed...) // an error is that the second is over
}

// findFor returns a View in which what the action is about exists. If the newest does
// not have it, it is asked anew: it may be younger than that.
func (s *Server) findFor(ctx context.Context, a *action, about object) (*clusterinfo.View, error) {
	if about == makesTopic || about == makesChannel {
		if !wire.ValidTopic(a.topic) {
			return nil, errInvalidTopic
		}
		if about == makesChannel && !wire.ValidChannel(a.channel) {
			return nil, errInvalidChannel
		}
	}
	if a.name == "publish" {
		if err := validPublish(a); err != nil {
			return nil, err
		}
	}
	v := s.view()
	if missing(v, a, about) != nil {
		s.refresh(ctx, a.topic)
		v = s.view()
	}
	return v, missing(v, a, about)
}

func validPublish(a *action) error {
	switch {
	case a.count < 0 || a.count > maxPublished:
		return errInvalidCount
	case a.deferred < 0:
		return errInvalidDefer
	case len(a.body) == 0:
		return errEmptyMessage
	}
	return nil
}

// missing returns what of the action v does not have.
func missing(v *clusterinfo.View, a *action, about object) error {
	switch about {
	case makesTopic:
		if a.node != "" && v.Node(a.node) == nil {
			return errNodeNotFound
		}
	case aTopic, aChannel, topicOnNsqd:
		t := v.Topic(a.topic)
		switch {
		case about == topicOnNsqd && !wire.ValidTopic(a.topic):
			return errInvalidTopic
		case t == nil:
			return errTopicNotFound
		case about == aChannel && t.Channel(a.channel) == nil:
			return errChannelNotFound
		case about == topicOnNsqd && v.Node(a.node) == nil:
			return errNodeNotFound
		}
	case anNsqd:
		if v.Node(a.node) == nil {
			return errNodeNotFound
		}
	case aMember, aMemberOrNone:
		c, _ := v.Cluster()
		if c == nil {
			return errNotClustered
		}
		known := slices.ContainsFunc(c.Members, func(m *clusterinfo.Member) bool { return m.ID == a.node })
		if !known && !(about == aMemberOrNone && a.node == "") {
			return errNodeNotFound
		}
	}
	for _, node := range a.nodes {
		if v.Node(node) == nil {
			return errNodeNotFound
		}
	}
	return nil
}

// sentence says what was done, for the activity.
func (a *action) sentence(kind actionKind, user string, results []clusterinfo.Result) string {
	name := a.topic
	switch kind.about {
	case aChannel, makesChannel:
		name = a.channel + " of topic " + a.topic
	case topicOnNsqd:
		name = a.topic + " on " + a.node
	case anNsqd, aMember, aMemberOrNone:
		name = a.node
	}
	if name == "" {
		name = "the most advanced member"
	}
	if user == "" {
		user = "somebody"
	}
	text := user + " " + fmt.Sprintf(kind.done, name)
	failed, unknown := tally(results)
	switch {
	case failed > 0 && failed == len(results):
		text += ", which failed"
	case failed > 0:
		text += fmt.Sprintf(", which failed on %d of %d daemons", failed, len(results))
	}
	switch {
	case unknown > 0 && unknown == len(results):
		text += ", of unknown outcome: it may still happen"
	case unknown > 0:
		text += fmt.Sprintf(", of unknown outcome on %d of %d daemons: it may still happen there", unknown, len(results))
	}
	return text
}

// targets returns the daemons that a topic's action goes to: all nsqlookupds, and the
// nsqds that have the topic, or those of them that the action names.
func (s *Server) targets(a *action, v *clusterinfo.View) clusterinfo.Targets {
	t := clusterinfo.Targets{Lookupds: *s.lookupds.Load()}
	if topic := v.Topic(a.topic); topic != nil {
		for _, on := range topic.Nodes {
			if a.nodes == nil || slices.Contains(a.nodes, on.Node.Address) {
				t.NSQDs = append(t.NSQDs, on.Node.Address)
			}
		}
	}
	return t
}

func (s *Server) createTopic(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	return s.client.CreateTopic(ctx, s.creators(a, v), a.topic)
}

func (s *Server) createChannel(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	t := s.creators(a, v)
	if a.nodes == nil {
		for _, address := range s.targets(a, v).NSQDs {
			if !slices.Contains(t.NSQDs, address) {
				t.NSQDs = append(t.NSQDs, address)
			}
		}
	}
	return s.client.CreateChannel(ctx, t, a.topic, a.channel)
}

// creators returns where something new is made known: as in stock at the nsqlookupds,
// where nsqds find it with the first message. Without nsqlookupds it is the nsqds.
func (s *Server) creators(a *action, v *clusterinfo.View) clusterinfo.Targets {
	t := clusterinfo.Targets{Lookupds: *s.lookupds.Load(), NSQDs: a.nodes}
	if len(t.Lookupds) == 0 && a.nodes == nil {
		for _, n := range v.Nodes {
			t.NSQDs = append(t.NSQDs, n.Address)
		}
	}
	return t
}

func (s *Server) deleteTopic(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	return s.client.DeleteTopic(ctx, s.targets(a, v), a.topic)
}

func (s *Server) deleteChannel(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	return s.client.DeleteChannel(ctx, s.targets(a, v), a.topic, a.channel)
}

func (s *Server) pause(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	return s.client.Pause(ctx, s.targets(a, v), a.topic, a.channel, strings.HasPrefix(a.name, "pause"))
}

func (s *Server) empty(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	if a.channel == "" {
		return s.client.Empty(ctx, s.targets(a, v), a.topic, "")
	}
	// Before and after: the nsqds may be asked for their numbers meanwhile.
	s.history.emptied(a.topic, a.channel, time.Now())
	results := s.client.Empty(ctx, s.targets(a, v), a.topic, a.channel)
	s.history.emptied(a.topic, a.channel, time.Now())
	return results
}

func (s *Server) tombstone(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	a.node = v.Node(a.node).Address
	return s.client.Tombstone(ctx, *s.lookupds.Load(), a.node, a.topic)
}

// publish sends the message, count times, to one nsqd.
func (s *Server) publish(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	start := time.Now()
	if a.node = publishTo(a, v); a.node == "" {
		return []clusterinfo.Result{{Address: "any", Kind: "nsqd", Err: errNoNode}}
	}
	result := clusterinfo.Result{Address: a.node, Kind: "nsqd"}
	for i := range max(a.count, 1) {
		if err := s.client.Publish(ctx, a.node, a.topic, a.body, a.deferred); err != nil {
			result.Err = fmt.Errorf("message %d of %d: %w", i+1, max(a.count, 1), err)
			break
		}
	}
	result.Took = time.Since(start)
	return []clusterinfo.Result{result}
}

// publishTo returns the nsqd for a message: the one that was asked for, else one that
// is up and has the topic, else any that is up; "" if there is none.
func publishTo(a *action, v *clusterinfo.View) string {
	if n := v.Node(a.node); n != nil {
		return n.Address
	}
	if a.node != "" {
		return ""
	}
	var have, up []string
	for _, n := range v.Nodes {
		if n.State == clusterinfo.Up {
			up = append(up, n.Address)
		}
	}
	if t := v.Topic(a.topic); t != nil {
		for _, on := range t.Nodes {
			if on.Node.State == clusterinfo.Up && !on.Tombstoned {
				have = append(have, on.Node.Address)
			}
		}
	}
	if len(have) > 0 {
		up = have
	}
	if len(up) == 0 {
		return ""
	}
	return up[rand.IntN(len(up))]
}

func (s *Server) drain(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	a.node = v.Node(a.node).Address
	return timed(a.node, "nsqd", func() error { return s.client.Drain(ctx, a.node) })
}

func (s *Server) transfer(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	_, from := v.Cluster()
	return timed(from.Address, "nsqlookupd", func() error { return s.client.TransferLeadership(ctx, from.Address, a.node) })
}

func (s *Server) removeMember(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	_, from := v.Cluster()
	return timed(from.Address, "nsqlookupd", func() error { return s.client.RemoveMember(ctx, from.Address, a.node) })
}

// snapshot asks the member itself: at the address we know it by, else at the one that
// it tells others.
func (s *Server) snapshot(ctx context.Context, a *action, v *clusterinfo.View) []clusterinfo.Result {
	address := ""
	for _, l := range v.Lookupds {
		if l.Cluster != nil && l.Cluster.NodeID == a.node {
			address = l.Address
		}
	}
	if c, _ := v.Cluster(); address == "" {
		for _, m := range c.Members {
			if m.ID == a.node {
				address = m.HTTPAddress
			}
		}
	}
	return timed(address, "nsqlookupd", func() error {
		if address == "" {
			return fmt.Errorf("the HTTP address of member %s is not known", a.node)
		}
		return s.client.SnapshotMember(ctx, address)
	})
}

// timed returns the Result of what is done at one daemon.
func timed(address, kind string, act func() error) []clusterinfo.Result {
	start := time.Now()
	err := act()
	return []clusterinfo.Result{{Address: address, Kind: kind, Err: err, Took: time.Since(start)}}
}
