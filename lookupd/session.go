package lookupd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/wire"
)

const (
	// registerTimeout bounds one IDENTIFY, REGISTER or UNREGISTER from the
	// moment it was read. A stock nsqd gives up on the connection after 1 s
	// without an answer, ignores what an error answer says, and heals only by
	// reconnecting: so no answer at all, and sooner than it gives up.
	registerTimeout = 800 * time.Millisecond

	magicTimeout   = 10 * time.Second // from accept to the four bytes of the magic
	commandTimeout = 10 * time.Second // from a command's first byte to its last, IDENTIFY's body included
	writeTimeout   = 5 * time.Second  // for a peer that does not read its answers

	// minIdleTimeout is the least time without a byte after which a connection
	// counts as half-open; stock waits for ever. Four of nsqd's pings.
	minIdleTimeout = time.Minute

	// endTimeout is how long the end of a session may wait for a leader. What
	// is lost by it the reaper finds: a session in the registry that no
	// connection of this node holds.
	endTimeout = 10 * time.Second

	// silenceRetry is how soon a SetActive that failed is tried again.
	silenceRetry = 10 * time.Second

	maxLine = 4 << 10
	maxBody = 64 << 10
)

const magicV1 = "  V1"

// errBrokenConn: the peer, or this node, has closed the connection.
var errBrokenConn = errors.New("connection ended")

// errSessionEnded: the registry does not have the session any more, so that
// its nsqd must reconnect and replay.
var errSessionEnded = errors.New("session has ended")

// v1 serves nsqds' connections: the V1 protocol of port 4160.
type v1 struct {
	reg      registry
	sessions *sessions
	metrics  *metrics
	logger   hclog.Logger
	welcome  []byte        // the answer to IDENTIFY
	inactive time.Duration // --inactive-producer-timeout
}

// newV1 serves connections to the lookupd that describes itself by welcome, as
// encodeWelcome gives it.
func newV1(reg registry, sessions *sessions, m *metrics, logger hclog.Logger, welcome []byte, inactive time.Duration) *v1 {
	return &v1{reg: reg, sessions: sessions, metrics: m, logger: logger, welcome: welcome, inactive: inactive}
}

// idleTimeout is how long a connection may send nothing. By then its producer
// has been hidden as inactive for as long as it took to become so.
func (v *v1) idleTimeout() time.Duration { return max(2*v.inactive, minIdleTimeout) }

// Handle serves one connection from its magic to its end, the handler of a
// wire.Server. The connection is closed, and its session's end is on its way,
// when it returns.
func (v *v1) Handle(conn net.Conn) {
	defer conn.Close()
	remote := conn.RemoteAddr().String()
	v.logger.Info(fmt.Sprintf("TCP: new client(%s)", remote))

	var magic [len(magicV1)]byte
	conn.SetReadDeadline(time.Now().Add(magicTimeout))
	if _, err := io.ReadFull(conn, magic[:]); err != nil {
		v.logger.Error(fmt.Sprintf("failed to read protocol version - %s", err), "remote", remote)
		return
	}
	if string(magic[:]) != magicV1 {
		v.logger.Error(fmt.Sprintf("client(%s) bad protocol magic %q", remote, magic[:]))
		conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		wire.WriteFrame(conn, []byte("E_BAD_PROTOCOL"))
		return
	}
	v.logger.Info(fmt.Sprintf("CLIENT(%s): desired protocol magic '%s'", remote, magic[:]))

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &session{
		v1:     v,
		conn:   conn,
		remote: remote,
		ctx:    ctx,
		r:      bufio.NewReader(conn),
		w:      bufio.NewWriterSize(timedWriter{conn}, 1<<10),
	}
	defer s.end()
	if err := s.serve(); err != nil {
		v.logger.Warn("closing the connection of an nsqd", "remote", remote, "err", err)
	}
	v.logger.Info(fmt.Sprintf("PROTOCOL(V1): [%s] exiting ioloop", remote))
}

// session is one nsqd's V1 connection from magic to close.
//
// One goroutine serves it, in rounds: it takes all commands that have arrived,
// submits their mutations, so that pipelined REGISTERs share batches, and then
// answers them in order, each once its proposal has committed. Whatever is not
// committed in time is not answered: the connection ends.
type session struct {
	*v1    // read-only, as all of this paragraph
	conn   net.Conn
	remote string
	ctx    context.Context // ends with the connection

	// Unix nanoseconds of the last PING or IDENTIFY, for /debug.
	lastUpdate atomic.Int64

	// Owned by the goroutine in serve, as all below; id is zero until IDENTIFY.
	id         fsm.SessionID
	identified bool
	r          *bufio.Reader
	w          *bufio.Writer
	owed       []answer // of this round
	round      round

	silentAt time.Time // when fallSilent is due; zero: not at all
	replayed *proposal // the FinishReplay; nil: none yet
	silent   *proposal // the SetActive{false}; nil: active
}

// A round bounds the proposals made in it: see registerTimeout. They share one
// context, made for the first of them.
type round struct {
	ctx    context.Context // nil: no proposal yet
	cancel context.CancelFunc
}

// answer is one reply that is owed.
type answer struct {
	text     []byte
	proposal *proposal // nil: nothing to wait for
	ping     bool      // a PING of an identified nsqd
	identify bool      // the answer to IDENTIFY
	counted  bool      // a REGISTER or UNREGISTER
}

