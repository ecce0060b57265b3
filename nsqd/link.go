package nsqd

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/wire"
)

const (
	// dialTimeout is stock's, and bounds DNS too.
	dialTimeout = time.Second
	// answerTimeout bounds the time from one answer to the next, or from a command
	// if none is owed, and each write.
	answerTimeout = 5 * time.Second
	// pingInterval is stock's. An nsqlookupd hides those that do not ping.
	pingInterval = 15 * time.Second

	// The first attempt to connect again is made within minBackoff, and each that
	// follows within twice the time of the one before, up to maxBackoff. What held for
	// steadyTime begins anew: longer than an nsqlookupd that never answers is borne.
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
	steadyTime = 10 * time.Second

	// repeatInterval is how often the same failure is logged above debug.
	repeatInterval = time.Minute

	// maxOwed is how many answers a nsqlookupd may owe, and maxChunk how many commands
	// are in one write, of at most some 34 KiB.
	maxOwed  = 1024
	maxChunk = 256

	// maxNotices bounds what waits for an nsqlookupd that is slow to answer.
	maxNotices = 4096

	// maxAnswer bounds an answer. The longest is that to IDENTIFY: two host names.
	maxAnswer = 16 << 10

	magicV1 = "  V1"
)

// peerInfo is what an nsqlookupd answers to IDENTIFY, in stock's order.
type peerInfo struct {
	TCPPort          int    `json:"tcp_port"`
	HTTPPort         int    `json:"http_port"`
	Version          string `json:"version"`
	BroadcastAddress string `json:"broadcast_address"`
}

// A notice says that a registration exists now, or does not any more.
type notice struct {
	registration
	exists bool
}

// A link keeps this nsqd registered with one nsqlookupd, until its context ends.
type link struct {
	// Read-only after newLink.
	links  *links
	addr   string
	log    hclog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // holds one element if there is something to take

	// Owned by run.
	complained time.Time // when a failure was last logged above debug
	complaint  string    // its step

	mu      sync.Mutex
	notices []notice
	behind  bool     // notices were dropped, and will be until they are taken
	peer    peerInfo // of the last connection that got so far
	asking  int      // queries on their way
	hung    bool     // the last query was not answered in time
}

func newLink(l *links, addr string) *link {
	ctx, cancel := context.WithCancel(l.ctx)
	return &link{links: l, addr: addr, log: l.log, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1)}
}

// notify never blocks.
func (k *link) notify(n notice) {
	k.mu.Lock()
	if len(k.notices) == maxNotices {
		k.notices, k.behind = nil, true
	}
	if !k.behind {
		k.notices = append(k.notices, n)
	}
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// take returns the notices in order, or behind if there were too many.
func (k *link) take() (notices []notice, behind bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	notices, behind = k.notices, k.behind
	k.notices, k.behind = nil, false
	return notices, behind
}

// httpAddress returns where the nsqlookupd answers questions, "" if it has not said.
func (k *link) httpAddress() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.peer.BroadcastAddress == "" || k.peer.HTTPPort <= 0 || k.peer.HTTPPort > 65535 {
		return ""
	}
	return net.JoinHostPort(k.peer.BroadcastAddress, strconv.Itoa(k.peer.HTTPPort))
}

