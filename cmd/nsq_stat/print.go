package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// headerEvery is how many rows there are under a header.
const headerEvery = 25

const headerFormat = "%7s %7s | %7s %7s %7s %5s %5s | %7s %7s %12s %7s\n"
const rowFormat = "%7d %7d | %7d %7d %7d %5d %5d | %7d %7d %12d %7d\n"

// A printer prints rows.
type printer struct {
	opts *options
	w    io.Writer
	rows int // printed
}

// begin prints the header before the first row, which shows that there will be rows.
func (p *printer) begin() error {
	if p.opts.json {
		return nil
	}
	return p.header()
}

func (p *printer) header() error {
	_, err := fmt.Fprintf(p.w, "%s+%s+%s\n"+headerFormat,
		"------rate------", "----------------depth----------------", "--------------metadata---------------",
		"ingress", "egress", "total", "mem", "disk", "inflt", "def", "req", "t-o", "msgs", "clients")
	return err
}

func (p *printer) print(r row) error {
	p.rows++
	if p.opts.json {
		return json.NewEncoder(p.w).Encode(p.object(r))
	}
	if p.rows%headerEvery == 0 { // as stock, whose header counts as a row
		if err := p.header(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(p.w, rowFormat, int64(math.Round(r.ingress)), int64(math.Round(r.egress)),
		r.depth, r.depth-r.backendDepth, r.backendDepth, r.inFlight, r.deferred, r.requeued, r.timedOut, r.published, r.clients)
	return err
}

// An object is a row as --json prints it. Names are those of /stats.
type object struct {
	Time         time.Time `json:"time"`
	Topic        string    `json:"topic,omitempty"`
	Channel      string    `json:"channel,omitempty"`
	Ingress      float64   `json:"ingress"` // messages a second
	Egress       float64   `json:"egress"`
	Depth        int64     `json:"depth"`
	MemoryDepth  int64     `json:"memory_depth"`
	BackendDepth int64     `json:"backend_depth"`
	InFlight     int64     `json:"in_flight_count"`
	Deferred     int64     `json:"deferred_count"`
	Requeued     int64     `json:"requeue_count"`
	TimedOut     int64     `json:"timeout_count"`
	Messages     int64     `json:"message_count"`
	Clients      int64     `json:"client_count"`
	Nodes        int       `json:"nodes"`        // nsqds that are in the numbers
	FailedNodes  int       `json:"failed_nodes"` // nsqds that gave no answer
}

func (p *printer) object(r row) object {
	return object{
		Time: r.at, Topic: p.opts.topic, Channel: p.opts.channel,
		Ingress: tenth(r.ingress), Egress: tenth(r.egress),
		Depth: r.depth, MemoryDepth: r.depth - r.backendDepth, BackendDepth: r.backendDepth,
		InFlight: r.inFlight, Deferred: r.deferred,
		Requeued: r.requeued, TimedOut: r.timedOut, Messages: r.published, Clients: r.clients,
		Nodes: r.nodes, FailedNodes: r.failed,
	}
}

func tenth(f float64) float64 { return math.Round(f*10) / 10 }
