package env

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxFrame   = 64 << 10
	maxDelayed = 8 << 10 // frames; more are lost, as in a full queue of a real switch
)

// A packetSwitch takes the frames that nodes send from their interfaces and gives them
// to those they are for, unless it loses them, or later, or twice.
type packetSwitch struct {
	ports []*port
	wake  chan struct{}

	mu      sync.Mutex
	effects map[path]effect
	routes  map[path]*route
	delayed frames
}

// A port is where one node is connected.
type port struct {
	name string
	mac  net.HardwareAddr
	tap  *os.File
}

// A route is what was sent over a path.
type route struct {
	counts
	sent, delivered uint64    // numbers of frames: the last, and the highest that arrived
	due             time.Time // of the last that was not to be overtaken
}

// A frame is under way.
type frame struct {
	to     *port
	route  *route
	number uint64
	due    time.Time
	bytes  []byte
	late   bool
}

// frames are a heap by due.
type frames []frame

func (f frames) Len() int           { return len(f) }
func (f frames) Less(i, j int) bool { return f[i].due.Before(f[j].due) }
func (f frames) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *frames) Push(x any)        { *f = append(*f, x.(frame)) }
func (f *frames) Pop() any {
	last := (*f)[len(*f)-1]
	(*f)[len(*f)-1] = frame{}
	*f = (*f)[:len(*f)-1]
	return last
}

// start begins to switch, for as long as the process lives.
func (s *packetSwitch) start() {
	for _, p := range s.ports {
		go s.read(p)
	}
	go s.deliver()
}

// set says what becomes of what is sent from here on.
func (s *packetSwitch) set(effects map[path]effect) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.effects = effects
}

func (s *packetSwitch) counts(p path) counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of(p).counts
}

// of returns the route of a path, for who holds the lock.
func (s *packetSwitch) of(p path) *route {
	r := s.routes[p]
	if r == nil {
		r = new(route)
		s.routes[p] = r
	}
	return r
}

// read takes what one node sends.
func (s *packetSwitch) read(from *port) {
	buf := make([]byte, maxFrame)
	for {
		n, err := from.tap.Read(buf)
		if err != nil {
			return // the namespace has gone
		}
		if n < 14 || binary.BigEndian.Uint16(buf[12:]) != unix.ETH_P_IP {
			continue // nodes speak IPv4 and know each other's hardware addresses
		}
		for _, to := range s.ports {
			if string(to.mac) == string(buf[:6]) {
				s.send(from, to, buf[:n])
			}
		}
	}
}

// send decides what becomes of one frame.
func (s *packetSwitch) send(from, to *port, b []byte) {
	now := time.Now()
	s.mu.Lock()
	p := path{from.name, to.name}
	e, r := s.effects[p], s.of(p)
	r.sent++
	f := frame{to: to, route: r, number: r.sent, due: now}
	hit := func(percent int) bool { return percent > 0 && rand.IntN(100) < percent }
	copies := 1
	switch {
	case e.Cut:
		r.Stopped++
		copies = 0
	case hit(e.Loss):
		r.Lost++
		copies = 0
	case hit(e.Duplicate):
		r.Doubled++
		copies = 2
	}
	if copies > 0 {
		f.due, f.late = f.due.Add(e.late()), e.Delay > 0
		if hit(e.Reorder) {
			f.due = f.due.Add(e.Behind)
		} else if f.due.Before(r.due) {
			f.due = r.due // jitter lets nothing overtake
		} else {
			r.due = f.due
		}
	}
	direct := copies > 0 && !f.due.After(now)
	if copies > 0 && !direct {
		f.bytes = append([]byte(nil), b...)
		s.hold(f, copies)
	}
	s.mu.Unlock()
	if direct {
		for range copies {
			s.arrive(f, b)
		}
	}
}

// late returns how long the next frame is under way.
func (e effect) late() time.Duration {
	d := e.Delay
	if e.Jitter > 0 {
		d += rand.N(2*e.Jitter) - e.Jitter
	}
	return max(0, d)
}

// hold keeps a frame until it is due, for who holds the lock.
func (s *packetSwitch) hold(f frame, copies int) {
	for range copies {
		if len(s.delayed) >= maxDelayed {
			f.route.Lost++
			continue
		}
		heap.Push(&s.delayed, f)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// deliver gives out what was held when it is due.
func (s *packetSwitch) deliver() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		f, next := s.next()
		if f.to != nil {
			s.arrive(f, f.bytes)
			continue
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-s.wake:
		}
	}
}

// next returns a frame that is due, or in how long there may be one.
func (s *packetSwitch) next() (f frame, in time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.delayed) == 0 {
		return frame{}, time.Hour
	}
	if in = time.Until(s.delayed[0].due); in > 0 {
		return frame{}, in
	}
	return heap.Pop(&s.delayed).(frame), 0
}

// arrive writes a frame to the node that it is for. What cannot be written is lost.
func (s *packetSwitch) arrive(f frame, b []byte) {
	_, err := f.to.tap.Write(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := f.route
	if err != nil {
		r.Lost++
		return
	}
	r.Passed++
	if f.late {
		r.Late++
	}
	if f.number < r.delivered {
		r.Overtaken++
	}
	r.delivered = max(r.delivered, f.number)
}

// openTap makes an interface in the thread's namespace, whose other end is the file.
func openTap(name string) (*os.File, error) {
	const device = "/dev/net/tun"
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", device, err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make interface %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), device), nil
}
