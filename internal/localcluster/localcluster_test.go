package localcluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// binaries is a folder with this module's programs, built for these tests.
var binaries string

// parentFolder is set in a process that TestChildrenEndWithTheirParent starts.
const parentFolder = "LOCALCLUSTER_TEST_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentFolder); dir != "" {
		beParent(dir)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "localcluster")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		cmd := exec.Command("go", "build", "-o", dir, "../../cmd/nsqlookupd", "../../cmd/nsqd")
		if text, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, text)
			return 1
		}
		binaries = dir
		code := m.Run()
		if code == 0 {
			if err := goleak.Find(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		return code
	}())
}

// limit only tells a slow machine from a broken cluster.
const limit = time.Minute

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// start returns a cluster of three nodes and two nsqds that is ready and ends with
// the test.
func start(t *testing.T, change func(*Config)) *Cluster {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), Lookupds: 3, NSQDs: 2, BinDir: binaries, FreePorts: true}
	if change != nil {
		change(&cfg)
	}
	c := New(cfg)
	if err := c.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range c.Processes() {
				t.Logf("%s, %v:\n%s", p.Name, p.State(), p.LogEnd(20))
			}
		}
		c.Kill()
	})
	begun := time.Now()
	if err := c.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(begun).Round(time.Millisecond))
	return c
}

