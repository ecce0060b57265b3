package fsm

import (
	"testing"
	"time"

	"nsqraft/fsm/fsmpb"
)

// What changes nothing costs readers nothing: they keep the topic, what was
// computed of it, and what they rendered.
func TestNothingChangedNothingCopied(t *testing.T) {
	r := sample(t)
	sequence := uint64(1)
	apply := func(mutations ...*fsmpb.Mutation) *View {
		t.Helper()
		sequence++
		out := r.Apply(r.index+1, 3, &fsmpb.Batch{Writer: "b", Epoch: 7, Sequence: sequence,
			Time: int64(10 * time.Second), Mutations: mutations})
		for i, result := range out.Results {
			if result != ResultOK {
				t.Fatalf("mutation %d: %v", i, result)
			}
		}
		return r.View()
	}
	register := func(topic, channel string) *fsmpb.Mutation {
		return &fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{
			Session: 2, Topic: topic, Channel: channel}}}
	}
	before := r.View()
	topic := before.Topic("orders")
	rendering := any("rendering")
	topic.Memo().Store(&rendering)
	producers, channels, names := topic.Producers(), topic.Channels(), before.TopicNames()

	after := apply(
		register("orders", ""),
		register("orders", "archive"),
		&fsmpb.Mutation{Kind: &fsmpb.Mutation_Unregister{Unregister: &fsmpb.Unregister{
			Session: 2, Topic: "orders", Channel: "tail#ephemeral"}}},
		&fsmpb.Mutation{Kind: &fsmpb.Mutation_SetActive{SetActive: &fsmpb.SetActive{Session: 2}}},
		&fsmpb.Mutation{Kind: &fsmpb.Mutation_Tombstone{Tombstone: &fsmpb.Tombstone{Topic: "orders", Node: "nsqd3:4151"}}},
		&fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateTopic{CreateTopic: &fsmpb.CreateTopic{Topic: "orders"}}},
		&fsmpb.Mutation{Kind: &fsmpb.Mutation_CreateChannel{CreateChannel: &fsmpb.CreateChannel{Topic: "orders", Channel: "archive"}}},
		&fsmpb.Mutation{Kind: &fsmpb.Mutation_ClearTombstone{ClearTombstone: &fsmpb.ClearTombstone{Topic: "orders", Producer: "nsqd3:4150:4151"}}},
		&fsmpb.Mutation{Kind: &fsmpb.Mutation_DeleteTopic{DeleteTopic: &fsmpb.DeleteTopic{Topic: "unknown"}}},
	)
	if after.Topic("orders") != topic {
		t.Error("the topic was copied")
	}
	if after.TopicsChanged() != before.TopicsChanged() || after.NodesChanged() != before.NodesChanged() {
		t.Errorf("topics changed at %d and nodes at %d, before at %d and %d",
			after.TopicsChanged(), after.NodesChanged(), before.TopicsChanged(), before.NodesChanged())
	}
	if &after.TopicNames()[0] != &names[0] {
		t.Error("the topic names were computed again")
	}

	// A registration that no lookup shows copies the topic, not the answers.
	after = apply(register("orders", "tail#ephemeral"))
	topic = after.Topic("orders")
	if !after.Holds(SessionID{"b", 7, 2}, "orders", "tail#ephemeral") {
		t.Error("the registration was lost")
	}
	if topic.Memo().Load() != &rendering || &topic.Producers()[0] != &producers[0] || &topic.Channels()[0] != &channels[0] {
		t.Error("the answers did not change, but were computed again")
	}

	after = apply(register("orders", "new"))
	if topic = after.Topic("orders"); topic.Memo().Load() != nil || topic.Changed() != after.Index() {
		t.Errorf("a new channel: memo %v, changed at %d, want none and %d", topic.Memo().Load(), topic.Changed(), after.Index())
	}
}

func TestUnknownIsNotThere(t *testing.T) {
	v := sample(t).View()
	if v.Topic("unknown") != nil {
		t.Error("an unknown topic is there")
	}
	for _, id := range []SessionID{{"c", 1, 1}, {"a", 3, 1}, {"a", 2, 9}} {
		if v.Session(id) != nil || v.Holds(id, "orders", "") {
			t.Errorf("the unknown session %v is there", id)
		}
	}
	for s := range v.Sessions("c", 1) {
		t.Errorf("an unknown life has the session %v", s.ID)
	}
	known := SessionID{"b", 7, 2}
	for _, pair := range [][2]string{{"payments", ""}, {"unknown", ""}, {"orders", "unknown"}} {
		if v.Holds(known, pair[0], pair[1]) {
			t.Errorf("%v holds %q of %q", known, pair[1], pair[0])
		}
	}
}

// A reader may stop early.
func TestBreakingOff(t *testing.T) {
	v := sample(t).View()
	for p := range v.Producers() {
		for range p.Topics() {
			break
		}
		break
	}
	for range v.Tombstones() {
		break
	}
	for range v.Sessions("a", 1) {
		break
	}
	for range v.Topic("orders").Registrations() {
		break
	}
	for channel := range v.Topic("orders").Registrations() {
		if channel != "" {
			break
		}
	}
}
