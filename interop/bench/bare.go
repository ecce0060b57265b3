package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
)

// A bareAnswer is what the bare handler writes.
type bareAnswer struct {
	Header http.Header
	Body   []byte
}

// serveBare answers every request at addr with the bareAnswer on in: the least that
// a Go server can do to send these bytes.
func serveBare(addr string, in io.Reader) error {
	var a bareAnswer
	if err := json.NewDecoder(in).Decode(&a); err != nil {
		return fmt.Errorf("read the answer to serve: %w", err)
	}
	length := []string{strconv.Itoa(len(a.Body))}
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for key, values := range a.Header {
			h[key] = values
		}
		h["Content-Length"] = length
		w.Write(a.Body) // an error means that the client has gone
	}))
}

// startBare starts a bare handler that gives the answer which addr gives to target,
// and returns where.
func (b *bench) startBare(addr, target string) (string, error) {
	a, err := get(addr, target)
	if err := wantOK(a, err); err != nil {
		return "", err
	}
	for _, own := range []string{"Date", "Content-Length"} {
		a.header.Del(own)
	}
	in, err := json.Marshal(bareAnswer{a.header, a.body})
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	bare, err := freeAddr()
	if err != nil {
		return "", err
	}
	p := b.newProcess("bare", self, "-bare="+bare)
	p.in = in
	if err := p.start(); err != nil {
		return "", err
	}
	return bare, eventually("the bare handler answers", func() error {
		if err := p.alive(); err != nil {
			return err
		}
		return wantOK(get(bare, target))
	})
}
