package nsqd

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/s2"
)

// handshakeTimeout bounds a TLS handshake.
const handshakeTimeout = 5 * time.Second

// features is the body of an IDENTIFY. Times are in milliseconds; -1 switches off
// what it is about, and 0 leaves it at the default.
type features struct {
	ClientID            string `json:"client_id"`
	Hostname            string `json:"hostname"`
	HeartbeatInterval   int    `json:"heartbeat_interval"`
	OutputBufferSize    int    `json:"output_buffer_size"`
	OutputBufferTimeout int    `json:"output_buffer_timeout"`
	FeatureNegotiation  bool   `json:"feature_negotiation"`
	TLSv1               bool   `json:"tls_v1"`
	Deflate             bool   `json:"deflate"`
	DeflateLevel        int    `json:"deflate_level"`
	Snappy              bool   `json:"snappy"`
	SampleRate          int32  `json:"sample_rate"`
	UserAgent           string `json:"user_agent"`
	MsgTimeout          int    `json:"msg_timeout"`
	TopologyZone        string `json:"topology_zone"`
	TopologyRegion      string `json:"topology_region"`
}

// negotiated is the answer to an IDENTIFY with feature negotiation.
type negotiated struct {
	MaxRdyCount         int64  `json:"max_rdy_count"`
	Version             string `json:"version"`
	MaxMsgTimeout       int64  `json:"max_msg_timeout"`
	MsgTimeout          int64  `json:"msg_timeout"`
	TLSv1               bool   `json:"tls_v1"`
	Deflate             bool   `json:"deflate"`
	DeflateLevel        int    `json:"deflate_level"`
	MaxDeflateLevel     int    `json:"max_deflate_level"`
	Snappy              bool   `json:"snappy"`
	SampleRate          int32  `json:"sample_rate"`
	AuthRequired        bool   `json:"auth_required"`
	OutputBufferSize    int    `json:"output_buffer_size"`
	OutputBufferTimeout int64  `json:"output_buffer_timeout"`
	TopologyRegion      string `json:"topology_region"`
	TopologyZone        string `json:"topology_zone"`
}

// defaultOutputBuffer is the output_buffer_size of a client that has no wish.
const defaultOutputBuffer = 16 << 10

// identify takes over what the client says of itself and wants, answers, and
// upgrades the connection.
func (c *client) identify() ([]byte, error) {
	if c.state() != stateInit {
		return nil, invalid("cannot IDENTIFY in current state")
	}
	body, err := c.readCommandBody("IDENTIFY")
	if err != nil {
		return nil, err
	}
	f, err := decodeFeatures(body)
	if err != nil {
		return nil, refusal("E_BAD_BODY", "IDENTIFY failed to decode JSON body")
	}
	if err := f.validate(c.srv.opts); err != nil {
		return nil, refusal("E_BAD_BODY", "IDENTIFY %v", err)
	}
	c.adopt(f)
	if !f.FeatureNegotiation {
		return okText, nil
	}
	n := c.negotiate(f)
	if n.Deflate && n.Snappy {
		return nil, refusal("E_IDENTIFY_FAILED", "cannot enable both deflate and snappy compression")
	}
	answer, err := json.Marshal(n)
	if err != nil {
		return nil, refusal("E_IDENTIFY_FAILED", "IDENTIFY failed %v", err)
	}
	if err := c.respond(frameResponse, answer); err != nil {
		return nil, err
	}
	return nil, c.upgrade(n)
}

// readCommandBody reads the body of a command behind its size.
func (c *client) readCommandBody(command string) ([]byte, error) {
	size, err := readSize(c.in)
	if err != nil {
		return nil, refusal("E_BAD_BODY", "%s failed to read body size", command)
	}
	if most := c.srv.opts.MaxBodySize; int64(size) > most {
		return nil, refusal("E_BAD_BODY", "%s body too big %d > %d", command, size, most)
	}
	if size <= 0 {
		return nil, refusal("E_BAD_BODY", "%s invalid body size %d", command, size)
	}
	body, err := readBytes(c.in, nil, int(size))
	if err != nil {
		return nil, refusal("E_BAD_BODY", "%s failed to read body", command)
	}
	return body, nil
}

