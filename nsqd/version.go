package nsqd

// Version is what nsqd tells clients, nsqlookupd and nsqadmin. They compare it as a
// semantic version: it counts as stock's 1.3.0, and what follows the plus says
// whose it is.
const Version = "1.3.0+raft.0.1.0"
