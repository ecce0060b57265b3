package lookupd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
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

	maxLine  = 4 << 10
	maxBody  = 64 << 10
	pipeline = 256 // answers owed to one connection; its reader waits beyond that
)

const magicV1 = "  V1"

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
	s := &session{
		v1:      v,
		conn:    conn,
		remote:  remote,
		ctx:     ctx,
		cancel:  cancel,
		answers: make(chan answer, pipeline),
		r:       bufio.NewReader(conn),
		w:       bufio.NewWriterSize(timedWriter{conn}, 1<<10),
	}
	defer s.end()

	var answering sync.WaitGroup
	answering.Go(s.answerAll)
	// Also after a panic in read: nobody else would end the other goroutine.
	defer answering.Wait()
	defer close(s.answers)
	s.read()
}

// session is one nsqd's V1 connection from magic to close.
//
// Two goroutines share it. The reader parses commands and submits mutations
// without waiting for them, so that pipelined REGISTERs share batches; the
// answerer gives the answers in order, each once its proposal has committed.
// Whatever is not committed in time is not answered: the connection ends.
type session struct {
	*v1     // read-only, as all of this paragraph
	conn    net.Conn
	remote  string
	ctx     context.Context // ends when nothing more will be answered
	cancel  context.CancelFunc
	answers chan answer // closed by the reader

	// Written by the reader at IDENTIFY, read by the answerer only after it
	// took an answer that was given later.
	id         fsm.SessionID
	identified bool

	// Proposals on their way from the reader to the answerer.
	inFlight atomic.Int32

	// Unix nanoseconds of the last PING or IDENTIFY, for /debug.
	lastUpdate atomic.Int64

	// Owned by the reader.
	r *bufio.Reader

	// Owned by the answerer.
	w        *bufio.Writer
	silence  *time.Timer // since the last PING, or until a retry
	replayed *proposal   // the FinishReplay; nil: none yet
	silent   *proposal   // the SetActive{false}; nil: active
}

// answer is one reply that is owed.
type answer struct {
	text     []byte
	proposal *proposal          // nil: nothing to wait for
	cancel   context.CancelFunc // of the proposal's context
	ping     bool               // a PING of an identified nsqd
	identify bool               // the answer to IDENTIFY
	counted  bool               // a REGISTER or UNREGISTER
}

var okText = []byte("OK")

// read takes commands until the connection, or its right to be heard, ends.
func (s *session) read() {
	defer func() { s.logger.Info(fmt.Sprintf("PROTOCOL(V1): [%s] exiting ioloop", s.remote)) }()
	for {
		line, err := s.readLine()
		switch {
		case errors.Is(err, wire.ErrLineTooLong):
			s.refuse(&wire.Error{Code: "E_INVALID", Text: fmt.Sprintf("line longer than %d bytes", maxLine)})
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.hangUp(err)
			return
		case err != nil:
			// Closed by the peer, or by hangUp. What was asked before is still
			// answered, for a peer that has closed its writing side only.
			return
		}

		a, err := s.exec(line)
		if refused := (*wire.Error)(nil); errors.As(err, &refused) {
			s.logger.Error(fmt.Sprintf("[%s] - %s", s.remote, err))
			s.refuse(refused)
			return
		}
		if err != nil {
			s.hangUp(err)
			return
		}
		if !s.owe(a) {
			return
		}
	}
}

// patience is how long the peer may be silent: an nsqd identifies at once.
func (s *session) patience() time.Duration {
	if !s.identified {
		return minIdleTimeout
	}
	return s.idleTimeout()
}

// readLine waits for the next command as long as its patience lasts, and then no longer than commandTimeout for the rest of it.
func (s *session) readLine() ([]byte, error) {
	if s.r.Buffered() == 0 {
		s.conn.SetReadDeadline(time.Now().Add(s.patience()))
		if _, err := s.r.Peek(1); err != nil {
			return nil, err
		}
	}
	s.conn.SetReadDeadline(time.Now().Add(commandTimeout))
	return wire.ReadLine(s.r, maxLine)
}

// owe queues an answer, or reports false if none will be given any more.
func (s *session) owe(a answer) bool {
	select {
	case s.answers <- a:
		return true
	case <-s.ctx.Done():
		if a.cancel != nil {
			a.cancel()
		}
		return false
	}
}

// refuse answers what the client did wrong, after all that it is owed. The
// reader then returns: as in stock, every error ends the connection.
func (s *session) refuse(refused *wire.Error) {
	s.owe(answer{text: []byte(refused.Error())})
}

// hangUp ends the connection without another word, from either goroutine.
func (s *session) hangUp(err error) {
	if s.ctx.Err() == nil {
		s.logger.Warn("closing the connection of an nsqd", "remote", s.remote, "err", err)
	}
	s.cancel()
	s.conn.Close()
}

// answerAll gives the answers that are owed, in order, until the reader or the
// connection has ended.
func (s *session) answerAll() {
	defer func() {
		if v := recover(); v != nil {
			// wire.Server recovers on the goroutine of Handle only.
			s.logger.Error("panic in connection", "remote", s.remote, "panic", v, "stack", string(debug.Stack()))
		}
		s.cancel()
		s.conn.Close()
	}()
	s.silence = time.NewTimer(s.inactive)
	s.silence.Stop()
	defer s.silence.Stop()

	for {
		a, ok := s.nextAnswer()
		if !ok || !s.give(a) {
			return
		}
	}
}

// nextAnswer takes the next answer that is owed. Before it waits for one it
// flushes what was written.
func (s *session) nextAnswer() (a answer, ok bool) {
	select {
	case a, ok = <-s.answers:
		if ok {
			return a, true
		}
	default:
	}
	if err := s.w.Flush(); err != nil {
		return answer{}, false
	}
	for {
		select {
		case a, ok = <-s.answers:
			return a, ok
		case <-s.ctx.Done():
			return answer{}, false
		case <-s.silence.C:
			s.fallSilent()
		}
	}
}

// give waits for what the answer depends on and writes it. It reports false if
// the connection ends without it.
func (s *session) give(a answer) bool {
	if a.proposal != nil {
		defer a.cancel()
		if !settled(a.proposal) && s.w.Flush() != nil {
			return false // the peer has gone, or does not read
		}
		if err := s.await(a); err != nil {
			s.hangUp(err)
			return false
		}
	}
	switch {
	case a.identify:
		s.identifiedAt(time.Now())
	case a.ping:
		if err := s.pinged(time.Now()); err != nil {
			s.hangUp(err)
			return false
		}
	}
	return wire.WriteFrame(s.w, a.text) == nil
}

// await returns once the answer's proposal has committed, or with an error.
func (s *session) await(a answer) error {
	defer s.inFlight.Add(-1)
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
	s.cancel()
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
	return t.conn.Write(p)
}
