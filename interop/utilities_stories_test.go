package interop

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// nsq_tail prints what stock's prints, and leaves nothing behind.
func TestUtilityTail(t *testing.T) {
	bodies := []string{"one", "two\nlines", "tab\tand \x00 byte", "\xff\xfe", strings.Repeat("long ", 10000)}
	eachWorld(t, func(t *testing.T, w world) {
		d := w.nsqd(t)
		d.createTopic("orders")
		variants := map[string][]string{"plain": nil, "topic": {"--print-topic"}, "few": {"--max-in-flight=1"}}
		for name := range variants {
			for _, which := range []string{"stock", "ours"} {
				d.createChannel("orders", name+"-"+which)
			}
		}
		d.createChannel("orders", "json")
		for _, body := range bodies {
			d.publish("orders", body)
		}
		eventually(t, seenTimeout, "nsqd", listed(w.http, "orders", d.http))
		for name, args := range variants {
			out := make(map[string]string)
			for _, which := range []string{"stock", "ours"} {
				all := append(slices.Clone(args), each("--lookupd-http-address", w.http)...)
				u := startTool(t, which, "nsq_tail", nil, append(all, "--topic=orders", "--channel="+name+"-"+which, fmt.Sprint("-n=", len(bodies)))...)
				if code := u.wait(); code != 0 {
					t.Errorf("%s %s: status %d", u.name, name, code)
				}
				out[which] = u.stdout.String()
			}
			if out["ours"] != out["stock"] || !strings.Contains(out["ours"], "two\nlines") {
				t.Errorf("%s: ours printed\n%.300q\nstock's\n%.300q", name, out["ours"], out["stock"])
			}
			eventually(t, seenTimeout, "all finished", d.empty("orders", name+"-ours", len(bodies)))
		}

		u := startTool(t, "ours", "nsq_tail", nil, "--nsqd-tcp-address="+d.tcp, "--topic=orders", "--channel=json", "--json", fmt.Sprint("-n=", len(bodies)))
		u.wait()
		var got []string
		for line := range strings.Lines(u.stdout.String()) {
			var m struct {
				Topic, NSQD, Body string
				Base64            []byte `json:"body_base64"`
				Attempts          int
				Timestamp         int64
			}
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if m.Topic != "orders" || m.NSQD != d.tcp || m.Attempts != 1 || time.Since(time.Unix(0, m.Timestamp)).Abs() > time.Hour {
				t.Errorf("object %.200s", line)
			}
			got = append(got, cmp.Or(m.Body, string(m.Base64)))
		}
		if !slices.Equal(got, bodies) {
			t.Errorf("bodies %.100q, want %.100q", got, bodies)
		}
	})
}

// A tail that nobody reads any more ends well, and one that is told to.
func TestUtilityTailEnds(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		d := w.nsqd(t)
		d.createTopic("orders")
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			u := startTool(t, "ours", "nsq_tail", nil, "--nsqd-tcp-address="+d.tcp, "--topic=orders", "--channel=c")
			eventually(t, toolTimeout, "tail", d.channel("orders", "c", "tailed", func(c channelState) bool { return c.Clients == 1 }))
			u.stop(sig)
		}
		r, pipe, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		u := &tool{t: t, name: "nsq_tail into a pipe", exited: make(chan struct{})}
		u.cmd = exec.Command(ourBin("nsq_tail"), "--nsqd-tcp-address="+d.tcp, "--topic=orders", "--channel=c")
		u.cmd.Stdout, u.cmd.Stderr = pipe, &u.stderr
		u.cmd.SysProcAttr = dieWithParent()
		u.start()
		pipe.Close()
		d.publish("orders", "read")
		if _, err := r.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		r.Close()
		d.publish("orders", "not read")
		if code := u.wait(); code != 0 {
			t.Errorf("status %d when nobody reads any more, want 0", code)
		}
		eventually(t, seenTimeout, "the message that nobody read", d.channel("orders", "c", "kept", func(c channelState) bool { return c.Depth == 1 }))
	})
}

