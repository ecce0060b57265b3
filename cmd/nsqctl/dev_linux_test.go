package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	devSystemTests = map[string]func(*testing.T, string){"keys": devKeys, "a process ends by itself": devProcessEndsByItself}
}

// openTerminal returns the two ends of a pseudo terminal.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func settings(t *testing.T, terminal *os.File) unix.Termios {
	t.Helper()
	now, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *now
}

// On a terminal single keys do it, and the terminal is left as it was.
func devKeys(t *testing.T, bin string) {
	for name, leave := range map[string]string{"q": "q", "Ctrl-C": "\x03", "SIGTERM": ""} {
		t.Run(name, func(t *testing.T) {
			person, program := openTerminal(t)
			before := settings(t, program)
			ctx, end := context.WithCancel(t.Context())
			defer end()
			code := make(chan int, 1)
			go func() {
				noEnv := func(string) (string, bool) { return "", false }
				code <- run(ctx, []string{"dev", "--free-ports", "--no-admin", "--bin-dir", bin}, program, program, program, noEnv)
			}()
			screen := bufio.NewReader(person)
			overdue := time.AfterFunc(devLimit, func() { person.Close() })
			defer overdue.Stop()
			expect := func(what string) {
				t.Helper()
				var seen []string
				for {
					line, err := screen.ReadString('\n')
					seen = append(seen, line)
					if err != nil {
						t.Fatalf("%v before %q:\n%s", err, what, strings.Join(seen, ""))
					}
					if strings.Contains(line, what) {
						if !strings.HasSuffix(line, "\r\n") {
							t.Errorf("the cursor is not returned after %q", line)
						}
						return
					}
				}
			}
			expect("Keys  k kill leader")
			if settings(t, program).Lflag&unix.ICANON != 0 {
				t.Error("the terminal waits for whole lines")
			}
			fmt.Fprint(person, "k")
			expect("leads (")
			fmt.Fprint(person, "s")
			expect("stop which?")
			fmt.Fprint(person, "x")
			expect("nothing is stopped")
			if leave == "" {
				end()
			}
			fmt.Fprint(person, leave)
			select {
			case c := <-code:
				if c != 0 {
					t.Errorf("exit code %d", c)
				}
			case <-time.After(devLimit):
				t.Fatal("it does not end")
			}
			if after := settings(t, program); !reflect.DeepEqual(before, after) {
				t.Errorf("the terminal was %+v and is left as %+v", before, after)
			}
		})
	}
}

// killByHand kills the process whose command line has a given part.
func killByHand(t *testing.T, part string) {
	t.Helper()
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		line, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(line), part) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no process has %s in its command line", part)
}

func devProcessEndsByItself(t *testing.T, bin string) {
	dir := t.TempDir()
	d := startDev(t, "--no-admin", "--bin-dir", bin, "--data-dir", dir, "--lookupds=1", "--nsqds=1")
	d.expect(`data, logs`)
	killByHand(t, "--data-path="+filepath.Join(dir, "nsqd1"))
	d.expect(`nsqd1 has ended by itself: signal: killed; r starts it again`)
	d.say("r")
	d.expect(`started nsqd1 -> n1 list it`)
	d.say("kill n1")
	d.expect(`killed n1 \(leader\) -> no leader: 0 of 1 are no majority`)
}
