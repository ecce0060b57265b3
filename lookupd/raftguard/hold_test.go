package raftguard_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
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
	requests := map[string]func(leader, away *node, term uint64) error{
		"entries": func(leader, away *node, term uint64) error {
			var resp raft.AppendEntriesResponse
			req := &raft.AppendEntriesRequest{RPCHeader: header(leader.id), Term: term, PrevLogEntry: 1, PrevLogTerm: 1}
			return leader.trans.AppendEntries(away.id, address(away.id), req, &resp)
		},
		"a snapshot": func(leader, away *node, term uint64) error {
			var resp raft.InstallSnapshotResponse
			req := &raft.InstallSnapshotRequest{RPCHeader: header(leader.id), Term: term}
			return leader.trans.InstallSnapshot(away.id, address(away.id), req, &resp, strings.NewReader(""))
		},
	}
	for name, end := range tests {
		for what, request := range requests {
			t.Run(name+"/"+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { heldUntil(t, request, end) })
			})
		}
	}
}

// heldUntil makes a request to a follower that is away, and wants it held until end.
func heldUntil(t *testing.T, request func(leader, away *node, term uint64) error, end func(t *testing.T, network *nsqtest.Network, leader, away *node)) {
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
		if err := request(leader, away, term); err == nil {
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
}

// A disk that hangs again within a minute is given more time, but not for ever.
func TestStoreThatHangsAgainIsGivenMoreTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		backend := &gatedStore{InmemStore: raft.NewInmemStore()}
		store := newStore(t, backend)
		n1 := raftguard.NewTransport("n1", listen(t, network, "n1"), store, hclog.NewNullLogger())
		defer n1.Close()
		n2 := newTransport(t, network, "n2")
		ctx, stop := context.WithCancel(t.Context())
		var answering sync.WaitGroup
		answering.Go(func() {
			for {
				select {
				case rpc := <-n2.Consumer():
					rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
				case <-ctx.Done():
					return
				}
			}
		})
		heartbeat := func() error {
			req := &raft.AppendEntriesRequest{RPCHeader: header("n1"), Term: 1}
			return n1.AppendEntries("n2", address("n2"), req, new(raft.AppendEntriesResponse))
		}
		// silent hangs the disk, and returns when the heartbeats end, and with them
		// leadership: after want, or half a second later not yet.
		silent := func(index uint64, want time.Duration) time.Duration {
			gate := backend.hold()
			var storing sync.WaitGroup
			began := time.Now()
			storing.Go(func() { store.StoreLog(&raft.Log{Index: index, Term: 1}) })
			for heartbeat() == nil && time.Since(began) < want+500*time.Millisecond {
				time.Sleep(10 * time.Millisecond)
			}
			took := time.Since(began)
			gate <- nil
			storing.Wait()
			return took
		}
		for i, tt := range []struct{ pause, want time.Duration }{
			{0, 250 * time.Millisecond},
			{20 * time.Second, time.Second},
			{5 * time.Second, 2 * time.Second},
			{time.Second, 4 * time.Second},
			{2 * time.Minute, 250 * time.Millisecond},
			{30 * time.Second, time.Second},
		} {
			time.Sleep(tt.pause)
			if err := heartbeat(); err != nil {
				t.Errorf("a heartbeat with a disk in order: %v", err)
			}
			if got := silent(uint64(i+1), tt.want); got < tt.want || got > tt.want+20*time.Millisecond {
				t.Errorf("hang %d, %v after the one before: silent after %v, want %v", i+1, tt.pause, got, tt.want)
			}
		}
		stop()
		answering.Wait()
	})
}

// A leader whose disk hangs sends nothing, by whichever way Raft would send it. The
// stories of lookupd show what that is good for.
func TestHungStoreSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		backend := &gatedStore{InmemStore: raft.NewInmemStore()}
		store := newStore(t, backend)
		n1 := raftguard.NewTransport("n1", listen(t, network, "n1"), store, hclog.NewNullLogger())
		defer n1.Close()
		n2 := newTransport(t, network, "n2")
		arrived := make(chan any, 4)
		ctx, stop := context.WithCancel(t.Context())
		var answering sync.WaitGroup
		answering.Go(func() {
			for {
				select {
				case rpc := <-n2.Consumer():
					arrived <- rpc.Command
					if _, ok := rpc.Command.(*raft.InstallSnapshotRequest); ok {
						rpc.Respond(&raft.InstallSnapshotResponse{Success: true}, nil)
						continue
					}
					rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
				case <-ctx.Done():
					return
				}
			}
		})
		send := map[string]func() error{
			"entries": func() error {
				req := &raft.AppendEntriesRequest{RPCHeader: header("n1"), Term: 1, PrevLogEntry: 1, PrevLogTerm: 1}
				return n1.AppendEntries("n2", address("n2"), req, new(raft.AppendEntriesResponse))
			},
			"a heartbeat": func() error {
				req := &raft.AppendEntriesRequest{RPCHeader: header("n1"), Term: 1}
				return n1.AppendEntries("n2", address("n2"), req, new(raft.AppendEntriesResponse))
			},
			"a snapshot": func() error {
				req := &raft.InstallSnapshotRequest{RPCHeader: header("n1"), Term: 1}
				return n1.InstallSnapshot("n2", address("n2"), req, new(raft.InstallSnapshotResponse), strings.NewReader(""))
			},
		}
		for what, send := range send {
			if err := send(); err != nil || len(arrived) != 1 {
				t.Errorf("%s with a disk in order: %v, %d requests arrived, want 1", what, err, len(arrived))
			}
			<-arrived
		}
		gate := backend.hold()
		for write, hang := range map[string]func(){
			"the log":          func() { store.StoreLog(&raft.Log{Index: 1, Term: 1}) },
			"a file beside it": func() { store.Watch(func() error { return <-gate }) },
		} {
			var storing sync.WaitGroup
			storing.Go(hang)
			time.Sleep(time.Second)
			for what, send := range send {
				if err := send(); err == nil || len(arrived) != 0 {
					t.Errorf("%s while a write to %s hangs: %v, %d requests arrived, want an error and none", what, write, err, len(arrived))
				}
			}
			gate <- nil
			storing.Wait()
			time.Sleep(time.Hour) // the gate closes as soon again as the first time
		}
		close(gate)
		stop()
		answering.Wait()
	})
}
