package interop

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// replyTimeout bounds the wait for one V1 reply, and for the close that
	// follows a fatal one.
	replyTimeout = 3 * time.Second
	// maxReply bounds one V1 reply.
	maxReply = 1 << 20
)

// A subject is one nsqlookupd, or nsqd, that stories are told to.
type subject struct {
	*process
	t       testing.TB
	tcp     string
	http    string
	version string // its own, from /info; empty if it answers over TLS only
	conns   map[string]net.Conn

	// Of an nsqd alone.
	data string            // its data path
	ids  map[string]string // the ids of the messages that it has sent, by their bodies
}

// startSubject starts a single nsqlookupd, stock or ours, with none but stock's flags.
func startSubject(t testing.TB, which string, flags ...string) *subject {
	t.Helper()
	bin := stockBin("nsqlookupd")
	if which == "ours" {
		bin = ourBin("nsqlookupd")
	}
	tcp, http := freeAddr(t), freeAddr(t)
	p := newProcess(t, which+"-nsqlookupd", bin, append([]string{
		"--tcp-address=" + tcp, "--http-address=" + http, "--broadcast-address=subject.example"}, flags...)...)
	p.start()
	awaitPing(t, p, http)
	return newSubject(t, p, tcp, http)
}

// newSubject returns the subject for a process that answers at the two addresses.
func newSubject(t testing.TB, p *process, tcp, http string) *subject {
	t.Helper()
	s := &subject{process: p, t: t, tcp: tcp, http: http, conns: make(map[string]net.Conn)}
	var info struct {
		Version string `json:"version"`
	}
	if a, err := request("GET", http, "/info", ""); err != nil || a.status != 403 {
		if err := get(http, "/info", &info); err != nil {
			t.Fatal(err)
		}
	}
	s.version = info.Version
	t.Cleanup(func() {
		for _, conn := range s.conns {
			conn.Close()
		}
	})
	return s
}

// A step does one thing to a subject and returns what came of it, normalised.
type step func(*subject) string

// tellTo plays the steps and returns the transcript. At its end every connection
// that is still open has to answer a PING; that it does is part of the transcript.
func (s story) tellTo(t testing.TB, sub *subject) []string {
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
		transcript = append(transcript, "at the end: "+say(name, "PING\n")(sub))
	}
	if err := sub.running(); err != nil {
		t.Error(err)
	}
	return transcript
}

// say sends bytes on a V1 connection, which it opens when the name is new, and
// reads one reply.
func say(name, text string) step { return sayMany(name, 1, text) }

// sayMany sends bytes and reads the given number of replies.
func sayMany(name string, replies int, text string) step {
	return func(s *subject) string {
		conn := s.conn(name)
		if _, err := io.WriteString(conn, text); err != nil {
			return fmt.Sprintf("%s says %q: %v", name, text, closedOr(err))
		}
		return fmt.Sprintf("%s says %q: %s", name, text, s.replies(name, replies))
	}
}

// dribble sends one byte at a time, each in a packet of its own, and reads one reply.
func dribble(name, text string) step {
	return func(s *subject) string {
		conn := s.conn(name)
		for i := range len(text) {
			if _, err := io.WriteString(conn, text[i:i+1]); err != nil {
				return fmt.Sprintf("%s dribbles %q: %v at byte %d", name, text, closedOr(err), i)
			}
		}
		return fmt.Sprintf("%s dribbles %q: %s", name, text, s.replies(name, 1))
	}
}

// hangUp sends bytes and nothing more ever, and reads until the subject closes too.
func hangUp(name, text string) step {
	return func(s *subject) string {
		conn := s.conn(name)
		defer s.drop(name)
		if _, err := io.WriteString(conn, text); err != nil {
			return fmt.Sprintf("%s hangs up after %q: %v", name, text, closedOr(err))
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return fmt.Sprintf("%s hangs up after %q: %v", name, text, closedOr(err))
		}
		var replies []string
		for {
			reply, err := s.reply(conn)
			if err != nil {
				return fmt.Sprintf("%s hangs up after %q: %s%v", name, text, strings.Join(replies, ""), closedOr(err))
			}
			replies = append(replies, reply+" ")
		}
	}
}

