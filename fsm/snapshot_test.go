package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"nsqraft/fsm/fsmpb"
)

// sample returns a registry that has some of everything in it.
func sample(t testing.TB) *Registry {
	t.Helper()
	r := New()
	open := func(serial uint64, host, version string) *fsmpb.Mutation {
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_OpenSession{OpenSession: &fsmpb.OpenSession{
			Session: serial,
			Producer: &fsmpb.Producer{
				BroadcastAddress: host, TcpPort: 4150, HttpPort: 4151, Hostname: host, Version: version,
				RemoteAddress: "10.0.0.1:50000", TopologyZone: "z", TopologyRegion: "r",
			},
		}}}
	}
	register := func(serial uint64, topic, channel string) *fsmpb.Mutation {
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{
			Session: serial, Topic: topic, Channel: channel}}}
	}
	for i, b := range []*fsmpb.Batch{
		{Writer: "a", Epoch: 1, Sequence: 1, Mutations: []*fsmpb.Mutation{
			open(1, "nsqd1", "v1"),
			register(1, "orders", "archive"),
			register(1, "orders", "tail#ephemeral"),
			open(2, "nsqd2", "v1"),
			register(2, "orders", ""),
		}},
		{Writer: "a", Epoch: 2, Sequence: 1, Mutations: []*fsmpb.Mutation{
			open(1, "nsqd1", "v1"),
			register(1, "payments", ""),
			{Kind: &fsmpb.Mutation_FinishReplay{FinishReplay: &fsmpb.FinishReplay{Session: 9}}},
		}},
		{Writer: "b", Epoch: 7, Sequence: 1, Time: int64(10 * time.Second), Mutations: []*fsmpb.Mutation{
			open(1, "nsqd2", "v2"),
			{Kind: &fsmpb.Mutation_FinishReplay{FinishReplay: &fsmpb.FinishReplay{Session: 1}}},
			open(2, "nsqd3", "v1"),
			register(2, "orders", "archive"),
			{Kind: &fsmpb.Mutation_SetActive{SetActive: &fsmpb.SetActive{Session: 2}}},
			{Kind: &fsmpb.Mutation_Tombstone{Tombstone: &fsmpb.Tombstone{Topic: "orders", Node: "nsqd3:4151"}}},
			{Kind: &fsmpb.Mutation_CreateChannel{CreateChannel: &fsmpb.CreateChannel{Topic: "payments", Channel: "old"}}},
			{Kind: &fsmpb.Mutation_DeleteChannel{DeleteChannel: &fsmpb.DeleteChannel{Topic: "payments", Channel: "old"}}},
			{Kind: &fsmpb.Mutation_CreateTopic{CreateTopic: &fsmpb.CreateTopic{Topic: "empty"}}},
		}},
	} {
		r.Apply(uint64(10*(i+1)), 3, b)
	}
	return r
}

