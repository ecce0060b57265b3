package nsqadmin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/logline"
)

// Options configure a Server. Each field names its flag in its tag; the
// configuration file's key is the flag with '-' turned into '_' unless the tag
// says otherwise. Names and defaults are stock nsqadmin v1.3.0's, then ours.
// DefaultOptions gives the defaults, Validate says in one sentence what does not
// fit.
type Options struct {
	// Where it listens, and whom it asks.
	HTTPAddress          string        `flag:"http-address" usage:"<addr>:<port> to listen on for HTTP clients"`
	BasePath             string        `flag:"base-path" usage:"path below which everything is served"`
	DevStaticDir         string        `flag:"dev-static-dir" usage:"folder to read the assets from instead of the program (for work on them)"`
	LookupdHTTPAddresses []string      `flag:"lookupd-http-address" cfg:"nsqlookupd_http_addresses" usage:"<addr>:<port>, or a URL, of an nsqlookupd"`
	NSQDHTTPAddresses    []string      `flag:"nsqd-http-address" cfg:"nsqd_http_addresses" usage:"<addr>:<port>, or a URL, of an nsqd; instead of nsqlookupds"`
	PollInterval         time.Duration `flag:"poll-interval" usage:"time between two questions to one daemon; one whose answers cost much is asked less often"`

	ConnectTimeout        time.Duration `flag:"http-client-connect-timeout" usage:"how long to wait for a connection to a daemon"`
	RequestTimeout        time.Duration `flag:"http-client-request-timeout" usage:"how long to wait for the answer of a daemon"`
	TLSInsecureSkipVerify bool          `flag:"http-client-tls-insecure-skip-verify" usage:"accept any certificate of a daemon"`
	ClientTLSRootCAFile   string        `flag:"http-client-tls-root-ca-file" usage:"authorities (PEM) of the daemons' certificates"`
	ClientTLSCert         string        `flag:"http-client-tls-cert" usage:"certificate (PEM) shown to daemons"`
	ClientTLSKey          string        `flag:"http-client-tls-key" usage:"private key (PEM) of --http-client-tls-cert"`

	// Graphs of somebody else's.
	GraphiteURL         string        `flag:"graphite-url" usage:"URL of graphite"`
	ProxyGraphite       bool          `flag:"proxy-graphite" usage:"pass /render on to graphite"`
	StatsdPrefix        string        `flag:"statsd-prefix" usage:"prefix of the keys that nsqds send to statsd; %s stands for the host"`
	StatsdCounterFormat string        `flag:"statsd-counter-format" usage:"what statsd makes of a counter's key; empty: nothing"`
	StatsdGaugeFormat   string        `flag:"statsd-gauge-format" usage:"what statsd makes of a gauge's key; empty: nothing"`
	StatsdInterval      time.Duration `flag:"statsd-interval" usage:"the nsqds' --statsd-interval"`

	// Who may do what.
	AllowConfigFromCIDR string   `flag:"allow-config-from-cidr" usage:"network from which /config may be read and set; empty: from everywhere"`
	ACLHTTPHeader       string   `flag:"acl-http-header" usage:"header in which a trusted proxy names the user"`
	AdminUsers          []string `flag:"admin-user" cfg:"admin_users" usage:"user who may do everything; with none and no --auth-file everybody may"`
	TrustedProxyCIDRs   []string `flag:"acl-trusted-proxy-cidr" usage:"network of proxies whose --acl-http-header is believed (default: 127.0.0.0/8 and ::1/128; with --auth-file: none)"`
	AuthFile            string   `flag:"auth-file" usage:"TOML file of users: [users.NAME] with role (viewer, operator or admin), password (bcrypt) and/or token_sha256; anonymous = ROLE for all others; read again on SIGHUP"`
	TrustedOrigins      []string `flag:"trusted-origin" usage:"<scheme>://<host>[:<port>] of a site whose pages may act here, such as a proxy that changes the Host header"`
	TLSCert             string   `flag:"tls-cert" usage:"certificate (PEM); with it nsqadmin speaks HTTPS"`
	TLSKey              string   `flag:"tls-key" usage:"private key (PEM) of --tls-cert"`
	DisableMessageView  bool     `flag:"disable-message-view" usage:"show nobody the bodies of messages"`

	NotificationHTTPEndpoint string `flag:"notification-http-endpoint" usage:"URL to which each action is POSTed"`

	// Log.
	LogLevel  logline.Level `flag:"log-level" usage:"debug, info, warn, error or fatal"`
	LogPrefix string        `flag:"log-prefix" usage:"log message prefix"`
	LogFormat string        `flag:"log-format" usage:"stock (one line of text) or json"`
	Verbose   bool          `flag:"verbose" usage:"accepted for compatibility; has no effect"`
}

