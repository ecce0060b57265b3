//go:build unix

package env

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// What a guardian keeps in its folder: what is still to be undone, for sh, and what it
// said when a guardian did so.
const (
	healScript = "heal.sh"
	healLog    = "heal.log"
)

// A guardian is a shell that undoes what is broken in things that outlive this process,
// should it end, in whichever way, without having done so itself. If the machine ends
// too, the script is there to be run by hand.
type guardian struct {
	script string // path
	cmd    *exec.Cmd
	input  *os.File // whose end the guardian waits for

	mu    sync.Mutex
	lines []string // to be run, the last first
}

// newGuardian starts one whose script is in dir, which must be there. So far nothing is
// to be undone.
func newGuardian(dir string) (*guardian, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	g := &guardian{script: filepath.Join(dir, healScript)}
	const watch = `trap '' INT TERM HUP; read -r word; [ "$word" = closed ] || [ ! -e "$1" ] || { sh "$1" >"$2" 2>&1 && rm -f "$1"; }`
	g.cmd = exec.Command("sh", "-c", watch, "sh", g.script, filepath.Join(dir, healLog))
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is not for it
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	g.cmd.Stdin, g.input = r, w
	if err := g.cmd.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("guardian: %w", err)
	}
	return g, nil
}

// expect has line run should this process end before it is forgotten. It is called before
// what the line undoes is done.
func (g *guardian) expect(line string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines = append(g.lines, line)
	return g.write()
}

// forget drops the newest line that is so: what it undoes is undone.
func (g *guardian) forget(line string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, l := range slices.Backward(g.lines) {
		if l == line {
			g.lines = slices.Delete(g.lines, i, i+1)
			return g.write()
		}
	}
	return nil
}

// write replaces the script as a whole. One line that fails does not keep the others from
// being run.
func (g *guardian) write() error {
	if len(g.lines) == 0 {
		if err := os.Remove(g.script); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	var b strings.Builder
	b.WriteString("# What nsqdrill has broken and not undone yet: run it with sh if nsqdrill was killed.\nstatus=0\n")
	for _, l := range slices.Backward(g.lines) {
		fmt.Fprintf(&b, "(\n%s\n) || status=$?\n", l)
	}
	b.WriteString("exit $status\n")
	next := g.script + ".next"
	if err := os.WriteFile(next, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, g.script)
}

// close ends it. What it still expects is left in the script, for whoever is told that it
// could not be undone. It may be called twice.
func (g *guardian) close() error {
	if g.input == nil {
		return nil
	}
	io.WriteString(g.input, "closed\n")
	g.input.Close()
	g.input = nil
	return g.cmd.Wait()
}

// held has cmd keep the guardian from doing anything before cmd has ended too.
func (g *guardian) held(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{g.input} }
