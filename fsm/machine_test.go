package fsm

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"nsqraft/fsm/fsmpb"
)

func entry(t testing.TB, index, term uint64, b *fsmpb.Batch) *raft.Log {
	t.Helper()
	data, err := Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: data}
}

func createTopic(writer string, sequence uint64, topic string) *fsmpb.Batch {
	return &fsmpb.Batch{Writer: writer, Epoch: 1, Sequence: sequence, Mutations: []*fsmpb.Mutation{
		{Kind: &fsmpb.Mutation_CreateTopic{CreateTopic: &fsmpb.CreateTopic{Topic: topic}}},
	}}
}

func TestMachine(t *testing.T) {
	var applied []uint64
	r := New()
	m := NewMachine(r, Hooks{Applied: func(index uint64) {
		if r.View().Index() != index {
			t.Errorf("index %d is announced, %d is published", index, r.View().Index())
		}
		applied = append(applied, index)
	}})

	out := m.Apply(entry(t, 3, 1, createTopic("a", 1, "one")))
	want := Outcome{Status: StatusApplied, Index: 3, Results: []Result{ResultOK}, Epoch: 1, Sequence: 1}
	if !reflect.DeepEqual(out, want) {
		t.Errorf("outcome %+v, want %+v", out, want)
	}
	m.StoreConfiguration(4, raft.Configuration{})
	m.StoreConfiguration(2, raft.Configuration{})
	m.Apply(entry(t, 6, 2, createTopic("a", 2, "two")))

	// Raft goes through the log once more. Nothing happens twice.
	if out := m.Apply(entry(t, 3, 1, createTopic("a", 1, "other"))); !reflect.DeepEqual(out, Outcome{Index: 3}) {
		t.Errorf("outcome of an entry passed over %+v", out)
	}
	if got, want := applied, []uint64{3, 4, 6}; !reflect.DeepEqual(got, want) {
		t.Errorf("announced %v, want %v", got, want)
	}
	if got, want := r.View().TopicNames(), []string{"one", "two"}; !reflect.DeepEqual(got, want) {
		t.Errorf("topics %v, want %v", got, want)
	}
	if v := r.View(); v.Index() != 6 || v.Term() != 2 {
		t.Errorf("index %d, term %d, want 6, 2", v.Index(), v.Term())
	}

	// A snapshot is of the moment it was taken at.
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	m.Apply(entry(t, 7, 2, createTopic("a", 3, "three")))
	sink := new(testSink)
	if err := snap.Persist(sink); err != nil || !sink.closed || sink.cancelled {
		t.Errorf("persist: %v, closed %v, cancelled %v", err, sink.closed, sink.cancelled)
	}
	snap.Release()

	// It is older than the registry, which therefore stays as it is.
	if err := m.Restore(io.NopCloser(bytes.NewReader(sink.Bytes()))); err != nil {
		t.Fatal(err)
	}
	if got := r.View().Index(); got != 7 {
		t.Errorf("index %d after the restore of an older snapshot, want 7", got)
	}
	applied = nil
	fresh := New()
	other := NewMachine(fresh, Hooks{Applied: func(index uint64) { applied = append(applied, index) }})
	source := &closeRecorder{Reader: bytes.NewReader(sink.Bytes())}
	if err := other.Restore(source); err != nil || !source.closed {
		t.Fatalf("restore: %v, closed %v", err, source.closed)
	}
	if !reflect.DeepEqual(applied, []uint64{6}) || fresh.View().Topic("two") == nil || fresh.View().Topic("three") != nil {
		t.Errorf("restored to %v:\n%v", applied, pictureOf(fresh.View()))
	}
	if err := other.Restore(io.NopCloser(strings.NewReader("nonsense"))); !errors.Is(err, ErrCorruptSnapshot) {
		t.Errorf("restore of nonsense: %v", err)
	}

	// A sink that fails is cancelled.
	full := errors.New("disk full")
	if err := snap.Persist(&testSink{err: full}); !errors.Is(err, full) {
		t.Errorf("persist to a full disk: %v", err)
	}
	sink = &testSink{err: full}
	snap.Persist(sink)
	if !sink.cancelled || sink.closed {
		t.Errorf("the sink of a full disk: closed %v, cancelled %v", sink.closed, sink.cancelled)
	}
}

