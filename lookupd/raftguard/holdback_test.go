package raftguard_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"nsqraft/internal/nsqtest"
)

func TestHoldBackAsksForNoPreVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		n1, n2 := newTransport(t, network, "n1"), newTransport(t, network, "n2")
		go func() {
			for {
				select {
				case rpc := <-n2.Consumer():
					switch rpc.Command.(type) {
					case *raft.RequestPreVoteRequest:
						rpc.Respond(&raft.RequestPreVoteResponse{Term: 7, Granted: true}, nil)
					case *raft.RequestVoteRequest:
						rpc.Respond(&raft.RequestVoteResponse{Term: 7, Granted: true}, nil)
					}
				case <-t.Context().Done():
					return
				}
			}
		}()
		preVote := func(want bool, when string) {
			t.Helper()
			resp := raft.RequestPreVoteResponse{Granted: true}
			err := n1.RequestPreVote("n2", address("n2"), &raft.RequestPreVoteRequest{Term: 7}, &resp)
			if err != nil || resp.Granted != want || resp.Term != 7 {
				t.Errorf("%s: %+v, %v; want granted %t in term 7", when, resp, err, want)
			}
		}
		preVote(true, "before")
		n1.HoldBack(time.Second)
		preVote(false, "at once")
		var vote raft.RequestVoteResponse
		if err := n1.RequestVote("n2", address("n2"), &raft.RequestVoteRequest{Term: 7}, &vote); err != nil || !vote.Granted {
			t.Errorf("a vote, meanwhile: %+v, %v; want it granted", vote, err)
		}
		time.Sleep(time.Second - 1)
		preVote(false, "at the end")
		time.Sleep(time.Nanosecond)
		preVote(true, "afterwards")
		n1.HoldBack(time.Second)
		n1.HoldBack(0)
		preVote(true, "when taken back")
	})
}

// The others elect one of themselves, with its vote, and it leads at once when asked to.
func TestServerThatHoldsBackVotesAndCampaigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		var nodes []*node
		for _, id := range servers {
			nodes = append(nodes, startNode(t, raftConfig(id), newTransport(t, network, id), newStore(t, raft.NewInmemStore())))
		}
		leader := leaderOf(t, nodes)
		rest := slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n == leader })
		back, other := rest[0], rest[1]
		eventually(t, "all have the same log", func() bool {
			return back.raft.LastIndex() == leader.raft.LastIndex() && other.raft.LastIndex() == leader.raft.LastIndex()
		})
		back.trans.HoldBack(time.Minute)
		network.Isolate(string(leader.id))
		eventually(t, "there is another leader", func() bool {
			return back.raft.State() == raft.Leader || other.raft.State() == raft.Leader
		})
		if back.raft.State() == raft.Leader {
			t.Errorf("%s leads, which holds back", back.id)
		}
		if err := back.trans.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it leads when it is told to", func() bool { return back.raft.State() == raft.Leader })
	})
}
