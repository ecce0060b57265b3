package lookupd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"nsqraft/internal/httpapi"
	"nsqraft/lookupd/peerpb"
)

// memberTimeout bounds what /cluster waits for the members it asks.
const memberTimeout = 500 * time.Millisecond

// clusterStatus is what GET /cluster answers: the cluster as this node sees
// it, with what each member said of itself just now.
type clusterStatus struct {
	ClusterID        string         `json:"cluster_id"`
	NodeID           string         `json:"node_id"`
	Instance         string         `json:"instance"`
	Role             string         `json:"role"`   // leader, follower, candidate or nonvoter; "alone" without a cluster
	Leader           string         `json:"leader"` // node id; empty: none known
	Term             uint64         `json:"term"`
	Ready            bool           `json:"ready"`
	CommitIndex      uint64         `json:"commit_index"`
	AppliedIndex     uint64         `json:"applied_index"`
	LastLogIndex     uint64         `json:"last_log_index"`
	RegistryHash     string         `json:"registry_hash"`
	Voters           int            `json:"voters"`
	FailureTolerance int            `json:"failure_tolerance"` // voters that may fail now without losing the quorum; -1: it is lost
	Members          []memberStatus `json:"members"`           // sorted by id
}

// memberStatus is one member. Of one that gave no answer only what the
// configuration says is known: healthy is false.
type memberStatus struct {
	ID            string `json:"id"`
	Instance      string `json:"instance"`
	Address       string `json:"address"`
	HTTPAddress   string `json:"http_address"`
	Role          string `json:"role"`
	Voter         bool   `json:"voter"`
	Healthy       bool   `json:"healthy"` // answers, is ready, and follows the leader this node knows
	Ready         bool   `json:"ready"`   // as its /readyz
	Term          uint64 `json:"term"`
	AppliedIndex  uint64 `json:"applied_index"`
	LastLogIndex  uint64 `json:"last_log_index"`
	Lag           uint64 `json:"lag"`             // entries its copy lacks of what is committed
	LastContactMS int64  `json:"last_contact_ms"` // since the leader heard it, or it the leader; -1: unknown
	RegistryHash  string `json:"registry_hash"`
	Version       string `json:"version"`

	// Zero from an older version.
	UptimeSeconds int64   `json:"uptime_seconds"`
	SnapshotIndex uint64  `json:"snapshot_index"`
	DataBytes     int64   `json:"data_bytes"`      // log and snapshots on disk
	DiskFreeBytes int64   `json:"disk_free_bytes"` // of the data path's file system
	FsyncP99MS    float64 `json:"fsync_p99_ms"`    // appends to the log in the last three minutes; 0: none, or in memory
	CommitP99MS   float64 `json:"commit_p99_ms"`   // from proposing a batch to its result, the same; on the leader
	RoundTripMS   float64 `json:"round_trip_ms"`   // of the question just answered; 0: this node itself
	ClockSkewMS   int64   `json:"clock_skew_ms"`   // its clock minus this node's, give or take half the round trip
	LeaderSinceMS int64   `json:"leader_since_ms"` // unix milliseconds; 0: does not lead
	Registrations int64   `json:"registrations"`
	Topics        int64   `json:"topics"`
	Producers     int64   `json:"producers"`
}

// clusterRoutes adds what only a replicated lookupd has.
func (n *node) clusterRoutes(handle handleFunc) {
	handle(http.MethodGet, "/cluster", func(req *http.Request) (any, error) {
		return n.clusterStatus(req.Context()), nil
	})
	handle(http.MethodPost, "/cluster/transfer", func(req *http.Request) (any, error) {
		q, err := httpapi.Query(req)
		if err != nil {
			return nil, err
		}
		return nil, memberError(n.transfer(req.Context(), q.Get("to")), "INVALID_ARG_TO")
	})
	handle(http.MethodPost, "/cluster/remove", func(req *http.Request) (any, error) {
		q, err := httpapi.Query(req)
		if err != nil {
			return nil, err
		}
		if !q.Has("node") {
			return nil, errMissingNode
		}
		return nil, memberError(n.remove(req.Context(), q.Get("node")), "INVALID_ARG_NODE")
	})
	handle(http.MethodPost, "/cluster/add", func(req *http.Request) (any, error) {
		q, err := httpapi.Query(req)
		if err != nil {
			return nil, err
		}
		if !q.Has("address") {
			return nil, errMissingAddress
		}
		id, refusal, err := n.add(req.Context(), q.Get("address"))
		if err != nil {
			return nil, memberError(err, refusedByNode+": the leader is of a version that cannot; start the node with --join")
		}
		if refusal != "" {
			return nil, refusalError(refusal)
		}
		return map[string]string{"node": id}, nil
	})
	handle(http.MethodPost, "/cluster/snapshot", func(req *http.Request) (any, error) {
		index, err := n.snapshot(req.Context())
		switch {
		case errors.Is(err, errSnapshotting):
			return nil, httpapi.NewError(http.StatusConflict, "SNAPSHOT_IN_PROGRESS")
		case errors.Is(err, errUnknown):
			return nil, errUnknownOutcome
		case err != nil:
			return nil, httpapi.NewError(http.StatusInternalServerError, "SNAPSHOT_FAILED: "+err.Error())
		}
		return map[string]uint64{"snapshot_index": index}, nil
	})
}

