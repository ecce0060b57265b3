package interop

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// A v2Client is a plain client of nsqd's protocol, for what needs speed or a
// connection that breaks when it is told to.
type v2Client struct {
	net.Conn
	r *bufio.Reader
}

// dialV2 connects to an nsqd.
func dialV2(addr string) (*v2Client, error) {
	conn, err := net.DialTimeout("tcp", addr, replyTimeout)
	if err != nil {
		return nil, err
	}
	c := &v2Client{Conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	if _, err := io.WriteString(c, magicV2); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// next reads the next frame that is no heartbeat. It answers heartbeats.
func (c *v2Client) next(within time.Duration) (frame, error) {
	c.SetReadDeadline(time.Now().Add(within))
	for {
		var head [8]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return frame{}, err
		}
		size := binary.BigEndian.Uint32(head[:4])
		if size < 4 || size > 8<<20 {
			return frame{}, fmt.Errorf("a frame of %d bytes", size)
		}
		f := frame{kind: binary.BigEndian.Uint32(head[4:]), data: make([]byte, size-4)}
		if _, err := io.ReadFull(c.r, f.data); err != nil {
			return frame{}, err
		}
		if f.kind == frameResponse && string(f.data) == "_heartbeat_" {
			if _, err := io.WriteString(c, "NOP\n"); err != nil {
				return frame{}, err
			}
			continue
		}
		return f, nil
	}
}

// do sends a command that is answered with OK.
func (c *v2Client) do(command string) error {
	if _, err := io.WriteString(c, command); err != nil {
		return err
	}
	f, err := c.next(10 * time.Second)
	if err == nil && (f.kind != frameResponse || string(f.data) != "OK") {
		err = errors.New(string(f.data))
	}
	return err
}

// consume subscribes and finishes messages until n different ones have come, or none
// comes for a while; it returns how often each body came.
func consume(t testing.TB, addr, topic, channel string, n int, patience time.Duration) map[string]int {
	t.Helper()
	c, err := dialV2(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.do("SUB " + topic + " " + channel + "\n"); err != nil {
		t.Fatalf("SUB %s %s: %v", topic, channel, err)
	}
	if _, err := io.WriteString(c, "RDY 100\n"); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for len(got) < n {
		f, err := c.next(patience)
		if err != nil {
			break // the caller counts
		}
		_, _, id, body, err := f.message()
		if f.kind != frameMessage || err != nil {
			t.Fatalf("frame of kind %d: %q", f.kind, f.data)
		}
		got[body]++
		if _, err := io.WriteString(c, "FIN "+id+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	// What was sent last has been carried out once this is answered.
	if _, err := io.WriteString(c, barrier); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := c.next(replyTimeout)
		if err != nil {
			t.Fatalf("%s: %v", barrier, err)
		}
		if f.kind == frameError {
			return got
		}
	}
}
