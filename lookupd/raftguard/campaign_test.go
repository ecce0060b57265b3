package raftguard_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"nsqraft/internal/nsqtest"
)

// Even at the wrong moment it costs one election, and no entry.
func TestCampaignAgainstALivingLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		var nodes []*node
		for _, id := range servers {
			nodes = append(nodes, startNode(t, raftConfig(id), newTransport(t, network, id), newStore(t, raft.NewInmemStore())))
		}
		leader := leaderOf(t, nodes)
		term := leader.raft.CurrentTerm()
		apply(t, leader, 10)
		next := nodes[slices.IndexFunc(nodes, func(n *node) bool { return n != leader })]
		eventually(t, "the follower has every entry", func() bool { return next.raft.LastIndex() == leader.raft.LastIndex() })
		if err := next.trans.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the follower leads", func() bool { return next.raft.State() == raft.Leader })
		if got := next.raft.CurrentTerm(); got != term+1 {
			t.Errorf("it leads term %d, want %d", got, term+1)
		}
		apply(t, next, 1)
		time.Sleep(time.Second)
		for _, n := range nodes {
			if got := len(n.fsm.Logs()); got != 11 {
				t.Errorf("%s has applied %d entries, want 11", n.id, got)
			}
		}
	})
}

func TestCampaignThatComesTooLateIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trans := newTransport(t, nsqtest.NewNetwork(), "n1")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := trans.Campaign(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a busy Raft: %v, want a time-out", err)
		}
		select {
		case rpc := <-trans.Consumer():
			t.Errorf("afterwards Raft got %T", rpc.Command)
		case <-time.After(time.Second):
		}
		trans.Close()
		if err := trans.Campaign(t.Context()); !errors.Is(err, raft.ErrTransportShutdown) {
			t.Errorf("after Close: %v, want ErrTransportShutdown", err)
		}
	})
}