// to_nsq publishes what stock's does, and the end of an unterminated record too.
func TestUtilityToNSQ(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.nsqd(t), w.nsqd(t)
		for i, tt := range []struct {
			input       string
			args        []string
			stock, ours []string
		}{
			{"x\n\ny\r\nz z\n", nil, []string{"x", "y\r", "z z"}, nil},
			{"x,y\n,", []string{"--delimiter=,"}, []string{"x", "y\n"}, nil},
			{"hello\nworld", nil, []string{"hello", "worl"}, []string{"hello", "world"}},
			{"1\n2\n3\n", []string{"--rate=1000"}, []string{"1", "2", "3"}, nil},
			{"", nil, nil, nil},
		} {
			for _, which := range []string{"stock", "ours"} {
				topic := fmt.Sprintf("%s-%d", which, i)
				for _, d := range []*nsqd{a, b} {
					d.createTopic(topic)
					d.createChannel(topic, "sink")
				}
				args := append(slices.Clone(tt.args), "--topic="+topic, "--nsqd-tcp-address="+a.tcp, "--nsqd-tcp-address="+b.tcp)
				u := startTool(t, which, "to_nsq", strings.NewReader(tt.input), args...)
				if code := u.wait(); code != 0 || u.stdout.String() != "" {
					t.Errorf("%s with %q: status %d, stdout %q", u.name, tt.input, code, u.stdout.String())
				}
				want := tt.stock
				if which == "ours" && tt.ours != nil {
					want = tt.ours
				}
				for _, d := range []*nsqd{a, b} {
					// Compared in one piece: a message may have line breaks.
					got := strings.Join(d.take(topic, "sink", len(want)), "\n")
					if got != strings.Join(want, "\n") {
						t.Errorf("%s with %q published %q, want %q", u.name, tt.input, got, want)
					}
				}
			}
		}

		// By way of the nsqlookupds it finds the nsqd that has the topic, and if that
		// dies another one.
		a.createTopic("found")
		a.createChannel("found", "sink")
		eventually(t, seenTimeout, "topic", listed(w.http, "found", a.http))
		b.createTopic("other")
		eventually(t, seenTimeout, "the other", listed(w.http, "other", b.http))
		r, stdin := io.Pipe()
		u := startTool(t, "ours", "to_nsq", r, append(each("--lookupd-http-address", append([]string{freeAddr(t)}, w.http...)), "--topic=found")...)
		fmt.Fprintln(stdin, "first")
		eventually(t, toolTimeout, "first record", a.channel("found", "sink", "1 deep", func(c channelState) bool { return c.Depth == 1 }))
		a.kill()
		fmt.Fprintln(stdin, "second")
		eventually(t, toolTimeout, "second record", func() error {
			var stats struct {
				Topics []struct {
					Messages int `json:"message_count"`
				} `json:"topics"`
			}
			if err := get(b.http, "/stats?format=json&topic=found", &stats); err != nil {
				return err
			}
			if len(stats.Topics) != 1 || stats.Topics[0].Messages != 1 {
				return fmt.Errorf("the other nsqd has %+v", stats)
			}
			return nil
		})
		stdin.Close()
		if code := u.wait(); code != 0 {
			t.Errorf("status %d", code)
		}
	})
}

