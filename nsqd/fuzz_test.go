package nsqd

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/klauspost/compress/s2"
)

// Whatever a client says, it is answered with whole frames, in proportion, and when it
// goes nothing is left of it.
func FuzzCommands(f *testing.F) {
	id := "0123456789abcdef"
	f.Add([]byte("  V2" + pub("t", "m") + sub("t", "c") + "RDY 10\nFIN " + id + "\nREQ " + id + " 0\nTOUCH " + id + "\nCLS\nNOP\n"))
	f.Add([]byte("  V2" + multi("t", "a", "bb", "ccc") + dpub("t", "100", "m") + sub("t", "c#ephemeral") + "RDY 1\r\n"))
	f.Add([]byte("  V2" + identify(`"feature_negotiation":true,"msg_timeout":1000,"sample_rate":50`) + "SUB a#ephemeral b\n"))
	f.Add([]byte("  V2" + identify(`"feature_negotiation":true,"deflate":true,"deflate_level":9`) + "\xca\x48\xcd\xc9\xc9\xe7\x02\x00\x00\x00\xff\xff"))
	var folded bytes.Buffer
	w := s2.NewWriter(&folded, s2.WriterSnappyCompat())
	io.WriteString(w, pub("t", strings.Repeat("m", 900))+"NOP\n")
	w.Close()
	f.Add([]byte("  V2" + identify(`"feature_negotiation":true,"snappy":true`) + folded.String()))
	f.Add([]byte("  V2AUTH\n" + sized("secret")))
	f.Add([]byte("  V1"))

	o := DefaultOptions()
	o.DataPath = f.TempDir()
	o.MaxMsgSize, o.MaxBodySize = 1000, 5000
	if err := o.Validate(); err != nil {
		f.Fatal(err)
	}
	s := New(o, hclog.NewNullLogger())
	if err := s.takeOver(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, say []byte) {
		here, there := net.Pipe()
		answers := make(chan []byte)
		go func() {
			got, _ := io.ReadAll(there)
			answers <- got
		}()
		s.serveTCP(&recited{Conn: here, say: say})
		here.Close()
		got := <-answers
		if most := 1000*len(say) + 10_000; len(got) > most {
			t.Errorf("%d bytes are answered with %d", len(say), len(got))
		}
		if n := s.clients.len(); n != 0 {
			t.Errorf("%d clients are left", n)
		}
		folded := bytes.Contains(got, []byte(`"snappy":true`)) || bytes.Contains(got, []byte(`"deflate":true`))
		for len(got) > 0 && !folded {
			if len(got) < 8 {
				t.Fatalf("a frame is cut: %q", got)
			}
			size := binary.BigEndian.Uint32(got)
			if kind := binary.BigEndian.Uint32(got[4:]); size < 4 || int(size) > len(got)-4 || kind > frameMessage {
				t.Fatalf("not a frame: %q", got)
			}
			got = got[4+size:]
		}
		for _, topic := range s.sorted() {
			if err := s.DeleteTopic(topic.name); err != nil {
				t.Errorf("delete %q: %v", topic.name, err)
			}
		}
	})
}

// A recited connection reads what is said, and then is at its end.
type recited struct {
	net.Conn
	say []byte
}

func (r *recited) Read(p []byte) (int, error) {
	if len(r.say) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.say)
	r.say = r.say[n:]
	return n, nil
}

