package interop

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// noSpace is what every sentence about a full disk has in it.
const noSpace = "no space left on device"

// A volume is a small file system of a node's own.
type volume struct {
	t     testing.TB
	dir   string
	mount []string // arguments of mount
}

// newVolume mounts a file system on a folder of the test. The test is skipped if
// this machine does not let it.
func newVolume(t testing.TB, mount ...string) *volume {
	t.Helper()
	v := &volume{t: t, dir: t.TempDir(), mount: mount}
	if err := v.attach(); err != nil {
		t.Skipf("needs root and mount: %v", err)
	}
	t.Cleanup(func() { v.detach() })
	return v
}

func (v *volume) attach() error { return command("mount", append(v.mount, v.dir)...) }
func (v *volume) detach() error { return command("umount", v.dir) }

// newTmpfs is a volume of some size in memory.
func newTmpfs(t testing.TB, size string) *volume {
	t.Helper()
	return newVolume(t, "-t", "tmpfs", "-o", "size="+size, "nsqraft-test")
}

// newExt4 is a volume on a disk of its own, whose power can be cut.
func newExt4(t testing.TB) *volume {
	t.Helper()
	image := filepath.Join(memoryDir(t), "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := command("mkfs.ext4", "-q", "-F", image); err != nil {
		t.Skipf("needs mkfs.ext4: %v", err)
	}
	// The journal is written when asked, and not before: what is synced is what
	// the node had synced.
	return newVolume(t, "-t", "ext4", "-o", "loop,commit=600", image)
}

