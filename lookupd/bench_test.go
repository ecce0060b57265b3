package lookupd

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/httpapi"
)

// bareHandler writes body with the headers that every JSON answer has.
func bareHandler(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json; charset=utf-8")
		h.Set("X-Nsq-Content-Type", "nsq; version=1.0")
		if len(body) > 2048 {
			h.Set("Content-Length", strconv.Itoa(len(body)))
		}
		w.Write(body)
	})
}

// fillMany registers nsqds × topics, each topic with two channels.
func fillMany(b *testing.B, nsqds, topics int) *fakeRegistry {
	reg := newFakeRegistry()
	for i := range nsqds {
		serial := uint64(i + 1)
		reg.apply(b, openSerial(serial, testProducer(i)))
		for j := range topics {
			topic := fmt.Sprintf("topic%d", j)
			reg.apply(b, registerSerial(serial, topic, "archive"))
			reg.apply(b, registerSerial(serial, topic, "metrics"))
		}
	}
	return reg
}

// BenchmarkLookup compares /lookup with a bare handler that writes the same
// bytes: in memory, with allocations, and over loopback with 16 kept-alive
// clients, against topics of three producers in a small and a large registry.
func BenchmarkLookup(b *testing.B) {
	for _, topics := range []int{10, 10_000} {
		reg := fillMany(b, 3, topics)
		reg.fresh.LastContact = 3 * time.Millisecond
		_, ours := newTestAPI(reg)
		compare(b, fmt.Sprintf("topics=%d", topics), ours, "/lookup?topic=topic7")
	}
}

// BenchmarkNodes does the same for /nodes, of 200 nsqds with 100 topics each.
func BenchmarkNodes(b *testing.B) {
	_, ours := newTestAPI(fillMany(b, 200, 100))
	compare(b, "nsqds=200", ours, "/nodes")
}

// BenchmarkNodesAfterChange is what the first /nodes after a change costs.
func BenchmarkNodesAfterChange(b *testing.B) {
	reg := fillMany(b, 200, 100)
	a, ours := newTestAPI(reg)
	w := newDiscard()
	r := httptest.NewRequest("GET", "/nodes", nil)
	for b.Loop() {
		a.nodes.newest.Store(nil)
		ours.ServeHTTP(w, r)
	}
}

func compare(b *testing.B, name string, ours http.Handler, target string) {
	first := ask(ours, "GET "+target)
	if first.Code != http.StatusOK {
		b.Fatalf("%s: got %d %s", target, first.Code, first.Body)
	}
	for _, bb := range []struct {
		name    string
		handler http.Handler
	}{
		{"bare", bareHandler(first.Body.Bytes())},
		{"ours", ours},
	} {
		b.Run(name+"/memory/"+bb.name, func(b *testing.B) {
			w := newDiscard()
			r := httptest.NewRequest("GET", target, nil)
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				bb.handler.ServeHTTP(w, r)
			}
		})
		b.Run(name+"/loopback/"+bb.name, func(b *testing.B) { overLoopback(b, bb.handler, target) })
	}
}

// overLoopback asks with eight kept-alive clients per processor. They write a
// prepared request and read as many bytes as the answer has, so that the
// server is what is measured.
func overLoopback(b *testing.B, h http.Handler, target string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := httpapi.NewServer(h, hclog.NewNullLogger(), httpapi.ServerOptions{})
	go srv.Serve(ln)
	defer srv.Close()

	request := []byte("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		answers := bufio.NewReaderSize(conn, 64<<10)
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if err := skipAnswer(answers); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// skipAnswer reads one answer, which has a Content-Length.
func skipAnswer(r *bufio.Reader) error {
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
		if len(line) == len("\r\n") {
			_, err := r.Discard(length)
			return err
		}
	}
}

type discard struct{ header http.Header }

func newDiscard() *discard                     { return &discard{make(http.Header)} }
func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
