package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// measureRegistrations has nsqds register channels, one command in flight each as
// stock nsqd does: each with one of our nodes, each with all three in turn, and each
// with three stock nsqlookupds in turn, which is how stock keeps them alike. If there
// is an etcd, as many clients put as many keys.
func measureRegistrations(b *bench) error {
	ours, err := b.startCluster()
	if err != nil {
		return err
	}
	stock, err := b.startStock(3)
	if err != nil {
		return err
	}
	etcd, err := b.startEtcd()
	if err != nil {
		return err
	}
	leader, err := ours.leader()
	if err != nil {
		return err
	}
	var spread [][]string
	for _, addr := range ours.tcpAddrs() {
		spread = append(spread, []string{addr})
	}
	one := &registering{bench: b, nodes: ours, sets: spread}
	all := &registering{bench: b, nodes: ours, sets: [][]string{ours.tcpAddrs()}}
	peer := &registering{bench: b, nodes: stock, sets: [][]string{stock.tcpAddrs()}}
	sides := []func() (float64, error){one.measure, all.measure, peer.measure}
	puts := []*putting{{bench: b, nodes: etcd, conns: b.nsqds}, {bench: b, nodes: etcd, conns: len(etcd)}}
	if etcd != nil {
		sides = append(sides, puts[0].measure, puts[1].measure)
	}
	var measured []rates
	err = b.profile("register", ours, leader, func() (err error) {
		measured, err = b.takeTurns(sides...)
		return err
	})
	if err != nil {
		return err
	}
	for k, side := range []struct {
		*registering
		with string
		goal float64
	}{{one, "one node", 2}, {all, "all three", 0.8}} {
		ratios := measured[k].over(measured[2])
		b.report.add(row{
			Group: "register",
			What:  fmt.Sprintf("%d nsqds register %d channels each on three nodes, each nsqd with %s", b.nsqds, b.channels, side.with),
			Ours:  measured[k].String(), Peer: "three stock lookupds, memory only, each nsqd with all three, " + measured[2].String(),
			Ratio: ratios.ratioText(), Goal: fmt.Sprintf("≥ %v", side.goal), Verdict: verdict(ratios.median() >= side.goal),
			Note: fmt.Sprintf("%.1f commands to a log entry; CPU of all nodes for one channel of one nsqd: %s, peer %s; commands not answered within 1 s and tried again: %d, peer %d",
				float64(side.turn*b.nsqds*b.channels*len(side.sets[0]))/side.entries, short(side.each()), short(peer.each()), side.failed.Load(), peer.failed.Load()),
		})
	}
	if etcd == nil {
		b.report.add(row{Group: "register", What: "the same beside etcd", Goal: "≥ 4", Verdict: "not measured", Note: "etcd is not installed"})
		return nil
	}
	for k, with := range []string{"as many clients put as many keys, each over a connection of its own", "the same clients share one connection to each member"} {
		ratios := measured[0].over(measured[3+k])
		b.report.add(row{
			Group: "register",
			What:  fmt.Sprintf("%d nsqds register %d channels each, each nsqd with one node, beside etcd: %s", b.nsqds, b.channels, with),
			Ours:  measured[0].String(), Peer: "three etcd members, " + measured[3+k].String(),
			Ratio: ratios.ratioText(), Goal: "≥ 4", Verdict: verdict(ratios.median() >= 4),
			Note: fmt.Sprintf("CPU of all nodes for one channel of one nsqd: %s, of all members for one key: %s", short(one.each()), short(puts[k].each())),
		})
	}
	return nil
}

// A registering measures channels registered per second by many nsqds, each with
// all addresses of one of the sets, which the nsqds share evenly.
type registering struct {
	*bench
	nodes cluster
	sets  [][]string

	turn    int           // each has channels of its own
	cpu     time.Duration // of all nodes
	entries float64       // of the log; stock has none
	failed  atomic.Int64  // commands that were tried again
}

// each returns the CPU time that one channel of one nsqd took.
func (r *registering) each() time.Duration {
	return r.cpu / time.Duration(r.turn*r.nsqds*r.channels)
}

