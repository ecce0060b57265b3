package env

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"nsqraft/internal/localcluster"
)

// linkPrefix begins the name of the only interface that this machine itself gets.
const linkPrefix = "nsqdrill"

// Interfaces within the namespaces.
const (
	clientLink   = "c0"
	internalLink = "i0"
	bridge       = "br0"
)

// namespaces are the network of a cluster in which each process has a network namespace
// of its own. Clients, which are on this machine, and nsqds reach it through a bridge.
// nsqlookupds reach each other through a switch, which is another process.
//
// The namespaces have no names and the bridge is in one of them: all of it goes when the
// processes and this one have ended, in whichever way.
type namespaces struct {
	bridged netns.NsHandle
	hub     *netlink.Handle // where the bridge is
	uplink  netlink.Link    // this machine's end
	hosts   map[string]*host
	nodes   []string // with links between them
	sw      *switchProcess
	down    map[string]bool // whose link to clients was taken away
	walls   map[string]*firewall
	noWalls string // why there are none, and the switch cuts
}

// A host is one namespace.
type host struct {
	ns               netns.NsHandle
	client, internal net.IP
}

// OpenNetns starts a cluster in which each process has a network namespace of its own,
// which takes CAP_NET_ADMIN and CAP_SYS_ADMIN. It does not wait until it is ready.
func OpenNetns(o ProcessesOptions) (*Processes, error) {
	e, cfg := newProcesses("netns", o)
	e.ownLinks = true
	linked := e.nodes
	if o.Stock {
		linked = nil
	}
	n, err := newNamespaces(append(e.nodes[:len(e.nodes):len(e.nodes)], e.nsqds...), linked)
	if err != nil {
		return nil, fmt.Errorf("network namespaces: %w", err)
	}
	e.net = n
	cfg.Hosts = n.asHosts()
	e.cluster = localcluster.New(cfg)
	return e, e.open()
}

// NetnsMissing says why OpenNetns cannot work here; "" if it can.
func NetnsMissing() string {
	n, err := newNamespaces([]string{"n1"}, []string{"n1"})
	if err == nil {
		err = n.close()
	}
	if err != nil {
		return "network namespaces need CAP_NET_ADMIN, CAP_SYS_ADMIN, /dev/net/tun, and that nsqdrill can start itself once more: " + err.Error()
	}
	return ""
}

// newNamespaces makes one for each of names, of which linked have links to each other.
func newNamespaces(names, linked []string) (_ *namespaces, err error) {
	n := &namespaces{bridged: netns.None(), hosts: make(map[string]*host), nodes: linked, sw: new(switchProcess), down: make(map[string]bool), walls: make(map[string]*firewall)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	subnet, err := freeSubnet()
	if err != nil {
		return nil, err
	}
	if err := n.makeBridge(subnet); err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	for i, name := range names {
		h := &host{ns: netns.None(), client: net.IPv4(198, 18, subnet, byte(10+i)), internal: net.IPv4(198, 19, subnet, byte(10+i))}
		n.hosts[name] = h
		if err := n.connect(name, h); err != nil {
			return nil, fmt.Errorf("namespace of %s: %w", name, err)
		}
	}
	for _, name := range linked {
		if err := n.link(name); err != nil {
			return nil, fmt.Errorf("internal link of %s: %w", name, err)
		}
	}
	n.raiseWalls()
	if err := n.sw.start(); err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	return n, nil
}

// freeSubnet returns the third byte of a network in 198.18.0.0/16, which is for tests
// of networks, that this machine does not use.
func freeSubnet() (byte, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, err
	}
	used := func(ip net.IP) bool {
		for _, r := range routes {
			if ones := 0; r.Dst != nil && r.Dst.Contains(ip) {
				if ones, _ = r.Dst.Mask.Size(); ones > 0 {
					return true
				}
			}
		}
		return false
	}
	for _, b := range rand.Perm(256) {
		if !used(net.IPv4(198, 18, byte(b), 1)) {
			return byte(b), nil
		}
	}
	return 0, errors.New("all of 198.18.0.0/16 is in use")
}

