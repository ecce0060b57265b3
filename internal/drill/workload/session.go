package workload

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"nsqraft/internal/drill/history"
	"nsqraft/internal/wire"
)

const (
	// stockTimeout bounds, one by one, each dial, each write and each answer of a stock
	// nsqd; ourTimeout the writes and answers of this module's.
	stockTimeout = time.Second
	ourTimeout   = 5 * time.Second

	// maxAnswer bounds an answer. The longest is that to IDENTIFY.
	maxAnswer = 16 << 10
	// answerSize is what most answers take at most, size included.
	answerSize = 256

	tcpPort  = 4150 // of all simulated nsqds: their hosts differ
	httpPort = 4151
)

// producerName is how a lookup names the simulated nsqd of a host.
func producerName(host string) string { return net.JoinHostPort(host, strconv.Itoa(tcpPort)) }

// A session is an nsqd's connection to an nsqlookupd, from IDENTIFY on. All calls are
// for one goroutine at a time. It ends once; what is called later does nothing.
type session struct {
	// Read-only after connect.
	w        *Workload
	id       int64
	node     *daemon
	client   int
	producer string
	conn     net.Conn
	in       *bufio.Reader // of conn
	timeout  time.Duration
	release  func() bool // of what closes conn when Run ends

	// When Run's end made conn close, by the recorder's clock; 0: it has not.
	cut atomic.Int64

	// Owned by who calls.
	ended bool
	heard time.Duration // the last answer
	ping  time.Time     // when the next is due
}

// connect opens a session of the simulated nsqd of a host; nil if that failed.
func (w *Workload) connect(ctx context.Context, client int, n *daemon, host string, timeout time.Duration) *session {
	s := &session{w: w, id: w.rec.Session(), node: n, client: client, producer: producerName(host), timeout: timeout}
	op := s.op(history.Connect)
	err := s.dial(ctx, &op, host)
	op.Return = w.rec.Now()
	if op.Outcome = history.Done; err != nil {
		op.Error = err.Error()
		if op.Outcome = history.Unknown; s.conn == nil || errors.Is(err, errRefused) {
			op.Outcome = history.Refused
		}
	}
	w.record(op)
	if err != nil {
		if s.conn != nil {
			s.conn.Close()
		}
		return nil
	}
	s.heard, s.ping = op.Return, time.Now().Add(w.tick())
	s.release = context.AfterFunc(w.run, func() {
		s.cut.Store(int64(w.rec.Now()))
		s.conn.Close()
	})
	w.progress.sessions.Add(1)
	return s
}

// errRefused is in the chain if the nsqlookupd has answered that it will not.
var errRefused = errors.New("refused")

