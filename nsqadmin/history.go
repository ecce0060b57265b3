package nsqadmin

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"nsqraft/internal/clusterinfo"
)

// A metric is one number of which history is kept.
type metric int

const (
	depth     metric = iota // messages that wait: of a topic, its own and those of its channels
	published               // messages/s into the topic or channel
	finished                // messages/s out of the channel, or out of all channels of a topic
	inFlight                // messages
	metrics                 // how many there are
)

// A key is whose history it is: of a topic, of a channel, or, with both empty, of everything.
type key struct{ topic, channel string }

// A point is the value of a metric at one time. NaN: not known then.
type point struct {
	at    time.Time
	value float64
}

// A sample is one value of each metric.
type sample [metrics]float64

// tiers are how finely and for how long values are kept: those of a step become
// one, their mean.
var tiers = [...]struct {
	step  time.Duration
	slots int64
}{
	{2 * time.Second, 300},  // 10 minutes
	{12 * time.Second, 300}, // 1 hour
	{5 * time.Minute, 288},  // 24 hours
}

const (
	// maxMoving bounds the keys of which values are kept, some 15 kB each: 20,000
	// series, 75 MB. A key that does not move costs next to nothing and is not
	// counted: see track.
	maxMoving = 5000
	// restBeforeFall is how long a key must not have moved before it may lose its
	// history to one that moves.
	restBeforeFall = time.Minute
	// hold is how long the last rate of an nsqd that does not answer is believed,
	// and how long a pause between samples may be.
	hold = 15 * time.Second
	// forgetAfter is how long the history of a topic or channel that is gone is kept.
	forgetAfter = 10 * time.Minute
)

// A history keeps the values of topics and channels from one View to the next.
//
// If more than maxMoving keys move, those that rested longest lose their past; if
// none has rested for a minute, new ones get none until one does. Topics come before
// channels.
type history struct {
	nodes map[string]*nodeRates // by address; owned by the goroutine that calls observe

	mu     sync.RWMutex
	tracks map[key]*track
	at     time.Time       // of the newest sample
	flows  map[string]flow // of each nsqd whose rate is known, by address
	moving int             // tracks with rings
	swept  time.Time
	sought time.Time         // when room was made last, or none was found
	empty  map[key]time.Time // channels that were emptied here, and when
}

// A track is the history of one key. While it has never moved it has no rings: since
// that time it has had the values of last.
type track struct {
	since, seen, moved time.Time
	last               sample
	rings              *[len(tiers)]ring
}

func newHistory() *history {
	return &history{
		tracks: make(map[key]*track),
		nodes:  make(map[string]*nodeRates),
		empty:  make(map[key]time.Time),
	}
}

// observe takes the values of v, which were seen at now. Views that come out of
// order are ignored.
func (h *history) observe(v *clusterinfo.View, now time.Time) {
	h.mu.RLock()
	at, emptied := h.at, maps.Clone(h.empty)
	h.mu.RUnlock()
	if !now.After(at) {
		return
	}
	rates, flows := h.rates(v, now, emptied) // without the lock: of a million counters it takes long
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at, h.flows = now, flows
	var all sample
	for _, t := range v.Topics {
		all[depth] += float64(backlog(t))
		all[inFlight] += float64(t.InFlight)
	}
	if len(flows) > 0 {
		all[published], all[finished] = rates[key{}].published, rates[key{}].finished
	} else {
		all[published], all[finished] = math.NaN(), math.NaN()
	}
	h.put(key{}, all)
	for _, t := range v.Topics {
		k := key{topic: t.Name}
		h.put(k, sample{float64(backlog(t)), rates[k].published, rates[k].finished, float64(t.InFlight)})
	}
	for _, t := range v.Topics {
		for _, c := range t.Channels {
			k := key{t.Name, c.Name}
			h.put(k, sample{float64(c.Depth), rates[k].published, rates[k].finished, float64(c.InFlight)})
		}
	}
	if now.Sub(h.swept) > time.Minute {
		h.sweep()
	}
}

