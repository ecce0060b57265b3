package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nsqraft/internal/drill/env"
)

// A Drill is a script of faults with a name.
type Drill struct {
	Name    string
	Explain string     // a sentence: what is done, and what is expected
	Needs   []env.Kind // that the environment must be able to make
	Stock   bool       // it can be made against stock, which has no leader
	NSQD    bool       // it hits an nsqd, of which there must be one
	Clients int        // that come at once
	script  func(b *breaker) error
}

// how long faults last. A stock nsqd looks after its connections every 15 s, but what
// can go wrong in a failover has gone wrong in the first seconds.
const (
	down  = 2 * time.Second // of all nodes: longer than a write takes to be given up
	brief = 3 * time.Second
	long  = 8 * time.Second
)

// Catalogue is every drill, in the order in which the standard profile makes them.
var Catalogue = []*Drill{
	{Name: "leader-kill", Needs: kinds(env.Kill), Stock: true,
		Explain: "kill -9 the leader; another leads at once, and no lookup on the others fails",
		script:  onLeader(env.Fault{Kind: env.Kill}, brief)},
	{Name: "leader-stop", Needs: kinds(env.Stop), Stock: true,
		Explain: "stop the leader as a service manager does; it hands leadership on first, and writes hardly wait",
		script:  onLeader(env.Fault{Kind: env.Stop}, brief)},
	{Name: "follower-kill", Needs: kinds(env.Kill), Stock: true,
		Explain: "kill -9 a follower; nobody but its own clients notices",
		script:  onFollower(env.Fault{Kind: env.Kill}, brief)},
	{Name: "leader-pause", Needs: kinds(env.Pause), Stock: true,
		Explain: "SIGSTOP the leader; another is elected, and the old one answers nothing stale when it goes on",
		script:  onLeader(env.Fault{Kind: env.Pause}, 5*time.Second)},
	{Name: "follower-pause", Needs: kinds(env.Pause), Stock: true,
		Explain: "SIGSTOP a follower; writes go on, and when it goes on it is up to date or says that it is stale",
		script:  onFollower(env.Fault{Kind: env.Pause}, 5*time.Second)},
	{Name: "pause-all", Needs: kinds(env.Pause), Stock: true,
		Explain: "SIGSTOP all nodes; after SIGCONT they go on, and no session has expired",
		script: func(b *breaker) error {
			return b.one(env.Fault{Kind: env.Pause, Targets: b.nodes()}, brief)
		}},
	{Name: "leader-isolated", Needs: kinds(env.Isolate),
		Explain: "cut the leader off from the other nodes; the others elect one, and the old one refuses consistent reads",
		script:  onLeader(env.Fault{Kind: env.Isolate}, long)},
	{Name: "leader-deaf", Needs: kinds(env.Deaf),
		Explain: "the leader gets nothing of the others, but they hear it",
		script:  onLeader(env.Fault{Kind: env.Deaf}, long)},
	{Name: "leader-mute", Needs: kinds(env.Mute),
		Explain: "nothing that the leader sends arrives, but it hears the others",
		script:  onLeader(env.Fault{Kind: env.Mute}, long)},
	{Name: "follower-deaf", Needs: kinds(env.Deaf),
		Explain: "a follower hears nobody; it must not disturb the others by standing for election",
		script:  onFollower(env.Fault{Kind: env.Deaf}, long)},
	{Name: "bridge", Needs: kinds(env.Cut),
		Explain: "cut the leader from one follower in both directions; the third sees both",
		script:  bridge},
	{Name: "majority-split", Needs: kinds(env.Split),
		Explain: "split the leader with a minority from the majority",
		script:  onLeader(env.Fault{Kind: env.Split}, long)},
	{Name: "no-quorum", Needs: kinds(env.Isolate),
		Explain: "cut every node off from every other; lookups go on and say how old they are, writes wait",
		script:  noQuorum},
	{Name: "flapping-follower", Needs: kinds(env.Isolate),
		Explain: "the link of a follower comes and goes every half second",
		script: func(b *breaker) error {
			others, err := b.followers()
			if err != nil {
				return err
			}
			return flap(b, others[0])
		}},
	{Name: "flapping-leader", Needs: kinds(env.Isolate),
		Explain: "the link of the leader comes and goes every half second",
		script: func(b *breaker) error {
			leader, err := b.leader()
			if err != nil {
				return err
			}
			return flap(b, leader)
		}},
	{Name: "swizzle-clog", Needs: kinds(env.Isolate),
		Explain: "the links of all nodes go down one after the other, and come up in another order",
		script:  swizzle},
	{Name: "slow-link", Needs: kinds(env.Delay),
		Explain: "everything between a node and the others is 50 ms late, give or take 30 ms",
		script: func(b *breaker) error {
			return b.one(env.Fault{Kind: env.Delay, Targets: b.nodes(), Amount: 50 * time.Millisecond, Jitter: 30 * time.Millisecond}, long)
		}},
	{Name: "lossy-link", Needs: kinds(env.Loss),
		Explain: "a third of the packets of the leader is lost",
		script:  onLeader(env.Fault{Kind: env.Loss, Percent: 30}, long)},
	{Name: "reordering-link", Needs: kinds(env.Reorder),
		Explain: "packets of the leader overtake each other",
		script:  onLeader(env.Fault{Kind: env.Reorder, Percent: 25, Amount: 20 * time.Millisecond}, long)},
	{Name: "rolling-restart", Needs: kinds(env.Stop), Stock: true,
		Explain: "stop and start every node, one after the other, as an upgrade does; nothing fails on the others",
		script:  rollingRestart},
	{Name: "kill-all", Needs: kinds(env.Kill), Stock: true,
		Explain: "kill -9 all nodes at once and start them; nothing that was acknowledged is lost",
		script: func(b *breaker) error {
			return b.one(env.Fault{Kind: env.Kill, Targets: b.nodes()}, down)
		}},
	{Name: "cold-start", Needs: kinds(env.Kill),
		Explain: "kill -9 all nodes, start one, then a second, then the rest; one alone says 503 or marks its answers, two can write",
		script:  coldStart},
	{Name: "wiped-node", Needs: kinds(env.Wipe), Stock: true,
		Explain: "a follower loses its disk and comes back empty under its old name; it does not vote before it has caught up",
		script:  onFollower(env.Fault{Kind: env.Wipe}, time.Second)},
	{Name: "wiped-majority", Needs: kinds(env.Kill, env.Wipe, env.Isolate),
		Explain: "the leader dies and a follower loses its disk, while the other has missed the last writes; those two cannot go on without the leader, who knows them",
		script:  wipedMajority},
	{Name: "torn-log", Needs: kinds(env.TornLog),
		Explain: "the end of a follower's log is torn while it is stopped; it notices, or takes what is missing from the others",
		script:  onFollower(env.Fault{Kind: env.TornLog}, time.Second)},
	{Name: "flipped-bit", Needs: kinds(env.FlipBit),
		Explain: "a bit of a follower's log is flipped while it is stopped; it never answers differently from the others",
		script:  onFollower(env.Fault{Kind: env.FlipBit}, time.Second)},
	{Name: "disk-full", Needs: kinds(env.DiskFull),
		Explain: "the disk of the leader is full; another leads, and the node is well again once there is room",
		script:  onLeader(env.Fault{Kind: env.DiskFull}, long)},
	{Name: "slow-fsync", Needs: kinds(env.SlowFsync),
		Explain: "each fsync of the leader takes 100 ms longer",
		script:  onLeader(env.Fault{Kind: env.SlowFsync, Amount: 100 * time.Millisecond}, long)},
	{Name: "disk-hang", Needs: kinds(env.DiskHang),
		Explain: "no write of the leader's disk returns; another leads",
		script:  onLeader(env.Fault{Kind: env.DiskHang}, long)},
	{Name: "disk-hang-follower", Needs: kinds(env.DiskHang),
		Explain: "no write of a follower's disk returns; the others do without it, and it catches up",
		script:  onFollower(env.Fault{Kind: env.DiskHang}, long)},
	{Name: "power-cut", Needs: kinds(env.PowerCut),
		Explain: "all nodes lose what they had not synced, and are killed; nothing that was acknowledged is lost",
		script: func(b *breaker) error {
			return b.one(env.Fault{Kind: env.PowerCut, Targets: b.nodes()}, down)
		}},
	{Name: "clock-jump", Needs: kinds(env.ClockJump),
		Explain: "the wall clock of the leader jumps an hour ahead; nothing expires",
		script:  onLeader(env.Fault{Kind: env.ClockJump, Amount: time.Hour}, long)},
	{Name: "clock-back", Needs: kinds(env.ClockJump),
		Explain: "the wall clock of the leader jumps an hour back; nothing lives longer",
		script:  onLeader(env.Fault{Kind: env.ClockJump, Amount: -time.Hour}, long)},
	{Name: "hung-lookupd", Needs: kinds(env.Unreach), Stock: true,
		Explain: "clients reach a follower no more, though it is well; nsqds and consumers use the others",
		script:  onFollower(env.Fault{Kind: env.Unreach}, long)},
	{Name: "nsqd-crash", Needs: kinds(env.Kill), Stock: true, NSQD: true,
		Explain: "kill -9 an nsqd; it is gone from every lookup at once, and what it may lose is stated",
		script:  onNSQD(env.Fault{Kind: env.Kill}, brief)},
	{Name: "nsqd-stop", Needs: kinds(env.Stop), Stock: true, NSQD: true,
		Explain: "stop an nsqd as a service manager does; it loses no message",
		script:  onNSQD(env.Fault{Kind: env.Stop}, brief)},
	{Name: "soup", Needs: ingredients,
		Explain: "two faults by chance hit two nodes at once; all is well again when both have ended",
		script:  soup},
	{Name: "reconnect-storm", Stock: true, Clients: stormClients,
		Explain: "5,000 nsqds connect as fast as they can, a thousand of them at a time; none waits so long that it gives up; then they leave at once",
		script:  func(b *breaker) error { return b.reconnect(stormClients, 4) }},
}