// makeBridge makes the bridge, and this machine's link to it.
func (n *namespaces) makeBridge(subnet byte) (err error) {
	if n.bridged, err = newNamespace(); err != nil {
		return err
	}
	if n.hub, err = netlink.NewHandleAt(n.bridged); err != nil {
		return err
	}
	if err := n.hub.LinkAdd(&netlink.Bridge{LinkAttrs: named(bridge)}); err != nil {
		return err
	}
	if err := raise(n.hub, bridge, nil); err != nil {
		return err
	}
	name := fmt.Sprintf("%s%04x", linkPrefix, rand.IntN(1<<16))
	const far = "up0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: named(name), PeerName: far, PeerNamespace: netlink.NsFd(n.bridged)}); err != nil {
		return err
	}
	if n.uplink, err = netlink.LinkByName(name); err != nil {
		return err
	}
	own, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer own.Close()
	return errors.Join(raise(own, name, net.IPv4(198, 18, subnet, 1)), n.join(far))
}

// join raises an interface of the bridge's namespace and puts it on the bridge.
func (n *namespaces) join(name string) error {
	br, err := n.hub.LinkByName(bridge)
	if err != nil {
		return err
	}
	link, err := n.hub.LinkByName(name)
	if err != nil {
		return err
	}
	return errors.Join(n.hub.LinkSetMaster(link, br), n.hub.LinkSetUp(link))
}

// connect makes the namespace of a process and its link to the bridge.
func (n *namespaces) connect(name string, h *host) (err error) {
	if h.ns, err = newNamespace(); err != nil {
		return err
	}
	if err := n.hub.LinkAdd(&netlink.Veth{LinkAttrs: named(name), PeerName: clientLink, PeerNamespace: netlink.NsFd(h.ns)}); err != nil {
		return err
	}
	if err := n.join(name); err != nil {
		return err
	}
	there, err := netlink.NewHandleAt(h.ns)
	if err != nil {
		return err
	}
	defer there.Close()
	return errors.Join(raise(there, "lo", nil), raise(there, clientLink, h.client))
}

// link gives a node its link to the switch. It knows the others' hardware addresses, so
// that what is cut in one direction is not cut in the other for want of them.
func (n *namespaces) link(name string) error {
	h := n.hosts[name]
	var tap *os.File
	err := in(h.ns, func() (err error) {
		tap, err = openTap(internalLink)
		return err
	})
	if err != nil {
		return err
	}
	n.sw.connect(name, hardware(h.internal), tap)
	there, err := netlink.NewHandleAt(h.ns)
	if err != nil {
		return err
	}
	defer there.Close()
	link, err := there.LinkByName(internalLink)
	if err != nil {
		return err
	}
	if err := there.LinkSetHardwareAddr(link, hardware(h.internal)); err != nil {
		return err
	}
	if err := raise(there, internalLink, h.internal); err != nil {
		return err
	}
	for _, other := range n.nodes {
		if ip := n.hosts[other].internal; other != name {
			err = errors.Join(err, there.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: ip, HardwareAddr: hardware(ip)}))
		}
	}
	return err
}

// raiseWalls gives each node a firewall, or says why there are none.
func (n *namespaces) raiseWalls() {
	for _, name := range n.nodes {
		wall, err := newFirewall(n.hosts[name].ns, internalLink)
		if err != nil {
			n.noWalls = err.Error()
			n.walls = nil
			return
		}
		n.walls[name] = wall
	}
}

func (n *namespaces) asHosts() map[string]localcluster.Host {
	hosts := make(map[string]localcluster.Host)
	for name, h := range n.hosts {
		hosts[name] = localcluster.Host{Addr: h.client.String(), Internal: h.internal.String(), Start: func(cmd *exec.Cmd) error {
			return in(h.ns, cmd.Start)
		}}
	}
	return hosts
}

