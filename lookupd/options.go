package lookupd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/logline"
)

// Options configure a Server. Each field names its flag in its tag; the
// configuration file's key is the flag with '-' turned into '_'. DefaultOptions
// gives the defaults, Validate says in one sentence what does not fit.
type Options struct {
	// Stock nsqlookupd's own.

	TCPAddress              string        `flag:"tcp-address" usage:"<addr>:<port> to listen on for TCP clients (nsqd)"`
	HTTPAddress             string        `flag:"http-address" usage:"<addr>:<port> to listen on for HTTP clients"`
	BroadcastAddress        string        `flag:"broadcast-address" usage:"address of this lookupd node, told to nsqds (default: the OS hostname)"`
	InactiveProducerTimeout time.Duration `flag:"inactive-producer-timeout" usage:"how long after its last PING a producer stays in /lookup and /nodes"`
	TombstoneLifetime       time.Duration `flag:"tombstone-lifetime" usage:"how long a tombstone hides a producer of a topic"`
	LogLevel                logline.Level `flag:"log-level" usage:"debug, info, warn, error or fatal"`
	LogPrefix               string        `flag:"log-prefix" usage:"log message prefix"`
	LogFormat               string        `flag:"log-format" usage:"stock (one line of text) or json"`
	Verbose                 bool          `flag:"verbose" usage:"accepted for compatibility; has no effect"`

	// The cluster. With none of these given the node is alone and in memory.

	DataPath       string   `flag:"data-path" usage:"folder of this node's replicated log and snapshots; empty: in memory"`
	NodeID         string   `flag:"node-id" usage:"name of this node in the cluster, for ever (default: the OS hostname)"`
	RaftAddress    string   `flag:"raft-address" usage:"<addr>:<port> to listen on for the other lookupd nodes"`
	RaftAdvertise  string   `flag:"raft-advertise" usage:"<host>:<port> at which the other nodes reach this one; a name is resolved anew on each dial (default: this node's entry of --initial-cluster, else the broadcast address with the raft port)"`
	InitialCluster []string `flag:"initial-cluster" usage:"<id>=<host>:<port>,... of all first members, the same on each; forms the cluster once, ignored afterwards"`
	Join           string   `flag:"join" usage:"<host>:<port> of any member of a running cluster that this node shall join, or 'wait' for POST /cluster/add there"`

	RaftTiming         string        `flag:"raft-timing" usage:"lan or wan: presets of the three raft timeouts below"`
	HeartbeatTimeout   time.Duration `flag:"raft-heartbeat-timeout" usage:"how long a follower waits for its leader; 0: the preset's"`
	ElectionTimeout    time.Duration `flag:"raft-election-timeout" usage:"how long a candidate waits for votes, at least the heartbeat timeout; 0: the preset's"`
	LeaderLeaseTimeout time.Duration `flag:"raft-leader-lease-timeout" usage:"how long a leader without a majority stays leader, at most the heartbeat timeout; 0: the preset's"`

	SessionGrace    time.Duration `flag:"session-grace" usage:"how long the producers of a dead lookupd node stay listed, at least 31s"`
	ServeStaleAfter time.Duration `flag:"serve-stale-after" usage:"how long after a start without a leader lookups are answered from disk, marked stale"`
	MaxConnections  int           `flag:"max-connections" usage:"most nsqd connections at one time; more wait in accept"`

	TLSCert string `flag:"raft-tls-cert" usage:"certificate (PEM) for the raft port; with it all nodes must present one"`
	TLSKey  string `flag:"raft-tls-key" usage:"private key (PEM) of --raft-tls-cert"`
	TLSCA   string `flag:"raft-tls-ca" usage:"certificate authority (PEM) that signed every node's certificate"`
}

// DefaultOptions returns what a flagless nsqlookupd runs with: stock's
// defaults, alone and in memory.
func DefaultOptions() *Options {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return &Options{
		TCPAddress:              "0.0.0.0:4160",
		HTTPAddress:             "0.0.0.0:4161",
		BroadcastAddress:        host,
		InactiveProducerTimeout: 5 * time.Minute,
		TombstoneLifetime:       45 * time.Second,
		LogLevel:                logline.Level(hclog.Info),
		LogPrefix:               "[nsqlookupd] ",
		LogFormat:               "stock",
		NodeID:                  host,
		RaftAddress:             "0.0.0.0:4162",
		RaftTiming:              "lan",
		SessionGrace:            45 * time.Second,
		ServeStaleAfter:         10 * time.Second,
		MaxConnections:          65536,
	}
}

// minSessionGrace: a stock nsqd notices a dead lookupd at one of its 15 s
// ticks and reconnects at the next, so that a shorter grace would hide live
// producers.
const minSessionGrace = 31 * time.Second

// alone is the timing of a node without others, which is no choice.
const alone = "alone"

// timings are the presets of --raft-timing: heartbeat, election and leader
// lease time-outs. With lan's a leader that fell silent is succeeded within
// 700 ms; shorter ones made a busy machine's nodes depose each other. The lease
// is as long as it may be: no read relies on it. A single member has nobody to wait for.
var timings = map[string][3]time.Duration{
	"lan": {200 * time.Millisecond, 200 * time.Millisecond, 200 * time.Millisecond},
	"wan": {500 * time.Millisecond, 500 * time.Millisecond, 300 * time.Millisecond},
	alone: {10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond},
}

// clustered reports whether any other node may ever talk to this one.
func (o *Options) clustered() bool {
	return o.DataPath != "" || len(o.InitialCluster) > 0 || o.Join != ""
}

