package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/version"
)

// findGrace is how long find waits for further nsqlookupds once one has answered: a
// dead one that was given, too, costs no more than that.
const findGrace = 250 * time.Millisecond

// askTimeout bounds one question of those that a View is made of, unless --timeout is
// less.
const askTimeout = 2 * time.Second

// newClient returns what asks the daemons.
func (p *program) newClient() *clusterinfo.Client {
	return clusterinfo.NewClient(clusterinfo.Options{
		ConnectTimeout: min(askTimeout, p.timeout),
		RequestTimeout: p.timeout,
		UserAgent:      "nsqctl/" + version.Version,
	})
}

// An answer is what one nsqlookupd says of its cluster.
type answer struct {
	lookupd string // address as given
	cluster *clusterinfo.Cluster
	err     error
}

// find returns the addresses of all nsqlookupds: those given, and the members of
// their clusters, each once. answers are those of the given ones that came in time.
// It fails if there are none.
func (p *program) find(ctx context.Context) (addresses []string, answers []answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	answers = p.askClusters(ctx, cancel, p.lookupds)
	cancel()
	known := make(map[string]bool) // members that were given
	reached := false
	for _, a := range answers {
		if a.cluster != nil {
			known[a.cluster.ClusterID+"/"+a.cluster.NodeID] = true
		}
		reached = reached || a.cluster != nil || errors.Is(a.err, clusterinfo.ErrNotClustered)
	}
	if !reached {
		return nil, nil, unreachable(answers)
	}
	addresses = append(addresses, p.lookupds...)
	for _, a := range answers {
		if a.cluster == nil {
			continue
		}
		for _, m := range a.cluster.Members {
			key := a.cluster.ClusterID + "/" + m.ID
			if m.HTTPAddress != "" && !known[key] {
				known[key] = true
				addresses = append(addresses, m.HTTPAddress)
			}
		}
	}
	return addresses, answers, nil
}

// askClusters asks each of lookupds for its cluster and returns, in their order, the
// answers that came until findGrace after the first that was good.
func (p *program) askClusters(ctx context.Context, cancel func(), lookupds []string) []answer {
	answers := make([]answer, len(lookupds))
	var wg sync.WaitGroup
	var first sync.Once
	for i, address := range lookupds {
		wg.Go(func() {
			c, err := p.client.Cluster(ctx, address)
			answers[i] = answer{address, c, err}
			if err == nil {
				first.Do(func() { time.AfterFunc(findGrace, cancel) })
			}
		})
	}
	wg.Wait()
	return answers
}

// unreachable is the failure of having reached no nsqlookupd.
func unreachable(answers []answer) error {
	hint := "name one with --lookupd-http-address or NSQ_LOOKUPD_HTTP_ADDRESSES; its HTTP port is 4161 unless it was told otherwise"
	var texts []string
	for _, a := range answers {
		text := fmt.Sprint(a.err)
		if !strings.Contains(text, a.lookupd) {
			text = a.lookupd + ": " + text
		}
		texts = append(texts, text)
		var status *clusterinfo.StatusError
		if errors.As(a.err, &status) && status.Status == http.StatusNotFound {
			hint = a.lookupd + " is no nsqlookupd; it may be an nsqd, whose HTTP port is 4151. That of nsqlookupd is 4161 unless it was told otherwise"
		}
	}
	return &failure{exitUnreachable, fmt.Errorf("no nsqlookupd answers: %s", strings.Join(texts, "; ")), hint}
}

// view returns what all nsqds say now, and of each cluster of nsqlookupds one, the
// leader if there is one: its copy of the registry is the newest, and has what was just
// written. It fails if no nsqlookupd answers.
func (p *program) view(ctx context.Context) (*clusterinfo.View, error) {
	addresses, answers, err := p.findLeader(ctx)
	if err != nil {
		return nil, err
	}
	return p.viewOf(ctx, sources(addresses, answers))
}

// viewAll is view with all nsqlookupds, for those who ask how they are.
func (p *program) viewAll(ctx context.Context) (*clusterinfo.View, error) {
	addresses, _, err := p.find(ctx)
	if err != nil {
		return nil, err
	}
	return p.viewOf(ctx, addresses)
}

// sources returns those of addresses that do not belong to the cluster of the best of
// answers, and that one's. What does not answer most likely does.
func sources(addresses []string, answers []answer) []string {
	best := bestOf(answers)
	if best.cluster == nil || best.cluster.ClusterID == "" {
		return addresses
	}
	list := []string{best.lookupd}
	for _, a := range answers {
		switch {
		case errors.Is(a.err, clusterinfo.ErrNotClustered), a.cluster != nil && a.cluster.ClusterID != best.cluster.ClusterID:
			list = append(list, a.lookupd)
		}
	}
	return list
}

