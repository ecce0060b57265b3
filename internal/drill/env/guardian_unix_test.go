//go:build unix

package env

import (
	"os"
	"path/filepath"
	"testing"
)

// A guardian runs what is not forgotten, the last first and each whatever became of the
// others, when its process has ended without closing it; and nothing when it was closed.
func TestGuardian(t *testing.T) {
	for name, tt := range map[string]struct {
		closed bool
		want   string
	}{
		"killed": {false, "third first "},
		"closed": {true, ""},
	} {
		dir := t.TempDir()
		g, err := newGuardian(dir)
		must(t, err)
		said := filepath.Join(dir, "said")
		say := func(word string) string { return "printf '%s ' " + word + " >>" + quote(said) }
		must(t, g.expect(say("first")))
		must(t, g.expect(say("second")))
		must(t, g.expect("exit 3"))
		must(t, g.expect(say("third")))
		must(t, g.forget(say("second")))
		if tt.closed {
			must(t, g.close())
		} else {
			must(t, g.input.Close()) // as the system does of a process that is killed
			g.cmd.Wait()
		}
		if got, err := os.ReadFile(said); string(got) != tt.want {
			t.Errorf("%s: it has said %q, %v; want %q", name, got, err, tt.want)
		}
		// What has failed, or was not undone, can still be done by hand.
		if _, err := os.Stat(filepath.Join(dir, healScript)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
