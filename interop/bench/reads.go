package main

import "fmt"

const (
	// A topic has so many nsqds and channels in the registries that are read, so
	// that an answer is of the same size in the small and in the large one.
	nsqdsPerTopic    = 10
	channelsPerTopic = 10

	// idle keeps simulated nsqds, which send no PINGs, from being hidden, and those
	// of a killed node from going.
	idle  = "--inactive-producer-timeout=1h"
	grace = "--session-grace=1h"
)

// measureReads loads small registries and reads them.
func measureReads(b *bench) error {
	ours, err := b.startCluster(idle)
	if err != nil {
		return err
	}
	stock, err := b.startStock(1, idle)
	if err != nil {
		return err
	}
	line := func(_, i int) string {
		return fmt.Sprintf("REGISTER topic-%d channel-%d", i/channelsPerTopic, i%channelsPerTopic)
	}
	all, err := fillBoth(ours[0], stock[0], nsqdsPerTopic, 10*channelsPerTopic, line)
	if err != nil {
		return err
	}
	defer closeAll(all)
	if err := b.lookups(ours[0], stock[0], "small registry", "lookup", "/lookup?topic=topic-7"); err != nil {
		return err
	}

	closeAll(all) // to stock, the same nsqd on a second connection is another
	line = func(_, i int) string { return fmt.Sprintf("REGISTER topic-%d", i) }
	if all, err = fillBoth(ours[0], stock[0], 200, 100, line); err != nil {
		return err
	}
	defer closeAll(all)
	bare, err := b.startBare(ours[0].http, "/nodes")
	if err != nil {
		return err
	}
	measured, err := b.reads("/nodes", 4, ours[0].http, bare, stock[0].http)
	if err != nil {
		return err
	}
	const what = "`/nodes`, 200 nsqds × 100 topics, 4 clients"
	overBare, overStock := measured[0].over(measured[1]), measured[0].over(measured[2])
	b.report.add(row{
		Group: "lookup", What: what, Ours: measured[0].String(), Peer: "stock " + measured[2].String(),
		Ratio: overStock.ratioText(), Goal: "≥ 100", Verdict: verdict(overStock.median() >= 100),
	}, row{
		Group: "lookup", What: what, Ours: measured[0].String(), Peer: "bare handler " + measured[1].String(),
		Ratio: overBare.ratioText(), Note: "what a Go server can do at most with an answer of this size",
	})
	return nil
}

// fillBoth fills ours and stock alike. The caller closes the connections.
func fillBoth(ours, stock *node, nsqds, per int, line func(nsqd, i int) string) ([]*nsqd, error) {
	a, _, err := fill(ours.tcp, nsqds, per, line)
	if err != nil {
		return nil, err
	}
	b, _, err := fill(stock.tcp, nsqds, per, line)
	if err != nil {
		closeAll(a)
		return nil, err
	}
	return append(a, b...), nil
}

// lookups measures one /lookup at ours, at stock and at a bare handler of ours'
// bytes.
func (b *bench) lookups(ours, stock *node, registry, group, target string) error {
	for _, n := range []*node{ours, stock} {
		if got, err := producers(n.http, target); err != nil || got != nsqdsPerTopic {
			return fmt.Errorf("%s of %s lists %d nsqds, not %d: %v", target, n.id, got, nsqdsPerTopic, err)
		}
	}
	bare, err := b.startBare(ours.http, target)
	if err != nil {
		return err
	}
	var measured []rates
	err = b.profile(group+"-read", cluster{ours}, nil, func() (err error) {
		measured, err = b.reads(target, b.clients, ours.http, bare, stock.http)
		return err
	})
	if err != nil {
		return err
	}
	what := fmt.Sprintf("`/lookup`, %s, %d clients", registry, b.clients)
	overBare, overStock := measured[0].over(measured[1]), measured[0].over(measured[2])
	b.report.add(row{
		Group: group, What: what, Ours: measured[0].String(), Peer: "bare handler " + measured[1].String(),
		Ratio: overBare.ratioText(), Goal: "≥ 0.9", Verdict: verdict(overBare.median() >= 0.9),
	}, row{
		Group: group, What: what, Ours: measured[0].String(), Peer: "stock " + measured[2].String(),
		Ratio: overStock.ratioText(),
	})
	return nil
}