// An entry that cannot be applied is fatal, and never passed over.
func TestMachineFatal(t *testing.T) {
	flipped := errors.New("checksum")
	for _, tt := range []struct {
		name string
		log  *raft.Log
		want error
	}{
		{"verify", &raft.Log{Index: 1, Data: []byte("flipped")}, flipped},
		{"malformed", &raft.Log{Index: 1, Data: []byte{0xff}}, ErrMalformed},
		{"later kind", &raft.Log{Index: 1, Data: marshal(t, &fsmpb.Batch{Mutations: []*fsmpb.Mutation{laterKind()}})}, ErrUnknownKind},
	} {
		r := New()
		var fatal error
		hooks := Hooks{
			Verify: func(l *raft.Log) error {
				if string(l.Data) == "flipped" {
					return flipped
				}
				return nil
			},
			Fatal: func(err error) { fatal = err },
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", tt.name)
				}
			}()
			NewMachine(r, hooks).Apply(tt.log)
		}()
		if !errors.Is(fatal, tt.want) || !strings.Contains(fatal.Error(), "entry 1") {
			t.Errorf("%s: fatal error %v, want %v", tt.name, fatal, tt.want)
		}
		if r.View().Index() != 0 {
			t.Errorf("%s: the entry was passed", tt.name)
		}
	}
}

// TestMachineInRaft runs a Machine in Raft over a restart: with a snapshot, the
// log behind it, and a registry that has replayed some of it already.
func TestMachineInRaft(t *testing.T) {
	logs, stable, snaps := raft.NewInmemStore(), raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	start := func(r *Registry) *raft.Raft {
		c := raft.DefaultConfig()
		c.LocalID = "a"
		c.HeartbeatTimeout = 50 * time.Millisecond
		c.ElectionTimeout = 50 * time.Millisecond
		c.LeaderLeaseTimeout = 50 * time.Millisecond
		c.CommitTimeout = time.Millisecond
		c.TrailingLogs = 1
		c.Logger = hclog.NewNullLogger()
		address, transport := raft.NewInmemTransport("")
		cluster := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: address}}}
		if exists, err := raft.HasExistingState(logs, stable, snaps); err != nil {
			t.Fatal(err)
		} else if !exists {
			if err := raft.BootstrapCluster(c, logs, stable, snaps, transport, cluster); err != nil {
				t.Fatal(err)
			}
		} else {
			// The address is new with each transport.
			if err := raft.RecoverCluster(c, NewMachine(New(), Hooks{}), logs, stable, snaps, transport, cluster); err != nil {
				t.Fatal(err)
			}
		}
		node, err := raft.NewRaft(c, NewMachine(r, Hooks{}), logs, stable, snaps, transport)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-node.LeaderCh():
		case <-time.After(10 * time.Second):
			t.Fatal("no leader")
		}
		return node
	}
	apply := func(node *raft.Raft, b *fsmpb.Batch) Outcome {
		data, err := Encode(b)
		if err != nil {
			t.Fatal(err)
		}
		f := node.Apply(data, 5*time.Second)
		if err := f.Error(); err != nil {
			t.Fatal(err)
		}
		return f.Response().(Outcome)
	}

	r := New()
	node := start(r)
	apply(node, createTopic("a", 1, "one"))
	if err := node.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	first := apply(node, createTopic("a", 2, "two"))
	if err := node.Shutdown().Error(); err != nil {
		t.Fatal(err)
	}

	ahead := New()
	if err := ahead.Restore(bytes.NewReader(snapshotOf(t, r.View()))); err != nil {
		t.Fatal(err)
	}
	for name, restarted := range map[string]*Registry{"empty": New(), "ahead": ahead} {
		node = start(restarted)
		if again := apply(node, createTopic("a", 2, "two")); !reflect.DeepEqual(again, first) {
			t.Errorf("%s: the batch again gives %+v, want what it gave: %+v", name, again, first)
		}
		if got, want := restarted.View().Hash(), r.View().Hash(); got != want {
			t.Errorf("%s: hash %x, want %x\n%v", name, got, want, pictureOf(restarted.View()))
		}
		if err := node.Shutdown().Error(); err != nil {
			t.Fatal(err)
		}
	}
}

type testSink struct {
	bytes.Buffer
	err               error
	closed, cancelled bool
}

func (s *testSink) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	return s.Buffer.Write(p)
}

func (s *testSink) ID() string    { return "test" }
func (s *testSink) Close() error  { s.closed = true; return nil }
func (s *testSink) Cancel() error { s.cancelled = true; return nil }

type closeRecorder struct {
	io.Reader
	closed bool
}

func (c *closeRecorder) Close() error { c.closed = true; return nil }
