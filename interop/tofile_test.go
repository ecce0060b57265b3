package interop

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// toFileKills is how often TestToFileKilled kills nsq_to_file. It is more than the
// five times after which go-nsq drops a message unless told otherwise.
var toFileKills = flag.Int("tofile-kills", 8, "how often nsq_to_file is killed under load")

// A toFile is one nsq_to_file, stock's or ours, with a folder of its own.
type toFile struct {
	*process
	dir     string // --output-dir is out in it, --work-dir, if it is asked for, work
	channel string
}

// newToFile prepares an nsq_to_file that consumes a channel called like itself. "WORK"
// among the flags is a --work-dir of its own.
func newToFile(t testing.TB, which string, flags ...string) *toFile {
	t.Helper()
	return newToFileIn(t, t.TempDir(), which, flags...)
}

// newToFileIn is newToFile in a folder that is there.
func newToFileIn(t testing.TB, dir, which string, flags ...string) *toFile {
	t.Helper()
	bin := ourBin("nsq_to_file")
	if which == "stock" {
		bin = stockBin("nsq_to_file")
	}
	f := &toFile{dir: dir, channel: which}
	args := []string{"--output-dir=" + filepath.Join(f.dir, "out"), "--channel=" + f.channel}
	for _, flag := range flags {
		if flag == "WORK" {
			flag = "--work-dir=" + filepath.Join(f.dir, "work")
		}
		args = append(args, flag)
	}
	f.process = newProcess(t, "nsq_to_file-"+which, bin, args...)
	return f
}

// files returns what can be read of the files, by name.
func (f *toFile) files() map[string]string {
	f.t.Helper()
	for range 100 {
		files, err := readFiles(f.dir)
		if err == nil {
			return files
		}
		if !errors.Is(err, fs.ErrNotExist) { // otherwise a file was moved meanwhile
			f.t.Fatal(err)
		}
	}
	f.t.Fatalf("%s changes all the time", f.dir)
	return nil
}

func readFiles(dir string) (map[string]string, error) {
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".gz") {
			b = readable(b)
		}
		name, err := filepath.Rel(dir, path)
		files[name] = string(b)
		return err
	})
	return files, err
}

// readable returns what comes out of b before it is cut off, as from zcat.
func readable(b []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	text, _ := io.ReadAll(z) // an error is a cut
	return text
}

// records counts the lines of all files.
func (f *toFile) records() map[string]int {
	f.t.Helper()
	records := make(map[string]int)
	for _, text := range f.files() {
		for line := range strings.Lines(text) {
			if strings.HasSuffix(line, "\n") {
				records[strings.TrimSpace(line)]++
			}
		}
	}
	return records
}

// startQuietNSQD starts a stock nsqd that does not log the many times it is asked.
func startQuietNSQD(t testing.TB, flags ...string) *nsqd {
	t.Helper()
	s := startNSQDSubject(t, "stock", append(flags, "--log-level=warn")...)
	return &nsqd{process: s.process, tcp: s.tcp, http: s.http}
}

// waiting returns how many messages the channel has that are not finished.
func waiting(d *nsqd, topic, channel string) (n int, err error) {
	var stats struct {
		Topics []struct {
			Depth    int
			Channels []struct {
				Name     string `json:"channel_name"`
				Depth    int
				InFlight int `json:"in_flight_count"`
				Deferred int `json:"deferred_count"`
			}
		}
	}
	if err := get(d.http, "/stats?format=json&topic="+topic, &stats); err != nil {
		return 0, err
	}
	for _, t := range stats.Topics {
		n += t.Depth
		for _, c := range t.Channels {
			if c.Name == channel {
				n += c.Depth + c.InFlight + c.Deferred
			}
		}
	}
	return n, nil
}

// drained is a check that all is finished.
func drained(d *nsqd, topic string, channels ...string) func() error {
	return func() error {
		for _, channel := range channels {
			if n, err := waiting(d, topic, channel); err != nil || n > 0 {
				return errors.Join(err, fmt.Errorf("channel %s has %d messages left", channel, n))
			}
		}
		return nil
	}
}