func (r *registering) measure() (float64, error) {
	r.turn++
	conns := make([][]*nsqd, r.nsqds)
	defer func() {
		for _, c := range conns {
			closeAll(c)
		}
	}()
	err := each(r.nsqds, 16, func(i int) error {
		for _, addr := range r.sets[i%len(r.sets)] {
			d, err := dialNSQD(addr, i)
			if err != nil {
				return err
			}
			conns[i] = append(conns[i], d)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	before, err := usages(r.nodes)
	if err != nil {
		return 0, err
	}
	firstEntry, _ := r.nodes[0].metric(appliedIndex)
	begun := time.Now()
	err = each(r.nsqds, r.nsqds, func(i int) error {
		for channel := range r.channels {
			line := fmt.Sprintf("REGISTER topic-%d-%d channel-%d", r.turn, channel/10, channel%10)
			for _, d := range conns[i] {
				n, err := d.insist(line)
				r.failed.Add(int64(n))
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	lastEntry, _ := r.nodes[0].metric(appliedIndex)
	r.entries += lastEntry - firstEntry
	after, err := usages(r.nodes)
	for k := range after {
		r.cpu += after[k].since(before[k]).cpu
	}
	return perSecond(r.nsqds*r.channels, took), err
}

// latencyCommands is how many commands each latency is measured with.
const latencyCommands = 1000

// measureLatency sends one command at a time, by turns to the leader and to a
// follower, and to stock.
func measureLatency(b *bench) error {
	ours, err := b.startCluster()
	if err != nil {
		return err
	}
	stock, err := b.startStock(1)
	if err != nil {
		return err
	}
	leader, err := ours.leader()
	if err != nil {
		return err
	}
	nodes := cluster{leader, ours.without(leader)[0], stock[0]}
	conns, err := dialAll(nodes.tcpAddrs(), len(nodes))
	if err != nil {
		return err
	}
	defer closeAll(conns)
	took := make([]samples, len(nodes))
	for i := range latencyCommands {
		for k, d := range conns {
			begun := time.Now()
			if _, err := d.insist(fmt.Sprintf("REGISTER topic-%d channel-%d", k, i)); err != nil {
				return err
			}
			took[k] = append(took[k], time.Since(begun))
		}
	}
	for k, through := range []string{"the leader", "a follower"} {
		p50, p99 := took[k].quantile(.5), took[k].quantile(.99)
		b.report.add(row{
			Group: "latency", What: fmt.Sprintf("one REGISTER at a time through %s, %d", through, latencyCommands),
			Ours: took[k].String(), Peer: "stock " + took[2].String(),
			Ratio: fmt.Sprintf("%.1f at p50", float64(p50)/float64(took[2].quantile(.5))),
			Goal:  "p50 ≤ 3 ms, p99 ≤ 10 ms", Verdict: verdict(p50 <= 3*time.Millisecond && p99 <= 10*time.Millisecond),
		})
	}
	return nil
}

// stormTopics is how many topics each nsqd of the storm registers.
const stormTopics = 20

// measureStorm connects many nsqds, cuts all of them off and has them come back in
// one moment, each with one of three nodes.
func measureStorm(b *bench) error {
	ours, err := b.startCluster(idle)
	if err != nil {
		return err
	}
	stock, err := b.startStock(3, idle)
	if err != nil {
		return err
	}
	var late [2]int
	var slowest, until [2]samples
	for range 3 {
		for side, c := range []cluster{ours, stock} {
			s, err := b.reconnect(c, side == 1)
			if err != nil {
				return err
			}
			late[side] += s.late
			slowest[side] = append(slowest[side], s.slowest)
			until[side] = append(until[side], s.until)
		}
	}
	text := func(side int) string {
		return fmt.Sprintf("%d late, slowest %s; all listed after %s", late[side], short(slowest[side].quantile(1)), short(until[side].quantile(.5)))
	}
	b.report.add(row{
		Group: "storm", What: fmt.Sprintf("%d nsqds × %d topics reconnect at once, 3 times; commands over 1 s", b.storm, stormTopics),
		Ours: text(0), Peer: "three stock lookupds, each a third: " + text(1),
		Ratio: fmt.Sprintf("%.1f in time until listed", float64(until[0].quantile(.5))/float64(until[1].quantile(.5))),
		Goal:  "none late", Verdict: verdict(late[0] == 0),
		Note: "each late command would make a stock nsqd disconnect and come back after up to 30 s; here it tries again at once",
	})
	return nil
}

// A storm is what became of one.
type storm struct {
	late    int           // commands that were not answered with OK within 1 s
	slowest time.Duration // of those that were
	until   time.Duration // from the first dial to all nsqds listed with all topics
}

// reconnect connects the nsqds, closes all connections and times their return.
// apart: the nodes do not know each other's nsqds.
func (b *bench) reconnect(c cluster, apart bool) (storm, error) {
	addrs := c.tcpAddrs()
	before, err := dialAll(addrs, b.storm)
	if err != nil {
		return storm{}, err
	}
	err = each(b.storm, 32, func(i int) error {
		return before[i].pipeline(stormTopics, stormLine)
	})
	closeAll(before)
	if err != nil {
		return storm{}, err
	}

	var late atomic.Int64
	var mu sync.Mutex
	var s storm
	after := make([]*nsqd, b.storm)
	defer func() { closeAll(after) }()
	begun := time.Now()
	err = each(b.storm, b.storm, func(i int) error {
		for {
			d, slowest, err := replay(addrs[i%len(addrs)], i)
			if err == nil {
				after[i] = d
				mu.Lock()
				s.slowest = max(s.slowest, slowest)
				mu.Unlock()
				return nil
			}
			late.Add(1)
			if time.Since(begun) > readyTimeout {
				return fmt.Errorf("nsqd %d did not come back within %v: %w", i, readyTimeout, err)
			}
		}
	})
	if err != nil {
		return s, err
	}
	s.late = int(late.Load())
	err = eventually("all nsqds listed", func() error { return listed(c, b.storm, apart) })
	s.until = time.Since(begun)
	return s, err
}

func stormLine(i int) string { return fmt.Sprintf("REGISTER storm-%d", i) }

// replay does what an nsqd does when it connects, up to its first PING, and returns
// how long the slowest command took.
func replay(addr string, number int) (d *nsqd, slowest time.Duration, err error) {
	begun := time.Now()
	if d, err = dialNSQD(addr, number); err != nil {
		return nil, 0, err
	}
	slowest = time.Since(begun)
	for i := range stormTopics + 1 {
		line := "PING"
		if i < stormTopics {
			line = stormLine(i)
		}
		begun := time.Now()
		if err := d.command(line); err != nil {
			d.close()
			return nil, 0, err
		}
		slowest = max(slowest, time.Since(begun))
	}
	return d, slowest, nil
}

// listed returns an error unless the last topic of the storm has n producers: at
// each node, or if they are apart, at all together.
func listed(c cluster, n int, apart bool) error {
	total := 0
	for _, node := range c {
		got, err := producers(node.http, fmt.Sprintf("/lookup?topic=storm-%d", stormTopics-1))
		if err != nil {
			return err
		}
		if !apart && got != n {
			return fmt.Errorf("%s lists %d of %d", node.id, got, n)
		}
		total += got
	}
	if apart && total != n {
		return fmt.Errorf("%d of %d are listed", total, n)
	}
	return nil
}
