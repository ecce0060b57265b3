package workload

import (
	"context"
	"sync"
	"time"
)

const (
	maxGuests   = 500 // unique producers at one time
	maxLodgers  = 60  // those of them that stay; the one that has stayed longest makes room
	maxVanished = 10
	longestStay = 4 * time.Second // of those that are to go
)

// comeAndGo makes unique producers come, at a constant rate.
func (w *Workload) comeAndGo() {
	number := 0
	every(w.load, time.Second/time.Duration(w.opts.Unique), func() {
		if w.guests.Load() >= maxGuests {
			return
		}
		w.guests.Add(1)
		i := number
		number++
		w.loading.Add(1)
		arrived := sync.OnceFunc(w.loading.Done) // the last reads are to show it
		if !w.goRun(func() {
			defer w.guests.Add(-1)
			defer arrived()
			w.guest(i, arrived)
		}) {
			arrived()
		}
	})
}

// guest is a producer that comes once, registers one topic, calls arrived, and leaves in
// one of several ways, or stays.
func (w *Workload) guest(i int, arrived func()) {
	rng := w.rng(kindUnique, i)
	n := w.nodes[rng.IntN(len(w.nodes))]
	client := w.rec.Client()
	s := w.connect(w.run, client, n, w.names.producer("u", i), stockTimeout)
	if s == nil {
		return
	}
	defer s.close()
	topic, channel := w.names.unique(rng), ""
	if rng.IntN(4) == 0 {
		channel = "c"
	}
	if !s.register(topic, channel) {
		return
	}
	if rng.IntN(2) == 0 {
		w.lookup(w.run, client, n, topic, false) // what was acknowledged here is seen here
	}
	arrived()
	going := time.Now().Add(time.Duration(rng.Int64N(int64(longestStay))))
	switch dice := rng.IntN(100); {
	case dice < 25:
		if s.stay(w.load, going) && w.load.Err() == nil && s.unregister(topic, "") {
			s.stay(w.load, time.Now().Add(time.Second))
		}
	case dice < 65:
		s.stay(w.load, going)
	case dice < 67 && w.vanished.Add(1) <= maxVanished:
		if s.stay(w.load, going) && w.load.Err() == nil {
			s.vanish()
			<-w.run.Done()
			return
		}
	default:
		w.lodge(s)
		return
	}
	// Whoever is there when the load ends is there for the last reads.
	if w.load.Err() != nil {
		s.stay(w.run, time.Time{})
	}
}

// lodge keeps s until others need its place, or Run ends.
func (w *Workload) lodge(s *session) {
	ctx, leave := context.WithCancel(w.run)
	defer leave()
	w.lodgers.add(leave)
	s.stay(ctx, time.Time{})
}

// lodgers are the producers that stay, in the order they came.
type lodgers struct {
	mu    sync.Mutex
	leave []context.CancelFunc
}

func (l *lodgers) add(leave context.CancelFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leave = append(l.leave, leave); len(l.leave) > maxLodgers {
		l.leave[0]()
		l.leave = l.leave[1:]
	}
}
