package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nsqio/go-nsq"

	"nsqraft/internal/command"
	"nsqraft/internal/consume"
)

// A feed stands for the consumer of a recorder, and keeps what became of its messages.
type feed struct {
	t        *testing.T
	opts     *options
	r        *recorder
	stopping chan struct{}
	stopped  chan struct{}
	result   chan error

	mu                 sync.Mutex
	starved            bool
	maxInFlight        int
	finished, requeued []string
}

func (f *feed) IsStarved() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.starved
}

func (f *feed) setStarved(starved bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starved = starved
}

func (f *feed) ChangeMaxInFlight(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.maxInFlight = n
}

func (f *feed) OnTouch(*nsq.Message) {}

func (f *feed) OnFinish(m *nsq.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finished = append(f.finished, string(m.Body))
}

func (f *feed) OnRequeue(m *nsq.Message, _ time.Duration, _ bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requeued = append(f.requeued, string(m.Body))
}

// defaultOptions are those without a flag.
func defaultOptions(t *testing.T) *options {
	t.Helper()
	o := &options{source: consume.NewOptions(app, nil)}
	flags := command.NewFlags(app, io.Discard)
	o.register(flags)
	if _, done := flags.Parse(nil, io.Discard); done {
		t.Fatal("no flags are wrong")
	}
	return o
}

// record starts a recorder of topic "orders" on host "web", to be called in a bubble.
// Its names have the minute, where nothing else is asked for.
func record(t *testing.T, set func(*options)) *feed {
	t.Helper()
	o := defaultOptions(t)
	o.outputDir = t.TempDir()
	o.hostIdentifier = "web"
	o.datetimeFormat = "%H:%M"
	if set != nil {
		set(o)
	}
	if err := o.prepareFolders(); err != nil {
		t.Fatal(err)
	}
	r, err := newRecorder(o, "orders", hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	f := &feed{t: t, opts: o, r: r, maxInFlight: o.source.Config.MaxInFlight,
		stopping: make(chan struct{}), stopped: make(chan struct{}), result: make(chan error, 1)}
	go func() { f.result <- r.run(f, f.stopping, f.stopped) }()
	return f
}

// send sends messages and returns when all is quiet.
func (f *feed) send(bodies ...string) {
	for _, body := range bodies {
		m := nsq.NewMessage(nsq.MessageID{}, []byte(body))
		m.Delegate = f
		f.r.HandleMessage(m)
	}
	synctest.Wait()
}

// wait lets d pass.
func (f *feed) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// stop ends the recorder as the process does, and returns its error.
func (f *feed) stop() error {
	close(f.stopping)
	synctest.Wait()
	close(f.stopped)
	return <-f.result
}

func (f *feed) want(finished, requeued string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := strings.Join(f.finished, " "); got != finished {
		f.t.Errorf("finished %q, want %q", got, finished)
	}
	if got := strings.Join(f.requeued, " "); got != requeued {
		f.t.Errorf("requeued %q, want %q", got, requeued)
	}
}

func (f *feed) wantMaxInFlight(want int) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.maxInFlight != want {
		f.t.Errorf("takes up to %d messages, want %d", f.maxInFlight, want)
	}
}

// wantFiles compares what is below dir, by name, without compression and with a comma
// for each end of a line.
func wantFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(path, ".gz") {
			b, err = unzip(b)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		name, err := filepath.Rel(dir, path)
		got[name] = strings.ReplaceAll(string(b), "\n", ",")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("files in %s:\n%v\nwant\n%v", dir, lines(got), lines(want))
	}
}

func lines(m map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "  %s: %q\n", name, m[name])
	}
	return b.String()
}

func unzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func TestFinishedOnceSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := record(t, func(o *options) { o.source.Config.MaxInFlight = 4; o.syncInterval = 7 * time.Second })
		f.send("a", "b")
		f.want("", "")
		wantFiles(t, f.opts.outputDir, map[string]string{"orders.web.00:00.log": ""})
		f.wait(7 * time.Second)
		f.want("a b", "")
		wantFiles(t, f.opts.outputDir, map[string]string{"orders.web.00:00.log": "a,b,"})

		f.send("c", "d", "e") // fewer than can be in flight
		f.want("a b", "")
		f.send("f") // no more will come before these are finished
		f.want("a b c d e f", "")

		f.setStarved(true) // as one of several nsqds can be
		f.send("g")
		f.want("a b c d e f g", "")
		f.setStarved(false)

		f.send("h")
		close(f.stopping)
		synctest.Wait()
		f.want("a b c d e f g h", "")
		f.send("i") // it was on its way
		f.want("a b c d e f g h i", "")
		close(f.stopped)
		if err := <-f.result; err != nil {
			t.Error(err)
		}
		wantFiles(t, f.opts.outputDir, map[string]string{"orders.web.00:00.log": "a,b,c,d,e,f,g,h,i,"})
	})
}

// An nsqd with a short --msg-timeout sends again what waits for a sync.
func TestSentAgainWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := record(t, func(o *options) { o.datetimeFormat = "x" })
		sendAgain := func(id byte, attempts uint16, body string) {
			m := nsq.NewMessage(nsq.MessageID{id}, []byte(body))
			m.Delegate, m.Attempts = f, attempts
			f.r.HandleMessage(m)
			synctest.Wait()
		}
		sendAgain(1, 1, "a")
		sendAgain(2, 2, "b") // another consumer had it before
		f.want("", "")
		f.wait(10 * time.Second)
		sendAgain(1, 2, "a")
		f.want("a b a", "")
		sendAgain(3, 1, "c")
		f.wait(15 * time.Second) // half of what it was
		f.want("a b a c", "")
		sendAgain(1, 3, "a") // it is not waiting here
		f.stop()
		f.want("a b a c a", "")
		wantFiles(t, f.opts.outputDir, map[string]string{"orders.web.x.log": "a,b,c,a,"})
	})
}

// A message must not be sent a second time because it waits for the sync.
func TestSyncedBeforeTheTimeout(t *testing.T) {
	for _, tt := range []struct{ sync, timeout, want time.Duration }{
		{30 * time.Second, 0, 30 * time.Second},
		{time.Hour, 0, 30 * time.Second},
		{time.Hour, 10 * time.Minute, 5 * time.Minute},
		{time.Second, 10 * time.Second, time.Second},
	} {
		o := defaultOptions(t)
		o.syncInterval, o.source.Config.MsgTimeout = tt.sync, tt.timeout
		if got := o.longestWait(); got != tt.want {
			t.Errorf("--sync-interval=%v and msg_timeout %v: synced every %v, want %v", tt.sync, tt.timeout, got, tt.want)
		}
	}
}

