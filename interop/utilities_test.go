package interop

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// utilities are those that are compared with stock's.
var utilities = []string{"nsq_tail", "to_nsq", "nsq_stat", "nsq_to_nsq", "nsq_to_http"}

// toolTimeout bounds what a utility does at once on an idle machine.
const toolTimeout = 20 * time.Second

// utilityBin returns the path of the utility that is called stock or ours.
func utilityBin(which, app string) string {
	if which == "ours" {
		return ourBin(app)
	}
	return stockBin(app)
}

// skipWithoutOurs skips a test of our utilities where they are not built.
func skipWithoutOurs(t *testing.T) {
	if *against != "ours" {
		t.Skip("our utilities are not built")
	}
}

// A world is where the utilities are run: stock daemons, or ours.
type world struct {
	which string
	lookupds
}

func (w world) nsqd(t *testing.T) *nsqd {
	t.Helper()
	return startNSQDOf(t, w.which, w.tcp...)
}

// eachWorld runs a test of our utilities with stock daemons and with ours.
func eachWorld(t *testing.T, test func(*testing.T, world)) {
	skipWithoutOurs(t)
	t.Run("stock daemons", func(t *testing.T) {
		t.Parallel()
		s := startSubject(t, "stock", reachable)
		test(t, world{"stock", lookupds{[]string{s.tcp}, []string{s.http}, []*process{s.process}}})
	})
	t.Run("our daemons", func(t *testing.T) {
		t.Parallel()
		c := startCluster(t)
		w := world{which: "ours", lookupds: lookupds{tcp: tcpAddrs(c.nodes), http: httpAddrs(c.nodes)}}
		for _, n := range c.nodes {
			w.processes = append(w.processes, n.process)
		}
		test(t, w)
	})
}

// A tool is a utility that runs, with its output apart from its log.
type tool struct {
	t              testing.TB
	name           string
	cmd            *exec.Cmd
	stdout, stderr lockedBuffer
	exited         chan struct{}
}

// startTool starts a utility. It does not outlive the test, which shows its log if it
// fails.
func startTool(t testing.TB, which, app string, stdin io.Reader, args ...string) *tool {
	t.Helper()
	u := &tool{t: t, name: which + "'s " + app, cmd: exec.Command(utilityBin(which, app), args...), exited: make(chan struct{})}
	u.cmd.Stdin, u.cmd.Stdout, u.cmd.Stderr = stdin, &u.stdout, &u.stderr
	u.cmd.SysProcAttr = dieWithParent()
	u.start()
	return u
}

func (u *tool) start() {
	u.t.Helper()
	if err := u.cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	go func() {
		defer close(u.exited)
		u.cmd.Wait() // its status is in ProcessState
	}()
	u.t.Cleanup(func() {
		u.cmd.Process.Kill()
		<-u.exited
		if strings.Contains(u.stderr.String(), "WARNING: DATA RACE") { // see raceOurs
			u.t.Errorf("data race in %s", u.name)
		}
		if u.t.Failed() {
			u.t.Logf("log of %s:\n%s", u.name, u.stderr.String())
		}
	})
}

// wait returns the status with which the tool ends by itself.
func (u *tool) wait() int {
	u.t.Helper()
	select {
	case <-u.exited:
	case <-time.After(toolTimeout):
		u.t.Fatalf("%s still runs after %v", u.name, toolTimeout)
	}
	return u.cmd.ProcessState.ExitCode()
}

// stop sends a signal and wants status 0.
func (u *tool) stop(sig syscall.Signal) {
	u.t.Helper()
	if err := u.cmd.Process.Signal(sig); err != nil {
		u.t.Fatalf("%s: %v", u.name, err)
	}
	if code := u.wait(); code != 0 {
		u.t.Errorf("%s ended with %d after %v, want 0", u.name, code, sig)
	}
}

