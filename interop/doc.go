// Package interop runs stock NSQ v1.3.0 against our nsqlookupd and our nsqd, as processes on
// loopback that know each other only by their sockets. It is a Go module of its
// own, so that stock NSQ is never a dependency of ours, and it imports none of
// our packages: what it says about our binary, it has seen from outside.
//
//	go test -count=1 -parallel 6 .         everything, about three minutes on two cores
//	go test -count=1 -run Conformance .    stock nsqlookupd and ours, side by side
//	go test -count=1 -run NSQD .           stock nsqd and ours, and ours with its peers
//	go test -count=1 -run NSQAdmin .       stock nsqadmin and ours
//	go test -count=1 -against=stock .      the same claims made of three stock nsqlookupds
//	go test -count=1 . -race-ours          our daemon built with the race detector
//
// (go test cannot see that the binaries it starts have changed, hence the count.)
// -against=stock is the check on the checks: three stock nsqlookupds share nothing,
// so every claim about replication and about restarts has to fail there.
//
// bench/ is a program that measures the two side by side; see there.
//
// The files:
//
//	build_test.go         TestMain: builds the stock binaries and ours, once
//	process_test.go       a child process, its log, its ports
//	cluster_test.go       three of our nodes: start, kill, leader, ready
//	stock_test.go         stock nsqd, nsqlookupd and nsqadmin as peers
//	api_test.go           what the HTTP APIs answer, decoded
//	watch_test.go         a prober that asks all the time and keeps what was wrong
//	agreement_test.go     one registry on three nodes
//	tools_test.go         stock nsqadmin, nsq_stat, nsq_tail and go-nsq
//	nsqadmin_test.go      stock nsqadmin and ours on the same cluster; beside an nsqd that hangs
//	utilities_test.go     a utility that runs; flags and status of stock's and ours
//	utilities_stories     what they print and publish, with stock daemons and ours
//	tofile_test.go        nsq_to_file beside stock's, killed under load, finding topics
//	tofile_linux_test.go  nsq_to_file on a full disk and through power cuts (root)
//	failover_test.go      kill -9 of one node, of each, of all
//	conformance_test.go   stories told to stock and to ours, transcripts compared
//	load_test.go          a load that keeps what was acknowledged
//	disk_linux_test.go    full disks and power cuts, on mounts of their own (root)
//	hang_linux_test.go    disks that hang, likewise
//	wrongstart_test.go    wrong ids, peers and folders; a disk lost while another is behind
//	badinput_test.go      what no client should send, beside one that behaves
//	deviations_test.go    where ours answers otherwise, and what it answers
//	nsqd_*_test.go        the same for nsqd:
//	  transcript            steps of its stories: frames, HTTP, nsqd.dat
//	  conformance, http     stories of V2, delivery and time; of HTTP, /stats and nsqd.dat
//	  secure                stories of TLS and of auth servers
//	  data                  data directories taken from one to the other; statsd
//	  deviations            where ours answers otherwise; the command line
//	  client                a plain V2 client
//	  gonsq                 go-nsq as client
//	  lookupd               with stock nsqlookupd and with three of ours
//	  kill                  kill -9 under load
//	  badinput              what no client should send; stock's tools
//	commandline_test.go   flags, configuration file, signals, exit status
package interop