// ingredients are the faults of a soup.
var ingredients = kinds(env.Kill, env.Stop, env.Pause, env.Isolate, env.Deaf, env.Mute)

func kinds(all ...env.Kind) []env.Kind { return all }

// stormClients are the nsqds of a storm.
const stormClients = 5000

const (
	// A client takes a file for its connection, and two in the proxy before a node.
	filesOfClient = 3
	// filesBesides is what the rest of the load, proxies and logs take.
	filesBesides = 2000
)

// Missing says why d cannot be made here, "" if it can; kind says so of a kind of fault.
func (d *Drill) Missing(kind func(env.Kind) string) string { return d.missing(kind, maxFiles()) }

func (d *Drill) missing(kind func(env.Kind) string, files uint64) string {
	for _, k := range d.Needs {
		if why := kind(k); why != "" {
			return why
		}
	}
	if need := uint64(d.Clients*filesOfClient + filesBesides); d.Clients > 0 && files > 0 && files < need {
		return fmt.Sprintf("%d clients take about %d open files and nsqdrill may have %d: raise the limit, as with ulimit -n %d", d.Clients, need, files, need)
	}
	return ""
}

// Named returns the drill of that name, nil if there is none.
func Named(name string) *Drill {
	for _, d := range Catalogue {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// onLeader makes f with the leader as its target.
func onLeader(f env.Fault, d time.Duration) func(*breaker) error {
	return func(b *breaker) error {
		leader, err := b.leader()
		if err != nil {
			return err
		}
		f.Targets = []string{leader}
		return b.one(f, d)
	}
}

func onFollower(f env.Fault, d time.Duration) func(*breaker) error {
	return func(b *breaker) error {
		others, err := b.followers()
		if err != nil {
			return err
		}
		f.Targets = others[:1]
		return b.one(f, d)
	}
}

func onNSQD(f env.Fault, d time.Duration) func(*breaker) error {
	return func(b *breaker) error {
		nsqd, err := b.nsqd()
		if err != nil {
			return err
		}
		f.Targets = []string{nsqd}
		return b.one(f, d)
	}
}

func bridge(b *breaker) error {
	leader, others, err := b.sides()
	if err != nil {
		return err
	}
	there, err := b.begin(env.Fault{Kind: env.Cut, Targets: []string{leader, others[0]}})
	if err != nil {
		return err
	}
	back, err := b.begin(env.Fault{Kind: env.Cut, Targets: []string{others[0], leader}})
	if err != nil {
		return err
	}
	if err := b.hold(long); err != nil {
		return err
	}
	return b.endAll(there, back)
}

// endAll ends faults one right after the other, and waits until all is well.
func (b *breaker) endAll(all ...*broken) error {
	for _, x := range all {
		if err := b.end(x); err != nil {
			return err
		}
	}
	return b.healed()
}

func noQuorum(b *breaker) error {
	var all []*broken
	for _, name := range b.nodes() {
		x, err := b.begin(env.Fault{Kind: env.Isolate, Targets: []string{name}})
		if err != nil {
			return err
		}
		all = append(all, x)
	}
	if err := b.hold(long); err != nil {
		return err
	}
	return b.endAll(all...)
}

func flap(b *breaker, node string) error {
	for range 8 {
		x, err := b.begin(env.Fault{Kind: env.Isolate, Targets: []string{node}})
		if err != nil {
			return err
		}
		if err := b.hold(500 * time.Millisecond); err != nil {
			return err
		}
		if err := b.end(x); err != nil {
			return err
		}
		if err := b.hold(500 * time.Millisecond); err != nil {
			return err
		}
	}
	return b.healed()
}

func swizzle(b *breaker) error {
	nodes := b.nodes()
	b.rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	var all []*broken
	for _, name := range nodes {
		x, err := b.begin(env.Fault{Kind: env.Isolate, Targets: []string{name}})
		if err != nil {
			return err
		}
		all = append(all, x)
		if err := b.hold(time.Second); err != nil {
			return err
		}
	}
	b.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, x := range all {
		if err := b.end(x); err != nil {
			return err
		}
		if err := b.hold(time.Second); err != nil {
			return err
		}
	}
	return b.healed()
}

func rollingRestart(b *breaker) error {
	for _, name := range b.nodes() {
		x, err := b.begin(env.Fault{Kind: env.Stop, Targets: []string{name}})
		if err != nil {
			return err
		}
		b.succeeded(x, electWithin)
		if err := b.endAll(x); err != nil {
			return err
		}
		if err := b.hold(between); err != nil {
			return err
		}
	}
	return nil
}

func coldStart(b *breaker) error {
	var all []*broken
	for _, name := range b.nodes() {
		x, err := b.begin(env.Fault{Kind: env.Kill, Targets: []string{name}})
		if err != nil {
			return err
		}
		all = append(all, x)
	}
	b.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, x := range all {
		if err := b.end(x); err != nil {
			return err
		}
		if err := b.hold(brief); err != nil {
			return err
		}
	}
	return b.healed()
}

// wipedMajority leaves two nodes of three that do not know what was acknowledged last:
// one was cut off, one is empty. The third, which leads, comes back when the two have
// had their time to elect one of themselves, which they must not.
func wipedMajority(b *breaker) error {
	leader, others, err := b.sides()
	if err != nil {
		return err
	}
	behind, err := b.begin(env.Fault{Kind: env.Isolate, Targets: others[:1]})
	if err != nil {
		return err
	}
	if err := b.hold(brief); err != nil {
		return err
	}
	dead, err := b.begin(env.Fault{Kind: env.Kill, Targets: []string{leader}})
	if err != nil {
		return err
	}
	empty, err := b.begin(env.Fault{Kind: env.Wipe, Targets: others[1:2]})
	if err != nil {
		return err
	}
	for _, x := range []*broken{behind, empty} {
		if err := b.end(x); err != nil {
			return err
		}
	}
	if err := b.hold(brief); err != nil {
		return err
	}
	return b.endAll(dead)
}

// stormWithin only ends the waiting for all to be registered, where they cannot be.
const stormWithin = time.Minute

// reconnect makes a storm of sessions, which stay for a moment and leave at once.
func (b *breaker) reconnect(sessions, topics int) error {
	x, err := b.stormBegins(sessions, topics)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(b.ctx, stormWithin)
	defer cancel()
	leave, err := b.load.Storm(ctx, sessions, topics)
	defer leave()
	x.record.Verified = err == nil
	x.record.End = b.rec.Now()
	b.rec.Fault(x.record)
	if err != nil {
		return err
	}
	if err := b.hold(brief); err != nil {
		return err
	}
	leave()
	return b.healed()
}

// soup makes two faults at once, of two nodes, and ends them one after the other.
func soup(b *breaker) error {
	nodes := b.nodes()
	if len(nodes) < 2 {
		return errors.New("two nodes are needed, to be hit at once")
	}
	b.rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	var both []*broken
	for _, node := range nodes[:2] {
		x, err := b.begin(env.Fault{Kind: ingredients[b.rng.IntN(len(ingredients))], Targets: []string{node}})
		if err != nil {
			return err
		}
		both = append(both, x)
		if err := b.someTime(); err != nil {
			return err
		}
	}
	b.rng.Shuffle(len(both), func(i, j int) { both[i], both[j] = both[j], both[i] })
	if err := b.end(both[0]); err != nil {
		return err
	}
	if err := b.someTime(); err != nil {
		return err
	}
	return b.endAll(both[1])
}

// someTime holds for down to brief, as chance has it.
func (b *breaker) someTime() error {
	return b.hold(down + time.Duration(b.rng.Int64N(int64(brief-down))))
}
