// Package ports gives out TCP ports of 127.0.0.1 that stay free: while what was to
// listen at one is down, nobody else comes to listen there.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Free returns an address such as "127.0.0.1:20001" at which nobody listens. No call
// in this process returns it again, nor one in another process before this one has
// ended. If too many ask for that, it is any free port of the same range, of which the
// next calls return others.
func Free() (addr string, err error) { return shared.free() }

// shared is below the range that systems give to outgoing connections.
var shared = source{first: 20000, blocks: 40, size: 200}

// A source gives out ports in blocks. A block is that of the process which listens at
// its first port: other processes are given none of it until that process ends.
type source struct {
	first, blocks, size int

	mu        sync.Mutex
	guards    []net.Listener // never closed but by the end of the process
	next, end int            // what is left of the newest block
	turn      int            // where any has got to; 0: nowhere yet
}

func (s *source) free() (addr string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.next < s.end || s.openBlock() {
		addr = at(s.next)
		s.next++
		if !taken(addr) {
			return addr, nil
		}
	}
	return s.any()
}

// openBlock looks for a block that is nobody's, and takes it.
func (s *source) openBlock() bool {
	begin := rand.IntN(s.blocks)
	for i := range s.blocks {
		first := s.first + (begin+i)%s.blocks*s.size
		if guard, err := net.Listen("tcp", at(first)); err == nil {
			s.guards = append(s.guards, guard)
			s.next, s.end = first+1, first+s.size
			return true
		}
	}
	return false
}

func (s *source) any() (addr string, err error) {
	n := s.blocks * s.size
	if s.turn == 0 {
		s.turn = rand.IntN(n)
	}
	for range n {
		s.turn++
		if s.turn%s.size == 0 {
			continue // a guard
		}
		if addr = at(s.first + s.turn%n); !taken(addr) {
			return addr, nil
		}
	}
	return "", fmt.Errorf("no port from %d to %d is free on 127.0.0.1", s.first, s.first+n-1)
}

// taken says whether somebody listens at addr, or it cannot be known. It does not find
// out by listening there: a process that is started meanwhile would hold that listener
// until it runs.
func taken(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err == nil {
		conn.Close()
	}
	return !errors.Is(err, syscall.ECONNREFUSED)
}

func at(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
