package nsqd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// With --sync-every=1 a message that is acknowledged is in a topic and channel that
// nsqd.dat names: else a crash forgets both, and their files with them.
func TestAcknowledgedMeansNamedInMetadata(t *testing.T) {
	o := DefaultOptions()
	o.DataPath, o.SyncEvery = t.TempDir(), 1
	s := New(o, hclog.NewNullLogger()) // whose keepMetadata does not run
	topic, _, err := s.topic("t", false, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topic.Channel("c"); err != nil {
		t.Fatal(err)
	}
	if err := topic.Publish([][]byte{[]byte("m")}, 0); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.metadataPath())
	if err != nil {
		t.Fatal(err)
	}
	saved, err := decodeMetadata(b)
	if err != nil || len(saved.Topics) != 1 || len(saved.Topics[0].Channels) != 1 {
		t.Errorf("nsqd.dat is %s, %v", b, err)
	}
	if err := s.closeTopics(); err != nil {
		t.Error(err)
	}
}

// A message that cannot be named there is not acknowledged; nsqd.dat is tried again,
// and until then the server is ill.
func TestMetadataThatCannotBeWritten(t *testing.T) {
	o := DefaultOptions()
	o.DataPath, o.SyncEvery = t.TempDir(), 1
	s := New(o, hclog.NewNullLogger())
	topic, _, err := s.topic("t", false, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.metadataPath(), 0o700); err != nil { // no file can take its name
		t.Fatal(err)
	}
	if err := topic.Publish([][]byte{[]byte("m")}, 0); err == nil {
		t.Error("a message is acknowledged whose topic nsqd.dat does not name")
	}
	if s.Health() == nil {
		t.Error("health is OK")
	}
	if err := os.Remove(s.metadataPath()); err != nil {
		t.Fatal(err)
	}
	if err := topic.Publish([][]byte{[]byte("m")}, 0); err != nil {
		t.Error(err)
	}
	if err := s.Health(); err != nil {
		t.Errorf("health is %v", err)
	}
	if err := s.closeTopics(); err != nil {
		t.Error(err)
	}
}

func TestMetadataThatIsNone(t *testing.T) {
	for content, want := range map[string]string{
		"":               "unexpected end of JSON input",
		`{"topics":12}`:  "topics in it is a JSON number",
		`{"topics":[{]}`: "invalid character",
	} {
		o := DefaultOptions()
		o.DataPath = t.TempDir()
		s := New(o, hclog.NewNullLogger())
		if err := os.WriteFile(s.metadataPath(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", content, err, want)
		}
	}
}

// os.CreateTemp would take "" for another folder, perhaps on another disk.
func TestProbeIsInTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	if err := probe(""); err != nil {
		t.Error(err)
	}
}

// What is ill for the want of room is well again when there is room, even if nobody
// writes to it; what is ill for another reason is not.
func TestHealthEndsWithTheWant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.DataPath = filepath.Join(t.TempDir(), "not there yet")
		s := New(o, hclog.NewNullLogger())
		s.background.Go(s.watchHealth)
		s.health.failed("idle", &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
		time.Sleep(time.Minute)
		if s.Health() == nil {
			t.Error("health is OK while nothing can be written")
		}
		if err := os.Mkdir(o.DataPath, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * probeInterval)
		if err := s.Health(); err != nil {
			t.Errorf("health is %v", err)
		}
		broken := errors.New("input/output error")
		s.health.failed("broken", broken)
		time.Sleep(time.Minute)
		if s.Health() != broken {
			t.Errorf("health is %v, want %v", s.Health(), broken)
		}
		s.stop()
		s.background.Wait()
	})
}

// One message that is not finished for long does not keep all others on disk, and a
// crash does not bring those back. It comes back itself.
func TestOneUnfinishedMessageHoldsUpNobody(t *testing.T) { synctest.Test(t, holdsUpNobody) }

