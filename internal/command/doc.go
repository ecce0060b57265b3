// Package command holds what the utilities do alike around what they are for: their
// flags, their version, and how their process begins and ends.
//
// A utility is a Run function, which tests call as the process does. It ends when its
// context does, which Main ends at SIGINT and SIGTERM, and returns the exit code: 0
// when it did what it was asked to or was told to stop, 1 when it failed or its flags
// contradict each other, 2 for a flag that it does not know or cannot read. These are
// stock's.
//
// Flags are Go's, with one dash or two. What a utility has to say goes to stderr in
// the lines of Go's log package, as stock's does; stdout is for data.
//
//	main.go   Run, Main
//	flags.go  Flags, Strings
//	input.go  Input, Open: what is read until a signal
//
// Goroutines: none but those of os/signal, and Open's, which ends with its open.
package command
