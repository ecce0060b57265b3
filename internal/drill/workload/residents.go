package workload

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// residents returns the simulated nsqds that stay with each node, by its name.
func (w *Workload) residents() map[string][]string {
	at := make(map[string][]string)
	for i := range w.opts.Sessions {
		for _, node := range w.homeOf(i) {
			at[node.Name] = append(at[node.Name], w.names.producer("s", i))
		}
	}
	return at
}

// Complete says whether every node knows every nsqd that stays with it: those that are
// simulated, and the real ones. A stock nsqlookupd that has started again does not, until
// they have noticed.
func (w *Workload) Complete(ctx context.Context) bool {
	at := w.residents()
	for _, n := range w.nodes {
		known, real, err := w.producers(ctx, n)
		if err != nil || real < len(w.nsqds) {
			return false
		}
		for _, host := range at[n.Name] {
			if !known[host] {
				return false
			}
		}
	}
	return true
}

// producers returns the hosts of the nsqds that a node knows, and how many of them are
// not the workload's.
func (w *Workload) producers(ctx context.Context, n *daemon) (known map[string]bool, real int, err error) {
	r, err := n.api.do(ctx, http.MethodGet, "/nodes", "")
	if err != nil {
		return nil, 0, err
	}
	var nodes struct {
		Producers []struct {
			Address string `json:"broadcast_address"`
			TCP     int    `json:"tcp_port"`
		} `json:"producers"`
	}
	if err := json.Unmarshal(r.body, &nodes); err != nil {
		return nil, 0, err
	}
	known = make(map[string]bool, len(nodes.Producers))
	others := make(map[string]bool)
	for _, p := range nodes.Producers {
		known[p.Address] = true
		if !strings.HasPrefix(p.Address, w.names.tag) {
			others[net.JoinHostPort(p.Address, strconv.Itoa(p.TCP))] = true
		}
	}
	return known, len(others), nil
}