// backlog returns how many messages wait in a topic and its channels.
func backlog(t *clusterinfo.Topic) int64 {
	n := t.Depth
	for _, c := range t.Channels {
		n += c.Depth
	}
	return n
}

// put adds a sample of k at h.at.
func (h *history) put(k key, v sample) {
	t := h.tracks[k]
	if t == nil {
		t = &track{since: h.at, moved: h.at, last: v}
		h.tracks[k] = t
		if k == (key{}) {
			h.start(t)
		}
	}
	t.seen = h.at
	if v != t.last { // NaN is never the same: that of everything always moves
		if t.rings == nil {
			h.start(t)
		}
		t.moved, t.last = h.at, v
	}
	if t.rings != nil {
		for i := range t.rings {
			t.rings[i].put(h.at, v)
		}
	}
}

// start gives t rings with what it was until now, if there is room.
func (h *history) start(t *track) {
	if h.moving >= maxMoving && !h.makeRoom() {
		t.since = h.at // what was before is not kept
		return
	}
	h.moving++
	t.rings = new([len(tiers)]ring)
	for i, tier := range tiers {
		r := &t.rings[i]
		r.step = tier.step
		for m := range r.values {
			r.values[m] = make([]float32, tier.slots)
		}
		r.begin(t.since, h.at, t.last)
	}
}

// makeRoom takes the rings of a tenth of those that move, the ones that rested
// longest, and says whether it found any.
func (h *history) makeRoom() bool {
	if h.sought.Equal(h.at) {
		return false // once a sample: it looks at every key
	}
	h.sought = h.at
	var resting []*track
	for k, t := range h.tracks {
		if t.rings != nil && k != (key{}) && h.at.Sub(t.moved) >= restBeforeFall {
			resting = append(resting, t)
		}
	}
	slices.SortFunc(resting, func(a, b *track) int { return cmp.Compare(a.moved.UnixNano(), b.moved.UnixNano()) })
	resting = resting[:min(len(resting), maxMoving/10)]
	for _, t := range resting {
		t.rings, t.since = nil, t.moved
	}
	h.moving -= len(resting)
	return len(resting) > 0
}

// sweep forgets what is gone, and the rings of keys that were the same for as long
// as rings reach.
func (h *history) sweep() {
	h.swept = h.at
	coarsest := tiers[len(tiers)-1]
	reach := time.Duration(coarsest.slots) * coarsest.step
	for k, t := range h.tracks {
		if t.rings != nil && k != (key{}) && (h.at.Sub(t.moved) > reach || h.at.Sub(t.seen) > forgetAfter) {
			t.rings, t.since = nil, t.moved
			h.moving--
		}
		if h.at.Sub(t.seen) > forgetAfter {
			delete(h.tracks, k)
		}
	}
	for k, at := range h.empty {
		if h.at.Sub(at) > forgetAfter {
			delete(h.empty, k)
		}
	}
}

// emptied tells that the messages of a channel were dropped at that time: they were
// not finished.
func (h *history) emptied(topic, channel string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.empty[key{topic, channel}] = at
}

// series returns the last span of a metric, oldest first, with at most 300 points
// evenly spaced, from the tier that reaches so far; at most 24 hours. nil: no history
// of that key.
func (h *history) series(k key, m metric, span time.Duration) []point {
	h.mu.RLock()
	defer h.mu.RUnlock()
	t, all := h.tracks[k], h.tracks[key{}]
	if t == nil || all == nil {
		return nil
	}
	i := tierFor(span)
	step := tiers[i].step
	newest := slotOf(h.at, step)
	n := min(int64((span+step-1)/step), tiers[i].slots)
	points := make([]point, n)
	for j := range points {
		slot := newest - n + 1 + int64(j)
		p := &points[j]
		p.at = time.Unix(0, slot*int64(step))
		// Of all together something is known whenever anything is, so where it is
		// not, a key that seems to have rested was not looked at.
		if p.value = all.rings[i].at(slot, m); !math.IsNaN(p.value) {
			p.value = t.value(i, slot, m)
		}
	}
	return points
}

