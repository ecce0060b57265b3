// Package lookupd is nsqlookupd: it tells consumers which nsqds produce a
// topic, from a registry that all nodes of a cluster hold a copy of.
//
// A mutation (REGISTER, UNREGISTER, the end of a connection, a deleted topic)
// is committed to the Raft log before it is acknowledged; OK means that it
// survives the loss of any minority of nodes. A lookup is answered from the
// node's own copy: always, also without a quorum, and with headers that say how
// old it may be. Messages never come here; nsqd delivers them as usual.
//
// The walk of a REGISTER: session (parse) → writer (batch) → commit (to the
// leader, here or over the internal port) → Raft → fsm.Machine on each node →
// session (OK). DESIGN.md says why each step is as it is.
//
// The files, from the outside in:
//
//	options.go            flags, their defaults, what does not fit together
//	server.go             New, Open, Close: listeners over a node
//	session*.go           one nsqd's V1 connection from magic to close
//	sessions.go           the connections this node holds
//	http*.go              the HTTP API; http_cluster.go: /cluster
//	metrics*.go health.go what Prometheus and probes are told
//	registry.go           what the edge needs of the node; proposals
//	node.go               the Raft member: open, restore, close
//	writer.go             mutations into batches, batches into the log, once
//	read.go               consistent reads, and how stale a copy is
//	duties.go             what the leader decides: leases, grace, tombstones
//	yield.go              leaving leadership to a node with a faster disk
//	holdback.go           leaving the election to the others after a lost lease
//	waits.go              how long orphaned sessions have waited, over leaders
//	fastpath.go           succeeding a leader whose process has died
//	watchdog.go           bugs of Raft that only a new process gets rid of
//	housekeeping.go       what each node does: lease, readiness, strays, hashes
//	cluster.go            forming, joining, promoting, transferring
//	admission.go          taking in a node that waits for it
//	status.go recent.go   what a node says of itself
//	port.go peers.go      the internal port; gRPC to the other members
//	certificates.go       its TLS
//	raftlog.go            Raft's repetitions, written once
//	storage.go            data folder, identity, commit mark; storage_size.go: what it takes
//	storage_check.go      damage is found before anything relies on the disk
//	raftguard/            decorators that fence off hashicorp/raft's open bugs
//
// Who runs which goroutine:
//
//	goroutine                       started by   ends when
//	TCP accept, 1 per connection    Server.Open  wire.Server.Close has closed them and waits
//	HTTP serve, 1 per request       Server.Open  http.Server.Shutdown returns
//	internal port: accept, greet    node.start   port.Close, which waits
//	gRPC servers                    node.start   node.Close
//	writer.run                      node.start   the node's context ends
//	settlement.resolve              writer.run   writer.run returns
//	watch, and under it lead        node.start   the context ends; lead with the term
//	succeed                         node.start   the context ends
//	renew, housekeep, becomeReady   node.start   the context ends (becomeReady: when ready)
//	enter                           node.start   the node is part of a cluster
//	a round of consistent reads     read         after at most consistentWait/2
//	Raft's own                      openRaft     raft.Shutdown, waited for in Close
package lookupd

//go:generate protoc --go_out=.. --go_opt=module=nsqraft --go-grpc_out=.. --go-grpc_opt=module=nsqraft peer.proto
