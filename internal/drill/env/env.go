package env

import (
	"context"
	"time"
)

// A Kind is a way to break something. Its string is its name everywhere.
type Kind string

const (
	Kill      Kind = "kill"       // SIGKILL, until started again
	Stop      Kind = "stop"       // SIGTERM, until started again
	Pause     Kind = "pause"      // SIGSTOP
	Isolate   Kind = "isolate"    // a node from all other nodes, both directions
	Cut       Kind = "cut"        // Targets[0] from Targets[1], one direction: what the first sends does not arrive
	Deaf      Kind = "deaf"       // a node gets nothing of the others
	Mute      Kind = "mute"       // nothing a node sends arrives
	Split     Kind = "split"      // Targets against the rest
	Delay     Kind = "delay"      // all between Targets and the others comes later by Amount, with Jitter
	Loss      Kind = "loss"       // a share of what a node sends to the others is dropped, Percent of packets
	Reorder   Kind = "reorder"    // as Loss, but it is overtaken: it comes later by Amount; 0: 15 ms
	Duplicate Kind = "duplicate"  // as Loss, but it comes twice
	Unreach   Kind = "unreach"    // clients cannot reach the node: its client ports hang
	Lag       Kind = "lag"        // clients get and give all later by Amount, with Jitter
	Unplug    Kind = "unplug"     // a node is off the network: Isolate and Unreach
	DiskFull  Kind = "disk_full"  // the node's data folder has no room
	SlowFsync Kind = "slow_fsync" // each fsync takes Amount longer
	DiskHang  Kind = "disk_hang"  // no write or fsync returns
	TornLog   Kind = "torn_log"   // stopped, the end of its log file is cut or overwritten, started
	FlipBit   Kind = "flip_bit"   // stopped, a bit of its log file is flipped, started
	Wipe      Kind = "wipe"       // killed, its data folder emptied; started again at the end
	ClockJump Kind = "clock_jump" // its wall clock is moved by Amount
	PowerCut  Kind = "power_cut"  // killed, and what was not synced is gone
)

// Kinds returns all, in the order of the catalogue.
func Kinds() []Kind {
	return []Kind{Kill, Stop, Pause, Isolate, Cut, Deaf, Mute, Split, Delay, Loss, Reorder, Duplicate, Unreach, Lag, Unplug,
		DiskFull, SlowFsync, DiskHang, TornLog, FlipBit, Wipe, ClockJump, PowerCut}
}

// A Fault is one thing to break. Links between nodes are those on which nsqlookupds
// replicate: nsqds are no part of them, and clients reach a node that is cut off.
type Fault struct {
	Kind    Kind
	Targets []string // names of nodes, or of nsqds
	Amount  time.Duration
	Jitter  time.Duration
	Percent int
}

// A Node is one nsqlookupd or nsqd as clients reach it.
type Node struct {
	Name      string
	TCP, HTTP string // where clients connect; through a proxy where the environment has one
	Log       string // file; "" if it cannot be read
	PID       int    // 0: unknown, or down
}

// An Env is a cluster that may be broken. Only what it has started or was told to
// touch is touched. Its methods are for one goroutine at a time, but for Nodes and NSQDs.
type Env interface {
	// Name is how the report calls it: processes, netns, compose, hooks.
	Name() string
	// Nodes and NSQDs return what there is, always the same but for the PID.
	Nodes() []Node
	NSQDs() []Node
	// Missing says why a kind cannot be made here; "" if it can.
	Missing(k Kind) string
	// Begin breaks something and returns once it is in effect. verified says that
	// the effect itself was seen, not only that a command went well.
	Begin(ctx context.Context, f Fault) (verified bool, err error)
	// End undoes it and returns without waiting for the cluster to recover. A node that
	// has ended over it is started again, as a supervisor does, and one that has not
	// survived what was done to its data with none, as an operator does.
	End(ctx context.Context, f Fault) error
	// Heal undoes whatever is broken, however it came about.
	Heal(ctx context.Context) error
	// Close ends what the environment has started, removes what it has made, and
	// says what it could not remove. It may be called twice, and after an interrupt.
	Close() error
}
