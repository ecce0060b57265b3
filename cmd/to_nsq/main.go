// Command to_nsq publishes what it reads from stdin, a message for each line or other
// record, to a topic.
//
// With --nsqd-tcp-address, as in stock, each record goes to every one of the nsqds,
// and the first that does not take one ends the command. With --lookupd-http-address
// each record goes to one nsqd: any that is alive, if possible one that has the topic
// already, and another one when it dies; a record whose confirmation was lost is then
// published twice.
//
// Empty records are left out. A last record without a delimiter is one.
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
	"nsqraft/internal/wire"
)

const app = "to_nsq"

func main() { command.Main(run) }

type options struct {
	topic     string
	delimiter string
	rate      int64           // messages a second; 0: any number
	nsqds     command.Strings // TCP addresses: either these
	lookupds  command.Strings // or these, HTTP
	producer  *nsq.Config
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	log := log.New(stderr, "", log.LstdFlags)
	flags := command.NewFlags(app, stderr)
	o := options{producer: consume.NewConfig(app)}
	o.register(flags)
	if code, done := flags.Parse(args, stdout); done {
		return code
	}
	if err := o.validate(); err != nil {
		log.Print(err)
		return 1
	}
	if err := o.publishAll(ctx, stdin, log); err != nil {
		log.Printf("ERROR: %v", err)
		return 1
	}
	return 0
}

func (o *options) register(f *command.Flags) {
	f.StringVar(&o.topic, "topic", "", "topic to publish to")
	f.StringVar(&o.delimiter, "delimiter", "\n", "the `byte` between two records")
	f.Int64Var(&o.rate, "rate", 0, "most messages a second; 0: any number")
	f.Var(&o.nsqds, "nsqd-tcp-address", "`host:port` (TCP) of an nsqd to publish to; with several, each gets every message (may be given several times)")
	f.Var(&o.lookupds, "lookupd-http-address", "`host:port` (HTTP) of an nsqlookupd that lists nsqds, of which one gets each message (may be given several times)")
	f.Var(&nsq.ConfigFlag{Config: o.producer}, "producer-opt", "`option,value` of the go-nsq producer, such as snappy,true (may be given several times)")
}

func (o *options) validate() error {
	switch {
	case o.topic == "":
		return errors.New("--topic required")
	case !wire.ValidTopic(o.topic):
		return errors.New("--topic is invalid")
	case len(o.delimiter) != 1:
		return errors.New("--delimiter must be a single byte")
	case o.rate < 0:
		return errors.New("--rate must not be negative")
	}
	if err := consume.OneKind("nsqd-tcp-address", o.nsqds, o.lookupds); err != nil {
		return err
	}
	for _, addr := range o.nsqds {
		if err := consume.ValidTCP(addr); err != nil {
			return fmt.Errorf("--nsqd-tcp-address: %w", err)
		}
	}
	for _, addr := range o.lookupds {
		if err := consume.ValidHTTP(addr); err != nil {
			return fmt.Errorf("--lookupd-http-address: %w", err)
		}
	}
	if err := o.producer.Validate(); err != nil {
		return fmt.Errorf("--producer-opt: %w", err)
	}
	return nil
}
