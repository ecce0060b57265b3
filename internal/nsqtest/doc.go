// Package nsqtest holds the test doubles that more than one package needs.
// Only tests import it.
//
//	network.go  Network: hosts on an in-memory network that can be cut, isolated and killed
//	conn.go     one end of a connection on it
//	output.go   Output: what a program that runs in the test writes
//	address.go  an address that refuses connections until a test listens there
//
// A Network starts no goroutine, and its deadlines follow the clock of the
// goroutine that set them, so it works inside a testing/synctest bubble.
package nsqtest
