package nsqd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TLSRequired says which clients must use TLS: --tls-required.
type TLSRequired int

const (
	tlsNotRequired     TLSRequired = iota
	tlsRequiredTCPOnly             // tcp-https: plain HTTP is still answered
	tlsRequired
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *TLSRequired) UnmarshalText(text []byte) error {
	s := strings.ToLower(string(text))
	if s == "tcp-https" {
		*r = tlsRequiredTCPOnly
		return nil
	}
	required, err := strconv.ParseBool(s)
	if err != nil {
		return fmt.Errorf("%q is not true, false or tcp-https", text)
	}
	*r = tlsNotRequired
	if required {
		*r = tlsRequired
	}
	return nil
}

// String returns the text of r.
func (r TLSRequired) String() string {
	switch r {
	case tlsNotRequired:
		return "false"
	case tlsRequiredTCPOnly:
		return "tcp-https"
	default:
		return "true"
	}
}

// IsBoolFlag lets the flag stand without a value, for true.
func (r TLSRequired) IsBoolFlag() bool { return true }

// TLSVersion is a version as crypto/tls numbers it; 0 is the default.
type TLSVersion uint16

const tls12 = TLSVersion(tls.VersionTLS12)

// tlsVersions are in order of their numbers, which are consecutive.
var tlsVersions = []string{"tls1.0", "tls1.1", "tls1.2", "tls1.3"}

// UnmarshalText implements encoding.TextUnmarshaler. An empty text is the default,
// as in stock.
func (v *TLSVersion) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*v = 0
		return nil
	}
	i := slices.Index(tlsVersions, strings.ToLower(string(text)))
	if i < 0 {
		return fmt.Errorf("%q is not a TLS version (%s)", text, strings.Join(tlsVersions, ", "))
	}
	*v = TLSVersion(tls.VersionTLS10 + i)
	return nil
}

// String returns the text of v.
func (v TLSVersion) String() string {
	if i := int(v) - tls.VersionTLS10; i >= 0 && i < len(tlsVersions) {
		return tlsVersions[i]
	}
	return strconv.Itoa(int(v))
}

// Percentiles are the quantiles of --e2e-processing-latency-percentile, from high to
// low once they are validated.
type Percentiles []float64

// UnmarshalText implements encoding.TextUnmarshaler for numbers with commas.
func (p *Percentiles) UnmarshalText(text []byte) error {
	var all Percentiles
	for _, s := range strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' }) {
		q, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", s)
		}
		all = append(all, q)
	}
	*p = all
	return nil
}

// String returns the text of p.
func (p Percentiles) String() string {
	texts := make([]string, len(p))
	for i, q := range p {
		texts[i] = strconv.FormatFloat(q, 'g', -1, 64)
	}
	return strings.Join(texts, ",")
}

const (
	// year stands for ever, and is far from an overflow of a time.
	year = 365 * 24 * time.Hour
	// maxSize bounds bodies and buffers: with what goes around them they still
	// fit into the protocol's int32.
	maxSize = 1 << 30
	// maxName bounds names told to nsqlookupd, as our nsqlookupd does.
	maxName = 255
	// maxPercentiles bounds what is computed and sent with every /stats.
	maxPercentiles = 100
	// maxLookupds bounds connections and goroutines that PUT /config can ask for.
	maxLookupds = 100
)