func decodeFeatures(body []byte) (*features, error) {
	f := new(features)
	return f, json.Unmarshal(body, f)
}

// validate says what is out of bounds, in stock's words.
func (f *features) validate(o *Options) error {
	within := func(ms int, least, most time.Duration) bool {
		return ms >= int(least.Milliseconds()) && ms <= int(most.Milliseconds())
	}
	if v := f.HeartbeatInterval; v != -1 && v != 0 && !within(v, time.Second, o.MaxHeartbeatInterval) {
		return fmt.Errorf("heartbeat interval (%d) is invalid", v)
	}
	if v := f.OutputBufferTimeout; v != -1 && v != 0 && !within(v, o.MinOutputBufferTimeout, o.MaxOutputBufferTimeout) {
		return fmt.Errorf("output buffer timeout (%d) is invalid", v)
	}
	if v := f.OutputBufferSize; v != -1 && v != 0 && (v < 64 || int64(v) > o.MaxOutputBufferSize) {
		return fmt.Errorf("output buffer size (%d) is invalid", v)
	}
	if v := f.SampleRate; v < 0 || v > 99 {
		return fmt.Errorf("sample rate (%d) is invalid", v)
	}
	if v := f.MsgTimeout; v != 0 && !within(v, time.Second, o.MaxMsgTimeout) {
		return fmt.Errorf("msg timeout (%d) is invalid", v)
	}
	return nil
}

// adopt takes over what does not depend on the server.
func (c *client) adopt(f *features) {
	switch f.HeartbeatInterval {
	case -1:
		c.setHeartbeat(0)
	case 0:
	default:
		c.setHeartbeat(time.Duration(f.HeartbeatInterval) * time.Millisecond)
	}
	if f.MsgTimeout != 0 {
		c.timeout = time.Duration(f.MsgTimeout) * time.Millisecond
	}
	c.sampled = f.SampleRate
	c.mu.Lock()
	defer c.mu.Unlock()
	c.about.id, c.about.hostname, c.about.agent = f.ClientID, f.Hostname, f.UserAgent
	c.about.zone, c.about.region = f.TopologyZone, f.TopologyRegion
	c.about.sampleRate = f.SampleRate
}

// negotiate returns what the server grants.
func (c *client) negotiate(f *features) negotiated {
	o := c.srv.opts
	level := 6
	if f.Deflate && o.DeflateEnabled && f.DeflateLevel > 0 {
		level = f.DeflateLevel
	}
	size, timeout := f.OutputBufferSize, int64(f.OutputBufferTimeout)
	switch size {
	case 0:
		size = defaultOutputBuffer
	case -1:
		size = 1
	}
	switch {
	case timeout == -1, f.OutputBufferSize == -1: // what is not buffered does not wait
		timeout = 0
	case timeout == 0:
		timeout = o.OutputBufferTimeout.Milliseconds()
	}
	return negotiated{
		MaxRdyCount:         o.MaxRdyCount,
		Version:             Version,
		MaxMsgTimeout:       o.MaxMsgTimeout.Milliseconds(),
		MsgTimeout:          c.timeout.Milliseconds(),
		TLSv1:               f.TLSv1 && c.srv.tlsConfig() != nil,
		Deflate:             f.Deflate && o.DeflateEnabled,
		DeflateLevel:        min(level, o.MaxDeflateLevel),
		MaxDeflateLevel:     o.MaxDeflateLevel,
		Snappy:              f.Snappy && o.SnappyEnabled,
		SampleRate:          f.SampleRate,
		AuthRequired:        c.srv.auth.enabled(),
		OutputBufferSize:    size,
		OutputBufferTimeout: timeout,
		TopologyRegion:      o.TopologyRegion,
		TopologyZone:        o.TopologyZone,
	}
}

