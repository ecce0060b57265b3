package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"nsqraft/internal/clusterinfo"
)

// A topRow is a line of top: a topic, a channel, an nsqd or a consumer. What does not
// fit its kind is zero.
type topRow struct {
	Topic    string   `json:"topic_name,omitempty"`
	Channel  string   `json:"channel_name,omitempty"`
	Node     string   `json:"node,omitempty"`
	Client   string   `json:"client_id,omitempty"`
	Remote   string   `json:"remote_address,omitempty"`
	State    string   `json:"state"`
	Depth    int64    `json:"depth"` // of a topic and of an nsqd with their channels
	InRate   *float64 `json:"published_per_second"`
	OutRate  *float64 `json:"finished_per_second"` // null, as the above: not known
	InFlight int64    `json:"in_flight_count"`
	Deferred int64    `json:"deferred_count"`
	Requeued int64    `json:"requeue_count"`
	TimedOut int64    `json:"timeout_count"`
	Ready    int64    `json:"ready_count"`
	Finished int64    `json:"finish_count"`
	Clients  int64    `json:"client_count"`
	Count    int      `json:"count"` // channels of a topic, topics of an nsqd
}

func (r *topRow) flow(f flow) {
	if f.known {
		r.InRate, r.OutRate = &f.in, &f.out
	}
}

// names are what a filter looks at.
func (r *topRow) names() string {
	return strings.Join([]string{r.Topic, r.Channel, r.Node, r.Client, r.Remote}, "\n")
}

// A listing is one of the lists that top shows.
type listing struct {
	name    string
	columns []column[topRow]
	rows    func(ctx context.Context, p *program, v *clusterinfo.View, r *rates) []topRow
}

var listings = []listing{
	{"topics", topColumns("TOPIC", "DEPTH", "PUB/S", "FIN/S", "IN FLIGHT", "DEFERRED", "CHANNELS", "CLIENTS", "STATE"), topTopics},
	{"channels", topColumns("TOPIC", "CHANNEL", "DEPTH", "IN/S", "FIN/S", "IN FLIGHT", "DEFERRED", "REQUEUED", "TIMED OUT", "CLIENTS", "STATE"), topChannels},
	{"nsqds", topColumns("NSQD", "DEPTH", "PUB/S", "FIN/S", "IN FLIGHT", "TOPICS", "CLIENTS", "STATE"), topNodes},
	{"clients", topColumns("TOPIC", "CHANNEL", "CLIENT", "REMOTE", "NSQD", "RDY", "IN FLIGHT", "FINISHED", "REQUEUED"), topClients},
}

// topColumns returns those of the names.
func topColumns(names ...string) []column[topRow] {
	var columns []column[topRow]
	for _, name := range names {
		columns = append(columns, topColumn(name))
	}
	return columns
}

func topColumn(name string) column[topRow] {
	word := func(f func(topRow) string) column[topRow] {
		return column[topRow]{name: name,
			cell:  func(r topRow) cell { return cell{text: dash(f(r))} },
			order: func(a, b topRow) int { return strings.Compare(f(a), f(b)) }}
	}
	amount := func(f func(topRow) int64) column[topRow] {
		return column[topRow]{name: name, right: true,
			cell:  number(f),
			order: func(a, b topRow) int { return cmp.Compare(f(b), f(a)) }} // the most first
	}
	rate := func(f func(topRow) *float64) column[topRow] {
		value := func(r topRow) float64 {
			if v := f(r); v != nil {
				return *v
			}
			return -1
		}
		return column[topRow]{name: name, right: true,
			cell: func(r topRow) cell {
				if v := f(r); v != nil {
					return cell{text: humanize.CommafWithDigits(*v, 1)}
				}
				return cell{"-", faint}
			},
			order: func(a, b topRow) int { return cmp.Compare(value(b), value(a)) }}
	}
	switch name {
	case "TOPIC":
		return word(func(r topRow) string { return r.Topic })
	case "CHANNEL":
		return word(func(r topRow) string { return r.Channel })
	case "NSQD":
		return word(func(r topRow) string { return r.Node })
	case "CLIENT":
		return word(func(r topRow) string { return r.Client })
	case "REMOTE":
		return word(func(r topRow) string { return r.Remote })
	case "STATE":
		c := word(func(r topRow) string { return r.State })
		c.cell = func(r topRow) cell {
			switch r.State {
			case "ok", "inactive":
				return stateCell(r.State)
			}
			return daemonState(clusterinfo.State(r.State))
		}
		return c
	case "PUB/S", "IN/S":
		return rate(func(r topRow) *float64 { return r.InRate })
	case "FIN/S":
		return rate(func(r topRow) *float64 { return r.OutRate })
	case "DEPTH":
		return amount(func(r topRow) int64 { return r.Depth })
	case "IN FLIGHT":
		return amount(func(r topRow) int64 { return r.InFlight })
	case "DEFERRED":
		return amount(func(r topRow) int64 { return r.Deferred })
	case "REQUEUED":
		return amount(func(r topRow) int64 { return r.Requeued })
	case "TIMED OUT":
		return amount(func(r topRow) int64 { return r.TimedOut })
	case "RDY":
		return amount(func(r topRow) int64 { return r.Ready })
	case "FINISHED":
		return amount(func(r topRow) int64 { return r.Finished })
	case "CLIENTS":
		return amount(func(r topRow) int64 { return r.Clients })
	case "CHANNELS", "TOPICS":
		return amount(func(r topRow) int64 { return int64(r.Count) })
	}
	panic("top has no column " + name)
}

