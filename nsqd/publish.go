package nsqd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"nsqraft/internal/wire"
)

// bodyChunk is the memory made at a time for bodies that are announced and have not
// come yet. Bodies of an MPUB share such chunks: a message that stays keeps no more
// than one chunk alive.
const bodyChunk = 64 << 10

// publish is PUB.
func (c *client) publish(params [][]byte) ([]byte, error) {
	if len(params) < 2 {
		return nil, invalid("PUB insufficient number of parameters")
	}
	return c.publishOne("PUB", params[1], 0)
}

// publishDeferred is DPUB.
func (c *client) publishDeferred(params [][]byte) ([]byte, error) {
	if len(params) < 3 {
		return nil, invalid("DPUB insufficient number of parameters")
	}
	if !wire.ValidTopic(string(params[1])) {
		return nil, refusal("E_BAD_TOPIC", "DPUB topic name %q is not valid", params[1])
	}
	delay, err := parseDelay(params[2])
	if err != nil {
		return nil, invalid("DPUB could not parse timeout %s", params[2])
	}
	if most := c.srv.opts.maxDefer(); delay > most {
		return nil, invalid("DPUB timeout %d out of range 0-%d", delay.Milliseconds(), most.Milliseconds())
	}
	return c.publishOne("DPUB", params[1], delay)
}

// maxDefer is the longest delay of a deferred publish.
func (o *Options) maxDefer() time.Duration {
	if o.MaxDeferTimeout != 0 {
		return o.MaxDeferTimeout
	}
	return o.MaxReqTimeout
}

func (c *client) publishOne(command string, topic []byte, delay time.Duration) ([]byte, error) {
	if !wire.ValidTopic(string(topic)) {
		return nil, refusal("E_BAD_TOPIC", "%s topic name %q is not valid", command, topic)
	}
	name := string(topic)
	size, err := readSize(c.in)
	if err != nil {
		return nil, refusal("E_BAD_MESSAGE", "%s failed to read message body size", command)
	}
	if size <= 0 {
		return nil, refusal("E_BAD_MESSAGE", "%s invalid message body size %d", command, size)
	}
	if most := c.srv.opts.MaxMsgSize; int64(size) > most {
		return nil, refusal("E_BAD_MESSAGE", "%s message too big %d > %d", command, size, most)
	}
	body, err := readBytes(c.in, int(size))
	if err != nil {
		return nil, refusal("E_BAD_MESSAGE", "%s failed to read message body", command)
	}
	if err := c.authorize(command, name, ""); err != nil {
		return nil, err
	}
	if err := c.put(name, [][]byte{body}, delay); err != nil {
		return nil, refusal("E_"+command+"_FAILED", "%s failed %v", command, err)
	}
	return okText, nil
}

// put publishes to the topic, making it if need be.
func (c *client) put(name string, bodies [][]byte, delay time.Duration) error {
	if c.topic == nil || c.topic.name != name {
		t, err := c.srv.Topic(name)
		if err != nil {
			return err
		}
		c.topic = t
	}
	err := c.topic.Publish(bodies, delay)
	if errors.Is(err, ErrClosing) { // deleted since: it is made anew, unless all is closing
		if c.topic, err = c.srv.Topic(name); err != nil {
			return err
		}
		err = c.topic.Publish(bodies, delay)
	}
	if err == nil {
		c.countPublished(name, len(bodies))
	}
	return err
}

