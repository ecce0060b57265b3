package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/command"
	"nsqraft/internal/wire"
)

// maxLine bounds a message read from a file; nsqd's own bound is most often less.
const maxLine = 64 << 20

// publishing is what pub is asked to do.
type publishing struct {
	topic   string
	message string  // instead of input
	whole   bool    // the input is one message
	rate    float64 // messages a second; 0: as fast as it goes
	count   int     // of each message
	delay   time.Duration
	nsqds   []string // to publish at
}

func newPubCommand(p *program) *cobra.Command {
	var o publishing
	cmd := &cobra.Command{
		Use: "pub TOPIC [-|FILE]", Short: "Publish messages: the lines of a file or of stdin",
		Long: "Publishes the lines of a file, or of stdin, as messages, each without its line end.\n" +
			"Messages go in turn to the nsqds that have the topic, to any nsqd if none has it\nyet, and to the next one if one takes none.",
		Args: between(1, "TOPIC", "FILE"), ValidArgsFunction: p.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.topic = args[0]
			switch {
			case !wire.ValidTopic(o.topic):
				return invalidName("topic", o.topic)
			case o.count < 1:
				return usageError("", "--count must be at least 1, not %d", o.count)
			case o.rate < 0:
				return usageError("", "--rate must be messages a second, not %v", o.rate)
			case o.delay < 0:
				return usageError("", "--defer must not be negative, it is %v", o.delay)
			}
			if err := validAddresses("nsqd", o.nsqds); err != nil {
				return err
			}
			given := cmd.Flags().Changed("message")
			if given && (len(args) == 2 || o.whole) {
				return usageError("", "use --message or a file, not both")
			}
			if given {
				return p.publish(cmd.Context(), &o, func(send func([]byte) error) error { return send([]byte(o.message)) })
			}
			in := p.stdin
			if len(args) == 2 && args[1] != "-" {
				f, err := command.Open(cmd.Context(), args[1])
				if err != nil {
					return interrupted(cmd.Context(), err)
				}
				defer f.Close()
				in = f
			}
			return p.publish(cmd.Context(), &o, func(send func([]byte) error) error {
				in := command.NewInput(cmd.Context(), in)
				defer in.Close()
				return messagesOf(in, o.whole, send)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.message, "message", "m", "", "publish this `text`, instead of a file")
	flags.BoolVar(&o.whole, "whole", false, "publish the whole input as one message")
	flags.Float64Var(&o.rate, "rate", 0, "messages a second (default: as fast as they are taken)")
	flags.IntVar(&o.count, "count", 1, "publish each message so many times")
	flags.DurationVar(&o.delay, "defer", 0, "let consumers have the messages only after this `time`")
	flags.StringArrayVar(&o.nsqds, "nsqd-http-address", nil, "`<addr>:<port>` of an nsqd to publish at, may be given several times (default: told by the nsqlookupds)")
	return cmd
}

// messagesOf calls send for each message of in.
func messagesOf(in io.Reader, whole bool, send func([]byte) error) error {
	if whole {
		body, err := io.ReadAll(io.LimitReader(in, maxLine+1))
		switch {
		case err != nil:
			return fmt.Errorf("read the message: %w", err)
		case len(body) > maxLine:
			return fmt.Errorf("the message is longer than %s", size(maxLine))
		}
		return send(body)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue // nsqd takes no empty message
		}
		if err := send(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	return nil
}

// publish publishes what messages sends, as o says, and tells how much that was.
func (p *program) publish(ctx context.Context, o *publishing, messages func(send func([]byte) error) error) error {
	nsqds := o.nsqds
	if len(nsqds) == 0 {
		var err error
		if nsqds, err = p.publishAt(ctx, o.topic); err != nil {
			return err
		}
	}
	pub := &publisher{p: p, o: o, nsqds: nsqds, start: time.Now()}
	err := messages(func(body []byte) error {
		for range o.count {
			if err := pub.send(ctx, body); err != nil {
				return err
			}
		}
		return nil
	})
	p.note("published %s to %s in %s", plural(pub.sent, "message"), o.topic, span(time.Since(pub.start)))
	return interrupted(ctx, err)
}

// errInterrupted is the end by a signal while nothing was under way.
var errInterrupted = errors.New("interrupted")

// interrupted returns err, or errInterrupted if it says no more than that ctx has ended.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return errInterrupted
	}
	return err
}

// publishAt returns the HTTP addresses of the nsqds that have the topic or, if none
// does, of all that take messages.
func (p *program) publishAt(ctx context.Context, topic string) ([]string, error) {
	v, err := p.view(ctx)
	if err != nil {
		return nil, err
	}
	var have, all []string
	for _, n := range v.Nodes {
		if n.State != clusterinfo.Up {
			continue
		}
		all = append(all, n.Address)
		if n.Stats == nil {
			continue
		}
		for _, t := range n.Stats.Topics {
			if t.Name == topic {
				have = append(have, n.Address)
			}
		}
	}
	switch {
	case len(have) > 0:
		return have, nil
	case len(all) > 0:
		return all, nil
	}
	return nil, &failure{exitUnreachable, errors.New("no nsqd is there to publish at"), "see nsqctl status"}
}

// A publisher sends messages to nsqds in turn.
type publisher struct {
	p     *program
	o     *publishing
	nsqds []string
	next  int // of nsqds
	start time.Time
	sent  int
}

// send publishes one message at the next nsqd that takes it. A failure after which the
// message may be there is not tried again elsewhere: it would be there twice.
func (b *publisher) send(ctx context.Context, body []byte) error {
	if b.o.rate > 0 {
		due := b.start.Add(time.Duration(float64(b.sent) / b.o.rate * float64(time.Second)))
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(due)):
		}
	}
	if ctx.Err() != nil {
		return ctx.Err() // nothing was sent: there is no doubt about this one
	}
	body = bytes.Clone(body)
	var failed error
	for range b.nsqds {
		nsqd := b.nsqds[b.next%len(b.nsqds)]
		b.next++
		err := b.p.client.Publish(ctx, nsqd, b.o.topic, body, b.o.delay)
		var status *clusterinfo.StatusError
		switch {
		case err == nil:
			b.sent++
			return nil
		case ctx.Err() != nil && notReached(err):
			return ctx.Err()
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted: it is not known whether message %d was published", b.sent+1)
		case errors.Is(err, clusterinfo.ErrUnknownOutcome):
			return fmt.Errorf("it is not known whether message %d was published: %w", b.sent+1, err)
		case notReached(err), errors.As(err, &status) && status.Status >= 500:
			failed = err
		case errors.As(err, &status):
			return fmt.Errorf("message %d: %w", b.sent+1, err)
		default:
			return fmt.Errorf("message %d was not published: %w", b.sent+1, err)
		}
	}
	f := &failure{exitFailed, fmt.Errorf("no nsqd takes message %d: %w", b.sent+1, failed), "see nsqctl status"}
	if notReached(failed) {
		f.code = exitUnreachable
	}
	return f
}
