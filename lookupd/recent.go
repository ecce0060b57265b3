package lookupd

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// recentSlot and recentSlots: what is older than three minutes is forgotten,
	// half a minute at a time.
	recentSlot  = 30 * time.Second
	recentSlots = 6

	// Each bucket ends 2^(1/8), or 9 %, above the one before, from 10 µs to 83 s.
	firstBucket      = 10 * time.Microsecond
	bucketsPerDouble = 8
	recentBuckets    = 23*bucketsPerDouble + 1
)

// recentTimes are how long something took in the last two and a half to three
// minutes. It takes no lock and no more memory than 5 KB.
type recentTimes struct {
	began time.Time
	slots [recentSlots]atomic.Pointer[timeSlot]
}

type timeSlot struct {
	number int64 // since began
	counts [recentBuckets]atomic.Uint32
}

func newRecentTimes() *recentTimes { return &recentTimes{began: time.Now()} }

func (r *recentTimes) slot() int64 { return int64(time.Since(r.began) / recentSlot) }

func (r *recentTimes) observe(d time.Duration) {
	number := r.slot()
	place := &r.slots[number%recentSlots]
	slot := place.Load()
	if slot == nil || slot.number < number {
		fresh := &timeSlot{number: number}
		if place.CompareAndSwap(slot, fresh) {
			slot = fresh
		} else {
			slot = place.Load()
		}
	}
	slot.counts[bucketOf(d)].Add(1)
}

// p99 returns what 99 of 100 took at most, at most 9 % too much; 0 if there was none.
func (r *recentTimes) p99() time.Duration {
	oldest := r.slot() - recentSlots + 1
	var counts [recentBuckets]uint64
	var total uint64
	for i := range r.slots {
		slot := r.slots[i].Load()
		if slot == nil || slot.number < oldest {
			continue
		}
		for b := range slot.counts {
			n := uint64(slot.counts[b].Load())
			counts[b] += n
			total += n
		}
	}
	need := total - total/100
	var have uint64
	for b, n := range counts {
		if have += n; n > 0 && have >= need {
			return bucketEnd(b)
		}
	}
	return 0
}

func bucketOf(d time.Duration) int {
	if d <= firstBucket {
		return 0
	}
	b := math.Ceil(bucketsPerDouble * math.Log2(float64(d)/float64(firstBucket)))
	return min(int(b), recentBuckets-1)
}

func bucketEnd(b int) time.Duration {
	return time.Duration(float64(firstBucket) * math.Exp2(float64(b)/bucketsPerDouble))
}

// A timing is a histogram of all of a process's life that knows its recent part too.
type timing struct {
	prometheus.Histogram
	recent *recentTimes
}

// Observe implements prometheus.Observer.
func (t timing) Observe(seconds float64) {
	t.Histogram.Observe(seconds)
	t.recent.observe(time.Duration(seconds * float64(time.Second)))
}