func eventually(t *testing.T, what string, check func() error) time.Duration {
	t.Helper()
	begun := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// leader waits until one node leads that is none of not.
func leader(t *testing.T, c *Cluster, not ...*Process) *Process {
	t.Helper()
	var l *Process
	eventually(t, "a leader", func() (err error) {
		if l, err = c.Leader(within(t)); err == nil && slices.Contains(not, l) {
			err = fmt.Errorf("%s leads", l.Name)
		}
		return err
	})
	return l
}

func without(all []*Process, not *Process) []*Process {
	return slices.DeleteFunc(slices.Clone(all), func(p *Process) bool { return p == not })
}

func TestLeaderDies(t *testing.T) {
	c := start(t, nil)
	old := leader(t, c)
	must(t, old.Kill())
	if old.State() != Down || old.PID() != 0 {
		t.Errorf("it is %v with pid %d after kill", old.State(), old.PID())
	}
	if err := old.Kill(); !errors.Is(err, ErrDown) {
		t.Errorf("killed twice: %v, want ErrDown", err)
	}
	survivor := without(c.Lookupds(), old)[0]
	took := eventually(t, "a write", func() error { return c.Write(within(t), survivor) })
	t.Logf("a write %v after the kill", took.Round(time.Millisecond))
	if l := leader(t, c, old); l == old {
		t.Errorf("%s leads", l.Name)
	}
	must(t, old.Start())
	must(t, c.Ready(within(t)))
	select {
	case e := <-c.Exits():
		t.Errorf("an end is told of that was asked for: %v", e)
	default:
	}
}

func TestPartition(t *testing.T) {
	c := start(t, nil)
	old := leader(t, c)
	c.Isolate(old)
	if !c.Isolated(old) {
		t.Error("it is not isolated")
	}
	now := leader(t, c, old)
	if err := c.Write(within(t), old); err == nil {
		t.Error("a write is committed by a node that is cut off")
	}
	must(t, c.Write(within(t), now))
	if listed, err := c.Producers(within(t), old, "/nodes"); err != nil || len(listed) != 2 {
		t.Errorf("the node that is cut off lists %v, %v; want both nsqds", listed, err)
	}
	if err := c.ReadyNode(within(t), old); err == nil {
		t.Error("the node that is cut off answers a consistent read")
	}
	c.Heal()
	eventually(t, "ready", func() error { return c.ready(within(t)) })
}

// A leader that reaches the others and hears nothing from them gives way.
func TestOneWayCut(t *testing.T) {
	c := start(t, nil)
	old := leader(t, c)
	for _, other := range without(c.Lookupds(), old) {
		c.Cut(other, old)
	}
	now := leader(t, c, old)
	must(t, c.Write(within(t), now))
	c.Heal()
	eventually(t, "ready", func() error { return c.ready(within(t)) })
}

// One pair of followers that does not reach each other hurts nobody.
func TestPairCut(t *testing.T) {
	c := start(t, nil)
	l := leader(t, c)
	followers := without(c.Lookupds(), l)
	c.Cut(followers[0], followers[1])
	c.Cut(followers[1], followers[0])
	before, err := c.Status(within(t), l)
	must(t, err)
	reaches := func(from, to *Process) bool {
		body, err := c.ok(within(t), from, "GET", "/cluster")
		must(t, err)
		var view struct {
			Members []struct{ ID, Role string }
		}
		must(t, json.Unmarshal(body, &view))
		for _, m := range view.Members {
			if m.ID == to.Name {
				return m.Role != "unreachable"
			}
		}
		t.Fatalf("%s has no member %s: %s", from.Name, to.Name, body)
		return false
	}
	if reaches(followers[0], followers[1]) || reaches(followers[1], followers[0]) || !reaches(followers[0], l) || !reaches(l, followers[1]) {
		t.Error("others are parted than those that were to be")
	}
	for _, p := range c.Lookupds() {
		must(t, c.Write(within(t), p))
	}
	after, err := c.Status(within(t), l)
	must(t, err)
	if !after.Leads || after.Term != before.Term {
		t.Errorf("%+v became %+v", before, after)
	}
}

func TestDelay(t *testing.T) {
	c := start(t, nil)
	l := leader(t, c)
	const delay = 30 * time.Millisecond
	for _, f := range without(c.Lookupds(), l) {
		c.Delay(l, f, delay)
		c.Delay(f, l, delay)
	}
	// The entry has to get to a follower and the answer back.
	begun := time.Now()
	must(t, c.Write(within(t), l))
	if took := time.Since(begun); took < 2*delay {
		t.Errorf("a write took %v with %v each way", took, delay)
	}
}

func TestLeaderPauses(t *testing.T) {
	c := start(t, nil)
	old := leader(t, c)
	must(t, old.Pause())
	if old.State() != Paused {
		t.Errorf("it is %v", old.State())
	}
	leader(t, c, old)
	must(t, old.Resume())
	eventually(t, "ready", func() error { return c.ready(within(t)) })
	must(t, old.Pause())
	must(t, old.Stop(within(t)))
}

func TestStopAndStartAgainInTheSameFolder(t *testing.T) {
	dir := t.TempDir()
	in := func(c *Config) { c.Dir = dir }
	c := start(t, in)
	before := *c.Process("n2")
	_, err := c.ok(within(t), c.Process("n1"), "POST", "/topic/create?topic=kept")
	must(t, err)
	must(t, c.Close())
	for _, p := range c.Processes() {
		if p.State() != Down {
			t.Errorf("%s is %v after Close", p.Name, p.State())
		}
	}
	must(t, c.Close())

	c = start(t, in)
	after := c.Process("n2")
	if after.TCP != before.TCP || after.HTTP != before.HTTP || after.Raft != before.Raft {
		t.Errorf("n2 was at %s, %s, %s and is at %s, %s, %s", before.TCP, before.HTTP, before.Raft, after.TCP, after.HTTP, after.Raft)
	}
	body, err := c.ok(within(t), after, "GET", "/topics?consistent=true")
	must(t, err)
	if string(body) != `{"topics":["kept"]}` {
		t.Errorf("the topics are %s", body)
	}
	must(t, c.Close())

	err = New(Config{Dir: dir, Lookupds: 1, BinDir: binaries, FreePorts: true}).Open()
	if err == nil || !strings.Contains(err.Error(), "is that of 3 nsqlookupds, not of 1") {
		t.Errorf("another number of nodes: %v", err)
	}
	l, err := net.Listen("tcp", before.Raft)
	must(t, err)
	defer l.Close()
	err = New(Config{Dir: dir, Lookupds: 3, NSQDs: 2, BinDir: binaries, FreePorts: true}).Open()
	if err == nil || !strings.Contains(err.Error(), "at which the nodes whose data is in this folder know n2") {
		t.Errorf("a port between nodes that is taken: %v", err)
	}
}

func TestTakenPorts(t *testing.T) {
	dir := t.TempDir()
	blocked, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer blocked.Close()
	// As if nsqd1 had been there before, so that no test needs stock's ports.
	must(t, writeLayout(dir, []*Process{{Name: "nsqd1", TCP: blocked.Addr().String()}}))
	c := start(t, func(cfg *Config) { cfg.Dir = dir; cfg.Lookupds = 1; cfg.NSQDs = 1 })
	at := c.Process("nsqd1").TCP
	if want := fmt.Sprintf("%s is taken: nsqd1 has its TCP port at %s", blocked.Addr(), at); !slices.Equal(c.Moved(), []string{want}) {
		t.Errorf("moved: %q, want %q", c.Moved(), want)
	}
}

func TestUsualPortsDoNotMeet(t *testing.T) {
	seen := make(map[string]string)
	for _, role := range []Role{Lookupd, NSQD, Admin} {
		for n := 1; n <= most; n++ {
			if role == Admin && n > 1 {
				break
			}
			a := usual(role, n)
			for _, addr := range []string{a.TCP, a.HTTP, a.Raft} {
				who := fmt.Sprint(role, n)
				if other := seen[addr]; addr != "" && other != "" {
					t.Errorf("%s is for %s and %s", addr, other, who)
				}
				seen[addr] = who
			}
		}
	}
	if a := usual(Lookupd, 1); a != (addresses{"127.0.0.1:4160", "127.0.0.1:4161", "127.0.0.1:4162"}) {
		t.Errorf("the first nsqlookupd is at %v", a)
	}
}

func TestProcessEndsByItself(t *testing.T) {
	c := start(t, func(cfg *Config) { cfg.Lookupds, cfg.NSQDs = 1, 1 })
	d := c.Process("nsqd1")
	child, err := os.FindProcess(d.PID())
	must(t, err)
	must(t, child.Kill())
	select {
	case e := <-c.Exits():
		if e.Process != d || e.At.IsZero() || e.How != "signal: killed" || !strings.Contains(e.LogEnd, "TCP: listening on") {
			t.Errorf("%+v", e)
		}
	case <-time.After(limit):
		t.Fatal("nobody is told")
	}
	if err := c.Ready(within(t)); err == nil || !strings.HasPrefix(err.Error(), "nsqd1 has ended") {
		t.Errorf("ready: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	empty := t.TempDir()
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{Lookupds: 1}, "a cluster needs a folder for its data"},
		{Config{Dir: empty, Lookupds: 0}, "there can be 1 to 9 nsqlookupds, not 0"},
		{Config{Dir: empty, Lookupds: 1, NSQDs: 10}, "there can be 0 to 9 nsqds, not 10"},
		{Config{Dir: empty, Lookupds: 1, BinDir: empty}, "there is no program nsqlookupd in " + empty},
		{Config{Dir: filepath.Join(binaries, "nsqd"), Lookupds: 1, BinDir: binaries}, "not a directory"},
		{Config{Dir: empty, Lookupds: 1, BinDir: binaries, FreePorts: true, Programs: map[string]Program{"n1": {Path: "/no/such/program"}}}, "start n1: fork/exec /no/such/program"},
	} {
		err := New(tt.cfg).Open()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

// A binary that is not found beside the program and not in PATH.
func TestFindNowhere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := find("nsqlookupd", "")
	if err == nil || !strings.HasSuffix(err.Error(), "nor in PATH") {
		t.Errorf("%v", err)
	}
	t.Setenv("PATH", binaries)
	if path, err := find("nsqlookupd", ""); err != nil || path != filepath.Join(binaries, "nsqlookupd") {
		t.Errorf("found %q, %v", path, err)
	}
}

// Flags after the usual ones, by process and by program.
func TestFurtherFlags(t *testing.T) {
	c := start(t, func(cfg *Config) {
		cfg.Lookupds, cfg.NSQDs = 1, 2
		cfg.Programs = map[string]Program{
			"nsqd":  {Args: []string{"--topology-region=everywhere"}},
			"nsqd2": {Args: []string{"--topology-region=here"}},
		}
	})
	body, err := c.ok(within(t), c.Process("n1"), "GET", "/nodes")
	must(t, err)
	for _, region := range []string{"everywhere", "here"} {
		if !strings.Contains(string(body), strconv.Quote(region)) {
			t.Errorf("no nsqd is in %s: %s", region, body)
		}
	}
}

// Nodes that know nothing of each other, as stock's.
func TestUnreplicated(t *testing.T) {
	c := start(t, func(cfg *Config) { cfg.Unreplicated = true })
	_, err := c.ok(within(t), c.Process("n1"), "POST", "/topic/create?topic=alone")
	must(t, err)
	body, err := c.ok(within(t), c.Process("n2"), "GET", "/topics")
	must(t, err)
	if string(body) != `{"topics":[]}` {
		t.Errorf("n2 knows %s", body)
	}
}

// beParent runs a cluster, writes its children's ids to stdout, and waits to be killed.
func beParent(dir string) {
	c := New(Config{Dir: dir, Lookupds: 3, NSQDs: 1, BinDir: os.Getenv("LOCALCLUSTER_TEST_BINARIES"), FreePorts: true})
	if err := c.Open(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	c.Process("n2").Pause()
	for _, p := range c.Processes() {
		fmt.Println(p.PID())
	}
	fmt.Println("all")
	select {}
}

func TestChildrenEndWithTheirParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends children with their parent")
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentFolder+"="+t.TempDir(), "LOCALCLUSTER_TEST_BINARIES="+binaries)
	out, err := parent.StdoutPipe()
	must(t, err)
	must(t, parent.Start())
	var pids []int
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "all" {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(lines.Text())
		}
		pids = append(pids, pid)
	}
	if len(pids) != 4 {
		t.Fatalf("children: %v", pids)
	}
	runs := func(pid int) bool {
		// A zombie that nobody has waited for yet has no command line.
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return strings.Contains(string(line), binaries)
	}
	for _, pid := range pids {
		if !runs(pid) {
			t.Errorf("child %d does not run", pid)
		}
	}
	must(t, parent.Process.Kill())
	parent.Wait()
	for _, pid := range pids {
		eventually(t, "the end of a child", func() error {
			if runs(pid) {
				return fmt.Errorf("%d runs", pid)
			}
			return nil
		})
	}
}

