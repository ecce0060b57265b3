package lookupd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"nsqraft/lookupd/peerpb"
)

const (
	// enterPause is waited between tries to form or join a cluster.
	enterPause = 200 * time.Millisecond
	// checkPause is waited between rounds of checkCluster.
	checkPause = 5 * time.Second
	// introTimeout bounds one question to a node that may not be there.
	introTimeout = time.Second
	// joinTimeout bounds what a join may take on the leader: two changes of
	// the configuration.
	joinTimeout = 5 * time.Second
	// changeTimeout bounds what an operator asks of the leader: one whose disk
	// hangs, or that fell silent, does not even refuse.
	changeTimeout = 5 * time.Second
	// promoteLag is how many entries a non-voter may lack to be made a voter.
	promoteLag = 100
	// recentContact: a member that answered the leader this recently is live.
	recentContact = time.Second
)

// servers returns the members of the newest configuration this node knows.
func (n *node) servers() []raft.Server {
	return n.raft.GetConfiguration().Configuration().Servers
}

func (n *node) hasConfiguration() bool { return len(n.servers()) > 0 }

// entered reports whether this node is part of a cluster and knows which. The
// first alone is not enough: a leader replicates to whom it has just taken in
// before its answer is there, and a node that cannot name its cluster is
// refused by all others.
func (n *node) entered() bool { return n.hasConfiguration() && n.cluster() != "" }

