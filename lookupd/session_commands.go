package lookupd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/defect"
	"nsqraft/internal/wire"
)

// maxField bounds the strings of an IDENTIFY: no host name is longer, and all
// of them are kept by every node for ever and answered with every lookup.
const maxField = 255

// exec carries out one line. A *wire.Error in the chain of the error is for the
// client, any other ends the connection without a word.
func (s *session) exec(line []byte) (answer, error) {
	// As stock: the whole line trimmed of white space, then cut at each single
	// space, so that two in a row hold an empty argument.
	name, rest, found := strings.Cut(string(bytes.TrimSpace(line)), " ")
	var args []string
	if found {
		args = strings.Split(rest, " ")
	}
	switch name {
	case "PING":
		return answer{text: okText, ping: s.identified}, nil
	case "IDENTIFY":
		return s.identify()
	case "REGISTER":
		return s.register(args)
	case "UNREGISTER":
		return s.unregister(args)
	}
	return answer{}, &wire.Error{Code: "E_INVALID", Text: "invalid command " + name}
}

func (s *session) identify() (answer, error) {
	if s.identified {
		return answer{}, &wire.Error{Code: "E_INVALID", Text: "cannot IDENTIFY again"}
	}
	// The body may be a while in coming; what came before is answered now.
	if err := s.answerOwed(); err != nil {
		return answer{}, err
	}
	s.conn.SetReadDeadline(time.Now().Add(commandTimeout))
	body, err := wire.ReadBody(s.r, maxBody)
	if err != nil {
		return answer{}, badBody(err)
	}
	p, err := decodeProducer(body)
	if err != nil {
		return answer{}, err
	}
	p.RemoteAddress = s.remote
	s.logger.Info(fmt.Sprintf("CLIENT(%s): IDENTIFY Address:%s TCP:%d HTTP:%d Version:%s",
		s.remote, p.BroadcastAddress, p.TcpPort, p.HttpPort, p.Version))

	s.id = s.reg.NewSession()
	s.identified = true
	s.lastUpdate.Store(time.Now().UnixNano())
	// Before it can be committed, so that the reaper never takes it for a
	// session without a connection.
	s.sessions.add(s)
	a := s.propose(&fsmpb.Mutation{Kind: &fsmpb.Mutation_OpenSession{
		OpenSession: &fsmpb.OpenSession{Session: s.id.Serial, Producer: p},
	}})
	a.text, a.identify = s.welcome, true
	return a, nil
}

func (s *session) register(args []string) (answer, error) {
	topic, channel, err := s.names("REGISTER", args)
	if err != nil {
		return answer{}, err
	}
	changes := func(v *fsm.View) bool { return !v.Holds(s.id, topic, channel) }
	done, err := s.unchanged(changes)
	if err != nil {
		return answer{}, err
	}
	if done {
		return answer{text: okText}, nil
	}
	s.logChange("REGISTER", topic, channel)
	a := s.propose(&fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{
		Register: &fsmpb.Register{Session: s.id.Serial, Topic: topic, Channel: channel},
	}})
	a.text, a.counted = okText, true
	return a, nil
}

func (s *session) unregister(args []string) (answer, error) {
	topic, channel, err := s.names("UNREGISTER", args)
	if err != nil {
		return answer{}, err
	}
	// Until its replay has finished, orphaned sessions of the same nsqd may
	// hold what this one does not, and lose it by the same command.
	changes := func(v *fsm.View) bool {
		own := v.Session(s.id)
		return own != nil && !own.Replayed || v.Holds(s.id, topic, channel)
	}
	done, err := s.unchanged(changes)
	if err != nil {
		return answer{}, err
	}
	if done {
		return answer{text: okText}, nil
	}
	s.logChange("UNREGISTER", topic, channel)
	a := s.propose(&fsmpb.Mutation{Kind: &fsmpb.Mutation_Unregister{
		Unregister: &fsmpb.Unregister{Session: s.id.Serial, Topic: topic, Channel: channel},
	}})
	a.text, a.counted = okText, true
	return a, nil
}

// propose submits m and returns the answer that waits for it. Its time runs
// from the round's first proposal: all its commands had arrived by then.
func (s *session) propose(m *fsmpb.Mutation) answer {
	if defect.Seeded && defect.On(defect.AckFirst) {
		s.reg.Submit(context.Background(), m)
		return answer{}
	}
	if s.round.ctx == nil {
		s.round.ctx, s.round.cancel = context.WithTimeout(context.Background(), registerTimeout)
	}
	return answer{proposal: s.reg.Submit(s.round.ctx, m)}
}

