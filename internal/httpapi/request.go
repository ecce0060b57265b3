package httpapi

import (
	"io"
	"net/http"
	"net/url"
	"time"
)

// MaxIgnoredBody is the number of bytes a client may send as the body of a
// request to an endpoint that has no use for one. They are read and dropped, so
// that clients which send an empty JSON object or a form are served, as in stock.
// A longer body, announced or not, is answered with 413 BODY_TOO_BIG before the
// Handler runs, and the connection is closed.
const MaxIgnoredBody = 64 << 10

// bodyTimeout bounds the arrival of an ignored body as a whole, and each pause
// in one that a handler reads. After a refusal, lingerTimeout bounds what
// net/http still reads and drops (up to 256 KiB) so that the client sees the
// answer rather than a reset.
const (
	bodyTimeout   = 10 * time.Second
	lingerTimeout = time.Second
)

var (
	errInvalidRequest = NewError(http.StatusBadRequest, "INVALID_REQUEST")

	errBodyTooBig = &Error{
		Status: http.StatusRequestEntityTooLarge,
		Text:   "BODY_TOO_BIG",
		Header: http.Header{"Connection": {"close"}},
	}
	errBodyBroken = &Error{
		Status: http.StatusBadRequest,
		Text:   "INVALID_REQUEST",
		Header: http.Header{"Connection": {"close"}},
	}
)

// Query returns the parameters in the URL of r, never those of a form in its
// body. If they cannot be parsed, the error is an *Error, 400 INVALID_REQUEST.
func Query(r *http.Request) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errInvalidRequest
	}
	return values, nil
}

// boundBody bounds the time until the body of the request on conn has been read,
// by a handler or by net/http after the answer. The server's own time-outs do
// not, see NewServer.
func boundBody(conn *http.ResponseController, timeout time.Duration) {
	// Only a test's ResponseWriter cannot do this, and that one reads from memory.
	conn.SetReadDeadline(time.Now().Add(timeout))
}

// unboundBody must follow the end of a body: the deadline, left in place, would
// cancel the context of a request that takes longer.
func unboundBody(conn *http.ResponseController) {
	conn.SetReadDeadline(time.Time{})
}

// dropBody reads the body of r within MaxIgnoredBody.
func dropBody(w http.ResponseWriter, r *http.Request) error {
	conn := http.NewResponseController(w)
	if r.ContentLength > MaxIgnoredBody {
		boundBody(conn, lingerTimeout)
		return errBodyTooBig
	}
	switch _, err := io.CopyN(io.Discard, r.Body, MaxIgnoredBody+1); err {
	case io.EOF:
		unboundBody(conn)
		return nil
	case nil:
		boundBody(conn, lingerTimeout)
		return errBodyTooBig
	default:
		return errBodyBroken
	}
}

// A timedBody is a request body of which each Read is bounded by bodyTimeout.
type timedBody struct {
	io.ReadCloser
	conn *http.ResponseController
	read bool // to its end
}

func (b *timedBody) Read(p []byte) (int, error) {
	boundBody(b.conn, bodyTimeout)
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.read = true
		unboundBody(b.conn)
	}
	return n, err
}

// refuse must precede an answer to a request whose body the handler may not have
// read: net/http reads some of the rest before it sends the answer.
func (b *timedBody) refuse() {
	if !b.read {
		boundBody(b.conn, lingerTimeout)
	}
}
