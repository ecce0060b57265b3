package nsqd

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/diskspace"
)

// health is what is wrong with the server: which of its queues on disk have failed,
// and nsqd.dat. A queue is well again when a write to it has succeeded, not when one
// to another has; or, if there was no room or no descriptor, when there is, see
// watchHealth.
type health struct {
	log  hclog.Logger  // nil: none
	wake chan struct{} // something has failed: holds one token at most; may be nil

	mu    sync.Mutex
	ill   map[string]error
	count atomic.Int32 // of ill: the hot path asks no more than that
}

func (h *health) failed(name string, err error) {
	h.mu.Lock()
	_, known := h.ill[name]
	if h.ill == nil {
		h.ill = make(map[string]error)
	}
	h.ill[name] = err
	h.count.Store(int32(len(h.ill)))
	h.mu.Unlock()
	if !known && h.log != nil {
		h.log.Error("health is NOK", "err", err)
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *health) succeeded(name string) {
	if h.count.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.ill, name)
	h.count.Store(int32(len(h.ill)))
}

// err returns what is wrong with the first queue by name, nil if all is well.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ill) == 0 {
		return nil
	}
	return h.ill[slices.Min(slices.Collect(maps.Keys(h.ill)))]
}

// scarce says whether err is the want of something that may come back: room on the
// disk, or a descriptor.
func scarce(err error) bool {
	for _, want := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// wanting returns what is ill for the want of something.
func (h *health) wanting() (names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, err := range h.ill {
		if scarce(err) && name != metadataName { // which is tried again by itself
			names = append(names, name)
		}
	}
	return names
}

const (
	// probeInterval is how often a full disk is tried.
	probeInterval = 2 * time.Second

	// probeSize is how much has to fit for the disk to count as not full.
	probeSize = 256 << 10
)

// watchHealth looks, while something is ill for the want of room or a descriptor,
// whether there is any again: a topic that nobody publishes to would keep the server
// ill for ever.
func (s *Server) watchHealth() {
	for {
		select {
		case <-s.health.wake:
		case <-s.stopping.Done():
			return
		}
		for names := s.health.wanting(); len(names) > 0; names = s.health.wanting() {
			select {
			case <-time.After(probeInterval):
			case <-s.stopping.Done():
				return
			}
			if err := probe(s.opts.DataPath); err != nil {
				continue
			}
			for _, name := range names {
				s.health.succeeded(name)
			}
			s.log.Info("there is room on the disk again")
		}
	}
}

// measureInterval is how often the free space on the disk is looked up.
const measureInterval = 10 * time.Second

// measureDisk keeps up to date how much the file system of the data path still takes.
// It does so by itself, for a disk that hangs would hang whoever asks.
func (s *Server) measureDisk() {
	for {
		if free, err := diskspace.Free(filepath.Clean(s.opts.DataPath)); err == nil {
			s.diskFree.Store(&free)
		} else {
			s.diskFree.Store(nil)
		}
		select {
		case <-time.After(measureInterval):
		case <-s.stopping.Done():
			return
		}
	}
}

// probe says whether a file can be written to dir, "" for the working directory.
func probe(dir string) error {
	f, err := os.CreateTemp(filepath.Clean(dir), "nsqd.probe.*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, probeSize))
	return errors.Join(err, f.Sync(), f.Close())
}