func (p *program) viewOf(ctx context.Context, lookupds []string) (*clusterinfo.View, error) {
	poller, stop, err := p.poll(ctx, lookupds, time.Minute)
	if err != nil {
		return nil, err
	}
	stop()
	return poller.View(), nil
}

// poll returns a Poller that has asked all daemons once, and stop, which ends it.
func (p *program) poll(ctx context.Context, lookupds []string, interval time.Duration) (poller *clusterinfo.Poller, stop func(), err error) {
	poller = clusterinfo.NewPoller(p.client, clusterinfo.PollerOptions{
		Lookupds: lookupds, Interval: interval, Timeout: min(askTimeout, p.timeout),
	}, hclog.NewNullLogger())
	running, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { poller.Run(running) })
	stop = func() {
		cancel()
		wg.Wait()
	}
	asking, done := context.WithTimeout(ctx, p.timeout)
	defer done()
	err = poller.Refresh(asking)
	if ctx.Err() != nil {
		stop()
		return nil, nil, err
	}
	// Short of time is no failure: the View says who has not answered.
	var answers []answer
	for _, l := range poller.View().Lookupds {
		if l.State == clusterinfo.Up {
			return poller, stop, nil
		}
		answers = append(answers, answer{lookupd: l.Address, err: l.Err})
	}
	stop()
	return nil, nil, unreachable(answers)
}

// missing is the failure of a page from which the numbers of some daemons are missing;
// nil if it is complete.
func missing(v *clusterinfo.View) error {
	var texts []string
	if c, _ := v.Cluster(); c == nil {
		// What is not replicated, none says for another.
		for _, l := range v.Lookupds {
			if l.State != clusterinfo.Up {
				texts = append(texts, fmt.Sprintf("nsqlookupd %s: %v", l.Address, l.Err))
			}
		}
	}
	for _, n := range v.Nodes {
		if n.Stale() && n.GoneSince.IsZero() {
			texts = append(texts, fmt.Sprintf("nsqd %s: %v", n.Address, n.Err))
		}
	}
	if texts == nil {
		return nil
	}
	return &failure{exitPartial, fmt.Errorf("not all is in this: %s", strings.Join(texts, "; ")),
		"nsqctl doctor says what is wrong with them"}
}

// targets returns whom an action on topics is sent to: of each cluster of nsqlookupds
// one, of those without a cluster all, whether they answer or not.
func targets(v *clusterinfo.View) []string {
	cluster, from := v.Cluster()
	var lookupds []string
	if from != nil {
		lookupds = append(lookupds, from.Address)
	}
	for _, l := range v.Lookupds {
		switch {
		case l.Cluster != nil && cluster != nil && l.Cluster.ClusterID == cluster.ClusterID && cluster.ClusterID != "":
		case l.State != clusterinfo.Up && cluster != nil && cluster.Voters > 1:
			// Most likely a member, and the others act for it.
		case from == nil || l.Address != from.Address:
			lookupds = append(lookupds, l.Address)
		}
	}
	return lookupds
}

// cluster returns what the leader says of the cluster, or the best informed of those
// that answer, and the address of who says it.
func (p *program) cluster(ctx context.Context) (*clusterinfo.Cluster, string, error) {
	_, answers, err := p.findLeader(ctx)
	if err != nil {
		return nil, "", err
	}
	best := bestOf(answers)
	if best.cluster == nil {
		return nil, "", &failure{exitFailed, fmt.Errorf("%s: %w", p.lookupds[0], clusterinfo.ErrNotClustered),
			"nsqctl status and the topic, channel and node commands work without a cluster"}
	}
	return best.cluster, best.lookupd, nil
}

// findLeader is find, with the answers of all if none of the given ones leads.
func (p *program) findLeader(ctx context.Context) (addresses []string, answers []answer, err error) {
	addresses, answers, err = p.find(ctx)
	if err != nil {
		return nil, nil, err
	}
	best := bestOf(answers)
	if best.cluster == nil || best.cluster.Role == "leader" || best.cluster.Role == "alone" {
		return addresses, answers, nil
	}
	asking, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	return addresses, append(answers, p.askClusters(asking, cancel, addresses[len(p.lookupds):])...), nil
}

// bestOf returns the leader's answer or, without one, that of the newest term and log.
func bestOf(answers []answer) answer {
	var best answer
	for _, a := range answers {
		switch c := a.cluster; {
		case c == nil:
		case best.cluster == nil,
			c.Role == "leader" && (best.cluster.Role != "leader" || c.Term > best.cluster.Term),
			best.cluster.Role != "leader" && (c.Term > best.cluster.Term || c.Term == best.cluster.Term && c.AppliedIndex > best.cluster.AppliedIndex):
			best = a
		}
	}
	return best
}
