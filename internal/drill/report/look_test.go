package report

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var look = flag.String("look", "", "folder in which reports of a made-up run are left, to be looked at")

// TestLook leaves reports where somebody can look at them.
func TestLook(t *testing.T) {
	if *look == "" {
		t.Skip("no -look")
	}
	run := madeUp()
	for name, r := range map[string]*Report{
		"all":  {Run: run, Claims: claimsOf(run), Baseline: stock(), Previous: &JSON{Schema: schema, Drills: []Drill{{Name: "leader-kill", WriteGap: Spread{Max: 0.2}}}}, Broken: "the cluster did not recover within 1m0s"},
		"good": {Run: run, Claims: claimsOf(run)[9:10]},
	} {
		dir := filepath.Join(*look, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
		if name == "all" {
			r.Print(os.Stdout)
		}
	}
}
