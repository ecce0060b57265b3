package browser

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"nsqraft/internal/localcluster"
)

// stay notes that the tab has not left its page; stayed checks it.
func (tb *tab) stay() { eval[bool](tb, "window.theSamePage = true") }

func (tb *tab) stayed() {
	tb.t.Helper()
	if !eval[bool](tb, "window.theSamePage === true") {
		tb.t.Errorf("%s was loaded anew; what is new should have come by itself", tb.path())
	}
}

// leader returns who leads.
func (s *stack) leader() *localcluster.Process {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	for {
		p, err := s.Leader(ctx)
		if err == nil {
			return p
		}
		if ctx.Err() != nil {
			s.t.Fatal(err)
		}
		time.Sleep(glance)
	}
}

func TestKilledLeaderIsSeenWithoutAReload(t *testing.T) {
	s, tb := look(t)
	old := s.leader()
	tb.open("/cluster")
	tb.see(old.Name + " leads term")
	tb.shot("cluster-before")
	tb.stay()
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	next := s.leader()
	for next == old {
		next = s.leader()
	}
	tb.see(next.Name + " leads term")
	t.Logf("the page names the next leader %v after the kill", time.Since(killed).Round(time.Millisecond))
	tb.see("unreachable")
	tb.see("cannot lose another")
	tb.stayed()
	tb.shot("cluster-leader-killed")
	if err := old.Start(); err != nil {
		t.Fatal(err)
	}
	tb.see("can lose 1 more")
	tb.gone("unreachable")
	tb.stayed()
	tb.audit("after an election")
	tb.shot("cluster-healed")
}

func TestLeaderlessClusterSaysWhatWorksAndWhatWaits(t *testing.T) {
	s, tb := look(t)
	tb.open("/cluster")
	tb.see("can lose 1 more")
	tb.stay()
	last := s.Lookupds()[2]
	for _, p := range s.Lookupds()[:2] {
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	tb.see("No leader")
	tb.see("Lookups still answer")
	tb.see("registrations and changes wait")
	tb.see("Start n1 and n2 again")
	tb.until(last.Name+" waits, and is not said to refuse lookups", "[...document.querySelectorAll('tr')].some(r => r.innerText.includes("+quote(last.Name)+") && r.innerText.includes('waiting'))")
	tb.stayed()
	tb.audit("without a leader")
	tb.shot("cluster-leaderless")
	tb.open("/topics")
	tb.see("orders")
	for _, p := range s.Lookupds()[:2] {
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
	}
	tb.open("/cluster")
	tb.see("can lose 1 more")
}

func TestNumbersMoveWithoutAReload(t *testing.T) {
	s, tb := look(t)
	tb.open("/topics/orders/archive")
	tb.see("240")
	tb.stay()
	s.publish("orders", 500)
	tb.see("1,240")
	tb.stayed()
	// There is something new once a second, and no more than that is asked for.
	before := tb.asked("/topics/orders/archive")
	const watched = 5
	time.Sleep(watched * time.Second)
	if n := tb.asked("/topics/orders/archive") - before; n < 1 || n > watched+2 {
		t.Errorf("the page was fetched %d times in %d s", n, watched)
	}
	s.channel("newcomer/reader")
	tb.open("/topics")
	tb.see("newcomer")
	tb.stay()
	s.channel("latecomer/reader")
	tb.see("latecomer")
	tb.stayed()
}

func TestRestartOfNsqadminIsBridged(t *testing.T) {
	s, tb := look(t)
	for _, refused := range []string{"ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE"} {
		tb.expect(refused)
	}
	tb.open("/topics/orders/archive")
	tb.see("Live")
	tb.stay()
	if err := s.Admin().Kill(); err != nil {
		t.Fatal(err)
	}
	tb.see("Reconnecting")
	tb.shot("reconnecting")
	s.publish("orders", 500)
	if err := s.Admin().Start(); err != nil {
		t.Fatal(err)
	}
	tb.see("1,240")
	tb.see("Live")
	tb.stayed()
}

// A hung nsqd costs stock nsqadmin's pages five seconds, and its numbers vanish.
func TestStoppedNSQDSlowsNoPageAndItsNumbersStay(t *testing.T) {
	s := newStack(t)
	s.fill()
	r := newReader(t, s.base)
	paths := append(pagePaths(s), "/topics/orders?tab=consumers")
	r.sees("/topics/orders/archive", "240")
	typical := func() time.Duration {
		var times []time.Duration
		for range 3 {
			for _, path := range paths {
				begun := time.Now()
				if got := r.get(path); got.status != http.StatusOK {
					t.Errorf("%s: %d", path, got.status)
				}
				times = append(times, time.Since(begun))
			}
		}
		slices.Sort(times)
		return times[len(times)*9/10]
	}
	typical() // connections are made
	before := typical()
	hung := s.NSQDs()[0]
	if err := hung.Pause(); err != nil {
		t.Fatal(err)
	}
	got := r.until("/topics/orders/archive", "says how old the numbers of "+hung.Name+" are", func(s *sheet) bool {
		return strings.Contains(words(s.doc), " s ago")
	})
	expectPage(t, got, http.StatusOK, "240")
	after := typical()
	t.Logf("nine of ten pages take at most %v, with an nsqd stopped %v", before.Round(time.Microsecond), after.Round(time.Microsecond))
	// 150 ms is what a page may wait for the clients of a channel.
	if limit := 10*max(before, 10*time.Millisecond) + 150*time.Millisecond; after > limit {
		t.Errorf("with an nsqd stopped pages take %v, want at most %v", after, limit)
	}
	if chromium != nil {
		tb := newTab(t, s.base)
		tb.open("/topics/orders/archive")
		tb.see(" s ago")
		tb.audit("with an nsqd stopped")
		tb.shot("nsqd-stopped-channel")
		tb.open("/nodes")
		tb.see(hung.HTTP)
		tb.audit("with an nsqd stopped")
		tb.shot("nsqd-stopped-nodes")
	}
	if err := hung.Resume(); err != nil {
		t.Fatal(err)
	}
	r.until("/topics/orders/archive", "is up to date again", func(s *sheet) bool {
		return !strings.Contains(words(s.doc), " s ago")
	})
}
