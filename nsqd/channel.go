package nsqd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"nsqraft/internal/wire"
)

var (
	errNotInFlight = errors.New("ID not in flight")
	errNotOwner    = errors.New("client does not own message")
	errTooMany     = errors.New("too many consumers")
)

// A Channel gives each of its messages to one subscribed consumer, and to another
// if that one does not finish it in time.
//
// A message is in one of four places: waiting (in memory or on disk), deferred, in
// flight, or gone. Consumers come and take what waits, see take; nobody runs around
// with messages, and an idle channel has neither goroutine nor timer.
type Channel struct {
	// Read-only.
	name      string
	topic     *Topic
	server    *Server
	ephemeral bool

	mu        sync.Mutex
	backlog   backlog
	flying    map[MessageID]*Message
	deferred  deferred
	consumers []*consumer // subscribed
	departed  []*consumer // no longer, but with messages in flight
	idle      []*consumer // wait for messages, longest first
	paused    bool
	closing   bool
	deleted   bool
	timer     *time.Timer
	armed     int64 // when the timer fires, by Server.clock; 0: it does not
	latency   *latency

	messages, requeues, timeouts    uint64
	zoneLocal, regionLocal, further uint64
}

// takeMessages bounds what a consumer takes at a time.
const takeMessages = 128

// readRetry is how long after a failed read from disk the next is tried.
const readRetry = time.Second

func newChannel(t *Topic, name string, paused bool) (*Channel, error) {
	c := &Channel{
		name:      name,
		topic:     t,
		server:    t.server,
		ephemeral: wire.Ephemeral(name),
		paused:    paused,
		flying:    make(map[MessageID]*Message),
		latency:   newLatency(t.server.opts),
	}
	var s *store
	if !c.ephemeral && !t.ephemeral {
		var err error
		if s, err = t.server.openStore(t.name + ":" + name); err != nil {
			return nil, err
		}
	}
	c.backlog.init(&c.mu, s, t.server.opts.MemQueueSize)
	return c, nil
}

// put takes a batch. An error means that none of it was taken.
func (c *Channel) put(batch []*Message) error {
	now, wall := c.server.clock(), time.Now().UnixNano()
	durable := c.backlog.store != nil && c.backlog.store.durable
	var later []*Message
	if !durable { // else they come back from disk, and are deferred then
		batch, later = splitDeferred(batch, wall)
	}
	inMemory, err := c.backlog.put(batch)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.deleted {
			return nil // nobody misses them
		}
		return err
	}
	c.backlog.arrived(len(inMemory))
	c.messages += uint64(len(batch) + len(later))
	if c.deleted {
		return nil
	}
	for _, m := range inMemory {
		c.backlog.memory.push(m)
	}
	for _, m := range later {
		c.postpone(m, now+m.notBefore-wall)
	}
	c.rouse(len(batch))
	return nil
}

// splitDeferred separates the messages that are deferred beyond wall from the others.
func splitDeferred(batch []*Message, wall int64) (now, later []*Message) {
	isLater := func(m *Message) bool { return m.notBefore > wall }
	if !slices.ContainsFunc(batch, isLater) {
		return batch, nil
	}
	for _, m := range batch {
		if isLater(m) {
			later = append(later, m)
		} else {
			now = append(now, m)
		}
	}
	return now, later
}

// postpone keeps the message until due. mu is held.
func (c *Channel) postpone(m *Message, due int64) {
	m.due = due
	c.deferred.push(m)
	c.arm(due)
}

// A delivery is what a consumer is sent of a message. It is a copy: while it is
// written the message may time out, and go to another.
type delivery struct {
	id        MessageID
	timestamp int64
	attempts  uint16
	body      []byte
}

// take appends to batch what the consumer is to be sent now, and puts that in
// flight. If that is nothing, the consumer waits for its wake.
//
// It must not be called twice at a time for one consumer.
func (c *Channel) take(co *consumer, batch []delivery) []delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	co.sending = 0
	for {
		if c.closing || c.paused || co.gone {
			c.waitForMessages(co)
			return batch
		}
		if co.inFlight >= co.ready {
			co.waits = waitReady
			if c.backlog.memory.len() > 0 {
				c.rouse(c.backlog.memory.len()) // somebody else may
			}
			return batch
		}
		if c.backlog.memory.len() > 0 && c.mayTake(co) {
			if batch = c.deliver(co, batch); len(batch) > 0 {
				return batch
			}
			continue // all of them were sampled away
		}
		if c.backlog.memory.len() > 0 || c.backlog.diskInUse || c.backlog.onDisk() == 0 && c.backlog.releasable == 0 {
			c.waitForMessages(co)
			return batch
		}
		if !c.readDisk() {
			c.waitForMessages(co)
			return batch
		}
	}
}

func (c *Channel) waitForMessages(co *consumer) {
	if co.waits != waitMessages {
		co.waits = waitMessages
		c.idle = append(c.idle, co)
	}
}

