package history

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A run is the same after it has been written and read again.
func TestRecorderWritesWhatReadReads(t *testing.T) {
	dir := t.TempDir()
	r, err := NewRecorder(dir)
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			client := r.Client()
			for i := range 200 {
				call := r.Now()
				op := Op{Kind: Lookup, Client: client, Node: "n1", Topic: "t", Call: call, Return: r.Now(), Outcome: Done,
					Answer: &Answer{Known: true, Producers: []string{"a:1", "b:1"}[:i%3%2+1], Index: uint64(i), StaleMS: -1}}
				r.Op(op)
			}
			r.Op(Op{Kind: Register, Client: client, Session: r.Session(), Producer: "a:1", Outcome: Unknown, Error: "EOF"})
			r.Sample(Sample{At: r.Now(), Node: "n1", Answered: true, Role: "leader", Term: 3, Hash: "ab"})
		})
	}
	clients.Wait()
	r.Fault(Fault{ID: 1, Kind: "kill", Target: "n1", Begin: 1})
	r.Fault(Fault{ID: 2, Kind: "pause", Target: "n2,n3", Begin: 2})
	r.Fault(Fault{ID: 1, Kind: "kill", Target: "n1", Begin: 1, End: 5, Healed: 6, Verified: true})
	run, err := r.Close(Header{ID: "x", Seed: 7, Nodes: []string{"n1"}, Started: time.Unix(1, 0).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Ops) != 8*201 || len(run.Samples) != 8 || len(run.Faults) != 2 || run.Faults[0].Healed != 6 {
		t.Fatalf("%d ops, %d samples, faults %+v", len(run.Ops), len(run.Samples), run.Faults)
	}
	again, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	run.Header.Started, again.Header.Started = run.Header.Started.UTC(), again.Header.Started.UTC()
	if !reflect.DeepEqual(run.Header, again.Header) || !reflect.DeepEqual(run.Faults, again.Faults) || !reflect.DeepEqual(run.Samples, again.Samples) {
		t.Errorf("read %+v\nwant %+v", again.Header, run.Header)
	}
	sum := func(r *Run) (n uint64) { // those of one moment may be in another order
		for _, op := range r.Ops {
			if op.Answer != nil {
				n += op.Answer.Index*7 + uint64(len(op.Answer.Producers))
			}
			n += uint64(op.Call) + uint64(op.Return)
		}
		return n
	}
	if len(again.Ops) != len(run.Ops) || sum(again) != sum(run) {
		t.Errorf("read other ops than were recorded")
	}
	r.Op(Op{}) // a client that is late
	if _, err := r.Close(Header{}); err == nil {
		t.Error("closed twice, and no error")
	}
}

// What is too much to keep is counted, and proves nothing.
func TestRecorderIsBounded(t *testing.T) {
	r, err := NewRecorder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r.most = 3
	for range 5 {
		r.Op(Op{Kind: Ping})
	}
	run, err := r.Close(Header{})
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Ops) != 3 || run.Header.Dropped != 2 {
		t.Errorf("%d ops, %d dropped, want 3 and 2", len(run.Ops), run.Header.Dropped)
	}
	if c := claims(run)["record/complete"]; c.Status != Inconclusive {
		t.Errorf("record/complete: %+v, want it inconclusive", c)
	}
}

// A file that cannot be written is told, and no client waits for it.
func TestRecorderOfFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	dir := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	r, err := NewRecorder(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * queued {
		r.Op(Op{Kind: Ping, Producer: strings.Repeat("x", i%100), Call: time.Duration(i)})
	}
	run, err := r.Close(Header{})
	if err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("err = %v, want that there is no space", err)
	}
	if len(run.Ops) != 3*queued {
		t.Errorf("%d ops in memory, want %d", len(run.Ops), 3*queued)
	}
}

func TestReadRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"nothing", "", "no header"},
		{"something else", `{"op":{}}`, "not a history"},
		{"another version", `{"schema":2}` + "\n" + `{"header":{}}`, "another version"},
		{"a run that was killed", `{"schema":1}` + "\n" + `{"op":{"k":"ping"}}`, "no header at its end"},
		{"half a line", `{"schema":1}` + "\n" + `{"op":{"k":"pi`, "line 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			z.Write([]byte(tt.text))
			z.Close()
			_, err := read(&b)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %q in it", err, tt.want)
			}
		})
	}
	if _, err := read(strings.NewReader("plain text")); err == nil {
		t.Error("plain text was read")
	}
	if _, err := ReadDir(t.TempDir()); err == nil {
		t.Error("a file that is not there was read")
	}
}

// A pile has everything in the order in which it came, and moves nothing.
func TestPile(t *testing.T) {
	var p pile[int]
	p.add(0)
	first := &p.last[0]
	for i := 1; i < 3*pileChunk+1; i++ {
		p.add(i)
	}
	if &p.full[1][0] != first {
		t.Error("the first has moved")
	}
	all := p.all()
	if len(all) != 3*pileChunk+1 || p.n != len(all) {
		t.Fatalf("%d in all, %d counted", len(all), p.n)
	}
	for i, v := range all {
		if v != i {
			t.Fatalf("at %d is %d", i, v)
		}
	}
}
