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

// bodiesAtOnce is for how many messages of an MPUB there is room before they come: one
// may announce a million of them with a few bytes.
const bodiesAtOnce = 1 << 10

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
		return nil, invalid("DPUB timeout %s out of range 0-%d", params[2], most.Milliseconds())
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
	body, err := readBytes(c.in, nil, int(size))
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
	bodies, err := readMPUB(c.in, int(size), int(c.srv.opts.MaxBodySize), int(c.srv.opts.MaxMsgSize))
	if err != nil {
		return nil, err
	}
	if err := c.put(name, bodies, 0); err != nil {
		return nil, refusal("E_MPUB_FAILED", "MPUB failed %v", err)
	}
	return okText, nil
}

// readMPUB reads the body of an MPUB, of size bytes, which is not beyond maxBody: a
// count of messages, and each behind its size. Every *wire.Error is the client's fault, and what it sent must
// fill the body exactly. The messages are parts of what was read, see bodyChunk.
func readMPUB(r *bufio.Reader, size, maxBody, maxMessage int) ([][]byte, error) {
	count, err := readSize(r)
	if err != nil || size < 4 {
		return nil, refusal("E_BAD_BODY", "MPUB failed to read message count")
	}
	if most := (maxBody - 4) / 5; count <= 0 || int(count) > most { // 4 bytes of size and 1 of body at least
		return nil, refusal("E_BAD_BODY", "MPUB invalid message count %d", count)
	}
	in := chunks{r: r, rest: size - 4}
	bodies := make([][]byte, 0, min(int(count), bodiesAtOnce))
	for i := range int(count) {
		b, err := in.next(4)
		if err != nil {
			return nil, refusal("E_BAD_MESSAGE", "MPUB failed to read message(%d) body size", i)
		}
		n := int(int32(binary.BigEndian.Uint32(b)))
		switch {
		case n <= 0:
			return nil, refusal("E_BAD_MESSAGE", "MPUB invalid message(%d) body size %d", i, n)
		case n > maxMessage:
			return nil, refusal("E_BAD_MESSAGE", "MPUB message too big %d > %d", n, maxMessage)
		case n > in.left():
			return nil, refusal("E_BAD_MESSAGE", "MPUB message(%d) of %d bytes exceeds the body of %d", i, n, size)
		}
		body, err := in.next(n)
		if err != nil {
			return nil, refusal("E_BAD_MESSAGE", "MPUB failed to read message body")
		}
		bodies = append(bodies, body)
	}
	if in.left() != 0 {
		return nil, refusal("E_BAD_BODY", "MPUB body of %d bytes has %d beyond its messages", size, in.left())
	}
	return bodies, nil
}

// chunks read a body and hand out parts of it, which are not copied but where one
// chunk ends in them.
type chunks struct {
	r     *bufio.Reader
	rest  int    // bytes of the body that are not read yet
	ready []byte // read and not handed out
	free  []byte // of the chunk, behind ready
}

// left returns how much of the body was not handed out.
func (c *chunks) left() int { return len(c.ready) + c.rest }

// next hands out the next n bytes. It waits for no more than those.
func (c *chunks) next(n int) ([]byte, error) {
	if n > c.left() {
		return nil, io.ErrUnexpectedEOF
	}
	if n > len(c.ready)+len(c.free) {
		if n > bodyChunk {
			return c.large(n)
		}
		chunk := make([]byte, min(bodyChunk, c.left()))
		have := copy(chunk, c.ready)
		c.ready, c.free = chunk[:have], chunk[have:]
	}
	if missing := n - len(c.ready); missing > 0 {
		read, err := io.ReadAtLeast(c.r, c.free[:min(len(c.free), c.rest)], missing)
		if err != nil {
			return nil, err
		}
		c.rest -= read
		c.ready, c.free = c.ready[:len(c.ready)+read], c.free[read:]
	}
	part := c.ready[:n:n]
	c.ready = c.ready[n:]
	return part, nil
}

// large hands out n bytes that are more than a chunk.
func (c *chunks) large(n int) ([]byte, error) {
	body, err := readBytes(c.r, c.ready, n)
	c.rest -= n - len(c.ready)
	c.ready = c.free[:0] // which it has to be followed by
	return body, err
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

// readBytes reads what is missing of n bytes that begin with begun. Memory is made
// as they come.
func readBytes(r *bufio.Reader, begun []byte, n int) ([]byte, error) {
	body := make([]byte, min(n, max(bodyChunk, 2*len(begun))))
	have := copy(body, begun)
	for {
		read, err := io.ReadFull(r, body[have:])
		if err != nil {
			return nil, err
		}
		if have += read; have == n {
			return body, nil
		}
		grown := make([]byte, min(n, 4*len(body)))
		copy(grown, body)
		body = grown
	}
}
