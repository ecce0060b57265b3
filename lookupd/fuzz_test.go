package lookupd

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/wire"
)

// scriptedConn is a connection whose peer has sent all it ever will.
type scriptedConn struct {
	in  io.Reader
	out bytes.Buffer
}

func (c *scriptedConn) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *scriptedConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *scriptedConn) Close() error                     { return nil }
func (c *scriptedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scriptedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *scriptedConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptedConn) SetWriteDeadline(time.Time) error { return nil }

// Whatever a peer sends, it gets whole replies, at most one error, which is the
// last; nothing invalid reaches the log; and its session ends.
func FuzzSession(f *testing.F) {
	id := identifyAs(0)
	for _, in := range []string{
		"PING\n", id, id + "REGISTER t c\r\nREGISTER t c\nUNREGISTER t\nPING\n", id + id,
		"IDENTIFY\n\xff\xff\xff\xff", "IDENTIFY\n\x7f\xff\xff\xff{", "REGISTER *\n", id + "UNREGISTER *\n", id + "REGISTER t  c\n",
		strings.Repeat("x", maxLine+1), "\n", " ", id + "REGISTER t#ephemeral c#ephemeral\n",
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		reg := newFakeRegistry()
		v := newTestV1(reg)
		conn := &scriptedConn{in: io.MultiReader(strings.NewReader(magicV1), bytes.NewReader(in))}
		v.Handle(conn)

		replies, err := splitFrames(conn.out.Bytes())
		if err != nil {
			t.Fatalf("%v in %q", err, conn.out.Bytes())
		}
		for i, reply := range replies {
			if reply == "OK" || reply == welcomeText {
				continue
			}
			if !strings.HasPrefix(reply, "E_") || i != len(replies)-1 {
				t.Errorf("reply %d of %d is %q", i+1, len(replies), reply)
			}
		}
		view := reg.View()
		if n := view.Counts().Sessions; n != 0 || v.sessions.Len() != 0 {
			t.Errorf("%d sessions in the registry and %d live after the end", n, v.sessions.Len())
		}
		for _, topic := range view.TopicNames() {
			if !wire.ValidTopic(topic) {
				t.Errorf("topic %q was registered", topic)
			}
			for _, channel := range view.Topic(topic).Channels() {
				if !wire.ValidChannel(channel) {
					t.Errorf("channel %q was registered", channel)
				}
			}
		}
	})
}

// Whatever stands behind the question mark, the answer is one that the API
// knows, in JSON, and the quick way to read it says what the slow one says.
func FuzzHTTPQuery(f *testing.F) {
	for _, query := range []string{
		"", "topic=t", "topic=%74&channel=c", "topic=*", "topic=t&node=hosta:4151", "topic=t;u", "topic=%zz", "topic==", "topic=t&topic=u",
		"topic=t&index=9&wait=10m&consistent=1&max_stale=5s", "index=-1", "wait=1e9h", "node=%ff&topic=t", "topic=a+b",
	} {
		f.Add(query)
	}
	known := []int{200, 400, 404}
	f.Fuzz(func(t *testing.T, query string) {
		reg := newFakeRegistry()
		fill(t, reg)
		a, h := newTestAPI(reg)
		stopped, stop := context.WithCancel(context.Background())
		stop()
		a.stopping = stopped // so that blocking queries do not
		for _, route := range []string{
			"GET /lookup", "GET /topics", "GET /channels", "GET /nodes", "GET /debug",
			"POST /topic/create", "POST /topic/delete", "POST /topic/tombstone", "POST /channel/create", "POST /channel/delete",
		} {
			method, path, _ := strings.Cut(route, " ")
			r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Body: http.NoBody, Header: make(http.Header)}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if !slices.Contains(known, w.Code) {
				t.Errorf("%s: got %d %s", route, w.Code, w.Body)
			}
			if w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s: got %q", route, w.Body)
			}

			got, err := parseQuery(r)
			params, paramsErr := url.ParseQuery(query)
			if (err == nil) != (paramsErr == nil) && paramsErr != nil {
				t.Errorf("accepted what net/url refuses: %v", paramsErr)
			}
			if err == nil && (got.topic != params.Get("topic") || got.hasTopic != params.Has("topic")) {
				t.Errorf("topic %q, %v, want %q, %v", got.topic, got.hasTopic, params.Get("topic"), params.Has("topic"))
			}
		}
		for _, topic := range reg.View().TopicNames() {
			if !wire.ValidTopic(topic) {
				t.Errorf("topic %q was created", topic)
			}
		}
	})
}
