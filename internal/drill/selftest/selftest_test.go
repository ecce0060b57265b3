package selftest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"nsqraft/internal/defect"
	"nsqraft/internal/drill/history"
	"nsqraft/internal/drill/report"
)

var drills = flag.Bool("drills", false, "drill the builds with defects: make drill-selftest")

// A proof is a drill that shows a defect, and the claim that it violates. A defect may
// violate others too, and violates that one every time.
type proof struct {
	defect defect.Defect
	drill  string
	claim  string
	disks  bool // the drill is one of disks, for which processes need file systems of their own, or strace
}

var proofs = []proof{
	{defect.LoseRegistrations, "follower-kill", "registry/no-lost-registration", false},
	{defect.SkipEntries, "follower-kill", "cluster/equal-hash", false},
	{defect.KeepClosed, "follower-kill", "registry/no-phantom", false},
	{defect.NoGrace, "leader-kill", "available/never-loses-live-nsqd", false},
	{defect.NoSync, "power-cut", "registry/no-lost-registration", true},
	{defect.SameInstance, "wiped-majority", "registry/no-lost-registration", false},
	{defect.AckFirst, "follower-kill", "registry/no-stale-consistent-read", false},
	{defect.ReadUnverified, "disk-hang", "registry/no-stale-consistent-read", true},
	{defect.ReadOwnCopy, "leader-isolated", "linear/topic", false},
	{defect.ServeUnready, "kill-all", "reads/monotonic", false},
	{defect.AlwaysFresh, "leader-isolated", "reads/honest-age", false},
	{defect.IndexGoesBack, "follower-kill", "reads/monotonic", false},
	{defect.ShowTombstoned, "follower-kill", "registry/tombstone", false},
	{defect.DeliverNothing, "nsqd-stop", "messages/delivered", false},
	{defect.DropMessages, "nsqd-stop", "messages/delivered", false},
	{defect.CorruptMessages, "nsqd-stop", "messages/nothing-from-nowhere", false},
}

func TestEveryDefectHasAProof(t *testing.T) {
	for _, d := range defect.All {
		if !slices.ContainsFunc(proofs, func(p proof) bool { return p.defect == d.Name }) {
			t.Errorf("nothing shows that %s is found: %s", d.Name, d.Explain)
		}
	}
}

// A build without the tag must not hold a defect, nor the means to choose one.
func TestOrdinaryBuildsHaveNoTrace(t *testing.T) {
	traces := []string{"internal/defect", "SEEDED_DEFECT"}
	for _, d := range defect.All {
		traces = append(traces, d.Explain)
	}
	normal, defective := builds(t)
	for _, name := range []string{"nsqlookupd", "nsqd"} {
		program := read(t, filepath.Join(normal, name))
		for _, trace := range traces {
			if bytes.Contains(program, []byte(trace)) {
				t.Errorf("%s has %q in it", name, trace)
			}
		}
		// Such traces are what a seeded build has.
		program = read(t, filepath.Join(defective, name))
		for _, trace := range traces {
			if !bytes.Contains(program, []byte(trace)) {
				t.Errorf("%s with the tag does not have %q in it, which proves nothing of one without", name, trace)
			}
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// folder has the builds, and goes with the tests.
var folder string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "nsqdrill-selftest-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		folder = dir
		return m.Run()
	}())
}

// ordinary and seeded make, once, a folder with the daemons and nsqdrill.
var (
	ordinary = sync.OnceValues(func() (string, error) { return build("ordinary") })
	seeded   = sync.OnceValues(func() (string, error) { return build("seeded", "-tags=seeded_defects") })
)

func build(name string, flags ...string) (string, error) {
	dir := filepath.Join(folder, name) + string(filepath.Separator)
	args := append([]string{"build", "-trimpath", "-o", dir}, flags...)
	cmd := exec.Command("go", append(args, "../../../cmd/nsqlookupd", "../../../cmd/nsqd", "../../../cmd/nsqdrill")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, text)
	}
	return dir, nil
}