func (n *node) voterIDs() []raft.ServerID {
	var ids []raft.ServerID
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// isMember reports whether this very instance is in the configuration.
func (n *node) isMember() bool {
	for _, s := range n.servers() {
		if s.ID == n.self {
			return true
		}
	}
	return false
}

// admit says why a connection meant for a member is refused. That the dialler
// is one is not asked: a node that lags behind may not know its leader yet.
// What counts is that the dialler means this instance and this cluster.
func (n *node) admit(to, cluster string) string {
	if to != string(n.self) {
		return fmt.Sprintf("this is %s, not %s", n.self, to)
	}
	if own := n.cluster(); own != "" && own != cluster {
		return fmt.Sprintf("%s belongs to cluster %s, not %q", n.self, own, cluster)
	}
	return ""
}

// knownLeader reports whether some node leads as far as this one knows, and
// returns a channel that is closed when that may have changed.
func (n *node) knownLeader() (known bool, changed <-chan struct{}) {
	changed = n.leading.wait()
	_, id := n.raft.LeaderWithID()
	if id == n.self {
		return n.raft.State() == raft.Leader, changed
	}
	return id != "", changed
}

// initialKey is --initial-cluster in a form that can be compared.
func (n *node) initialKey() string {
	var entries []string
	for _, id := range sortedIDs(n.members) {
		entries = append(entries, id+"="+n.members[id])
	}
	return strings.Join(entries, ",")
}

// enter makes an empty node part of a cluster: one that runs already, by
// --join or because a member of --initial-cluster is in it, or a new one. It
// returns once this node is. An answer that got lost is asked for again.
func (n *node) enter(ctx context.Context) {
	said := ""
	for ctx.Err() == nil && !n.entered() {
		err := n.tryEnter(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			n.log.Info("not part of a cluster yet", "err", err)
		}
		sleep(ctx, enterPause)
	}
}

func (n *node) tryEnter(ctx context.Context) error {
	switch n.opts.Join {
	case "":
	case joinWait:
		return n.awaitInvite(ctx)
	default:
		return n.joinVia(ctx, n.opts.Join)
	}
	if len(n.members) == 0 {
		// Taken in by a cluster, and stopped before its answer was noted.
		return errors.New("this node was about to join a cluster; start it with --join again")
	}
	others := n.askInitialMembers(ctx)
	for _, id := range sortedIDs(n.members) {
		st := others[id]
		if st == nil || st.Empty {
			continue
		}
		// The cluster runs already, and this node is one of its first members
		// that has lost its disk. Anyone else has to say --join.
		if st.Initial != n.initialKey() {
			return fmt.Errorf("%s runs in a cluster that was formed as --initial-cluster %q, not %q; use --join to join it", id, st.Initial, n.initialKey())
		}
		return n.joinVia(ctx, n.members[id])
	}
	if first := sortedIDs(n.members)[0]; first != n.identity.Node {
		return fmt.Errorf("waiting for %s to form the cluster", first)
	}
	for _, id := range sortedIDs(n.members) {
		if st, ok := others[id]; ok && st == nil {
			return fmt.Errorf("waiting for %s at %s: all of --initial-cluster must be there once to form it", id, n.members[id])
		}
	}
	return n.form(ctx, others)
}

// checkCluster ends a node that has the data of one cluster and flags that
// point at another: it would go on in its old cluster, or for nothing, while
// its operator thinks that it is in the new one. It asks until everyone named
// has answered once. One stranger among the named is the stranger's mistake and
// only said; it takes the one that --join names, or a majority of
// --initial-cluster, and a node that hears of no leader but itself.
func (n *node) checkCluster(ctx context.Context) {
	named, need := n.named()
	strangers := 0
	for len(named) > 0 && strangers < need && ctx.Err() == nil {
		for addr := range named {
			ask, cancel := context.WithTimeout(ctx, introTimeout)
			st, err := n.askStatus(ask, addr)
			cancel()
			if err != nil {
				continue
			}
			delete(named, addr)
			if own := n.cluster(); !st.Empty && st.Cluster != own {
				strangers++
				n.log.Error("a node that the flags name belongs to another cluster", "address", addr, "its", st.Cluster, "ours", own)
			}
		}
		if strangers < need {
			sleep(ctx, checkPause)
		}
	}
	if strangers >= need && ctx.Err() == nil && !n.hearsOfLeader(ctx) {
		n.fatal(fmt.Errorf("the data path belongs to cluster %s, but what the flags name to another one; use the right data path, or an empty one to join", n.cluster()))
	}
}

// named returns the addresses of other nodes in the flags, and how many of them
// tell which cluster is meant.
func (n *node) named() (addresses map[string]bool, need int) {
	addresses = make(map[string]bool)
	if n.opts.Join == joinWait {
		return addresses, 1
	}
	if n.opts.Join != "" {
		addresses[n.opts.Join] = true
		return addresses, 1
	}
	for id, addr := range n.members {
		if id != n.identity.Node {
			addresses[addr] = true
		}
	}
	return addresses, len(n.members)/2 + 1
}

// hearsOfLeader waits for another member to lead, as long as this node would
// wait for one before it serves what it has.
func (n *node) hearsOfLeader(ctx context.Context) bool {
	if len(n.servers()) == 1 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, n.opts.ServeStaleAfter)
	defer cancel()
	for {
		_, changed := n.knownLeader()
		if _, leader := n.raft.LeaderWithID(); leader != "" && leader != n.self {
			return true
		}
		if n.raft.State() == raft.Leader { // with the votes of others
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// askInitialMembers returns the status of each other initial member; nil for
// one that gave no answer.
func (n *node) askInitialMembers(ctx context.Context) map[string]*peerpb.StatusResponse {
	ctx, cancel := context.WithTimeout(ctx, introTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	answers := make(map[string]*peerpb.StatusResponse)
	for id, addr := range n.members {
		if id == n.identity.Node {
			continue
		}
		wg.Go(func() {
			st, _ := n.askStatus(ctx, addr)
			mu.Lock()
			defer mu.Unlock()
			answers[id] = st
		})
	}
	wg.Wait()
	return answers
}

// form begins the cluster. Only the first of the initial members does, only
// while all the others are there, empty, and of the same opinion about who
// belongs to it: so it can be done once and from one side only.
func (n *node) form(ctx context.Context, others map[string]*peerpb.StatusResponse) error {
	servers := []raft.Server{{ID: n.self, Address: raft.ServerAddress(n.address())}}
	for _, id := range sortedIDs(n.members) {
		st, ok := others[id]
		if !ok {
			continue
		}
		if st.Node != id {
			return fmt.Errorf("%s answers as node %s, --initial-cluster says %s", n.members[id], st.Node, id)
		}
		if st.Initial != n.initialKey() {
			return fmt.Errorf("%s was started with --initial-cluster %q, this node with %q", id, st.Initial, n.initialKey())
		}
		servers = append(servers, raft.Server{ID: serverID(st.Node, st.Instance), Address: raft.ServerAddress(n.members[id])})
	}
	cluster := n.ownCluster()
	if err := n.setCluster(cluster); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	for id := range others {
		err := n.peers.introduce(n.members[id], func(c peerpb.IntroductionClient) error {
			_, err := c.Form(ctx, &peerpb.FormRequest{Cluster: cluster, Initial: n.initialKey()})
			return err
		})
		if err != nil {
			return fmt.Errorf("form the cluster with %s: %w", id, err)
		}
	}
	if err := n.raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	n.log.Info("formed the cluster", "cluster", cluster, "members", n.initialKey())
	return nil
}

// acceptForm makes this node part of the cluster that another initial member
// is forming. A cluster id from an attempt that came to nothing may be
// replaced: as long as the log is empty nothing was promised to anyone.
func (n *node) acceptForm(req *peerpb.FormRequest) error {
	switch {
	case len(n.members) == 0 || req.Initial != n.initialKey():
		return fmt.Errorf("%w: this node was started with --initial-cluster %q, not %q", errRejected, n.initialKey(), req.Initial)
	case n.raft.LastIndex() > 0:
		return fmt.Errorf("%w: this node is part of cluster %s already", errRejected, n.cluster())
	case req.Cluster == "":
		return fmt.Errorf("%w: no cluster id", errRejected)
	}
	return n.setCluster(req.Cluster)
}

// joinVia asks the leader of the cluster that the node at addr is in to take
// this one in.
func (n *node) joinVia(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*joinTimeout)
	defer cancel()
	st, err := n.askStatus(ctx, addr)
	if err != nil {
		return err
	}
	if st.LeaderAddress == "" {
		return fmt.Errorf("join via %s: the cluster has no leader now", addr)
	}
	var resp *peerpb.JoinResponse
	err = n.peers.introduce(st.LeaderAddress, func(c peerpb.IntroductionClient) error {
		resp, err = c.Join(ctx, &peerpb.JoinRequest{Node: n.identity.Node, Instance: n.identity.Instance, Address: n.address()})
		return err
	})
	if err != nil {
		return fmt.Errorf("join via %s: %w", st.LeaderAddress, err)
	}
	return n.setCluster(resp.Cluster)
}

// acceptJoin takes a node in as a non-voter; promote makes it a voter once it
// has caught up. A node that comes back under a known id without its disk is a
// new instance: the old one leaves the configuration first, for what it knew
// of terms and votes is gone and its voice with it.
func (n *node) acceptJoin(ctx context.Context, req *peerpb.JoinRequest) error {
	if n.raft.State() != raft.Leader {
		return errNotLeader
	}
	if !validNodeID(req.Node) || len(req.Instance) < 8 || !validNodeID(req.Instance) {
		return fmt.Errorf("%w: node %q instance %q", errRejected, req.Node, req.Instance)
	}
	if err := validHostPort(req.Address); err != nil {
		return fmt.Errorf("%w: address %q: %w", errRejected, req.Address, err)
	}
	id := serverID(req.Node, req.Instance)
	for _, s := range n.servers() {
		switch {
		case s.ID == id && string(s.Address) == req.Address:
			return nil // taken in by an earlier try
		case nodeOf(s.ID) == req.Node && s.ID != id:
			if err := n.replaceable(ctx, s, req.Address); err != nil {
				return err
			}
			n.log.Warn("node lost its disk and comes back as another instance; the old one is removed", "node", req.Node, "old", instanceOf(s.ID), "new", req.Instance)
			if err := await(ctx, n.raft.RemoveServer(s.ID, 0, joinTimeout)); err != nil {
				return fmt.Errorf("remove %s: %w", s.ID, err)
			}
		case string(s.Address) == req.Address && nodeOf(s.ID) != req.Node:
			return fmt.Errorf("%w: address %s is that of member %s", errRejected, req.Address, nodeOf(s.ID))
		}
	}
	n.log.Info("taking node in", "node", req.Node, "instance", req.Instance, "address", req.Address)
	if err := await(ctx, n.raft.AddNonvoter(id, raft.ServerAddress(req.Address), 0, joinTimeout)); err != nil {
		return fmt.Errorf("add %s: %w", id, err)
	}
	return nil
}

// replaceable returns an error while the member s lives: it is this node, or
// has just answered it, or still answers at its address. The address alone
// would not do: it may lead to another process while Raft's connections to
// this one go on.
func (n *node) replaceable(ctx context.Context, s raft.Server, by string) error {
	contact, ok := n.transport.Contact(s.ID)
	if s.ID == n.self || ok && time.Since(contact.At) < recentContact {
		return fmt.Errorf("%w: node id %s is in use by a live instance", errRejected, nodeOf(s.ID))
	}
	ctx, cancel := context.WithTimeout(ctx, introTimeout)
	defer cancel()
	conn, _, err := n.port.connect(ctx, kindPeer, string(s.Address), string(s.ID))
	switch {
	case err == nil:
		conn.Close()
	case string(s.Address) == by, errors.Is(err, errRefused), errors.Is(err, syscall.ECONNREFUSED):
		return nil
	default:
		return fmt.Errorf("member %s at %s does not answer (%w) but may live; if it never comes back, remove it first: POST /cluster/remove?node=%s", nodeOf(s.ID), s.Address, err, nodeOf(s.ID))
	}
	return fmt.Errorf("%w: node id %s is in use by a live instance at %s", errRejected, nodeOf(s.ID), s.Address)
}

// promote makes voters of the non-voters that have caught up.
func (n *node) promote(ctx context.Context) {
	for _, s := range n.servers() {
		if s.Suffrage != raft.Nonvoter || ctx.Err() != nil {
			continue
		}
		contact, ok := n.transport.Contact(s.ID)
		if !ok || time.Since(contact.At) > recentContact || contact.LastLog+promoteLag < n.raft.LastIndex() {
			continue
		}
		if err := await(ctx, n.raft.AddVoter(s.ID, s.Address, 0, dutyTimeout)); err != nil {
			n.log.Warn("promote", "node", nodeOf(s.ID), "err", err)
			continue
		}
		n.log.Info("node has caught up and votes now", "node", nodeOf(s.ID))
	}
}

// atLeader does what only the leader can: here, if this node leads, else there,
// on whoever does, within changeTimeout.
func (n *node) atLeader(ctx context.Context, here func(context.Context) error, there func(context.Context, peerpb.PeerClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if n.raft.State() == raft.Leader {
		return here(ctx)
	}
	addr, id := n.raft.LeaderWithID()
	if id == "" {
		return errNotLeader
	}
	client, err := n.peers.client(id, addr)
	if err != nil {
		return err
	}
	if err := there(ctx, client); err != nil {
		return fromStatus(err)
	}
	return nil
}

// transfer hands leadership to node, or to the most advanced voter if node is
// empty, whoever leads now.
func (n *node) transfer(ctx context.Context, to string) error {
	return n.atLeader(ctx,
		func(ctx context.Context) error { return n.transferLocally(ctx, to) },
		func(ctx context.Context, leader peerpb.PeerClient) error {
			_, err := leader.Transfer(ctx, &peerpb.TransferRequest{Node: to})
			return err
		})
}

// transferLocally hands leadership on, and only to a voter that answers: Raft
// would wait for the others, and may do so for ever (see transferWatch).
func (n *node) transferLocally(ctx context.Context, to string) error {
	if to == n.identity.Node && n.raft.State() == raft.Leader {
		return nil
	}
	target, ok := n.successor()
	if to != "" {
		if target, ok = n.voter(to); !ok {
			return fmt.Errorf("%w: %s is no voter of this cluster", errRejected, to)
		}
		_, ok = n.answers(target)
	}
	if !ok && n.raft.State() == raft.Leader {
		return errors.New("transfer leadership: no voter that could have it answers")
	}
	err := await(ctx, n.raft.LeadershipTransferToServer(target.ID, target.Address))
	if errors.Is(err, raft.ErrNotLeader) {
		return errNotLeader
	}
	return err
}

// remove takes a member out of the configuration, whoever leads now.
func (n *node) remove(ctx context.Context, id string) error {
	return n.atLeader(ctx,
		func(ctx context.Context) error { return n.removeLocally(ctx, id) },
		func(ctx context.Context, leader peerpb.PeerClient) error {
			_, err := leader.Remove(ctx, &peerpb.RemoveRequest{Node: id})
			return err
		})
}

func (n *node) removeLocally(ctx context.Context, id string) error {
	for _, s := range n.servers() {
		if nodeOf(s.ID) != id {
			continue
		}
		n.log.Warn("removing a member on request", "node", id, "instance", instanceOf(s.ID))
		err := await(ctx, n.raft.RemoveServer(s.ID, 0, changeTimeout))
		if errors.Is(err, raft.ErrNotLeader) {
			return errNotLeader
		}
		return err
	}
	return fmt.Errorf("%w: %s is no member of this cluster", errRejected, id)
}

// successor returns the most advanced of the other voters that answer this
// leader.
func (n *node) successor() (best raft.Server, ok bool) {
	var most uint64
	for _, s := range n.servers() {
		if s.Suffrage != raft.Voter || s.ID == n.self {
			continue
		}
		if last, answers := n.answers(s); answers && (!ok || last > most) {
			best, most, ok = s, last, true
		}
	}
	return best, ok
}

// answers reports whether s has just answered this leader, and how far its log
// was then.
func (n *node) answers(s raft.Server) (last uint64, ok bool) {
	contact, ok := n.transport.Contact(s.ID)
	return contact.LastLog, ok && time.Since(contact.At) <= n.opts.HeartbeatTimeout
}

func (n *node) voter(id string) (raft.Server, bool) {
	for _, s := range n.servers() {
		if nodeOf(s.ID) == id && s.Suffrage == raft.Voter {
			return s, true
		}
	}
	return raft.Server{}, false
}
