package fsm

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"nsqraft/fsm/fsmpb"
)

// The registry of the benchmarks: each nsqd registers each channel of each topic.
const (
	benchTopics   = 1000
	benchChannels = 10
	benchNsqds    = 100
	benchBatch    = 1024 // mutations, as many as a writer gathers at most
)

// million applies the benchmarks' registry to r, nsqd by nsqd as in a reconnect
// storm, and returns the number of mutations.
func million(r *Registry) int {
	log := &batches{registry: r}
	for n := range benchNsqds {
		serial := uint64(n + 1)
		log.add(&fsmpb.Mutation{Kind: &fsmpb.Mutation_OpenSession{OpenSession: &fsmpb.OpenSession{
			Session: serial,
			Producer: &fsmpb.Producer{
				BroadcastAddress: fmt.Sprintf("nsqd-%03d.example.net", n),
				TcpPort:          4150,
				HttpPort:         4151,
				Hostname:         fmt.Sprintf("nsqd-%03d", n),
				Version:          "1.3.0",
				RemoteAddress:    fmt.Sprintf("10.0.0.%d:53124", n),
			},
		}}})
		for t := range benchTopics {
			for c := range benchChannels {
				log.add(&fsmpb.Mutation{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{
					Session: serial,
					Topic:   fmt.Sprintf("topic-%04d", t),
					Channel: fmt.Sprintf("channel-%02d", c),
				}}})
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
	mutations := 0
	for b.Loop() {
		mutations += million(New())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(mutations), "ns/registration")
}

// BenchmarkApplySingle applies batches of one REGISTER each to a registry with
// a million registrations.
func BenchmarkApplySingle(b *testing.B) {
	r := New()
	million(r)
	sequence := r.View().Lives()[0].Sequence
	for i := 0; b.Loop(); i++ {
		sequence++
		r.Apply(r.index+1, 1, &fsmpb.Batch{Writer: "a", Epoch: 1, Sequence: sequence, Mutations: []*fsmpb.Mutation{
			{Kind: &fsmpb.Mutation_Register{Register: &fsmpb.Register{
				Session: uint64(i%benchNsqds + 1),
				Topic:   fmt.Sprintf("topic-%04d", i%benchTopics),
				Channel: fmt.Sprintf("more-%d", i%50),
			}}},
		}})
	}
}

func BenchmarkWriteSnapshot(b *testing.B) {
	r := New()
	million(r)
	for b.Loop() {
		if err := r.View().WriteSnapshot(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRestore(b *testing.B) {
	var file bytes.Buffer
	applied := New()
	million(applied)
	if err := applied.View().WriteSnapshot(&file); err != nil {
		b.Fatal(err)
	}
	registrations := applied.View().Counts().Registrations
	for b.Loop() {
		if err := New().Restore(bytes.NewReader(file.Bytes())); err != nil {
			b.Fatal(err)
		}
	}

	// Loop forgets the metrics that were reported before it.
	b.ReportMetric(float64(file.Len())/float64(registrations), "file-bytes/registration")

	before := liveBytes()
	restored := New()
	if err := restored.Restore(bytes.NewReader(file.Bytes())); err != nil {
		b.Fatal(err)
	}
	afterRestore := liveBytes() - before
	b.ReportMetric(float64(afterRestore)/float64(registrations), "restored-bytes/registration")
	runtime.KeepAlive(restored)

	before = liveBytes()
	applied = New()
	million(applied)
	b.ReportMetric(float64(liveBytes()-before)/float64(registrations), "applied-bytes/registration")
	runtime.KeepAlive(applied)

}

// BenchmarkNodes reads what /nodes answers: every producer with its topics.
func BenchmarkNodes(b *testing.B) {
	r := New()
	million(r)
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
