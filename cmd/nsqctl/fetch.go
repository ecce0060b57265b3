package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"nsqraft/internal/version"
)

// errCut says that an answer was longer than what was wanted of it.
var errCut = errors.New("cut short")

// A fetched is what a daemon answered to a GET.
type fetched struct {
	status int
	body   []byte
	date   time.Time // of its Date header; zero: there is none
	took   time.Duration
}

// fetch asks a daemon for path, for what package clusterinfo has no question for. With
// errCut the first most bytes are there.
func (p *program) fetch(ctx context.Context, address, path string, most int64) (*fetched, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "nsqctl/"+version.Version)
	start := time.Now()
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	f := &fetched{status: resp.StatusCode, took: time.Since(start)}
	f.date, _ = http.ParseTime(resp.Header.Get("Date"))
	f.body, err = io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer: %w", err)
	case int64(len(f.body)) > most:
		f.body = f.body[:most]
		return f, errCut
	}
	return f, nil
}

// newHTTP returns the client of fetch, which follows no redirect: no daemon has any.
func newHTTP() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: 10 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
