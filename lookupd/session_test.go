package lookupd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/fsm"
	"nsqraft/internal/wire"
)

const welcomeText = `{"broadcast_address":"b","hostname":"h","http_port":4161,"tcp_port":4160,"version":"v"}`

// client is an nsqd's end of a connection to a v1, all inside a synctest bubble.
type client struct {
	t        *testing.T
	conn     net.Conn
	v1       *v1
	reg      *fakeRegistry
	sessions *sessions
	ended    chan struct{}

	mu  sync.Mutex
	got []byte
}

func newTestV1(reg registry) *v1 {
	return newV1(reg, new(sessions), newMetrics(), hclog.NewNullLogger(), []byte(welcomeText), 5*time.Minute)
}

// dial connects to a v1 over reg, which may be shared by several clients.
func dial(t *testing.T, v *v1) *client {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	c := &client{t: t, conn: ours, v1: v, reg: v.reg.(*fakeRegistry), sessions: v.sessions, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		v.Handle(theirs)
	}()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := ours.Read(buf)
			c.mu.Lock()
			c.got = append(c.got, buf[:n]...)
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return c
}

// send writes in and returns the replies that come without time passing.
func (c *client) send(in string) []string {
	c.t.Helper()
	go c.conn.Write([]byte(in))
	synctest.Wait()
	return c.replies()
}

// replies returns what has come since the last call.
func (c *client) replies() []string {
	c.t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	replies, err := splitFrames(c.got)
	if err != nil {
		c.t.Fatalf("%v in %q", err, c.got)
	}
	c.got = nil
	return replies
}

// closed reports whether the connection has ended from the other side.
func (c *client) closed() bool {
	synctest.Wait()
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// close ends the connection and waits for the session's end.
func (c *client) close() {
	c.conn.Close()
	<-c.ended
}

// identified connects and identifies as nsqd i.
func identified(t *testing.T, v *v1, i int) *client {
	t.Helper()
	c := dial(t, v)
	c.want(c.send("  V1"+identifyAs(i)), welcomeText)
	c.reg.log()
	return c
}

func (c *client) want(got []string, want ...string) {
	c.t.Helper()
	if !slices.Equal(got, want) {
		c.t.Fatalf("replies are %q, want %q", got, want)
	}
}

func (c *client) wantLog(want ...string) {
	c.t.Helper()
	synctest.Wait()
	if got := c.reg.log(); !slices.Equal(got, want) {
		c.t.Fatalf("log entries are %q, want %q", got, want)
	}
}

func splitFrames(b []byte) (frames []string, err error) {
	for len(b) > 0 {
		if len(b) < 4 || len(b)-4 < int(binary.BigEndian.Uint32(b)) {
			return frames, io.ErrUnexpectedEOF
		}
		size := 4 + int(binary.BigEndian.Uint32(b))
		frames = append(frames, string(b[4:size]))
		b = b[size:]
	}
	return frames, nil
}

func sized(body string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(body)))) + body
}

func identifyBody(body string) string { return "IDENTIFY\n" + sized(body) }

func identifyAs(i int) string {
	p := testProducer(i)
	return identifyBody(fmt.Sprintf(`{"broadcast_address":%q,"hostname":%q,"http_port":%d,"tcp_port":%d,"version":%q}`,
		p.BroadcastAddress, p.Hostname, p.HttpPort, p.TcpPort, p.Version))
}

func size32(n int32) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

