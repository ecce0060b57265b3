// Command nsq_to_nsq publishes the messages of topics again, on other nsqds or under
// another topic, if need be only some of them or some fields of them.
//
// A message is finished once a destination has confirmed it, and comes again later
// if none has; after max_attempts (--consumer-opt, 5 unless set, 0 for no limit) it is
// dropped, as by every consumer made with go-nsq. It may be published twice when the
// confirmation is lost. Flags and behaviour are stock's.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/command"
	"nsqraft/internal/consume"
	"nsqraft/internal/forward"
	"nsqraft/internal/wire"
)

const app = "nsq_to_nsq"

func main() { command.Main(run) }

type options struct {
	source       *consume.Options
	forward      forward.Options
	filter       filter
	topics       command.Strings
	channel      string
	destinations command.Strings // TCP addresses
	topic        string          // to publish to; "": the one consumed
	producer     *nsq.Config
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	log := log.New(stderr, "", log.LstdFlags)
	flags := command.NewFlags(app, stderr)
	o := options{source: consume.NewOptions(app, log), producer: consume.NewConfig(app)}
	o.register(flags)
	if code, done := flags.Parse(args, stdout); done {
		return code
	}
	if err := o.validate(); err != nil {
		log.Print(err)
		return 1
	}
	if err := o.republish(ctx, log); err != nil {
		log.Printf("ERROR: %v", err)
		return 1
	}
	return 0
}

func (o *options) register(f *command.Flags) {
	o.source.Register(f.FlagSet)
	o.forward.Register(f.FlagSet)
	f.Var(&o.topics, "topic", "topic to consume (may be given several times)")
	f.StringVar(&o.channel, "channel", app, "channel to consume")
	f.Var(&o.destinations, "destination-nsqd-tcp-address", "`host:port` (TCP) of an nsqd to publish to (may be given several times)")
	f.StringVar(&o.topic, "destination-topic", "", "topic to publish to (default: the one a message is from)")
	f.Var(&nsq.ConfigFlag{Config: o.producer}, "producer-opt", "`option,value` of the go-nsq producer, such as snappy,true (may be given several times)")
	f.StringVar(&o.filter.field, "require-json-field", "", "pass only messages that are JSON objects with this field")
	f.StringVar(&o.filter.value, "require-json-value", "", "pass only messages whose required field has this value, a string or a number")
	f.Var(&o.filter.keep, "whitelist-json-field", "pass on this field of messages, which are JSON objects, and no others (may be given several times)")
}

func (o *options) validate() error {
	if err := o.source.Validate(); err != nil {
		return err
	}
	if err := o.forward.Validate(); err != nil {
		return err
	}
	switch {
	case len(o.topics) == 0 || o.channel == "":
		return errors.New("--topic and --channel are required")
	case o.topic != "" && !wire.ValidTopic(o.topic):
		return errors.New("--destination-topic is invalid")
	case !wire.ValidChannel(o.channel):
		return errors.New("--channel is invalid")
	case len(o.destinations) == 0:
		return errors.New("--destination-nsqd-tcp-address required")
	case o.filter.value != "" && o.filter.field == "":
		return errors.New("--require-json-value needs --require-json-field")
	}
	for _, topic := range o.topics {
		if !wire.ValidTopic(topic) {
			return errors.New("--topic is invalid")
		}
	}
	for _, addr := range o.destinations {
		if err := consume.ValidTCP(addr); err != nil {
			return fmt.Errorf("--destination-nsqd-tcp-address: %w", err)
		}
	}
	if err := o.producer.Validate(); err != nil {
		return fmt.Errorf("--producer-opt: %w", err)
	}
	return nil
}