// prints returns a check that stdout is want.
func (u *tool) prints(want string) func() error {
	return func() error {
		if got := u.stdout.String(); got != want {
			return fmt.Errorf("%s printed %q, want %q", u.name, got, want)
		}
		return nil
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A channelState is what an nsqd says of a channel in /stats.
type channelState struct {
	Name     string `json:"channel_name"`
	Depth    int    `json:"depth"`
	InFlight int    `json:"in_flight_count"`
	Deferred int    `json:"deferred_count"`
	Messages int    `json:"message_count"`
	Clients  int    `json:"client_count"`
}

// channel returns a check of a channel of d.
func (d *nsqd) channel(topic, channel, what string, is func(channelState) bool) func() error {
	return func() error {
		var stats struct {
			Topics []struct {
				Channels []channelState `json:"channels"`
			} `json:"topics"`
		}
		if err := get(d.http, "/stats?format=json&topic="+topic+"&channel="+channel, &stats); err != nil {
			return err
		}
		for _, t := range stats.Topics {
			switch {
			case len(t.Channels) == 0:
			case is(t.Channels[0]):
				return nil
			default:
				return fmt.Errorf("%s/%s on %s is not %s: %+v", topic, channel, d.name, what, t.Channels[0])
			}
		}
		return fmt.Errorf("no channel %s/%s on %s", topic, channel, d.name)
	}
}

// empty wants a channel to have had n messages, all of which are finished.
func (d *nsqd) empty(topic, channel string, n int) func() error {
	return d.channel(topic, channel, fmt.Sprintf("done with %d messages", n), func(c channelState) bool {
		return c.Messages == n && c.Depth+c.InFlight+c.Deferred == 0
	})
}

// take consumes all messages of a channel, with stock nsq_tail, whose last message
// comes again.
func (d *nsqd) take(topic, channel string, n int) []string {
	d.t.Helper()
	eventually(d.t, toolTimeout, "messages to take", d.channel(topic, channel, fmt.Sprintf("%d deep", n), func(c channelState) bool { return c.Depth == n }))
	if n == 0 {
		return nil
	}
	out := runTool(d.t, toolTimeout, "nsq_tail", "--nsqd-tcp-address="+d.tcp, "--topic="+topic, "--channel="+channel, fmt.Sprint("-n=", n))
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
}

// Every flag of a stock utility is one of ours, with the same default.
func TestUtilityFlags(t *testing.T) {
	skipWithoutOurs(t)
	flags := func(which, app string) map[string]string {
		help, _ := runToEnd(t, utilityBin(which, app), "-help")
		all := make(map[string]string)
		for _, f := range regexp.MustCompile(`(?m)^  -(\S+).*\n?(?:    \t.*)?`).FindAllStringSubmatch(string(help), -1) {
			value := regexp.MustCompile(`\(default ("[^"]*"|\S+)\)$`).FindStringSubmatch(f[0])
			all[f[1]] = ""
			if value != nil {
				all[f[1]] = value[1]
			}
		}
		return all
	}
	for _, app := range utilities {
		stock, ours := flags("stock", app), flags("ours", app)
		if len(stock) < 5 {
			t.Fatalf("%s: understood only %v of its help", app, stock)
		}
		for name, value := range stock {
			if got, ok := ours[name]; !ok || got != value {
				t.Errorf("%s: flag -%s has default %q (there: %v), want %q", app, name, got, ok, value)
			}
		}
		for _, name := range []string{"version", "lookupd-http-address"} { // to_nsq too
			if _, ok := ours[name]; !ok {
				t.Errorf("%s has no flag -%s", app, name)
			}
		}
	}
}

// Utilities that are called wrongly, or only asked for their version, end alike.
func TestUtilityCommandLine(t *testing.T) {
	skipWithoutOurs(t)
	const source = "--nsqd-tcp-address=127.0.0.1:1 "
	for _, tt := range []struct {
		app, args   string
		stock, ours int // status
		want        string
	}{
		{"nsq_tail", "--version", 0, 0, `^nsq_tail v1\.3\.0\S*\n$`},
		{"nsq_stat", "-version", 0, 0, `^nsq_stat v1\.3\.0\S*\n$`},
		{"nsq_to_nsq", "--version", 0, 0, `^nsq_to_nsq v1\.3\.0\S*\n$`},
		{"nsq_to_http", "--version", 0, 0, `^nsq_to_http v1\.3\.0\S*\n$`},
		{"to_nsq", "--version", 2, 0, ``},
		{"nsq_tail", "--colour=red", 2, 2, `flag provided but not defined: -colour`},
		{"nsq_tail", "--topic=a", 1, 1, `--nsqd-tcp-address or --lookupd-http-address required\n$`},
		{"nsq_tail", "--topic=a --nsqd-tcp-address=127.0.0.1:1", 1, 1, `connection refused`},
		{"nsq_tail", source, 1, 1, `--topic required\n$`},
		{"nsq_tail", source + "--topic=a --consumer-opt=colour,red", 2, 2, `invalid option colour`},
		{"to_nsq", source, 1, 1, `--topic required\n$`},
		{"to_nsq", source + "--topic=a --delimiter=ab", 1, 1, `--delimiter must be a single byte\n$`},
		{"to_nsq", source + "--topic=a", 0, 0, ``}, // nothing to publish
		{"nsq_stat", "--topic=a --channel=b --nsqd-http-address=127.0.0.1:1", 1, 1, `connection refused`},
		{"nsq_stat", "--topic=a --channel=b --nsqd-http-address=127.0.0.1:1 --count=0", 1, 1, `--count should be positive\n$`},
		{"nsq_stat", "--topic=a --channel=b --nsqd-http-address=127.0.0.1:1 --interval=0s", 1, 1, `--interval should be positive\n$`},
		{"nsq_to_nsq", source + "--topic=a", 1, 1, `--destination-nsqd-tcp-address required\n$`},
		{"nsq_to_nsq", source + "--topic=a(b) --destination-nsqd-tcp-address=127.0.0.1:1", 1, 1, `--topic is invalid\n$`},
		{"nsq_to_http", source + "--topic=a", 1, 1, `--get or --post required\n$`},
		{"nsq_to_http", source + "--topic=a --post=http://a --sample=2", 1, 1, `--sample must be between 0\.0 and 1\.0\n$`},
	} {
		for which, want := range map[string]int{"stock": tt.stock, "ours": tt.ours} {
			out, code := runToEnd(t, utilityBin(which, tt.app), strings.Fields(tt.args)...)
			if code != want || !regexp.MustCompile(tt.want).Match(out) {
				t.Errorf("%s %s of %s: status %d, want %d and %s in\n%s", tt.app, tt.args, which, code, want, tt.want, out)
			}
		}
	}
	for _, app := range []string{"nsq_to_nsq", "nsq_to_http"} {
		args := []string{source, "--topic=a", "--mode=hostpol", "--post=http://a"}
		if app == "nsq_to_nsq" {
			args[3] = "--destination-nsqd-tcp-address=127.0.0.1:1"
		}
		args[0] = strings.TrimSpace(source)
		if out, code := runToEnd(t, ourBin(app), args...); code != 1 || !strings.Contains(string(out), `not "hostpol"`) || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%s with an unknown mode: status %d, want 1 and one sentence:\n%s", app, code, out)
		}
	}
}