// upgrade puts the layers that were agreed on over the connection. Each begins with
// an OK through it.
func (c *client) upgrade(n negotiated) error {
	if !n.TLSv1 && !n.Snappy && !n.Deflate {
		return nil
	}
	if err := c.flushResponses(); err != nil {
		return err
	}
	if n.TLSv1 {
		if err := c.upgradeTLS(); err != nil {
			return refusal("E_IDENTIFY_FAILED", "IDENTIFY failed %v", err)
		}
		if err := c.writeFrame(frameResponse, okText); err != nil {
			return err
		}
	}
	if n.Snappy {
		c.upgradeSnappy()
		if err := c.writeFrame(frameResponse, okText); err != nil {
			return err
		}
	}
	if n.Deflate {
		if err := c.upgradeDeflate(n.DeflateLevel); err != nil {
			return refusal("E_IDENTIFY_FAILED", "IDENTIFY failed %v", err)
		}
		return c.writeFrame(frameResponse, okText)
	}
	return nil
}

func (c *client) upgradeTLS() error {
	c.upgrading = true
	defer func() {
		c.upgrading = false
		c.setHeartbeat(time.Duration(c.heartbeat.Load()))
	}()
	deadline := time.Now().Add(handshakeTimeout)
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	conn := tls.Server(layered{c}, c.srv.tlsConfig())
	if err := conn.Handshake(); err != nil {
		return err
	}
	c.mu.Lock()
	state := conn.ConnectionState()
	c.about.tls = &state
	c.mu.Unlock()
	c.layer = conn
	c.stack(conn, conn, nil)
	return nil
}

// snappyBlock bounds what one block of a snappy stream may unfold to.
const snappyBlock = 64 << 10

func (c *client) upgradeSnappy() {
	w := s2.NewWriter(c.layer, s2.WriterSnappyCompat(), s2.WriterConcurrency(1), s2.WriterBlockSize(snappyBlock))
	c.stack(s2.NewReader(c.layer, s2.ReaderMaxBlockSize(snappyBlock), s2.ReaderAllocBlock(1<<10)), w, w.Flush)
	c.mu.Lock()
	c.about.snappy = true
	c.mu.Unlock()
}

func (c *client) upgradeDeflate(level int) error {
	w, err := flate.NewWriter(c.layer, level)
	if err != nil {
		return err
	}
	c.stack(flate.NewReader(c.layer), w, w.Flush)
	c.mu.Lock()
	c.about.deflate = true
	c.mu.Unlock()
	return nil
}

// stack makes commands be read from in and frames be written to out, which work on
// what has been the connection until now.
func (c *client) stack(in io.Reader, out io.Writer, flush func() error) {
	c.in = bufio.NewReaderSize(in, readBuffer)
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out, c.flush = out, flush
}

// layered is the client's connection as the layers above it see it. Reading sends
// heartbeats, see client.read. A write is over within a heartbeat interval: a client
// that does not read for so long is given up.
type layered struct{ c *client }

func (l layered) Read(p []byte) (int, error) { return l.c.read(p) }

func (l layered) Write(p []byte) (int, error) {
	patience := time.Duration(l.c.heartbeat.Load())
	if patience == 0 {
		patience = unlimitedWrite
	}
	if err := l.c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return l.c.conn.Write(p)
}

func (l layered) Close() error                       { return l.c.conn.Close() }
func (l layered) LocalAddr() net.Addr                { return l.c.conn.LocalAddr() }
func (l layered) RemoteAddr() net.Addr               { return l.c.conn.RemoteAddr() }
func (l layered) SetDeadline(t time.Time) error      { return l.c.conn.SetDeadline(t) }
func (l layered) SetReadDeadline(t time.Time) error  { return l.c.conn.SetReadDeadline(t) }
func (l layered) SetWriteDeadline(t time.Time) error { return l.c.conn.SetWriteDeadline(t) }
