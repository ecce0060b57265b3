package env

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Hooks drive a cluster that another environment has started, and leave it as it was.
func TestHooks(t *testing.T) {
	under := startProcesses(t, nil)
	dir := t.TempDir()
	var lookupds []string
	tcp := make(map[string]string)
	for _, n := range under.Nodes() {
		lookupds = append(lookupds, n.HTTP)
		tcp[n.HTTP] = n.TCP
		must(t, os.WriteFile(filepath.Join(dir, n.Name+".pid"), []byte(strconv.Itoa(n.PID)), 0o600))
	}
	pid := "$(cat " + dir + "/{node}.pid)"
	e, err := OpenHooks(t.Context(), HooksOptions{
		Dir: dir, Lookupds: lookupds, NSQDs: []string{under.NSQDs()[0].HTTP}, TCP: tcp,
		Begin: map[Kind]string{Pause: "kill -STOP " + pid, Delay: "false"},
		End:   map[Kind]string{Pause: "kill -CONT " + pid, Delay: "echo {http} >> " + dir + "/ended"},
	})
	watched(t, e, err)
	if n := e.Nodes()[2]; n.Name != "n3" || n.HTTP != lookupds[2] || n.TCP != tcp[n.HTTP] {
		t.Errorf("the third node is %+v", n)
	}
	f := Fault{Kind: Pause, Targets: []string{"n1", "n3"}}
	begin(t, e, f)
	end(t, e, f)
	begin(t, e, f) // ended by Close

	if why := e.Missing(Kill); !strings.Contains(why, "no command") {
		t.Errorf("missing is %q", why)
	}
	if _, err := e.Begin(t.Context(), Fault{Kind: Kill, Targets: []string{"n1"}}); err == nil {
		t.Error("something was done without a command")
	}
	// What fails is undone.
	if _, err := e.Begin(t.Context(), Fault{Kind: Delay, Targets: []string{"n2"}, Amount: 1}); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("a command that fails: %v", err)
	}
	if ended, err := os.ReadFile(filepath.Join(dir, "ended")); string(ended) != lookupds[1]+"\n" {
		t.Errorf("ended are %q, %v", ended, err)
	}
	must(t, e.Close())
	must(t, Ready(within(t), under))
}

// What begins halfway and cannot be undone is tried again, and told.
func TestHooksThatCannotUndo(t *testing.T) {
	under := startProcesses(t, nil)
	n := under.Nodes()[0]
	cured := filepath.Join(t.TempDir(), "cured")
	e, err := OpenHooks(t.Context(), HooksOptions{
		Lookupds: []string{n.HTTP}, TCP: map[string]string{n.HTTP: n.TCP},
		Begin: map[Kind]string{Delay: "false"}, End: map[Kind]string{Delay: "test -e " + cured},
	})
	must(t, err)
	if _, err := e.Begin(within(t), Fault{Kind: Delay, Targets: []string{n.Name}, Amount: 1}); err == nil {
		t.Error("it has begun")
	}
	if err := e.Heal(within(t)); err == nil {
		t.Error("nothing is told to be left")
	}
	must(t, os.WriteFile(cured, nil, 0o600))
	must(t, e.Heal(within(t)))
	must(t, e.Close())
}

func TestHarmlessNames(t *testing.T) {
	for name, ok := range map[string]bool{"n1": true, "a.b-c_D9": true, "": false, "-oProxyCommand=x": false, "n 1": false, "n1;": false, ".n": false} {
		if harmless.MatchString(name) != ok {
			t.Errorf("%q: want %v", name, ok)
		}
	}
}

func TestHooksRefuse(t *testing.T) {
	for want, o := range map[string]HooksOptions{
		"given by the HTTP": {},
		"none that ends it": {Lookupds: []string{"127.0.0.1:1"}, Begin: map[Kind]string{Kill: "x"}},
		"stands in quotes":  {Lookupds: []string{"127.0.0.1:1"}, Begin: map[Kind]string{Kill: `ssh h "kill {node}"`}, End: map[Kind]string{Kill: "x"}},
		"not closed":        {Lookupds: []string{"127.0.0.1:1"}, Begin: map[Kind]string{Kill: "x"}, End: map[Kind]string{Kill: "'x"}},
		"for its name":      {Lookupds: []string{"127.0.0.1:1"}},
	} {
		if _, err := OpenHooks(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

// A name of a node is one word of the shell, whatever is in it.
func TestFill(t *testing.T) {
	n := Node{Name: `n1'; rm -rf "$HOME" #`, HTTP: "h:1", TCP: "h:2"}
	if got, want := fill("echo {node} {http} {tcp} {other}", n, "n2"), `echo 'n1'\''; rm -rf "$HOME" #' 'h:1' 'h:2' 'n2'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for command, ok := range map[string]bool{
		`kill {node}`: true, `a 'b' {node} "c"`: true, `a \" {node}`: true, `a\' {node}`: true,
		`a '{node}'`: false, `a "x {http}"`: false, `a '\' {node}`: true, `a "\" {node}"`: false, ``: false, `'`: false,
	} {
		if err := checkCommand(command); (err == nil) != ok {
			t.Errorf("%s: %v", command, err)
		}
	}
}
