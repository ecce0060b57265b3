package nsqadmin

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"nsqraft/internal/clusterinfo"
)

// An event is an entry of the activity: what a person did, or what was seen to happen.
type event struct {
	ID      uint64       `json:"id"`
	At      time.Time    `json:"at"`
	Kind    string       `json:"kind"`             // action, leader, nsqd, nsqlookupd, registry
	Action  string       `json:"action,omitempty"` // stock's names: create_topic, pause_channel, ...
	Topic   string       `json:"topic,omitempty"`
	Channel string       `json:"channel,omitempty"`
	Node    string       `json:"node,omitempty"`
	User    string       `json:"user,omitempty"`
	Remote  string       `json:"remote_ip,omitempty"`
	Text    string       `json:"text"` // one sentence
	Results []resultJSON `json:"results,omitempty"`
}

// resultJSON is a clusterinfo.Result for people and programs.
type resultJSON struct {
	Address string `json:"address"`
	Kind    string `json:"kind"`
	Outcome string `json:"outcome"` // done, failed, or unknown: it may still happen
	Error   string `json:"error,omitempty"`
	TookMS  int64  `json:"took_ms"`
}

func resultsJSON(results []clusterinfo.Result) []resultJSON {
	list := make([]resultJSON, len(results))
	for i, r := range results {
		list[i] = resultJSON{Address: r.Address, Kind: r.Kind, Outcome: outcomeOf(&r), TookMS: r.Took.Milliseconds()}
		if r.Err != nil {
			list[i].Error = reason(r.Err)
		}
	}
	return list
}

func outcomeOf(r *clusterinfo.Result) string {
	switch {
	case r.Err == nil:
		return "done"
	case r.Unknown():
		return "unknown"
	}
	return "failed"
}

// tally counts results: those that were not done, and those of which that is not known.
func tally(results []clusterinfo.Result) (failed, unknown int) {
	for _, r := range results {
		switch outcomeOf(&r) {
		case "failed":
			failed++
		case "unknown":
			unknown++
		}
	}
	return failed, unknown
}

// reason returns what went wrong with a daemon, for where its address stands already.
func reason(err error) string {
	if e, ok := errors.AsType[*clusterinfo.DaemonError](err); ok {
		err = e.Err
	}
	return err.Error()
}

// maxEvents bounds what is kept, in memory only; the oldest fall out first.
const maxEvents = 1000

// An activity is what happened lately. Events are never changed once they are in it.
type activity struct {
	mu      sync.RWMutex
	events  []*event // oldest first
	nextID  uint64
	changed chan struct{} // closed with the next event
}

// newActivity returns an empty activity. Ids begin with the time in milliseconds: those
// of a process that starts later are greater, as there is never one event a
// millisecond for long.
func newActivity(now time.Time) *activity {
	return &activity{nextID: uint64(now.UnixMilli()), changed: make(chan struct{})}
}

// add takes e over, and sets its id.
func (a *activity) add(e *event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e.ID = a.nextID
	a.nextID++
	if len(a.events) == maxEvents {
		copy(a.events, a.events[1:])
		a.events = a.events[:maxEvents-1]
	}
	a.events = append(a.events, e)
	close(a.changed)
	a.changed = make(chan struct{})
}

// newest returns the newest limit events, newest first, that keep says to keep (nil: all).
func (a *activity) newest(limit int, keep func(*event) bool) []*event {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var list []*event
	for i := len(a.events) - 1; i >= 0 && len(list) < limit; i-- {
		if keep == nil || keep(a.events[i]) {
			list = append(list, a.events[i])
		}
	}
	return list
}

// after returns the events after the one with that id, oldest first, and a channel
// that is closed with the next one.
func (a *activity) after(id uint64) ([]*event, <-chan struct{}) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	i := len(a.events)
	for i > 0 && a.events[i-1].ID > id {
		i--
	}
	return append([]*event(nil), a.events[i:]...), a.changed
}

// last returns the id of the newest event, or one that is less than that of the first.
func (a *activity) last() uint64 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.nextID - 1
}

// A watchman compares each View with the one before and notes what happened.
type watchman struct {
	activity *activity

	// Owned by the goroutine that calls observe.
	nodes, lookupds map[string]clusterinfo.State // by address; of nodes that were seen up or down
	begun           bool
	differing       int // Views in a row in which copies of the registry differed
}

