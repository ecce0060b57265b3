package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// measureHangs freezes the leader's file system. Each node has one of its own, which
// takes root and mount.
func measureHangs(b *bench) error {
	defer func() {
		b.killAll()
		b.unmount()
	}()
	about := "disk of the leader hung to the next registration through a survivor"
	const goal = "p99 ≤ 1.6 s"
	var volumes []string
	for range 3 {
		dir, err := b.mountVolume()
		if err != nil {
			b.report.add(row{Group: "hang", What: about, Goal: goal, Verdict: "not measured", Note: err.Error()})
			return nil
		}
		volumes = append(volumes, dir)
	}
	c, err := b.startClusterIn(volumes, idle)
	if err != nil {
		return err
	}
	o, err := b.failIn(c, b.stops, func(c cluster, leader *node, p *prober, o *outages) error {
		begun := time.Now()
		thaw, err := freeze(leader.data)
		if err != nil {
			return err
		}
		err = o.next(p, begun)
		if err := errors.Join(err, thaw()); err != nil {
			return err
		}
		// It would not give up its leadership again within the minute.
		leader.kill()
		return leader.start()
	})
	if err != nil {
		return err
	}
	p99 := o.took.quantile(.99)
	b.report.add(row{
		Group: "hang", What: fmt.Sprintf("%s, %d times", about, len(o.took)),
		Ours: o.took.String(), Goal: goal, Verdict: verdict(p99 <= 1600*time.Millisecond), Note: o.note(),
	})
	return nil
}

// volumeName ends the names of the folders that volumes are mounted on.
const volumeName = "volume"

// mountVolume mounts a small file system of its own on a new folder.
func (b *bench) mountVolume() (dir string, err error) {
	image, dir := b.path("disk"), b.path(volumeName)
	err = errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 64<<20), os.Mkdir(dir, 0o755))
	if err != nil {
		return "", err
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-t", "ext4", "-o", "loop", image, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("needs root, mkfs.ext4 and mount: %s: %w: %s", args[0], err, bytes.TrimSpace(out))
		}
	}
	return dir, nil
}

// unmount takes all volumes out of the run's folder at once, also those in use.
func (b *bench) unmount() {
	dirs, _ := filepath.Glob(b.anyPath(volumeName)) // the pattern is well formed
	for _, dir := range dirs {
		exec.Command("umount", "--lazy", dir).Run() // an error says that it is not mounted
	}
}

// freeze makes every write to the file system of dir wait until thaw is called or
// the bench has ended, in whichever way. thaw may be called again.
func freeze(dir string) (thaw func() error, err error) {
	// The shell's input ends with this process at the latest. It stands in dir, so
	// that it finds it also when that has been unmounted.
	cmd := exec.Command("sh", "-c", "trap '' INT TERM; fsfreeze -f . && echo frozen && cat >/dev/null; fsfreeze -u .")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	thaw = sync.OnceValue(func() error {
		in.Close()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("freeze and thaw %s: %w: %s", dir, err, bytes.TrimSpace(stderr.Bytes()))
		}
		return nil
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, errors.Join(err, thaw())
	}
	return thaw, nil
}