// unchanged reports whether a command of the session would change nothing, so
// that it may be answered without a log entry.
//
// The local copy alone cannot say so. What this session itself has in flight
// may change it; and a DeleteTopic that was acknowledged on another node may
// have taken the registration away without having reached this copy: OK would
// then promise an nsqd a registration that was gone before it asked. So the
// local copy only rules the common case out, for free, and the claim is
// checked by a linearizable read, which is cheaper than an entry.
//
// It is waited for here and now: a later command must not overtake the one
// that the read may yet find to be needed.
func (s *session) unchanged(changes func(*fsm.View) bool) (bool, error) {
	if s.round.ctx != nil || changes(s.reg.View()) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, registerTimeout)
	defer cancel()
	v, err := s.reg.Consistent(ctx)
	if err != nil {
		return false, fmt.Errorf("check a command that seems to change nothing: %w", err)
	}
	if v.Session(s.id) == nil {
		return false, errSessionEnded
	}
	return !changes(v), nil
}

// names checks the arguments of REGISTER and UNREGISTER.
func (s *session) names(command string, args []string) (topic, channel string, err error) {
	if !s.identified {
		return "", "", &wire.Error{Code: "E_INVALID", Text: "client must IDENTIFY"}
	}
	if len(args) == 0 {
		return "", "", &wire.Error{Code: "E_INVALID", Text: command + " insufficient number of params"}
	}
	topic = args[0]
	if len(args) > 1 {
		channel = args[1]
	}
	if !wire.ValidTopic(topic) {
		return "", "", &wire.Error{Code: "E_BAD_TOPIC", Text: fmt.Sprintf("%s topic name '%s' is not valid", command, topic)}
	}
	if channel != "" && !wire.ValidChannel(channel) {
		return "", "", &wire.Error{Code: "E_BAD_CHANNEL", Text: fmt.Sprintf("%s channel name '%s' is not valid", command, channel)}
	}
	return topic, channel, nil
}

func (s *session) logChange(command, topic, channel string) {
	if !s.logger.IsInfo() {
		return
	}
	category := "topic"
	if channel != "" {
		category = "channel"
	}
	s.logger.Info(fmt.Sprintf("DB: client(%s) %s category:%s key:%s subkey:%s", s.remote, command, category, topic, channel))
}

// identifiedAt starts to watch the PINGs.
func (s *session) identifiedAt(now time.Time) {
	s.lastUpdate.Store(now.UnixNano())
	s.silentAt = now.Add(s.inactive)
}

// pinged takes a PING of an identified nsqd, when all that was asked before it has
// been answered. Nothing is waited for, and in
// the ordinary case nothing is submitted.
func (s *session) pinged(now time.Time) error {
	last := time.Unix(0, s.lastUpdate.Swap(now.UnixNano()))
	if s.logger.IsDebug() {
		s.logger.Debug(fmt.Sprintf("CLIENT(%s): pinged (last ping %s)", s.remote, now.Sub(last)))
	}
	s.silentAt = now.Add(s.inactive)

	if s.gone() {
		return errSessionEnded
	}
	// A stock nsqd registers all it has before its first PING.
	if s.replayed == nil || failed(s.replayed) {
		s.replayed = s.reg.Submit(s.ctx, &fsmpb.Mutation{Kind: &fsmpb.Mutation_FinishReplay{
			FinishReplay: &fsmpb.FinishReplay{Session: s.id.Serial},
		}})
	}
	if v := s.reg.View().Session(s.id); s.silent != nil || v != nil && v.Inactive {
		s.silent = nil
		s.setActive(true)
	}
	return nil
}

// gone reports whether the registry has lost the session. The local copy may
// lag behind what was acknowledged, so its word is taken for "there" only.
func (s *session) gone() bool {
	if s.reg.View().Session(s.id) != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, registerTimeout)
	defer cancel()
	v, err := s.reg.Consistent(ctx)
	return err == nil && v.Session(s.id) == nil
}

// fallSilent hides the producer, as far as this session goes: no PING for
// --inactive-producer-timeout. Until that is committed it is looked at again
// every silenceRetry.
func (s *session) fallSilent() {
	if s.silent == nil || failed(s.silent) {
		s.silent = s.setActive(false)
	}
	s.silentAt = time.Time{}
	if !settled(s.silent) || failed(s.silent) {
		s.silentAt = time.Now().Add(silenceRetry)
	}
}

