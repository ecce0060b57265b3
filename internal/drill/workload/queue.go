package workload

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/wire"
)

const (
	// queueTimeout bounds each write and each answer of an nsqd.
	queueTimeout = 2 * time.Second
	// heartbeat is nsqd's least. An nsqd that is silent for queueTimeout has gone.
	heartbeat = time.Second
	// messageTimeout is how long a message that got lost on its way waits for the next try.
	messageTimeout = 5 * time.Second

	maxFrame = 1 << 20
)

// A queueConn is a connection to an nsqd. It is on go-nsq's commands but not on its
// connections: those do not tell whether a FIN was written, and cannot be ended while an
// nsqd hangs.
type queueConn struct {
	conn    net.Conn
	r       *bufio.Reader
	release func() bool // of what closes conn when the context ends
}

// dialQueue connects and identifies. The connection is closed when ctx ends.
func dialQueue(ctx context.Context, addr string) (*queueConn, error) {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	q := &queueConn{conn: conn, r: bufio.NewReaderSize(conn, 8<<10)}
	q.release = context.AfterFunc(ctx, func() { conn.Close() })
	identify, err := nsq.Identify(map[string]any{
		"client_id": "drill", "user_agent": "nsqdrill",
		"heartbeat_interval": heartbeat.Milliseconds(), "msg_timeout": messageTimeout.Milliseconds(),
	})
	if err == nil {
		conn.SetWriteDeadline(time.Now().Add(queueTimeout))
		if _, err = conn.Write(nsq.MagicV2); err == nil {
			err = q.do(identify)
		}
	}
	if err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

func (q *queueConn) close() {
	q.release()
	q.conn.Close()
}

// send writes a command.
func (q *queueConn) send(c *nsq.Command) error {
	q.conn.SetWriteDeadline(time.Now().Add(queueTimeout))
	_, err := c.WriteTo(q.conn)
	return err
}

// A protocolError is an error of nsqd's, as E_BAD_TOPIC.
type protocolError string

func (e protocolError) Error() string { return string(e) }

// do sends a command and returns when it has been answered with OK.
func (q *queueConn) do(c *nsq.Command) error {
	if err := q.send(c); err != nil {
		return err
	}
	kind, body, err := q.next()
	switch {
	case err != nil:
		return err
	case kind != nsq.FrameTypeResponse || string(body) != "OK":
		return fmt.Errorf("answered with %.100s", body)
	}
	return nil
}

// next returns the next frame that is not a heartbeat, which it answers.
func (q *queueConn) next() (kind int32, body []byte, err error) {
	for {
		q.conn.SetReadDeadline(time.Now().Add(queueTimeout))
		frame, err := wire.ReadBody(q.r, maxFrame)
		if err != nil {
			return 0, nil, err
		}
		if len(frame) < 4 {
			return 0, nil, io.ErrUnexpectedEOF
		}
		kind, body = int32(binary.BigEndian.Uint32(frame)), frame[4:]
		switch {
		case kind == nsq.FrameTypeError:
			return kind, nil, protocolError(body)
		case kind == nsq.FrameTypeResponse && string(body) == "_heartbeat_":
			if err := q.send(nsq.Nop()); err != nil {
				return 0, nil, err
			}
		default:
			return kind, body, nil
		}
	}
}

// nextMessage returns the next message.
func (q *queueConn) nextMessage() (*nsq.Message, error) {
	kind, body, err := q.next()
	if err != nil {
		return nil, err
	}
	if kind != nsq.FrameTypeMessage {
		return nil, errors.New("a frame that is not a message")
	}
	return nsq.DecodeMessage(body)
}
