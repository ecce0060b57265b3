package nsqd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"nsqraft/internal/wire"
)

// maxLine bounds a command's line, its newline included, as in stock.
const maxLine = 16 << 10

var okText = []byte("OK")

// invalid returns an error of the most common kind.
func invalid(format string, args ...any) error {
	return &wire.Error{Code: "E_INVALID", Text: fmt.Sprintf(format, args...)}
}

// refusal returns an error as the client sees it.
func refusal(code, format string, args ...any) error {
	return &wire.Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// survivable are the codes after which the connection stays open: a message that
// has timed out is none of the client's faults.
func survivable(code string) bool {
	return code == "E_FIN_FAILED" || code == "E_REQ_FAILED" || code == "E_TOUCH_FAILED"
}

// serve reads and runs commands until the client goes, or has to; the error says why,
// and is never nil.
func (c *client) serve() error {
	var magic [4]byte
	if _, err := io.ReadFull(c.in, magic[:]); err != nil {
		return err
	}
	if string(magic[:]) != "  V2" {
		c.respond(frameError, []byte("E_BAD_PROTOCOL"))
		return fmt.Errorf("bad protocol magic %q", magic)
	}
	for {
		line, err := wire.ReadLine(c.in, maxLine)
		if err != nil {
			return err
		}
		response, err := c.run(bytes.Split(line, []byte{' '}))
		c.lastCommand = time.Now()
		if err != nil {
			refused, ok := errors.AsType[*wire.Error](err)
			if !ok {
				return err
			}
			if err := c.respond(frameError, []byte(refused.Error())); err != nil {
				return err
			}
			if !survivable(refused.Code) {
				return err
			}
			continue
		}
		if response != nil {
			if err := c.respond(frameResponse, response); err != nil {
				return err
			}
		}
	}
}

// run runs one command. A *wire.Error is for the client.
func (c *client) run(params [][]byte) (response []byte, err error) {
	command := string(params[0])
	if command == "IDENTIFY" {
		return c.identify()
	}
	if c.srv.opts.TLSRequired != tlsNotRequired && c.about.tls == nil {
		return nil, invalid("cannot %s in current state (TLS required)", command)
	}
	switch command {
	case "FIN":
		return nil, c.finish(params)
	case "RDY":
		return nil, c.ready(params)
	case "REQ":
		return nil, c.requeue(params)
	case "PUB":
		return c.publish(params)
	case "MPUB":
		return c.publishMany(params)
	case "DPUB":
		return c.publishDeferred(params)
	case "NOP":
		return nil, nil
	case "TOUCH":
		return nil, c.touch(params)
	case "SUB":
		return c.subscribe(params)
	case "CLS":
		return c.startClose()
	case "AUTH":
		return c.authenticate(params)
	}
	return nil, invalid("invalid command %s", params[0])
}

func (c *client) state() clientState { return c.about.state } // only serve's goroutine sets it

func (c *client) setState(s clientState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.about.state = s
}

// subscribe makes the client a consumer.
func (c *client) subscribe(params [][]byte) ([]byte, error) {
	if c.state() != stateInit {
		return nil, invalid("cannot SUB in current state")
	}
	if c.heartbeat.Load() == 0 {
		return nil, invalid("cannot SUB with heartbeats disabled")
	}
	if len(params) < 3 {
		return nil, invalid("SUB insufficient number of parameters")
	}
	topic, channel := string(params[1]), string(params[2])
	if !wire.ValidTopic(topic) {
		return nil, refusal("E_BAD_TOPIC", "SUB topic name %q is not valid", topic)
	}
	if !wire.ValidChannel(channel) {
		return nil, refusal("E_BAD_CHANNEL", "SUB channel name %q is not valid", channel)
	}
	if err := c.authorize("SUB", topic, channel); err != nil {
		return nil, err
	}
	if c.srv.Draining() {
		return nil, refusal("E_SUB_FAILED", "SUB failed %v", ErrClosing)
	}
	consumer := &consumer{
		timeout:    int64(c.timeout),
		sampleRate: c.sampled,
		zone:       c.about.zone,
		region:     c.about.region,
		evict:      func() { c.conn.Close() },
		describe:   c.stats,
		wake:       make(chan struct{}, 1),
	}
	ch, err := c.srv.subscribe(topic, channel, consumer)
	if err != nil {
		return nil, refusal("E_SUB_FAILED", "SUB failed %v", err)
	}
	c.channel, c.consumer = ch, consumer
	c.mu.Lock()
	c.about.channel, c.about.consumer = ch, consumer
	c.mu.Unlock()
	c.setState(stateSubscribed)
	// The answer goes before the first message.
	if err := c.respond(frameResponse, okText); err != nil {
		return nil, err
	}
	if err := c.flushResponses(); err != nil {
		return nil, err
	}
	c.delivering.Go(c.deliver)
	return nil, nil
}

// subscribeTries bounds how often SUB makes a topic or channel anew that is deleted
// under it: an ephemeral one goes whenever its last consumer does.
const subscribeTries = 10

func (s *Server) subscribe(topic, channel string, co *consumer) (*Channel, error) {
	err := errors.New("to deleted topic/channel")
	for range subscribeTries {
		t, terr := s.Topic(topic)
		if terr != nil {
			return nil, terr
		}
		ch, cerr := t.Channel(channel)
		if errors.Is(cerr, ErrClosing) {
			continue
		}
		if cerr != nil {
			return nil, cerr
		}
		serr := ch.subscribe(co, s.opts.MaxChannelConsumers)
		switch {
		case serr == nil:
			return ch, nil
		case errors.Is(serr, errTooMany):
			return nil, fmt.Errorf("consumers for %s:%s exceeds limit of %d", topic, channel, s.opts.MaxChannelConsumers)
		}
	}
	return nil, err
}

func (c *client) ready(params [][]byte) error {
	if c.state() == stateClosing {
		return nil
	}
	if c.state() != stateSubscribed {
		return invalid("cannot RDY in current state")
	}
	count := int64(1)
	if len(params) > 1 {
		var err error
		if count, err = parseNumber(params[1]); err != nil {
			return invalid("RDY could not parse count %s", params[1])
		}
	}
	if most := c.srv.opts.MaxRdyCount; count > most {
		return invalid("RDY count %s out of range 0-%d", params[1], most)
	}
	c.channel.setReady(c.consumer, count)
	return nil
}

// parseNumber parses decimal digits; none are 0, as in stock. What is too large for
// an int64, which in stock wraps, is the largest.
func parseNumber(digits []byte) (int64, error) {
	if len(digits) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(string(digits), 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt64, nil
	}
	return int64(n), err
}

// parseDelay parses milliseconds. What no duration can hold is the longest.
func parseDelay(digits []byte) (time.Duration, error) {
	const longest = int64(math.MaxInt64 / time.Millisecond)
	ms, err := parseNumber(digits)
	return time.Duration(min(ms, longest)) * time.Millisecond, err
}

// mine checks that the command may name a message, and returns its id.
func (c *client) mine(command string, params [][]byte, least int) (id MessageID, err error) {
	if c.state() != stateSubscribed && c.state() != stateClosing {
		return id, invalid("cannot %s in current state", command)
	}
	if len(params) < least {
		return id, invalid("%s insufficient number of params", command)
	}
	if len(params[1]) != len(id) {
		return id, invalid("invalid message ID")
	}
	return MessageID(params[1]), nil
}

// finLine is a FIN on the wire: all are of one length, so that those which have
// come already are found without parsing, and finished together.
const finLine = len("FIN ") + len(MessageID{}) + len("\n")

func (c *client) finish(params [][]byte) error {
	id, err := c.mine("FIN", params, 2)
	if err != nil {
		return err
	}
	c.fins = append(c.fins[:0], id)
	for c.in.Buffered() >= finLine && len(c.fins) < takeMessages {
		next, err := c.in.Peek(finLine)
		if err != nil || string(next[:4]) != "FIN " || bytes.IndexByte(next, '\n') != finLine-1 || bytes.IndexByte(next[4:], ' ') >= 0 {
			break
		}
		c.fins = append(c.fins, MessageID(next[4:]))
		c.in.Discard(finLine)
	}
	var refused []error
	c.channel.finish(c.consumer, c.fins, func(id MessageID, err error) {
		refused = append(refused, refusal("E_FIN_FAILED", "FIN %s failed %v", id, err))
	})
	for i, r := range refused {
		if i == len(refused)-1 {
			return r
		}
		if err := c.respond(frameError, []byte(r.Error())); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) requeue(params [][]byte) error {
	id, err := c.mine("REQ", params, 3)
	if err != nil {
		return err
	}
	delay, err := parseDelay(params[2])
	if err != nil {
		return invalid("REQ could not parse timeout %s", params[2])
	}
	if err := c.channel.requeue(c.consumer, id, min(delay, c.srv.opts.MaxReqTimeout)); err != nil {
		return refusal("E_REQ_FAILED", "REQ %s failed %v", id, err)
	}
	return nil
}

func (c *client) touch(params [][]byte) error {
	id, err := c.mine("TOUCH", params, 2)
	if err != nil {
		return err
	}
	if err := c.channel.touch(c.consumer, id, c.srv.opts.MaxMsgTimeout); err != nil {
		return refusal("E_TOUCH_FAILED", "TOUCH %s failed %v", id, err)
	}
	return nil
}

func (c *client) startClose() ([]byte, error) {
	if c.state() != stateSubscribed {
		return nil, invalid("cannot CLS in current state")
	}
	c.setState(stateClosing)
	c.channel.setReady(c.consumer, 0)
	return []byte("CLOSE_WAIT"), nil
}
