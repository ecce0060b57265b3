package env

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
)

// A firewall drops what one node gets from some others. It counts what it drops.
type firewall struct {
	conn  *nftables.Conn
	table *nftables.Table
	chain *nftables.Chain
	iface string
	rules []string          // from whom they drop, in their order
	from  map[string]net.IP // and where those are
	past  map[string]uint64 // what rules have dropped that are gone
}

const tableName = "nsqdrill"

// newFirewall makes one, which drops nothing, for an interface in a namespace, or for all
// if iface is "".
func newFirewall(ns netns.NsHandle, iface string) (*firewall, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	w := &firewall{conn: conn, iface: iface, past: make(map[string]uint64)}
	w.table = &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	// One that was left by a drill that was killed goes: what is added for that may be it.
	conn.AddTable(w.table)
	conn.DelTable(w.table)
	conn.AddTable(w.table)
	w.chain = conn.AddChain(&nftables.Chain{Name: "input", Table: w.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	if err := conn.Flush(); err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return w, nil
}

// remove takes it away.
func (w *firewall) remove() error {
	w.conn.DelTable(w.table)
	if err := w.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// set drops everything that comes from those, and from nobody else.
func (w *firewall) set(from map[string]net.IP) error {
	if maps.EqualFunc(from, w.from, net.IP.Equal) {
		return nil
	}
	want := slices.Sorted(maps.Keys(from))
	dropped, err := w.dropped()
	if err != nil {
		return err
	}
	w.conn.FlushChain(w.chain)
	for _, name := range want {
		w.conn.AddRule(&nftables.Rule{Table: w.table, Chain: w.chain, Exprs: w.drop(from[name])})
	}
	if err := w.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	for name, n := range dropped {
		w.past[name] += n
	}
	for _, name := range want {
		w.past[name] += 0 // known from here on
	}
	w.rules, w.from = want, maps.Clone(from)
	return nil
}

// drop is: what comes in at the interface, from that address, is counted and dropped.
func (w *firewall) drop(from net.IP) []expr.Any {
	var exprs []expr.Any
	if w.iface != "" {
		iface := make([]byte, 16) // IFNAMSIZ
		copy(iface, w.iface)
		exprs = append(exprs, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: iface})
	}
	return append(exprs,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, // source address
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from.To4()},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	)
}

// dropped returns how many packets each rule has.
func (w *firewall) dropped() (map[string]uint64, error) {
	rules, err := w.conn.GetRules(w.table, w.chain)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	if len(rules) != len(w.rules) {
		return nil, errors.New("nftables: somebody else has changed the rules")
	}
	all := make(map[string]uint64)
	for i, r := range rules {
		for _, e := range r.Exprs {
			if c, ok := e.(*expr.Counter); ok {
				all[w.rules[i]] = c.Packets
			}
		}
	}
	return all, nil
}

// stopped returns how many packets of one node were dropped so far, and whether they
// are dropped.
func (w *firewall) stopped(from string) (packets uint64, cut bool) {
	now, err := w.dropped()
	if err != nil {
		return w.past[from], false
	}
	return w.past[from] + now[from], slices.Contains(w.rules, from)
}