// run connects, and connects again.
func (k *link) run() {
	defer k.cancel()
	backoff := minBackoff
	for {
		begun := time.Now()
		level := hclog.Debug
		if backoff == minBackoff {
			level = hclog.Info
		}
		k.log.Log(level, "LOOKUP connecting to "+k.addr)
		err := k.converse()
		if k.ctx.Err() != nil {
			return
		}
		if time.Since(begun) >= steadyTime {
			backoff, k.complaint = minBackoff, ""
		}
		k.complain(err)
		select {
		case <-time.After(backoff/2 + rand.N(backoff/2)):
		case <-k.ctx.Done():
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// A stepError is the end of a connection, and at which step it was.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + " - " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// complain logs err as stock does, but the same over and over again only once in a
// while.
func (k *link) complain(err error) {
	step := ""
	if e, ok := errors.AsType[*stepError](err); ok {
		step = e.step
	}
	level := hclog.Error
	if step == k.complaint && time.Since(k.complained) < repeatInterval {
		level = hclog.Debug
	} else {
		k.complaint, k.complained = step, time.Now()
	}
	k.log.Log(level, fmt.Sprintf("LOOKUPD(%s): %v", k.addr, err))
}

// converse connects once and keeps the nsqlookupd up to date for as long as that
// lasts. It returns why it ended.
func (k *link) converse() error {
	dialing, cancel := context.WithTimeout(k.ctx, dialTimeout)
	conn, err := k.links.dial(dialing, k.addr)
	cancel()
	if err != nil {
		return &stepError{"connect", err}
	}
	ctx, end := context.WithCancelCause(k.ctx)
	c := &conversation{
		link:  k,
		conn:  conn,
		room:  make(chan struct{}, maxOwed),
		known: make(map[string]map[string]bool),
	}
	var others sync.WaitGroup
	others.Go(func() {
		<-ctx.Done()
		conn.Close() // under the two that use it
	})
	// There is always somebody reading, who notices the end at once.
	others.Go(func() { end(c.read()) })
	end(c.write(ctx))
	others.Wait()
	return context.Cause(ctx)
}

// A conversation is one connection. One goroutine sends commands, as many ahead of
// their answers as there is room for, another reads those.
type conversation struct {
	link *link
	conn net.Conn
	room chan struct{} // one element for each answer that is owed

	// Owned by the goroutine in write.
	out   []byte
	known map[string]map[string]bool // what has been registered: topics, their channels

	mu   sync.Mutex
	owed []command // whose answers are still to come, oldest first
}

// A command is a line, and a body behind its size unless that is nil.
type command struct {
	line string
	body []byte
}

// write sends what there is to be told until ctx or the connection ends.
func (c *conversation) write(ctx context.Context) error {
	body, err := json.Marshal(c.link.links.self())
	if err != nil {
		return &stepError{"IDENTIFY", err}
	}
	// What has been noticed so far is part of what is there now.
	c.link.take()
	c.out = append(c.out, magicV1...)
	if err := c.send(ctx, []command{{"IDENTIFY", body}}); err != nil {
		return err
	}
	if err := c.catchUp(ctx); err != nil {
		return err
	}
	// Our nsqlookupd takes the first PING for the end of the replay, and then what it
	// has of earlier connections for settled.
	if err := c.send(ctx, []command{{line: "PING"}}); err != nil {
		return err
	}
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		select {
		case <-ping.C:
			c.link.log.Debug("LOOKUPD(" + c.link.addr + "): sending heartbeat")
			err = c.send(ctx, []command{{line: "PING"}})
		case <-c.link.wake:
			notices, behind := c.link.take()
			if behind {
				err = c.catchUp(ctx)
			} else {
				err = c.follow(ctx, notices)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// follow sends what has changed.
func (c *conversation) follow(ctx context.Context, notices []notice) error {
	var commands []command
	for _, n := range notices {
		kind := "topic"
		if n.channel != "" {
			kind = "channel"
		}
		cmd := c.learn(n)
		c.link.log.Info("LOOKUPD(" + c.link.addr + "): " + kind + " " + cmd.line)
		commands = append(commands, cmd)
	}
	return c.send(ctx, commands)
}

// catchUp sends the difference between what is there and what is known: everything,
// on a new connection.
func (c *conversation) catchUp(ctx context.Context) error {
	registrations := c.link.links.current()
	want := make(map[string]map[string]bool)
	for _, r := range registrations {
		if want[r.topic] == nil {
			want[r.topic] = make(map[string]bool)
		}
		if r.channel != "" {
			want[r.topic][r.channel] = true
		}
	}
	var notices []notice
	for _, topic := range slices.Sorted(maps.Keys(c.known)) {
		if want[topic] == nil {
			notices = append(notices, notice{registration{topic, ""}, false})
			continue
		}
		for _, channel := range slices.Sorted(maps.Keys(c.known[topic])) {
			if !want[topic][channel] {
				notices = append(notices, notice{registration{topic, channel}, false})
			}
		}
	}
	for _, r := range registrations {
		known := c.known[r.topic] != nil
		if r.channel != "" && !c.known[r.topic][r.channel] || r.channel == "" && !known && len(want[r.topic]) == 0 {
			notices = append(notices, notice{r, true})
		}
	}
	commands := make([]command, len(notices))
	for i, n := range notices {
		commands[i] = c.learn(n)
		c.link.log.Debug("LOOKUPD(" + c.link.addr + "): " + commands[i].line)
	}
	if len(notices) > 0 {
		c.link.log.Info("LOOKUPD("+c.link.addr+"): bringing up to date", "commands", len(notices))
	}
	return c.send(ctx, commands)
}

// learn notes what the nsqlookupd will know, and returns the command that tells it.
func (c *conversation) learn(n notice) command {
	name := n.topic
	if n.channel != "" {
		name += " " + n.channel
	}
	if n.exists {
		if c.known[n.topic] == nil {
			c.known[n.topic] = make(map[string]bool)
		}
		if n.channel != "" {
			c.known[n.topic][n.channel] = true
		}
		return command{line: "REGISTER " + name}
	}
	if n.channel == "" {
		delete(c.known, n.topic) // with its channels, there as here
	} else {
		delete(c.known[n.topic], n.channel)
	}
	return command{line: "UNREGISTER " + name}
}

// send writes commands, a chunk at a time, as soon as there is room.
func (c *conversation) send(ctx context.Context, commands []command) error {
	for chunk := range slices.Chunk(commands, maxChunk) {
		for _, cmd := range chunk {
			select {
			case c.room <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			c.out = append(c.out, cmd.line...)
			c.out = append(c.out, '\n')
			if cmd.body != nil {
				c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(cmd.body)))
				c.out = append(c.out, cmd.body...)
			}
		}
		c.owe(chunk)
		c.conn.SetWriteDeadline(time.Now().Add(answerTimeout))
		if _, err := c.conn.Write(c.out); err != nil {
			return &stepError{chunk[0].line, err}
		}
		c.out = c.out[:0]
	}
	return nil
}

// owe notes that the answers to commands are to come.
func (c *conversation) owe(commands []command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.owed) == 0 {
		c.conn.SetReadDeadline(time.Now().Add(answerTimeout))
	}
	c.owed = append(c.owed, commands...)
}

// oldest returns the command whose answer is the next.
func (c *conversation) oldest() (command, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.owed) == 0 {
		return command{}, false
	}
	return c.owed[0], true
}

// answered notes that the oldest command has its answer.
func (c *conversation) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owed = c.owed[1:]
	if len(c.owed) > 0 {
		c.conn.SetReadDeadline(time.Now().Add(answerTimeout))
	} else {
		c.owed = nil
		c.conn.SetReadDeadline(time.Time{})
	}
	<-c.room
}

// read reads answers until one is not as it should be, or the connection ends.
func (c *conversation) read() error {
	r := bufio.NewReader(c.conn)
	for {
		body, err := wire.ReadBody(r, maxAnswer)
		cmd, ok := c.oldest()
		switch {
		case err != nil && !ok:
			return &stepError{"connection lost", why(err)}
		case err != nil:
			return &stepError{cmd.line, why(err)}
		case !ok:
			return &stepError{"connection closed", fmt.Errorf("an answer to nothing: %s", shortened(body))}
		}
		if err := c.check(cmd, body); err != nil {
			return err
		}
		c.answered()
	}
}

// why returns the cause of a failed read in the fewest words.
func why(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer within %v", answerTimeout)
	}
	if size, ok := errors.AsType[*wire.SizeError](err); ok {
		return fmt.Errorf("not an answer: %w", size)
	}
	if errors.Is(err, io.EOF) {
		return errors.New("nsqlookupd has closed the connection")
	}
	return err
}

// check looks whether body is an answer to cmd.
func (c *conversation) check(cmd command, body []byte) error {
	if cmd.body == nil {
		if string(body) != "OK" {
			return &stepError{cmd.line, errors.New(shortened(body))}
		}
		return nil
	}
	if len(body) > 2 && string(body[:2]) == "E_" {
		return &stepError{cmd.line, errors.New(shortened(body))}
	}
	var peer peerInfo
	if err := json.Unmarshal(body, &peer); err != nil {
		return &stepError{"parsing response", errors.New(shortened(body))}
	}
	k := c.link
	k.log.Info(fmt.Sprintf("LOOKUPD(%s): peer info %+v", k.addr, peer))
	if peer.BroadcastAddress == "" {
		k.log.Error("LOOKUPD(" + k.addr + "): no broadcast address")
	}
	k.mu.Lock()
	k.peer = peer
	k.mu.Unlock()
	return nil
}

// shortened returns an answer for the log.
func shortened(body []byte) string {
	const most = 200
	if len(body) > most {
		return string(body[:most]) + "…"
	}
	return string(body)
}
