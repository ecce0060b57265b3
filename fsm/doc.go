// Package fsm is the replicated registry: which nsqd producers serve which
// topics and channels, as a deterministic state machine.
//
// It promises that replicas which applied the same log answer the same, byte
// for byte and with the same Hash, whether they applied every entry or restored
// a snapshot on the way; that a batch which was committed twice has its effect
// once; and that whoever reads holds up neither writers nor other readers.
//
// It has no clock, no goroutine and no globals, and does no I/O but on the
// readers and writers it is handed. Time comes in with the batches. Names and
// sizes are validated by whoever proposes; absurd ones do no harm here.
//
// The words: a producer is an nsqd; a session is its connection to one node of
// the cluster; a life is one process of such a node, which holds sessions and
// writes batches; a holding is what one session registered of one topic; a
// listing is the holdings of one producer there.
//
//	registry.go   the state; applying a batch exactly once
//	sessions.go   sessions and producers
//	topics.go     topics, channels, registrations, tombstones
//	deletions.go  channels, and the memory that they were deleted
//	nodes.go      lives of nodes; what the leader decides about them
//	view.go       queries
//	hash.go       the hash of the state, kept up to date fact by fact
//	codec.go      log entries to bytes and back
//	snapshot.go   snapshots: the format, writing
//	restore.go    snapshots: reading, believing nothing
//	machine.go    the registry as hashicorp/raft's FSM
//
// One goroutine applies: Raft's, through a Machine. Any goroutine reads Views.
package fsm
