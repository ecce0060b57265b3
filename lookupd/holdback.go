package lookupd

import (
	"time"

	"github.com/hashicorp/raft"
)

// holdBack makes this node, which has just ceased to lead term, hold back from
// standing for election if it gave up for want of a majority that answers, and the
// others can do without it.
//
// Its log is the longest, and they grant it their pre-votes while they still take it
// for their leader: so it would be elected again as often as not, and a node whose
// link loses packets would lose its lease again a moment later. The others, whose
// links may be well, have every committed entry among them.
//
// If they are no majority, or have not been heard from, it does not: with a node
// of three dead, this one and the other need each other, and this one may be the
// only one with all entries.
func (n *node) holdBack(term uint64) {
	voters, now := n.voterIDs(), time.Now()
	silent := now.Sub(n.transport.MajorityAcked(term, voters))
	switch {
	case n.raft.CurrentTerm() != term:
		return // it was succeeded, or handed over
	case silent <= n.opts.LeaderLeaseTimeout:
		return // it gave up for another reason: a write failed, or it stops
	}
	pause := n.holdBackPause()
	// Twice the pause, since a link that loses packets can be silent for longer than it.
	if n.heardSince(now.Add(-2*pause), voters) <= len(voters)/2 {
		return
	}
	n.transport.HoldBack(pause)
	n.log.Warn("no majority answered this leader; leaving the election to the others", "term", term, "for", pause)
}

// holdBackPause returns how long the others may take to elect one of themselves. A
// follower notices within three heartbeat time-outs that it has no leader, for Raft
// looks at random times of one to two. Who stood before the others had
// noticed, or with less of the log than they, is refused, and the next election
// follows within two election time-outs.
func (n *node) holdBackPause() time.Duration {
	return 3*n.opts.HeartbeatTimeout + 2*n.opts.ElectionTimeout
}

// heardSince returns how many voters other than this node have answered what it sent
// as a leader, at since or after.
func (n *node) heardSince(since time.Time, voters []raft.ServerID) (heard int) {
	for _, id := range voters {
		if c, ok := n.transport.Contact(id); id != n.self && ok && !c.At.Before(since) {
			heard++
		}
	}
	return heard
}
