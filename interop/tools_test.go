package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nsqio/go-nsq"
)

// admin sends one request to nsqadmin, which has to answer 200 and without a
// complaint about one of its nsqlookupds, and decodes the answer into v.
func admin(t testing.TB, method, addr, target, body string, v any) {
	t.Helper()
	b := mustSend(t, method, addr, target, body)
	var m struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(b), &m); err != nil {
		t.Fatalf("%s %s: %v in %q", method, target, err, b)
	}
	if m.Message != "" {
		t.Errorf("%s %s: message %q, want none", method, target, m.Message)
	}
	if v == nil {
		return
	}
	if err := json.Unmarshal([]byte(b), v); err != nil {
		t.Fatalf("%s %s: %v in %q", method, target, err, b)
	}
}

// TestStockNSQAdmin drives stock nsqadmin, which sends every change to all three
// nodes, one after the other, as if each had a registry of its own.
func TestStockNSQAdmin(t *testing.T) {
	c := startCluster(t)
	all := httpAddrs(c.nodes)
	d := startNSQD(t, tcpAddrs(c.nodes)...)
	d.createTopic("orders")
	d.createChannel("orders", "archive")
	eventually(t, seenTimeout, "nsqd", listed(all, "orders", d.http))
	eventually(t, seenTimeout, "channel", named(all, "/channels?topic=orders", "archive"))
	addr := startNSQAdmin(t, all...)

	var topics struct {
		Topics []string `json:"topics"`
	}
	admin(t, "GET", addr, "/api/topics", "", &topics)
	if want := []string{"orders"}; !slices.Equal(topics.Topics, want) {
		t.Errorf("/api/topics: %v, want %v", topics.Topics, want)
	}
	var nodes struct {
		Nodes []struct {
			RemoteAddresses []string `json:"remote_addresses"`
		} `json:"nodes"`
	}
	admin(t, "GET", addr, "/api/nodes", "", &nodes)
	// nsqadmin paints the node orange unless each nsqlookupd lists it once.
	if len(nodes.Nodes) != 1 || len(nodes.Nodes[0].RemoteAddresses) != 3 {
		t.Errorf("/api/nodes: %+v, want one node with three lookupd connections", nodes.Nodes)
	}

	admin(t, "POST", addr, "/api/topics", `{"topic":"made","channel":"audit"}`, nil)
	eventually(t, seenTimeout, "topic made", named(all, "/channels?topic=made", "audit"))
	admin(t, "GET", addr, "/api/topics?inactive=true", "", nil)

	// A channel that an nsqd has, then one that only the nsqlookupds know: of the
	// three deletes that nsqadmin sends, two find it gone.
	admin(t, "DELETE", addr, "/api/topics/orders/archive", "", nil)
	admin(t, "DELETE", addr, "/api/topics/made/audit", "", nil)
	eventually(t, seenTimeout, "channels deleted", func() error {
		return errors.Join(named(all, "/channels?topic=orders")(), named(all, "/channels?topic=made")())
	})
	admin(t, "DELETE", addr, "/api/topics/made", "", nil)
	eventually(t, seenTimeout, "topic deleted", named(all, "/topics", "orders"))

	// nsqadmin tombstones the producer and has the nsqd delete the topic, which
	// takes the registration away and the tombstone with it.
	admin(t, "DELETE", addr, "/api/nodes/"+d.http, `{"topic":"orders"}`, nil)
	eventually(t, seenTimeout, "tombstoned", listed(all, "orders"))
	eventually(t, seenTimeout, "deleted on the nsqd", func() error {
		a, err := request("POST", d.http, "/topic/pause?topic=orders", "")
		if err == nil && a.status != http.StatusNotFound {
			err = fmt.Errorf("nsqd still has the topic: status %d", a.status)
		}
		return err
	})
}

// TestStockTools runs the stock command line tools that find nsqds through us.
func TestStockTools(t *testing.T) {
	c := startCluster(t)
	all := httpAddrs(c.nodes)
	d := startNSQD(t, c.nodes[2].tcp)
	d.createTopic("orders")
	d.createChannel("orders", "archive")
	for i := range 5 {
		d.publish("orders", fmt.Sprintf("order %d", i))
	}
	eventually(t, seenTimeout, "nsqd", listed(all, "orders", d.http))

	// One row under the header, with the five messages in memory or on disk.
	out := runTool(t, 10*time.Second, "nsq_stat", append(each("--lookupd-http-address", all),
		"--topic=orders", "--channel=archive", "--interval=100ms", "--count=1")...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if last := strings.Fields(lines[len(lines)-1]); !slices.Contains(last, "5") {
		t.Errorf("nsq_stat wrote\n%s\nwant a last row with 5 messages", out)
	}

	// nsq_tail finds the nsqd through the nsqlookupds and, on a channel of its own,
	// is sent what arrives from then on.
	done := make(chan struct{})
	defer func() { <-done }()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				request("POST", d.http, "/pub?topic=orders", "late order") // the tail says whether it came
			}
		}
	}()
	out = runTool(t, 20*time.Second, "nsq_tail", append(each("--lookupd-http-address", all),
		"--topic=orders", "-n=3")...)
	if want := strings.Repeat("late order\n", 3); out != want {
		t.Errorf("nsq_tail wrote %q, want %q", out, want)
	}
}

// TestGoNSQConsumer lets a go-nsq consumer discover stock nsqds through three
// nodes, also while one of them is down.
func TestGoNSQConsumer(t *testing.T) {
	c := startCluster(t)
	first := startNSQD(t, tcpAddrs(c.nodes)...)
	first.createTopic("orders")
	eventually(t, seenTimeout, "first nsqd", listed(httpAddrs(c.nodes), "orders", first.http))

	cfg := nsq.NewConfig()
	cfg.LookupdPollInterval = 100 * time.Millisecond
	cfg.MaxInFlight = 10
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		t.Fatal(err)
	}
	consumer.SetLogger(log.New(io.Discard, "", 0), nsq.LogLevelError)
	received := make(chan string, 100)
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		received <- string(m.Body)
		return nil
	}))
	if err := consumer.ConnectToNSQLookupds(httpAddrs(c.nodes)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		consumer.Stop()
		<-consumer.StopChan
	}()

	receive := func(d *nsqd, prefix string) {
		t.Helper()
		want := make(map[string]bool)
		for i := range 20 {
			body := fmt.Sprintf("%s %d", prefix, i)
			want[body] = true
			d.publish("orders", body)
		}
		deadline := time.After(20 * time.Second)
		for len(want) > 0 {
			select {
			case body := <-received:
				delete(want, body) // at least once: a second copy is no fault
			case <-deadline:
				t.Fatalf("%d messages published to %s did not arrive", len(want), d.name)
			}
		}
	}
	receive(first, "from the first")

	// A second nsqd appears while a node is down. The consumer asks one node at a
	// time, so whichever it asks has to know.
	down := c.nodes[0]
	down.kill()
	up := c.running()
	second := startNSQD(t, up[0].tcp)
	second.createTopic("orders")
	eventually(t, seenTimeout, "second nsqd", listed(httpAddrs(up), "orders", first.http, second.http))
	receive(second, "from the second")
}
