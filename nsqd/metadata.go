package nsqd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"nsqraft/internal/wire"
)

// metadata is what the server needs to keep nsqd.dat, in which topics and channels
// outlive it.
type metadata struct {
	loaded  atomic.Bool // the file's content is known, so that it may be replaced
	writing sync.Mutex  // held while the file is written

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
		return fmt.Errorf("failed to parse metadata in %s - %w", path, err)
	}
	for _, st := range saved.Topics {
		if err := s.loadTopic(st); err != nil {
			return err
		}
	}
	s.metadata.loaded.Store(true)
	return nil
}

// decodeMetadata decodes the content of an nsqd.dat. An empty one holds nothing.
func decodeMetadata(b []byte) (saved savedMetadata, err error) {
	if len(b) == 0 {
		return saved, nil
	}
	return saved, json.Unmarshal(b, &saved)
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

// persist writes nsqd.dat before it returns.
func (s *Server) persist() error {
	err := s.save()
	if err != nil {
		s.log.Error("failed to persist metadata - " + err.Error())
	}
	return err
}

// save writes nsqd.dat: what is there and not ephemeral.
func (s *Server) save() error {
	s.metadata.writing.Lock()
	defer s.metadata.writing.Unlock()
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
	return writeFile(path, b)
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
	select {
	case s.metadata.wake <- struct{}{}:
	default:
	}
}

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
		s.persist() // it has logged the error; the lookupds hear of it all the same
		for _, e := range events {
			s.links.notify(e.topic, e.channel, e.exists)
		}
	}
}
