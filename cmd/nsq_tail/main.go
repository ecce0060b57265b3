// Command nsq_tail prints the messages of topics as they come.
//
// It consumes a channel, of its own and ephemeral unless --channel names another, so
// what it prints is taken from no one. Flags and output are stock's; --json prints an
// object for each message.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"

	"nsqraft/internal/command"
	"nsqraft/internal/consume"
)

const app = "nsq_tail"

func main() { command.Main(run) }

type options struct {
	source     *consume.Options
	topics     command.Strings
	channel    string
	total      int
	printTopic bool
	json       bool
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	log := log.New(stderr, "", log.LstdFlags)
	flags := command.NewFlags(app, stderr)
	o := options{source: consume.NewOptions(app, log)}
	o.register(flags)
	if code, done := flags.Parse(args, stdout); done {
		return code
	}
	if err := o.validate(); err != nil {
		log.Print(err)
		return 1
	}
	if err := tail(ctx, &o, log, stdout); err != nil {
		log.Printf("ERROR: %v", err)
		return 1
	}
	return 0
}

func (o *options) register(f *command.Flags) {
	o.source.Register(f.FlagSet)
	f.Var(&o.topics, "topic", "topic to print (may be given several times)")
	f.StringVar(&o.channel, "channel", "", "channel to consume (default: an ephemeral one of its own)")
	f.IntVar(&o.total, "n", 0, "end when so many messages of a topic are printed; 0: never")
	f.BoolVar(&o.printTopic, "print-topic", false, "print the topic before each message")
	f.BoolVar(&o.json, "json", false, "print a JSON object for each message: topic, id, timestamp (ns), attempts, nsqd, body (body_base64 if it is not UTF-8)")
}

// validate also fills in what depends on other flags.
func (o *options) validate() error {
	if err := o.source.Validate(); err != nil {
		return err
	}
	switch {
	case len(o.topics) == 0:
		return errors.New("--topic required")
	case o.total < 0:
		return errors.New("-n must not be negative")
	}
	if o.channel == "" {
		o.channel = fmt.Sprintf("tail%06d#ephemeral", rand.IntN(1_000_000))
	}
	if o.total > 0 {
		o.source.Config.MaxInFlight = min(o.source.Config.MaxInFlight, o.total)
	}
	return nil
}
