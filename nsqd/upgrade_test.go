package nsqd

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/s2"
)

// flushing is a connection through a compressor.
type flushing struct {
	net.Conn
	w interface {
		io.Writer
		Flush() error
	}
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.w.Flush()
	}
	return n, err
}

// negotiate identifies, and returns the answer.
func (p *peer) negotiate(fields string) negotiated {
	p.t.Helper()
	p.say(identify(`"feature_negotiation":true,` + fields))
	kind, payload, err := p.frame()
	var n negotiated
	if err != nil || kind != frameResponse || json.Unmarshal(payload, &n) != nil {
		p.t.Fatalf("got frame %d %q, %v", kind, payload, err)
	}
	return n
}

// handshake goes over to TLS.
func (p *peer) handshake(config *tls.Config) error {
	conn := tls.Client(p.conn, config)
	conn.SetDeadline(time.Now().Add(p.patience))
	err := conn.Handshake()
	p.conn, p.r = conn, bufio.NewReader(conn)
	return err
}

// unfold goes over to snappy.
func (p *peer) unfold() {
	p.r = bufio.NewReader(s2.NewReader(p.r)) // some of it may have come already
	p.conn = flushing{p.conn, s2.NewWriter(p.conn, s2.WriterSnappyCompat(), s2.WriterConcurrency(1))}
}

// inflate goes over to deflate.
func (p *peer) inflate() {
	p.r = bufio.NewReader(flate.NewReader(p.r))
	w, err := flate.NewWriter(p.conn, 6)
	if err != nil {
		p.t.Fatal(err)
	}
	p.conn = flushing{p.conn, w}
}

// trade publishes small and large messages on p and has them delivered to it.
func trade(t *testing.T, l *lab, p *peer) {
	t.Helper()
	large := strings.Repeat("0123456789abcdef", 20_000)
	p.say(pub("t", "small") + pub("t", large) + multi("t", "x", large, "y"))
	p.want("OK", "OK", "OK")
	p.say(sub("t", "c") + "RDY 10\n")
	p.want("OK")
	for _, body := range []string{"small", large, "x", large, "y"} {
		p.fin(p.wantMessage(body, 1))
	}
	p.wantNone(time.Hour) // with heartbeats through it all
	l.channel("t", "c")   // waits
}

func TestUpgrades(t *testing.T) {
	a := newAuthority(t)
	a.leaf("nsqd")
	trust := trusting(a)
	for _, tt := range []struct {
		name, fields          string
		tls, snappy, deflated bool
		level                 int
	}{
		{"TLS", `"tls_v1":true`, true, false, false, 6},
		{"snappy", `"snappy":true`, false, true, false, 6},
		{"deflate", `"deflate":true`, false, false, true, 6},
		{"deflate 1", `"deflate":true,"deflate_level":1`, false, false, true, 1},
		{"deflate beyond", `"deflate":true,"deflate_level":9`, false, false, true, 6},
		{"TLS and snappy", `"tls_v1":true,"snappy":true`, true, true, false, 6},
		{"TLS and deflate", `"tls_v1":true,"deflate":true,"deflate_level":3`, true, false, true, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(o *Options) { o.TLSCert, o.TLSKey = a.file("nsqd.pem"), a.file("nsqd.key") }, func(l *lab) {
				p := l.dial()
				n := p.negotiate(tt.fields + `,"heartbeat_interval":60000`)
				if n.TLSv1 != tt.tls || n.Snappy != tt.snappy || n.Deflate != tt.deflated || n.DeflateLevel != tt.level {
					t.Fatalf("negotiated %+v", n)
				}
				if tt.tls {
					if err := p.handshake(trust); err != nil {
						t.Fatal(err)
					}
					p.want("OK")
				}
				if tt.snappy {
					p.unfold()
					p.want("OK")
				}
				if tt.deflated {
					p.inflate()
					p.want("OK")
				}
				trade(t, l, p)
				c := l.channel("t", "c").Clients[0]
				if c.TLS != tt.tls || c.Snappy != tt.snappy || c.Deflate != tt.deflated {
					t.Errorf("stats: TLS %v, snappy %v, deflate %v", c.TLS, c.Snappy, c.Deflate)
				}
				if tt.tls && (c.TLSVersion != "TLS1.3" || c.CipherSuite == "") {
					t.Errorf("stats: %q, %q", c.TLSVersion, c.CipherSuite)
				}
			})
		})
	}
}

