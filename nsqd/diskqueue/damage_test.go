package diskqueue

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// damages returns what of the reports is damage.
func damages(r *reports) []*Damage {
	var all []*Damage
	for _, err := range r.all() {
		var d *Damage
		if errors.As(err, &d) {
			all = append(all, d)
		}
	}
	return all
}

func TestDamageTellsTheLengthThatWasRead(t *testing.T) {
	for head, reason := range map[string]string{
		"\x7f\x00\x00\x01": "its length reads 2130706433, allowed are 1 to 50, and 28 bytes are left",
		"\xff\xff\xff\xff": "its length reads -1, allowed are 1 to 50, and 28 bytes are left",
		"\x00\x00\x00\x30": "its length reads 48, allowed are 1 to 50, and 28 bytes are left",
	} {
		dir := t.TempDir()
		var r reports
		q := mustOpen(t, dir, Options{MinMessage: 1, MaxMessage: 50, Failed: r.add})
		mustPut(t, q, "message a", "message b", "cc")
		f, err := os.OpenFile(filepath.Join(dir, segmentName(0)), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte(head), 0)
		f.Close()
		drain(t, q)
		if d := damages(&r); len(d) != 1 || !strings.Contains(d[0].Reason, reason) {
			t.Errorf("%q: got %v, want %q", head, d, reason)
		}
	}
}
