package env

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// undo ends what one fault has broken. It may be called again if it failed, and when
// what it would undo has gone.
type undo func(context.Context) error

// A breakage is a fault that lasts.
type breakage struct {
	fault Fault
	undo  undo // nil for a fault of the network, whose end is that it is in the list no more
}

// breakages are in the order in which they were begun.
type breakages struct{ list []breakage }

func (b *breakages) add(f Fault, u undo) { b.list = append(b.list, breakage{f, u}) }

// begun is what Begin returns of f: what each made of it, of which nothing is forgotten
// that has to be undone yet.
func (b *breakages) begun(f Fault, u undo, verified bool, err error) (bool, error) {
	if err == nil || u != nil {
		b.add(f, u)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", f, err)
	}
	return verified, nil
}

// take removes the newest that is of f's kind and targets.
func (b *breakages) take(f Fault) (breakage, bool) {
	for i := len(b.list) - 1; i >= 0; i-- {
		if l := b.list[i]; l.fault.Kind == f.Kind && slices.Equal(l.fault.Targets, f.Targets) {
			b.list = slices.Delete(b.list, i, i+1)
			return l, true
		}
	}
	return breakage{}, false
}

// faults returns those that last.
func (b *breakages) faults() []Fault {
	var all []Fault
	for _, l := range b.list {
		all = append(all, l.fault)
	}
	return all
}

// end undoes f. What cannot be undone stays in the list, for Heal.
func (b *breakages) end(ctx context.Context, f Fault) error {
	l, ok := b.take(f)
	if !ok {
		return fmt.Errorf("end %s: it does not last", f)
	}
	if l.undo == nil {
		return nil
	}
	if err := l.undo(ctx); err != nil {
		b.list = append(b.list, l)
		return fmt.Errorf("end %s: %w", f, err)
	}
	return nil
}

// endAll undoes everything, the newest first.
func (b *breakages) endAll(ctx context.Context) error { return b.endKinds(ctx, Kinds()...) }

// endKinds undoes what is of these kinds, the newest first.
func (b *breakages) endKinds(ctx context.Context, kinds ...Kind) error {
	var errs []error
	for _, f := range slices.Backward(b.faults()) {
		if slices.Contains(kinds, f.Kind) {
			errs = append(errs, b.end(ctx, f))
		}
	}
	return errors.Join(errs...)
}

// String is as "kill n1,n2".
func (f Fault) String() string { return string(f.Kind) + " " + strings.Join(f.Targets, ",") }

// check refuses what no environment can make sense of. nodes replicate, nsqds do not.
func (f Fault) check(nodes, nsqds []string) error {
	for i, t := range f.Targets {
		switch {
		case !slices.Contains(nodes, t) && !slices.Contains(nsqds, t):
			return fmt.Errorf("%s: there is no %s", f, t)
		case slices.Contains(f.Targets[:i], t):
			return fmt.Errorf("%s: %s is named twice", f, t)
		case f.betweenNodes() && !slices.Contains(nodes, t):
			return fmt.Errorf("%s: %s is no nsqlookupd", f, t)
		}
	}
	percent := f.Kind == Loss || f.Kind == Reorder || f.Kind == Duplicate
	switch {
	case !slices.Contains(Kinds(), f.Kind):
		return fmt.Errorf("there is no fault %q", f.Kind)
	case len(f.Targets) == 0:
		return fmt.Errorf("%s needs a target", f.Kind)
	case f.Kind == Cut && len(f.Targets) != 2:
		return fmt.Errorf("%s: it takes two nodes, who sends and who does not get it", f)
	case f.Kind == Split && len(f.Targets) >= len(nodes):
		return fmt.Errorf("%s: nobody is on the other side", f)
	case (f.Kind == Delay || f.Kind == Lag || f.Kind == SlowFsync || f.Kind == ClockJump) && f.Amount == 0:
		return fmt.Errorf("%s: it needs an amount", f)
	case f.Amount < 0 && f.Kind != ClockJump || f.Jitter < 0:
		return fmt.Errorf("%s: a time cannot be negative", f)
	case percent && (f.Percent < 1 || f.Percent > 100):
		return fmt.Errorf("%s: percent is 1 to 100, not %d", f, f.Percent)
	}
	return nil
}

// betweenNodes says whether f is about links between nodes, or data that only nodes have.
func (f Fault) betweenNodes() bool {
	switch f.Kind {
	case Isolate, Cut, Deaf, Mute, Split, Delay, Loss, Reorder, Duplicate, TornLog, FlipBit:
		return true
	}
	return false
}

// each does something to all targets at once. If it fails for one, the others are
// undone, and what could not be is returned beside the error, to be kept: nil is nothing.
// verified says that it was for all.
func each(ctx context.Context, targets []string, do func(target string) (undo, bool, error)) (undo, bool, error) {
	undos, seen, errs := make([]undo, len(targets)), make([]bool, len(targets)), make([]error, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() { undos[i], seen[i], errs[i] = do(t) })
	}
	wg.Wait()
	all := func(ctx context.Context) error {
		errs := make([]error, len(undos))
		var wg sync.WaitGroup
		for i, u := range undos {
			if u != nil {
				wg.Go(func() { errs[i] = u(ctx) })
			}
		}
		wg.Wait()
		return errors.Join(errs...)
	}
	if err := errors.Join(errs...); err != nil {
		undone := all(context.WithoutCancel(ctx))
		if undone != nil {
			return all, false, errors.Join(err, undone)
		}
		return nil, false, err
	}
	return all, !slices.Contains(seen, false), nil
}
