// Package nsqd is one nsqd: it takes messages for topics and delivers them to the
// consumers of their channels, at least once each. It is stock nsqd v1.3.0 to
// clients, nsqlookupd, nsqadmin and the files on disk.
//
// # From PUB to FIN
//
//	client.serve          reads a command (commands.go)
//	client.publish        reads the bodies (publish.go)
//	Topic.Publish         makes messages of them and gives each channel a copy
//	Channel.put           keeps as many in memory as there is room for, the others
//	                      on disk, and wakes consumers that wait
//	client.deliver        takes a share of what waits (Channel.take), which is in
//	                      flight from then on, and writes it at once (client.send)
//	client.finish         gathers the FINs that have come in one go
//	Channel.finish        ends the messages
//
// Everything goes in batches: what an MPUB brings, what a consumer takes, what one
// read of a socket or of the disk finds. Nothing runs around with messages: the
// publisher's goroutine brings them to the channel, the consumer's fetches them, and
// reads the disk itself when memory is empty. A consumer that finds nothing waits
// for its wake; an idle topic or channel has no goroutine, no timer and no open file.
//
// What a topic cannot give to its channels, because it has none, is paused, or the
// lookupds have not said yet which it has, waits in the topic. A pump, which lives as
// long as there is something to do, brings it to the channels.
//
// # Memory and disk
//
// A backlog (backlog.go) is what waits in a topic or channel: up to --mem-queue-size
// messages in memory, the others in a store (store.go): a queue on disk in stock's
// format, and until when its messages are deferred. With --sync-every=1 everything
// goes to disk, a publisher is answered after the fsync, which all that come at the
// same time share, and a message stays on disk until it is finished: a crash loses
// none that was acknowledged, and delivers some again.
//
// When the server closes, all that waits, is in flight or deferred is written to the
// stores. It comes back with its attempts, and if deferred not before its time.
//
// # Locks
//
// Server.mu, Topic.mu and Channel.mu guard the maps of topics, the channels of a
// topic, and the messages of a channel. They may be taken in this order. None is
// held while a file or a socket is read or written; who needs the disk of a backlog
// for himself takes backlog.lockDisk. client.writing is held while a frame is
// written, and nothing is waited for under it but the client.
//
// # Goroutines
//
//	TCP accept, one per client     end with wire.Server.Close
//	client.deliver                 one per consumer; client.end waits for it
//	Topic.runPump                  ends when the topic is empty or closing; Topic.shut waits
//	Server.keepMetadata            ends when Close begins
//	Topic.precreate                asks the lookupds about a new topic; bounded in time
//	links                          two per lookupd; links.close waits
//	HTTP, statsd                   closeHTTP, closeStatsd wait
//	Channel.fallDue                by a timer that is armed while something is in
//	                               flight or deferred; does not wait for anything
//
// # Files
//
//	server.go      Server: Open, Close, topics
//	topic.go       Topic: publish, channels, pause
//	channel.go     Channel: put, take, finish, time-outs
//	consumer.go    a subscription, and what it has in flight
//	backlog.go     what waits; ring.go in memory, store.go on disk
//	held.go        what of a synced queue is not finished
//	deferred.go    what is not due yet; deadlines.go: over a restart
//	message.go     a message, its forms and its id
//	zone.go        zone-aware consumption
//	latency.go     percentiles of the time from publish to finish
//	client.go      a connection: reading, heartbeats, frames
//	commands.go    the commands of protocol V2; publish.go, identify.go, auth.go
//	clients.go     who is connected
//	links.go       registration with nsqlookupds; link.go one of them, link_query.go
//	               what they know of a topic
//	metadata.go    nsqd.dat
//	http.go        the HTTP API, with http_*.go
//	stats.go       what /stats, metrics.go and statsd.go show; memory.go
//	drain.go       a soft end
//	health.go      what is wrong with the disk
//	options.go     all options; validate.go what they may be
//	certificates.go  TLS
package nsqd
