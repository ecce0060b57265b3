package clusterinfo

import (
	"context"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// downAfter is how long a daemon may give no answer before it is down.
	downAfter = 15 * time.Second

	// goneFor is how long an nsqd stays that is neither listed nor answers.
	goneFor = 5 * time.Minute

	// maxNodes bounds the nsqds asked, whatever nsqlookupds say.
	maxNodes = 10_000

	// mostPaused bounds, but for jitter, how long a daemon is left alone because of what
	// it costs: on a busy machine everything seems to cost much.
	mostPaused = time.Minute

	// The shares of time that reading answers may take: of one daemon, of all that
	// answer together, and of putting together Views. What a daemon cost that failed
	// slows nobody else. With 10,000 topics on each of 100
	// nsqds they keep a Poller at a third of a core.
	daemonShare = 10 // a daemon is left alone for that many times what its last answer cost
	totalShare  = 4  // and for that many times what those of all did
	buildShare  = 9  // no View for that many times what the last one took

	// lateAfter times Interval, or as many seconds if that is more, is how old the numbers of an nsqd that answers may become
	// before they are shown with their age.
	lateAfter = 5
)

// PollerOptions are those of a Poller.
type PollerOptions struct {
	Lookupds []string      // either these
	NSQDs    []string      // or these
	Interval time.Duration // between two questions to one daemon; default 1 s. A daemon whose answer costs much is asked less often.
	Timeout  time.Duration // of one question; default 2 s
}

// A Poller asks all nsqlookupds, and the nsqds that they list, every Interval and
// publishes a new View after each round in which something was answered. One that
// hangs delays nobody else: its last numbers stay, with their time.
//
// An nsqd that no nsqlookupd lists any more, of those that are not down, stays for as
// long as it answers and five minutes more. While all nsqlookupds are down, the last
// known nsqds are asked on.
type Poller struct {
	// Read-only after NewPoller.
	client *Client
	opts   PollerOptions
	log    hclog.Logger
	dirty  chan struct{} // holds a token when there is something for a View
	hurry  chan struct{} // holds one when somebody waits for it

	published atomic.Pointer[published]

	wg sync.WaitGroup // of the goroutines of daemons

	mu         sync.Mutex
	running    context.Context // of Run; nil before and after
	lookupds   []*lookupdPoll  // in the order they were given
	nodes      map[string]*nodePoll
	generation uint64               // counts the calls of Refresh
	refreshing int                  // calls of it that wait
	total      time.Duration        // what the last answers of all daemons cost, of those whose last question was answered
	changed    map[string]time.Time // topics, and when Refresh was told that their channels change

	members membership // owned by Run
}

// A published View, and the channel that is closed when there is a newer one.
type published struct {
	view       *View
	generation uint64 // all daemons that are up were asked after that call of Refresh
	superseded chan struct{}
}

// A subject is a daemon that is asked again and again.
type subject struct {
	// Read-only.
	address string
	wake    chan struct{} // a token ends the pause
	stop    context.CancelFunc

	// Guarded by Poller.mu.
	state      State
	err        error
	since      time.Time // first asked
	answeredAt time.Time
	roundTrip  time.Duration
	cost       time.Duration // of the last round, its part of Poller.total; 0 if it failed
	generation uint64        // Poller's when the newest round that ended began
}

// NewPoller returns a Poller that asks nothing before Run.
func NewPoller(c *Client, o PollerOptions, log hclog.Logger) *Poller {
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	p := &Poller{
		client:  c.forPolling(o.Timeout),
		opts:    o,
		log:     log,
		dirty:   make(chan struct{}, 1),
		hurry:   make(chan struct{}, 1),
		nodes:   make(map[string]*nodePoll),
		changed: make(map[string]time.Time),
	}
	p.published.Store(&published{view: &View{}, superseded: make(chan struct{})})
	for _, address := range once(o.Lookupds) {
		p.lookupds = append(p.lookupds, newLookupdPoll(address))
	}
	for _, address := range once(o.NSQDs) {
		p.nodes[address] = &nodePoll{subject: newSubject(address), static: true, diskFree: -1}
	}
	return p
}

func newSubject(address string) subject {
	return subject{address: address, wake: make(chan struct{}, 1), state: Unknown}
}

// Run asks until ctx ends. It is called once.
func (p *Poller) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer p.wg.Wait()
	defer func() {
		p.mu.Lock()
		p.running = nil // SetLookupds starts none any more
		p.mu.Unlock()
		cancel()
	}()
	p.mu.Lock()
	p.running = ctx
	for _, l := range p.lookupds {
		p.startLookupd(l)
	}
	for _, n := range p.nodes {
		p.startNode(n)
	}
	p.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.dirty:
		}
		start := time.Now()
		p.update(start)
		select {
		case <-ctx.Done():
			return
		case <-p.hurry:
		case <-time.After(max(p.opts.Interval/4, buildShare*time.Since(start))):
		}
	}
}

// update brings the nsqds asked in line with what nsqlookupds say, and publishes a View.
func (p *Poller) update(now time.Time) {
	p.reconcile(now)
	s := p.snapshot(now)
	next := &published{view: s.view(), generation: s.generation, superseded: make(chan struct{})}
	close(p.published.Swap(next).superseded)
}

// View returns the newest View; before the first answer an empty one.
func (p *Poller) View() *View { return p.published.Load().view }

