package interop

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// subjects are the nsqlookupds that have to behave alike.
func subjects() map[string]string {
	all := map[string]string{"stock": stockBin("nsqlookupd")}
	if *against == "ours" {
		all["ours"] = ourBin("nsqlookupd")
	}
	return all
}

// TestCommandLine starts nsqlookupd in ways in which it says something and ends.
func TestCommandLine(t *testing.T) {
	busy := occupied(t)
	broken := writeFile(t, "broken.cfg", "tcp_address = \n")
	level := writeFile(t, "level.cfg", "log_level = \"loud\"\n")

	for name, tt := range map[string]struct {
		args []string
		exit int
		want string // a regular expression that the output has to match
	}{
		"version":              {[]string{"--version"}, 0, `^nsqlookupd v\S+ \(built w/go1\.\S+\)\n$`},
		"version, one dash":    {[]string{"-version"}, 0, `^nsqlookupd v`},
		"help":                 {[]string{"--help"}, 0, `(?s)inactive-producer-timeout.*tombstone-lifetime`},
		"unknown flag":         {[]string{"--colour=red"}, 2, `(?s)flag provided but not defined: -colour\n.*-http-address`},
		"bad duration":         {[]string{"--tombstone-lifetime=soon"}, 2, `invalid value "soon" for flag -tombstone-lifetime`},
		"bad level":            {[]string{"--log-level=loud"}, 2, `loud`},
		"bad level in a file":  {[]string{"--config=" + level}, 1, `loud`},
		"no such file":         {[]string{"--config=/no/such/file"}, 1, `failed to load config file /no/such/file`},
		"a file that is wrong": {[]string{"--config=" + broken}, 1, `failed to load config file`},
		"tcp port in use":      {[]string{"--tcp-address=" + busy, "--http-address=127.0.0.1:0"}, 1, `address already in use`},
		"http port in use":     {[]string{"--tcp-address=127.0.0.1:0", "--http-address=" + busy}, 1, `address already in use`},
	} {
		for which, bin := range subjects() {
			t.Run(name+"/"+which, func(t *testing.T) {
				out, exit := runToEnd(t, bin, tt.args...)
				if exit != tt.exit {
					t.Errorf("exit status %d, want %d", exit, tt.exit)
				}
				if !regexp.MustCompile(tt.want).Match(out) {
					t.Errorf("output\n%s\ndoes not match %s", out, tt.want)
				}
			})
		}
	}
}

// runToEnd runs a command that has to end by itself and returns its output and status.
func runToEnd(t testing.TB, bin string, args ...string) (out []byte, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.SysProcAttr = dieWithParent()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil || cmd.ProcessState == nil {
		t.Fatalf("%s %q has not ended after %v: %v\n%s", bin, args, startTimeout, err, out)
	}
	return out, cmd.ProcessState.ExitCode()
}

// TestConfigurationFile wants a stock file to be understood, and a flag to win over it.
func TestConfigurationFile(t *testing.T) {
	for which, bin := range subjects() {
		t.Run(which, func(t *testing.T) {
			tcp, http := freeAddr(t), freeAddr(t)
			file := writeFile(t, "nsqlookupd.cfg", fmt.Sprintf(`
# A comment, as in the file that stock NSQ ships.
log_level = "info"
tcp_address = %q
http_address = "127.0.0.1:1"
broadcast_address = "from-the-file.example"
inactive_producer_timeout = "1s"
tombstone_lifetime = "2s"
`, tcp))
			p := newProcess(t, "nsqlookupd", bin, "-config", file, "-http-address", http)
			p.start()
			awaitPing(t, p, http)
			s := newSubject(t, p, tcp, http)
			if got := say("a", magic+identify(peer("one")))(s); !strings.Contains(got, "from-the-file.example") {
				t.Errorf("%s; want the broadcast address of the file", got)
			}
			until("/nodes", `{"producers":[]}`)(s) // inactive after 1 s
		})
	}
}

// TestSignals ends a node that has a client with each signal that asks for it.
func TestSignals(t *testing.T) {
	for which := range subjects() {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			t.Run(which+"/"+sig.String(), func(t *testing.T) {
				s := startSubject(t, which)
				say("a", magic+identify(peer("one")))(s)
				s.stopWith(sig)
			})
		}
	}
}

// TestLog reads the log for the lines that operators and their tools look for. Ours
// has the line of each HTTP request at the level debug, not info.
func TestLog(t *testing.T) {
	for which := range subjects() {
		t.Run(which, func(t *testing.T) {
			s := startSubject(t, which, "--log-prefix=[lookup] ", "--log-level=debug")
			for _, do := range []step{
				say("a", magic+identify(peer("one"))), say("a", "REGISTER orders archive\n"), fetch("/lookup?topic=orders"), fetch("/lookup?topic=unknown"),
			} {
				do(s)
			}
			s.stop()
			log, err := os.ReadFile(s.log)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{
				`INFO: nsqlookupd v` + regexp.QuoteMeta(s.version) + ` \(built w/go`,
				`INFO: TCP: listening on 127\.0\.0\.1:` + portOf(s.tcp),
				`INFO: HTTP: listening on 127\.0\.0\.1:` + portOf(s.http),
				`INFO: TCP: new client\(127\.0\.0\.1:\d+\)`,
				`INFO: CLIENT\(127\.0\.0\.1:\d+\): IDENTIFY Address:one\.example TCP:4150 HTTP:4151 Version:9\.8\.7`,
				`INFO: DB: client\(127\.0\.0\.1:\d+\) REGISTER category:channel key:orders subkey:archive`,
				`(INFO|DEBUG): 200 GET /lookup\?topic=orders \(127\.0\.0\.1:\d+\) `,
				`(INFO|DEBUG): 404 GET /lookup\?topic=unknown \(127\.0\.0\.1:\d+\) `,
			} {
				line := `(?m)^\[lookup\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} ` + want
				if !regexp.MustCompile(line).Match(log) {
					t.Errorf("no line matches %s", line)
				}
			}
		})
	}
}

// occupied returns an address at which somebody listens until the test ends.
func occupied(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A log that nobody reads costs lines, not answers, and does not hold up a stop.
// (Stock blocks; so does whatever logs under a lock.)
func TestLogThatNobodyReads(t *testing.T) {
	if *against != "ours" {
		t.Skip("stock nsqlookupd blocks")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tcp, web := freeAddr(t), freeAddr(t)
	cmd := exec.Command(ourBin("nsqlookupd"), "--tcp-address="+tcp, "--http-address="+web, "--log-level=debug")
	cmd.Stderr = w
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	eventually(t, startTimeout, "it answers", func() error { return ping(web) })
	for i := range 3000 { // 180 KB of lines; a pipe holds 64
		if err := ping(web); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-exited:
		if err != nil {
			t.Errorf("it stopped with %v", err)
		}
	case <-time.After(stopTimeout):
		cmd.Process.Kill()
		t.Errorf("it still runs %v after SIGTERM", stopTimeout)
		<-exited
	}
}

func ping(addr string) error {
	client := &http.Client{Timeout: startTimeout}
	resp, err := client.Get("http://" + addr + "/ping")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && string(body) != "OK" {
		err = fmt.Errorf("/ping answers %s %q", resp.Status, body)
	}
	return err
}
