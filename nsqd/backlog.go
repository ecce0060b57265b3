package nsqd

import (
	"fmt"
	"slices"
	"sync"
)

// A backlog holds what waits in a topic or a channel: messages in memory up to a
// limit, and the others on disk. It is a part of its owner and guarded by the
// owner's mutex, which is never held across I/O: who reads or drops what is on disk
// has the disk to himself for as long, see lockDisk.
type backlog struct {
	// Read-only.
	mu    *sync.Mutex // the owner's
	store *store      // nil: ephemeral, what finds no room in memory is dropped
	limit int         // messages in memory that are not from disk
	pins  int         // see stuck

	// Guarded by mu.
	memory     ring
	reserved   int                    // room in memory for messages on their way, see put
	diskInUse  bool                   // see lockDisk
	diskFree   *sync.Cond             // diskInUse has become false
	held       held                   // of a durable store
	known      map[MessageID]*Message // those in held, and those whose copies are still to be read, see move
	releasable int64                  // messages to be released when the disk is had next
}

func (b *backlog) init(mu *sync.Mutex, s *store, limit int64) {
	b.mu, b.store, b.limit, b.pins = mu, s, int(limit), pinned
	if s != nil && s.durable {
		b.limit = 0
	}
	b.diskFree = sync.NewCond(mu)
}

// put takes a batch: as many as there is room for are returned, and the caller
// gives them to b.memory under the mutex, with b.arrived. The others are on disk, or
// all is undone and the error says why not. mu is not held.
func (b *backlog) put(batch []*Message) (inMemory []*Message, err error) {
	b.mu.Lock()
	room := max(0, min(len(batch), b.limit-b.memory.len()-b.reserved))
	b.reserved += room
	b.mu.Unlock()
	if room < len(batch) && b.store != nil {
		if err := b.store.put(batch[room:]); err != nil {
			b.store.forget(batch[room:])
			b.mu.Lock()
			b.reserved -= room
			b.mu.Unlock()
			return nil, err
		}
	}
	return batch[:room], nil
}

// arrived takes back the reservation of n messages that put has returned. mu is held.
func (b *backlog) arrived(n int) { b.reserved -= n }

// onDisk returns how many messages wait on disk. mu need not be held.
func (b *backlog) onDisk() int64 {
	if b.store == nil {
		return 0
	}
	return b.store.queue.Depth()
}

// depth returns how many messages wait. mu is held.
func (b *backlog) depth() int64 { return int64(b.memory.len()) + b.onDisk() }

// lockDisk waits until nobody else reads or drops what is on disk. mu is held
// before and after, but not in between.
func (b *backlog) lockDisk() {
	for b.diskInUse {
		b.diskFree.Wait()
	}
	b.diskInUse = true
}

// unlockDisk ends lockDisk. mu is held.
func (b *backlog) unlockDisk() {
	b.diskInUse = false
	b.diskFree.Broadcast()
}

// read returns messages from disk, and tells it which of those read before are done
// with. mu is held, but not during the reading; the disk must not be in use.
func (b *backlog) read() ([]*Message, error) {
	b.lockDisk()
	defer b.unlockDisk()
	release := b.releasable
	b.releasable = 0
	b.mu.Unlock()
	if release > 0 {
		b.store.queue.Release(release)
	}
	messages, err := b.store.next()
	b.mu.Lock()
	if b.store.durable {
		messages = b.hold(messages)
	}
	return messages, err
}

// hold notes that the messages were read, and returns those that are not here
// already: of a message that was moved there are two on disk, also after a crash. mu
// is held.
func (b *backlog) hold(messages []*Message) []*Message {
	if b.known == nil {
		b.known = make(map[MessageID]*Message)
	}
	fresh := messages[:0]
	for _, m := range messages {
		m.ticket = b.held.add()
		known := b.known[m.ID]
		if known == nil {
			b.known[m.ID] = m
			fresh = append(fresh, m)
			continue
		}
		if known.ticket != 0 {
			b.releasable += b.held.finish(known.ticket)
		}
		known.ticket = m.ticket
		if known.over {
			b.done(known)
		}
	}
	return fresh
}

