package env

import (
	"fmt"
	"net"
	"os"
	"testing"

	"nsqraft/internal/nsqtest"
)

// The project in deploy/compose, brought up, broken, and taken down. It takes the image
// that deploy/docker/build.sh makes.
func TestCompose(t *testing.T) {
	if os.Getenv("NSQRAFT_IMAGE") == "" {
		t.Skip("needs a Docker Engine, and the name of an image in NSQRAFT_IMAGE")
	}
	for _, name := range []string{"N1", "N2", "N3", "D1", "D2", "A"} {
		for _, kind := range []string{"TCP", "HTTP"} {
			_, port, _ := net.SplitHostPort(nsqtest.FreeAddress(t))
			t.Setenv(fmt.Sprintf("%s_%s_PORT", name, kind), port)
		}
	}
	e, err := OpenCompose(within(t), ComposeOptions{Dir: t.TempDir(), File: "../../../deploy/compose/compose.yaml"})
	watched(t, e, err)
	if got := fmt.Sprint(namesOf(e.Nodes()), namesOf(e.NSQDs())); got != "[n1 n2 n3] [nsqd1 nsqd2]" {
		t.Fatalf("found are %s", got)
	}
	for _, f := range []Fault{
		{Kind: Kill, Targets: []string{"n1"}},
		{Kind: Stop, Targets: []string{"n2"}},
		{Kind: Pause, Targets: []string{"n3", "nsqd1"}},
		{Kind: Isolate, Targets: []string{"n1"}},
		{Kind: Mute, Targets: []string{"n2"}},
		{Kind: Unplug, Targets: []string{"n3"}},
		{Kind: Wipe, Targets: []string{"n1"}},
	} {
		if why := e.Missing(f.Kind); why != "" {
			t.Logf("without %s: %s", f, why)
			continue
		}
		begin(t, e, f)
		end(t, e, f)
	}
	begin(t, e, Fault{Kind: Kill, Targets: []string{"n1"}})
	begin(t, e, Fault{Kind: Pause, Targets: []string{"n2"}})
	must(t, e.Heal(within(t)))
	must(t, Ready(within(t), e))
	begin(t, e, Fault{Kind: Pause, Targets: []string{"n2"}}) // ended by Close
}

func TestNoSuchProject(t *testing.T) {
	if _, err := OpenCompose(t.Context(), ComposeOptions{Dir: t.TempDir(), Project: "nsqdrill-nothing"}); err == nil {
		t.Error("a project that is not there was opened")
	} else {
		t.Log(err)
	}
}
