package nsqd

// deferred holds the messages that are not to be delivered yet, the one that falls
// due first on top: a binary heap, because delays are any and come in any order.
type deferred []*Message

func (d *deferred) push(m *Message) {
	h := append(*d, m)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].due <= m.due {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = m
	*d = h
}

// popDue removes and returns the first message if it is due at now, else nil.
func (d *deferred) popDue(now int64) *Message {
	h := *d
	if len(h) == 0 || h[0].due > now {
		return nil
	}
	top := h[0]
	last := h[len(h)-1]
	h[len(h)-1] = nil
	h = h[:len(h)-1]
	i := 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].due < h[child].due {
			child++
		}
		if h[child].due >= last.due {
			break
		}
		h[i] = h[child]
		i = child
	}
	if len(h) > 0 {
		h[i] = last
	}
	*d = h
	return top
}
