package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// devLimit only tells a slow machine from a cluster that does not work.
const devLimit = time.Minute

// A devRun is an nsqctl dev with somebody who types lines and reads what it says.
type devRun struct {
	t    *testing.T
	say  func(line string)
	said *bufio.Scanner
	code chan int
	end  context.CancelFunc // as SIGTERM does
}

// startDev runs nsqctl dev on free ports with these flags besides.
func startDev(t *testing.T, flags ...string) *devRun {
	t.Helper()
	in, typed := io.Pipe()
	read, out := io.Pipe()
	ctx, end := context.WithCancel(t.Context())
	d := &devRun{t: t, say: func(line string) { fmt.Fprintln(typed, line) }, said: bufio.NewScanner(read), code: make(chan int, 1), end: end}
	go func() {
		noEnv := func(string) (string, bool) { return "", false }
		d.code <- run(ctx, append([]string{"dev", "--free-ports"}, flags...), in, out, out, noEnv)
		out.Close()
		in.Close()
	}()
	t.Cleanup(func() {
		end()
		typed.Close()
		for d.said.Scan() {
		}
	})
	return d
}

// expect reads on until a line matches, and returns what its groups match.
func (d *devRun) expect(pattern string) []string {
	d.t.Helper()
	re := regexp.MustCompile(pattern)
	overdue := time.AfterFunc(devLimit, d.end)
	defer overdue.Stop()
	var seen []string
	for d.said.Scan() {
		seen = append(seen, d.said.Text())
		if m := re.FindStringSubmatch(d.said.Text()); m != nil {
			return m
		}
	}
	d.t.Fatalf("nothing of what was said is %q:\n%s", pattern, strings.Join(seen, "\n"))
	return nil
}

// ends expects nothing more of interest and the given exit code.
func (d *devRun) ends(want int) {
	d.t.Helper()
	for d.said.Scan() {
	}
	if code := <-d.code; code != want {
		d.t.Errorf("exit code %d, want %d", code, want)
	}
}

// gapPattern is what is said of a failure that another node survives.
const gapPattern = ` -> (n\d) leads \(\d+ ms\); next committed write after \d+ ms; 0 of [\d,]+ lookups on n\d and n\d failed$`

// devSystemTests are those parts of TestDev that one system alone can do; bin is where
// the programs are.
var devSystemTests map[string]func(t *testing.T, bin string)

