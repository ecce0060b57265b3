package nsqd

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nsqraft/internal/defect"
	"nsqraft/internal/wire"
)

// A Topic copies each message published to it into every one of its channels. What
// is published while it has none, or is paused, waits in the topic.
type Topic struct {
	// Read-only.
	name      string
	server    *Server
	ephemeral bool

	messages, bytes atomic.Uint64 // published

	// Publishes that have begun; none begins once closing is set.
	publishing sync.WaitGroup

	mu       sync.Mutex
	backlog  backlog
	channels map[string]*Channel
	open     []*Channel          // where publishes go: all channels, nil while messages wait here; replaced, never changed
	busy     map[string]struct{} // channels that are being made or deleted
	free     *sync.Cond          // busy has changed
	paused   bool
	starting bool // its channels are not known yet
	closing  bool
	pumping  bool // pump runs
	pumped   *sync.Cond
}

func newTopic(s *Server, name string, paused, starting bool) (*Topic, error) {
	t := &Topic{
		name:      name,
		server:    s,
		ephemeral: wire.Ephemeral(name),
		channels:  make(map[string]*Channel),
		busy:      make(map[string]struct{}),
		paused:    paused,
		starting:  starting,
	}
	t.free, t.pumped = sync.NewCond(&t.mu), sync.NewCond(&t.mu)
	var st *store
	if !t.ephemeral {
		var err error
		if st, err = s.openStore(name); err != nil {
			return nil, err
		}
	}
	t.backlog.init(&t.mu, st, s.opts.MemQueueSize)
	return t, nil
}

// Publish makes a message of each body and gives them to every channel, not to be
// delivered before delay is over. The bodies are kept.
//
// ErrClosing means that nothing was published; so does an error of the disk, unless
// the topic has several channels: some of them may have the messages then.
func (t *Topic) Publish(bodies [][]byte, delay time.Duration) error {
	size := 0
	for _, b := range bodies {
		if len(b) == 0 {
			return errEmptyBody
		}
		size += len(b)
	}
	if len(bodies) == 0 {
		return nil
	}
	if defect.Seeded && (defect.On(defect.DeliverNothing) || defect.OneIn(100, defect.DropMessages)) {
		return nil
	}
	if defect.Seeded && defect.OneIn(100, defect.CorruptMessages) {
		bodies[0][0] ^= 1
	}
	channels, err := t.begin()
	if err != nil {
		return err
	}
	defer t.publishing.Done()
	messages := t.server.ids.newMessages(bodies, time.Now(), delay)
	if channels == nil {
		err = t.keep(messages)
	} else {
		err = fanOut(channels, messages)
	}
	if err == nil && !t.ephemeral {
		err = t.server.settled()
	}
	if err != nil {
		return err
	}
	t.messages.Add(uint64(len(messages)))
	t.bytes.Add(uint64(size))
	return nil
}

// begin returns where to publish to, nil for the topic itself. Without an error the
// caller ends with t.publishing.Done.
func (t *Topic) begin() ([]*Channel, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing || t.server.draining.Load() {
		return nil, ErrClosing
	}
	t.publishing.Add(1)
	return t.open, nil
}

// fanOut gives each channel a copy of the messages, the last one the messages
// themselves. Channels that sync do so at the same time.
func fanOut(channels []*Channel, messages []Message) error {
	if len(channels) == 1 {
		return channels[0].put(pointers(messages))
	}
	errs := make([]error, len(channels))
	var wg sync.WaitGroup
	for i, c := range channels {
		batch := pointers(messages)
		if i < len(channels)-1 {
			batch = pointers(slices.Clone(messages))
		}
		if s := c.backlog.store; s != nil && s.durable {
			wg.Go(func() { errs[i] = c.put(batch) })
			continue
		}
		errs[i] = c.put(batch)
	}
	wg.Wait()
	return errors.Join(errs...)
}

func pointers(messages []Message) []*Message {
	batch := make([]*Message, len(messages))
	for i := range messages {
		batch[i] = &messages[i]
	}
	return batch
}

