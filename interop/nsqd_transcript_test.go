package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// magicV2 opens a connection of nsqd's protocol.
const magicV2 = "  V2"

// barrier is a command to a subscribed connection that is always answered, so that
// what was sent before it has been carried out: most commands have no answer.
const barrier = "FIN 0123456789abcdef\n"

// The frames of the V2 protocol.
const (
	frameResponse = 0
	frameError    = 1
	frameMessage  = 2
)

// nsqdUnderTest is the nsqd that is compared with stock: what -against says. Stock
// compared with itself tells whether a story is always told alike.
func nsqdUnderTest() string { return *against }

// nsqdBin returns the path of the nsqd that is called stock or ours.
func nsqdBin(which string) string {
	if which == "ours" {
		return ourBin("nsqd")
	}
	return stockBin("nsqd")
}

// startNSQDSubject starts a single nsqd, stock or ours, with an empty data path and
// none but stock's flags.
func startNSQDSubject(t testing.TB, which string, flags ...string) *subject {
	t.Helper()
	return startNSQDIn(t, which, t.TempDir(), flags...)
}

// startNSQDIn is startNSQDSubject with a data path that may hold data.
func startNSQDIn(t testing.TB, which, data string, flags ...string) *subject {
	t.Helper()
	tcp, http := freeAddr(t), freeAddr(t)
	p := newProcess(t, which+"-nsqd", nsqdBin(which), append([]string{
		"--tcp-address=" + tcp, "--http-address=" + http, "--broadcast-address=subject.example",
		"--data-path=" + data}, flags...)...)
	p.start()
	eventually(t, startTimeout, p.name+" listens", func() error {
		if err := p.running(); err != nil {
			return err
		}
		_, err := request("GET", http, "/ping", "") // any answer: it may want TLS
		return err
	})
	s := newSubject(t, p, tcp, http)
	s.data, s.ids = data, make(map[string]string)
	if s.version == "" {
		out, _ := runToEnd(t, nsqdBin(which), "--version")
		s.version, _, _ = strings.Cut(strings.TrimPrefix(string(out), "nsqd v"), " ")
	}
	return s
}

// tellToNSQD plays the steps and returns the transcript. At its end every connection
// that is still open has to answer a command that there is not, and nothing else: no
// answer has been left over.
func (s story) tellToNSQD(t testing.TB, sub *subject) []string {
	t.Helper()
	var transcript []string
	for _, do := range s.steps {
		transcript = append(transcript, do(sub))
	}
	var names []string
	for name := range sub.conns {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		transcript = append(transcript, "at the end: "+send(name, 1, "END\n")(sub))
	}
	if err := sub.running(); err != nil {
		t.Error(err)
	}
	return transcript
}

// A frame is one that an nsqd sent.
type frame struct {
	kind uint32
	data []byte
}

// nextFrame reads one frame.
func nextFrame(conn net.Conn, within time.Duration) (frame, error) {
	conn.SetReadDeadline(time.Now().Add(within))
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return frame{}, err
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size < 4 || size > maxReply {
		return frame{}, fmt.Errorf("a frame of %d bytes", size)
	}
	f := frame{kind: binary.BigEndian.Uint32(head[4:]), data: make([]byte, size-4)}
	_, err := io.ReadFull(conn, f.data)
	return f, err
}

// fatal reports whether stock closes the connection after the frame.
func (f frame) fatal() bool {
	if f.kind != frameError {
		return false
	}
	code, _, _ := strings.Cut(string(f.data), " ")
	return !slices.Contains([]string{"E_FIN_FAILED", "E_REQ_FAILED", "E_TOUCH_FAILED"}, code)
}

// message returns the parts of a message frame.
func (f frame) message() (stamp time.Time, attempts uint16, id, body string, err error) {
	if len(f.data) < 26 {
		return stamp, 0, "", "", fmt.Errorf("a message of %d bytes", len(f.data))
	}
	stamp = time.Unix(0, int64(binary.BigEndian.Uint64(f.data)))
	return stamp, binary.BigEndian.Uint16(f.data[8:]), string(f.data[10:26]), string(f.data[26:]), nil
}

var messageID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// show renders a frame, and keeps the id of a message under its body.
func (s *subject) show(f frame) string {
	switch f.kind {
	case frameResponse:
		if len(f.data) > 0 && f.data[0] == '{' {
			return s.normalise(f.data)
		}
		return fmt.Sprintf("%q", f.data)
	case frameError:
		return fmt.Sprintf("error %q", s.namesOfIDs(string(f.data)))
	case frameMessage:
		stamp, attempts, id, body, err := f.message()
		if err != nil {
			return err.Error()
		}
		if age := time.Since(stamp); age < -time.Second || age > time.Minute {
			return fmt.Sprintf("message %q of %v ago", body, age)
		}
		if !messageID.MatchString(id) {
			return fmt.Sprintf("message %q with the id %q", body, id)
		}
		if was, known := s.ids[body]; known && was != id && attempts > 1 {
			return fmt.Sprintf("message %q with another id than before", body)
		}
		s.ids[body] = id
		if len(body) > 100 {
			body = fmt.Sprintf("%s... (%d bytes)", body[:20], len(body))
		}
		return fmt.Sprintf("message %q, attempt %d", body, attempts)
	}
	return fmt.Sprintf("frame of kind %d: %q", f.kind, f.data)
}

