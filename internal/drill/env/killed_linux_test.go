package env

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// killedFolder is set in a process that TestKilled starts.
const killedFolder = "DRILL_ENV_TEST_FOLDER"

// beKilled has a broken cluster in namespaces and on disks of its own, says so, and waits
// for its end.
func beKilled(dir string) {
	o := ProcessesOptions{Dir: dir, Lookupds: 3, BinDir: os.Getenv(builtBinaries)}
	e, err := OpenNetns(o)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		err = Ready(ctx, e)
		if err == nil && e.noDisks == "" {
			_, err = e.Begin(ctx, Fault{Kind: DiskHang, Targets: []string{"n1"}})
		}
		if err == nil {
			_, err = e.Begin(ctx, Fault{Kind: Pause, Targets: []string{"n2"}})
		}
	}
	said := killedSays{Err: fmt.Sprint(err)}
	if err == nil {
		n := e.net.(*namespaces)
		said = killedSays{Uplink: n.uplink.Attrs().Name, PIDs: []int{n.sw.cmd.Process.Pid}}
		for _, n := range e.Nodes() {
			said.PIDs = append(said.PIDs, n.PID)
		}
	}
	json.NewEncoder(os.Stdout).Encode(said)
	select {}
}

type killedSays struct {
	Err, Uplink string
	PIDs        []int
}

// Of a drill that was killed nothing is left but data and logs.
func TestKilled(t *testing.T) {
	if why := NetnsMissing(); why != "" {
		t.Skipf("no network namespaces here: %s", why)
	}
	dir := t.TempDir()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	// As of a command line, where folders are named from where one is.
	cmd.Dir = filepath.Dir(dir)
	cmd.Env = append(os.Environ(), killedFolder+"="+filepath.Base(dir), builtBinaries+"="+binaries)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	must(t, err)
	var said killedSays
	must(t, json.Unmarshal([]byte(line), &said))
	if said.Err != "" {
		t.Fatal(said.Err)
	}
	for ctx := within(t); ; time.Sleep(20 * time.Millisecond) {
		_, err := net.InterfaceByName(said.Uplink)
		left := 0
		for _, pid := range said.PIDs {
			if unix.Kill(pid, 0) == nil {
				left++
			}
		}
		if err != nil && left == 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("left are %d processes, and the link: %v", left, err == nil)
		}
	}
	for ctx := within(t); ; time.Sleep(20 * time.Millisecond) {
		mounts, err := os.ReadFile("/proc/self/mounts")
		must(t, err)
		images, err := filepath.Glob(filepath.Join(dir, "*.disk"))
		must(t, err)
		if !strings.Contains(string(mounts), dir) && len(images) == 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("left are %q and mounts in\n%s", images, mounts)
		}
	}
}
