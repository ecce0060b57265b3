package nsqd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"nsqraft/internal/httpapi"
	"nsqraft/internal/wire"
)

var (
	errMessageEmpty  = httpapi.NewError(http.StatusBadRequest, "MSG_EMPTY")
	errInvalidDefer  = httpapi.NewError(http.StatusBadRequest, "INVALID_DEFER")
	errMessageTooBig = httpapi.NewError(http.StatusRequestEntityTooLarge, "MSG_TOO_BIG")
	errBodyTooBig    = httpapi.NewError(http.StatusRequestEntityTooLarge, "BODY_TOO_BIG")

	errNotWritten = httpapi.NewError(http.StatusServiceUnavailable, "WRITE_FAILED")

	// errBodyBroken is stock's answer to a body that ends early, or stalls.
	errBodyBroken = httpapi.NewError(http.StatusInternalServerError, "INTERNAL_ERROR")
)

// publish answers /pub. Like stock's it looks at the body first.
func (a *httpAPI) publish(r *http.Request) (any, error) {
	body, err := readBody(r, a.opts.MaxMsgSize, errMessageTooBig)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, errMessageEmpty
	}
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	return a.put(params, [][]byte{body})
}

// publishMany answers /mpub. A request needs memory for its body, once more while it
// is taken apart, and 24 bytes for each message.
func (a *httpAPI) publishMany(r *http.Request) (any, error) {
	if r.ContentLength > a.opts.MaxBodySize {
		return nil, errBodyTooBig
	}
	params, err := httpapi.Query(r)
	if err != nil {
		return nil, err
	}
	// Before the body is read: a wrong request costs its sender no upload.
	if _, err := topicArg(params); err != nil {
		return nil, err
	}
	var bodies [][]byte
	if a.binary(params) {
		bodies, err = readBinary(r, a.opts)
	} else {
		bodies, err = readLines(r, a.opts)
	}
	if err != nil {
		return nil, err
	}
	return a.put(params, bodies)
}

// readBinary returns the messages in the body of r, which is that of an MPUB.
func readBinary(r *http.Request, o *Options) ([][]byte, error) {
	in, size := io.Reader(r.Body), r.ContentLength
	if size < 0 { // the body is chunked, and MPUB has its size beforehand
		body, err := readBody(r, o.MaxBodySize, errBodyTooBig)
		if err != nil {
			return nil, err
		}
		in, size = bytes.NewReader(body), int64(len(body))
	}
	bodies, err := readMPUB(bufio.NewReader(in), int(size), int(o.MaxBodySize), int(o.MaxMsgSize))
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return nil, httpapi.NewError(http.StatusRequestEntityTooLarge, strings.TrimPrefix(e.Code, "E_")) // stock's status
	}
	return bodies, err
}

// readLines returns the lines in the body of r that are not empty.
func readLines(r *http.Request, o *Options) ([][]byte, error) {
	body, err := readBody(r, o.MaxBodySize, errBodyTooBig)
	if err != nil {
		return nil, err
	}
	return splitLines(body, o.MaxMsgSize)
}

// put publishes bodies, which may be none, to the topic and with the delay that
// params say.
func (a *httpAPI) put(params url.Values, bodies [][]byte) (any, error) {
	if _, err := topicArg(params); err != nil {
		return nil, err
	}
	delay, err := deferArg(params, a.opts)
	if err != nil {
		return nil, err
	}
	topic, err := a.topic(params)
	if err != nil {
		return nil, err
	}
	if len(bodies) > 0 {
		if err := topic.Publish(bodies, delay); err != nil {
			return nil, a.publishError(err)
		}
	}
	return "OK", nil
}

// publishError returns what the publisher sees. What the disk does not take is 503, as
// in stock, which calls it EXITING: the message may be sent again, here or elsewhere.
func (a *httpAPI) publishError(err error) error {
	if errors.Is(err, ErrClosing) || errors.Is(err, errEmptyBody) {
		return httpError(err)
	}
	a.log.Error("publish failed", "err", err)
	return errNotWritten
}

// binary says whether the body of an /mpub has lengths in it, rather than lines. As
// in stock, a value that is no bool means yes.
func (a *httpAPI) binary(params url.Values) bool {
	if !params.Has("binary") {
		return false
	}
	value, known := boolArg(params, "binary")
	if !known {
		a.log.Warn("deprecated value for the parameter binary of /mpub", "value", params.Get("binary"))
		return true
	}
	return value
}

// boolArg reads one of the four words that NSQ has for a bool; known is false if
// the parameter is none of them.
func boolArg(params url.Values, name string) (value, known bool) {
	switch params.Get(name) {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	return false, false
}

// deferArg returns the delay in params, in milliseconds there; 0 if there is none.
func deferArg(params url.Values, o *Options) (time.Duration, error) {
	if !params.Has("defer") {
		return 0, nil
	}
	ms, err := strconv.ParseInt(params.Get("defer"), 10, 64)
	// In milliseconds, for a huge number of them would wrap into the range.
	if err != nil || ms < 0 || ms > o.maxDefer().Milliseconds() {
		return 0, errInvalidDefer
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// readBody returns the body of r, chunked or not, or tooBig as soon as it is known
// to be longer than limit. Memory grows with what has arrived, whatever length was
// announced, to limit and a byte; while it grows the smaller half is there besides.
func readBody(r *http.Request, limit int64, tooBig error) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooBig
	}
	// Of a chunked body, one byte more than may come tells that there is no end.
	most := min(limit, math.MaxInt-1) + 1
	if r.ContentLength >= 0 {
		most = r.ContentLength
	}
	buf := make([]byte, 0, min(most, bodyChunk))
	for {
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			return nil, tooBig
		case err == io.EOF:
			return clip(buf), nil
		case err != nil:
			return nil, errBodyBroken
		case int64(len(buf)) == most:
			return buf, nil
		}
		if len(buf) == cap(buf) {
			size := 2 * int64(cap(buf))
			if size > most-bodyChunk {
				size = most // rather than once more, for a little
			}
			grown := make([]byte, len(buf), size)
			copy(grown, buf)
			buf = grown
		}
	}
}

// clip returns a copy of buf if buf wastes more than an eighth of its memory: a
// message may be kept for long.
func clip(buf []byte) []byte {
	if waste := cap(buf) - len(buf); waste <= len(buf)/8+1 {
		return buf
	}
	return bytes.Clone(buf)
}

// splitLines returns the lines of body that are not empty. The last one needs no
// newline. Lines share memory as the messages of an MPUB do, see bodyChunk.
func splitLines(body []byte, maxMsgSize int64) ([][]byte, error) {
	bodies := make([][]byte, 0, bytes.Count(body, newline)+1)
	for len(body) > 0 {
		var some []byte
		some, body = cutLines(body, bodyChunk)
		for line := range bytes.SplitSeq(some, newline) {
			if len(line) == 0 {
				continue
			}
			if int64(len(line)) > maxMsgSize {
				return nil, errMessageTooBig
			}
			bodies = append(bodies, line[:len(line):len(line)])
		}
	}
	return bodies, nil
}

var newline = []byte{'\n'}

// cutLines returns a copy of as many whole lines at the start of body as fit into
// most bytes, of one at least, and the rest. If all fit there is no need of a copy.
func cutLines(body []byte, most int) (some, rest []byte) {
	if len(body) <= most {
		return body, nil
	}
	end := bytes.LastIndexByte(body[:most], '\n') + 1
	if end == 0 {
		if end = bytes.IndexByte(body, '\n') + 1; end == 0 {
			return body, nil
		}
	}
	return bytes.Clone(body[:end]), body[end:]
}
