package nsqd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/logline"
)

// startServer starts a server on free ports, with its data in a folder of the
// test's own unless change says otherwise, and closes it with the test.
func startServer(t testing.TB, change func(*Options)) *Server {
	t.Helper()
	o := DefaultOptions()
	o.TCPAddress, o.HTTPAddress, o.HTTPSAddress = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	o.BroadcastAddress = "127.0.0.1"
	if change != nil {
		change(o)
	}
	if o.DataPath == "" {
		o.DataPath = t.TempDir()
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	s := New(o, testLog(t))
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// testLog shows what is worth a warning, or all with -v and NSQD_LOG set.
func testLog(t interface{ Fatal(...any) }) hclog.Logger {
	level := hclog.Error
	if os.Getenv("NSQD_LOG") != "" {
		level = hclog.Debug
	}
	log, err := logline.New(logline.Options{Level: logline.Level(level), Output: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// A peer is a client of protocol V2 that says what a test wants it to.
type peer struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// dial connects to the server, says the magic, and lines.
func dial(t testing.TB, s *Server, say ...string) *peer {
	t.Helper()
	conn, err := net.Dial(s.TCPAddr().Network(), s.TCPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &peer{t: t, conn: conn, r: bufio.NewReader(conn)}
	p.say("  V2" + strings.Join(say, ""))
	return p
}

func (p *peer) say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.t.Fatal(err)
	}
}

// sized returns body behind its size.
func sized(body string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(body)))) + body
}

// pub, multi and sub return commands.
func pub(topic, body string) string { return "PUB " + topic + "\n" + sized(body) }

func sub(topic, channel string) string { return "SUB " + topic + " " + channel + "\n" }

func multi(topic string, bodies ...string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(bodies)))
	for _, body := range bodies {
		b = append(b, sized(body)...)
	}
	return "MPUB " + topic + "\n" + sized(string(b))
}

// frameTimeout is how long a test waits for what has to come.
const frameTimeout = 10 * time.Second

// frame returns the next frame that is no heartbeat.
func (p *peer) frame() (kind uint32, payload []byte, err error) {
	for {
		p.conn.SetReadDeadline(time.Now().Add(frameTimeout))
		var head [8]byte
		if _, err := io.ReadFull(p.r, head[:]); err != nil {
			return 0, nil, err
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[:])-4)
		if _, err := io.ReadFull(p.r, payload); err != nil {
			return 0, nil, err
		}
		if !bytes.Equal(payload, heartbeatText) {
			return binary.BigEndian.Uint32(head[4:]), payload, nil
		}
	}
}

// want fails the test unless the next frames are these responses or errors.
func (p *peer) want(texts ...string) {
	p.t.Helper()
	for _, want := range texts {
		kind, payload, err := p.frame()
		if err != nil {
			p.t.Fatalf("waiting for %q: %v", want, err)
		}
		if string(payload) != want || kind == frameMessage {
			p.t.Fatalf("got frame %d %q, want %q", kind, payload, want)
		}
	}
}

// wantClosed fails the test unless the connection ends now.
func (p *peer) wantClosed() {
	p.t.Helper()
	if kind, payload, err := p.frame(); err == nil {
		p.t.Fatalf("got frame %d %q, want the end of the connection", kind, payload)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		p.t.Fatal("the connection stays open")
	}
}

// message returns the next frame, which has to be a message.
func (p *peer) message() *Message {
	p.t.Helper()
	kind, payload, err := p.frame()
	if err != nil {
		p.t.Fatalf("waiting for a message: %v", err)
	}
	m := new(Message)
	if kind != frameMessage {
		p.t.Fatalf("got frame %d %q, want a message", kind, payload)
	}
	if err := m.decode(payload); err != nil {
		p.t.Fatal(err)
	}
	return m
}

// wantNone fails the test if a frame comes within d.
func (p *peer) wantNone(d time.Duration) {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(d))
	if b, err := p.r.Peek(8); err == nil {
		p.t.Fatalf("a frame has come: %q", b)
	}
}

func (p *peer) fin(m *Message) { p.t.Helper(); p.say(fmt.Sprintf("FIN %s\n", m.ID)) }
