// Package localcluster runs a whole NSQ on this machine's loopback as child
// processes: some nsqlookupds that replicate their registry, some nsqds, and
// nsqadmin. They are real processes, so that what is done to them is real: kill -9,
// SIGSTOP, a stop and a start.
//
// nsqlookupds reach each other only through a proxy in front of each one's internal
// port, and never at that port itself. So any pair of them can be parted, in one
// direction or both, or slowed down, without rights and on any system. What is cut is
// silent: nothing is reset and new connections hang, as if a cable had been pulled.
// Clients, nsqds and nsqadmin go to the processes directly, unless the Config wants
// proxies for them too. Nodes must talk without TLS, for a proxy reads who is calling.
//
// A Cluster's New does no I/O; Open starts everything and does not wait for it; Ready
// waits; Close ends all that runs. On Linux the children also end when the process that
// started them ends in any way.
//
//	cluster.go    Config, Cluster: from configuration to processes
//	process.go    Process: start, kill, pause, resume, stop; process_*.go: what systems do differently
//	binaries.go   where programs are found
//	addresses.go  who listens where: stock's ports, else free ones, the same ones again in an old folder
//	ask.go        Ready, Leader, and the questions behind them
//	network.go    what passes between two nodes
//	proxy.go      the proxy in front of one node
//	pipe.go       one connection through it
//
// Goroutines: each running Process has one that waits for its end. Each proxy has one
// that accepts, and three for each connection. All have ended when Close returns.
package localcluster
