package env

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// binaries is a folder with this module's programs, built for these tests unless
// builtBinaries names one.
var binaries string

// builtBinaries lets a compiled test run where nothing can be built, as for a user
// without a home.
const builtBinaries = "DRILL_ENV_TEST_BINARIES"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedFolder); dir != "" {
		beKilled(dir)
	}
	os.Exit(func() int {
		if binaries = os.Getenv(builtBinaries); binaries != "" {
			return checked(m)
		}
		dir, err := os.MkdirTemp("", "drillenv")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		cmd := exec.Command("go", "build", "-o", dir, "../../../cmd/nsqlookupd", "../../../cmd/nsqd")
		if text, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, text)
			return 1
		}
		binaries = dir
		return checked(m)
	}())
}

// checked runs the tests, which must leave no goroutine.
func checked(m *testing.M) int {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// limit only tells a slow machine from a broken cluster.
const limit = time.Minute

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watched is an environment that ends with the test, with its logs if that failed.
func watched[E Env](t testing.TB, e E, err error) E {
	t.Helper()
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range append(e.Nodes(), e.NSQDs()...) {
				if log, err := os.ReadFile(n.Log); err == nil {
					t.Logf("%s:\n%s", n.Name, log[max(0, len(log)-2000):])
				}
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("closed again: %v", err)
		}
	})
	must(t, Ready(within(t), e))
	return e
}

// begin begins a fault, whose effect must be seen.
func begin(t testing.TB, e Env, f Fault) {
	t.Helper()
	begun := time.Now()
	verified, err := e.Begin(within(t), f)
	must(t, err)
	if !verified {
		t.Errorf("%s: its effect is not seen", f)
	}
	t.Logf("%s after %v", f, time.Since(begun).Round(time.Millisecond))
}

// end ends a fault and waits until all is well.
func end(t testing.TB, e Env, f Fault) {
	t.Helper()
	must(t, e.End(within(t), f))
	begun := time.Now()
	must(t, Ready(within(t), e))
	t.Logf("well again %v after %s", time.Since(begun).Round(time.Millisecond), f)
}
