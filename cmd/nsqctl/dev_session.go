package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"nsqraft/internal/localcluster"
)

// A devSession is a cluster that runs and somebody who plays with it.
type devSession struct {
	cluster *localcluster.Cluster
	out     io.Writer
	keys    bool // single keys are read, not lines

	choosing []*localcluster.Process // what the next key is the number of; nil: it is a command
}

// stopWithin bounds an orderly stop.
const stopWithin = 20 * time.Second

// backWithin bounds how long what was started or healed may take to be as before.
const backWithin = 30 * time.Second

// greet says where everything is and what to do.
func (s *devSession) greet(took time.Duration, dir string, kept bool) {
	box := lipgloss.NewStyle().Border(lipgloss.RoundedBorder()).Padding(0, 1)
	fmt.Fprintf(s.out, "%s\n\n", box.Render(devNote(dir, kept)))
	for _, moved := range s.cluster.Moved() {
		fmt.Fprintln(s.out, "  "+moved)
	}
	lookupds, nsqds := s.cluster.Lookupds(), s.cluster.NSQDs()
	fmt.Fprintf(s.out, "  Ready in %.1f s: a write is committed, and every node has it.\n\n", took.Seconds())
	if admin := s.cluster.Admin(); admin != nil {
		fmt.Fprintf(s.out, "  nsqadmin      http://%s\n", admin.HTTP)
	}
	for _, p := range lookupds {
		fmt.Fprintf(s.out, "  %-13s lookups at http://%s   nsqds register at %s\n", "nsqlookupd "+p.Name, p.HTTP, p.TCP)
	}
	for _, p := range nsqds {
		fmt.Fprintf(s.out, "  %-13s publish at http://%s   consumers come to %s\n", p.Name, p.HTTP, p.TCP)
	}
	fmt.Fprintf(s.out, "  %-13s %s\n\n", "data, logs", dir)
	// With all of them nsqctl works whoever is down.
	var all []string
	for _, p := range lookupds {
		all = append(all, p.HTTP)
	}
	fmt.Fprintf(s.out, "  Try   export NSQ_LOOKUPD_HTTP_ADDRESSES=%s\n", strings.Join(all, ","))
	fmt.Fprintf(s.out, "        %s tail greetings\n", ownName())
	if len(nsqds) > 0 {
		fmt.Fprintf(s.out, "        curl -d hello 'http://%s/pub?topic=greetings'\n", nsqds[0].HTTP)
	}
	if s.keys {
		fmt.Fprintf(s.out, "\n  Keys  k kill leader   p partition leader   s stop one   r restart   l logs   ? help   q quit\n\n")
	} else {
		fmt.Fprintf(s.out, "\n  Lines on stdin: kill, partition, stop NAME, restart, logs, quit; help says more\n\n")
	}
}

// ownName is how to call this program from the folder it was called in.
func ownName() string {
	self, err := os.Executable()
	if err != nil {
		return "nsqctl"
	}
	if found, err := exec.LookPath(filepath.Base(self)); err == nil && found == self {
		return filepath.Base(self)
	}
	if here, err := os.Getwd(); err == nil {
		if name, err := filepath.Rel(here, self); err == nil && !strings.HasPrefix(name, "..") {
			return "." + string(filepath.Separator) + name
		}
	}
	return self
}

func (s *devSession) help() { fmt.Fprintf(s.out, "%s\n\n", devCommands) }