// Validate says in one sentence what does not fit, and fills in what follows from
// other options: the longest deferral, TLS that a policy for client certificates
// implies, the host's name where the address to broadcast is empty. It does no other
// I/O: whether files are there is seen when they are opened.
func (o *Options) Validate() error {
	for _, check := range []func() error{
		o.validateNumbers, o.validateDurations, o.validateAddresses, o.validateWords, o.validateTLS, o.validatePercentiles,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	if o.MaxDeferTimeout == 0 {
		o.MaxDeferTimeout = o.MaxReqTimeout
	}
	return nil
}

func (o *Options) validateNumbers() error {
	// Stock's sentences.
	if o.NodeID < 0 || o.NodeID >= 1024 {
		return errors.New("--node-id must be [0,1024)")
	}
	if o.MaxDeflateLevel < 1 || o.MaxDeflateLevel > 9 {
		return errors.New("--max-deflate-level must be [1,9]")
	}
	for _, n := range []struct {
		flag             string
		value, low, high int64
	}{
		{"broadcast-tcp-port", int64(o.BroadcastTCPPort), 0, math.MaxUint16},
		{"broadcast-http-port", int64(o.BroadcastHTTPPort), 0, math.MaxUint16},
		{"mem-queue-size", o.MemQueueSize, 0, 1 << 30},
		{"max-bytes-per-file", o.MaxBytesPerFile, 1, 1 << 40},
		{"sync-every", o.SyncEvery, 1, math.MaxInt32},
		{"max-msg-size", o.MaxMsgSize, 1, maxSize},
		{"max-body-size", o.MaxBodySize, 1, math.MaxInt32},
		{"max-rdy-count", o.MaxRdyCount, 1, math.MaxInt32},
		{"max-output-buffer-size", o.MaxOutputBufferSize, 64, maxSize},
		{"max-channel-consumers", int64(o.MaxChannelConsumers), 0, math.MaxInt32},
		{"max-connections", int64(o.MaxConnections), 1, 1 << 24},
		{"statsd-udp-packet-size", int64(o.StatsdUDPPacketSize), 64, 65507},
	} {
		if n.value < n.low || n.value > n.high {
			return fmt.Errorf("--%s must be from %d to %d, not %d", n.flag, n.low, n.high, n.value)
		}
	}
	return nil
}

func (o *Options) validateDurations() error {
	for _, d := range []struct {
		flag             string
		value, low, high time.Duration
	}{
		{"http-client-connect-timeout", o.HTTPConnectTimeout, time.Millisecond, time.Hour},
		{"http-client-request-timeout", o.HTTPRequestTimeout, time.Millisecond, time.Hour},
		{"sync-timeout", o.SyncTimeout, time.Millisecond, 24 * time.Hour},
		{"msg-timeout", o.MsgTimeout, time.Millisecond, year},
		{"max-msg-timeout", o.MaxMsgTimeout, time.Millisecond, year},
		{"max-req-timeout", o.MaxReqTimeout, 0, year},
		{"max-defer-timeout", o.MaxDeferTimeout, 0, year},
		{"client-timeout", o.ClientTimeout, 10 * time.Millisecond, year},
		{"max-heartbeat-interval", o.MaxHeartbeatInterval, time.Millisecond, year},
		{"max-output-buffer-timeout", o.MaxOutputBufferTimeout, time.Millisecond, time.Hour},
		{"min-output-buffer-timeout", o.MinOutputBufferTimeout, 0, time.Hour},
		{"output-buffer-timeout", o.OutputBufferTimeout, 100 * time.Microsecond, time.Hour},
		{"statsd-interval", o.StatsdInterval, 100 * time.Millisecond, 24 * time.Hour},
		{"e2e-processing-latency-window-time", o.E2EWindow, 100 * time.Millisecond, 24 * time.Hour},
		{"drain-timeout", o.DrainTimeout, 0, year},
	} {
		if d.value < d.low || d.value > d.high {
			return fmt.Errorf("--%s must be from %v to %v, not %v", d.flag, d.low, d.high, d.value)
		}
	}
	return nil
}

func (o *Options) validateAddresses() error {
	if o.TCPAddress == "" {
		return errors.New("--tcp-address must not be empty")
	}
	if o.HTTPSAddress != "" && o.TLSCert != "" {
		if err := validHostPort(o.HTTPSAddress); err != nil {
			return fmt.Errorf("--https-address %w", err)
		}
	}
	if o.BroadcastAddress == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("--broadcast-address is needed, the host does not know its name: %w", err)
		}
		o.BroadcastAddress = host
	}
	if err := validLookupds(o.LookupdTCPAddresses); err != nil {
		return fmt.Errorf("--lookupd-tcp-address %w", err)
	}
	for _, addr := range o.AuthHTTPAddresses {
		if err := validEndpoint(addr); err != nil {
			return fmt.Errorf("--auth-http-address %w", err)
		}
	}
	if o.StatsdAddress != "" {
		if err := validHostPort(o.StatsdAddress); err != nil {
			return fmt.Errorf("--statsd-address %w", err)
		}
	}
	if o.AllowConfigFromCIDR != "" {
		if _, _, err := net.ParseCIDR(o.AllowConfigFromCIDR); err != nil {
			return fmt.Errorf("--allow-config-from-cidr %q is not a network such as 127.0.0.1/8", o.AllowConfigFromCIDR)
		}
	}
	return nil
}