// Each step is a message, or what else begins with a sign: "+30s" time that passes, "^"
// a SIGHUP.
func TestRotation(t *testing.T) {
	work := func(o *options) { o.workDir = o.outputDir + "/work"; o.outputDir += "/out" }
	tests := []struct {
		name  string
		set   func(*options)
		steps string
		want  map[string]string
	}{
		{"one file", func(o *options) { o.datetimeFormat = "x" }, "a +2m b ^ c", map[string]string{
			"orders.web.x.log": "a,b,c,"}},
		{"by time, and empty files", nil, "a +3m b", map[string]string{
			"orders.web.00:00.log": "a,", "orders.web.00:01.log": "", "orders.web.00:02.log": "", "orders.web.00:03.log": "b,"}},
		{"by time, no empty files", func(o *options) { o.skipEmptyFiles = true }, "+5m a +3m b", map[string]string{
			"orders.web.00:05.log": "a,", "orders.web.00:08.log": "b,"}},
		{"by size", func(o *options) { o.rotateSize = 5 }, "aa bb cc dd ee ff gg", map[string]string{
			"orders.web-000000.00:00.log": "aa,bb,", "orders.web-000001.00:00.log": "cc,dd,", "orders.web-000002.00:00.log": "ee,ff,", "orders.web-000003.00:00.log": "gg,"}},
		{"by interval", func(o *options) { o.rotateInterval = 10 * time.Second; o.skipEmptyFiles = true }, "a b +11s c +5s d +6s e +40s f", map[string]string{
			"orders.web-000000.00:00.log": "a,b,", "orders.web-000001.00:00.log": "c,d,", "orders.web-000002.00:00.log": "e,", "orders.web-000000.00:01.log": "f,"}},
		{"gzip", func(o *options) { o.gzip = true; o.skipEmptyFiles = true }, "a b +30s c ^ d +1m e", map[string]string{
			"orders.web-000000.00:00.log.gz": "a,b,c,", "orders.web-000001.00:00.log.gz": "d,", "orders.web-000000.00:01.log.gz": "e,"}},
		{"gzip, empty files", func(o *options) { o.gzip = true }, "+2m", map[string]string{
			"orders.web-000000.00:00.log.gz": "", "orders.web-000000.00:01.log.gz": "", "orders.web-000000.00:02.log.gz": ""}},
		{"gzip by size before compression", func(o *options) { o.gzip = true; o.rotateSize = 5 }, "aa bb cc", map[string]string{
			"orders.web-000000.00:00.log.gz": "aa,bb,", "orders.web-000001.00:00.log.gz": "cc,"}},
		{"work-dir", func(o *options) { work(o); o.skipEmptyFiles = true }, "a ^ b ^ ^ c +1m d", map[string]string{
			"out/orders.web-000000.00:00.log": "a,", "out/orders.web-000001.00:00.log": "b,", "out/orders.web-000002.00:00.log": "c,", "out/orders.web-000000.00:01.log": "d,"}},
		{"work-dir and gzip in folders", func(o *options) {
			work(o)
			o.gzip, o.skipEmptyFiles = true, true
			o.filenameFormat, o.datetimeFormat = "<TOPIC>/<DATETIME>/x<REV>", "%H/%M"
		}, "a ^ b +1m c", map[string]string{
			"out/orders/00/00/x-000000.gz": "a,", "out/orders/00/00/x-000001.gz": "b,", "out/orders/00/01/x-000000.gz": "c,"}},
		{"the same folder in other words", func(o *options) { o.workDir = o.outputDir + "/./" }, "a ^ b", map[string]string{
			"orders.web.00:00.log": "a,b,"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := ""
				f := record(t, func(o *options) {
					dir = o.outputDir
					if tt.set != nil {
						tt.set(o)
					}
				})
				sent := ""
				for _, step := range strings.Fields(tt.steps) {
					switch step[0] {
					case '+':
						d, err := time.ParseDuration(step[1:])
						if err != nil {
							t.Fatal(err)
						}
						f.wait(d)
					case '^':
						f.r.reopenFile()
						synctest.Wait()
					default:
						f.send(step)
						sent += " " + step
					}
				}
				if err := f.stop(); err != nil {
					t.Error(err)
				}
				f.want(strings.TrimSpace(sent), "")
				wantFiles(t, dir, tt.want)
			})
		})
	}
}

// What is finished can be read, whatever is cut off behind it.
func TestGzipReadableAfterEachSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := record(t, func(o *options) { o.gzip = true; o.datetimeFormat = "x" })
		path := filepath.Join(f.opts.outputDir, "orders.web-000000.x.log.gz")
		want := ""
		for i := range 5 {
			body := strings.Repeat(fmt.Sprint(i), 1000*i)
			want += body + "\n"
			f.send(body)
			f.wait(30 * time.Second)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := unzip(b); string(got) != want || err != nil {
				t.Fatalf("after %d messages %d bytes can be read, error %v, want %d", i+1, len(got), err, len(want))
			}
			if got, _ := unzip(append(b, "\x1f\x8b\x08 cut off"...)); string(got) != want {
				t.Fatalf("with a cut tail %d bytes can be read, want %d", len(got), len(want))
			}
		}
		f.stop()
	})
}