func (s *session) setActive(active bool) *proposal {
	return s.reg.Submit(s.ctx, &fsmpb.Mutation{Kind: &fsmpb.Mutation_SetActive{
		SetActive: &fsmpb.SetActive{Session: s.id.Serial, Active: active},
	}})
}

// settled reports whether Wait would not wait.
func settled(p *proposal) bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// failed reports whether p is certain not to have been committed, or not known
// to be: submitting the same again does no harm.
func failed(p *proposal) bool { return settled(p) && p.err != nil }

// badBody gives IDENTIFY's errors of wire.ReadBody their text. Where stock has
// none (it panics, or takes gigabytes) the words are stock nsqd's.
func badBody(err error) error {
	var size *wire.SizeError
	text := "IDENTIFY failed to read body"
	switch {
	case errors.As(err, &size) && size.Size == 0:
		text = "IDENTIFY failed to decode JSON body"
	case errors.As(err, &size) && size.Size < 0:
		text = fmt.Sprintf("IDENTIFY invalid body size %d", size.Size)
	case errors.As(err, &size):
		text = fmt.Sprintf("IDENTIFY body too big %d > %d", size.Size, size.Max)
	case errors.Is(err, wire.ErrReadSize):
		text = "IDENTIFY failed to read body size"
	}
	return fmt.Errorf("%w - %w", &wire.Error{Code: "E_BAD_BODY", Text: text}, err)
}

// decodeProducer reads an IDENTIFY's body. What it accepts can go into the log:
// valid UTF-8 without control characters, bounded, ports that exist.
func decodeProducer(body []byte) (*fsmpb.Producer, error) {
	var peer struct {
		BroadcastAddress string `json:"broadcast_address"`
		TCPPort          int    `json:"tcp_port"`
		HTTPPort         int    `json:"http_port"`
		Hostname         string `json:"hostname"`
		Version          string `json:"version"`
		TopologyZone     string `json:"topology_zone"`
		TopologyRegion   string `json:"topology_region"`
	}
	err := json.Unmarshal(body, &peer)
	if err == nil && !utf8.Valid(body) {
		err = errors.New("invalid UTF-8") // which Unmarshal would replace, not refuse
	}
	if err != nil {
		return nil, fmt.Errorf("%w - %w", &wire.Error{Code: "E_BAD_BODY", Text: "IDENTIFY failed to decode JSON body"}, err)
	}
	if peer.BroadcastAddress == "" || peer.TCPPort == 0 || peer.HTTPPort == 0 || peer.Version == "" {
		return nil, &wire.Error{Code: "E_BAD_BODY", Text: "IDENTIFY missing fields"}
	}
	for _, field := range []struct{ name, value string }{
		{"broadcast_address", peer.BroadcastAddress},
		{"hostname", peer.Hostname},
		{"version", peer.Version},
		{"topology_zone", peer.TopologyZone},
		{"topology_region", peer.TopologyRegion},
	} {
		if len(field.value) > maxField || strings.ContainsFunc(field.value, unicode.IsControl) {
			return nil, &wire.Error{Code: "E_BAD_BODY", Text: "IDENTIFY invalid " + field.name}
		}
	}
	if peer.TCPPort < 0 || peer.TCPPort > math.MaxUint16 {
		return nil, &wire.Error{Code: "E_BAD_BODY", Text: "IDENTIFY invalid tcp_port"}
	}
	if peer.HTTPPort < 0 || peer.HTTPPort > math.MaxUint16 {
		return nil, &wire.Error{Code: "E_BAD_BODY", Text: "IDENTIFY invalid http_port"}
	}
	return &fsmpb.Producer{
		BroadcastAddress: peer.BroadcastAddress,
		TcpPort:          uint32(peer.TCPPort),
		HttpPort:         uint32(peer.HTTPPort),
		Hostname:         peer.Hostname,
		Version:          peer.Version,
		TopologyZone:     peer.TopologyZone,
		TopologyRegion:   peer.TopologyRegion,
	}, nil
}

// encodeWelcome returns what IDENTIFY is answered: how nsqds reach this
// lookupd, keys in stock's order.
func encodeWelcome(broadcastAddress string, tcpPort, httpPort int) ([]byte, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find this host's name: %w", err)
	}
	return json.Marshal(struct {
		BroadcastAddress string `json:"broadcast_address"`
		Hostname         string `json:"hostname"`
		HTTPPort         int    `json:"http_port"`
		TCPPort          int    `json:"tcp_port"`
		Version          string `json:"version"`
	}{broadcastAddress, hostname, httpPort, tcpPort, Version})
}
