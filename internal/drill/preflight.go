package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/drill/workload"
)

const (
	// fewestVoters is what a cluster that somebody uses must have before one is taken away.
	fewestVoters = 3
	// farthestBehind is how many entries a member of it may lack.
	farthestBehind = 1000
	// longestSilence is how long ago a member may have heard of the leader.
	longestSilence = time.Second
)

// preflight says why a cluster that somebody uses is not fit to be broken, nil if it is.
func (h *health) preflight(ctx context.Context) error {
	var addrs []string
	var errs []error
	of := ""
	for _, n := range h.env.Nodes() {
		addrs = append(addrs, n.HTTP)
		c, err := h.nodes.Cluster(ctx, n.HTTP)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s at %s: %w", n.Name, n.HTTP, err))
			continue
		}
		if of == "" {
			of = c.ClusterID
		}
		if c.ClusterID != of {
			errs = append(errs, fmt.Errorf("%s is of another cluster, %s and not %s", n.Name, c.ClusterID, of))
		}
		errs = append(errs, h.fit(n.Name, c))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return h.alone(ctx, addrs)
}

// fit says what one node knows that is against it.
func (h *health) fit(name string, c *clusterinfo.Cluster) error {
	switch nodes := len(h.env.Nodes()); {
	case !c.Ready || c.Leader == "":
		return fmt.Errorf("%s is not ready: its role is %s, its leader %q", name, c.Role, c.Leader)
	case c.Voters < fewestVoters:
		return fmt.Errorf("%s knows %d voters; with less than %d there is none to spare", name, c.Voters, fewestVoters)
	case c.Voters != nodes:
		return fmt.Errorf("%s knows %d voters, and %d nodes were given: name all of them", name, c.Voters, nodes)
	case c.FailureTolerance < (c.Voters-1)/2:
		return fmt.Errorf("%s says that the cluster stands the loss of %d more members and not of %d: one is unwell", name, c.FailureTolerance, (c.Voters-1)/2)
	}
	for _, m := range c.Members {
		if m.Lag > farthestBehind || time.Duration(m.LastContactMS)*time.Millisecond > longestSilence {
			return fmt.Errorf("%s is behind: it lacks %d entries and has heard of the leader %d ms ago", m.ID, m.Lag, m.LastContactMS)
		}
	}
	return nil
}

// alone says so if another drill works on the same cluster.
func (h *health) alone(ctx context.Context, addrs []string) error {
	producers, err := h.nodes.Producers(ctx, addrs)
	if err != nil {
		return fmt.Errorf("who is registered: %w", err)
	}
	for _, p := range producers {
		if strings.HasPrefix(p.BroadcastAddress, workload.Prefix) {
			return fmt.Errorf("another drill is at work: its nsqd %s is registered", p.BroadcastAddress)
		}
	}
	return nil
}

// leftTopics returns those that a drill has left which was killed.
func (h *health) leftTopics(ctx context.Context) (left []string) {
	var addrs []string
	for _, n := range h.env.Nodes() {
		addrs = append(addrs, n.HTTP)
	}
	topics, err := h.nodes.Topics(ctx, addrs)
	if err != nil {
		return nil
	}
	for _, t := range topics {
		if strings.HasPrefix(t, workload.Prefix) {
			left = append(left, t)
		}
	}
	return left
}