// fetch sends a GET.
func fetch(target string) step { return call("GET", target, "") }

// post sends a POST without a body.
func post(target string) step { return call("POST", target, "") }

// call sends an HTTP request and shows the status, the headers a client may look
// at, and the body.
func call(method, target, body string) step {
	return func(s *subject) string {
		a, err := request(method, s.http, target, body)
		if err != nil {
			return fmt.Sprintf("%s %s: %v", method, target, err)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s: %d", method, target, a.status)
		for _, name := range []string{"X-Nsq-Content-Type", "Content-Type", "Allow", "Location"} {
			v := a.header.Get(name)
			if name == "Allow" {
				v = strings.ReplaceAll(v, "HEAD, ", "") // see TestDeviations
			}
			if v != "" {
				fmt.Fprintf(&b, "\n\t%s: %s", name, v)
			}
		}
		fmt.Fprintf(&b, "\n\t%s", s.normalise(a.body))
		return b.String()
	}
}

// status sends requests, each written as method and target, and shows how each was
// answered.
func status(requests ...string) step {
	return func(s *subject) string {
		var got []string
		for _, r := range requests {
			method, target, _ := strings.Cut(r, " ")
			a, err := request(method, s.http, target, "")
			if err != nil {
				return fmt.Sprintf("%s: %v", r, err)
			}
			got = append(got, fmt.Sprintf("%s: %d", r, a.status))
		}
		return strings.Join(got, "; ")
	}
}

// until waits for the effect of something that has no reply: for the answer to
// target to have this body, normalised.
func until(target, body string) step {
	return func(s *subject) string {
		s.t.Helper()
		eventually(s.t, 5*time.Second, s.name+" GET "+target, func() error {
			a, err := request("GET", s.http, target, "")
			if err != nil {
				return err
			}
			if got := s.normalise(a.body); got != body {
				return fmt.Errorf("%s, want %s", got, body)
			}
			return nil
		})
		return "until " + target + " is " + body
	}
}

// conn returns the connection with that name, and opens it the first time.
func (s *subject) conn(name string) net.Conn {
	s.t.Helper()
	if conn := s.conns[name]; conn != nil {
		return conn
	}
	conn, err := net.DialTimeout("tcp", s.tcp, replyTimeout)
	if err != nil {
		s.t.Fatalf("dial %s: %v", s.name, err)
	}
	s.conns[name] = conn
	return conn
}

// replies reads n replies. A fatal one has to be followed by a close, and what
// comes instead, or with it, is shown.
func (s *subject) replies(name string, n int) string {
	conn := s.conns[name]
	var got []string
	for range n {
		reply, err := s.reply(conn)
		if err != nil {
			return strings.Join(append(got, closedOr(err).Error()), " ")
		}
		got = append(got, reply)
		if strings.HasPrefix(reply, `"E_`) {
			if reply, err = s.reply(conn); err == nil {
				got = append(got, "and then", reply)
			} else {
				got = append(got, closedOr(err).Error())
			}
			s.drop(name)
			break
		}
	}
	return strings.Join(got, " ")
}

// drop closes a connection and waits until the subject has forgotten its producer.
// Stock has by the time it closes; ours commits the end of the session after that.
func (s *subject) drop(name string) {
	s.t.Helper()
	local := s.conns[name].LocalAddr().String()
	s.conns[name].Close()
	delete(s.conns, name)
	eventually(s.t, replyTimeout, s.name+" forgets "+local, func() error {
		a, err := request("GET", s.http, "/debug", "")
		if err == nil && bytes.Contains(a.body, []byte(local)) {
			err = fmt.Errorf("/debug: %s", a.body)
		}
		return err
	})
}

// reply reads one V1 reply: a length and so many bytes.
func (s *subject) reply(conn net.Conn) (string, error) {
	conn.SetDeadline(time.Now().Add(replyTimeout))
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return "", err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxReply {
		return "", fmt.Errorf("reply of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		return "", err
	}
	if bytes.HasPrefix(b, []byte("{")) {
		return s.normalise(b), nil
	}
	return fmt.Sprintf("%q", b), nil
}

// identify returns an IDENTIFY with the given body.
func identify(body string) string {
	b := binary.BigEndian.AppendUint32([]byte("IDENTIFY\n"), uint32(len(body)))
	return string(b) + body
}

var errClosed = errors.New("closed")

// closedOr returns errClosed for the ways in which a connection may be found
// closed, since which of them it is depends on who was faster.
func closedOr(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("silence")
	}
	return err
}

// additive are the fields that upstream NSQ has added since v1.3.0 and that ours
// answers with. Stock's clients ignore them.
var additive = []string{"topology_zone", "topology_region"}

// normalise returns JSON with its keys sorted, its arrays sorted (stock's are in
// random order) and what differs from run to run replaced by a word. Anything else
// is returned as it is.
func (s *subject) normalise(body []byte) string {
	var v any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return fmt.Sprintf("%q", s.plainText(string(body)))
	}
	b, err := marshal(s.plain("", v))
	if err != nil {
		s.t.Fatalf("normalise %q: %v", body, err)
	}
	return b
}