// value returns that of m in a slot of a tier, NaN if it is not known.
func (t *track) value(tier int, slot int64, m metric) float64 {
	switch {
	case t.rings != nil:
		return t.rings[tier].at(slot, m)
	case slot < slotOf(t.since, tiers[tier].step) || slot > slotOf(t.seen, tiers[tier].step):
		return math.NaN()
	}
	return t.last[m]
}

// latest returns the newest value of a metric; ok is false if it is not known.
func (h *history) latest(k key, m metric) (value float64, ok bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	t, all := h.tracks[k], h.tracks[key{}]
	if t == nil || !t.seen.Equal(h.at) || math.IsNaN(all.last[m]) {
		return 0, false
	}
	return t.last[m], true
}

// growth returns by how many messages a second the depth of k has changed over the
// last span; ok is false if the history is shorter than a tenth of span.
func (h *history) growth(k key, span time.Duration) (perSecond float64, ok bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	t, all := h.tracks[k], h.tracks[key{}]
	if t == nil || all == nil {
		return 0, false
	}
	i := tierFor(span)
	step := tiers[i].step
	newest := slotOf(h.at, step)
	shortest := max(int64(span/10/step), 1)
	for slot := newest - min(int64(span/step), tiers[i].slots-1); slot <= newest-shortest; slot++ {
		if math.IsNaN(all.rings[i].at(slot, depth)) {
			continue
		}
		if before := t.value(i, slot, depth); !math.IsNaN(before) {
			return (t.last[depth] - before) / (time.Duration(newest-slot) * step).Seconds(), true
		}
	}
	return 0, false
}

// tierFor returns the finest tier that reaches over span, the last if none does.
func tierFor(span time.Duration) int {
	i := 0
	for i < len(tiers)-1 && time.Duration(tiers[i].slots)*tiers[i].step < span {
		i++
	}
	return i
}

// A ring holds the newest values of the metrics, each in the slot of its time.
type ring struct {
	step   time.Duration
	values [metrics][]float32 // the value of a slot is at slot modulo length
	newest int64              // slot; those up to len-1 before it are kept
	sum    sample             // of the newest slot
	n      [metrics]int
}

func slotOf(at time.Time, step time.Duration) int64 { return at.UnixNano() / int64(step) }

// begin fills an unused ring with v from since to now, and with NaN before.
func (r *ring) begin(since, now time.Time, v sample) {
	r.newest = slotOf(now, r.step)
	first := slotOf(since, r.step)
	for m := range r.values {
		for i := range int64(len(r.values[m])) {
			slot := r.newest - i
			value := float32(math.NaN())
			if slot >= first {
				value = float32(v[m])
			}
			r.values[m][r.index(slot)] = value
		}
	}
}

func (r *ring) index(slot int64) int64 { return slot % int64(len(r.values[0])) }

// put adds v to its slot. Slots that were left out are like the one before if the
// pause was short, else unknown.
func (r *ring) put(at time.Time, v sample) {
	slot := slotOf(at, r.step)
	if slot < r.newest {
		return
	}
	if slot > r.newest {
		r.advance(slot)
	}
	for m := range v {
		if math.IsNaN(v[m]) {
			if r.n[m] == 0 {
				r.values[m][r.index(slot)] = float32(math.NaN())
			}
			continue
		}
		r.sum[m] += v[m]
		r.n[m]++
		r.values[m][r.index(slot)] = float32(r.sum[m] / float64(r.n[m]))
	}
}

func (r *ring) advance(slot int64) {
	skipped := slot - r.newest - 1
	short := time.Duration(skipped)*r.step <= hold
	for m := range r.values {
		fill := float32(math.NaN())
		if short {
			fill = r.values[m][r.index(r.newest)]
		}
		for i := range min(skipped, int64(len(r.values[m]))) {
			r.values[m][r.index(slot-1-i)] = fill
		}
	}
	r.newest, r.sum, r.n = slot, sample{}, [metrics]int{}
}

// at returns the value of m in a slot, NaN if it is not known.
func (r *ring) at(slot int64, m metric) float64 {
	if slot > r.newest || slot <= r.newest-int64(len(r.values[m])) {
		return math.NaN()
	}
	return float64(r.values[m][r.index(slot)])
}
