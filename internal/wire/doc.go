// Package wire holds what the NSQ daemons share on TCP: which names are valid,
// how a line, a sized body and a reply are read and written within bounds, the
// errors a peer may see, and the accept loop.
//
// The meaning of commands and every deadline are left to the protocols: a caller
// sets the deadline of its connection before it reads or writes here.
//
//	names.go   topic and channel names
//	frame.go   lines, sized bodies, replies, protocol errors
//	server.go  the accept loop
//
// Server.Serve runs on its caller's goroutine and starts one goroutine for each
// connection; Server.Close waits for those.
package wire