func write(t *testing.T, content string, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// What is there already is added to or left alone, never replaced.
func TestFilesThatAreThere(t *testing.T) {
	work := func(o *options) { o.workDir = o.outputDir + "/work"; o.outputDir += "/out" }
	tests := []struct {
		name  string
		set   func(*options)
		there map[string]string
		want  map[string]string // after messages a, b, a SIGHUP, and c
	}{
		{"appended to", nil, map[string]string{"orders.web.x.log": "old\n"},
			map[string]string{"orders.web.x.log": "old,a,b,c,"}},
		{"appended to, cut", nil, map[string]string{"orders.web.x.log": "old\ncut"},
			map[string]string{"orders.web.x.log": "old,cut,a,b,c,"}},
		{"appended to while small", func(o *options) { o.rotateSize = 6 },
			map[string]string{"orders.web-000000.x.log": "longer\n", "orders.web-000001.x.log": "short\n"},
			map[string]string{"orders.web-000000.x.log": "longer,", "orders.web-000001.x.log": "short,a,", "orders.web-000002.x.log": "b,", "orders.web-000003.x.log": "c,"}},
		{"interval", func(o *options) { o.rotateInterval = time.Hour },
			map[string]string{"orders.web-000000.x.log": "old\n", "orders.web-000002.x.log": "old\n"},
			map[string]string{"orders.web-000000.x.log": "old,", "orders.web-000001.x.log": "a,b,", "orders.web-000002.x.log": "old,", "orders.web-000003.x.log": "c,"}},
		{"in the output folder", work,
			map[string]string{"out/orders.web-000000.x.log": "old\n", "out/orders.web-000002.x.log": "old\n"},
			map[string]string{"out/orders.web-000000.x.log": "old,", "out/orders.web-000001.x.log": "a,b,", "out/orders.web-000002.x.log": "old,", "out/orders.web-000003.x.log": "c,"}},
		{"left over in the work folder", work,
			map[string]string{"work/orders.web-000000.x.log": "left\n", "work/orders.web-000003.x.log": "l", "out/orders.web-000000.x.log": "old\n", "work/orders.web-000004.x.log": "", "work/other.web-000000.x.log": "other's"},
			map[string]string{"out/orders.web-000000.x.log": "old,", "out/orders.web-000001.x.log": "left,", "out/orders.web-000003.x.log": "l", "out/orders.web-000002.x.log": "a,b,", "out/orders.web-000004.x.log": "c,", "work/other.web-000000.x.log": "other's"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := ""
				f := record(t, func(o *options) {
					dir = o.outputDir
					o.datetimeFormat = "x"
					if tt.set != nil {
						tt.set(o)
					}
					for name, content := range tt.there {
						write(t, content, dir, name)
					}
				})
				f.send("a", "b")
				f.r.reopenFile()
				synctest.Wait()
				f.send("c")
				if err := f.stop(); err != nil {
					t.Error(err)
				}
				f.want("a b c", "")
				wantFiles(t, dir, tt.want)
			})
		})
	}
}

// A file appears at the destination while the one for it is written.
func TestMovedToTheNextRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := record(t, func(o *options) { o.outputDir, o.workDir, o.datetimeFormat = dir+"/out", dir+"/work", "x" })
		f.send("a")
		write(t, "late\n", dir, "out/orders.web-000000.x.log")
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		wantFiles(t, dir, map[string]string{"out/orders.web-000000.x.log": "late,", "out/orders.web-000001.x.log": "a,"})
	})
}

// A file that another process is writing is not taken for one that was left over.
func TestLockedFilesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		set := func(o *options) { o.outputDir, o.workDir, o.datetimeFormat = dir+"/out", dir+"/work", "x" }
		first := record(t, set)
		first.send("a")
		first.wait(time.Minute)
		second := record(t, set)
		second.send("b")
		second.wait(time.Minute)
		wantFiles(t, dir, map[string]string{"work/orders.web-000000.x.log": "a,", "work/orders.web-000001.x.log": "b,"})
		first.stop()
		second.stop()
		wantFiles(t, dir, map[string]string{"out/orders.web-000000.x.log": "a,", "out/orders.web-000001.x.log": "b,"})
	})
}