func topTopics(_ context.Context, _ *program, v *clusterinfo.View, r *rates) []topRow {
	var rows []topRow
	for _, t := range v.Topics {
		row := topRow{Topic: t.Name, State: pauseState(t.PausedOn, len(t.Nodes)), Depth: t.Depth, InFlight: t.InFlight, Deferred: t.Deferred,
			Requeued: t.Requeued, TimedOut: t.TimedOut, Clients: t.Clients, Count: len(t.Channels), Finished: t.Finished}
		var in, out flow
		for _, n := range t.Nodes {
			in.add(r, place{n.Node.Address, t.Name, ""})
		}
		for _, c := range t.Channels {
			row.Depth += c.Depth
			for _, n := range c.Nodes {
				out.add(r, place{n.Node.Address, t.Name, c.Name})
			}
		}
		row.flow(flow{in.in, out.out, in.known})
		rows = append(rows, row)
	}
	return rows
}

func topChannels(_ context.Context, _ *program, v *clusterinfo.View, r *rates) []topRow {
	var rows []topRow
	for _, t := range v.Topics {
		for _, c := range t.Channels {
			row := topRow{Topic: t.Name, Channel: c.Name, State: pauseState(c.PausedOn, len(c.Nodes)), Depth: c.Depth, InFlight: c.InFlight,
				Deferred: c.Deferred, Requeued: c.Requeued, TimedOut: c.TimedOut, Clients: c.Clients, Finished: c.Finished}
			var f flow
			for _, n := range c.Nodes {
				f.add(r, place{n.Node.Address, t.Name, c.Name})
			}
			row.flow(f)
			rows = append(rows, row)
		}
	}
	return rows
}

func topNodes(_ context.Context, _ *program, v *clusterinfo.View, r *rates) []topRow {
	var rows []topRow
	for _, n := range v.Nodes {
		row := topRow{Node: n.Address, State: string(n.State), Depth: n.Depth, InFlight: n.InFlight, Clients: n.Clients, Finished: n.Finished}
		var in, out flow
		if n.Stats != nil {
			in.known = !n.Stale()
			row.Count = len(n.Stats.Topics)
			for _, t := range n.Stats.Topics {
				in.add(r, place{n.Address, t.Name, ""})
				for _, c := range t.Channels {
					out.add(r, place{n.Address, t.Name, c.Name})
					row.Deferred += c.DeferredCount
					row.Requeued += c.RequeueCount
					row.TimedOut += c.TimeoutCount
				}
			}
		}
		row.flow(flow{in.in, out.out, in.known})
		rows = append(rows, row)
	}
	return rows
}

func topClients(ctx context.Context, p *program, v *clusterinfo.View, _ *rates) []topRow {
	var rows []topRow
	for _, c := range p.clients(ctx, v.Nodes, clusterinfo.StatsFilter{Clients: true}) {
		rows = append(rows, topRow{Topic: c.Topic, Channel: c.Channel, Node: c.Node, Client: c.Client, Remote: c.Remote, State: "ok",
			Ready: c.Ready, InFlight: c.InFlight, Finished: c.Finished, Requeued: c.Requeued})
	}
	return rows
}

// arrange returns the rows that keep says to keep, sorted by a column and, where that
// is the same, by name.
func arrange(rows []topRow, by column[topRow], reverse bool, keep func(*topRow) bool) []topRow {
	kept := []topRow{}
	for i := range rows {
		if keep(&rows[i]) {
			kept = append(kept, rows[i])
		}
	}
	slices.SortFunc(kept, func(a, b topRow) int {
		order := by.order(a, b)
		if reverse {
			order = -order
		}
		return cmp.Or(order, strings.Compare(a.names(), b.names()))
	})
	return kept
}
