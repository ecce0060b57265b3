package history

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// fileName is that of a run's history in its folder.
	fileName = "history.jsonl.gz"

	// maxOps and maxSamples are what a Recorder keeps: 2 GB or so. Ops beyond are
	// counted in Header.Dropped, and such a run proves nothing.
	maxOps     = 6_000_000
	maxSamples = 2_000_000

	// queued is how many records may wait for the file. Beyond it clients wait.
	queued = 4096
)

// A Recorder takes what clients do, in memory and in a file, from many goroutines.
type Recorder struct {
	started time.Time
	file    *writer
	lines   chan line
	written chan error // what became of the file, when it is complete

	mu       sync.Mutex // not held across I/O
	open     sync.WaitGroup
	closed   bool
	clients  int
	sessions int64
	ops      pile[Op]
	samples  pile[Sample]
	faults   []Fault
	dropped  int64
	names    lists
	most     int // ops
}

// NewRecorder returns a Recorder whose clock begins now. dir is the folder in which
// history.jsonl.gz is written.
func NewRecorder(dir string) (*Recorder, error) {
	f, err := os.Create(filepath.Join(dir, fileName))
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	r := &Recorder{
		started: time.Now(),
		file:    newWriter(f),
		lines:   make(chan line, queued),
		written: make(chan error, 1),
		names:   make(lists),
		most:    maxOps,
	}
	go r.write()
	return r, nil
}

// write writes what is recorded until Close closes lines. After an error it only
// takes what comes, so that no client waits for ever.
func (r *Recorder) write() {
	err := r.file.put(line{Schema: schema})
	for l := range r.lines {
		if err == nil {
			err = r.file.put(l)
		}
	}
	r.written <- errors.Join(err, r.file.close())
}

// Now is the time since the beginning.
func (r *Recorder) Now() time.Duration { return time.Since(r.started) }

// Client returns a number for a new client.
func (r *Recorder) Client() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients++
	return r.clients
}

// Session returns a number for a new session.
func (r *Recorder) Session() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions++
	return r.sessions
}

// Op records a call that has returned. It waits while the file is slow. What comes
// after Close is not recorded. The caller does not modify the op's Answer afterwards.
func (r *Recorder) Op(op Op) {
	r.record(line{Op: &op}, func() bool {
		if r.ops.n >= r.most {
			r.dropped++
			return false
		}
		r.names.share(&op)
		r.ops.add(op)
		return true
	})
}

// Sample records what a node said of itself.
func (r *Recorder) Sample(s Sample) {
	r.record(line{Sample: &s}, func() bool {
		if r.samples.n >= maxSamples {
			r.dropped++
			return false
		}
		r.samples.add(s)
		return true
	})
}

// Fault records a fault. It is recorded again, with its ID, as it changes.
func (r *Recorder) Fault(f Fault) {
	r.record(line{Fault: &f}, func() bool {
		r.faults = latest(r.faults, f)
		return true
	})
}

// latest puts f in the place of the fault with its ID.
func latest(faults []Fault, f Fault) []Fault {
	if i := slices.IndexFunc(faults, func(other Fault) bool { return other.ID == f.ID }); i >= 0 {
		faults[i] = f
		return faults
	}
	return append(faults, f)
}

// record keeps something if keep says so, and has it written.
func (r *Recorder) record(l line, keep func() bool) {
	r.mu.Lock()
	ok := !r.closed && keep()
	if ok {
		r.open.Add(1)
	}
	r.mu.Unlock()
	if ok {
		r.lines <- l
		r.open.Done()
	}
}

// Close writes h and the rest to the file and returns the whole. The Run is there
// also if the file could not be written.
func (r *Recorder) Close(h Header) (*Run, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, errors.New("history: closed twice")
	}
	r.closed = true
	r.mu.Unlock()
	r.open.Wait()

	h.Schema, h.Dropped, h.Started = schema, r.dropped, r.started.UTC().Round(0) // as a file has it
	r.lines <- line{Header: &h}
	close(r.lines)
	err := <-r.written
	if err != nil {
		err = fmt.Errorf("history: %w", err)
	}
	run := &Run{Header: h, Ops: r.ops.all(), Samples: r.samples.all(), Faults: r.faults}
	run.Sort()
	return run, err
}

// A pile grows without moving what is in it. To move some hundred MB, as append does now
// and then, takes a second, in which everybody who records would wait.
type pile[T any] struct {
	full [][]T
	last []T // on top
	n    int // in all
}

// pileChunk is by how many a pile grows.
const pileChunk = 4096

func (p *pile[T]) add(v T) {
	if len(p.last) == cap(p.last) {
		p.full = append(p.full, p.last)
		p.last = make([]T, 0, pileChunk)
	}
	p.last = append(p.last, v)
	p.n++
}

// all returns what is in it, in the order in which it came.
func (p *pile[T]) all() []T { return slices.Concat(append(p.full, p.last)...) }

// Sort puts everything into its order. What a Recorder or Read returns is sorted.
func (run *Run) Sort() {
	slices.SortStableFunc(run.Ops, func(a, b Op) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(run.Samples, func(a, b Sample) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(run.Faults, func(a, b Fault) int { return cmp.Compare(a.Begin, b.Begin) })
}

// lists holds one copy of each list of names that answers have: most answers are
// equal to earlier ones. It is bounded by being emptied.
type lists map[string][]string

const maxLists = 100_000

// share makes the op's lists the same memory as equal ones before it.
func (l lists) share(op *Op) {
	if op.Answer == nil {
		return
	}
	a := *op.Answer
	a.Producers, a.Channels = l.one(a.Producers), l.one(a.Channels)
	op.Answer = &a
}

func (l lists) one(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	key := strings.Join(names, "\n")
	if same, ok := l[key]; ok {
		return same
	}
	if len(l) >= maxLists {
		clear(l)
	}
	l[key] = names
	return names
}
