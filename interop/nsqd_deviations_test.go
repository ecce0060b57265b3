package interop

import (
	"crypto/tls"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestNSQDDeviations lists every answer that our nsqd gives otherwise than stock, with
// the reason, as TestDeviations does for nsqlookupd. Stock's answers and ours are
// regular expressions, because some of stock's are not always the same.
//
// More need no row: ours adds the fields of transcript_test.go's additive and its own
// endpoints, and TestNSQDCommandLine has the flags that stock panics at.
func TestNSQDDeviations(t *testing.T) {
	cert, key := certificate(t)
	const wraps = "18446744073710" // so many milliseconds are 0.4 ms to who multiplies without looking
	for _, tt := range []struct {
		name  string
		why   string
		flags []string
		own   []string // flags that only ours has
		// before leads both subjects to the state in which they are asked.
		before []step
		ask    step
		stock  string // empty where stock is not asked
		ours   string
	}{
		{
			name:  "HEAD is answered as GET without the body",
			why:   "load balancers and uptime checks send it",
			ask:   status("HEAD /ping", "HEAD /stats", "HEAD /pub"),
			stock: "^HEAD /ping: 405; HEAD /stats: 405; HEAD /pub: 405$",
			ours:  "^HEAD /ping: 200; HEAD /stats: 200; HEAD /pub: 405$",
		},
		{
			name:  "an MPUB longer than it says",
			why:   "stock's limit on bodies holds only for those who keep to it",
			ask:   last("a", magicV2+withSize("MPUB t", 9, batch(2, "one", "two"))),
			stock: `: "OK" closed$`,
			ours:  `: error "E_BAD_(BODY|MESSAGE) MPUB .*" closed$`,
		},
		{
			name:  "an MPUB shorter than it says",
			why:   "stock reads what is left over as the next command",
			ask:   last("a", magicV2+withSize("MPUB t", 12, batch(1, "one")+"x")),
			stock: `: "OK" closed$`,
			ours:  `: error "E_BAD_(BODY|MESSAGE) MPUB .*" closed$`,
		},
		{
			name:  "a chunked /mpub beyond the limit",
			why:   "stock looks at Content-Length alone",
			flags: []string{"--max-body-size=100", "--max-msg-size=90"},
			ask: raw("POST /mpub?topic=t&binary=true HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nc4\r\n" +
				batch(8, strings.Repeat("x", 20), strings.Repeat("x", 20), strings.Repeat("x", 20), strings.Repeat("x", 20), strings.Repeat("x", 20), strings.Repeat("x", 20), strings.Repeat("x", 20), strings.Repeat("x", 20)) + "\r\n0\r\n\r\n"),
			stock: `HTTP/1.1 200 OK "OK"$`,
			ours:  `HTTP/1.1 413 .*{"message":"(BODY_TOO_BIG|BAD_BODY|BAD_MESSAGE)"}$`,
		},
		{
			name:  "what /debug/freememory and /debug/setblockrate have done",
			why:   "stock does it and says 500",
			ask:   status("POST /debug/freememory", "PUT /debug/setblockrate?rate=0"),
			stock: "^POST /debug/freememory: 500; PUT /debug/setblockrate\\?rate=0: 500$",
			ours:  "^POST /debug/freememory: 200; PUT /debug/setblockrate\\?rate=0: 200$",
		},
		{
			name:   "the topics of a producer",
			why:    "stock shows one of them, whichever",
			before: []step{send("p", 3, magicV2+pub("a", "x")+pub("b", "x")+pub("c", "x"))},
			ask:    fetch(allStats),
			stock:  `"pub_counts":\[{"count":1,"topic":"[abc]"}\]`,
			ours:   `"pub_counts":\[{"count":1,"topic":"a"},{"count":1,"topic":"b"},{"count":1,"topic":"c"}\]`,
		},
		{
			name:   "a deferred message over a restart",
			why:    "stock forgets until when, and delivers at once",
			before: []step{post("/topic/create?topic=t"), post("/channel/create?topic=t&channel=c"), call("POST", "/pub?topic=t&defer=600000", "x"), when(allStats, `"deferred_count":1`), restart},
			ask:    waitAsConsumer,
			stock:  `a is sent message "x"`,
			ours:   `a is sent nothing.*"deferred_count":1,"depth":0`,
		},
		{
			name:   "a message requeued for later over a restart",
			why:    "stock forgets until when, and delivers at once",
			before: []step{send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 1\n"+barrier), send("s", 2, pub("t", "x")), send("s", 1, "REQ <x> 600000\n"+barrier), restart},
			ask:    waitAsConsumer,
			stock:  `a is sent message "x"`,
			ours:   `a is sent nothing.*"deferred_count":1,"depth":0`,
		},
		{
			name:  "a DPUB so far away that milliseconds overflow",
			why:   "in stock it wraps to a short delay",
			ask:   last("a", magicV2+dpub("t", wraps, "x")),
			stock: `: "OK" closed$`,
			ours:  `: error "E_INVALID DPUB timeout \d+ out of range 0-3600000" closed$`,
		},
		{
			name:  "numbers beyond 64 bits",
			why:   "stock shows what is left of them",
			ask:   last("a", magicV2+"SUB t c\nRDY 99999999999999999999\n"),
			stock: `"E_INVALID RDY count 7766279631452241919 out of range 0-2500" closed$`,
			ours:  `"E_INVALID RDY (could not parse count 99999999999999999999|count \d+ out of range 0-2500)" closed$`,
		},
		{
			name:   "a topic that only a refused /pub names",
			why:    "stock makes it before it looks at the rest",
			before: []step{call("POST", "/pub?topic=only-made&defer=x", "x")},
			ask:    fetch(allStats),
			stock:  `"topic_name":"only-made"`,
			ours:   `"topics":\[\]`,
		},
		{
			name:  "a list that is null",
			why:   "an empty list is shown as one",
			ask:   call("PUT", "/config/nsqlookupd_tcp_addresses", "null"),
			stock: "null$",
			ours:  `\[\]$`,
		},
		{
			name:  "a deferred /pub so far away that milliseconds overflow",
			why:   "in stock it wraps to a short delay",
			ask:   call("POST", "/pub?topic=t&defer="+wraps, "x"),
			stock: ": 200\n",
			ours:  ": 400\n(?s).*INVALID_DEFER",
		},
		{
			name:   "a REQ so far away that milliseconds overflow",
			why:    "in stock it wraps to a short delay, where it should be clamped to --max-req-timeout",
			before: []step{send("s", 1, magicV2+"SUB t c\n"), send("s", 1, "RDY 1\n"+barrier), send("s", 2, pub("t", "x")), send("s", 1, "RDY 0\nREQ <x> "+wraps+"\n"+barrier)},
			ask:    quietStats,
			stock:  `"deferred_count":[01],"depth":[01]`,
			ours:   `"deferred_count":1,"depth":0`,
		},
		{
			name:  "a client of TLS 1.0",
			why:   "--tls-min-version is 1.2 unless it is said otherwise",
			flags: []string{"--tls-cert=" + cert, "--tls-key=" + key, "--https-address=127.0.0.1:0"},
			before: []step{
				send("a", 1, hello(`{"feature_negotiation":true,"tls_v1":true}`)),
			},
			ask:   upgrade("a", &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}),
			stock: `: "OK"$`,
			ours:  `no handshake$`,
		},
		{
			name:  "endpoints of its own",
			why:   "for Prometheus and Kubernetes",
			ask:   status("GET /metrics", "GET /livez", "GET /readyz"),
			stock: "^GET /metrics: 404; GET /livez: 404; GET /readyz: 404$",
			ours:  "^GET /metrics: 200; GET /livez: 200; GET /readyz: 200$",
		},
		{
			name: "PUT /config from elsewhere",
			why:  "who can set the addresses of lookupds can have nsqd talk to anyone",
			own:  []string{"--allow-config-from-cidr=192.0.2.0/24"},
			ask:  call("PUT", "/config/log_level", "info"),
			ours: ": 403",
		},
		{
			name:  "statistics every second",
			why:   "stock panics at an interval of a second or less",
			flags: []string{"--statsd-address=127.0.0.1:1", "--statsd-interval=1s"},
			ask: func(s *subject) string {
				send("z", 1, magicV2+"SUB other c\n")(s)
				return quiet("z", 1500e6)(s)
			},
			ours: "nothing$",
		},
		{
			name: "SIGHUP",
			why:  "stock dies of it without a flush",
			ask: func(s *subject) string {
				if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
					return err.Error()
				}
				return quietStats(s)
			},
			ours: `GET /stats\S*: 200`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answers := map[string]string{"stock": tt.stock}
			if nsqdUnderTest() == "ours" {
				answers["ours"] = tt.ours
			}
			for which, want := range answers {
				if want == "" {
					continue
				}
				flags := tt.flags
				if which == "ours" {
					flags = append(flags, tt.own...)
				}
				s := startNSQDSubject(t, which, flags...)
				for _, do := range tt.before {
					do(s)
				}
				if got := tt.ask(s); !regexp.MustCompile(want).MatchString(got) {
					t.Errorf("%s: %s, want %s (%s)", which, got, want, tt.why)
				}
				if err := s.running(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// waitAsConsumer subscribes to t/c and shows what comes within a moment, and the counters.
func waitAsConsumer(s *subject) string {
	send("a", 1, magicV2+"SUB t c\n")(s)
	send("a", 0, "RDY 1\n")(s)
	return quiet("a", 700e6)(s) + "; " + strings.ReplaceAll(fetch(allStats)(s), "\n", " ")
}

// quietStats shows the counters a moment later.
func quietStats(s *subject) string {
	send("z", 1, magicV2+"SUB other c\n")(s)
	quiet("z", 500e6)(s)
	return fetch(allStats)(s)
}

// TestNSQDCommandLine starts nsqd in ways in which it says something and ends. Where
// stock panics, as it starts or with the first client, ours has to say which flag is
// wrong.
func TestNSQDCommandLine(t *testing.T) {
	busy := occupied(t)
	level := writeFile(t, "level.cfg", "log_level = \"loud\"\n")
	broken := writeFile(t, "broken.cfg", "tcp_address = \n")
	for name, tt := range map[string]struct {
		args []string
		exit int
		want string // a regular expression that the output has to match
		ours bool   // stock is not asked
	}{
		"version":                {args: []string{"--version"}, want: `^nsqd v\S+ \(built w/go1\.\S+\)\n$`},
		"version, one dash":      {args: []string{"-version"}, want: `^nsqd v`},
		"help":                   {args: []string{"--help"}, want: `(?s)auth-http-address.*tls-root-ca-file`},
		"unknown flag":           {args: []string{"--colour=red"}, exit: 2, want: `(?s)flag provided but not defined: -colour\n.*-http-address`},
		"bad duration":           {args: []string{"--msg-timeout=soon"}, exit: 2, want: `invalid value "soon" for flag -msg-timeout`},
		"bad number":             {args: []string{"--mem-queue-size=x"}, exit: 2, want: `invalid value "x" for flag -mem-queue-size`},
		"bad level in a file":    {args: []string{"--config=" + level}, exit: 1, want: `loud`},
		"a file that is wrong":   {args: []string{"--config=" + broken}, exit: 1, want: `failed to load config file`},
		"no such file":           {args: []string{"--config=/no/such/file"}, exit: 1, want: `failed to load config file /no/such/file`},
		"tcp port in use":        {args: []string{"--tcp-address=" + busy, "--http-address=127.0.0.1:0"}, exit: 1, want: `address already in use`},
		"http port in use":       {args: []string{"--tcp-address=127.0.0.1:0", "--http-address=" + busy}, exit: 1, want: `address already in use`},
		"node id":                {args: []string{"--node-id=1024"}, exit: 1, want: `--node-id must be \[0,1024\)`},
		"node id below zero":     {args: []string{"--node-id=-1"}, exit: 1, want: `--node-id must be \[0,1024\)`},
		"deflate level":          {args: []string{"--max-deflate-level=10"}, exit: 1, want: `--max-deflate-level must be \[1,9\]`},
		"percentile":             {args: []string{"--e2e-processing-latency-percentile=1.5"}, exit: 1, want: `invalid E2E processing latency percentile: 1.5`},
		"TLS without cert":       {args: []string{"--tls-required"}, exit: 1, want: `cannot require TLS client connections without TLS key and cert`},
		"policy without cert":    {args: []string{"--tls-client-auth-policy=require"}, exit: 1, want: `cannot require TLS client connections without TLS key and cert`},
		"no such cert":           {args: []string{"--tls-cert=/no/such/cert", "--tls-key=/no/such/key"}, exit: 1, want: `failed to build TLS config - open /no/such/cert`},
		"TLS version":            {args: []string{"--tls-min-version=ssl3.0"}, exit: 2, want: `"ssl3.0"`},
		"TLS required, nonsense": {args: []string{"--tls-required=maybe"}, exit: 2, want: `maybe`},
		"no such data path":      {args: []string{"--data-path=/no/such/folder"}, exit: 1, want: `failed to lock data-path`},

		"no output buffer timeout":    {args: []string{"--output-buffer-timeout=0"}, exit: 1, want: `output-buffer-timeout`, ours: true},
		"memory queue below zero":     {args: []string{"--mem-queue-size=-1"}, exit: 1, want: `mem-queue-size`, ours: true},
		"no statsd interval":          {args: []string{"--statsd-address=127.0.0.1:1", "--statsd-interval=0"}, exit: 1, want: `statsd-interval`, ours: true},
		"no heartbeats at all":        {args: []string{"--max-heartbeat-interval=0"}, exit: 1, want: `max-heartbeat-interval`, ours: true},
		"files of no bytes":           {args: []string{"--max-bytes-per-file=0"}, exit: 1, want: `max-bytes-per-file`, ours: true},
		"sync timeout":                {args: []string{"--sync-timeout=0"}, exit: 1, want: `sync-timeout`, ours: true},
		"sync every below zero":       {args: []string{"--sync-every=-1"}, exit: 1, want: `sync-every`, ours: true},
		"messages of no bytes":        {args: []string{"--max-msg-size=0"}, exit: 1, want: `max-msg-size`, ours: true},
		"message timeout":             {args: []string{"--msg-timeout=0"}, exit: 1, want: `msg-timeout`, ours: true},
		"RDY below zero":              {args: []string{"--max-rdy-count=-1"}, exit: 1, want: `max-rdy-count`, ours: true},
		"a network that is none":      {args: []string{"--allow-config-from-cidr=here"}, exit: 1, want: `allow-config-from-cidr`, ours: true},
		"an experiment that is none":  {args: []string{"--enable-experiment=flying"}, exit: 1, want: `flying`, ours: true},
		"a SIGTERM mode that is none": {args: []string{"--sigterm-mode=later"}, exit: 1, want: `later`, ours: true},
		"an auth method that is none": {args: []string{"--auth-http-request-method=put"}, exit: 1, want: `auth-http-request-method`, ours: true},
	} {
		for _, which := range []string{"stock", nsqdUnderTest()} {
			if which == "stock" && tt.ours {
				continue
			}
			t.Run(name+"/"+which, func(t *testing.T) {
				args := append([]string{"--data-path=" + t.TempDir(), "--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0", "--https-address=127.0.0.1:0"}, tt.args...)
				out, exit := runToEnd(t, nsqdBin(which), args...)
				if exit != tt.exit {
					t.Errorf("exit status %d, want %d:\n%s", exit, tt.exit, out)
				}
				if !regexp.MustCompile(tt.want).Match(out) {
					t.Errorf("output\n%s\ndoes not match %s", out, tt.want)
				}
				if strings.Contains(string(out), "goroutine ") {
					t.Errorf("output\n%s", out)
				}
			})
		}
	}
}

// TestNSQDDataPathLock starts a second nsqd over the data of one that runs.
func TestNSQDDataPathLock(t *testing.T) {
	for _, first := range []string{"stock", nsqdUnderTest()} {
		for _, second := range []string{"stock", nsqdUnderTest()} {
			t.Run(fmt.Sprintf("%s beside %s", second, first), func(t *testing.T) {
				s := startNSQDSubject(t, first)
				out, exit := runToEnd(t, nsqdBin(second), "--data-path="+s.data, "--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0")
				if want := "failed to lock data-path: cannot flock directory "; exit != 1 || !strings.Contains(string(out), want) {
					t.Errorf("exit status %d, want 1 and %q:\n%s", exit, want, out)
				}
			})
		}
	}
}
