package lookupd

import (
	"strings"
	"testing"
	"time"
)

func TestOptionsValidate(t *testing.T) {
	three := []string{"n1=a:4162,n2=b:4162,n3=c:4162"}
	tests := []struct {
		name string
		set  func(*Options)
		want string // part of the sentence; empty: valid
	}{
		{"defaults", func(*Options) {}, ""},
		{"three nodes", func(o *Options) { o.NodeID, o.DataPath, o.InitialCluster = "n2", "d", three }, ""},
		{"alone on disk", func(o *Options) { o.NodeID, o.DataPath = "n1", "d" }, ""},
		{"join", func(o *Options) { o.NodeID, o.DataPath, o.Join = "n4", "d", "a:4162" }, ""},
		{"no data path", func(o *Options) { o.NodeID, o.InitialCluster = "n1", three }, "need a --data-path"},
		{"both ways in", func(o *Options) { o.NodeID, o.DataPath, o.InitialCluster, o.Join = "n1", "d", three, "a:4162" }, "not both"},
		{"not listed", func(o *Options) { o.NodeID, o.DataPath, o.InitialCluster = "n4", "d", three }, "no entry for this node"},
		{"other advertise", func(o *Options) {
			o.NodeID, o.DataPath, o.InitialCluster, o.RaftAdvertise = "n1", "d", three, "x:1"
		}, "is not what --initial-cluster says"},
		{"twice the same id", func(o *Options) { o.NodeID, o.DataPath, o.InitialCluster = "n1", "d", []string{"n1=a:1", "n1=b:1"} }, "names n1 twice"},
		{"twice the same address", func(o *Options) { o.NodeID, o.DataPath, o.InitialCluster = "n1", "d", []string{"n1=a:1", "n2=a:1"} }, "the same address"},
		{"no address", func(o *Options) { o.NodeID, o.DataPath, o.InitialCluster = "n1", "d", []string{"n1"} }, "is not <id>=<host>:<port>"},
		{"undialable address", func(o *Options) { o.NodeID, o.DataPath, o.InitialCluster = "n1", "d", []string{"n1=0.0.0.0:4162"} }, "cannot be dialled"},
		{"bad id", func(o *Options) { o.NodeID, o.DataPath = "n/1", "d" }, "--node-id"},
		{"bad join", func(o *Options) { o.NodeID, o.DataPath, o.Join = "n1", "d", "a" }, "--join"},
		{"TLS without cluster", func(o *Options) { o.TLSCert = "x" }, "need a --data-path"},
		{"short grace", func(o *Options) { o.SessionGrace = 30 * time.Second }, "--session-grace"},
		{"unknown timing", func(o *Options) { o.RaftTiming = "alone" }, "--raft-timing"},
		{"election under heartbeat", func(o *Options) { o.HeartbeatTimeout, o.ElectionTimeout = time.Second, 500*time.Millisecond }, "--raft-election-timeout"},
		{"lease over heartbeat", func(o *Options) { o.LeaderLeaseTimeout = time.Second }, "--raft-leader-lease-timeout"},
		{"tiny timeout", func(o *Options) { o.LeaderLeaseTimeout = time.Millisecond }, "at least 5ms"},
		{"no inactive timeout", func(o *Options) { o.InactiveProducerTimeout = 0 }, "--inactive-producer-timeout"},
		{"negative tombstone lifetime", func(o *Options) { o.TombstoneLifetime = -1 }, "--tombstone-lifetime"},
		{"certificate without key", func(o *Options) { o.NodeID, o.DataPath, o.TLSCert = "n1", "d", "x" }, "--raft-tls-cert"},
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

func TestTimingPresets(t *testing.T) {
	o := DefaultOptions()
	o.RaftTiming, o.ElectionTimeout = "wan", 2*time.Second
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	if o.HeartbeatTimeout != 500*time.Millisecond || o.ElectionTimeout != 2*time.Second || o.LeaderLeaseTimeout != 300*time.Millisecond {
		t.Errorf("got %v/%v/%v, want the wan preset with an election timeout of 2s", o.HeartbeatTimeout, o.ElectionTimeout, o.LeaderLeaseTimeout)
	}
}
