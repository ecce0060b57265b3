package lookupd

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
)

// fakeLog is the leader's log as a writer sees it: a registry, and a say in
// what becomes of each attempt.
type fakeLog struct {
	registry *fsm.Registry
	index    uint64
	leader   atomic.Bool
	changed  broadcast
	batches  []*fsmpb.Batch                        // that reached it, in order
	on       func(attempt int, apply func()) error // nil: apply and answer
}

func (l *fakeLog) commit(_ context.Context, data []byte) (fsm.Outcome, error) {
	b, err := fsm.Decode(data)
	if err != nil {
		return fsm.Outcome{}, errRejected
	}
	l.batches = append(l.batches, b)
	var out fsm.Outcome
	apply := func() {
		l.index++
		out = l.registry.Apply(l.index, 1, b)
	}
	if l.on == nil {
		apply()
		return out, nil
	}
	err = l.on(len(l.batches), apply)
	return out, err
}

func (l *fakeLog) lead(is bool) {
	l.leader.Store(is)
	l.changed.notify()
}

// withWriter runs story in a bubble with a writer that has begun its epoch.
func withWriter(t *testing.T, story func(t *testing.T, w *writer, l *fakeLog)) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{registry: fsm.New()}
		l.leader.Store(true)
		w := newWriter("n1", 100, l.commit, hclog.NewNullLogger())
		w.now, w.onFenced = time.Now, func() {}
		w.leader = func() (bool, <-chan struct{}) { c := l.changed.wait(); return l.leader.Load(), c }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.run(ctx) }()
		synctest.Wait()
		story(t, w, l)
		cancel()
		<-done
	})
}

func submit(ctx context.Context, w *writer, topic string) *proposal {
	p := newProposal(ctx, createTopic(topic))
	w.submit(p)
	return p
}

func topics(b *fsmpb.Batch) (names []string) {
	for _, m := range b.Mutations {
		names = append(names, m.GetCreateTopic().GetTopic())
	}
	return names
}

func TestWriterGathersWhatComesWhileABatchIsInFlight(t *testing.T) {
	withWriter(t, func(t *testing.T, w *writer, l *fakeLog) {
		release := make(chan struct{})
		l.on = func(_ int, apply func()) error { <-release; apply(); return nil }
		first := submit(t.Context(), w, "a")
		synctest.Wait()
		second, third := submit(t.Context(), w, "b"), submit(t.Context(), w, "c")
		close(release)
		for _, p := range []*proposal{first, second, third} {
			if r, err := p.Wait(); r != fsm.ResultOK || err != nil {
				t.Errorf("got %v, %v, want ok", r, err)
			}
		}
		if len(l.batches) != 3 { // the empty one that began the epoch comes first
			t.Fatalf("%d batches, want 3", len(l.batches))
		}
		if got := topics(l.batches[2]); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("second batch holds %v, want b and c", got)
		}
		if w.acked.Load() != l.index {
			t.Errorf("acked %d, want %d", w.acked.Load(), l.index)
		}
	})
}

func TestWriterSendsABatchOfUnknownOutcomeAgainUnchanged(t *testing.T) {
	for name, committed := range map[string]bool{"committed": true, "lost": false} {
		t.Run(name, func(t *testing.T) {
			withWriter(t, func(t *testing.T, w *writer, l *fakeLog) {
				l.on = func(attempt int, apply func()) error {
					if attempt == 2 {
						if committed {
							apply()
						}
						return errUnknown
					}
					apply()
					return nil
				}
				if r, err := submit(t.Context(), w, "a").Wait(); r != fsm.ResultOK || err != nil {
					t.Errorf("got %v, %v, want ok", r, err)
				}
				if len(l.batches) != 3 || l.batches[1].Sequence != l.batches[2].Sequence {
					t.Fatalf("batches %v, want the same one twice", l.batches)
				}
				if got := l.registry.View().Lives()[0].Sequence; got != 2 {
					t.Errorf("the registry has sequence %d, want 2", got)
				}
			})
		})
	}
}