func builds(t *testing.T) (normal, defective string) {
	t.Helper()
	normal, err := ordinary()
	if err != nil {
		t.Fatal(err)
	}
	if defective, err = seeded(); err != nil {
		t.Fatal(err)
	}
	return normal, defective
}

// A row is what came of one proof.
type row struct {
	proof  string
	drill  string
	caught string
	took   time.Duration
}

func TestDefectsAreFound(t *testing.T) {
	if !*drills {
		t.Skip("takes minutes: make drill-selftest")
	}
	normal, defective := builds(t)
	var mu sync.Mutex
	var rows []row
	note := func(r row) {
		mu.Lock()
		defer mu.Unlock()
		rows = append(rows, r)
	}
	t.Run("all", func(t *testing.T) {
		t.Run("none", func(t *testing.T) {
			t.Parallel()
			note(row{"none", "all of these", "all claims hold", hold(t, normal)})
		})
		for _, p := range proofs {
			t.Run(string(p.defect), func(t *testing.T) {
				t.Parallel()
				took := find(t, normal, defective, p)
				note(row{string(p.defect), p.drill, p.claim, took})
			})
		}
	})
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DEFECT\tDRILL\tFOUND BY\tTIME")
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%.0f s\n", r.proof, r.drill, r.caught, r.took.Seconds())
	}
	table.Flush()
	t.Logf("%d of %d:\n%s", len(rows), len(proofs)+1, &text)
}

// find fails t unless the defect of p is found by the claim of p.
func find(t *testing.T, normal, defective string, p proof) time.Duration {
	d := drill(t, normal, defective, p.defect, p.drill)
	if p.disks && d.code == 4 && strings.Contains(d.stderr, "can be made here") {
		t.Skip(d.stderr)
	}
	if d.code != 1 {
		t.Fatalf("exit code %d, want 1, safety violated:\n%s\n%s", d.code, d.stdout, d.stderr)
	}
	for _, c := range d.report.Claims {
		if c.ID == p.claim && c.Status == history.Violated {
			return d.took
		}
	}
	t.Errorf("%s is not violated:\n%s", p.claim, d.stdout)
	return d.took
}

// hold fails t unless an ordinary build is safe under all the drills that show defects.
// How long anything takes is not judged here: the machine has other things to do.
func hold(t *testing.T, normal string) time.Duration {
	var names []string
	for _, p := range proofs {
		if !slices.Contains(names, p.drill) {
			names = append(names, p.drill)
		}
	}
	d := drill(t, normal, normal, "", names...)
	if d.code != 0 && d.code != 2 {
		t.Errorf("exit code %d, want 0, or 2 of a slow machine:\n%s\n%s", d.code, d.stdout, d.stderr)
	}
	return d.took
}

// A drilled is what one call of nsqdrill came to.
type drilled struct {
	code           int
	report         report.JSON // if code is that of a verdict
	stdout, stderr string
	took           time.Duration
}

// drill runs the nsqdrill of one folder on the daemons of another, which have the defect.
func drill(t *testing.T, tool, daemons string, d defect.Defect, names ...string) drilled {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out := t.TempDir()
	args := append([]string{"run", "--env=processes", "--bin-dir=" + daemons, "--out=" + out}, names...)
	cmd := exec.CommandContext(ctx, filepath.Join(tool, "nsqdrill"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it cleans up
	cmd.WaitDelay = 30 * time.Second
	cmd.Env = append(os.Environ(), "SEEDED_DEFECT="+string(d))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begun := time.Now()
	err := cmd.Run()
	result := drilled{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String(), took: time.Since(begun)}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("nsqdrill %s: %v\n%s", strings.Join(args, " "), err, result.stderr)
	}
	if result.code <= 3 {
		if err := json.Unmarshal(read(t, filepath.Join(out, "report.json")), &result.report); err != nil {
			t.Fatalf("report.json: %v", err)
		}
	}
	return result
}
