package fsm

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/tidwall/btree"

	"nsqraft/fsm/fsmpb"
)

// Stock nsqadmin deletes a channel on each lookupd in turn, and warns about
// every one that answers "not found". Here the first node's deletion is
// everyone's, so for deletionMemory the registry remembers who has been told of
// it: each other node may ask once and is told that it was done.

// deletionMemory is how long a deletion is remembered, by the proposers'
// clocks, which may differ in either direction. nsqadmin needs milliseconds.
const deletionMemory = 5 * time.Second

// A deletion is the memory of a deleted channel. It never changes; a new one
// takes its place.
type deletion struct {
	topic, channel string
	time           int64    // of the batch that deleted it
	nodes          []string // whose writers were told, sorted
}

// deletions is the set of remembered deletions.
type deletions struct {
	byName *btree.Map[string, *deletion] // by pairKey(topic, channel)
	byTime *btree.Set[string]            // the time, then the key in byName
}

func newDeletions() deletions {
	return deletions{new(btree.Map[string, *deletion]), new(btree.Set[string])}
}

func (d deletions) copy() deletions {
	return deletions{d.byName.Copy(), d.byTime.Copy()}
}

// pairKey joins two names such that keys sort, and differ, as the pairs do,
// whatever bytes the names hold.
func pairKey(a, b string) string {
	return strings.ReplaceAll(a, "\x00", "\x00\xff") + "\x00\x01" + b
}

// timeKey sorts as (time, key) does.
func timeKey(time int64, key string) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(key)), uint64(time)^1<<63)
	return string(append(b, key...))
}

// keyTime returns the time and the key that timeKey was made of.
func keyTime(k string) (int64, string) {
	return int64(binary.BigEndian.Uint64([]byte(k[:8])) ^ 1<<63), k[8:]
}

// deleteChannel removes a channel from the topic and from all holdings of it.
func (r *Registry) deleteChannel(b *fsmpb.Batch, topic, name string) Result {
	r.forgetOldDeletions(b.GetTime())
	if r.removeChannel(topic, name) {
		r.setDeletion(&deletion{topic, name, b.GetTime(), []string{b.GetWriter()}})
		return ResultOK
	}
	d, remembered := r.deletions.byName.Get(pairKey(topic, name))
	if !remembered || containsSorted(d.nodes, b.GetWriter()) {
		return ResultNotFound
	}
	told := *d
	told.nodes = insertSorted(d.nodes, b.GetWriter())
	r.forgetDeletion(topic, name)
	r.setDeletion(&told)
	return ResultOK
}

// removeChannel reports whether there was such a channel.
func (r *Registry) removeChannel(topic, name string) bool {
	t, known := r.topics.Get(topic)
	if !known {
		return false
	}
	if _, known := t.channels.Get(name); !known {
		return false
	}
	t = r.mutableTopic(topic)
	for _, producer := range t.listings.Keys() {
		l, _ := t.listings.Get(producer)
		for i, h := range l.holdings {
			if !containsSorted(h.channels, name) {
				continue
			}
			own := &r.mutableListing(t, producer).holdings[i]
			own.channels = removeSorted(own.channels, name)
			r.facts -= registrationFact(topic, name, h.session)
			r.counts.Registrations--
		}
	}
	r.dropChannel(t, name)
	return true
}

func (r *Registry) setDeletion(d *deletion) {
	key := pairKey(d.topic, d.channel)
	r.deletions.byName.Set(key, d)
	r.deletions.byTime.Insert(timeKey(d.time, key))
	r.facts += d.fact()
}

// forgetDeletion forgets the deletion of one channel, if it is remembered.
func (r *Registry) forgetDeletion(topic, name string) {
	if r.deletions.byName.Len() == 0 {
		return
	}
	key := pairKey(topic, name)
	d, remembered := r.deletions.byName.Delete(key)
	if !remembered {
		return
	}
	r.deletions.byTime.Delete(timeKey(d.time, key))
	r.facts -= d.fact()
}

// forgetOldDeletions forgets the deletions that are further than deletionMemory
// from now in either direction.
func (r *Registry) forgetOldDeletions(now int64) {
	for _, extreme := range []func() (string, bool){r.deletions.byTime.Min, r.deletions.byTime.Max} {
		for k, ok := extreme(); ok; k, ok = extreme() {
			at, key := keyTime(k)
			if distance(at, now) <= uint64(deletionMemory) {
				break
			}
			d, _ := r.deletions.byName.Get(key)
			r.forgetDeletion(d.topic, d.channel)
		}
	}
}

// distance is |a-b|, which may exceed an int64.
func distance(a, b int64) uint64 {
	if a < b {
		a, b = b, a
	}
	return uint64(a) - uint64(b)
}
