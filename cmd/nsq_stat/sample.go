package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"nsqraft/internal/clusterinfo"
)

// counts are what is looked at, on one nsqd or on all. The first two only grow, as
// long as an nsqd lives.
type counts struct {
	published int64 // messages that have come in
	left      int64 // messages that have gone on to consumers, of each channel

	depth, backendDepth int64
	inFlight, deferred  int64
	requeued, timedOut  int64
	clients             int64
}

func (c *counts) add(d counts) {
	c.published += d.published
	c.left += d.left
	c.depth += d.depth
	c.backendDepth += d.backendDepth
	c.inFlight += d.inFlight
	c.deferred += d.deferred
	c.requeued += d.requeued
	c.timedOut += d.timedOut
	c.clients += d.clients
}

// A nodeSample is what one nsqd said, and when.
type nodeSample struct {
	at time.Time
	counts
}

// A sample is what all nsqds said that answered.
type sample struct {
	at     time.Time             // when the last had answered
	nodes  map[string]nodeSample // by HTTP address
	failed int                   // nsqds that gave no answer
}

// A row is what is printed: the sums of one sample, and rates since the one before.
type row struct {
	at time.Time
	counts
	ingress, egress float64 // messages a second
	nodes, failed   int     // nsqds that are in the sums, and those that gave no answer
}

// since returns the row of s. An nsqd counts for the rates if it answered both times
// and was not restarted between.
func (s *sample) since(before *sample) row {
	r := row{at: s.at, nodes: len(s.nodes), failed: s.failed}
	for addr, now := range s.nodes {
		r.add(now.counts)
		old, ok := before.nodes[addr]
		seconds := now.at.Sub(old.at).Seconds()
		if !ok || now.published < old.published || seconds <= 0 {
			continue
		}
		r.ingress += float64(now.published-old.published) / seconds
		// Requeued messages wait once more: more may come back than went out.
		r.egress += max(0, float64(now.left-old.left)/seconds)
	}
	return r
}

// A sampler asks the nsqds.
type sampler struct {
	opts   *options
	log    *log.Logger
	client *clusterinfo.Client

	nsqds []string // that the nsqlookupds listed last
}

// sample asks all nsqds. Who gives no answer is logged. It is an error if none does,
// or if none has the topic or channel that is asked for.
func (s *sampler) sample(ctx context.Context) (*sample, error) {
	nsqds, err := s.addresses(ctx)
	if err != nil {
		return nil, err
	}
	answers := make([]*clusterinfo.NodeStats, len(nsqds))
	times := make([]time.Time, len(nsqds))
	errs := make([]error, len(nsqds))
	var wg sync.WaitGroup
	for i, addr := range nsqds {
		wg.Go(func() {
			answers[i], errs[i] = s.client.Stats(ctx, addr, clusterinfo.StatsFilter{Topic: s.opts.topic, Channel: s.opts.channel})
			times[i] = time.Now()
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	all, found := &sample{at: time.Now(), nodes: make(map[string]nodeSample)}, false
	for i, addr := range nsqds {
		if errs[i] != nil {
			all.failed++
			if all.failed == len(nsqds) {
				return nil, fmt.Errorf("failed to get nsqd stats: %w", errs[i])
			}
			s.log.Printf("WARNING: the numbers are without one nsqd: %v", errs[i])
			continue
		}
		c, ok := s.opts.countOn(answers[i])
		found = found || ok
		all.nodes[addr] = nodeSample{at: times[i], counts: c}
	}
	if !found && (s.opts.topic != "" || s.opts.channel != "") && all.failed == 0 {
		return nil, fmt.Errorf("failed to find %s on any nsqd", s.opts.subject())
	}
	return all, nil
}

// subject is what is looked at, in words.
func (o *options) subject() string {
	switch {
	case o.channel == "":
		return fmt.Sprintf("topic %q", o.topic)
	case o.topic == "":
		return fmt.Sprintf("channel %q", o.channel)
	default:
		return fmt.Sprintf("channel %q of topic %q", o.channel, o.topic)
	}
}

// addresses returns the nsqds to ask. While no nsqlookupd answers they are those that
// were listed last.
func (s *sampler) addresses(ctx context.Context) ([]string, error) {
	if len(s.opts.nsqds) > 0 {
		return s.opts.nsqds, nil
	}
	producers, err := s.producers(ctx)
	if partial, ok := errors.AsType[*clusterinfo.PartialError](err); ok {
		s.log.Printf("WARNING: nsqlookupd: %v", partial)
	} else if err != nil {
		if s.nsqds == nil || ctx.Err() != nil {
			return nil, fmt.Errorf("failed to get topic producers: %w", err)
		}
		s.log.Printf("WARNING: failed to get topic producers, those of the last time are asked: %v", err)
		return s.nsqds, nil
	}
	s.nsqds = make([]string, len(producers))
	for i, p := range producers {
		s.nsqds[i] = p.HTTPAddress()
	}
	return s.nsqds, nil
}

func (s *sampler) producers(ctx context.Context) ([]*clusterinfo.Producer, error) {
	if s.opts.topic == "" {
		return s.client.Producers(ctx, s.opts.lookupds)
	}
	return s.client.TopicProducers(ctx, s.opts.lookupds, s.opts.topic)
}

// countOn counts what is looked at on one nsqd; ok is false if it has none of it.
func (o *options) countOn(stats *clusterinfo.NodeStats) (c counts, ok bool) {
	for _, t := range stats.Topics {
		if o.topic != "" && t.Name != o.topic {
			continue
		}
		if o.channel == "" {
			ok = true
			c.add(counts{published: t.MessageCount, depth: t.Depth, backendDepth: t.BackendDepth})
		}
		for _, ch := range t.Channels {
			if o.channel != "" && ch.Name != o.channel {
				continue
			}
			ok = true
			published := int64(0) // those of the topic are counted
			if o.channel != "" {
				published = ch.MessageCount
			}
			c.add(counts{
				published: published, left: ch.MessageCount - ch.Depth,
				depth: ch.Depth, backendDepth: ch.BackendDepth,
				inFlight: ch.InFlightCount, deferred: ch.DeferredCount,
				requeued: ch.RequeueCount, timedOut: ch.TimeoutCount,
				clients: ch.ClientCount,
			})
		}
	}
	return c, ok
}
