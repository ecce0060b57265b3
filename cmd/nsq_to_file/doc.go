// Command nsq_to_file writes the messages of topics to files, one message a line.
//
// A message is finished once its file is on disk: data, name and folders. Until then it
// is nsqd's, and comes again if this process is killed. If a file cannot be written, as
// on a full disk, its messages are given back at once and no more are taken for some
// seconds, again and again until it can. So a message may be written twice; none is
// lost, however often it was sent (go-nsq drops a message after five times unless
// max_attempts says otherwise, which is 0 here).
//
// A file that was there is appended to where only the time names files (an unfinished
// last line is ended first), and left alone with --gzip, --rotate-interval or --work-dir.
// Then each file is a new one with a <REV> of its own, locked while it is written, and
// what a killed process has left in --work-dir is moved to --output-dir at the next start.
// A stock nsq_to_file does not lock its files: they must not share a --work-dir.
//
// Flags, names and contents are stock's.
//
//	main.go      from arguments to exit code
//	options.go   the flags, what is wrong with them, and what follows from them
//	archive.go   archive: which topics have a recorder
//	recorder.go  recorder: when a file is written, synced, rotated, given up
//	file.go      file: one file that is being written
//	move.go      from --work-dir to --output-dir
//	naming.go    naming: what files are called
//
// Goroutines: run keeps the archive, and waits for all others. One watches the topics
// of nsqlookupds. Each topic has one for its recorder, which alone touches the
// files, one that stops its consumer, and those of consume.
package main