func (n *namespaces) missing(k Kind) string {
	if k == Lag {
		return "links to clients have no switch that could delay packets; the proxies of processes can"
	}
	if len(n.nodes) == 0 && k != Unreach && k != Unplug {
		return "stock nsqlookupds have no links between them"
	}
	return ""
}

// set cuts with firewalls, takes links to clients down, and leaves the rest to the
// switch.
func (n *namespaces) set(all map[path]effect) error {
	var errs []error
	for name := range n.hosts {
		if down := all[path{clients, name}].Cut; down != n.down[name] {
			err := n.setLink(name, down)
			if err == nil {
				n.down[name] = down
			}
			errs = append(errs, err)
		}
	}
	switched := make(map[path]effect)
	cuts := make(map[string][]string) // by who gets nothing
	for p, e := range all {
		if p.From == clients || p.To == clients {
			continue
		}
		if e.Cut && n.walls[p.To] != nil {
			cuts[p.To] = append(cuts[p.To], p.From)
			e.Cut = false
		}
		switched[p] = e
	}
	for name, wall := range n.walls {
		from := make(map[string]net.IP)
		for _, other := range cuts[name] {
			from[other] = n.hosts[other].internal
		}
		errs = append(errs, wall.set(from))
	}
	errs = append(errs, n.sw.set(switched))
	return errors.Join(errs...)
}

// setLink takes the bridge's end of a link down or brings it up: packets vanish.
func (n *namespaces) setLink(name string, down bool) error {
	link, err := n.hub.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link of %s: %w", name, err)
	}
	if down {
		return n.hub.LinkSetDown(link)
	}
	return n.hub.LinkSetUp(link)
}

func (n *namespaces) counts(p path) counts {
	c := n.sw.counts(p)
	if wall := n.walls[p.To]; wall != nil {
		stopped, cut := wall.stopped(p.From)
		c.Stopped += stopped
		if cut {
			c.Passed = 0 // the switch, but not the firewall, which lets nothing pass
		}
	}
	return c
}

func (n *namespaces) close() error {
	errs := []error{n.sw.close()}
	if n.uplink != nil {
		if err := netlink.LinkDel(n.uplink); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", n.uplink.Attrs().Name, err))
		} else {
			n.uplink = nil
		}
	}
	if n.hub != nil {
		n.hub.Close()
		n.hub = nil
	}
	for _, h := range n.hosts {
		if h.ns.IsOpen() {
			errs = append(errs, h.ns.Close())
		}
	}
	if n.bridged.IsOpen() {
		errs = append(errs, n.bridged.Close())
	}
	return errors.Join(errs...)
}

func named(name string) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return attrs
}

// raise gives an interface an address, if there is one, and brings it up.
func raise(h *netlink.Handle, name string, ip net.IP) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if ip != nil {
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(24, 32)}}); err != nil {
			return err
		}
	}
	return h.LinkSetUp(link)
}

// hardware returns the address of the interface that has an IP address.
func hardware(ip net.IP) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x00}, ip.To4()...)
}

// newNamespace returns a new one. The caller stays in its own.
func newNamespace() (ns netns.NsHandle, err error) {
	ns = netns.None()
	err = onThread(func() (err error) {
		ns, err = netns.New()
		return err
	})
	return ns, err
}

// in does something with the thread in a namespace.
func in(ns netns.NsHandle, do func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return err
		}
		return do()
	})
}

// onThread lets do change the namespace of the thread, and brings it back. The thread
// lives on: the end of the one that started a child would end the child.
func onThread(do func() error) error {
	runtime.LockOSThread()
	own, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer own.Close()
	err = do()
	now, unknown := netns.Get()
	if unknown == nil {
		defer now.Close()
	}
	if unknown != nil || !now.Equal(own) {
		if err := netns.Set(own); err != nil {
			panic(fmt.Sprintf("a thread cannot leave a network namespace: %v", err))
		}
	}
	runtime.UnlockOSThread()
	return err
}
