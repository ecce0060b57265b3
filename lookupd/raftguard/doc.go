// Package raftguard fences off what is known to be wrong with hashicorp/raft
// v1.7.3 and raft-boltdb v2.3.1, by decorating the transport and the stores
// that Raft is given. Raft itself stays as it is.
//
//	transport.go  Transport: heartbeats in order (#695), no pipeline (#612)
//	hold.go       a follower that returns is caught up at once
//	stall.go      a leader whose disk hangs falls silent (#503, #666)
//	campaign.go   standing for election at once
//	holdback.go   not standing for election for a while
//	acks.go       when a majority of the voters last answered this leader
//	store.go      Store: writes fail for good, are timed and are counted
//	checksum.go   a checksum in every log entry
//	vote.go       a vote is one record (#661)
//	bolt.go       opening the file below
//
// What can only be noticed, and not prevented (#696, #697), is the business of
// whoever runs Raft, as is when to call Campaign and HoldBack.
//
// The order is raft.NewLogCache(n, store) over Store over the bolt file; Store
// says why. (#n is an issue of hashicorp/raft.)
//
// One goroutine is started here, besides raft.NetworkTransport's own: pump, by
// NewTransport; Close waits for it. What Transport and Store record may be read
// from any goroutine.
package raftguard
