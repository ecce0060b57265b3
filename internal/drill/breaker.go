package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/drill/env"
	"nsqraft/internal/drill/history"
)

const (
	// healWithin is how long a cluster may take to be well after the last fault of a
	// drill has ended. Checkers have sharper bounds; this one only ends the waiting.
	healWithin = 60 * time.Second
	// electWithin is how long a new leader is looked for after one was hit.
	electWithin = 5 * time.Second
)

// errNoLeader is returned when a script wants to hit the leader and there is none.
var errNoLeader = errors.New("there is no leader to be hit")

// A breaker does what a drill's script wants, and records it. Its methods return early
// when the run ends; the script finds out by its own next call.
type breaker struct {
	ctx    context.Context
	env    env.Env
	health *health
	rec    *history.Recorder
	rng    *rand.Rand
	screen *screen
	load   load

	drill string
	like  *victims // of another run; nil: none
	id    int      // of the last fault of the run
	open  []*broken
	done  []*broken // ended, not yet healed

	failed []string // drills, as history.Header has them
}

// A broken is a fault that was begun.
type broken struct {
	fault  env.Fault
	record history.Fault
	pids   map[string]int // of targets when it was begun; 0: unknown
}

// nodes returns the names of all nodes.
func (b *breaker) nodes() []string { return names(b.env.Nodes()) }

// nsqd returns the name of one nsqd, by chance.
func (b *breaker) nsqd() (string, error) {
	all := names(b.env.NSQDs())
	if len(all) == 0 {
		return "", errors.New("there is no nsqd to be hit")
	}
	return all[b.rng.IntN(len(all))], nil
}

func names(nodes []env.Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return out
}

// leader returns the name of the leader, waiting for one if need be. Of stock, which has
// none, it is any node.
func (b *breaker) leader() (string, error) {
	if b.health.stock {
		all := b.nodes()
		return all[b.rng.IntN(len(all))], nil
	}
	if name := b.health.awaitLeader(b.ctx, electWithin, ""); name != "" {
		return name, nil
	}
	return "", errNoLeader
}

// sides returns the leader and all other nodes, those in an order by chance.
func (b *breaker) sides() (leader string, others []string, err error) {
	if leader, err = b.leader(); err != nil {
		return "", nil, err
	}
	others = slices.DeleteFunc(b.nodes(), func(name string) bool { return name == leader })
	b.rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return leader, others, nil
}

// followers returns the names of all nodes but the leader, in an order by chance.
func (b *breaker) followers() ([]string, error) {
	_, others, err := b.sides()
	return others, err
}

// begin breaks something. A leader that is hit is noted, and who comes after it.
func (b *breaker) begin(f env.Fault) (*broken, error) {
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	b.id++
	f.Targets = b.like.instead(b.drill, f)
	x := &broken{fault: f, record: history.Fault{
		ID: b.id, Drill: b.drill, Kind: string(f.Kind), Target: strings.Join(f.Targets, ","), Detail: detail(f),
	}}
	if !b.health.stock {
		if leader := b.health.leader(b.ctx); slices.Contains(f.Targets, leader) {
			x.record.OldLeader = leader
		}
	}
	x.pids = b.pids(f.Targets)
	x.record.Held, x.record.Note = b.held(f)
	x.record.Begin = b.rec.Now()
	b.rec.Fault(x.record)
	b.open = append(b.open, x)
	b.screen.begins(x.record)
	verified, err := b.env.Begin(b.ctx, f)
	x.record.Began, x.record.Verified = b.rec.Now(), verified
	if err != nil {
		x.record.Note = err.Error()
		b.rec.Fault(x.record)
		return x, fmt.Errorf("%s %s: %w", f.Kind, x.record.Target, err)
	}
	b.rec.Fault(x.record)
	return x, nil
}

// held returns what the nsqds among f's targets have in memory, if f takes that. One that
// does not say is not held to it.
func (b *breaker) held(f env.Fault) (all []history.Held, why string) {
	if f.Kind != env.Kill && f.Kind != env.Wipe && f.Kind != env.PowerCut {
		return nil, ""
	}
	nsqds := names(b.env.NSQDs())
	for _, target := range f.Targets {
		if slices.Contains(nsqds, target) {
			held, err := b.load.Held(b.ctx, target)
			if err != nil {
				why = fmt.Sprintf("what %s held is not known: %v", target, err)
			}
			all = append(all, held...)
		}
	}
	return all, why
}

// pids returns those of targets, by name.
func (b *breaker) pids(targets []string) map[string]int {
	all := make(map[string]int)
	for _, n := range slices.Concat(b.env.Nodes(), b.env.NSQDs()) {
		if slices.Contains(targets, n.Name) {
			all[n.Name] = n.PID
		}
	}
	return all
}

