package nsqadmin

import (
	"sync"
	"time"

	"nsqraft/internal/clusterinfo"
)

// A reign is one node's time as leader of the lookupds' cluster; to is zero while it lasts,
// node is empty for a time without a leader.
type reign struct {
	node     string
	term     uint64
	from, to time.Time
}

// maxReigns bounds what is kept; the oldest fall out first.
const maxReigns = 1000

// leadership keeps the reigns of the last day as they are seen. Times at which no
// lookupd said who leads are in none.
type leadership struct {
	mu     sync.RWMutex
	reigns []reign // oldest first; the last one may last
	seenAt time.Time
}

// observe takes what the cluster says of its leader, seen at now, and returns the
// reign that begins with it, if one does that is not the first. c is nil if nobody
// says anything.
func (l *leadership) observe(c *clusterinfo.Cluster, now time.Time) (begun *reign) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seenAt := l.seenAt
	l.seenAt = now
	last := l.last()
	if c == nil {
		if last != nil && last.to.IsZero() {
			last.to = seenAt
		}
		return nil
	}
	if last != nil && last.node == c.Leader && last.term == c.Term {
		last.to = time.Time{} // also if nobody told for a while: a term has one leader
		return nil
	}
	if last != nil && last.to.IsZero() && last.node == "" && c.Leader == "" {
		last.term = c.Term // elections that fail, all in one time without a leader
		return nil
	}
	from := now
	if since := leaderSince(c); !since.IsZero() && since.After(seenAt) && since.Before(now) {
		from = since // more exact than when we asked; of another clock, so within what we saw
	} else if last == nil && !since.IsZero() && since.Before(now) {
		from = since // led already when we came
	}
	if last != nil && last.to.IsZero() {
		last.to = from
		if last.node != "" && c.Leader != "" && seenAt.Before(from) {
			// Between two questions there was nobody, for as long at most.
			last.to = seenAt
			l.add(reign{term: c.Term, from: seenAt, to: from})
		}
	}
	l.add(reign{node: c.Leader, term: c.Term, from: from})
	if last == nil {
		return nil
	}
	return l.last()
}

func (l *leadership) last() *reign {
	if len(l.reigns) == 0 {
		return nil
	}
	return &l.reigns[len(l.reigns)-1]
}

func (l *leadership) add(r reign) {
	if len(l.reigns) == maxReigns {
		l.reigns = append(l.reigns[:0], l.reigns[1:]...)
	}
	l.reigns = append(l.reigns, r)
}

// leaderSince returns since when the leader of c leads, zero if it does not say.
func leaderSince(c *clusterinfo.Cluster) time.Time {
	for _, m := range c.Members {
		if m.ID == c.Leader && c.Leader != "" && m.LeaderSinceMS > 0 {
			return time.UnixMilli(m.LeaderSinceMS)
		}
	}
	return time.Time{}
}

// within returns the reigns of the last span before now, oldest first.
func (l *leadership) within(span time.Duration, now time.Time) []reign {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var reigns []reign
	for _, r := range l.reigns {
		if r.to.IsZero() || r.to.After(now.Add(-span)) {
			reigns = append(reigns, r)
		}
	}
	return reigns
}
