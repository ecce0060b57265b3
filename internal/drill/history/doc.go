// Package history holds what happened in a drill, and says what in it cannot be.
//
// A Recorder takes each call of each client, samples of what the nodes say of
// themselves, and the faults. The outcome is a Run, kept in a file, that can be checked
// again anywhere: Check is a pure function of a Run, and knows nothing of the cluster.
//
// A checker that has seen too little, or ran out of time or memory, says Inconclusive,
// which is not a pass. What stock NSQ does not offer (consistent reads, an index) is
// NotTested of it. All checkers err to the side of the cluster: when two orders of
// events are possible, one that is right will do.
//
//	history.go          Run, Op, Sample, Fault, Header
//	recorder.go         Recorder: memory and file
//	file.go             the form of the file, Read
//	claim.go            Claim: what a checker says
//	check.go            Check: all checkers, in order
//	evidence.go         a run made ready for them: sessions, topics, who was down when
//	presence.go         when a producer must be listed, and when it may be
//	freezes.go          when the machine stood still, which is not counted
//	stalls.go           when nothing was acknowledged, and so nothing could be soon
//	check_registry.go   nothing acknowledged is lost, nothing that has gone stays
//	check_reads.go      default reads: as old as they say, never back in time
//	check_age.go        a node knows how old it is while nothing is broken
//	check_linear.go     consistent reads and writes have one order: porcupine
//	topic_model.go      the sequential specification of one topic
//	linear_history.go   calls as porcupine takes them, and its search kept in bounds
//	check_available.go  surviving nodes answer, and lose no live nsqd
//	check_registrations.go nsqds get in
//	check_deadline.go   nsqd's 1 s deadline
//	check_cluster.go    leaders, terms, hashes, indexes
//	check_ended.go      no process ends by itself
//	check_messages.go   at least once for each channel
//	check_publishing.go publishing needs nothing but its nsqd
//	check_bounds.go     each drill's numbers
//	bounds.go           what each drill may cost
//	figures.go          what each fault did cost
//
// Goroutines: one for each Recorder, that writes its file and ends in Close; and those
// in which Check runs porcupine, for which it waits.
package history