// Clients go through proxies, can be parted from a node, and are counted.
func TestClientProxies(t *testing.T) {
	c := start(t, func(cfg *Config) { cfg.ClientProxies = true })
	p := c.Lookupds()[0]
	must(t, c.Write(within(t), p))
	there, back := Link{Clients, p.Name}, Link{p.Name, Clients}
	before := c.Traffic(there)
	if before.Passed == 0 || before.Stopped > 0 || before.Late > 0 {
		t.Errorf("traffic is %+v, want some that passed", before)
	}
	c.Shape(map[Link]Shape{there: {Cut: true}, back: {Cut: true}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.Write(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a client that is cut off gets %v", err)
	}
	if now := c.Traffic(there); now.Passed != before.Passed || now.Stopped == before.Stopped {
		t.Errorf("traffic was %+v and is %+v, want that something was held back", before, now)
	}
	must(t, c.Write(within(t), c.Lookupds()[1]))

	const delay = 30 * time.Millisecond
	c.Shape(map[Link]Shape{there: {Delay: delay}, back: {Delay: delay}})
	begun := time.Now()
	must(t, c.Write(within(t), p))
	if took := time.Since(begun); took < 2*delay {
		t.Errorf("a write took %v with %v each way", took, delay)
	}
	c.Heal()
	eventually(t, "ready", func() error { return c.ready(within(t)) })
	must(t, p.Kill())
	if _, err := c.Ask(within(t), p, "GET", "/ping"); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a node that is gone: %v, want that it refuses", err)
	}
}
