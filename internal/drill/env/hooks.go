package env

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HooksOptions say where a running cluster is and how it is broken.
type HooksOptions struct {
	// Lookupds and NSQDs are HTTP addresses. A node is called as it calls itself in
	// /cluster; others n1, n2, ... and nsqd1, nsqd2, ..., in this order.
	Lookupds, NSQDs []string
	// TCP are the TCP addresses of those whose TCP port is not their HTTP port less one,
	// by HTTP address.
	TCP map[string]string
	// Begin and End are commands for sh, by kind. In them {node} is the node's name,
	// {http} its HTTP address, {tcp} its TCP address, and {other}, of Cut, the name of who
	// gets nothing. They are replaced by words that are quoted for the shell, and must
	// not stand in quotes themselves. What has no command in both is not done.
	Begin, End map[Kind]string
	// Timeout bounds a command; 0: 1 minute.
	Timeout time.Duration
	// Dir is where it is kept what is to be undone should this process be killed. It must
	// be there.
	Dir string
}

// placeholders are what stands for something in a command.
var placeholders = []string{"{node}", "{http}", "{tcp}", "{other}"}

// Hooks is a cluster that somebody else runs. Without commands it is only watched.
type Hooks struct {
	opts      HooksOptions
	nodes     []Node
	nsqds     []Node
	guard     *guardian
	breakages breakages
}

// OpenHooks asks the nodes for their names. It changes nothing.
func OpenHooks(ctx context.Context, o HooksOptions) (*Hooks, error) {
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if len(o.Lookupds) == 0 {
		return nil, errors.New("a running cluster is given by the HTTP addresses of its nsqlookupds")
	}
	e := &Hooks{opts: o}
	if err := e.find(ctx); err != nil {
		return nil, err
	}
	var err error
	e.guard, err = newGuardian(o.Dir)
	return e, err
}

// find checks the commands and asks the nodes for their names.
func (e *Hooks) find(ctx context.Context) error {
	o := e.opts
	for kind, command := range o.Begin {
		if o.End[kind] == "" {
			return fmt.Errorf("there is a command that begins %s and none that ends it", kind)
		}
		for _, c := range []string{command, o.End[kind]} {
			if err := checkCommand(c); err != nil {
				return fmt.Errorf("command of %s: %w", kind, err)
			}
		}
	}
	for i, addr := range o.Lookupds {
		name, err := nameOf(ctx, addr)
		if err != nil {
			return err
		}
		if name == "" {
			name = fmt.Sprintf("n%d", i+1)
		}
		if !harmless.MatchString(name) {
			return fmt.Errorf("%s calls itself %q, which is put into no command: it has to begin with a letter or a digit and to consist of those, ., - and _", addr, name)
		}
		if err := e.add(&e.nodes, name, addr); err != nil {
			return err
		}
	}
	for i, addr := range o.NSQDs {
		if err := e.add(&e.nsqds, fmt.Sprintf("nsqd%d", i+1), addr); err != nil {
			return err
		}
	}
	return nil
}

// add puts a node into a list, if nothing else is called so.
func (e *Hooks) add(list *[]Node, name, addr string) error {
	if slices.Contains(namesOf(slices.Concat(e.nodes, e.nsqds)), name) {
		return fmt.Errorf("two nodes are called %s; one of them is at %s", name, addr)
	}
	tcp := e.opts.TCP[addr]
	if tcp == "" {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return fmt.Errorf("HTTP address of %s: %w", name, err)
		}
		number, err := strconv.Atoi(port)
		if err != nil || number < 2 {
			return fmt.Errorf("HTTP address of %s: port %q", name, port)
		}
		tcp = net.JoinHostPort(host, strconv.Itoa(number-1))
	}
	*list = append(*list, Node{Name: name, TCP: tcp, HTTP: addr})
	return nil
}

// harmless are names that no command takes for an option.
var harmless = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// nameOf returns how an nsqlookupd calls itself, "" if it is stock.
func nameOf(ctx context.Context, addr string) (string, error) {
	var answer struct {
		Node string `json:"node_id"`
	}
	status, err := askJSON(ctx, addr, "/cluster", &answer)
	if err != nil {
		return "", fmt.Errorf("ask %s for its name: %w", addr, err)
	}
	if status != http.StatusOK {
		return "", nil
	}
	return answer.Node, nil
}

func namesOf(nodes []Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}

