package interop

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestNSQDDataDirectory moves a data directory from one nsqd to the other and back:
// topics, channels, what is paused, and every message, in memory, on disk or in
// flight when SIGTERM came.
func TestNSQDDataDirectory(t *testing.T) {
	t.Parallel()
	ours := nsqdUnderTest()
	for _, tt := range []struct {
		first, then string
		flags       []string
	}{
		{"stock", ours, nil},
		{ours, "stock", nil},
		{"stock", ours, []string{"--mem-queue-size=10", "--max-bytes-per-file=2000"}},
		{ours, "stock", []string{"--mem-queue-size=10", "--max-bytes-per-file=2000"}},
		{ours, "stock", []string{"--mem-queue-size=0"}}, // one segment each
		{"stock", ours, []string{"--mem-queue-size=0", "--max-bytes-per-file=1000"}},
		{ours, "stock", []string{"--mem-queue-size=0", "--max-bytes-per-file=1000"}},
	} {
		t.Run(fmt.Sprintf("%s to %s %s", tt.first, tt.then, strings.Join(tt.flags, " ")), func(t *testing.T) {
			t.Parallel()
			const n = 100
			data := t.TempDir()
			want := make(map[string]int)
			a := startNSQDIn(t, tt.first, data, tt.flags...)
			for _, target := range []string{"/topic/create?topic=t", "/channel/create?topic=t&channel=c", "/channel/create?topic=t&channel=d", "/topic/create?topic=paused",
				"/channel/create?topic=paused&channel=c", "/topic/pause?topic=paused", "/channel/pause?topic=t&channel=d", "/topic/create?topic=bare"} {
				mustSend(t, "POST", a.http, target, "")
			}
			for i := range n {
				body := fmt.Sprintf("message %d %s", i, strings.Repeat("x", i))
				want[body] = 1
				for _, topic := range []string{"t", "paused", "bare"} {
					mustSend(t, "POST", a.http, "/pub?topic="+topic, body)
				}
			}
			// Some are in flight, some have been requeued for later, one is done with.
			send("s", 1, magicV2+"SUB t c\n")(a)
			send("s", 9, "RDY 9\n")(a)
			came := slices.Sorted(maps.Keys(a.ids)) // from memory or from disk
			finished, deferred := came[0], came[1]
			send("s", 1, "REQ <"+deferred+"> 60000\nFIN <"+finished+">\n"+barrier)(a)
			when(allStats, `"message_count":100,"paused":true`)(a)
			a.hangUp("s")
			a.stop()
			before := metadata(a)

			b := startNSQDIn(t, tt.then, data, tt.flags...)
			if after := metadata(b); before != after {
				t.Errorf("metadata of %s: %s, of %s: %s", tt.first, before, tt.then, after)
			}
			half := consume(t, b.tcp, "t", "c", n/2, 5*time.Second)
			b.stop()

			back := startNSQDIn(t, tt.first, data, tt.flags...)
			rest := consume(t, back.tcp, "t", "c", n-1-len(half), 5*time.Second)
			for body := range half {
				rest[body]++
			}
			delete(rest, finished) // stock may have it on its disk and then it is not
			delete(rest, deferred)
			wantC := maps.Clone(want)
			delete(wantC, finished)
			delete(wantC, deferred) // see TestNSQDDeviations
			compareCounts(t, "t/c", wantC, rest)
			mustSend(t, "POST", back.http, "/channel/unpause?topic=t&channel=d", "")
			mustSend(t, "POST", back.http, "/topic/unpause?topic=paused", "")
			compareCounts(t, "t/d", want, consume(t, back.tcp, "t", "d", n, 5*time.Second))
			compareCounts(t, "paused/c", want, consume(t, back.tcp, "paused", "c", n, 5*time.Second))
			compareCounts(t, "bare/new", want, consume(t, back.tcp, "bare", "new", n, 5*time.Second))
			if tt.first != "stock" && tt.then != "stock" {
				noBadFiles(t, data) // stock's own leaves them
			}
		})
	}
}

func compareCounts(t *testing.T, what string, want, got map[string]int) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages of %s, wanted (-) and delivered (+):\n%s", what, diff)
	}
}

