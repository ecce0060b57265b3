package nsqadmin

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(o *Options)
		want   string // in the error; "": none
	}{
		{"the defaults with a lookupd", func(o *Options) {}, ""},
		{"nobody to ask", func(o *Options) { o.LookupdHTTPAddresses = nil }, "--nsqd-http-address or --lookupd-http-address required"},
		{"both", func(o *Options) { o.NSQDHTTPAddresses = []string{"a:1"} }, "not both"},
		{"a name that cannot be resolved", func(o *Options) { o.LookupdHTTPAddresses = []string{"does-not-exist.invalid:4161"} }, ""},
		{"a URL", func(o *Options) { o.LookupdHTTPAddresses = []string{"https://a.example/lookupd"} }, ""},
		{"no port", func(o *Options) { o.LookupdHTTPAddresses = []string{"localhost"} }, "failed to resolve --lookupd-http-address (localhost) - "},
		{"an nsqd without a port", func(o *Options) { o.LookupdHTTPAddresses, o.NSQDHTTPAddresses = nil, []string{"localhost:"} }, "--nsqd-http-address (localhost:)"},
		{"a URL of nowhere", func(o *Options) { o.LookupdHTTPAddresses = []string{"http:///x"} }, "without a host"},
		{"a hasty poller", func(o *Options) { o.PollInterval = time.Millisecond }, "--poll-interval"},
		{"no time to ask", func(o *Options) { o.RequestTimeout = 0 }, "--http-client-request-timeout"},
		{"half a client certificate", func(o *Options) { o.ClientTLSCert = "c" }, "--http-client-tls-key must be specified with --http-client-tls-cert"},
		{"the other half", func(o *Options) { o.ClientTLSKey = "k" }, "--http-client-tls-cert must be specified with --http-client-tls-key"},
		{"half a certificate", func(o *Options) { o.TLSKey = "k" }, "--tls-cert and --tls-key"},
		{"a network that is none", func(o *Options) { o.AllowConfigFromCIDR = "here" }, "failed to parse --allow-config-from-cidr (here) - "},
		{"from everywhere", func(o *Options) { o.AllowConfigFromCIDR = "" }, ""},
		{"a proxy that is none", func(o *Options) { o.TrustedProxyCIDRs = []string{"10.0.0.1"} }, "--acl-trusted-proxy-cidr (10.0.0.1)"},
		{"admins nobody can be", func(o *Options) { o.AdminUsers, o.ACLHTTPHeader = []string{"a"}, "" }, "--admin-user"},
		{"graphite over what", func(o *Options) { o.GraphiteURL = "graphite:80" }, "--graphite-url"},
		{"a proxy to nowhere", func(o *Options) { o.ProxyGraphite = true }, "--proxy-graphite"},
		{"statsd without pause", func(o *Options) { o.StatsdInterval = 0 }, "--statsd-interval"},
		{"an endpoint without a host", func(o *Options) { o.NotificationHTTPEndpoint = "hook" }, "--notification-http-endpoint"},
		{"a base path with a pattern", func(o *Options) { o.BasePath = "/{x}" }, "--base-path"},
	}
	for _, tt := range tests {
		o := DefaultOptions()
		o.LookupdHTTPAddresses = []string{"127.0.0.1:4161"}
		tt.change(o)
		err := o.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestBasePathHasOneForm(t *testing.T) {
	for given, want := range map[string]string{"": "/", "/": "/", "nsq": "/nsq", "/nsq/": "/nsq", "//a/../b/c": "/b/c"} {
		o := DefaultOptions()
		o.LookupdHTTPAddresses = []string{"127.0.0.1:4161"}
		o.BasePath = given
		if err := o.Validate(); err != nil || o.BasePath != want {
			t.Errorf("--base-path %q becomes %q, want %q; error %v", given, o.BasePath, want, err)
		}
	}
}
