package clusterinfo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"nsqraft/internal/wire"
)

// memberTimeout bounds a change of members: a new one is brought up to date before it
// counts.
const memberTimeout = 30 * time.Second

// A Result is what an action did on one daemon.
type Result struct {
	Address string
	Kind    string // "nsqlookupd" or "nsqd"
	Err     error  // nil: done. That a thing to delete was not there is done too.
	Took    time.Duration
}

// Unknown says whether the action may have been done there, and may still be, though it
// was not answered: see ErrUnknownOutcome.
func (r *Result) Unknown() bool { return errors.Is(r.Err, ErrUnknownOutcome) }

// Targets are the daemons of an action.
type Targets struct {
	Lookupds []string // one that is replicated passes a change on to the others; to ask each is harmless
	NSQDs    []string // HTTP addresses
}

// each does something on all targets, on the nsqlookupds first; those of a kind at the
// same time. Whatever fails, the others are asked.
func (t Targets) each(lookupd, nsqd func(address string) error) []Result {
	results := onEach("nsqlookupd", t.Lookupds, lookupd)
	return append(results, onEach("nsqd", t.NSQDs, nsqd)...)
}

func onEach(kind string, addresses []string, do func(address string) error) []Result {
	results := make([]Result, len(addresses))
	var wg sync.WaitGroup
	for i, address := range addresses {
		wg.Go(func() {
			start := time.Now()
			err := do(address)
			results[i] = Result{address, kind, err, time.Since(start)}
		})
	}
	wg.Wait()
	return results
}

// An object is what an action is about.
type object struct {
	topic   string
	channel string // "": the topic itself
}

// check says what is wrong with the names. Nothing else may be sent to a daemon: to
// stock's nsqlookupd, * is all topics.
func (o object) check() error {
	if !wire.ValidTopic(o.topic) {
		return fmt.Errorf("%q is not a valid topic name", o.topic)
	}
	if o.channel != "" && !wire.ValidChannel(o.channel) {
		return fmt.Errorf("%q is not a valid channel name", o.channel)
	}
	return nil
}

// path returns the path of a verb: /topic/pause or /channel/pause.
func (o object) path(verb string) string {
	if o.channel != "" {
		return "/channel/" + verb
	}
	return "/topic/" + verb
}

// change asks a daemon to do verb to o.
func (c *Client) change(ctx context.Context, address string, o object, verb string) error {
	if err := o.check(); err != nil {
		return err
	}
	query := url.Values{"topic": {o.topic}}
	if o.channel != "" {
		query.Set("channel", o.channel)
	}
	return c.do(ctx, address, &question{method: http.MethodPost, path: o.path(verb), query: query, again: true})
}

// delete is change, and content if there is nothing to delete.
func (c *Client) delete(ctx context.Context, address string, o object) error {
	err := c.change(ctx, address, o, "delete")
	if e, ok := errors.AsType[*StatusError](err); ok && (e.is(http.StatusNotFound, "TOPIC_NOT_FOUND") || e.is(http.StatusNotFound, "CHANNEL_NOT_FOUND")) {
		return nil
	}
	return err
}

// CreateTopic creates topic on all nsqlookupds, and on all NSQDs of the targets.
//
// Each action returns one Result a daemon, in the order of the targets, nsqlookupds
// first. A name that NSQ does not allow is an error on each, and sent to none.
func (c *Client) CreateTopic(ctx context.Context, t Targets, topic string) []Result {
	create := func(address string) error { return c.change(ctx, address, object{topic: topic}, "create") }
	return t.each(create, create)
}

// CreateChannel creates topic and channel.
func (c *Client) CreateChannel(ctx context.Context, t Targets, topic, channel string) []Result {
	if channel == "" {
		err := errors.New("a channel needs a name")
		return t.each(func(string) error { return err }, func(string) error { return err })
	}
	create := func(address string) error { return c.change(ctx, address, object{topic, channel}, "create") }
	return t.each(create, func(address string) error {
		// nsqd, unlike nsqlookupd, does not make the topic of a channel.
		if err := (object{topic, channel}).check(); err != nil {
			return err
		}
		if err := c.change(ctx, address, object{topic: topic}, "create"); err != nil {
			return err
		}
		return create(address)
	})
}

// DeleteTopic deletes topic and its channels, on the nsqlookupds first: an nsqd that
// is not reached does not get it back from there.
func (c *Client) DeleteTopic(ctx context.Context, t Targets, topic string) []Result {
	remove := func(address string) error { return c.delete(ctx, address, object{topic: topic}) }
	return t.each(remove, remove)
}