// publishMany is MPUB.
func (c *client) publishMany(params [][]byte) ([]byte, error) {
	if len(params) < 2 {
		return nil, invalid("MPUB insufficient number of parameters")
	}
	name := string(params[1])
	if !wire.ValidTopic(name) {
		// The code twice: clients may look for what stock says.
		return nil, refusal("E_BAD_TOPIC", "E_BAD_TOPIC MPUB topic name %q is not valid", name)
	}
	if err := c.authorize("MPUB", name, ""); err != nil {
		return nil, err
	}
	if _, err := c.srv.Topic(name); err != nil {
		return nil, refusal("E_MPUB_FAILED", "MPUB failed %v", err)
	}
	size, err := readSize(c.in)
	if err != nil {
		return nil, refusal("E_BAD_BODY", "MPUB failed to read body size")
	}
	if size <= 0 {
		return nil, refusal("E_BAD_BODY", "MPUB invalid body size %d", size)
	}
	if most := c.srv.opts.MaxBodySize; int64(size) > most {
		return nil, refusal("E_BAD_BODY", "MPUB body too big %d > %d", size, most)
	}
	bodies, err := readMPUB(c.in, int(size), int(c.srv.opts.MaxMsgSize))
	if err != nil {
		return nil, err
	}
	if err := c.put(name, bodies, 0); err != nil {
		return nil, refusal("E_MPUB_FAILED", "MPUB failed %v", err)
	}
	return okText, nil
}

// readMPUB reads the body of an MPUB, of size bytes: a count of messages, and each
// behind its size. Every *wire.Error is the client's fault, and what it sent must
// fill the body exactly. The messages share memory, see bodyChunk.
func readMPUB(r *bufio.Reader, size, maxMessage int) ([][]byte, error) {
	count, err := readSize(r)
	if err != nil || size < 4 {
		return nil, refusal("E_BAD_BODY", "MPUB failed to read message count")
	}
	rest := size - 4
	if most := rest / 5; count <= 0 || int(count) > most { // 4 bytes of size and 1 of body at least
		return nil, refusal("E_BAD_BODY", "MPUB invalid message count %d", count)
	}
	bodies := make([][]byte, 0, min(int(count), bodyChunk/5))
	var chunk []byte // where bodies are read to
	for i := range int(count) {
		n, err := readSize(r)
		if err != nil {
			return nil, refusal("E_BAD_MESSAGE", "MPUB failed to read message(%d) body size", i)
		}
		rest -= 4
		switch {
		case n <= 0:
			return nil, refusal("E_BAD_MESSAGE", "MPUB invalid message(%d) body size %d", i, n)
		case int(n) > maxMessage:
			return nil, refusal("E_BAD_MESSAGE", "MPUB message too big %d > %d", n, maxMessage)
		case int(n) > rest:
			return nil, refusal("E_BAD_BODY", "MPUB message(%d) of %d bytes exceeds the body of %d", i, n, size)
		}
		var body []byte
		if int(n) > bodyChunk/4 {
			body, err = readBytes(r, int(n))
		} else {
			if len(chunk) < int(n) {
				chunk = make([]byte, min(bodyChunk, rest))
			}
			body, chunk = chunk[:n:n], chunk[n:]
			_, err = io.ReadFull(r, body)
		}
		if err != nil {
			return nil, refusal("E_BAD_MESSAGE", "MPUB failed to read message body")
		}
		rest -= int(n)
		bodies = append(bodies, body)
	}
	if rest != 0 {
		return nil, refusal("E_BAD_BODY", "MPUB body of %d bytes has %d beyond its messages", size, rest)
	}
	return bodies, nil
}

// readSize reads a big-endian int32.
func readSize(r *bufio.Reader) (int32, error) {
	b, err := r.Peek(4)
	if err != nil {
		return 0, err
	}
	n := int32(binary.BigEndian.Uint32(b))
	r.Discard(4)
	return n, nil
}

// readBytes reads n bytes. Memory is made as they come.
func readBytes(r *bufio.Reader, n int) ([]byte, error) {
	body := make([]byte, min(n, bodyChunk))
	for read := 0; ; {
		m, err := io.ReadFull(r, body[read:])
		if err != nil {
			return nil, err
		}
		if read += m; read == n {
			return body, nil
		}
		grown := make([]byte, min(n, 4*len(body)))
		copy(grown, body)
		body = grown
	}
}