func holdsUpNobody(t *testing.T) {
	o := DefaultOptions()
	o.DataPath, o.SyncEvery = t.TempDir(), 1
	s := New(o, hclog.NewNullLogger())
	topic, _, err := s.topic("t", false, false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := topic.Channel("c")
	if err != nil {
		t.Fatal(err)
	}
	const finished = 3 * pinned
	bodies := make([][]byte, finished+1)
	for i := range bodies {
		bodies[i] = []byte("m")
	}
	bodies[0] = []byte("late")
	co := &consumer{timeout: int64(time.Hour), wake: make(chan struct{}, 1)}
	if err := c.subscribe(co, 0); err != nil {
		t.Fatal(err)
	}
	c.setReady(co, 2500)
	if err := topic.Publish(bodies, 0); err != nil {
		t.Fatal(err)
	}
	var late MessageID
	for n := 0; n < len(bodies); {
		batch := c.take(co, nil)
		if len(batch) == 0 {
			t.Fatalf("%d of %d messages were delivered", n, len(bodies))
		}
		n += len(batch)
		var ids []MessageID
		for _, d := range batch {
			if string(d.body) == "late" {
				late = d.id
			} else {
				ids = append(ids, d.id)
			}
		}
		c.finish(co, ids, func(_ MessageID, err error) { t.Error(err) })
	}
	if err := c.requeue(co, late, time.Hour); err != nil {
		t.Fatal(err)
	}
	c.take(co, nil) // takes nothing, and lets go of what can go
	time.Sleep(2 * o.SyncTimeout)
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(crashed, os.DirFS(o.DataPath)); err != nil {
		t.Fatal(err)
	}
	if err := s.closeTopics(); err != nil {
		t.Error(err)
	}
	again := *o
	again.DataPath = crashed
	r := New(&again, hclog.NewNullLogger())
	if err := r.load(); err != nil {
		t.Fatal(err)
	}
	// What was read since the positions were written comes again, but not all of it.
	if depth := r.FindTopic("t").FindChannel("c").stats(StatsFilter{}, newStream(o)).Depth; depth < 1 || depth > 2*pinned {
		t.Errorf("after a crash %d messages come again, of %d", depth, finished)
	}
	if err := r.closeTopics(); err != nil {
		t.Error(err)
	}
}

// A publish that comes too late for a channel that is being deleted misses it, and
// nobody is ill.
func TestDeletedChannelIsNotIll(t *testing.T) {
	o := DefaultOptions()
	o.DataPath, o.MemQueueSize = t.TempDir(), 0
	s := New(o, hclog.NewNullLogger())
	topic, _, err := s.topic("t", false, false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := topic.Channel("c")
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.DeleteChannel("c"); err != nil {
		t.Fatal(err)
	}
	if err := fanOut([]*Channel{c}, s.ids.newMessages([][]byte{[]byte("m")}, time.Now(), 0)); err != nil {
		t.Errorf("publish to a deleted channel: %v", err)
	}
	if err := s.Health(); err != nil {
		t.Errorf("health is %v", err)
	}
	if err := s.closeTopics(); err != nil {
		t.Error(err)
	}
}

// A deferred message keeps its time over crashes at any moment: after it was moved
// and before the positions say so, and after other deadlines have been written.
func TestDeferredMessageOverCrashes(t *testing.T) {
	for name, pins := range map[string]int{"moved": 20, "in its place": pinned} {
		t.Run(name, func(t *testing.T) { deferredOverCrashes(t, pins) })
	}
}

func deferredOverCrashes(t *testing.T, pins int) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.DataPath, o.SyncEvery = t.TempDir(), 1
		dir := t.TempDir()
		begin := func(n int) (*Server, *Topic, *Channel, *consumer) {
			t.Helper()
			if n > 0 { // the one before is not closed: it crashes
				crashed := filepath.Join(dir, strings.Repeat("x", n))
				if err := os.CopyFS(crashed, os.DirFS(o.DataPath)); err != nil {
					t.Fatal(err)
				}
				o.DataPath = crashed
			}
			opts := *o
			s := New(&opts, hclog.NewNullLogger())
			if err := s.load(); err != nil {
				t.Fatal(err)
			}
			topic, _, err := s.topic("t", false, false)
			if err != nil {
				t.Fatal(err)
			}
			c, err := topic.Channel("c")
			if err != nil {
				t.Fatal(err)
			}
			c.backlog.pins = pins
			co := &consumer{timeout: int64(time.Minute), wake: make(chan struct{}, 1)}
			if err := c.subscribe(co, 0); err != nil {
				t.Fatal(err)
			}
			c.setReady(co, 2500)
			t.Cleanup(func() { s.closeTopics() })
			return s, topic, c, co
		}
		publish := func(topic *Topic, n int, body string, delay time.Duration) {
			t.Helper()
			for range n {
				if err := topic.Publish([][]byte{[]byte(body)}, delay); err != nil {
					t.Fatal(err)
				}
			}
		}
		// drain finishes what is delivered, and returns how often that was the late one.
		drain := func(c *Channel, co *consumer) (late int) {
			for batch := c.take(co, nil); len(batch) > 0; batch = c.take(co, nil) {
				for _, d := range batch {
					if string(d.body) == "late" {
						late++
					}
					c.finish(co, []MessageID{d.id}, func(_ MessageID, err error) { t.Error(err) })
				}
			}
			return late
		}

		_, topic, c, co := begin(0)
		publish(topic, 1, "late", time.Hour)
		for n := 1; n <= 3; n++ {
			publish(topic, 100, "m", 0)
			if drain(c, co) > 0 {
				t.Fatalf("the deferred message is delivered early, after %d crashes", n-1)
			}
			for range 4 { // more deadlines, which make their file be written anew
				publish(topic, 1, "soon", time.Millisecond)
			}
			if drain(c, co) > 0 {
				t.Fatalf("the deferred message is delivered early, after %d crashes", n-1)
			}
			_, topic, c, co = begin(n)
		}
		if drain(c, co) > 0 {
			t.Fatal("the deferred message is delivered early")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if late := drain(c, co); late != 1 {
			t.Errorf("after its time the deferred message is delivered %d times, want once", late)
		}
	})
}

// A deadline that is not written whole spoils none of those that are written later;
// and what was not taken is not remembered.
func TestDeadlineThatIsNotWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deadlines")
	d, err := openDeadlines(path)
	if err != nil {
		t.Fatal(err)
	}
	message := func(id string) []*Message { return []*Message{{ID: MessageID([]byte(id)), notBefore: 7}} }
	if err := d.add(message("0000000000000001"), true); err != nil {
		t.Fatal(err)
	}
	whole := d.file
	if _, err := whole.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	whole.Close() // the next write fails behind half a record
	if err := d.add(message("0000000000000002"), true); err == nil {
		t.Fatal("a write to a closed file is no error")
	}
	(&store{until: d}).forget(message("0000000000000002"))
	if err := d.add(message("0000000000000003"), true); err != nil {
		t.Fatal(err)
	}
	read, err := openDeadlines(path)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int64{"0000000000000001": 7, "0000000000000002": 0, "0000000000000003": 7} {
		if got := read.get(MessageID([]byte(id))); got != want {
			t.Errorf("%s is deferred until %d, want %d", id, got, want)
		}
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}
