package nsqd

import (
	"fmt"
	"path/filepath"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// A diskQueue is what a store needs of diskqueue.Queue, whose contract it has.
type diskQueue interface {
	PutFrames(frames []byte, n int) error
	Sync() error
	Next(maxMessages, maxBytes int) ([][]byte, error)
	Release(n int64)
	Depth() int64
	Empty() error
	Delete() error
	Close() error
}

// readBatch bounds what one read takes from a queue on disk.
const (
	readMessages  = 256
	readSizeLimit = 256 << 10
)

// A store keeps on disk the messages of one topic or channel for which there is no
// room in memory: a queue of messages, in stock's format, and beside it until when
// those of them are deferred that are.
type store struct {
	name    string
	durable bool // put returns only when the messages are synced, and they stay until released
	queue   diskQueue
	until   *deadlines
	health  *health
}

// openStore opens the store called name in the server's data path.
func openStore(o *Options, name string, h *health, log hclog.Logger) (*store, error) {
	s := &store{name: name, durable: o.durable(), health: h}
	var err error
	if s.until, err = openDeadlines(filepath.Join(o.DataPath, name+".deferred.dat")); err != nil {
		return nil, fmt.Errorf("open the deadlines of %s: %w", name, err)
	}
	if s.queue, err = openDiskQueue(o, name, func(err error) { h.failed(name, err) }, log); err != nil {
		s.until.close()
		return nil, fmt.Errorf("open the disk queue of %s: %w", name, err)
	}
	return s, nil
}

var frames = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled bounds the buffers that are kept for the next batch.
const maxPooled = 1 << 20

// put appends the messages, all or none. What goes wrong is the health of the
// server until a put to the same store succeeds.
func (s *store) put(messages []*Message) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write to the disk queue of %s: %w", s.name, err)
			s.health.failed(s.name, err)
			return
		}
		s.health.succeeded(s.name)
	}()
	if err := s.until.add(messages, s.durable); err != nil {
		return err
	}
	buf := frames.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxPooled {
			frames.Put(buf)
		}
	}()
	b := (*buf)[:0]
	for _, m := range messages {
		b = m.appendFrame(b)
	}
	*buf = b
	if err := s.queue.PutFrames(b, len(messages)); err != nil {
		return err
	}
	if s.durable {
		return s.queue.Sync()
	}
	return nil
}

// next takes some of the messages from the head of the queue; none is no error.
func (s *store) next() ([]*Message, error) {
	bodies, err := s.queue.Next(readMessages, readSizeLimit)
	if err != nil {
		err = fmt.Errorf("read from the disk queue of %s: %w", s.name, err)
		s.health.failed(s.name, err)
		return nil, err
	}
	messages := make([]Message, len(bodies))
	batch := make([]*Message, len(bodies))
	for i, b := range bodies {
		m := &messages[i]
		if err := m.decode(b); err != nil {
			return nil, err // the queue returns nothing that is shorter than a header
		}
		m.notBefore = s.until.take(m.ID)
		batch[i] = m
	}
	return batch, nil
}

// empty drops all messages.
func (s *store) empty() error {
	s.until.clear()
	return s.queue.Empty()
}

// remove drops all messages and the files.
func (s *store) remove() error {
	s.health.succeeded(s.name) // what is not there any more is not ill
	err := s.queue.Delete()
	s.until.clear()
	if closed := s.until.close(); err == nil {
		err = closed
	}
	return err
}

func (s *store) close() error {
	err := s.queue.Close()
	if closed := s.until.close(); err == nil {
		err = closed
	}
	return err
}
