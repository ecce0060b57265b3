package env

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	readyPause = 20 * time.Millisecond
	askWithin  = 2 * time.Second
)

// Ready returns nil once every nsqlookupd of e says that it is ready, and every nsqd
// that it lives. When ctx ends before, it says which does not.
func Ready(ctx context.Context, e Env) error {
	return awaitReady(ctx, e, func() error { return nil })
}

// Started is Ready for an e that has just been started: if a process has ended by itself it
// says so at once.
func Started(ctx context.Context, e Env) error {
	return awaitReady(ctx, e, func() error {
		if x, ok := firstEnded(e); ok {
			return fmt.Errorf("%s has ended (%s), and said last:\n%s", x.Name, x.How, strings.TrimSpace(x.LogEnd))
		}
		return nil
	})
}

func awaitReady(ctx context.Context, e Env, hopeless func() error) error {
	client := &http.Client{Transport: alone(unreached), Timeout: askWithin}
	for {
		err := ready(ctx, client, e)
		if err == nil {
			return nil
		}
		if why := hopeless(); why != nil {
			return why
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", err)
		case <-time.After(readyPause):
		}
	}
}

// firstEnded returns a process of e that has ended by itself, if e knows of any.
func firstEnded(e Env) (x Exit, ok bool) {
	p, knows := e.(interface{ Ended() []Exit })
	if !knows {
		return Exit{}, false
	}
	all := p.Ended()
	if len(all) == 0 {
		return Exit{}, false
	}
	return all[0], true
}

func ready(ctx context.Context, client *http.Client, e Env) error {
	for _, n := range e.Nodes() {
		status, err := ask(ctx, client, n.HTTP, "/readyz")
		if err == nil && status == http.StatusNotFound { // stock
			status, err = ask(ctx, client, n.HTTP, "/ping")
		}
		if err != nil || status != http.StatusOK {
			return unready(n, status, err)
		}
	}
	for _, n := range e.NSQDs() {
		if status, err := ask(ctx, client, n.HTTP, "/ping"); err != nil || status != http.StatusOK {
			return unready(n, status, err)
		}
	}
	return nil
}

func ask(ctx context.Context, client *http.Client, addr, target string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+target, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, err
}

func unready(n Node, status int, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return fmt.Errorf("%s answers with status %d", n.Name, status)
}

// askJSON decodes the answer to a GET if its status is 200.
func askJSON(ctx context.Context, addr, target string, into any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+target, nil)
	if err != nil {
		return 0, err
	}
	resp, err := alone(askWithin).RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(into)
	}
	return resp.StatusCode, err
}
