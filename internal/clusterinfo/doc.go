// Package clusterinfo is the merged view of a set of nsqlookupds and nsqds, as
// nsqadmin, nsqctl and the utilities see it over HTTP, and the actions on them.
// It works with stock NSQ and with ours; what only ours has is nil or empty for
// stock.
//
// A Client asks and acts once. A Poller asks every daemon again and again, each in a
// goroutine of its own so that none waits for another, and keeps the newest View.
// Nothing a daemon answers is believed: answers are bounded in length and time, one that
// cannot be parsed is that daemon's error, a topic without a flag in the list of
// tombstones has none, and names that NSQ does not allow are left out.
//
//	client.go   Client: one HTTP request to one daemon, or to each of several; errors
//	answer.go   how an answer is read, and within which bounds
//	lookupd.go  what is asked of nsqlookupds
//	nsqd.go     what is asked of nsqds
//	action.go   create, pause, empty, delete, tombstone: Results daemon by daemon
//	watch.go    WatchTopics, WatchProducers: changes as they happen, by blocking query where offered
//	view.go     View, Node, Topic, Channel: what a Poller has put together
//	poller.go   Poller: who is asked when
//	rounds.go   what a Poller asks an nsqlookupd and an nsqd in one round
//	build.go    which nsqds are asked, and the View of all that is known
//
// Goroutines: a Client starts one for each daemon of a call and waits for them. Those
// of a Poller are started and waited for by Poller.Run, those of a watch by its function.
package clusterinfo
