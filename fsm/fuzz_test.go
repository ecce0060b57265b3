package fsm

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"nsqraft/fsm/fsmpb"
)

// FuzzDecode: whatever Decode accepts can be encoded, and applied to any
// registry, by two replicas with one outcome; and a snapshot of the result
// restores.
func FuzzDecode(f *testing.F) {
	absurd := "\x00#ephemeral"
	for _, b := range []*fsmpb.Batch{
		{},
		{Writer: "a", Epoch: 3, Sequence: 1, Time: -1 << 63, Mutations: []*fsmpb.Mutation{
			{Kind: &fsmpb.Mutation_OpenSession{OpenSession: &fsmpb.OpenSession{Producer: &fsmpb.Producer{}}}},
			{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{Topic: absurd, Channel: absurd}}},
			{Kind: &fsmpb.Mutation_Tombstone{Tombstone: &fsmpb.Tombstone{Topic: absurd, Node: ":0"}}},
			{Kind: &fsmpb.Mutation_CreateChannel{CreateChannel: &fsmpb.CreateChannel{}}},
			{Kind: &fsmpb.Mutation_Unregister{Unregister: &fsmpb.Unregister{Topic: absurd, Channel: absurd}}},
			{Kind: &fsmpb.Mutation_DeleteChannel{DeleteChannel: &fsmpb.DeleteChannel{Topic: absurd, Channel: absurd}}},
		}},
		{Writer: "a", Epoch: 2, Sequence: 2, Time: 1<<63 - 1, Mutations: []*fsmpb.Mutation{
			{Kind: &fsmpb.Mutation_DeleteTopic{DeleteTopic: &fsmpb.DeleteTopic{Topic: "orders"}}},
			{Kind: &fsmpb.Mutation_DeleteChannel{DeleteChannel: &fsmpb.DeleteChannel{Topic: "payments", Channel: "old"}}},
			{Kind: &fsmpb.Mutation_OrphanNode{OrphanNode: &fsmpb.OrphanNode{Node: "a", Epoch: 2}}},
			{Kind: &fsmpb.Mutation_FinishReplay{FinishReplay: &fsmpb.FinishReplay{Session: 1}}},
			{Kind: &fsmpb.Mutation_EndSession{EndSession: &fsmpb.EndSession{Session: 1}}},
			{Kind: &fsmpb.Mutation_SetActive{SetActive: &fsmpb.SetActive{Session: 1}}},
		}},
		{Mutations: []*fsmpb.Mutation{
			{Kind: &fsmpb.Mutation_EndNode{EndNode: &fsmpb.EndNode{Node: "a", Epoch: 1, Term: 4, Limit: 1<<32 - 1}}},
			{Kind: &fsmpb.Mutation_ReclaimNode{ReclaimNode: &fsmpb.ReclaimNode{Node: "a", Epoch: 2, Term: 4}}},
			{Kind: &fsmpb.Mutation_ClearTombstone{ClearTombstone: &fsmpb.ClearTombstone{
				Topic: "orders", Producer: "nsqd3:4150:4151", Time: 1e10}}},
		}},
		{Mutations: []*fsmpb.Mutation{laterKind()}},
	} {
		f.Add(marshal(f, b))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Decode(data)
		if err != nil {
			return
		}
		encoded, err := Encode(b)
		if err != nil {
			t.Fatalf("%v does not encode: %v", b, err)
		}
		again, err := Decode(encoded)
		if err != nil || !proto.Equal(b, again) {
			t.Fatalf("%v comes back as %v, %v", b, again, err)
		}
		for _, start := range []func() *Registry{New, func() *Registry { return sample(t) }} {
			one, other := start(), start()
			index := one.View().Index() + 1
			if got, want := one.Apply(index, 4, b), other.Apply(index, 4, again); !reflect.DeepEqual(got, want) {
				t.Fatalf("outcomes %+v and %+v", got, want)
			}
			checkRestores(t, one)
			if one.View().Hash() != other.View().Hash() {
				t.Fatal("unequal hashes")
			}
		}
	})
}

// checkRestores checks that a snapshot of r gives an equal registry.
func checkRestores(t *testing.T, r *Registry) {
	t.Helper()
	file := snapshotOf(t, r.View())
	restored := New()
	if err := restored.Restore(bytes.NewReader(file)); err != nil {
		t.Fatalf("a snapshot that was just written: %v\n%v", err, pictureOf(r.View()))
	}
	if !bytes.Equal(snapshotOf(t, restored.View()), file) {
		t.Fatal("a restored registry writes another snapshot")
	}
	if got, want := pictureOf(restored.View()), pictureOf(r.View()); !reflect.DeepEqual(got, want) {
		t.Fatalf("restored\n%vfrom\n%v", got, want)
	}
}

// FuzzRestore: any stream is refused with the registry unchanged, or restores
// to a registry that works.
func FuzzRestore(f *testing.F) {
	whole := snapshotOf(f, sample(f).View())
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(snapshotOf(f, New().View()))
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, file []byte) {
		r := New()
		r.Advance(5, 1)
		if err := r.Restore(bytes.NewReader(file)); err != nil {
			if r.View().Index() != 5 || r.View().Hash() != New().View().Hash() {
				t.Fatal("the registry has changed")
			}
			return
		}
		checkRestores(t, r)
	})
}

// FuzzRestoreRecords is FuzzRestore behind the checksums, which the fuzzer does
// not guess: its input is records, each with its length.
func FuzzRestoreRecords(f *testing.F) {
	file := snapshotOf(f, sample(f).View())
	sr, _, err := newSnapshotReader(bytes.NewReader(file))
	if err != nil {
		f.Fatal(err)
	}
	var records []byte
	for {
		rec, err := sr.next()
		if err != nil {
			f.Fatal(err)
		}
		if rec.GetTrailer() != nil {
			break
		}
		data := marshal(f, rec)
		records = append(binary.AppendUvarint(records, uint64(len(data))), data...)
	}
	f.Add(records)
	f.Fuzz(func(t *testing.T, input []byte) {
		b := &restorer{state: emptyState(), opened: make(map[*producer][]restoredSession)}
		b.index = 1000
		for count := uint64(1); len(input) > 0; count++ {
			size, n := binary.Uvarint(input)
			if n <= 0 || size > uint64(len(input)-n) {
				return
			}
			rec := new(fsmpb.SnapshotRecord)
			if proto.Unmarshal(input[n:n+int(size)], rec) != nil || rec.GetTrailer() != nil || b.add(rec, count) != nil {
				return
			}
			input = input[n+int(size):]
		}
		if b.enter(trailerKind) != nil {
			return
		}
		r := New()
		r.state = b.state
		r.publish()
		checkRestores(t, r)

		// Take it all down again: every reference must lead somewhere.
		for _, l := range r.View().Lives() {
			for s := range r.View().Sessions(l.Node, l.Epoch) {
				r.index++
				id := s.ID
				r.dropSession(&id)
			}
		}
		for _, name := range r.View().TopicNames() {
			r.index++
			r.deleteTopic(name)
		}
		r.publish()
		checkRestores(t, r)
		if c := r.View().Counts(); c != (Counts{}) {
			t.Fatalf("after the end of everything there are %+v", c)
		}
	})
}
