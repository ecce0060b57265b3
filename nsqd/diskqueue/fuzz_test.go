package diskqueue

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// FuzzOpen opens whatever is in the files, takes what it finds, and must then
// work as a queue: nothing is returned that is not within bounds, depth ends at
// 0, and what is put comes back.
func FuzzOpen(f *testing.F) {
	sound := frame(frame(nil, message(1)), message(2))
	f.Add([]byte("2\n0,0\n0,62\n"), sound, sound)
	f.Add([]byte("4\n0,0\n1,62\n"), sound, append(sound, 0, 0, 0))
	f.Add([]byte("-1\n5,9\n1,999999999999\n"), sound, []byte{})
	f.Add([]byte("9223372036854775807\n0,0\n1152921504606846976,0\n"), sound[5:], sound)
	f.Add([]byte{}, binary.BigEndian.AppendUint32(nil, 1<<31-1), make([]byte, 100))
	f.Fuzz(func(t *testing.T, meta, first, second []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{"t.diskqueue.meta.dat": meta, segmentName(0): first, segmentName(1): second} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		q := mustOpen(t, dir, Options{MaxBytesPerFile: 200, MinMessage: 22, MaxMessage: 100, Plausible: plausible, SyncEvery: -1})
		for _, m := range drain(t, q) {
			if len(m) < 22 || len(m) > 100 || !plausible([]byte(m)) {
				t.Fatalf("message %q", m)
			}
		}
		mustPut(t, q, message(7), message(8))
		want(t, drain(t, q), []string{message(7), message(8)})
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
