package env

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"nsqraft/internal/localcluster"
)

// stopWithin bounds how long a process may take to end when it is asked to.
const stopWithin = 30 * time.Second

// start starts p unless it runs, as somebody else may have started it.
func start(p *localcluster.Process) undo {
	return func(context.Context) error {
		if p.State() != localcluster.Down {
			return nil
		}
		return p.Start()
	}
}

// supervised adds to the end of a fault that p is started if it has ended over it, as one
// does that cannot write any more.
func supervised(p *localcluster.Process) func(undo, bool, error) (undo, bool, error) {
	return func(u undo, verified bool, err error) (undo, bool, error) {
		if u == nil {
			return nil, verified, err
		}
		return func(ctx context.Context) error {
			if err := u(ctx); err != nil {
				return err
			}
			if settled(ctx, p) {
				return nil
			}
			return start(p)(ctx)
		}, verified, err
	}
}

const (
	settledFor   = 300 * time.Millisecond // a node that will end over what it met has ended by then
	settleWithin = 3 * time.Second
)

// settled returns true once p has been ready for some time, and false if it ends. It does
// not wait for long.
func settled(ctx context.Context, p *localcluster.Process) bool {
	client := &http.Client{Transport: alone(unreached), Timeout: settledFor}
	begun := time.Now()
	for ready := begun; time.Since(begun) < settleWithin && ctx.Err() == nil; time.Sleep(readyPause) {
		if p.State() == localcluster.Down {
			return false
		}
		if status, err := ask(ctx, client, p.HTTP, "/readyz"); err != nil || status >= http.StatusInternalServerError {
			ready = time.Now()
		}
		if time.Since(ready) >= settledFor {
			return true
		}
	}
	return p.State() != localcluster.Down
}

// kill ends p, which may have ended already.
func (e *Processes) kill(ctx context.Context, p *localcluster.Process) (undo, bool, error) {
	pid := p.PID()
	if err := p.Kill(); err != nil && !errors.Is(err, localcluster.ErrDown) {
		return nil, false, err
	}
	return start(p), !alive(pid) && gone(ctx, p.HTTP), nil
}

func (e *Processes) stop(ctx context.Context, p *localcluster.Process) (undo, bool, error) {
	pid := p.PID()
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if err := p.Stop(ctx); err != nil && !errors.Is(err, localcluster.ErrDown) {
		return start(p), false, err
	}
	return start(p), !alive(pid) && gone(ctx, p.HTTP), nil
}

func pauseProcess(ctx context.Context, p *localcluster.Process) (undo, bool, error) {
	if err := p.Pause(); err != nil {
		return nil, false, err
	}
	resume := func(context.Context) error {
		if err := p.Resume(); err != nil && !errors.Is(err, localcluster.ErrDown) {
			return err
		}
		return nil
	}
	return resume, stopped(p.PID()) || silent(ctx, p.HTTP), nil
}

// wipe kills p and empties its data folder, if it has one.
func (e *Processes) wipe(ctx context.Context, p *localcluster.Process) (undo, bool, error) {
	undo, verified, err := e.kill(ctx, p)
	if err == nil {
		err = empty(p.Data)
	}
	return undo, verified, err
}

// empty removes all that is in dir, and leaves dir. "" has nothing in it.
func empty(dir string) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// alive says whether there is a process with that id.
func alive(pid int) bool {
	if pid == 0 {
		return false
	}
	p, err := os.FindProcess(pid)
	return err == nil && !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// stopped says whether the system shows that a process is stopped by a signal; false
// also if it does not show it.
func stopped(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The name before it is in parentheses and may hold any character.
	_, state, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	return strings.HasPrefix(state, "T")
}
