package nsqd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"nsqraft/internal/logline"
	"nsqraft/internal/nsqtest"
)

// having is what an nsqd has, and may be changed while it is linked.
type having struct {
	mu  sync.Mutex
	all []registration
}

func (h *having) current() []registration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

// change makes registration r exist or not. A topic goes with its channels.
func (h *having) change(r registration, exists bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = slices.DeleteFunc(h.all, func(o registration) bool { return o == r || r.channel == "" && o.topic == r.topic && !exists })
	if exists {
		h.all = append(h.all, r)
	}
}

// logged is what has been logged.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

var someone = identity{Version: Version, TCPPort: 4150, HTTPPort: 4151, BroadcastAddress: "nsqd", Hostname: "nsqd"}

// newTestLinks dials on network, or for real if that is nil. They are closed with
// the test.
func newTestLinks(t *testing.T, network *nsqtest.Network, has *having, addrs ...string) (*links, *logged) {
	t.Helper()
	lines := new(logged)
	log, err := logline.New(logline.Options{Output: lines})
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.LookupdTCPAddresses = addrs
	l := newLinks(o, func() identity { return someone }, has.current, log)
	if network != nil {
		l.dial = func(ctx context.Context, addr string) (net.Conn, error) { return network.Dial(ctx, "nsqd", addr) }
	}
	t.Cleanup(l.close)
	return l, lines
}

// fakeLookupd accepts connections one after the other.
type fakeLookupd struct {
	t  testing.TB
	ln net.Listener
}

func listenAs(t testing.TB, network *nsqtest.Network, addr string) *fakeLookupd {
	t.Helper()
	ln, err := network.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeLookupd{t, ln}
}

func (f *fakeLookupd) accept() *fakeConn {
	f.t.Helper()
	conn, err := f.ln.Accept()
	if err != nil {
		f.t.Fatal(err)
	}
	return &fakeConn{f.t, conn, bufio.NewReader(conn)}
}

// fakeConn is an nsqlookupd's end of a connection.
type fakeConn struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

const welcome = `{"tcp_port":4160,"http_port":4161,"version":"1.3.0","broadcast_address":"lookupd","hostname":"lookupd"}`

// hello reads what begins a connection, and does not answer.
func (c *fakeConn) hello() identity {
	c.t.Helper()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(c.r, magic); err != nil || string(magic) != "  V1" {
		c.t.Fatalf("magic %q, %v", magic, err)
	}
	c.expect("IDENTIFY")
	var size int32
	if err := binary.Read(c.r, binary.BigEndian, &size); err != nil {
		c.t.Fatal(err)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.r, body); err != nil {
		c.t.Fatal(err)
	}
	var id identity
	if err := json.Unmarshal(body, &id); err != nil {
		c.t.Fatalf("IDENTIFY %s: %v", body, err)
	}
	return id
}

func (c *fakeConn) welcome() *fakeConn {
	c.t.Helper()
	if id := c.hello(); id != someone {
		c.t.Fatalf("IDENTIFY says %+v, want %+v", id, someone)
	}
	c.answer(welcome)
	return c
}

func (c *fakeConn) expect(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		got, err := c.r.ReadString('\n')
		if err != nil || got != want+"\n" {
			c.t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
}

func (c *fakeConn) answer(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		if _, err := c.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// obey answers OK to each of the lines.
func (c *fakeConn) obey(lines ...string) {
	c.t.Helper()
	for _, line := range lines {
		c.expect(line)
		c.answer("OK")
	}
}

// ended waits until the nsqd has closed the connection.
func (c *fakeConn) ended() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.r); err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Fatal(err)
	}
	c.conn.Close()
}

func TestLinkTellsWhatIsThereAndWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		lookupd := listenAs(t, network, "lookupd:4160")
		has := &having{all: []registration{{"a", ""}, {"a", "x"}, {"b", ""}, {"c", "y"}}}
		l, lines := newTestLinks(t, network, has, "lookupd:4160")
		l.open()
		c := lookupd.accept().welcome()
		c.obey("REGISTER a x", "REGISTER b", "REGISTER c y", "PING")
		for _, n := range []notice{
			{registration{"d", ""}, true}, {registration{"d", "z"}, true}, {registration{"a", "x"}, false}, {registration{"d", ""}, false}, {registration{"d", ""}, true},
		} {
			has.change(n.registration, n.exists)
			l.notify(n.topic, n.channel, n.exists)
		}
		c.obey("REGISTER d", "REGISTER d z", "UNREGISTER a x", "UNREGISTER d", "REGISTER d")

		// A restart: everything again, at once.
		before := time.Now()
		c.conn.Close()
		c = lookupd.accept().welcome()
		c.obey("REGISTER a", "REGISTER b", "REGISTER c y", "REGISTER d", "PING")
		if took := time.Since(before); took > minBackoff {
			t.Errorf("registered again after %v, want at most %v", took, minBackoff)
		}
		synctest.Wait()
		for _, want := range []string{
			"INFO: LOOKUP(lookupd:4160): adding peer", "INFO: LOOKUP connecting to lookupd:4160",
			"INFO: LOOKUPD(lookupd:4160): peer info {TCPPort:4160 HTTPPort:4161 Version:1.3.0 BroadcastAddress:lookupd}",
			"INFO: LOOKUPD(lookupd:4160): topic REGISTER d\n", "INFO: LOOKUPD(lookupd:4160): channel UNREGISTER a x\n",
			"ERROR: LOOKUPD(lookupd:4160): connection lost - nsqlookupd has closed the connection",
		} {
			if !strings.Contains(lines.String(), want) {
				t.Errorf("no line with %q in:\n%s", want, lines)
			}
		}

		l.close()
		c.ended()
	})
}

func TestLinkPingsAndGivesUpOnSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		lookupd := listenAs(t, network, "lookupd:4160")
		l, lines := newTestLinks(t, network, new(having), "lookupd:4160")
		l.open()
		c := lookupd.accept().welcome()
		begun := time.Now()
		c.obey("PING") // the end of the replay
		for range 3 {
			c.obey("PING")
		}
		if got := time.Since(begun); got != 3*pingInterval {
			t.Errorf("three PINGs after %v, want %v", got, 3*pingInterval)
		}
		c.expect("PING")
		silent := time.Now()
		c.ended()
		if got := time.Since(silent); got != answerTimeout {
			t.Errorf("given up after %v without an answer, want %v", got, answerTimeout)
		}
		lookupd.accept().welcome()
		if want := "ERROR: LOOKUPD(lookupd:4160): PING - no answer within 5s"; !strings.Contains(lines.String(), want) {
			t.Errorf("no line with %q in:\n%s", want, lines)
		}
	})
}

func TestLinkBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, lines := newTestLinks(t, nil, new(having), "lookupd:4160")
		var dials []time.Time
		l.dial = func(context.Context, string) (net.Conn, error) {
			dials = append(dials, time.Now())
			return nil, io.ErrClosedPipe
		}
		l.open()
		time.Sleep(5 * time.Minute)
		l.close()
		backoff := minBackoff
		for i := range len(dials) - 1 {
			if gap := dials[i+1].Sub(dials[i]); gap < backoff/2 || gap > backoff {
				t.Errorf("attempt %d came after %v, want %v to %v", i+1, gap, backoff/2, backoff)
			}
			backoff = min(2*backoff, maxBackoff)
		}
		if len(dials) < 60 {
			t.Errorf("%d attempts in five minutes", len(dials))
		}
		if n := strings.Count(lines.String(), "ERROR: LOOKUPD(lookupd:4160): connect - "); n < 4 || n > 6 {
			t.Errorf("the same failure is logged %d times in five minutes, want it once a minute", n)
		}
	})
}