// expand replaces <body> by the id of the message that had this body.
func (s *subject) expand(text string) string {
	for body, id := range s.ids {
		text = strings.ReplaceAll(text, "<"+body+">", id)
	}
	return text
}

// namesOfIDs is the inverse of expand.
func (s *subject) namesOfIDs(text string) string {
	for body, id := range s.ids {
		text = strings.ReplaceAll(text, id, "<"+body+">")
	}
	return text
}

// send sends bytes on a V2 connection, which it opens when the name is new, and
// reads so many frames. It shows answers in their order and then messages in the
// order of their bodies, since a message may overtake an answer.
//
// <body> in text stands for the id of the message with that body.
func send(name string, frames int, text string) step {
	return sendWithin(replyTimeout, name, frames, text)
}

// sendWithin is send with another time for each frame than replyTimeout.
func sendWithin(within time.Duration, name string, frames int, text string) step {
	return func(s *subject) string {
		s.t.Helper()
		what := fmt.Sprintf("%s sends %s", name, quote(text))
		conn := s.conn(name)
		_, writeErr := io.WriteString(conn, s.expand(text))
		var answers, messages []string
		for range frames {
			f, err := nextFrame(conn, within)
			if err != nil {
				answers = append(answers, closedOr(err).Error())
				if writeErr != nil {
					answers = append(answers, closedOr(writeErr).Error())
				}
				s.hangUp(name)
				break
			}
			if f.kind == frameMessage {
				messages = append(messages, s.show(f))
				continue
			}
			answers = append(answers, s.show(f))
			if f.fatal() {
				if f, err = nextFrame(conn, within); err == nil {
					answers = append(answers, "and then", s.show(f))
				} else {
					answers = append(answers, closedOr(err).Error())
				}
				s.hangUp(name)
				break
			}
		}
		slices.Sort(messages)
		return what + ": " + strings.Join(append(answers, messages...), " ")
	}
}

// last sends bytes on a V2 connection and nothing more ever, and reads until the
// subject closes too. Without a name the connection is of this step alone.
func last(name, text string) step {
	return func(s *subject) string {
		s.t.Helper()
		what := fmt.Sprintf("%s sends at last %s", name, quote(text))
		conn := s.conn(name)
		defer s.hangUp(name)
		_, writeErr := io.WriteString(conn, s.expand(text))
		if writeErr == nil {
			conn.(*net.TCPConn).CloseWrite() // an error is one of Read as well
		}
		var answers, messages []string
		for {
			f, err := nextFrame(conn, replyTimeout)
			if err != nil {
				answers = append(answers, closedOr(err).Error())
				break
			}
			if f.kind == frameMessage {
				messages = append(messages, s.show(f))
			} else {
				answers = append(answers, s.show(f))
			}
		}
		slices.Sort(messages)
		return what + ": " + strings.Join(append(answers, messages...), " ")
	}
}

// bye closes a connection and waits until no channel has a client of its name.
func bye(name string) step {
	return func(s *subject) string {
		s.t.Helper()
		local := s.conns[name].LocalAddr().String()
		s.hangUp(name)
		eventually(s.t, replyTimeout, s.name+" forgets "+local, func() error {
			a, err := request("GET", s.http, "/stats?format=json&include_mem=false", "")
			if err == nil && strings.Contains(string(a.body), local) {
				err = fmt.Errorf("/stats: %s", a.body)
			}
			return err
		})
		return name + " hangs up"
	}
}

// quiet expects that a connection is sent nothing for a while.
func quiet(name string, d time.Duration) step {
	return func(s *subject) string {
		f, err := nextFrame(s.conns[name], d)
		if err == nil {
			return fmt.Sprintf("%s is sent %s", name, s.show(f))
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return name + " is sent nothing"
		}
		return fmt.Sprintf("%s: %v", name, closedOr(err))
	}
}

// untilClosed says nothing, as one that has stopped does, and expects to be let go
// within a time. The last heartbeat may come before that or not.
func untilClosed(name string, within time.Duration) step {
	return func(s *subject) string {
		for deadline := time.Now().Add(within); ; {
			f, err := nextFrame(s.conns[name], time.Until(deadline))
			if err != nil {
				s.hangUp(name)
				return fmt.Sprintf("%s says nothing: %v", name, closedOr(err))
			}
			if string(f.data) != "_heartbeat_" {
				return fmt.Sprintf("%s says nothing and is sent %s", name, s.show(f))
			}
		}
	}
}

// hangUp closes a connection at once.
func (s *subject) hangUp(name string) {
	s.conns[name].Close()
	delete(s.conns, name)
}

