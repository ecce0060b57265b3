// Package env is what a drill breaks, and how: a cluster in which every fault of the
// catalogue is begun, seen to be in effect, and ended.
//
// There are four kinds of it. Processes starts a cluster of real processes on this
// machine's loopback, with proxies between them, and needs no rights. Netns is the same
// with each process in a network namespace of its own, where packets are lost and not
// bytes held back; it needs CAP_NET_ADMIN and CAP_SYS_ADMIN. Compose drives the
// containers of a Docker compose project. Hooks drives a cluster that runs already,
// through commands that its operator gives, and breaks nothing without them.
//
// An Env never guesses: it says why it cannot make a kind of fault, and of one that it
// has made, whether its effect was seen. It touches the processes it has started, the
// containers of the project and the folder it was given, and what hooks touch; nothing
// else. Everything that it makes in the system ends with it also if it is killed; what it
// breaks in containers and through hooks, which outlive it, a guardian then undoes.
//
//	env.go         Kind, Fault, Node, Env
//	ready.go       Ready, Started: whether a cluster is well
//	breakage.go    what is broken now, and how each part of it is undone
//	paths.go       what the network faults that last make of the network, together
//	processes.go   Processes: from options to a cluster, Missing, Begin, End, Heal, Close
//	process.go     kill, stop, pause, wipe
//	network.go     faults of the network: set and seen
//	proxies.go     the network of proxies
//	damage.go      torn_log, flip_bit
//	clock_*.go     clock_jump
//	disk.go        disk_full, disk_hang, power_cut
//	volume_*.go    a file system of a process's own
//	trace_*.go     slow_fsync, and the log of a node that is full or hangs where there are no volumes
//	netns_*.go     Netns: the namespaces and links
//	switch_linux.go         the network between nodes there: a switch that delays, loses and reorders
//	switch_process_linux.go that switch as a process of its own, and what it is told
//	firewall_*.go  cuts there
//	hooks.go       Hooks
//	compose*.go    Compose
//	guardian_*.go  what is to be undone should this process be killed
//
// Goroutines: those of internal/localcluster; one that reads what strace says while it
// meddles. All have ended when Close returns, and so has the process that is the switch of
// Netns, which is this program once more.
package env
