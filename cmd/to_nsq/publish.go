package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/clusterinfo"
)

// pingPatience is how long an nsqd that is listed may take to say that it is alive.
const pingPatience = 2 * time.Second

func (o *options) publisher(log *log.Logger) (publisher, error) {
	d := dialer{topic: o.topic, config: o.producer, log: log}
	if len(o.lookupds) > 0 {
		client := clusterinfo.NewClient(clusterinfo.Options{UserAgent: o.producer.UserAgent})
		return &toAny{dialer: d, lookupds: o.lookupds, client: client}, nil
	}
	all := &toAll{dialer: d}
	for _, addr := range o.nsqds {
		if slices.ContainsFunc(all.producers, func(p *nsq.Producer) bool { return p.String() == addr }) {
			continue
		}
		p, err := d.producer(addr)
		if err != nil {
			return nil, err
		}
		all.producers = append(all.producers, p)
	}
	return all, nil
}

// A dialer makes producers for one topic.
type dialer struct {
	topic  string
	config *nsq.Config
	log    *log.Logger
}

// producer returns a producer that connects with its first message.
func (d *dialer) producer(addr string) (*nsq.Producer, error) {
	p, err := nsq.NewProducer(addr, d.config)
	if err != nil {
		return nil, fmt.Errorf("publish to %s: %w", addr, err)
	}
	p.SetLogger(d.log, nsq.LogLevelInfo)
	return p, nil
}

// send publishes one message by p.
func (d *dialer) send(p *nsq.Producer, body []byte) error {
	if err := p.Publish(d.topic, body); err != nil {
		return fmt.Errorf("publish to %s: %w", p, err)
	}
	return nil
}

// toAll publishes every message to all nsqds.
type toAll struct {
	dialer
	producers []*nsq.Producer
}

func (t *toAll) publish(_ context.Context, body []byte) error {
	for _, p := range t.producers {
		if err := t.send(p, body); err != nil {
			return err
		}
	}
	return nil
}

func (t *toAll) stop() {
	for _, p := range t.producers {
		p.Stop()
	}
}

// toAny publishes every message to one of the nsqds that are listed, the same as long
// as it takes them.
type toAny struct {
	// Read-only.
	dialer
	lookupds []string
	client   *clusterinfo.Client

	mu      sync.Mutex
	current *nsq.Producer // nil: none yet, or the last one failed
	stopped bool
}

// publish tries every nsqd once.
func (t *toAny) publish(ctx context.Context, body []byte) error {
	var tried []string
	var failure error
	for {
		p, err := t.choose(ctx, tried)
		switch {
		case err != nil && failure != nil:
			return fmt.Errorf("%w; %w", failure, err)
		case err != nil:
			return err
		}
		if failure = t.send(p, body); failure == nil || refused(failure) {
			return failure
		}
		t.log.Printf("ERROR: %v", failure)
		tried = append(tried, p.String())
		t.replace(p, nil)
	}
}

// refused says whether an nsqd has answered that it does not take the message, as any
// other one would.
func refused(err error) bool {
	answer, ok := errors.AsType[nsq.ErrProtocol](err)
	return ok && !strings.HasPrefix(answer.Reason, "E_PUB_FAILED")
}

// choose returns the producer in use, or one for an nsqd that is alive and not among
// those tried.
func (t *toAny) choose(ctx context.Context, tried []string) (*nsq.Producer, error) {
	t.mu.Lock()
	current := t.current
	t.mu.Unlock()
	if current != nil {
		return current, nil
	}
	addrs, err := t.candidates(ctx)
	if err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		if slices.Contains(tried, addr) {
			continue
		}
		p, err := t.producer(addr)
		if err != nil {
			return nil, err
		}
		if err := ping(p); err != nil {
			t.log.Printf("ERROR: nsqd %s: %v", addr, err)
			continue
		}
		if !t.replace(nil, p) {
			return nil, nsq.ErrStopped
		}
		t.log.Printf("publishing to nsqd %s", addr)
		return p, nil
	}
	return nil, fmt.Errorf("none of the %d nsqds that are listed is alive and takes the message", len(addrs))
}

// ping connects p to its nsqd. One that says nothing is left to go-nsq's read_timeout.
func ping(p *nsq.Producer) error {
	answered := make(chan error, 1)
	go func() { answered <- p.Ping() }()
	select {
	case err := <-answered:
		return err
	case <-time.After(pingPatience):
		go p.Stop()
		return fmt.Errorf("no answer after %v", pingPatience)
	}
}

// candidates returns the TCP addresses of all nsqds, those first that have the topic,
// otherwise in any order.
func (t *toAny) candidates(ctx context.Context) ([]string, error) {
	var addrs []string
	for _, list := range []func() ([]*clusterinfo.Producer, error){
		func() ([]*clusterinfo.Producer, error) { return t.client.TopicProducers(ctx, t.lookupds, t.topic) },
		func() ([]*clusterinfo.Producer, error) { return t.client.Producers(ctx, t.lookupds) },
	} {
		producers, err := list()
		if partial, ok := errors.AsType[*clusterinfo.PartialError](err); ok {
			t.log.Printf("WARNING: nsqlookupd: %v", partial)
		} else if err != nil {
			return nil, fmt.Errorf("find an nsqd: %w", err)
		}
		rand.Shuffle(len(producers), func(i, j int) { producers[i], producers[j] = producers[j], producers[i] })
		for _, p := range producers {
			if addr := p.TCPAddress(); !slices.Contains(addrs, addr) {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs, nil
}

// replace makes p the producer in use in place of old, which ends. After stop it ends
// p too and returns false.
func (t *toAny) replace(old, p *nsq.Producer) bool {
	t.mu.Lock()
	stopped := t.stopped
	t.current = p
	t.mu.Unlock()
	if old != nil {
		old.Stop()
	}
	if stopped && p != nil {
		p.Stop()
	}
	return !stopped
}

func (t *toAny) stop() {
	t.mu.Lock()
	t.stopped = true
	p := t.current
	t.mu.Unlock()
	if p != nil {
		p.Stop()
	}
}