// when waits until the answer to target has the text in it, normalised, and shows
// all of it.
func when(target, text string) step {
	return func(s *subject) string {
		s.t.Helper()
		var got string
		eventually(s.t, 10*time.Second, s.name+" GET "+target, func() error {
			a, err := request("GET", s.http, target, "")
			if err != nil {
				return err
			}
			if got = s.normalise(a.body); !strings.Contains(got, text) {
				return fmt.Errorf("%s, want %s in it", got, text)
			}
			return nil
		})
		return "GET " + target + ": " + got
	}
}

// raw sends bytes to the HTTP port and shows the status and the body.
func raw(text string) step {
	return func(s *subject) string {
		conn, err := net.DialTimeout("tcp", s.http, replyTimeout)
		if err != nil {
			s.t.Fatalf("dial %s: %v", s.name, err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(replyTimeout))
		what := fmt.Sprintf("HTTP %s", quote(text))
		go io.WriteString(conn, text) // ends with the connection: an answer may come before all of it is read
		answer, err := io.ReadAll(io.LimitReader(conn, maxReply))
		head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
		status, _, _ := strings.Cut(head, "\r\n")
		if err != nil && len(answer) == 0 {
			return fmt.Sprintf("%s: %v", what, closedOr(err))
		}
		return fmt.Sprintf("%s: %s %s", what, status, s.normalise([]byte(body)))
	}
}

// metadata shows nsqd.dat, once nobody has written to it for a moment: it is written
// after the answer to what changes it. Which of null and [] there is in it, is the same
// to both.
func metadata(s *subject) string {
	var last string
	for since := time.Now(); time.Since(since) < 150*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		text := "no file"
		if b, err := os.ReadFile(filepath.Join(s.data, "nsqd.dat")); err == nil {
			text = s.normalise(bytes.ReplaceAll(b, []byte(":null"), []byte(":[]")))
		}
		if text != last {
			last, since = text, time.Now()
		}
	}
	return "nsqd.dat: " + last
}

// restart stops the subject with SIGTERM and starts it again.
func restart(s *subject) string {
	s.t.Helper()
	for name := range s.conns {
		s.hangUp(name)
	}
	s.stop()
	s.start()
	awaitPing(s.t, s.process, s.http)
	return "restart"
}

// quote renders text as it was sent, shortened.
func quote(text string) string {
	q := fmt.Sprintf("%q", text)
	if len(q) > 300 {
		q = fmt.Sprintf("%s... (%d bytes)", q[:80], len(text))
	}
	return q
}

// measured returns a command line followed by a length and so many bytes.
func measured(line, body string) string { return withSize(line, int32(len(body)), body) }

// withSize returns a command line followed by a length, right or wrong, and bytes.
func withSize(line string, size int32, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte(line+"\n"), uint32(size))) + body
}

// hello returns what opens a connection and identifies it.
func hello(body string) string { return magicV2 + measured("IDENTIFY", body) }

// pub returns a PUB.
func pub(topic, body string) string { return measured("PUB "+topic, body) }

// dpub returns a DPUB.
func dpub(topic, ms, body string) string { return measured("DPUB "+topic+" "+ms, body) }

// mpub returns an MPUB.
func mpub(topic string, bodies ...string) string {
	return measured("MPUB "+topic, batch(len(bodies), bodies...))
}

// batch returns the body of an MPUB that announces count messages.
func batch(count int, bodies ...string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(count))
	for _, body := range bodies {
		b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
		b = append(b, body...)
	}
	return string(b)
}

// volatile are the parts of a text answer of nsqd that differ from run to run.
var volatile = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`nsqd v\S+ \(built w/\S+\)`), "nsqd OWN VERSION"},
	{regexp.MustCompile(`(?m)^start_time .*$`), "start_time TIME"},
	{regexp.MustCompile(`(?m)^uptime .*$`), "uptime DURATION"},
	{regexp.MustCompile(`(?m)^(   (?:heap|gc|next)_\w+ *\t)\d+$`), "${1}NUMBER"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDR"},
	{regexp.MustCompile(`connected: \S+`), "connected: DURATION"},
	{regexp.MustCompile(`subject_example_\d+`), "subject_example_PORT"},
	{regexp.MustCompile(`(\[V2 [^ :]*:)\d{5} `), "${1}PORT "},
}

// plainText is normalise for what is no JSON.
func (s *subject) plainText(text string) string {
	text = strings.NewReplacer(s.tcp, "OWN TCP ADDR", s.http, "OWN HTTP ADDR").Replace(text)
	if s.data != "" {
		text = strings.ReplaceAll(text, s.data, "DATA PATH")
	}
	for _, v := range volatile {
		text = v.pattern.ReplaceAllString(text, v.word)
	}
	return clientLines.ReplaceAllStringFunc(text, func(lines string) string {
		return strings.Join(slices.Sorted(strings.Lines(lines)), "")
	})
}

// clientLines are the lines about the clients of one channel, or about all producers,
// which stock has in random order.
var clientLines = regexp.MustCompile(`(?m)(^ +\[V2 .*\n)+`)