func (s *session) dial(ctx context.Context, op *history.Op, host string) (err error) {
	dialer := net.Dialer{Timeout: stockTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", s.node.TCP)
	if err != nil {
		return err
	}
	s.conn, op.Dialed = conn, s.w.rec.Now()
	s.in = bufio.NewReaderSize(conn, answerSize)
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	body, err := json.Marshal(map[string]any{
		"broadcast_address": host, "hostname": host, "tcp_port": tcpPort, "http_port": httpPort, "version": "1.3.0",
	})
	if err != nil {
		return err
	}
	command := append([]byte("  V1IDENTIFY\n"), binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
	answer, err := s.exchange(append(command, body...))
	if err == nil && (len(answer) == 0 || answer[0] != '{') {
		err = fmt.Errorf("%w: %s", errRefused, answer)
	}
	return err
}

// exchange sends a command and returns the answer.
func (s *session) exchange(command []byte) ([]byte, error) {
	s.conn.SetDeadline(time.Now().Add(s.timeout))
	if _, err := s.conn.Write(command); err != nil {
		return nil, err
	}
	return wire.ReadBody(s.in, maxAnswer)
}

// op begins one.
func (s *session) op(kind history.Kind) history.Op {
	return history.Op{Kind: kind, Client: s.client, Node: s.node.Name, Call: s.w.rec.Now(), Session: s.id, Producer: s.producer}
}

// A command is one of an nsqd's, PING included.
type command struct {
	kind           history.Kind
	verb           string
	topic, channel string // "": none
}

func (c command) line() string {
	line := c.verb
	for _, name := range []string{c.topic, c.channel} {
		if name != "" {
			line += " " + name
		}
	}
	return line
}

func registers(topic, channel string) command {
	return command{history.Register, "REGISTER", topic, channel}
}

var ping = command{kind: history.Ping, verb: "PING"}

// register has topic, and channel unless it is "", registered; false: the session has
// ended. Its like is unregister.
func (s *session) register(topic, channel string) bool {
	return s.do(registers(topic, channel))
}

func (s *session) unregister(topic, channel string) bool {
	return s.do(command{history.Unregister, "UNREGISTER", topic, channel})
}

// beat sends a PING.
func (s *session) beat() bool {
	s.ping = time.Now().Add(s.w.tick())
	return s.do(ping)
}

func (s *session) do(c command) bool { return s.pipeline([]command{c}, []int{s.client}) }

// pipeline sends commands without waiting for answers in between, takes those, and records
// each as the call of the client in its place.
func (s *session) pipeline(commands []command, clients []int) bool {
	if s.ended {
		return false
	}
	ops := make([]history.Op, len(commands))
	var lines []byte
	for i, c := range commands {
		ops[i] = s.op(c.kind)
		ops[i].Client, ops[i].Topic, ops[i].Channel = clients[i], c.topic, c.channel
		lines = append(append(lines, c.line()...), '\n')
	}
	s.conn.SetDeadline(time.Now().Add(s.timeout))
	_, err := s.conn.Write(lines)
	for i, c := range commands {
		err = s.take(&ops[i], c, err)
		s.w.record(ops[i])
	}
	if err != nil {
		s.lose(err)
	}
	return err == nil
}

// take waits for the answer to c, unless err says that there will be none, and notes in
// op what it is. It returns why the session is over.
func (s *session) take(op *history.Op, c command, err error) error {
	var answer []byte
	if err == nil {
		s.conn.SetReadDeadline(time.Now().Add(s.timeout))
		if answer, err = wire.ReadBody(s.in, maxAnswer); err != nil {
			err = fmt.Errorf("%s: %w", c.verb, err)
		}
	}
	op.Return = s.w.rec.Now()
	switch {
	case err != nil:
		op.Outcome, op.Error = history.Unknown, err.Error()
	case string(answer) != "OK":
		err = fmt.Errorf("%s: %s", c.line(), answer)
		op.Outcome, op.Error = history.Refused, string(answer)
	default:
		op.Outcome, s.heard = history.Done, op.Return
	}
	return err
}

// stay keeps the session alive until then, for ever if that is zero, or until ctx ends;
// false: it has ended. It notices at once if the nsqlookupd closes it.
func (s *session) stay(ctx context.Context, until time.Time) bool {
	for !s.ended && ctx.Err() == nil {
		next := s.ping
		last := !until.IsZero() && until.Before(next)
		if last {
			next = until
		}
		if err := s.listen(ctx, next); err != nil {
			s.lose(err)
			return false
		}
		if last {
			return true
		}
		if ctx.Err() == nil && !time.Now().Before(next) {
			s.beat()
		}
	}
	return !s.ended
}

// listen reads what should not come, until then or ctx ends.
func (s *session) listen(ctx context.Context, until time.Time) error {
	s.conn.SetReadDeadline(until)
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.conn.SetReadDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	_, err := s.in.ReadByte()
	if !stop() {
		<-interrupted // or it would cut a later call short
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case err == nil:
		return errors.New("an answer that nobody has asked for")
	}
	return err
}

// lose ends a session that the client did not want to end; unless it is Run's end.
func (s *session) lose(err error) {
	if s.cut.Load() > 0 {
		s.close()
		return
	}
	op := s.op(history.Lost)
	// No call of the client's: it may have come about during one, or since the last.
	op.Client, op.Call = 0, s.heard
	op.Outcome, op.Error = history.Unknown, err.Error()
	s.end(op, true)
}

// close ends the session as a client does that has no more use for it.
func (s *session) close() {
	if !s.ended {
		op := s.op(history.Disconnect)
		op.Outcome = history.Unknown
		s.end(op, true)
	}
}

// vanish ends it without a word: the connection stays open until Run ends.
func (s *session) vanish() {
	if !s.ended {
		op := s.op(history.Vanish)
		op.Outcome = history.Unknown
		s.end(op, false)
	}
}

func (s *session) end(op history.Op, hangUp bool) {
	s.ended = true
	if hangUp {
		s.release()
		if cut := s.cut.Load(); cut > 0 {
			op.Client, op.Call = 0, time.Duration(cut) // as for one that is lost
		}
		s.conn.Close()
	}
	op.Return = s.w.rec.Now()
	s.w.record(op)
	s.w.progress.sessions.Add(-1)
}
