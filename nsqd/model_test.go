package nsqd

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Whatever is published is delivered, to one consumer at a time, until it is
// finished, and then not again: over time-outs, requeues, pauses, consumers that go
// and restarts, with little memory or none.
func TestNothingIsLostOrDeliveredTwiceAtATime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var err error
		var thrown any
		synctest.Test(t, func(t *testing.T) {
			// rapid ends a run by a panic, which it catches on its own goroutine only.
			defer func() { thrown = recover() }()
			err = playModel(t, rt)
		})
		if thrown != nil {
			panic(thrown)
		}
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// A model plays with one channel and knows what each of its messages should be
// doing.
type model struct {
	rt        *rapid.T
	opts      *Options
	pins      int // of the backlog
	server    *Server
	channel   *Channel
	consumers []*modelConsumer
	published int

	waiting  map[int]time.Time      // unfinished and with nobody: not before this time
	flying   map[int]*modelConsumer // with somebody
	finished map[int]bool
}

type modelConsumer struct {
	*consumer
	has map[int]modelFlight
}

type modelFlight struct {
	id        MessageID
	sent, due time.Time
}

const (
	modelTimeout    = 10 * time.Second
	modelMaxTimeout = 25 * time.Second
)

func playModel(t *testing.T, rt *rapid.T) error {
	m := &model{rt: rt, waiting: make(map[int]time.Time), flying: make(map[int]*modelConsumer), finished: make(map[int]bool)}
	m.opts = DefaultOptions()
	m.opts.DataPath = t.TempDir()
	m.opts.MemQueueSize = rapid.SampledFrom([]int64{0, 3, 1000}).Draw(rt, "mem-queue-size")
	m.opts.MaxBytesPerFile = rapid.SampledFrom([]int64{200, 1 << 20}).Draw(rt, "max-bytes-per-file")
	m.opts.SyncEvery = rapid.SampledFrom([]int64{1, 5, 2500}).Draw(rt, "sync-every")
	m.pins = rapid.SampledFrom([]int{3, pinned}).Draw(rt, "pins")
	if err := m.start(); err != nil {
		return err
	}
	for range rapid.IntRange(1, 60).Draw(rt, "steps") {
		if err := m.step(); err != nil {
			return err
		}
	}
	if err := m.channel.SetPaused(false); err != nil {
		return err
	}
	if err := m.channel.topic.SetPaused(false); err != nil {
		return err
	}
	if err := m.drain(); err != nil {
		return err
	}
	return m.stop()
}

// start opens the server on what an earlier one has left.
func (m *model) start() error {
	m.server = New(m.opts, testLog(m.rt))
	if err := m.server.load(); err != nil {
		return err
	}
	topic, _, err := m.server.topic("t", false, false)
	if err != nil {
		return err
	}
	if m.channel, err = topic.Channel("c"); err != nil {
		return err
	}
	m.channel.backlog.pins = m.pins
	return nil
}

func (m *model) stop() error {
	for len(m.consumers) > 0 {
		m.leave(0)
	}
	err := errors.Join(m.server.save(), m.server.closeTopics())
	m.server.stop()
	m.server.background.Wait() // what it still writes is not to meet the end of its folder
	return err
}

func (m *model) step() error {
	switch rapid.SampledFrom([]string{"publish", "publish", "take", "take", "finish", "finish", "requeue", "touch", "wait", "pause", "join", "leave", "restart"}).Draw(m.rt, "step") {
	case "publish":
		return m.publish()
	case "take":
		return m.take()
	case "finish":
		return m.finish()
	case "requeue":
		return m.requeue()
	case "touch":
		return m.touch()
	case "wait":
		m.wait(time.Duration(rapid.IntRange(1, 30_000).Draw(m.rt, "ms")) * time.Millisecond)
	case "pause":
		pause := rapid.Bool().Draw(m.rt, "pause")
		if rapid.Bool().Draw(m.rt, "topic") {
			return m.channel.topic.SetPaused(pause)
		}
		return m.channel.SetPaused(pause)
	case "join":
		if len(m.consumers) < 4 {
			m.join()
		}
	case "leave":
		if len(m.consumers) > 0 {
			m.leave(rapid.IntRange(0, len(m.consumers)-1).Draw(m.rt, "consumer"))
		}
	case "restart":
		return m.restart()
	}
	return nil
}

func (m *model) publish() error {
	var bodies [][]byte
	delay := time.Duration(rapid.SampledFrom([]int{0, 0, 0, 700, 40_000}).Draw(m.rt, "delay")) * time.Millisecond
	for range rapid.IntRange(1, 8).Draw(m.rt, "messages") {
		m.published++
		bodies = append(bodies, []byte(strconv.Itoa(m.published)))
		m.waiting[m.published] = time.Now().Add(delay)
	}
	return m.channel.topic.Publish(bodies, delay)
}

func (m *model) join() {
	co := &modelConsumer{
		consumer: &consumer{timeout: int64(modelTimeout), wake: make(chan struct{}, 1), evict: func() {}},
		has:      make(map[int]modelFlight),
	}
	if err := m.channel.subscribe(co.consumer, 0); err != nil {
		panic(err)
	}
	m.channel.setReady(co.consumer, int64(rapid.IntRange(0, 10).Draw(m.rt, "ready")))
	m.consumers = append(m.consumers, co)
}

