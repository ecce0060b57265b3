package ports

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// few is a source of which other tests use nothing.
func few() *source { return &source{first: 19000, blocks: 20, size: 10} }

const asked = 15 // more than a block has

// Asked to by its environment this binary is another process: it prints the addresses
// that it is given, and keeps them until its input ends.
func TestMain(m *testing.M) {
	if os.Getenv("PORTS_TEST_PRINT") == "" {
		os.Exit(m.Run())
	}
	s := few()
	for range asked {
		addr, err := s.free()
		if err != nil {
			addr = err.Error()
		}
		fmt.Println(addr)
	}
	bufio.NewReader(os.Stdin).ReadByte()
	runtime.KeepAlive(s)
}

func TestNoneIsGivenTwice(t *testing.T) {
	owner := make(map[string]string)
	for i := range 3 {
		name := fmt.Sprint("process ", i)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "PORTS_TEST_PRINT=yes")
		in, err := cmd.StdinPipe()
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		defer cmd.Wait()
		defer in.Close()
		lines := bufio.NewScanner(out)
		for range asked {
			if !lines.Scan() {
				t.Fatalf("%s prints no more: %v", name, lines.Err())
			}
			claim(t, owner, lines.Text(), name)
		}
	}
	s := few()
	defer s.close()
	var mu sync.Mutex
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() {
			for range asked {
				addr, err := s.free()
				mu.Lock()
				if err != nil {
					t.Error(err)
				}
				claim(t, owner, addr, "this process")
				mu.Unlock()
			}
		})
	}
	asking.Wait()
}

func claim(t *testing.T, owner map[string]string, addr, name string) {
	t.Helper()
	if !strings.HasPrefix(addr, "127.0.0.1:19") {
		t.Errorf("%s is given %q", name, addr)
	}
	if other, ok := owner[addr]; ok {
		t.Errorf("%s is given to %s and to %s", addr, other, name)
	}
	owner[addr] = name
}

// What others listen at is passed over, and when no block is left ports still are,
// until none is.
func TestTakenPorts(t *testing.T) {
	s := few()
	defer s.close()
	first, err := s.free()
	must(t, err)
	taken, err := net.Listen("tcp", at(s.next))
	must(t, err)
	defer taken.Close()
	if addr, err := s.free(); err != nil || addr == first || addr == taken.Addr().String() {
		t.Errorf("after %s, and with %s taken, it is %q, %v", first, taken.Addr(), addr, err)
	}

	others := few()
	defer others.close()
	for others.openBlock() {
	}
	held := 0
	for {
		addr, err := s.free()
		if err != nil {
			if want := "no port from 19000 to 19199 is free on 127.0.0.1"; err.Error() != want {
				t.Errorf("with none left: %v", err)
			}
			break
		}
		l, err := net.Listen("tcp", addr)
		must(t, err)
		defer l.Close()
		held++
	}
	// All but the first of each block, the one that was taken at the start, and whatever
	// else listens on this machine.
	if most := s.blocks*(s.size-1) - 1; held == 0 || held > most {
		t.Errorf("%d ports were given out, of %d", held, most)
	}
}

// close gives up its blocks, as the end of a process does.
func (s *source) close() {
	for _, guard := range s.guards {
		guard.Close()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