// validLookupds returns what is wrong with a list of nsqlookupds to register with.
func validLookupds(addrs []string) error {
	if len(addrs) > maxLookupds {
		return fmt.Errorf("is given %d times, the most is %d", len(addrs), maxLookupds)
	}
	for _, addr := range addrs {
		if err := validHostPort(addr); err != nil {
			return err
		}
	}
	return nil
}

func validHostPort(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && port != "" && len(host) <= maxName && strings.IndexFunc(addr, unprintable) < 0 {
		if _, err := net.LookupPort("tcp", port); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%q is not <addr>:<port>", addr)
}

func unprintable(r rune) bool { return r <= ' ' || r == 0x7f }

func validEndpoint(addr string) error {
	if !strings.Contains(addr, "://") {
		return validHostPort(addr)
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is neither <addr>:<port> nor an http or https URL", addr)
	}
	return nil
}

func (o *Options) validateWords() error {
	for _, s := range []struct{ flag, value string }{
		{"broadcast-address", o.BroadcastAddress},
		{"topology-zone", o.TopologyZone},
		{"topology-region", o.TopologyRegion},
		{"statsd-prefix", o.StatsdPrefix},
	} {
		if len(s.value) > maxName {
			return fmt.Errorf("--%s has %d bytes, the most is %d", s.flag, len(s.value), maxName)
		}
		if strings.IndexFunc(s.value, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
			return fmt.Errorf("--%s %q holds a control character", s.flag, s.value)
		}
	}
	for _, e := range o.EnableExperiments {
		if e != experimentTopology {
			return fmt.Errorf("--enable-experiment %q is not known, there is %s", e, experimentTopology)
		}
	}
	o.AuthHTTPMethod = strings.ToLower(o.AuthHTTPMethod)
	if o.AuthHTTPMethod != "get" && o.AuthHTTPMethod != "post" {
		return fmt.Errorf("--auth-http-request-method must be get or post, not %q", o.AuthHTTPMethod)
	}
	if o.LogFormat != "" && o.LogFormat != "stock" && o.LogFormat != "json" {
		return fmt.Errorf("--log-format must be stock or json, not %q", o.LogFormat)
	}
	if o.SigtermMode != "shutdown" && o.SigtermMode != "drain" {
		return fmt.Errorf("--sigterm-mode must be shutdown or drain, not %q", o.SigtermMode)
	}
	return nil
}

func (o *Options) validateTLS() error {
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key are given together or not at all")
	}
	switch o.TLSClientAuthPolicy {
	case "":
	case "require", "require-verify":
		if o.TLSRequired == tlsNotRequired {
			o.TLSRequired = tlsRequired
		}
	default:
		return fmt.Errorf("--tls-client-auth-policy must be require, require-verify or empty, not %q", o.TLSClientAuthPolicy)
	}
	if o.TLSMinVersion == 0 {
		o.TLSMinVersion = tls12
	}
	if o.TLSMinVersion < tls.VersionTLS10 || o.TLSMinVersion > tls.VersionTLS13 {
		return fmt.Errorf("--tls-min-version must be one of %s", strings.Join(tlsVersions, ", "))
	}
	if o.TLSRequired != tlsNotRequired && o.TLSCert == "" {
		return errors.New("cannot require TLS client connections without TLS key and cert") // stock's
	}
	return nil
}

func (o *Options) validatePercentiles() error {
	if len(o.E2EPercentiles) > maxPercentiles {
		return fmt.Errorf("--e2e-processing-latency-percentile is given %d times, the most is %d", len(o.E2EPercentiles), maxPercentiles)
	}
	for _, q := range o.E2EPercentiles {
		if !(q > 0 && q <= 1) { // NaN too
			return fmt.Errorf("invalid E2E processing latency percentile: %v", q) // stock's
		}
	}
	// From high to low, as stock lists them.
	o.E2EPercentiles = slices.Clone(o.E2EPercentiles)
	slices.Sort(o.E2EPercentiles)
	slices.Reverse(o.E2EPercentiles)
	return nil
}
