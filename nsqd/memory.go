package nsqd

import (
	"math"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"slices"
	"time"
)

// readMemory asks the Go runtime. Unlike runtime.ReadMemStats, which stock uses, this
// does not stop the world.
func readMemory() MemoryStats {
	sample := []runtimemetrics.Sample{
		{Name: "/gc/heap/objects:objects"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/gc/heap/goal:bytes"},
	}
	runtimemetrics.Read(sample)
	value := func(i int) uint64 {
		if sample[i].Value.Kind() != runtimemetrics.KindUint64 {
			return 0 // a runtime that has it no more
		}
		return sample[i].Value.Uint64()
	}
	var gc debug.GCStats
	debug.ReadGCStats(&gc)
	slices.Sort(gc.Pause) // the last 256
	return MemoryStats{
		HeapObjects:       value(0),
		HeapIdleBytes:     value(1) + value(2),
		HeapInUseBytes:    value(3) + value(4),
		HeapReleasedBytes: value(2),
		GCPauseUsec100:    pauseUsec(gc.Pause, 1),
		GCPauseUsec99:     pauseUsec(gc.Pause, 0.99),
		GCPauseUsec95:     pauseUsec(gc.Pause, 0.95),
		NextGCBytes:       value(5),
		GCTotalRuns:       uint32(gc.NumGC),
	}
}

// pauseUsec returns the quantile q of pauses, which are sorted, by stock's rule.
func pauseUsec(pauses []time.Duration, q float64) uint64 {
	if len(pauses) == 0 {
		return 0
	}
	i := min(int(math.Floor(q*float64(len(pauses))+0.5)), len(pauses)-1)
	return uint64(pauses[i].Microseconds())
}
