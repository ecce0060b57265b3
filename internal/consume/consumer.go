package consume

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nsqio/go-nsq"
)

const (
	// The first pauses before a lost nsqd is connected again. One that is listed has
	// that long to be taken off the list because the topic was deleted there. One
	// that is given directly is taken for restarting; stock waits a whole
	// lookupd_poll_interval, until which the pauses grow here.
	listedPause = 500 * time.Millisecond
	givenPause  = time.Second

	// stopPatience is how long Stop waits for connections that are being made.
	stopPatience = time.Second
)

// ErrNoMore is returned by a handler that takes neither this message nor any other.
// The message goes back to its channel, at once and without backoff, and the consumer
// asks for none until it is stopped.
var ErrNoMore = errors.New("no more messages are taken")

// A Consumer consumes one channel of one topic from all its nsqds.
type Consumer struct {
	// Read-only after Start.
	opts   *Options
	topic  string
	nsq    *nsq.Consumer
	cancel context.CancelFunc
	pause  time.Duration // the first, see listedPause

	losses  losses
	keeping sync.WaitGroup // watch and keep

	sharing     sync.Mutex // held while go-nsq tells the nsqds, up to write_timeout each: changes must not mix
	maxInFlight int        // guarded by sharing

	// Owned by watch.
	listed map[string]context.CancelFunc // by TCP address; ends its keep
}

// Start begins to consume, with concurrency goroutines that call handler. A name that
// is no topic or channel, and given nsqds of which none answers, are an error. That
// nothing is listed yet, or no nsqlookupd answers, is not.
func (o *Options) Start(topic, channel string, handler nsq.Handler, concurrency int) (*Consumer, error) {
	// A copy, because go-nsq's own polling is replaced: see losses.
	config := *o.Config
	config.LookupdPollInterval = 5 * time.Minute // the most it takes
	config.LookupdPollJitter = 0
	consumer, err := nsq.NewConsumer(topic, channel, &config)
	if err != nil {
		return nil, fmt.Errorf("consume %s/%s: %w", topic, channel, err)
	}
	consumer.SetLogger(logger{o.log}, nsq.LogLevelInfo)

	ctx, cancel := context.WithCancel(context.Background())
	c := &Consumer{
		opts: o, topic: topic, nsq: consumer, cancel: cancel, pause: listedPause,
		maxInFlight: config.MaxInFlight, listed: make(map[string]context.CancelFunc),
	}
	c.losses.init()
	consumer.AddConcurrentHandlers(c.refusing(handler), concurrency)
	consumer.SetLookupdHttpClient(&http.Client{Transport: &c.losses})
	if err := consumer.ConnectToNSQLookupd(lossAddress); err != nil {
		c.Stop()
		return nil, fmt.Errorf("consume %s/%s: %w", topic, channel, err)
	}
	if len(o.Lookupds) == 0 {
		c.pause = min(givenPause, o.Config.LookupdPollInterval)
		if err := c.connectAny(o.NSQDs); err != nil {
			c.Stop()
			return nil, err
		}
		c.list(ctx, o.NSQDs)
		return c, nil
	}
	c.keeping.Go(func() { c.watch(ctx) })
	return c, nil
}

// refusing returns a handler that does what ErrNoMore says. No message may be asked
// for before this one goes back: it would come again and again, until go-nsq dropped it
// after max_attempts.
func (c *Consumer) refusing(handler nsq.Handler) nsq.Handler {
	return nsq.HandlerFunc(func(m *nsq.Message) error {
		err := handler.HandleMessage(m)
		if !errors.Is(err, ErrNoMore) {
			return err
		}
		c.ChangeMaxInFlight(0)
		m.RequeueWithoutBackoff(0)
		return nil
	})
}

// connectAny connects to nsqds, all at the same time. It is an error if none answers.
func (c *Consumer) connectAny(nsqds []string) error {
	errs := make([]error, len(nsqds))
	var wg sync.WaitGroup
	for i, addr := range nsqds {
		wg.Go(func() {
			if err := c.nsq.ConnectToNSQD(addr); err != nil {
				errs[i] = fmt.Errorf("%s: %w", addr, err)
			}
			c.shareOut()
		})
	}
	wg.Wait()
	all := errNoNSQD
	for _, err := range errs {
		if err == nil {
			return nil
		}
		all = fmt.Errorf("%w; %w", all, err)
	}
	return all
}

// Stop asks for no more messages, lets the handlers finish those in flight for up to
// half a minute, and returns when all has ended. It may be called twice.
//
// An nsqd that takes a connection and then says nothing is waited for no longer than
// a second; that connection ends by itself, after go-nsq's read_timeout.
func (c *Consumer) Stop() {
	c.cancel()
	kept := make(chan struct{})
	go func() {
		c.keeping.Wait()
		close(kept)
	}()
	select {
	case <-kept:
	case <-time.After(stopPatience):
	}
	c.nsq.Stop()
	<-c.nsq.StopChan
}

// IsStarved says whether some nsqd will send nothing more before messages that are in
// flight are finished, or soon will not.
func (c *Consumer) IsStarved() bool { return c.nsq.IsStarved() }

// ChangeMaxInFlight changes how many messages are in flight at most; with 0 none are
// sent.
func (c *Consumer) ChangeMaxInFlight(n int) {
	c.sharing.Lock()
	defer c.sharing.Unlock()
	c.maxInFlight = n
	c.nsq.ChangeMaxInFlight(n)
}

// StopAll stops consumers at the same time.
func StopAll(consumers []*Consumer) {
	var wg sync.WaitGroup
	for _, c := range consumers {
		wg.Go(c.Stop)
	}
	wg.Wait()
}
