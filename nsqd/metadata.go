package nsqd

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"nsqraft/internal/wire"
)

// metadata is what the server needs to keep nsqd.dat, in which topics and channels
// outlive it.
type metadata struct {
	found   bool         // there was a file when the server was opened; read-only since
	loaded  atomic.Bool  // the file's content is known, so that it may be replaced
	version atomic.Int64 // counts changes, from the moment they can be seen
	saved   atomic.Int64 // the version that the file has at least
	written atomic.Bool  // there is a file of this server's
	writing sync.Mutex   // held while the file is written

	mu     sync.Mutex
	events []event // to be told to the lookupds, once the file has them

	wake chan struct{} // there are events: holds one token at most
}

// An event is a topic or channel that has come or gone.
type event struct {
	topic, channel string // channel "": the topic
	exists         bool
}

// savedTopic and savedChannel are the form of nsqd.dat, stock's.
type savedTopic struct {
	Name     string         `json:"name"`
	Paused   bool           `json:"paused"`
	Channels []savedChannel `json:"channels"`
}

type savedChannel struct {
	Name   string `json:"name"`
	Paused bool   `json:"paused"`
}

type savedMetadata struct {
	Topics  []savedTopic `json:"topics"`
	Version string       `json:"version"`
}

// maxMetadata bounds what is read of nsqd.dat: names of a million channels.
const maxMetadata = 256 << 20

func (s *Server) metadataPath() string { return filepath.Join(s.opts.DataPath, "nsqd.dat") }

// load makes the topics and channels that nsqd.dat names.
func (s *Server) load() error {
	path := s.metadataPath()
	if info, err := os.Stat(path); err == nil && info.Size() > maxMetadata {
		return fmt.Errorf("failed to load metadata - %s has %d bytes, more than %d", path, info.Size(), maxMetadata)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		s.metadata.loaded.Store(true)
		return nil
	}
	if err != nil {
		return fmt.Errorf("failed to load metadata - %w", err)
	}
	saved, err := decodeMetadata(b)
	if err != nil {
		return fmt.Errorf("failed to parse metadata in %s - %w (restore it, or remove it to begin without topics)", path, err)
	}
	s.metadata.found = true
	for _, st := range saved.Topics {
		if err := s.loadTopic(st); err != nil {
			return err
		}
	}
	s.metadata.loaded.Store(true)
	return nil
}

// decodeMetadata decodes the content of an nsqd.dat. An empty one is an error, as in
// stock: what it held is lost, and somebody should know before it is replaced.
func decodeMetadata(b []byte) (saved savedMetadata, err error) {
	err = json.Unmarshal(b, &saved)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		err = fmt.Errorf("%s in it is a JSON %s", cmp.Or(wrong.Field, "what"), wrong.Value)
	}
	return saved, err
}

func (s *Server) loadTopic(saved savedTopic) error {
	if !wire.ValidTopic(saved.Name) {
		s.log.Warn("skipping creation of invalid topic " + saved.Name)
		return nil
	}
	t, _, err := s.topic(saved.Name, saved.Paused, true)
	if err != nil {
		return err
	}
	defer t.start()
	for _, sc := range saved.Channels {
		if !wire.ValidChannel(sc.Name) {
			s.log.Warn("skipping creation of invalid channel " + sc.Name)
			continue
		}
		if _, _, err := t.channel(sc.Name, sc.Paused); err != nil {
			return err
		}
	}
	return nil
}

// persist has what has changed in nsqd.dat when it returns without an error. What
// cannot be written is logged, is the server's health, and tried again.
func (s *Server) persist() error {
	if s.metadata.saved.Load() >= s.metadata.version.Load() && s.metadata.written.Load() {
		return nil
	}
	err := s.save()
	if err != nil {
		s.log.Error("failed to persist metadata - " + err.Error())
		s.health.failed(metadataName, err)
		s.wakeMetadata()
	}
	return err
}

// metadataName is what the health calls the file.
const metadataName = "nsqd.dat"

// save writes nsqd.dat: what is there and not ephemeral. Those who come while another
// writes find it done, unless something has changed since that began.
func (s *Server) save() error {
	wanted := s.metadata.version.Load()
	s.metadata.writing.Lock()
	defer s.metadata.writing.Unlock()
	if s.metadata.written.Load() && s.metadata.saved.Load() >= wanted {
		return nil
	}
	version := s.metadata.version.Load()
	path := s.metadataPath()
	s.log.Debug("NSQ: persisting topic/channel metadata to " + path)
	saved := savedMetadata{Topics: []savedTopic{}, Version: Version}
	for _, t := range s.sorted() {
		if t.ephemeral {
			continue
		}
		saved.Topics = append(saved.Topics, t.saved())
	}
	b, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	if err := writeFile(path, b); err != nil {
		return err
	}
	s.metadata.saved.Store(version)
	s.metadata.written.Store(true)
	s.health.succeeded(metadataName)
	return nil
}

func (t *Topic) saved() savedTopic {
	channels := t.sorted()
	t.mu.Lock()
	saved := savedTopic{Name: t.name, Paused: t.paused}
	t.mu.Unlock()
	for _, c := range channels {
		if c.ephemeral {
			continue
		}
		c.mu.Lock()
		saved.Channels = append(saved.Channels, savedChannel{Name: c.name, Paused: c.paused})
		c.mu.Unlock()
	}
	return saved
}

// changed has a topic or channel that has come or gone written to nsqd.dat and then
// told to the lookupds, in this order. It does not wait for either.
func (s *Server) changed(topic, channel string, exists bool) {
	s.metadata.mu.Lock()
	s.metadata.events = append(s.metadata.events, event{topic, channel, exists})
	s.metadata.mu.Unlock()
	s.wakeMetadata()
}

func (s *Server) wakeMetadata() {
	select {
	case s.metadata.wake <- struct{}{}:
	default:
	}
}

// settled returns when a publisher may be answered as far as nsqd.dat goes: with
// --sync-every=1 a topic that a crash would forget must not hold messages.
func (s *Server) settled() error {
	if !s.opts.durable() {
		return nil
	}
	return s.persist()
}

// metadataRetry is how long after a failed write of nsqd.dat the next is tried.
const metadataRetry = time.Second

// keepMetadata writes and tells what has changed until the server closes. Changes
// that come while the file is written go into the next one together.
func (s *Server) keepMetadata() {
	for {
		select {
		case <-s.metadata.wake:
		case <-s.stopping.Done():
			return // Close writes the last one
		}
		s.metadata.mu.Lock()
		events := s.metadata.events
		s.metadata.events = nil
		s.metadata.mu.Unlock()
		err := s.persist()
		for _, e := range events { // also after an error: that a topic is here is true
			s.links.notify(e.topic, e.channel, e.exists)
		}
		if err == nil {
			continue
		}
		select {
		case <-time.After(metadataRetry): // persist has made sure of the next turn
		case <-s.stopping.Done():
			return
		}
	}
}
