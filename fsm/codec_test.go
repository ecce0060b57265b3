package fsm

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"nsqraft/fsm/fsmpb"
)

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// laterKind is a mutation of a kind that this version does not know.
func laterKind() *fsmpb.Mutation {
	m := new(fsmpb.Mutation)
	m.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 999, protowire.BytesType), nil))
	return m
}

func TestDecode(t *testing.T) {
	register := &fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{Session: 1, Topic: "t"}}}
	both := laterKind()
	both.Kind = register.Kind

	for _, tt := range []struct {
		name  string
		batch *fsmpb.Batch
		err   error
		text  string
	}{
		{"empty", &fsmpb.Batch{}, nil, ""},
		{"session mutation", &fsmpb.Batch{Writer: "a", Mutations: []*fsmpb.Mutation{register}}, nil, ""},
		{"leader's decision", &fsmpb.Batch{Mutations: []*fsmpb.Mutation{
			{Kind: &fsmpb.Mutation_OrphanNode{OrphanNode: &fsmpb.OrphanNode{Node: "a", Term: 1}}},
		}}, nil, ""},
		{"later kind", &fsmpb.Batch{Writer: "a", Mutations: []*fsmpb.Mutation{register, laterKind()}},
			ErrUnknownKind, `batch 0 of "a": mutation 2 of 2`},
		{"later kind beside a known one", &fsmpb.Batch{Writer: "a", Mutations: []*fsmpb.Mutation{both}}, ErrUnknownKind, ""},
		{"no kind", &fsmpb.Batch{Writer: "a", Mutations: []*fsmpb.Mutation{{}}}, ErrMalformed, "no kind"},
		{"no producer", &fsmpb.Batch{Writer: "a", Mutations: []*fsmpb.Mutation{
			{Kind: &fsmpb.Mutation_OpenSession{OpenSession: &fsmpb.OpenSession{Session: 1}}},
		}}, ErrMalformed, "without a producer"},
		{"no writer", &fsmpb.Batch{Mutations: []*fsmpb.Mutation{register}}, ErrMalformed, "without a writer"},
		{"own word without a writer", &fsmpb.Batch{Mutations: []*fsmpb.Mutation{
			{Kind: &fsmpb.Mutation_OrphanNode{OrphanNode: &fsmpb.OrphanNode{}}},
		}}, ErrMalformed, "without a writer"},
	} {
		_, err := Decode(marshal(t, tt.batch))
		if !errors.Is(err, tt.err) || err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: decode: error %v, want %v with %q", tt.name, err, tt.err, tt.text)
		}
		// What would not be read is not written.
		if _, err := Encode(tt.batch); !errors.Is(err, tt.err) {
			t.Errorf("%s: encode: error %v, want %v", tt.name, err, tt.err)
		}
	}

	for _, data := range []string{"\xff", "\x0a\x05abc", "\x0a\x01\xff"} {
		if _, err := Decode([]byte(data)); !errors.Is(err, ErrMalformed) {
			t.Errorf("decode %q: error %v", data, err)
		}
	}
	if _, err := Encode(&fsmpb.Batch{Writer: "\xff"}); !errors.Is(err, ErrMalformed) {
		t.Errorf("encode a writer that is not UTF-8: error %v", err)
	}
}

func TestProducerID(t *testing.T) {
	p := &fsmpb.Producer{BroadcastAddress: "host", TcpPort: 4150, HttpPort: 4151}
	if got, want := ProducerID(p), "host:4150:4151"; got != want {
		t.Errorf("ProducerID is %q, want %q", got, want)
	}
}
