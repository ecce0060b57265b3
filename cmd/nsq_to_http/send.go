package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/forward"
)

// maxAnswer is how much of an answer is read so that the connection can be used
// again. Nobody looks at it.
const maxAnswer = 64 << 10

// client returns the http.Client that all requests share.
func (o *options) client() *http.Client {
	return &http.Client{
		Timeout: o.requestTimeout,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: o.connectTimeout}).DialContext,
			MaxIdleConnsPerHost: o.publishers,
		},
	}
}

// A sender handles messages by sending them.
type sender struct {
	opts   *options
	pool   *forward.Pool
	client *http.Client
}

// HandleMessage sends m to one destination.
func (s *sender) HandleMessage(m *nsq.Message) error {
	if s.opts.sample < 1 && rand.Float64() >= s.opts.sample {
		return nil
	}
	attempt := s.pool.Next()
	err := s.send(attempt.Address, m.Body)
	attempt.Done(err)
	return err
}

// send makes one request. A GET must be answered with 200, a POST with any 2xx.
func (s *sender) send(address string, message []byte) error {
	method, target, body := http.MethodPost, address, io.Reader(bytes.NewReader(message))
	if len(s.opts.get) > 0 {
		method, target, body = http.MethodGet, fill(address, url.QueryEscape(string(message))), nil
	}
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, address, cause(err))
	}
	req.Header = s.opts.header.Clone()
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, address, cause(err))
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, maxAnswer) // an answer cut short is one all the same
	if resp.StatusCode == http.StatusOK || method == http.MethodPost && resp.StatusCode/100 == 2 {
		return nil
	}
	return fmt.Errorf("%s %s: answered %s", method, address, resp.Status)
}

// fill puts message in the place of the %s in a GET address. As in stock, where this
// was a format, %% is a percent sign; any other one stands for itself.
func fill(address, message string) string {
	return strings.NewReplacer("%%", "%", "%s", message).Replace(address)
}

// cause takes the address off an error: in a GET's there is the whole message.
func cause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
