package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/nsqio/go-nsq"
	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/consume"
	"nsqraft/internal/wire"
)

const lookLong = "The messages are seen through an ephemeral channel, which takes nothing from other\nchannels: what is published from then on, not what waits there already.\n\n" +
	"A topic without any channel keeps its messages for the first one. Where such\nmessages wait, this refuses to be the first."

// A look is what tail and peek are asked to do.
type look struct {
	topic  string
	most   int           // messages to show; 0: any number
	during time.Duration // 0: until it is interrupted
	head   bool          // a line about each message before it
	force  bool          // even if that makes it the first channel
}

func newTailCommand(p *program) *cobra.Command {
	var l look
	cmd := &cobra.Command{
		Use: "tail TOPIC", Short: "Print messages as they are published",
		Long: "Prints the bodies of messages as they are published, until it is interrupted. With\n-o wide a line about each message is before it, -o json makes an object of each.\n\n" + lookLong,
		Args: exactly("TOPIC"), ValidArgsFunction: p.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			l.topic, l.head = args[0], p.output == "wide"
			return p.look(cmd.Context(), &l)
		},
	}
	cmd.Flags().IntVarP(&l.most, "number", "n", 0, "end after so many messages (default: never)")
	cmd.Flags().BoolVar(&l.force, "force", false, "take also messages that wait for a first channel")
	return cmd
}

func newPeekCommand(p *program) *cobra.Command {
	var l look
	cmd := &cobra.Command{
		Use: "peek TOPIC", Short: "Look at the next few messages of a topic",
		Long: "Shows the next few messages of a topic, each with a line about it.\n\n" + lookLong,
		Args: exactly("TOPIC"), ValidArgsFunction: p.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.most < 1 {
				return usageError("", "-n must be at least 1, not %d", l.most)
			}
			l.topic, l.head = args[0], true
			return p.look(cmd.Context(), &l)
		},
	}
	cmd.Flags().IntVarP(&l.most, "number", "n", 10, "messages to show")
	cmd.Flags().DurationVar(&l.during, "for", 10*time.Second, "how long to wait for them; 0: until they have come")
	cmd.Flags().BoolVar(&l.force, "force", false, "take also messages that wait for a first channel")
	return cmd
}

// look shows messages as l says.
func (p *program) look(ctx context.Context, l *look) error {
	switch {
	case !wire.ValidTopic(l.topic):
		return invalidName("topic", l.topic)
	case l.most < 0 || l.during < 0:
		return usageError("", "numbers and times must not be negative")
	case p.output == "yaml" || p.output == "csv":
		return usageError("use -o json", "messages come one by one, there is no %s of them", strings.ToUpper(p.output))
	}
	lookupds, err := p.mayLook(ctx, l)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if l.during > 0 {
		ctx, cancel = context.WithTimeout(ctx, l.during)
		defer cancel()
	}
	options := consume.NewOptions("nsqctl", log.New(io.Discard, "", 0))
	options.Lookupds = lookupds
	options.Config.MaxInFlight = 200
	// A second look must not share the channel: each would see half.
	channel := fmt.Sprintf("nsqctl-%08x#ephemeral", rand.Uint32())
	show := &shower{l: l, json: p.output == "json", terminal: isTerminal(p.stdout), text: &text{coloured: p.coloured()}, out: p.stdout, end: cancel}
	consumer, err := options.Start(l.topic, channel, show, 1)
	if err != nil {
		return fmt.Errorf("consume %s: %w", l.topic, err)
	}
	<-ctx.Done()
	consumer.Stop()
	shown, err := show.result()
	if err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	if l.during > 0 && shown < l.most {
		p.note("%s came in %s; only those published meanwhile are seen", plural(shown, "message"), l.during)
	}
	return nil
}

