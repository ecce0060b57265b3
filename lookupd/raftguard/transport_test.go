package raftguard_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"nsqraft/internal/nsqtest"
	"nsqraft/lookupd/raftguard"
)

// gatedStore is a memory backend whose StoreLogs can be made to wait and fail.
type gatedStore struct {
	*raft.InmemStore
	gate atomic.Pointer[chan error]
}

// hold makes every later StoreLogs wait for an error, or nil, from the returned
// channel. Once that is closed, StoreLogs works as before.
func (s *gatedStore) hold() chan error {
	gate := make(chan error)
	s.gate.Store(&gate)
	return gate
}

func (s *gatedStore) StoreLogs(logs []*raft.Log) error {
	if gate := s.gate.Load(); gate != nil {
		if err := <-*gate; err != nil {
			return err
		}
	}
	return s.InmemStore.StoreLogs(logs)
}

func (s *gatedStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// hashicorp/raft#695: a follower that is storing an entry of term 2 hears of term 3.
// It must not promise term 3 first and acknowledge the entry afterwards.
func TestHeartbeatWaitsItsTurn(t *testing.T) {
	tests := []struct {
		name  string
		trans func(*testing.T, *nsqtest.Network) raft.Transport
		early bool // the heartbeat is answered while the entry is being stored
	}{{
		name: "raftguard",
		trans: func(t *testing.T, network *nsqtest.Network) raft.Transport {
			return newTransport(t, network, "n1")
		},
		early: false,
	}, {
		// Shows that the test can tell the difference. Should this fail after an
		// upgrade of raft, the bug may have gone, and SetHeartbeatHandler with it.
		name: "raft alone",
		trans: func(t *testing.T, network *nsqtest.Network) raft.Transport {
			trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
				Stream: listen(t, network, "n1"), Timeout: time.Second, Logger: hclog.NewNullLogger(),
			})
			t.Cleanup(func() { trans.Close(); trans.CloseStreams() })
			return trans
		},
		early: true,
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := nsqtest.NewNetwork()
				conf := raftConfig("n1")
				conf.HeartbeatTimeout, conf.ElectionTimeout = time.Hour, time.Hour // n1 only follows
				store := &gatedStore{InmemStore: raft.NewInmemStore()}
				startNode(t, conf, tt.trans(t, network), store)
				gate := store.hold()

				n2, n3 := newTransport(t, network, "n2"), newTransport(t, network, "n3")
				answered := make(chan string, 2)
				send := func(what string, from *raftguard.Transport, req *raft.AppendEntriesRequest) {
					var resp raft.AppendEntriesResponse
					err := from.AppendEntries("n1", address("n1"), req, &resp)
					if err != nil || !resp.Success {
						t.Errorf("%s: answered %+v, %v; want success", what, resp, err)
					}
					answered <- what
				}
				entry := &raft.Log{Index: 2, Term: 2, Type: raft.LogNoop}
				go send("entry of term 2", n2, &raft.AppendEntriesRequest{
					RPCHeader: header("n2"), Term: 2, PrevLogEntry: 1, PrevLogTerm: 1, Entries: []*raft.Log{entry},
				})
				synctest.Wait() // n1 is storing it
				go send("heartbeat of term 3", n3, &raft.AppendEntriesRequest{RPCHeader: header("n3"), Term: 3})
				synctest.Wait()
				if early := len(answered) > 0; early != tt.early {
					t.Errorf("heartbeat answered while the entry is being stored: %t, want %t", early, tt.early)
				}
				close(gate)
				<-answered
				<-answered
			})
		})
	}
}

func header(id raft.ServerID) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: 3, ID: []byte(id), Addr: []byte(address(id))}
}