// refusalError is what a client sees of a node that is not taken in.
func refusalError(refusal string) error {
	code := http.StatusConflict // another node, or this one later, would do
	if strings.HasPrefix(refusal, refusedAddress) {
		code = http.StatusBadRequest
	}
	return httpapi.NewError(code, refusal)
}

// memberError is what a client sees of a change of members that failed;
// invalid is the text for a member that cannot be meant.
func memberError(err error, invalid string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errRejected):
		return httpapi.NewError(http.StatusBadRequest, invalid)
	case errors.Is(err, errNotLeader):
		return errNoLeader
	default:
		// It may have happened: /cluster tells.
		return errUnknownOutcome
	}
}

func (n *node) clusterStatus(ctx context.Context) clusterStatus {
	_, leader := n.raft.LeaderWithID()
	own := n.status()
	st := clusterStatus{
		ClusterID: n.cluster(), NodeID: n.identity.Node, Instance: n.identity.Instance,
		Role: strings.ToLower(own.Role), Leader: nodeOf(leader), Term: own.Term, Ready: own.Ready,
		CommitIndex: own.CommitIndex, AppliedIndex: own.AppliedIndex, LastLogIndex: own.LastLogIndex,
		RegistryHash: hashText(own.Hash), Members: []memberStatus{},
	}
	servers := n.servers()
	answers := n.askMembers(ctx, servers, own)
	healthy, commit := 0, own.CommitIndex
	for _, a := range answers {
		commit = max(commit, a.GetCommitIndex())
	}
	for i, s := range servers {
		m := n.memberStatus(s, answers[i], string(leader), commit)
		if m.Voter {
			st.Voters++
			if m.Healthy {
				healthy++
			}
		} else if s.ID == n.self {
			st.Role = "nonvoter"
		}
		st.Members = append(st.Members, m)
	}
	if !n.opts.clustered() {
		st.Role = "alone"
	}
	st.FailureTolerance = max(-1, healthy-(st.Voters/2+1))
	slices.SortFunc(st.Members, func(a, b memberStatus) int { return strings.Compare(a.ID, b.ID) })
	return st
}

// askMembers returns each server's answer in order.
func (n *node) askMembers(ctx context.Context, servers []raft.Server, own *peerpb.StatusResponse) []memberAnswer {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	answers := make([]memberAnswer, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		if s.ID == n.self {
			answers[i].StatusResponse = own
			continue
		}
		wg.Go(func() { answers[i] = n.askMember(ctx, s) })
	}
	wg.Wait()
	return answers
}

func (n *node) memberStatus(s raft.Server, st memberAnswer, leader string, commit uint64) memberStatus {
	m := memberStatus{
		ID: nodeOf(s.ID), Instance: instanceOf(s.ID), Address: string(s.Address),
		Role: "unreachable", Voter: s.Suffrage == raft.Voter, LastContactMS: n.contactMS(s.ID),
	}
	if st.StatusResponse == nil {
		return m
	}
	m.HTTPAddress, m.Version, m.Ready, m.Term = st.HttpAddress, st.Version, st.Ready, st.Term
	m.AppliedIndex, m.LastLogIndex, m.RegistryHash = st.AppliedIndex, st.LastLogIndex, hashText(st.Hash)
	m.Role = strings.ToLower(st.Role)
	if !m.Voter {
		m.Role = "nonvoter"
	}
	m.Healthy = st.Ready && leader != "" && st.Leader == leader
	if commit > st.AppliedIndex {
		m.Lag = commit - st.AppliedIndex
	}
	m.UptimeSeconds, m.SnapshotIndex = int64(time.Duration(st.Uptime).Seconds()), st.SnapshotIndex
	m.DataBytes, m.DiskFreeBytes = st.DataBytes, st.DiskFreeBytes
	m.FsyncP99MS, m.CommitP99MS = milliseconds(time.Duration(st.FsyncP99)), milliseconds(time.Duration(st.CommitP99))
	m.RoundTripMS, m.ClockSkewMS, m.LeaderSinceMS = milliseconds(st.took), st.skew.Milliseconds(), st.LeaderSince
	m.Registrations, m.Topics, m.Producers = st.Registrations, st.Topics, st.Producers
	return m
}

// milliseconds returns d to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// contactMS is how long ago this node and the member id heard of each other:
// on the leader of any member, on a follower of the leader alone.
func (n *node) contactMS(id raft.ServerID) int64 {
	if id == n.self {
		return 0
	}
	if n.raft.State() == raft.Leader {
		// What it heard when it led before says nothing of the time between.
		contact, ok := n.transport.Contact(id)
		if d := n.duties.Load(); !ok || d == nil || contact.At.Before(d.since) {
			return -1
		}
		return time.Since(contact.At).Milliseconds()
	}
	if _, leader := n.raft.LeaderWithID(); leader == id {
		return time.Since(n.raft.LastContact()).Milliseconds()
	}
	return -1
}

func hashText(h uint64) string { return fmt.Sprintf("%016x", h) }