// What an IDENTIFY asks for is refused, or within bounds.
func FuzzIdentify(f *testing.F) {
	f.Add([]byte(`{"client_id":"a","hostname":"b","heartbeat_interval":1000,"output_buffer_size":64,"output_buffer_timeout":25,"feature_negotiation":true,"tls_v1":true,"sample_rate":99,"msg_timeout":1000}`))
	f.Add([]byte(`{"heartbeat_interval":-1,"output_buffer_size":-1,"output_buffer_timeout":-1,"deflate":true,"deflate_level":-3,"snappy":true,"topology_zone":"z","topology_region":"r"}`))
	f.Add([]byte(`{"deflate":true,"deflate_level":9223372036854775807,"msg_timeout":900000}`))
	f.Add([]byte(`null`))
	o := DefaultOptions()
	s := New(o, hclog.NewNullLogger())
	var err error
	if s.certs, err = loadCertificates(o); err != nil {
		f.Fatal(err)
	}
	s.auth = newAuthServers(o, s.certs)
	f.Fuzz(func(t *testing.T, body []byte) {
		asked, err := decodeFeatures(body)
		if err != nil || asked.validate(o) != nil {
			return
		}
		c := &client{srv: s, timeout: o.MsgTimeout}
		c.setHeartbeat(o.ClientTimeout / 2)
		c.adopt(asked)
		if d := time.Duration(c.heartbeat.Load()); d != 0 && (d < time.Second || d > o.MaxHeartbeatInterval) {
			t.Errorf("a heartbeat interval of %v", d)
		}
		if c.timeout < time.Second || c.timeout > o.MaxMsgTimeout {
			t.Errorf("a message time-out of %v", c.timeout)
		}
		if c.sampled < 0 || c.sampled > 99 {
			t.Errorf("a sample rate of %d", c.sampled)
		}
		n := c.negotiate(asked)
		if n.DeflateLevel < 1 || n.DeflateLevel > o.MaxDeflateLevel || n.TLSv1 {
			t.Errorf("negotiated %+v", n)
		}
		if n.OutputBufferSize < 1 || int64(n.OutputBufferSize) > o.MaxOutputBufferSize || n.OutputBufferTimeout < 0 || n.OutputBufferTimeout > o.MaxOutputBufferTimeout.Milliseconds() {
			t.Errorf("negotiated %+v", n)
		}
		if _, err := json.Marshal(n); err != nil {
			t.Error(err)
		}
	})
}

// Whatever is in nsqd.dat, it is refused, or what is made of it is saved and made
// again.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"topics":[{"name":"a","paused":true,"channels":[{"name":"x","paused":true},{"name":"y#ephemeral"}]},{"name":"b","channels":null}],"version":"1.3.0"}`))
	f.Add([]byte(`{"topics":[{"name":"a"},{"name":"a","channels":[{"name":"x"},{"name":"x"}]},{"name":"../b"},{"name":"c","channels":[{"name":"../x"}]}]}`))
	f.Add([]byte(``))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, content []byte) {
		o := DefaultOptions()
		o.DataPath = t.TempDir()
		path := filepath.Join(o.DataPath, "nsqd.dat")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var contents [2]string
		for i := range contents {
			s := New(o, hclog.NewNullLogger())
			if err := s.load(); err != nil {
				if now, err := os.ReadFile(path); i > 0 || err != nil || !bytes.Equal(now, content) {
					t.Fatalf("what cannot be read has become %q, %v", now, err)
				}
				return
			}
			if err := s.closeTopics(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			contents[i] = string(b)
		}
		if contents[0] != contents[1] {
			t.Errorf("saved %s\nand then %s", contents[0], contents[1])
		}
	})
}

// Whatever is in a file of deadlines, they are read, and written as they were read.
func FuzzDeadlines(f *testing.F) {
	record := appendDeadline(nil, MessageID([]byte("0123456789abcdef")), 1<<60)
	f.Add(record)
	f.Add(append(bytes.Repeat(record, 3), "half a record"...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "t.deferred.dat")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := openDeadlines(path)
		if err != nil {
			t.Fatal(err)
		}
		if d.len() > len(content)/deadlineSize {
			t.Errorf("%d deadlines in %d bytes", d.len(), len(content))
		}
		read := maps.Clone(d.byID)
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
		if d, err = openDeadlines(path); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(d.byID, read) {
			t.Errorf("read %v, and then %v", read, d.byID)
		}
		for id, until := range read {
			if got := d.take(id); got != until {
				t.Errorf("until %d, want %d", got, until)
			}
		}
		if d.len() > 0 && !bytes.Contains(content, make([]byte, 8)) { // 0 is no deadline
			t.Errorf("%d are left when all are taken", d.len())
		}
	})
}

// A message on disk is one of at least its header, and is written as it was read.
func FuzzMessage(f *testing.F) {
	f.Add((&Message{ID: MessageID([]byte("0123456789abcdef")), Timestamp: 1, Attempts: 2, Body: []byte("body")}).appendFrame(nil)[4:])
	f.Add(make([]byte, headerSize))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		if err := m.decode(b); (err != nil) != (len(b) < headerSize) {
			t.Fatalf("%d bytes: %v", len(b), err)
		} else if err != nil {
			if plausible(b) {
				t.Error("what cannot be decoded is plausible")
			}
			return
		}
		if frame := m.appendFrame(nil); string(frame) != sized(string(b)) {
			t.Errorf("read %q, written %q", b, frame)
		}
	})
}
