package fsm

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"nsqraft/fsm/fsmpb"
)

var (
	// ErrMalformed is wrapped by the errors of Decode and Encode for what no
	// version of this package has ever proposed.
	ErrMalformed = errors.New("malformed batch")

	// ErrUnknownKind is wrapped by the errors of Decode for a mutation that
	// only a later version knows. To skip it would make this replica differ
	// from the others: whoever meets it must stop.
	ErrUnknownKind = errors.New("mutation of a kind unknown to this version")
)

// Decode decodes a log entry and checks that Apply will accept it. An empty
// entry is an empty batch.
func Decode(data []byte) (*fsmpb.Batch, error) {
	b := new(fsmpb.Batch)
	if err := proto.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("decode batch of %d bytes: %w: %w", len(data), ErrMalformed, err)
	}
	if err := check(b); err != nil {
		return nil, fmt.Errorf("decode batch %d of %q: %w", b.GetSequence(), b.GetWriter(), err)
	}
	return b, nil
}

// Encode encodes a batch for the log, the same way every time. It refuses what
// Decode would refuse, so that a bad batch dies where it was made and not in
// every replica.
func Encode(b *fsmpb.Batch) ([]byte, error) {
	if err := check(b); err != nil {
		return nil, fmt.Errorf("encode batch %d of %q: %w", b.GetSequence(), b.GetWriter(), err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode batch %d of %q: %w: %w", b.GetSequence(), b.GetWriter(), ErrMalformed, err)
	}
	return data, nil
}

func check(b *fsmpb.Batch) error {
	for i, m := range b.GetMutations() {
		if err := checkMutation(b, m); err != nil {
			return fmt.Errorf("mutation %d of %d: %w", i+1, len(b.Mutations), err)
		}
	}
	return nil
}

func checkMutation(b *fsmpb.Batch, m *fsmpb.Mutation) error {
	// A kind that is unknown beside one that is known could be the one that a
	// later version obeys.
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return ErrUnknownKind
	}
	needsWriter := false
	switch k := m.GetKind().(type) {
	case nil:
		return fmt.Errorf("%w: it has no kind", ErrMalformed)
	case *fsmpb.Mutation_OpenSession:
		if k.OpenSession.GetProducer() == nil {
			return fmt.Errorf("%w: a session without a producer", ErrMalformed)
		}
		needsWriter = true
	case *fsmpb.Mutation_Register, *fsmpb.Mutation_Unregister, *fsmpb.Mutation_EndSession,
		*fsmpb.Mutation_FinishReplay, *fsmpb.Mutation_SetActive, *fsmpb.Mutation_DeleteChannel:
		needsWriter = true
	case *fsmpb.Mutation_OrphanNode:
		needsWriter = k.OrphanNode.GetTerm() == 0
	}
	if needsWriter && b.GetWriter() == "" {
		return fmt.Errorf("%w: %T without a writer", ErrMalformed, m.GetKind())
	}
	return nil
}