const (
	// pinned is how many messages may be held on disk before those are moved that
	// keep the others there.
	pinned = 8192

	// maxMoved bounds what is moved at a time. More unfinished ones than that among
	// the older half are no exception, and stay.
	maxMoved = 512
)

// stuck returns the messages in memory to which it is due that the disk queue still
// holds far more than is unfinished: those of the older half. candidates calls its
// argument with each message in memory. mu is held.
func (b *backlog) stuck(candidates func(func(*Message))) (list []*Message) {
	if b.held.span() < b.pins {
		return nil
	}
	// At least as many as are moved must be free to go, or it would never end.
	older := b.held.span() / 2
	half, most := b.held.first+int64(older), min(maxMoved, older/2)
	n := 0
	candidates(func(m *Message) {
		if m.ticket == 0 || m.ticket >= half {
			return
		}
		if n++; n <= most {
			list = append(list, m)
		}
	})
	if n > most {
		return nil
	}
	return list
}

// move writes copies of messages in memory to the end of the disk queue, which can
// let go then of where they were, and of what was finished behind them. Meanwhile the
// messages go on; when their copies are read they are recognised. mu is held, but not
// during the writing.
func (b *backlog) move(messages, copies []*Message) error {
	b.lockDisk()
	defer b.unlockDisk()
	b.mu.Unlock()
	err := b.store.put(copies)
	b.mu.Lock()
	if err != nil {
		return err
	}
	for i, m := range messages {
		if !m.over {
			b.releasable += b.held.finish(m.ticket)
		}
		m.ticket = 0
		b.known[m.ID] = m
		if until := copies[i].notBefore; until != 0 {
			m.notBefore = until // which is in the file of deadlines now
		}
	}
	return nil
}

// letGo tells the disk of what is done with, once that is much or all. mu is held,
// but not meanwhile. It says whether it did: who came for the disk meanwhile has to be
// woken.
func (b *backlog) letGo() bool {
	if b.releasable == 0 || b.diskInUse || b.releasable < readMessages && b.held.span() > 0 {
		return false
	}
	b.lockDisk()
	defer b.unlockDisk()
	release := b.releasable
	b.releasable = 0
	b.mu.Unlock()
	b.store.queue.Release(release)
	b.mu.Lock()
	return true
}

// done notes that the message is finished, or dropped. mu is held.
func (b *backlog) done(m *Message) {
	m.over = true
	if m.ticket == 0 { // not held; or moved, and its copy is still to come
		return
	}
	b.releasable += b.held.finish(m.ticket)
	delete(b.known, m.ID)
	if m.notBefore != 0 {
		b.store.until.take(m.ID)
	}
}

// empty drops what waits. mu is not held; meanwhile is called with it held, once
// nothing comes from the disk any more.
func (b *backlog) empty(meanwhile func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lockDisk()
	defer b.unlockDisk()
	b.memory.clear()
	if meanwhile != nil {
		meanwhile()
	}
	b.held.forget() // the queue forgets too
	b.known = nil
	b.releasable = 0
	if b.store == nil {
		return nil
	}
	b.mu.Unlock()
	err := b.store.empty()
	b.mu.Lock()
	return err
}

// close puts the messages to disk and closes it. Nobody else uses the backlog any
// more.
func (b *backlog) close(messages []*Message) error {
	if b.store == nil {
		return nil
	}
	// A copy of those that were moved is on disk already.
	messages = slices.DeleteFunc(messages, func(m *Message) bool { return m.ticket == 0 && b.known[m.ID] == m })
	var err error
	for len(messages) > 0 && err == nil {
		n := min(len(messages), readMessages)
		if err = b.store.put(messages[:n]); err == nil {
			messages = messages[n:]
		}
	}
	if err != nil && !b.store.durable { // else they are on disk, where they were
		err = fmt.Errorf("%d messages are lost: %w", len(messages), err)
	}
	// Those that were read are written again, with their attempts, unless the disk
	// is full: then they stay where they were.
	if err == nil && b.store.durable {
		if release := b.releasable + b.held.forget(); release > 0 {
			b.store.queue.Release(release)
		}
	}
	if closed := b.store.close(); err == nil {
		err = closed
	}
	return err
}
