package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"nsqraft/internal/clusterinfo"
)

// nsqds looks at each nsqd: whether those who are told its address can reach it.
func (d *doctor) nsqds(ctx context.Context, v *clusterinfo.View) {
	if len(v.Nodes) == 0 {
		d.warn("nsqds", "nsqds", "start nsqd with --lookupd-tcp-address", "none is registered")
		return
	}
	dialled := make([]error, len(v.Nodes))
	each(len(v.Nodes), func(i int) { dialled[i] = d.p.dial(ctx, v.Nodes[i].TCPAddress()) })
	for i, n := range v.Nodes {
		subject := "nsqd " + n.Address
		if !n.GoneSince.IsZero() {
			d.warn("registered", subject, "start it again if it was not stopped on purpose", "listed by no nsqlookupd since %s", ago(v.At, n.GoneSince))
			continue
		}
		switch {
		case !n.Stale():
			d.ok("reach", subject, "answers in %s", millis(ms(n.RoundTrip)))
		default:
			d.fail("reach", subject, reachHint(n.Err, "look whether it hangs"), "%v", n.Err)
		}
		d.broadcast(v, n, subject, dialled[i])
		if not := notListedBy(v, n); len(not) > 0 && n.State != clusterinfo.Draining {
			d.warn("registered", subject, "see its log, and whether its --lookupd-tcp-address names all", "not with nsqlookupd %s", strings.Join(not, ", "))
		} else {
			d.ok("registered", subject, "with %s", plural(len(n.Lookupds), "nsqlookupd"))
		}
		if n.Stats != nil && n.Stats.Health != "" && n.Stats.Health != "OK" {
			d.fail("health", subject, "see its log; most often its disk is full or has failed", "%s", n.Stats.Health)
		}
		d.disk(subject, n.DiskFreeBytes)
	}
}

// dial says why nobody accepts connections at address, nil if somebody does.
func (p *program) dial(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, min(askTimeout, p.timeout))
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// broadcast judges the address that nsqlookupds give to consumers.
func (d *doctor) broadcast(v *clusterinfo.View, n *clusterinfo.Node, subject string, err error) {
	const hint = "set its --broadcast-address to a name or an address that consumers can reach: it is what nsqlookupd tells them"
	switch {
	case err != nil:
		d.fail("broadcast", subject, hint, "consumers are sent to %s: %v", n.TCPAddress(), err)
	case loopback(n.BroadcastAddress) && !slices.ContainsFunc(v.Lookupds, func(l *clusterinfo.Lookupd) bool { return loopback(hostOf(l.Address)) }):
		d.warn("broadcast", subject, hint, "consumers are sent to %s, which is each one's own machine", n.TCPAddress())
	default:
		d.ok("broadcast", subject, "consumers reach it at %s", n.TCPAddress())
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// hostOf returns the host of a host:port or URL.
func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Hostname()
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// Clocks that differ by more mislead: tombstones and sessions end by them.
const (
	muchSkew = 30 * time.Second
	someSkew = 2 * time.Second // the Date of an answer is one of whole seconds
)

// clocks compares the daemons' with the one here, and the members' with each other.
func (d *doctor) clocks(ctx context.Context, v *clusterinfo.View) {
	var subjects, addresses []string
	for _, l := range v.Lookupds {
		if l.State == clusterinfo.Up {
			subjects, addresses = append(subjects, "nsqlookupd "+l.Address), append(addresses, l.Address)
		}
	}
	for _, n := range v.Nodes {
		if !n.Stale() {
			subjects, addresses = append(subjects, "nsqd "+n.Address), append(addresses, n.Address)
		}
	}
	skews := make([]time.Duration, len(addresses))
	known := make([]bool, len(addresses))
	each(len(addresses), func(i int) { skews[i], known[i] = d.p.skew(ctx, addresses[i]) })
	wrong := false
	for i, subject := range subjects {
		if known[i] && skews[i].Abs() > someSkew {
			d.skewed(subject, "that of this machine", skews[i])
			wrong = true
		}
	}
	if c, from := v.Cluster(); c != nil && from != nil {
		for _, m := range c.Members {
			if skew := time.Duration(m.ClockSkewMS) * time.Millisecond; skew.Abs() > time.Second {
				d.skewed("nsqlookupd "+m.ID, "that of "+c.NodeID, skew)
				wrong = true
			}
		}
	}
	if !wrong && len(subjects) > 0 {
		d.ok("clocks", "all daemons", "none is more than %s off", span(someSkew))
	}
}

func (d *doctor) skewed(subject, of string, skew time.Duration) {
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	add := d.warn
	if skew.Abs() > muchSkew {
		add = d.fail
	}
	add("clocks", subject, "let NTP set the clocks", "its clock is %s %s %s", span(skew.Abs()), direction, of)
}

// skew returns how far the clock of a daemon is ahead, give or take a second.
func (p *program) skew(ctx context.Context, address string) (skew time.Duration, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, min(askTimeout, p.timeout))
	defer cancel()
	f, err := p.fetch(ctx, address, "/ping", 1<<10)
	if err != nil || f.date.IsZero() {
		return 0, false
	}
	// It was read half way, and the rest of its second cut off.
	there := f.date.Add(500 * time.Millisecond)
	return there.Sub(time.Now().Add(-f.took / 2)), true
}

// What folder writes: as often as is quick and still tells.
const (
	fsyncs     = 25
	fsyncBytes = 4 << 10
)

// folder measures what an fsync costs in a folder of this machine.
func (d *doctor) folder(name string) {
	costs, err := fsyncCosts(name)
	subject := "folder " + name
	if err != nil {
		d.fail("fsync", subject, "nsqd and nsqlookupd must be able to write in their --data-path", "%v", err)
		return
	}
	slices.Sort(costs)
	worst := costs[len(costs)-1]
	text := fmt.Sprintf("median %s, worst %s of %d", millis(ms(costs[len(costs)/2])), millis(ms(worst)), len(costs))
	switch {
	case ms(worst) >= slowFsync:
		d.warn("fsync", subject, "too slow for the log of an nsqlookupd, unless the disk was busy: measure again, or use another", "%s", text)
	default:
		d.ok("fsync", subject, "%s", text)
	}
}

func fsyncCosts(folder string) (costs []time.Duration, err error) {
	f, err := os.CreateTemp(folder, ".nsqctl-doctor-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, fsyncBytes)
	for range fsyncs {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		costs = append(costs, time.Since(start))
	}
	return costs, nil
}