func TestDev(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "../nsqlookupd", "../nsqd", "../nsqadmin")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	flags := []string{"--no-admin", "--bin-dir", bin}

	t.Run("lines", func(t *testing.T) {
		d := startDev(t, flags...)
		d.expect(`data is deleted at the end`)
		d.expect(`Ready in \d+\.\d s: a write is committed`)
		dir := d.expect(`data, logs +(/\S+)$`)[1]

		d.say("k")
		m := d.expect(`killed (n\d) \(leader\)` + gapPattern)
		if m[1] == m[2] {
			t.Errorf("%s leads after it was killed", m[1])
		}
		d.say("")
		d.say("restart")
		d.expect(`started ` + m[1] + ` -> it has all that the others have \(\d+ ms\)$`)

		d.say("partition")
		m = d.expect(`cut off (n\d) \(leader\)` + gapPattern)
		d.expect(m[1] + ` itself answers lookups with 200, marked \d+ ms stale; p heals$`)
		d.say("p")
		d.expect(`healed ` + m[1] + ` -> it has all that the others have`)
		d.say("heal")
		d.expect(`no node is cut off`)

		d.say("stop nsqd1")
		d.expect(`stopped nsqd1 -> n1, n2 and n3 list it no more \(\d+ ms\)`)
		d.say("r nsqd1")
		d.expect(`started nsqd1 -> n1, n2 and n3 list it \(\d+ ms\)`)
		d.say("r")
		d.expect(`nothing is down`)

		d.say("s")
		d.expect(`stop needs a name: n1, n2, n3, nsqd1 and nsqd2$`)
		d.say("s n3")
		d.expect(`stopped n3 \((leader|follower)\) -> `)
		d.say("s n2")
		d.expect(`stopped n2 \((leader|follower)\) -> no leader: 1 of 3 are no majority; registrations wait; 0 of [\d,]+ lookups on n1 failed`)
		d.say("kill")
		d.expect(`no nsqlookupd leads: 1 of 3 can talk to each other, and a majority is 2`)
		d.say("kill n2")
		d.expect(`kill n2: it is not running`)

		d.say("dance")
		d.expect(`there is no "dance"; \? tells what there is`)
		d.say("kill n7")
		d.expect(`there is no process "n7", but n1, n2, n3, nsqd1 and nsqd2`)
		d.say("p nsqd2")
		d.expect(`only nsqlookupds can be parted`)
		d.say("?")
		d.expect(`k, kill \[NAME\] +kill -9 the leader`)
		d.say("logs n1")
		d.expect(`n1: .*/n1\.log`)
		d.expect(`HTTP: listening on|INFO|WARN`)

		d.say("quit")
		d.ends(0)
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("the data is left: %v", err)
		}
	})

	t.Run("a signal, and the data stays", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		for range 2 {
			d := startDev(t, append(flags, "--data-dir", dir)...)
			d.expect(`The data stays in ` + dir)
			d.expect(`data, logs`)
			d.end()
			d.ends(0)
		}
		if _, err := os.Stat(filepath.Join(dir, "n1.log")); err != nil {
			t.Error(err)
		}
	})

	t.Run("with nsqadmin", func(t *testing.T) {
		d := startDev(t, "--bin-dir", bin, "--lookupds=1", "--nsqds=1")
		at := d.expect(`nsqadmin +(http://\S+)$`)[1]
		resp, err := http.Get(at + "/ping")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("nsqadmin answers %s", resp.Status)
		}
		d.say("stop nsqadmin")
		d.expect(`stopped nsqadmin$`)
		d.say("r")
		d.expect(`started nsqadmin -> it answers \(\d+ ms\)`)
		d.say("q")
		d.ends(0)
		http.DefaultClient.CloseIdleConnections()
	})

	t.Run("a port is taken", func(t *testing.T) {
		dir := t.TempDir()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		// As if n1 had been there before, so that no test needs stock's ports.
		body := fmt.Sprintf(`{"n1": {"http": %q}}`, l.Addr())
		if err := os.WriteFile(filepath.Join(dir, "addresses.json"), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
		d := startDev(t, append(flags, "--data-dir", dir, "--lookupds=1", "--nsqds=1")...)
		m := d.expect(regexp.QuoteMeta(l.Addr().String()) + ` is taken: n1 has its HTTP port at (\S+)`)
		d.expect(`export NSQ_LOOKUPD_HTTP_ADDRESSES=` + m[1] + `$`)
	})

	t.Run("refused", func(t *testing.T) {
		empty := t.TempDir()
		for want, flags := range map[string][]string{
			`there is no program nsqlookupd in ` + empty: {"--bin-dir", empty},
			`dev: mkdir .*/nsqd: not a directory`:        {"--bin-dir", bin, "--data-dir", filepath.Join(bin, "nsqd")},
		} {
			d := startDev(t, flags...)
			d.expect(want)
			d.ends(exitFailed)
		}
		for want, flags := range map[string][]string{
			`there can be 1 to 9 nsqlookupds, not 0`:  {"--lookupds=0"},
			`there can be 1 to 9 nsqlookupds, not 10`: {"--lookupds=10"},
			`there can be 0 to 9 nsqds, not -1`:       {"--nsqds=-1"},
		} {
			d := startDev(t, flags...)
			d.expect(want)
			d.ends(exitUsage)
		}
	})

	t.Run("a node does not start", func(t *testing.T) {
		bad := t.TempDir()
		for _, name := range []string{"nsqd", "nsqadmin"} {
			if err := os.Symlink(filepath.Join(bin, name), filepath.Join(bad, name)); err != nil {
				t.Fatal(err)
			}
		}
		script := "#!/bin/sh\nprintf 'no\\tway\\n\\033[2Jout\\n'\nexit 1\n"
		if err := os.WriteFile(filepath.Join(bad, "nsqlookupd"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		d := startDev(t, "--no-admin", "--bin-dir", bad, "--lookupds=1", "--nsqds=0")
		d.expect(`^The end of the log of n1:$`)
		d.expect(`^    no    way$`)
		d.expect(`^    \\x1b\[2Jout$`)
		d.expect(`^nsqctl dev: n1 has ended before the cluster was ready$`)
		d.ends(exitFailed)
	})

	t.Run("a node hangs", func(t *testing.T) {
		bad := t.TempDir()
		if err := os.WriteFile(filepath.Join(bad, "nsqlookupd"), []byte("#!/bin/sh\nexec sleep 100\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		d := startDev(t, "--no-admin", "--bin-dir", bad, "--lookupds=1", "--nsqds=0")
		d.expect(`^waiting: not ready: ask n1: .*refused`)
		d.end()
		d.ends(exitOK)
	})

	for name, test := range devSystemTests {
		t.Run(name, func(t *testing.T) { test(t, bin) })
	}
}
