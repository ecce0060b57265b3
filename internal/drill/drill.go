package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
	"nsqraft/internal/drill/workload"
)

const (
	// readyWithin is how long a cluster may take to be well before the first drill.
	readyWithin = 60 * time.Second
	// warmUp is how long there is load before something is broken, so that there is
	// something to compare with.
	warmUp = 2 * time.Second
	// between is how long all is left well between two drills.
	between = time.Second
	// watchFor is how long a cluster is watched in which nothing is broken.
	watchFor = 20 * time.Second
	// quiet is how long all is left well before the load ends: what was promised for
	// after a fault must have come true by then.
	quiet = 6 * time.Second
	// lastReadsWithin bounds the reads at the end, and the rest of the messages.
	lastReadsWithin = 30 * time.Second
	// cleanWithin bounds what is undone after an interrupt.
	cleanWithin = 30 * time.Second
	// removeWithin bounds the removal of topics, of which an hour makes some thousands.
	removeWithin = 2 * time.Minute
)

// Options are those of one run.
type Options struct {
	Drills   []string      // names; nil: those of Profile
	Profile  string        // one of Profiles; default smoke
	Times    int           // each drill; default 1
	Duration time.Duration // of the profile long, which picks drills by chance; default 1 h
	Seed     uint64        // of every choice
	Load     workload.Options
	Dir      string          // where the history goes; it must be there
	Stock    bool            // the cluster is stock's
	Like     []history.Fault // of a run against another cluster: the same drills hit the same here
	GoesOn   bool            // somebody uses the cluster: it must be fit for a drill, and the topics of the load are deleted
	Watch    bool            // only look things up: nothing is broken, and nothing registered or published
	Screen   io.Writer       // live progress; nil: none
	Terminal bool            // Screen is a terminal: lines are written over
	Header   history.Header  // what the caller knows: command, versions, machine
}

// ErrLeft says that something of the run could not be removed, or not be healed.
var ErrLeft = errors.New("something is left")

// Run puts load on e, makes the drills one after the other, and returns what was seen.
// e is healed when it returns, also if ctx ends before; what was recorded until then
// is returned with the error, and its header says that it ended before its time.
func Run(ctx context.Context, e env.Env, o Options) (*history.Run, error) {
	o.Load.Seed, o.Load.Stock = o.Seed, o.Stock
	if o.Watch {
		o.Load.Sessions, o.Load.Unique, o.Load.Mutators, o.Load.Messages = -1, -1, -1, -1
	}
	if !o.GoesOn { // else preflight looks
		if err := ready(ctx, e); err != nil {
			return nil, err
		}
	}
	client := clusterinfo.NewClient(clusterinfo.Options{ConnectTimeout: askWithin, RequestTimeout: askWithin, UserAgent: "nsqdrill"})
	return run(ctx, e, o, client, func(r *history.Recorder) load { return workload.New(e, r, o.Load) })
}

// ready waits until all processes of e answer, so that who does not can be told.
func ready(ctx context.Context, e env.Env) error {
	within, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	err := env.Started(within, e)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the cluster does not start: %w", err)
	}
	return nil
}

// A load is the clients: what is used of a workload.Workload.
type load interface {
	Run(context.Context) error
	Storm(ctx context.Context, sessions, topics int) (leave func(), err error)
	Held(ctx context.Context, nsqd string) ([]history.Held, error)
	Complete(context.Context) bool
	LastReads(context.Context) error
	Remove(context.Context) error
	Progress() workload.Progress
}

func run(ctx context.Context, e env.Env, o Options, nodes asker, newLoad func(*history.Recorder) load) (*history.Run, error) {
	rng := rand.New(rand.NewPCG(o.Seed, 0x6e737164))
	h := &health{env: e, nodes: nodes, stock: o.Stock}
	p, err := newPlan(o, rng, func(d *Drill) string { return missing(e, d, o) })
	if err != nil {
		return nil, err
	}
	if o.GoesOn {
		if err := h.preflight(ctx); err != nil {
			return nil, fmt.Errorf("the cluster is not fit to be drilled, and nothing was done to it: %w", err)
		}
	}
	if !await(ctx, readyWithin, h.well) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("the cluster is not well %s after its start, before anything was broken", readyWithin)
	}
	rec, err := history.NewRecorder(o.Dir)
	if err != nil {
		return nil, err
	}
	load := newLoad(rec)
	scr := newScreen(o.Screen, o.Terminal, rec, load, h)
	announce(ctx, o, p, h, scr)
	b := &breaker{env: e, health: h, rec: rec, screen: scr, load: load, like: victimsOf(o.Like)}

	head := o.Header
	runErr := underLoad(ctx, load, scr, func(ctx context.Context) error {
		b.ctx = ctx
		if o.Watch {
			return b.hold(watchFor)
		}
		if err := breakThings(ctx, p, rng, b, func() { watch(e, rec, &head) }); err != nil {
			return err
		}
		head.Quiet = rec.Now()
		// While what is registered still is.
		last, cancel := context.WithTimeout(ctx, lastReadsWithin)
		defer cancel()
		return load.LastReads(last)
	})
	if o.GoesOn && !o.Watch {
		runErr = errors.Join(runErr, remove(ctx, load, scr))
	}
	if runErr != nil {
		head.Ended = runErr.Error()
	}
	watch(e, rec, &head)
	head.Interrupted = ctx.Err() != nil
	if len(o.Drills) > 0 {
		o.Profile = "" // drills by name
	}
	head.Seed, head.Profile, head.Env, head.Skipped = o.Seed, o.Profile, e.Name(), p.skipped
	head.Failed = b.failed
	head.Against = map[bool]string{false: "ours", true: "stock"}[o.Stock]
	head.Nodes, head.NSQDs, head.Length = names(e.Nodes()), names(e.NSQDs()), rec.Now()
	run, err := rec.Close(head)
	return run, errors.Join(runErr, err)
}

