// Command nsq_stat prints, again and again, how many messages go into and out of a
// channel, and how many wait, summed up over all nsqds.
//
// Without --channel it is the topic with all its channels, without --topic all topics.
// Flags and output are stock's; --json prints an object in place of each row.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"syscall"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/command"
	"nsqraft/internal/consume"
)

const app = "nsq_stat"

func main() { command.Main(run, syscall.SIGHUP) }

type options struct {
	topic, channel string
	interval       time.Duration
	count          int // rows; with counted false there is no end
	counted        bool
	nsqds          command.Strings // HTTP addresses: either these
	lookupds       command.Strings // or these
	connectTimeout time.Duration
	requestTimeout time.Duration
	json           bool
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	log := log.New(stderr, "", log.LstdFlags)
	flags := command.NewFlags(app, stderr)
	var o options
	o.register(flags)
	if code, done := flags.Parse(args, stdout); done {
		return code
	}
	flags.Visit(func(f *flag.Flag) { o.counted = o.counted || f.Name == "count" })
	if err := o.validate(); err != nil {
		log.Print(err)
		return 1
	}
	err := o.report(ctx, log, stdout)
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		log.Printf("ERROR: %v", err)
		return 1
	}
	return 0
}

func (o *options) register(f *command.Flags) {
	f.StringVar(&o.topic, "topic", "", "topic to look at (default: all)")
	f.StringVar(&o.channel, "channel", "", "channel to look at (default: the topic with all its channels)")
	f.DurationVar(&o.interval, "interval", 2*time.Second, "time between two rows")
	f.IntVar(&o.count, "count", 0, "end after so many rows (default: never)")
	f.Var(&o.nsqds, "nsqd-http-address", "`host:port` (HTTP) of an nsqd (may be given several times)")
	f.Var(&o.lookupds, "lookupd-http-address", "`host:port` (HTTP) of an nsqlookupd that lists the nsqds (may be given several times)")
	f.DurationVar(&o.connectTimeout, "http-client-connect-timeout", 2*time.Second, "longest time to connect to a daemon")
	f.DurationVar(&o.requestTimeout, "http-client-request-timeout", 5*time.Second, "longest time of a request, its answer included")
	f.BoolVar(&o.json, "json", false, "print a JSON object for each row")
}

func (o *options) validate() error {
	switch {
	case o.interval <= 0:
		return errors.New("--interval should be positive")
	case o.connectTimeout <= 0:
		return errors.New("--http-client-connect-timeout should be positive")
	case o.requestTimeout <= 0:
		return errors.New("--http-client-request-timeout should be positive")
	case o.counted && o.count <= 0:
		return errors.New("--count should be positive")
	}
	if err := consume.OneKind("nsqd-http-address", o.nsqds, o.lookupds); err != nil {
		return err
	}
	for _, addr := range o.nsqds {
		if err := consume.ValidHTTP(addr); err != nil {
			return fmt.Errorf("--nsqd-http-address: %w", err)
		}
	}
	for _, addr := range o.lookupds {
		if err := consume.ValidHTTP(addr); err != nil {
			return fmt.Errorf("--lookupd-http-address: %w", err)
		}
	}
	return nil
}

// report prints a row every interval until ctx ends or all rows are printed. The
// first comes after the first interval, since it shows rates.
func (o *options) report(ctx context.Context, log *log.Logger, stdout io.Writer) error {
	s := &sampler{opts: o, log: log, client: clusterinfo.NewClient(clusterinfo.Options{
		ConnectTimeout: o.connectTimeout, RequestTimeout: o.requestTimeout, UserAgent: app,
	})}
	p := &printer{opts: o, w: stdout}
	before, err := s.sample(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	if err := p.begin(); err != nil {
		return err
	}
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for !o.counted || p.rows < o.count {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := s.sample(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		if err := p.print(now.since(before)); err != nil {
			return err
		}
		before = now
	}
	return nil
}

// ended returns err, or nil if it came of ctx having ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
