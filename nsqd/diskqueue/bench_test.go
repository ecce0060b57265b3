package diskqueue

import (
	"testing"
	"time"

	stock "github.com/nsqio/go-diskqueue"
)

const batchSize, bodySize = 200, 200

func BenchmarkPut200x200(b *testing.B) {
	body := make([]byte, bodySize)
	batch := make([][]byte, batchSize)
	for i := range batch {
		batch[i] = body
	}
	b.Run("ours", func(b *testing.B) {
		q := mustOpen(b, b.TempDir(), Options{})
		b.SetBytes(batchSize * bodySize)
		b.ReportAllocs()
		for b.Loop() {
			if err := q.Put(batch...); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		q.Delete()
	})
	b.Run("stock", func(b *testing.B) {
		q := openBenchStock(b)
		b.SetBytes(batchSize * bodySize)
		b.ReportAllocs()
		for b.Loop() {
			for _, m := range batch {
				if err := q.Put(m); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.StopTimer()
		q.Delete()
	})
}

func openBenchStock(b *testing.B) stock.Interface {
	return stock.New("t", b.TempDir(), 100<<20, 1, 1<<20, 2500, 2*time.Second, func(stock.LogLevel, string, ...any) {})
}

// BenchmarkNext200x200 takes what was put without the clock, 200 at a time.
func BenchmarkNext200x200(b *testing.B) {
	body := make([]byte, bodySize)
	batch := make([][]byte, batchSize)
	for i := range batch {
		batch[i] = body
	}
	b.Run("ours", func(b *testing.B) {
		q := mustOpen(b, b.TempDir(), Options{})
		for range b.N {
			q.Put(batch...)
		}
		b.SetBytes(batchSize * bodySize)
		b.ReportAllocs()
		b.ResetTimer()
		for n := 0; n < b.N*batchSize; {
			m, err := q.Next(batchSize, 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			n += len(m)
		}
		b.StopTimer()
		q.Delete()
	})
	b.Run("stock", func(b *testing.B) {
		q := openBenchStock(b)
		for range b.N * batchSize {
			q.Put(body)
		}
		b.SetBytes(batchSize * bodySize)
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N * batchSize {
			<-q.ReadChan()
		}
		b.StopTimer()
		q.Delete()
	})
}
