package nsqd

// held keeps account of the messages read from a disk queue that holds on to them
// until they are finished. Messages are finished in any order; the queue can let go
// only of those before the first that is not. Its zero value is ready.
type held struct {
	first    int64  // ticket of finished[0]; 0 before the first message
	finished []bool // of the messages from first on
}

// add returns the ticket of the next message read.
func (h *held) add() int64 {
	if h.first == 0 {
		h.first = 1
	}
	h.finished = append(h.finished, false)
	return h.first + int64(len(h.finished)) - 1
}

// finish notes that the message with ticket is finished and returns how many
// messages the queue may let go of.
func (h *held) finish(ticket int64) (release int64) {
	if ticket < h.first || ticket >= h.first+int64(len(h.finished)) {
		return 0 // let go of already, by forget
	}
	h.finished[ticket-h.first] = true
	for release < int64(len(h.finished)) && h.finished[release] {
		release++
	}
	h.first += release
	h.finished = h.finished[release:]
	return release
}

// span returns how many messages the queue holds on to.
func (h *held) span() int { return len(h.finished) }

// forget returns how many messages the queue still holds on to, and lets go of them.
func (h *held) forget() (release int64) {
	release = int64(len(h.finished))
	h.first += release
	h.finished = nil
	return release
}
