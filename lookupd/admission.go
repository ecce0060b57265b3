package lookupd

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nsqraft/lookupd/peerpb"
)

// joinWait is the --join of a node that waits to be taken in.
const joinWait = "wait"

// Why a node is not taken in. Each begins what a client of /cluster/add is told.
const (
	refusedAddress = "INVALID_ARG_ADDRESS"
	refusedSilent  = "NODE_UNREACHABLE"
	refusedMember  = "ALREADY_MEMBER"
	refusedForeign = "MEMBER_OF_ANOTHER_CLUSTER"
	refusedUsed    = "NODE_NOT_EMPTY"
	refusedAwake   = "NODE_NOT_WAITING"
	refusedByNode  = "NODE_REFUSED"
)

// waiting reports whether this node is empty and waits to be taken in.
func (n *node) waiting() bool { return n.opts.Join == joinWait && !n.entered() }

// add has the leader take in the node whose internal port is at address, whoever
// leads now, and returns its id; or, with a nil error, why it was not.
func (n *node) add(ctx context.Context, address string) (id, refusal string, err error) {
	err = n.atLeader(ctx,
		func(ctx context.Context) error {
			id, refusal, err = n.addLocally(ctx, address)
			return err
		},
		func(ctx context.Context, leader peerpb.PeerClient) error {
			resp, err := leader.Add(ctx, &peerpb.AddRequest{Address: address})
			id, refusal = resp.GetNode(), resp.GetRefusal()
			return err
		})
	return id, refusal, err
}

// addLocally finds out who is at address and asks it to join: so what the join
// then goes by is the node's own word, as with --join.
func (n *node) addLocally(ctx context.Context, address string) (id, refusal string, err error) {
	if err := validHostPort(address); err != nil {
		return "", fmt.Sprintf("%s: %q: %v", refusedAddress, address, err), nil
	}
	st, err := n.askWithin(ctx, address)
	if err != nil {
		return "", fmt.Sprintf("%s: no node answers at %s: %s", refusedSilent, address, status.Convert(errors.Unwrap(err)).Message()), nil
	}
	if refusal := n.unsuitable(st); refusal != "" {
		return "", refusal, nil
	}
	if st.Address != address {
		// The others will go there.
		if at, err := n.askWithin(ctx, st.Address); err != nil || at.Instance != st.Instance {
			return "", fmt.Sprintf("%s: %s says that it is reached at %s, but is not (%v); check its --raft-advertise", refusedSilent, st.Node, st.Address, err), nil
		}
	}
	err = n.peers.introduce(st.Address, func(c peerpb.IntroductionClient) error {
		_, err := c.Invite(ctx, &peerpb.InviteRequest{Via: n.address()})
		return err
	})
	switch status.Code(err) {
	case codes.OK:
		return st.Node, "", nil
	case codes.InvalidArgument:
		return "", fmt.Sprintf("%s: %s", refusedByNode, status.Convert(err).Message()), nil
	default:
		n.log.Warn("invite a node", "node", st.Node, "address", st.Address, "err", err)
		return "", "", fmt.Errorf("%w: invite %s: %w", errUnknown, st.Node, err)
	}
}

func (n *node) askWithin(ctx context.Context, address string) (*peerpb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, introTimeout)
	defer cancel()
	return n.askStatus(ctx, address)
}

// unsuitable says why the node that says st cannot be taken in; "" if it can.
func (n *node) unsuitable(st *peerpb.StatusResponse) string {
	id := serverID(st.Node, st.Instance)
	member := false // of this configuration, be it that it does not know yet
	for _, s := range n.servers() {
		member = member || s.ID == id
	}
	switch {
	case member && st.Cluster == n.cluster():
		return fmt.Sprintf("%s: %s is a member already", refusedMember, st.Node)
	case st.Cluster != "" && st.Cluster != n.cluster():
		return fmt.Sprintf("%s: %s belongs to cluster %s, not to %s", refusedForeign, st.Node, st.Cluster, n.cluster())
	case !st.Empty && !member:
		return fmt.Sprintf("%s: %s has the data of an earlier time; start it with an empty --data-path", refusedUsed, st.Node)
	case !st.Waiting:
		return fmt.Sprintf("%s: %s does not wait to be taken in; start it with --join=%s", refusedAwake, st.Node, joinWait)
	}
	return ""
}

// acceptInvite joins by way of the leader that asks for it, as enter does by
// way of the address in --join.
func (n *node) acceptInvite(ctx context.Context, req *peerpb.InviteRequest) error {
	if err := validHostPort(req.Via); err != nil {
		return fmt.Errorf("%w: invited by %q: %w", errRejected, req.Via, err)
	}
	if !n.waiting() {
		return fmt.Errorf("%w: %s does not wait to be taken in", errRejected, n.identity.Node)
	}
	if err := n.joinVia(ctx, req.Via); err != nil {
		return fromStatus(err)
	}
	n.log.Info("taken in", "cluster", n.cluster(), "by", req.Via)
	return nil
}

// awaitInvite is enter's try for a node that waits. One that was stopped between
// being taken in and hearing which cluster that is asks those it knows of.
func (n *node) awaitInvite(ctx context.Context) error {
	for _, s := range n.servers() {
		if s.ID == n.self {
			continue
		}
		if err := n.joinVia(ctx, string(s.Address)); err == nil {
			return nil
		}
	}
	return errors.New("waiting to be taken in: POST /cluster/add?address=" + n.address() + " to any member of the cluster")
}
