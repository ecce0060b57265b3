// Package consume is a go-nsq consumer as the utilities set it up: from their flags,
// connected to given nsqds or to those that nsqlookupds list for the topic.
//
// go-nsq speaks the protocol and shares out max-in-flight. Whom to connect to is
// decided here, because go-nsq asks one nsqlookupd a minute, and reconnects for ever to
// an nsqd it was once connected to:
//
//   - Producers come from clusterinfo, which asks all nsqlookupds and waits for changes
//     where they offer that. While one answers, the others do not matter.
//   - An nsqd that is listed is connected to, and again when the connection is lost, in
//     pauses that grow to lookupd_poll_interval.
//   - One that is listed no more keeps its connection, as consumers of NSQ have always
//     done: messages may wait there. Once the connection is gone it is not made again,
//     which would bring a deleted topic back to life.
//
// Of the nsqds given by --nsqd-tcp-address one has to answer at the start; they are
// kept connected in the same way.
//
//	options.go   Options: flags, and what go-nsq and clusterinfo make of them
//	consumer.go  Consumer: start, stop
//	connect.go   which nsqds are connected, and how the loss of one is noticed
//
// Goroutines: those of go-nsq, one that watches the producers, and one for each nsqd
// that is listed. Consumer.Stop waits for them.
package consume
