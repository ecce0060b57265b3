package nsqd

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nsqraft/internal/logline"
)

// Lengths that cannot be are refused before memory is made for them.
func TestBadLengths(t *testing.T) {
	const (
		zero, minus, least, huge = "\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x80\x00\x00\x00", "\x7f\xff\xff\xff"
		one, ten, hundred        = "\x00\x00\x00\x01", "\x00\x00\x00\x0a", "\x00\x00\x00\x64"
	)
	tooBig := "\x00\x10\x00\x01" // a byte more than 1 MiB
	inLab(t, nil, func(l *lab) {
		other := l.consumer("t", "c", 1)
		for _, tt := range []struct{ say, want string }{
			{"PUB t\n" + zero, "E_BAD_MESSAGE PUB invalid message body size 0"},
			{"PUB t\n" + minus, "E_BAD_MESSAGE PUB invalid message body size -1"},
			{"PUB t\n" + least, "E_BAD_MESSAGE PUB invalid message body size -2147483648"},
			{"PUB t\n" + tooBig, "E_BAD_MESSAGE PUB message too big 1048577 > 1048576"},
			{"PUB t\n" + huge, "E_BAD_MESSAGE PUB message too big 2147483647 > 1048576"},
			{"DPUB t 1\n" + zero, "E_BAD_MESSAGE DPUB invalid message body size 0"},
			{"DPUB t 1\n" + minus, "E_BAD_MESSAGE DPUB invalid message body size -1"},
			{"DPUB t 1\n" + huge, "E_BAD_MESSAGE DPUB message too big 2147483647 > 1048576"},
			{"MPUB t\n" + zero, "E_BAD_BODY MPUB invalid body size 0"},
			{"MPUB t\n" + minus, "E_BAD_BODY MPUB invalid body size -1"},
			{"MPUB t\n" + huge, "E_BAD_BODY MPUB body too big 2147483647 > 5242880"},
			{"MPUB t\n" + ten + zero, "E_BAD_BODY MPUB invalid message count 0"},
			{"MPUB t\n" + ten + minus, "E_BAD_BODY MPUB invalid message count -1"},
			{"MPUB t\n" + ten + huge, "E_BAD_BODY MPUB invalid message count 2147483647"},
			{"MPUB t\n" + ten + one + zero, "E_BAD_MESSAGE MPUB invalid message(0) body size 0"},
			{"MPUB t\n" + ten + one + minus, "E_BAD_MESSAGE MPUB invalid message(0) body size -1"},
			{"MPUB t\n" + ten + one + huge, "E_BAD_MESSAGE MPUB message too big 2147483647 > 1048576"},
			// It sends less, or more, than it says.
			{"MPUB t\n" + ten + one + hundred + strings.Repeat("x", 100), "E_BAD_MESSAGE MPUB message(0) of 100 bytes exceeds the body of 10"},
			{"MPUB t\n" + hundred + one + one + "x" + strings.Repeat("y", 91), "E_BAD_BODY MPUB body of 100 bytes has 91 beyond its messages"},
			{"MPUB t\n" + one + one, "E_BAD_BODY MPUB failed to read message count"},
			{"MPUB t\n" + "\x00\x00\x00\x04" + one, "E_BAD_MESSAGE MPUB failed to read message(0) body size"},
			{"MPUB t\n" + "\x00\x00\x00\x0c" + "\x00\x00\x00\x02" + one + "x" + one, "E_BAD_MESSAGE MPUB failed to read message(1) body size"},
		} {
			before := heap()
			p := l.dial(tt.say)
			p.want(tt.want)
			p.wantClosed()
			if grown := heap() - before; grown > 1<<20 {
				t.Errorf("%q: memory has grown by %d bytes", tt.say, grown)
			}
		}
		// Nothing of them was published.
		l.publish("t", "m")
		other.fin(other.wantMessage("m", 1))
		other.wantNone(time.Hour)
	})
}

// A body that does not come takes no memory, and ends with the client's silence.
func TestBodiesThatDoNotCome(t *testing.T) {
	inLab(t, func(o *Options) { o.ClientTimeout = time.Minute }, func(l *lab) {
		before := heap()
		var peers []*peer
		for range 100 {
			for _, say := range []string{
				"PUB t#ephemeral\n\x00\x10\x00\x00half", // 1 MiB
				"IDENTIFY\n\x00\x50\x00\x00{",           // 5 MiB
				"AUTH\n\x00\x50\x00\x00s",
				"MPUB t#ephemeral\n\x00\x50\x00\x00\x00\x0f\xff\xff\x00\x00\x00\x01x", // with a million messages
				"MPUB t#ephemeral\n\x00\x50\x00\x00\x00\x00\x00\x01\x00\x10\x00\x00x", // with a large one
			} {
				peers = append(peers, l.dial(say))
			}
		}
		synctest.Wait()
		// A connection has its buffers, on both sides, and a body its first part.
		if grown, most := heap()-before, int64(len(peers))*(bodyChunk+128<<10); grown > most {
			t.Errorf("%d bodies that are announced take %d bytes, want less than %d", len(peers), grown, most)
		}
		begun := time.Now()
		for _, p := range peers {
			p.conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
			if _, err := io.Copy(io.Discard, p.conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the connection stays open")
			}
		}
		elapsed(t, begun, time.Minute, "closed")
	})
}

func TestLongLines(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		// As long as may be: the line and its newline.
		p := l.dial(strings.Repeat("x", maxLine-1) + "\n")
		p.want("E_INVALID invalid command " + strings.Repeat("x", maxLine-1))
		p.wantClosed()
		// One more, and no answer, as in stock.
		p = l.dial(strings.Repeat("x", maxLine) + "\n")
		p.wantClosed()
		p = l.dial(strings.Repeat("NOP ", maxLine))
		p.wantClosed()
	})
}

