package lookupd

import (
	"sync"

	"nsqraft/fsm"
)

// sessions are the live sessions of this node: those whose connections it
// holds. The zero value is empty and ready to use.
type sessions struct {
	mu      sync.Mutex
	live    map[fsm.SessionID]*session
	leaving bool
}

func (t *sessions) add(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live = make(map[fsm.SessionID]*session)
	}
	t.live[s.id] = s
}

// remove forgets a session whose connection has ended and reports whether the
// registry shall be told.
func (t *sessions) remove(id fsm.SessionID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, id)
	return !t.leaving
}

// Has reports whether this node holds the connection of session id. A session
// in the registry for which it does not is a stray.
func (t *sessions) Has(id fsm.SessionID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live[id] != nil
}

// IDs returns the live sessions in no order.
func (t *sessions) IDs() []fsm.SessionID {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := make([]fsm.SessionID, 0, len(t.live))
	for id := range t.live {
		ids = append(ids, id)
	}
	return ids
}

// Len returns the number of live sessions.
func (t *sessions) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.live)
}

// Close closes the connection of session id without a word, so that its nsqd
// reconnects and replays. It does not wait; an unknown id is no error.
func (t *sessions) Close(id fsm.SessionID) {
	t.mu.Lock()
	s := t.live[id]
	t.mu.Unlock()
	if s != nil {
		s.conn.Close()
	}
}

// CloseAll does for every live session what Close does for one.
func (t *sessions) CloseAll() {
	for _, id := range t.IDs() {
		t.Close(id)
	}
}

// Leave makes the sessions that end from now on stay in the registry: the node
// stops gracefully and its producers shall be listed until they are back
// elsewhere.
func (t *sessions) Leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leaving = true
}

// lastUpdate returns when the session last sent PING or IDENTIFY, in Unix
// nanoseconds; 0 if its connection is not one of this node's.
func (t *sessions) lastUpdate(id fsm.SessionID) int64 {
	t.mu.Lock()
	s := t.live[id]
	t.mu.Unlock()
	if s == nil {
		return 0
	}
	return s.lastUpdate.Load()
}
