package env

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A switchProcess runs a packetSwitch in a process of its own. In this one every frame
// would wait behind whatever else it does, such as being thousands of clients, and nodes
// would lose each other for no fault of theirs. A real network does not wait for a
// processor either, so the process goes before others where that is allowed.
//
// It is this program once more. It ends when this process does, in whichever way.
type switchProcess struct {
	ports []switchPort
	taps  []*os.File // of the ports, until start
	cmd   *exec.Cmd

	mu      sync.Mutex
	control net.Conn // nil before start, and after close
	enc     *gob.Encoder
	dec     *gob.Decoder
	failed  error // what it could not do; it is asked nothing any more
}

// A switchPort says where a node is connected.
type switchPort struct {
	Name string
	MAC  net.HardwareAddr
}

// A switchOrder is what the switch is told: to do so with what is sent from here on, or
// which path to count. It answers each with a switchAnswer.
type switchOrder struct {
	Set     bool
	Effects map[path]effect
	Of      path
}

type switchAnswer struct{ Counts counts }

const (
	switchName     = "nsqdrill-switch"       // by which the program knows that it is to be the switch, and ps shows it
	switchPorts    = "NSQDRILL_SWITCH_PORTS" // its ports as JSON, in its environment
	switchControl  = 3                       // its file of orders; those of the ports follow
	switchAnswers  = 5 * time.Second         // in which it answers an order, and ends
	switchPriority = -10                     // as nice has it
)

func init() {
	if os.Args[0] != switchName {
		return
	}
	if err := beSwitch(os.Getenv(switchPorts)); err != nil {
		fmt.Fprintln(os.Stderr, switchName+":", err)
		os.Exit(4)
	}
	os.Exit(0)
}

// beSwitch is what the process does that a switchProcess starts, until its orders end.
func beSwitch(described string) error {
	var ports []switchPort
	if err := json.Unmarshal([]byte(described), &ports); err != nil {
		return err
	}
	s := &packetSwitch{wake: make(chan struct{}, 1), routes: make(map[path]*route)}
	for i, p := range ports {
		fd := switchControl + 1 + i
		if err := unix.SetNonblock(fd, true); err != nil { // so that a read waits for no thread
			return err
		}
		s.ports = append(s.ports, &port{p.Name, p.MAC, os.NewFile(uintptr(fd), p.Name)})
	}
	control := os.NewFile(switchControl, "orders")
	s.start()
	dec, enc := gob.NewDecoder(control), gob.NewEncoder(control)
	for {
		var o switchOrder
		if err := dec.Decode(&o); err == io.EOF {
			return nil // who gave them has ended
		} else if err != nil {
			return err
		}
		if o.Set {
			s.set(o.Effects)
		}
		if err := enc.Encode(switchAnswer{s.counts(o.Of)}); err != nil {
			return err
		}
	}
}

// connect gives a node a port, before start. The file is the switch's from now on.
func (s *switchProcess) connect(name string, mac net.HardwareAddr, tap *os.File) {
	s.ports, s.taps = append(s.ports, switchPort{name, mac}), append(s.taps, tap)
}

// start begins to switch, if there are ports.
func (s *switchProcess) start() error {
	if len(s.ports) == 0 {
		return nil
	}
	ports, err := json.Marshal(s.ports)
	if err != nil {
		return err
	}
	own, theirs, err := controlPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	s.cmd = exec.Command("/proc/self/exe")
	s.cmd.Args = []string{switchName}
	s.cmd.Env = []string{switchPorts + "=" + string(ports)}
	s.cmd.ExtraFiles = slices.Concat([]*os.File{theirs}, s.taps)
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is not for it
	if err := s.cmd.Start(); err != nil {
		own.Close()
		return err
	}
	s.control, s.enc, s.dec = own, gob.NewEncoder(own), gob.NewDecoder(own)
	s.closeTaps()
	if _, err := s.ask(switchOrder{}); err != nil { // by then it switches
		return err
	}
	hurry(s.cmd.Process.Pid)
	return nil
}

// controlPair returns the two ends of a connection within this machine.
func controlPair() (own net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours := os.NewFile(uintptr(fds[0]), "orders")
	defer ours.Close()
	theirs = os.NewFile(uintptr(fds[1]), "orders")
	if own, err = net.FileConn(ours); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return own, theirs, nil
}

// hurry lets all threads of a process go before others; without the right to it it is
// one of them.
func hurry(pid int) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, switchPriority)
		}
	}
}

// set says what becomes of what is sent from here on.
func (s *switchProcess) set(effects map[path]effect) error {
	if s.cmd == nil {
		return nil // there are no links
	}
	_, err := s.ask(switchOrder{Set: true, Effects: effects})
	return err
}

// counts returns what was seen of a path, nothing if the switch does not answer.
func (s *switchProcess) counts(p path) counts {
	c, _ := s.ask(switchOrder{Of: p})
	return c
}

func (s *switchProcess) ask(o switchOrder) (counts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failed != nil:
		return counts{}, s.failed // what it answers now may be of an earlier order
	case s.control == nil:
		return counts{}, errors.New("the switch is not there")
	}
	s.control.SetDeadline(time.Now().Add(switchAnswers))
	var a switchAnswer
	err := s.enc.Encode(o)
	if err == nil {
		err = s.dec.Decode(&a)
	}
	if err != nil {
		s.failed = fmt.Errorf("the switch does not answer: %w", err)
		return counts{}, s.failed
	}
	return a.Counts, nil
}

func (s *switchProcess) closeTaps() {
	for _, tap := range s.taps {
		tap.Close()
	}
	s.taps = nil
}

// close ends it and waits for it. It may be called before start, and twice.
func (s *switchProcess) close() error {
	s.closeTaps()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.control == nil {
		return nil
	}
	s.control.Close()
	s.control = nil
	late := time.AfterFunc(switchAnswers, func() { s.cmd.Process.Kill() })
	defer late.Stop()
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	return nil
}
