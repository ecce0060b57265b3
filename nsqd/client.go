package nsqd

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Frame types of protocol V2.
const (
	frameResponse = 0
	frameError    = 1
	frameMessage  = 2
)

const (
	// readBuffer holds commands that have arrived and wait their turn.
	readBuffer = 16 << 10

	// maxResponses bounds the answers held back while more commands are read.
	maxResponses = 16 << 10

	// maxWrite is about what is written of messages at a time.
	maxWrite = 64 << 10

	// unlimitedWrite bounds one write to a client that wants no heartbeats.
	unlimitedWrite = time.Minute
)

// clientState is a client's place in the protocol; the numbers are seen in /stats.
type clientState int32

const (
	stateInit       clientState = 0
	stateSubscribed clientState = 3
	stateClosing    clientState = 4
)

// A client is one TCP connection, from its magic to its end. The goroutine in serve
// reads its commands and answers them; once it has subscribed, that in deliver sends
// it messages.
type client struct {
	// Read-only.
	srv       *Server
	conn      net.Conn
	connected time.Time

	// Owned by the goroutine in serve.
	layer       io.ReadWriter // the connection, or TLS over it
	in          *bufio.Reader // over that and a decompressor
	responses   []byte        // not written yet, see read
	lastCommand time.Time
	nextBeat    time.Time
	deadline    time.Time // what conn's read deadline is set to
	upgrading   bool      // no heartbeats: the peer awaits something else
	topic       *Topic    // that of the last publish
	consumer    *consumer // nil until SUB
	channel     *Channel
	delivering  sync.WaitGroup
	fins        []MessageID
	sampled     int32
	timeout     time.Duration // of messages

	heartbeat atomic.Int64 // ns; 0: none
	done      chan struct{}

	// Held while a frame is written, so that frames do not mix. Its writes are
	// bounded by the heartbeat interval.
	writing sync.Mutex
	out     io.Writer
	flush   func() error // after a write, to get it out of a compressor; nil: not needed

	mu    sync.Mutex // of what others ask, see stats
	about about
}

// about is what a client has told of itself, and what is told to others.
type about struct {
	id, hostname, agent string
	zone, region        string
	state               clientState
	sampleRate          int32
	snappy, deflate     bool
	tls                 *tls.ConnectionState // nil: none
	auth                *authState
	channel             *Channel // nil until SUB
	consumer            *consumer
	published           map[string]uint64 // by topic
}

// serveTCP serves one connection and returns when it is to be closed.
func (s *Server) serveTCP(conn net.Conn) {
	remote := conn.RemoteAddr().String()
	s.log.Info("TCP: new client(" + remote + ")")
	c := &client{
		srv:         s,
		conn:        conn,
		connected:   time.Now(),
		lastCommand: time.Now(),
		timeout:     s.opts.MsgTimeout,
		done:        make(chan struct{}),
	}
	host := hostOf(remote)
	c.about = about{id: host, hostname: host}
	c.layer = layered{c}
	c.out = c.layer
	c.setHeartbeat(s.opts.ClientTimeout / 2)
	c.in = bufio.NewReaderSize(c.layer, readBuffer)
	s.clients.add(c)
	defer s.clients.remove(c)
	defer c.end()

	err := c.serve()
	c.flushResponses() // if that cannot be, the client is gone
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		s.log.Info("PROTOCOL(V2): [" + remote + "] exiting ioloop")
	default:
		s.log.Info("PROTOCOL(V2): ["+remote+"] exiting ioloop", "err", err)
	}
}

// end undoes what the client has begun.
func (c *client) end() {
	close(c.done)
	if c.consumer == nil {
		return
	}
	c.conn.Close() // a write of deliver's ends
	c.delivering.Wait()
	c.channel.unsubscribe(c.consumer)
}

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// setHeartbeat sets the interval of heartbeats; 0 for none.
func (c *client) setHeartbeat(interval time.Duration) {
	c.heartbeat.Store(int64(interval))
	c.nextBeat = time.Now().Add(interval)
	c.deadline = time.Time{}.Add(1) // unlike any that may follow
}

