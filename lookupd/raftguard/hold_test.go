package raftguard_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"nsqraft/internal/nsqtest"
	"nsqraft/lookupd/raftguard"
)

// detached is a Transport that startNode does not recognise, so that it never
// learns of its Raft, and does not hold.
type detached struct{ *raftguard.Transport }

func TestFollowerThatReturnsIsCaughtUpAtOnce(t *testing.T) {
	tests := []struct {
		name string
		wrap func(*raftguard.Transport) raft.Transport
		soon bool
	}{
		{"held", func(trans *raftguard.Transport) raft.Transport { return trans }, true},
		// Shows that the test can tell the difference: Raft's pauses have grown.
		{"not held", func(trans *raftguard.Transport) raft.Transport { return detached{trans} }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := nsqtest.NewNetwork()
				var nodes []*node
				for _, id := range servers {
					nodes = append(nodes, startNode(t, raftConfig(id), tt.wrap(newTransport(t, network, id)), newStore(t, raft.NewInmemStore())))
				}
				leader := leaderOf(t, nodes)
				away := nodes[slices.IndexFunc(nodes, func(n *node) bool { return n != leader })]
				network.Isolate(string(away.id))
				for range 25 {
					apply(t, leader, 1)
					time.Sleep(time.Second)
				}
				network.Heal()
				healed := time.Now()
				eventually(t, "the follower has every entry", func() bool { return away.raft.LastIndex() == leader.raft.LastIndex() })
				took := time.Since(healed)
				t.Logf("caught up %v after its return", took)
				if soon := took < 300*time.Millisecond; soon != tt.soon {
					t.Errorf("caught up %v after its return; less than 300ms: %t, want %t", took, soon, tt.soon)
				}
			})
		})
	}
}

// Raft waits for its replicating goroutines when it shuts down, and wants back
// those of a peer that has left.
func TestHeldRequestIsGivenUp(t *testing.T) {
	tests := map[string]func(t *testing.T, network *nsqtest.Network, leader, away *node){
		"the peer leaves": func(t *testing.T, _ *nsqtest.Network, leader, away *node) {
			if err := leader.raft.RemoveServer(away.id, 0, time.Second).Error(); err != nil {
				t.Fatal(err)
			}
		},
		"leadership ends": func(_ *testing.T, network *nsqtest.Network, leader, _ *node) {
			network.Isolate(string(leader.id))
		},
		"raft shuts down": func(t *testing.T, _ *nsqtest.Network, leader, _ *node) {
			leader.raft.Shutdown()
		},
		"the transport closes": func(t *testing.T, _ *nsqtest.Network, leader, _ *node) {
			leader.trans.Close()
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := nsqtest.NewNetwork()
				var nodes []*node
				for _, id := range servers {
					nodes = append(nodes, startNode(t, raftConfig(id), newTransport(t, network, id), newStore(t, raft.NewInmemStore())))
				}
				leader := leaderOf(t, nodes)
				away := nodes[slices.IndexFunc(nodes, func(n *node) bool { return n != leader })]
				network.Kill(string(away.id))
				time.Sleep(time.Second) // its last answers have been heard
				term := leader.raft.CurrentTerm()
				returned := make(chan struct{})
				go func() {
					defer close(returned)
					var resp raft.AppendEntriesResponse
					req := &raft.AppendEntriesRequest{RPCHeader: header(leader.id), Term: term, PrevLogEntry: 1, PrevLogTerm: 1}
					if err := leader.trans.AppendEntries(away.id, address(away.id), req, &resp); err == nil {
						t.Error("a dead peer has answered")
					}
				}()
				select {
				case <-returned:
					t.Fatal("the request was not held")
				case <-time.After(10 * time.Second):
				}
				end(t, network, leader, away)
				select {
				case <-returned:
				case <-time.After(time.Second):
					t.Error("a second later the request is still held")
				}
			})
		})
	}
}