// TestGoldenSnapshot holds the format: snapshots of earlier builds stay readable.
func TestGoldenSnapshot(t *testing.T) {
	const path = "testdata/snapshot.golden"
	r := sample(t)
	written := snapshotOf(t, r.View())
	if *update {
		if err := os.WriteFile(path, written, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written, golden) {
		t.Errorf("%d bytes are written that differ from the %d of %s", len(written), len(golden), path)
	}
	restored := New()
	if err := restored.Restore(bytes.NewReader(golden)); err != nil {
		t.Fatal(err)
	}
	if got, want := pictureOf(restored.View()), pictureOf(r.View()); !reflect.DeepEqual(got, want) {
		t.Errorf("restored\n%vwant\n%v", got, want)
	}
	if got, want := restored.View().Hash(), r.View().Hash(); got != want {
		t.Errorf("hash %x, want %x", got, want)
	}
	if v := restored.View(); v.Index() != 30 || v.Term() != 3 {
		t.Errorf("restored index %d, term %d, want 30, 3", v.Index(), v.Term())
	}
	for _, name := range restored.View().TopicNames() {
		if got := restored.View().Topic(name).Changed(); got != 30 {
			t.Errorf("topic %s changed at %d, want that of the snapshot, 30", name, got)
		}
	}
}

// testdata/snapshot-1.golden is of a build that did not note which entry orphaned a
// life: it is the same registry.
func TestSnapshotOfAnEarlierBuildIsTheSameRegistry(t *testing.T) {
	earlier, err := os.ReadFile("testdata/snapshot-1.golden")
	if err != nil {
		t.Fatal(err)
	}
	r := New()
	if err := r.Restore(bytes.NewReader(earlier)); err != nil {
		t.Fatal(err)
	}
	if got, want := r.View().Hash(), sample(t).View().Hash(); got != want {
		t.Errorf("hash %x, want %x", got, want)
	}
	if l := r.View().Lives()[0]; !l.Orphaned || l.OrphanedAt != 0 {
		t.Errorf("%+v, want orphaned at an unknown index", l)
	}
}

// A Producer field of a later version goes through state and snapshot.
func TestUnknownProducerFieldIsKept(t *testing.T) {
	p := &fsmpb.Producer{BroadcastAddress: "nsqd1", TcpPort: 4150, HttpPort: 4151}
	p.ProtoReflect().SetUnknown([]byte{15<<3 | 2, 3, 'n', 'e', 'w'})
	data, err := Encode(&fsmpb.Batch{Writer: "a", Epoch: 1, Sequence: 1, Mutations: []*fsmpb.Mutation{
		{Kind: &fsmpb.Mutation_OpenSession{OpenSession: &fsmpb.OpenSession{Session: 1, Producer: p}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	r, restored := New(), New()
	r.Apply(1, 1, b)
	if err := restored.Restore(bytes.NewReader(snapshotOf(t, r.View()))); err != nil {
		t.Fatal(err)
	}
	s := restored.View().Session(SessionID{"a", 1, 1})
	if got, want := s.Info.ProtoReflect().GetUnknown(), p.ProtoReflect().GetUnknown(); !bytes.Equal(got, want) {
		t.Errorf("unknown fields %q, want %q", got, want)
	}
}

// Every bit of a snapshot counts, and an error leaves the registry as it was.
func TestDamagedSnapshot(t *testing.T) {
	whole := snapshotOf(t, sample(t).View())
	r := sample(t)
	r.Advance(99, 4)
	before := pictureOf(r.View())
	try := func(what string, at int, file []byte) {
		err := r.Restore(bytes.NewReader(file))
		if !errors.Is(err, ErrCorruptSnapshot) && !errors.Is(err, ErrSnapshotVersion) {
			t.Fatalf("%s %d: %v", what, at, err)
		}
		if r.View().Index() != 99 {
			t.Fatalf("%s %d: the registry has changed", what, at)
		}
	}
	for i := range whole {
		try("cut at byte", i, whole[:i])
		for bit := range 8 {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1 << bit
			try("flipped bit", 8*i+bit, damaged)
		}
	}
	try("a byte too many after", len(whole), append(bytes.Clone(whole), 0))
	if after := pictureOf(r.View()); !reflect.DeepEqual(after, before) {
		t.Errorf("the registry has become\n%vfrom\n%v", after, before)
	}
}

// A stream that fails is not a corrupt snapshot.
func TestRestoreReadError(t *testing.T) {
	whole := snapshotOf(t, sample(t).View())
	broken := errors.New("broken disk")
	err := New().Restore(io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || errors.Is(err, ErrCorruptSnapshot) {
		t.Errorf("error %v", err)
	}
	if err := New().Restore(iotest.OneByteReader(bytes.NewReader(whole))); err != nil {
		t.Errorf("byte by byte: %v", err)
	}
}

// frame returns a snapshot of records with good framing.
func frame(t testing.TB, records ...*fsmpb.SnapshotRecord) []byte {
	t.Helper()
	var file bytes.Buffer
	file.WriteString(snapshotMagic)
	for _, rec := range records {
		data := marshal(t, rec)
		framed := append(binary.AppendUvarint(nil, uint64(len(data))), data...)
		file.Write(binary.LittleEndian.AppendUint32(framed, crc32.Checksum(framed, castagnoli)))
	}
	return file.Bytes()
}

func TestImpossibleSnapshot(t *testing.T) {
	header := &fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Header{Header: &fsmpb.SnapshotHeader{
		Version: snapshotVersion, Index: 10, Term: 1}}}
	life := func(id string, epoch uint64, orphaned bool) *fsmpb.SnapshotRecord {
		return &fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Node{Node: &fsmpb.SnapshotNode{
			Id: id, Epoch: epoch, Orphaned: orphaned, Sequence: 1, Index: 1}}}
	}
	session := func(node string, epoch, serial uint64, host string, place uint32) *fsmpb.SnapshotRecord {
		return &fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Session{Session: &fsmpb.SnapshotSession{
			Node: node, Epoch: epoch, Session: serial, Producer: &fsmpb.Producer{BroadcastAddress: host}, Place: place}}}
	}
	topic := func(rec *fsmpb.SnapshotTopic) *fsmpb.SnapshotRecord {
		return &fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Topic{Topic: rec}}
	}
	deletion := func(topic, channel string, nodes ...string) *fsmpb.SnapshotRecord {
		return &fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Deletion{Deletion: &fsmpb.SnapshotDeletion{
			Topic: topic, Channel: channel, Nodes: nodes}}}
	}
	trailer := func(records, hash uint64) *fsmpb.SnapshotRecord {
		return &fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Trailer{Trailer: &fsmpb.SnapshotTrailer{
			Records: records, Hash: hash}}}
	}
	type records []*fsmpb.SnapshotRecord
	for _, tt := range []struct {
		name    string
		records records
		want    string
	}{
		{"no header", records{life("a", 1, false)}, "record 1 at offset 8: corrupt snapshot: it has no header"},
		{"version 0", records{{Kind: &fsmpb.SnapshotRecord_Header{Header: &fsmpb.SnapshotHeader{}}}}, "no header"},
		{"two headers", records{header, header}, "cannot be here"},
		{"no kind", records{header, {}}, "cannot be here"},
		{"kinds out of order", records{header, topic(&fsmpb.SnapshotTopic{Name: "t"}), life("a", 1, false)}, "after one of kind"},
		{"node without id", records{header, life("", 1, false)}, "without an id"},
		{"nodes out of order", records{header, life("b", 1, false), life("a", 1, false)}, "comes after"},
		{"epochs out of order", records{header, life("a", 2, true), life("a", 2, false)}, "comes after"},
		{"unknown result", records{header, {Kind: &fsmpb.SnapshotRecord_Node{Node: &fsmpb.SnapshotNode{
			Id: "a", Results: []byte{9}}}}}, "result code 9"},
		{"written in the future", records{header, {Kind: &fsmpb.SnapshotRecord_Node{Node: &fsmpb.SnapshotNode{
			Id: "a", Index: 11}}}}, "index 11, after 10"},
		{"orphaned in the future", records{header, {Kind: &fsmpb.SnapshotRecord_Node{Node: &fsmpb.SnapshotNode{
			Id: "a", Orphaned: true, OrphanedAt: 11}}}}, "orphaned at index 11 of 10"},
		{"orphaned and not", records{header, {Kind: &fsmpb.SnapshotRecord_Node{Node: &fsmpb.SnapshotNode{
			Id: "a", OrphanedAt: 9}}}}, "orphaned at index 9 of 10 (orphaned: false)"},
		{"old life not orphaned", records{header, life("a", 1, false), life("a", 2, false),
			session("a", 1, 1, "h", 0), trailer(4, 0)}, "is over but still there"},
		{"old life without sessions", records{header, life("a", 1, true), life("a", 2, false), trailer(3, 0)},
			"is over but still there"},
		{"session without life", records{header, session("a", 1, 1, "h", 0)}, "which is not there"},
		{"session without producer", records{header, life("a", 1, false),
			{Kind: &fsmpb.SnapshotRecord_Session{Session: &fsmpb.SnapshotSession{Node: "a", Epoch: 1}}}}, "has no producer"},
		{"sessions out of order", records{header, life("a", 1, false), session("a", 1, 2, "h", 0), session("a", 1, 1, "i", 0)},
			"session a/1/1 comes after a/1/2"},
		{"one producer twice", records{header, life("a", 1, false), session("a", 1, 1, "h", 0), session("a", 1, 2, "h", 1),
			trailer(4, 0)}, "one producer"},
		{"places with a hole", records{header, life("a", 1, false), life("b", 1, false), session("a", 1, 1, "h", 0),
			session("b", 1, 1, "h", 2), trailer(5, 0)}, "place 2, not 1"},
		{"topics out of order", records{header, topic(&fsmpb.SnapshotTopic{Name: "t"}), topic(&fsmpb.SnapshotTopic{Name: "t"})},
			`topic "t": it comes after "t"`},
		{"channels out of order", records{header, topic(&fsmpb.SnapshotTopic{Name: "t", Channels: []string{"c", "c"}})},
			"channels are not in order"},
		{"channel without name", records{header, topic(&fsmpb.SnapshotTopic{Name: "t", Channels: []string{"", "c"}})},
			"channels are not in order"},
		{"registration by nobody", records{header, topic(&fsmpb.SnapshotTopic{Name: "t",
			Holdings: []*fsmpb.SnapshotHolding{{Session: 0}}})}, "session 0 of 0"},
		{"registrations out of order", records{header, life("a", 1, false), session("a", 1, 1, "h", 0),
			topic(&fsmpb.SnapshotTopic{Name: "t", Holdings: []*fsmpb.SnapshotHolding{{}, {}}})}, "registrations are not in order"},
		{"registration of no channel", records{header, life("a", 1, false), session("a", 1, 1, "h", 0),
			topic(&fsmpb.SnapshotTopic{Name: "t", Holdings: []*fsmpb.SnapshotHolding{{Channels: []uint32{0}}}})}, "channel 0 of 0"},
		{"channel twice", records{header, life("a", 1, false), session("a", 1, 1, "h", 0),
			topic(&fsmpb.SnapshotTopic{Name: "t", Channels: []string{"c"},
				Holdings: []*fsmpb.SnapshotHolding{{Channels: []uint32{0, 0}}}})}, "out of order"},
		{"tombstone of nobody", records{header, topic(&fsmpb.SnapshotTopic{Name: "t",
			Tombstones: []*fsmpb.SnapshotTombstone{{Producer: "h:0:0"}}})}, "has not registered"},
		{"tombstone twice", records{header, life("a", 1, false), session("a", 1, 1, "h", 0),
			topic(&fsmpb.SnapshotTopic{Name: "t", Holdings: []*fsmpb.SnapshotHolding{{}},
				Tombstones: []*fsmpb.SnapshotTombstone{{Producer: "h:0:0"}, {Producer: "h:0:0"}}})}, "tombstones are not in order"},
		{"deletion of a known channel", records{header, topic(&fsmpb.SnapshotTopic{Name: "t", Channels: []string{"c"}}),
			deletion("t", "c", "a")}, "there and deleted"},
		{"deletions out of order", records{header, deletion("t", "c", "a"), deletion("t", "b", "a")}, "out of order"},
		{"deletion told to nobody", records{header, deletion("t", "c")}, "not in order"},
		{"told twice", records{header, deletion("t", "c", "a", "a")}, "not in order"},
		{"records missing", records{header, trailer(2, 0)}, "1 records, of 2"},
		{"another hash", records{header, trailer(1, 1)}, "hash is 0000000000000000"},
		{"more after the trailer", records{header, trailer(1, 0), trailer(1, 0)}, "after the trailer"},
		{"no trailer", records{header}, "record 2 at offset"},
	} {
		err := New().Restore(bytes.NewReader(frame(t, tt.records...)))
		if !errors.Is(err, ErrCorruptSnapshot) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}

	newer := &fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Header{Header: &fsmpb.SnapshotHeader{Version: 2}}}
	err := New().Restore(bytes.NewReader(frame(t, newer)))
	if !errors.Is(err, ErrSnapshotVersion) || errors.Is(err, ErrCorruptSnapshot) {
		t.Errorf("version 2: error %v", err)
	}
	if err := New().Restore(bytes.NewReader(frame(t, header, trailer(1, 0)))); err != nil {
		t.Errorf("the empty registry: %v", err)
	}
}

// A length is not believed before its bytes have come.
func TestRestoreMemory(t *testing.T) {
	announced := binary.AppendUvarint([]byte(snapshotMagic), maxRecord)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := New().Restore(bytes.NewReader(announced))
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrCorruptSnapshot) {
		t.Errorf("error %v", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d bytes were allocated for a record of which nothing came", used)
	}
	err = New().Restore(bytes.NewReader(binary.AppendUvarint([]byte(snapshotMagic), maxRecord+1)))
	if !errors.Is(err, ErrCorruptSnapshot) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a length beyond the limit: %v", err)
	}
}

// A failing writer is reported at once, and at the end.
func TestWriteSnapshotError(t *testing.T) {
	full := errors.New("disk full")
	if err := sample(t).View().WriteSnapshot(failingWriter{full}); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	b := &fsmpb.Batch{}
	for i := range 10_000 {
		b.Mutations = append(b.Mutations, &fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateTopic{CreateTopic: &fsmpb.CreateTopic{
			Topic: fmt.Sprintf("topic-%d", i)}}})
	}
	r := New()
	r.Apply(1, 1, b)
	if err := r.View().WriteSnapshot(failingWriter{full}); !errors.Is(err, full) {
		t.Errorf("error in the middle %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
