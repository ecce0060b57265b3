package nsqd

// A ring is a queue of messages in memory. Its zero value is empty. It takes no
// more room than about twice what it holds.
type ring struct {
	buf   []*Message // its length is a power of two, or 0
	head  int        // index of the first
	count int
}

const minRing = 16

func (r *ring) len() int { return r.count }

func (r *ring) push(m *Message) {
	if r.count == len(r.buf) {
		r.resize(max(minRing, 2*len(r.buf)))
	}
	r.buf[(r.head+r.count)&(len(r.buf)-1)] = m
	r.count++
}

// pop returns the first message, nil if there is none.
func (r *ring) pop() *Message {
	if r.count == 0 {
		return nil
	}
	m := r.buf[r.head]
	r.buf[r.head] = nil
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.count--
	if len(r.buf) > minRing && r.count <= len(r.buf)/8 {
		r.resize(len(r.buf) / 4)
	}
	return m
}

func (r *ring) resize(size int) {
	buf := make([]*Message, size)
	n := copy(buf, r.buf[r.head:min(len(r.buf), r.head+r.count)])
	copy(buf[n:], r.buf[:r.count-n])
	r.buf, r.head = buf, 0
}

// clear empties the ring.
func (r *ring) clear() { *r = ring{} }
