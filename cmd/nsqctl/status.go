package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"nsqraft/internal/clusterinfo"
)

func newStatusCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "One screen: the cluster, the nsqds, and what is wrong",
		Long: "Shows the cluster, the nsqds, and what is wrong with them. Exit code 0 if all is\nwell, 1 if something is degraded, 2 if something does not work at all, 3 if no\nnsqlookupd answers.",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.show(cmd.Context(), func(ctx context.Context) (*page, error) {
				v, err := p.viewAll(ctx)
				if err != nil {
					return nil, err
				}
				return statusPage(v), nil
			})
		},
	}
}

// exitDown is status's own: it has no other use of 2, wrong usage being known before
// anything is asked.
const exitDown = 2

// A statusReport is what status has to say.
type statusReport struct {
	State    string               `json:"state"` // ok, degraded or down
	Problems []problem            `json:"problems"`
	Cluster  *clusterinfo.Cluster `json:"cluster"` // null: not replicated
	Lookupds []lookupdRow         `json:"lookupds"`
	Nodes    []nodeRow            `json:"nodes"`
	Totals   totals               `json:"totals"`
}

// totals are sums over all nsqds.
type totals struct {
	Topics   int   `json:"topics"`
	Channels int   `json:"channels"`
	Depth    int64 `json:"depth"` // of topics and channels
	InFlight int64 `json:"in_flight_count"`
	Deferred int64 `json:"deferred_count"`
	Clients  int64 `json:"client_count"`
	Messages int64 `json:"message_count"`
	Nodes    int   `json:"nodes"`
	Stale    int   `json:"stale_nodes"` // whose numbers are old or missing
}

func newTotals(v *clusterinfo.View) totals {
	sum := totals{Topics: len(v.Topics), Nodes: len(v.Nodes)}
	for _, t := range v.Topics {
		sum.Channels += len(t.Channels)
		sum.Depth += t.Depth
		sum.InFlight += t.InFlight
		sum.Deferred += t.Deferred
		sum.Clients += t.Clients
		sum.Messages += t.MessageCount
		for _, c := range t.Channels {
			sum.Depth += c.Depth
		}
	}
	for _, n := range v.Nodes {
		if n.Stale() {
			sum.Stale++
		}
	}
	return sum
}

// A lookupdRow is one nsqlookupd as it answers from here.
type lookupdRow struct {
	Address     string  `json:"address"`
	State       string  `json:"state"`
	Error       string  `json:"error,omitempty"`
	Node        string  `json:"node_id"` // empty: not replicated
	Role        string  `json:"role"`
	Version     string  `json:"version"`
	Producers   int     `json:"producers"`
	RoundTripMS float64 `json:"round_trip_ms"`
	StaleMS     int64   `json:"stale_ms"` // -1: unknown
}

func newLookupdRow(l *clusterinfo.Lookupd) lookupdRow {
	r := lookupdRow{
		Address: l.Address, State: string(l.State), Version: l.Version, Producers: len(l.Producers),
		RoundTripMS: float64(l.RoundTrip.Microseconds()) / 1000, StaleMS: l.StaleMS,
	}
	if l.Err != nil {
		r.Error = l.Err.Error()
	}
	if l.Cluster != nil {
		r.Node, r.Role = l.Cluster.NodeID, l.Cluster.Role
	}
	return r
}

var lookupdColumns = []column[lookupdRow]{
	{name: "NSQLOOKUPD", cell: func(r lookupdRow) cell { return cell{text: r.Address} }},
	{name: "NODE", cell: func(r lookupdRow) cell { return cell{text: dash(r.Node)} }},
	{name: "STATE", cell: func(r lookupdRow) cell { return daemonState(clusterinfo.State(r.State)) }},
	{name: "ROLE", cell: func(r lookupdRow) cell { return cell{text: dash(r.Role)} }},
	{name: "NSQDS", right: true, cell: func(r lookupdRow) cell { return cell{text: fmt.Sprint(r.Producers)} }},
	{name: "RTT", right: true, cell: func(r lookupdRow) cell { return cell{text: millis(r.RoundTripMS)} }},
	{name: "VERSION", cell: func(r lookupdRow) cell { return cell{text: dash(r.Version)} }},
}

// statusPage is the page of status.
func statusPage(v *clusterinfo.View) *page {
	r := statusReport{State: "ok", Problems: problems(v), Lookupds: []lookupdRow{}, Nodes: nodeRows(v), Totals: newTotals(v)}
	for _, l := range v.Lookupds {
		r.Lookupds = append(r.Lookupds, newLookupdRow(l))
	}
	r.Cluster, _ = v.Cluster()
	pg := &page{value: r, rows: r.Problems}
	// The worst is first.
	if len(r.Problems) > 0 {
		switch r.Problems[0].Severity {
		case down:
			r.State, pg.err = "down", &failure{code: exitDown}
		case degraded:
			r.State, pg.err = "degraded", &failure{code: exitFailed}
		}
		pg.value = r
	}
	pg.text = func(t *text) { writeStatus(t, &r) }
	return pg
}

func writeStatus(t *text, r *statusReport) {
	switch r.State {
	case "ok":
		t.line(good, "All is well")
	case "degraded":
		t.line(warning, "Degraded: it works, with less behind it or in part")
	default:
		t.line(bad, "DOWN: something does not work")
	}
	if r.Cluster != nil {
		_, verdict := clusterVerdict(r.Cluster)
		t.line(plain, "%s", strings.TrimSpace(verdict))
	} else {
		t.line(plain, "The nsqlookupds are not replicated: each knows what is registered with it")
	}
	sum := r.Totals
	numbers := fmt.Sprintf("%s, %s, depth %s, %s in flight, %s", plural(sum.Topics, "topic"), plural(sum.Channels, "channel"),
		count(sum.Depth), count(sum.InFlight), plural(int(sum.Clients), "consumer"))
	if sum.Stale > 0 {
		numbers += fmt.Sprintf(" (without or with old numbers of %d of %s)", sum.Stale, plural(sum.Nodes, "nsqd"))
	}
	t.line(plain, "%s", numbers)
	t.blank()
	writeTable(t, lookupdColumns, r.Lookupds)
	if len(r.Nodes) > 0 {
		t.blank()
		writeTable(t, nodeColumns, r.Nodes)
	}
	for i, problem := range r.Problems {
		if i == 0 {
			t.blank()
		}
		mood := map[severity]tone{down: bad, degraded: warning, remark: plain}[problem.Severity]
		t.line(mood, "%s: %s: %s", problem.Severity, problem.Subject, problem.Text)
		if problem.Hint != "" {
			t.line(faint, "  -> %s", problem.Hint)
		}
	}
}
