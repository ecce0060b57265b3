// Command nsq_to_http sends each message of a topic to an HTTP server: as the body of
// a POST, or as part of the address of a GET.
//
// A message is finished once a server has taken it, and comes again later if none has;
// after max_attempts (--consumer-opt, 5 unless set, 0 for no limit) it is dropped, as
// by every consumer made with go-nsq. Flags and behaviour are stock's.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"nsqraft/internal/command"
	"nsqraft/internal/consume"
	"nsqraft/internal/forward"
	"nsqraft/internal/version"
)

const (
	app                = "nsq_to_http"
	defaultContentType = "application/octet-stream"
)

func main() { command.Main(run) }

type options struct {
	source         *consume.Options
	forward        forward.Options
	topic, channel string
	publishers     int
	sample         float64
	get, post      command.Strings
	headerFlags    command.Strings
	contentType    string
	connectTimeout time.Duration
	requestTimeout time.Duration

	header http.Header // made of headerFlags and contentType by validate
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
	pool := o.forward.Open(append(o.get, o.post...), log)
	defer pool.Close()
	client := o.client()
	defer client.CloseIdleConnections()
	c, err := o.source.Start(o.topic, o.channel, &sender{opts: &o, pool: pool, client: client}, o.publishers)
	if err != nil {
		log.Printf("ERROR: %v", err)
		return 1
	}
	<-ctx.Done()
	c.Stop()
	return 0
}

func (o *options) register(f *command.Flags) {
	o.source.Register(f.FlagSet)
	o.forward.Register(f.FlagSet)
	f.StringVar(&o.topic, "topic", "", "topic to consume")
	f.StringVar(&o.channel, "channel", app, "channel to consume")
	f.IntVar(&o.publishers, "n", 100, "most requests at one time")
	f.Float64Var(&o.sample, "sample", 1, "share of the messages to send, 0 to 1; the others are finished without being sent")
	f.Var(&o.get, "get", "`URL` to GET, in which %s stands for the message (may be given several times)")
	f.Var(&o.post, "post", "`URL` to POST messages to (may be given several times)")
	f.Var(&o.headerFlags, "header", "`name: value` of a header to send (may be given several times)")
	f.StringVar(&o.contentType, "content-type", defaultContentType, "Content-Type of POST requests")
	f.DurationVar(&o.connectTimeout, "http-client-connect-timeout", 2*time.Second, "longest time to connect to an HTTP server")
	f.DurationVar(&o.requestTimeout, "http-client-request-timeout", 20*time.Second, "longest time of an HTTP request, its answer included")
}

// validate also makes the header.
func (o *options) validate() error {
	if err := o.source.Validate(); err != nil {
		return err
	}
	if err := o.forward.Validate(); err != nil {
		return err
	}
	switch {
	case o.topic == "" || o.channel == "":
		return errors.New("--topic and --channel are required")
	case o.publishers < 1:
		return errors.New("-n must be at least 1")
	case !(o.sample >= 0 && o.sample <= 1): // so that NaN is refused too
		return errors.New("--sample must be between 0.0 and 1.0")
	case o.connectTimeout <= 0:
		return errors.New("--http-client-connect-timeout should be positive")
	case o.requestTimeout <= 0:
		return errors.New("--http-client-request-timeout should be positive")
	case len(o.get) == 0 && len(o.post) == 0:
		return errors.New("--get or --post required")
	case len(o.get) > 0 && len(o.post) > 0:
		return errors.New("use --get or --post, not both")
	case o.contentType == "":
		return errors.New("--content-type requires a value")
	case o.contentType != defaultContentType && len(o.post) == 0:
		return errors.New("--content-type is only used with --post")
	}
	for _, addr := range o.get {
		if strings.Count(addr, "%s") != 1 {
			return fmt.Errorf("--get %q must have %%s once, in place of the message", addr)
		}
		if err := validURL(fill(addr, "")); err != nil {
			return fmt.Errorf("--get: %w", err)
		}
	}
	for _, addr := range o.post {
		if err := validURL(addr); err != nil {
			return fmt.Errorf("--post: %w", err)
		}
	}
	return o.makeHeader()
}

func validURL(addr string) error {
	u, err := url.Parse(addr)
	if err != nil {
		return err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is no http or https URL", addr)
	}
	return nil
}

func (o *options) makeHeader() error {
	o.header = make(http.Header)
	o.header.Set("User-Agent", app+" v"+version.Version)
	if len(o.post) > 0 {
		o.header.Set("Content-Type", o.contentType)
	}
	for _, h := range o.headerFlags {
		name, value, _ := strings.Cut(h, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if value == "" || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("--header %q is not of the form name: value", h)
		}
		o.header.Set(name, value)
	}
	return nil
}