// A move that a crash came into is completed.
func TestHalfMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		left := write(t, "left\n", dir, "work/orders.web-000000.x.log")
		if err := os.Mkdir(dir+"/out", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(left, dir+"/out/orders.web-000000.x.log"); err != nil {
			t.Fatal(err)
		}
		f := record(t, func(o *options) {
			o.outputDir, o.workDir, o.datetimeFormat, o.skipEmptyFiles = dir+"/out", dir+"/work", "x", true
		})
		f.stop()
		wantFiles(t, dir, map[string]string{"out/orders.web-000000.x.log": "left,"})
	})
}

// /dev/full stands for a full disk.
func TestDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("no /dev/full here: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		var path string
		f := record(t, func(o *options) {
			o.datetimeFormat, o.source.Config.MaxInFlight = "x", 3
			path = filepath.Join(o.outputDir, "orders.web.x.log")
			if err := os.Symlink("/dev/full", path); err != nil {
				t.Fatal(err)
			}
		})
		f.send("a", "b", "c")
		f.want("", "a b c")
		f.wantMaxInFlight(0)
		f.send("d")
		f.want("", "a b c d")
		f.wait(firstPause)
		f.wantMaxInFlight(3)
		f.send("e", "f", "g")
		f.want("", "a b c d e f g")
		f.wantMaxInFlight(0)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		f.wait(2 * firstPause)
		f.send("a", "b", "c")
		f.want("a b c", "a b c d e f g")
		if err := f.stop(); err != nil {
			t.Errorf("recovered, and stopped with %v", err)
		}
		wantFiles(t, f.opts.outputDir, map[string]string{"orders.web.x.log": "a,b,c,"})
	})
}

func TestStoppedWhileItCannotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := record(t, nil)
		if err := os.Remove(f.opts.outputDir); err != nil {
			t.Fatal(err)
		}
		write(t, "no folder", f.opts.outputDir)
		f.send("a")
		f.want("", "a")
		if err := f.stop(); err == nil {
			t.Error("stopped without an error")
		}
		if err := os.Remove(f.opts.outputDir); err != nil {
			t.Fatal(err)
		}
	})
}

// Nothing is acknowledged that went to a file without a name.
func TestFileRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := record(t, func(o *options) { o.datetimeFormat = "x" })
		f.send("a")
		f.wait(30 * time.Second)
		f.want("a", "")
		if err := os.Remove(filepath.Join(f.opts.outputDir, "orders.web.x.log")); err != nil {
			t.Fatal(err)
		}
		f.send("b")
		f.wait(30 * time.Second)
		f.want("a", "b")
		f.wait(time.Minute)
		f.send("b")
		f.stop()
		f.want("a b", "b")
		wantFiles(t, f.opts.outputDir, map[string]string{"orders.web.x.log": "b,"})
	})
}

// What a failed sync has left in a file of its own is taken back.
func TestAbandonedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.gz")
	f, err := createFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f.compress(1)
	f.append([]byte("kept"))
	if err := f.sync(); err != nil {
		t.Fatal(err)
	}
	f.append(bytes.Repeat([]byte("lost"), maxBuffer))
	f.gz.Flush()
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	if kept := f.abandon(); !kept {
		t.Error("says that it was removed")
	}
	wantFiles(t, filepath.Dir(path), map[string]string{"f.gz": "kept,"})

	if f, err = createFile(path + ".2"); err != nil {
		t.Fatal(err)
	}
	f.append([]byte("lost"))
	if kept := f.abandon(); kept {
		t.Error("an empty file is kept")
	}
	wantFiles(t, filepath.Dir(path), map[string]string{"f.gz": "kept,"})
	if _, err := createFile(path); err == nil {
		t.Error("created over a file that is there")
	}
}
