package fsm

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nsqraft/fsm/fsmpb"
)

// TestTwin applies random logs, full of repeats, gaps, stale epochs and stale
// terms, to a Registry and to its twin. They must never differ; nor must a
// second Registry that goes through a snapshot now and then; nor may a View
// change after it was taken.
func TestTwin(t *testing.T) {
	// The rarer meetings take more than the hundred logs of one check.
	for range 5 {
		rapid.Check(t, compareWithTwin)
	}
}

func compareWithTwin(t *rapid.T) {
	g := &logGenerator{t: t, epochs: make(map[string]uint64), sequences: make(map[string]uint64)}
	r, restored := New(), New()
	w := &twin{changed: make(map[string]uint64)}
	var views []*View
	var pictures []picture

	entries := rapid.Uint64Range(1, 100).Draw(t, "entries")
	for index := uint64(1); index <= entries; index++ {
		b := g.batch()
		// Through the codec, as in a log.
		data, err := Encode(b)
		if err != nil {
			t.Fatalf("entry %d: %v", index, err)
		}
		b, err = Decode(data)
		if err != nil {
			t.Fatalf("entry %d: %v", index, err)
		}

		term := rapid.Uint64Range(1, 2).Draw(t, "term")
		want := w.apply(index, term, b)
		got := r.Apply(index, term, b)
		g.note(b, got)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("entry %d: %v\noutcome %+v\nthe twin says %+v", index, b, got, want)
		}
		if got := restored.Apply(index, term, b); !reflect.DeepEqual(got, want) {
			t.Fatalf("entry %d: outcome after a restore %+v, without %+v", index, got, want)
		}

		v := r.View()
		pic := pictureOf(v)
		if want := w.picture(); !reflect.DeepEqual(pic, want) {
			t.Fatalf("entry %d: %v\nregistry:\n%vthe twin:\n%v", index, b, pic, want)
		}
		checkChanged(t, v, w, b)
		views, pictures = append(views, v), append(pictures, pic)

		if rapid.IntRange(0, 4).Draw(t, "restore") == 0 {
			replacement := New()
			if err := replacement.Restore(bytes.NewReader(snapshotOf(t, restored.View()))); err != nil {
				t.Fatalf("entry %d: %v", index, err)
			}
			restored = replacement
		}
		if got, want := restored.View().Hash(), v.Hash(); got != want {
			t.Fatalf("entry %d: hash %x after restores, %x without\nafter:\n%v", index, got, want, pictureOf(restored.View()))
		}
		if !bytes.Equal(snapshotOf(t, restored.View()), snapshotOf(t, v)) {
			t.Fatalf("entry %d: equal registries have unequal snapshots", index)
		}
	}
	for i, v := range views {
		if pic := pictureOf(v); !reflect.DeepEqual(pic, pictures[i]) {
			t.Fatalf("the view at index %d was\n%vand has become\n%v", v.Index(), pictures[i], pic)
		}
	}
}

// checkChanged compares what a registry says of when its answers changed. It
// may name a batch that opened a session and ended an older one in its favour,
// though the answer is the same again after it.
func checkChanged(t *rapid.T, v *View, w *twin, b *fsmpb.Batch) {
	reopened := slices.ContainsFunc(b.Mutations, func(m *fsmpb.Mutation) bool { return m.GetOpenSession() != nil })
	check := func(what string, got uint64, want *uint64) {
		if got == v.Index() && reopened {
			*want = got
		}
		if got != *want {
			t.Fatalf("entry %d: %v\n%s changed at %d, the twin says %d", v.Index(), b, what, got, *want)
		}
	}
	check("the set of topics", v.TopicsChanged(), &w.topicsChanged)
	check("/nodes", v.NodesChanged(), &w.nodesChanged)
	for _, name := range v.TopicNames() {
		want := w.changed[name]
		check("topic "+name, v.Topic(name).Changed(), &want)
		w.changed[name] = want
	}
}

func snapshotOf(t interface{ Fatalf(string, ...any) }, v *View) []byte {
	var file bytes.Buffer
	if err := v.WriteSnapshot(&file); err != nil {
		t.Fatalf("index %d: %v", v.Index(), err)
	}
	return file.Bytes()
}

// A logGenerator draws batches over so few names that they keep meeting.
type logGenerator struct {
	t         *rapid.T
	epochs    map[string]uint64 // by writer, as far as it got
	sequences map[string]uint64
}

// note learns where a writer got to.
func (g *logGenerator) note(b *fsmpb.Batch, out Outcome) {
	if out.Epoch != 0 {
		g.epochs[b.Writer], g.sequences[b.Writer] = out.Epoch, out.Sequence
	}
}

func (g *logGenerator) node() string {
	return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(g.t, "node")
}

