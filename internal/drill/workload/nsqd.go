package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// An nsqd of this module connects again after a pause that grows from the one to
	// the other.
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second

	// perTopic is how many of the nsqds that stay have the same topic.
	perTopic = 4
	// eachHas is how many topics each of those has.
	eachHas = 2
)

// A simulated nsqd is what an nsqd is to nsqlookupds: it stays, with the same
// registrations.
type simulated struct {
	w     *Workload
	host  string
	nodes []*daemon
	names []registration
	rng   *rand.Rand

	// ready is called when all was registered at a node, the first time; tried when it
	// was first tried to. Both may be nil.
	ready, tried func()
	// here ends when it has to leave, at the latest with Run.
	here context.Context
}

type registration struct{ topic, channel string }

// startNSQDs starts those that stay. In turn they are as stock with all nodes, as ours
// with all, as stock with one node, as ours with one.
func (w *Workload) startNSQDs() {
	topics := max(1, w.opts.Sessions*eachHas/perTopic)
	for i := range w.opts.Sessions {
		n := &simulated{w: w, here: w.run, host: w.names.producer("s", i), nodes: w.homeOf(i), rng: w.rng(kindNSQD, i)}
		for k := range eachHas {
			n.names = append(n.names, registration{topic: w.names.stay((i + k*(topics/2)) % topics)})
		}
		n.names[0].channel = "c"
		w.goRun(func() {
			if sleep(w.run, time.Duration(n.rng.Int64N(int64(time.Second)))) {
				n.start(i%2 == 0)
			}
		})
	}
}

// homeOf returns the nodes that the simulated nsqd i talks to: all of them, or one.
func (w *Workload) homeOf(i int) []*daemon {
	if i%4 < 2 {
		return w.nodes
	}
	at := i / 4 % len(w.nodes)
	return w.nodes[at : at+1]
}

// start has n be until it has to leave.
func (n *simulated) start(stock bool) {
	if stock {
		n.asStock()
		return
	}
	var all sync.WaitGroup
	for _, node := range n.nodes {
		rng := rand.New(rand.NewPCG(n.rng.Uint64(), n.rng.Uint64()))
		all.Go(func() { n.asOurs(node, rng) })
	}
	all.Wait()
}

// asStock talks to all nodes in turn, one command at a time, and notices only at the
// next PING that a connection has gone. At the PING after that it connects again.
func (n *simulated) asStock() {
	client := n.w.rec.Client()
	sessions := make([]*session, len(n.nodes))
	connect := func(i int) {
		s := n.w.connect(n.here, client, n.nodes[i], n.host, stockTimeout)
		if s != nil && n.replay(s) {
			sessions[i] = s
		}
	}
	for i := range n.nodes {
		connect(i)
	}
	n.once(&n.tried)
	every(n.here, n.w.tick(), func() {
		for i, s := range sessions {
			if s == nil {
				if connect(i); sessions[i] == nil {
					continue
				}
				s = sessions[i]
			}
			if !s.beat() {
				sessions[i] = nil
			}
		}
	})
	for _, s := range sessions {
		if s != nil {
			s.close()
		}
	}
}

// asOurs talks to one node, sends what it has to say without waiting for answers, and
// notices at once that the connection has gone.
func (n *simulated) asOurs(at *daemon, rng *rand.Rand) {
	var commands []command
	for _, r := range n.names {
		commands = append(commands, registers(r.topic, r.channel))
	}
	commands = append(commands, ping)
	clients := make([]int, len(commands))
	for i := range clients {
		clients[i] = n.w.rec.Client()
	}
	backoff := minBackoff
	for n.here.Err() == nil {
		if s := n.w.connect(n.here, clients[0], at, n.host, ourTimeout); s != nil {
			if s.pipeline(commands, clients) {
				n.once(&n.ready)
				n.once(&n.tried)
				backoff = minBackoff
				s.stay(n.here, time.Time{})
			}
			s.close()
		}
		n.once(&n.tried)
		sleep(n.here, backoff/2+time.Duration(rng.Int64N(int64(backoff/2))))
		backoff = min(2*backoff, maxBackoff)
	}
}

// replay registers all that n has, one after the other.
func (n *simulated) replay(s *session) bool {
	for _, r := range n.names {
		if !s.register(r.topic, r.channel) {
			return false
		}
	}
	n.once(&n.ready)
	return true
}

// once calls f, if it is not nil, and never again.
func (n *simulated) once(f *func()) {
	if call := *f; call != nil {
		*f = nil
		call()
	}
}

const (
	// stormTopics bounds the topics of a storm: its nsqds share them.
	stormTopics = 100
	// stormWindow bounds the nsqds of a storm that are on their way in at one time. If
	// more are they wait for each other in this process, and it is that which is
	// measured.
	stormWindow = 1024
)

// Storm makes n simulated nsqds connect, each to one node, with topics each, as fast as
// stormWindow lets them, and returns when all are registered, or ctx or Run end. They
// stay until leave is called, which returns when they have left, or until Run ends. leave
// is never nil.
func (w *Workload) Storm(ctx context.Context, n, topics int) (leave func(), err error) {
	w.mu.Lock()
	run, runs := w.run, w.state == running
	w.mu.Unlock()
	if !runs {
		return func() {}, ErrNotRunning
	}
	storm := int(w.storms.Add(1))
	here, end := context.WithCancel(run)
	var guests sync.WaitGroup
	leave = func() { end(); guests.Wait() }
	window, registered := make(chan struct{}, stormWindow), make(chan struct{}, max(0, n))
	in := 0
	for i := 0; in < n; {
		let := window
		if i == n {
			let = nil // all were
		}
		select {
		case let <- struct{}{}:
			s, stock := w.arrival(here, storm, i, topics), i%2 == 0
			s.tried, s.ready = func() { <-window }, func() { registered <- struct{}{} }
			guests.Add(1)
			if !w.goRun(func() { defer guests.Done(); s.start(stock) }) {
				guests.Done()
				return leave, ErrNotRunning
			}
			i++
		case <-registered:
			in++
		case <-ctx.Done():
			return leave, fmt.Errorf("%d of %d nsqds are registered: %w", in, n, ctx.Err())
		case <-run.Done():
			return leave, fmt.Errorf("%d of %d nsqds are registered: %w", in, n, ErrNotRunning)
		}
	}
	return leave, nil
}

// arrival returns the nsqd i of a storm, which stays until ctx ends.
func (w *Workload) arrival(ctx context.Context, storm, i, topics int) *simulated {
	at := i % len(w.nodes)
	s := &simulated{w: w, here: ctx, host: w.names.producer(fmt.Sprintf("w%d.", storm), i), nodes: w.nodes[at : at+1], rng: w.rng(kindStorm, storm<<20|i)}
	for k := range topics {
		topic := fmt.Sprintf("%sw%d.%d", w.names.tag, storm, (i+k)%max(topics, stormTopics))
		s.names = append(s.names, registration{topic: w.names.use(topic)})
	}
	return s
}
