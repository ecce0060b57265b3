package interop

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestToFileFullDisk fills the disk under nsq_to_file. It says so, gives the messages
// back and, when there is room again, records all of them. What was finished before
// can be read throughout.
func TestToFileFullDisk(t *testing.T) {
	t.Parallel()
	if *against != "ours" {
		t.Skip("stock ends, and its supervisor starts it again")
	}
	for _, flags := range [][]string{{}, {"--gzip"}, {"WORK"}, {"--gzip", "WORK"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			volume := newTmpfs(t, "1m")
			d := startQuietNSQD(t)
			f := newToFileIn(t, volume.dir, "ours", append([]string{"--topic=t", "--nsqd-tcp-address=" + d.tcp, "--sync-interval=20ms", "--skip-empty-files"}, flags...)...)
			f.start()
			published := make(map[string]bool)
			publish := func(n int) {
				for range n {
					noise := make([]byte, 2500) // which no compression makes fit
					rand.Read(noise)
					body := fmt.Sprintf("message %d %x", len(published), noise)
					d.publish("t", body)
					published[body] = true
				}
			}
			publish(20)
			eventually(t, 30*time.Second, "recorded", drained(d, "t", "ours"))
			f.wantRecords(published)
			before := len(published)

			free := volume.fill()
			publish(20)
			eventually(t, 30*time.Second, "it says so", f.says(noSpace, 0))
			publish(20)
			time.Sleep(4 * time.Second) // it tries again, in vain
			if err := f.running(); err != nil {
				t.Error(err)
			}
			if left, err := waiting(d, "t", "ours"); err != nil || left < 30 {
				t.Errorf("with a full disk %d messages are left, %v; want most of 40", left, err)
			}
			readable := 0
			for body := range f.records() {
				if published[body] {
					readable++
				}
			}
			if readable < before {
				t.Errorf("with a full disk %d messages can be read, want the %d from before", readable, before)
			}
			free()
			eventually(t, 60*time.Second, "recorded when there is room", drained(d, "t", "ours"))
			f.stop()
			f.wantRecords(published)
		})
	}
}

// TestToFilePowerCut cuts the power under nsq_to_file: what had not been synced, of
// files and of folders, is gone. Nothing that was finished may be among it. The same
// without syncs is the check on the check: it must be seen to lose what was finished.
func TestToFilePowerCut(t *testing.T) {
	t.Parallel()
	if *against != "ours" {
		t.Skip("it is known how stock syncs")
	}
	for _, flags := range [][]string{
		{"--filename-format=<TOPIC>/<DATETIME>", "--datetime-format=%Y/%M%S"},
		{"--gzip", "WORK", "--rotate-size=20000"},
	} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			volume := newExt4(t)
			d := startQuietNSQD(t)
			d.createTopic("t")
			d.createChannel("t", "ours")
			f := newToFileIn(t, volume.dir, "ours", append([]string{"--topic=t", "--nsqd-tcp-address=" + d.tcp, "--sync-interval=50ms", "--consumer-opt=msg_timeout,1s"}, flags...)...)
			published := &acked{bodies: make(map[string]bool)}
			cut := func(name string) {
				t.Helper()
				ended := make(chan struct{})
				var producer sync.WaitGroup
				producer.Go(func() { publishBatches(t, d, name, published, ended) })
				f.start()
				time.Sleep(time.Duration(400+mathrand.IntN(400)) * time.Millisecond)
				f.halt()
				err := volume.cutPower()
				close(ended)
				producer.Wait()
				f.kill()
				if err != nil {
					t.Skipf("needs ext4: %v", err)
				}
				if err := errors.Join(volume.detach(), volume.attach()); err != nil {
					t.Fatal(err)
				}
				f.start()
				eventually(t, time.Minute, "all is recorded", drained(d, "t", "ours"))
				f.stop()
			}
			for round := range 3 {
				cut(fmt.Sprint(round))
				f.wantRecords(published.bodies)
			}

			f.bin, f.args = os.Args[0], append([]string{withoutSync, f.bin}, f.args...)
			cut("unsynced")
			records, lost := f.records(), 0
			for body := range published.bodies {
				if records[body] == 0 {
					lost++
				}
			}
			t.Logf("without syncs: %d of %d lost", lost, len(published.bodies))
			if lost == 0 {
				t.Error("one that does not sync lost nothing: the cut cuts nothing")
			}
		})
	}
}

// halt stops the process where it is, as a power cut does. Otherwise it could act on a
// sync that was under way while the journal of ext4 ended, and that ext4 then reports as
// done although it is not.
func (p *process) halt() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	eventually(p.t, 10*time.Second, p.name+" is halted", func() error {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		for _, task := range tasks {
			stat, _ := os.ReadFile(task) // a thread may be gone
			if _, state, _ := bytes.Cut(stat, []byte(") ")); bytes.HasPrefix(state, []byte("R")) || bytes.HasPrefix(state, []byte("S")) {
				err = fmt.Errorf("a thread is in state %c", state[0])
			}
		}
		return err
	})
}
