package lookupd

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// slowLog is what a write to the leader's log may take. A command waits for the
	// batch on its way and then for its own, and each of them for the write in
	// progress and then for its own: four writes, within registerTimeout.
	slowLog = 150 * time.Millisecond
	// yieldTick is how often the leader looks.
	yieldTick = 50 * time.Millisecond
	// fasterLog is how many times as fast another node's has to be. Where the disks
	// of all are slow leadership stays where it is.
	fasterLog = 3
	// yieldPause is the least time between two such attempts of a node. It can be
	// short: leadership that comes back has met a slower disk.
	yieldPause = 10 * time.Second
)

// yield hands leadership on if every commit waits for this node's disk, and with
// another leader would not: for a commit the faster majority is enough, but Raft
// has the leader write an entry before it sends it to anyone. What all writes took
// here at least is held against what any took there: should the disks of all have
// become slow just now, the others have not said so yet.
func (d *duties) yield(ctx context.Context) {
	n := d.node
	took, _ := n.store.log.Took()
	if took < slowLog || !n.yielded.IsZero() && time.Since(n.yielded) < yieldPause {
		return
	}
	to, theirs, ok := d.fastest()
	if !ok || theirs*fasterLog > took {
		return
	}
	n.log.Warn("this node's disk is slow; handing leadership to a faster one", "write", took.Round(time.Millisecond),
		"node", nodeOf(to.ID), "its_write", theirs.Round(time.Microsecond))
	n.yielded = time.Now() // also if it fails: writes are refused meanwhile
	transfer, cancel := context.WithTimeout(ctx, dutyTimeout)
	defer cancel()
	if err := n.transferLocally(transfer, nodeOf(to.ID)); err != nil && ctx.Err() == nil { // ctx ends with leadership
		n.log.Warn("leadership transfer", "err", err)
	}
}

// fastest returns the voter whose log takes least, of those that answer and have
// said what it takes.
func (d *duties) fastest() (best raft.Server, took time.Duration, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.node.servers() {
		theirs := d.logWrites[nodeOf(s.ID)]
		if s.Suffrage != raft.Voter || s.ID == d.node.self || theirs == 0 || ok && theirs >= took {
			continue
		}
		if _, answers := d.node.answers(s); answers {
			best, took, ok = s, theirs, true
		}
	}
	return best, took, ok
}