func TestWriterWithoutLeaderSendsNothingAndSaysSo(t *testing.T) {
	withWriter(t, func(t *testing.T, w *writer, l *fakeLog) {
		l.lead(false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		given := submit(ctx, w, "given-up")
		kept := submit(t.Context(), w, "kept")
		if _, err := given.Wait(); !errors.Is(err, errUnavailable) {
			t.Errorf("got %v, want errUnavailable", err)
		}
		l.lead(true)
		if _, err := kept.Wait(); err != nil {
			t.Errorf("got %v, want ok", err)
		}
		if got := l.registry.View().TopicNames(); !slices.Equal(got, []string{"kept"}) {
			t.Errorf("topics %v, want kept alone", got)
		}
	})
}

func TestWriterTakesABatchBackThatNoLeaderHas(t *testing.T) {
	withWriter(t, func(t *testing.T, w *writer, l *fakeLog) {
		ctx, cancel := context.WithTimeout(t.Context(), 102*time.Millisecond) // not at a retry
		defer cancel()
		l.on = func(_ int, apply func()) error {
			if ctx.Err() == nil {
				return errNotLeader
			}
			apply()
			return nil
		}
		given, kept := submit(ctx, w, "given-up"), submit(t.Context(), w, "kept")
		if _, err := given.Wait(); !errors.Is(err, errUnavailable) && !errors.Is(err, errUnknown) {
			t.Errorf("got %v, want an error", err)
		}
		if _, err := kept.Wait(); err != nil {
			t.Errorf("got %v, want ok", err)
		}
		if got := l.registry.View().TopicNames(); !slices.Equal(got, []string{"kept"}) {
			t.Errorf("topics %v, want kept alone", got)
		}
		if got := l.registry.View().Lives()[0].Sequence; got != 2 {
			t.Errorf("sequence %d after one batch, want 2", got)
		}
	})
}

func TestWriterSaysUnknownForWhatALeaderMayHave(t *testing.T) {
	withWriter(t, func(t *testing.T, w *writer, l *fakeLog) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var silent atomic.Bool
		silent.Store(true)
		l.on = func(_ int, apply func()) error {
			if silent.Load() {
				return errUnknown
			}
			apply()
			return nil
		}
		p := submit(ctx, w, "a")
		if _, err := p.Wait(); !errors.Is(err, errUnknown) {
			t.Errorf("got %v, want errUnknown", err)
		}
		silent.Store(false)
		<-p.done // it is settled all the same, in order
		if got := l.registry.View().TopicNames(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("topics %v, want a", got)
		}
	})
}

func TestWriterThatIsFencedStartsOver(t *testing.T) {
	withWriter(t, func(t *testing.T, w *writer, l *fakeLog) {
		closed := 0
		w.onFenced = func() { closed++ }
		l.index++
		l.registry.Apply(l.index, 1, &fsmpb.Batch{Writer: "n1", Epoch: 500, Sequence: 1}) // another life of n1
		if _, err := submit(t.Context(), w, "a").Wait(); !errors.Is(err, errUnknown) {
			t.Errorf("got %v, want errUnknown", err)
		}
		if r, err := submit(t.Context(), w, "b").Wait(); r != fsm.ResultOK || err != nil {
			t.Errorf("after it: %v, %v, want ok", r, err)
		}
		if closed != 1 || w.epoch.Load() != 501 {
			t.Errorf("sessions closed %d times, epoch %d; want once, 501", closed, w.epoch.Load())
		}
	})
}

func TestWriterGoesOnAfterABatchThatNoLeaderTakes(t *testing.T) {
	for name, first := range map[string]error{"refused at once": errRejected, "refused by the next leader": errUnknown} {
		t.Run(name, func(t *testing.T) {
			withWriter(t, func(t *testing.T, w *writer, l *fakeLog) {
				closed := 0
				w.onFenced = func() { closed++ }
				l.on = func(attempt int, apply func()) error {
					switch attempt {
					case 2:
						return first
					case 3:
						if first != errRejected {
							return errRejected
						}
					}
					apply()
					return nil
				}
				want, fences := errUnavailable, 0
				if first == errUnknown { // the first leader's log may have it: nothing can follow it
					want, fences = errUnknown, 1
				}
				if _, err := submit(t.Context(), w, "bad").Wait(); !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
				if r, err := submit(t.Context(), w, "good").Wait(); r != fsm.ResultOK || err != nil {
					t.Errorf("after it: %v, %v, want ok", r, err)
				}
				if closed != fences {
					t.Errorf("sessions were closed %d times, want %d", closed, fences)
				}
			})
		})
	}
}

func TestWriterRefusesWhatDoesNotFit(t *testing.T) {
	withWriter(t, func(t *testing.T, w *writer, l *fakeLog) {
		l.lead(false)
		var last *proposal
		for range maxQueued + 10 {
			last = submit(t.Context(), w, "a")
		}
		if _, err := last.Wait(); !errors.Is(err, errUnavailable) {
			t.Errorf("got %v, want errUnavailable", err)
		}
		l.lead(true)
		synctest.Wait()
		for _, b := range l.batches {
			if len(b.Mutations) > maxBatchMutations {
				t.Errorf("a batch of %d mutations", len(b.Mutations))
			}
		}
	})
}