// hashicorp/raft#612: once a follower had answered Success=false to a pipelined
// request, it got no more entries, and its leader could not shut down.
func TestFailedStoreDoesNotWedgeReplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		var nodes []*node
		stores := make(map[raft.ServerID]*gatedStore)
		for _, id := range servers {
			store := &gatedStore{InmemStore: raft.NewInmemStore()}
			stores[id] = store
			nodes = append(nodes, startNode(t, raftConfig(id), newTransport(t, network, id), store))
		}
		leader := leaderOf(t, nodes)
		if _, err := leader.trans.AppendEntriesPipeline("n1", address("n1")); err != raft.ErrPipelineReplicationNotSupported {
			t.Errorf("open a pipeline: %v, want ErrPipelineReplicationNotSupported", err)
		}
		apply(t, leader, 1)
		time.Sleep(100 * time.Millisecond) // with pipelines, they would be open now

		faulty := nodes[slices.IndexFunc(nodes, func(n *node) bool { return n != leader })]
		gate := stores[faulty.id].hold()
		apply(t, leader, 3) // the other follower is a majority with the leader
		synctest.Wait()
		gate <- errors.New("a passing fault")
		close(gate)

		eventually(t, "the follower has every entry", func() bool {
			return faulty.raft.LastIndex() == leader.raft.LastIndex()
		})
		leader.shutdown(t)
	})
}

// scripted answers every request that reaches trans with what respond returns.
func scripted(t *testing.T, trans *raftguard.Transport, respond func(*raft.AppendEntriesRequest) (any, error)) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case rpc := <-trans.Consumer():
				rpc.Respond(respond(rpc.Command.(*raft.AppendEntriesRequest)))
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}

func TestAcked(t *testing.T) {
	ok := func(term uint64) *raft.AppendEntriesResponse {
		return &raft.AppendEntriesResponse{Term: term, LastLog: 7, Success: true}
	}
	type exchange struct {
		term   uint64
		answer any
		err    error
	}
	tests := []struct {
		name      string
		exchanges []exchange // one a second, each answered after 300 ms
		term      uint64
		want      int // Acked(term) is when this exchange began, counted from 1; 0: zero
		contact   int // and Contact when this one was answered
	}{
		{"never", nil, 2, 0, 0},
		{"accepted", []exchange{{2, ok(2), nil}}, 2, 1, 1},
		{"accepted twice", []exchange{{2, ok(2), nil}, {2, ok(2), nil}}, 2, 2, 2},
		{"another term", []exchange{{2, ok(2), nil}}, 3, 0, 1},
		{"a later term since", []exchange{{2, ok(2), nil}, {3, ok(3), nil}}, 2, 0, 2},
		{"an earlier term since", []exchange{{3, ok(3), nil}, {2, ok(2), nil}}, 3, 1, 2},
		{"refused", []exchange{{2, ok(2), nil}, {2, &raft.AppendEntriesResponse{Term: 2}, nil}}, 2, 1, 2},
		{"refused for a later term", []exchange{{2, ok(2), nil}, {2, &raft.AppendEntriesResponse{Term: 3}, nil}}, 2, 1, 2},
		{"accepted in a later term", []exchange{{2, ok(3), nil}}, 2, 0, 1},
		{"failed", []exchange{{2, ok(2), nil}, {2, nil, errors.New("no")}}, 2, 1, 1},
		{"failed with a success", []exchange{{2, ok(2), errors.New("no")}}, 2, 0, 0},
		{"an answer without the field", []exchange{{2, ok(2), nil}, {2, &struct{ Term uint64 }{2}, nil}}, 2, 1, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := nsqtest.NewNetwork()
				n1, n2 := newTransport(t, network, "n1"), newTransport(t, network, "n2")
				var now exchange
				scripted(t, n2, func(*raft.AppendEntriesRequest) (any, error) {
					time.Sleep(300 * time.Millisecond)
					return now.answer, now.err
				})
				start := time.Now()
				var resp raft.AppendEntriesResponse // the same for all, as Raft does
				for i, x := range tt.exchanges {
					time.Sleep(time.Until(start.Add(time.Duration(i+1) * time.Second)))
					now = x
					err := n1.AppendEntries("n2", address("n2"), &raft.AppendEntriesRequest{Term: x.term}, &resp)
					if (err != nil) != (x.err != nil) {
						t.Fatalf("exchange %d: %v, want %v", i+1, err, x.err)
					}
				}

				var want time.Time
				if tt.want > 0 {
					want = start.Add(time.Duration(tt.want) * time.Second)
				}
				if got := n1.Acked(tt.term, "n2"); !got.Equal(want) {
					t.Errorf("Acked(%d) = %v, want %v", tt.term, got, want)
				}
				contact, ok := n1.Contact("n2")
				if ok != (tt.contact > 0) {
					t.Fatalf("Contact: ok = %t, want %t", ok, !ok)
				}
				if at := start.Add(time.Duration(tt.contact)*time.Second + 300*time.Millisecond); ok && !contact.At.Equal(at) {
					t.Errorf("Contact.At = %v, want %v", contact.At, at)
				}
			})
		})
	}
}

