package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/wire"
)

// An archive records topics, each with a recorder of its own.
type archive struct {
	// Read-only.
	opts *options
	log  hclog.Logger

	// Owned by run.
	recorders map[string]*recorder // nil: this topic cannot be recorded

	recording sync.WaitGroup
	mu        sync.Mutex
	failed    error // of a recorder that could not finish what it had
}

func newArchive(o *options, log hclog.Logger) *archive {
	return &archive{opts: o, log: log, recorders: make(map[string]*recorder)}
}

// run records until ctx ends. It returns why it could not begin, or what could not be
// written at the end.
func (a *archive) run(ctx context.Context, hup <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer a.recording.Wait()
	defer cancel()
	for _, topic := range a.opts.topics {
		if !a.opts.wanted(topic) {
			a.log.Warn("skipping a topic that does not match", "topic", topic, "pattern", a.opts.topicPattern)
			continue
		}
		if err := a.add(ctx, topic); err != nil {
			return err
		}
	}
	topics := make(chan []string)
	if len(a.opts.topics) == 0 {
		a.recording.Go(func() { a.watch(ctx, topics) })
	}
	for {
		select {
		case names := <-topics:
			a.addAll(ctx, names)
		case <-hup:
			for _, r := range a.recorders {
				if r != nil {
					r.reopenFile()
				}
			}
		case <-ctx.Done():
			a.recording.Wait()
			return a.failed
		}
	}
}

// watch sends the topics of the nsqlookupds to topics, until ctx ends.
func (a *archive) watch(ctx context.Context, topics chan<- []string) {
	changed := func(names []string) {
		select {
		case topics <- names:
		case <-ctx.Done():
		}
	}
	failed := func(err error) { a.log.Error("cannot ask for topics", "err", err) }
	a.opts.source.Client().WatchTopics(ctx, a.opts.source.Lookupds, a.opts.topicRefresh, changed, failed)
}

// addAll records those of topics that are wanted and are not yet recorded. A topic that
// is gone stays: messages may wait for it somewhere.
func (a *archive) addAll(ctx context.Context, topics []string) {
	for _, topic := range topics {
		if _, ok := a.recorders[topic]; ok || !wire.ValidTopic(topic) || !a.opts.wanted(topic) {
			continue
		}
		a.recorders[topic] = nil
		if err := a.add(ctx, topic); err != nil {
			a.log.Error("cannot record a topic", "topic", topic, "err", err)
		}
	}
}

// add begins to record topic.
func (a *archive) add(ctx context.Context, topic string) error {
	r, err := newRecorder(a.opts, topic, a.log)
	if err != nil {
		return err
	}
	c, err := a.opts.source.Start(topic, a.opts.channel, r, 1)
	if err != nil {
		return err
	}
	a.recorders[topic] = r
	stopped := make(chan struct{})
	a.recording.Go(func() {
		defer close(stopped)
		<-ctx.Done()
		c.Stop()
	})
	a.recording.Go(func() {
		if err := r.run(c, ctx.Done(), stopped); err != nil {
			a.mu.Lock()
			a.failed = fmt.Errorf("the files of topic %s could not be written at the end, its messages stay with nsqd: %w", topic, err)
			a.mu.Unlock()
		}
	})
	return nil
}

// A clientLog writes lines that begin with their level, as those of go-nsq and consume
// do, to a Logger.
type clientLog struct{ hclog.Logger }

// Write implements io.Writer, for the log package: a line at a time.
func (l *clientLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	word, rest, _ := strings.Cut(text, " ")
	levels := map[string]hclog.Level{
		"DBG": hclog.Debug, "INF": hclog.Info, "WRN": hclog.Warn, "ERR": hclog.Error,
		"DEBUG:": hclog.Debug, "INFO:": hclog.Info, "WARNING:": hclog.Warn, "ERROR:": hclog.Error,
	}
	if level, ok := levels[word]; ok {
		l.Log(level, strings.TrimSpace(rest))
	} else {
		l.Info(text)
	}
	return len(line), nil
}
