package browser

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// root is the repository's, seen from this package.
const root = "../.."

var (
	chromium  context.Context // the browser's; nil: there is none
	noBrowser string          // why
	binDir    string          // of the programs under test
)

// must makes it a failure that there is no browser.
var must = flag.Bool("must", false, "fail without a browser")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if raceDetector {
		fmt.Println("nothing to do: the race detector would see the tests, and not the programs")
		return 0
	}
	dir, err := os.MkdirTemp("", "nsqadmin-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	build := exec.Command("go", "build", "-o", dir, "./cmd/...")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	path, err := findBrowser()
	if err != nil {
		if *must {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		noBrowser = err.Error()
		return m.Run()
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // it does not start as root otherwise, and sees only what we serve
		chromedp.UserDataDir(filepath.Join(dir, "profile")),
	)
	allocator, end := chromedp.NewExecAllocator(context.Background(), opts...)
	defer end()
	ctx, cancel := chromedp.NewContext(allocator)
	defer cancel()
	if err := chromedp.Do(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "start %s: %v\n", path, err)
		return 1
	}
	chromium = ctx
	return m.Run()
}

// findBrowser returns the path of a Chromium, or why there is none.
func findBrowser() (string, error) {
	wanted := os.Getenv("NSQRAFT_BROWSER")
	if wanted == "none" {
		return "", fmt.Errorf("NSQRAFT_BROWSER=none")
	}
	for _, name := range []string{cmp.Or(wanted, "chromium"), "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
		if wanted != "" {
			return "", fmt.Errorf("NSQRAFT_BROWSER: there is no program %s", wanted)
		}
	}
	return "", fmt.Errorf("no browser: there is no chromium, chromium-browser, google-chrome or chrome in PATH")
}

// needBrowser skips a test where there is none.
func needBrowser(t *testing.T) {
	t.Helper()
	if chromium == nil {
		t.Skip(noBrowser)
	}
}
