package env

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"

	"github.com/vishvananda/netns"
)

// containerNetwork cuts between containers that run on this machine, with a firewall in
// the network namespace of each.
type containerNetwork struct {
	whereIs func(node string) (pid int, ip net.IP, err error)
	guard   *guardian                 // nil: the containers do not outlive us
	walls   map[string]*containerWall // by who gets nothing
	past    map[path]uint64           // what walls have stopped that are gone
}

type containerWall struct {
	*firewall
	pid  int
	ns   netns.NsHandle
	undo string // the guardian's line
}

func newContainerNetwork(whereIs func(string) (int, net.IP, error), guard *guardian) network {
	return &containerNetwork{whereIs, guard, make(map[string]*containerWall), make(map[path]uint64)}
}

func (n *containerNetwork) missing(k Kind) string {
	switch k {
	case Isolate, Cut, Deaf, Mute, Split:
		if os.Geteuid() != 0 {
			return "a firewall in a container's network needs root on the machine on which it runs"
		}
		for _, name := range []string{"nsenter", "nft"} {
			if _, err := exec.LookPath(name); err != nil && n.guard != nil {
				return "a firewall in a container that outlives the drill has to be removed also if nsqdrill is killed, and there is no " + name + " for that"
			}
		}
		return ""
	}
	return "packets between containers are cut, and not delayed, lost or reordered"
}

func (n *containerNetwork) set(all map[path]effect) error {
	cuts := make(map[string][]string)
	for p, e := range all {
		if e.Cut {
			cuts[p.To] = append(cuts[p.To], p.From)
		}
	}
	var errs []error
	for to := range n.walls {
		if len(cuts[to]) == 0 {
			errs = append(errs, n.cut(to, nil))
		}
	}
	for to, from := range cuts {
		errs = append(errs, n.cut(to, from))
	}
	return errors.Join(errs...)
}

// cut lets nothing from those arrive at a node. A container that does not run has no
// network, and no need of a firewall.
func (n *containerNetwork) cut(to string, from []string) error {
	pid, _, err := n.whereIs(to)
	if err != nil {
		return err
	}
	wall := n.walls[to]
	if wall != nil && wall.pid != pid {
		for name := range wall.past {
			packets, _ := wall.stopped(name)
			n.past[path{name, to}] += packets
		}
		delete(n.walls, to)
		if err := errors.Join(n.forget(wall), wall.ns.Close()); err != nil {
			return err
		}
		wall = nil
	}
	if pid == 0 || wall == nil && len(from) == 0 {
		return nil
	}
	if wall == nil {
		if wall, err = n.raise(pid); err != nil {
			return fmt.Errorf("firewall of %s: %w", to, err)
		}
		n.walls[to] = wall
	}
	addrs := make(map[string]net.IP)
	for _, name := range from {
		_, ip, err := n.whereIs(name)
		if err != nil {
			return err
		}
		if ip != nil { // it has none while it does not run
			addrs[name] = ip
		}
	}
	return wall.set(addrs)
}

func (n *containerNetwork) raise(pid int) (*containerWall, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, err
	}
	w := &containerWall{pid: pid, ns: ns}
	if n.guard != nil {
		at := fmt.Sprintf("/proc/%d/ns/net", pid)
		w.undo = fmt.Sprintf("[ ! -e %s ] || nsenter --net=%s nft delete table ip %s", at, at, tableName)
		err = n.guard.expect(w.undo)
	}
	if err == nil {
		w.firewall, err = newFirewall(ns, "")
	}
	if err != nil {
		return nil, errors.Join(err, n.forget(w), ns.Close())
	}
	return w, nil
}

// forget tells the guardian that a wall has gone.
func (n *containerNetwork) forget(w *containerWall) error {
	if n.guard == nil {
		return nil
	}
	return n.guard.forget(w.undo)
}

func (n *containerNetwork) counts(p path) counts {
	stopped := n.past[p]
	if wall := n.walls[p.To]; wall != nil {
		now, _ := wall.stopped(p.From)
		stopped += now
	}
	return counts{Stopped: stopped}
}

func (n *containerNetwork) close() error {
	var errs []error
	for to, wall := range n.walls {
		err := wall.remove()
		if err == nil {
			err = n.forget(wall)
		}
		errs = append(errs, err, wall.ns.Close())
		delete(n.walls, to)
	}
	return errors.Join(errs...)
}
