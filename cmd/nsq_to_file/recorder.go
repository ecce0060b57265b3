package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nsqio/go-nsq"
)

const (
	// The pauses after files that could not be written; each is twice the one before.
	firstPause = time.Second
	maxPause   = 10 * time.Second

	// maxWaiting is how many messages wait for a recorder that is busy. Others that are
	// in flight wait in go-nsq and in sockets.
	maxWaiting = 2500

	// leastWait is the shortest time between syncs that an nsqd can bring about.
	leastWait = 100 * time.Millisecond

	// defaultMsgTimeout is nsqd's.
	defaultMsgTimeout = time.Minute
)

// A consumer is what a recorder needs of consume.Consumer.
type consumer interface {
	IsStarved() bool
	ChangeMaxInFlight(int)
}

// A recorder writes the messages of one topic to files. A message is finished once it is
// on disk, and requeued if it could not be put there.
type recorder struct {
	// Read-only.
	opts     *options
	log      hclog.Logger
	names    naming
	messages chan *nsq.Message // from the consumer
	reopen   chan struct{}     // SIGHUP; holds one
	ended    chan struct{}     // closed when run has returned

	// Owned by run.
	consumer consumer
	ticker   *time.Ticker
	wait     time.Duration // of ticker
	file     *file         // nil: none is open
	name     string        // of the last one opened, with <REV> in it
	rev      int
	opened   time.Time
	pending  []*nsq.Message // in file, not finished
	unmoved  bool           // files may be left in --work-dir
	stopping bool
	failed   error            // the last write failed with it; nil: it did not
	pause    time.Duration    // the last
	retry    <-chan time.Time // nil: messages are taken
}

func newRecorder(o *options, topic string, log hclog.Logger) (*recorder, error) {
	names, err := newNaming(o, topic)
	if err != nil {
		return nil, err
	}
	return &recorder{
		opts:     o,
		log:      log.With("topic", topic),
		names:    names,
		messages: make(chan *nsq.Message, min(o.source.Config.MaxInFlight, maxWaiting)),
		reopen:   make(chan struct{}, 1),
		ended:    make(chan struct{}),
	}, nil
}

// HandleMessage implements nsq.Handler: it passes m on.
func (r *recorder) HandleMessage(m *nsq.Message) error {
	m.DisableAutoResponse()
	select {
	case r.messages <- m:
	case <-r.ended: // nsqd sends it again
	}
	return nil
}

// run records what c consumes until stopped is closed, after which no more comes. Once
// stopping is closed nothing is held back for others to come. It returns why the last
// messages could not be recorded, if so.
func (r *recorder) run(c consumer, stopping, stopped <-chan struct{}) error {
	defer close(r.ended)
	r.consumer = c
	if r.opts.moves() {
		r.moveLeft()
	}
	r.wait = r.opts.longestWait()
	r.ticker = time.NewTicker(r.wait)
	defer r.ticker.Stop()
	for {
		select {
		case m := <-r.messages:
			r.record(m)
			if len(r.pending) >= r.opts.source.Config.MaxInFlight || len(r.messages) == 0 && (r.stopping || r.consumer.IsStarved()) {
				r.sync()
			}
		case <-r.ticker.C:
			r.tick()
		case <-r.reopen:
			r.log.Info("told to reopen files")
			r.closeFile()
		case <-r.retry:
			r.retry = nil
			if !r.stopping {
				r.consumer.ChangeMaxInFlight(r.opts.source.Config.MaxInFlight)
			}
		case <-stopping:
			stopping, r.stopping = nil, true
			r.sync() // for which the consumer waits
		case <-stopped:
			r.closeFile()
			return r.failed
		}
	}
}

// reopenFile has the file synced and closed; the next message opens another.
func (r *recorder) reopenFile() {
	select {
	case r.reopen <- struct{}{}:
	default: // it has been told already
	}
}

// record puts m into the file for it.
func (r *recorder) record(m *nsq.Message) {
	if m.Attempts > 1 && slices.ContainsFunc(r.pending, func(p *nsq.Message) bool { return p.ID == m.ID && p.NSQDAddress == m.NSQDAddress }) {
		r.hurry(m)
		return
	}
	if r.retry == nil {
		r.ready()
	}
	if r.retry != nil {
		m.RequeueWithoutBackoff(0) // perhaps it was on its way when taking them ended
		return
	}
	r.pending = append(r.pending, m)
	if err := r.file.append(m.Body); err != nil {
		r.fail(err)
	}
}

