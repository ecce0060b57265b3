package interop

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// against is the nsqlookupd, and the nsqd, under test: "ours", or "stock", which needs
// none of ours and cannot hold what we promise beyond stock.
var against = flag.String("against", "ours", "nsqlookupd and nsqd under test: ours or stock")

// raceOurs has our daemon report its data races, each of which fails the test that
// it happened in. Such a daemon is several times slower.
var raceOurs = flag.Bool("race-ours", false, "build our daemons with the race detector")

const stockApps = "github.com/nsqio/nsq/apps/"

// binDir keeps the binaries between runs, so that only what changed is linked again.
const binDir = "bin"

// programs are those of which there is a stock one and ours.
var programs = []string{"nsqlookupd", "nsqd", "nsqadmin", "nsq_stat", "nsq_tail", "nsq_to_file", "nsq_to_http", "nsq_to_nsq", "to_nsq"}

// stockBin returns the path of a stock binary.
func stockBin(app string) string { return filepath.Join(binDir, "stock", app) }

// ourBin returns the path of one of our binaries.
func ourBin(app string) string { return filepath.Join(binDir, "ours", app) }

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == withoutSync {
		fmt.Fprintln(os.Stderr, runWithoutSync(os.Args[2:]))
		os.Exit(1)
	}
	flag.Parse()
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// build makes every binary that the tests start. They are static, as in a
// release, so that what is tested is what is shipped.
func build() error {
	if *against != "ours" && *against != "stock" {
		return fmt.Errorf("-against=%s: want ours or stock", *against)
	}
	stock := []string{"build", "-trimpath", "-o", filepath.Join(binDir, "stock") + "/"}
	for _, app := range programs {
		stock = append(stock, stockApps+app)
	}
	if err := goTool(stock...); err != nil {
		return fmt.Errorf("build stock NSQ: %w", err)
	}
	if *against == "stock" {
		return nil
	}
	for _, app := range append(slices.Clone(programs), "nsqctl") { // stock has none
		out, err := filepath.Abs(ourBin(app))
		if err != nil {
			return err
		}
		// -C has to come first. The parent directory is the module of our daemons.
		ours := []string{"build", "-C", "..", "-trimpath", "-o", out, "./cmd/" + app}
		if *raceOurs {
			ours = slices.Insert(ours, 3, "-race")
		}
		if err := goTool(ours...); err != nil {
			return fmt.Errorf("build our %s: %w", app, err)
		}
	}
	return nil
}

func goTool(args ...string) error {
	cmd := exec.Command("go", args...)
	cgo := "CGO_ENABLED=0"
	if slices.Contains(args, "-race") { // which cannot do without
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, out)
	}
	return nil
}
