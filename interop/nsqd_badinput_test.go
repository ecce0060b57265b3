package interop

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestNSQDBadInput sends to an nsqd what no client and no nsqlookupd should, while one
// that behaves publishes and consumes. Each is refused or ends its own connection; none
// disturbs anybody else, and none costs memory in proportion to what it claims.
func TestNSQDBadInput(t *testing.T) {
	if nsqdUnderTest() != "ours" {
		t.Skip("stock nsqd ends or grows without bound over some of it")
	}
	idle := 20_000
	files := allowFiles(uint64(idle) + 1000) // before nsqd is started, which inherits it
	for ; files != nil && idle > 1000; files = allowFiles(uint64(idle) + 1000) {
		idle -= 1000
	}
	var flags []string
	for _, answer := range []string{"\xff\xff\xff\xff", "\x7f\xff\xff\xff", "\x00\x00\x00\x00", "\x00\x00\x00\x05hello", "HTTP/1.1 400 Bad Request\r\n\r\n", "", "\x00\x00\x00\x02{}"} {
		flags = append(flags, "--lookupd-tcp-address="+badLookupd(t, answer))
	}
	s := startNSQDSubject(t, "ours", flags...)
	mustSend(t, "POST", s.http, "/topic/create?topic=steady", "")
	mustSend(t, "POST", s.http, "/channel/create?topic=steady&channel=c", "")
	publisher, err := dialV2(s.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	published := 0
	steady := func(what string) {
		t.Helper()
		begun := time.Now()
		published++
		if err := publisher.do(pub("steady", fmt.Sprint(published))); err != nil {
			t.Fatalf("%s: PUB of another: %v", what, err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("%s: PUB of another took %v", what, took)
		}
	}
	before := s.memory()
	grown := func(what string, most int) {
		t.Helper()
		steady(what)
		if *raceOurs {
			most *= 10
		}
		if after := s.memory(); after-before > most {
			t.Errorf("%s: memory went from %d to %d MiB, want at most %d more", what, before, after, most)
		} else {
			t.Logf("%s: memory %d MiB, was %d", what, after, before)
		}
	}
	open := func(text string) net.Conn {
		t.Helper()
		conn, err := net.DialTimeout("tcp", s.tcp, requestTimeout)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		return conn
	}

	steady("bad nsqlookupds")
	t.Run("lengths that are allowed and bodies that do not come", func(t *testing.T) {
		for range 100 {
			open(magicV2 + withSize("PUB big", 1<<20, "x"))
			open(magicV2 + withSize("MPUB big", 5<<20, batch(1_000_000)))
			open(magicV2 + withSize("IDENTIFY", 5<<20, "{"))
		}
		steady("lengths")
	})
	grown("300 bodies that do not come", 128)
	t.Run("an endless line", func(t *testing.T) {
		conn := open(magicV2)
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		sent := 0
		for block := bytes.Repeat([]byte("x"), 64<<10); sent < 256<<20; {
			n, err := conn.Write(block)
			sent += n
			if err != nil {
				break
			}
		}
		if sent > 16<<20 {
			t.Errorf("%d MiB of one line were taken", sent>>20)
		}
	})
	t.Run("150 MiB over HTTP", func(t *testing.T) {
		var senders sync.WaitGroup
		for _, target := range []string{"/topic/pause?topic=steady", "/stats", "/pub?topic=steady", "/mpub?topic=steady", "/config/log_level", "/nowhere"} {
			senders.Go(func() {
				resp, err := (&http.Client{Timeout: 20 * time.Second}).Post("http://"+s.http+target, "application/octet-stream", io.LimitReader(zeros{}, 150<<20))
				if err == nil { // the connection may also be ended in the middle
					resp.Body.Close()
				}
			})
		}
		senders.Wait()
		mustSend(t, "POST", s.http, "/topic/unpause?topic=steady", "")
	})
	grown("six bodies of 150 MiB", 128)
	t.Run("compressed garbage", func(t *testing.T) {
		for _, feature := range []string{"snappy", "deflate"} {
			c := &v2Client{Conn: open(hello(`{"feature_negotiation":true,"` + feature + `":true}`))}
			if _, err := nextFrame(c, replyTimeout); err != nil { // the agreement
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, strings.Repeat("\xff\xfegarbage", 100)); err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.Copy(io.Discard, c); closedOr(err) != errClosed && err != nil {
				t.Errorf("%s: %v, want it closed", feature, err)
			}
		}
	})
	t.Run("clients that are too slow", func(t *testing.T) {
		conn := open(hello(`{"heartbeat_interval":1000}`))
		begun := time.Now()
		for i := 0; time.Since(begun) < 8*time.Second; i++ {
			if _, err := io.WriteString(conn, "PUB steady or not"[i%16:i%16+1]); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Error("a byte every 100 ms was listened to for 8 s at a heartbeat interval of 1 s")
	})
	t.Run("consumers that never read", func(t *testing.T) {
		mustSend(t, "POST", s.http, "/topic/create?topic=heavy", "")
		var deaf []net.Conn
		for i := range 20 {
			deaf = append(deaf, open(hello(`{"heartbeat_interval":1000}`)+fmt.Sprintf("SUB heavy c%d\nRDY 2500\n", i)))
		}
		body := strings.Repeat("x", 10_000)
		for range 1000 {
			if err := publisher.do(pub("heavy", body)); err != nil {
				t.Fatal(err)
			}
		}
		steady("consumers that do not read")
		eventually(t, 15*time.Second, "they are let go", func() error {
			var stats struct {
				Topics []struct {
					Channels []struct {
						Clients int `json:"client_count"`
					} `json:"channels"`
				} `json:"topics"`
			}
			if err := get(s.http, "/stats?format=json&topic=heavy", &stats); err != nil {
				return err
			}
			n := 0
			for _, topic := range stats.Topics {
				for _, c := range topic.Channels {
					n += c.Clients
				}
			}
			if n > 0 {
				return fmt.Errorf("%d of %d are left", n, len(deaf))
			}
			return nil
		})
	})
	grown("consumers that do not read", 400) // 10 MB of messages in 20 channels
	t.Run("idle connections", func(t *testing.T) {
		if files != nil {
			t.Skipf("needs %d open files: %v", idle, files)
		}
		var conns []net.Conn
		defer func() {
			for _, conn := range conns {
				conn.Close()
			}
		}()
		for range idle {
			conn, err := net.DialTimeout("tcp", s.tcp, requestTimeout)
			if err != nil {
				t.Fatalf("connection %d: %v", len(conns), err)
			}
			conns = append(conns, conn)
			if _, err := io.WriteString(conn, magicV2); err != nil {
				t.Fatalf("connection %d: %v", len(conns), err)
			}
		}
		late, err := dialV2(s.tcp)
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		if err := late.do(pub("steady", "late")); err != nil {
			t.Fatalf("one more beside them: %v", err)
		}
		grown(fmt.Sprintf("%d idle connections", idle), 1000)
	})

	got := consume(t, s.tcp, "steady", "c", published+1, 3*time.Second) // and the late one
	for i := 1; i <= published; i++ {
		if got[fmt.Sprint(i)] == 0 {
			t.Errorf("message %d is lost", i)
		}
	}
	if log := tail(s.log, 1<<20); bytes.Contains(log, []byte("panic")) {
		t.Error("something panicked")
	}
}

// badLookupd is a nsqlookupd that answers everything with the same bytes.
func badLookupd(t testing.TB, answer string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				for {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					if _, err := io.WriteString(conn, answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// TestNSQDStockTools lets stock's tools and nsqadmin work with the nsqd under test.
func TestNSQDStockTools(t *testing.T) {
	lookupd := startSubject(t, "stock", reachable)
	d := startNSQDOf(t, nsqdUnderTest(), lookupd.tcp)
	d.createTopic("orders")
	d.createChannel("orders", "archive")
	eventually(t, seenTimeout, "registered", listed([]string{lookupd.http}, "orders", d.http))
	for i := range 5 {
		d.publish("orders", fmt.Sprintf("order %d", i))
	}

	out := runTool(t, 10*time.Second, "nsq_stat", "--nsqd-http-address="+d.http, "--topic=orders", "--channel=archive", "--interval=100ms", "--count=1")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if last := strings.Fields(lines[len(lines)-1]); !slices.Contains(last, "5") {
		t.Errorf("nsq_stat wrote\n%s\nwant a last row with 5 messages", out)
	}
	if out := runTool(t, 10*time.Second, "nsq_tail", "--nsqd-tcp-address="+d.tcp, "--topic=orders", "--channel=archive", "-n=5"); strings.Count(out, "order ") != 5 {
		t.Errorf("nsq_tail wrote %q, want five orders", out)
	}

	addr := startNSQAdmin(t, lookupd.http)
	var topic struct {
		Depth    int `json:"depth"`
		Messages int `json:"message_count"`
		Channels []struct {
			Name     string `json:"channel_name"`
			Messages int    `json:"message_count"`
		} `json:"channels"`
	}
	admin(t, "GET", addr, "/api/topics/orders", "", &topic)
	if topic.Messages != 5 || len(topic.Channels) != 1 || topic.Channels[0].Name != "archive" || topic.Channels[0].Messages != 5 {
		t.Errorf("/api/topics/orders: %+v, want five messages in archive", topic)
	}
	admin(t, "GET", addr, "/api/topics/orders/archive", "", nil)
	admin(t, "GET", addr, "/api/nodes/"+d.http, "", nil)
	admin(t, "GET", addr, "/api/counter", "", nil)
	for _, action := range []string{"pause", "unpause", "empty"} {
		admin(t, "POST", addr, "/api/topics/orders/archive", `{"action":"`+action+`"}`, nil)
		admin(t, "POST", addr, "/api/topics/orders", `{"action":"`+action+`"}`, nil)
	}
	admin(t, "POST", addr, "/api/topics", `{"topic":"made","channel":"audit"}`, nil)
	admin(t, "DELETE", addr, "/api/topics/orders/archive", "", nil)
	admin(t, "DELETE", addr, "/api/topics/orders", "", nil)
	eventually(t, seenTimeout, "deleted", func() error {
		return wantNames(lookupd.http, "/topics", "made")
	})
}