func trusting(a *authority) *tls.Config {
	return &tls.Config{RootCAs: a.load(func(o *Options) { o.TLSRootCAFile = a.file("ca.pem") }).client().RootCAs, ServerName: "nsqd"}
}

func TestNegotiation(t *testing.T) {
	inLab(t, func(o *Options) {
		o.MsgTimeout, o.MaxMsgTimeout = 30*time.Second, 10*time.Minute
		o.TopologyZone, o.TopologyRegion = "z", "r"
	}, func(l *lab) {
		base := negotiated{MaxRdyCount: 2500, Version: Version, MaxMsgTimeout: 600_000, MsgTimeout: 30_000, DeflateLevel: 6, MaxDeflateLevel: 6,
			OutputBufferSize: 16384, OutputBufferTimeout: 250, TopologyZone: "z", TopologyRegion: "r"}
		for fields, change := range map[string]func(*negotiated){
			`"x":1`:                        func(*negotiated) {},
			`"tls_v1":true`:                func(*negotiated) {}, // there is no certificate
			`"msg_timeout":1000`:           func(n *negotiated) { n.MsgTimeout = 1000 },
			`"sample_rate":99`:             func(n *negotiated) { n.SampleRate = 99 },
			`"output_buffer_size":-1`:      func(n *negotiated) { n.OutputBufferSize, n.OutputBufferTimeout = 1, 0 },
			`"output_buffer_size":64`:      func(n *negotiated) { n.OutputBufferSize = 64 },
			`"output_buffer_timeout":-1`:   func(n *negotiated) { n.OutputBufferTimeout = 0 },
			`"output_buffer_timeout":1000`: func(n *negotiated) { n.OutputBufferTimeout = 1000 },
		} {
			want := base
			change(&want)
			if got := l.dial().negotiate(fields); got != want {
				t.Errorf("%s: got %+v, want %+v", fields, got, want)
			}
		}
		p := l.dial(identify(`"feature_negotiation":true,"snappy":true,"deflate":true`))
		p.want("E_IDENTIFY_FAILED cannot enable both deflate and snappy compression")
		p.wantClosed()
		for fields, want := range map[string]string{
			`"heartbeat_interval":999`:      "heartbeat interval (999) is invalid",
			`"heartbeat_interval":-2`:       "heartbeat interval (-2) is invalid",
			`"heartbeat_interval":60001`:    "heartbeat interval (60001) is invalid",
			`"output_buffer_timeout":24`:    "output buffer timeout (24) is invalid",
			`"output_buffer_timeout":30001`: "output buffer timeout (30001) is invalid",
			`"output_buffer_size":63`:       "output buffer size (63) is invalid",
			`"output_buffer_size":65537`:    "output buffer size (65537) is invalid",
			`"sample_rate":100`:             "sample rate (100) is invalid",
			`"sample_rate":-1`:              "sample rate (-1) is invalid",
			`"msg_timeout":999`:             "msg timeout (999) is invalid",
			`"msg_timeout":600001`:          "msg timeout (600001) is invalid",
			`"msg_timeout":-1`:              "msg timeout (-1) is invalid",
			`"msg_timeout":1e30`:            "failed to decode JSON body",
			`"client_id":7`:                 "failed to decode JSON body",
			`"client_id":`:                  "failed to decode JSON body",
		} {
			p := l.dial(identify(fields))
			p.want("E_BAD_BODY IDENTIFY " + want)
			p.wantClosed()
		}
		for say, want := range map[string]string{
			"IDENTIFY\n\x00\x00\x00\x00": "E_BAD_BODY IDENTIFY invalid body size 0",
			"IDENTIFY\n\xff\xff\xff\xff": "E_BAD_BODY IDENTIFY invalid body size -1",
			"IDENTIFY\n\x7f\xff\xff\xff": "E_BAD_BODY IDENTIFY body too big 2147483647 > 5242880",
		} {
			p := l.dial(say)
			p.want(want)
			p.wantClosed()
		}
	})
	inLab(t, func(o *Options) { o.SnappyEnabled, o.DeflateEnabled = false, false }, func(l *lab) {
		p := l.dial()
		if n := p.negotiate(`"snappy":true,"deflate":true`); n.Snappy || n.Deflate {
			t.Errorf("negotiated what is switched off: %+v", n)
		}
		p.say(pub("t#ephemeral", "m"))
		p.want("OK")
	})
}

