package localcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"nsqraft/internal/ports"
)

// addresses are where one process is reached; what it does not have is empty.
type addresses struct {
	TCP  string `json:"tcp,omitempty"`
	HTTP string `json:"http,omitempty"`
	Raft string `json:"raft,omitempty"` // its proxy's
}

// layoutFile, in the cluster's folder, holds the addresses of all processes by name.
// Nodes know each other by them for ever.
const layoutFile = "addresses.json"

// step is between the ports of one process and the next of its kind.
const step = 100

// usual returns stock's ports for the first of a kind, and those a step on for each other.
func usual(role Role, number int) addresses {
	at := func(port int) string { return loopback(port + (number-1)*step) }
	switch role {
	case Lookupd:
		return addresses{TCP: at(4160), HTTP: at(4161), Raft: at(4162)}
	case NSQD:
		return addresses{TCP: at(4150), HTTP: at(4151)}
	default:
		return addresses{HTTP: at(4171)}
	}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// claims gives out addresses, none twice. It listens at each until release, so that
// nobody else is given it meanwhile.
type claims struct {
	held  []net.Listener
	kept  map[string]bool // those from before are for who had them
	until time.Time       // they may be taken for so long
}

func newClaims(before map[string]addresses) *claims {
	c := &claims{kept: make(map[string]bool), until: time.Now().Add(patience)}
	for _, a := range before {
		c.kept[a.TCP], c.kept[a.HTTP], c.kept[a.Raft] = true, true, true
	}
	return c
}

// take claims addr. An error says, as a rule, that another listens there.
func (c *claims) take(addr string) error {
	until := time.Time{}
	if c.kept[addr] {
		until = c.until
	}
	l, err := listen(addr, until)
	if err == nil {
		c.held = append(c.held, l)
	}
	return err
}

// free claims any free address.
func (c *claims) free() (addr string, err error) {
	for range 100 { // somebody may be quicker, but not each time
		if addr, err = ports.Free(); err != nil {
			return "", err
		}
		if c.kept[addr] {
			continue
		}
		if err = c.take(addr); err == nil {
			return addr, nil
		}
	}
	return "", fmt.Errorf("look for a free port: %w", err)
}

func (c *claims) release() {
	for _, l := range c.held {
		l.Close()
	}
	c.held = nil
}

// patience is how long an address may be taken by what just ends.
const patience = time.Second

// listen is net.Listen, again and again until then: who ended may still be there, and a
// process that is just being started holds, until it runs, what the one that starts it
// has closed.
func listen(addr string, until time.Time) (net.Listener, error) {
	for {
		l, err := net.Listen("tcp", addr)
		if err == nil || time.Now().After(until) {
			return l, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// place fills in where p is reached: as before, or at stock's ports, or, if these
// are taken or not wanted, at free ones. It says which it had to give up.
func (c *claims) place(p *Process, before addresses, wanted addresses) (moved []string, err error) {
	for _, slot := range []struct {
		at             *string
		before, wanted string
		what           string
	}{
		{&p.TCP, before.TCP, wanted.TCP, "TCP"},
		{&p.HTTP, before.HTTP, wanted.HTTP, "HTTP"},
	} {
		first := slot.before
		if first == "" {
			first = slot.wanted
		}
		if first != "" && c.take(first) == nil {
			*slot.at = first
			continue
		}
		if *slot.at, err = c.free(); err != nil {
			return nil, err
		}
		if first != "" {
			moved = append(moved, fmt.Sprintf("%s is taken: %s has its %s port at %s", first, p.Name, slot.what, *slot.at))
		}
	}
	return moved, nil
}

// placeRaft fills in where the other nodes reach p. An address from before has to be
// free: the nodes know each other by it.
func (c *claims) placeRaft(p *Process, before, wanted string) error {
	if before != "" {
		if c.take(before) != nil {
			return fmt.Errorf("the port %s is taken, at which the nodes whose data is in this folder know %s; end what listens there, or use another folder", before, p.Name)
		}
		p.Raft = before
		return nil
	}
	if wanted != "" && c.take(wanted) == nil {
		p.Raft = wanted
		return nil
	}
	var err error
	p.Raft, err = c.free()
	return err
}

// readLayout returns the addresses of the cluster that was in dir before, none if
// there was none.
func readLayout(dir string) (map[string]addresses, error) {
	body, err := os.ReadFile(filepath.Join(dir, layoutFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	layout := make(map[string]addresses)
	if err := json.Unmarshal(body, &layout); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, layoutFile), err)
	}
	return layout, nil
}

func writeLayout(dir string, processes []*Process) error {
	layout := make(map[string]addresses)
	for _, p := range processes {
		layout[p.Name] = addresses{p.TCP, p.HTTP, p.Raft}
	}
	body, err := json.MarshalIndent(layout, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, layoutFile), append(body, '\n'), 0o644)
}
