package forward

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"log"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(t *testing.T, args ...string) (*Options, error) {
	t.Helper()
	o := new(Options)
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	o.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o, o.Validate()
}

func TestValidate(t *testing.T) {
	for arg, want := range map[string]string{
		"--mode=hostpool":       "",
		"--mode=round-robin":    "",
		"--mode=epsilon-greedy": "",
		"--mode=roundrobin":     `not "roundrobin"`,
		"--mode=":               `not ""`,
		"--status-every=-1":     "--status-every",
	} {
		if _, err := options(t, arg); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", arg, err, want)
		}
	}
}

// pick lets a pool choose n times; whatever goes to broken fails.
func pick(p *Pool, n int, broken string) []string {
	var picked []string
	for range n {
		a := p.Next()
		picked = append(picked, a.Address)
		if a.Address == broken {
			a.Done(errors.New("broken"))
		} else {
			a.Done(nil)
		}
	}
	return picked
}

func TestModes(t *testing.T) {
	abc := []string{"a", "b", "a", "c"}
	for _, tt := range []struct{ mode, broken, want string }{
		{"round-robin", "", "abcabc"},
		{"round-robin", "b", "abcabc"},
		{"hostpool", "", "abcabc"},
		{"hostpool", "b", "abcaca"},
	} {
		o, err := options(t, "--mode="+tt.mode)
		if err != nil {
			t.Fatal(err)
		}
		p := o.Open(abc, log.New(io.Discard, "", 0))
		if got := strings.Join(pick(p, 6, tt.broken), ""); got != tt.want {
			t.Errorf("%s while %q is broken: %s, want %s", tt.mode, tt.broken, got, tt.want)
		}
		p.Close()
	}
	o, err := options(t, "--mode=epsilon-greedy")
	if err != nil {
		t.Fatal(err)
	}
	p := o.Open(abc, log.New(io.Discard, "", 0))
	defer p.Close()
	picked := pick(p, 100, "b")
	if n := len(picked) - len(slices.DeleteFunc(picked, func(s string) bool { return s == "b" })); n > 1 {
		t.Errorf("epsilon-greedy chose a destination that fails %d times", n)
	}
}

func TestStatusLines(t *testing.T) {
	var out bytes.Buffer
	o, err := options(t, "--mode=round-robin", "--status-every=2")
	if err != nil {
		t.Fatal(err)
	}
	p := o.Open([]string{"a", "b"}, log.New(&out, "", 0))
	pick(p, 4, "b")
	got := regexp.MustCompile(`\d+\.\d\dms`).ReplaceAllString(out.String(), "Tms")
	want := `[aggregate]: finished 2 - 99th: Tms - 95th: Tms - avg: Tms - failed: 1
[a]: finished 2 - 99th: Tms - 95th: Tms - avg: Tms
[b]: finished 2 - 99th: Tms - 95th: Tms - avg: Tms - failed: 2
[aggregate]: finished 2 - 99th: Tms - 95th: Tms - avg: Tms - failed: 1
`
	if got != want {
		t.Errorf("lines:\n%swant:\n%s", got, want)
	}

	out.Reset()
	tm := newTiming("[x]:", 200, log.New(&out, "", 0))
	for i := range 200 {
		tm.add(time.Duration(200-i)*time.Millisecond, nil)
	}
	if got, want := out.String(), "[x]: finished 200 - 99th: 198.00ms - 95th: 190.00ms - avg: 100.50ms\n"; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
}
