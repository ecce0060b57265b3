package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"nsqraft/internal/drill/history"
)

const (
	requestTimeout = 2 * time.Second
	// maxBody bounds an answer: some thousands of producers, or the statistics of an nsqd.
	maxBody = 4 << 20
)

// An api is the HTTP port of a daemon.
type api struct {
	base   string
	client *http.Client
}

func newAPI(addr string) *api {
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	return &api{base: strings.TrimSuffix(addr, "/"), client: &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     10 * time.Second,
			DisableCompression:  true,
		},
		// A daemon answers itself; nobody else is asked on its word.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (a *api) close() { a.client.CloseIdleConnections() }

// A response is an answer, whole.
type response struct {
	status int
	header http.Header
	body   []byte
}

// do makes a request such as "/lookup?topic=a" within requestTimeout.
func (a *api) do(ctx context.Context, method, path, body string) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/vnd.nsq; version=1.0")
	resp, err := a.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the method and the URL, which the caller knows
		}
		return nil, err
	}
	defer resp.Body.Close()
	r := &response{status: resp.StatusCode, header: resp.Header}
	r.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(r.body) > maxBody {
		err = fmt.Errorf("an answer of more than %d bytes", maxBody)
	}
	return r, err
}

// settle notes in op what its client can know after do: 200 is done, and so is 404, which
// says that there was nothing to do; 503 and other 4xx are refusals, and so is a
// connection that did not come about. All else may have happened, or may still.
func settle(op *history.Op, r *response, err error) {
	if r != nil {
		op.Status = r.status
	}
	switch {
	case err != nil:
		op.Outcome, op.Error = history.Unknown, err.Error()
		if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
			op.Outcome = history.Refused
		}
		return
	case r.status == http.StatusOK, r.status == http.StatusNotFound:
		op.Outcome = history.Done
		return
	case r.status == http.StatusServiceUnavailable, r.status/100 == 4:
		op.Outcome = history.Refused
	default:
		op.Outcome = history.Unknown
	}
	op.Error = strings.TrimSpace(string(r.body[:min(len(r.body), 200)]))
}
