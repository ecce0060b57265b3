package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// httpTimeout bounds one question. Stock takes seconds for some.
const httpTimeout = 20 * time.Second

// An answer is what a GET brought back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

var client = &http.Client{Timeout: httpTimeout}

func get(addr, target string) (answer, error) {
	resp, err := client.Get("http://" + addr + target)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	return answer{resp.StatusCode, resp.Header, body}, err
}

// producers returns how many producers addr lists in its answer to a lookup.
func producers(addr, target string) (int, error) {
	a, err := get(addr, target)
	if err := wantOK(a, err); err != nil {
		return 0, err
	}
	var v struct {
		Producers []json.RawMessage `json:"producers"`
	}
	err = json.Unmarshal(a.body, &v)
	return len(v.Producers), err
}

// load asks addr for target over kept-alive connections for about so long, and
// returns the answers per second. Its clients write a prepared request and skip
// the body of the answer, so that the server is what is measured.
func load(addr, target string, clients int, during time.Duration) (float64, error) {
	request := []byte("GET " + target + " HTTP/1.1\r\nHost: bench\r\nAccept: application/vnd.nsq; version=1.0\r\n\r\n")
	var mu sync.Mutex
	var failed error
	answers := 0
	var wg sync.WaitGroup
	begun := time.Now()
	for range clients {
		wg.Go(func() {
			n, err := ask(addr, request, begun.Add(during))
			mu.Lock()
			defer mu.Unlock()
			answers += n
			if err != nil {
				failed = fmt.Errorf("GET %s%s: %w", addr, target, err)
			}
		})
	}
	wg.Wait()
	return perSecond(answers, time.Since(begun)), failed
}

// ask asks over one connection until the time is over.
func ask(addr string, request []byte, until time.Time) (answers int, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(until.Add(httpTimeout))
	r := bufio.NewReaderSize(conn, 64<<10)
	for ; time.Now().Before(until); answers++ {
		if _, err := conn.Write(request); err != nil {
			return answers, err
		}
		if err := skipAnswer(r); err != nil {
			return answers, err
		}
	}
	return answers, nil
}

// skipAnswer reads one answer, which has to be a 200.
func skipAnswer(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answered with %q", line)
	}
	length, chunked := 0, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == len("\r\n") {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
		chunked = chunked || bytes.HasPrefix(line, []byte("Transfer-Encoding: chunked"))
	}
	if !chunked {
		_, err = r.Discard(length)
		return err
	}
	for { // stock sends long answers in chunks
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return fmt.Errorf("chunk: %w", err)
		}
		if _, err := r.Discard(int(size) + len("\r\n")); err != nil || size == 0 {
			return err
		}
	}
}

// profileSeconds is how long a CPU profile is taken, from the moment it is asked for.
const profileSeconds = 10

// profile takes profiles of nodes while measure runs, if they are wanted: of the CPU,
// and of all allocations since the node's start.
func (b *bench) profile(name string, nodes cluster, leader *node, measure func() error) error {
	if b.profiles == "" {
		return measure()
	}
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return err
	}
	errs := make(chan error, len(nodes))
	for _, n := range nodes {
		role := "follower"
		if n == leader {
			role = "leader"
		}
		go func() {
			for _, p := range []struct{ kind, target string }{
				{"cpu", fmt.Sprintf("/debug/pprof/profile?seconds=%d", profileSeconds)},
				{"allocs", "/debug/pprof/heap"}, // pprof -sample_index=alloc_space
			} {
				a, err := get(n.http, p.target)
				if err := wantOK(a, err); err != nil {
					errs <- err
					return
				}
				path := filepath.Join(b.profiles, fmt.Sprintf("%s-%s-%s-%s.pprof", name, role, n.id, p.kind))
				if err := os.WriteFile(path, a.body, 0o644); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	err := measure()
	for range nodes {
		err = errors.Join(err, <-errs)
	}
	return err
}

// takeTurns has each of several sides measure once, in an order that rotates, as often
// as the bench takes turns. Before it all do so once for nothing.
func (b *bench) takeTurns(sides ...func() (float64, error)) ([]rates, error) {
	all := make([]rates, len(sides))
	for turn := range b.turns + 1 {
		for k := range sides {
			side := (turn + k) % len(sides)
			rate, err := sides[side]()
			if err != nil {
				return nil, err
			}
			if turn > 0 {
				all[side] = append(all[side], rate)
			}
		}
	}
	return all, nil
}

// reads measures target at each of addrs by turns.
func (b *bench) reads(target string, clients int, addrs ...string) ([]rates, error) {
	var sides []func() (float64, error)
	for _, addr := range addrs {
		sides = append(sides, func() (float64, error) { return load(addr, target, clients, b.window) })
	}
	return b.takeTurns(sides...)
}
