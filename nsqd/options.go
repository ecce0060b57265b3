package nsqd

import (
	"crypto/md5"
	"hash/crc32"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/logline"
)

// Options configure a Server. Each field names its flag in its tag; the
// configuration file's key is the flag with '-' turned into '_' unless the tag
// says otherwise. Names, units and defaults are stock nsqd v1.3.0's, and those of
// what it documents for later. DefaultOptions gives the defaults, Validate says in
// one sentence what does not fit.
type Options struct {
	// Who and where.
	NodeID              int64         `flag:"node-id" cfg:"id" usage:"unique part of message ids, in [0,1024) (default: from a hash of the OS hostname)"`
	WorkerID            bool          `flag:"worker-id" usage:"accepted for compatibility; has no effect, use --node-id"`
	TCPAddress          string        `flag:"tcp-address" usage:"<addr>:<port>, or the path of a unix socket, to listen on for TCP clients"`
	HTTPAddress         string        `flag:"http-address" usage:"<addr>:<port>, or the path of a unix socket, to listen on for HTTP clients; empty: no HTTP"`
	HTTPSAddress        string        `flag:"https-address" usage:"<addr>:<port> to listen on for HTTPS clients, with --tls-cert and --tls-key"`
	BroadcastAddress    string        `flag:"broadcast-address" usage:"address told to nsqlookupd (default: the OS hostname)"`
	BroadcastTCPPort    int           `flag:"broadcast-tcp-port" usage:"TCP port told to nsqlookupd; 0: the port listened on"`
	BroadcastHTTPPort   int           `flag:"broadcast-http-port" usage:"HTTP port told to nsqlookupd; 0: the port listened on"`
	LookupdTCPAddresses []string      `flag:"lookupd-tcp-address" cfg:"nsqlookupd_tcp_addresses" usage:"<addr>:<port> of an nsqlookupd to register with"`
	TopologyZone        string        `flag:"topology-zone" usage:"zone of this nsqd, for zone-aware consumers"`
	TopologyRegion      string        `flag:"topology-region" usage:"region of this nsqd, for zone-aware consumers"`
	EnableExperiments   []string      `flag:"enable-experiment" cfg:"enable_experiment" usage:"experiment to switch on: topology-aware-consumption"`
	AuthHTTPAddresses   []string      `flag:"auth-http-address" cfg:"auth_http_addresses" usage:"<addr>:<port>, or a URL, of an auth server"`
	AuthHTTPMethod      string        `flag:"auth-http-request-method" usage:"method of requests to the auth server: get or post"`
	HTTPConnectTimeout  time.Duration `flag:"http-client-connect-timeout" usage:"how long to wait for a connection to an auth server or nsqlookupd"`
	HTTPRequestTimeout  time.Duration `flag:"http-client-request-timeout" usage:"how long to wait for the answer of an auth server or nsqlookupd"`
	AllowConfigFromCIDR string        `flag:"allow-config-from-cidr" usage:"network from which PUT /config is allowed; empty: from nowhere"`

	// Queues and disk.
	DataPath        string        `flag:"data-path" usage:"folder of messages on disk and of nsqd.dat (default: the working directory)"`
	MemQueueSize    int64         `flag:"mem-queue-size" usage:"messages kept in memory per topic and per channel; 0: all go to disk"`
	MaxBytesPerFile int64         `flag:"max-bytes-per-file" usage:"bytes of a file on disk before the next is begun"`
	SyncEvery       int64         `flag:"sync-every" usage:"messages written per fsync; 1: no publisher is answered before its messages are on disk"`
	SyncTimeout     time.Duration `flag:"sync-timeout" usage:"longest time between a write and its fsync"`

	// Messages and commands.
	MsgTimeout      time.Duration `flag:"msg-timeout" usage:"how long a consumer may take to finish a message, unless it asks otherwise"`
	MaxMsgTimeout   time.Duration `flag:"max-msg-timeout" usage:"longest time a consumer may take to finish a message"`
	MaxMsgSize      int64         `flag:"max-msg-size" usage:"largest body of a message, in bytes"`
	MaxBodySize     int64         `flag:"max-body-size" usage:"largest body of a command, in bytes"`
	MaxReqTimeout   time.Duration `flag:"max-req-timeout" usage:"longest delay of a requeued message"`
	MaxDeferTimeout time.Duration `flag:"max-defer-timeout" usage:"longest delay of a deferred publish; 0: --max-req-timeout"`
	ClientTimeout   time.Duration `flag:"client-timeout" usage:"heartbeats are sent at half of it, and a client that has said nothing for it is closed"`

	// Clients.
	MaxHeartbeatInterval   time.Duration `flag:"max-heartbeat-interval" usage:"longest heartbeat interval a client may ask for"`
	MaxRdyCount            int64         `flag:"max-rdy-count" usage:"most messages a client may have in flight"`
	MaxOutputBufferSize    int64         `flag:"max-output-buffer-size" usage:"largest output buffer a client may ask for, in bytes"`
	MaxOutputBufferTimeout time.Duration `flag:"max-output-buffer-timeout" usage:"longest output buffering a client may ask for"`
	MinOutputBufferTimeout time.Duration `flag:"min-output-buffer-timeout" usage:"shortest output buffering a client may ask for"`
	OutputBufferTimeout    time.Duration `flag:"output-buffer-timeout" usage:"longest time a message is buffered before it is sent, unless the client asks otherwise"`
	MaxChannelConsumers    int           `flag:"max-channel-consumers" usage:"most consumers of a channel on this nsqd; 0: any number"`
	MaxConnections         int           `flag:"max-connections" usage:"most TCP clients at one time; more wait in accept"`

	// Accepted for compatibility: time-outs are timers here and nothing is scanned.
	QueueScanSelectionCount int `flag:"queue-scan-selection-count" usage:"accepted for compatibility; has no effect, queues are not scanned"`
	QueueScanWorkerPoolMax  int `flag:"queue-scan-worker-pool-max" usage:"accepted for compatibility; has no effect, queues are not scanned"`

	// TLS and compression.
	TLSCert             string      `flag:"tls-cert" usage:"certificate file (PEM)"`
	TLSKey              string      `flag:"tls-key" usage:"private key file (PEM)"`
	TLSClientAuthPolicy string      `flag:"tls-client-auth-policy" usage:"require (any client certificate) or require-verify; empty: none is asked for"`
	TLSRootCAFile       string      `flag:"tls-root-ca-file" usage:"authorities (PEM) of client certificates and of auth servers"`
	TLSRequired         TLSRequired `flag:"tls-required" usage:"true, false, or tcp-https: for TCP clients only"`
	TLSMinVersion       TLSVersion  `flag:"tls-min-version" usage:"tls1.0, tls1.1, tls1.2 or tls1.3"`
	DeflateEnabled      bool        `flag:"deflate" usage:"offer deflate to clients"`
	MaxDeflateLevel     int         `flag:"max-deflate-level" usage:"highest deflate level a client may ask for, 1 to 9"`
	SnappyEnabled       bool        `flag:"snappy" usage:"offer snappy to clients"`

	// Statistics.
	StatsdAddress          string        `flag:"statsd-address" usage:"<addr>:<port> (UDP) of a statsd daemon; empty: none"`
	StatsdPrefix           string        `flag:"statsd-prefix" usage:"prefix of keys sent to statsd; %s is replaced by the broadcast address and port"`
	StatsdInterval         time.Duration `flag:"statsd-interval" usage:"time between two pushes to statsd"`
	StatsdMemStats         bool          `flag:"statsd-mem-stats" usage:"send memory statistics to statsd"`
	StatsdUDPPacketSize    int           `flag:"statsd-udp-packet-size" usage:"largest UDP packet to statsd, in bytes"`
	StatsdExcludeEphemeral bool          `flag:"statsd-exclude-ephemeral" usage:"leave ephemeral topics and channels out of statsd"`
	E2EPercentiles         Percentiles   `flag:"e2e-processing-latency-percentile" cfg:"e2e_processing_latency_percentiles" usage:"percentiles, in (0,1], of the time from publish to finish to keep; several with commas"`
	E2EWindow              time.Duration `flag:"e2e-processing-latency-window-time" usage:"time over which those percentiles are computed"`

	// Log and end.
	LogLevel     logline.Level `flag:"log-level" usage:"debug, info, warn, error or fatal"`
	LogPrefix    string        `flag:"log-prefix" usage:"log message prefix"`
	LogFormat    string        `flag:"log-format" usage:"stock (one line of text) or json"`
	Verbose      bool          `flag:"verbose" usage:"accepted for compatibility; has no effect"`
	SigtermMode  string        `flag:"sigterm-mode" usage:"what SIGTERM does: shutdown, or drain: deregister and take nothing new, let consumers finish, then end"`
	DrainTimeout time.Duration `flag:"drain-timeout" usage:"longest a drain lasts before the messages that are left are kept on disk; 0: until they are gone"`
}