var okText = []byte("OK")

// serve takes commands and answers them until the connection ends, or its right
// to be heard. The error, if any, is why the peer is left without a word.
func (s *session) serve() error {
	for {
		if err := s.awaitCommand(); err != nil {
			return unlessClosed(err)
		}
		last, err := s.takeCommands()
		if err == nil {
			err = s.answerOwed()
		}
		if last || err != nil {
			return unlessClosed(err)
		}
	}
}

// unlessClosed is err, or nil if that says only that the connection is closed, by
// the peer or by this node, which then had its own word to say.
func unlessClosed(err error) error {
	if errors.Is(err, errBrokenConn) {
		return nil
	}
	return err
}

// awaitCommand returns when there is something to read. Meanwhile it watches how
// long the peer is silent.
func (s *session) awaitCommand() error {
	if s.r.Buffered() > 0 {
		return nil
	}
	hangUp := time.Now().Add(s.patience())
	for {
		wake := hangUp
		if !s.silentAt.IsZero() && s.silentAt.Before(wake) {
			wake = s.silentAt
		}
		s.conn.SetReadDeadline(wake)
		_, err := s.r.Peek(1)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("%w: %w", errBrokenConn, err)
		case wake.Equal(hangUp):
			return err
		}
		s.fallSilent()
	}
}

// patience is how long the peer may send nothing: an nsqd identifies at once.
func (s *session) patience() time.Duration {
	if !s.identified {
		return minIdleTimeout
	}
	return s.idleTimeout()
}

// takeCommands carries out the commands that have arrived, up to the last that
// is there in whole, the first of them in any case. last: nothing is to be read
// any more once the answers are given.
func (s *session) takeCommands() (last bool, err error) {
	for len(s.owed) == 0 || s.lineBuffered() {
		if !s.lineBuffered() {
			s.conn.SetReadDeadline(time.Now().Add(commandTimeout))
		}
		a, err := s.takeCommand()
		if refused := (*wire.Error)(nil); errors.As(err, &refused) {
			// As in stock, every error ends the connection; what was asked before it
			// is answered before it.
			s.logger.Error(fmt.Sprintf("[%s] - %s", s.remote, err))
			a, last, err = answer{text: []byte(refused.Error())}, true, nil
		}
		if err != nil {
			return false, err
		}
		if s.owed = append(s.owed, a); last {
			break
		}
	}
	return last, nil
}

func (s *session) takeCommand() (answer, error) {
	line, err := wire.ReadLine(s.r, maxLine)
	switch {
	case errors.Is(err, wire.ErrLineTooLong):
		return answer{}, &wire.Error{Code: "E_INVALID", Text: fmt.Sprintf("line longer than %d bytes", maxLine)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return answer{}, err
	case err != nil:
		return answer{}, fmt.Errorf("%w: %w", errBrokenConn, err)
	}
	return s.exec(line)
}

// lineBuffered reports whether a command can be read without waiting for it.
func (s *session) lineBuffered() bool {
	buffered, _ := s.r.Peek(s.r.Buffered())
	return bytes.IndexByte(buffered, '\n') >= 0
}

// answerOwed gives the answers of the round, which is then over. An error: the
// connection ends without the rest of them.
func (s *session) answerOwed() error {
	defer s.endRound()
	for _, a := range s.owed {
		if err := s.give(a); err != nil {
			return err
		}
	}
	return s.w.Flush()
}

func (s *session) endRound() {
	if s.round.ctx != nil {
		s.round.cancel()
		s.round = round{}
	}
	clear(s.owed) // they hold on to their mutations
	s.owed = s.owed[:0]
}

// give waits for what the answer depends on and writes it.
func (s *session) give(a answer) error {
	if a.proposal != nil {
		if !settled(a.proposal) {
			// What is answered already need not wait for this commit.
			if err := s.w.Flush(); err != nil {
				return err
			}
		}
		if err := s.await(a); err != nil {
			return err
		}
	}
	switch {
	case a.identify:
		s.identifiedAt(time.Now())
	case a.ping:
		if err := s.pinged(time.Now()); err != nil {
			return err
		}
	}
	return wire.WriteFrame(s.w, a.text)
}

// await returns once the answer's proposal has committed, or with an error.
func (s *session) await(a answer) error {
	result, err := a.proposal.Wait()
	if a.counted {
		s.metrics.countRegistration(result, err)
	}
	if err != nil {
		return err
	}
	if result == fsm.ResultNoSession {
		return errSessionEnded
	}
	return nil
}

// end tells the registry that the session is over, unless this node is leaving
// its sessions to others.
func (s *session) end() {
	s.endRound()
	if !s.identified || !s.sessions.remove(s.id) {
		return
	}
	// Nobody waits for it: the connection's slot is wanted by others.
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(endTimeout, cancel)
	s.reg.Submit(ctx, &fsmpb.Mutation{Kind: &fsmpb.Mutation_EndSession{
		EndSession: &fsmpb.EndSession{Session: s.id.Serial},
	}})
}

// timedWriter gives each write to the peer its own deadline.
type timedWriter struct{ conn net.Conn }

func (t timedWriter) Write(p []byte) (int, error) {
	t.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	n, err := t.conn.Write(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: %w", errBrokenConn, err)
	}
	return n, err
}