// readDisk moves messages from disk to memory, and says whether that went well. mu
// is held, but not during the reading.
func (c *Channel) readDisk() bool {
	c.unpin()
	messages, err := c.backlog.read()
	if c.deleted {
		return false
	}
	if err != nil {
		if !c.closing {
			c.server.log.Error(err.Error(), "topic", c.topic.name, "channel", c.name)
			c.arm(c.server.clock() + int64(readRetry))
		}
		return false
	}
	wall := time.Now().UnixNano()
	for _, m := range messages {
		if m.notBefore > wall {
			c.postpone(m, c.server.clock()+m.notBefore-wall)
		} else {
			c.backlog.memory.push(m)
		}
	}
	c.rouse(len(messages))
	return true
}

// unpin moves messages that are unfinished for so long that much would have to be
// kept on disk, and delivered again after a crash, for their sake. mu is held, but not
// during the writing.
func (c *Channel) unpin() {
	stuck := c.backlog.stuck(func(each func(*Message)) {
		for _, m := range c.flying {
			each(m)
		}
		for _, m := range c.deferred {
			each(m)
		}
	})
	if len(stuck) == 0 {
		return
	}
	now, wall := c.server.clock(), time.Now().UnixNano()
	copies := make([]*Message, len(stuck))
	for i, m := range stuck {
		copies[i] = &Message{ID: m.ID, Timestamp: m.Timestamp, Body: m.Body, Attempts: m.Attempts}
		if m.consumer == nil { // deferred
			copies[i].notBefore = wall + max(0, m.due-now)
		}
	}
	if err := c.backlog.move(stuck, copies); err != nil {
		c.server.log.Error(err.Error(), "topic", c.topic.name, "channel", c.name)
	}
}

// deliver puts messages in flight, a share of those in memory. mu is held.
func (c *Channel) deliver(co *consumer, batch []delivery) []delivery {
	memory := &c.backlog.memory
	// Others that wait shall have some too.
	n := min(memory.len()/len(c.consumers)+1, memory.len(), takeMessages, int(min(co.ready-co.inFlight, takeMessages)))
	now := c.server.clock()
	due := now + co.timeout
	for range n {
		m := memory.pop()
		if co.sampleRate > 0 && rand.Int32N(100) >= co.sampleRate {
			c.backlog.done(m)
			continue
		}
		m.Attempts++
		m.consumer, m.sent, m.due = co, now, due
		c.flying[m.ID] = m
		co.flying.insert(m)
		co.inFlight++
		batch = append(batch, delivery{m.ID, m.Timestamp, m.Attempts, m.Body})
	}
	if len(batch) > 0 {
		co.sending = now
		co.delivered += uint64(len(batch))
		c.countLocality(co, uint64(len(batch)))
		c.arm(due)
	}
	return batch
}

// rouse wakes up to n of the consumers that wait for messages. mu is held.
func (c *Channel) rouse(n int) {
	if len(c.idle) == 0 || n == 0 || c.paused || c.closing {
		return
	}
	if c.server.zoneAware {
		n = len(c.idle) // mayTake chooses among them
	}
	n = min(n, len(c.idle))
	for i, co := range c.idle[:n] {
		co.rouse()
		c.idle[i] = nil
	}
	c.idle = c.idle[n:]
	if len(c.idle) == 0 {
		c.idle = nil
	}
}

// ended takes the message out of flight. mu is held.
func (c *Channel) ended(m *Message) {
	co := m.consumer
	delete(c.flying, m.ID)
	co.flying.remove(m)
	m.consumer = nil
	co.inFlight--
	if co.waits == waitReady {
		co.rouse()
	}
}

// inFlight returns the message if co has it. mu is held.
func (c *Channel) inFlight(co *consumer, id MessageID) (*Message, error) {
	m := c.flying[id]
	switch {
	case m == nil:
		return nil, errNotInFlight
	case m.consumer != co:
		return nil, errNotOwner
	}
	return m, nil
}

// finish ends the messages with those ids, and calls failed for each that is not
// the consumer's, with the mutex held.
func (c *Channel) finish(co *consumer, ids []MessageID, failed func(MessageID, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var wall int64
	if c.latency != nil {
		wall = time.Now().UnixNano()
	}
	for _, id := range ids {
		m, err := c.inFlight(co, id)
		if err != nil {
			failed(id, err)
			continue
		}
		c.ended(m)
		c.backlog.done(m)
		co.finished++
		if c.latency != nil {
			c.latency.add(wall - m.Timestamp)
		}
	}
	if c.backlog.letGo() {
		c.rouse(len(c.idle))
	}
}

// requeue gives the message back, to be delivered after delay.
func (c *Channel) requeue(co *consumer, id MessageID, delay time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.inFlight(co, id)
	if err != nil {
		return err
	}
	c.ended(m)
	co.requeued++
	c.requeues++
	if delay > 0 {
		c.postpone(m, c.server.clock()+int64(delay))
		return nil
	}
	c.backlog.memory.push(m)
	c.rouse(1)
	return nil
}

// touch gives the consumer its time-out anew, but not beyond max after the delivery.
func (c *Channel) touch(co *consumer, id MessageID, max time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.inFlight(co, id)
	if err != nil {
		return err
	}
	co.flying.remove(m)
	m.due = min(c.server.clock()+co.timeout, m.sent+int64(max))
	co.flying.insert(m)
	c.arm(m.due)
	return nil
}

// arm makes the timer fire at due, if it does not before. mu is held.
func (c *Channel) arm(due int64) {
	if c.closing || c.armed != 0 && c.armed <= due {
		return
	}
	c.armed = due
	d := time.Duration(max(0, due-c.server.clock()))
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.fallDue)
		return
	}
	c.timer.Reset(d)
}

