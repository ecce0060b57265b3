package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"nsqraft/internal/clusterinfo"
	"nsqraft/internal/nsqtest/lookupdtest"
	"nsqraft/internal/nsqtest/nsqdtest"
	"nsqraft/internal/version"
	"nsqraft/internal/wire"
	"nsqraft/nsqd"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// patience is how long a script waits for what has to happen.
const patience = 30 * time.Second

// TestScripts runs the scripts of testdata. Beside testscript's own commands they have:
//
//	cluster N            start a cluster of N nsqlookupds; $L1, $L2 ... are their HTTP addresses
//	waiting NAME         start a node NAME that waits to be taken in, at $NAME_RAFT
//	lookupd NAME...      start nsqlookupds without a cluster; $NAME is their HTTP address
//	nsqd NAME...         start nsqds that register with all of these, and wait until they have;
//	                     $NAME is their HTTP address
//	liar NAME FOLDER     start what answers a GET of /x with the file FOLDER/x of the script, and
//	                     404 without one; nsqctl takes it for an nsqlookupd. $NAME is its address
//	down NAME...         end one of them
//	publish NAME TOPIC N publish N messages at an nsqd
//	nsqctl& ARGS         run nsqctl beside the script, until "end"
//	end                  wait for its end; its output is told then
//	watched NAME TOPIC   wait until TOPIC has a channel with a consumer there
//	nsqctl ARGS [<FILE]  run nsqctl; its output is told without what differs from run to run
//	nsqctl? ARGS         the same, whatever its exit code
//	code N               the exit code of the last nsqctl
//	until WORD ARGS      run nsqctl until its stdout matches WORD
//	settles FILE ARGS    run nsqctl until its stdout is that of the file
//
// UPDATE=1 writes the output into the scripts.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Values[worldKey{}] = &world{t: env.T().(testing.TB), stops: make(map[string]func()), names: make(map[string]string)}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cluster": worldly((*world).cluster),
			"waiting": worldly((*world).waiting),
			"lookupd": worldly((*world).lookupd),
			"liar":    worldly((*world).liar),
			"nsqd":    worldly((*world).nsqd),
			"down":    worldly((*world).down),
			"publish": worldly((*world).publish),
			"code":    worldly((*world).code),
			"until":   worldly((*world).until),
			"settles": worldly((*world).settles),
			"nsqctl":  runNsqctl,
			"nsqctl?": worldly((*world).try),
			"nsqctl&": worldly((*world).begin),
			"end":     worldly((*world).end),
			"watched": worldly((*world).watched),
		},
	})
}

// A world is the daemons of one script.
type world struct {
	t        testing.TB
	lookupds []*lookupdtest.Lookupd
	nsqds    map[string]*nsqdtest.NSQD
	stops    map[string]func()
	names    map[string]string // an address to what it is called in outputs
	exit     int
	beside   *beside
}

// A beside is an nsqctl that runs beside the script.
type beside struct {
	stdout, stderr bytes.Buffer
	code           int
	ended          chan struct{}
}

type worldKey struct{}

func worldly(f func(*world, *testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command has no opposite")
		}
		f(ts.Value(worldKey{}).(*world), ts, args)
	}
}

func (w *world) cluster(ts *testscript.TestScript, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for i, m := range lookupdtest.StartCluster(w.t, n) {
		name := fmt.Sprintf("L%d", i+1)
		w.addMember(ts, name, m)
	}
}

func (w *world) waiting(ts *testscript.TestScript, args []string) {
	w.addMember(ts, args[0], lookupdtest.StartWaiting(w.t, args[0]))
}

func (w *world) addMember(ts *testscript.TestScript, name string, m *lookupdtest.Member) {
	w.addLookupd(ts, name, m.Lookupd)
	ts.Setenv(name+"_RAFT", m.Raft)
	w.names[m.Raft] = name + "_RAFT"
}

func (w *world) lookupd(ts *testscript.TestScript, args []string) {
	for _, name := range args {
		w.addLookupd(ts, name, lookupdtest.Start(w.t))
	}
}

// addLookupd makes nsqctl know the first.
func (w *world) addLookupd(ts *testscript.TestScript, name string, l *lookupdtest.Lookupd) {
	if len(w.lookupds) == 0 {
		ts.Setenv("NSQ_LOOKUPD_HTTP_ADDRESSES", l.HTTP)
	}
	w.lookupds = append(w.lookupds, l)
	w.add(ts, name, l.HTTP, l.TCP, l.Close)
}

