package fsm

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"nsqraft/fsm/fsmpb"
)

// The registry's hash is that of a set of facts: each is encoded without
// ambiguity and hashed, and state.facts is the sum of these hashes, modulo
// 2^64. Adding a fact and taking it away again are single additions, and the
// sum does not depend on the order in which facts came to be: equal registries
// have equal hashes whatever happened to them before.
//
// It finds replicas that differ by accident. It does not withstand someone who
// chooses names to make it collide.

// mix spreads the sum over all bits (the finaliser of MurmurHash3): sums of few
// facts differ in few places only by chance, but mixed they are easy to tell
// apart in a log line.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// factSize is the size of the buffers that facts are encoded in. Longer ones
// take an allocation.
const factSize = 256

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendUint(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendSession(b []byte, id *SessionID) []byte {
	return appendUint(appendUint(appendString(b, id.Node), id.Epoch), id.Serial)
}

// appendProducer appends the message as it is on the wire: fields ascending,
// those unknown to this version last. It is the same in all versions as long as
// new fields get the next higher number.
func appendProducer(b []byte, p *fsmpb.Producer) []byte {
	options := proto.MarshalOptions{Deterministic: true}
	b = binary.AppendUvarint(b, uint64(options.Size(p)))
	b, err := options.MarshalAppend(b, p)
	if err != nil {
		// Only a string that is not UTF-8 fails, and such a message does not decode.
		panic("fsm: encode a producer: " + err.Error())
	}
	return b
}

func topicFact(name string) uint64 {
	b := append(make([]byte, 0, factSize), 't')
	return xxhash.Sum64(appendString(b, name))
}

func channelFact(topic, channel string) uint64 {
	b := append(make([]byte, 0, factSize), 'c')
	return xxhash.Sum64(appendString(appendString(b, topic), channel))
}

// registrationFact: an empty channel stands for the holding as such.
func registrationFact(topic, channel string, id *SessionID) uint64 {
	b := append(make([]byte, 0, factSize), 'r')
	b = appendString(appendString(b, topic), channel)
	return xxhash.Sum64(appendSession(b, id))
}

func tombstoneFact(topic, producer string, time int64) uint64 {
	b := append(make([]byte, 0, factSize), 'x')
	b = appendString(appendString(b, topic), producer)
	return xxhash.Sum64(appendUint(b, uint64(time)))
}

func (d *deletion) fact() uint64 {
	b := append(make([]byte, 0, factSize), 'd')
	b = appendString(appendString(b, d.topic), d.channel)
	b = appendUint(b, uint64(d.time))
	for _, node := range d.nodes {
		b = appendString(b, node)
	}
	return xxhash.Sum64(b)
}

func (l *life) fact() uint64 {
	b := append(make([]byte, 0, factSize), 'l')
	b = appendUint(appendString(b, l.node), l.epoch)
	b = appendBool(b, l.orphaned)
	b = appendUint(appendUint(b, l.sequence), l.applied)
	for _, r := range l.results {
		b = append(b, byte(r))
	}
	return xxhash.Sum64(b)
}

func (s *session) fact() uint64 {
	b := append(make([]byte, 0, factSize), 's')
	b = appendSession(b, s.id)
	b = appendBool(appendBool(b, s.inactive), s.replayed)
	return xxhash.Sum64(appendProducer(b, s.info))
}

// fact of a producer is the order in which its sessions were opened, which
// decides whose description it shows. The rest of it follows from the sessions.
func (p *producer) fact() uint64 {
	b := append(make([]byte, 0, factSize), 'p')
	b = appendString(b, p.id)
	for _, id := range p.sessions {
		b = appendSession(b, id)
	}
	return xxhash.Sum64(b)
}