// noBadFiles fails the test if a file of the disk queues was given up.
func noBadFiles(t *testing.T, data string) {
	t.Helper()
	bad, err := filepath.Glob(filepath.Join(data, "*.bad"))
	if err != nil || len(bad) > 0 {
		t.Errorf("files given up: %v, %v", bad, err)
	}
}

// TestNSQDFileNames compares the names of the files that both leave behind.
func TestNSQDFileNames(t *testing.T) {
	names := make(map[string][]string)
	for _, which := range []string{"stock", nsqdUnderTest()} {
		s := startNSQDSubject(t, which, "--mem-queue-size=0")
		for _, target := range []string{"/pub?topic=t", "/pub?topic=t.t", "/pub?topic=e%23ephemeral"} {
			mustSend(t, "POST", s.http, target, "x")
		}
		mustSend(t, "POST", s.http, "/channel/create?topic=t&channel=c", "")
		mustSend(t, "POST", s.http, "/channel/create?topic=t&channel=e%23ephemeral", "")
		mustSend(t, "POST", s.http, "/topic/create?topic=gone", "")
		mustSend(t, "POST", s.http, "/pub?topic=gone", "x")
		mustSend(t, "POST", s.http, "/topic/delete?topic=gone", "")
		when(allStats, `"deferred_count":0,"depth":1`)(s)
		s.stop()
		entries, err := os.ReadDir(s.data)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names[which] = append(names[which], e.Name())
		}
	}
	if diff := cmp.Diff(names["stock"], names[nsqdUnderTest()]); diff != "" {
		t.Errorf("files of stock (-) and of ours (+):\n%s", diff)
	}
}

// statsdKey is what is compared of a line of statsd: its key and its type.
var statsdKey = regexp.MustCompile(`^([^:]+):-?\d+\|(\w+)$`)

// TestNSQDStatsd compares the keys that both push.
func TestNSQDStatsd(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags []string
	}{
		{"default", nil},
		{"its own prefix, no ephemeral, no memory", []string{"--statsd-prefix=mine.%s.here", "--statsd-exclude-ephemeral", "--statsd-mem-stats=false", "--e2e-processing-latency-percentile=0.99,0.5"}},
		{"no prefix, small packets", []string{"--statsd-prefix=", "--statsd-udp-packet-size=100"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stock, ours := statsdKeys(t, "stock", tt.flags...), statsdKeys(t, nsqdUnderTest(), tt.flags...)
			want, got := stock(), ours()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("keys of stock (-) and of ours (+):\n%s", diff)
			}
			if len(want) < 10 {
				t.Errorf("keys: %q", want)
			}
		})
	}
}

// statsdKeys starts one nsqd, and returns what returns the keys, with types, that it has
// pushed in the first five seconds.
func statsdKeys(t *testing.T, which string, flags ...string) func() []string {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := startNSQDSubject(t, which, append(slices.Clone(flags), "--statsd-address="+l.LocalAddr().String(), "--statsd-interval=2s")...)
	for _, target := range []string{"/topic/create?topic=t", "/channel/create?topic=t&channel=c", "/channel/create?topic=t&channel=e%23ephemeral", "/topic/create?topic=e%23ephemeral", "/channel/create?topic=e%23ephemeral&channel=c", "/topic/create?topic=a.b", "/channel/create?topic=a.b&channel=c", "/pub?topic=t"} {
		mustSend(t, "POST", s.http, target, "x")
	}
	keys := make(map[string]bool)
	l.SetReadDeadline(time.Now().Add(4500 * time.Millisecond))
	return func() []string {
		packet := make([]byte, 64<<10)
		for {
			n, _, err := l.ReadFrom(packet)
			if err != nil {
				return slices.Sorted(maps.Keys(keys))
			}
			for line := range strings.Lines(string(packet[:n])) {
				match := statsdKey.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
				if match == nil {
					t.Errorf("%s pushes %q", which, line)
					continue
				}
				keys[s.plainText(match[1])+" "+match[2]] = true
			}
		}
	}
}
