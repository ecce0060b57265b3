package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// idleConnections are held open to see what one takes.
	idleConnections = 5000
	// pings are sent to see what one takes, one at a time on so many connections.
	pings   = 100_000
	talking = 100
)

// measureConnections connects many nsqds to one node that say nothing more, and then
// has some of them ping.
func measureConnections(b *bench) error {
	c, err := b.startCluster(idle)
	if err != nil {
		return err
	}
	leader, err := c.leader()
	if err != nil {
		return err
	}
	holder := c.without(leader)[0]
	nodes := cluster{holder, leader}

	begun := time.Now()
	before, err := usages(nodes)
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	after, err := usages(nodes)
	if err != nil {
		return err
	}
	elapsed := time.Since(begun)
	share := func(k int) float64 { return 100 * after[k].since(before[k]).cpu.Seconds() / elapsed.Seconds() }
	b.report.add(row{Group: "connections", What: "unit costs of an idle cluster: follower, leader",
		Ours: fmt.Sprintf("%.1f %%, %.1f %% of a core; %s, %s of memory", share(0), share(1), mebibytes(after[0].resident), mebibytes(after[1].resident))})

	conns, err := dialAll([]string{holder.tcp}, idleConnections)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	if before, err = usages(nodes); err != nil {
		return err
	}
	b.report.add(row{Group: "connections", What: "unit costs of an idle connection: memory of its node, of the leader",
		Ours: fmt.Sprintf("%.1f KiB, %.1f KiB", perConnection(before[0].since(after[0])), perConnection(before[1].since(after[1])))})

	// The first PING of each ends its replay, which is an entry of the log.
	for _, times := range []int{1, pings / talking} {
		if before, err = usages(nodes); err != nil {
			return err
		}
		err = each(talking, talking, func(i int) error {
			for range times {
				if _, err := conns[i].insist("PING"); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if after, err = usages(nodes); err != nil {
		return err
	}
	b.report.add(row{Group: "connections", What: "unit costs of a PING: CPU of its node, of the leader",
		Ours: fmt.Sprintf("%s, %s", short(after[0].since(before[0]).cpu/pings), short(after[1].since(before[1]).cpu/pings))})
	return nil
}

func perConnection(u usage) float64 { return float64(u.resident) / 1024 / idleConnections }

// measureGrowth has consumers come and go, each with an ephemeral channel, one command
// at a time on each node so that nearly every mutation is a log entry of its own, the
// worst case for the log; and watches what the data folders hold.
func measureGrowth(b *bench) error {
	c, err := b.startCluster(idle)
	if err != nil {
		return err
	}
	line := func(_, i int) string {
		return fmt.Sprintf("REGISTER topic-%d channel-%d", i/channelsPerTopic, i%channelsPerTopic)
	}
	conns, _, err := fill(c[0].tcp, 200, 100, line)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	churning, err := dialAll(c.tcpAddrs(), len(c))
	if err != nil {
		return err
	}
	defer closeAll(churning)
	firstEntry, err := c[0].metric(appliedIndex)
	if err != nil {
		return err
	}

	quit := make(chan struct{})
	var watching sync.WaitGroup
	var log, snapshots int64 // the largest seen
	watching.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			l, s, _ := c[0].diskUse()
			log, snapshots = max(log, l), max(snapshots, s)
		}
	})
	leader, err := c.leader()
	if err != nil {
		return err
	}
	nodes := cluster{c.without(leader)[0], leader}
	before, err := usages(nodes)
	if err != nil {
		return err
	}
	begun := time.Now()
	err = each(len(c), len(c), func(i int) error {
		for k := 0; k < b.day/len(c)/2; k++ {
			name := fmt.Sprintf("topic-%d consumer-%d-%d#ephemeral", k%10, i, k)
			for _, command := range []string{"REGISTER ", "UNREGISTER "} {
				if _, err := churning[i].insist(command + name); err != nil {
					return err
				}
			}
		}
		return nil
	})
	took := time.Since(begun)
	close(quit)
	watching.Wait()
	if err != nil {
		return err
	}
	after, err := usages(nodes)
	if err != nil {
		return err
	}
	entries, err := c[0].metric(appliedIndex)
	if err != nil {
		return err
	}
	count, err := c[0].metric("nsqlookupd_raft_snapshot_duration_seconds_count")
	if err != nil {
		return err
	}
	sum, err := c[0].metric("nsqlookupd_raft_snapshot_duration_seconds_sum")
	if err != nil {
		return err
	}
	duration := "0 s"
	if count > 0 {
		duration = short(time.Duration(sum / count * float64(time.Second)))
	}
	ofEntry := func(k int) string {
		used := after[k].since(before[k])
		return fmt.Sprintf("%s CPU, %.0f bytes written", short(used.cpu/time.Duration(entries-firstEntry)), float64(used.written)/(entries-firstEntry))
	}
	b.report.add(row{
		Group: "growth", What: "unit costs of a mutation that has a log entry of its own: follower, leader",
		Ours: ofEntry(0) + "; " + ofEntry(1),
	}, row{
		Group: "growth", What: fmt.Sprintf("%d mutations, nearly one to a log entry, in %s, beside 20,000 registrations", b.day, short(took)),
		Ours: fmt.Sprintf("%.0f entries; %.0f snapshots of %s; log at most %s, snapshots %s",
			entries-firstEntry, count, duration, mebibytes(log), mebibytes(snapshots)),
	})
	return nil
}

const appliedIndex = "nsqlookupd_raft_applied_index"

// metric returns one number of /metrics.
func (n *node) metric(name string) (float64, error) {
	a, err := get(n.http, "/metrics")
	if err := wantOK(a, err); err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(a.body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("/metrics of %s has no %s", n.id, name)
}