func (w *world) add(ts *testscript.TestScript, name, http, tcp string, stop func()) {
	ts.Setenv(name, http)
	ts.Setenv(name+"_TCP", tcp)
	w.names[tcp] = name + "_TCP"
	w.names[http] = name
	w.stops[name] = stop
}

func (w *world) liar(ts *testscript.TestScript, args []string) {
	folder := ts.MkAbs(args[1])
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(path.Clean("/"+r.URL.Path))))
		if err != nil || r.Method != http.MethodGet {
			http.Error(rw, `{"message":"NOT_FOUND"}`, http.StatusNotFound)
			return
		}
		rw.Header().Set("X-NSQ-Content-Type", "nsq; version=1.0")
		rw.Write(body)
	}))
	w.t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	ts.Setenv("NSQ_LOOKUPD_HTTP_ADDRESSES", address)
	w.add(ts, args[0], address, address, server.Close)
}

func (w *world) nsqd(ts *testscript.TestScript, args []string) {
	var tcp []string
	for _, l := range w.lookupds {
		tcp = append(tcp, l.TCP)
	}
	if w.nsqds == nil {
		w.nsqds = make(map[string]*nsqdtest.NSQD)
	}
	var started []*nsqdtest.NSQD
	for range args {
		started = append(started, nsqdtest.StartWith(w.t, func(o *nsqd.Options) { o.LookupdTCPAddresses = tcp }))
	}
	// Outputs are sorted by address.
	slices.SortFunc(started, func(a, b *nsqdtest.NSQD) int { return strings.Compare(a.HTTP, b.HTTP) })
	for i, name := range args {
		n := started[i]
		w.nsqds[name] = n
		w.add(ts, name, n.HTTP, n.TCP, n.Close)
	}
	w.registered()
}

// registered waits until each nsqlookupd lists all nsqds.
func (w *world) registered() {
	for _, l := range w.lookupds {
		w.await("all nsqds are listed", func() bool { return producersOf(l.HTTP) >= len(w.nsqds) })
	}
}

func producersOf(lookupd string) int {
	resp, err := http.Get("http://" + lookupd + "/nodes")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	var answer struct{ Producers []any }
	if json.NewDecoder(resp.Body).Decode(&answer) != nil {
		return 0
	}
	return len(answer.Producers)
}

func (w *world) down(ts *testscript.TestScript, args []string) {
	for _, name := range args {
		if w.stops[name] == nil {
			ts.Fatalf("there is no %s", name)
		}
		w.stops[name]()
	}
}

func (w *world) publish(ts *testscript.TestScript, args []string) {
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	for i := range n {
		w.nsqds[args[0]].Publish(args[1], fmt.Sprintf("message %d", i+1))
	}
}

func (w *world) code(ts *testscript.TestScript, args []string) {
	if want := args[0]; strconv.Itoa(w.exit) != want {
		ts.Fatalf("exit code %d, want %s", w.exit, want)
	}
}

func (w *world) until(ts *testscript.TestScript, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	w.repeat(ts, args[1:], want.MatchString)
}

func (w *world) settles(ts *testscript.TestScript, args []string) {
	want := ts.ReadFile(args[0])
	w.repeat(ts, args[1:], func(stdout string) bool { return stdout == want })
}

// repeat runs nsqctl until its stdout is right.
func (w *world) repeat(ts *testscript.TestScript, args []string, right func(string) bool) {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		var stdout, stderr bytes.Buffer
		w.run(ts, args, &stdout, &stderr)
		is := w.steady(ts, stdout.String())
		if right(is) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("it stays\n%s%s", is, stderr.String())
		}
	}
}

func (w *world) begin(ts *testscript.TestScript, args []string) {
	b := &beside{ended: make(chan struct{})}
	w.beside = b
	ctx, cancel := context.WithCancel(context.Background())
	env, args := w.env(ts), w.inside(ts, args)
	ts.Defer(func() {
		cancel()
		<-b.ended
	})
	go func() {
		defer close(b.ended)
		b.code = run(ctx, args, strings.NewReader(""), &b.stdout, &b.stderr, env)
	}()
}

func (w *world) end(ts *testscript.TestScript, _ []string) {
	select {
	case <-w.beside.ended:
	case <-time.After(patience):
		ts.Fatalf("it does not end")
	}
	w.exit = w.beside.code
	// nsqd notices later than nsqctl that the connection is closed.
	for name := range w.nsqds {
		w.await("nobody looks", func() bool { return w.looks(name, "") == 0 })
	}
	fmt.Fprint(ts.Stdout(), w.steady(ts, w.beside.stdout.String()))
	fmt.Fprint(ts.Stderr(), w.steady(ts, w.beside.stderr.String()))
}

