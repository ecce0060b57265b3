// Bench measures our nsqlookupd beside stock v1.3.0, as processes on loopback, and
// prints a table: what, ours, the peer's, their ratio, the goal, met or missed.
//
//	make bench                                  everything: under ten minutes on two cores
//	go run -C interop ./bench -rows=lookup      one group of rows
//	go run -C interop ./bench -list             the groups
//
// It is no test: a slow machine makes it print worse numbers, not fail. It ends
// with status 1 only if something could not be measured at all.
//
// Where there is a peer, ours and the peer take turns, several times, on the same
// machine in the same minute; a ratio is the median of the ratios of the turns, and
// the range beside it says how far the machine can be trusted. All daemons run with
// their default flags, but for addresses, and log to files as they do by default. Ours
// are three nodes with their logs on disk, synced, unless a row says otherwise.
//
// "A registration" is one REGISTER command. nsqds are simulated: each is a
// connection that sends what stock nsqd v1.3.0 sends, one command at a time unless
// said otherwise, and gives up on a command after 1 s as stock does.
//
//	main.go        flags, the groups in order
//	report.go      rows, medians, the table in Markdown and JSON
//	process.go     daemons, ports, folders
//	usage*.go      what a process has used: CPU, memory, bytes
//	cluster.go     three of our nodes, three of stock's
//	nsqd.go        simulated nsqds
//	query.go       HTTP: single questions, and load over kept-alive connections
//	bare.go        a bare net/http handler, in a process of its own
//	etcd.go        three etcd members, and keys put into them
//	reads.go       rows: /lookup, /nodes
//	writes.go      rows: registrations, latency, the reconnect storm
//	failover.go    rows: the leader killed, stopped, paused
//	hang.go        rows: the leader's disk hung; file systems to hang
//	million.go     rows: a million registrations: lookup, memory, restart, unit costs
//	v2.go          connections to an nsqd
//	messages.go    rows: our nsqd beside stock's
//	growth.go      rows: connections and PINGs; log and snapshots under a day's mutations
package main
