// Package forward shares out messages among destinations, as nsq_to_nsq and
// nsq_to_http do: which destination is next, and how long they take.
//
//	forward.go  Options, Pool, Attempt: choosing a destination
//	timing.go   the status lines
//
// Goroutines: one of go-hostpool in the mode epsilon-greedy, until Pool.Close.
package forward

import (
	"flag"
	"fmt"
	"log"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bitly/go-hostpool"
)

// The modes of choosing a destination.
const (
	roundRobin    = "round-robin"    // each in turn
	hostPool      = "hostpool"       // each in turn that did not just fail
	epsilonGreedy = "epsilon-greedy" // the fast ones more often
)

// Options say how to choose among destinations.
type Options struct {
	Mode        string // --mode
	StatusEvery int    // --status-every: requests between two status lines; 0: none
}

// Register adds the flags to fs.
func (o *Options) Register(fs *flag.FlagSet) {
	fs.StringVar(&o.Mode, "mode", hostPool, "how to choose a destination: round-robin, hostpool (round-robin without those that failed) or epsilon-greedy (prefers the fast ones)")
	fs.IntVar(&o.StatusEvery, "status-every", 250, "requests (to each destination, and to all) between two lines about their times; 0: no lines")
}

// Validate says in one sentence what is wrong with the options.
func (o *Options) Validate() error {
	if !slices.Contains([]string{roundRobin, hostPool, epsilonGreedy}, o.Mode) {
		return fmt.Errorf("--mode must be round-robin, hostpool or epsilon-greedy, not %q", o.Mode)
	}
	if o.StatusEvery < 0 {
		return fmt.Errorf("--status-every must not be negative")
	}
	return nil
}

// A Pool chooses among destinations. It is safe for concurrent use.
type Pool struct {
	addresses []string
	turn      atomic.Uint64
	hosts     hostpool.HostPool // nil: round-robin

	all  *timing
	each map[string]*timing // by address; empty if there is only one
}

// Open returns a Pool of addresses, at least one, which may be whatever the caller
// takes for an address. It logs status lines to log.
func (o *Options) Open(addresses []string, log *log.Logger) *Pool {
	var distinct []string
	for _, a := range addresses {
		if !slices.Contains(distinct, a) {
			distinct = append(distinct, a)
		}
	}
	p := &Pool{addresses: distinct, all: newTiming("[aggregate]:", o.StatusEvery, log), each: make(map[string]*timing)}
	if len(distinct) > 1 {
		for _, a := range distinct {
			p.each[a] = newTiming("["+a+"]:", o.StatusEvery, log)
		}
	}
	switch o.Mode {
	case hostPool:
		p.hosts = hostpool.New(distinct)
	case epsilonGreedy:
		p.hosts = hostpool.NewEpsilonGreedy(distinct, 0, &hostpool.LinearEpsilonValueCalculator{})
	}
	return p
}

// Close ends the pool once all attempts are done.
func (p *Pool) Close() {
	if p.hosts != nil {
		p.hosts.Close()
	}
}

// An Attempt is one message on its way to one destination.
type Attempt struct {
	Address string

	pool  *Pool
	host  hostpool.HostPoolResponse // nil: round-robin
	begun time.Time
}

// Next chooses the destination of the next message.
func (p *Pool) Next() *Attempt {
	a := &Attempt{pool: p, begun: time.Now()}
	if p.hosts == nil {
		a.Address = p.addresses[(p.turn.Add(1)-1)%uint64(len(p.addresses))]
		return a
	}
	a.host = p.hosts.Get()
	a.Address = a.host.Host()
	return a
}

// Done says how the attempt ended; err nil: the destination has the message.
func (a *Attempt) Done(err error) {
	if a.host != nil {
		a.host.Mark(err)
	}
	took := time.Since(a.begun)
	if t := a.pool.each[a.Address]; t != nil {
		t.add(took, err)
	}
	a.pool.all.add(took, err)
}
