// Package httpapi renders the answers of the daemons' HTTP APIs as NSQ 1.x does
// and routes requests to the functions that compute them.
//
// An endpoint is a Handler: a function from a request to a value or an error.
// It knows nothing of rendering, and what the wire looks like is decided here
// only: the "V1" form with its X-Nsq-Content-Type header, which clients check
// before they parse a body, or plain text.
//
// Routing follows the router of stock NSQ (httprouter v1.3.0) in everything a
// client can see, with one addition: HEAD is allowed wherever GET is.
//
// A request body is ignored unless the route was made with V1Body. Ignored does
// not mean unlimited, see MaxIgnoredBody. Stock reads up to 150 MiB into memory.
//
// Answers are not bounded in time, because a blocking query and a profile take
// minutes; each write of one is, see Listener.
//
//	handler.go   Handler, Response, Error and their rendering
//	request.go   query and body of a request
//	router.go    Router: routing, panics, access log
//	server.go    http.Server with the limits all daemons share
//	listener.go  connections: how many, and for how long they may not be read
//
// The package starts no goroutine.
package httpapi
