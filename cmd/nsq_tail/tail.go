package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"syscall"
	"unicode/utf8"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/consume"
)

// tail prints until ctx ends, a topic has had its total, or stdout takes no more. That
// nobody reads stdout any more is no error.
func tail(ctx context.Context, o *options, log *log.Logger, stdout io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &printer{opts: o, w: stdout, end: cancel}

	var consumers []*consume.Consumer
	for _, topic := range o.topics {
		log.Printf("tailing topic %s", topic)
		c, err := o.source.Start(topic, o.channel, &tailer{topic: topic, left: o.total, out: out}, 1)
		if err != nil {
			consume.StopAll(consumers)
			return err
		}
		consumers = append(consumers, c)
	}
	<-ctx.Done()
	consume.StopAll(consumers)
	if out.err != nil && !errors.Is(out.err, syscall.EPIPE) {
		return fmt.Errorf("write to stdout: %w", out.err)
	}
	return nil
}

// A tailer handles the messages of one topic, one at a time.
type tailer struct {
	topic string
	left  int // messages to print; 0: no end. Owned by HandleMessage.
	full  bool
	out   *printer
}

// HandleMessage prints m. A message that is not printed goes back to its channel.
func (t *tailer) HandleMessage(m *nsq.Message) error {
	if t.full || t.out.print(t.topic, m) != nil {
		return consume.ErrNoMore
	}
	if t.left > 0 {
		if t.left--; t.left == 0 {
			t.full = true
			t.out.end()
		}
	}
	return nil
}

// A printer writes messages of all topics to one writer, each in one piece.
type printer struct {
	opts *options
	end  context.CancelFunc

	mu   sync.Mutex
	w    io.Writer
	err  error // of the first write that failed; to be read once the consumers have stopped
	line bytes.Buffer
}

// print writes one message. When that fails it ends the tail, and nothing is written
// any more.
func (p *printer) print(topic string, m *nsq.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.line.Reset()
	p.opts.render(&p.line, topic, m)
	if _, p.err = p.w.Write(p.line.Bytes()); p.err != nil {
		p.end()
	}
	return p.err
}

// A record is a message as --json prints it.
type record struct {
	Topic     string  `json:"topic"`
	ID        string  `json:"id"`
	Timestamp int64   `json:"timestamp"` // of its publication, unix nanoseconds
	Attempts  uint16  `json:"attempts"`
	NSQD      string  `json:"nsqd"` // TCP address
	Body      *string `json:"body,omitempty"`
	Base64    []byte  `json:"body_base64,omitempty"` // instead of body, if that is not UTF-8
}

// render writes the line of one message.
func (o *options) render(line *bytes.Buffer, topic string, m *nsq.Message) {
	if !o.json {
		if o.printTopic {
			line.WriteString(topic + " | ")
		}
		line.Write(m.Body)
		line.WriteByte('\n')
		return
	}
	r := record{Topic: topic, ID: string(m.ID[:]), Timestamp: m.Timestamp, Attempts: m.Attempts, NSQD: m.NSQDAddress}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		r.Body = &body
	} else {
		r.Base64 = m.Body
	}
	e := json.NewEncoder(line)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		panic(err) // there is nothing in a record that JSON has not
	}
}
