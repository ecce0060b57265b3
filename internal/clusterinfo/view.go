package clusterinfo

import (
	"slices"
	"strings"
	"time"
)

// A View is what a Poller knows at one time. It is never changed once it is published,
// nor is anything it points to: whoever has one may keep it.
type View struct {
	At       time.Time
	Lookupds []*Lookupd // in the order they were given
	Nodes    []*Node    // nsqds, sorted by address
	Topics   []*Topic   // sorted by name
}

// Topic returns the topic called name, nil if it is unknown.
func (v *View) Topic(name string) *Topic {
	i, ok := slices.BinarySearchFunc(v.Topics, name, func(t *Topic, name string) int { return strings.Compare(t.Name, name) })
	if !ok {
		return nil
	}
	return v.Topics[i]
}

// Node returns the nsqd with this HTTP address (or hostname:port), nil if it is unknown.
func (v *View) Node(address string) *Node {
	i, ok := slices.BinarySearchFunc(v.Nodes, address, func(n *Node, address string) int { return strings.Compare(n.Address, address) })
	if ok {
		return v.Nodes[i]
	}
	for _, n := range v.Nodes {
		if address == n.HTTPAddress() || address == joinPort(n.Hostname, n.HTTPPort) {
			return n
		}
	}
	return nil
}

// Cluster returns the newest answer about the Raft cluster of a reachable lookupd, the
// leader's if there is one; nil if none of them has /cluster. from says who gave it.
// If there are several clusters, it is of one of them.
func (v *View) Cluster() (c *Cluster, from *Lookupd) {
	for _, l := range v.Lookupds {
		if l.Cluster == nil || l.State != Up {
			continue
		}
		if from == nil || betterWitness(l, from) {
			from = l
		}
	}
	if from == nil {
		return nil, nil
	}
	return from.Cluster, from
}

// betterWitness says whether a knows its cluster better than b: as its leader, of a
// later term if both say so, else by a later answer.
func betterWitness(a, b *Lookupd) bool {
	leads := func(l *Lookupd) bool { return l.Cluster.Role == "leader" }
	if leads(a) != leads(b) {
		return leads(a)
	}
	if a.Cluster.Term != b.Cluster.Term {
		return a.Cluster.Term > b.Cluster.Term
	}
	return a.AnsweredAt.After(b.AnsweredAt)
}

// A State is how well a daemon answers.
type State string

const (
	Up       State = "up"       // its last answer came in time
	Suspect  State = "suspect"  // the last questions were not answered; what is shown is older
	Down     State = "down"     // nothing for 15 s, or it refuses connections
	Draining State = "draining" // an nsqd that takes nothing new
	Unknown  State = "unknown"  // has not been asked yet
)

// A Lookupd is one nsqlookupd.
type Lookupd struct {
	Address    string // as given
	State      State
	Err        error     // of the last question; nil when it was answered
	AnsweredAt time.Time // zero: never
	RoundTrip  time.Duration
	Version    string
	StaleMS    int64    // X-Nsq-Stale-Ms of its last answer; -1: stock's, or unknown
	Index      uint64   // X-Nsq-Index; 0: stock's
	Cluster    *Cluster // nil: not replicated
	Producers  []*Producer
	Topics     []string            // it knows, sorted
	Channels   map[string][]string // of the topics that it knows and that none of its Producers has, to their registered channels
}

// A Node is one nsqd.
type Node struct {
	Producer                                            // Topics with tombstones; from the nsqlookupds, or from itself
	Address                                      string // HTTP address: its key everywhere
	State                                        State
	Err                                          error      // of the last question
	StatsAt                                      time.Time  // when Stats were answered; zero: never
	Stats                                        *NodeStats // last known, without clients; nil: never answered
	Late                                         bool       // it answers, but what it said last is older than five intervals: its answers cost too much to ask more often
	RoundTrip                                    time.Duration
	Lookupds                                     []string  // addresses of the nsqlookupds that list it; while none answers, that did
	GoneSince                                    time.Time // not zero: no nsqlookupd lists it any more, since then
	Depth, InFlight, Clients, Messages, Finished int64     // sums over Stats

	// From /metrics of ours every few seconds; -1 or zero if unknown.
	DiskFreeBytes int64
}

// Stale says whether the node does not answer: its numbers are the last known.
func (n *Node) Stale() bool { return n.State != Up && n.State != Draining }

// A Topic is a topic over all nsqds. Numbers are sums over the nodes' last answers.
type Topic struct {
	Name                                             string
	Depth, MemoryDepth, BackendDepth                 int64
	MessageCount, MessageBytes                       int64
	Paused                                           bool           // on some node
	PausedOn                                         int            // nodes
	Nodes                                            []*TopicOnNode // sorted by address
	Channels                                         []*Channel     // sorted by name, those without a node included
	Clients                                          int64          // consumers of all channels
	InFlight, Deferred, Requeued, TimedOut, Finished int64          // of all channels
	StaleNodes                                       int            // of Nodes whose numbers are old
	Registered                                       bool           // an nsqlookupd knows it
	E2ELatency                                       *LatencyStats  // the greatest of the nodes for each percentile; nil: none kept
}

// Inactive says whether no nsqd has the topic.
func (t *Topic) Inactive() bool { return len(t.Nodes) == 0 }

// Channel returns the channel called name, nil if it is unknown.
func (t *Topic) Channel(name string) *Channel {
	i, ok := slices.BinarySearchFunc(t.Channels, name, func(c *Channel, name string) int { return strings.Compare(c.Name, name) })
	if !ok {
		return nil
	}
	return t.Channels[i]
}

// A TopicOnNode is a topic on one nsqd. Of a node that has never answered, the topics
// that nsqlookupds list are known, and their Stats are zero but for the name.
type TopicOnNode struct {
	Node       *Node
	Stats      *TopicStats // never nil
	Tombstoned bool
}

// A Channel is a channel over all nsqds.
type Channel struct {
	Name, Topic                                          string
	Depth, MemoryDepth, BackendDepth, InFlight, Deferred int64
	MessageCount, Requeued, TimedOut, Clients            int64
	Finished                                             int64 // messages that were finished or dropped: on each node MessageCount less what is queued, in flight or deferred, not below 0, as where nsqd was started with a backlog
	ZoneLocal, RegionLocal, Global                       int64
	Paused                                               bool
	PausedOn                                             int
	Nodes                                                []*ChannelOnNode
	StaleNodes                                           int
	E2ELatency                                           *LatencyStats
}

// A ChannelOnNode is a channel on one nsqd.
type ChannelOnNode struct {
	Node  *Node
	Stats *ChannelStats
}