func TestBadAnswersEndTheConnection(t *testing.T) {
	frame := func(text string) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))) + text
	}
	tests := []struct {
		name   string
		answer string // to all that is asked
		close  bool   // afterwards
		log    string
	}{
		{"length -1", "\xff\xff\xff\xff", false, "IDENTIFY - not an answer: body size -1 is not in 1..16384"},
		{"length 0", "\x00\x00\x00\x00", false, "IDENTIFY - not an answer: body size 0 is"},
		{"huge length", "\x7f\xff\xff\xff", false, "IDENTIFY - not an answer: body size 2147483647 is"},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", false, "IDENTIFY - not an answer: body size 1213486160 is"},
		{"no JSON", frame("garbage"), false, "parsing response - garbage"},
		{"JSON of another kind", frame(`[1]`), false, "parsing response - [1]"},
		{"a line break", frame("a\nFATAL: x"), false, `parsing response - a\nFATAL: x`},
		{"an error to IDENTIFY", frame("E_BAD_BODY IDENTIFY missing fields"), true, "IDENTIFY - E_BAD_BODY IDENTIFY missing fields"},
		{"an error to REGISTER", frame(welcome) + frame("E_INVALID no"), false, "REGISTER a - E_INVALID no"},
		{"JSON to REGISTER", frame(welcome) + frame(welcome), false, "REGISTER a - {"},
		{"too many answers", frame(welcome) + frame("OK") + frame("OK") + frame("OK"), false, "connection closed - an answer to nothing: OK"},
		{"half an answer", frame(welcome) + "\x00\x00\x00\x02O", true, "REGISTER a - failed to read body: unexpected EOF"},
		{"half an answer, and silence", frame(welcome) + "\x00\x00\x00\x02O", false, "REGISTER a - no answer within 5s"},
		{"nothing", "", true, "IDENTIFY - nsqlookupd has closed the connection"},
		{"silence", "", false, "IDENTIFY - no answer within 5s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := nsqtest.NewNetwork()
				lookupd := listenAs(t, network, "lookupd:4160")
				l, lines := newTestLinks(t, network, &having{all: []registration{{"a", ""}}}, "lookupd:4160")
				l.open()
				c := lookupd.accept()
				c.hello()
				c.expect("REGISTER a", "PING")
				c.conn.Write([]byte(tt.answer))
				if tt.close {
					c.conn.Close()
				} else {
					c.ended()
				}
				// It comes back, and all is well if that was a passing weakness.
				lookupd.accept().welcome().obey("REGISTER a")
				synctest.Wait()
				if want := "ERROR: LOOKUPD(lookupd:4160): " + tt.log; !strings.Contains(lines.String(), want) {
					t.Errorf("no line with %q in:\n%s", want, lines)
				}
			})
		})
	}
}

func many(n int) *having {
	has := new(having)
	for i := range n {
		has.all = append(has.all, registration{fmt.Sprintf("topic%05d", i), "c"})
	}
	return has
}

func TestReplayIsPipelinedAndBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		lookupd := listenAs(t, network, "lookupd:4160")
		has := many(5000)
		l, _ := newTestLinks(t, network, has, "lookupd:4160")
		l.open()
		c := lookupd.accept()
		c.hello()
		// Many commands come before the first is answered, but not all.
		for i := range maxOwed - maxChunk {
			c.expect("REGISTER " + has.all[i].topic + " c")
		}
		synctest.Wait()
		if n := c.r.Buffered(); n > 0 {
			t.Errorf("%d bytes came beyond %d commands without an answer", n, maxOwed)
		}
		c.answer(welcome)
		for range 100 {
			c.answer("OK")
		}
		c.conn.Close()

		c = lookupd.accept().welcome()
		for _, r := range has.all {
			c.obey("REGISTER " + r.topic + " c")
		}
	})
}

// state is what an nsqlookupd knows of an nsqd.
type state map[string]map[string]bool

// obey does what line says.
func (s state) obey(line string) {
	words := append(strings.Fields(line), "")
	topic, channel := "", ""
	if len(words) > 2 {
		topic, channel = words[1], words[2]
	}
	switch words[0] {
	case "REGISTER":
		if s[topic] == nil {
			s[topic] = make(map[string]bool)
		}
		if channel != "" {
			s[topic][channel] = true
		}
	case "UNREGISTER":
		if channel == "" {
			delete(s, topic)
		} else {
			delete(s[topic], channel)
		}
	}
}

func (h *having) state() state {
	s := make(state)
	for _, r := range h.current() {
		s.obey("REGISTER " + r.topic + " " + r.channel)
	}
	return s
}

func TestTooManyChangesAreToldOnTheWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		lookupd := listenAs(t, network, "lookupd:4160")
		has := &having{all: []registration{{"old", "x"}, {"older", "x"}, {"older", "y"}}}
		l, _ := newTestLinks(t, network, has, "lookupd:4160")
		l.open()
		c := lookupd.accept().welcome()
		c.obey("REGISTER old x", "REGISTER older x", "REGISTER older y")

		// The nsqlookupd answers nothing for a while.
		change := func(r registration, exists bool) {
			has.change(r, exists)
			l.notify(r.topic, r.channel, exists)
		}
		change(registration{"old", ""}, false)
		change(registration{"older", "x"}, false)
		for i := range maxOwed + 2*maxNotices {
			change(registration{"busy", "x"}, i%2 == 0)
			if i < maxOwed {
				synctest.Wait()
			}
		}
		change(registration{"new", "z"}, true)
		known := state{"old": {"x": true}, "older": {"x": true, "y": true}}
		commands := 0
		for !reflect.DeepEqual(known, has.state()) {
			line, err := c.r.ReadString('\n')
			if err != nil {
				t.Fatalf("%v, known are %v, want %v", err, known, has.state())
			}
			commands++
			known.obey(line)
			c.answer("OK")
		}
		if commands > 2*maxOwed {
			t.Errorf("%d commands for so many changes in between", commands)
		}
	})
}

// Whatever changes and whenever connections end, an nsqlookupd that holds still for
// a moment knows what there is.
func TestLinkConverges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			network := nsqtest.NewNetwork()
			lookupd := listenAs(t, network, "lookupd:4160")
			has := new(having)
			l, _ := newTestLinks(t, network, has, "lookupd:4160")
			l.open()
			c := lookupd.accept().welcome()
			known := make(state)
			settle := func() {
				for {
					synctest.Wait()
					c.conn.SetReadDeadline(time.Now().Add(time.Microsecond))
					line, err := c.r.ReadString('\n')
					if err != nil {
						return
					}
					known.obey(line)
					c.answer("OK")
				}
			}
			for range rapid.IntRange(1, 40).Draw(rt, "steps") {
				switch rapid.IntRange(0, 9).Draw(rt, "step") {
				case 0:
					c.conn.Close()
					c, known = lookupd.accept().welcome(), make(state)
				case 1:
					settle()
					if want := has.state(); !reflect.DeepEqual(known, want) {
						rt.Fatalf("known are %v, want %v", known, want)
					}
				default:
					r := registration{rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "topic"), rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "channel")}
					exists := rapid.Bool().Draw(rt, "exists")
					if r.channel != "" && has.state()[r.topic] == nil {
						continue // a channel is made in a topic, and deleted from one
					}
					has.change(r, exists)
					l.notify(r.topic, r.channel, exists)
				}
			}
			settle()
			if want := has.state(); !reflect.DeepEqual(known, want) {
				rt.Fatalf("known are %v, want %v", known, want)
			}
			l.close()
		})
	})
}

func TestSetKeepsWhatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		a, b, c := listenAs(t, network, "a:1"), listenAs(t, network, "b:1"), listenAs(t, network, "c:1")
		l, lines := newTestLinks(t, network, &having{all: []registration{{"x", ""}}}, "a:1", "b:1", "a:1")
		l.open()
		toA, toB := a.accept().welcome(), b.accept().welcome()
		toA.obey("REGISTER x", "PING")
		toB.obey("REGISTER x", "PING")
		if got := l.addresses(); !slices.Equal(got, []string{"a:1", "b:1"}) {
			t.Errorf("addresses %v", got)
		}
		l.set([]string{"c:1", "b:1"})
		toA.ended()
		c.accept().welcome().obey("REGISTER x")
		l.notify("x", "y", true)
		toB.obey("REGISTER x y")
		if got := l.addresses(); !slices.Equal(got, []string{"c:1", "b:1"}) {
			t.Errorf("addresses %v", got)
		}
		if want := "LOOKUP(a:1): removing peer"; !strings.Contains(lines.String(), want) {
			t.Errorf("no line with %q in:\n%s", want, lines)
		}
		l.close()
		l.set([]string{"a:1"})
		l.notify("z", "", true)
		if got := l.addresses(); !slices.Equal(got, []string{"c:1", "b:1"}) {
			t.Errorf("addresses %v after close", got)
		}
	})
}

func TestOneThatHangsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		good, mute := listenAs(t, network, "good:1"), listenAs(t, network, "mute:1")
		network.Cut("nsqd", "away:1")
		has := many(3 * maxOwed)
		l, _ := newTestLinks(t, network, has, "away:1", "mute:1", "good:1")
		begun := time.Now()
		l.open()
		mute.accept().hello()
		c := good.accept().welcome()
		for _, r := range has.all {
			c.obey("REGISTER " + r.topic + " c")
		}
		c.obey("PING")
		l.notify("new", "", true)
		c.obey("REGISTER new")
		l.close()
		c.ended()
		if took := time.Since(begun); took > 0 {
			t.Errorf("the others took %v", took)
		}
	})
}

// roundTrip stands in for the network of an HTTP client.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(code int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Body: io.NopCloser(strings.NewReader(body))}, nil
}

func TestChannelsOfANewTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, lines := newTestLinks(t, nil, new(having))
		l.dial = func(ctx context.Context, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		const latency = 10 * time.Millisecond
		var hangs atomic.Bool
		var asked atomic.Int32
		hangs.Store(true)
		l.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path != "/channels" || r.URL.Query().Get("topic") != "t" {
				t.Errorf("asked for %s", r.URL)
			}
			switch r.URL.Host {
			case "a:1":
				return respond(200, `{"channels":["z","x","e#ephemeral"]}`)
			case "b:1":
				return respond(200, `{"channels":["y","x","not valid"]}`)
			case "broken:1":
				return respond(200, `{"channels":[1]}`)
			case "angry:1":
				return respond(500, ``)
			}
			asked.Add(1)
			if !hangs.Load() {
				time.Sleep(latency)
				return respond(200, `{"channels":["h"]}`)
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		// learn sets the nsqlookupds and lets them say where they answer.
		learn := func(hosts ...string) {
			l.set(hosts)
			for _, k := range l.list() {
				k.mu.Lock()
				k.peer = peerInfo{BroadcastAddress: k.addr, HTTPPort: 1}
				k.mu.Unlock()
			}
		}
		check := func(want string, wait time.Duration, problem string) {
			t.Helper()
			begun := time.Now()
			names, err := l.channels(t.Context(), "t")
			if got := strings.Join(names, " "); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if got := time.Since(begun); got != wait {
				t.Errorf("took %v, want %v", got, wait)
			}
			if problem == "" && err != nil || problem != "" && (err == nil || !strings.Contains(err.Error(), problem)) {
				t.Errorf("error %v, want %q in it", err, problem)
			}
		}

		check("", 0, "")
		if lines.String() != "" {
			t.Errorf("without any nsqlookupd: %s", lines)
		}
		l.set([]string{"a", "b"})
		check("", 0, "")
		if want := "ERROR: no available nsqlookupd to query for channels to pre-create for topic t"; !strings.Contains(lines.String(), want) {
			t.Errorf("no line with %q in:\n%s", want, lines)
		}
		learn("a", "b")
		check("x y z", 0, "")
		learn("broken", "a", "angry")
		check("x z", 0, "angry:1 answers Internal Server Error")

		// One that hangs costs its time once, and is asked again meanwhile.
		learn("a", "hung")
		check("x z", channelsWait, "no answer from nsqlookupd at hung within 1s")
		for range 3 {
			check("x z", 0, "is not waited for")
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("one that hangs was asked %d times at once", n)
		}
		time.Sleep(10 * time.Second)
		hangs.Store(false)
		check("x z", 0, "is not waited for")
		time.Sleep(2 * latency)
		check("h x z", latency, "")

		hangs.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), channelsWait/2)
		defer cancel()
		if names, err := l.channels(ctx, "t"); len(names) != 2 || err == nil {
			t.Errorf("with little time: %v, %v", names, err)
		}
		hangs.Store(false)
		l.close()
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02OK"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add(append(binary.BigEndian.AppendUint32(nil, uint32(len(welcome))), welcome...))
	f.Fuzz(func(t *testing.T, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			network := nsqtest.NewNetwork()
			lookupd := listenAs(t, network, "lookupd:4160")
			l, _ := newTestLinks(t, network, many(3), "lookupd:4160")
			l.open()
			c := lookupd.accept()
			c.hello()
			c.conn.Write(data)
			c.conn.Close()
			lookupd.accept().welcome() // it is still there
			l.close()
		})
	})
}