// nsq_stat prints what stock's prints of idle channels.
func TestUtilityStat(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		a, b := w.nsqd(t), w.nsqd(t)
		for i, d := range []*nsqd{a, b} {
			d.createTopic("orders")
			d.createChannel("orders", "c")
			for range i + 2 {
				d.publish("orders", "m")
			}
		}
		eventually(t, seenTimeout, "nsqds", listed(w.http, "orders", a.http, b.http))
		for _, source := range [][]string{
			each("--lookupd-http-address", w.http),
			each("--nsqd-http-address", []string{a.http, b.http}),
		} {
			args := append(source, "--topic=orders", "--channel=c", "--interval=20ms", "--count=26")
			out := make(map[string]string)
			for _, which := range []string{"stock", "ours"} {
				u := startTool(t, which, "nsq_stat", nil, args...)
				if code := u.wait(); code != 0 {
					t.Errorf("%s: status %d", u.name, code)
				}
				out[which] = u.stdout.String()
			}
			if out["ours"] != out["stock"] || strings.Count(out["ours"], "\n") != 26+2*2 {
				t.Errorf("%v: ours printed\n%s\nstock's\n%s", args, out["ours"], out["stock"])
			}
		}

		// What stock's has not: everything, and one nsqlookupd that is down.
		some := append(each("--lookupd-http-address", append([]string{freeAddr(t)}, w.http...)), "--interval=50ms", "--count=1", "--json")
		u := startTool(t, "ours", "nsq_stat", nil, some...)
		if code := u.wait(); code != 0 {
			t.Errorf("status %d", code)
		}
		var row struct {
			Messages int `json:"message_count"`
			Depth    int `json:"depth"`
			Nodes    int `json:"nodes"`
		}
		if err := json.Unmarshal([]byte(u.stdout.String()), &row); err != nil || row.Messages != 5 || row.Depth != 5 || row.Nodes != 2 {
			t.Errorf("everything: %s (%v), want 5 messages on 2 nsqds", u.stdout.String(), err)
		}
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
			u := startTool(t, "ours", "nsq_stat", nil, "--nsqd-http-address="+a.http, "--interval=1h")
			eventually(t, toolTimeout, "header", func() error { return wantPrefix(u.stdout.String(), "------rate------+") })
			u.stop(sig)
		}
	})
}

func wantPrefix(s, prefix string) error {
	if !strings.HasPrefix(s, prefix) {
		return fmt.Errorf("%q does not begin with %q", s, prefix)
	}
	return nil
}

// nsq_to_nsq passes on what stock's passes on.
func TestUtilityToNSQd(t *testing.T) {
	bodies := []string{`{"kind":"a","n":1,"x":"<y>"}`, `{"kind":"b","n":2.5}`, `{"n":1}`, `{"kind":"a","deep":{"k":[1,null]}}`, `no JSON`, `{"kind":1}`}
	eachWorld(t, func(t *testing.T, w world) {
		from, to := w.nsqd(t), w.nsqd(t)
		from.createTopic("orders")
		variants := [][]string{
			nil,
			{"--require-json-field=n"},
			{"--require-json-field=kind", "--whitelist-json-field=n", "--whitelist-json-field=deep", "--whitelist-json-field=x"},
			{"--mode=round-robin"},
			{"--mode=epsilon-greedy"},
		}
		for i := range variants {
			for _, which := range []string{"stock", "ours"} {
				from.createChannel("orders", fmt.Sprintf("%s-%d", which, i))
				topic := fmt.Sprintf("%s-%d", which, i)
				to.createTopic(topic)
				to.createChannel(topic, "sink")
			}
		}
		for _, body := range bodies {
			from.publish("orders", body)
		}
		eventually(t, seenTimeout, "nsqd", listed(w.http, "orders", from.http))
		for i, args := range variants {
			var out [][]string
			for _, which := range []string{"stock", "ours"} {
				name := fmt.Sprintf("%s-%d", which, i)
				all := append(slices.Clone(args), each("--lookupd-http-address", w.http)...)
				u := startTool(t, which, "nsq_to_nsq", nil, append(all, "--topic=orders", "--channel="+name, "--destination-topic="+name, "--destination-nsqd-tcp-address="+to.tcp)...)
				eventually(t, toolTimeout, u.name, from.empty("orders", name, len(bodies)))
				u.stop(syscall.SIGTERM)
				var got channelState
				if err := to.channel(name, "sink", "", func(c channelState) bool { got = c; return true })(); err != nil {
					t.Fatal(err)
				}
				out = append(out, to.take(name, "sink", got.Depth))
			}
			if !slices.Equal(out[0], out[1]) || len(out[1]) == 0 {
				t.Errorf("%v: ours passed on\n%q\nstock's\n%q", args, out[1], out[0])
			}
		}
	})
}

