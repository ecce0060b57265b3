package fsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	"nsqraft/fsm/fsmpb"
)

// A snapshot is snapshotMagic and then frames, each
//
//	uvarint length of the record | record | CRC-32C of both, little-endian
//
// where a record is a fsmpb.SnapshotRecord: one header, the lives of nodes, the
// sessions, the topics, the deletions, one trailer; within a kind sorted by
// key. The trailer counts the records and repeats the registry's hash. Equal
// registries at equal index and term have equal snapshots.

const (
	snapshotMagic   = "NSQRAFT1"
	snapshotVersion = 1

	// maxRecord bounds a record, which is one topic with all its registrations
	// at most: 64 MiB hold some 30 million of them.
	maxRecord = 64 << 20

	snapshotBuffer = 64 << 10
)

var (
	// ErrCorruptSnapshot is wrapped by the errors of Restore for a stream that
	// WriteSnapshot has not written, or not whole.
	ErrCorruptSnapshot = errors.New("corrupt snapshot")

	// ErrSnapshotVersion is wrapped by the errors of Restore for a snapshot of
	// a later version of this package.
	ErrSnapshotVersion = errors.New("snapshot of a later version")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteSnapshot writes the view in the form that Registry.Restore reads.
func (v *View) WriteSnapshot(w io.Writer) error {
	sw := &snapshotWriter{w: bufio.NewWriterSize(w, snapshotBuffer)}
	sw.writeMagic()
	sw.write(&fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Header{Header: &fsmpb.SnapshotHeader{
		Version: snapshotVersion,
		Index:   v.index,
		Term:    v.term,
	}}})
	places := sw.writeLives(v)
	v.topics.Scan(func(_ string, t *Topic) bool {
		sw.write(&fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Topic{Topic: topicRecord(t, places)}})
		return sw.err == nil
	})
	v.deletions.byName.Scan(func(_ string, d *deletion) bool {
		sw.write(&fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Deletion{Deletion: &fsmpb.SnapshotDeletion{
			Topic:   d.topic,
			Channel: d.channel,
			Time:    d.time,
			Nodes:   d.nodes,
		}}})
		return sw.err == nil
	})
	sw.write(&fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Trailer{Trailer: &fsmpb.SnapshotTrailer{
		Records: sw.records,
		Hash:    v.Hash(),
	}}})
	return sw.flush()
}

// A snapshotWriter writes frames until the first error, which it keeps.
type snapshotWriter struct {
	w       *bufio.Writer
	buf     []byte
	records uint64
	err     error
}

func (sw *snapshotWriter) writeMagic() {
	_, sw.err = sw.w.WriteString(snapshotMagic)
}

func (sw *snapshotWriter) write(rec *fsmpb.SnapshotRecord) {
	if sw.err != nil {
		return
	}
	if sw.err = sw.writeFrame(rec); sw.err != nil {
		sw.err = fmt.Errorf("write snapshot record %d: %w", sw.records+1, sw.err)
		return
	}
	sw.records++
}

func (sw *snapshotWriter) writeFrame(rec *fsmpb.SnapshotRecord) error {
	options := proto.MarshalOptions{Deterministic: true}
	size := options.Size(rec)
	if size > maxRecord {
		return fmt.Errorf("%d bytes are more than the %d that can be read back", size, maxRecord)
	}
	buf, err := options.MarshalAppend(binary.AppendUvarint(sw.buf[:0], uint64(size)), rec)
	if err != nil {
		return err
	}
	sw.buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf, castagnoli))
	_, err = sw.w.Write(sw.buf)
	return err
}

func (sw *snapshotWriter) flush() error {
	if sw.err != nil {
		return sw.err
	}
	if err := sw.w.Flush(); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// writeLives writes the lives of all nodes, then their sessions, and returns
// the places of the sessions.
func (sw *snapshotWriter) writeLives(v *View) map[*SessionID]uint32 {
	places := make(map[*SessionID]uint32, v.counts.Sessions)
	v.nodes.Scan(func(_ string, n *node) bool {
		for _, l := range n.lives {
			results := make([]byte, len(l.results))
			for i, r := range l.results {
				results[i] = byte(r)
			}
			sw.write(&fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Node{Node: &fsmpb.SnapshotNode{
				Id:         l.node,
				Epoch:      l.epoch,
				Orphaned:   l.orphaned,
				OrphanedAt: l.orphanedAt,
				Sequence:   l.sequence,
				Results:    results,
				Index:      l.applied,
			}}})
		}
		return sw.err == nil
	})
	v.nodes.Scan(func(_ string, n *node) bool {
		for _, l := range n.lives {
			l.sessions.Scan(func(_ uint64, s *session) bool {
				places[s.id] = uint32(len(places))
				p, _ := v.producers.Get(s.producer)
				sw.write(&fsmpb.SnapshotRecord{Kind: &fsmpb.SnapshotRecord_Session{Session: &fsmpb.SnapshotSession{
					Node:     s.id.Node,
					Epoch:    s.id.Epoch,
					Session:  s.id.Serial,
					Producer: s.info,
					Inactive: s.inactive,
					Replayed: s.replayed,
					Place:    uint32(slices.Index(p.sessions, s.id)),
				}}})
				return sw.err == nil
			})
		}
		return sw.err == nil
	})
	return places
}

