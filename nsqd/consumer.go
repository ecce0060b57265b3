package nsqd

// A consumer is one subscription of a client to a channel: what it may be sent, and
// what it has been sent and has not finished.
type consumer struct {
	// Read-only once it has subscribed.
	timeout    int64 // ns a message may be in flight
	sampleRate int32 // of a hundred messages so many are delivered and the others dropped; 0: all
	zone       string
	region     string
	evict      func()             // closes the client, when the channel is deleted; does not wait
	describe   func() ClientStats // all but what is below; must not wait for the channel

	// There may be something to take from the channel: holds one token at most.
	wake chan struct{}

	// Guarded by the channel's mutex.
	ready    int64 // messages that may be in flight
	inFlight int64
	flying   flightList // those, the one that falls due first in front
	waits    wait
	sending  int64 // since when it has written what it took last, by the channel's clock; 0: it takes
	gone     bool  // unsubscribed; only here until nothing is in flight any more

	delivered, finished, requeued uint64
}

// wait says what a consumer that has taken nothing waits for.
type wait int8

const (
	waitNone     wait = iota
	waitMessages      // it is in channel.idle
	waitReady         // for its own messages to be finished, or for RDY
)

// rouse lets the consumer take again.
func (co *consumer) rouse() {
	co.waits = waitNone
	select {
	case co.wake <- struct{}{}:
	default:
	}
}

// A flightList holds messages in flight in the order in which they fall due. A
// consumer's time-out is the same for all its messages, so that they nearly always
// come at the end.
type flightList struct {
	first, last *Message
}

func (l *flightList) insert(m *Message) {
	after := l.last
	for after != nil && after.due > m.due {
		after = after.prev
	}
	m.prev = after
	if after == nil {
		m.next, l.first = l.first, m
	} else {
		m.next, after.next = after.next, m
	}
	if m.next == nil {
		l.last = m
	} else {
		m.next.prev = m
	}
}

func (l *flightList) remove(m *Message) {
	if m.prev == nil {
		l.first = m.next
	} else {
		m.prev.next = m.next
	}
	if m.next == nil {
		l.last = m.prev
	} else {
		m.next.prev = m.prev
	}
	m.prev, m.next = nil, nil
}
