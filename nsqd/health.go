package nsqd

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// health is what is wrong with the server: which of its queues on disk have failed.
// A queue is well again when a write to it has succeeded, not when one to another
// has.
type health struct {
	mu      sync.Mutex
	ill     map[string]error
	count   atomic.Int32    // of ill: the hot path asks no more than that
	changed func(err error) // told of a queue that failed and was well before
}

func (h *health) failed(name string, err error) {
	h.mu.Lock()
	_, known := h.ill[name]
	if h.ill == nil {
		h.ill = make(map[string]error)
	}
	h.ill[name] = err
	h.count.Store(int32(len(h.ill)))
	h.mu.Unlock()
	if !known && h.changed != nil {
		h.changed(err)
	}
}

func (h *health) succeeded(name string) {
	if h.count.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.ill, name)
	h.count.Store(int32(len(h.ill)))
}

// err returns what is wrong with the first queue by name, nil if all is well.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ill) == 0 {
		return nil
	}
	return h.ill[slices.Min(slices.Collect(maps.Keys(h.ill)))]
}