// Validate fills what follows from other fields and returns the first thing
// that does not fit, as a sentence that names the flag.
func (o *Options) Validate() error {
	if o.InactiveProducerTimeout <= 0 {
		return errors.New("--inactive-producer-timeout must be more than 0")
	}
	if o.TombstoneLifetime < 0 {
		return errors.New("--tombstone-lifetime must not be negative")
	}
	if o.MaxConnections < 1 {
		return errors.New("--max-connections must be at least 1")
	}
	if o.SessionGrace < minSessionGrace {
		return fmt.Errorf("--session-grace must be at least %v: a stock nsqd takes up to 30s to come back", minSessionGrace)
	}
	if o.ServeStaleAfter < 0 {
		return errors.New("--serve-stale-after must not be negative")
	}
	if err := o.validateTimings(); err != nil {
		return err
	}
	if !o.clustered() {
		if o.TLSCert != "" || o.RaftAdvertise != "" {
			return errors.New("--raft-tls-* and --raft-advertise are for members of a cluster, which need a --data-path")
		}
		return nil
	}
	return o.validateCluster()
}

func (o *Options) validateTimings() error {
	preset, ok := timings[o.RaftTiming]
	if !ok || o.RaftTiming == alone {
		return fmt.Errorf("--raft-timing must be lan or wan, not %q", o.RaftTiming)
	}
	for i, d := range []*time.Duration{&o.HeartbeatTimeout, &o.ElectionTimeout, &o.LeaderLeaseTimeout} {
		if *d == 0 {
			*d = preset[i]
		}
		if *d < 5*time.Millisecond {
			return errors.New("the raft timeouts must be at least 5ms")
		}
	}
	if o.ElectionTimeout < o.HeartbeatTimeout {
		return fmt.Errorf("--raft-election-timeout (%v) must not be less than --raft-heartbeat-timeout (%v)", o.ElectionTimeout, o.HeartbeatTimeout)
	}
	if o.LeaderLeaseTimeout > o.HeartbeatTimeout {
		return fmt.Errorf("--raft-leader-lease-timeout (%v) must not be more than --raft-heartbeat-timeout (%v)", o.LeaderLeaseTimeout, o.HeartbeatTimeout)
	}
	return nil
}

func (o *Options) validateCluster() error {
	if o.DataPath == "" {
		return errors.New("--initial-cluster and --join need a --data-path to keep the replicated log in")
	}
	if len(o.InitialCluster) > 0 && o.Join != "" {
		return errors.New("use --initial-cluster to form a cluster or --join to join one, not both")
	}
	if !validNodeID(o.NodeID) {
		return fmt.Errorf("--node-id %q must be 1 to 64 letters, digits, '.', '-' or '_'", o.NodeID)
	}
	if (o.TLSCert == "") != (o.TLSKey == "") || (o.TLSCert == "") != (o.TLSCA == "") {
		return errors.New("--raft-tls-cert, --raft-tls-key and --raft-tls-ca are given together or not at all")
	}
	members, err := parseMembers(o.InitialCluster)
	if err != nil {
		return err
	}
	if len(members) > 0 {
		self, ok := members[o.NodeID]
		if !ok {
			return fmt.Errorf("--initial-cluster has no entry for this node, --node-id %s", o.NodeID)
		}
		if o.RaftAdvertise == "" {
			o.RaftAdvertise = self
		} else if o.RaftAdvertise != self {
			return fmt.Errorf("--raft-advertise %s is not what --initial-cluster says of %s: %s", o.RaftAdvertise, o.NodeID, self)
		}
	}
	if o.RaftAdvertise == "" {
		_, port, err := net.SplitHostPort(o.RaftAddress)
		if err != nil {
			return fmt.Errorf("--raft-address %q: %w", o.RaftAddress, err)
		}
		o.RaftAdvertise = net.JoinHostPort(o.BroadcastAddress, port)
	}
	if err := validHostPort(o.RaftAdvertise); err != nil {
		return fmt.Errorf("--raft-advertise %q: %w", o.RaftAdvertise, err)
	}
	if o.Join != "" && o.Join != joinWait {
		if err := validHostPort(o.Join); err != nil {
			return fmt.Errorf("--join %q: %w", o.Join, err)
		}
	}
	return nil
}

func validNodeID(id string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	return len(id) >= 1 && len(id) <= 64 && strings.Trim(id, allowed) == ""
}

// validHostPort accepts what another node could dial.
func validHostPort(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if host == "" || port == "" || port == "0" {
		return errors.New("a host and a port that others can dial are needed")
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return errors.New("an unspecified address cannot be dialled by others")
	}
	return nil
}

// parseMembers turns --initial-cluster into node id → address.
func parseMembers(entries []string) (map[string]string, error) {
	members := make(map[string]string, len(entries))
	seen := make(map[string]string, len(entries))
	for _, entry := range strings.FieldsFunc(strings.Join(entries, ","), func(r rune) bool { return r == ',' }) {
		id, addr, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, fmt.Errorf("--initial-cluster: %q is not <id>=<host>:<port>", entry)
		}
		if !validNodeID(id) {
			return nil, fmt.Errorf("--initial-cluster: %q is no node id", id)
		}
		if err := validHostPort(addr); err != nil {
			return nil, fmt.Errorf("--initial-cluster: %s: %w", entry, err)
		}
		if _, ok := members[id]; ok {
			return nil, fmt.Errorf("--initial-cluster names %s twice", id)
		}
		if other, ok := seen[addr]; ok {
			return nil, fmt.Errorf("--initial-cluster gives %s and %s the same address %s", other, id, addr)
		}
		members[id], seen[addr] = addr, id
	}
	return members, nil
}

// sortedIDs returns the ids of members in order.
func sortedIDs(members map[string]string) []string {
	ids := make([]string, 0, len(members))
	for id := range members {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}