// keep takes messages for which there is no channel to give them to.
func (t *Topic) keep(messages []Message) error {
	inMemory, err := t.backlog.put(pointers(messages))
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.backlog.arrived(len(inMemory))
	for _, m := range inMemory {
		t.backlog.memory.push(m)
	}
	t.pump() // the first channel may have come in the meantime
	return nil
}

// route decides where publishes go. mu is held.
func (t *Topic) route() {
	t.open = nil
	if !t.paused && !t.starting && !t.closing && len(t.channels) > 0 {
		t.open = slices.Collect(maps.Values(t.channels))
		t.pump()
	}
}

// pump starts to give what waits in the topic to its channels, if there is anything
// and there are any. mu is held.
func (t *Topic) pump() {
	if t.pumping || t.open == nil || t.backlog.depth() == 0 && t.backlog.releasable == 0 {
		return
	}
	t.pumping = true
	t.server.background.Go(t.runPump)
}

// runPump ends when nothing waits any more, or nobody is there to have it.
func (t *Topic) runPump() {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() {
		t.pumping = false
		t.pumped.Broadcast()
	}()
	for t.open != nil && !t.closing {
		batch := t.head()
		if len(batch) == 0 {
			return
		}
		channels := t.open
		if channels == nil { // paused or closing since, while the disk was read
			t.putBack(batch)
			return
		}
		t.mu.Unlock()
		messages := make([]Message, len(batch))
		for i, m := range batch {
			messages[i] = Message{ID: m.ID, Timestamp: m.Timestamp, Body: m.Body, Attempts: m.Attempts, notBefore: m.notBefore}
		}
		err := fanOut(channels, messages)
		t.mu.Lock()
		if err != nil {
			// It goes on with the next publish, or with the server's next try.
			t.putBack(batch)
			t.server.log.Error(err.Error(), "topic", t.name)
			t.server.retryPumps()
			return
		}
		for _, m := range batch {
			t.backlog.done(m)
		}
	}
}

// putBack keeps what head has taken. mu is held.
func (t *Topic) putBack(batch []*Message) {
	for _, m := range batch {
		t.backlog.memory.push(m)
	}
}

// head takes some of what waits; nil if there is nothing, or the disk fails. mu is
// held, but not while the disk is read.
func (t *Topic) head() []*Message {
	b := &t.backlog
	for b.memory.len() == 0 {
		if b.onDisk() == 0 && b.releasable == 0 {
			return nil
		}
		// Nothing is no reason to stop: more may have come in the meantime.
		messages, err := b.read()
		if err != nil {
			t.server.log.Error(err.Error(), "topic", t.name)
			t.server.retryPumps()
			return nil
		}
		if len(messages) > 0 {
			return messages
		}
	}
	var batch []*Message
	for len(batch) < readMessages && b.memory.len() > 0 {
		batch = append(batch, b.memory.pop())
	}
	return batch
}

// Channel returns the channel called name, a valid name, and makes it if there is
// none.
func (t *Topic) Channel(name string) (*Channel, error) {
	c, made, err := t.channel(name, false)
	if made {
		t.server.log.Info("TOPIC(" + t.name + "): new channel(" + name + ")")
		t.server.changed(t.name, name, true)
	}
	return c, err
}

// channel does that without telling anybody.
func (t *Topic) channel(name string, paused bool) (c *Channel, made bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.isBusy(name) {
		t.free.Wait()
	}
	if t.closing {
		return nil, false, ErrClosing
	}
	if c, ok := t.channels[name]; ok {
		return c, false, nil
	}
	t.busy[name] = struct{}{}
	t.mu.Unlock()
	c, err = newChannel(t, name, paused)
	t.mu.Lock()
	delete(t.busy, name)
	t.free.Broadcast()
	if err != nil {
		return nil, false, err
	}
	t.server.metadata.version.Add(1)
	t.channels[name] = c
	t.route()
	return c, true, nil
}

func (t *Topic) isBusy(name string) bool {
	_, busy := t.busy[name]
	return busy
}

// FindChannel returns nil if there is none.
func (t *Topic) FindChannel(name string) *Channel {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.channels[name]
}

