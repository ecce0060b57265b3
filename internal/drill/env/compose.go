package env

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os/exec"
	slashed "path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ComposeOptions say which Docker compose project is broken.
type ComposeOptions struct {
	File string // the compose file
	// Project is that of a cluster that runs already, and goes on. "": one of its own is
	// brought up, and taken down with its volumes in the end. The file's variables are
	// taken from the environment.
	Project string
	// Dir is where it is kept what is to be undone should this process be killed. It must
	// be there.
	Dir string
	// Stop bounds how long a container may take to stop; 0: 1 minute.
	Stop time.Duration
}

const (
	dockerWithin = 30 * time.Second // one command, besides waiting for a container to stop
	upWithin     = 5 * time.Minute
	labelProject = "com.docker.compose.project"
	labelService = "com.docker.compose.service"
)

// Compose is the nsqlookupds and nsqds of a Docker compose project. Of every service one
// container is taken; what runs in it is told by its command.
type Compose struct {
	opts      ComposeOptions
	own       bool // the project was brought up by it
	compose   []string
	services  map[string]string // by the name of a node
	nodes     []Node
	nsqds     []Node
	net       network // between containers
	guard     *guardian
	down      string // the guardian's line that takes a project of its own down
	breakages breakages
	closed    bool
}

// OpenCompose finds the containers of the project, or brings it up. It does not wait
// until it is ready.
func OpenCompose(ctx context.Context, o ComposeOptions) (*Compose, error) {
	o.Stop = cmp.Or(o.Stop, time.Minute)
	e := &Compose{opts: o, own: o.Project == "", services: make(map[string]string)}
	if _, err := e.docker(ctx, dockerWithin, "version", "--format", "{{.Server.Version}}"); err != nil {
		return nil, fmt.Errorf("there is no Docker Engine: %w", err)
	}
	var err error
	if e.guard, err = newGuardian(o.Dir); err != nil {
		return nil, err
	}
	e.net = newContainerNetwork(e.addressOf, e.guard)
	if e.own {
		e.net = newContainerNetwork(e.addressOf, nil)
		e.opts.Project = fmt.Sprintf("nsqdrill-%08x", rand.Uint32())
		if err := e.up(ctx); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	if err := e.find(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// up brings up a project of its own.
func (e *Compose) up(ctx context.Context) (err error) {
	if e.compose, err = e.composeTool(ctx); err != nil {
		return err
	}
	words, err := e.toolWords(downWords...)
	if err != nil {
		return err
	}
	for i, w := range words {
		words[i] = quote(w)
	}
	e.down = fmt.Sprintf("ids=$(docker ps --quiet --filter status=paused --filter label=%s=%s)\n[ -z \"$ids\" ] || docker unpause $ids\n%s",
		labelProject, e.opts.Project, strings.Join(words, " "))
	if err := e.guard.expect(e.down); err != nil {
		return err
	}
	_, err = e.tool(ctx, "up", "-d")
	return err
}

// downWords take a project down with its volumes.
var downWords = []string{"down", "--volumes", "--timeout", "5"}

// composeTool returns the compose command that is installed.
func (e *Compose) composeTool(ctx context.Context) ([]string, error) {
	if _, err := e.docker(ctx, dockerWithin, "compose", "version"); err == nil {
		return []string{"docker", "compose"}, nil
	}
	if _, err := exec.LookPath("docker-compose"); err == nil {
		return []string{"docker-compose"}, nil
	}
	return nil, errors.New("neither 'docker compose' nor docker-compose is installed")
}

func (e *Compose) tool(ctx context.Context, args ...string) (string, error) {
	words, err := e.toolWords(args...)
	if err != nil {
		return "", err
	}
	return e.program(ctx, upWithin, words...)
}

// toolWords is the compose command for this project.
func (e *Compose) toolWords(args ...string) ([]string, error) {
	file, err := filepath.Abs(e.opts.File)
	if err != nil {
		return nil, err
	}
	return slices.Concat(e.compose, []string{"--project-name", e.opts.Project, "--project-directory", filepath.Dir(file), "--file", file}, args), nil
}

// A container is what Docker says of one.
type container struct {
	ID    string `json:"Id"`
	State struct {
		Running, Paused bool
		Pid             int
	}
	Config struct {
		Cmd, Entrypoint []string
		Labels          map[string]string
	}
	Mounts []struct {
		Type, Name, Destination string
	}
	NetworkSettings struct {
		Ports    map[string][]struct{ HostIp, HostPort string }
		Networks map[string]struct {
			IPAddress string
			Aliases   []string
		}
	}
}

// containers returns those of the project, of one service if it is not "", by name.
func (e *Compose) containers(ctx context.Context, service string) ([]container, error) {
	args := []string{"ps", "--all", "--quiet", "--no-trunc", "--filter", "label=" + labelProject + "=" + e.opts.Project}
	if service != "" {
		args = append(args, "--filter", "label="+labelService+"="+service)
	}
	ids, err := e.docker(ctx, dockerWithin, args...)
	if err != nil || strings.TrimSpace(ids) == "" {
		return nil, err
	}
	text, err := e.docker(ctx, dockerWithin, append([]string{"inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		return nil, err
	}
	var all []container
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("what docker inspect says: %w", err)
	}
	slices.SortFunc(all, func(a, b container) int { return cmp.Compare(a.service(), b.service()) })
	return all, nil
}

func (c container) service() string { return c.Config.Labels[labelService] }

// find fills in what there is.
func (e *Compose) find(ctx context.Context) error {
	all, err := e.containers(ctx, "")
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := e.take(c); err != nil {
			return fmt.Errorf("service %s: %w", c.service(), err)
		}
	}
	if len(e.nodes) == 0 {
		return fmt.Errorf("no container of project %s runs an nsqlookupd", e.opts.Project)
	}
	return nil
}

// take makes a node of a container with an nsqlookupd or an nsqd in it.
func (e *Compose) take(c container) error {
	command := slices.Concat(c.Config.Entrypoint, c.Config.Cmd)
	if len(command) == 0 {
		return nil
	}
	n := Node{Name: c.service()}
	list, tcp, http := &e.nodes, "4160/tcp", "4161/tcp"
	switch slashed.Base(command[0]) {
	case "nsqlookupd":
		for _, arg := range command {
			if id, ok := strings.CutPrefix(strings.TrimLeft(arg, "-"), "node-id="); ok {
				n.Name = id
			}
		}
	case "nsqd":
		list, tcp, http = &e.nsqds, "4150/tcp", "4151/tcp"
	default:
		return nil
	}
	var err error
	if n.TCP, err = c.published(tcp); err != nil {
		return err
	}
	if n.HTTP, err = c.published(http); err != nil {
		return err
	}
	if e.services[n.Name] != "" {
		return fmt.Errorf("%s is in service %s too; a service must have one container", n.Name, e.services[n.Name])
	}
	e.services[n.Name] = c.service()
	*list = append(*list, n)
	return nil
}

// published returns where a port of a container is reached from this machine.
func (c container) published(port string) (string, error) {
	all := c.NetworkSettings.Ports[port]
	if len(all) == 0 {
		return "", fmt.Errorf("port %s is not published, so that nobody outside reaches it", port)
	}
	host := all[0].HostIp
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, all[0].HostPort), nil
}

// Name is compose.
func (e *Compose) Name() string { return "compose" }

func (e *Compose) Nodes() []Node { return slices.Clone(e.nodes) }

func (e *Compose) NSQDs() []Node { return slices.Clone(e.nsqds) }

// Missing says why a kind cannot be made with containers.
func (e *Compose) Missing(k Kind) string {
	switch k {
	case Kill, Stop, Pause, Unplug:
		return ""
	case Unreach, Lag:
		return "Docker can take a container off its networks, but not from clients alone"
	case Wipe:
		if !e.own {
			return "a volume of a project that was not brought up for the drill is not emptied"
		}
		return ""
	}
	if ofNetwork(k) {
		return e.net.missing(k)
	}
	return "it is not done to the disk or the clock of a container"
}

// Begin breaks something. See Env.
func (e *Compose) Begin(ctx context.Context, f Fault) (verified bool, err error) {
	if err := f.check(namesOf(e.nodes), namesOf(e.nsqds)); err != nil {
		return false, err
	}
	if why := e.Missing(f.Kind); why != "" {
		return false, fmt.Errorf("%s: %s", f, why)
	}
	if ofNetwork(f.Kind) && f.Kind != Unplug {
		e.breakages.add(f, nil)
		if err := e.setNetwork(); err != nil {
			e.breakages.take(f)
			return false, fmt.Errorf("%s: %w", f, errors.Join(err, e.setNetwork()))
		}
		return seen(ctx, e.net, f, namesOf(e.nodes)), nil
	}
	u, verified, err := each(ctx, f.Targets, func(target string) (undo, bool, error) {
		return e.begin(ctx, f.Kind, target)
	})
	return e.breakages.begun(f, u, verified, err)
}

// setNetwork makes the network between containers as the faults have it that last.
func (e *Compose) setNetwork() error {
	faults := slices.DeleteFunc(e.breakages.faults(), func(f Fault) bool { return f.Kind == Unplug })
	return e.net.set(effects(faults, namesOf(e.nodes)))
}

// begin does something to one container. In a project that goes on the guardian undoes it
// if we are killed.
func (e *Compose) begin(ctx context.Context, k Kind, target string) (undo, bool, error) {
	c, err := e.container(ctx, target)
	if err != nil {
		return nil, false, err
	}
	if e.own {
		return e.change(ctx, k, target, c)
	}
	line := undoLine(k, c)
	if err := e.guard.expect(line); err != nil {
		return nil, false, err
	}
	u, verified, err := e.change(ctx, k, target, c)
	if u == nil {
		return nil, false, errors.Join(err, e.guard.forget(line))
	}
	return func(ctx context.Context) error {
		if err := u(ctx); err != nil {
			return err
		}
		return e.guard.forget(line)
	}, verified, err
}

// undoLine is what undoes a kind of fault in a container, for sh, whether it was made or
// not.
func undoLine(k Kind, c container) string {
	switch k {
	case Pause:
		return fmt.Sprintf("[ \"$(docker inspect --format '{{.State.Paused}}' %s)\" = false ] || docker unpause %s", c.ID, c.ID)
	case Unplug:
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(c.NetworkSettings.Networks)) {
			connect := ""
			for _, w := range c.connectWords(name) {
				connect += " " + quote(w)
			}
			lines = append(lines, fmt.Sprintf("docker inspect --format '{{json .NetworkSettings.Networks}}' %s | grep -qF %s || docker%s", c.ID, quote(`"`+name+`":`), connect))
		}
		return strings.Join(lines, "\n")
	}
	return "docker start " + c.ID
}

// connectWords puts a container on one of the networks on which it was.
func (c container) connectWords(name string) []string {
	words := []string{"network", "connect"}
	for _, alias := range c.NetworkSettings.Networks[name].Aliases {
		words = append(words, "--alias", alias)
	}
	return append(words, name, c.ID)
}

// change does it.
func (e *Compose) change(ctx context.Context, k Kind, target string, c container) (undo, bool, error) {
	start := func(ctx context.Context) error { return e.start(ctx, target) }
	switch k {
	case Kill:
		return start, true, e.dockerAnd(ctx, target, func(c container) bool { return !c.State.Running }, "kill", c.ID)
	case Stop:
		seconds := fmt.Sprint(int(e.opts.Stop.Seconds()))
		return start, true, e.dockerAnd(ctx, target, func(c container) bool { return !c.State.Running }, "stop", "--time", seconds, c.ID)
	case Pause:
		resume := func(ctx context.Context) error {
			c, err := e.container(ctx, target)
			if err == nil && c.State.Paused {
				_, err = e.docker(ctx, dockerWithin, "unpause", c.ID)
			}
			return err
		}
		return resume, true, e.dockerAnd(ctx, target, func(c container) bool { return c.State.Paused }, "pause", c.ID)
	case Unplug:
		return e.unplug(ctx, target, c)
	case Wipe:
		return e.wipe(ctx, target, c)
	}
	return nil, false, fmt.Errorf("there is no fault %q", k)
}

// dockerAnd runs a command and sees that it did what it should.
func (e *Compose) dockerAnd(ctx context.Context, target string, holds func(container) bool, args ...string) error {
	if _, err := e.docker(ctx, dockerWithin+e.opts.Stop, args...); err != nil {
		return err
	}
	c, err := e.container(ctx, target)
	if err == nil && !holds(c) {
		err = fmt.Errorf("docker %s of %s had no effect", args[0], target)
	}
	return err
}

// start starts a container that does not run.
func (e *Compose) start(ctx context.Context, target string) error {
	c, err := e.container(ctx, target)
	if err != nil || c.State.Running {
		return err
	}
	_, err = e.docker(ctx, dockerWithin, "start", c.ID)
	// It has a network of its own again, in which nothing is cut.
	return errors.Join(err, e.setNetwork())
}

// unplug takes a container off all its networks.
func (e *Compose) unplug(ctx context.Context, target string, c container) (undo, bool, error) {
	plug := func(ctx context.Context) error {
		var errs []error
		for name := range c.NetworkSettings.Networks {
			_, err := e.docker(ctx, dockerWithin, c.connectWords(name)...)
			if err != nil && !strings.Contains(err.Error(), "already exists") {
				errs = append(errs, err)
			}
		}
		return errors.Join(append(errs, e.setNetwork())...)
	}
	for _, name := range slices.Sorted(maps.Keys(c.NetworkSettings.Networks)) {
		if _, err := e.docker(ctx, dockerWithin, "network", "disconnect", name, c.ID); err != nil {
			return plug, false, err
		}
	}
	return plug, ping(ctx, e.node(target).HTTP) != nil, nil
}

// wipe removes a container and its volumes. At the end there are new ones.
func (e *Compose) wipe(ctx context.Context, target string, c container) (undo, bool, error) {
	again := func(ctx context.Context) error {
		_, err := e.tool(ctx, "up", "-d", "--no-deps", e.services[target])
		return errors.Join(err, e.setNetwork())
	}
	if _, err := e.docker(ctx, dockerWithin, "rm", "--force", c.ID); err != nil {
		return again, false, err
	}
	for _, m := range c.Mounts {
		if m.Type != "volume" {
			continue
		}
		if _, err := e.docker(ctx, dockerWithin, "volume", "rm", m.Name); err != nil {
			return again, false, err
		}
	}
	return again, ping(ctx, e.node(target).HTTP) != nil, nil
}

func (e *Compose) node(name string) Node {
	all := slices.Concat(e.nodes, e.nsqds)
	return all[slices.Index(namesOf(all), name)]
}

// container returns the one in which a node runs, or would.
func (e *Compose) container(ctx context.Context, name string) (container, error) {
	all, err := e.containers(ctx, e.services[name])
	if err != nil {
		return container{}, err
	}
	if len(all) != 1 {
		return container{}, fmt.Errorf("service %s has %d containers, not one", e.services[name], len(all))
	}
	return all[0], nil
}

// addressOf returns the process id of what runs in a node's container, and its address
// there.
func (e *Compose) addressOf(name string) (pid int, ip net.IP, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerWithin)
	defer cancel()
	c, err := e.container(ctx, name)
	if err != nil {
		return 0, nil, err
	}
	for _, at := range c.NetworkSettings.Networks {
		ip = net.ParseIP(at.IPAddress)
	}
	return c.State.Pid, ip, nil
}