// memoryDir is a folder of the test in memory, where there is room in it: what is there
// does not wait for a disk that whatever else runs here writes to.
func memoryDir(t testing.TB) string {
	t.Helper()
	const shm, room = "/dev/shm", 1 << 30
	var stat syscall.Statfs_t
	if err := syscall.Statfs(shm, &stat); err != nil || stat.Bavail*uint64(stat.Bsize) < room {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "nsqraft-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// cutPower makes the volume forget all that was not synced, and refuse the rest.
func (v *volume) cutPower() error {
	dir, err := os.Open(v.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	const ext4Shutdown, noLogFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN
	flags := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("cut the power of %s: %w", v.dir, errno)
	}
	return nil
}

// fill leaves no room on the volume until the returned function is called.
func (v *volume) fill() (free func()) {
	v.t.Helper()
	path := filepath.Join(v.dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 4 << 10, 1} {
		for block := make([]byte, size); err == nil || errors.Is(err, syscall.EINTR); {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			v.t.Fatal(err)
		}
		err = nil
	}
	return func() {
		if err := os.Remove(path); err != nil {
			v.t.Error(err)
		}
	}
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// TestFullDisk fills the disk of the leader, then of a follower. The others go on;
// the node says why it does not; when there is room again it is soon up to date,
// by itself or, if it has ended, when it is started again as a supervisor would.
func TestFullDisk(t *testing.T) {
	if *against != "ours" {
		t.Skip("stock nsqlookupd has no disk")
	}
	t.Parallel()
	volumes := make(map[string]*volume)
	c := newCluster(t, func(id string) string {
		volumes[id] = newTmpfs(t, "24m")
		return volumes[id].dir
	})
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady(c.nodes...)
	var acknowledged []string
	var first *node
	for _, which := range []string{"leader", "follower"} {
		victim := c.leader()
		if which == "follower" {
			// One that has not said it yet: a line is not repeated within half a minute.
			victim = slices.DeleteFunc(c.without(victim), func(n *node) bool { return n == first })[0]
		}
		first = victim
		survivors := c.without(victim)
		w := startWatch(t, survivors, "/ping", false, func(answer) error { return nil })
		l := startLoad(t, "full-"+which, survivors)
		l.awaitMore(50, readyTimeout)
		begun := victim.logged()
		free := volumes[victim.id].fill()
		filled := time.Now()
		eventually(t, readyTimeout, which+" says why it cannot go on", victim.says(noSpace, begun))
		said := time.Since(filled)
		l.awaitMore(200, readyTimeout)
		ended := victim.running() != nil
		if ended {
			t.Logf("%s", tail(victim.log, 3))
		}
		free()
		if ended {
			victim.kill()
			victim.start()
		}
		freed := time.Now()
		c.waitReady(victim)
		acknowledged = append(acknowledged, l.end()...)
		eventually(t, readyTimeout, "nothing acknowledged is lost", nothingLost(c.nodes, acknowledged))
		w.stop(1)
		t.Logf("disk of the %s full: it says so after %v; longest gap in %d acknowledgements %v; ended: %v; up to date %v after there was room",
			which, said.Round(time.Millisecond), len(l.topics), l.gap(filled).Round(time.Millisecond), ended, time.Since(freed).Round(time.Millisecond))
	}
}

// TestFullDisks fills the disks of all three. Nothing more is acknowledged, lookups
// go on on every node that runs, and all recover when there is room.
func TestFullDisks(t *testing.T) {
	if *against != "ours" {
		t.Skip("stock nsqlookupd has no disk")
	}
	t.Parallel()
	volumes := make(map[string]*volume)
	c := newCluster(t, func(id string) string {
		volumes[id] = newTmpfs(t, "24m")
		return volumes[id].dir
	})
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady(c.nodes...)
	l := startLoad(t, "all-full", c.nodes)
	l.awaitMore(50, readyTimeout)
	var frees []func()
	for _, n := range c.nodes {
		frees = append(frees, volumes[n.id].fill())
	}
	eventually(t, readyTimeout, "acknowledgements end", func() error {
		before := l.count()
		time.Sleep(500 * time.Millisecond)
		if n := l.count() - before; n > 0 {
			return fmt.Errorf("%d more", n)
		}
		return nil
	})
	// The leader says it at the next write; another when it is elected instead.
	eventually(t, readyTimeout, "two nodes say why", func() error {
		said := 0
		for _, n := range c.nodes {
			if n.says(noSpace, 0)() == nil {
				said++
			}
		}
		if said < 2 {
			return fmt.Errorf("only %d", said)
		}
		return nil
	})
	for _, free := range frees {
		free()
	}
	freed := time.Now()
	for _, n := range c.nodes {
		if n.running() != nil {
			t.Logf("%s ended: %s", n.id, tail(n.log, 2))
			n.kill()
			n.start()
		}
	}
	c.waitReady(c.nodes...)
	l.awaitMore(50, readyTimeout)
	t.Logf("all disks full: acknowledgements again %v after there was room", time.Since(freed).Round(time.Millisecond))
	acknowledged := l.end()
	eventually(t, readyTimeout, "nothing acknowledged is lost", nothingLost(c.nodes, acknowledged))
}

// TestPowerCut cuts the power of all three machines under load: what had not been
// synced is gone. Nothing acknowledged may be among it. The same nodes without sync
// are the check on the check: they must be seen to lose acknowledged topics.
func TestPowerCut(t *testing.T) {
	if *against != "ours" {
		t.Skip("stock nsqlookupd has no disk")
	}
	t.Parallel()
	volumes := make(map[string]*volume)
	c := newCluster(t, func(id string) string {
		volumes[id] = newExt4(t)
		return filepath.Join(volumes[id].dir, "data")
	})
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady(c.nodes...)
	var acknowledged []string
	for round := range 2 {
		topics := cutUnderLoad(t, c, volumes, fmt.Sprint("cut-", round))
		begun := time.Now()
		for _, n := range c.nodes {
			n.start()
		}
		c.waitReady(c.nodes...)
		acknowledged = append(acknowledged, topics...)
		eventually(t, readyTimeout, "nothing acknowledged is lost", nothingLost(c.nodes, acknowledged))
		t.Logf("power cut: none of %d acknowledged topics lost; ready again after %v", len(acknowledged), time.Since(begun).Round(time.Millisecond))
	}

	// From here on without sync.
	for _, n := range c.nodes {
		n.stop()
		synced := n.args
		n.bin, n.args = os.Args[0], append([]string{withoutSync, n.bin}, synced...)
		n.start()
	}
	c.waitReady(c.nodes...)
	topics := cutUnderLoad(t, c, volumes, "unsynced")
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady(c.nodes...)
	lost, err := lostAt(c.nodes[0], topics)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("power cut without sync: %d of %d acknowledged topics lost", len(lost), len(topics))
	if len(lost) == 0 {
		t.Error("nodes that do not sync lost nothing: the cut cuts nothing")
	}
}

// cutUnderLoad cuts the power of all nodes while topics are created, and gives it
// back; the nodes are down afterwards. It returns the acknowledged topics.
func cutUnderLoad(t *testing.T, c *cluster, volumes map[string]*volume, name string) []string {
	t.Helper()
	l := startLoad(t, name, c.nodes)
	l.awaitMore(300, readyTimeout)
	for _, n := range c.nodes {
		if err := volumes[n.id].cutPower(); err != nil {
			t.Skipf("needs ext4: %v", err)
		}
	}
	for _, n := range c.nodes {
		n.kill()
	}
	topics := l.end()
	for _, n := range c.nodes {
		v := volumes[n.id]
		if err := errors.Join(v.detach(), v.attach()); err != nil {
			t.Fatal(err)
		}
	}
	return topics
}
