package interop

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// nsqctl runs ours, which asks the nsqlookupds at these HTTP addresses.
func nsqctl(t testing.TB, lookupds []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if *against != "ours" {
		t.Skip("stock has no nsqctl")
	}
	cmd := exec.Command(ourBin("nsqctl"), args...)
	cmd.Env = append(os.Environ(), "NSQ_LOOKUPD_HTTP_ADDRESSES="+strings.Join(lookupds, ","))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return code, out.String(), errs.String()
}

// TestNsqctlOnStock operates stock daemons: two nsqlookupds that know nothing of each
// other, and an nsqd that is registered with both.
func TestNsqctlOnStock(t *testing.T) {
	a, b := startSubject(t, "stock"), startSubject(t, "stock")
	lookupds := []string{a.http, b.http}
	d := startNSQD(t, a.tcp, b.tcp)
	d.createTopic("orders")
	eventually(t, seenTimeout, "nsqd", listed(lookupds, "orders", d.http))

	steps := []struct {
		args           string
		code           int
		stdout, stderr string // regular expressions
	}{
		{"status", 0, `(?s)^All is well\nThe nsqlookupds are not replicated.*` + d.http + ` .* up `, `^$`},
		{"channel create orders billing", 0, `done on 3 daemons`, `^$`},
		{"pub orders -m hello --count 5", 0, `^$`, `published 5 messages to orders`},
		{"topic ls -o csv", 0, `\norders,ok,0,0,0,0,0,0,0,5,25,1,5,0,1,0\n`, `^$`},
		{"channel pause orders billing", 0, `done on 1 daemon`, `^$`},
		{"channel describe orders billing", 0, `Channel billing of orders: paused, depth 5`, `^$`},
		{"channel unpause --match orders/.*", 0, `done on 1 daemon`, `^$`},
		{"channel empty orders billing --yes", 0, `done on 1 daemon`, `^$`},
		{"topic ls -o csv", 0, `\norders,ok,0,0,0,0,0,0,0,5,25,1,0,0,1,0\n`, `^$`},
		{"node describe " + d.http, 0, `1\.3\.0`, `^$`},
		{"node drain " + d.http + " --yes", 1, `^$`, `INVALID_OPTION\nhint: stock nsqd cannot`},
		{"doctor", 0, `warn +quorum +nsqlookupds +each nsqlookupd knows only what`, `^$`},
		{"cluster status", 1, `^$`, `not part of a replicated cluster\nhint: `},
		{"cluster stepdown", 1, `^$`, `not part of a replicated cluster\nhint: `},
		{"debug bundle -f " + filepath.Join(t.TempDir(), "b.tar.gz"), 0, `^$`, `: \d+ files`},
		{"topic delete orders --yes", 0, `done on 3 daemons`, `^$`},
		{"topic ls -o json", 0, `^\[\]\n$`, `no topics`},
	}
	for _, s := range steps {
		code, stdout, stderr := nsqctl(t, lookupds, strings.Fields(s.args)...)
		if code != s.code || !regexp.MustCompile(s.stdout).MatchString(stdout) || !regexp.MustCompile(s.stderr).MatchString(stderr) {
			t.Errorf("nsqctl %s: code %d, want %d\n%s\n%s", s.args, code, s.code, stdout, stderr)
		}
	}

	// What is registered with one of two may be missing from the other's half.
	b.kill()
	if code, _, stderr := nsqctl(t, lookupds, "topic", "ls"); code != 4 || !strings.Contains(stderr, b.http) {
		t.Errorf("with one of two nsqlookupds: code %d, want 4\n%s", code, stderr)
	}
	a.kill()
	if code, _, stderr := nsqctl(t, lookupds, "topic", "ls"); code != 3 {
		t.Errorf("without an nsqlookupd: code %d, want 3\n%s", code, stderr)
	}
}
