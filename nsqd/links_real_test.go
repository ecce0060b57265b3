package nsqd

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nsqraft/internal/nsqtest/lookupdtest"
)

// eventually waits for a sentence to become true.
func eventually(t *testing.T, sentence string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if ok() {
			return
		}
		<-tick.C
	}
	t.Fatalf("it does not become true that %s", sentence)
}

// registered returns the topics that an nsqlookupd knows of an nsqd, "" if it does
// not know any nsqd.
func registered(t *testing.T, httpAddr string) string {
	t.Helper()
	resp, err := http.Get("http://" + httpAddr + "/nodes")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var nodes struct {
		Producers []struct {
			BroadcastAddress string   `json:"broadcast_address"`
			Topics           []string `json:"topics"`
		} `json:"producers"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&nodes); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range nodes.Producers {
		slices.Sort(p.Topics)
		names = append(names, p.BroadcastAddress+":"+strings.Join(p.Topics, ","))
	}
	return strings.Join(names, " ")
}

// The story of an nsqd and two nsqlookupds of ours, over real sockets.
func TestLinksWithOurLookupds(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	a, b := lookupdtest.Start(t), lookupdtest.Start(t)
	before := goleak.IgnoreCurrent()
	has := &having{all: []registration{{"t1", "c1"}, {"t2", ""}}}
	l, _ := newTestLinks(t, nil, has, a.TCP, b.TCP)
	l.open()
	knows := func(want string, of ...*lookupdtest.Lookupd) {
		t.Helper()
		for _, lookupd := range of {
			eventually(t, fmt.Sprintf("%s knows %q", lookupd.HTTP, want), func() bool { return registered(t, lookupd.HTTP) == want })
		}
	}
	knows("nsqd:t1,t2", a, b)
	// A topic may be known before its channels are.
	eventually(t, "they know c1", func() bool {
		names, err := l.channels(t.Context(), "t1")
		return err == nil && slices.Equal(names, []string{"c1"})
	})
	if names, err := l.channels(t.Context(), "unknown"); err != nil || len(names) > 0 {
		t.Errorf("channels of an unknown topic: %v, %v", names, err)
	}

	has.change(registration{"t3", ""}, true)
	l.notify("t3", "", true)
	has.change(registration{"t1", ""}, false)
	l.notify("t1", "", false)
	knows("nsqd:t2,t3", a, b)

	// One restarts with nothing in its memory.
	a.Close()
	has.change(registration{"t4", ""}, true)
	l.notify("t4", "", true)
	knows("nsqd:t2,t3,t4", b)
	a = lookupdtest.StartAt(t, a.TCP, a.HTTP)
	knows("nsqd:t2,t3,t4", a)

	l.set([]string{a.TCP})
	knows("", b)
	l.close()
	knows("", a)
	a.Close()
	b.Close()
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, before)
}

// Thousands of registrations are there at once.
func TestReplayToOurLookupd(t *testing.T) {
	lookupd := lookupdtest.Start(t)
	has := many(3000)
	begun := time.Now()
	l, lines := newTestLinks(t, nil, has, lookupd.TCP)
	l.open()
	last := has.all[len(has.all)-1].topic
	eventually(t, "the last topic is registered", func() bool {
		resp, err := http.Get("http://" + lookupd.HTTP + "/lookup?topic=" + last)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	t.Logf("%d registrations in %v", len(has.all), time.Since(begun))
	l.close()
	if strings.Contains(lines.String(), "ERROR") {
		t.Errorf("something failed:\n%s", lines)
	}
}

// A host that cannot be resolved, a port where nobody is, and one that accepts and is
// silent: they are let go at once.
func TestLinksEndAtOnce(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	before := goleak.IgnoreCurrent()
	l, _ := newTestLinks(t, nil, many(10), silent.Addr().String(), "127.0.0.1:1", "host.invalid:4160")
	l.open()
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begun := time.Now()
	l.close()
	if took := time.Since(begun); took > time.Second {
		t.Errorf("close took %v", took)
	}
	goleak.VerifyNone(t, before)
}