// A client that sends a byte now and then has two heartbeats for a command, wherever
// it is.
func TestSlowloris(t *testing.T) {
	for name, say := range map[string]string{
		"magic": "  V2", "line": "NOP and so on, for ever", "size": "PUB t\n\x00\x00\x00\x40", "body": "PUB t\n\x00\x00\x00\x40" + strings.Repeat("x", 64),
		"MPUB": "MPUB t\n\x00\x00\x00\x40\x00\x00\x00\x01\x00\x00\x00\x38" + strings.Repeat("x", 56), "IDENTIFY": "IDENTIFY\n\x00\x00\x00\x40{" + strings.Repeat(" ", 63),
	} {
		inLab(t, func(o *Options) { o.ClientTimeout = 2 * time.Second }, func(l *lab) {
			p := l.connect()
			begun := time.Now()
			if name != "magic" {
				p.say("  V2NOP\n")
			}
			if i := strings.Index(say, "\x00\x00\x00\x40"); i >= 0 && name != "size" {
				p.say(say[:i+4])
				say = say[i+4:]
			}
			go func() {
				for i := range say {
					if _, err := io.WriteString(p.conn, say[i:i+1]); err != nil {
						return
					}
					time.Sleep(800 * time.Millisecond)
				}
			}()
			p.conn.SetReadDeadline(time.Now().Add(time.Hour))
			if _, err := io.Copy(io.Discard, p.conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the connection stays open")
			}
			if d := time.Since(begun); d > 3*time.Second {
				t.Errorf("%s: closed after %v", name, d)
			}
			time.Sleep(time.Second) // the writer ends
		})
	}
}

// A consumer that never reads is closed once a write to it has taken a heartbeat
// interval. Until then it holds no more than it said it is ready for, and holds up
// nobody.
func TestConsumerThatNeverReads(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		deaf := l.dial(identify(`"heartbeat_interval":10000`), sub("t", "c"), "RDY 2500\n")
		deaf.want("OK", "OK")
		synctest.Wait()
		body := strings.Repeat("x", 100<<10)
		for range 3 {
			l.publish("t", body, body, body, body, body) // more than the network holds
		}
		begun := time.Now()
		quick := l.consumer("t", "c", 10)
		l.publish("t", "small")
		for m := quick.message(); string(m.Body) != "small"; m = quick.message() {
			quick.fin(m)
		}
		elapsed(t, begun, 0, "another gets messages")
		flying := l.channel("t", "c").InFlightCount
		if flying > 15 {
			t.Errorf("%d messages in flight", flying)
		}
		// Its commands are answered, no more.
		time.Sleep(10 * time.Second)
		synctest.Wait()
		c := l.channel("t", "c")
		if c.ClientCount != 1 {
			t.Errorf("after 10 s there are %d clients, want 1", c.ClientCount)
		}
		// What it had comes back.
		time.Sleep(time.Minute)
		for c := l.channel("t", "c"); c.InFlightCount+int(c.Depth) > 0; c = l.channel("t", "c") {
			quick.fin(quick.message())
		}
	})
}

// A publisher that never reads its answers is closed too.
func TestPublisherThatNeverReads(t *testing.T) {
	inLab(t, nil, func(l *lab) {
		p := l.dial(identify(`"heartbeat_interval":10000`))
		p.want("OK")
		begun := time.Now()
		many := strings.Repeat(pub("t#ephemeral", "m"), 1000)
		for {
			if _, err := io.WriteString(p.conn, many); err != nil {
				break
			}
		}
		elapsed(t, begun, 10*time.Second, "closed")
	})
}

// What panics in one connection is logged, and ends that and no other.
func TestPanicInAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := new(logged)
		log, err := logline.New(logline.Options{Output: lines})
		if err != nil {
			t.Fatal(err)
		}
		l := newLabLogging(t, log, nil)
		other := l.consumer("t", "c", 1)
		victim := l.consumer("u", "c", 1)
		for c := range l.clients.all {
			if c.channel.topic.name == "u" {
				c.srv = nil // it panics with the next publish
			}
		}
		victim.say(pub("t", "x"))
		victim.wantClosed()
		l.publish("t", "m")
		other.fin(other.wantMessage("m", 1))
		if c := l.channel("u", "c"); c.ClientCount != 0 {
			t.Errorf("%d clients of the channel, want none", c.ClientCount)
		}
		if n := l.clients.len(); n != 1 {
			t.Errorf("%d clients, want 1", n)
		}
		if !strings.Contains(lines.String(), "panic in connection") {
			t.Errorf("nothing is logged of it in:\n%s", lines)
		}
	})
}

// len is for tests.
func (cs *clients) len() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.all)
}

// Connections that end at any byte of what they say leave nothing behind.
func TestConnectionsThatBreak(t *testing.T) {
	say := "  V2" + identify(`"client_id":"x"`) + sub("t#ephemeral", "c#ephemeral") + "RDY 1\n" + pub("t#ephemeral", "m") + multi("t#ephemeral", "m", "n") +
		dpub("t#ephemeral", "1000", "m") + "FIN 0123456789abcdef\nREQ 0123456789abcdef 0\nCLS\n"
	inLab(t, nil, func(l *lab) {
		for i := range len(say) {
			p := l.connect()
			p.say(say[:i])
			if i%2 == 0 {
				synctest.Wait()
			}
			p.conn.Close()
		}
		synctest.Wait()
		if n := l.clients.len(); n != 0 {
			t.Errorf("%d clients are left", n)
		}
		if topic := l.FindTopic("t#ephemeral"); topic != nil && len(topic.sorted()) > 0 {
			t.Errorf("the ephemeral topic is left with %v", topic.sorted())
		}
	})
}
