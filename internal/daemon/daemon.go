// Package daemon holds what the commands of the daemons do alike around their
// servers: how a process begins and ends, what it says of its version, and the
// health check of a container.
package daemon

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"time"
)

// ballastSize is what the garbage collector counts as live from the start.
const ballastSize = 32 << 20

// healthTimeout bounds CheckHealth.
const healthTimeout = 3 * time.Second

// Main runs a whole program with the process's arguments and environment, and exits
// with the code that it returns. Nothing deferred by the caller is run.
//
// It holds a ballast that is never touched, and so takes address space but no
// memory. The garbage collector counts it as live and lets the heap grow by as much
// before it runs: without it, a small heap under many requests is collected dozens of
// times a second. What is resident grows by up to its size; GOMEMLIMIT is obeyed as
// ever.
func Main(run func(args []string, env func(string) (string, bool), stdout, stderr io.Writer) int) {
	ballast := make([]byte, ballastSize)
	code := run(os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	runtime.KeepAlive(ballast)
	os.Exit(code)
}

// Version returns stock's line about the version of the program called app.
func Version(app, version string) string {
	return fmt.Sprintf("%s v%s (built w/%s)", app, version, runtime.Version())
}

// CheckHealth asks url once and returns the exit code: 0 if the answer is 200. What
// else it is it writes to stderr.
func CheckHealth(url string, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		fmt.Fprintf(stderr, "%s answers %s\n", url, resp.Status)
		return 1
	}
	return 0
}
