// Package drill breaks a cluster on purpose, while clients use it, and records what
// they saw.
//
// A Drill is a script of faults, such as "kill the leader, wait, start it again". Run
// puts load on a cluster, makes one drill after the other, waits after each until all
// is well again, and returns the history of it all. What in it is wrong package history
// says; how it looks, package report.
//
//	drill.go      Options, Run: load, drills, quiet, last reads
//	catalogue.go  the drills, with a sentence each
//	profile.go    which drills, how often: smoke, standard, long; random by seed
//	breaker.go    what a drill's script does: begin, hold, end, wait until healed
//	ended.go      which processes ended that nobody ended
//	likewise.go   the same victims in another cluster
//	preflight.go  whether somebody's cluster may be drilled
//	health.go     who leads, and whether all is well
//	files_*.go    how many files may be open, which storms need many of
//	screen.go     live progress
//
//	env/       what is broken and how: processes, namespaces, containers, hooks
//	workload/  the clients
//	history/   what was recorded, and its checkers
//	report/    verdict, HTML, JSON, JUnit
//	selftest/  proof that the checkers find what is wrong
//
// Goroutines: Run starts one for the workload and one for the screen and waits for both.
package drill