// DeleteChannel deletes one channel.
func (c *Client) DeleteChannel(ctx context.Context, t Targets, topic, channel string) []Result {
	remove := func(address string) error {
		if channel == "" { // that would be the topic
			return errors.New("a channel has a name")
		}
		return c.delete(ctx, address, object{topic, channel})
	}
	return t.each(remove, remove)
}

// Pause stops, with paused false lets go on, the flow of a topic into its channels
// or, with a channel, of that to its consumers. NSQDs only, as Empty.
func (c *Client) Pause(ctx context.Context, t Targets, topic, channel string, paused bool) []Result {
	verb := "unpause"
	if paused {
		verb = "pause"
	}
	return onEach("nsqd", t.NSQDs, func(address string) error { return c.change(ctx, address, object{topic, channel}, verb) })
}

// Empty drops the messages of a topic that no channel has yet or, with a channel, those of it.
func (c *Client) Empty(ctx context.Context, t Targets, topic, channel string) []Result {
	return onEach("nsqd", t.NSQDs, func(address string) error { return c.change(ctx, address, object{topic, channel}, "empty") })
}

// Tombstone hides the producer node (its HTTP address) of topic from consumers for the
// nsqlookupds' --tombstone-lifetime, and deletes the topic on that nsqd.
func (c *Client) Tombstone(ctx context.Context, lookupds []string, node, topic string) []Result {
	o := object{topic: topic}
	listedAs := node
	if base, err := parseAddress(node); err == nil {
		listedAs = base.Host
	}
	return Targets{lookupds, []string{node}}.each(func(address string) error {
		if err := o.check(); err != nil {
			return err
		}
		query := url.Values{"topic": {topic}, "node": {listedAs}}
		return c.do(ctx, address, &question{method: http.MethodPost, path: "/topic/tombstone", query: query, again: true})
	}, func(address string) error { return c.delete(ctx, address, o) })
}

// Publish publishes one message on one nsqd. deferred is sent in whole milliseconds.
// ErrUnknownOutcome: it may be published nevertheless.
func (c *Client) Publish(ctx context.Context, nsqd, topic string, body []byte, deferred time.Duration) error {
	if err := (object{topic: topic}).check(); err != nil {
		return err
	}
	query := url.Values{"topic": {topic}}
	if deferred != 0 {
		query.Set("defer", strconv.FormatInt(deferred.Milliseconds(), 10))
	}
	return of(nsqd, c.do(ctx, nsqd, &question{method: http.MethodPost, path: "/pub", query: query, body: body}))
}

// Drain begins the drain of one of our nsqds (PUT /config/drain). A *StatusError if it is stock's.
func (c *Client) Drain(ctx context.Context, nsqd string) error {
	return of(nsqd, c.do(ctx, nsqd, &question{method: http.MethodPut, path: "/config/drain", body: []byte("true"), again: true}))
}

// TransferLeadership asks the cluster of lookupd to let node lead, "" for the most advanced.
func (c *Client) TransferLeadership(ctx context.Context, lookupd, node string) error {
	query := make(url.Values)
	if node != "" {
		query.Set("to", node)
	}
	return c.member(ctx, lookupd, "/cluster/transfer", query)
}

// RemoveMember takes a member out of the cluster of lookupd.
func (c *Client) RemoveMember(ctx context.Context, lookupd, node string) error {
	return c.member(ctx, lookupd, "/cluster/remove", url.Values{"node": {node}})
}

// AddMember takes the node whose internal port is at address, which waits for it, into
// the cluster of lookupd: POST /cluster/add?address=.
func (c *Client) AddMember(ctx context.Context, lookupd, address string) error {
	return c.member(ctx, lookupd, "/cluster/add", url.Values{"address": {address}})
}

// SnapshotMember makes that nsqlookupd write a snapshot now: POST /cluster/snapshot.
func (c *Client) SnapshotMember(ctx context.Context, lookupd string) error {
	return c.member(ctx, lookupd, "/cluster/snapshot", nil)
}

// member asks for something that only a replicated nsqlookupd knows.
func (c *Client) member(ctx context.Context, lookupd, path string, query url.Values) error {
	err := c.do(ctx, lookupd, &question{method: http.MethodPost, path: path, query: query, timeout: memberTimeout})
	if e, ok := errors.AsType[*StatusError](err); ok && e.is(http.StatusNotFound, "NOT_FOUND") {
		err = ErrNotClustered
	}
	return of(lookupd, err)
}

// of returns err as that of the daemon at address.
func of(address string, err error) error {
	if err == nil {
		return nil
	}
	return &DaemonError{address, err}
}
