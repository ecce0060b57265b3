package raftguard

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"
)

// Consumer implements raft.Transport: what peers ask of this server, and what
// Campaign does.
func (t *Transport) Consumer() <-chan raft.RPC { return t.requests }

// pump hands on what peers ask until done is closed. A request that Raft has not
// taken by then is answered by the NetworkTransport, which is closing.
func (t *Transport) pump() {
	defer close(t.pumped)
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			select {
			case t.requests <- rpc:
			case <-t.done:
				return
			}
		case <-t.done:
			return
		}
	}
}

// Campaign makes this server, which must be a voter, stand for election at once,
// by the request with which a leader hands over leadership. Its votes are asked
// without a pre-vote, and given even by servers that still believe in their
// leader. It returns when Raft has taken the request; if ctx ends first, then
// Raft never gets it.
//
// Whatever the caller believes, and however wrongly, no entry is lost by it: the
// election is one like any other. It is for a term of its own, a vote is given
// once a term and on disk, and only to a log as complete as the voter's. What a
// mistake costs is a leader that was well, as with a transfer that nobody asked
// for. So it also costs nothing that is read under a leader's lease, because
// nothing is: consistent reads ask a majority.
//
// But deposing a leader that is alive, and still sends heartbeats, is just what
// makes #695 strike. Campaign is safe only since heartbeats are handled in
// order; see SetHeartbeatHandler.
func (t *Transport) Campaign(ctx context.Context) error {
	rpc := raft.RPC{
		Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(t.self), Addr: []byte(t.LocalAddr()),
		}},
		RespChan: make(chan raft.RPCResponse, 1), // has nothing to say, but must not block Raft
	}
	select {
	case t.requests <- rpc:
		return nil
	case <-t.done:
		return fmt.Errorf("stand for election: %w", raft.ErrTransportShutdown)
	case <-ctx.Done():
		return fmt.Errorf("stand for election: raft is busy: %w", context.Cause(ctx))
	}
}