// wantRecords compares what was published with what was recorded at least once.
func (f *toFile) wantRecords(published map[string]bool) {
	f.t.Helper()
	records := f.records()
	lost, twice := 0, 0
	for body := range published {
		switch n := records[body]; {
		case n == 0:
			if lost++; lost <= 5 {
				f.t.Errorf("%q is finished and in no file", body)
			}
		case n > 1:
			twice++
		}
	}
	f.t.Logf("%d messages, %d of them more than once", len(published), twice)
	if lost > 0 {
		f.t.Errorf("%d of %d messages are lost", lost, len(published))
	}
}

// TestToFileKilled kills nsq_to_file again and again while it records what several
// producers publish. In the end each message has been finished, and is in a file.
func TestToFileKilled(t *testing.T) {
	t.Parallel()
	if *against != "ours" {
		t.Skip("stock's is compared in TestToFileAsStock")
	}
	for _, flags := range [][]string{
		{},
		{"--gzip"},
		{"--gzip", "WORK", "--rotate-size=20000"},
		{"--rotate-interval=100ms", "WORK", "--max-in-flight=2000"},
	} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			d := startQuietNSQD(t)
			d.createTopic("t")
			d.createChannel("t", "ours")
			// nsqd sends again what was in flight at a kill when it has timed out.
			f := newToFile(t, "ours", append(flags, "--topic=t", "--nsqd-tcp-address="+d.tcp, "--sync-interval=50ms", "--consumer-opt=msg_timeout,1s")...)
			published := &acked{bodies: make(map[string]bool)}
			ended := make(chan struct{})
			var producers sync.WaitGroup
			for i := range 3 {
				producers.Go(func() { publishBatches(t, d, fmt.Sprint(i), published, ended) })
			}
			for range *toFileKills {
				f.start()
				time.Sleep(time.Duration(30+rand.IntN(300)) * time.Millisecond)
				if err := f.running(); err != nil {
					t.Error(err)
				}
				f.kill()
			}
			close(ended)
			producers.Wait()
			f.start()
			eventually(t, time.Minute, "all is recorded", drained(d, "t", f.channel))
			f.stop()
			f.wantRecords(published.bodies)
			left, err := filepath.Glob(filepath.Join(f.dir, "work", "*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left over in --work-dir: %v %v", left, err)
			}
		})
	}
}

// publishBatches publishes different bodies until ended is closed, some of them long
// enough that a file is written before it is synced.
func publishBatches(t testing.TB, d *nsqd, name string, published *acked, ended <-chan struct{}) {
	long := strings.Repeat("x", 3000)
	for i := 0; ; i++ {
		select {
		case <-ended:
			return
		case <-time.After(5 * time.Millisecond):
		}
		var bodies []string
		for k := range 50 {
			body := fmt.Sprintf("%s/%d/%d", name, i, k)
			if k%10 == 0 {
				body += long
			}
			bodies = append(bodies, body)
		}
		a, err := request("POST", d.http, "/mpub?topic=t", strings.Join(bodies, "\n"))
		if err != nil || a.status != 200 {
			t.Errorf("mpub: %v, %v", a.status, err)
			return
		}
		published.add(bodies...)
	}
}

