package interop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A stranger is a raw connection to port 4160.
type stranger struct {
	net.Conn
	r *bufio.Reader
}

func dialStranger(t testing.TB, addr, greeting string) *stranger {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, requestTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &stranger{conn, bufio.NewReader(conn)}
	s.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(s, greeting); err != nil {
		t.Fatal(err)
	}
	return s
}

// frame reads one answer.
func (s *stranger) frame() (string, error) { return readFrame(s.r) }

func readFrame(r io.Reader) (string, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return "", err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 1<<20 {
		return "", fmt.Errorf("an answer of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return string(b), err
}

// ended returns an error unless the connection has been ended by the other side.
func (s *stranger) ended() error {
	switch _, err := s.r.ReadByte(); {
	case err == nil:
		return errors.New("it goes on")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("it is still open")
	}
	return nil
}

// sized is an IDENTIFY that announces size bytes and brings body.
func sized(size int32, body string) string {
	b := append([]byte(magic+"IDENTIFY\n"), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[len(b)-4:], uint32(size))
	return string(b) + body
}

// memory returns what the process holds in memory, in MiB; 0 where nobody knows.
func (p *process) memory() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb >> 10
		}
	}
	return 0
}

// TestBadInput sends to one node of a cluster what no client should, while an nsqd is
// registered there and lookups go on. Each is refused or ends its own connection; none
// disturbs anybody else, and none costs memory in proportion to what it claims or sends.
func TestBadInput(t *testing.T) {
	if *against != "ours" {
		t.Skip("stock nsqlookupd ends or grows without bound over some of it")
	}
	const idle = 10_000
	files := allowFiles(idle + 500) // before the nodes are started, which inherit it
	c := startCluster(t)
	n := c.nodes[0]
	good := dialStranger(t, n.tcp, magic+string(identify(peer("good")))+"REGISTER steady\n")
	good.SetDeadline(time.Time{})
	for range 2 {
		if _, err := good.frame(); err != nil {
			t.Fatal(err)
		}
	}
	addr := "good.example:4151"
	eventually(t, seenTimeout, "registered", listed(httpAddrs(c.nodes), "steady", addr))
	w := startWatch(t, c.nodes, "/lookup?topic=steady", false, alwaysLists(addr))
	before := n.memory()
	grown := func(what string, most int) {
		t.Helper()
		if *raceOurs {
			most *= 10 // what the race detector adds at the most, by Go's documentation
		}
		if after := n.memory(); after-before > most {
			t.Errorf("%s: memory went from %d to %d MiB, want at most %d more", what, before, after, most)
		} else {
			t.Logf("%s: memory %d MiB, was %d", what, after, before)
		}
	}

	t.Run("V1", func(t *testing.T) {
		tooLong := 64<<10 + 1
		for name, tt := range map[string]struct{ send, want string }{
			"length -1":              {sized(-1, ""), "E_BAD_BODY"},
			"length 0":               {sized(0, ""), "E_BAD_BODY"},
			"length 2^31-1":          {sized(1<<31-1, peer("one")), "E_BAD_BODY"},
			"a body of 64 KiB and 1": {sized(int32(tooLong), strings.Repeat(" ", tooLong)), "E_BAD_BODY"},
			"no JSON":                {sized(5, "{\"a\":"), "E_BAD_BODY"},
			"JSON of another kind":   {sized(4, "1234"), "E_BAD_BODY"},
			"wrong magic":            {"  V2IDENTIFY\n", "E_BAD_PROTOCOL"},
			"HTTP":                   {"GET / HTTP/1.1\r\n\r\n", "E_BAD_PROTOCOL"},
			"unknown command":        {magic + "SHUTDOWN\n", "E_INVALID"},
			"topic *":                {magic + string(identify(peer("star"))) + "REGISTER *\n", "E_BAD_TOPIC"},
			"unregister topic *":     {magic + string(identify(peer("star"))) + "UNREGISTER *\n", "E_BAD_TOPIC"},
			"unregister channel *":   {magic + string(identify(peer("star"))) + "UNREGISTER steady *\n", "E_BAD_CHANNEL"},
		} {
			t.Run(name, func(t *testing.T) {
				s := dialStranger(t, n.tcp, tt.send)
				got, err := s.frame()
				if err == nil && strings.HasPrefix(got, "{") { // the answer to IDENTIFY
					got, err = s.frame()
				}
				if err != nil || !strings.HasPrefix(got, tt.want) {
					t.Errorf("got %q, %v, want %s", got, err, tt.want)
				}
				if err := s.ended(); err != nil {
					t.Error(err)
				}
			})
		}
	})
	t.Run("an endless line", func(t *testing.T) {
		s := dialStranger(t, n.tcp, magic)
		sent := 0
		for block := bytes.Repeat([]byte("x"), 64<<10); sent < 256<<20; {
			m, err := s.Write(block)
			sent += m
			if err != nil {
				break
			}
		}
		if sent > 16<<20 {
			t.Errorf("%d MiB of one line were taken", sent>>20)
		}
	})
	grown("bad lengths and lines", 64)

	t.Run("topic=*", func(t *testing.T) {
		for _, target := range []string{
			"/topic/create?topic=*", "/topic/delete?topic=*", "/topic/tombstone?topic=*&node=good.example:4151",
			"/channel/create?topic=steady&channel=*", "/channel/delete?topic=steady&channel=*",
			"/channel/create?topic=*&channel=c", "/channel/delete?topic=*&channel=c",
			"/topic/create?topic=%2A", "/topic/delete?topic=steady%00", "/topic/create?topic=" + strings.Repeat("x", 65),
		} {
			if a, err := request("POST", n.http, target, ""); err != nil || a.status != http.StatusBadRequest {
				t.Errorf("%s: %d %s %v, want 400", target, a.status, a.body, err)
			}
		}
	})
	t.Run("150 MiB over HTTP", func(t *testing.T) {
		var senders sync.WaitGroup
		for _, target := range []string{"/topic/create?topic=big", "/lookup?topic=steady", "/nowhere"} {
			for range 2 {
				senders.Go(func() {
					body := io.LimitReader(zeros{}, 150<<20)
					resp, err := (&http.Client{Timeout: 20 * time.Second}).Post("http://"+n.http+target, "application/octet-stream", body)
					if err == nil { // the connection may also be ended in the middle
						resp.Body.Close()
					}
				})
			}
		}
		senders.Wait()
	})
	grown("six bodies of 150 MiB", 128)

	t.Run("slow clients", func(t *testing.T) {
		var slow sync.WaitGroup
		for _, text := range []string{"  V1REGISTER", magic + "REGISTER steady and so on", sized(200, strings.Repeat(" ", 200))} {
			s := dialStranger(t, n.tcp, "")
			slow.Go(func() {
				begun := time.Now()
				for i := 0; ; i++ {
					if _, err := io.WriteString(s, text[i%len(text):i%len(text)+1]); err != nil {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				if took := time.Since(begun); took > 19*time.Second {
					t.Errorf("a byte every 100 ms was listened to for %v", took)
				}
			})
		}
		slow.Wait()
	})
	t.Run("10000 idle connections", func(t *testing.T) {
		if files != nil {
			t.Skipf("needs %d open files: %v", idle, files)
		}
		conns := make([]net.Conn, 0, idle)
		defer func() {
			for _, conn := range conns {
				conn.Close()
			}
		}()
		for range idle {
			conn, err := net.DialTimeout("tcp", n.tcp, requestTimeout)
			if err != nil {
				t.Fatalf("connection %d: %v", len(conns), err)
			}
			conns = append(conns, conn)
			if _, err := io.WriteString(conn, magic); err != nil {
				t.Fatalf("connection %d: %v", len(conns), err)
			}
		}
		begun := time.Now()
		late := dialStranger(t, n.tcp, magic+string(identify(peer("late")))+"REGISTER late\n")
		for range 2 {
			if got, err := late.frame(); err != nil {
				t.Fatalf("one more beside them: %q, %v", got, err)
			}
		}
		t.Logf("one more registers in %v", time.Since(begun).Round(time.Millisecond))
		eventually(t, seenTimeout, "one more is listed", listed(httpAddrs(c.nodes), "late", "late.example:4151"))
		grown("10,000 idle connections", 400)
	})

	// The one that was there before all of this.
	if _, err := io.WriteString(good, "PING\n"); err != nil {
		t.Error(err)
	}
	if got, err := good.frame(); got != "OK" || err != nil {
		t.Errorf("PING of the good one: %q, %v", got, err)
	}
	w.stop(100)
	if b := tail(n.log, 1<<20); bytes.Contains(b, []byte("panic")) {
		t.Error("something panicked")
	}
}

// allowFiles raises this process's limit of open files to at least n.
func allowFiles(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur, limit.Max = max(limit.Cur, n), max(limit.Max, n)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
