package fsm

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"nsqraft/fsm/fsmpb"
)

// benchBatch is how many mutations a writer gathers at most.
const benchBatch = 1024

// A shape is a registry in which each nsqd registers each channel of each
// topic; without channels, each topic alone.
type shape struct {
	topics, channels, nsqds int
}

// Both hold a million registrations and more.
var (
	wide = shape{topics: 1000, channels: 10, nsqds: 100}
	flat = shape{topics: 1000, channels: 0, nsqds: 1000}
)

func (s shape) String() string {
	return fmt.Sprintf("%dx%dx%d", s.topics, s.channels, s.nsqds)
}

// build applies the shape to r, nsqd by nsqd as in a reconnect storm, and
// returns the number of mutations.
func (s shape) build(r *Registry) int {
	log := &batches{registry: r}
	for n := range s.nsqds {
		serial := uint64(n + 1)
		log.add(&fsmpb.Mutation{Kind: &fsmpb.Mutation_OpenSession{OpenSession: &fsmpb.OpenSession{
			Session: serial,
			Producer: &fsmpb.Producer{
				BroadcastAddress: fmt.Sprintf("nsqd-%04d.example.net", n),
				TcpPort:          4150,
				HttpPort:         4151,
				Hostname:         fmt.Sprintf("nsqd-%04d", n),
				Version:          "1.3.0",
				RemoteAddress:    fmt.Sprintf("10.0.%d.%d:53124", n/250, n%250),
			},
		}}})
		for t := range s.topics {
			topic := fmt.Sprintf("topic-%04d", t)
			if s.channels == 0 {
				log.add(&fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{
					Session: serial, Topic: topic}}})
			}
			for c := range s.channels {
				log.add(&fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{
					Session: serial, Topic: topic, Channel: fmt.Sprintf("channel-%02d", c)}}})
			}
		}
	}
	log.flush()
	return log.mutations
}

// batches gathers mutations into the batches of one writer.
type batches struct {
	registry  *Registry
	gathered  []*fsmpb.Mutation
	sequence  uint64
	mutations int
}

func (b *batches) add(m *fsmpb.Mutation) {
	b.gathered = append(b.gathered, m)
	b.mutations++
	if len(b.gathered) == benchBatch {
		b.flush()
	}
}

func (b *batches) flush() {
	b.sequence++
	b.registry.Apply(b.sequence, 1, &fsmpb.Batch{Writer: "a", Epoch: 1, Sequence: b.sequence, Mutations: b.gathered})
	b.gathered = nil
}

func liveBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkApply(b *testing.B) {
	for _, shape := range []shape{wide, flat} {
		b.Run(shape.String(), func(b *testing.B) {
			mutations := 0
			for b.Loop() {
				mutations += shape.build(New())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(mutations), "ns/registration")
		})
	}
}

// BenchmarkApplySingle applies batches of one REGISTER each to a registry with
// a million registrations.
func BenchmarkApplySingle(b *testing.B) {
	r := New()
	wide.build(r)
	sequence := r.View().Lives()[0].Sequence
	for i := 0; b.Loop(); i++ {
		sequence++
		r.Apply(r.index+1, 1, &fsmpb.Batch{Writer: "a", Epoch: 1, Sequence: sequence, Mutations: []*fsmpb.Mutation{
			{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{
				Session: uint64(i%wide.nsqds + 1),
				Topic:   fmt.Sprintf("topic-%04d", i%wide.topics),
				Channel: fmt.Sprintf("more-%d", i%50),
			}}},
		}})
	}
}

// BenchmarkEndSession ends one session after the other, each with all that one
// nsqd of the shape registered: what a batch of EndNode costs per session.
func BenchmarkEndSession(b *testing.B) {
	r := New()
	var sequence, serial uint64
	for b.Loop() {
		if serial == 0 {
			b.StopTimer()
			r = New()
			wide.build(r)
			sequence, serial = r.View().Lives()[0].Sequence, uint64(wide.nsqds)
			b.StartTimer()
		}
		sequence++
		r.Apply(r.index+1, 1, &fsmpb.Batch{Writer: "a", Epoch: 1, Sequence: sequence, Mutations: []*fsmpb.Mutation{
			{Kind: &fsmpb.Mutation_EndSession{EndSession: &fsmpb.EndSession{Session: serial}}},
		}})
		serial--
	}
}

func BenchmarkWriteSnapshot(b *testing.B) {
	for _, shape := range []shape{wide, flat} {
		b.Run(shape.String(), func(b *testing.B) {
			r := New()
			shape.build(r)
			for b.Loop() {
				if err := r.View().WriteSnapshot(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRestore also reports what a registration takes in the file and in
// memory, be it restored or applied.
func BenchmarkRestore(b *testing.B) {
	for _, shape := range []shape{wide, flat} {
		b.Run(shape.String(), func(b *testing.B) {
			before := liveBytes()
			applied := New()
			shape.build(applied)
			appliedBytes := liveBytes() - before
			registrations := float64(applied.View().Counts().Registrations)

			var file bytes.Buffer
			if err := applied.View().WriteSnapshot(&file); err != nil {
				b.Fatal(err)
			}
			before = liveBytes()
			restored := New()
			if err := restored.Restore(bytes.NewReader(file.Bytes())); err != nil {
				b.Fatal(err)
			}
			restoredBytes := liveBytes() - before
			runtime.KeepAlive(applied)
			runtime.KeepAlive(restored)

			for b.Loop() {
				if err := New().Restore(bytes.NewReader(file.Bytes())); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(file.Len())/registrations, "file-B/registration")
			b.ReportMetric(float64(appliedBytes)/registrations, "applied-B/registration")
			b.ReportMetric(float64(restoredBytes)/registrations, "restored-B/registration")
		})
	}
}

// BenchmarkNodes reads what /nodes answers: every producer with its topics.
func BenchmarkNodes(b *testing.B) {
	r := New()
	wide.build(r)
	v := r.View()
	topics := 0
	for b.Loop() {
		for p := range v.Producers() {
			for range p.Topics() {
				topics++
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(topics), "ns/topic")
}