func newWatchman(a *activity) *watchman {
	return &watchman{activity: a, nodes: make(map[string]clusterinfo.State), lookupds: make(map[string]clusterinfo.State)}
}

// observe notes what v, seen at now, tells: daemons that went and came, and copies of
// the registry that differ. That a daemon is up in the first View is no event.
func (w *watchman) observe(v *clusterinfo.View, now time.Time) {
	for _, l := range v.Lookupds {
		w.daemon("nsqlookupd", w.lookupds, l.Address, l.State, l.Err, now)
	}
	listed := make(map[string]bool, len(v.Nodes))
	for _, n := range v.Nodes {
		listed[n.Address] = true
		w.daemon("nsqd", w.nodes, n.Address, n.State, n.Err, now)
	}
	for address := range w.nodes {
		if !listed[address] {
			delete(w.nodes, address)
			w.note(now, "nsqd", address, "nsqd "+address+" is gone: no nsqlookupd lists it, and it does not answer")
		}
	}
	w.registry(v, now)
	w.begun = w.begun || len(listed) > 0
}

// daemon notes what changed between two states of a daemon. One that is slow once is
// no event.
func (w *watchman) daemon(kind string, states map[string]clusterinfo.State, address string, state clusterinfo.State, err error, now time.Time) {
	was, known := states[address]
	if state == clusterinfo.Unknown || state == clusterinfo.Suspect {
		return
	}
	states[address] = state
	switch {
	case !known && kind == "nsqd" && w.begun && state == clusterinfo.Up:
		w.note(now, kind, address, "nsqd "+address+" appeared")
	case state == clusterinfo.Down && was != clusterinfo.Down:
		text := kind + " " + address + " does not answer"
		if err != nil {
			text += ": " + reason(err)
		}
		w.note(now, kind, address, text)
	case was == clusterinfo.Down && state != clusterinfo.Down:
		w.note(now, kind, address, kind+" "+address+" answers again")
	case known && state == clusterinfo.Draining && was != clusterinfo.Draining:
		w.note(now, kind, address, kind+" "+address+" drains: it takes nothing new")
	}
}

// registry notes when copies of the registry begin to differ. Two Views in a row must
// say so: a hash and its index are not read together everywhere.
func (w *watchman) registry(v *clusterinfo.View, now time.Time) {
	a, b, index := differing(v)
	if a == "" {
		w.differing = 0
		return
	}
	if w.differing++; w.differing == 2 {
		w.note(now, "registry", b, fmt.Sprintf("%s and %s hold different registries at index %d", a, b, index))
	}
}

// differing returns two members whose registries differ though they have applied the
// same; empty if there are none.
func differing(v *clusterinfo.View) (a, b string, index uint64) {
	type copied struct{ id, hash string }
	first := make(map[uint64]copied) // by applied index
	check := func(id, hash string, applied uint64) bool {
		if hash == "" {
			return false
		}
		if other, ok := first[applied]; ok && other.hash != hash && other.id != id {
			a, b, index = other.id, id, applied
			return true
		}
		first[applied] = copied{id, hash}
		return false
	}
	for _, l := range v.Lookupds {
		if c := l.Cluster; c != nil && l.State == clusterinfo.Up && check(c.NodeID, c.RegistryHash, c.AppliedIndex) {
			return a, b, index
		}
	}
	if c, _ := v.Cluster(); c != nil {
		for _, m := range c.Members {
			if m.Healthy && check(m.ID, m.RegistryHash, m.AppliedIndex) {
				return a, b, index
			}
		}
	}
	return "", "", 0
}

// leads notes the beginning of a reign.
func (w *watchman) leads(r *reign, now time.Time) {
	if r.node == "" {
		w.note(now, "leader", "", fmt.Sprintf("no nsqlookupd leads (term %d): lookups are answered, registrations wait", r.term))
		return
	}
	w.note(now, "leader", r.node, fmt.Sprintf("nsqlookupd %s leads in term %d", r.node, r.term))
}

func (w *watchman) note(now time.Time, kind, node, text string) {
	w.activity.add(&event{At: now, Kind: kind, Node: node, Text: text})
}