// TestToFileAsStock gives both the same flags, messages and signals. Their files have
// the same names and contents.
func TestToFileAsStock(t *testing.T) {
	t.Parallel()
	if *against != "ours" {
		t.Skip("compares ours with stock's")
	}
	for _, tt := range []struct {
		flags []string
		hup   bool // stock dies of one with a --work-dir
	}{
		{flags: nil, hup: true},
		{flags: []string{"--gzip"}, hup: true},
		{flags: []string{"--gzip", "--gzip-level=9", "--rotate-size=30"}, hup: true},
		{flags: []string{"--rotate-size=30"}, hup: true},
		{flags: []string{"--rotate-interval=3s", "--skip-empty-files"}},
		{flags: []string{"WORK", "--skip-empty-files"}},
		{flags: []string{"WORK", "--rotate-size=30"}},
		{flags: []string{"WORK", "--gzip", "--rotate-size=50"}},
		{flags: []string{"--filename-format=<TOPIC>/<DATETIME>/<HOST><REV>.txt", "--datetime-format=%Y/%%/%Q", "--host-identifier=a-<SHORT_HOST>-<HOSTNAME>"}, hup: true},
		{flags: []string{"--filename-format=<TOPIC><REV><REV>.x", "--gzip", "--skip-empty-files"}, hup: true},
		{flags: []string{"--topic=u", "--topic-pattern=^t$"}},
		{flags: []string{"--max-in-flight=1"}},
	} {
		t.Run(strings.Join(tt.flags, " "), func(t *testing.T) {
			t.Parallel()
			d := startQuietNSQD(t)
			d.createTopic("t")
			var tools []*toFile
			for _, which := range []string{"ours", "stock"} {
				d.createChannel("t", which)
				flags := append([]string{"--topic=t", "--nsqd-tcp-address=" + d.tcp, "--sync-interval=50ms", "--datetime-format=%Y"}, tt.flags...)
				tools = append(tools, newToFile(t, which, flags...))
			}
			seq := 0
			publish := func() {
				for range 7 {
					seq++
					d.publish("t", fmt.Sprintf("message %d", seq))
				}
			}
			recorded := func() {
				t.Helper()
				publish()
				eventually(t, 30*time.Second, "recorded", drained(d, "t", "ours", "stock"))
			}
			publish() // before they start
			for _, f := range tools {
				f.start()
			}
			recorded()
			if tt.hup {
				for _, f := range tools {
					f.signal(syscall.SIGHUP)
				}
				time.Sleep(300 * time.Millisecond) // several syncs, at which empty files are made
				recorded()
			}
			if slices.Contains(tt.flags, "--rotate-interval=3s") {
				time.Sleep(3500 * time.Millisecond)
				recorded()
			}
			for _, f := range tools {
				f.stop()
				f.start() // once more, to see what becomes of files that are there
			}
			recorded()
			for _, f := range tools {
				f.stop()
			}
			if ours, stock := tools[0].files(), tools[1].files(); !maps.Equal(ours, stock) {
				t.Errorf("ours:\n%s\nstock:\n%s", showFiles(ours), showFiles(stock))
			}
		})
	}
}

func showFiles(files map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "  %s: %q\n", name, files[name])
	}
	return b.String()
}

// TestToFileHangup is where stock dies: a SIGHUP with a --work-dir, then a message.
func TestToFileHangup(t *testing.T) {
	if *against != "ours" {
		t.Skip("stock dies of it")
	}
	t.Parallel()
	d := startQuietNSQD(t)
	f := newToFile(t, "ours", "--topic=t", "--nsqd-tcp-address="+d.tcp, "--sync-interval=50ms", "--datetime-format=%Y", "--host-identifier=h", "--skip-empty-files", "WORK")
	f.start()
	want := make(map[string]string)
	for i := range 3 {
		body := fmt.Sprintf("message %d", i)
		d.publish("t", body)
		eventually(t, 30*time.Second, body, func() error {
			if f.records()[body] == 0 {
				return errors.New("not recorded")
			}
			return nil
		})
		f.signal(syscall.SIGHUP)
		name := fmt.Sprintf("out/t.h-%06d.%d.log", i, time.Now().Year())
		want[name] = body + "\n"
		eventually(t, 30*time.Second, name, func() error {
			if _, ok := f.files()[name]; !ok {
				return errors.New("not moved")
			}
			return nil
		})
	}
	f.stop()
	if got := f.files(); !maps.Equal(got, want) {
		t.Errorf("files:\n%s\nwant\n%s", showFiles(got), showFiles(want))
	}
}

