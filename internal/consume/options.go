package consume

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nsqio/go-nsq"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/command"
	"nsqraft/internal/version"
)

// defaultMaxInFlight is stock's for all utilities.
const defaultMaxInFlight = 200

// lookupTimeout bounds one question to an nsqlookupd.
const lookupTimeout = 5 * time.Second

// Options say what to consume from, and how.
type Options struct {
	NSQDs    command.Strings // --nsqd-tcp-address: either these
	Lookupds command.Strings // --lookupd-http-address: or these
	Config   *nsq.Config     // --consumer-opt, --max-in-flight

	// Of questions to nsqlookupds; 0: lookupd_poll_timeout, but at most 5 s.
	ConnectTimeout, RequestTimeout time.Duration

	log    *log.Logger
	once   sync.Once
	client *clusterinfo.Client // made by once
}

// NewOptions returns the Options of the utility called app, which logs to log.
func NewOptions(app string, log *log.Logger) *Options {
	o := &Options{Config: NewConfig(app), log: log}
	o.Config.MaxInFlight = defaultMaxInFlight
	return o
}

// NewConfig returns go-nsq's defaults with the user agent of app.
func NewConfig(app string) *nsq.Config {
	c := nsq.NewConfig()
	c.UserAgent = fmt.Sprintf("%s/%s go-nsq/%s", app, version.Version, nsq.VERSION)
	return c
}

// Register adds the flags to fs.
func (o *Options) Register(fs *flag.FlagSet) {
	fs.Var(&o.NSQDs, "nsqd-tcp-address", "`host:port` (TCP) of an nsqd to consume from (may be given several times)")
	fs.Var(&o.Lookupds, "lookupd-http-address", "`host:port` (HTTP) of an nsqlookupd that lists the nsqds to consume from (may be given several times)")
	fs.Var(&nsq.ConfigFlag{Config: o.Config}, "consumer-opt", "`option,value` of the go-nsq consumer, such as max_attempts,10 (may be given several times)")
	fs.IntVar(&o.Config.MaxInFlight, "max-in-flight", o.Config.MaxInFlight, "most messages of a topic that are in flight at one time")
}

// Validate says in one sentence what is wrong with the options. It is to be called
// before Start.
func (o *Options) Validate() error {
	if err := OneKind("nsqd-tcp-address", o.NSQDs, o.Lookupds); err != nil {
		return err
	}
	for _, addr := range o.NSQDs {
		if err := ValidTCP(addr); err != nil {
			return fmt.Errorf("--nsqd-tcp-address: %w", err)
		}
	}
	for i, addr := range o.Lookupds {
		if err := ValidHTTP(addr); err != nil {
			return fmt.Errorf("--lookupd-http-address: %w", err)
		}
		// For go-nsq that was the URL to ask. It may be given still.
		o.Lookupds[i] = strings.TrimSuffix(addr, "/lookup")
	}
	return o.Config.Validate()
}

// OneKind demands nsqds, given by the flag called nsqdFlag, or nsqlookupds, not both.
func OneKind(nsqdFlag string, nsqds, lookupds []string) error {
	switch {
	case len(nsqds) == 0 && len(lookupds) == 0:
		return fmt.Errorf("--%s or --lookupd-http-address required", nsqdFlag)
	case len(nsqds) > 0 && len(lookupds) > 0:
		return fmt.Errorf("use --%s or --lookupd-http-address, not both", nsqdFlag)
	}
	return nil
}

// ValidTCP says what is wrong with a host:port.
func ValidTCP(addr string) error {
	if strings.Contains(addr, "://") {
		return fmt.Errorf("%q must be host:port, without a scheme", addr)
	}
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return fmt.Errorf("%q must be host:port", addr)
	}
	return nil
}

// ValidHTTP says what is wrong with a host:port or an http or https URL.
func ValidHTTP(addr string) error {
	if !strings.Contains(addr, "://") {
		return ValidTCP(addr)
	}
	u, err := url.Parse(addr)
	switch {
	case err != nil:
		return err
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return fmt.Errorf("%q must be host:port or an http or https URL", addr)
	}
	return nil
}

// Client returns the clusterinfo.Client that asks the nsqlookupds, always the same.
func (o *Options) Client() *clusterinfo.Client {
	o.once.Do(func() {
		options := clusterinfo.Options{
			ConnectTimeout: cmp.Or(o.ConnectTimeout, min(o.Config.LookupdPollTimeout, lookupTimeout)),
			RequestTimeout: cmp.Or(o.RequestTimeout, min(o.Config.LookupdPollTimeout, lookupTimeout)),
			UserAgent:      o.Config.UserAgent,
		}
		if o.Config.AuthSecret != "" && o.Config.LookupdAuthorization { // as go-nsq
			options.Authorization = "Bearer " + o.Config.AuthSecret
		}
		o.client = clusterinfo.NewClient(options)
	})
	return o.client
}

var errNoNSQD = errors.New("none of the nsqds can be connected to")