// fallDue is what the timer runs: it gives back what was not finished in time, and
// lets go what was deferred until now.
func (c *Channel) fallDue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.armed = 0
	now := c.server.clock()
	for _, co := range slices.Concat(c.consumers, c.departed) {
		for m := co.flying.first; m != nil && m.due <= now; m = co.flying.first {
			c.ended(m)
			c.timeouts++
			c.backlog.memory.push(m)
		}
		if co.flying.first != nil {
			c.arm(co.flying.first.due)
		}
	}
	c.departed = slices.DeleteFunc(c.departed, func(co *consumer) bool { return co.inFlight == 0 })
	for m := c.deferred.popDue(now); m != nil; m = c.deferred.popDue(now) {
		c.backlog.memory.push(m)
	}
	if len(c.deferred) > 0 {
		c.arm(c.deferred[0].due)
	}
	c.rouse(len(c.idle))
}

// subscribe adds a consumer, unless there are limit of them; 0: no limit.
func (c *Channel) subscribe(co *consumer, limit int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return ErrClosing
	}
	if limit > 0 && len(c.consumers) >= limit {
		return fmt.Errorf("%w: %d", errTooMany, limit)
	}
	c.consumers = append(c.consumers, co)
	return nil
}

// unsubscribe removes a consumer. What it has in flight stays so until it times
// out. An ephemeral channel is deleted with its last consumer.
func (c *Channel) unsubscribe(co *consumer) {
	c.mu.Lock()
	i := slices.Index(c.consumers, co)
	if i < 0 {
		c.mu.Unlock()
		return
	}
	c.consumers = slices.Delete(c.consumers, i, i+1)
	c.idle = slices.DeleteFunc(c.idle, func(other *consumer) bool { return other == co })
	co.gone = true
	if co.inFlight > 0 {
		c.departed = append(c.departed, co)
	}
	c.rouse(len(c.idle)) // if it was woken for a message, another shall take that
	last := c.ephemeral && len(c.consumers) == 0 && !c.closing
	c.mu.Unlock()
	if last {
		c.topic.forsake(c)
	}
}

// closeUnused begins the end of the channel, unless it has consumers. It says whether
// it did.
func (c *Channel) closeUnused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.consumers) > 0 {
		return false
	}
	c.closing = true
	return true
}

// setReady sets how many messages the consumer may have in flight.
func (c *Channel) setReady(co *consumer, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	co.ready = n
	if co.waits == waitReady {
		co.rouse()
	}
}

// SetPaused says whether consumers are sent messages, and writes that to nsqd.dat.
func (c *Channel) SetPaused(paused bool) error {
	c.mu.Lock()
	c.paused = paused
	c.rouse(len(c.idle))
	c.mu.Unlock()
	c.server.metadata.version.Add(1)
	return c.server.persist()
}

// Empty drops what waits, is deferred or is in flight.
func (c *Channel) Empty() error {
	err := c.backlog.empty(c.forget)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rouse(len(c.idle)) // who found the disk in use
	return err
}

// forget drops what is deferred and in flight. mu is held.
func (c *Channel) forget() {
	c.deferred = nil
	for _, m := range c.flying {
		c.ended(m)
	}
	c.departed = nil
}

// shut makes the channel take and give nothing more and returns its consumers.
func (c *Channel) shut(deleted bool) []*consumer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	c.deleted = deleted
	if c.timer != nil {
		c.timer.Stop()
	}
	return slices.Clone(c.consumers)
}

// remove deletes the channel with its messages and ends its clients.
func (c *Channel) remove() error {
	for _, co := range c.shut(true) {
		co.evict()
	}
	err := c.Empty()
	if c.backlog.store != nil {
		err = errors.Join(err, c.backlog.store.remove())
	}
	return err
}

// close puts all messages to disk. Nobody publishes to the channel any more.
func (c *Channel) close() error {
	c.shut(false)
	c.mu.Lock()
	c.backlog.lockDisk() // a last read has ended
	c.backlog.unlockDisk()
	now, wall := c.server.clock(), time.Now().UnixNano()
	var messages []*Message
	for m := c.backlog.memory.pop(); m != nil; m = c.backlog.memory.pop() {
		m.notBefore = 0
		messages = append(messages, m)
	}
	for _, m := range c.flying {
		m.notBefore = 0
		messages = append(messages, m)
	}
	for _, m := range c.deferred {
		m.notBefore = wall + max(0, m.due-now)
		messages = append(messages, m)
	}
	c.mu.Unlock()
	return c.backlog.close(messages)
}