// DefaultOptions returns what a flagless nsqd runs with.
func DefaultOptions() *Options {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	// Stock's default id, so that a fleet keeps the ids it has.
	sum := md5.New()
	io.WriteString(sum, host)
	return &Options{
		NodeID:              int64(crc32.ChecksumIEEE(sum.Sum(nil)) % 1024),
		TCPAddress:          "0.0.0.0:4150",
		HTTPAddress:         "0.0.0.0:4151",
		HTTPSAddress:        "0.0.0.0:4152",
		BroadcastAddress:    host,
		AuthHTTPMethod:      "get",
		HTTPConnectTimeout:  2 * time.Second,
		HTTPRequestTimeout:  5 * time.Second,
		AllowConfigFromCIDR: "127.0.0.1/8",

		MemQueueSize:    10000,
		MaxBytesPerFile: 100 << 20,
		SyncEvery:       2500,
		SyncTimeout:     2 * time.Second,

		MsgTimeout:    time.Minute,
		MaxMsgTimeout: 15 * time.Minute,
		MaxMsgSize:    1 << 20,
		MaxBodySize:   5 << 20,
		MaxReqTimeout: time.Hour,
		ClientTimeout: time.Minute,

		MaxHeartbeatInterval:   time.Minute,
		MaxRdyCount:            2500,
		MaxOutputBufferSize:    64 << 10,
		MaxOutputBufferTimeout: 30 * time.Second,
		MinOutputBufferTimeout: 25 * time.Millisecond,
		OutputBufferTimeout:    250 * time.Millisecond,
		MaxConnections:         65536,

		QueueScanSelectionCount: 20,
		QueueScanWorkerPoolMax:  4,

		TLSMinVersion:   tls12,
		DeflateEnabled:  true,
		MaxDeflateLevel: 6,
		SnappyEnabled:   true,

		StatsdPrefix:        "nsq.%s",
		StatsdInterval:      time.Minute,
		StatsdMemStats:      true,
		StatsdUDPPacketSize: 508,
		E2EWindow:           10 * time.Minute,

		LogLevel:     logline.Level(hclog.Info),
		LogPrefix:    "[nsqd] ",
		LogFormat:    "stock",
		SigtermMode:  "shutdown",
		DrainTimeout: 0,
	}
}