func topicRecord(t *Topic, places map[*SessionID]uint32) *fsmpb.SnapshotTopic {
	rec := &fsmpb.SnapshotTopic{Name: t.name, Channels: t.channels.Keys()}
	t.listings.Scan(func(_ string, l *listing) bool {
		for _, h := range l.holdings {
			held := make([]uint32, len(h.channels))
			for i, name := range h.channels {
				at, _ := slices.BinarySearch(rec.Channels, name)
				held[i] = uint32(at)
			}
			rec.Holdings = append(rec.Holdings, &fsmpb.SnapshotHolding{Session: places[h.session], Channels: held})
		}
		return true
	})
	slices.SortFunc(rec.Holdings, func(a, b *fsmpb.SnapshotHolding) int { return int(a.Session) - int(b.Session) })
	t.tombstones.Scan(func(producer string, at int64) bool {
		rec.Tombstones = append(rec.Tombstones, &fsmpb.SnapshotTombstone{Producer: producer, Time: at})
		return true
	})
	return rec
}

// A snapshotReader reads frames. Memory grows with the bytes that have come,
// not with the lengths they announce.
type snapshotReader struct {
	r   *bufio.Reader
	buf []byte
	position
}

// A position is where a snapshotReader has got to.
type position struct {
	records uint64 // read whole
	offset  int64  // behind the last of them
}

// newSnapshotReader reads as far as the header, and returns it too.
func newSnapshotReader(r io.Reader) (*snapshotReader, *fsmpb.SnapshotHeader, error) {
	sr := &snapshotReader{r: bufio.NewReaderSize(r, snapshotBuffer)}
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(sr.r, magic); err != nil {
		return nil, nil, sr.failed(truncated(err))
	}
	if string(magic) != snapshotMagic {
		return nil, nil, sr.failed(fmt.Errorf("%w: it begins with %q, not with %q", ErrCorruptSnapshot, magic, snapshotMagic))
	}
	sr.offset = int64(len(magic))

	start := sr.position
	rec, err := sr.next()
	if err != nil {
		return nil, nil, start.failed(err)
	}
	h := rec.GetHeader()
	switch {
	case h == nil || h.Version == 0:
		err = fmt.Errorf("%w: it has no header", ErrCorruptSnapshot)
	case h.Version > snapshotVersion:
		err = fmt.Errorf("%w: %d; this one reads %d", ErrSnapshotVersion, h.Version, snapshotVersion)
	}
	if err != nil {
		return nil, nil, start.failed(err)
	}
	return sr, h, nil
}

// failed says where err happened: in the record that begins here.
func (p position) failed(err error) error {
	return fmt.Errorf("read snapshot: record %d at offset %d: %w", p.records+1, p.offset, err)
}

// truncated tells a stream that has ended from one that failed.
func truncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: it ends too early", ErrCorruptSnapshot)
	}
	return err
}

// next reads the next record.
func (sr *snapshotReader) next() (*fsmpb.SnapshotRecord, error) {
	buf := sr.buf[:0]
	for {
		c, err := sr.r.ReadByte()
		if err != nil {
			return nil, truncated(err)
		}
		buf = append(buf, c)
		if c < 0x80 {
			break
		}
		if len(buf) == binary.MaxVarintLen64 {
			return nil, fmt.Errorf("%w: its length has no end", ErrCorruptSnapshot)
		}
	}
	size, head := binary.Uvarint(buf)
	if head <= 0 || size > maxRecord {
		return nil, fmt.Errorf("%w: a length of %d, more than %d", ErrCorruptSnapshot, size, maxRecord)
	}

	for missing := int(size) + crc32.Size; missing > 0; {
		n := min(missing, snapshotBuffer)
		buf = slices.Grow(buf, n)
		got, err := io.ReadFull(sr.r, buf[len(buf):len(buf)+n])
		buf = buf[:len(buf)+got]
		if err != nil {
			return nil, truncated(err)
		}
		missing -= n
	}
	sr.buf = buf

	body, sum := buf[:len(buf)-crc32.Size], binary.LittleEndian.Uint32(buf[len(buf)-crc32.Size:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: its checksum does not match", ErrCorruptSnapshot)
	}
	rec := new(fsmpb.SnapshotRecord)
	if err := proto.Unmarshal(body[head:], rec); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorruptSnapshot, err)
	}
	sr.records++
	sr.offset += int64(len(buf))
	return rec, nil
}

// end checks that nothing follows.
func (sr *snapshotReader) end() error {
	switch _, err := sr.r.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: bytes after the trailer", ErrCorruptSnapshot)
	default:
		return err
	}
}