// read reads from the connection for the layers above it: TLS, a decompressor, and
// at last the buffer that commands are read from. Before it waits it writes the
// answers to all commands that came in one go; and while it waits it sends the
// heartbeats. A command has to be complete two heartbeats after the one before it.
func (c *client) read(p []byte) (int, error) {
	if err := c.flushResponses(); err != nil {
		return 0, err
	}
	for {
		if err := c.armRead(); err != nil {
			return 0, err
		}
		n, err := c.conn.Read(p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.upgrading {
			return n, err
		}
		interval := time.Duration(c.heartbeat.Load())
		now := time.Now()
		if !now.Before(c.nextBeat) {
			if err := c.writeFrame(frameResponse, heartbeatText); err != nil {
				return 0, err
			}
			c.nextBeat = now.Add(interval)
		}
		if now.Sub(c.lastCommand) >= 2*interval {
			return 0, fmt.Errorf("no command for two heartbeat intervals of %v: %w", interval, err)
		}
	}
}

var heartbeatText = []byte("_heartbeat_")

// armRead sets the read deadline, if it is not set to what it should be.
func (c *client) armRead() error {
	if c.upgrading {
		return nil // the deadline is the upgrade's
	}
	interval := time.Duration(c.heartbeat.Load())
	want := time.Time{}
	if interval > 0 {
		want = c.nextBeat
		if patience := c.lastCommand.Add(2 * interval); patience.Before(want) {
			want = patience
		}
	}
	// A deadline that comes too early costs one more turn of read's loop; to move
	// it at each command would cost more.
	if c.deadline.Equal(want) || interval > 0 && c.deadline.After(time.Now()) && c.deadline.Before(want) {
		return nil
	}
	c.deadline = want
	return c.conn.SetReadDeadline(want)
}

// write writes whole frames.
func (c *client) write(p []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if _, err := c.out.Write(p); err != nil {
		return err
	}
	if c.flush != nil {
		return c.flush()
	}
	return nil
}

func appendFrame(b []byte, kind uint32, payload []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)+4))
	b = binary.BigEndian.AppendUint32(b, kind)
	return append(b, payload...)
}

func (c *client) writeFrame(kind uint32, payload []byte) error {
	return c.write(appendFrame(make([]byte, 0, 8+len(payload)), kind, payload))
}

// respond answers a command. The answer is written before the next wait, with those
// before and after it.
func (c *client) respond(kind uint32, payload []byte) error {
	c.responses = appendFrame(c.responses, kind, payload)
	if len(c.responses) > maxResponses {
		return c.flushResponses()
	}
	return nil
}

func (c *client) flushResponses() error {
	if len(c.responses) == 0 {
		return nil
	}
	err := c.write(c.responses)
	c.responses = c.responses[:0]
	return err
}

// deliver sends the client messages of its channel until it ends.
func (c *client) deliver() {
	batch := make([]delivery, 0, takeMessages)
	for {
		batch = c.channel.take(c.consumer, batch[:0])
		if len(batch) == 0 {
			select {
			case <-c.consumer.wake:
				continue
			case <-c.done:
				return
			}
		}
		if err := c.send(batch); err != nil {
			c.srv.log.Info("client is closed", "remote", c.conn.RemoteAddr(), "err", err)
			c.conn.Close() // which ends serve
			return
		}
		clear(batch)      // bodies are not held while nothing comes
		runtime.Gosched() // others that were woken for messages take their share first
	}
}

var writeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, maxWrite)
	return &b
}}

// send writes messages, all in one write unless they are many or large.
func (c *client) send(batch []delivery) error {
	pooled := writeBuffers.Get().(*[]byte)
	defer writeBuffers.Put(pooled)
	b := (*pooled)[:0]
	c.writing.Lock()
	defer c.writing.Unlock()
	for i := range batch {
		d := &batch[i]
		b = binary.BigEndian.AppendUint32(b, uint32(4+headerSize+len(d.body)))
		b = binary.BigEndian.AppendUint32(b, frameMessage)
		b = binary.BigEndian.AppendUint64(b, uint64(d.timestamp))
		b = binary.BigEndian.AppendUint16(b, d.attempts)
		b = append(b, d.id[:]...)
		if len(b)+len(d.body) <= cap(b) {
			b = append(b, d.body...)
		} else {
			if _, err := c.out.Write(b); err != nil {
				return err
			}
			b = b[:0]
			if _, err := c.out.Write(d.body); err != nil {
				return err
			}
		}
		if cap(b)-len(b) < 8+headerSize {
			if _, err := c.out.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	if len(b) > 0 {
		if _, err := c.out.Write(b); err != nil {
			return err
		}
	}
	if c.flush != nil {
		return c.flush()
	}
	return nil
}
