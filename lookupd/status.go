package lookupd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nsqraft/lookupd/peerpb"
)

// status is what this node says of itself. It asks neither disk nor network:
// it is asked for once a second by everyone who watches.
func (n *node) status() *peerpb.StatusResponse {
	v := n.View()
	counts := v.Counts()
	addr, leader := n.raft.LeaderWithID()
	st := &peerpb.StatusResponse{
		Cluster: n.cluster(), Node: n.identity.Node, Instance: n.identity.Instance,
		Address: n.address(), HttpAddress: n.http, Version: Version,
		Empty: n.raft.LastIndex() == 0, Initial: n.initialKey(), Waiting: n.waiting(),
		Leader: string(leader), LeaderAddress: string(addr),
		Term: n.raft.CurrentTerm(), CommitIndex: n.raft.CommitIndex(),
		AppliedIndex: v.Index(), LastLogIndex: n.raft.LastIndex(), Hash: v.Hash(),
		Ready: n.healthy(), Role: n.raft.State().String(),

		Clock: time.Now().UnixNano(), Uptime: int64(time.Since(n.started)),
		SnapshotIndex: n.snapshotIndex(), FsyncP99: int64(n.metrics.raftFsync.recent.p99()),
		Registrations: int64(counts.Registrations), Topics: int64(counts.Topics), Producers: int64(counts.Producers),
	}
	if used := n.used.Load(); used != nil {
		st.DataBytes, st.DiskFreeBytes = used.data, used.free
	}
	if d := n.duties.Load(); d != nil {
		st.LeaderSince, st.CommitP99 = d.since.UnixMilli(), int64(n.metrics.raftApply.recent.p99())
	}
	return st
}

// snapshotIndex returns the index of the newest snapshot, 0 if there is none.
func (n *node) snapshotIndex() uint64 {
	index, err := strconv.ParseUint(n.raft.Stats()["last_snapshot_index"], 10, 64)
	if err != nil {
		panic("raft does not tell its last snapshot's index: " + err.Error())
	}
	return index
}

// measureDisk notes what the data folder takes. A disk may hang in it.
func (n *node) measureDisk() {
	if n.store.usage == nil {
		return
	}
	used, err := n.store.usage()
	if err != nil {
		n.log.Debug("measure the data folder", "err", err)
		return
	}
	n.used.Store(&used)
}

// askStatus returns what the node at addr, whoever it is, says of itself.
func (n *node) askStatus(ctx context.Context, addr string) (st *peerpb.StatusResponse, err error) {
	err = n.peers.introduce(addr, func(c peerpb.IntroductionClient) error {
		st, err = c.Status(ctx, &peerpb.StatusRequest{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s for its status: %w", addr, err)
	}
	return st, nil
}

// A memberAnswer is what a member said of itself just now.
type memberAnswer struct {
	*peerpb.StatusResponse               // nil: nothing
	took                   time.Duration // there and back; 0: not known
	skew                   time.Duration // its clock minus this node's
}

// askMember asks a member over the connection that is kept to it.
func (n *node) askMember(ctx context.Context, s raft.Server) (a memberAnswer) {
	client, err := n.peers.client(s.ID, s.Address)
	if err != nil {
		return a
	}
	asked := time.Now()
	st, err := client.Status(ctx, &peerpb.StatusRequest{})
	switch {
	case err == nil:
		a.StatusResponse, a.took = st, time.Since(asked)
		a.skew = time.Duration(st.Clock - asked.Add(a.took/2).UnixNano())
	case status.Code(err) == codes.Unimplemented: // an older version
		if st, err := n.askStatus(ctx, string(s.Address)); err == nil && serverID(st.Node, st.Instance) == s.ID {
			a.StatusResponse = st
		}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		// The one to the leader carries proposals too; renewWith decides about it.
		if _, leader := n.raft.LeaderWithID(); leader != s.ID {
			n.peers.reset(s.ID)
		}
	}
	return a
}