// Name is hooks.
func (e *Hooks) Name() string { return "hooks" }

func (e *Hooks) Nodes() []Node { return slices.Clone(e.nodes) }

func (e *Hooks) NSQDs() []Node { return slices.Clone(e.nsqds) }

// Missing says that there is no command for a kind.
func (e *Hooks) Missing(k Kind) string {
	if e.opts.Begin[k] == "" {
		return fmt.Sprintf("no command was given that begins %s", k)
	}
	return ""
}

// Begin runs the command of f for each target, all at once. See Env.
func (e *Hooks) Begin(ctx context.Context, f Fault) (verified bool, err error) {
	if err := f.check(namesOf(e.nodes), namesOf(e.nsqds)); err != nil {
		return false, err
	}
	if why := e.Missing(f.Kind); why != "" {
		return false, fmt.Errorf("%s: %s", f, why)
	}
	targets, other := f.Targets, ""
	if f.Kind == Cut {
		targets, other = f.Targets[:1], f.Targets[1]
	}
	u, verified, err := each(ctx, targets, func(target string) (undo, bool, error) {
		n := e.node(target)
		line := fill(e.opts.End[f.Kind], n, other)
		if err := e.guard.expect(line); err != nil {
			return nil, false, err
		}
		end := func(ctx context.Context) error {
			if err := e.run(ctx, e.opts.End[f.Kind], n, other); err != nil {
				return err
			}
			return e.guard.forget(line)
		}
		if err := e.run(ctx, e.opts.Begin[f.Kind], n, other); err != nil {
			// It may have done something before it failed.
			return end, false, err
		}
		return end, e.seen(ctx, f.Kind, n), nil
	})
	return e.breakages.begun(f, u, verified, err)
}

// seen says whether the effect of a kind shows to clients. Of most it does not.
func (e *Hooks) seen(ctx context.Context, k Kind, n Node) bool {
	switch k {
	case Kill, Stop, Wipe, PowerCut:
		return ping(ctx, n.HTTP) != nil
	case Pause, Unreach, Unplug:
		return fallsSilent(ctx, n.HTTP)
	}
	return false
}

func (e *Hooks) node(name string) Node {
	all := slices.Concat(e.nodes, e.nsqds)
	return all[slices.Index(namesOf(all), name)]
}

// run runs a command and waits for it.
func (e *Hooks) run(ctx context.Context, command string, n Node, other string) error {
	ctx, cancel := context.WithTimeout(ctx, e.opts.Timeout)
	defer cancel()
	filled := fill(command, n, other)
	cmd := exec.CommandContext(ctx, "sh", "-c", filled)
	cmd.WaitDelay = time.Second // for what it has left running with our pipe
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		out = bytes.TrimSpace(out)
		return fmt.Errorf("%s: %w: %s", filled, err, out[:min(len(out), 500)])
	}
	return nil
}

// fill replaces what stands for something by quoted words.
func fill(command string, n Node, other string) string {
	return strings.NewReplacer("{node}", quote(n.Name), "{http}", quote(n.HTTP), "{tcp}", quote(n.TCP), "{other}", quote(other)).Replace(command)
}

// quote makes one word of the shell that means s.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// checkCommand refuses what quoting cannot make safe: a placeholder within quotes.
func checkCommand(command string) error {
	if strings.TrimSpace(command) == "" {
		return errors.New("it is empty")
	}
	var open rune // the quote that is open
	escaped := false
	for i, c := range command {
		switch {
		case escaped:
			escaped = false
		case c == '\\' && open != '\'':
			escaped = true
		case c == open:
			open = 0
		case open == 0 && (c == '\'' || c == '"'):
			open = c
		case open != 0 && c == '{':
			for _, p := range placeholders {
				if strings.HasPrefix(command[i:], p) {
					return fmt.Errorf("%s stands in quotes, and is quoted anyway", p)
				}
			}
		}
	}
	if open != 0 {
		return errors.New("a quote is not closed")
	}
	return nil
}

// End runs the command that ends f for each target. See Env.
func (e *Hooks) End(ctx context.Context, f Fault) error { return e.breakages.end(ctx, f) }

// Heal ends all that was begun. What others have broken is theirs to mend.
func (e *Hooks) Heal(ctx context.Context) error { return e.breakages.endAll(ctx) }

// Close heals. The cluster goes on.
func (e *Hooks) Close() error {
	return errors.Join(e.Heal(context.Background()), e.guard.close())
}
