package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// A Handler answers one request. The value is rendered by its type:
//
//	nil             an empty body
//	string, []byte  as it is, with the content type that Go detects
//	JSON            as it is, as JSON
//	*Response       headers, and a value of any of the other types
//	anything else   encoded as JSON
//
// An error with an *Error in its chain is what the client sees. Any other error
// is logged and answered with 500 INTERNAL_ERROR.
type Handler func(r *http.Request) (any, error)

// JSON is a value that is encoded already. It is sent without being copied, so
// one slice may serve any number of requests and must not be changed any more.
type JSON []byte

// A Response is a value together with headers that are set beside NSQ's own.
// It is only read: like the value in it, one Response may serve many requests.
type Response struct {
	Value  any
	Header http.Header // keys in canonical form
}

// An Error is a failure as a client may see it: V1 routes answer with Status and
// {"message":"TEXT"}, plain text routes with Status and the text.
type Error struct {
	Status int
	Text   string      // NSQ's are constants such as TOPIC_NOT_FOUND
	Header http.Header // set on the answer; may be nil; keys in canonical form
}

// NewError returns an Error without headers of its own.
func NewError(status int, text string) *Error {
	return &Error{Status: status, Text: text}
}

func (e *Error) Error() string { return e.Text }

// The values of headers that most answers share. Nothing appends to them in
// place: their capacity is their length.
var (
	v1Type   = []string{"nsq; version=1.0"}
	jsonType = []string{"application/json; charset=utf-8"}
)

// inBuffer is the size up to which net/http holds back a body until the handler
// has returned, and then finds Content-Length itself, cheaper than we could.
const inBuffer = 2048

// respond renders what h returns for r.
func (rt *Router) respond(w http.ResponseWriter, r *http.Request, h Handler, v1 bool) {
	value, err := h(r)
	if err != nil {
		rt.respondError(w, r, err, v1)
		return
	}
	header := w.Header()
	if resp, ok := value.(*Response); ok {
		setAll(header, resp.Header)
		value = resp.Value
	}
	if v1 {
		header["X-Nsq-Content-Type"] = v1Type
	}
	switch v := value.(type) {
	case nil:
		w.WriteHeader(http.StatusOK)
	case JSON:
		header["Content-Type"] = jsonType
		writeBody(w, v)
	case []byte:
		writeBody(w, v)
	case string:
		if len(v) > inBuffer {
			header.Set("Content-Length", strconv.Itoa(len(v)))
		}
		io.WriteString(w, v) // an error means that the client has gone
	default:
		body, err := json.Marshal(v)
		if err != nil {
			rt.respondError(w, r, err, v1)
			return
		}
		header["Content-Type"] = jsonType
		writeBody(w, body)
	}
}

func (rt *Router) respondError(w http.ResponseWriter, r *http.Request, err error, v1 bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		rt.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr, "err", err)
		e = internalError
	}
	if body, ok := r.Body.(*timedBody); ok {
		body.refuse()
	}
	header := w.Header()
	setAll(header, e.Header)
	if !v1 {
		w.WriteHeader(e.Status)
		io.WriteString(w, e.Text)
		return
	}
	body, _ := json.Marshal(struct { // a string always has an encoding
		Message string `json:"message"`
	}{e.Text})
	header["X-Nsq-Content-Type"] = v1Type
	header["Content-Type"] = jsonType
	w.WriteHeader(e.Status)
	w.Write(body)
}

var internalError = NewError(http.StatusInternalServerError, "INTERNAL_ERROR")

func writeBody(w http.ResponseWriter, body []byte) {
	if len(body) > inBuffer {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.Write(body) // an error means that the client has gone
}

func setAll(dst, src http.Header) {
	for key, values := range src {
		dst[key] = values
	}
}