// plain replaces what is volatile in v, which is the value of key.
func (s *subject) plain(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range additive {
			delete(v, name)
		}
		s.pairTombstones(v)
		if key == "memory" {
			return slices.Sorted(maps.Keys(v))
		}
		for k, e := range v {
			v[k] = s.plain(k, e)
		}
		return v
	case []any:
		for i, e := range v {
			v[i] = s.plain(key, e)
		}
		slices.SortFunc(v, func(a, b any) int {
			x, _ := marshal(a)
			y, _ := marshal(b)
			return cmp.Compare(x, y)
		})
		return v
	case string:
		return s.word(key, v)
	case json.Number:
		switch {
		case key == "tcp_port" && v.String() == portOf(s.tcp):
			return "OWN TCP PORT"
		case key == "http_port" && v.String() == portOf(s.http):
			return "OWN HTTP PORT"
		case key == "last_update", key == "start_time", key == "connect_ts":
			return "TIME"
		case key == "https_port" && v.String() != "0":
			return "HTTPS PORT"
		case key == "value": // of a percentile
			return "NUMBER"
		case key == "tombstoned_at":
			// Stock shows the nanoseconds of Go's zero time, out of range, for never.
			if ns, err := v.Int64(); err == nil && ns > 0 {
				return "TIME"
			}
			return "NEVER"
		}
	}
	return v
}

// pairTombstones turns the two arrays topics and tombstones of /nodes, which go
// together, into one map, so that sorting does not part them.
func (s *subject) pairTombstones(v map[string]any) {
	topics, ok := v["topics"].([]any)
	tombstones, ok2 := v["tombstones"].([]any)
	if !ok || !ok2 || len(topics) != len(tombstones) {
		return
	}
	pairs := make(map[string]any)
	for i, topic := range topics {
		pairs[fmt.Sprint(topic)] = tombstones[i]
	}
	v["topics"] = pairs
	delete(v, "tombstones")
}

// word replaces a string that differs from run to run.
func (s *subject) word(key, v string) string {
	host, _, err := net.SplitHostPort(v)
	own, _ := os.Hostname()
	switch {
	case (key == "remote_address" || key == "id") && err == nil && host == "127.0.0.1":
		return "ADDR"
	case key == "version" && v == s.version:
		return "OWN VERSION"
	case key == "tls_cipher_suite" && v == "Unknown 4865": // stock does not know the names of TLS 1.3
		return tls.CipherSuiteName(tls.TLS_AES_128_GCM_SHA256)
	case key == "hostname" && v == own:
		return "OWN HOSTNAME"
	}
	return s.plainText(v)
}

// marshal encodes v as JSON on one line, without HTML escapes.
func marshal(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
