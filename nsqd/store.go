package nsqd

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/hashicorp/go-hclog"

	"nsqraft/nsqd/diskqueue"
)

// readBatch bounds what one read takes from a queue on disk.
const (
	readMessages  = 256
	readSizeLimit = 256 << 10
)

// maxStoredBody is the least limit for the body of a message on disk: one that was
// accepted under a larger --max-msg-size than today's is no damage.
const maxStoredBody = 64 << 20

// A store keeps on disk the messages of one topic or channel for which there is no
// room in memory: a queue of messages, in stock's format, and beside it until when
// those of them are deferred that are.
type store struct {
	name    string
	durable bool // put returns only when the messages are synced, and they stay until released
	queue   *diskqueue.Queue
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
	s.queue, err = diskqueue.Open(o.DataPath, name, diskqueue.Options{
		MaxBytesPerFile: o.MaxBytesPerFile,
		MinMessage:      headerSize,
		MaxMessage:      headerSize + int(max(o.MaxMsgSize, maxStoredBody)),
		SyncEvery:       o.SyncEvery,
		SyncTimeout:     o.SyncTimeout,
		Hold:            s.durable,
		Plausible:       plausible,
		Log:             log,
		Failed: func(err error) {
			// What is damaged was reported and is passed over; the queue is well.
			if _, damage := errors.AsType[*diskqueue.Damage](err); !damage {
				h.failed(name, err)
			}
		},
	})
	if err != nil {
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
			closed := errors.Is(err, diskqueue.ErrClosed) // deleted meanwhile: nobody is ill
			err = fmt.Errorf("write to the disk queue of %s: %w", s.name, err)
			if !closed {
				s.health.failed(s.name, err)
			}
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
	return s.queue.PutFrames(b, len(messages)) // which syncs, if durable
}

// forget drops the deadlines of new messages that put has not taken.
func (s *store) forget(messages []*Message) {
	for _, m := range messages {
		if m.notBefore != 0 {
			s.until.take(m.ID)
		}
	}
}

// next takes some of the messages from the head of the queue; none is no error.
func (s *store) next() ([]*Message, error) {
	bodies, err := s.queue.Next(readMessages, readSizeLimit)
	if err != nil {
		closed := errors.Is(err, diskqueue.ErrClosed)
		err = fmt.Errorf("read from the disk queue of %s: %w", s.name, err)
		if !closed {
			s.health.failed(s.name, err)
		}
		return nil, err
	}
	messages := make([]Message, len(bodies))
	batch := make([]*Message, len(bodies))
	for i, b := range bodies {
		m := &messages[i]
		if err := m.decode(b); err != nil {
			return nil, err // the queue returns nothing that is shorter than a header
		}
		if s.durable { // it stays on disk, and so does its deadline, until it is done
			m.notBefore = s.until.get(m.ID)
		} else {
			m.notBefore = s.until.take(m.ID)
		}
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