// End undoes f. See Env.
func (e *Compose) End(ctx context.Context, f Fault) error {
	err := e.breakages.end(ctx, f)
	if err == nil && ofNetwork(f.Kind) && f.Kind != Unplug {
		err = e.setNetwork()
	}
	return err
}

// Heal undoes all that was begun, and starts what does not run.
func (e *Compose) Heal(ctx context.Context) error {
	errs := []error{e.breakages.endAll(ctx), e.setNetwork()}
	for name := range e.services {
		errs = append(errs, e.start(ctx, name))
	}
	return errors.Join(errs...)
}

// Close takes a project down that it has brought up, with its volumes, and heals one that
// it has not. It may be called twice.
func (e *Compose) Close() error {
	if e.closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), upWithin)
	defer cancel()
	var err error
	switch {
	case !e.own:
		err = e.Heal(ctx)
	case len(e.compose) > 0:
		// It does not wait for what is paused.
		e.breakages.endKinds(ctx, Pause) // down says what it could not end
		if _, err = e.tool(ctx, downWords...); err == nil {
			err = e.guard.forget(e.down)
		}
	}
	err = errors.Join(err, e.net.close(), e.guard.close())
	e.closed = err == nil
	return err
}

func (e *Compose) docker(ctx context.Context, limit time.Duration, args ...string) (string, error) {
	return e.program(ctx, limit, append([]string{"docker"}, args...)...)
}

// program runs a command and returns what it says. Should we be killed meanwhile, the
// guardian waits for it.
func (e *Compose) program(ctx context.Context, limit time.Duration, words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	if e.guard != nil {
		e.guard.held(cmd)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		said := bytes.TrimSpace(stderr.Bytes())
		return "", fmt.Errorf("%s %s: %w: %s", words[0], words[1], err, said[max(0, len(said)-500):])
	}
	return stdout.String(), nil
}
