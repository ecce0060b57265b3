package raftguard

import (
	"time"

	"github.com/hashicorp/raft"
)

// HoldBack keeps this server from standing for election of its own accord until d
// from now, instead of what an earlier call said; with d of 0 it stands again. It
// asks nobody for a pre-vote meanwhile, and so wins none.
//
// What it is asked for itself it gives as ever, so the others can elect one of
// themselves. An election without a pre-vote is not held back either: it was asked
// for, by Campaign or by a leader that hands over.
//
// No entry is at stake, only time: until d is over the cluster has no leader if
// none of the others can be one.
func (t *Transport) HoldBack(d time.Duration) {
	until := time.Now().Add(d)
	t.holdBackUntil.Store(&until)
}

// RequestPreVote asks the peer id for a pre-vote, unless this server holds back. It
// then answers for the peer, which hears nothing, that there is none: for an error
// Raft would log that the peer has failed.
func (t *Transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if until := t.holdBackUntil.Load(); until != nil && time.Now().Before(*until) {
		*resp = raft.RequestPreVoteResponse{Term: req.Term} // a later term would be taken for a leader's
		return nil
	}
	return t.NetworkTransport.RequestPreVote(id, addressOf(id, target), req, resp)
}