// Heartbeats and replication to one peer run side by side.
func TestAnswersOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		n1, n2 := newTransport(t, network, "n1"), newTransport(t, network, "n2")
		var wg sync.WaitGroup
		send := func(term uint64) {
			wg.Go(func() {
				var resp raft.AppendEntriesResponse
				if err := n1.AppendEntries("n2", address("n2"), &raft.AppendEntriesRequest{Term: term}, &resp); err != nil {
					t.Error(err)
				}
			})
		}
		answer := func(rpc raft.RPC, lastLog uint64) {
			rpc.Respond(&raft.AppendEntriesResponse{Term: 2, LastLog: lastLog, Success: true}, nil)
		}
		send(2)
		first := <-n2.Consumer()
		time.Sleep(200 * time.Millisecond)
		later := time.Now()
		send(2)
		second := <-n2.Consumer()
		answer(second, 6)
		time.Sleep(200 * time.Millisecond)
		answer(first, 5)
		wg.Wait()

		if got := n1.Acked(2, "n2"); !got.Equal(later) {
			t.Errorf("Acked = %v, want %v, when the later was sent", got, later)
		}
		if got, _ := n1.Contact("n2"); got.LastLog != 6 || !got.At.Equal(time.Now()) {
			t.Errorf("Contact = %+v, want the later's last log, 6, and the time of the last answer, %v", got, time.Now())
		}
	})
}

func TestContactTellsTheLastLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		n1, n2 := newTransport(t, network, "n1"), newTransport(t, network, "n2")
		scripted(t, n2, func(*raft.AppendEntriesRequest) (any, error) {
			return &raft.AppendEntriesResponse{Term: 2, LastLog: 41}, nil
		})
		var resp raft.AppendEntriesResponse
		if err := n1.AppendEntries("n2", address("n2"), &raft.AppendEntriesRequest{Term: 2}, &resp); err != nil {
			t.Fatal(err)
		}
		if c, _ := n1.Contact("n2"); c.LastLog != 41 {
			t.Errorf("LastLog = %d, want 41", c.LastLog)
		}
	})
}

func TestMajorityAcked(t *testing.T) {
	tests := []struct {
		name   string
		voters []raft.ServerID
		want   int // the second at which n<want> answered; 1, which is self, means now; 0 means zero
	}{
		{"nobody votes", nil, 0},
		{"self alone", []raft.ServerID{"n1"}, 1},
		{"two", []raft.ServerID{"n1", "n3"}, 3},
		{"three", []raft.ServerID{"n3", "n1", "n2"}, 3},
		{"five", []raft.ServerID{"n1", "n2", "n3", "n4", "n5"}, 4},
		{"four", []raft.ServerID{"n1", "n2", "n3", "n4"}, 3},
		{"self does not vote", []raft.ServerID{"n2", "n3", "n4"}, 3},
		{"one is silent", []raft.ServerID{"n1", "n2", "n9"}, 2},
		{"two are silent", []raft.ServerID{"n1", "n2", "n8", "n9"}, 0},
	}
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		n1 := newTransport(t, network, "n1")
		start := time.Now()
		answered := func(second int) time.Time { return start.Add(time.Duration(second) * time.Second) }
		for i, id := range []raft.ServerID{"n2", "n3", "n4", "n5"} {
			scripted(t, newTransport(t, network, id), func(*raft.AppendEntriesRequest) (any, error) {
				return &raft.AppendEntriesResponse{Term: 2, Success: true}, nil
			})
			time.Sleep(time.Until(answered(i + 2)))
			var resp raft.AppendEntriesResponse
			if err := n1.AppendEntries(id, address(id), &raft.AppendEntriesRequest{Term: 2}, &resp); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range tests {
			want := answered(tt.want)
			switch tt.want {
			case 0:
				want = time.Time{}
			case 1:
				want = time.Now()
			}
			if got := n1.MajorityAcked(2, tt.voters); !got.Equal(want) {
				t.Errorf("%s: MajorityAcked = %v, want %v", tt.name, got, want)
			}
		}
	})
}