// nsq_to_http asks what stock's asks.
func TestUtilityToHTTP(t *testing.T) {
	bodies := []string{"one", "two & three=4\n", "\xff\x00", "päth/../%s"}
	eachWorld(t, func(t *testing.T, w world) {
		d := w.nsqd(t)
		d.createTopic("orders")
		var mu sync.Mutex
		asked := make(map[string][]string) // by path
		site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			agent := regexp.MustCompile(`\+.*`).ReplaceAllString(r.UserAgent(), "") // what is ours of the version
			asked[r.URL.Path] = append(asked[r.URL.Path], fmt.Sprintf("%s ?%s %q %s %s %s", r.Method, r.URL.RawQuery, body, r.Header.Get("Content-Type"), r.Header.Get("X-Key"), agent))
		}))
		defer site.Close()
		variants := [][]string{
			{"--post=%s"},
			{"--post=%s", "--content-type=text/plain", "--header=X-Key: some value", "--mode=round-robin"},
			{"--get=%s?m=%%s", "--header=X-Key:v"},
			{"--get=%s?m=%%s&n=1", "--n=1", "--max-in-flight=2", "--mode=epsilon-greedy"},
		}
		for i := range variants {
			d.createChannel("orders", fmt.Sprint("stock-", i))
			d.createChannel("orders", fmt.Sprint("ours-", i))
		}
		for _, body := range bodies {
			d.publish("orders", body)
		}
		for i, args := range variants {
			for _, which := range []string{"stock", "ours"} {
				name := fmt.Sprintf("%s-%d", which, i)
				args := slices.Clone(args)
				args[0] = fmt.Sprintf(args[0], site.URL+"/"+name)
				u := startTool(t, which, "nsq_to_http", nil, append(args, "--topic=orders", "--channel="+name, "--nsqd-tcp-address="+d.tcp)...)
				eventually(t, toolTimeout, u.name, d.empty("orders", name, len(bodies)))
				u.stop(syscall.SIGINT)
			}
			mu.Lock()
			stock, ours := asked[fmt.Sprint("/stock-", i)], asked[fmt.Sprint("/ours-", i)]
			slices.Sort(stock)
			slices.Sort(ours)
			if !slices.Equal(stock, ours) || len(ours) != len(bodies) {
				t.Errorf("%v: ours asked\n%q\nstock's\n%q", args, ours, stock)
			}
			mu.Unlock()
		}
	})
}

// A consumer sees an nsqd that is new at once where the nsqlookupd lets it wait, and
// does not need all nsqlookupds. Stock's polls.
func TestUtilityDiscovery(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		args := append(each("--lookupd-http-address", append([]string{freeAddr(t)}, w.http...)), "--topic=orders", "--channel=c")
		if w.which == "stock" {
			args = append(args, "--consumer-opt=lookupd_poll_interval,200ms")
		}
		u := startTool(t, "ours", "nsq_tail", nil, args...)
		want := ""
		for i := range 3 {
			d := w.nsqd(t)
			d.createTopic("orders")
			begun := time.Now()
			eventually(t, toolTimeout, "new nsqd", d.channel("orders", "c", "consumed", func(c channelState) bool { return c.Clients == 1 }))
			t.Logf("nsqd %d was connected %v after its topic had been created", i+1, time.Since(begun).Round(time.Millisecond))
			d.publish("orders", fmt.Sprint(i))
			want += fmt.Sprintln(i)
			eventually(t, toolTimeout, "its message", u.prints(want))
		}
		u.stop(syscall.SIGTERM)
	})
}

// Utilities that consume keep what they have while all nsqlookupds are gone, and find
// what is new when one is back.
func TestUtilityWithoutLookupd(t *testing.T) {
	eachWorld(t, func(t *testing.T, w world) {
		d := w.nsqd(t)
		d.createTopic("orders")
		eventually(t, seenTimeout, "nsqd", listed(w.http, "orders", d.http))
		args := append(each("--lookupd-http-address", w.http), "--topic=orders", "--channel=c", "--consumer-opt=lookupd_poll_interval,500ms")
		u := startTool(t, "ours", "nsq_tail", nil, args...)
		eventually(t, toolTimeout, "connected", d.channel("orders", "c", "consumed", func(c channelState) bool { return c.Clients == 1 }))
		for _, p := range w.processes {
			p.kill()
		}
		d.publish("orders", "without")
		eventually(t, toolTimeout, "message", u.prints("without\n"))
		for _, p := range w.processes {
			p.start()
		}
		other := w.nsqd(t)
		other.createTopic("orders")
		other.publish("orders", "with")
		eventually(t, 2*toolTimeout, "message of a new nsqd", u.prints("without\nwith\n"))
		u.stop(syscall.SIGTERM)
	})
}
