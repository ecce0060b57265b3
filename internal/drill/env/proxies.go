package env

import (
	"fmt"

	"nsqraft/internal/localcluster"
)

// proxies are the network of a cluster on loopback.
type proxies struct {
	cluster *localcluster.Cluster
	stock   bool
}

func (n proxies) missing(k Kind) string {
	switch k {
	case Unreach, Lag:
		return ""
	case Loss, Reorder, Duplicate:
		return "a TCP proxy sees no packets; network namespaces have them"
	}
	if n.stock {
		return "stock nsqlookupds have no links between them"
	}
	return ""
}

func (n proxies) set(all map[path]effect) error {
	shapes := make(map[localcluster.Link]localcluster.Shape)
	for p, e := range all {
		if e.Loss > 0 || e.Reorder > 0 || e.Duplicate > 0 {
			return fmt.Errorf("from %s to %s: a TCP proxy sees no packets", p.From, p.To)
		}
		shapes[linkOf(p)] = localcluster.Shape{Cut: e.Cut, Delay: e.Delay, Jitter: e.Jitter}
	}
	n.cluster.Shape(shapes)
	return nil
}

func (n proxies) counts(p path) counts {
	t := n.cluster.Traffic(linkOf(p))
	return counts{Passed: t.Passed, Late: t.Late, Stopped: t.Stopped}
}

func (n proxies) close() error { return nil }

func linkOf(p path) localcluster.Link {
	name := func(end string) string {
		if end == clients {
			return localcluster.Clients
		}
		return end
	}
	return localcluster.Link{From: name(p.From), To: name(p.To)}
}