// Changed returns a channel that is closed when there is a newer View than the one
// that View would return now. Who wants to miss none calls it before View.
func (p *Poller) Changed() <-chan struct{} { return p.published.Load().superseded }

// Refresh asks everything now and returns when the View shows answers to questions
// asked after the call by all daemons that are up, or when ctx ends (with its error).
// Channels that are only registered, which are asked for seldom otherwise, are those of
// now for the topics given.
func (p *Poller) Refresh(ctx context.Context, topics ...string) error {
	p.mu.Lock()
	for _, topic := range topics {
		p.changed[topic] = time.Now()
	}
	p.generation++
	generation := p.generation
	p.refreshing++
	for s := range p.subjectsLocked() {
		signal(s.wake)
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.refreshing--
		p.mu.Unlock()
	}()
	signal(p.dirty) // perhaps nobody is up
	for {
		newest := p.published.Load()
		if newest.generation >= generation {
			return nil
		}
		select {
		case <-newest.superseded:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refreshedLocked returns the greatest generation that all daemons which are up, or
// were never asked, have answered.
func (p *Poller) refreshedLocked() uint64 {
	least := p.generation
	for s := range p.subjectsLocked() {
		if s.state == Up || s.state == Draining || s.state == Unknown {
			least = min(least, s.generation)
		}
	}
	return least
}

// unknownLocked says whether there is a daemon of which nothing is known yet.
func (p *Poller) unknownLocked() bool {
	for s := range p.subjectsLocked() {
		if s.state == Unknown {
			return true
		}
	}
	return false
}

func (p *Poller) subjectsLocked() iter.Seq[*subject] {
	return func(yield func(*subject) bool) {
		for _, l := range p.lookupds {
			if !yield(&l.subject) {
				return
			}
		}
		for _, n := range p.nodes {
			if !yield(&n.subject) {
				return
			}
		}
	}
}

// SetLookupds replaces the nsqlookupds asked.
func (p *Poller) SetLookupds(addresses []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.lookupds
	p.lookupds = nil
	for _, address := range once(addresses) {
		i := slices.IndexFunc(before, func(l *lookupdPoll) bool { return l.address == address })
		if i >= 0 {
			p.lookupds = append(p.lookupds, before[i])
			continue
		}
		l := newLookupdPoll(address)
		p.lookupds = append(p.lookupds, l)
		if p.running != nil {
			p.startLookupd(l)
		}
	}
	for _, l := range before {
		if !slices.Contains(p.lookupds, l) {
			p.dropLocked(&l.subject)
		}
	}
	signal(p.dirty)
}

// dropLocked ends the asking of s.
func (p *Poller) dropLocked(s *subject) {
	if s.stop != nil {
		s.stop()
	}
	p.total -= s.cost
	s.cost = 0
}

// A round asks one daemon once. It returns what follows from the answers, to be done
// with Poller.mu held; of what it cost only the time that was spent here.
type round func(ctx context.Context) (apply func(), cost time.Duration, err error)

// start asks s again and again, in a goroutine of its own, until it is dropped.
func (p *Poller) start(s *subject, ask round) {
	ctx, cancel := context.WithCancel(p.running)
	s.stop = cancel
	s.since = time.Now()
	p.wg.Go(func() {
		defer cancel()
		for {
			p.mu.Lock()
			generation := p.generation
			p.mu.Unlock()
			apply, cost, err := ask(ctx)
			pause, ok := p.finish(ctx, s, generation, apply, cost, err)
			if !ok {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			case <-time.After(pause):
			}
		}
	})
}

// finish takes in a round that began in generation, and returns how long the daemon
// is left alone; ok is false if it is not asked any more.
func (p *Poller) finish(ctx context.Context, s *subject, generation uint64, apply func(), cost time.Duration, err error) (pause time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return 0, false
	}
	before := s.state
	now := time.Now()
	if s.err = err; err == nil {
		s.state, s.answeredAt = Up, now
		apply()
	} else {
		s.state = s.failing(now)
	}
	if s.state != before && (before != Unknown || s.state != Up) {
		p.log.Info("daemon is "+string(s.state), "address", s.address, "before", string(before), "err", err)
	}
	s.generation = generation
	p.total -= s.cost
	s.cost = 0
	if err == nil {
		s.cost = cost
		p.total += cost
	}
	signal(p.dirty)
	if p.refreshing > 0 && p.refreshedLocked() == p.generation || before == Unknown && !p.unknownLocked() {
		signal(p.hurry)
	}
	if err != nil {
		return p.pause(cost, 0), true // it shall be known again soon
	}
	return p.pause(cost, p.total), true
}

// failing returns the state of a daemon whose last question failed.
func (s *subject) failing(now time.Time) State {
	last := s.answeredAt
	if last.IsZero() {
		last = s.since
	}
	if refusesConnections(s.err) || now.Sub(last) >= downAfter {
		return Down
	}
	return Suspect
}

// pause returns how long a daemon is left alone that cost that much, where all of them
// together cost total.
func (p *Poller) pause(cost, total time.Duration) time.Duration {
	pause := min(max(daemonShare*cost, totalShare*total), mostPaused)
	if pause <= p.opts.Interval {
		return p.opts.Interval
	}
	// Costly answers shall not all come at one time.
	return max(p.opts.Interval, pause/2+rand.N(pause))
}

// signal puts a token into ch, if there is none.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