// mayLook returns the nsqlookupds to find the topic with, unless a channel of ours
// would be the first to take messages that wait for one.
func (p *program) mayLook(ctx context.Context, l *look) ([]string, error) {
	// All of them to find the topic with: the look may last longer than one of them.
	lookupds, answers, err := p.findLeader(ctx)
	if err != nil {
		return nil, err
	}
	v, err := p.viewOf(ctx, sources(lookupds, answers))
	if err != nil {
		return nil, err
	}
	t := v.Topic(l.topic)
	if t == nil {
		p.note("there is no topic %s yet", l.topic)
		return lookupds, nil
	}
	waiting, first := firstOn(t)
	switch {
	case waiting > 0 && !l.force:
		return nil, &failure{exitFailed,
			fmt.Errorf("%s has no channel, and would lose %s to this look that wait for the first", l.topic, plural(int(waiting), "message")),
			fmt.Sprintf("create the channel first: nsqctl channel create %s NAME; or take them: --force", l.topic)}
	case first:
		p.note("%s has no channel: what comes while you look is kept for nobody else", l.topic)
	}
	if t.Paused {
		p.note("%s is paused on %s: nothing comes from there", l.topic, plural(t.PausedOn, "nsqd"))
	}
	return lookupds, nil
}

// firstOn says whether a channel would be the first of t on some nsqd, and how many
// messages wait for one there.
func firstOn(t *clusterinfo.Topic) (waiting int64, first bool) {
	for _, n := range t.Nodes {
		if n.Node.Stats != nil && len(n.Stats.Channels) == 0 {
			waiting += n.Stats.Depth
			first = true
		}
	}
	return waiting, first
}

// A shower shows messages; it is their handler.
type shower struct {
	l        *look
	json     bool
	terminal bool // whose control characters nobody shall use
	text     *text
	out      io.Writer
	end      func() // of the look

	mu    sync.Mutex
	shown int
	err   error // of the first write that failed
}

// result returns how many messages were shown. That nobody reads them is no error.
func (s *shower) result() (shown int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.err, syscall.EPIPE) {
		return s.shown, nil
	}
	return s.shown, s.err
}

// HandleMessage implements nsq.Handler.
func (s *shower) HandleMessage(m *nsq.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.l.most > 0 && s.shown == s.l.most {
		return nil // the channel goes with us
	}
	if _, s.err = s.out.Write(s.render(m)); s.err != nil {
		s.end()
		return nil
	}
	if s.shown++; s.shown == s.l.most {
		s.end()
	}
	return nil
}

// A seen is a message as -o json shows it.
type seen struct {
	Topic     string  `json:"topic"`
	ID        string  `json:"id"`
	Timestamp int64   `json:"timestamp"` // of its publication, unix nanoseconds
	Attempts  uint16  `json:"attempts"`
	NSQD      string  `json:"nsqd"` // TCP address
	Body      *string `json:"body,omitempty"`
	Base64    []byte  `json:"body_base64,omitempty"` // instead of body, if that is not UTF-8
}

func (s *shower) render(m *nsq.Message) []byte {
	var b bytes.Buffer
	if s.json {
		r := seen{Topic: s.l.topic, ID: string(m.ID[:]), Timestamp: m.Timestamp, Attempts: m.Attempts, NSQD: m.NSQDAddress}
		if utf8.Valid(m.Body) {
			body := string(m.Body)
			r.Body = &body
		} else {
			r.Base64 = m.Body
		}
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(r); err != nil {
			panic(err) // there is nothing in it that JSON has not
		}
		return b.Bytes()
	}
	if s.l.head {
		about := fmt.Sprintf("-- %s %s from %s, %s, attempt %d", time.Unix(0, m.Timestamp).Format("15:04:05.000"), m.ID, m.NSQDAddress, plural(len(m.Body), "byte"), m.Attempts)
		b.WriteString(s.text.paint(faint, visible(about)) + "\n")
	}
	if s.terminal {
		for i, line := range strings.Split(string(m.Body), "\n") {
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(visible(strings.ReplaceAll(line, "\t", "    ")))
		}
	} else {
		b.Write(m.Body)
	}
	b.WriteByte('\n')
	return b.Bytes()
}
