package nsqd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/logline"
	"nsqraft/internal/nsqtest"
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

// A lab is a server on a network in memory, without HTTP: with synctest its time is
// the test's. Its heartbeats are rare unless a client asks for others.
type lab struct {
	*Server
	t       testing.TB
	network *nsqtest.Network
}

// inLab runs a story in a lab of its own.
func inLab(t *testing.T, change func(*Options), story func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { story(newLab(t, change)) })
}

func newLab(t testing.TB, change func(*Options)) *lab {
	t.Helper()
	return newLabLogging(t, testLog(t), change)
}

func newLabLogging(t testing.TB, log hclog.Logger, change func(*Options)) *lab {
	t.Helper()
	o := DefaultOptions()
	o.BroadcastAddress = "nsqd"
	o.ClientTimeout = 30 * 24 * time.Hour // peers answer heartbeats only while they wait for a frame
	if change != nil {
		change(o)
	}
	if o.DataPath == "" {
		o.DataPath = t.TempDir()
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	l := &lab{New(o, log), t, nsqtest.NewNetwork()}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := l.takeOver(); err != nil {
		t.Fatal(err)
	}
	l.links.dial = func(ctx context.Context, addr string) (net.Conn, error) { return l.network.Dial(ctx, "nsqd", addr) }
	ln, err := l.network.Listen("nsqd:4150")
	if err != nil {
		t.Fatal(err)
	}
	l.accept(ln)
	l.links.open()
	return l
}

// connect connects to the lab's server and says nothing.
func (l *lab) connect() *peer {
	l.t.Helper()
	conn, err := l.network.Dial(context.Background(), "peer", "nsqd:4150")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	return &peer{t: l.t, conn: conn, r: bufio.NewReader(conn), patience: 24 * time.Hour}
}

// dial connects to the lab's server, says the magic, and lines.
func (l *lab) dial(say ...string) *peer {
	l.t.Helper()
	p := l.connect()
	p.say("  V2" + strings.Join(say, ""))
	return p
}

// consumer returns a peer that has subscribed and is ready for n messages.
func (l *lab) consumer(topic, channel string, n int) *peer {
	l.t.Helper()
	p := l.dial(sub(topic, channel), fmt.Sprintf("RDY %d\n", n))
	p.want("OK")
	synctest.Wait()
	return p
}

// publish has a peer publish the bodies, and leave.
func (l *lab) publish(topic string, bodies ...string) {
	l.t.Helper()
	p := l.dial(multi(topic, bodies...))
	p.want("OK")
	p.conn.Close()
	synctest.Wait()
}

// channel returns what is known of a channel, which must be there.
func (l *lab) channel(topic, channel string) ChannelStats {
	l.t.Helper()
	synctest.Wait()
	for _, t := range l.Stats(StatsFilter{Topic: topic, Channel: channel, Clients: true}).Topics {
		for _, c := range t.Channels {
			return c
		}
	}
	l.t.Fatalf("there is no channel %s:%s", topic, channel)
	return ChannelStats{}
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

	patience time.Duration // how long it waits for a frame
}

// dial connects to the server, says the magic, and lines.
func dial(t testing.TB, s *Server, say ...string) *peer {
	t.Helper()
	conn, err := net.Dial(s.TCPAddr().Network(), s.TCPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &peer{t: t, conn: conn, r: bufio.NewReader(conn), patience: frameTimeout}
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

// next returns the next frame.
func (p *peer) next() (kind uint32, payload []byte, err error) {
	p.conn.SetReadDeadline(time.Now().Add(p.patience))
	var head [8]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, binary.BigEndian.Uint32(head[:])-4)
	_, err = io.ReadFull(p.r, payload)
	return binary.BigEndian.Uint32(head[4:]), payload, err
}

// frame returns the next frame that is no heartbeat. It answers those.
func (p *peer) frame() (kind uint32, payload []byte, err error) {
	for {
		kind, payload, err := p.next()
		if err != nil || !bytes.Equal(payload, heartbeatText) {
			return kind, payload, err
		}
		io.WriteString(p.conn, "NOP\n") // if it cannot, the next frame tells
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

// wantNone fails the test if a frame but heartbeats comes within d.
func (p *peer) wantNone(d time.Duration) {
	p.t.Helper()
	patience := p.patience
	defer func() { p.patience = patience }()
	for end := time.Now().Add(d); ; {
		p.patience = time.Until(end)
		kind, payload, err := p.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			p.t.Fatalf("waiting for nothing: %v", err)
		case !bytes.Equal(payload, heartbeatText):
			p.t.Fatalf("got frame %d %q, want none", kind, payload)
		}
		p.say("NOP\n")
	}
}

// wantMessage fails the test unless the next frame is a message with that body and
// so many attempts, and returns it.
func (p *peer) wantMessage(body string, attempts int) *Message {
	p.t.Helper()
	m := p.message()
	if string(m.Body) != body || int(m.Attempts) != attempts {
		p.t.Fatalf("got message %q, attempt %d, want %q, attempt %d", m.Body, m.Attempts, body, attempts)
	}
	return m
}

// identify returns an IDENTIFY with these keys and values of its JSON.
func identify(fields string) string { return "IDENTIFY\n" + sized("{"+fields+"}") }

func (p *peer) fin(m *Message) { p.t.Helper(); p.say(fmt.Sprintf("FIN %s\n", m.ID)) }
