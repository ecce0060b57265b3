package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"nsqraft/internal/localcluster"
)

// What clients of the surviving nodes see of a failure is measured by being some: one
// write at a time through one of them, and lookups from each at a bounded rate. The
// write deletes a topic that never exists: it is committed like any other, and no list
// and no page shows it.

const (
	gapPause     = 5 * time.Millisecond   // between two looks at who leads, and two tries to write
	lookupPause  = 2 * time.Millisecond   // between two lookups on one node
	gapAfterward = 250 * time.Millisecond // lookups go on after the first write
	gapWithin    = 5 * time.Second        // for a leader and a write
	gapDoomed    = time.Second            // the same without a majority: for lookups only
)

// A gap is what was seen of one failure.
type gap struct {
	leader *localcluster.Process // who leads after it; nil: nobody
	leads  time.Duration         // from the failure until then
	write  time.Duration         // from the failure until the first write that was sent after it was committed; 0: none was
	asked  int                   // lookups
	failed int
	why    string // the first failed
}

// fail brings a failure of the node p about and says what its survivors saw. It returns
// false if it came to nothing.
func (s *devSession) fail(ctx context.Context, p *localcluster.Process, done string, fault func() error) bool {
	leader, _ := s.cluster.Leader(ctx)
	role := "follower"
	if p == leader {
		role = "leader"
	}
	survivors := s.survivors(p)
	g, err := s.measure(ctx, survivors, p, fault)
	if err != nil {
		s.say("%v", err)
		return false
	}
	s.say("%s %s (%s) -> %s", done, p.Name, role, s.describe(g, leader, survivors))
	return true
}

// describe says what a gap was; before is who led before.
func (s *devSession) describe(g gap, before *localcluster.Process, survivors []*localcluster.Process) string {
	var parts []string
	doomed := g.write == 0 && len(survivors) < s.majority()
	switch {
	case doomed: // one may say a moment longer that it leads
		parts = append(parts, fmt.Sprintf("no leader: %d of %d are no majority; registrations wait", len(survivors), len(s.cluster.Lookupds())))
	case g.leader == nil:
		parts = append(parts, fmt.Sprintf("no leader within %v", gapWithin))
	case g.leader == before:
		parts = append(parts, before.Name+" still leads")
	default:
		parts = append(parts, fmt.Sprintf("%s leads (%s)", g.leader.Name, milliseconds(g.leads)))
	}
	switch {
	case g.write > 0:
		parts = append(parts, "next committed write after "+milliseconds(g.write))
	case !doomed:
		parts = append(parts, fmt.Sprintf("no write is committed within %v", gapWithin))
	}
	if len(survivors) > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s lookups on %s failed", g.failed, humanize.Comma(int64(g.asked)), names(survivors)))
	}
	if g.failed > 0 {
		parts = append(parts, "first: "+g.why)
	}
	return strings.Join(parts, "; ")
}

// measure brings a failure of p about and measures it through the survivors. An
// error is one of bringing it about.
func (s *devSession) measure(ctx context.Context, survivors []*localcluster.Process, p *localcluster.Process, fault func() error) (gap, error) {
	if len(survivors) == 0 {
		return gap{}, fault()
	}
	within := gapWithin
	if len(survivors) < s.majority() {
		within = gapDoomed
	}
	var g gap
	question, want := s.question(ctx, survivors[0])
	stop := s.lookUp(ctx, survivors, question, want)
	defer func() { g.asked, g.failed, g.why = stop() }()

	begun := time.Now()
	if err := fault(); err != nil {
		return g, err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { g.leader, g.leads = s.newLeader(ctx, begun, survivors) })
	wg.Go(func() { g.write = s.firstWrite(ctx, begun, survivors[len(survivors)-1]) })
	wg.Wait()
	if ctx.Err() == nil {
		sleep(ctx, gapAfterward)
	}
	g.asked, g.failed, g.why = stop()
	return g, nil
}

// newLeader returns which of the survivors leads, and since when after begun.
func (s *devSession) newLeader(ctx context.Context, begun time.Time, survivors []*localcluster.Process) (*localcluster.Process, time.Duration) {
	for ctx.Err() == nil {
		for _, p := range survivors {
			if status, err := s.cluster.Status(ctx, p); err == nil && status.Leads {
				return p, time.Since(begun)
			}
		}
		sleep(ctx, gapPause)
	}
	return nil, 0
}

// firstWrite returns how long after begun a write through p was committed, 0 if none was.
func (s *devSession) firstWrite(ctx context.Context, begun time.Time, p *localcluster.Process) time.Duration {
	for ctx.Err() == nil {
		if s.cluster.Write(ctx, p) == nil {
			return time.Since(begun)
		}
		sleep(ctx, gapPause)
	}
	return 0
}

// maxTopics bounds how many topics are looked at for one with a producer.
const maxTopics = 10

// question returns what to look up, and the producers that every answer has to have:
// a topic's if there is one, else all nsqds.
func (s *devSession) question(ctx context.Context, p *localcluster.Process) (target string, want map[string]bool) {
	topics, _ := s.cluster.Topics(ctx, p)
	for _, topic := range topics[:min(len(topics), maxTopics)] {
		target = "/lookup?topic=" + topic
		if want, err := s.cluster.Producers(ctx, p, target); err == nil && len(want) > 0 {
			return target, want
		}
	}
	want, _ = s.cluster.Producers(ctx, p, "/nodes")
	return "/nodes", want
}

// lookUp asks each node again and again until stop is called, which returns how often
// it asked and how often it got no answer, an error, or one in which a producer is
// missing.
func (s *devSession) lookUp(ctx context.Context, nodes []*localcluster.Process, target string, want map[string]bool) (stop func() (asked, failed int, why string)) {
	ctx, cancel := context.WithCancel(ctx)
	var mu sync.Mutex
	var asked, failed int
	var why string
	ask := func(p *localcluster.Process) {
		got, err := s.cluster.Producers(ctx, p, target)
		if ctx.Err() != nil {
			return // nobody waits for it any more
		}
		for addr := range want {
			if err == nil && !got[addr] {
				err = fmt.Errorf("%s does not list %s", p.Name, addr)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		asked++
		if err != nil {
			if failed++; failed == 1 {
				why = err.Error()
			}
		}
	}
	var wg sync.WaitGroup
	for _, p := range nodes {
		wg.Go(func() {
			tick := time.NewTicker(lookupPause)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					ask(p)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return func() (int, int, string) {
		cancel()
		wg.Wait()
		return asked, failed, why
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
