package nsqd

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOptionsValidate(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Options)
		want string // part of the sentence; empty: valid
	}{
		{"defaults", func(*Options) {}, ""},
		{"highest node id", func(o *Options) { o.NodeID = 1023 }, ""},
		{"node id too high", func(o *Options) { o.NodeID = 1024 }, "--node-id must be [0,1024)"},
		{"negative node id", func(o *Options) { o.NodeID = -1 }, "--node-id must be [0,1024)"},
		{"no TCP", func(o *Options) { o.TCPAddress = "" }, "--tcp-address"},
		{"unix socket", func(o *Options) { o.TCPAddress, o.HTTPAddress = "/run/nsqd.sock", "" }, ""},
		{"lookupds", func(o *Options) { o.LookupdTCPAddresses = []string{"a:4160", "[::1]:4160", ":4160"} }, ""},
		{"lookupd without port", func(o *Options) { o.LookupdTCPAddresses = []string{"a"} }, `--lookupd-tcp-address "a" is not <addr>:<port>`},
		{"lookupd with a huge port", func(o *Options) { o.LookupdTCPAddresses = []string{"a:70000"} }, "--lookupd-tcp-address"},
		{"lookupd with a line end", func(o *Options) { o.LookupdTCPAddresses = []string{"a\n:1"} }, "--lookupd-tcp-address"},
		{"too many lookupds", func(o *Options) { o.LookupdTCPAddresses = slices.Repeat([]string{"a:1"}, 101) }, "the most is 100"},
		{"auth servers", func(o *Options) { o.AuthHTTPAddresses = []string{"a:80", "https://a/auth?x=1"} }, ""},
		{"auth server of another kind", func(o *Options) { o.AuthHTTPAddresses = []string{"ftp://a"} }, "--auth-http-address"},
		{"auth method", func(o *Options) { o.AuthHTTPMethod = "POST" }, ""},
		{"bad auth method", func(o *Options) { o.AuthHTTPMethod = "put" }, "--auth-http-request-method"},
		{"no network", func(o *Options) { o.AllowConfigFromCIDR = "" }, ""},
		{"bad network", func(o *Options) { o.AllowConfigFromCIDR = "127.0.0.1" }, "--allow-config-from-cidr"},
		{"no memory queue", func(o *Options) { o.MemQueueSize = 0 }, ""},
		{"negative memory queue", func(o *Options) { o.MemQueueSize = -1 }, "--mem-queue-size must be from 0"},
		{"no output buffering", func(o *Options) { o.OutputBufferTimeout = 0 }, "--output-buffer-timeout"},
		{"no statsd interval", func(o *Options) { o.StatsdInterval = 0 }, "--statsd-interval"},
		{"statsd", func(o *Options) { o.StatsdAddress = "localhost:8125" }, ""},
		{"bad statsd", func(o *Options) { o.StatsdAddress = "localhost" }, "--statsd-address"},
		{"deflate level", func(o *Options) { o.MaxDeflateLevel = 10 }, "--max-deflate-level must be [1,9]"},
		{"TLS without certificate", func(o *Options) { o.TLSRequired = tlsRequired }, "cannot require TLS client connections without TLS key and cert"},
		{"policy without certificate", func(o *Options) { o.TLSClientAuthPolicy = "require" }, "cannot require TLS client connections without TLS key and cert"},
		{"certificate without key", func(o *Options) { o.TLSCert = "x" }, "--tls-key"},
		{"unknown policy", func(o *Options) { o.TLSClientAuthPolicy = "ask" }, "--tls-client-auth-policy"},
		{"unknown TLS version", func(o *Options) { o.TLSMinVersion = 7 }, "--tls-min-version"},
		{"percentiles", func(o *Options) { o.E2EPercentiles = Percentiles{1, 0.5} }, ""},
		{"percentile 0", func(o *Options) { o.E2EPercentiles = Percentiles{0} }, "invalid E2E processing latency percentile: 0"},
		{"percentile over 1", func(o *Options) { o.E2EPercentiles = Percentiles{1.1} }, "invalid E2E processing latency percentile: 1.1"},
		{"percentile that is none", func(o *Options) { o.E2EPercentiles = Percentiles{math.NaN()} }, "invalid E2E"},
		{"experiment", func(o *Options) { o.EnableExperiments = []string{experimentTopology} }, ""},
		{"unknown experiment", func(o *Options) { o.EnableExperiments = []string{"x"} }, "--enable-experiment"},
		{"long zone", func(o *Options) { o.TopologyZone = strings.Repeat("z", 256) }, "--topology-zone"},
		{"zone with a line end", func(o *Options) { o.TopologyZone = "z\n" }, "--topology-zone"},
		{"drain", func(o *Options) { o.SigtermMode = "drain" }, ""},
		{"unknown end", func(o *Options) { o.SigtermMode = "now" }, "--sigterm-mode"},
		{"unknown format", func(o *Options) { o.LogFormat = "xml" }, "--log-format"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := DefaultOptions()
			tt.set(o)
			err := o.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want valid", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

// noEffect are the numbers that are read for stock's sake and mean nothing.
var noEffect = []string{"queue-scan-selection-count", "queue-scan-worker-pool-max"}

func TestEveryNumberHasBounds(t *testing.T) {
	fields := reflect.TypeFor[Options]()
	for i := range fields.NumField() {
		field := fields.Field(i)
		name := field.Tag.Get("flag")
		if k := field.Type.Kind(); k != reflect.Int && k != reflect.Int64 || name == "tls-required" || name == "log-level" || slices.Contains(noEffect, name) {
			continue
		}
		for _, n := range []int64{math.MinInt64, -1, math.MaxInt64} {
			o := DefaultOptions()
			reflect.ValueOf(o).Elem().Field(i).SetInt(n)
			if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "--"+name+" ") {
				t.Errorf("%s=%d: got %v, want a sentence that names the flag", name, n, err)
			}
		}
	}
}

func TestValidateFillsIn(t *testing.T) {
	o := DefaultOptions()
	o.MaxReqTimeout, o.TLSCert, o.TLSKey, o.TLSClientAuthPolicy = 2*time.Hour, "c", "k", "require"
	o.TLSMinVersion, o.BroadcastAddress, o.E2EPercentiles = 0, "", Percentiles{0.5, 0.99}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	if o.MaxDeferTimeout != 2*time.Hour {
		t.Errorf("longest deferral %v, want that of a requeue", o.MaxDeferTimeout)
	}
	if o.TLSRequired != tlsRequired || o.TLSMinVersion != tls12 {
		t.Errorf("TLS required %v from %v, want true from tls1.2", o.TLSRequired, o.TLSMinVersion)
	}
	if o.BroadcastAddress == "" {
		t.Error("no address to broadcast")
	}
	if !slices.Equal(o.E2EPercentiles, Percentiles{0.99, 0.5}) {
		t.Errorf("percentiles %v, want them from high to low", o.E2EPercentiles)
	}
	o = DefaultOptions()
	o.TLSCert, o.TLSKey, o.TLSClientAuthPolicy, o.TLSRequired = "c", "k", "require-verify", tlsRequiredTCPOnly
	if err := o.Validate(); err != nil || o.TLSRequired != tlsRequiredTCPOnly {
		t.Errorf("TLS required %v, %v; a policy changed what was set", o.TLSRequired, err)
	}
}

func TestTexts(t *testing.T) {
	tests := []struct {
		into interface{ UnmarshalText([]byte) error }
		text string
		want string // String afterwards; empty: refused
	}{
		{new(TLSRequired), "true", "true"},
		{new(TLSRequired), "1", "true"},
		{new(TLSRequired), "FALSE", "false"},
		{new(TLSRequired), "TCP-https", "tcp-https"},
		{new(TLSRequired), "https", ""},
		{new(TLSVersion), "tls1.0", "tls1.0"},
		{new(TLSVersion), "TLS1.3", "tls1.3"},
		{new(TLSVersion), "", "0"},
		{new(TLSVersion), "ssl3.0", ""},
		{new(Percentiles), "0.99, 0.5", "0.99,0.5"},
		{new(Percentiles), "0.99,,", "0.99"},
		{new(Percentiles), "x", ""},
	}
	for _, tt := range tests {
		err := tt.into.UnmarshalText([]byte(tt.text))
		got := ""
		if err == nil {
			got = reflect.ValueOf(tt.into).Elem().Interface().(interface{ String() string }).String()
		}
		if got != tt.want {
			t.Errorf("%T %q: got %q, %v, want %q", tt.into, tt.text, got, err, tt.want)
		}
	}
}

// What passed Validate stays as it is when it is validated again, and the texts are
// read without harm.
func FuzzOptions(f *testing.F) {
	f.Add("a:1", "true", "tls1.2", "0.5", int64(1), int64(time.Second))
	f.Add("[::1]:x", "tcp-https", "", "NaN,1e-400", int64(-1), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, text, required, version, percentiles string, n, d int64) {
		o := DefaultOptions()
		if o.TLSRequired.UnmarshalText([]byte(required)) != nil || o.TLSMinVersion.UnmarshalText([]byte(version)) != nil ||
			o.E2EPercentiles.UnmarshalText([]byte(percentiles)) != nil {
			return
		}
		o.LookupdTCPAddresses, o.AuthHTTPAddresses, o.StatsdAddress = []string{text}, []string{text}, text
		o.TLSCert, o.TLSKey, o.MemQueueSize, o.SyncTimeout, o.MaxDeferTimeout = "c", "k", n, time.Duration(d), time.Duration(d)
		if o.Validate() != nil {
			return
		}
		once := *o
		once.E2EPercentiles = slices.Clone(o.E2EPercentiles)
		if err := o.Validate(); err != nil || !reflect.DeepEqual(&once, o) {
			t.Errorf("validated once %+v, twice %+v, %v", once, o, err)
		}
	})
}