// DefaultOptions returns stock's defaults and ours.
func DefaultOptions() *Options {
	return &Options{
		HTTPAddress:         "0.0.0.0:4171",
		BasePath:            "/",
		PollInterval:        time.Second,
		ConnectTimeout:      2 * time.Second,
		RequestTimeout:      5 * time.Second,
		StatsdPrefix:        "nsq.%s",
		StatsdCounterFormat: "stats.counters.%s.count",
		StatsdGaugeFormat:   "stats.gauges.%s",
		StatsdInterval:      time.Minute,
		AllowConfigFromCIDR: "127.0.0.1/8",
		ACLHTTPHeader:       "X-Forwarded-User",
		LogLevel:            logline.Level(hclog.Info),
		LogPrefix:           "[nsqadmin] ",
		LogFormat:           "stock",
	}
}

// Validate returns the first thing that does not fit, as a sentence that names the
// flag. It brings the base path into its one form: "/", or "/a/b".
//
// Unlike stock it resolves no names: one that cannot be resolved yet is a warning
// of Open, and the page of a daemon that is down.
func (o *Options) Validate() error {
	if len(o.NSQDHTTPAddresses) == 0 && len(o.LookupdHTTPAddresses) == 0 {
		return errors.New("--nsqd-http-address or --lookupd-http-address required") // stock's, as the next
	}
	if len(o.NSQDHTTPAddresses) != 0 && len(o.LookupdHTTPAddresses) != 0 {
		return errors.New("use --nsqd-http-address or --lookupd-http-address not both")
	}
	for _, address := range o.LookupdHTTPAddresses {
		if err := validDaemon(address); err != nil {
			return fmt.Errorf("failed to resolve --lookupd-http-address (%s) - %w", address, err)
		}
	}
	for _, address := range o.NSQDHTTPAddresses {
		if err := validDaemon(address); err != nil {
			return fmt.Errorf("failed to resolve --nsqd-http-address (%s) - %w", address, err)
		}
	}
	if o.PollInterval < 100*time.Millisecond {
		return errors.New("--poll-interval must be at least 100ms")
	}
	if o.ConnectTimeout <= 0 || o.RequestTimeout <= 0 {
		return errors.New("--http-client-connect-timeout and --http-client-request-timeout must be more than 0")
	}
	o.BasePath = path.Clean("/" + o.BasePath)
	if strings.ContainsAny(o.BasePath, "{}*?#%") {
		return fmt.Errorf("--base-path %s must be a plain path", o.BasePath)
	}
	if err := o.validateGraphite(); err != nil {
		return err
	}
	return o.validateAccess()
}

func (o *Options) validateGraphite() error {
	if o.GraphiteURL != "" {
		if u, err := url.Parse(o.GraphiteURL); err != nil {
			return fmt.Errorf("failed to parse --graphite-url (%s) - %w", o.GraphiteURL, err)
		} else if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("--graphite-url %s must begin with http:// or https://", o.GraphiteURL)
		}
	}
	if o.ProxyGraphite && o.GraphiteURL == "" {
		return errors.New("--proxy-graphite needs a --graphite-url")
	}
	if o.StatsdInterval < time.Second {
		return errors.New("--statsd-interval must be at least 1s")
	}
	return nil
}

func (o *Options) validateAccess() error {
	if o.ClientTLSCert != "" && o.ClientTLSKey == "" {
		return errors.New("--http-client-tls-key must be specified with --http-client-tls-cert") // stock's, as the next
	}
	if o.ClientTLSKey != "" && o.ClientTLSCert == "" {
		return errors.New("--http-client-tls-cert must be specified with --http-client-tls-key")
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key are given together or not at all")
	}
	if o.AllowConfigFromCIDR != "" {
		if _, err := netip.ParsePrefix(o.AllowConfigFromCIDR); err != nil {
			return fmt.Errorf("failed to parse --allow-config-from-cidr (%s) - %w", o.AllowConfigFromCIDR, err)
		}
	}
	for _, cidr := range o.TrustedProxyCIDRs {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			return fmt.Errorf("failed to parse --acl-trusted-proxy-cidr (%s) - %w", cidr, err)
		}
	}
	if len(o.AdminUsers) > 0 && o.ACLHTTPHeader == "" && o.AuthFile == "" {
		return errors.New("--admin-user needs an --acl-http-header or an --auth-file to tell users apart")
	}
	if u, err := url.Parse(o.NotificationHTTPEndpoint); o.NotificationHTTPEndpoint != "" && (err != nil || u.Host == "") {
		return fmt.Errorf("--notification-http-endpoint %s must be a URL", o.NotificationHTTPEndpoint)
	}
	return nil
}

// validDaemon says why address is none that a clusterinfo.Client could ask.
func validDaemon(address string) error {
	if strings.Contains(address, "://") {
		u, err := url.Parse(address)
		if err == nil && u.Host == "" {
			err = errors.New("a URL without a host")
		}
		return err
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil && port == "" {
		err = errors.New("missing port in address")
	}
	return err
}
