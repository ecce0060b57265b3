package main

import (
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// settle is how long the cluster is left alone between two failures.
const settle = 300 * time.Millisecond

// outages is what the clients of surviving nodes saw while leaders failed.
type outages struct {
	took   samples // one for each failure
	failed int     // commands that a stock nsqd would have given up on
	lookups
}

// measureKills kills the leader with -9.
func measureKills(b *bench) error {
	o, err := b.fail(b.kills, func(c cluster, leader *node, p *prober, o *outages) error {
		begun := time.Now()
		leader.kill() // returns when the process is gone: it commits nothing any more
		if err := o.next(p, begun); err != nil {
			return err
		}
		return leader.start()
	})
	if err != nil {
		return err
	}
	p50, p99 := o.took.quantile(.5), o.took.quantile(.99)
	b.report.add(row{
		Group: "kill", What: fmt.Sprintf("kill -9 of the leader to the next registration through a survivor, %d times", len(o.took)),
		Ours: o.took.String(), Goal: "p50 ≤ 30 ms, p99 ≤ 250 ms, no command and no lookup on a survivor fails",
		Verdict: verdict(p50 <= 30*time.Millisecond && p99 <= 250*time.Millisecond && o.clean()), Note: o.note(),
	})
	return nil
}

// measureStops stops the leader with SIGTERM while a client of another node registers
// without a pause.
func measureStops(b *bench) error {
	o, err := b.fail(b.stops, func(c cluster, leader *node, p *prober, o *outages) error {
		stopped := make(chan error, 1)
		go func() { stopped <- leader.stop() }()
		var stall time.Duration
		var over time.Time // zero while it runs
		for over.IsZero() || time.Now().Before(over) {
			took, failed, err := p.register()
			if err != nil {
				return err
			}
			stall = max(stall, took)
			o.failed += failed
			select {
			case err := <-stopped:
				if err != nil {
					return err
				}
				over = time.Now().Add(settle)
				stopped = nil // never ready again
			default:
			}
		}
		o.took = append(o.took, stall)
		return leader.start()
	})
	if err != nil {
		return err
	}
	worst := o.took.quantile(1)
	b.report.add(row{
		Group: "stop", What: fmt.Sprintf("SIGTERM of the leader: longest stall of a registration through a survivor, %d times", len(o.took)),
		Ours: o.took.String(), Goal: "≤ 100 ms, nothing fails",
		Verdict: verdict(worst <= 100*time.Millisecond && o.clean()), Note: o.note(),
	})
	return nil
}

// measurePauses stops the leader's process with SIGSTOP: to the others it is as if
// its host had gone silent.
func measurePauses(b *bench) error {
	o, err := b.fail(b.stops, func(c cluster, leader *node, p *prober, o *outages) error {
		begun := time.Now()
		if err := leader.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		defer leader.cmd.Process.Signal(syscall.SIGCONT)
		for {
			u, err := leader.usage()
			if err != nil {
				return err
			}
			if u.stopped {
				return o.next(p, begun)
			}
		}
	})
	if err != nil {
		return err
	}
	p99 := o.took.quantile(.99)
	b.report.add(row{
		Group: "pause", What: fmt.Sprintf("SIGSTOP of the leader to the next registration through a survivor, %d times", len(o.took)),
		Ours: o.took.String(), Goal: "p99 ≤ 700 ms", Verdict: verdict(p99 <= 700*time.Millisecond), Note: o.note(),
	})
	return nil
}

// next times the first registration through p that was sent after the leader's end,
// from begun, when that was asked for.
func (o *outages) next(p *prober, begun time.Time) error {
	_, failed, err := p.register()
	o.failed += failed
	o.took = append(o.took, time.Since(begun))
	return err
}

func (o *outages) clean() bool { return o.failed == 0 && o.lookups.failed == 0 }

func (o *outages) note() string {
	return fmt.Sprintf("%d commands failed, %d of %d lookups", o.failed, o.lookups.failed, o.asked)
}

// A failure has the leader of a cluster fail, measures what a client of a survivor
// saw, and has the leader come back.
type failure func(c cluster, leader *node, p *prober, o *outages) error

// fail is failIn with a cluster of its own.
func (b *bench) fail(times int, failure failure) (*outages, error) {
	c, err := b.startCluster(idle)
	if err != nil {
		return nil, err
	}
	return b.failIn(c, times, failure)
}

// failIn has the leader of a cluster fail, so many times, while the other two are asked
// for lookups and one of them, in turn, has a connection to register through.
func (b *bench) failIn(c cluster, times int, failure failure) (*outages, error) {
	o := new(outages)
	for turn := range times {
		leader, err := c.leader()
		if err != nil {
			return nil, err
		}
		time.Sleep(settle)
		survivors := c.without(leader)
		p := &prober{nsqd: &nsqd{addr: survivors[turn%2].tcp, number: turn}}
		if _, _, err := p.register(); err != nil {
			return nil, err
		}
		stop := o.watch(survivors, "/topics")
		err = failure(c, leader, p, o)
		stop()
		p.close()
		if err != nil {
			return nil, fmt.Errorf("failure %d, of %s: %w", turn+1, leader.id, err)
		}
	}
	return o, nil
}

// A prober registers through one node, as one nsqd that never gives up.
type prober struct {
	*nsqd
	sent int
}

// register has one more channel registered and returns how long that took and how
// many attempts failed on the way.
func (p *prober) register() (took time.Duration, failed int, err error) {
	begun := time.Now()
	p.sent++
	failed, err = p.insist(fmt.Sprintf("REGISTER probe-%d channel-%d", p.number, p.sent))
	return time.Since(begun), failed, err
}

// lookups counts questions asked in the background.
type lookups struct {
	mu            sync.Mutex
	asked, failed int
}

// watch asks each node for target every few milliseconds until stop is called.
func (l *lookups) watch(nodes cluster, target string) (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-quit:
					return
				case <-tick.C:
				}
				a, err := get(n.http, target)
				l.mu.Lock()
				l.asked++
				if err != nil || a.status != http.StatusOK {
					l.failed++
				}
				l.mu.Unlock()
			}
		})
	}
	return func() {
		close(quit)
		wg.Wait()
	}
}
