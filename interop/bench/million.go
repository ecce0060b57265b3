package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	topicsPerNSQD = 100
	perNSQD       = topicsPerNSQD * channelsPerTopic

	// restarts of one node, each after a kill -9.
	restarts = 3
)

// measureMillion loads a large registry through one follower and measures what that
// took, what it takes to keep, to read and to restart with.
func measureMillion(b *bench) error {
	ours, err := b.startCluster(idle, grace)
	if err != nil {
		return err
	}
	stock, err := b.startStock(1, idle)
	if err != nil {
		return err
	}
	leader, err := ours.leader()
	if err != nil {
		return err
	}
	owner, other := ours.without(leader)[0], ours.without(leader)[1]
	nodes := cluster{owner, leader, other, stock[0]}

	nsqds := b.million / perNSQD
	topics := nsqds * topicsPerNSQD / nsqdsPerTopic
	line := func(nsqd, i int) string {
		topic := (nsqd*topicsPerNSQD + i/channelsPerTopic) % topics
		return fmt.Sprintf("REGISTER topic-%d channel-%d", topic, i%channelsPerTopic)
	}
	before, err := usages(nodes)
	if err != nil {
		return err
	}
	begun := time.Now()
	var conns []*nsqd
	var retries int
	err = b.profile("million", ours, leader, func() (err error) {
		conns, retries, err = fill(owner.tcp, nsqds, perNSQD, line)
		return err
	})
	if err != nil {
		return err
	}
	defer closeAll(conns)
	loaded := time.Since(begun)
	begun = time.Now()
	more, _, err := fill(stock[0].tcp, nsqds, perNSQD, line)
	if err != nil {
		return err
	}
	defer closeAll(more)
	stockLoaded := time.Since(begun)
	after, err := usages(nodes)
	if err != nil {
		return err
	}

	registrations := nsqds * perNSQD
	what := fmt.Sprintf("%d registrations", registrations)
	b.report.add(row{
		Group: "million", What: what + " loaded through one follower, pipelined", Ours: rates{perSecond(registrations, loaded)}.String(),
		Peer:  "one stock lookupd, memory only, " + rates{perSecond(registrations, stockLoaded)}.String(),
		Ratio: fmt.Sprintf("%.2f", float64(stockLoaded)/float64(loaded)),
		Note:  fmt.Sprintf("%d nsqds began again", retries),
	})
	for k, role := range []string{"the follower with the nsqds", "the leader", "the other follower", "stock"} {
		used := after[k].since(before[k])
		b.report.add(row{
			Group: "million", What: "unit costs of a registration, pipelined: " + role,
			Ours: fmt.Sprintf("%s CPU, %d bytes read, %d written", short(used.cpu/time.Duration(registrations)), used.read/int64(registrations), used.written/int64(registrations)),
		})
	}
	if err := b.lookups(other, stock[0], what, "million", "/lookup?topic=topic-7"); err != nil {
		return err
	}
	if err := b.memory(nodes, before, registrations); err != nil {
		return err
	}
	return b.restart(ours, other, registrations)
}

// usages returns what each node has used so far.
func usages(nodes cluster) ([]usage, error) {
	var all []usage
	for _, n := range nodes {
		u, err := n.usage()
		if err != nil {
			return nil, fmt.Errorf("usage of %s: %w", n.id, err)
		}
		all = append(all, u)
	}
	return all, nil
}

// memory measures what the registrations take in each node: the last of nodes is
// stock, the first has the connections.
func (b *bench) memory(nodes cluster, before []usage, registrations int) error {
	var resident, live []int64
	for k, n := range nodes {
		u, err := n.usage()
		if err != nil {
			return err
		}
		heap, err := n.liveHeap()
		if err != nil {
			return err
		}
		resident = append(resident, u.since(before[k]).resident/int64(registrations))
		live = append(live, heap/int64(registrations))
	}
	b.report.add(row{
		Group: "million", What: "bytes of memory per registration, resident: follower with the nsqds, leader, other follower",
		Ours: fmt.Sprintf("%d, %d, %d (live heap %d, %d, %d)", resident[0], resident[1], resident[2], live[0], live[1], live[2]),
		Peer: fmt.Sprintf("stock %d (live heap %d)", resident[3], live[3]),
		Goal: "≤ 300", Verdict: verdict(max(resident[0], resident[1], resident[2]) <= 300),
	})
	return nil
}

// liveHeap returns the bytes of the heap that a collection leaves.
func (n *node) liveHeap() (int64, error) {
	a, err := get(n.http, "/debug/pprof/heap?gc=1&debug=1")
	if err := wantOK(a, err); err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(a.body)) {
		if value, ok := strings.CutPrefix(line, "# HeapAlloc = "); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("the heap profile of %s has no HeapAlloc", n.id)
}

// restart kills one node, and then all, and times their way back to the first answer
// that is what it was before.
func (b *bench) restart(c cluster, one *node, registrations int) error {
	const target = "/lookup?topic=topic-7"
	want, err := get(one.http, target)
	if err := wantOK(want, err); err != nil {
		return err
	}
	log, snapshots, err := one.diskUse()
	if err != nil {
		return err
	}
	disk := fmt.Sprintf("%s of log, %s of snapshots on disk", mebibytes(log), mebibytes(snapshots))
	// bring starts nodes that were killed and returns when the last one is back.
	bring := func(nodes cluster) (time.Duration, error) {
		for _, n := range nodes {
			n.kill()
		}
		begun := time.Now()
		for _, n := range nodes {
			if err := n.start(); err != nil {
				return 0, err
			}
		}
		for _, n := range nodes {
			err := eventually(n.id+" answers as before", func() error {
				if err := n.alive(); err != nil {
					return err
				}
				a, err := get(n.http, target)
				if err := wantOK(a, err); err != nil {
					return err
				}
				if !bytes.Equal(a.body, want.body) {
					return fmt.Errorf("%s answers %s", n.id, a.body)
				}
				return nil
			})
			if err != nil {
				return 0, err
			}
		}
		return time.Since(begun), nil
	}
	for _, down := range []struct {
		what  string
		nodes cluster
	}{{"a follower, the others being up", cluster{one}}, {"all three at once", c}} {
		var took samples
		for range restarts {
			d, err := bring(down.nodes)
			if err != nil {
				return err
			}
			took = append(took, d)
			if _, err := c.leader(); err != nil {
				return err
			}
		}
		b.report.add(row{
			Group: "million", What: fmt.Sprintf("restart with %d registrations after kill -9: %s, to the first right /lookup", registrations, down.what),
			Ours: fmt.Sprintf("median %s, max %s", short(took.quantile(.5)), short(took.quantile(1))),
			Goal: "≤ 2 s", Verdict: verdict(took.quantile(.5) <= 2*time.Second), Note: disk,
		})
	}
	return nil
}

// diskUse returns the sizes of the log and of the snapshots.
func (n *node) diskUse() (log, snapshots int64, err error) {
	err = filepath.WalkDir(n.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a snapshot that was replaced meanwhile
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if strings.HasPrefix(path, filepath.Join(n.data, "snapshots")) {
			snapshots += info.Size()
		} else {
			log += info.Size()
		}
		return nil
	})
	return log, snapshots, err
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