// The answers of the V1 protocol, as stock gives them.
func TestSessionTranscripts(t *testing.T) {
	const v1 = "  V1"
	id := identifyAs(0)
	long := strings.Repeat("n", 65)
	tests := []struct {
		name   string
		in     string
		want   []string
		closed bool
		log    []string // "open" of the first nsqd left out
	}{
		{"bad magic", "  V2", []string{"E_BAD_PROTOCOL"}, true, nil},
		{"magic in pieces of nothing", "", nil, false, nil},
		{"PING before IDENTIFY", v1 + "PING\n", []string{"OK"}, false, nil},
		{"CRLF and white space", v1 + " \tPING \r\n", []string{"OK"}, false, nil},
		{"IDENTIFY", v1 + id, []string{welcomeText}, false, nil},
		{"IDENTIFY with arguments", v1 + strings.Replace(id, "IDENTIFY\n", "IDENTIFY x y\r\n", 1), []string{welcomeText}, false, nil},
		{"second IDENTIFY", v1 + id + id, []string{welcomeText, "E_INVALID cannot IDENTIFY again"}, true, []string{"end"}},
		{"first PING ends the replay", v1 + id + "PING\nPING\n", []string{welcomeText, "OK", "OK"}, false, []string{"replayed"}},
		{
			"REGISTER and UNREGISTER", v1 + id + "REGISTER t\nREGISTER t c\r\nUNREGISTER t c\nUNREGISTER t\n",
			[]string{welcomeText, "OK", "OK", "OK", "OK"}, false,
			[]string{"register t", "register t/c", "unregister t/c", "unregister t"},
		},
		{"two spaces hold an empty channel", v1 + id + "REGISTER t  c\n", []string{welcomeText, "OK"}, false, []string{"register t"}},
		{"ephemeral names", v1 + id + "REGISTER t#ephemeral c#ephemeral\n", []string{welcomeText, "OK"}, false, []string{"register t#ephemeral/c#ephemeral"}},
		{"REGISTER before IDENTIFY", v1 + "REGISTER t\n", []string{"E_INVALID client must IDENTIFY"}, true, nil},
		{"UNREGISTER before IDENTIFY", v1 + "UNREGISTER\n", []string{"E_INVALID client must IDENTIFY"}, true, nil},
		{"REGISTER of nothing", v1 + id + "REGISTER\n", []string{welcomeText, "E_INVALID REGISTER insufficient number of params"}, true, []string{"end"}},
		{"UNREGISTER of nothing", v1 + id + "UNREGISTER\n", []string{welcomeText, "E_INVALID UNREGISTER insufficient number of params"}, true, []string{"end"}},
		{"bad topic", v1 + id + "REGISTER x!\n", []string{welcomeText, "E_BAD_TOPIC REGISTER topic name 'x!' is not valid"}, true, []string{"end"}},
		{"wildcard topic", v1 + id + "UNREGISTER *\n", []string{welcomeText, "E_BAD_TOPIC UNREGISTER topic name '*' is not valid"}, true, []string{"end"}},
		{"long topic", v1 + id + "REGISTER " + long + "\n", []string{welcomeText, "E_BAD_TOPIC REGISTER topic name '" + long + "' is not valid"}, true, []string{"end"}},
		{"bad channel", v1 + id + "REGISTER t x!\n", []string{welcomeText, "E_BAD_CHANNEL REGISTER channel name 'x!' is not valid"}, true, []string{"end"}},
		{"wildcard channel", v1 + id + "UNREGISTER t *\n", []string{welcomeText, "E_BAD_CHANNEL UNREGISTER channel name '*' is not valid"}, true, []string{"end"}},
		{"an error keeps what came before it", v1 + id + "REGISTER t\nNOPE\nREGISTER u\n", []string{welcomeText, "OK", "E_INVALID invalid command NOPE"}, true, []string{"register t", "end"}},
		{"empty line", v1 + "\n", []string{"E_INVALID invalid command "}, true, nil},
		{"lower case", v1 + "ping\n", []string{"E_INVALID invalid command ping"}, true, nil},
		{"longest line", v1 + "PING" + strings.Repeat(" ", maxLine-5) + "\n", []string{"OK"}, false, nil},
		{"endless line", v1 + strings.Repeat("x", maxLine), []string{"E_INVALID line longer than 4096 bytes"}, true, nil},

		{"body size -1", v1 + "IDENTIFY\n" + size32(-1), []string{"E_BAD_BODY IDENTIFY invalid body size -1"}, true, nil},
		{"body size 0", v1 + "IDENTIFY\n" + size32(0), []string{"E_BAD_BODY IDENTIFY failed to decode JSON body"}, true, nil},
		{"body size 2^31-1", v1 + "IDENTIFY\n" + size32(1<<31-1), []string{"E_BAD_BODY IDENTIFY body too big 2147483647 > 65536"}, true, nil},
		{"body size 64 KiB + 1", v1 + "IDENTIFY\n" + size32(64<<10+1), []string{"E_BAD_BODY IDENTIFY body too big 65537 > 65536"}, true, nil},
		{"longest body", v1 + identifyBody(`{"broadcast_address":"b","tcp_port":1,"http_port":2,"version":"v"}`+strings.Repeat(" ", 64<<10-66)), []string{welcomeText}, false, []string{"open b:1:2"}},
		{"no JSON", v1 + identifyBody("x"), []string{"E_BAD_BODY IDENTIFY failed to decode JSON body"}, true, nil},
		{"JSON of another type", v1 + identifyBody(`{"tcp_port":"1"}`), []string{"E_BAD_BODY IDENTIFY failed to decode JSON body"}, true, nil},
		{"invalid UTF-8", v1 + identifyBody("{\"broadcast_address\":\"\xff\",\"tcp_port\":1,\"http_port\":2,\"version\":\"v\"}"), []string{"E_BAD_BODY IDENTIFY failed to decode JSON body"}, true, nil},
		{"missing fields", v1 + identifyBody(`{"broadcast_address":"b","tcp_port":1,"version":"v"}`), []string{"E_BAD_BODY IDENTIFY missing fields"}, true, nil},
		{"zero port", v1 + identifyBody(`{"broadcast_address":"b","tcp_port":0,"http_port":2,"version":"v"}`), []string{"E_BAD_BODY IDENTIFY missing fields"}, true, nil},
		{"negative port", v1 + identifyBody(`{"broadcast_address":"b","tcp_port":-1,"http_port":2,"version":"v"}`), []string{"E_BAD_BODY IDENTIFY invalid tcp_port"}, true, nil},
		{"great port", v1 + identifyBody(`{"broadcast_address":"b","tcp_port":1,"http_port":65536,"version":"v"}`), []string{"E_BAD_BODY IDENTIFY invalid http_port"}, true, nil},
		{"long host name", v1 + identifyBody(`{"broadcast_address":"b","hostname":"`+strings.Repeat("h", 256)+`","tcp_port":1,"http_port":2,"version":"v"}`), []string{"E_BAD_BODY IDENTIFY invalid hostname"}, true, nil},
		{"control character", v1 + identifyBody(`{"broadcast_address":"b\u0007","tcp_port":1,"http_port":2,"version":"v"}`), []string{"E_BAD_BODY IDENTIFY invalid broadcast_address"}, true, nil},
		{"more fields than known", v1 + identifyBody(`{"x":[{}],"broadcast_address":"b","tcp_port":1,"http_port":2,"version":"v"}`), []string{welcomeText}, false, []string{"open b:1:2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := dial(t, newTestV1(newFakeRegistry()))
				c.want(c.send(tt.in), tt.want...)
				if got := c.closed(); got != tt.closed {
					t.Errorf("closed: %v, want %v", got, tt.closed)
				}
				log := c.reg.log()
				if len(log) > 0 && log[0] == "open hosta:4150:4151" {
					log = log[1:]
				}
				if !slices.Equal(log, tt.log) {
					t.Errorf("log entries are %q, want %q", log, tt.log)
				}
				c.close()
			})
		})
	}
}

func TestIdentifyOpensASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, newTestV1(newFakeRegistry()))
		c.want(c.send("  V1"+identifyBody(`{"broadcast_address":"b","hostname":"h","http_port":2,"tcp_port":1,"version":"1.2.3",
			"topology_zone":"z","topology_region":"r","remote_address":"forged"}`)), welcomeText)
		id := fsm.SessionID{Node: "n1", Epoch: 1, Serial: 1}
		info := c.reg.View().Session(id).Info
		got := []any{info.BroadcastAddress, info.Hostname, info.HttpPort, info.TcpPort, info.Version, info.TopologyZone, info.TopologyRegion, info.RemoteAddress}
		want := []any{"b", "h", uint32(2), uint32(1), "1.2.3", "z", "r", "pipe"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("session is of %v, want %v", got, want)
		}
		if !c.sessions.Has(id) || c.sessions.Len() != 1 || !slices.Equal(c.sessions.IDs(), []fsm.SessionID{id}) {
			t.Errorf("live sessions are %v, want %v", c.sessions.IDs(), id)
		}
		c.close()
		if c.sessions.Has(id) || c.sessions.Len() != 0 {
			t.Errorf("session is live after its connection's end")
		}
		c.wantLog("open b:1:2", "end")
	})
}

// OK comes only after the commit; without one in 800 ms nothing comes, not
// even the answers to what was pipelined behind.
func TestSilentCloseWithoutCommit(t *testing.T) {
	for name, command := range map[string]string{
		"IDENTIFY":   identifyAs(1),
		"REGISTER":   "REGISTER t\n",
		"UNREGISTER": "UNREGISTER old\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newTestV1(newFakeRegistry())
				var c *client
				if name == "IDENTIFY" {
					c = dial(t, v)
					c.want(c.send("  V1"))
				} else {
					c = identified(t, v, 0)
					c.want(c.send("REGISTER old\n"), "OK")
				}
				c.reg.set(func(f *fakeRegistry) { f.held, f.sent = true, true })
				c.want(c.send(command + "PING\nPING\n"))
				time.Sleep(registerTimeout - time.Millisecond)
				if c.closed() {
					t.Fatal("closed before the time was over")
				}
				time.Sleep(time.Millisecond)
				c.want(c.replies())
				if !c.closed() {
					t.Fatal("not closed when the time was over")
				}
				if c.sessions.Len() != 0 {
					t.Error("the session is still live")
				}
			})
		})
	}
}

func TestCommitWithinTheTimeIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := identified(t, newTestV1(newFakeRegistry()), 0)
		c.reg.set(func(f *fakeRegistry) { f.held = true })
		c.want(c.send("REGISTER a\nREGISTER b\nPING\nREGISTER c\n"))
		time.Sleep(registerTimeout - time.Millisecond)
		c.reg.release()
		c.want(c.replies(), "OK", "OK", "OK", "OK")
		c.wantLog("register a", "register b", "register c", "replayed")
		c.close()
	})
}

func TestSilentCloseOnFailure(t *testing.T) {
	for _, fails := range []error{errUnavailable, errUnknown} {
		synctest.Test(t, func(t *testing.T) {
			c := identified(t, newTestV1(newFakeRegistry()), 0)
			c.reg.set(func(f *fakeRegistry) { f.fails = fails })
			c.want(c.send("REGISTER t\nPING\n"))
			if !c.closed() {
				t.Errorf("open after %v", fails)
			}
		})
	}
}

// What was registered already costs a linearizable read and no log entry,
// unless that finds the local copy wrong.
func TestRepeatedCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := identified(t, newTestV1(newFakeRegistry()), 0)
		c.want(c.send("REGISTER t c\nPING\n"), "OK", "OK")
		c.wantLog("register t/c", "replayed")
		reads := func() (n int) {
			c.reg.set(func(f *fakeRegistry) { n, f.consistent = f.consistent, 0 })
			return n
		}
		reads()

		c.want(c.send("REGISTER t c\nREGISTER t\nUNREGISTER u\nUNREGISTER t d\n"), "OK", "OK", "OK", "OK")
		c.wantLog()
		if n := reads(); n != 4 {
			t.Errorf("%d linearizable reads, want 4", n)
		}

		// A delete that this node's copy does not show yet.
		c.reg.lag()
		c.reg.apply(t, deleteTopic("t"))
		c.wantLog("delete t")
		c.want(c.send("REGISTER t c\n"), "OK")
		c.wantLog("register t/c")

		// Behind a command in flight the copy proves nothing.
		reads()
		c.reg.set(func(f *fakeRegistry) { f.held = true })
		c.send("UNREGISTER t\nREGISTER t c\n")
		c.reg.release()
		c.want(c.replies(), "OK", "OK")
		c.wantLog("unregister t", "register t/c")
		if n := reads(); n != 0 {
			t.Errorf("%d linearizable reads, want none", n)
		}

		c.reg.set(func(f *fakeRegistry) { f.fails = errUnavailable })
		c.want(c.send("REGISTER t c\n"))
		if !c.closed() {
			t.Error("open although nobody could say that it is registered")
		}
	})
}