func (w *world) watched(_ *testscript.TestScript, args []string) {
	w.await("somebody looks at it", func() bool { return w.looks(args[0], args[1]) > 0 })
}

// looks is how many ephemeral channels have a consumer, of a topic or of all.
func (w *world) looks(node, topic string) (looks int) {
	client := clusterinfo.NewClient(clusterinfo.Options{})
	stats, err := client.Stats(w.t.Context(), w.nsqds[node].HTTP, clusterinfo.StatsFilter{Topic: topic})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, t := range stats.Topics {
		for _, c := range t.Channels {
			if wire.Ephemeral(c.Name) && c.ClientCount > 0 {
				looks++
			}
		}
	}
	return looks
}

// await waits until something holds.
func (w *world) await(what string, holds func() bool) {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("it does not come to that %s", what)
		}
	}
}

func (w *world) try(ts *testscript.TestScript, args []string) {
	var stdout, stderr bytes.Buffer
	w.run(ts, args, &stdout, &stderr)
	fmt.Fprint(ts.Stdout(), w.steady(ts, stdout.String()))
	fmt.Fprint(ts.Stderr(), w.steady(ts, stderr.String()))
}

func runNsqctl(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value(worldKey{}).(*world)
	w.try(ts, args)
	if (w.exit != 0) != neg {
		ts.Fatalf("exit code %d", w.exit)
	}
}

func (w *world) run(ts *testscript.TestScript, args []string, stdout, stderr *bytes.Buffer) {
	stdin := ""
	if n := len(args); n > 1 && args[n-2] == "<" {
		stdin, args = ts.ReadFile(args[n-1]), args[:n-2]
	}
	w.exit = run(context.Background(), w.inside(ts, args), strings.NewReader(stdin), stdout, stderr, w.env(ts))
}

// env is the script's environment, as it is now.
func (w *world) env(ts *testscript.TestScript) func(string) (string, bool) {
	values := make(map[string]string)
	for _, name := range []string{"NSQ_LOOKUPD_HTTP_ADDRESSES", "NO_COLOR", "NSQD_SYNC_EVERY"} {
		values[name] = ts.Getenv(name)
	}
	return func(name string) (string, bool) { return values[name], values[name] != "" }
}

// inside makes files among args those of the script's folder: the test's own is another.
func (w *world) inside(ts *testscript.TestScript, args []string) []string {
	var out []string
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "./"); ok {
			arg = ts.MkAbs(name)
		}
		out = append(out, arg)
	}
	return out
}

// What differs from run to run, and what is told instead.
var unsteady = []struct {
	re      *regexp.Regexp
	instead string
}{
	// How fast a disk is, is none of a script's business.
	{regexp.MustCompile(`(?m)^note: nsqlookupd n\d: slow disk.*\n.*\n`), ""},
	{regexp.MustCompile(`slow disk`), "up"},
	{regexp.MustCompile(regexp.QuoteMeta(version.Version)), "VERSION"},
	{regexp.MustCompile(`\b[0-9a-f]{8,32}\b`), "HASH"},
	{regexp.MustCompile(`\bat index \d+`), "at index N"},
	{regexp.MustCompile(`\(term \d+(, [0-9dhms]+)?\)`), "(term N)"},
	{regexp.MustCompile(`\bterm \d+`), "term N"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d(\.\d+)?\b`), "CLOCK"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m|h|d)(\d+[smh])?\b`), "TIME"},
	{regexp.MustCompile(`\b\d+(\.\d+)?[KMGT]iB\b`), "SIZE"},
	{regexp.MustCompile(`(\S)  +`), "$1  "}, // what stands in for others has another width
	{regexp.MustCompile(`(?m)^(n\d  \w+(?: \*)?  (?:up|down|behind|not ready))  .*$`), "$1  ..."},
	{regexp.MustCompile(`(?m)  (?:-|SIZE)  (?:-|TIME)  VERSION$`), "  FREE  UPTIME  VERSION"},
}

// steady returns what is the same in every run of an output.
func (w *world) steady(ts *testscript.TestScript, s string) string {
	s = strings.ReplaceAll(s, ts.MkAbs(".")+"/", "")
	if len(w.names) == 0 {
		return s
	}
	for address, name := range w.names {
		s = strings.ReplaceAll(s, address, name)
	}
	host, _ := os.Hostname()
	s = regexp.MustCompile(`\b`+regexp.QuoteMeta(host)+`\b`).ReplaceAllString(s, "HOST")
	for _, u := range unsteady {
		s = u.re.ReplaceAllString(s, u.instead)
	}
	return s
}
