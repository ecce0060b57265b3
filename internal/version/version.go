// Package version holds the version of this release, which all its programs have.
package version

// Version is compared by clients and by nsqadmin as a semantic version: it counts as
// that of stock NSQ before the plus, and what follows says whose it is.
const Version = "1.3.0+raft.0.1.0"