// announce says what is not made, and what others have left, before it begins.
func announce(ctx context.Context, o Options, p *plan, h *health, scr *screen) {
	for _, name := range Skipped(p.skipped) {
		scr.say("not made: %s: %s", name, p.skipped[name])
	}
	if o.Watch {
		scr.say("nothing is broken, registered or published: the cluster is watched for %s", watchFor)
	}
	if o.GoesOn {
		if left := h.leftTopics(ctx); len(left) > 0 {
			scr.say("%d topics are there that a drill has left which was killed, as %s; they stay", len(left), left[0])
		}
	}
}

// remove deletes the topics of a load that has ended, after ctx has ended too.
func remove(ctx context.Context, load load, scr *screen) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
	defer cancel()
	scr.say("deleting the topics of the load")
	if err := load.Remove(ctx); err != nil {
		return fmt.Errorf("%w, topics of the load: %w", ErrLeft, err)
	}
	return nil
}

// missing says why d cannot be made in e, or is not.
func missing(e env.Env, d *Drill, o Options) string {
	if o.Stock && !d.Stock {
		return "stock nsqlookupds do not talk to each other"
	}
	if why := d.Missing(e.Missing); why != "" {
		return why
	}
	if d.NSQD && len(e.NSQDs()) == 0 {
		return "there is no nsqd to be hit"
	}
	if o.Watch {
		return "nothing is broken in a cluster that goes on without consent to it"
	}
	return ""
}

// underLoad runs f while the workload and the screen run, and returns once all three
// have ended. A workload that fails ends f.
func underLoad(ctx context.Context, load load, scr *screen, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	loadCtx, endLoad := context.WithCancel(ctx)
	defer endLoad()
	var wg sync.WaitGroup
	var loadErr error // the workload's until it has been waited for
	wg.Go(func() {
		if loadErr = load.Run(loadCtx); loadErr != nil {
			cancel()
		}
	})
	wg.Go(func() { scr.run(loadCtx) })
	err := f(ctx)
	endLoad()
	wg.Wait()
	if loadErr == nil {
		return err
	}
	if err == ctx.Err() {
		err = nil // that is why f has ended
	}
	return errors.Join(fmt.Errorf("the workload: %w", loadErr), err)
}

// breakThings makes the drills of p, and calls after at the end of each. One that fails is
// noted, undone, and is not the end of the others; a cluster that does not recover is.
//
// The choices of each drill are its own: what a drill meets does not change those of the
// next, so that the same seed makes the same drills hit the same.
func breakThings(ctx context.Context, p *plan, rng *rand.Rand, b *breaker, after func()) error {
	if err := b.hold(warmUp); err != nil {
		return err
	}
	for d := p.next(); d != nil; d = p.next() {
		b.drill, b.rng = d.Name, rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
		b.screen.drill(d)
		if err := d.script(b); err != nil {
			undone := b.clean(ctx)
			switch {
			case undone != nil && ctx.Err() != nil:
				return fmt.Errorf("%s: %w; %w, undoing it: %w", d.Name, err, ErrLeft, undone)
			case undone != nil:
				return fmt.Errorf("%s: %w; and undoing it: %w", d.Name, err, undone)
			case ctx.Err() != nil:
				return ctx.Err()
			}
			b.failed = append(b.failed, fmt.Sprintf("%s: %v", d.Name, err))
			b.screen.failed(d, err)
		}
		after()
		if err := b.settle(); err != nil {
			return err
		}
		if err := b.hold(between); err != nil {
			return err
		}
	}
	return b.hold(quiet)
}

// clean undoes everything and waits until all is well, after ctx has ended too.
func (b *breaker) clean(ctx context.Context) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
		defer cancel()
		return b.undo(ctx)
	}
	if err := b.undo(ctx); err != nil {
		return err
	}
	return b.healed()
}

// Skipped returns the names in skipped, sorted.
func Skipped(skipped map[string]string) []string { return slices.Sorted(maps.Keys(skipped)) }
