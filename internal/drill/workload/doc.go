// Package workload is the clients of a cluster under drill. What they do is recorded
// in a history, for checkers to judge: each call with its begin, its return and what
// the client could know of its outcome. Nothing is judged here, and nothing is broken.
//
// Names are made so that a short history of each topic says much. All of one Workload
// begin with the same few characters, which no other has. Topics come in generations:
// clients use those of the present one, and then leave them alone for good, but for
// those who stay. A producer that comes once is never used again.
//
//	workload.go  Options, Workload: who runs, until when
//	names.go     the topics, and which of them are looked up
//	session.go   an nsqd's connection to an nsqlookupd
//	nsqd.go      nsqds that stay, as stock's and as this module's; storms of them
//	unique.go    producers that come once
//	residents.go whether all nsqds that stay are listed
//	mutator.go   those who change the same few topics, by TCP and HTTP
//	api.go       requests by HTTP, and what their failures mean
//	reader.go    lookups
//	sampler.go   what nodes say of themselves
//	queue.go     a connection to an nsqd
//	publisher.go messages that are published
//	consumer.go  messages that are consumed
//	last.go      what is done in the end
//	progress.go  figures for who watches
//
// A run is: Run, in a goroutine; Storm, if wanted; LastReads while all sessions stand;
// the end of Run's context. Names do not depend on the seed, the choices of clients do,
// each client's on its own.
//
// Simulated nsqds send one command at a time, also those that are otherwise as this
// module's, which sends many ahead.
//
// Goroutines: Run starts all clients and waits for them. Those that make calls at a
// given rate, whether or not earlier ones have returned, start one for each call,
// within a bound. Storm adds to the clients of Run. None outlives Run.
package workload
