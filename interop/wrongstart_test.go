package interop

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// with returns a copy of the node's arguments in which those that begin with a
// flag of changed are replaced.
func (n *node) with(changed ...string) []string {
	args := slices.Clone(n.args)
	for _, change := range changed {
		flag, _, _ := strings.Cut(change, "=")
		i := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, flag+"=") })
		if i < 0 {
			args = append(args, change)
		} else {
			args[i] = change
		}
	}
	return args
}

// refusal starts a process that must end by itself, with status 1, and returns
// what it said.
func refusal(t *testing.T, name string, args []string) string {
	t.Helper()
	p := newProcess(t, name, ourBin("nsqlookupd"), args...)
	p.start()
	select {
	case <-p.exited:
	case <-time.After(startTimeout):
		t.Fatalf("%s still runs after %v", name, startTimeout)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("%s ended with status %d, want 1:\n%s", name, code, tail(p.log, 10))
	}
	return string(tail(p.log, 1))
}

// TestWrongStarts starts nodes of a running cluster in ways that no node may run.
// Each must end with a sentence that says why, and the cluster must not notice.
func TestWrongStarts(t *testing.T) {
	if *against != "ours" {
		t.Skip("stock nsqlookupds are no cluster")
	}
	t.Parallel()
	away := startCluster(t)
	for _, n := range away.nodes {
		n.kill()
	}
	c := startCluster(t)
	mustSend(t, "POST", c.nodes[0].http, "/topic/create?topic=steady", "")
	eventually(t, seenTimeout, "topic", named(httpAddrs(c.nodes), "/topics", "steady"))
	w := startWatch(t, c.nodes, "/lookup?topic=steady", false, alwaysLists())
	own := []string{"--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0", "--raft-address=" + freeAddr(t)}
	victim := c.nodes[1]

	for _, tt := range []struct {
		name string
		args []string
		want []string // in what it says last
	}{
		{"twice on one folder", victim.with(own...), []string{victim.data, "another process is using it"}},
		{"another's folder", c.nodes[2].with(append(own, "--data-path="+victim.data)...), []string{victim.data, "n2", "n3"}},
		{"a folder of another cluster", victim.with(append(own, "--data-path="+away.nodes[1].data)...), []string{away.nodes[1].data, away.nodes[1].raft, victim.raft}},
		{"an id that is not in the list", victim.with(append(own, "--node-id=n9", "--data-path="+t.TempDir())...), []string{"--initial-cluster", "n9"}},
		{"an address that is not in the list", victim.with(append(own, "--raft-advertise=127.0.0.1:1", "--data-path="+t.TempDir())...), []string{"--raft-advertise", "--initial-cluster"}},
	} {
		said := refusal(t, tt.name, tt.args)
		for _, want := range tt.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: says %q, want %q in it", tt.name, said, want)
			}
		}
	}
	w.stop(10)

	// A list of other peers: the cluster is formed, so that the list counts no more.
	other := strings.ReplaceAll("--initial-cluster=n1=127.0.0.1:1,SELF,n3=127.0.0.1:3", "SELF", "n2="+victim.raft)
	w = startWatch(t, c.without(victim), "/lookup?topic=steady", false, alwaysLists())
	right := victim.args
	victim.stop()
	victim.args = victim.with(other)
	victim.start()
	c.waitReady(victim)
	victim.stop()

	// Its own id, but nothing in the folder, and peers that do not exist: it must not
	// become a cluster of its own.
	kept := victim.data + "-kept"
	if err := os.Rename(victim.data, kept); err != nil {
		t.Fatal(err)
	}
	victim.start()
	time.Sleep(2 * time.Second)
	if err := victim.ready(); err == nil || victim.running() != nil {
		t.Errorf("an empty node without its peers: %v, %v; want it to run and not be ready", err, victim.running())
	}
	if a, err := request("GET", victim.http, "/lookup?topic=steady", ""); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("an empty node without its peers answers %d %v, want 503", a.status, err)
	}
	victim.kill()
	if err := os.RemoveAll(victim.data); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(kept, victim.data); err != nil {
		t.Fatal(err)
	}
	victim.args = right
	victim.start()
	c.waitReady(victim)
	w.stop(10)
}

// TestWipedNodeBesideLaggard loses the disk of one node while another is behind. The
// two together have forgotten what was acknowledged, so they must not go on alone.
func TestWipedNodeBesideLaggard(t *testing.T) {
	if *against != "ours" {
		t.Skip("stock nsqlookupds are no cluster")
	}
	t.Parallel()
	c := startCluster(t)
	leader := c.leader()
	lost, behind := c.without(leader)[0], c.without(leader)[1]
	if err := behind.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, "acknowledged", []*node{leader, lost})
	l.awaitMore(100, readyTimeout)
	leader.kill()
	lost.kill()
	acknowledged := l.end()
	if err := os.Rename(lost.data, filepath.Join(t.TempDir(), "lost")); err != nil {
		t.Fatal(err)
	}
	if err := behind.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	lost.start()
	for begun := time.Now(); time.Since(begun) < 4*time.Second; time.Sleep(20 * time.Millisecond) {
		for _, n := range []*node{lost, behind} {
			if missing, err := lostAt(n, acknowledged); err == nil && len(missing) > 0 {
				t.Fatalf("%s, asked consistently, has lost %d of %d acknowledged topics", n.id, len(missing), len(acknowledged))
			}
			if a, err := request("POST", n.http, "/topic/create?topic=too-early", ""); err == nil && a.status == http.StatusOK {
				t.Fatalf("%s acknowledges without the %d acknowledged topics", n.id, len(acknowledged))
			}
		}
	}
	leader.start()
	c.waitReady(c.nodes...)
	eventually(t, readyTimeout, "nothing acknowledged is lost", nothingLost(c.nodes, acknowledged))
	eventually(t, readyTimeout, "three voters", func() error {
		m, err := leader.membership()
		voters := 0
		for _, member := range m.Members {
			if member.Voter {
				voters++
			}
		}
		if err == nil && (voters != 3 || len(m.Members) != 3) {
			err = fmt.Errorf("%d members, %d of them voters", len(m.Members), voters)
		}
		return err
	})
}