// leave ends a subscription; what it has stays in flight until it times out.
func (m *model) leave(i int) {
	m.channel.unsubscribe(m.consumers[i].consumer)
	m.consumers = slices.Delete(m.consumers, i, i+1)
}

func (m *model) take() error {
	if len(m.consumers) == 0 {
		return nil
	}
	co := rapid.SampledFrom(m.consumers).Draw(m.rt, "consumer")
	_, err := m.takeFor(co)
	return err
}

func (m *model) takeFor(co *modelConsumer) (int, error) {
	m.wait(0) // what is due has fallen due
	batch := m.channel.take(co.consumer, nil)
	for _, d := range batch {
		body, err := strconv.Atoi(string(d.body))
		if err != nil {
			return 0, fmt.Errorf("message %q was not published", d.body)
		}
		if m.finished[body] {
			return 0, fmt.Errorf("message %d is delivered after it was finished", body)
		}
		if m.flying[body] != nil {
			return 0, fmt.Errorf("message %d is delivered while it is in flight", body)
		}
		until, ok := m.waiting[body]
		if !ok || time.Now().Before(until) {
			return 0, fmt.Errorf("message %d is delivered %v before it is due", body, time.Until(until))
		}
		delete(m.waiting, body)
		m.flying[body] = co
		co.has[body] = modelFlight{d.id, time.Now(), time.Now().Add(modelTimeout)}
	}
	if int64(len(co.has)) > co.ready {
		return 0, fmt.Errorf("%d messages in flight, with a ready count of %d", len(co.has), co.ready)
	}
	return len(batch), nil
}

// pick returns a message that a consumer has, 0 if there is none.
func (m *model) pick() (int, *modelConsumer) {
	bodies := slices.Sorted(maps.Keys(m.flying))
	bodies = slices.DeleteFunc(bodies, func(b int) bool { return !slices.Contains(m.consumers, m.flying[b]) })
	if len(bodies) == 0 {
		return 0, nil
	}
	body := rapid.SampledFrom(bodies).Draw(m.rt, "message")
	return body, m.flying[body]
}

func (m *model) finish() error {
	body, co := m.pick()
	if co == nil {
		return nil
	}
	var err error
	m.channel.finish(co.consumer, []MessageID{co.has[body].id}, func(_ MessageID, e error) { err = e })
	if err != nil {
		return fmt.Errorf("finish %d: %w", body, err)
	}
	m.land(body)
	m.finished[body] = true
	return nil
}

func (m *model) land(body int) {
	delete(m.flying[body].has, body)
	delete(m.flying, body)
}

func (m *model) requeue() error {
	body, co := m.pick()
	if co == nil {
		return nil
	}
	delay := time.Duration(rapid.SampledFrom([]int{0, 500, 20_000}).Draw(m.rt, "delay")) * time.Millisecond
	if err := m.channel.requeue(co.consumer, co.has[body].id, delay); err != nil {
		return fmt.Errorf("requeue %d: %w", body, err)
	}
	m.land(body)
	m.waiting[body] = time.Now().Add(delay)
	return nil
}

func (m *model) touch() error {
	body, co := m.pick()
	if co == nil {
		return nil
	}
	if err := m.channel.touch(co.consumer, co.has[body].id, modelMaxTimeout); err != nil {
		return fmt.Errorf("touch %d: %w", body, err)
	}
	f := co.has[body]
	f.due = time.Now().Add(modelTimeout)
	if last := f.sent.Add(modelMaxTimeout); last.Before(f.due) {
		f.due = last
	}
	co.has[body] = f
	return nil
}

// wait lets time pass. What is not finished in time is given back.
func (m *model) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	for body, co := range m.flying {
		if due := co.has[body].due; !due.After(time.Now()) {
			m.land(body)
			m.waiting[body] = due
		}
	}
}

func (m *model) restart() error {
	if err := m.stop(); err != nil {
		return err
	}
	for body := range m.flying {
		m.land(body)
		m.waiting[body] = time.Now()
	}
	// Not at once: ids of another life are told apart by the time.
	time.Sleep(time.Duration(rapid.IntRange(2, 5000).Draw(m.rt, "down")) * time.Millisecond)
	return m.start()
}

// drain takes and finishes all that is left.
func (m *model) drain() error {
	m.join()
	co := m.consumers[len(m.consumers)-1]
	m.channel.setReady(co.consumer, 5)
	for idle := 0; idle < 3; {
		n, err := m.takeFor(co)
		if err != nil {
			return err
		}
		var ids []MessageID
		for _, body := range slices.SortedFunc(maps.Keys(co.has), cmp.Compare[int]) {
			ids = append(ids, co.has[body].id)
			m.land(body)
			m.finished[body] = true
		}
		m.channel.finish(co.consumer, ids, func(id MessageID, e error) { err = fmt.Errorf("finish %s: %w", id, e) })
		if err != nil {
			return err
		}
		if n == 0 {
			idle++
			m.wait(time.Minute)
		}
	}
	if len(m.finished) != m.published {
		return fmt.Errorf("%d of %d messages were delivered; missing: %v", len(m.finished), m.published, slices.Sorted(maps.Keys(m.waiting)))
	}
	if s := m.channel.stats(StatsFilter{}, newStream(m.opts)); s.Depth != 0 || s.InFlightCount != 0 || s.DeferredCount != 0 {
		return fmt.Errorf("with all finished, depth is %d, %d in flight, %d deferred", s.Depth, s.InFlightCount, s.DeferredCount)
	}
	return nil
}
