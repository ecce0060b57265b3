package nsqd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"nsqraft/internal/httpapi"
)

var (
	errMessageEmpty  = httpapi.NewError(http.StatusBadRequest, "MSG_EMPTY")
	errInvalidDefer  = httpapi.NewError(http.StatusBadRequest, "INVALID_DEFER")
	errMessageTooBig = httpapi.NewError(http.StatusRequestEntityTooLarge, "MSG_TOO_BIG")
	errBodyTooBig    = httpapi.NewError(http.StatusRequestEntityTooLarge, "BODY_TOO_BIG")

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

// publishMany answers /mpub. A request needs memory for its body, which the
// messages share, and 24 bytes for each message.
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
	body, err := readBody(r, a.opts.MaxBodySize, errBodyTooBig)
	if err != nil {
		return nil, err
	}
	var bodies [][]byte
	if a.binary(params) {
		bodies, err = parseMPUB(body, a.opts.MaxMsgSize, a.opts.MaxBodySize)
		if e, ok := errors.AsType[*mpubError](err); ok {
			return nil, httpapi.NewError(http.StatusRequestEntityTooLarge, e.code[len("E_"):])
		}
	} else {
		bodies, err = splitLines(body, a.opts.MaxMsgSize)
	}
	if err != nil {
		return nil, err
	}
	return a.put(params, bodies)
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
			return nil, httpError(err)
		}
	}
	return "OK", nil
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
	longest := o.MaxDeferTimeout
	if longest == 0 {
		longest = o.MaxReqTimeout
	}
	ms, err := strconv.ParseInt(params.Get("defer"), 10, 64)
	// In milliseconds, for a huge number of them would wrap into the range.
	if err != nil || ms < 0 || ms > longest.Milliseconds() {
		return 0, errInvalidDefer
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// firstRead is the memory made for a body before any of it has come, whatever its
// length is said to be.
const firstRead = 64 << 10

// readBody returns the body of r, chunked or not, or tooBig as soon as it is known
// to be longer than limit. Memory grows with what has arrived, and not beyond limit
// by more than a byte.
func readBody(r *http.Request, limit int64, tooBig error) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooBig
	}
	// Of a chunked body, one byte more than may come tells that there is no end.
	most := min(limit, math.MaxInt-1) + 1
	if r.ContentLength >= 0 {
		most = r.ContentLength
	}
	buf := make([]byte, 0, min(most, firstRead))
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
			if size > most-firstRead {
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

// splitLines returns the lines of body that are not empty; they share its memory.
// The last one needs no newline.
func splitLines(body []byte, maxMsgSize int64) ([][]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	bodies := make([][]byte, 0, bytes.Count(body, []byte{'\n'})+1)
	for line := range bytes.SplitSeq(body, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		if int64(len(line)) > maxMsgSize {
			return nil, errMessageTooBig
		}
		bodies = append(bodies, line[:len(line):len(line)])
	}
	return bodies, nil
}

// An mpubError is what is wrong with the body of an MPUB, with the code and the text
// that a TCP client is told. HTTP has the code without its E_.
type mpubError struct{ code, text string }

func (e *mpubError) Error() string { return e.code + " " + e.text }

// parseMPUB returns the messages in the body of an MPUB, which share its memory: a
// count in 4 bytes, then for each message its length in 4 bytes and itself. The body
// must end with the last of them: what followed would be lost, and stock drops it
// without a word. Any error is an *mpubError.
func parseMPUB(body []byte, maxMsgSize, maxBodySize int64) ([][]byte, error) {
	if len(body) < 4 {
		return nil, &mpubError{"E_BAD_BODY", "MPUB failed to read message count"}
	}
	count, rest := int32(binary.BigEndian.Uint32(body)), body[4:]
	// A message takes 5 bytes at least.
	if count <= 0 || int64(count) > (maxBodySize-4)/5 {
		return nil, &mpubError{"E_BAD_BODY", fmt.Sprintf("MPUB invalid message count %d", count)}
	}
	bodies := make([][]byte, 0, min(int(count), len(rest)/5))
	for i := range count {
		if len(rest) < 4 {
			return nil, &mpubError{"E_BAD_MESSAGE", fmt.Sprintf("MPUB failed to read message(%d) body size", i)}
		}
		size := int32(binary.BigEndian.Uint32(rest))
		rest = rest[4:]
		switch {
		case size <= 0:
			return nil, &mpubError{"E_BAD_MESSAGE", fmt.Sprintf("MPUB invalid message(%d) body size %d", i, size)}
		case int64(size) > maxMsgSize:
			return nil, &mpubError{"E_BAD_MESSAGE", fmt.Sprintf("MPUB message too big %d > %d", size, maxMsgSize)}
		case int(size) > len(rest):
			return nil, &mpubError{"E_BAD_MESSAGE", "MPUB failed to read message body"}
		}
		bodies = append(bodies, rest[:size:size])
		rest = rest[size:]
	}
	if len(rest) > 0 {
		return nil, &mpubError{"E_BAD_BODY", fmt.Sprintf("MPUB %d bytes after the last message", len(rest))}
	}
	return bodies, nil
}