// hurry is for a message that nsqd sends again because it has waited here for longer than
// the --msg-timeout there, of which go-nsq does not tell. It is in the file already.
func (r *recorder) hurry(m *nsq.Message) {
	r.pending = append(r.pending, m) // each time that it was sent is answered
	r.sync()
	r.wait = max(r.wait/2, leastWait)
	r.ticker.Reset(r.wait)
	r.log.Warn("messages time out before they are synced, syncing more often", "nsqd", m.NSQDAddress, "interval", r.wait)
}

// tick does what is due at times.
func (r *recorder) tick() {
	if r.unmoved {
		r.moveLeft()
	}
	switch {
	case r.retry != nil:
	case !r.opts.skipEmptyFiles:
		r.ready()
	case r.file != nil && r.due():
		r.closeFile()
	}
	r.sync()
}

// sync finishes the messages that are pending.
func (r *recorder) sync() {
	if len(r.pending) == 0 {
		return
	}
	if err := r.file.sync(); err != nil {
		r.fail(err)
		return
	}
	r.log.Debug("synced", "messages", len(r.pending))
	r.recovered()
	for _, m := range r.pending {
		m.Finish()
	}
	clear(r.pending)
	r.pending = r.pending[:0]
}

// recovered notes that the file could be written.
func (r *recorder) recovered() {
	if r.failed != nil {
		r.log.Info("files can be written again", "file", r.file.Name())
		r.failed, r.pause = nil, 0
	}
}

// fail gives up the file and gives back the messages that are pending, to be taken by
// others or, after a pause, again.
func (r *recorder) fail(err error) {
	r.failed = err
	r.pause = min(max(2*r.pause, firstPause), maxPause)
	r.retry = time.After(r.pause)
	r.log.Error("cannot write, messages are requeued", "err", err, "messages", len(r.pending), "again_in", r.pause)
	r.consumer.ChangeMaxInFlight(0)
	for _, m := range r.pending {
		m.RequeueWithoutBackoff(0)
	}
	clear(r.pending)
	r.pending = r.pending[:0]
	if r.file != nil {
		switch kept := r.file.abandon(); {
		case !kept:
			r.rev-- // it is free
		case r.opts.moves():
			r.move(r.name, r.rev)
		}
		r.file = nil
	}
}

// ready makes sure that the file for a message of this moment is open, or fails.
func (r *recorder) ready() {
	if r.file != nil && r.due() {
		r.closeFile()
	}
	if r.file == nil && r.retry == nil {
		if err := r.open(); err != nil {
			r.fail(err)
		}
	}
}

// due says whether the file gives way to the next.
func (r *recorder) due() bool {
	o := r.opts
	age := time.Since(r.opened)
	switch {
	case r.names.at(time.Now()) != r.name:
		r.log.Info("rotating, the time has another name", "file", r.file.Name())
	case o.rotateInterval > 0 && age > o.rotateInterval:
		r.log.Info("rotating, the file is old", "file", r.file.Name(), "age", age)
	case o.rotateSize > 0 && r.file.size > o.rotateSize:
		r.log.Info("rotating, the file is big", "file", r.file.Name(), "bytes", r.file.size)
	default:
		return false
	}
	return true
}

// closeFile syncs and closes the file, if one is open, and moves it to --output-dir.
func (r *recorder) closeFile() {
	r.sync()
	if r.file == nil {
		return
	}
	if err := r.file.finish(); err != nil {
		r.fail(err)
		return
	}
	r.recovered()
	r.file = nil
	if r.opts.moves() {
		r.move(r.name, r.rev)
	}
}

// open opens the file of the present time: one of the first revision that is free or, if it is to be
// appended to, not yet too big.
func (r *recorder) open() error {
	name := r.names.at(time.Now())
	if name == r.name {
		r.rev++
	} else {
		r.name, r.rev = name, 0
	}
	for ; ; r.rev++ {
		f, err := r.openRev()
		switch {
		case errors.Is(err, fs.ErrExist) && r.opts.exclusive():
			continue
		case err != nil:
			r.rev-- // to be tried again
			return err
		case r.opts.rotateSize > 0 && f.size > r.opts.rotateSize:
			f.Close()
			continue
		}
		if r.opts.gzip {
			f.compress(r.opts.gzipLevel)
		}
		r.file, r.opened = f, time.Now()
		r.log.Info("opened", "file", f.Name())
		return nil
	}
}

// openRev opens the file called r.name of revision r.rev.
func (r *recorder) openRev() (*file, error) {
	name := withRev(r.name, r.rev)
	path := filepath.Join(r.opts.workDir, name)
	if err := makeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if !r.opts.exclusive() {
		return appendTo(path)
	}
	if r.opts.moves() {
		// Not to find out when it is moved.
		if _, err := os.Lstat(filepath.Join(r.opts.outputDir, name)); !errors.Is(err, fs.ErrNotExist) {
			if err == nil {
				err = errTaken
			}
			return nil, err
		}
	}
	return createFile(path)
}
