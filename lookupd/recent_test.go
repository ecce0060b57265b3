package lookupd

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecentTimesTellThe99thOfAHundred(t *testing.T) {
	for _, tt := range []struct {
		name  string
		times func(yield func(time.Duration) bool)
		want  time.Duration // at least this, and at most 9 % more
	}{
		{"none", func(func(time.Duration) bool) {}, 0},
		{"one", func(y func(time.Duration) bool) { y(3 * time.Millisecond) }, 3 * time.Millisecond},
		{"1 to 1000 ms", func(y func(time.Duration) bool) {
			for i := 1000; i >= 1; i-- {
				y(time.Duration(i) * time.Millisecond)
			}
		}, 990 * time.Millisecond},
		{"one of a hundred is slow", func(y func(time.Duration) bool) {
			y(2 * time.Second)
			for range 99 {
				y(time.Millisecond)
			}
		}, time.Millisecond},
		{"two of a hundred are slow", func(y func(time.Duration) bool) {
			y(2 * time.Second)
			y(2 * time.Second)
			for range 98 {
				y(time.Millisecond)
			}
		}, 2 * time.Second},
		{"next to nothing", func(y func(time.Duration) bool) { y(0) }, firstBucket},
	} {
		r := newRecentTimes()
		tt.times(func(d time.Duration) bool { r.observe(d); return true })
		if got := r.p99(); got < tt.want || float64(got) > 1.0906*float64(tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestRecentTimesForgetWhatIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecentTimes()
		r.observe(time.Second)
		time.Sleep((recentSlots - 1) * recentSlot)
		r.observe(time.Millisecond)
		if got := r.p99(); got < time.Second {
			t.Errorf("after two and a half minutes: %v, want the slow one still", got)
		}
		time.Sleep(recentSlot)
		if got := r.p99(); got > 2*time.Millisecond {
			t.Errorf("after three minutes: %v, want the newer one alone", got)
		}
		time.Sleep(time.Hour)
		if got := r.p99(); got != 0 {
			t.Errorf("an hour later: %v, want nothing", got)
		}
		r.observe(time.Millisecond)
		if got := r.p99(); got == 0 {
			t.Error("the first after an hour is not seen")
		}
	})
}

func TestRecentTimesLoseNothingThatComesAtOnce(t *testing.T) {
	const writers, each = 8, 1000
	r := newRecentTimes()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				r.observe(time.Millisecond)
			}
		})
	}
	wg.Wait()
	var total uint32
	for i := range r.slots {
		if slot := r.slots[i].Load(); slot != nil {
			for b := range slot.counts {
				total += slot.counts[b].Load()
			}
		}
	}
	if total != writers*each {
		t.Errorf("%d observations kept, want %d", total, writers*each)
	}
}
