package diskqueue

import (
	"path/filepath"
	"testing"
	"time"

	stock "github.com/nsqio/go-diskqueue"
)

func openStock(dir string, max int64) stock.Interface {
	return stock.New("t", dir, max, 1, 1000, 2500, time.Hour, func(stock.LogLevel, string, ...any) {})
}

func stockTake(q stock.Interface, n int) (all []string) {
	for range n {
		select {
		case m := <-q.ReadChan():
			all = append(all, string(m))
		case <-time.After(5 * time.Second):
			return append(all, "nothing more")
		}
	}
	return all
}

// TestStockAndOursTakeTurns hands one folder back and forth, each putting some
// messages and taking some, with segments that end everywhere.
func TestStockAndOursTakeTurns(t *testing.T) {
	for _, max := range []int64{30, 100, 107, 1 << 20} {
		dir := t.TempDir()
		put, taken := 0, 0
		for turn, step := range []struct{ put, take int }{
			{10, 4}, {10, 4}, {3, 15}, {0, 0}, {7, 7}, {7, 7}, {20, 3}, {20, 3}, {0, 34}, {1, 1}, {1, 1}, {5, 4}, {0, 1}, {6, 0}, {0, 6},
		} {
			messages := numbered(put, put+step.put)
			var got []string
			if turn%2 == 0 {
				q := openStock(dir, max)
				if d := q.Depth(); d != int64(put-taken) {
					t.Fatalf("max %d, turn %d: stock finds %d messages, want %d", max, turn, d, put-taken)
				}
				for _, m := range messages {
					if err := q.Put([]byte(m)); err != nil {
						t.Fatal(err)
					}
				}
				got = stockTake(q, step.take)
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				before, _ := filepath.Glob(filepath.Join(dir, "*.bad")) // of stock, at segment boundaries
				q := mustOpen(t, dir, Options{MaxBytesPerFile: max, MinMessage: 1, MaxMessage: 1000})
				if d := q.Depth(); d != int64(put-taken) {
					t.Fatalf("max %d, turn %d: ours finds %d messages, want %d", max, turn, d, put-taken)
				}
				mustPut(t, q, messages...)
				for len(got) < step.take {
					batch, err := q.Next(step.take-len(got), 1<<20)
					if err != nil || batch == nil {
						t.Fatalf("max %d, turn %d: %v, %v", max, turn, batch, err)
					}
					for _, m := range batch {
						got = append(got, string(m))
					}
				}
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				if after, _ := filepath.Glob(filepath.Join(dir, "*.bad")); len(after) != len(before) {
					t.Fatalf("max %d, turn %d: damage where there is none: %q, before %q", max, turn, after, before)
				}
			}
			want(t, got, numbered(taken, taken+step.take))
			put, taken = put+step.put, taken+step.take
		}
	}
}