// DeleteChannel removes the channel with its messages and ends its clients. An
// ephemeral topic goes with its last channel. ErrChannelNotFound if there is none.
func (t *Topic) DeleteChannel(name string) error {
	t.mu.Lock()
	c, ok := t.channels[name]
	if !ok || t.closing {
		t.mu.Unlock()
		return ErrChannelNotFound
	}
	return t.deleteChannel(c)
}

// forsake removes the channel, unless a consumer has come to it, or it is gone.
func (t *Topic) forsake(c *Channel) {
	t.mu.Lock()
	if t.closing || t.channels[c.name] != c || !c.closeUnused() {
		t.mu.Unlock()
		return
	}
	if err := t.deleteChannel(c); err != nil {
		t.server.log.Error(err.Error(), "topic", t.name, "channel", c.name)
	}
}

// deleteChannel removes the channel, which is there. mu is held before and not
// after.
func (t *Topic) deleteChannel(c *Channel) error {
	name := c.name
	t.server.metadata.version.Add(1)
	delete(t.channels, name)
	t.busy[name] = struct{}{}
	t.route()
	t.mu.Unlock()
	t.server.log.Info("CHANNEL(" + name + "): deleting")
	err := c.remove()
	t.mu.Lock()
	delete(t.busy, name)
	t.free.Broadcast()
	t.mu.Unlock()
	t.server.changed(t.name, name, false)
	if t.ephemeral {
		err = errors.Join(err, t.server.forsake(t))
	}
	return err
}

// closeUnused begins the end of the topic, unless it has channels. It says whether it
// did.
func (t *Topic) closeUnused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.channels) > 0 || len(t.busy) > 0 {
		return false
	}
	t.closing = true
	return true
}

// SetPaused says whether channels get the topic's messages, and writes that to
// nsqd.dat.
func (t *Topic) SetPaused(paused bool) error {
	t.mu.Lock()
	t.paused = paused
	t.route()
	t.mu.Unlock()
	t.server.metadata.version.Add(1)
	return t.server.persist()
}

// Empty drops what waits in the topic; its channels keep what they have.
func (t *Topic) Empty() error { return t.backlog.empty(nil) }

// start ends the wait for the channels that a new topic is to begin with.
func (t *Topic) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.starting = false
	t.route()
}

// precreate makes the channels that the lookupds know of the topic, and starts it.
func (t *Topic) precreate(ctx context.Context) {
	defer t.start()
	names, err := t.server.links.channels(ctx, t.name)
	if err != nil {
		t.server.log.Warn("failed to query nsqlookupd for channels to pre-create for topic " + t.name + " - " + err.Error())
	}
	for _, name := range names {
		if !wire.ValidChannel(name) || wire.Ephemeral(name) {
			continue
		}
		if _, err := t.Channel(name); err != nil && !errors.Is(err, ErrClosing) {
			t.server.log.Error("channel is not pre-created", "topic", t.name, "channel", name, "err", err)
		}
	}
}

// shut ends publishes and the pump, and returns the channels that are left.
func (t *Topic) shut() []*Channel {
	t.mu.Lock()
	t.closing = true
	t.route()
	for len(t.busy) > 0 {
		t.free.Wait()
	}
	for t.pumping {
		t.pumped.Wait()
	}
	channels := slices.Collect(maps.Values(t.channels))
	t.mu.Unlock()
	t.publishing.Wait()
	return channels
}

// remove deletes the topic, its channels and all their messages.
func (t *Topic) remove() error {
	var errs []error
	for _, c := range t.shut() {
		errs = append(errs, c.remove())
		t.server.changed(t.name, c.name, false)
	}
	errs = append(errs, t.backlog.empty(nil))
	if t.backlog.store != nil {
		errs = append(errs, t.backlog.store.remove())
	}
	return errors.Join(errs...)
}

// close puts the messages of the topic and of its channels to disk.
func (t *Topic) close() error {
	err := together(t.shut(), func(c *Channel) error {
		t.server.log.Info("CHANNEL(" + c.name + "): closing")
		return c.close()
	})
	t.mu.Lock()
	var messages []*Message
	for m := t.backlog.memory.pop(); m != nil; m = t.backlog.memory.pop() {
		messages = append(messages, m)
	}
	t.mu.Unlock()
	return errors.Join(err, t.backlog.close(messages))
}
