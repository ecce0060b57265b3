package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// answerTimeout bounds the wait of a v2Client for nsqd; it only tells a slow machine
// from a broken nsqd.
const answerTimeout = 20 * time.Second

// A v2Client is a connection to an nsqd. It does as little as can be done, so that
// nsqd is what is measured.
type v2Client struct {
	conn net.Conn
	r    *bufio.Reader
	body []byte // of the last frame
}

// dialV2 connects and identifies with the given JSON.
func dialV2(addr, identity string) (*v2Client, error) {
	conn, err := net.DialTimeout("tcp", addr, answerTimeout)
	if err != nil {
		return nil, err
	}
	c := &v2Client{conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	if err := c.do(append([]byte("  V2"), withBody("IDENTIFY", []byte(identity))...)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("IDENTIFY: %w", err)
	}
	return c, nil
}

// withBody returns a command with its body.
func withBody(line string, body []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte(line+"\n"), uint32(len(body)))
	return append(b, body...)
}

// mpubOf returns an MPUB of n messages of so many bytes.
func mpubOf(topic string, n, size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(n))
	message := make([]byte, size)
	for range n {
		b = binary.BigEndian.AppendUint32(b, uint32(size))
		b = append(b, message...)
	}
	return withBody("MPUB "+topic, b)
}

// The kinds of frames.
const (
	frameResponse = 0
	frameMessage  = 2
)

// next reads a frame into c.body, which the next call overwrites.
func (c *v2Client) next() (kind uint32, err error) {
	head, err := c.r.Peek(8)
	if err != nil {
		return 0, err
	}
	size := int(binary.BigEndian.Uint32(head))
	kind = binary.BigEndian.Uint32(head[4:])
	if size < 4 || size > 8<<20 {
		return 0, fmt.Errorf("a frame of %d bytes", size)
	}
	c.r.Discard(8)
	if size -= 4; cap(c.body) < size {
		c.body = make([]byte, 2*size)
	}
	c.body = c.body[:size]
	_, err = io.ReadFull(c.r, c.body)
	return kind, err
}

// do sends a command that is answered with OK.
func (c *v2Client) do(command []byte) error {
	c.conn.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := c.conn.Write(command); err != nil {
		return err
	}
	for {
		kind, err := c.next()
		switch {
		case err != nil:
			return err
		case kind != frameResponse:
			return errors.New(string(c.body))
		case string(c.body) == "OK":
			return nil
		case string(c.body) != "_heartbeat_":
			return errors.New(string(c.body))
		}
	}
}

// subscribe makes the client a consumer with so many messages ahead.
func (c *v2Client) subscribe(topic, channel string, ready int) error {
	if err := c.do([]byte("SUB " + topic + " " + channel + "\n")); err != nil {
		return fmt.Errorf("SUB: %w", err)
	}
	_, err := c.conn.Write([]byte("RDY " + strconv.Itoa(ready) + "\n"))
	return err
}

// consume finishes messages until the connection is closed or seen, which gets every
// body, returns false. The FINs of all that has come in one read go out in one write.
func (c *v2Client) consume(seen func(body []byte) bool) error {
	c.conn.SetDeadline(time.Time{})
	var out []byte
	for {
		kind, err := c.next()
		if err != nil {
			return err
		}
		switch kind {
		case frameResponse:
			out = append(out, "NOP\n"...)
		case frameMessage:
			if len(c.body) < 26 {
				return fmt.Errorf("a message of %d bytes", len(c.body))
			}
			out = append(out, "FIN "...)
			out = append(out, c.body[10:26]...)
			out = append(out, '\n')
			if !seen(c.body[26:]) {
				_, err := c.conn.Write(out)
				return err
			}
		default:
			return errors.New(string(c.body))
		}
		if c.r.Buffered() == 0 || len(out) > 32<<10 {
			if _, err := c.conn.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
}

// publish has n clients send the same command over and over, each waiting for its
// answer, and returns how often that was done in the time that it took.
func publish(addr string, n int, command []byte, during time.Duration) (times int, took time.Duration, err error) {
	clients, err := dialAllV2(addr, n)
	if err != nil {
		return 0, 0, err
	}
	defer closeAllV2(clients)
	counts := make([]int, n)
	errs := make([]error, n)
	begun := time.Now()
	until := begun.Add(during)
	var senders sync.WaitGroup
	for i, c := range clients {
		senders.Go(func() {
			for errs[i] == nil && time.Now().Before(until) {
				errs[i] = c.do(command)
				counts[i]++
			}
		})
	}
	senders.Wait()
	took = time.Since(begun)
	for _, count := range counts {
		times += count
	}
	return times, took, errors.Join(errs...)
}

func dialAllV2(addr string, n int) ([]*v2Client, error) {
	var clients []*v2Client
	for range n {
		c, err := dialV2(addr, `{"client_id":"bench","user_agent":"bench/1"}`)
		if err != nil {
			closeAllV2(clients)
			return nil, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

func closeAllV2(clients []*v2Client) {
	for _, c := range clients {
		c.conn.Close()
	}
}

// fillTopic queues so many messages of 200 bytes, in MPUBs of 200.
func fillTopic(addr, topic string, messages int) error {
	clients, err := dialAllV2(addr, 2)
	if err != nil {
		return err
	}
	defer closeAllV2(clients)
	command := mpubOf(topic, batchSize, messageSize)
	return each(len(clients), len(clients), func(i int) error {
		for range messages / batchSize / len(clients) {
			if err := clients[i].do(command); err != nil {
				return err
			}
		}
		return nil
	})
}
