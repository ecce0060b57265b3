package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/consume"
	"nsqraft/internal/forward"
)

// republish runs until ctx ends and then waits for what is under way.
func (o *options) republish(ctx context.Context, log *log.Logger) error {
	pool := o.forward.Open(o.destinations, log)
	defer pool.Close()
	p, err := newPublisher(o, pool, log)
	if err != nil {
		return err
	}
	var consumers []*consume.Consumer
	// The producers end after the consumers, and answer all that is open then.
	defer func() {
		consume.StopAll(consumers)
		p.stop()
	}()
	for _, topic := range o.topics {
		to := o.topic
		if to == "" {
			to = topic
		}
		// As many handlers as destinations: with one, the order of messages is kept.
		c, err := o.source.Start(topic, o.channel, &handler{p, to}, len(o.destinations))
		if err != nil {
			return err
		}
		consumers = append(consumers, c)
	}
	<-ctx.Done()
	return nil
}

// A publisher publishes the messages of all topics, without waiting for one to be
// confirmed before the next.
type publisher struct {
	// Read-only after newPublisher.
	filter    *filter
	pool      *forward.Pool
	producers map[string]*nsq.Producer // by address
	log       *log.Logger

	confirmed chan *nsq.ProducerTransaction
	open      sync.WaitGroup // messages that are not confirmed yet
	answering sync.WaitGroup // the goroutine that answers
}

func newPublisher(o *options, pool *forward.Pool, log *log.Logger) (*publisher, error) {
	p := &publisher{
		filter: o.filter.compile(), pool: pool, log: log,
		producers: make(map[string]*nsq.Producer),
		confirmed: make(chan *nsq.ProducerTransaction, len(o.destinations)),
	}
	for _, addr := range o.destinations {
		producer, err := nsq.NewProducer(addr, o.producer)
		if err != nil {
			return nil, fmt.Errorf("publish to %s: %w", addr, err)
		}
		producer.SetLogger(log, nsq.LogLevelInfo)
		p.producers[addr] = producer
	}
	p.answering.Go(p.answer)
	return p, nil
}

// stop ends the publisher after the last handler. What is not confirmed by then is
// not finished and comes again.
func (p *publisher) stop() {
	for _, producer := range p.producers {
		producer.Stop()
	}
	p.open.Wait()
	close(p.confirmed)
	p.answering.Wait()
}

// A handler handles the messages of one topic.
type handler struct {
	*publisher
	topic string // to publish to
}

// HandleMessage sends m on its way; answer finishes it.
func (h *handler) HandleMessage(m *nsq.Message) error {
	body, err := h.filter.apply(m.Body)
	switch {
	case errors.Is(err, errNotWanted):
		return nil
	case errors.Is(err, errNoObject):
		h.log.Printf("ERROR: message %s is dropped: %v", m.ID, err)
		return nil
	case err != nil:
		return err
	}
	attempt := h.pool.Next()
	m.DisableAutoResponse()
	h.open.Add(1)
	if err := h.producers[attempt.Address].PublishAsync(h.topic, body, h.confirmed, m, attempt); err != nil {
		h.settle(m, attempt, err)
	}
	return nil
}

// answer settles what the destinations have answered.
func (p *publisher) answer() {
	for t := range p.confirmed {
		p.settle(t.Args[0].(*nsq.Message), t.Args[1].(*forward.Attempt), t.Error)
	}
}

// settle finishes a message, or puts it back if err is not nil.
func (p *publisher) settle(m *nsq.Message, attempt *forward.Attempt, err error) {
	attempt.Done(err)
	if err == nil {
		m.Finish()
	} else {
		p.log.Printf("ERROR: message %s: publish to %s: %v", m.ID, attempt.Address, err)
		m.Requeue(-1)
	}
	p.open.Done()
}
