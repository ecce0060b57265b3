package env

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	volumeSize  = 128 << 20
	detachFor   = 3 * time.Second // a process that was killed may still hold it
	ballastFile = "ballast"
	proofFile   = "proof" // is written to see whether it can be
)

// A volume is an ext4 file system of one process's own, mounted on its data folder. Its
// methods are for one goroutine at a time.
type volume struct {
	dir, image string
	attached   bool
	guardian   *exec.Cmd
	dismiss    io.WriteCloser // its input
	freezer    *exec.Cmd      // nil: it is not frozen
	thawing    func() error
}

// newVolume makes and mounts the file system of the process of that name.
func newVolume(dir, name string) (*volume, error) {
	dir, err := filepath.Abs(dir) // the guardian's folder is another
	if err != nil {
		return nil, err
	}
	v := &volume{dir: filepath.Join(dir, name), image: filepath.Join(dir, name+".disk")}
	if entries, err := os.ReadDir(v.dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s holds data already", v.dir)
	}
	if err := os.MkdirAll(v.dir, 0o755); err != nil {
		return nil, err
	}
	err = os.WriteFile(v.image, nil, 0o600)
	if err == nil {
		err = os.Truncate(v.image, volumeSize)
	}
	if err == nil {
		err = run("mkfs.ext4", "-q", "-F", "-m", "0", v.image)
	}
	if err == nil {
		err = v.guard()
	}
	if err == nil {
		err = v.attach()
	}
	if err == nil {
		err = os.Remove(filepath.Join(v.dir, "lost+found"))
	}
	if err != nil {
		return nil, errors.Join(err, v.close())
	}
	return v, nil
}

// guard starts a shell that takes the volume away if this process ends, in whichever
// way, without having closed it. It ends with us at the latest.
func (v *volume) guard() (err error) {
	const script = `trap '' INT TERM HUP; read -r word; [ "$word" = closed ] || { umount --lazy "$1"; rm -f "$2"; }`
	v.guardian = exec.Command("sh", "-c", script, "sh", v.dir, v.image)
	v.guardian.Dir = "/"
	v.guardian.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if v.dismiss, err = v.guardian.StdinPipe(); err != nil {
		return err
	}
	return v.guardian.Start()
}

// attach mounts it, unless it is. The journal is written when somebody asks for it, and
// not before: what is synced is what a process had synced.
func (v *volume) attach() error {
	if v.attached {
		return nil
	}
	if err := run("mount", "-t", "ext4", "-o", "loop,commit=600", v.image, v.dir); err != nil {
		return err
	}
	v.attached = true
	return nil
}

func (v *volume) detach() error {
	if !v.attached {
		return nil
	}
	var err error
	for end := time.Now().Add(detachFor); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = unix.Unmount(v.dir, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", v.dir, err)
	}
	v.attached = false
	return nil
}

// close takes it away with all that is on it. What is in use it takes out of sight, and
// says so.
func (v *volume) close() error {
	thawed := v.thaw()
	err := v.detach()
	if err != nil && unix.Unmount(v.dir, unix.MNT_DETACH) == nil {
		v.attached = false
		err = fmt.Errorf("%w: it goes when what uses it ends", err)
	}
	if v.dismiss != nil {
		fmt.Fprintln(v.dismiss, "closed")
		v.dismiss.Close()
		v.guardian.Wait()
		v.dismiss = nil
	}
	return errors.Join(thawed, err, os.Remove(v.image))
}

// fill leaves no room on it.
func (v *volume) fill() error {
	f, err := os.OpenFile(filepath.Join(v.dir, ballastFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	// What is allocated need not be written; the rest goes block by block.
	at := int64(0)
	for size := int64(volumeSize); size >= 1<<10; {
		switch err := unix.Fallocate(int(f.Fd()), 0, at, size); {
		case err == nil:
			at += size
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("fill %s: %w", v.dir, err)
		}
	}
	return nil
}

func (v *volume) free() error {
	err := os.Remove(filepath.Join(v.dir, ballastFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// full says whether a write finds no room.
func (v *volume) full() bool { return errors.Is(v.proof(), syscall.ENOSPC) }

// writable says whether something can be written.
func (v *volume) writable() bool { return v.proof() == nil }

// proof writes a file of some blocks and syncs it.
func (v *volume) proof() error {
	name := filepath.Join(v.dir, proofFile)
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	_, err = f.Write(bytes.Repeat([]byte("nsqdrill"), 2<<10))
	return errors.Join(err, f.Sync(), f.Close())
}

// freeze makes every write wait until thaw, or until this process has ended in
// whichever way: a shell that stands on the volume waits for that.
func (v *volume) freeze() error {
	if v.freezer != nil {
		return fmt.Errorf("%s is frozen already", v.dir)
	}
	cmd := exec.Command("sh", "-c", "trap '' INT TERM; fsfreeze -f . && echo frozen && cat >/dev/null; fsfreeze -u .")
	cmd.Dir = v.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	v.freezer = cmd
	v.thawing = func() error {
		in.Close()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("freeze and thaw %s: %w: %s", v.dir, err, bytes.TrimSpace(stderr.Bytes()))
		}
		return nil
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return errors.Join(err, v.thaw())
	}
	return nil
}

// thaw lets writes go on. It may be called when nothing is frozen.
func (v *volume) thaw() error {
	if v.freezer == nil {
		return nil
	}
	err := v.thawing()
	v.freezer, v.thawing = nil, nil
	return err
}

// frozen asks the system.
func (v *volume) frozen() bool {
	const fiFreeze, fiThaw = 0xc0045877, 0xc0045878
	dir, err := os.Open(v.dir)
	if err != nil {
		return false
	}
	defer dir.Close()
	err = unix.IoctlSetInt(int(dir.Fd()), fiFreeze, 0)
	if err == nil { // it was not
		unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0)
	}
	return errors.Is(err, unix.EBUSY)
}

// cutPower makes it forget all that was not synced, and refuse the rest until it has
// been detached.
func (v *volume) cutPower() error {
	const ext4Shutdown, noLogFlush = 0x8004587d, 2
	dir, err := os.Open(v.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), ext4Shutdown, noLogFlush); err != nil {
		return fmt.Errorf("cut the power of %s: %w", v.dir, err)
	}
	return nil
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