// TestToFileManyAttempts gives nsq_to_file a message that was sent many times before,
// which go-nsq drops unless it is told not to.
func TestToFileManyAttempts(t *testing.T) {
	if *against != "ours" {
		t.Skip("stock loses it")
	}
	t.Parallel()
	d := startQuietNSQD(t, "--msg-timeout=1s")
	d.createTopic("t")
	d.createChannel("t", "ours")
	d.publish("t", "unlucky")
	c, err := dialV2(d.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.do("SUB t ours\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "RDY 1\n"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		f, err := c.next(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_, _, id, _, err := f.message()
		if err != nil {
			t.Fatalf("frame of kind %d: %q", f.kind, f.data)
		}
		if _, err := io.WriteString(c, "REQ "+id+" 0\n"); err != nil {
			t.Fatal(err)
		}
	}
	c.Close() // what it was sent last comes again after nsqd's msg-timeout
	f := newToFile(t, "ours", "--topic=t", "--nsqd-tcp-address="+d.tcp, "--sync-interval=50ms")
	f.start()
	eventually(t, 30*time.Second, "finished", drained(d, "t", "ours"))
	f.stop()
	f.wantRecords(map[string]bool{"unlucky": true})
}

// TestToFileShortTimeout has an nsqd send again what waits for a sync, which is no
// reason to write it again.
func TestToFileShortTimeout(t *testing.T) {
	if *against != "ours" {
		t.Skip("stock writes it again and again")
	}
	t.Parallel()
	d := startQuietNSQD(t, "--msg-timeout=3s")
	f := newToFile(t, "ours", "--topic=t", "--nsqd-tcp-address="+d.tcp, "--sync-interval=1m", "--skip-empty-files")
	f.start()
	for i := range 2 {
		body := fmt.Sprintf("message %d", i)
		d.publish("t", body)
		eventually(t, 30*time.Second, body+" is recorded", drained(d, "t", "ours"))
	}
	f.stop()
	for body, n := range f.records() {
		if n != 1 {
			t.Errorf("%q is written %d times", body, n)
		}
	}
	if got := len(f.records()); got != 2 {
		t.Errorf("%d different messages are written, want 2", got)
	}
}

// TestToFileDiscovers adds topics and an nsqd while nsqlookupds are down. With ours
// nobody waits for the next question.
func TestToFileDiscovers(t *testing.T) {
	if *against != "ours" {
		t.Skip("one nsqlookupd that is down keeps stock from new topics")
	}
	eachLookupd(t, func(t *testing.T, l lookupds) {
		interval := "100ms"
		if len(l.processes) > 1 {
			interval = "5m"
			l.processes[0].kill()
			l.tcp = l.tcp[1:]
		}
		d := startNSQD(t, l.tcp...)
		flags := append(each("--lookupd-http-address", append(l.http, freeAddr(t))),
			"--topic-pattern=^logs", "--sync-interval=10ms", "--topic-refresh="+interval, "--consumer-opt=lookupd_poll_interval,"+interval,
			"--consumer-opt=output_buffer_timeout,25ms", // the least that nsqd waits for more messages
			"--datetime-format=x", "--host-identifier=h", "--skip-empty-files")
		f := newToFile(t, "ours", flags...)
		f.start()
		time.Sleep(500 * time.Millisecond) // it has seen that there is nothing
		recorded := func(d *nsqd, topic, body string) {
			t.Helper()
			d.publish("other", body)
			published := time.Now()
			d.publish(topic, body)
			eventually(t, 20*time.Second, topic+" is recorded", func() error {
				if text := f.files()["out/"+topic+".h.x.log"]; !strings.Contains(text, body+"\n") {
					return fmt.Errorf("its file holds %q", text)
				}
				return nil
			})
			t.Logf("%s of %s recorded after %v", topic, d.name, time.Since(published).Round(time.Millisecond))
		}
		recorded(d, "logs.a", "one")
		recorded(d, "logs.b", "two")
		other := startNSQD(t, l.tcp...)
		recorded(other, "logs.a", "three")
		f.stop()
		for name := range f.files() {
			if strings.Contains(name, "other") {
				t.Errorf("%s is not asked for", name)
			}
		}
	})
}
