package clusterinfo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What an answer may be long at most; a longer one is its daemon's error. An nsqd of
// 100,000 topics with five channels each says some 150 MB in /stats.
const (
	statsLimit  = 256 << 20
	listLimit   = 128 << 20 // of names: /topics, /nodes
	answerLimit = 4 << 20   // of anything else
	errorLimit  = 4 << 10   // read of an answer that is not 200
	textLimit   = 200       // kept of its message
	headerLimit = 64 << 10
	longAnswer  = 256 << 10 // one beyond waits for its turn where Client.turns is set

	// objectLimit bounds the JSON objects of an answer, for {} is short as text and
	// long as a struct.
	objectLimit = 4 << 20
)

// take reads the answer.
func (q *question) take(resp *http.Response, t *turn) error {
	limit := q.limit
	if limit == 0 {
		limit = answerLimit
	}
	body := &bounded{from: resp.Body, left: limit, objects: objectLimit}
	first, err := t.await(body)
	if err == nil && q.read != nil {
		start := time.Now()
		body.waited = 0
		err = q.read(io.MultiReader(bytes.NewReader(first), body), resp.Header)
		if q.cost != nil {
			*q.cost += time.Since(start) - body.waited
		}
	}
	if err == nil {
		_, err = io.Copy(io.Discard, body) // to its end, for the connection to be used again
	}
	if err != nil {
		return fmt.Errorf("%s: %w", q.path, err)
	}
	return nil
}

// errTooLong ends the reading of an answer beyond its limit.
var errTooLong = errors.New("the answer is too long")

// A bounded reader gives errTooLong beyond its limits.
type bounded struct {
	from    io.Reader
	left    int64         // bytes; negative: there were more
	objects int           // that may still begin
	waited  time.Duration // for the network
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 || b.objects < 0 {
		return 0, errTooLong
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	start := time.Now()
	n, err := b.from.Read(p)
	b.waited += time.Since(start)
	b.left -= int64(n)
	b.objects -= bytes.Count(p[:n], []byte("{"))
	if b.left < 0 || b.objects < 0 {
		return 0, errTooLong
	}
	return n, err
}

// getJSON decodes the answer to GET path into v.
func (c *Client) getJSON(ctx context.Context, address, path string, query url.Values, limit int64, v any) (http.Header, error) {
	var header http.Header
	err := c.do(ctx, address, &question{path: path, query: query, limit: limit, read: func(body io.Reader, h http.Header) error {
		header = h
		return decodeJSON(body, h, v)
	}})
	return header, err
}

// decodeJSON decodes what a daemon answered into v. Those before 1.0 wrap it.
func decodeJSON(body io.Reader, header http.Header, v any) error {
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return decodeText(text, header, v)
}

func decodeText(text []byte, header http.Header, v any) error {
	if header.Get("X-Nsq-Content-Type") == "" {
		var wrapped struct {
			Status int             `json:"status_code"`
			Data   json.RawMessage `json:"data"`
		}
		if json.Unmarshal(text, &wrapped) == nil && wrapped.Status != 0 && wrapped.Data != nil {
			text = wrapped.Data
		}
	}
	if err := json.Unmarshal(text, v); err != nil {
		return invalid(err)
	}
	return nil
}

// Answered says whether err is of a daemon, or something else at its address, that did
// answer, but with a refusal or with what no daemon of NSQ says.
func Answered(err error) bool {
	_, refused := errors.AsType[*StatusError](err)
	return refused || errors.Is(err, errInvalid) || errors.Is(err, errTooLong)
}

// message returns what the body of a refusal says: NSQ's message, or its text.
func message(body []byte) string {
	var answer struct {
		Message string `json:"message"`
		Text    string `json:"status_txt"` // before 1.0
	}
	text := string(body)
	if json.Unmarshal(body, &answer) == nil && answer.Message+answer.Text != "" {
		text = answer.Message + answer.Text
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > textLimit {
		text = strings.ToValidUTF8(text[:textLimit], "") + "..."
	}
	return text
}

// A turn is the right to read a long answer, which takes much of a processor. To wait
// for it is not the daemon's delay: the time does not count.
type turn struct {
	ctx      context.Context // of the question
	turns    chan struct{}   // nil: there is no need to wait
	deadline time.Time
	timer    *time.Timer // ends ctx at deadline
	taken    bool
}

// await returns the beginning of body, to be read before the rest, after it has waited
// for its turn if there is more than longAnswer.
func (t *turn) await(body io.Reader) (first []byte, err error) {
	if t.turns == nil {
		return nil, nil
	}
	first, err = io.ReadAll(io.LimitReader(body, longAnswer))
	if err != nil || len(first) < longAnswer {
		return first, err
	}
	left := time.Until(t.deadline)
	t.timer.Stop()
	select {
	case t.turns <- struct{}{}:
		t.taken = true
		t.timer.Reset(left)
		return first, nil
	case <-t.ctx.Done():
		return nil, t.ctx.Err()
	}
}

func (t *turn) end() {
	t.timer.Stop()
	if t.taken {
		<-t.turns
	}
}