func TestTLSRequired(t *testing.T) {
	a := newAuthority(t)
	a.leaf("nsqd")
	trust := trusting(a)
	for _, required := range []string{"true", "tcp-https", "false"} {
		inLab(t, func(o *Options) {
			o.TLSCert, o.TLSKey = a.file("nsqd.pem"), a.file("nsqd.key")
			if err := o.TLSRequired.UnmarshalText([]byte(required)); err != nil {
				t.Fatal(err)
			}
		}, func(l *lab) {
			for _, command := range []string{"PUB", "MPUB", "DPUB", "SUB", "RDY", "FIN", "REQ", "TOUCH", "CLS", "NOP", "AUTH", "what"} {
				if required == "false" {
					continue
				}
				for _, hello := range []string{"", identify(`"feature_negotiation":false,"tls_v1":true`)} {
					p := l.dial(hello, command+" t c\n")
					if hello != "" {
						p.want("OK")
					}
					p.want("E_INVALID cannot " + command + " in current state (TLS required)")
					p.wantClosed()
				}
			}
			p := l.dial()
			p.negotiate(`"tls_v1":true`)
			if err := p.handshake(trust); err != nil {
				t.Fatal(err)
			}
			p.want("OK")
			p.say(pub("t#ephemeral", "m"))
			p.want("OK")
		})
	}
}

func TestTLSPolicies(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	a.leaf("nsqd")
	a.leaf("client")
	stranger.leaf("stranger")
	for _, tt := range []struct {
		name, policy string
		config       func(c *tls.Config)
		want         bool
	}{
		{"none", "", func(*tls.Config) {}, true},
		{"any is required, none shown", "require", func(*tls.Config) {}, false},
		{"any is required, a stranger's", "require", func(c *tls.Config) { c.Certificates = []tls.Certificate{stranger.pair("stranger")} }, true},
		{"ours is required, none shown", "require-verify", func(*tls.Config) {}, false},
		{"ours is required, a stranger's", "require-verify", func(c *tls.Config) { c.Certificates = []tls.Certificate{stranger.pair("stranger")} }, false},
		{"ours is required", "require-verify", func(c *tls.Config) { c.Certificates = []tls.Certificate{a.pair("client")} }, true},
		{"too old", "", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }, false},
		{"1.2", "", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trust := trusting(a)
			tt.config(trust)
			inLab(t, func(o *Options) {
				o.TLSCert, o.TLSKey, o.TLSRootCAFile, o.TLSClientAuthPolicy = a.file("nsqd.pem"), a.file("nsqd.key"), a.file("ca.pem"), tt.policy
			}, func(l *lab) {
				p := l.dial()
				p.negotiate(`"tls_v1":true`)
				if err := p.handshake(trust); err != nil {
					if tt.want {
						t.Fatal(err)
					}
					return
				}
				kind, payload, err := p.frame() // with TLS 1.3 the client hears only now
				if ok := err == nil && kind == frameResponse && string(payload) == "OK"; ok != tt.want {
					t.Errorf("got frame %d %q, %v; want it to work: %v", kind, payload, err, tt.want)
				}
			})
		})
	}
}