func (g *logGenerator) batch() *fsmpb.Batch {
	writer := g.node()
	epoch := max(g.epochs[writer], 1)
	sequence := g.sequences[writer] + 1
	switch rapid.IntRange(0, 19).Draw(g.t, "order") {
	case 0: // the last one again
		sequence--
	case 1: // a gap, or an old one
		sequence = rapid.Uint64Range(0, 9).Draw(g.t, "sequence")
	case 2: // from an earlier life
		epoch--
	case 3, 4: // the next life
		epoch, sequence = epoch+1, 1
	case 5: // the leader's, or a new term's first
		writer, epoch, sequence = "", 0, 0
	}
	b := &fsmpb.Batch{
		Writer:   writer,
		Epoch:    epoch,
		Sequence: sequence,
		Time:     int64(rapid.IntRange(0, 12).Draw(g.t, "time")) * int64(time.Second),
	}
	for range rapid.IntRange(0, 8).Draw(g.t, "mutations") {
		b.Mutations = append(b.Mutations, g.mutation(b))
	}
	return b
}

func (g *logGenerator) mutation(b *fsmpb.Batch) *fsmpb.Mutation {
	kinds := []int{7, 8, 9, 11, 12, 12, 13, 14, 15}
	if b.Writer != "" {
		// Those that build something up more often than those that tear down.
		kinds = append(kinds, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 5, 6, 6, 10, 10)
	}
	session := rapid.Uint64Range(1, 3).Draw(g.t, "session")
	topic := rapid.SampledFrom([]string{"t", "u", "e#ephemeral"}).Draw(g.t, "topic")
	channel := rapid.SampledFrom([]string{"", "c", "d", "x#ephemeral"}).Draw(g.t, "channel")
	node, epoch := g.node(), rapid.Uint64Range(1, 3).Draw(g.t, "epoch")
	if known := g.epochs[node]; known > 0 && rapid.Bool().Draw(g.t, "newest") {
		epoch = known
	}
	term := rapid.Uint64Range(1, 2).Draw(g.t, "decided in term")
	if node == b.Writer && rapid.Bool().Draw(g.t, "own word") {
		term = 0
	}

	switch rapid.SampledFrom(kinds).Draw(g.t, "kind") {
	case 1:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_OpenSession{OpenSession: &fsmpb.OpenSession{
			Session: session, Producer: g.producer()}}}
	case 2:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{
			Session: session, Topic: topic, Channel: channel}}}
	case 3:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Unregister{Unregister: &fsmpb.Unregister{
			Session: session, Topic: topic, Channel: channel}}}
	case 4:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_EndSession{EndSession: &fsmpb.EndSession{Session: session}}}
	case 5:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_FinishReplay{FinishReplay: &fsmpb.FinishReplay{Session: session}}}
	case 6:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_SetActive{SetActive: &fsmpb.SetActive{
			Session: session, Active: rapid.Bool().Draw(g.t, "active")}}}
	case 7:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateTopic{CreateTopic: &fsmpb.CreateTopic{Topic: topic}}}
	case 8:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_DeleteTopic{DeleteTopic: &fsmpb.DeleteTopic{Topic: topic}}}
	case 9:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateChannel{CreateChannel: &fsmpb.CreateChannel{
			Topic: topic, Channel: channel}}}
	case 10:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_DeleteChannel{DeleteChannel: &fsmpb.DeleteChannel{
			Topic: topic, Channel: channel}}}
	case 11:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Tombstone{Tombstone: &fsmpb.Tombstone{
			Topic: topic, Node: nodeAddress(g.producer())}}}
	case 12:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_OrphanNode{OrphanNode: &fsmpb.OrphanNode{
			Node: node, Epoch: epoch, Term: term}}}
	case 13:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_ReclaimNode{ReclaimNode: &fsmpb.ReclaimNode{
			Node: node, Epoch: epoch, Term: term}}}
	case 14:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_EndNode{EndNode: &fsmpb.EndNode{
			Node: node, Epoch: epoch, Term: term, Limit: rapid.Uint32Range(0, 2).Draw(g.t, "limit")}}}
	default:
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_ClearTombstone{ClearTombstone: &fsmpb.ClearTombstone{
			Topic:    topic,
			Producer: ProducerID(g.producer()),
			Time:     int64(rapid.IntRange(0, 12).Draw(g.t, "time")) * int64(time.Second)}}}
	}
}

// producer draws one of four producers, two each at one HTTP address, in one of
// two versions.
func (g *logGenerator) producer() *fsmpb.Producer {
	tcpPort := rapid.SampledFrom([]uint32{4150, 4150, 4150, 5150}).Draw(g.t, "TCP port")
	host := rapid.SampledFrom([]string{"one", "one", "two"}).Draw(g.t, "host")
	version := rapid.SampledFrom([]string{"v1", "v2"}).Draw(g.t, "version")
	return &fsmpb.Producer{BroadcastAddress: host, TcpPort: tcpPort, HttpPort: 4151, Version: version}
}
