package nsqd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// A MessageID names a message on one nsqd: 16 lower-case hex digits, on the wire
// and on disk too.
type MessageID [16]byte

func (id MessageID) String() string { return string(id[:]) }

// headerSize is what stands before the body of a message on the wire and on disk:
// an int64 of nanoseconds, a uint16 of attempts, and the id, all big-endian.
const headerSize = 8 + 2 + len(MessageID{})

// A Message belongs to one channel, or to a topic that has not given it to its
// channels yet. The copies in several channels share their body.
type Message struct {
	// Read-only once it is published. Body may be a part of a larger buffer and
	// must not be appended to.
	ID        MessageID
	Timestamp int64 // of the publish, in ns since 1970
	Body      []byte
	notBefore int64 // deferred until then, in ns since 1970; 0: not deferred

	// Guarded by the mutex of the channel that holds the message.
	Attempts   uint16
	over       bool      // finished or dropped
	ticket     int64     // its place among the messages read from a queue that holds them; 0: none
	due        int64     // in flight, deferred: when it falls due, by the channel's clock
	sent       int64     // in flight: when it was delivered, by the channel's clock
	consumer   *consumer // in flight: who has it
	prev, next *Message  // in flight: its neighbours in consumer.flying
}

// appendHeader appends what stands before the body.
func (m *Message) appendHeader(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(m.Timestamp))
	b = binary.BigEndian.AppendUint16(b, m.Attempts)
	return append(b, m.ID[:]...)
}

// appendFrame appends the message as a queue on disk holds it: behind its size as
// an int32.
func (m *Message) appendFrame(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(headerSize+len(m.Body)))
	return append(m.appendHeader(b), m.Body...)
}

// decode fills m from what a queue on disk held, which it keeps.
func (m *Message) decode(b []byte) error {
	if len(b) < headerSize {
		return fmt.Errorf("a message of %d bytes is shorter than its header", len(b))
	}
	m.Timestamp = int64(binary.BigEndian.Uint64(b))
	m.Attempts = binary.BigEndian.Uint16(b[8:])
	m.ID = MessageID(b[10:headerSize])
	m.Body = b[headerSize:len(b):len(b)]
	return nil
}

// plausible says whether b looks like a message on disk: behind damage, that is
// where the next one is looked for.
func plausible(b []byte) bool {
	if len(b) < headerSize {
		return false
	}
	for _, c := range b[10:headerSize] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// ids gives out message ids. Like stock's they hold a time, the node and a count:
// sorted by id, the messages of one nsqd are sorted by time.
type ids struct {
	node uint64
	last atomic.Uint64 // time and count of the last id
}

const (
	idEpoch     = 1288834974288 // ms since 1970, as in stock
	nodeIDBits  = 10
	maxNodeID   = 1 << nodeIDBits
	idCountBits = 12
)

// take reserves n ids and returns the first; the others follow it, see id. A clock
// that goes backwards, or more than 4 million ids a second, borrows from the future.
func (g *ids) take(now time.Time, n int) uint64 {
	floor := uint64(now.UnixNano()>>20-idEpoch) << idCountBits
	for {
		last := g.last.Load()
		first := max(last+1, floor)
		if g.last.CompareAndSwap(last, first+uint64(n)-1) {
			return first
		}
	}
}

// id returns the id that take has reserved as number.
func (g *ids) id(number uint64) (id MessageID) {
	const digits = "0123456789abcdef"
	n := number>>idCountBits<<(idCountBits+nodeIDBits) | g.node<<idCountBits | number&(1<<idCountBits-1)
	for i := len(id) - 1; i >= 0; i-- {
		id[i] = digits[n&15]
		n >>= 4
	}
	return id
}

// errEmptyBody is Publish's answer to a message without a body, which a queue on
// disk could not hold.
var errEmptyBody = errors.New("message has no body")

// newMessages makes a message of each body. They are deferred by delay.
func (g *ids) newMessages(bodies [][]byte, now time.Time, delay time.Duration) []Message {
	messages := make([]Message, len(bodies))
	first := g.take(now, len(bodies))
	timestamp := now.UnixNano()
	notBefore := int64(0)
	if delay > 0 {
		notBefore = timestamp + int64(delay)
	}
	for i := range messages {
		messages[i] = Message{ID: g.id(first + uint64(i)), Timestamp: timestamp, Body: bodies[i], notBefore: notBefore}
	}
	return messages
}