// Orphaned sessions of the same nsqd hear its UNREGISTER through the new one.
func TestUnregisterDuringReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := identified(t, newTestV1(newFakeRegistry()), 0)
		c.want(c.send("UNREGISTER t\n"), "OK")
		c.want(c.send("PING\n"), "OK")
		c.wantLog("unregister t", "replayed")
		c.want(c.send("UNREGISTER t\n"), "OK")
		c.wantLog()
		c.close()
	})
}

func TestSessionThatTheRegistryHasLost(t *testing.T) {
	for _, command := range []string{"PING\n", "REGISTER t\n", "REGISTER u\n", "UNREGISTER u\n"} {
		synctest.Test(t, func(t *testing.T) {
			c := identified(t, newTestV1(newFakeRegistry()), 0)
			c.want(c.send("REGISTER t\nPING\n"), "OK", "OK")
			c.reg.apply(t, endSession(1))
			c.want(c.send(command))
			if !c.closed() {
				t.Errorf("%q: open", command)
			}
		})
	}
}

// A local copy that lags does not prove that the session has gone.
func TestPingOnALaggingCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, newTestV1(newFakeRegistry()))
		c.reg.lag()
		c.want(c.send("  V1"+identifyAs(0)+"PING\n"), welcomeText, "OK")
		c.reg.set(func(f *fakeRegistry) { f.seen, f.fails = fsm.New().View(), errUnavailable })
		c.want(c.send("PING\n"), "OK")
		c.close()
	})
}

func TestFinishReplayIsRepeatedUntilItCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := identified(t, newTestV1(newFakeRegistry()), 0)
		c.reg.set(func(f *fakeRegistry) { f.fails = errUnavailable })
		c.want(c.send("PING\n"), "OK")
		c.reg.set(func(f *fakeRegistry) { f.fails = nil })
		c.want(c.send("PING\n"), "OK")
		c.want(c.send("PING\n"), "OK")
		c.wantLog("replayed")
		c.close()
	})
}

func TestSilentProducer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := identified(t, newTestV1(newFakeRegistry()), 0)
		c.want(c.send("PING\n"), "OK")
		c.wantLog("replayed")
		for range 40 {
			time.Sleep(15 * time.Second)
			c.want(c.send("PING\n"), "OK")
		}
		c.wantLog()
		time.Sleep(5*time.Minute - time.Nanosecond)
		c.wantLog()
		time.Sleep(time.Nanosecond)
		c.wantLog("silent")
		time.Sleep(time.Minute)
		c.wantLog()
		c.want(c.send("PING\nPING\n"), "OK", "OK")
		c.wantLog("active")

		// Without a leader the news waits for one.
		time.Sleep(4 * time.Minute)
		c.reg.set(func(f *fakeRegistry) { f.fails = errUnavailable })
		time.Sleep(2 * time.Minute)
		c.wantLog()
		c.reg.set(func(f *fakeRegistry) { f.fails = nil })
		time.Sleep(silenceRetry)
		c.wantLog("silent")

		// A half-open connection ends.
		time.Sleep(4*time.Minute - silenceRetry)
		if !c.closed() {
			t.Error("open after twice the time-out")
		}
		c.wantLog("end")
	})
}

func TestSlowClients(t *testing.T) {
	tests := []struct {
		name, in string
		after    time.Duration
		want     []string
	}{
		{"no magic", "  V", magicTimeout, nil},
		{"no command", "  V1", minIdleTimeout, nil},
		{"half a line", "  V1PIN", commandTimeout, nil},
		{"half a size", "  V1IDENTIFY\n\x00", commandTimeout, []string{"E_BAD_BODY IDENTIFY failed to read body size"}},
		{"half a body", "  V1IDENTIFY\n\x00\x00\x00\x10{", commandTimeout, []string{"E_BAD_BODY IDENTIFY failed to read body"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := dial(t, newTestV1(newFakeRegistry()))
				c.want(c.send(tt.in))
				time.Sleep(tt.after - time.Millisecond)
				if c.closed() {
					t.Fatal("closed too early")
				}
				time.Sleep(time.Millisecond)
				c.want(c.replies(), tt.want...)
				if !c.closed() {
					t.Fatal("still open")
				}
			})
		})
	}
}