// The clock must not be satisfied by what was sent before, nor by an old leader's
// own conviction.
func TestWaitAcked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		var nodes []*node
		for _, id := range servers {
			nodes = append(nodes, startNode(t, raftConfig(id), newTransport(t, network, id), newStore(t, raft.NewInmemStore())))
		}
		leader := leaderOf(t, nodes)
		term := leader.raft.CurrentTerm()
		wait := func(n *node, term uint64) error {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			return n.trans.WaitAcked(ctx, term, time.Now(), servers)
		}

		for i := range 20 {
			time.Sleep(time.Duration(i) * 1700 * time.Microsecond) // between two heartbeats
			since := time.Now()
			if err := wait(leader, term); err != nil {
				t.Fatalf("the leader of term %d: %v", term, err)
			}
			if at := leader.trans.MajorityAcked(term, servers); at.Before(since) {
				t.Fatalf("returned with a majority at %v, want %v or after", at, since)
			}
		}
		if err := wait(leader, term+1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in a term that has not begun: %v, want a time-out", err)
		}

		network.Isolate(string(leader.id))
		if err := wait(leader, term); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an isolated leader: %v, want a time-out", err)
		}
		rest := slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n == leader })
		next := leaderOf(t, rest)
		if err := wait(next, next.raft.CurrentTerm()); err != nil {
			t.Errorf("its successor: %v", err)
		}
		network.Heal()
		time.Sleep(5 * time.Second)
		if err := wait(leader, term); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the old leader, healed: %v, want a time-out", err)
		}
	})
}

func TestTransportAnswersPreVotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		n1, n2 := newTransport(t, network, "n1"), newTransport(t, network, "n2")
		go func() {
			rpc := <-n2.Consumer()
			rpc.Respond(&raft.RequestPreVoteResponse{Granted: true}, nil)
		}()
		var resp raft.RequestPreVoteResponse
		if err := n1.RequestPreVote("n2", address("n2"), &raft.RequestPreVoteRequest{Term: 2}, &resp); err != nil || !resp.Granted {
			t.Errorf("pre-vote: %+v, %v; want it granted", resp, err)
		}
	})
}

func TestCloseEndsIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		n2 := newTransport(t, network, "n2")
		scripted(t, n2, func(*raft.AppendEntriesRequest) (any, error) { return new(raft.AppendEntriesResponse), nil })
		closed := make(chan struct{})
		n1 := raftguard.NewTransport("n1", watched{listen(t, network, "n1"), closed}, nil, hclog.NewNullLogger())
		var resp raft.AppendEntriesResponse
		if err := n1.AppendEntries("n2", address("n2"), new(raft.AppendEntriesRequest), &resp); err != nil {
			t.Fatal(err)
		}
		n1.Close()
		select {
		case <-closed:
		case <-time.After(time.Minute):
			t.Error("a minute later the idle connection is still open")
		}
	})
}

// watched is a stream of which one connection is dialled; closed tells when it is closed.
type watched struct {
	stream
	closed chan struct{}
}

func (s watched) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := s.stream.Dial(address, timeout)
	return watchedConn{c, s.closed}, err
}

type watchedConn struct {
	net.Conn
	closed chan struct{}
}

func (c watchedConn) Close() error {
	close(c.closed)
	return c.Conn.Close()
}
