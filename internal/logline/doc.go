// Package logline makes the hclog loggers of the daemons: one line per message
// on standard error, as stock NSQ writes it or as JSON.
//
// A line is written by the goroutine that logs, before the call returns. So the
// last words before a crash are not lost, and a standard error that blocks
// blocks whoever logs: give the process a reader that keeps up, or a file.
//
//	level.go   Level: the value of --log-level
//	logger.go  New, and the logger over either format
//	stock.go   the stock format
//
// The package starts no goroutine.
package logline
