package httpapi

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// BenchmarkAnswer compares a V1 answer in a Router with a bare handler that
// writes the same bytes: in memory, where the difference shows, and over
// loopback with keep-alive, where it should not.
func BenchmarkAnswer(b *testing.B) {
	body := []byte(`{"channels":["c"],"producers":[` + strings.Repeat("x", 200) + `]}`)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("topic") == "" {
			panic("no topic")
		}
		h := w.Header()
		h.Set("Content-Type", "application/json; charset=utf-8")
		h.Set("X-Nsq-Content-Type", "nsq; version=1.0")
		h.Set("X-Nsq-Index", "7")
		w.Write(body)
	})
	resp := &Response{JSON(body), http.Header{"X-Nsq-Index": {"7"}}}
	rt := NewRouter(hclog.NewNullLogger())
	for _, path := range []string{"/ping", "/info", "/topics", "/nodes", "/channels"} {
		rt.V1("GET", path, func(*http.Request) (any, error) { return nil, nil })
	}
	rt.V1("GET", "/lookup", func(r *http.Request) (any, error) {
		q, err := Query(r)
		if err != nil || q.Get("topic") == "" {
			return nil, NewError(400, "MISSING_ARG_TOPIC")
		}
		return resp, nil
	})
	for _, bb := range []struct {
		name string
		h    http.Handler
	}{{"bare", bare}, {"v1", rt}} {
		b.Run("memory/"+bb.name, func(b *testing.B) {
			w := &discard{header: make(http.Header)}
			r, err := http.NewRequest("GET", "/lookup?topic=t", nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				bb.h.ServeHTTP(w, r)
			}
		})
		b.Run("loopback/"+bb.name, func(b *testing.B) {
			url := "http://" + serve(b, bb.h) + "/lookup?topic=t"
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for b.Loop() {
				resp, err := client.Get(url)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body) // to reuse the connection
				resp.Body.Close()
			}
		})
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