// A client that pipelines and never reads holds its goroutines no longer than
// writeTimeout.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestV1(newFakeRegistry())
		ours, theirs := net.Pipe()
		defer ours.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			v.Handle(theirs)
		}()
		go io.Copy(ours, io.MultiReader(strings.NewReader("  V1"+identifyAs(0)), strings.NewReader(strings.Repeat("PING\n", 1e6))))
		time.Sleep(writeTimeout)
		synctest.Wait()
		select {
		case <-ended:
		default:
			t.Error("still being served")
		}
	})
}

// A peer that closes only its writing side still gets what it is owed.
func TestHalfClose(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	v := newTestV1(newFakeRegistry())
	var serving sync.WaitGroup
	serving.Go(func() {
		if conn, err := ln.Accept(); err == nil {
			v.Handle(conn)
		}
	})
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, "  V1"+identifyAs(0)+"REGISTER t\nPING\n")
	conn.(*net.TCPConn).CloseWrite()
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	got, err := splitFrames(out)
	if want := []string{welcomeText, "OK", "OK"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	serving.Wait()
}

func TestClosedByTheReaper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestV1(newFakeRegistry())
		a, b, c := identified(t, v, 0), identified(t, v, 1), identified(t, v, 2)
		v.sessions.Close(fsm.SessionID{Node: "n1", Epoch: 1, Serial: 2})
		v.sessions.Close(fsm.SessionID{Node: "n1", Epoch: 1, Serial: 9})
		if a.closed() || !b.closed() || c.closed() {
			t.Errorf("closed: %v %v %v, want the second only", a.closed(), b.closed(), c.closed())
		}
		v.sessions.CloseAll()
		if !a.closed() || !c.closed() || v.sessions.Len() != 0 {
			t.Error("CloseAll left a session")
		}
		a.wantLog("end", "end", "end")
	})
}

// A node that leaves keeps its producers listed.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := identified(t, newTestV1(newFakeRegistry()), 0)
		c.sessions.Leave()
		c.close()
		c.wantLog()
	})
}

// A panic ends this connection, whose session it ends too, and no other.
func TestPanicInAConnection(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reg := newFakeRegistry()
	v := newTestV1(reg)
	server := wire.NewServer(wire.ServerOptions{Handler: v.Handle, Logger: hclog.NewNullLogger()})
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(ln) })
	defer serving.Wait()
	defer server.Close()
	var conns [2]net.Conn
	ask := func(i int, in string) (string, error) {
		io.WriteString(conns[i], in)
		reply := make([]byte, 4+len("OK"))
		_, err := io.ReadFull(conns[i], reply)
		return string(reply[4:]), err
	}
	for i := range conns {
		if conns[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		conns[i].SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conns[i], "  V1"+identifyAs(i))
		if _, err := io.ReadFull(conns[i], make([]byte, 4+len(welcomeText))); err != nil {
			t.Fatal(err)
		}
	}
	reg.set(func(f *fakeRegistry) { f.panics = true })
	if reply, err := ask(0, "PING\n"); err != io.EOF {
		t.Errorf("answered with %q, %v, want EOF", reply, err)
	}
	if n := v.sessions.Len(); n != 1 {
		t.Errorf("%d sessions are live, want 1", n)
	}
	reg.set(func(f *fakeRegistry) { f.panics = false })
	if reply, err := ask(1, "PING\n"); reply != "OK" || err != nil {
		t.Errorf("the other connection is answered with %q, %v", reply, err)
	}
}

func TestWelcome(t *testing.T) {
	got, err := encodeWelcome("lookup.example", 4160, 4161)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(got, []byte(`{"broadcast_address":"lookup.example","hostname":"`)) ||
		!bytes.HasSuffix(got, []byte(`","http_port":4161,"tcp_port":4160,"version":"`+Version+`"}`)) {
		t.Errorf("got %s", got)
	}
}
