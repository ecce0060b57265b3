package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"nsqraft/internal/consume"
	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
)

// Options say how much is done. Zero values mean the defaults, negative numbers none.
type Options struct {
	Seed      uint64
	TimeScale float64 // 15 s ticks of nsqds and the like are divided by it; default 1. The 1 s deadline is not.
	Sessions  int     // simulated nsqds; default 60
	Unique    int     // producers a second that come, register once and go; default 20
	Readers   int     // for each node and each of the two ways to read, each asks every 40 ms; default 2
	Mutators  int     // that create, delete and tombstone over HTTP; default 2
	Messages  int     // a second that are published to and consumed from each nsqd; default 100
	Stock     bool    // the nodes do not know consistent reads

	// Grace is the nodes' --session-grace; 0: unknown. A stock nsqd notices at one tick
	// that its connection has gone and is back at the next: with less than two of them
	// and its deadline, sessions would end that the workload takes for live.
	Grace time.Duration
}

func (o Options) withDefaults() Options {
	if o.TimeScale <= 0 {
		o.TimeScale = 1
	}
	for _, n := range []struct {
		value    *int
		standard int
	}{{&o.Sessions, 60}, {&o.Unique, 20}, {&o.Readers, 2}, {&o.Mutators, 2}, {&o.Messages, 100}} {
		if *n.value == 0 {
			*n.value = n.standard
		}
		*n.value = max(*n.value, 0)
	}
	return o
}

// pingInterval is stock's; a TimeScale divides it.
const pingInterval = 15 * time.Second

// ErrNotRunning is returned by what needs a Workload that runs.
var ErrNotRunning = errors.New("the workload does not run")

// recorder is what is used of a history.Recorder.
type recorder interface {
	Now() time.Duration
	Client() int
	Session() int64
	Op(history.Op)
	Sample(history.Sample)
}

// A Workload is the clients of a cluster. New returns one that does nothing yet.
type Workload struct {
	// Read-only after New.
	opts  Options
	rec   recorder
	nodes []*daemon
	nsqds []*daemon // real ones, as opposed to those that are simulated
	names *names

	// Read-only once Run has begun.
	run      context.Context // ends when all clients have to
	load     context.Context // ends when nothing more is to be begun but the last reads
	stopLoad context.CancelFunc

	started  chan struct{}  // closed when all clients are
	loading  sync.WaitGroup // those that end with load
	progress progress
	guests   atomic.Int64 // unique producers there are
	lodgers  lodgers      // those of them that stay
	reach    reach
	vanished atomic.Int64
	storms   atomic.Int64

	mu      sync.Mutex
	state   state
	clients sync.WaitGroup // added to while state is running
}

type state int

const (
	fresh state = iota
	running
	ended
)

// A daemon is an nsqlookupd or an nsqd.
type daemon struct {
	env.Node
	api *api
}

// New returns a Workload against the nodes and nsqds of e that records into r.
func New(e env.Env, r *history.Recorder, opts Options) *Workload { return newWorkload(e, r, opts) }

func newWorkload(e env.Env, r recorder, opts Options) *Workload {
	w := &Workload{opts: opts.withDefaults(), rec: r, started: make(chan struct{})}
	w.names = newNames(r.Now, strconv.FormatUint(rand.Uint64N(1<<25), 36))
	for _, n := range e.Nodes() {
		w.nodes = append(w.nodes, &daemon{n, newAPI(n.HTTP)})
	}
	for _, n := range e.NSQDs() {
		w.nsqds = append(w.nsqds, &daemon{n, newAPI(n.HTTP)})
	}
	return w
}

// rng returns the random numbers of one client; no two may have the same kind and
// number.
func (w *Workload) rng(kind, number int) *rand.Rand {
	return rand.New(rand.NewPCG(w.opts.Seed, uint64(kind)<<32|uint64(number)))
}

// The kinds of clients.
const (
	kindNSQD = iota + 1
	kindStorm
	kindUnique
	kindMutator
	kindReader
	kindPublisher
)

// Run works until ctx ends and returns when all clients have. What they do they
// record. It is for once.
func (w *Workload) Run(ctx context.Context) error {
	w.mu.Lock()
	if w.state != fresh {
		w.mu.Unlock()
		return errors.New("a workload runs once")
	}
	if err := w.validate(); err != nil {
		w.mu.Unlock()
		return err
	}
	w.state = running
	w.run = ctx
	w.load, w.stopLoad = context.WithCancel(ctx)
	w.mu.Unlock()

	w.startClients()
	close(w.started)
	<-ctx.Done()
	w.mu.Lock()
	w.state = ended
	w.mu.Unlock()
	w.stopLoad()
	w.clients.Wait()
	for _, d := range slices.Concat(w.nodes, w.nsqds) {
		d.api.close()
	}
	return nil
}

func (w *Workload) validate() error {
	if len(w.nodes) == 0 {
		return errors.New("a workload needs a node")
	}
	if least := 2*w.tick() + stockTimeout; w.opts.Grace > 0 && w.opts.Grace < least {
		return fmt.Errorf("a session grace of %v is less than the %v in which a stock nsqd comes back at a time scale of %v",
			w.opts.Grace, least, w.opts.TimeScale)
	}
	daemons := slices.Concat(w.nodes, w.nsqds)
	for _, d := range daemons {
		if err := consume.ValidTCP(d.TCP); err != nil {
			return fmt.Errorf("TCP address of %s: %w", d.Name, err)
		}
		if err := consume.ValidHTTP(d.HTTP); err != nil {
			return fmt.Errorf("HTTP address of %s: %w", d.Name, err)
		}
	}
	return nil
}

func (w *Workload) startClients() {
	w.startNSQDs()
	if w.opts.Unique > 0 {
		w.goLoad(w.comeAndGo)
	}
	for i := range w.opts.Mutators {
		w.goLoad(func() { w.mutate(i) })
	}
	w.startReaders()
	for _, n := range w.nodes {
		w.goRun(func() { w.sample(n) })
	}
	w.startMessages()
}

// goRun has f run as a client; false if Run has ended or not begun.
func (w *Workload) goRun(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state != running {
		return false
	}
	w.clients.Go(f)
	return true
}

// goLoad is goRun for a client that ends with load.
func (w *Workload) goLoad(f func()) {
	w.loading.Add(1)
	if !w.goRun(func() { defer w.loading.Done(); f() }) {
		w.loading.Done()
	}
}

// record takes a call that has just returned.
func (w *Workload) record(op history.Op) {
	if op.Return == 0 {
		op.Return = w.rec.Now()
	}
	w.rec.Op(op)
	w.progress.see(&op)
}

// tick is the time between two PINGs.
func (w *Workload) tick() time.Duration {
	return time.Duration(float64(pingInterval) / w.opts.TimeScale)
}

// sleep returns false if ctx ends before d has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// every calls f at the given rate until ctx ends. Should f take longer than that, calls
// are left out.
func every(ctx context.Context, d time.Duration, f func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if ctx.Err() != nil {
				return // select has chosen by lot
			}
			f()
		case <-ctx.Done():
			return
		}
	}
}