// mayEnd are the kinds over which a node may end, rather than go on with what it cannot
// keep.
var mayEnd = []env.Kind{env.DiskFull, env.DiskHang, env.SlowFsync}

// ended names the targets of x that have ended over it by themselves, once it has ended
// and they may run again.
func (b *breaker) ended(x *broken) string {
	var all []string
	now := b.pids(x.fault.Targets)
	for _, name := range x.fault.Targets {
		if slices.Contains(mayEnd, x.fault.Kind) && x.pids[name] != 0 && now[name] != x.pids[name] {
			all = append(all, name)
		}
	}
	return strings.Join(all, ",")
}

func detail(f env.Fault) string {
	var parts []string
	if f.Amount != 0 {
		parts = append(parts, f.Amount.String())
	}
	if f.Jitter != 0 {
		parts = append(parts, "± "+f.Jitter.String())
	}
	if f.Percent != 0 {
		parts = append(parts, fmt.Sprintf("%d %%", f.Percent))
	}
	return strings.Join(parts, " ")
}

// succeeded looks for the leader after one that was hit, for at most limit, and notes it.
func (b *breaker) succeeded(x *broken, limit time.Duration) {
	if x.record.OldLeader == "" {
		return
	}
	begun := time.Now()
	if name := b.health.awaitLeader(b.ctx, limit, x.record.OldLeader); name != "" {
		x.record.NewLeader = name
		b.rec.Fault(x.record)
		b.screen.succeeds(x.record, time.Since(begun))
	}
}

// stormBegins records that many clients come at once: no fault of the environment.
func (b *breaker) stormBegins(sessions, topics int) (*broken, error) {
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	b.id++
	x := &broken{record: history.Fault{
		ID: b.id, Drill: b.drill, Kind: "storm", Target: strings.Join(b.nodes(), ","),
		Detail: fmt.Sprintf("%d nsqds with %d topics each", sessions, topics), Begin: b.rec.Now(),
	}}
	x.record.Began = x.record.Begin
	b.rec.Fault(x.record)
	b.done = append(b.done, x)
	b.screen.begins(x.record)
	return x, nil
}

// hold lets d pass.
func (b *breaker) hold(d time.Duration) error {
	select {
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// end undoes a fault.
func (b *breaker) end(x *broken) error {
	x.record.End = b.rec.Now()
	b.open = slices.DeleteFunc(b.open, func(other *broken) bool { return other == x })
	b.done = append(b.done, x)
	err := b.env.End(b.ctx, x.fault)
	x.record.Ended = b.ended(x)
	if err != nil {
		x.record.Note = err.Error()
		err = fmt.Errorf("end %s %s: %w", x.fault.Kind, x.record.Target, err)
	}
	b.rec.Fault(x.record)
	b.screen.ends(x.record)
	return err
}

// healed waits until all is well, and notes that of the faults that have ended.
func (b *breaker) healed() error {
	ok := await(b.ctx, healWithin, b.health.well)
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	now := b.rec.Now()
	for _, x := range b.done {
		if ok {
			x.record.Healed = now
		} else {
			x.record.Note = fmt.Sprintf(history.NotWell+"%s after its end", healWithin)
		}
		b.rec.Fault(x.record)
	}
	b.done = nil
	if !ok {
		return fmt.Errorf("the cluster is not well %s after the last fault", healWithin)
	}
	return nil
}

// settle waits until stock's nodes list again what they have forgotten, so that what
// a drill costs is not taken for the cost of the next. A cluster of ours does not forget.
func (b *breaker) settle() error {
	if b.health.stock && !await(b.ctx, healWithin, b.load.Complete) {
		b.screen.say("  not all nsqds are listed %s after the end of %s", healWithin, b.drill)
	}
	return b.ctx.Err()
}

// one makes one fault that lasts for d, and waits until it is healed.
func (b *breaker) one(f env.Fault, d time.Duration) error {
	x, err := b.begin(f)
	if err != nil {
		return err
	}
	begun := time.Now()
	b.succeeded(x, min(d, electWithin))
	if err := b.hold(d - time.Since(begun)); err != nil {
		return err
	}
	if err := b.end(x); err != nil {
		return err
	}
	return b.healed()
}

// undo ends what a script that failed has left broken.
func (b *breaker) undo(ctx context.Context) error {
	now := b.rec.Now()
	err := b.env.Heal(ctx)
	for _, x := range b.open {
		x.record.End, x.record.Ended = now, b.ended(x)
		b.rec.Fault(x.record)
	}
	b.done = append(b.done, b.open...)
	b.open = nil
	return err
}