// say prints what happened, with the time.
func (s *devSession) say(format string, args ...any) {
	fmt.Fprintf(s.out, "  %s %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// run does what is said until somebody says quit or ctx ends.
func (s *devSession) run(ctx context.Context, said <-chan string) {
	for ctx.Err() == nil {
		select {
		case line := <-said:
			if s.do(ctx, line) {
				return
			}
		case e := <-s.cluster.Exits():
			s.say("%s has ended by itself: %s; r starts it again. The end of its log:\n%s", e.Process.Name, e.How, indent(e.LogEnd))
		case <-ctx.Done():
		}
	}
}

// verbs are what can be said, by word and by letter.
var verbs = []string{"kill", "partition", "heal", "stop", "restart", "logs", "help", "quit"}

// do does what one key or line says, and returns whether that was to quit.
func (s *devSession) do(ctx context.Context, line string) (quit bool) {
	words := strings.Fields(line)
	if s.choosing != nil {
		s.chosen(ctx, words)
		return false
	}
	if len(words) == 0 {
		return false
	}
	word := strings.ToLower(words[0])
	if word == "?" {
		word = "help"
	}
	i := slices.IndexFunc(verbs, func(v string) bool { return v == word || v[:1] == word })
	if i < 0 {
		s.say("there is no %q; ? tells what there is", words[0])
		return false
	}
	var p *localcluster.Process
	if len(words) > 1 {
		if p = s.cluster.Process(words[1]); p == nil {
			s.say("there is no process %q, but %s", words[1], names(s.cluster.Processes()))
			return false
		}
	}
	switch verbs[i] {
	case "kill":
		s.kill(ctx, p)
	case "partition":
		s.partition(ctx, p)
	case "heal":
		s.heal(ctx)
	case "stop":
		switch {
		case p != nil:
			s.stop(ctx, p)
		case s.keys:
			s.choose()
		default:
			// Who writes lines does not wait for a question.
			s.say("stop needs a name: %s", names(s.cluster.Processes()))
		}
	case "restart":
		s.restart(ctx, p)
	case "logs":
		s.logs(p)
	case "help":
		s.help()
	case "quit":
		return true
	}
	return false
}

// choose asks which process to stop.
func (s *devSession) choose() {
	s.choosing = slices.DeleteFunc(slices.Clone(s.cluster.Processes()), func(p *localcluster.Process) bool { return p.State() == localcluster.Down })
	var menu []string
	for i, p := range s.choosing {
		menu = append(menu, fmt.Sprintf("%d %s", i+1, p.Name))
	}
	s.say("stop which? %s; anything else: none", strings.Join(menu, "  "))
}

func (s *devSession) chosen(ctx context.Context, words []string) {
	from := s.choosing
	s.choosing = nil
	if len(words) == 1 {
		for i, p := range from {
			if words[0] == strconv.Itoa(i+1) {
				s.stop(ctx, p)
				return
			}
		}
	}
	s.say("nothing is stopped")
}

// leader returns the node that leads, or says why there is none and returns nil.
func (s *devSession) leader(ctx context.Context) *localcluster.Process {
	leader, err := s.cluster.Leader(ctx)
	if err != nil && ctx.Err() == nil {
		s.say("%v: %s of %d can talk to each other, and a majority is %d; r starts what is down", err, s.reachable(), len(s.cluster.Lookupds()), s.majority())
	}
	return leader
}

func (s *devSession) majority() int { return len(s.cluster.Lookupds())/2 + 1 }

// survivors are the nodes that run and are not cut off, but for one.
func (s *devSession) survivors(but *localcluster.Process) []*localcluster.Process {
	return slices.DeleteFunc(s.cluster.Lookupds(), func(p *localcluster.Process) bool {
		return p == but || p.State() != localcluster.Running || s.cluster.Isolated(p)
	})
}

func (s *devSession) reachable() string { return strconv.Itoa(len(s.survivors(nil))) }

func (s *devSession) kill(ctx context.Context, p *localcluster.Process) {
	if p == nil {
		if p = s.leader(ctx); p == nil {
			return
		}
	}
	s.end(ctx, p, "killed", p.Kill)
}

func (s *devSession) stop(ctx context.Context, p *localcluster.Process) {
	s.end(ctx, p, "stopped", func() error {
		ctx, cancel := context.WithTimeout(ctx, stopWithin)
		defer cancel()
		return p.Stop(ctx)
	})
}

// end ends a process and says what the others saw of it.
func (s *devSession) end(ctx context.Context, p *localcluster.Process, done string, end func() error) {
	switch p.Role {
	case localcluster.Lookupd:
		s.fail(ctx, p, done, end)
	case localcluster.NSQD:
		begun := time.Now()
		if err := end(); err != nil {
			s.say("%v", err)
			return
		}
		// Of no interest is what a node has that nobody can ask.
		nodes := s.survivors(nil)
		took, err := s.until(ctx, begun, func() error {
			for _, n := range nodes {
				listed, err := s.cluster.Producers(ctx, n, "/nodes")
				if err != nil {
					return err
				}
				if listed[p.TCP] {
					return fmt.Errorf("%s still lists it", n.Name)
				}
			}
			return nil
		})
		if err != nil {
			s.say("%s %s -> %v", done, p.Name, err)
			return
		}
		s.say("%s %s -> %s list it no more (%s)", done, p.Name, names(nodes), milliseconds(took))
	default:
		if err := end(); err != nil {
			s.say("%v", err)
			return
		}
		s.say("%s %s", done, p.Name)
	}
}

// partition parts a node from the others, or heals what is parted.
func (s *devSession) partition(ctx context.Context, p *localcluster.Process) {
	if s.parted() != nil {
		s.heal(ctx)
		return
	}
	if p == nil {
		if p = s.leader(ctx); p == nil {
			return
		}
	}
	if p.Role != localcluster.Lookupd {
		s.say("only nsqlookupds can be parted from each other; %s is none", p.Name)
		return
	}
	if !s.fail(ctx, p, "cut off", func() error { s.cluster.Isolate(p); return nil }) {
		return
	}
	a, err := s.cluster.Ask(ctx, p, "GET", "/nodes")
	if err != nil {
		s.say("%s is cut off from the other nodes and answers no lookup: %v", p.Name, err)
	} else {
		s.say("%s itself answers lookups with %d, marked %s ms stale; p heals", p.Name, a.Status, a.Header.Get("X-Nsq-Stale-Ms"))
	}
}

// parted returns the node that is cut off, nil if none is.
func (s *devSession) parted() *localcluster.Process {
	for _, p := range s.cluster.Lookupds() {
		if s.cluster.Isolated(p) {
			return p
		}
	}
	return nil
}

func (s *devSession) heal(ctx context.Context) {
	p := s.parted()
	if p == nil {
		s.say("no node is cut off")
		return
	}
	begun := time.Now()
	s.cluster.Heal()
	if p.State() != localcluster.Running {
		s.say("healed, but %s is down; r starts it", p.Name)
		return
	}
	s.back(ctx, begun, "healed", p)
}

// restart starts what is down: p, or everything if that is nil.
func (s *devSession) restart(ctx context.Context, p *localcluster.Process) {
	down := slices.DeleteFunc(slices.Clone(s.cluster.Processes()), func(q *localcluster.Process) bool {
		return q.State() != localcluster.Down || p != nil && q != p
	})
	if len(down) == 0 {
		s.say("nothing is down")
		return
	}
	begun := time.Now()
	var started []*localcluster.Process
	for _, q := range down {
		if err := q.Start(); err != nil {
			s.say("%v", err)
			continue
		}
		started = append(started, q)
	}
	for _, q := range started {
		s.back(ctx, begun, "started", q)
	}
}

// back says how long it took from begun until p was as before.
func (s *devSession) back(ctx context.Context, begun time.Time, done string, p *localcluster.Process) {
	var what string
	took, err := s.until(ctx, begun, func() error {
		switch p.Role {
		case localcluster.Lookupd:
			what = "it has all that the others have"
			return s.cluster.ReadyNode(ctx, p)
		case localcluster.NSQD:
			nodes := s.survivors(nil)
			what = names(nodes) + " list it"
			for _, n := range nodes {
				listed, err := s.cluster.Producers(ctx, n, "/nodes")
				if err != nil {
					return err
				}
				if !listed[p.TCP] {
					return fmt.Errorf("%s does not list it", n.Name)
				}
			}
			return nil
		default:
			what = "it answers"
			_, err := s.cluster.Ask(ctx, p, "GET", "/ping")
			return err
		}
	})
	if err != nil {
		s.say("%s %s -> %v", done, p.Name, err)
		return
	}
	s.say("%s %s -> %s (%s)", done, p.Name, what, milliseconds(took))
}

// until asks again and again until check returns nil, and returns how long that is
// after begun.
func (s *devSession) until(ctx context.Context, begun time.Time, check func() error) (time.Duration, error) {
	for {
		err := check()
		if err == nil {
			return time.Since(begun), nil
		}
		if ctx.Err() != nil || time.Since(begun) > backWithin {
			return 0, err
		}
		time.Sleep(gapPause)
	}
}

// logs shows the end of the log of p, or of all.
func (s *devSession) logs(p *localcluster.Process) {
	of, lines := s.cluster.Processes(), 4
	if p != nil {
		of, lines = []*localcluster.Process{p}, 40
	}
	for _, q := range of {
		fmt.Fprintf(s.out, "  %s: %s\n%s\n", q.Name, q.Log, indent(q.LogEnd(lines)))
	}
}

// indent makes lines of a log, which may hold anything, part of what is said.
func indent(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = "    " + visible(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

// names lists processes as people do.
func names(processes []*localcluster.Process) string {
	var all []string
	for _, p := range processes {
		all = append(all, p.Name)
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + " ms" }