// A handshake has five seconds, with heartbeats or without.
func TestHandshakeThatStalls(t *testing.T) {
	a := newAuthority(t)
	a.leaf("nsqd")
	for _, heartbeat := range []string{"1000", "-1", "0"} {
		inLab(t, func(o *Options) { o.TLSCert, o.TLSKey = a.file("nsqd.pem"), a.file("nsqd.key") }, func(l *lab) {
			p, begun := l.dial(), time.Now()
			p.negotiate(`"tls_v1":true,"heartbeat_interval":` + heartbeat)
			p.say("\x16\x03\x01") // and no more
			if kind, payload, err := p.frame(); err != nil || kind != frameError || !strings.HasPrefix(string(payload), "E_IDENTIFY_FAILED IDENTIFY failed") {
				t.Errorf("got frame %d %q, %v", kind, payload, err)
			}
			elapsed(t, begun, handshakeTimeout, "it is given up")
			p.wantClosed()
		})
	}
}

// What is no TLS, snappy or deflate ends the connection it comes on, and nothing
// else.
func TestMalformedLayers(t *testing.T) {
	a := newAuthority(t)
	a.leaf("nsqd")
	garbage := []string{
		"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff", strings.Repeat("\x00", 1000), strings.Repeat("\xff", 100_000),
		"\xff\x06\x00\x00sNaPpY\x00\xff\xff\xff" + strings.Repeat("x", 1000), // a chunk of 16 MiB
		"\xff\x06\x00\x00sNaPpY\x00\x0a\x00\x00abcd\xff\xff\xff\xff\x0fxx",   // that unfolds to 4 GiB
		"\xff\x06\x00\x00sNaPpY\x01\x08\x00\x00abcdNOP\n",                    // with a wrong checksum
		"\xff\x06\x00\x00sNaPpY\x02\x00\x00\x00", "\xff\x06\x00\x00sNaPpX",
	}
	inLab(t, func(o *Options) { o.TLSCert, o.TLSKey = a.file("nsqd.pem"), a.file("nsqd.key") }, func(l *lab) {
		other := l.consumer("t", "c", 1)
		for _, fields := range []string{`"tls_v1":true`, `"snappy":true`, `"deflate":true`} {
			for _, text := range garbage {
				p := l.dial()
				p.negotiate(fields + `,"heartbeat_interval":1000`)
				if _, err := io.WriteString(p.conn, text); err != nil && !errors.Is(err, os.ErrClosed) {
					t.Logf("%s: %v", fields, err)
				}
				// Some of it is only the beginning of something: then it is silence.
				if _, err := io.Copy(io.Discard, p.conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s with %.20q: the connection stays open", fields, text)
				}
				p.conn.Close()
			}
		}
		l.publish("t", "m")
		other.fin(other.wantMessage("m", 1))
		synctest.Wait()
	})
}

// A few bytes that unfold to gigabytes are taken in parts, and are too long a line,
// or too large a body.
func TestDecompressionBombs(t *testing.T) {
	for _, layer := range []string{"snappy", "deflate"} {
		for name, bomb := range map[string]string{
			"line": strings.Repeat("x", 8<<20),
			"body": "PUB t\n\x7f\xff\xff\xff" + strings.Repeat("x", 8<<20),
			"NOPs": strings.Repeat("NOP\n", 2<<20),
		} {
			inLab(t, nil, func(l *lab) {
				p := l.dial()
				p.negotiate(fmt.Sprintf("%q:true", layer))
				var folded bytes.Buffer
				var w interface {
					io.Writer
					Flush() error
				}
				if layer == "snappy" {
					w = s2.NewWriter(&folded, s2.WriterSnappyCompat(), s2.WriterConcurrency(1))
				} else {
					w, _ = flate.NewWriter(&folded, 9)
				}
				io.WriteString(w, bomb)
				w.Flush()
				before := heap()
				for chunk := range slices.Chunk(folded.Bytes(), 16<<10) {
					if _, err := p.conn.Write(chunk); err != nil {
						break
					}
					synctest.Wait()
				}
				if grown := heap() - before; grown > 4<<20 {
					t.Errorf("%s, %s: memory has grown by %d bytes", layer, name, grown)
				}
				if name == "NOPs" {
					if _, err := p.conn.Write(nil); err != nil {
						t.Errorf("%s: who sends many commands is closed: %v", layer, err)
					}
					return
				}
				if _, err := io.Copy(io.Discard, p.conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s, %s: the connection stays open", layer, name)
				}
			})
		}
	}
}

// heap returns how much memory is in use.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
