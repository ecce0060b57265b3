package drill

import (
	"context"
	"sync"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/drill/env"
)

const (
	// askWithin bounds one question about health. A node that takes longer is not well.
	askWithin = 700 * time.Millisecond
	// askEvery is the pause between two rounds of questions.
	askEvery = 20 * time.Millisecond
)

// A health knows how the nodes of an environment are, by asking them.
type health struct {
	env   env.Env
	nodes asker
	stock bool
}

// An asker puts questions to nodes: what is used of a clusterinfo.Client.
type asker interface {
	Cluster(ctx context.Context, lookupd string) (*clusterinfo.Cluster, error)
	Topics(ctx context.Context, lookupds []string) ([]string, error)
	Producers(ctx context.Context, lookupds []string) ([]*clusterinfo.Producer, error)
}

// ask returns what each node says of the cluster, by name; nil of one that says nothing.
func (h *health) ask(ctx context.Context) map[string]*clusterinfo.Cluster {
	nodes := h.env.Nodes()
	answers := make([]*clusterinfo.Cluster, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			if c, err := h.nodes.Cluster(ctx, n.HTTP); err == nil {
				answers[i] = c
			}
		})
	}
	wg.Wait()
	byName := make(map[string]*clusterinfo.Cluster, len(nodes))
	for i, n := range nodes {
		byName[n.Name] = answers[i]
	}
	return byName
}

// leader returns the name of the node that says of itself that it leads, in the highest
// term; "" if none does.
func (h *health) leader(ctx context.Context) string {
	name, term := "", uint64(0)
	for node, c := range h.ask(ctx) {
		if c != nil && c.Role == "leader" && c.Term > term {
			name, term = node, c.Term
		}
	}
	return name
}

// await asks until ok, or ctx ends or limit is over, and returns whether it was.
func await(ctx context.Context, limit time.Duration, ok func(context.Context) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if ok(ctx) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(askEvery):
		}
	}
}

// awaitLeader returns the name of a leader other than not; "" if there is none within limit.
func (h *health) awaitLeader(ctx context.Context, limit time.Duration, not string) (name string) {
	await(ctx, limit, func(ctx context.Context) bool {
		name = h.leader(ctx)
		return name != "" && name != not
	})
	if name == not {
		return ""
	}
	return name
}

// well says whether every node answers, all follow one leader, and all voters are there.
// Of stock, whether every node answers.
func (h *health) well(ctx context.Context) bool {
	if h.stock {
		return h.answering(ctx)
	}
	leader := ""
	for _, c := range h.ask(ctx) {
		switch {
		case c == nil || !c.Ready || c.Leader == "":
			return false
		case leader != "" && c.Leader != leader:
			return false
		case c.Voters < len(h.env.Nodes()) || c.FailureTolerance < (c.Voters-1)/2:
			return false
		}
		leader = c.Leader
	}
	return true
}

func (h *health) answering(ctx context.Context) bool {
	var addresses []string
	for _, n := range h.env.Nodes() {
		addresses = append(addresses, n.HTTP)
	}
	_, err := h.nodes.Topics(ctx, addresses)
	return err == nil
}
