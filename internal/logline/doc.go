// Package logline makes the hclog loggers of the daemons: one line per message
// on standard error, as stock NSQ writes it or as JSON.
//
// A logger writes each line before its call returns. Over a Queue, as in the
// daemons, it only leaves it there: a standard error that nobody reads then costs
// lines instead of blocking whoever logs, and a busy daemon writes many lines at a
// time. Lines that came within the last moment before a kill -9 may be lost.
//
//	level.go   Level: the value of --log-level
//	logger.go  New, and the logger over either format
//	queue.go   Queue: lines on their way to a writer that may be slow
//	stock.go   the stock format
//
// The goroutine of a Queue starts with NewQueue and ends with Close.
package logline
