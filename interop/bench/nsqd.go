package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// commandTimeout is how long a stock nsqd waits for each answer.
const commandTimeout = time.Second

// An nsqd is one simulated nsqd's connection to one nsqlookupd.
type nsqd struct {
	addr   string
	number int // the same number is the same nsqd
	conn   net.Conn
	r      *bufio.Reader
}

// dialNSQD connects the nsqd with the given number and identifies it.
func dialNSQD(addr string, number int) (*nsqd, error) {
	d := &nsqd{addr: addr, number: number}
	return d, d.dial()
}

// dial connects and identifies, also anew.
func (d *nsqd) dial() error {
	d.close()
	conn, err := net.DialTimeout("tcp", d.addr, commandTimeout)
	if err != nil {
		return err
	}
	d.conn, d.r = conn, bufio.NewReaderSize(conn, 512)
	body, err := json.Marshal(map[string]any{
		"broadcast_address": fmt.Sprintf("nsqd-%05d.example.net", d.number),
		"hostname":          fmt.Sprintf("nsqd-%05d", d.number),
		"tcp_port":          4150,
		"http_port":         4151,
		"version":           "1.3.0",
	})
	if err != nil {
		return err
	}
	identify := append([]byte("  V1IDENTIFY\n"), binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
	if _, err := d.exchange(append(identify, body...)); err != nil {
		d.close()
		return fmt.Errorf("IDENTIFY to %s: %w", d.addr, err)
	}
	return nil
}

func (d *nsqd) close() {
	if d.conn != nil {
		d.conn.Close()
		d.conn = nil
	}
}

// exchange sends a command and returns the answer.
func (d *nsqd) exchange(command []byte) (string, error) {
	d.conn.SetDeadline(time.Now().Add(commandTimeout))
	if _, err := d.conn.Write(command); err != nil {
		return "", err
	}
	return d.answer()
}

func (d *nsqd) answer() (string, error) {
	var size [4]byte
	if _, err := io.ReadFull(d.r, size[:]); err != nil {
		return "", err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 64<<10 {
		return "", fmt.Errorf("an answer of %d bytes", n)
	}
	text := make([]byte, n)
	_, err := io.ReadFull(d.r, text)
	return string(text), err
}

// command sends a line that has to be answered with OK.
func (d *nsqd) command(line string) error {
	answer, err := d.exchange([]byte(line + "\n"))
	return wantText(line, answer, err)
}

func wantText(line, answer string, err error) error {
	if err == nil && answer != "OK" {
		err = errors.New(answer)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// insist sends a line until it is answered with OK, over a new connection after each
// failure, and returns how often it failed: a stock nsqd would have given up each
// time and come back later. err: it went on for readyTimeout.
func (d *nsqd) insist(line string) (failed int, err error) {
	begun := time.Now()
	for {
		if d.conn == nil {
			err = d.dial()
		}
		if err == nil {
			err = d.command(line)
		}
		if err == nil {
			return failed, nil
		}
		failed++
		d.close()
		if time.Since(begun) > readyTimeout {
			return failed, err
		}
		time.Sleep(time.Millisecond)
	}
}

// window is how many commands are in flight where they are pipelined.
const window = 64

// pipeline sends n lines, up to window of them ahead of their answers.
func (d *nsqd) pipeline(n int, line func(i int) string) error {
	var out strings.Builder
	for sent := 0; sent < n; {
		out.Reset()
		first := sent
		for ; sent < n && sent < first+window; sent++ {
			out.WriteString(line(sent))
			out.WriteByte('\n')
		}
		d.conn.SetDeadline(time.Now().Add(commandTimeout))
		if _, err := io.WriteString(d.conn, out.String()); err != nil {
			return err
		}
		for i := first; i < sent; i++ {
			answer, err := d.answer()
			if err := wantText(line(i), answer, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// dialAll connects n nsqds, spread over addrs. The caller closes them.
func dialAll(addrs []string, n int) ([]*nsqd, error) {
	all := make([]*nsqd, n)
	err := each(n, 16, func(i int) (err error) {
		return again(func() error {
			all[i], err = dialNSQD(addrs[i%len(addrs)], i)
			return err
		})
	})
	if err != nil {
		closeAll(all)
	}
	return all, err
}

func closeAll(all []*nsqd) {
	for _, d := range all {
		if d != nil {
			d.close()
		}
	}
}

// again tries up to five times.
func again(do func() error) error {
	var err error
	for range 5 {
		if err = do(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// each calls do for 0 to n-1, by so many at a time, and returns the first error.
func each(n, atATime int, do func(i int) error) error {
	next := make(chan int)
	errs := make(chan error, atATime)
	var workers sync.WaitGroup
	for range min(n, atATime) {
		workers.Go(func() {
			var first error
			for i := range next {
				if first == nil {
					first = do(i)
				}
			}
			errs <- first
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// fill connects n nsqds to addr and has each register per commands, pipelined,
// several nsqds at a time. An nsqd that fails connects anew and registers all of
// its own again; retries says how often that was. The caller closes them.
func fill(addr string, n, per int, line func(nsqd, i int) string) (all []*nsqd, retries int, err error) {
	all = make([]*nsqd, n)
	var mu sync.Mutex
	err = each(n, 8, func(i int) error {
		tries := -1
		err := again(func() error {
			tries++
			d, err := dialNSQD(addr, i)
			if err != nil {
				return err
			}
			all[i] = d
			if err = d.pipeline(per, func(k int) string { return line(i, k) }); err == nil {
				err = d.command("PING") // ends the replay
			}
			if err != nil {
				d.close()
			}
			return err
		})
		mu.Lock()
		defer mu.Unlock()
		retries += tries
		return err
	})
	if err != nil {
		closeAll(all)
	}
	return all, retries, err
}
